#!/usr/bin/env bats
# Hidden states of any layer: llm-forward --hidden=LIST, and llm-inspect --npy, --hidden and --index.
# SPDX-License-Identifier: AGPL-3.0-or-later
bats_require_minimum_version 1.5.0
load lib/common

setup() {
    export LLM_MODEL=$DATA/models/llama # 2 layers
    export TMPDIR=$BATS_TEST_TMPDIR XDG_RUNTIME_DIR=
    cd "$BATS_TEST_TMPDIR"
    printf '%s\n' '#@ id=q1 n="7" temp=3' '1 5 9 2 8 77 3' '#@ tag=a%20b' '4 5 6 7' 8 >ids
}

golden() { python3 "$ROOT/tests/lib/golden.py" "$@"; }
frames() { python3 "$ROOT/tests/lib/frames.py" "$@"; }
forward() { llm-forward --no-return -a "$@"; }

# The shape of a .npy file:  shape FILE
shape() { head -c 128 "$1" | LC_ALL=C sed -n "s/.*'shape': (\([^)]*\)).*/\1/p" | tr -d '\0'; }

@test "every layer's states are those of the reference" {
    for model in gemma3 gpt2 phi; do # scaled embeddings and windows; learned positions; parallel blocks
        m=$DATA/models/$model
        golden ids "$m/hidden.safetensors" ids >prompt
        forward -m "$m" --precise --hidden=all prompt | llm-inspect --hidden --npy all.npy
        golden close "$m/hidden.safetensors" hidden all.npy 1e-4
    done
}

@test "layer k is what a model cut behind it gives, before its final norm" {
    # The states of layer k, normed here in double precision, against --hidden of a model with k layers.
    for model in olmo2 qwen3-moe gemma2; do
        m=$DATA/models/$model
        n=$(jq .num_hidden_layers "$m/config.json")
        forward -m "$m" --precise --hidden=all ids | llm-inspect --hidden --npy all.npy
        for k in $(seq 1 $((n - 1))); do
            python3 "$ROOT/tests/lib/refold.py" "$m" "$model.$k" "set=num_hidden_layers=$k"
            jq ".layer_types |= (if . then .[:$k] else . end)" "$model.$k/config.json" >c && mv c "$model.$k/config.json"
            forward -q -m "$model.$k" --precise --hidden ids | llm-inspect --hidden --npy cut.npy
            forward -m "$m" --precise --hidden="$k" ids | llm-inspect --hidden --npy one.npy
            python3 "$ROOT/tests/lib/rmsnorm.py" "$m" one.npy cut.npy
        done
    done
}

@test "a frame says its layer; without a list there is one without a word" {
    forward --hidden ids >plain
    [ "$(frames --text plain | grep -c layer)" -eq 0 ]
    forward --hidden=0,2 --chunk 3 -b 1 ids >two
    [ "$(frames --text two | grep layer | sort | uniq -c | tr '\n' ' ' | tr -s ' ')" = " 6 layer=0 6 layer=2 " ]
    [[ $(frames two) == "OPEN:0 LOGI:0@0x3 HIDD:0@0x3 HIDD:0@0x3 LOGI:0@3x3 HIDD:0@3x3 HIDD:0@3x3 LOGI"* ]]
    # The last layer is what --hidden has always given.
    llm-inspect --hidden --npy plain.npy plain
    llm-inspect --hidden=2 --npy last.npy two
    cmp plain.npy last.npy
    frames --rows plain >a && frames --rows two | cmp - a
    llm-forward --hidden=1 --no-return ids >last # without -a, of the last position
    [ "$(frames last | tr ' ' '\n' | grep -c HIDD)" -eq 3 ]
}

@test "the same bits in any batch, in any chunk, and after a prefix that was reused" {
    { cat ids; seq -s ' ' 1 75; seq -s ' ' 1 80; echo "$(seq -s ' ' 1 70) 4 4 4"; } >more
    for model in llama gemma3 gpt2; do
        export LLM_MODEL=$DATA/models/$model
        forward --hidden=all -b 1 more | llm-inspect --hidden --npy want.npy --index want.jsonl
        for options in "-b 8" "--chunk 1 -b 3" "--chunk 7 -t 1" "-b 2 --chunk 200"; do
            forward --hidden=all $options more | llm-inspect --hidden --npy got.npy --index got.jsonl
            cmp want.npy got.npy
            cmp want.jsonl got.jsonl
        done
        llm-forward --no-return --hidden=all --keep 0 -b 1 more | llm-inspect --hidden --npy want.npy
        llm-forward --no-return --hidden=all -v -b 1 more 2>said | llm-inspect --hidden --npy got.npy
        grep -q 'reused: ' said
        cmp want.npy got.npy
    done
}

@test "a sampler's steps have them, too" {
    sed -i '1d' ids # greedy
    llm-forward --hidden=0,1 ids | tee rec | llm-sample -n 5 --ignore-eos >out
    llm-forward ids | llm-sample -n 5 --ignore-eos | cmp - out
    llm-inspect --hidden --npy h.npy --index h.jsonl rec
    [ "$(shape h.npy)" = "15, 2, 64" ]
    [ "$(jq -c 'select(.seq == 2) | [.pos, .after]' h.jsonl | head -n 1)" = "[0,8]" ]
}

