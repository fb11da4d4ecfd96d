#!/usr/bin/env bats
# The forms in which a folder holds a model: shards and their index, tied heads, experts in one tensor,
# multimodal models. Each form gives the logits of the plain one, or is refused with a message that helps.
# SPDX-License-Identifier: AGPL-3.0-or-later
load lib/common

setup() {
    M=$DATA/models
    cd "$BATS_TEST_TMPDIR"
    seq -s " " 1 2 66 >ids
}

refold() { python3 "$ROOT/tests/lib/refold.py" "$@"; }

# The frames of all positions. The header has a fingerprint of the files, and is left out.
frames() { llm-forward -a --no-return -m "$@" <ids | tail -c +257; }

# Opens a model and runs it, for messages and the exit status.
load_model() { llm-forward --no-return -m "$1" ids >/dev/null; }

# same PLAIN FOLDER: both give the same frames, and the second says nothing
same() {
    frames "$1" >want 2>/dev/null
    frames "$2" >got 2>said
    cmp want got
    [ ! -s said ]
}

@test "experts in one tensor: the bits of the unfused model, without a copy" {
    for model in models/mixtral models/qwen3-moe models-odd/mixtral models-odd/qwen3-moe; do
        refold "$DATA/$model" fused fuse
        same "$DATA/$model" fused
        for folder in fused "$DATA/$model"; do
            llm-forward -a --no-return --precise --chunk 5 -m "$folder" <ids | llm-inspect --npy "$(basename "$folder").npy"
        done
        cmp fused.npy "$(basename "$model").npy"
        st-inspect --spec fused | grep 'mlp.experts.gate_up_proj' | grep -q '^used'
        [ -z "$(st-inspect --spec fused | grep -E '^(wrong|left over)')" ]
        rm -r fused
    done
}

@test "mixtral: experts under either name of their module" {
    refold "$M/mixtral" other 'rename=block_sparse_moe=mlp'
    same "$M/mixtral" other
    refold "$M/mixtral" old fuse 'rename=mlp\.=block_sparse_moe.'
    same "$M/mixtral" old
}

@test "experts in one tensor: a wrong shape, type or a missing half is named" {
    refold "$M/mixtral" x fuse 'drop=model.layers.1.mlp.experts.down_proj'
    fails 65 "tensor 'model.layers.1.mlp.experts.down_proj' is missing: expected [4, 64, 48]" load_model x
    rm -r x
    refold "$M/mixtral" x fuse 'set=num_local_experts=3'
    fails 65 "expected [3, 64], found [4, 64]" load_model x
    rm -r x
    refold "$M/mixtral" x fuse 'set=intermediate_size=24'
    fails 65 "experts.gate_up_proj': expected [4, 48, 64], found [4, 96, 64]" load_model x
    rm -r x
    refold "$M/mixtral" x fuse 'add=model.layers.0.mlp.experts.down_proj=00'
    fails 65 "experts.down_proj': expected [4, 64, 48], found [1]" load_model x
}

@test "shards: the index says which copy of a tensor counts" {
    refold "$M/llama" both split stale=model.norm.weight stale=model.layers.0.mlp.up_proj.weight stale=lm_head.weight
    same "$M/llama" both
    [ "$(st-inspect -j both | jq -r '.tensors[].name' | sort | uniq -d)" = "" ]
    [ "$(st-inspect -j both | jq '.tensors | length')" = "$(st-inspect -j "$M/llama" | jq '.tensors | length')" ]
    st-inspect --hash both >list
    frames both --verify "$PWD/list" | cmp - want
    st-convert --dtype f32 both one && frames one --precise >got
    frames "$M/llama" --precise | cmp - got
}

