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

amx_report() { # FIGURES: the rows of AMX, of a page made from one round of its part
    python3 - "$ROOT/bench/lib" "$1" <<'END'
import json, sys
sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])
import report
part = {"when": "2026-01-01 00:00", "seconds": 1, "load": [1.0], "rounds": [json.loads(sys.argv[2])]}
rows = report.target_table({"machine": {"CPU": "x"}, "cpus": 2, "parts": {"amx": part}})
print("\n".join(row for row in rows if row.startswith("| AMX")))
END
}

@test "AMX's rows: shares of its peaks, or that there is none here" {
    amx_report '{}' >none
    [ "$(wc -l <none)" -eq 8 ]
    [ "$(grep -c 'no AMX here' none)" -eq 8 ]
    amx_report '{"bf16: prefill": 900, "bf16: flops": 2e12, "bf16: peak": 5e12, "i8: prefill": 500, "i8: flops": 1e12,
        "i8: peak": 1e13, "i8: prefill, llama.cpp": 100, "i4_16: prefill": 500, "i4_16: flops": 1e12, "i4_16: peak": 8e12,
        "i4_32: prefill": 500, "i4_32: flops": 1e12, "i4_32: peak": 1e13, "1 together": 10, "16 together": 144}' >some
    grep -q 'BF16: of the unit.s BF16 peak | at least 50.0 % | \*\*40.0 %\*\* .* short' some
    grep -q 'i8: four products .* | at least 40.0 % | \*\*40.0 %\*\* .* met' some
    grep -q 'i4_16: the same | at least 35.0 % | \*\*50.0 %\*\* .* met' some
    grep -q 'i8: tokens/s, of the best peer.s Q8_0 | at least 5.00 x | \*\*5.00 x\*\* .* met' some
    grep -q '16 sequences together, BF16: of 16 times one | at least 85.0 % | \*\*90.0 %\*\* .* met' some
    [ "$(grep -c 'not measured' some)" -eq 2 ] # peers of the other types
}

@test "a part for each CPU: another CPU's stays, one's own is replaced" {
    cp "$ROOT/bench/RESULTS.md" before
    cp before RESULTS.md
    report "Xeon (family 6, model 173)" 2e9
    report "Xeon (family 6, model 143)" 3e9
    [ "$(grep -c '^# ' RESULTS.md)" -eq 1 ]
    [ "$(grep -c '^## ' RESULTS.md)" -eq $(($(grep -c '^## ' before) + 2)) ]
    # what was there is there, line for line
    sed '1,/^## /d' before >old
    sed '1,/^## /d' RESULTS.md | head -n "$(wc -l <old)" | diff old -
    grep -q '^| read | 2 G | 2 G | 2 G |' RESULTS.md
    report "Xeon (family 6, model 173)" 4e9
    [ "$(grep -c '^## ' RESULTS.md)" -eq $(($(grep -c '^## ' before) + 2)) ]
    grep -q '^| read | 4 G | 4 G | 4 G |' RESULTS.md
    grep -q '^| read | 3 G | 3 G | 3 G |' RESULTS.md
    [ "$(grep -c '^| read | 2 G | 2 G | 2 G |' RESULTS.md)" -eq 0 ]
    [ "$(grep -c '^### Targets' RESULTS.md)" -eq $(($(grep -c '^### Targets' before) + 2)) ]
}
