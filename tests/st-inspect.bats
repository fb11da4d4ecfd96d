#!/usr/bin/env bats
# st-inspect: listings, values, statistics, hashes, and every rule of the format broken once.
# SPDX-License-Identifier: AGPL-3.0-or-later
load lib/common

setup() {
    M=$DATA/models
    cd "$BATS_TEST_TMPDIR"
}

# Writes a safetensors file:  make_st FILE 'JSON header' 'hex of the data'
make_st() {
    python3 -c 'import struct, sys
h = sys.argv[2].encode()
open(sys.argv[1], "wb").write(struct.pack("<Q", len(h)) + h + bytes.fromhex(sys.argv[3]))' "$@"
}

@test "the table: a line a tensor, then the totals" {
    run st-inspect "$M/llama/model.safetensors"
    [ "$status" -eq 0 ]
    [[ ${lines[0]} =~ ^NAME\ +DTYPE\ +SHAPE\ +BYTES\ +OFFSET$ ]]
    [[ ${lines[1]} =~ ^lm_head.weight\ +BF16\ +\[288,64\]\ +36864\ +2152$ ]]
    [ "${#lines[@]}" -eq 24 ]
    [[ ${lines[23]} =~ ^total\ +21\ tensors\ +92480\ parameters\ +184960\ bytes$ ]]
}

@test "a folder, a sharded folder, its index, -m, LLM_MODEL and standard input" {
    [ "$(st-inspect "$M/llama")" = "$(st-inspect "$M/llama/model.safetensors")" ]
    [ "$(st-inspect -m "$M/llama")" = "$(st-inspect "$M/llama")" ]
    [ "$(LLM_MODEL=$M/llama st-inspect)" = "$(st-inspect "$M/llama")" ]
    [ "$(st-inspect - <"$M/llama/model.safetensors")" = "$(st-inspect "$M/llama")" ]
    run st-inspect "$M/llama-sharded"
    [[ ${lines[0]} == *FILE ]]
    [[ $output == *"model.norm.weight "*" model-00003-of-00003.safetensors"* ]]
    [ "$output" = "$(st-inspect "$M/llama-sharded/model.safetensors.index.json")" ]
    fails 66 "not a regular file" sh -c "cat '$M/llama/model.safetensors' | st-inspect -"
}

