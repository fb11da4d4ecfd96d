#!/usr/bin/env bats
# Each program with an allocation or a system call that fails, that is short, or before which it is killed: faults.py says what
# must hold.
# All calls: make faults.
# SPDX-License-Identifier: AGPL-3.0-or-later
load lib/common

@test "a failed or short call, or a kill, gives a documented end, a whole output or none, and leaves nothing" {
    [ -e "$ROOT/${BUILD:-build}/tests/faults.so" ] || skip "the shim is not for builds with a sanitizer"
    [ "$(uname -sm)" = "Linux x86_64" ] || skip "the shim is for Linux on x86-64"
    run python3 "$ROOT/tests/faults.py" --most 8
    [ "$status" -eq 0 ] || { echo "$output"; return 1; }
    [[ $output == *" faults, 0 wrong" ]]
}
