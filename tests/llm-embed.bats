#!/usr/bin/env bats
# llm-embed: streams, options, long texts and refusals. tests/unit/embed.c compares vectors with the reference's.
# SPDX-License-Identifier: AGPL-3.0-or-later
bats_require_minimum_version 1.5.0
load lib/common

setup() {
    export LLM_MODEL=$DATA/embed/bert TMPDIR=$BATS_TEST_TMPDIR
    cd "$BATS_TEST_TMPDIR"
    IDS=$DATA/embed/bert/ids
}

# A copy of a model, or the tiny chat model as an embedding model.
copy() { # NAME FOLDER
    cp -r "$DATA/embed/$1" "$2"
    chmod -R u+w "$2"
}
tiny() { # FOLDER
    cp -r "$DATA/tiny" "$1"
    chmod -R u+w "$1"
    mkdir "$1/1_Pooling"
    echo '{"pooling_mode_lasttoken": true}' >"$1/1_Pooling/config.json"
    echo '[{"path": "", "type": "sentence_transformers.models.Transformer"},
        {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}]' >"$1/modules.json"
    echo '{"prompts": {"query": "query: ", "document": ""}, "default_prompt_name": null}' >"$1/config_sentence_transformers.json"
}

# The records of vectors(5): type, id, tokens, attributes, reason and the values, a JSON object a line.
records() { python3 "$ROOT/tests/lib/vectors.py" "$@"; }

@test "a record a line, in order, with attributes; -j and --npy have the same values" {
    { sed -n 1,2p "$IDS" | sed '1i #@ id=a file=x%20y'; } >in
    llm-embed in >out
    records out >got
    [ "$(jq -c '[.type, .id, .tokens, .attrs]' got | tr -d '\n')" = '["VECT",0,6,"id=a file=x%20y"]["VECT",1,1,""]' ]
    llm-embed -j in >json
    [ "$(jq -c 'del(.embedding)' json | tr -d '\n')" = '{"id":"a","file":"x y"}{}' ]
    diff <(jq -c '.values | map(. * 1e6 | round)' got) <(jq -c '.embedding | map(. * 1e6 | round)' json)
    llm-embed --npy v.npy in >nothing
    [ ! -s nothing ]
    python3 - <<'PY'
import json, struct
raw = open("v.npy", "rb").read()
assert b"'descr': '<f4'" in raw[:128] and b"(2, 36)" in raw[:128], raw[:128]
values = struct.unpack("<72f", raw[128:])
want = [x for line in open("got") for x in json.loads(line)["values"]]
assert list(values) == want
PY
}

@test "one header, and the bytes do not depend on batch, threads or pace" {
    llm-embed "$IDS" >want
    for options in '-b 1' '-b 3 -t 1' '-b 64 -t 3'; do
        llm-embed $options "$IDS" | cmp - want
    done
    # A line at a time: each vector comes before the next line is there.
    { while IFS= read -r line; do echo "$line"; sleep 0.05; done <"$IDS"; } | llm-embed | cmp - want
    mkfifo in out
    llm-embed in >out &
    exec 5<out 4>in
    sed -n 1p "$IDS" >&4
    timeout 20 head -c 240 <&5 >first # the header, and a record of 32 + 144 bytes
    exec 4>&-
    cat <&5 >/dev/null
    wait $!
    cmp -n 240 first want
}

@test "vectors have length 1 where the folder says Normalize; --no-normalize and --normalize" {
    length() { records "$1" | jq '.values | map(. * .) | add | sqrt'; }
    llm-embed "$IDS" >unit
    length unit | awk '($1 - 1)^2 > 1e-12 { exit 1 }'
    [ "$(records --header unit | jq .unit)" = 1 ]
    llm-embed --no-normalize "$IDS" >raw
    length raw | awk '($1 - 1)^2 < 1e-4 { exit 1 }'
    [ "$(records --header raw | jq .unit)" = 0 ]
    llm-embed -m "$DATA/embed/nomic-bert" "$DATA/embed/nomic-bert/ids" >plain
    [ "$(records --header plain | jq .unit)" = 0 ]
    llm-embed -m "$DATA/embed/nomic-bert" --normalize "$DATA/embed/nomic-bert/ids" >scaled
    length scaled | awk '($1 - 1)^2 > 1e-12 { exit 1 }'
    [ "$(records --header unit | jq .model)" != "$(records --header raw | jq .model)" ]
}

