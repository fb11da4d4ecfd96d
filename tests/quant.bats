#!/usr/bin/env bats
# Quantised checkpoints as they are published: variants of each format against the same weights in F32, and refusals.
# unit goldens compares tests/data/quant with the reference.
# SPDX-License-Identifier: AGPL-3.0-or-later
bats_require_minimum_version 1.5.0
load lib/common

setup_file() { # every variant, for all tests: a folder each, and its twin in F32
    load lib/common
    python3 "$ROOT/tests/lib/quant_variants.py" "$BATS_FILE_TMPDIR"
}

setup() {
    cd "$BATS_TEST_TMPDIR"
    V=$BATS_FILE_TMPDIR
    export TMPDIR=$BATS_TEST_TMPDIR
    Q=$DATA/quant
}

ids='3 14 15 9 26 5 35 8 9 7 9 32'
layer=model.layers.0
golden() { python3 "$ROOT/tests/lib/golden.py" "$@"; }
refold() { python3 "$ROOT/tests/lib/refold.py" "$@"; }
forward() { llm-forward -a --no-return "$@" <<<"$ids"; }
npy() { llm-inspect --npy "$1" >/dev/null; }

# Each variant of these names has the logits of its F32 twin. The weights are the same, but for the last bit of a scale.
agree() { # PATTERN
    local v names
    names=$(cd "$V" && ls -d -- *.plain | sed 's/\.plain$//' | grep -E "^($1)")
    [ "$(wc -w <<<"$names")" -ge 3 ]
    for v in $names; do
        forward -m "$V/$v.plain" --precise | npy want.npy
        forward -m "$V/$v" --precise 2>err | npy got.npy
        golden rows want.npy got.npy 1e-3 || { echo "$v: $(cat err)"; return 1; }
    done
}

# A copy of a golden with edits is refused with a message.
refuses() { # MESSAGE FROM EDIT...
    local text=$1 from=$2
    shift 2
    rm -rf edited
    refold "$from" edited "$@"
    fails 65 "$text" sh -c 'echo 1 2 | llm-forward -m edited --no-return >/dev/null' || { echo "$from: $*"; return 1; }
}

@test "compressed-tensors: the logits of the same weights in F32" { agree ct-; }
@test "GPTQ: the logits of the same weights in F32" { agree gptq-; }
@test "AWQ and AutoRound: the logits of the same weights in F32" { agree 'awq|autoround'; }
@test "FP8 and ModelOpt: the logits of the same weights in F32" { agree 'fp8|fbgemm|modelopt'; }
@test "MLX: the logits of the same weights in F32" { agree mlx; }
@test "bitsandbytes: the logits of the same weights in F32" { agree bnb; }

@test "a quantised file in shards has the same bits" {
    for v in ct-w4-sym gptq-asym-actorder bnb-nf4-nested; do
        rm -rf s
        refold "$Q/$v" s split
        forward -m "$Q/$v" --precise | npy whole.npy
        forward -m s --precise | npy shards.npy
        cmp whole.npy shards.npy
    done
}

@test "the text part of a multimodal model: quantization_config in text_config, or beside it" {
    forward -m "$Q/gptq-sym" --precise | npy want.npy
    refold "$Q/gptq-sym" inside 'rename=^=language_model.' wrap=llava 'set=vision_config={}'
    config=$(jq -c .quantization_config "$Q/gptq-sym/config.json")
    refold "$Q/gptq-sym" without set=quantization_config=
    refold without beside 'rename=^=language_model.' wrap=llava "set=quantization_config=$config"
    for m in inside beside; do
        forward -m $m --precise | npy got.npy
        cmp want.npy got.npy
    done
}