@test "shards: a tensor in two files that the index does not settle is refused" {
    refold "$M/llama" x split stale=model.norm.weight index=model.norm.weight=
    fails 65 "duplicate tensor 'model.norm.weight' in two files: x/model-00001-of-00002.safetensors: x/model-00002" load_model x
    rm -r x
    refold "$M/llama" x split
    cp x/model-00001-of-00002.safetensors x/third.safetensors
    jq '.weight_map["model.other"] = "third.safetensors" | .weight_map["lm_head.weight"] = "model-00002-of-00002.safetensors"' \
        x/model.safetensors.index.json >i && mv i x/model.safetensors.index.json
    fails 65 "duplicate tensor 'lm_head.weight' in two files, and the index gives neither" load_model x
}

@test "shards: what the index lists and no file has is a warning, unless the model needs it" {
    refold "$M/llama" x split index=model.rotary.inv_freq=model-00001-of-00002.safetensors
    frames x >got 2>said
    frames "$M/llama" | cmp - got
    grep -q "the index puts tensor 'model.rotary.inv_freq' in 'model-00001-of-00002.safetensors', but it is in no file" said
    [ "$(wc -l <said)" -eq 1 ]
    [ -z "$(llm-forward -q --no-return -m x ids 2>&1 >/dev/null)" ]
    st-inspect x 2>&1 >/dev/null | grep -q "inv_freq"
    rm -r x
    # In another file than the index says: the reference reads all tensors of all files.
    refold "$M/llama" x split index=model.norm.weight=model-00001-of-00002.safetensors index=lm_head.weight=model-00002-of-00002.safetensors
    frames x 2>said | cmp - got
    grep -q "but it is in model-0000" said
    rm -r x
    refold "$M/llama" x drop=model.norm.weight split index=model.norm.weight=model-00001-of-00002.safetensors
    fails 65 "tensor 'model.norm.weight' is missing" load_model x
    rm -r x
    refold "$M/llama" x split
    jq '.weight_map += ([range(50) | {key: "x\(.)", value: "model-00001-of-00002.safetensors"}] | from_entries)' \
        x/model.safetensors.index.json >i && mv i x/model.safetensors.index.json
    load_model x 2>said
    [ "$(wc -l <said)" -eq 9 ]
    grep -q "42 more tensors are not where the index puts them" said
}

@test "shards: a file that is cut short is named, with the expected and the found size" {
    refold "$M/llama" x split
    size=$(stat -c %s x/model-00002-of-00002.safetensors)
    refold "$M/llama" y split cut=model-00002-of-00002.safetensors=1000
    fails 65 "cut short: expected $size bytes, found $((size - 1000))" load_model y
    [[ $output == *": y/model-00002-of-00002.safetensors" ]]
    truncate -s 100 y/model-00002-of-00002.safetensors
    fails 65 "bytes, found 100: y/model-00002-of-00002.safetensors" load_model y
    truncate -s 0 y/model-00002-of-00002.safetensors
    fails 65 "file of 0 bytes" load_model y
}

@test "a tied model whose file has only the head's name" {
    refold "$M/llama-tied-f32" x 'rename=^model.embed_tokens=lm_head'
    same "$M/llama-tied-f32" x
    refold "$M/gemma3" y 'rename=^model.embed_tokens=lm_head'
    same "$M/gemma3" y
    refold "$M/llama-tied-f32" none drop=model.embed_tokens.weight
    fails 65 "tensor 'model.embed_tokens.weight' is missing" load_model none
}

@test "an untied model without a head: the message names the key" {
    refold "$M/llama" x drop=lm_head.weight
    fails 65 "tensor 'lm_head.weight' is missing: expected [288, 64]" load_model x
    [[ $output == *'"tie_word_embeddings": true'* ]]
    refold "$M/llama-tied-f32" y set=tie_word_embeddings=false
    fails 65 '"tie_word_embeddings": true' load_model y
}

gemma3_outer=(wrap=gemma3 'set=vision_config={"model_type":"siglip_vision_model"}' set=mm_tokens_per_image=4 set=boi_token_index=255
    set=eoi_token_index=256 set=image_token_index=257 'set=eos_token_id=[1,106]' set=initializer_range=0.02 set=torch_dtype='"bfloat16"'
    add=vision_tower.vision_model.head.weight=0102 add=multi_modal_projector.mm_soft_emb_norm.weight=0304)