@test "every golden opens, and its bytes add up to the file" {
    for f in "$M"/*/*.safetensors; do
        st-inspect -j "$f" >j.json
        [ "$(jq '.files[0].header_bytes + .total.bytes' j.json)" -eq "$(stat -c %s "$f")" ]
        [ "$(jq '[.tensors[].bytes] | add' j.json)" -eq "$(jq .total.bytes j.json)" ]
    done
}

@test "JSON agrees with the header as Python reads it" {
    st-inspect -j "$M/gpt2/model.safetensors" >j.json
    python3 - "$M/gpt2/model.safetensors" <<'PY'
import json, struct, sys
data = open(sys.argv[1], "rb").read()
n, = struct.unpack("<Q", data[:8])
header = json.loads(data[8:8 + n])
mine = json.load(open("j.json"))
assert mine["files"][0]["metadata"] == header.pop("__metadata__")
assert mine["files"][0]["bytes"] == len(data) and mine["files"][0]["header_bytes"] == n + 8
assert len(mine["tensors"]) == len(header) > 0
for t in mine["tensors"]:
    h = header[t["name"]]
    assert (t["dtype"], t["shape"], t["offset"] - 8 - n) == (h["dtype"], h["shape"], h["data_offsets"][0])
    assert t["bytes"] == h["data_offsets"][1] - h["data_offsets"][0] and t["file"] == "model.safetensors"
PY
}

@test "every dtype of the format is listed, sub-byte ones too" {
    python3 - <<'PY'
import json, struct
bits = dict(BOOL=8, F4=4, F6_E2M3=6, F6_E3M2=6, U8=8, I8=8, F8_E5M2=8, F8_E4M3=8, F8_E8M0=8, F8_E4M3FNUZ=8, F8_E5M2FNUZ=8, I16=16,
            U16=16, F16=16, BF16=16, I32=32, U32=32, F32=32, C64=64, F64=64, I64=64, U64=64)
header, at = {}, 0
for d, b in bits.items():
    header["t." + d] = {"dtype": d, "shape": [2, 4], "data_offsets": [at, at + b]}
    at += b
h = json.dumps(header).encode()
open("all.safetensors", "wb").write(struct.pack("<Q", len(h)) + h + bytes(at))
PY
    run st-inspect --stats all.safetensors
    [ "$status" -eq 0 ]
    [[ $output =~ total\ +22\ tensors\ +176\ parameters ]]
    [ "$(st-inspect -j all.safetensors | jq '.dtypes | length')" -eq 22 ]
    [[ $output =~ t\.F6_E3M2\ +F6_E3M2\ +\[2,4\]\ +6\  ]]
}

@test "each rule broken once is refused, naming the file and what is wrong" {
    python3 "$ROOT/tests/bad-safetensors.py" .
    n=0
    while IFS=$'\t' read -r file text; do
        fails 65 "$text" st-inspect "$file"
        [[ $output == *"$file"* ]] || { echo "no file name: $output"; false; }
        [ "${#lines[@]}" -eq 1 ]
        n=$((n + 1))
    done <list
    [ "$n" -gt 50 ]
}

@test "a file cut anywhere is refused" {
    make_st good.safetensors '{"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}}' 010203
    st-inspect good.safetensors >/dev/null
    size=$(stat -c %s good.safetensors)
    for ((i = 0; i < size; i++)); do
        head -c $i good.safetensors >cut.safetensors
        fails 65 "cut.safetensors" st-inspect cut.safetensors
    done
    (cat good.safetensors; printf x) >cut.safetensors
    fails 65 "last 1 of 4 data bytes" st-inspect cut.safetensors
}

@test "an index: shards outside the folder or missing are refused" {
    cp "$M"/llama-sharded/*.safetensors .
    sed 's|"lm_head.weight": "model-00003|"lm_head.weight": "../model-00003|' "$M/llama-sharded/model.safetensors.index.json" >i.json
    fails 65 "shard '../model-00003-of-00003.safetensors' is not the name of a file" st-inspect i.json
    sed 's|"lm_head.weight": "[^"]*"|"lm_head.weight": "/etc/passwd"|' "$M/llama-sharded/model.safetensors.index.json" >i.json
    fails 65 "shard '/etc/passwd'" st-inspect i.json
    sed 's|"lm_head.weight": \(.*\)|"model.norm.weight": \1|' "$M/llama-sharded/model.safetensors.index.json" >i.json
    fails 65 "duplicate tensor 'model.norm.weight' in the index" st-inspect i.json
    cp "$M/llama-sharded/model.safetensors.index.json" i.json
    sed -i '/model.layers.0.mlp.up_proj/d' i.json
    cp model-00001-of-00003.safetensors model-00002-of-00003.safetensors
    fails 65 "'model.layers.0.mlp.up_proj.weight' in two files: model-00001-of-00003.safetensors: model-00002-of-00003.safetensors" st-inspect i.json
    printf '{"weight_map":{"a\\nb":"model-00001-of-00003.safetensors"}}' >i.json
    fails 65 "tensor name of 3 bytes that holds a control character" st-inspect i.json
    cp "$M/llama-sharded/model.safetensors.index.json" i.json
    rm model-00002-of-00003.safetensors
    fails 66 "model-00002-of-00003.safetensors" st-inspect i.json
    for text in '' '{' '[]' '{}' '{"weight_map":{}}' '{"weight_map":[]}' '{"weight_map":{"a":1}}' '{"weight_map":{"a":""}}' '{"weight_map":{"a":".."}}'; do
        printf '%s' "$text" >i.json
        fails 65 "i.json" st-inspect i.json
    done
}

@test "--values: whole tensors, indices, ranges, steps, as numpy" {
    make_st v.safetensors '{"a:b":{"dtype":"I8","shape":[2,3,4],"data_offsets":[0,24]},"s":{"dtype":"F32","shape":[],"data_offsets":[24,28]},
        "e":{"dtype":"F32","shape":[2,0],"data_offsets":[28,28]}}' \
        000102030405060708090a0b0c0d0e0f1011121314151617cdcccc3d
    v() { st-inspect --values "$1" v.safetensors; }
    [ "$(v s)" = 0.1 ]
    [ "$(v e)" = "" ]
    [ "$(v a:b | md5sum)" = "$(printf '0 1 2 3\n4 5 6 7\n8 9 10 11\n\n12 13 14 15\n16 17 18 19\n20 21 22 23\n' | md5sum)" ]
    [ "$(v a:b:0,1)" = "4 5 6 7" ]
    [ "$(v a:b:-1,-1,-1)" = 23 ]
    [ "$(v a:b:1,:,1:3)" = "$(printf '13 14\n17 18\n21 22')" ]
    [ "$(v a:b::,2,::2)" = "$(printf '8 10\n20 22')" ]
    [ "$(v a:b:0,-2:,3:99)" = "$(printf '7\n11')" ]
    [ "$(v a:b:0,2:1)" = "" ]
    [ "$(st-inspect -j --values a:b:1,:2,::3 v.safetensors)" = "[[12, 15], [16, 19]]" ]
    [ "$(st-inspect -j --values e v.safetensors)" = "[]" ]
    for bad in a:b:2 a:b:-3 a:b:0,0,0,0 a:b:x "a:b:0," a:b:,0 a:b:::0 a:b:::-1 a:b:1:2:3:4 a:b:1e1 a:b:99999999999999999999; do
        fails 2 "is not a slice of 'a:b', whose shape is [2, 3, 4]" st-inspect --values $bad v.safetensors
    done
    fails 66 "no tensor 'c:0': v.safetensors" st-inspect --values c:0 v.safetensors
}

@test "--values of every kind of number reads back exactly" {
    make_st v.safetensors '{"bf":{"dtype":"BF16","shape":[4],"data_offsets":[0,8]},"f":{"dtype":"F64","shape":[1],"data_offsets":[8,16]},
        "i":{"dtype":"I64","shape":[1],"data_offsets":[16,24]},"u":{"dtype":"U64","shape":[1],"data_offsets":[24,32]},
        "c":{"dtype":"C64","shape":[1],"data_offsets":[32,40]},"b":{"dtype":"BOOL","shape":[2],"data_offsets":[40,42]},
        "h":{"dtype":"F16","shape":[2],"data_offsets":[42,46]},"f4":{"dtype":"F4","shape":[2],"data_offsets":[46,47]}}' \
        803fc07f807f80ff9a9999999999b93fffffffffffffff7fffffffffffffffff0000803f000000c001000100ff7bf1
    v() { st-inspect --values "$@" v.safetensors; }
    [ "$(v bf)" = "1 nan inf -inf" ]
    [ "$(v bf -j)" = '[1, "nan", "inf", "-inf"]' ]
    [ "$(v f)" = 0.1 ]
    [ "$(v i)" = 9223372036854775807 ]
    [ "$(v u)" = 18446744073709551615 ]
    [ "$(v c)" = "1-2j" ]
    [ "$(v c -j)" = "[[1, -2]]" ]
    [ "$(v b)" = "true false" ]
    [ "$(v h)" = "5.9604645e-08 65504" ]
    [ "$(v f4)" = "0.5 -6" ]
}

@test "--stats: extremes, mean, deviation, NaN and infinities" {
    make_st s.safetensors '{"a":{"dtype":"F32","shape":[6],"data_offsets":[0,24]},"n":{"dtype":"F32","shape":[1],"data_offsets":[24,28]}}' \
        0000803f0000004000004040000080ff0000c07f0000c0ff0000c07f
    st-inspect -j --stats s.safetensors >j.json
    [ "$(jq -c '.tensors[0] | [.min, .max, .mean, .nan, .inf]' j.json)" = "[1,3,2,2,1]" ]
    [ "$(jq '.tensors[0].std * 1e6 | round' j.json)" -eq 816497 ]
    [ "$(jq -c '.tensors[1] | [.min, .max, .mean, .std, .nan]' j.json)" = "[null,null,null,null,1]" ]
    run st-inspect --stats s.safetensors
    [[ ${lines[1]} =~ \ 1\ +3\ +2\ +0\.816497\ +2\ +1$ ]]
    [[ ${lines[2]} =~ \ -\ +-\ +-\ +-\ +1\ +0$ ]]
    [ "$(st-inspect --stats -t 1 "$M/llama")" = "$(st-inspect --stats -t 3 "$M/llama")" ]
}

@test "--hash: b2sum agrees, whatever the threads" {
    st-inspect --hash -t 1 "$M/llama-sharded" >list
    [ "$(wc -l <list)" -eq 33 ]
    st-inspect --hash -t 5 "$M/llama-sharded" | cmp - list
    (cd "$M/llama-sharded" && b2sum -l 256 -c --ignore-missing --quiet) <list
    offset=$(st-inspect -j "$M/llama-sharded" | jq '.tensors[] | select(.name == "model.norm.weight").offset')
    want=$(tail -c +$((offset + 1)) "$M/llama-sharded/model-00003-of-00003.safetensors" | head -c 128 | b2sum -l 256 | cut -d' ' -f1)
    grep -qx "$want  model-00003-of-00003.safetensors:model.norm.weight" list
    [ "$(st-inspect -j --hash "$M/llama-sharded" | jq -r '.["model-00003-of-00003.safetensors:model.norm.weight"]')" = "$want" ]
}

@test "--check: silent where all holds, names what differs, is missing or new" {
    cp "$M/llama/model.safetensors" .
    st-inspect --hash model.safetensors >list
    run st-inspect --check list model.safetensors
    [ "$status" -eq 0 ] && [ -z "$output" ]
    [ "$(st-inspect -v --check list model.safetensors | grep -c ': same$')" -eq 22 ]
    offset=$(st-inspect -j model.safetensors | jq '.tensors[] | select(.name == "model.norm.weight").offset')
    printf '\xff' | dd of=model.safetensors bs=1 seek=$((offset + 77)) conv=notrunc status=none
    run st-inspect --check list model.safetensors
    [ "$status" -eq 1 ]
    [ "${lines[0]}" = "model.safetensors: differs" ]
    [ "${lines[1]}" = "model.safetensors:model.norm.weight: differs" ]
    [ "${lines[2]}" = "st-inspect: 2 of the model's hashes do not match, the first: 'model.safetensors' differs: list" ]
    cp "$M/llama/model.safetensors" .
    sed 's/norm.weight$/norm.width/' list | grep -v lm_head >other
    run st-inspect --check other model.safetensors
    [ "$status" -eq 1 ]
    [[ $output == *"model.safetensors:lm_head.weight: new"* && $output == *"model.safetensors:model.norm.width: missing"* ]]
    [[ $output == *"model.safetensors:model.norm.weight: new"* ]]
}

@test "--check: whole files alone are enough, tensors alone are not; the header counts" {
    (cd "$M/llama" && b2sum -l 256 model.safetensors) >list
    st-inspect --check list "$M/llama"
    (cd "$M/llama" && b2sum -b -l 256 model.safetensors) | tr a-f A-F | sed 's/ \*.*/ *model.safetensors/' >upper
    st-inspect --check upper "$M/llama"
    st-inspect --hash "$M/llama" | grep : >tensors
    fails 1 "model.safetensors: new" st-inspect --check tensors "$M/llama"
    sed 's/\[288,64\]/[64,288]/' "$M/llama/model.safetensors" >model.safetensors
    fails 1 "model.safetensors: differs" st-inspect --check list model.safetensors
}

