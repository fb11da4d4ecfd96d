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

@test "ask-man: pages become an index, answers have sources, and it says what is missing" {
    ask() { run --separate-stderr "$ROOT/examples/ask-man" "$@"; }
    export HOME=$PWD LLM_SAMPLE_OPTIONS='-n 4' ASK_MAN_CHUNKS=2
    "$ROOT/tests/lib/toy-embedder" "$ROOT" embedder
    mkdir -p pages/man1
    printf '.TH CAT 1\n.SH NAME\ncat \\- the cat is red\n.SH DOG\nA dog is blue.\n' >pages/man1/cat.1
    printf '.TH FISH 1\n.SH NAME\nfish \\- swim in the sea\n' | gzip >pages/man1/fish.1.gz
    ask
    [ "$status" -eq 2 ] && [[ $stderr == "usage: examples/ask-man --index"* ]]
    LLM_EMBED_MODEL=$PWD/nowhere ask 'where is the cat?'
    [ "$status" -eq 66 ] && [[ $stderr == *"LLM_EMBED_MODEL is no folder"* ]]
    export LLM_EMBED_MODEL=$PWD/embedder
    ask 'where is the cat?'
    [ "$status" -eq 66 ] && [[ $stderr == *"there is no index yet"* ]]
    ask --index nowhere
    [ "$status" -eq 66 ]
    ask --index pages
    [ "$status" -eq 0 ] && [[ $stderr == *"2 pages, 3 chunks, 3 to embed"* ]]
    ask --index pages/man1
    [ "$status" -eq 0 ] && [[ $stderr == *"3 chunks, 0 to embed"*"the index has 3"* ]]
    ask 'where is the cat?' 'what is the cat?'
    [ "$status" -eq 0 ]
    [ "$(grep -cE '^\[[12]\] (CAT|FISH)\(1\) > [A-Z]+: /.*pages/man1/(cat|fish).1, bytes [0-9]+ to [0-9]+$' <<<"$output")" -eq 4 ]
    [[ $stderr == *"question 1: first words after "*"question 2: first words after "* ]]
}

@test "batch-of-prompts answers line k in line k" {
    printf 'one\ntwo\nthree\n' >prompts
    run --separate-stderr "$ROOT/examples/batch-of-prompts" prompts
    [ "$status" -eq 0 ]
    [ "$(grep -c ' ... ' <<<"$output")" -ge 3 ]
    [ "$(grep '^{' <<<"$output" | jq -s -c 'map(.line)')" = '[1,2,3]' ]
}