@test "every golden runs without --precise, near the reference" {
    for m in "$Q"/*/; do
        golden ids "$m/golden.safetensors" ids | llm-forward -m "$m" -a --no-return | npy rows.npy
        golden close "$m/golden.safetensors" logits rows.npy 1.5
    done
}

@test "integers: the same bits in one chunk or in several, with one thread or two, on each instruction set" {
    local isas=
    for isa in baseline c avx2 avxvnni avx512 avx512bf16 amx-emulated amx; do
        echo 3 | LLM_ISA=$isa llm-forward --no-return -m "$Q/awq" >/dev/null 2>&1 && isas+=" $isa"
    done
    [[ $isas == " baseline c"* ]]
    ! sanitized || isas="baseline ${isas##* }" # the plainest and the widest: unit kernels_int has all of them
    for m in ct-w4-sym ct-w4-asym ct-w8-group ct-int8 gptq-sym gptq-asym-actorder gptq-8bit awq autoround mlx-4 nvfp4 mxfp4 bnb-int8; do
        for isa in $isas; do
            export LLM_ISA=$isa
            forward -t 1 -m "$Q/$m" | npy whole.npy
            forward -t 2 --chunk 3 -m "$Q/$m" | npy chunks.npy
            cmp whole.npy chunks.npy || { echo "$m $isa"; return 1; }
        done
        unset LLM_ISA
    done
}

@test "every format: the same bits in any batch, chunk and number of threads, with --precise and without" {
    seq 3 40 | xargs -n 5 >many
    for m in "$Q"/*/; do
        for option in --precise ''; do
            forward $option -t 1 -m "$m" | npy whole.npy
            forward $option -t 2 --chunk 5 -m "$m" | npy chunks.npy
            cmp whole.npy chunks.npy || { echo "$m $option"; return 1; }
            llm-forward -a --no-return $option -b 1 -t 1 -m "$m" many >alone
            llm-forward -a --no-return $option -b 8 -t 2 -m "$m" many >together
            llm-diff --max 0 alone together >diff || { echo "$m $option: $(cat diff)"; return 1; }
        done
    done
}

@test "integers: without --precise the KL from the dequantised weights is small" {
    for m in ct-w4-sym ct-w4-asym ct-w8-group ct-int8 gptq-sym gptq-asym-actorder gptq-8bit awq autoround mlx-4 nvfp4 mxfp4 bnb-int8; do
        golden ids "$Q/$m/golden.safetensors" ids >long
        llm-forward -a --no-return -m "$Q/$m" <long >fast
        llm-forward -a --no-return --precise -m "$Q/$m" <long >precise
        kl=$(llm-diff -j precise fast | jq .mean_kl)
        echo "$m: $kl"
        jq -en "$kl > 0 and $kl < 5e-4" >/dev/null
    done
}

@test "st-inspect --spec and -v say the format, the number of matrices and their memory" {
    run st-inspect --spec "$Q/gptq-sym"
    [[ $output == *$'\nquantised        gptq: 14 matrices as 4-bit groups of 32, '*' bytes of copies'* ]]
    [[ $output != *"left over"* ]]
    run st-inspect --spec "$Q/bnb-nf4"
    [[ $output == *'bitsandbytes: 14 matrices as 4-bit table of 64, 196608 bytes read from the mapping, '*' bytes of copies'* ]]
    run st-inspect --spec "$Q/mlx-4"
    [[ $output == *'mlx: 16 matrices as 4-bit groups of 64, '* ]]
    run --separate-stderr sh -c 'echo 1 | llm-forward -v --no-return -m "$0" >/dev/null' "$Q/ct-int8"
    [[ $stderr == *'compressed-tensors: 14 matrices as 8-bit groups, a scale a row, '*' bytes of copies'* ]]
    # What is said to be copied is what is copied.
    said=$(st-inspect --spec "$Q/awq" | sed -n 's/^quantised .* \([0-9]*\) bytes of copies$/\1/p')
    [[ $(echo 1 | llm-forward -v --no-return -m "$Q/awq" 2>&1 >/dev/null) == *" $said bytes of copies"* ]]
    run st-inspect --spec "$DATA/models/llama"
    [[ $output != *quantised* ]]
}

