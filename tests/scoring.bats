#!/usr/bin/env bats
# Scoring continuations: from=N through llm-forward and llm-score, the bits, and how many rows are run.
# SPDX-License-Identifier: AGPL-3.0-or-later
bats_require_minimum_version 1.5.0
load lib/common

setup() {
    export LLM_MODEL=$DATA/models/llama TMPDIR=$BATS_TEST_TMPDIR XDG_RUNTIME_DIR=
    cd "$BATS_TEST_TMPDIR"
}

frames() { python3 "$ROOT/tests/lib/frames.py" "$@"; }

# N questions of 4 answers each, after an introduction of INTRO ids: from Q to 2 Q ids a question, from A to 2 A ids an
# answer. Writes the rows that cannot be spared to `least`, and the ids of all answers to `own`.
questions() { # N INTRO Q A
    python3 - "$@" <<'EOF'
import random, sys
n, intro, q, a = map(int, sys.argv[1:])
random.seed(7)
ids = lambda k: [random.randrange(4, 280) for _ in range(k)]
start = ids(intro)
least, own = intro, 0
for i in range(n):
    question = ids(random.randint(q, 2 * q))
    least += len(question) - 1  # its last id is run with each answer
    for j in range(4):
        answer = [20 * j + 5] + ids(random.randint(a, 2 * a) - 1)
        own += len(answer)
        print(f"#@ id={i}.{j} from={intro + len(question)}")
        print(*start, *question, *answer)
open("least", "w").write(str(least + own))
open("own", "w").write(str(own))
EOF
}

# The rows of prompts that llm-forward has run, of a run with -v whose stderr is the file `said`.
rows_run() { sed -n 's/.*prefill: \([0-9]*\) tokens.*/\1/p' said; }

score() { llm-forward --no-return -v "$@" ids 2>said | llm-score -j; }

@test "200 questions of 4 answers: the introduction runs once, and all is at most 1.3 times the answers" {
    questions 200 120 3 8 >ids
    for options in "" "-b 1" "-b 64" "-b 5 --chunk 9"; do
        score $options >got
        [ "$(wc -l <got)" -eq 800 ]
        [ "$(rows_run)" -le $(($(cat own) * 13 / 10)) ] || { echo "$options: $(rows_run) rows for $(cat own)"; false; }
        [ "$(rows_run)" -ge $(($(cat own))) ]
        [ "$options" = "" ] && cp got first
        cmp got first
    done
    # The same over a pipe whose reader declines the return path.
    llm-forward ids | llm-score -j | cmp - first
    # And the same bits as of every position.
    llm-forward --no-return -a ids | llm-score -j | cmp - first
}

@test "long questions run once, too: nothing is run that could be spared" {
    questions 20 70 30 4 >ids
    for options in "-b 1" "-b 16" "-b 64"; do
        score $options >got
        [ "$(rows_run)" -eq "$(cat least)" ] || { echo "$options: $(rows_run) rows, $(cat least) needed"; false; }
    done
}

@test "the same bits in every kind of model, as -a, in any batch and chunk, with and without a cache" {
    questions 6 40 30 5 >ids
    for model in $(some 3 llama mistral qwen3-moe llama-f16 gemma2 gemma3 phi granite smollm3 phi3-longrope llama-dynamic-ntk); do
        export LLM_MODEL=$DATA/models/$model
        llm-forward -q -c 120 --no-return -a ids | llm-score -qj >all
        [ "$(jq -s 'map(select(.error == null)) | length' all)" -eq 24 ] || { head -n 1 all; false; }
        for options in "" "-b 1" "-b 40 --chunk 7" "--keep 0" "-b 3 -t 1 --chunk 1"; do
            llm-forward -q -c 120 --no-return $options ids | llm-score -qj | cmp - all || { echo "$model $options"; false; }
        done
    done
}

@test "the frames: rows from N - 1 to the last but one, and the end" {
    (echo '#@ from=3'; echo 1 2 3 4 5 6; echo '#@ from=1'; echo 1 2; echo '#@ from=2'; echo 1 2; echo '#@ from=1'; echo 1) >ids
    llm-forward --no-return ids >out
    [ "$(frames out)" = "OPEN:0 OPEN:1 OPEN:2 CLOS:2 OPEN:3 CLOS:3 LOGI:0@2x3 LOGI:1@0x1 CLOS:0 CLOS:1 END" ] ||
        [ "$(frames out | tr ' ' '\n' | sort | tr '\n' ' ')" = "CLOS:0 CLOS:1 CLOS:2 CLOS:3 END LOGI:0@2x3 LOGI:1@0x1 OPEN:0 OPEN:1 OPEN:2 OPEN:3 " ] ||
        { frames out; false; }
    llm-score -j out >scores
    [ "$(jq -c '[.count, .tokens, .sum == null]' scores | tr '\n' ' ')" = '[3,3,false] [1,1,false] [0,0,false] [0,0,false] ' ]
    # With -a every position comes, and the same ids are scored.
    llm-forward --no-return -a ids >out
    [[ " $(frames out) " == *" LOGI:0@0x6 "* ]]
    llm-score -j out | cmp - scores
}