@test "nightly: 500 prompts, killed with -9 at random moments, end as those of a run that nobody disturbed" {
    export LLM_SAMPLE_OPTIONS='-n 24' LLM_FORWARD_OPTIONS='-b 3 -t 1'
    python3 -c '
import json, random
random.seed(3)
words = "the a capital of France is two plus once upon time def return hello world".split()
for i in range(500):
    text = " ".join(random.choice(words) for _ in range(random.randrange(1, 12)))
    print(json.dumps({"text": text, "id": f"p {i}", "part": i % 7}) if i % 100 else json.dumps({"text": text, "id": i, "n": 2}))' >prompts
    (unset LLM_FORWARD_OPTIONS; "$ROOT/examples/nightly" prompts want 2>err)
    [ "$(wc -l <want)" -eq 500 ]
    [ "$(jq -c .id want)" = "$(jq -c .id prompts)" ]
    [ "$(jq -c 'select(.error != null) | .id' want | wc -l)" -eq 5 ] # n is refused
    killed=0 parts=''
    for i in $(seq 12); do
        [ ! -e got ] || break
        "$ROOT/examples/nightly" prompts got 2>>err 3>&- &
        script=$!
        sleep "0.$(printf %03d $((RANDOM % 250 + 50)))"
        if [ $((RANDOM % 2)) -eq 0 ]; then # one of its programs; the script goes on
            mapfile -t children < <(pgrep -P $script)
            [ ${#children[@]} -eq 0 ] || kill -9 "${children[RANDOM % ${#children[@]}]}" 2>/dev/null || true
            sleep 0.05
        fi
        kill -9 $script 2>/dev/null && killed=$((killed + 1))
        wait $script || true
        [ ! -e got.part ] || parts="$parts $(wc -l <got.part)"
    done
    echo "killed $killed times, with answers so far:$parts"
    [ "$killed" -ge 1 ]
    "$ROOT/examples/nightly" prompts got 2>>err
    cmp got want
    [ "$(ls got*)" = got ]
    run "$ROOT/examples/nightly" prompts got # again: nothing to do
    [ "$status" -eq 0 ]
    [[ $output == *'done already'* ]]
}

@test "nightly: what is no batch is refused, and an error that stays ends it" {
    printf '{"text":"a","id":1}\n{"text":"b"}\n' >prompts
    fails 65 'each record needs an id of its own' "$ROOT/examples/nightly" prompts got
    printf '{"text":"a","id":1}\n{"text":"b","id":1}\n' >prompts
    fails 65 'each record needs an id of its own' "$ROOT/examples/nightly" prompts got
    fails 2 usage "$ROOT/examples/nightly" prompts
    printf '{"text":"a","id":1}\n' >prompts
    fails 66 nowhere env LLM_MODEL=nowhere "$ROOT/examples/nightly" prompts got
    [ ! -e got ]
    "$ROOT/examples/nightly" prompts got
    [ "$(jq .id got)" = 1 ]
}

@test "examples/systemd: the units are understood, and pass the socket of packets that --listen takes" {
    cd "$ROOT/examples/systemd"
    grep -q '^ListenSequentialPacket=' llm-forward@.socket
    grep -q '^ExecStart=.*/llm-forward --listen --idle [0-9]* -m ' llm-forward@.service
    command -v systemd-analyze >/dev/null || skip "systemd-analyze is not installed"
    mkdir "$BATS_TEST_TMPDIR/units"
    for unit in *; do
        sed "s|/usr/local/bin/llm-forward|$BIN/llm-forward|" "$unit" >"$BATS_TEST_TMPDIR/units/${unit/@/@x}"
    done
    run systemd-analyze verify --man=no --recursive-errors=no "$BATS_TEST_TMPDIR"/units/*
    [[ $output != *llm-forward@x*:* ]] || { echo "$output"; return 1; }
}

@test "every example has a test here, except those that fetch a model" {
    for f in "$ROOT"/examples/*; do
        case ${f##*/} in demo | chat) continue ;; esac
        grep -q "examples/${f##*/}" "$BATS_TEST_DIRNAME"/*.bats || { echo "no test for $f"; false; }
    done
}

@test "compare-quants: a line for each format, smaller ones lose more, and a plot" {
    POSITIONS=100 FORMATS='i8 i4_32 nf4 i8+stats kv-i8' run --separate-stderr "$ROOT/examples/compare-quants" "$DATA/models/llama-q" \
        "$ROOT/SECURITY.md" plot.svg
    [ "$status" -ne 0 ] # it has no tokenizer
    POSITIONS=100 FORMATS='i8 i4_32 nf4 i8+stats kv-i8' run --separate-stderr "$ROOT/examples/compare-quants" "$LLM_MODEL" \
        "$ROOT/SECURITY.md" plot.svg
    [ "$status" -eq 0 ]
    [ "$(awk 'NR > 1 && NF == 9 {print $1}' <<<"$output" | xargs)" = 'source i8 i4_32 nf4 i8+stats kv-i8' ]
    bytes=$(st-inspect -j "$LLM_MODEL" | jq '[.tensors[].bytes] | add')
    [ "$(awk '$1 == "source" {print $2, $6, $8}' <<<"$output")" = "$(awk "BEGIN {printf \"%.1f 0 100.00\", $bytes / 1e6}")" ]
    awk '$1 == "i8" {kl = $6; bits = $3} $1 == "i4_32" {exit !($6 > kl && $3 < bits && $7 >= $6 && $9 > 0)}' <<<"$output"
    # Rows of this model are too short for blocks of 64 to have fewer bits than those of 32.
    awk '$1 == "i4_32" {bits = $3} $1 == "nf4" {exit !($3 <= bits && $6 > 0)}' <<<"$output"
    awk '$1 == "i8" {kl = $6} $1 == "kv-i8" {exit !($6 > 0 && $6 < kl && $9 > 0)}' <<<"$output"
    python3 -c 'import xml.dom.minidom as x; assert len(x.parse("plot.svg").getElementsByTagName("circle")) == 5'
}
