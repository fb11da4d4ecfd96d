#!/usr/bin/env bats
# Every fuzz entry over its seeds, which include each input that was once a finding, and over some of their mutations.
# All mutations: make flips. New inputs: make fuzz FUZZ_S=60.
# SPDX-License-Identifier: AGPL-3.0-or-later
load lib/common

one() { # NAME MOST
    cd "$ROOT"
    run tests/fuzz/flips "$2" "$1"
    [ "$status" -eq 0 ] || { rm -f "crash-$1"; echo "$output"; return 1; }
    [[ $output == *"$1: "*" inputs" ]]
}

@test "each fuzz entry has seeds, and each folder of seeds an entry" {
    cd "$ROOT/tests/fuzz"
    diff <(ls -- *.c | sed 's/\.c$//') <(ls seeds)
    for d in dict/*; do
        [ -e "$(basename "$d" .dict).c" ] || { echo "$d: no such entry"; return 1; }
    done
}