@test "--check: a list that is none is refused with its line" {
    h=$(printf '%064d' 0)
    try() { printf "$1" >list; fails 65 "$2" st-inspect --check list "$M/llama"; }
    try '' 'no hashes in the list: list'
    try '# nothing\n\n' 'no hashes in the list: list'
    try "$h  a\nhello\n" 'list: line 2'
    try "${h}0  a\n" 'list: line 1'
    try "$h a\n" 'list: line 1'
    try "$h  \n" 'list: line 1'
    try "${h%0}g  a\n" 'list: line 1'
    try "$h  a\n$h  a\n" "duplicate name 'a' in the list"
    try "$h  a\\033[2J\n" 'list: line 1'
    fails 66 "none" st-inspect --check none "$M/llama"
}

@test "--spec: the meaning of config.json, memory, and the use of every tensor" {
    run st-inspect --spec -c 1000 "$M/gemma3"
    [ "$status" -eq 0 ]
    [[ $output == *"model_type       gemma3_text"* ]]
    [[ $output == *"window           12 in 3 of 4 layers"* ]]
    # 16 pages of 64 tokens for the layer that sees all, 3 for each of the others; 2 x 2 heads x 16 x bf16
    [[ $output == *" $(((16 + 3 * 3) * 64 * 2 * 2 * 16 * 2)) bytes a sequence of 1000 tokens"* ]]
    [ "$(grep -c '^used ' <<<"$output")" -eq 54 ]
    run st-inspect --spec "$M/gpt2"
    [ "$status" -eq 0 ]
    [ "$(grep -c '^no weight  BF16  h\..\.attn\.bias ' <<<"$output")" -eq 2 ]
}

