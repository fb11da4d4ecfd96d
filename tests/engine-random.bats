#!/usr/bin/env bats
# A resident engine under random clients, kills and budgets of memory: the bits of those that end are always the same.
# RANDOM_S=600: for ten minutes instead of some seconds; RANDOM_SEED=N: another order.
# SPDX-License-Identifier: AGPL-3.0-or-later
load lib/common

@test "random clients, kills, salts and budgets change no bits, and leave nothing" {
    cd "$BATS_TEST_TMPDIR"
    chmod 700 .
    run timeout $((${RANDOM_S:-12} + 240)) python3 "$ROOT/tests/lib/random_engine.py" --seconds "${RANDOM_S:-12}" --seed "${RANDOM_SEED:-1}"
    echo "$output"
    [ "$status" -eq 0 ]
    [[ $output == *" 0 wrong" ]]
}
