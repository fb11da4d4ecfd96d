#!/usr/bin/env bats
# bench/lib/report.py: RESULTS.md has a part for each CPU, and a run replaces its own alone.
# SPDX-License-Identifier: AGPL-3.0-or-later
load lib/common

setup() { cd "$BATS_TEST_TMPDIR" || exit 1; }

report() { # CPU READ: writes the page in $PWD from one made-up round
    python3 - "$ROOT/bench/lib" "$1" "$2" <<'END'
import pathlib, sys
sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])
import report
report.shutil.which = lambda name: None  # no plots
figures = {"read": float(sys.argv[3]), "ratio": 0.95}
part = {"when": "2026-01-01 00:00", "seconds": 1, "load": [1.0], "rounds": [figures]}
report.write({"machine": {"CPU": sys.argv[2]}, "cpus": 2, "parts": {"head": part}}, pathlib.Path("."))
END
}

@test "a part for each CPU: another CPU's stays, one's own is replaced" {
    cp "$ROOT/bench/RESULTS.md" before
    cp before RESULTS.md
    report "Intel Xeon (family 6, model 173)" 2e9
    report "Intel Xeon (family 6, model 143)" 3e9
    [ "$(grep -c '^# ' RESULTS.md)" -eq 1 ]
    [ "$(grep -c '^## ' RESULTS.md)" -eq $(($(grep -c '^## ' before) + 2)) ]
    # what was there is there, line for line
    sed '1,/^## /d' before >old
    sed '1,/^## /d' RESULTS.md | head -n "$(wc -l <old)" | diff old -
    grep -q '^| read | 2 G | 2 G | 2 G |' RESULTS.md
    report "Intel Xeon (family 6, model 173)" 4e9
    [ "$(grep -c '^## ' RESULTS.md)" -eq $(($(grep -c '^## ' before) + 2)) ]
    grep -q '^| read | 4 G | 4 G | 4 G |' RESULTS.md
    grep -q '^| read | 3 G | 3 G | 3 G |' RESULTS.md
    [ "$(grep -c '^| read | 2 G | 2 G | 2 G |' RESULTS.md)" -eq 0 ]
    [ "$(grep -c '^### Targets' RESULTS.md)" -eq $(($(grep -c '^### Targets' before) + 2)) ]
}
