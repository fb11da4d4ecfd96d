#!/usr/bin/env bats
# st-convert from GGUF, for each family: the models of tests/data are written as GGUF files by tests/lib/gguf_of_folder.py, in
# the way of llama.cpp's converter. The converted folder must give the same logits as the original, in every bit.
# SPDX-License-Identifier: AGPL-3.0-or-later
bats_require_minimum_version 1.5.0
load lib/common

setup() {
    cd "$BATS_TEST_TMPDIR" || return 1
    (seq -s ' ' 3 60; echo 5 6 7) >ids # within the smallest vocabulary and the shortest context
}

gguf() { python3 "$ROOT/tests/lib/gguf_of_folder.py" "$@"; }

rows() { # FOLDER: the logits of all positions
    llm-forward -q -m "$1" -a --no-return <ids >frames || return 1
    python3 "$ROOT/tests/lib/frames.py" --rows frames
}

# The folder, written as a GGUF file and converted back to ./out, gives the same logits: same FOLDER DTYPE [OPTION ...]
same() {
    gguf "$1" m.gguf "${@:3}"
    st-convert -f --dtype "$2" m.gguf out
    rows "$1" >want
    rows out >got
    [ -s want ] && cmp want got || { echo "$1 ${*:3}"; false; }
}

# A copy of a model, with an edited config.json: what llama.cpp cannot express is removed.  edited MODEL JQ-FILTER
edited() {
    rm -rf copy && cp -r "$DATA/$1" copy
    for c in copy/config*.json; do jq "$2" "$c" >c && mv c "$c"; done
}

@test "llama: biases, head sizes, dtypes, shards, every rope scaling" {
    for m in llama llama-mha-bias llama-headdim llama-sharded llama-linear-rope llama-yarn llama3-rope llama-q; do
        same "$DATA/models/$m" bf16
    done
    same "$DATA/models/llama-f16" f16
    same "$DATA/models/llama-f32" f32
    same "$DATA/models/llama-tied-f32" f32
    same "$DATA/models-odd/llama3" f32
    edited models-odd/llama-longrope 'del(.rope_scaling.factor, .rope_parameters.factor)' # GGUF has none
    same copy bf16
}

@test "matrices in F32 give the same bf16" {
    for m in llama gemma2 gpt2 mixtral; do same "$DATA/models/$m" bf16 --f32; done
}

@test "mistral, with and without a window" {
    same "$DATA/models/mistral" bf16
    [ "$(jq -c '[.model_type, .sliding_window]' out/config.json)" = '["mistral",16]' ]
    same "$DATA/models/mistral-nowindow" bf16
}

@test "qwen2, qwen3" {
    same "$DATA/models/qwen2" bf16
    same "$DATA/models/qwen3" bf16
    edited models-odd/qwen3 '.use_sliding_window = false | del(.layer_types)'
    same copy bf16
    jq -e .attention_bias out/config.json
}

@test "mixtral, qwen3_moe: experts in one tensor, with gate and up in one, or alone" {
    for form in '' --fuse-exps --single-exps; do
        same "$DATA/models/mixtral" bf16 $form
        same "$DATA/models/qwen3-moe" bf16 $form
    done
    [ "$(jq -c '[.model_type, .num_experts, .num_experts_per_tok, .moe_intermediate_size, .norm_topk_prob]' out/config.json)" = \
        '["qwen3_moe",8,2,24,true]' ]
    same "$DATA/models-odd/mixtral" bf16
    edited models-odd/qwen3-moe '.use_sliding_window = false | del(.layer_types)'
    same copy bf16 # layers without experts, weights that do not add up to 1
    [ "$(jq -c '[.mlp_only_layers, .norm_topk_prob]' out/config.json)" = '[[0,2,3,4],false]' ]
}

@test "gemma, gemma2, gemma3: norms are stored plus 1" {
    for m in models/gemma models/gemma2 models/gemma3 models-odd/gemma3; do same "$DATA/$m" bf16; done
}

@test "gemma2 and gemma3 where a file has no key: the window, its layers, the scale of the scores" {
    # attention.scale is written for our models only; llama.cpp knows the published ones
    gguf "$DATA/models/gemma2" m.gguf gemma2.attention.scale=null gemma2.attention.sliding_window=null
    st-convert m.gguf out
    [ "$(jq -c '[.query_pre_attn_scalar, .sliding_window, .layer_types]' out/config.json)" = \
        '[16,4096,["sliding_attention","full_attention","sliding_attention"]]' ]
    gguf "$DATA/models-odd/gemma3" m.gguf gemma3.attention.scale=null gemma3.rope.freq_base_swa=null
    st-convert -f m.gguf out
    [ "$(jq -c '[.query_pre_attn_scalar, .rope_local_base_freq, (.layer_types | index("full_attention"))]' out/config.json)" = \
        '[6,10000,5]' ]
}

