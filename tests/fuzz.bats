#!/usr/bin/env bats
# Every fuzz entry over its seeds, which include each input that was once a finding, and over some of their mutations.
# All mutations: make flips. New inputs: make fuzz FUZZ_S=60.
# SPDX-License-Identifier: AGPL-3.0-or-later
load lib/common

# 40 mutations a seed of each entry. What stops an entry is named, and written to crash-ENTRY.
@test "fuzz entries take their seeds, and truncations and flips of them" {
    for name in "$ROOT"/tests/fuzz/*.c; do
        name=$(basename "$name" .c)
        run env BUILD="${BUILD:-build}" "$ROOT/tests/fuzz/flips" 40 "$name"
        [ "$status" -eq 0 ] && [[ $output == *"$name: "*" inputs" ]] || { echo "$output"; return 1; }
    done
}

@test "each folder of seeds and each dictionary has an entry" {
    cd "$ROOT/tests/fuzz"
    for name in $(ls seeds) $(ls dict | sed 's/\.dict$//'); do
        [ -e "$name.c" ] || { echo "$name.c is missing"; return 1; }
    done
}

# The other side of the fuzz entries: whole programs, with the messages that users see.
@test "programs refuse cut and flipped files with a message that names the place" {
    run python3 "$ROOT/tests/flips.py" --most 12
    [ "$status" -eq 0 ] || { echo "$output"; return 1; }
    [[ $output == *" runs, 0 wrong" ]]
}
