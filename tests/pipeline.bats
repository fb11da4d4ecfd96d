#!/usr/bin/env bats
# llm-forward and its readers together, over token ids: the goldens' models have no tokenizer.
# SPDX-License-Identifier: AGPL-3.0-or-later
bats_require_minimum_version 1.5.0
load lib/common

setup() {
    export LLM_MODEL=$DATA/models/llama # vocabulary 288, context 256
    export TMPDIR=$BATS_TEST_TMPDIR XDG_RUNTIME_DIR=
    cd "$BATS_TEST_TMPDIR"
}

teardown() { # no process and no socket is left behind, whatever a test did
    for i in $(seq 20); do left || return 0; sleep 0.1; done
    echo "left behind:" $(left)
    false
}

# What is left of our programs: processes whose folder is this test's, and sockets.
left() {
    local p found=1
    for p in $(pgrep -x 'llm-.*|tok-.*'); do
        [ "$(readlink "/proc/$p/cwd")" = "$BATS_TEST_TMPDIR" ] && echo "$p" && found=0
    done
    ls -d tokpipe-* 2>/dev/null && found=0
    return $found
}

golden() { python3 "$ROOT/tests/lib/golden.py" "$@"; }
frames() { python3 "$ROOT/tests/lib/frames.py" "$@"; }
answers() { grep -v '^#' "$@" || true; } # the lines of tokens(5), without what is said about them

five() { # five prompts of different lengths
    seq -s ' ' 10 59
    echo 7
    seq -s ' ' 100 164
    echo 3 1 4 1 5 9 2 6
    seq -s ' ' 200 223
}

# Unit goldens has all of them in every build.
families="llama llama-sharded mistral qwen2 llama-f32 llama-f16 llama-tied-f32 llama-mha-bias llama-headdim llama3-rope
    llama-linear-rope llama-q mistral-nowindow"

@test "greedy continuation of every golden, id for id, from both forms of config.json" {
    for m in $(some 4 $families); do
        d=$DATA/models/$m
        cp -r "$d" other && cp other/config.v?.json other/config.json
        for model in "$d" other; do
            got=$(golden ids "$d/golden.safetensors" ids | llm-forward -m "$model" --precise | llm-sample -n 32 --ignore-eos | answers)
            [ "$got" = "$(golden ids "$d/golden.safetensors" greedy)" ] || { echo "$m from $model: $got"; false; }
        done
        rm -r other
    done
}

@test "logits of every position within 1e-3 of every golden, through --npy" {
    for m in $(some 4 $families); do
        d=$DATA/models/$m
        golden ids "$d/golden.safetensors" ids | llm-forward -m "$d" -a --precise | llm-inspect --npy rows.npy >/dev/null
        run golden close "$d/golden.safetensors" logits rows.npy 1e-3
        [ "$status" -eq 0 ] || { echo "$m: $output"; false; }
    done
}

@test "the same bits alone and together, in chunks of 1, 7 and 64, with 1, 2 and 3 threads" {
    five >ids
    for precise in "" --precise; do
        : >alone
        while read -r line; do
            echo "$line" | llm-forward -a --no-return -t 1 $precise >out
            frames --rows out >>alone
        done <ids
        [ "$(stat -c %s alone)" -eq $((148 * 288 * 4)) ]
        for chunk in 1 7 64; do
            for t in 1 2 3; do
                llm-forward -a --no-return $precise --chunk $chunk -t $t -b $((t + 2)) ids >out
                frames --rows out | cmp - alone
            done
        done
    done
}

@test "the same bits when sampled together and alone" {
    five >ids
    llm-forward ids | tee out | llm-sample -n 20 --ignore-eos | answers >together
    i=0
    while read -r line; do
        echo "$line" | llm-forward -t 1 | tee one | llm-sample -n 20 --ignore-eos | answers >>alone
        frames --rows one >a
        frames --rows=$i out >b
        cmp a b
        i=$((i + 1))
    done <ids
    cmp together alone
}

@test "a recording by tee gives the same ids, and can be replayed into any reader" {
    five >ids
    llm-forward ids | llm-sample -n 20 >plain
    llm-forward ids | tee rec.logits | llm-sample -n 20 >taped
    cmp plain taped
    llm-inspect rec.logits >table
    [ -s table ]
    llm-sample -n 20 rec.logits >replayed
    cmp plain replayed
    llm-forward -a ids >prompts.logits
    llm-inspect prompts.logits >table
}

@test "a sampler in 60 lines of Python generates the same ids" {
    [ "$(wc -l <"$ROOT/tests/sampler.py")" -le 60 ]
    five >ids
    llm-forward ids | llm-sample -n 12 | answers >ours
    llm-forward ids | python3 "$ROOT/tests/sampler.py" 12 | answers >theirs
    cmp ours theirs
}

@test "many more sequences than fit into a batch come out in their order" {
    for i in $(seq 40); do echo "$i $((i * 7 % 288)) $((i % 5))"; done >ids
    llm-forward -b 3 ids | llm-sample -n 9 >three
    llm-forward -b 64 ids | llm-sample -n 9 >sixty-four
    cmp three sixty-four
    [ "$(answers three | wc -l)" -eq 40 ]
}