@test "--dim: the first values, at length 1 again, and another fingerprint" {
    llm-embed --dim 8 "$IDS" >eight
    [ "$(records --header eight | jq .dim)" -eq 8 ]
    llm-embed "$IDS" >whole
    paste <(records whole | jq -c '.values[:8] | (map(. * .) | add | sqrt) as $l | map(. / $l * 1e5 | round)') \
        <(records eight | jq -c '.values | map(. * 1e5 | round)') | awk -F '\t' '$1 != $2 { print; bad = 1 } END { exit bad }'
    [ "$(records --header eight | jq .model)" != "$(records --header whole | jq .model)" ]
    fails 2 "--dim 37 is more than the model's 36 values" llm-embed --dim 37 "$IDS"
}

@test "--dtype: bf16 and i8 are near f32; the stream's sizes follow" {
    llm-embed "$IDS" >f32
    for t in bf16:2 i8:1; do
        llm-embed --dtype ${t%:*} "$IDS" >out
        [ "$(records --header out | jq .dtype)" -eq $((4 - ${t#*:})) ]
        paste <(records f32 | jq '.values[3]') <(records out | jq '.values[3]') | awk '($1 - $2)^2 > 1e-4 { exit 1 }'
    done
    [ "$(records --header f32 | jq .model)" = "$(records --header out | jq .model)" ]
    fails 2 "--dtype takes f32, bf16 or i8, not 'f64'" llm-embed --dtype f64 "$IDS"
    fails 2 '--dtype is for vectors(5)' llm-embed -j --dtype f32 "$IDS"
}

@test "--pool: cls is the first position, last the last, and mean what the folder says" {
    llm-embed -j --pool mean "$IDS" | cmp - <(llm-embed -j "$IDS")
    # Of one id, every pooling is the same.
    for p in cls mean max last weighted mean-sqrt; do
        sed -n 2p "$IDS" | llm-embed -j --pool $p
    done | uniq | wc -l | grep -x 1
    [ "$(sed -n 1p "$IDS" | llm-embed -j --pool cls)" != "$(sed -n 1p "$IDS" | llm-embed -j --pool last)" ]
    fails 2 "--pool takes cls, mean, max, last, weighted or mean-sqrt, not 'sum'" llm-embed --pool sum "$IDS"
    copy bert m
    rm m/modules.json
    fails 2 'the folder has no modules.json: --pool says how to pool: m' llm-embed -m m "$IDS"
    llm-embed -m m --pool mean --normalize -j "$IDS" | cmp - <(llm-embed -j "$IDS")
}

@test "lines that fail have a record with the reason, and the others are not affected" {
    { sed -n 1p "$IDS"; echo; echo '#@ id=b'; echo '! no text'; echo '3 4 999'; sed -n 2p "$IDS"; } >in
    run --separate-stderr llm-embed -j in
    [ "$status" -eq 1 ]
    [ "$(jq -c '[has("embedding"), .error, .id]' <<<"$output" | tr -d '\n')" = '[true,null,null][false,"the sequence is empty: there is nothing to go on from",null][false,"no text","b"][false,"id 999 is not in the vocabulary of 71: id 3 of the sequence",null][true,null,null]' ]
    [[ $stderr == *'sequence 3: id 999 is not in'* && $stderr != *'no text'* ]]
    llm-embed -q in >out || [ $? -eq 1 ]
    [ "$(records out | jq -c '[.type, .id, .reason != ""]' | tr -d '\n')" = '["VECT",0,false]["FAIL",1,true]["FAIL",2,true]["FAIL",3,true]["VECT",4,false]' ]
    llm-embed -q --npy v.npy in || [ $? -eq 1 ]
    [ "$(python3 -c 'import struct; r = open("v.npy", "rb").read()[128:]; v = struct.unpack("<180f", r); print([x != x for x in v[::36]])')" = '[False, True, True, True, False]' ]
}

@test "too long is refused, cut with --truncate, or a mean of windows with --window" {
    tiny m
    export LLM_MODEL=$PWD/m
    fails 1 "5 ids, but at most 4 fit (--truncate cuts, --window takes the mean of windows)" llm-embed -c 4 <<<'65 66 67 68 69'
    echo '65 66 67 68 69 70 71 72 73 74' >long
    llm-embed -j -c 4 --truncate long | cmp - <(llm-embed -j <<<'65 66 67 68')
    # Windows 65-68, 69-72 and 73-74, weighted by their ids.
    for w in '65 66 67 68' '69 70 71 72' '73 74'; do llm-embed -j --no-normalize <<<"$w"; done >windows
    llm-embed -j -c 4 --window long >mean
    jq -s -c '[[.[0].embedding, .[1].embedding, .[2].embedding] | transpose[] | (.[0] * 4 + .[1] * 4 + .[2] * 2) / 10] |
        (map(. * .) | add | sqrt) as $l | map(. / $l * 1e4 | round)' windows >want
    jq -c '.embedding | map(. * 1e4 | round)' mean | diff - want
    # One that fits is what it is without the option.
    llm-embed -j -c 4 --window <<<'65 66' | cmp - <(llm-embed -j <<<'65 66')
    fails 2 '--truncate and --window exclude each other' llm-embed --truncate --window long
}

@test "--truncate and --window keep the ids that the tokenizer puts around a text" {
    tiny m
    python3 - <<'PY'
import json
t = json.load(open("m/tokenizer.json"))
t["post_processor"] = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<|a|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
    {"SpecialToken": {"id": "<|z|>", "type_id": 0}}], "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
    "special_tokens": {"<|a|>": {"id": "<|a|>", "ids": [1], "tokens": ["<|a|>"]}, "<|z|>": {"id": "<|z|>", "ids": [2], "tokens": ["<|z|>"]}}}
json.dump(t, open("m/tokenizer.json", "w"))
PY
    export LLM_MODEL=$PWD/m
    llm-embed -j -c 4 --truncate <<<'1 65 66 67 68 2' | cmp - <(llm-embed -j <<<'1 65 66 2')
    llm-embed -j -c 4 --window <<<'1 65 66 65 66 2' >windows
    jq -c '.embedding | map(. * 1e5 | round)' windows | diff - <(llm-embed -j <<<'1 65 66 2' | jq -c '.embedding | map(. * 1e5 | round)')
    # Without them in the ids, none are added.
    llm-embed -j -c 4 --truncate <<<'65 66 67 68 69' | cmp - <(llm-embed -j <<<'65 66 67 68')
    fails 2 '-c 2 leaves no room beside the 2 ids that every text has' llm-embed -c 2 --truncate <<<'65 66 67'
}

@test "the limit is max_seq_length where that is less than the model's" {
    copy bert m
    echo '{"max_seq_length": 16, "do_lower_case": false}' >m/sentence_bert_config.json
    fails 1 '17 ids, but at most 16 fit' llm-embed -m m -q "$IDS" -j
    [ "$(llm-embed -m m -q "$IDS" -j | grep -c embedding)" -eq 3 ]
    echo '{"max_seq_length": 9999}' >m/sentence_bert_config.json
    llm-embed -m m -v "$IDS" 2>&1 >/dev/null | grep -q 'at most 140 ids'
    fails 2 "a context of 141 is more than the model's 140 positions" llm-embed -c 141 "$IDS"
}

@test "a causal model gives the same bits for a sequence of several steps" {
    tiny m
    seq 3 802 | tr '\n' ' ' | sed 's/ $//' >long
    echo >>long
    jq '.max_position_embeddings = 4096' m/config.json >c && mv c m/config.json
    llm-embed -m m -j -c 2048 long >alone
    { echo '65 66'; cat long; echo '67'; } | llm-embed -m m -j -c 2048 | sed -n 2p | cmp - alone
}

@test "encoders are refused by llm-forward, and named by st-inspect --spec" {
    for m in bert xlm-roberta modernbert nomic-bert gemma3; do
        fails 65 'is an encoder, which gives no logits: llm-embed makes vectors with it' llm-forward -m "$DATA/embed/$m" --no-return </dev/null
    done
    st-inspect --spec -m "$DATA/embed/xlm-roberta" >spec
    grep -q '^attention  *bidirectional' spec
    grep -q '^positions  *learned, from row 2 on' spec
    run grep -E 'left over|wrong' spec
    [ "$status" -eq 1 ]
}

@test "what the folder asks for and is not supported is refused by name" {
    copy gemma3 m
    try() { # TEXT FILE CONTENT
        cp "m/$2" saved
        printf '%s' "$3" >"m/$2"
        fails 65 "$1" llm-embed -m m "$IDS"
        cp saved "m/$2"
    }
    local t='{"path": "", "type": "sentence_transformers.models.Transformer"}' s=sentence_transformers.models
    local p='{"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}'
    try "module type 'WordWeights' is not supported: m/modules.json: line 1" modules.json "[$t,$p,{\"type\": \"$s.WordWeights\"}]"
    try "module type 'mine.Custom' is not supported" modules.json '[{"type": "mine.Custom"}]'
    for kind in Router Asym BoW CLIPModel CNN LSTM Dropout LayerNorm StaticEmbedding WeightedLayerPooling WordEmbeddings; do
        try "module type '$kind' is not supported" modules.json "[$t,$p,{\"type\": \"$s.$kind\"}]"
    done
    try "found 'Pooling' as module 0" modules.json "[$p,$t]"
    try 'there is no Pooling' modules.json "[$t]"
    try "path '../x' is not the name of a folder" modules.json "[$t,{\"path\": \"../x\", \"type\": \"$s.Pooling\"}]"
    try "the Transformer's folder is '0_T'" modules.json "[{\"path\": \"0_T\", \"type\": \"$s.Transformer\"},$p]"
    try 'pooling_mode_attention is true, but that pooling is not supported' 1_Pooling/config.json '{"pooling_mode_attention": true}'
    try "pooling_mode 'top' is not supported" 1_Pooling/config.json '{"pooling_mode": "top"}'
    try "pooling_mode has 'cls' in another order" 1_Pooling/config.json '{"pooling_mode": ["mean", "cls"]}'
    try 'include_prompt is false, but only true is supported' 1_Pooling/config.json '{"include_prompt": false}'
    try 'the pooling is for 35 values, but hidden states have 36' 1_Pooling/config.json '{"word_embedding_dimension": 35}'
    try 'only Identity and Tanh are supported' 2_Dense/config.json '{"in_features": 36, "out_features": 60, "bias": false, "activation_function": "torch.nn.ReLU"}'
    try "tensor 'linear.weight': expected [61, 36], found [60, 36]" 2_Dense/config.json '{"in_features": 36, "out_features": 61, "bias": false}'
    try 'in_features is 37, but vectors have 36 values: m/2_Dense' 2_Dense/config.json '{"in_features": 37, "out_features": 60, "bias": false}'
    echo '{}' >m/sentence_bert_config.json
    try 'do_lower_case is true, but only false is supported' sentence_bert_config.json '{"do_lower_case": true}'
    try 'similarity_fn_name is "manhattan", but only cosine, dot and euclidean are supported' sentence_bert_config.json '{"similarity_fn_name": "manhattan"}'
    copy bert b
    sed -i 's/"is_decoder": false/"is_decoder": true/' b/config.json
    fails 65 'is_decoder is true, but only false is supported' llm-embed -m b "$IDS"
    sed -i 's/"is_decoder": true/"position_embedding_type": "relative_key"/' b/config.json
    fails 65 'position_embedding_type is "relative_key", but only absolute is supported' llm-embed -m b "$IDS"
    fails 1 'id 1 is padding, which has no position' llm-embed -m "$DATA/embed/xlm-roberta" <<<'5 1 6'
}

@test "the first form of nomic-bert's config.json, and the older forms of a pooling and of ModernBERT's rotations" {
    copy nomic-bert m
    cat >m/config.json <<'JSON'
{"model_type": "nomic_bert", "activation_function": "swiglu", "attn_pdrop": 0.0, "causal": false, "dense_seq_output": true,
 "layer_norm_epsilon": 1e-12, "mlp_fc1_bias": false, "mlp_fc2_bias": false, "n_embd": 36, "n_head": 3, "n_inner": 50, "n_layer": 3,
 "n_positions": 160, "parallel_block": false, "prenorm": false, "qkv_proj_bias": false, "rotary_emb_base": 1000,
 "rotary_emb_fraction": 1.0, "rotary_emb_interleaved": false, "rotary_emb_scale_base": null, "rotary_scaling_factor": null,
 "scale_attn_by_inverse_layer_idx": false, "type_vocab_size": 2, "use_flash_attn": true, "use_rms_norm": false, "vocab_size": 71}
JSON
    echo '{"word_embedding_dimension": 36, "pooling_mode_cls_token": false, "pooling_mode_mean_tokens": true}' >m/1_Pooling/config.json
    run --separate-stderr llm-embed -j -m m "$IDS"
    [ -z "$stderr" ]
    cmp <(echo "$output") <(llm-embed -j -m "$DATA/embed/nomic-bert" "$IDS")
    sed -i 's/"prenorm": false/"prenorm": true/' m/config.json
    fails 65 'prenorm is true, but only false is supported' llm-embed -m m "$IDS"
    copy modernbert b
    jq 'del(.rope_parameters, .layer_types) + {global_rope_theta: 5000.0, local_rope_theta: 300.0, global_attn_every_n_layers: 3}' \
        b/config.json >c && mv c b/config.json
    llm-embed -j -m b "$IDS" | cmp - <(llm-embed -j -m "$DATA/embed/modernbert" "$IDS")
}

@test "ids of another tokenizer are refused; weights are checked with --verify" {
    tiny m
    tok-encode -m m <<<Hi >ids
    llm-embed -m m ids >/dev/null
    sed 's/tokenizer=[0-9a-f]*/tokenizer=0123456789abcdef/' ids >other
    fails 65 'the ids were made with tokenizer 0123456789abcdef' llm-embed -m m other
    st-inspect --hash m >list
    llm-embed -m m --verify list ids >/dev/null
    printf '\1' | dd of=m/model.safetensors bs=1 seek=9000 conv=notrunc status=none
    fails 1 'model.safetensors' llm-embed -m m --verify list ids
}

@test "tok-encode --prompt puts the folder's prompt before each text" {
    tiny m
    export LLM_MODEL=$PWD/m
    printf 'one\ntwo\n' | tok-encode -l --prompt query | diff - <(printf 'query: one\nquery: two\n' | tok-encode -l)
    printf 'one\n' | tok-encode -l --prompt document | diff - <(printf 'one\n' | tok-encode -l)
    echo '{"text": "one", "id": 7}' | tok-encode -j --prompt query | diff - <(echo '{"text": "query: one", "id": 7}' | tok-encode -j)
    fails 2 "no prompt 'passage', there are: query, document: m/config_sentence_transformers.json" tok-encode -m m --prompt passage </dev/null
    fails 2 "no prompt 'query': there is no config_sentence_transformers.json" tok-encode -m "$DATA/tiny" --prompt query </dev/null
    fails 2 '--prompt is for texts: not with --chat' tok-encode --chat --prompt query </dev/null
    fails 1 '--prompt is for texts, but the record is a context and a continuation' tok-encode -j --prompt query <<<'{"context": "a", "continuation": "b"}'
    sed -i 's/null/"query"/' m/config_sentence_transformers.json
    run --separate-stderr llm-embed -j <<<'65'
    [[ $status -eq 0 && $stderr == *"the folder has the default prompt 'query', which tok-encode --prompt puts before texts"* ]]
}

# Starts a resident model; its process is $engine.
listen() {
    llm-embed --listen "$PWD/sock" "$@" 2>engine.err 3>&- &
    engine=$!
    for i in $(seq 1000); do
        ! llm-embed --engine "$PWD/sock" </dev/null >/dev/null 2>&1 || return 0
        sleep 0.01
    done
    cat engine.err
    return 1
}
teardown() {
    [ -z "${engine-}" ] || kill -9 "$engine" 2>/dev/null || true
}

@test "--listen and --engine: the same bytes and exits, for several clients at once, and a line at a time" {
    chmod 700 .
    llm-embed "$IDS" >want
    llm-embed -j "$IDS" >json
    listen -t 2 --dtype f32
    llm-embed --engine "$PWD/sock" "$IDS" | cmp - want
    llm-embed --engine "$PWD/sock" -j <"$IDS" | cmp - json
    clients=()
    for i in 1 2 3 4 5; do
        llm-embed --engine "$PWD/sock" "$IDS" >"out$i" 3>&- &
        clients+=($!)
    done
    wait "${clients[@]}"
    for i in 1 2 3 4 5; do cmp "out$i" want; done
    { while IFS= read -r line; do echo "$line"; sleep 0.02; done <"$IDS"; } | llm-embed --engine "$PWD/sock" | cmp - want
    mkfifo in out
    llm-embed --engine "$PWD/sock" in >out 3>&- &
    client=$!
    exec 5<out 4>in
    sed -n 1p "$IDS" >&4
    timeout 20 head -c 240 <&5 >first # before the next line is there
    exec 4>&-
    cat <&5 >/dev/null
    wait $client
    cmp -n 240 first want
    { sed -n 1p "$IDS"; echo; echo '3 4 999'; } >bad
    run --separate-stderr llm-embed --engine "$PWD/sock" -j bad
    [ "$status" -eq 1 ]
    cmp <(echo "$output") <(llm-embed -q -j bad)
    [[ $stderr == *'sequence 2: id 999 is not in'* ]]
    kill $engine
    wait $engine || true
    for i in $(seq 300); do [ -e sock ] || break; sleep 0.01; done
    [ ! -e sock ]
    fails 66 "no embedding engine listens at" llm-embed --engine "$PWD/sock" "$IDS"
}

@test "--listen: clients that stall, leave, lie or are cut do not matter to others" {
    chmod 700 .
    tiny m
    export LLM_MODEL=$PWD/m
    tok-encode -m m <<<Hi >ids
    llm-embed ids >want
    listen
    fds() { ls "/proc/$engine/fd" | wc -l; }
    before=$(fds)
    python3 - <<'PY'
import socket
def connect():
    s = socket.socket(socket.AF_UNIX)
    s.connect("sock")
    return s
idle, leaves, stalls = connect(), connect(), connect()
leaves.sendall(b"65 66\n67")
leaves.close()
# One that reads nothing: the engine stops reading it, too.
stalls.setblocking(False)
sent = 0
try:
    while sent < 200_000_000:
        sent += stalls.send(b"65 66 67\n" * 1000)
except BlockingIOError:
    pass
other = connect()
other.sendall(open("ids", "rb").read())
other.shutdown(socket.SHUT_WR)
got = b"".join(iter(lambda: other.recv(65536), b""))
assert got == open("want", "rb").read()
cut = connect()
cut.sendall(b"# tokens vocab=1007\n65 66")
cut.shutdown(socket.SHUT_WR)
got = b"".join(iter(lambda: cut.recv(65536), b""))
assert b"END " not in got and b"FAIL" in got
PY
    sed 's/tokenizer=[0-9a-f]*/tokenizer=0123456789abcdef/' ids >other
    fails 65 'the ids were made with tokenizer 0123456789abcdef' llm-embed --engine "$PWD/sock" other
    fails 65 '' llm-embed --engine "$PWD/sock" <<<'65 x'
    llm-embed --engine "$PWD/sock" ids | cmp - want
    for i in $(seq 300); do [ "$(fds)" -gt "$before" ] || break; sleep 0.01; done
    [ "$(fds)" -le "$before" ]
    # An engine that is killed: its clients say so.
    mkfifo in
    llm-embed --engine "$PWD/sock" in >out 2>said 3>&- &
    client=$!
    exec 4>in
    echo '65 66' >&4
    sleep 0.3
    kill -9 $engine
    code=0
    wait $client || code=$?
    exec 4>&-
    [ "$code" -eq 65 ]
    grep -q 'the stream was cut' said
}

@test "--listen and --engine: usage" {
    fails 2 'exclude each other' llm-embed --listen a --engine b
    fails 2 '--listen reads no FILE' llm-embed --listen a "$IDS"
    for option in '-m x' '-t 2' '-b 3' '--dim 4' '--truncate' '--npy v'; do
        fails 2 '--engine: the model and its options are those of --listen' llm-embed --engine a $option
    done
    fails 66 'no embedding engine listens at nowhere' llm-embed --engine nowhere "$IDS"
    echo text >file
    fails 71 'expected a socket or nothing, found a file' llm-embed --listen "$PWD/file"
}

@test "progress is counted where stderr is a terminal and stdout is not, and is cleared" {
    command -v script >/dev/null || skip "script(1) is not installed"
    slow() { script -qec "stty -opost; { echo 1 2; sleep 1.3; printf '1 3\\n99999999 4\\n'; } | llm-embed $1" /dev/null </dev/null >tty || true; }
    slow ">out"
    records out >got
    [ "$(jq -c .type got | tr -d '\n')" = '"VECT""VECT""FAIL"' ]
    grep -q $'\rllm-embed: 2 sequences, [0-9]* a second \r' tty
    grep -q $'\r\e\[Kllm-embed: sequence 2: ' tty
    [ "$(tail -c 4 tty)" = $'\r\e[K' ]
    slow "-j"
    run ! grep -q "a second" tty
}

@test "a full disk, a closed pipe, a cut stream" {
    [ -c /dev/full ] || skip "no /dev/full"
    fails 74 'cannot write' sh -c 'llm-embed "$1" >/dev/full' sh "$IDS"
    fails 74 'cannot write' sh -c 'llm-embed -j "$1" >/dev/full' sh "$IDS"
    fails 74 '' llm-embed --npy /nowhere/v.npy "$IDS"
    yes '3 4 5' 2>/dev/null | head -n 20000 | (timeout 60 llm-embed -q || echo "$?" >rc) | head -c 64 >/dev/null
    [ "$(cat rc)" -eq 141 ]
    # A stream with a header that ends within a line: its line fails, and so does the input.
    printf '# tokens vocab=71\n3 4\n5 6' >cut
    run --separate-stderr llm-embed -j cut
    [ "$status" -eq 65 ]
    [ "$(jq -c 'has("error")' <<<"$output" | tr -d '\n')" = 'falsetrue' ]
    fails 65 '' llm-embed --npy v.npy cut
    [ ! -e v.npy ]
    llm-embed </dev/null >empty
    [ "$(records empty | wc -l)" -eq 0 ]
    [ "$(llm-embed -j </dev/null | wc -c)" -eq 0 ]
    llm-embed --npy none.npy </dev/null
    fails 66 'cannot open nofile' llm-embed nofile
    fails 65 "vectors(5), as llm-embed writes them: empty" llm-embed empty
}