@test "no tensor of a golden or a variant is left over" {
    for m in "$Q"/*/ "$V"/*/; do
        run st-inspect --spec "$m"
        [ "$status" -eq 0 ] || { echo "$m: $output"; false; }
        ! grep -E '^(left over|wrong)' <<<"$output" || { echo "$m"; false; }
    done
}

@test "symmetric GPTQ files whose zero points are something else: a warning, and the same logits" {
    refold "$Q/gptq-sym" odd "bytes=$layer.mlp.up_proj.qzeros=0=55555555" "bytes=$layer.mlp.down_proj.qzeros=0=1234"
    forward -m odd --precise 2>err | npy got.npy
    forward -m "$Q/gptq-sym" --precise | npy want.npy
    cmp want.npy got.npy
    [ "$(grep -c 'zero points that are not those of symmetric codes' err)" -eq 1 ]
}

@test "refused: tensors that are missing, or have another shape or type" {
    refuses "tensor '$layer.mlp.up_proj.scales' is missing" "$Q/gptq-sym" "drop=$layer.mlp.up_proj.scales"
    refuses "tensor '$layer.mlp.up_proj.qzeros' is missing" "$Q/awq" "drop=$layer.mlp.up_proj.qzeros"
    refuses "tensor '$layer.mlp.up_proj.qzeros' is missing" "$Q/gptq-asym-actorder" "drop=$layer.mlp.up_proj.qzeros"
    refuses "tensor '$layer.mlp.up_proj.g_idx' is missing" "$Q/gptq-asym-actorder" "drop=$layer.mlp.up_proj.g_idx"
    refuses "tensor '$layer.mlp.up_proj.weight_scale' is missing" "$Q/ct-w4-sym" "drop=$layer.mlp.up_proj.weight_scale"
    refuses "tensor '$layer.mlp.up_proj.weight_scale' is missing" "$Q/ct-fp8" "drop=$layer.mlp.up_proj.weight_scale"
    refuses "tensor '$layer.mlp.up_proj.weight_scale' is missing" "$Q/mxfp4" "drop=$layer.mlp.up_proj.weight_scale"
    refuses "tensor '$layer.mlp.up_proj.weight_zero_point' is missing" "$Q/ct-w4-asym" "drop=$layer.mlp.up_proj.weight_zero_point"
    refuses "tensor '$layer.mlp.up_proj.weight_scale': expected [384, 4], found [384, 8]" "$Q/nvfp4" \
        "drop=$layer.mlp.up_proj.weight_global_scale" # as MXFP4
    refuses "tensor '$layer.mlp.up_proj.weight_scale_inv' is missing" "$Q/fp8-block" "drop=$layer.mlp.up_proj.weight_scale_inv"
    refuses "tensor '$layer.mlp.up_proj.biases' is missing" "$Q/mlx-4" "drop=$layer.mlp.up_proj.biases"
    refuses "tensor '$layer.mlp.up_proj.weight.absmax' is missing" "$Q/bnb-nf4" "drop=$layer.mlp.up_proj.weight.absmax"
    refuses "tensor '$layer.mlp.up_proj.weight.quant_map' is missing" "$Q/bnb-nf4" "drop=$layer.mlp.up_proj.weight.quant_map"
    refuses "tensor '$layer.mlp.up_proj.weight.nested_absmax' is missing" "$Q/bnb-nf4-nested" "drop=$layer.mlp.up_proj.weight.nested_absmax"
    refuses "tensor '$layer.mlp.up_proj.SCB' is missing" "$Q/bnb-int8" "drop=$layer.mlp.up_proj.SCB"
    refuses "tensor '$layer.mlp.up_proj.qweight': expected [16, 384], found [384, 16]" "$Q/gptq-sym" "shape=$layer.mlp.up_proj.qweight=[384,16]"
    refuses "tensor '$layer.mlp.up_proj.scales': expected [384, 384], found [384, 4]" "$Q/awq" "shape=$layer.mlp.up_proj.scales=[384,4]"
    refuses "tensor '$layer.mlp.up_proj.qweight': expected I32, found F32" "$Q/gptq-sym" "dtype=$layer.mlp.up_proj.qweight=F32"
    refuses "tensor '$layer.mlp.up_proj.scales': expected F32, F16 or BF16, found I16" "$Q/gptq-sym" "dtype=$layer.mlp.up_proj.scales=I16"
    refuses "tensor '$layer.mlp.up_proj.weight_scale': expected scales, found I16" "$Q/ct-int8" "dtype=$layer.mlp.up_proj.weight_scale=I16"
    refuses "tensor '$layer.mlp.up_proj.weight_shape': expected the numbers 384 and 128" "$Q/ct-w4-sym" "bytes=$layer.mlp.up_proj.weight_shape=0=81"
    refuses "tensor '$layer.mlp.up_proj.weight_scale_inv': expected [3, 1], found [1, 3]" "$Q/fp8-block" "shape=$layer.mlp.up_proj.weight_scale_inv=[1,3]"
    refuses "tensor '$layer.mlp.up_proj.scales': expected F32, F16 or BF16, as the biases, found F16" "$Q/mlx-4" "dtype=$layer.mlp.up_proj.scales=F16"
}