@test "gemma3: the text part of a multimodal folder, with the names of transformers 4 and 5" {
    refold "$M/gemma3" old 'rename=^=language_model.' "${gemma3_outer[@]}"
    same "$M/gemma3" old
    refold "$M/gemma3" new 'rename=^model.=model.language_model.' "${gemma3_outer[@]}" 'rename=^(vision|multi)=model.\1'
    same "$M/gemma3" new
    refold "$M/gemma3" headed 'rename=^model.embed_tokens=lm_head' 'rename=^model.=model.language_model.' "${gemma3_outer[@]}"
    same "$M/gemma3" headed
    run llm-forward -v --no-return -m old ids
    [ "$(grep -ac 'tensors of other parts' <<<"$output")" -eq 1 ]
    grep -aq "the text part of model type gemma3: 2 tensors of other parts are not used: old" <<<"$output"
    rm old/generation_config.json
    st-inspect --spec old >spec
    grep -q '^model_type  *gemma3_text, the text part of gemma3$' spec
    grep -q '^no text .*vision_tower.vision_model.head.weight' spec
    [ "$(grep '^eos' spec | tr -s ' ' | tr '\n' ' ')" = "eos 1 eos 106 " ]
    [ -z "$(grep -E '^(left over|wrong|warnings)' spec)" ]
}

@test "mistral3 and llava: the text part, tied or not" {
    refold "$M/mistral" m 'rename=^=language_model.' wrap=mistral3 'set=vision_config={}' set=spatial_merge_size=2 set=vision_feature_layer=-1
    same "$M/mistral" m
    refold "$M/llama" l 'rename=^=language_model.' wrap=llava 'set=vision_config={}' set=image_token_index=7
    same "$M/llama" l
    refold "$M/llama-tied-f32" t 'rename=^=language_model.' wrap=llava
    same "$M/llama-tied-f32" t
    refold "$M/llama" n drop=lm_head.weight 'rename=^=language_model.' wrap=llava
    fails 65 "tensor 'lm_head.weight' is missing" load_model n
    refold "$M/qwen2" q 'rename=^=language_model.' wrap=llava
    same "$M/qwen2" q
}

@test "multimodal models that cannot be run are refused by name" {
    refold "$M/qwen2" x wrap=qwen2_5_vl
    fails 65 'model_type is "qwen2_5_vl", but that multimodal model is not supported' load_model x
    refold "$M/gemma3" y wrap=gemma3 set=text_config=
    fails 65 "text_config is missing: y/config.json" load_model y
    refold "$M/gemma3" z wrap=gemma3 set=text_config=7
    fails 65 "text_config is 7, but must be an object" load_model z
    refold "$M/mistral" v wrap=mistral3 'set=text_config={"model_type":"ministral3"}'
    fails 65 'model_type is "ministral3", but that family is not supported: v/config.json: text_config' load_model v
    refold "$M/mistral" w 'rename=^=language_model.' wrap=mistral3 'set=quantization_config={"quant_method":"hqq"}'
    fails 65 'quant_method is "hqq"' load_model w
    refold "$M/mistral" u 'rename=^=language_model.' wrap=mistral3 'set=new_key=3'
    load_model u 2>&1 | grep -q 'new_key is not known and is ignored'
}

@test "config.json: values that the reference takes for not given, or does not read" {
    refold "$M/mixtral" h set=head_dim=0
    same "$M/mixtral" h
    refold "$M/qwen3-moe" f set=intermediate_size=0 # no layer has an ordinary FFN
    same "$M/qwen3-moe" f
    refold "$M/qwen3-moe" d set=intermediate_size=0 'set=mlp_only_layers=[1]'
    fails 65 "intermediate_size is missing" load_model d
}