@test "phi: q, k and v alone or in one tensor, normed heads" {
    same "$DATA/models/phi" bf16
    same "$DATA/models/phi" bf16 --fuse-qkv
    same "$DATA/models-odd/phi-qk" bf16
}

@test "phi3: fused matrices, longrope, a part of each head rotated" {
    for m in models/phi3 models/phi3-longrope models/phi3-partial models-odd/phi3-long; do same "$DATA/$m" bf16; done
    gguf "$DATA/models/phi3-longrope" m.gguf
    st-convert -f m.gguf out
    jq -e '.rope_scaling | .long_factor[1] == 1.2 and .attention_factor == null' out/config.json
    gguf "$DATA/models/phi3-longrope" m.gguf phi3.rope.scaling.attn_factor=1.25
    st-convert -f m.gguf out
    jq -e '.rope_scaling.attention_factor == 1.25' out/config.json
}

@test "smollm3: every fourth layer is not rotated" {
    edited models/smollm3 '.no_rope_layer_interval = 4 | del(.no_rope_layers, .layer_types)'
    same copy bf16
    edited models-odd/smollm3 '.no_rope_layer_interval = 4 | del(.no_rope_layers, .layer_types) | .use_sliding_window = false'
    same copy bf16 # biases
}

@test "olmo2, and olmo3 where there is a window" {
    same "$DATA/models/olmo2" bf16
    same "$DATA/models-odd/olmo3" bf16
    [ "$(jq -c '[.model_type, .layer_types[3:5]]' out/config.json)" = '["olmo3",["full_attention","sliding_attention"]]' ]
    gguf "$DATA/models-odd/olmo3" m.gguf olmo2.rope.scaling.yarn_attn_factor=1.2079441
    st-convert -f m.gguf out
    jq -e '.rope_scaling.attention_factor - 1.2079441 | fabs < 1e-6' out/config.json
}

@test "granite, starcoder2, stablelm" {
    for m in models/granite models/starcoder2 models-odd/starcoder2 models/stablelm models-odd/stablelm-qk; do same "$DATA/$m" bf16; done
    [ "$(jq -c '[.use_parallel_residual, .qk_layernorm, .use_qkv_bias, .partial_rotary_factor]' out/config.json)" = '[true,true,false,0.5]' ]
}

@test "gpt2: matrices are transposed, a copy of the embedding is no head" {
    same "$DATA/models/gpt2-prefixed" bf16
    same "$DATA/models/gpt2" bf16
    cp out/model.safetensors first
    same "$DATA/models/gpt2" bf16 --copy-head
    cmp first out/model.safetensors
    jq -e .tie_word_embeddings out/config.json
}

# ./wide: a GPT-2 of one layer whose matrices are wider than what is transposed at once
wide() {
    mkdir wide
    python3 - <<'PY'
import json, random, struct
n, ffn, vocab = 320, 544, 64
shapes = {'wte.weight': [vocab, n], 'wpe.weight': [64, n], 'ln_f.weight': [n], 'ln_f.bias': [n]}
for name, shape in (('ln_1', [n]), ('ln_2', [n]), ('attn.c_attn', [n, 3 * n]), ('attn.c_proj', [n, n]), ('mlp.c_fc', [n, ffn]),
                    ('mlp.c_proj', [ffn, n])):
    shapes['h.0.%s.weight' % name], shapes['h.0.%s.bias' % name] = shape, shape[-1:]
head, data, rng = {}, b'', random.Random(1)
for name, shape in shapes.items():
    count = shape[0] * (shape[1] if len(shape) > 1 else 1)
    more = struct.pack('<%df' % count, *[rng.uniform(-1, 1) for _ in range(count)])
    head[name] = {'dtype': 'F32', 'shape': shape, 'data_offsets': [len(data), len(data) + len(more)]}
    data += more
head = json.dumps(head).encode()
open('wide/model.safetensors', 'wb').write(struct.pack('<Q', len(head)) + head + data)
json.dump({'model_type': 'gpt2', 'n_embd': n, 'n_inner': ffn, 'n_head': 4, 'n_layer': 1, 'n_positions': 64, 'vocab_size': vocab,
           'layer_norm_epsilon': 1e-5, 'bos_token_id': 1, 'eos_token_id': 2}, open('wide/config.json', 'w'))
PY
}

