#!/usr/bin/env bats
# st-convert: tiny GGUF files made by tests/lib/gguf_tiny.py, which also computes what must come out.
# SPDX-License-Identifier: AGPL-3.0-or-later
load lib/common

tiny() { python3 "$ROOT/tests/lib/gguf_tiny.py" "$@"; }

setup() { cd "$BATS_TEST_TMPDIR" || return 1; }

# The file KIND.gguf, converted to ./out, agrees with the script in every value and token.
roundtrip() { # KIND DTYPE
    tiny make "$1" "$1.gguf"
    st-convert --dtype "$2" "$1.gguf" "out-$2"
    tiny check "$1" "out-$2" "$2"
}

# The JSON of a file equals a text, numbers by value:  same FILE JQ-FILTER TEXT
same() { jq -e --argjson want "$3" "$2 == \$want" "$1" >/dev/null || { jq -c "$2" "$1"; false; }; }

nothing_left() { [ "$(ls -A "${1:-.}" | grep -cE 'out|tmp|old')" -eq 0 ] || { ls -A; false; }; }

# A conversion that must fail, with nothing left behind: refuses TEXT KIND [KEY=VALUE...]
refuses() {
    local text=$1
    shift
    tiny make "$1" in.gguf "${@:2}"
    fails 65 "$text" st-convert in.gguf out
    [[ $output == *in.gguf* ]]
    nothing_left
}

@test "llama: every value of every tensor, q and k rows put back, in f32, bf16 and f16" {
    roundtrip llama f32
    roundtrip llama bf16
    roundtrip llama f16
}

@test "the K formats, in f32 and bf16" {
    roundtrip kquants f32
    roundtrip kquants bf16
}

@test "the formats of few bits, in f32 and bf16: Q2_K, Q3_K, IQ4_NL, IQ4_XS, MXFP4, TQ1_0, TQ2_0; and F64" {
    roundtrip low-bits f32
    roundtrip low-bits bf16
}

@test "biases of q and k are permuted too, and config.json names them" {
    roundtrip bias f32
    [ "$(jq -c '[.attention_bias, .mlp_bias]' out-f32/config.json)" = '[true,false]' ]
}

@test "a head dimension that is not hidden / heads" {
    roundtrip headdim f32
    [ "$(jq .head_dim out-f32/config.json)" = 32 ]
}

@test "without output.weight the embedding is the head" {
    roundtrip tied f32
    [ "$(jq .tie_word_embeddings out-f32/config.json)" = true ]
}

@test "qwen2 and qwen3: rows stay, biases and norms are there" {
    roundtrip qwen2 f32
    [ "$(jq -r '.model_type, .architectures[0]' out-f32/config.json | xargs)" = 'qwen2 Qwen2ForCausalLM' ]
    roundtrip qwen3 bf16
    [ "$(jq -r '.model_type, .head_dim' out-bf16/config.json | xargs)" = 'qwen3 32' ]
}

@test "config.json and generation_config.json, whole" {
    roundtrip llama bf16
    same out-bf16/config.json . '{"architectures":["LlamaForCausalLM"],"attention_bias":false,"bos_token_id":1,"eos_token_id":0,
        "head_dim":16,"hidden_act":"silu","hidden_size":64,"intermediate_size":96,"max_position_embeddings":128,
        "mlp_bias":false,"model_type":"llama","num_attention_heads":4,"num_hidden_layers":2,"num_key_value_heads":2,
        "rms_norm_eps":1e-05,"rope_scaling":null,"rope_theta":50000.0,"tie_word_embeddings":false,"torch_dtype":"bfloat16",
        "use_cache":true,"vocab_size":263}'
    same out-bf16/generation_config.json . '{"_from_model_config":true,"bos_token_id":1,"eos_token_id":0}'
}