@test "a from that cannot be fails its sequence alone" {
    (for from in 0 4 -1 x 99999999999 3; do echo "#@ from=$from"; echo 1 2 3; done; echo '#@ from=1'; echo 1 999) >ids
    run --separate-stderr bash -c 'llm-forward --no-return ids | llm-score -qj; echo "${PIPESTATUS[*]}"'
    [ "${lines[7]}" = "1 1" ]
    [ "$(jq -c '.error // .count' <<<"${lines[0]}")" = '"ids from 0 on are to be scored, but from 1 to 3 is possible"' ]
    [ "$(jq -c '.error // .count' <<<"${lines[1]}")" = '"ids from 4 on are to be scored, but from 1 to 3 is possible"' ]
    for i in 2 3 4; do [[ "${lines[$i]}" == *'"error": "from takes the position of an id: '* ]]; done
    [ "$(jq .count <<<"${lines[5]}")" = 0 ]
    [[ "${lines[6]}" == *'id 999 is not in the vocabulary'* ]]
}

@test "a sampler is told that such a sequence does not go on, and answers the others" {
    (echo '#@ from=1'; echo 1 2 3; echo 4 5) >ids
    run --separate-stderr bash -c 'llm-forward ids | llm-sample -n 2 --ignore-eos; echo "${PIPESTATUS[*]}"'
    [[ $output == *'! the sequence has the attribute from: its ids are scored, and nothing follows them'* ]]
    [[ $output == *'#= finish=length prompt=2 completion=2'* ]]
    [ "${lines[-1]}" = "0 1" ]
    # With -a its rows are all there, and it is sampled as any other.
    llm-forward -a ids | llm-sample -n 2 --ignore-eos | grep -v '^#' >out
    sed 1d ids | llm-forward | llm-sample -n 2 --ignore-eos | grep -v '^#' | cmp - out
}

@test "records of texts, from tok-encode to llm-score, with their keys" {
    export LLM_MODEL=$DATA/tiny
    for a in ' Paris' ' London' ' 4' ''; do
        jq -nc --arg a "$a" '{context: "The capital of France is", continuation: $a, id: $a, sum: 1, temperature: 0.5}'
    done >in
    run --separate-stderr bash -c 'tok-encode -j in | llm-forward | llm-score -j; echo "${PIPESTATUS[*]}"'
    [ "${lines[4]}" = "1 1 1" ]
    printf '%s\n' "${lines[@]:0:4}" >out
    [ "$(jq -c '[.seq, .id, .sum, .params.temp, (.sum_ | type), (.is_greedy | type), .error]' out)" = \
        '[0," Paris",1,0.5,"number","boolean",null]
[1," London",1,0.5,"number","boolean",null]
[2," 4",1,0.5,"number","boolean",null]
[3,"",1,0.5,"null","null","the continuation has no token of its own"]' ]
    # What the model itself would say is greedy, and nothing else is.
    said=$(printf 'The capital of France is' | tok-encode | llm-forward | llm-sample -n 1 | grep -v '^#')
    ids=$(printf 'The capital of France is' | tok-encode | tail -n 1)
    n=$(wc -w <<<"$ids")
    (echo "#@ from=$n"; echo "$ids $said"; echo "#@ from=$n"; echo "$ids $((said + 1))") | llm-forward | llm-score -j >out
    [ "$(jq -c .is_greedy out | tr '\n' ' ')" = 'true false ' ]
    jq -s -e '.[0].sum > .[1].sum and (.[0].sum + .[0].nll | fabs) < 1e-6' out >/dev/null
}

@test "the cache is too small for the introduction: it runs again, and all ends" {
    questions 4 100 10 4 >ids
    score --keep 0 >want
    [ "$(rows_run)" -gt "$(cat least)" ]
    run ! grep -q reused said
    export LLM_MODEL=$DATA/models/llama
    for keep in 0 1; do score --keep $keep -b 7 | cmp - want; done
}