@test "refused: values out of range" {
    refuses "tensor '$layer.mlp.up_proj.g_idx': input 0 is in group 4, but there are 4 groups" \
        "$Q/gptq-asym-actorder" "bytes=$layer.mlp.up_proj.g_idx=0=04000000"
    refuses "is in group -5" "$Q/gptq-asym-actorder" "bytes=$layer.mlp.up_proj.g_idx=0=fbffffff"
    refuses "tensor '$layer.mlp.up_proj.g_idx': group 0 has 3" "$Q/gptq-sym" "bytes=$layer.mlp.up_proj.g_idx=0=01000000"
    refuses "the zero point of output 0 and group 0 is 256" "$Q/gptq-8bit" \
        "bytes=$layer.mlp.up_proj.qzeros=0=ff" 'set=quantization_config={"quant_method":"gptq","bits":8,"group_size":64,"sym":false}'
    refuses "the block size is missing" "$Q/bnb-nf4" "drop=$layer.mlp.up_proj.weight.quant_state.bitsandbytes__nf4" \
        "add=$layer.mlp.up_proj.weight.quant_state.bitsandbytes__nf4=7b7d"
    refuses "$layer.mlp.up_proj.weight.quant_state.bitsandbytes__nf4" "$Q/bnb-nf4" \
        "bytes=$layer.mlp.up_proj.weight.quant_state.bitsandbytes__nf4=0=ff"
    refuses "only 0 (rows) is supported" "$Q/bnb-int8" "bytes=$layer.mlp.up_proj.weight_format=0=01"
}

@test "refused: a configuration that says something else than the tensors, or nothing" {
    refuses "has 4-bit codes in groups of 32; quantization_config has 8-bit codes in groups of 32" "$Q/gptq-sym" \
        'set=quantization_config={"quant_method":"gptq","bits":8,"group_size":32,"sym":true}'
    refuses "has 4-bit codes in groups of 32; quantization_config has 4-bit codes in groups of 64" "$Q/awq" \
        'set=quantization_config={"quant_method":"awq","bits":4,"group_size":64}'
    refuses "module '$layer.mlp.up_proj' is quantised (awq), but quantization_config says that it is not" "$Q/awq" \
        'set=quantization_config={"quant_method":"awq","bits":4,"group_size":32,"modules_to_not_convert":["'$layer'.mlp.up_proj"]}'
    refuses "is of quant_method gptq, awq or auto-round; expected" "$Q/gptq-sym" set=quantization_config=
    refuses "because quantization_config is of fp8" "$Q/gptq-sym" 'set=quantization_config={"quant_method":"fp8"}'
    refuses "is of quant_method bitsandbytes; expected" "$Q/bnb-nf4" set=quantization_config=
    refuses "tensor '$layer.mlp.up_proj.pre_quant_scale': scaled inputs are not supported" "$Q/nvfp4" "add=$layer.mlp.up_proj.pre_quant_scale=00"
    refuses "marlin format, which is not supported" "$Q/gptq-sym" "rename=up_proj.qweight=up_proj.B"
    refuses 'quant_method is "hqq"' "$Q/gptq-sym" 'set=quantization_config={"quant_method":"hqq"}'
    refuses "transforms are not supported" "$Q/ct-w4-sym" \
        'set=quantization_config={"quant_method":"compressed-tensors","transform_config":{"config_groups":{"u":{}}}}'
}