@test "tokenizer_config.json: special tokens and chat templates" {
    tiny make tied a.gguf tokenizer.ggml.padding_token_id=0
    st-convert a.gguf out
    [ "$(jq -c '[.bos_token, .eos_token, .pad_token, .unk_token, .add_bos_token]' out/tokenizer_config.json)" = \
        '["<|user|>","<|end|>","<|end|>",null,false]' ]
    [ "$(jq -r .chat_template out/tokenizer_config.json)" = "$(printf '{{ "a\n" }}')" ]
    tiny make tied b.gguf tokenizer.chat_template.tools='"{{ 2 }}"'
    st-convert -f b.gguf out
    [ "$(jq -c '[.chat_template[].name]' out/tokenizer_config.json)" = '["default","tools"]' ]
}

@test "both ends of a turn become eos ids" {
    tiny make tied a.gguf tokenizer.ggml.eot_token_id=2
    st-convert a.gguf out
    [ "$(jq -c .eos_token_id out/generation_config.json)" = '[0,2]' ]
}

@test "what ends a turn is found by its text where no key names it" {
    tiny make tied a.gguf tokenizer.ggml.eos_token_id=5 # <|end|> is id 0
    st-convert a.gguf out
    [ "$(jq -c .eos_token_id out/generation_config.json)" = '[5,0]' ]
    [ "$(jq -c .eos_token_id out/config.json)" = '[5,0]' ]
    tiny make tied b.gguf # named by a key: once
    st-convert b.gguf out-b
    [ "$(jq -c .eos_token_id out-b/generation_config.json)" = 0 ]
}

@test "bpe: the steps that smollm publishes, no post-processor" {
    roundtrip tied bf16
    [ "$(jq -c '[.normalizer, .pre_tokenizer.pretokenizers[].type, .decoder.type, .post_processor, .model.unk_token]' out-bf16/tokenizer.json)" = \
        '[null,"Digits","ByteLevel","ByteLevel",null,null]' ]
}

@test "bpe: add_bos_token and add_eos_token become a template" {
    tiny make tied a.gguf tokenizer.ggml.add_bos_token=true tokenizer.ggml.add_eos_token=true
    st-convert a.gguf out
    [ "$(jq -c '.post_processor.special_tokens | map_values(.ids)' out/tokenizer.json)" = '{"<|user|>":[1],"<|end|>":[0]}' ]
    [ "$(jq -c '[.post_processor.single[] | (.SpecialToken // .Sequence).id]' out/tokenizer.json)" = '["<|user|>","A","<|end|>"]' ]
}