@test "line k out answers line k in, failed lines and their attributes too" {
    printf '1 2\n#@ id=x\n\n! no\n999\n3 4\n' >ids
    run --separate-stderr bash -c 'llm-forward -q ids | llm-sample -n 3 >out; echo "${PIPESTATUS[*]}"'
    [ "${output%% *}" = 1 ]
    [ "$(grep -c '^!' out)" -eq 3 ]
    [ "$(grep -v '^#' out | sed -n '2p;3p;4p' | cut -c 1)" = "$(printf '!\n!\n!')" ]
    grep -q '^#@ id=x$' out
}

@test "a program that only looks declines, and the stream ends behind the prompts" {
    five >ids
    llm-forward -a ids | llm-inspect >looked
    llm-forward -a ids | tee rec.logits | llm-inspect >through-tee
    cmp looked through-tee
    llm-inspect rec.logits | cmp - looked
}

@test "a reader that has had enough ends the pipeline" {
    yes '1 5 9' | llm-forward | llm-sample -n 5 | head -n 4 >out
    [ "$(wc -l <out)" -eq 4 ]
}

# Feeds the four programs with text without end, with a line now and then, or with none while their input stays
# open; kills stage $2 (0 to 3) with signal $3 while they are at it, and fails unless all have ended a second later.
killed() {
    local source=$1 stage=$2 signal=$3 names=(tok-encode llm-forward llm-sample tok-decode) pids=() rc=0 feeder name
    rm -f in out
    mkfifo in
    case $source in
    endless) (exec yes 'some words to go on from' >in 2>/dev/null) & ;;
    steady) (while echo 'some words' 2>/dev/null; do sleep 0.1; done >in) & ;;
    silent) (exec sleep 30 >in) & ;;
    esac
    feeder=$!
    tok-encode -l in 2>>err | llm-forward 2>>err | llm-sample --ignore-eos -n 5 2>>err | tok-decode -l >out 2>>err &
    for name in "${names[@]}"; do
        for i in $(seq 200); do pgrep -x "$name" -P $$ >pid && break; sleep 0.02; done
        pids+=("$(cat pid)")
    done
    [ "$source" = silent ] || for i in $(seq 500); do [ -s out ] && break; sleep 0.02; done
    kill -"$signal" "${pids[$stage]}"
    for i in $(seq 10); do alive "${pids[@]}" || break; sleep 0.1; done
    if alive "${pids[@]}"; then
        echo "$source, ${names[$stage]}, $signal: still there: $(ps -o comm= -p "$(IFS=,; echo "${pids[*]}")" | tr '\n' ' ')"
        kill -9 "${pids[@]}" 2>/dev/null || true
        rc=1
    fi
    kill "$feeder" 2>/dev/null || true
    wait 2>/dev/null || true
    return $rc
}
alive() {
    local p
    for p in "$@"; do [ -d "/proc/$p" ] && ! grep -q '^State:.Z' "/proc/$p/status" 2>/dev/null && return 0; done
    return 1
}

@test "a stage that waits for its input ends by SIGPIPE when its reader leaves" {
    echo 1 2 3 | llm-forward -a --no-return >rec
    mkfifo silent
    exec 9<>silent # open, and never written
    for stage in "llm-forward --no-return" "llm-sample" "llm-inspect" "llm-score" "llm-diff - rec" \
        "tok-encode -m $DATA/tokenizers/bpe-llama3" "tok-decode -m $DATA/tokenizers/bpe-llama3"; do
        run bash -c "exec 9>&-; timeout 10 $stage <silent 2>err | true; echo \${PIPESTATUS[0]}"
        [ "$output" = 141 ] || { echo "$stage: $output"; cat err; false; }
        [ ! -s err ] || { echo "$stage:"; cat err; false; }
    done
    exec 9>&-
}

@test "killing any of four stages ends the others within a second: while they work" {
    export LLM_MODEL=$DATA/tiny
    for signal in TERM KILL; do
        killed steady 0 $signal # what it has written is still answered: let that be little
        for stage in 1 2 3; do killed endless $stage $signal; done
    done
}

@test "killing any of four stages ends the others within a second: while there is nothing to do" {
    export LLM_MODEL=$DATA/tiny
    for signal in TERM KILL; do
        for stage in 0 1 2 3; do killed silent $stage $signal; done
    done
}

@test "two pipelines at once share the weights: their proportional set sizes sum to one file" {
    mkfifo in1 in2
    sleep 20 >in1 &
    sleep 20 >in2 &
    for i in 1 2; do
        (echo 1 5 9; cat in$i) | llm-forward | llm-sample -n 5 >out$i &
    done
    for i in $(seq 100); do [ -s out1 ] && [ -s out2 ] && break; sleep 0.05; done
    file=$LLM_MODEL/model.safetensors
    sum=0
    for p in $(pgrep -x llm-forward); do
        [ "$(readlink "/proc/$p/cwd")" = "$BATS_TEST_TMPDIR" ] || continue
        grep -A 20 -F "$file" "/proc/$p/smaps" >smaps
        [ "$(awk '/^Private_Dirty/ { n += $2 } END { print n + 0 }' <(head -n 20 smaps))" -eq 0 ]
        sum=$((sum + $(awk '/^Pss:/ { print $2; exit }' smaps)))
    done
    echo "sum of PSS: $sum kB"
    [ "$sum" -gt 0 ]
    [ "$sum" -le $(($(stat -c %s "$file") / 1024 + 8)) ]
    kill %1 %2
    wait
}