@test "--npy: one layer is [rows, hidden size], several are [rows, layers, hidden size]" {
    forward --hidden=0-1 ids >rec
    llm-inspect --hidden --npy both.npy rec
    [ "$(shape both.npy)" = "12, 2, 64" ]
    for k in 0 1; do
        llm-inspect --hidden=$k --npy $k.npy rec
        [ "$(shape $k.npy)" = "12, 64" ]
        forward --hidden=$k ids | llm-inspect --hidden --npy alone.npy
        cmp $k.npy alone.npy
    done
    # A row of both is a row of layer 0, then one of layer 1.
    for row in 0 4 11; do
        for k in 0 1; do
            tail -c +129 $k.npy | tail -c +$((row * 256 + 1)) | head -c 256
        done | cmp - <(tail -c +129 both.npy | tail -c +$((row * 512 + 1)) | head -c 512)
    done
    llm-inspect --hidden=all --npy all.npy rec && cmp both.npy all.npy
    llm-inspect --hidden=0,1 --npy all.npy rec && cmp both.npy all.npy
}

@test "--index: a line a row, with the attributes beside" {
    forward --hidden=0,2 ids >rec
    llm-inspect --hidden --npy h.npy --index h.jsonl rec
    [ "$(wc -l <h.jsonl)" -eq 12 ]
    [ "$(jq -c . h.jsonl | sed -n 2p)" = '{"seq":0,"pos":1,"after":5,"layers":[0,2],"attrs":{"id":"q1","n":"7","params":{"temp":3}}}' ]
    [ "$(jq -c .attrs h.jsonl | sed -n 8p)" = '{"tag":"a b"}' ]
    [ "$(jq -c .attrs h.jsonl | tail -n 1)" = '{}' ]
    [ "$(jq -c '[.seq, .pos]' h.jsonl | tr -d '\n')" = "[0,0][0,1][0,2][0,3][0,4][0,5][0,6][1,0][1,1][1,2][1,3][2,0]" ]
    llm-inspect --npy l.npy --index l.jsonl rec
    [ "$(shape l.npy)" = "12, 288" ]
    [ "$(jq -c 'del(.layers)' h.jsonl)" = "$(jq -c . l.jsonl)" ]
    forward --hidden ids | llm-inspect --hidden --npy p.npy --index p.jsonl
    cmp p.jsonl l.jsonl # without a list, a frame does not say its layer
}

@test "files are whole or not there" {
    forward --hidden=0,1 ids >rec
    head -c $(($(stat -c %s rec) - 40)) rec >cut
    fails 65 "the stream was cut" llm-inspect --hidden --npy x.npy --index x.jsonl cut
    fails 65 "no hidden states of layer 2 (llm-forward --hidden=2 makes them)" llm-inspect --hidden=2 --npy x.npy --index x.jsonl rec
    forward --hidden ids >plain
    fails 65 "no hidden states of layer 0" llm-inspect --hidden=0-1 --npy x.npy plain
    fails 74 "cannot write" llm-inspect --hidden --npy x.npy --index /no/such/folder/x.jsonl rec
    [ -z "$(ls -A | grep -E '^x|tmp|\.tokpipe')" ]
    forward --hidden=0,1 </dev/null | llm-inspect --hidden --npy none.npy --index none.jsonl
    [ "$(shape none.npy)" = "0, 64" ]
    [ ! -s none.jsonl ]
    printf '1 2\n999\n3\n' | forward --hidden=1 -q >some || [ $? -eq 1 ]
    fails 1 "sequence 1 failed" llm-inspect --hidden --npy s.npy --index s.jsonl some
    [ "$(jq -c .seq s.jsonl | tr '\n' ' ')" = "0 0 2 " ]
}

@test "lists that say nothing, or more than the model has, are usage errors" {
    for list in '' ',' '0,' ',0' x -1 1-x 2-1 1,,2 '0 1' 1.0 99999999999999999999; do
        fails 2 "--hidden: expected layers such as" llm-forward --hidden="$list" ids
        fails 2 "--hidden: expected layers such as" llm-inspect --npy x --hidden="$list" ids
    done
    fails 2 "--hidden: expected layers from 0 to 2, found '3'" llm-forward --hidden=0,3 ids
    fails 2 "expected layers from 0 to 2, found '1-3'" llm-forward --hidden=1-3 ids
    fails 2 "expected layers from 0 to 1024, found '1025'" llm-forward --hidden=1025 ids
    fails 2 "a range needs its last layer here: 1-" llm-inspect --npy x --hidden=1- ids
    fails 2 "--index describes the rows of --npy" llm-inspect --index x ids
    fails 2 "write to one file" llm-inspect --npy x --index x ids
    forward --hidden=1-,0,1 ids >a && forward --hidden=all ids | cmp - a
}