@test "every known pre-tokenizer gives the same steps as the published tokenizer.json of our goldens" {
    for pair in smollm:bpe-smollm2 qwen2:bpe-qwen2 tekken:bpe-tekken llama-bpe:bpe-llama3 gpt-2:bpe-gpt2; do
        tiny make tied a.gguf "tokenizer.ggml.pre=\"${pair%%:*}\""
        st-convert -f a.gguf out
        want=$DATA/tokenizers/${pair##*:}/tokenizer.json
        steps='[.normalizer, .pre_tokenizer, .decoder, .model.ignore_merges]'
        diff <(jq -S "$steps" out/tokenizer.json) <(jq -S "$steps" "$want") || { echo "$pair"; false; }
    done
}

@test "--pre and a missing name" {
    tiny make tied a.gguf tokenizer.ggml.pre=null
    run st-convert a.gguf out
    [ "$status" -eq 0 ]
    [[ $output == *"--pre NAME"* ]]
    run st-convert -f --pre qwen2 a.gguf out
    [ "$status" -eq 0 ]
    [ -z "$output" ]
    [ "$(jq -r .normalizer.type out/tokenizer.json)" = NFC ]
    fails 65 "not known (known: gpt-2" st-convert -f --pre nonesuch a.gguf out
}

@test "spm: merges from scores, byte fallback, prefix and template as llama 2 has them" {
    roundtrip spm f32
    steps='[.normalizer, .pre_tokenizer, .post_processor, .decoder] + [.model | .fuse_unk, .byte_fallback, .unk_token]'
    diff <(jq -S "$steps" out-f32/tokenizer.json) <(jq -S "$steps" "$DATA/tokenizers/bpe-llama2/tokenizer.json")
}

@test "spm: no space prefix, no bos" {
    tiny make spm a.gguf tokenizer.ggml.add_space_prefix=false tokenizer.ggml.add_bos_token=false
    st-convert a.gguf out
    [ "$(jq -c '[.normalizer.type, .post_processor, (.decoder.decoders | length)]' out/tokenizer.json)" = '["Replace",null,3]' ]
}

@test "rope scaling: llama 3 from its divisors, linear, yarn" {
    roundtrip llama3 f32
    same out-f32/config.json .rope_scaling \
        '{"rope_type":"llama3","factor":8,"low_freq_factor":1,"high_freq_factor":4,"original_max_position_embeddings":8192}'
    tiny make tied a.gguf 'llama.rope.scaling.type="linear"' llama.rope.scaling.factor=4.0
    st-convert a.gguf out
    same out/config.json .rope_scaling '{"rope_type":"linear","factor":4}'
    tiny make tied a.gguf 'llama.rope.scaling.type="yarn"' llama.rope.scaling.factor=4.0 llama.rope.scaling.original_context_length=32
    st-convert -f a.gguf out
    same out/config.json .rope_scaling \
        '{"rope_type":"yarn","factor":4,"original_max_position_embeddings":32,"beta_fast":32,"beta_slow":1}'
}

@test "a window makes it a mistral" {
    tiny make tied a.gguf llama.attention.sliding_window=64
    st-convert a.gguf out
    [ "$(jq -c '[.model_type, .sliding_window]' out/config.json)" = '["mistral",64]' ]
}

@test "keys that are not known are warned about, -q is silent" {
    tiny make tied a.gguf llama.brand.new=1
    run st-convert a.gguf out
    [ "$status" -eq 0 ]
    [[ $output == *"llama.brand.new"* ]]
    run st-convert -qf a.gguf out
    [ -z "$output" ]
}

@test "refused: what the model needs, and what it cannot have" {
    refuses "architecture 'martian' is not supported" tied 'general.architecture="martian"'
    refuses "key 'tokenizer.ggml.model' is missing" tied tokenizer.ggml.model=null
    refuses "'wordfish' is not supported" tied 'tokenizer.ggml.model="wordfish"'
    refuses "pre-tokenizer 'nonesuch' is not known" tied 'tokenizer.ggml.pre="nonesuch"'
    refuses "blk.0.attn_sinks.weight' is not used by" leftover
    refuses "tensor 'blk.0.attn_output.bias' is missing" half-bias
    refuses "attn_v.weight' is IQ3_S" iq3
    refuses "not Llama 3's scaling" other-rope
    refuses "key 'qwen2.expert_count' is 8, which is not supported" qwen2 qwen2.expert_count=8
    refuses "one of 3 parts, whose name does not end in" tied split.count=3
    refuses "rope scaling 'spiral'" tied 'llama.rope.scaling.type="spiral"'
}

@test "refused: dimensions that do not fit" {
    refuses "block_count' is missing or 0" tied llama.block_count=null
    refuses "block_count' is missing or 0" tied llama.block_count=0
    refuses "tensor 'blk.1.attn_norm.weight' is missing" tied llama.block_count=2
    refuses "65000 layers, but only" tied llama.block_count=65000
    refuses "4 heads are not a multiple of 3" tied llama.attention.head_count_kv=3
    refuses "shape [96, 64], not [128, 64]" tied llama.feed_forward_length=128
    refuses "not supported" tied llama.rope.dimension_count=8
    refuses "is string, not one whole number" tied 'llama.embedding_length="many"'
    refuses "rms_epsilon' is missing" tied llama.attention.layer_norm_rms_epsilon=null
}

@test "refused: vocabularies that are not one" {
    refuses "tokens 0 and 1 are both 'x'" tied 'tokenizer.ggml.tokens=["x","x"]' tokenizer.ggml.token_type=null
    refuses "is not of two tokens that make a third" tied 'tokenizer.ggml.merges=["Ġ t","t he"]'
    refuses "is not of two tokens that make a third" tied 'tokenizer.ggml.merges=["Ġt"]'
    refuses "not one for each of" tied 'tokenizer.ggml.token_type=[1,1]'
    refuses "key 'tokenizer.ggml.merges' is missing" tied tokenizer.ggml.merges=null
    refuses "key 'tokenizer.ggml.scores' is missing" spm tokenizer.ggml.scores=null
    refuses "eos_token_id' is 5000 of 262 tokens" tied tokenizer.ggml.eos_token_id=5000
}

@test "refused: the file cut off anywhere, with the byte" {
    tiny make tied whole.gguf
    size=$(stat -c %s whole.gguf)
    for n in 0 1 3 4 7 8 20 24 30 100 1000 3000 $((size / 4)) $((size / 2)) $((size - 1)); do
        head -c "$n" whole.gguf >cut.gguf
        fails 65 "cut.gguf" st-convert cut.gguf out
        [[ $output == *"byte "* ]]
        nothing_left
    done
}

@test "refused: magic, version, byte order, counts" {
    patch() { # OFFSET HEX: whole.gguf with these bytes, as bad.gguf
        cp whole.gguf bad.gguf
        printf '%s' "$2" | xxd -r -p | dd of=bad.gguf bs=1 seek="$1" conv=notrunc status=none
    }
    tiny make tied whole.gguf
    patch 0 58 && fails 65 "not a GGUF file" st-convert bad.gguf out
    patch 4 01 && fails 65 "expected GGUF version 2 or 3, found 1" st-convert bad.gguf out
    patch 4 00000003 && fails 65 "big-endian" st-convert bad.gguf out
    patch 8 ffffffffffffff7f && fails 65 "tensors, more than the file can hold" st-convert bad.gguf out
    patch 16 ffffffffffffffff && fails 65 "keys, more than the file can hold" st-convert bad.gguf out
    patch 24 ffffffffffffff7f && fails 65 "a key of 9223372036854775807 bytes" st-convert bad.gguf out
    nothing_left
}

@test "refused: sources that are no file, bad options" {
    fails 66 "none.gguf" st-convert none.gguf out
    fails 66 "" st-convert /dev/null out
    fails 65 "" st-convert "$DATA/models/llama/model.safetensors" out
    fails 2 "a source and a folder" st-convert whole.gguf
    fails 2 "not f32, f16 or bf16" st-convert --dtype int8 whole.gguf out
    fails 2 "mapped" st-convert - out
    nothing_left
}

@test "an output that is there stays, unless --force, and then only a model folder is replaced" {
    tiny make tied a.gguf
    mkdir out
    fails 74 "already exists" st-convert a.gguf out
    fails 74 "not a folder with a config.json" st-convert --force a.gguf out
    echo '{}' >out/config.json
    echo precious >out/notes
    mkdir out/sub
    fails 74 "has a subfolder: out/sub" st-convert --force a.gguf out
    [ "$(cat out/notes)" = precious ]
    rmdir out/sub
    st-convert --force a.gguf out/
    [ ! -e out/notes ]
    tiny check tied out bf16
    [ "$(ls -A | xargs)" = 'a.gguf out' ]
}

@test "no room, no right: nothing is left behind" {
    tiny make llama a.gguf
    fails 74 "cannot" sh -c 'trap "" XFSZ; ulimit -f 40; exec st-convert a.gguf out'
    nothing_left
    fails 74 "cannot make the folder" st-convert a.gguf no/such/place
}

@test "a signal in the middle ends it as signals do, and leaves nothing behind" {
    tiny make llama a.gguf
    # The signal is pending before the program starts, and is seen at its first look.
    for sig in INT TERM HUP; do
        run python3 -c 'import os, signal, sys
s = getattr(signal, "SIG" + sys.argv[1])
signal.signal(s, signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_BLOCK, [s])
os.kill(os.getpid(), s)
os.execvp("st-convert", ["st-convert", "a.gguf", "out"])' $sig
        [ "$status" -eq $((128 + $(kill -l $sig))) ]
        nothing_left
    done
}

@test "a folder is re-typed: values, other files, config.json" {
    cp -r "$DATA/models/llama" src
    echo '{"a":1}' >src/tokenizer.json
    st-convert --dtype f32 src f32
    st-convert --dtype bf16 f32 back
    cmp src/tokenizer.json f32/tokenizer.json
    [ "$(jq -r .torch_dtype f32/config.json)" = float32 ]
    diff <(jq -S . src/config.json) <(jq -S . back/config.json)
    python3 - src/model.safetensors back/model.safetensors f32/model.safetensors <<'EOF'
import json, struct, sys
def load(path):
    raw = open(path, 'rb').read()
    n = struct.unpack('<Q', raw[:8])[0]
    head = json.loads(raw[8:8 + n])
    head.pop('__metadata__', None)
    return {k: (v['dtype'], v['shape'], raw[8 + n:][slice(*v['data_offsets'])]) for k, v in head.items()}
src, back, wide = map(load, sys.argv[1:])
assert src == back
for k, (dtype, shape, data) in src.items():
    assert dtype == 'BF16' and wide[k][0] == 'F32'
    assert wide[k][2] == b''.join(b'\0\0' + data[i:i + 2] for i in range(0, len(data), 2)), k
EOF
}

@test "an embedding model's folders come along" {
    st-convert --dtype f32 "$DATA/embed/gemma3" out
    for f in modules.json 1_Pooling/config.json 2_Dense/config.json 2_Dense/model.safetensors 3_Dense/model.safetensors; do
        cmp "$DATA/embed/gemma3/$f" "out/$f"
    done
    llm-embed -j -m "$DATA/embed/gemma3" "$DATA/embed/gemma3/ids" >want
    llm-embed -j -m out "$DATA/embed/gemma3/ids" | cmp - want
    st-convert --force "$DATA/embed/bert" out
    [ ! -e out/3_Dense ]
}

@test "shards become one file" {
    st-convert --dtype f32 "$DATA/models/llama-sharded" out
    [ ! -e out/model.safetensors.index.json ]
    [ -s out/model.safetensors ]
    jq -e '.dtype == "float32"' out/config.json
}

@test "refused: folders without weights or config, quantised ones" {
    mkdir empty
    fails 66 "" st-convert empty out
    cp -r "$DATA/models/llama" src
    jq '.quantization_config = {"quant_method": "gptq"}' src/config.json >c && mv c src/config.json
    fails 65 "quantization_config" st-convert src out
    rm src/config.json
    fails 66 "config.json" st-convert src out
    nothing_left
}

@test "f16 says what it cannot hold" {
    python3 - <<'EOF'
import json, os, struct
os.mkdir('src')
open('src/config.json', 'w').write('{"model_type": "llama"}')
data = struct.pack('<4f', 1.0, 65504.0, 70000.0, float('inf'))
head = json.dumps({'w': {'dtype': 'F32', 'shape': [4], 'data_offsets': [0, 16]}}).encode()
open('src/model.safetensors', 'wb').write(struct.pack('<Q', len(head)) + head + data)
EOF
    run st-convert --dtype f16 src out
    [ "$status" -eq 0 ]
    [[ $output == *"1 values of tensor 'w'"* ]]
    [ "$(jq -r .torch_dtype out/config.json)" = float16 ]
}

@test "the real model: the tokenizer is the one that SmolLM2 publishes" {
    need_shared thirdparty/tokenizers/smollm2/tokenizer.json
    model=${XDG_CACHE_HOME:-$HOME/.cache}/tokpipe/SmolLM2-135M-Instruct-bf16
    [ -e "$model/tokenizer.json" ] || skip "the demo model is not in the cache"
    # That file is of a fine-tune, which has made two tokens of its own special.
    same='[.normalizer, .pre_tokenizer, .decoder, .post_processor, .model, [.added_tokens[] | select(.id < 17)]]'
    cmp <(jq -S "$same" "$model/tokenizer.json") <(jq -S "$same" "$SHARED/goldens/thirdparty/tokenizers/smollm2/tokenizer.json")
    same "$model/config.json" '[.rope_theta, .rms_norm_eps, .num_attention_heads, .num_key_value_heads, .tie_word_embeddings, .max_position_embeddings]' \
        '[100000,1e-05,9,3,true,8192]'
}
