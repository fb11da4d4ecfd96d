#!/usr/bin/env bats
# A published model, SmolLM2-135M-Instruct, against what the reference says of it (tests/data/smollm2).
# SPDX-License-Identifier: AGPL-3.0-or-later
bats_require_minimum_version 1.5.0
load lib/common

setup_file() { # the model is fetched once for all users of this machine
    load lib/common
    F32=$(BUILD=${BUILD:-build} sh "$ROOT/tools/fetch-demo-model.sh" f32) || F32=
    BF16=$(BUILD=${BUILD:-build} sh "$ROOT/tools/fetch-demo-model.sh" bf16) || BF16=
    export F32 BF16
}

setup() {
    [ -n "$F32" ] && [ -n "$BF16" ] || skip "SmolLM2 cannot be fetched here"
    cd "$BATS_TEST_TMPDIR"
}

golden() { python3 "$ROOT/tests/lib/golden.py" "$@"; }
frames() { python3 "$ROOT/tests/lib/frames.py" "$@"; }
case_of() { jq -r ".[$1].$2 | if type == \"array\" then map(tostring) | join(\" \") else . end" "$DATA/smollm2/cases.json"; }
cases() { seq 0 $(($(jq length "$DATA/smollm2/cases.json") - 1)); }

@test "tok-encode gives the reference's ids" {
    for i in $(cases); do
        [ "$(case_of "$i" chat)" = false ] || continue
        text=$(case_of "$i" text; echo x) # with the newlines at its end
        got=$(printf '%s\n' "${text%??}" | tok-encode -m "$F32" | grep -v '^#')
        [ "$got" = "$(case_of "$i" ids)" ] || { echo "case $i: $got"; false; }
    done
}

@test "tok-encode --chat renders the model's template, and gives the reference's ids" {
    for i in $(cases); do
        [ "$(case_of "$i" chat)" = true ] || continue
        got=$(jq -c ".[$i] | [{role: \"user\", content: .text}]" "$DATA/smollm2/cases.json" | tok-encode -m "$F32" --chat | grep -v '^#')
        [ "$got" = "$(case_of "$i" ids)" ] || { echo "case $i: $got"; false; }
    done
}

@test "--precise gives the reference's greedy ids, one prompt at a time and all together" {
    ! sanitized || skip "the build without sanitizers runs it"
    for i in $(cases); do
        n=$(case_of "$i" greedy | wc -w)
        echo "#@ max=$n" >>ids
        case_of "$i" ids >>ids
        case_of "$i" ids | llm-forward -m "$F32" --precise | llm-sample -n "$n" | grep -v '^#' >got
        [ "$(cat got)" = "$(case_of "$i" greedy)" ] || { echo "case $i: $(cat got)"; false; }
        cat got >>alone
    done
    llm-forward -m "$F32" --precise ids | llm-sample | grep -v '^#' | cmp - alone
}

@test "--precise gives the reference's last logits within 2e-2" {
    ! sanitized || skip "the build without sanitizers runs it"
    for i in $(cases); do
        case_of "$i" ids | llm-forward -m "$F32" --precise --no-return >out
        frames --rows out >rows
        run golden close "$DATA/smollm2/last_logits.safetensors" "last_logits.$i" rows 2e-2
        echo "case $i: $output"
        [ "$status" -eq 0 ]
    done
}

@test "bf16 by default agrees with the f32 weights and --precise on 97 % of 500 tokens" {
    [[ $BUILD != *san* ]] || skip "minutes under the sanitizers"
    tok-encode -m "$F32" "$ROOT/LICENSE" | grep -v '^#' | cut -d ' ' -f 1-500 >ids
    llm-forward -m "$F32" --precise -a --no-return ids >precise
    llm-forward -m "$BF16" -a --no-return ids >rounded
    llm-diff --top1 0.97 precise rounded
    [ "$(llm-diff -j precise rounded | jq .rows)" -eq 500 ]
}

@test "four programs and a pipe answer in words" {
    export LLM_MODEL=$BF16
    text=$(echo 'The capital of France is' | tok-encode | llm-forward | llm-sample -n 5 | tok-decode)
    [[ $text == *Paris* ]]
}

@test "llm-score gives the reference's mean negative log-likelihood and perplexity" {
    for i in $(cases); do
        [ "$(jq ".[$i].nll" "$DATA/smollm2/cases.json")" != null ] || continue
        case_of "$i" ids | llm-forward -m "$F32" --precise -a | llm-score -j >score
        jq -n -e --argjson want "$(jq ".[$i]" "$DATA/smollm2/cases.json")" --slurpfile got score \
            '($want.nll - $got[0].nll | fabs) < 1e-3 and ($want.ppl / $got[0].ppl - 1 | fabs) < 1e-3' >/dev/null
        echo "$i" >>scored
    done
    [ -s scored ]
}

@test "llm-inspect shows tokens as text" {
    echo 504 3575 282 4649 314 | llm-forward -m "$BF16" | llm-inspect -m "$BF16" -k 1 >out
    [[ $(sed -n 1p out) == 'sequence 0, position 4, after 314 " is": '* ]]
    [[ $(sed -n 2p out) == *'7042 '*' " Paris"' ]]
    echo 504 3575 282 4649 314 | llm-forward -m "$BF16" | LLM_MODEL=$BF16 llm-inspect -j -k 1 | jq -e '.top[0].text == " Paris"' >/dev/null
}

@test "under ulimit -v: 400 MB for one sequence of 512 ids, 2 GB for the defaults" {
    answer() { # KB OPTIONS
        local kb=$1
        shift
        tok-encode -m "$BF16" <<<'The capital of France is' | within_memory "$kb" llm-forward -m "$BF16" "$@" |
            llm-sample -n 1 | tok-decode -m "$BF16"
    }
    [ "$(answer 400000 -b 1 -c 512)" = " Paris" ]
    [ "$(answer 2000000)" = " Paris" ]
}
