#!/usr/bin/env bats
# Every script of examples/ does what it says, with a tiny model that has learned nothing.
# SPDX-License-Identifier: AGPL-3.0-or-later
bats_require_minimum_version 1.5.0
load lib/common

setup() {
    export LLM_MODEL=$DATA/tiny
    cd "$BATS_TEST_TMPDIR"
}

@test "record-and-replay: the recording gives the same answer, and a table" {
    run --separate-stderr "$ROOT/examples/record-and-replay" 'a prompt' rec.logits
    [ "$status" -eq 0 ]
    [ -s rec.logits ]
    [ "$(llm-sample -n 20 rec.logits | tok-decode)" = "$(echo 'a prompt' | tok-encode | llm-forward | llm-sample -n 20 | tok-decode)" ]
    [[ $output == *"The same answer again"* ]]
}

@test "compare-precision prints differences" {
    echo 'some words to compare' >text
    run --separate-stderr "$ROOT/examples/compare-precision" text
    [ "$status" -eq 0 ]
    [[ $output == *[0-9]* ]]
}

@test "batch-of-prompts answers line k in line k" {
    printf 'one\ntwo\nthree\n' >prompts
    run --separate-stderr "$ROOT/examples/batch-of-prompts" prompts
    [ "$status" -eq 0 ]
    [ "$(grep -c ' ... ' <<<"$output")" -ge 3 ]
    [ "$(grep '^{' <<<"$output" | jq -s -c 'map(.line)')" = '[1,2,3]' ]
}

@test "every example has a test here, except those that fetch a model" {
    for f in "$ROOT"/examples/*; do
        case ${f##*/} in demo | chat) continue ;; esac
        grep -q "examples/${f##*/}" "$BATS_TEST_FILENAME" || { echo "no test for $f"; false; }
    done
}