@test "refused by name: static scales of activations, in the configuration or as tensors" {
    local up=$layer.mlp.up_proj method m
    static=', but static scales of activations are not supported: edited/config.json'
    for method in ct-int8 ct-fp8; do
        config=$(jq -c '.quantization_config | .config_groups.group_0.input_activations = {"num_bits": 8, "dynamic": false}' "$Q/$method/config.json")
        refuses "input_activations is {\"num_bits\": 8, \"dynamic\": false}$static" "$Q/$method" "set=quantization_config=$config"
    done
    config=$(jq -c '.quantization_config | .activation_scheme = "static"' "$Q/fp8-block/config.json")
    refuses "activation_scheme is \"static\"$static" "$Q/fp8-block" "set=quantization_config=$config"
    for m in ct-int8 ct-fp8 ct-w4-sym gptq-sym awq autoround; do # nothing is said of activations
        refuses "tensor '$up.input_scale': static scales of activations are not supported" "$Q/$m" "add=$up.input_scale=0000003f"
    done
    refuses "tensor '$up.input_zero_point': static scales" "$Q/ct-int8" "add=$up.input_zero_point=00"
    refuses "tensor '$up.output_scale': static scales" "$Q/ct-fp8" "add=$up.output_scale=00"
}

@test "scales of activations are left out where they are computed, of NVFP4, and of ModelOpt's FP8 with a warning" {
    refold "$Q/fp8-block" dynamic "add=$layer.mlp.up_proj.activation_scale=0000003f"
    refold "$Q/nvfp4" nvfp4 "add=$layer.mlp.up_proj.input_global_scale=0000003f"
    for m in dynamic nvfp4 "$V/modelopt-nvfp4"; do
        run --separate-stderr sh -c 'echo 1 | llm-forward --no-return -m "$0" >/dev/null' "$m"
        [ "$status" -eq 0 ]
        [ -z "$stderr" ] || { echo "$m: $stderr"; return 1; }
    done
    run --separate-stderr sh -c 'echo 1 | llm-forward --no-return -m "$0" >/dev/null' "$V/modelopt-fp8"
    [ "$status" -eq 0 ]
    [[ $stderr == *"tensor '$layer.mlp.up_proj.input_scale' is not applied: activations are not rounded to FP8"* ]]
    [ "$(wc -l <<<"$stderr")" -eq 1 ]
}

@test "refused by name: formats that are not read" {
    local up=$layer.mlp.up_proj
    refuses 'version is "gemv", but only gemm is supported' "$Q/awq" 'set=quantization_config={"quant_method":"awq","bits":4,"group_size":32,"version":"gemv"}'
    for mode in mxfp4 nvfp4 mxfp8; do
        refuses 'only affine is supported' "$Q/mlx-4" "set=quantization_config={\"group_size\":32,\"bits\":4,\"mode\":\"$mode\"}"
    done
    for method in mxfp4 hqq torchao quanto spqr; do
        refuses "quant_method is \"$method\"" "$Q/gptq-sym" "set=quantization_config={\"quant_method\":\"$method\"}"
    done
    refuses "tensor '$up.W_q' is of HQQ, which is not supported" "$Q/gptq-sym" "rename=up_proj.qweight=up_proj.W_q"
    refuses "tensor '$up._weight_qdata' is of torchao, which is not supported" "$Q/gptq-sym" "rename=up_proj.qweight=up_proj._weight_qdata"
    refuses "tensor '$up.weight_blocks' is of quant_method mxfp4, which is not supported" "$Q/gptq-sym" \
        "rename=up_proj.qweight=up_proj.weight_blocks"
}