@test "gpt2: matrices that are transposed in several parts, of floats and of blocks" {
    wide
    same wide f32
    gguf wide blocks.gguf --q8
    gguf wide values.gguf --q8-values
    st-convert --dtype f32 blocks.gguf a
    st-convert --dtype f32 values.gguf b
    cmp a/model.safetensors b/model.safetensors
    run cmp -s a/model.safetensors out/model.safetensors
    [ "$status" -eq 1 ]
}

@test "blocks in stacked, sliced and permuted matrices" {
    for options in 'mixtral' 'mixtral --fuse-exps' 'mixtral --single-exps' 'llama --fuse-qkv' 'phi --fuse-qkv' 'phi3' 'gemma2'; do
        set -- $options
        gguf "$DATA/models/$1" blocks.gguf --q8 "${@:2}"
        gguf "$DATA/models/$1" values.gguf --q8-values "${@:2}"
        st-convert -f --dtype f32 blocks.gguf a
        st-convert -f --dtype f32 values.gguf b
        cmp a/model.safetensors b/model.safetensors
    done
}

@test "q, k and v in one tensor for families that have three" {
    for m in llama llama-mha-bias qwen2 gemma2; do same "$DATA/models/$m" bf16 --fuse-qkv; done
}

@test "llama 3's divisors: parameters other than the published ones" {
    same "$DATA/models/llama3-rope" bf16
    [ "$(jq -c .rope_scaling out/config.json)" = \
        '{"rope_type":"llama3","factor":8,"low_freq_factor":1,"high_freq_factor":4,"original_max_position_embeddings":64}' ]
}

@test "arrays of equal head counts are taken, other ones refused" {
    for m in llama mixtral stablelm; do same "$DATA/models/$m" bf16 --arrays; done
    gguf "$DATA/models/llama" m.gguf llama.attention.head_count_kv='[2,4]'
    fails 65 "key 'llama.attention.head_count_kv' is 2 in layer 0 and 4 in layer 1" st-convert -f m.gguf out
    gguf "$DATA/models/llama" m.gguf llama.attention.head_count='[4]'
    fails 65 "key 'llama.attention.head_count' has 1 items, not one for each of 2 layers" st-convert -f m.gguf out
}

@test "split files: any part may be given" {
    gguf "$DATA/models/phi3" whole.gguf
    st-convert whole.gguf want
    for n in 2 4; do
        gguf "$DATA/models/phi3" m --split $n
        for part in m-*-of-"0000$n.gguf"; do
            st-convert -f "$part" out
            cmp want/model.safetensors out/model.safetensors
            diff -r want out
        done
    done
}

