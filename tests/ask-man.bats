#!/usr/bin/env bats
# examples/ask-man on published models, SmolLM2-135M-Instruct and all-MiniLM-L6-v2, with this project's man pages.
# SPDX-License-Identifier: AGPL-3.0-or-later
bats_require_minimum_version 1.5.0
load lib/common

setup_file() { # the models are fetched once for all users of this machine
    load lib/common
    ANSWERS=$(BUILD=${BUILD:-build} sh "$ROOT/tools/fetch-demo-model.sh") || ANSWERS=
    EMBEDS=$(sh "$ROOT/tools/fetch-embed-model.sh") || EMBEDS=
    export ANSWERS EMBEDS
    [ -n "$ANSWERS" ] && [ -n "$EMBEDS" ] || return 0
    export ASK_MAN_INDEX=$BATS_FILE_TMPDIR/man.idx
    "$ROOT/examples/ask-man" --index "$ROOT/man"
}

setup() {
    [ -n "$ANSWERS" ] && [ -n "$EMBEDS" ] || skip "the models cannot be fetched here"
    cd "$BATS_TEST_TMPDIR"
    export LLM_SAMPLE_OPTIONS='-n 24 -T 0'
}

@test "questions find the pages that answer them" {
    while IFS='|' read -r page question; do
        jq -cn --arg q "$question" '{text: $q}' | vec-prefix -q -i "$ASK_MAN_INDEX" -m "$EMBEDS" -k 3 --hybrid |
            jq -r '.cite[].file' >files
        grep -q "/$page\$" files || { echo "$question: $(cat files)"; false; }
    done <<'END'
doc-chunk.1|How do I cut a document into chunks?
vec-index.1|How do I add vectors to an index?
st-convert.1|How do I convert a GGUF file to safetensors?
llm-sample.1|How do I set the temperature of the sampler?
llm-serve.1|How can I serve the OpenAI API over HTTP?
END
}

@test "answers have sources, and the second question starts from the prefix cache" {
    q='How do I cut a document into chunks?'
    LLM_FORWARD_OPTIONS=-v run --separate-stderr "$ROOT/examples/ask-man" "$q" "$q"
    [ "$status" -eq 0 ]
    [ "$(grep -c '^\[[1-3]\] .*/man/[a-z-]*\.[157], bytes [0-9]* to [0-9]*$' <<<"$output")" -eq 6 ]
    [ "$(grep -c 'doc-chunk' <<<"$output")" -ge 2 ]
    reused=$(sed -n 's/.*reused: \([0-9]*\) tokens of prompts.*/\1/p' <<<"$stderr")
    prefill=$(sed -n 's/.*prefill: \([0-9]*\) tokens in.*/\1/p' <<<"$stderr")
    # All whole pages of the first prompt are there: only its end is computed again.
    [ "$reused" -gt 256 ] && [ "$prefill" -lt $((reused + 2 * 64)) ]
    [[ $stderr == *'question 1: first words after '*'question 2: first words after '* ]]
}