@test "--spec: tensors that are missing, left over or of the wrong shape are named, and status is 1" {
    mkdir model
    ln -s "$M/llama/model.safetensors" model/
    sed -e 's/"num_hidden_layers": 2/"num_hidden_layers": 1/' -e 's/"intermediate_size": 80/"intermediate_size": 81/' \
        -e 's/"attention_bias": false/"attention_bias": true/' -e '1a "frobnicate": 1,' "$M/llama/config.json" >model/config.json
    run st-inspect --spec model
    [ "$status" -eq 1 ]
    [[ $output == *"wrong      tensor 'model.layers.0.mlp.down_proj.weight': expected [64, 81], found [64, 80]"* ]]
    [[ $output == *"wrong      tensor 'model.layers.0.self_attn.o_proj.bias' is missing: expected [64]"* ]]
    [[ $output == *"left over  BF16  model.layers.1.mlp.down_proj.weight [64, 80]"* ]]
    [ "$(grep -c '^left over' <<<"$output")" -eq 9 ]
    [ "$(grep -c '^wrong' <<<"$output")" -eq 7 ]
    [[ $output == *"frobnicate is not known and is ignored: model/config.json"* ]]
    sed 's/"llama"/"mamba"/' "$M/llama/config.json" >model/config.json
    fails 65 'model_type is "mamba", but that family is not supported: model/config.json' st-inspect --spec model
    fails 2 "--spec has no JSON form" st-inspect -j --spec model
}

@test "usage errors, missing inputs, a full disk, a closed pipe" {
    fails 2 "no model" st-inspect
    fails 2 "more than one PATH" st-inspect a b
    fails 2 "both -m and a PATH" st-inspect -m a b
    fails 2 "only one of" st-inspect --hash --check x "$M/llama"
    fails 2 "only one of" st-inspect --values a --values b "$M/llama"
    fails 2 "--stats" st-inspect --hash --stats "$M/llama"
    fails 2 "--check has no JSON" st-inspect -j --check x "$M/llama"
    fails 2 "-t" st-inspect -t 0 --hash "$M/llama"
    fails 66 "none.safetensors" st-inspect none.safetensors
    fails 66 "neither model.safetensors nor model.safetensors.index.json" st-inspect .
    fails 66 "no such model folder" st-inspect -m org/none
    for mode in -q -j --hash "--values lm_head.weight"; do
        fails 74 "No space left" sh -c "st-inspect $mode '$M/llama' >/dev/full"
    done
    run bash -c "st-inspect --values lm_head.weight '$M/llama' | head -n 1"
    [ "$status" -eq 0 ]
    [ "${#lines[@]}" -eq 1 ]
}