patched() { # FILE OFFSET HEX
    printf '%s' "$3" | xxd -r -p | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

@test "split files: a part that is missing, cut, of another split or under another name is refused" {
    gguf "$DATA/models/llama" m --split 3
    cp m-00002-of-00003.gguf two
    mv m-00002-of-00003.gguf other.gguf
    fails 66 "m-00002-of-00003.gguf: No such file or directory: part 2 of 3" st-convert m-00001-of-00003.gguf out
    fails 65 "one of 3 parts, whose name does not end in \"-00001-of-00003.gguf\": other.gguf" st-convert other.gguf out
    cp m-00003-of-00003.gguf m-00002-of-00003.gguf
    fails 65 "expected part 2 of 3 with 21 tensors in all, found part 3 of 3 with 21: m-00002" st-convert m-00003-of-00003.gguf out
    head -c 900 two >m-00002-of-00003.gguf
    fails 65 "m-00002-of-00003.gguf: byte" st-convert m-00001-of-00003.gguf out
    gguf "$DATA/models/llama" m --split 2
    mkdir three && cp m-00001-of-00002.gguf three/m-00001-of-00003.gguf
    fails 65 "one of 2 parts, whose name does not end in" st-convert three/m-00001-of-00003.gguf out
    gguf "$DATA/models/qwen2" q --split 2
    cp q-00002-of-00002.gguf m-00002-of-00002.gguf
    fails 65 "tensors in all" st-convert m-00001-of-00002.gguf out
    ls out 2>/dev/null && false
    gguf "$DATA/models/mistral" q --split 2
    gguf "$DATA/models/llama" m --split 2
    cp q-00001-of-00002.gguf m-00002-of-00002.gguf
    at=$(grep -abo split.no m-00002-of-00002.gguf | head -n 1 | cut -d: -f1)
    patched m-00002-of-00002.gguf $((at + 8 + 4)) 01
    fails 65 "is in two parts: m-00001-of-00002.gguf and m-00002-of-00002.gguf" st-convert m-00001-of-00002.gguf out
}

@test "refused: shapes, scales and experts that do not fit" {
    gguf "$DATA/models/mixtral" m.gguf llama.expert_count=5
    fails 65 "shape [4, 64], not [5, 64]" st-convert m.gguf out
    gguf "$DATA/models/mixtral" m.gguf llama.expert_used_count=9
    fails 65 "key 'llama.expert_used_count' is 9" st-convert m.gguf out
    gguf "$DATA/models/mixtral" m.gguf llama.feed_forward_length=40
    fails 65 "ffn_gate_exps.weight' has the shape [4, 48, 64], not [4, 40, 64]" st-convert m.gguf out
    gguf "$DATA/models/qwen3-moe" m.gguf qwen3moe.expert_gating_func=2
    fails 65 "key 'qwen3moe.expert_gating_func' is 2, which is not supported for 'qwen3_moe'" st-convert m.gguf out
    gguf "$DATA/models/gpt2" m.gguf gpt2.context_length=95
    fails 65 "position_embd.weight' has the shape [96, 64], not [95, 64]" st-convert m.gguf out
    gguf "$DATA/models/qwen2" m.gguf qwen2.attention.sliding_window=8
    fails 65 "a sliding window is not supported for 'qwen2'" st-convert m.gguf out
    gguf "$DATA/models-odd/olmo3" m.gguf olmo2.attention.sliding_window_pattern='[true,false]'
    fails 65 "has 2 items, not one for each of 5 layers" st-convert m.gguf out
    gguf "$DATA/models/phi3-longrope" m.gguf phi3.rope.scaling.original_context_length=null
    fails 65 "longrope without a good 'phi3.rope.scaling.original_context_length'" st-convert m.gguf out
    gguf "$DATA/models/gemma" m.gguf gemma.final_logit_softcapping=30.0
    fails 65 "key 'gemma.final_logit_softcapping' is 30" st-convert m.gguf out
    gguf "$DATA/models/granite" m.gguf granite.residual_scale=-1.0
    fails 65 "key 'granite.residual_scale' is -1, not a positive number" st-convert m.gguf out
    gguf "$DATA/models/granite" m.gguf granite.rope.scaling.finetuned=false
    fails 65 "key 'granite.rope.scaling.finetuned' is false" st-convert m.gguf out
    gguf "$DATA/models/llama" m.gguf llama.attention.causal=false
    fails 65 "key 'llama.attention.causal' is false" st-convert m.gguf out
    gguf "$DATA/models/stablelm" m.gguf stablelm.rope.dimension_count=18
    fails 65 "18 of them rotated" st-convert m.gguf out
}

# A model whose matrices are random blocks, converted to ./plain in F32 and to ./kept: blocks MODEL TYPES [OPTION ...]
blocks() {
    gguf "$1" m.gguf "--blocks=$2" "${@:3}"
    st-convert -f --dtype f32 m.gguf plain
    st-convert -f --dtype f32 --keep-quant m.gguf kept
}

# The logits of ./plain and ./kept are the same in every bit with --precise, and close without.
same_values() {
    llm-forward -q -m plain -a --no-return --precise <ids >want
    llm-forward -q -m kept -a --no-return --precise <ids >got
    llm-forward -q -m plain -a --no-return <ids >f32
    llm-forward -q -m kept -a --no-return <ids >fast
    cmp <(python3 "$ROOT/tests/lib/frames.py" --rows want) <(python3 "$ROOT/tests/lib/frames.py" --rows got)
    kl=$(llm-diff -j f32 fast | jq .mean_kl)
    echo "KL $kl"
    jq -en "$kl > 0 and $kl < 2e-4" >/dev/null
}

@test "--keep-quant: the values of every type of block, and near them without --precise" {
    for t in Q4_0 Q4_1 Q8_0 Q4_K Q6_K; do
        blocks "$DATA/models/llama-q" $t
        same_values || { echo "$t"; false; }
        st-inspect --spec kept | grep -E "^quantised +gguf: 15 matrices as [48]-bit .*, [0-9]+ bytes read from the mapping"
        [ "$(jq -r .quantization_config.quant_method kept/config.json)" = tokpipe ]
        [ "$(st-inspect -j kept | jq -r '[.tensors[].name | select(endswith(".weight_'${t,,}'"))] | length')" -eq 15 ]
        [ "$(stat -c %s kept/model.safetensors)" -lt $(($(stat -c %s plain/model.safetensors) / 3)) ]
    done
}

@test "--keep-quant: types side by side, rows that are no whole panels, experts, and matrices that are not kept" {
    blocks "$DATA/models/llama-q" Q4_K,Q6_K,Q5_0,Q8_0,Q4_1
    same_values
    [ "$(st-inspect -j kept | jq -r '[.tensors[] | select(.dtype == "F32" and (.shape | length) == 2)] | length')" -eq 3 ]
    for m in llama phi3 qwen3-moe gemma2; do
        blocks "$DATA/models/$m" Q4_0,Q8_0,Q4_1
        same_values || { echo $m; false; }
    done
    blocks "$DATA/models/qwen2" Q8_0 --fuse-qkv
    same_values
    blocks "$DATA/models/gpt2" Q8_0 # its matrices are transposed
    same_values
    run st-inspect -j kept
    [[ $output != *h.0.attn.c_attn.weight_q8_0* && $output == *wte.weight_q8_0* ]]
}

@test "--keep-quant: a GPU runs every type of block, with --precise with the bits of F32" {
    [ -e "$ROOT/$BUILD/tests/cuda/libcuda.so.1" ] || skip "the stand-in for the driver is not built"
    on_gpu() {
        LD_LIBRARY_PATH=$ROOT/$BUILD/tests/cuda LLM_CUDA_IMAGE=$ROOT/Makefile \
            llm-forward -q --device cuda -a --no-return "$@" ids
    }
    for t in Q4_0 Q4_1 Q8_0 Q4_K Q6_K Q4_K,Q6_K,Q5_0,Q8_0,Q4_1; do
        blocks "$DATA/models/llama-q" $t
        llm-forward -q -m kept -a --no-return <ids >cpu
        on_gpu -m plain --precise >want
        on_gpu -m kept --precise | llm-diff -q --max 0 want - || { echo "$t: other bits than F32"; false; }
        on_gpu -m kept >fast
        llm-diff -q --kl 1e-3 cpu fast || { echo "$t: far from the CPU"; false; }
        run ! llm-diff -q --max 0 want fast # x and W were rounded
        on_gpu -m kept -b 1 --chunk 3 | llm-diff -q --max 0 fast - || { echo "$t: other bits in chunks"; false; }
    done
    blocks "$DATA/models/qwen3-moe" Q4_0,Q8_0,Q4_1
    on_gpu -m plain --precise >want
    on_gpu -m kept --precise | llm-diff -q --max 0 want -
}

@test "--keep-quant: only for GGUF files, and a warning where nothing can be kept" {
    fails 2 "--keep-quant is for GGUF files" st-convert --keep-quant "$DATA/models/llama" out
    gguf "$DATA/models/llama" m.gguf
    run --separate-stderr st-convert --keep-quant m.gguf out
    [ "$status" -eq 0 ]
    [[ $stderr == *"no matrix has blocks that can be kept"* ]]
    [ "$(jq .quantization_config out/config.json)" = null ]
}

@test "--keep-quant: a tensor of another size or type is refused" {
    blocks "$DATA/models/llama-q" Q4_K
    t=model.layers.0.mlp.up_proj.weight_q4_k
    bytes=$(st-inspect -j kept | jq ".tensors[] | select(.name == \"$t\") | .shape[0]")
    rm -rf edited && python3 "$ROOT/tests/lib/refold.py" kept edited "shape=$t=[$((bytes / 2)),2]"
    fails 65 "tensor '$t': expected [$bytes], found" sh -c 'echo 1 2 | llm-forward -m edited --no-return >/dev/null'
    rm -rf edited && python3 "$ROOT/tests/lib/refold.py" kept edited "dtype=$t=I8"
    fails 65 "tensor '$t': expected U8, found I8" sh -c 'echo 1 2 | llm-forward -m edited --no-return >/dev/null'
    rm -rf edited && python3 "$ROOT/tests/lib/refold.py" kept edited "rename=$t=model.layers.0.mlp.up_proj.weight_q6_k"
    fails 65 "expected [" sh -c 'echo 1 2 | llm-forward -m edited --no-return >/dev/null'
}
