#!/usr/bin/env bats
# Models whose matrices are quantised as quant(5) says, from a small encoder of our own: tests/lib/quantise.py.
# SPDX-License-Identifier: AGPL-3.0-or-later
load lib/common

setup() { cd "$BATS_TEST_TMPDIR"; }

quantise() { # KIND MODEL: folders q and plain
    python3 "$ROOT/tests/lib/quantise.py" "$1" "$DATA/models/$2" q plain
    # tokens(5) needs a tokenizer's vocabulary; these models have none, so ids are given as text.
    for i in 3 40 9 17; do seq $((i * 3)) $((i * 3 + i)) | tr '\n' ' '; echo; done >ids
}

run_model() { llm-forward --no-return -a -q "$@" ids; } # -m FOLDER OPTIONS

@test "--precise gives the bits of the same values as F32" {
    for kind in i8 i4_32 i4_16 nf4; do
        rm -rf q plain
        quantise $kind llama
        run_model -m plain --precise >want
        run_model -m q --precise | llm-diff -q --max 0 want -
    done
}

@test "fused, gated, tied and expert matrices are read in every layout" {
    for model in phi3 qwen3-moe gemma2 stablelm; do
        rm -rf q plain
        quantise mixed $model
        run_model -m plain --precise >want
        run_model -m q --precise | llm-diff -q --max 0 want -
    done
}

@test "rounding x to 15 bits is a small loss" {
    for kind in i8 i4_32 i4_16 nf4; do
        rm -rf q plain
        quantise $kind llama
        run_model -m q --precise >want
        run_model -m q | llm-diff -q --kl 2e-4 want - # keys and values in bf16 alone: 7e-5
        run llm-diff -q --max 0 want <(run_model -m q)
        [ "$status" -eq 1 ] # the integer kernels were used
    done
}

@test "batches, chunks and threads give the same bits" {
    quantise mixed llama
    for isa in baseline avx2 avxvnni avx512; do
        LLM_ISA=$isa run_model -m q -b 1 -t 1 >want 2>err || { grep -q 'lacks' err; continue; }
        for options in "-b 4" "-b 1 --chunk 3" "-b 3 --chunk 7 -t 3" "-b 4 -t 2 --keep 0"; do
            # shellcheck disable=SC2086
            LLM_ISA=$isa run_model -m q $options | llm-diff -q --max 0 want -
        done
    done
}

@test "bad files are refused by name" {
    quantise i8 llama
    edit() { # PYTHON, of the header h
        python3 - "$1" <<'EOF'
import json, struct, sys
data = open("q/model.safetensors", "rb").read()
n = struct.unpack("<Q", data[:8])[0]
h = json.loads(data[8:8 + n])
exec(sys.argv[1])
text = json.dumps(h).encode()
open("bad/model.safetensors", "wb").write(struct.pack("<Q", len(text)) + text + data[8 + n:])
EOF
    }
    cp -r q bad
    edit 'h["model.layers.0.mlp.up_proj.weight_i8"]["dtype"] = "I8"'
    fails 65 "tensor 'model.layers.0.mlp.up_proj.weight_i8': expected U8, found I8" run_model -m bad
    edit 'h["model.layers.0.mlp.up_proj.weight_i8"]["shape"].reverse()'
    fails 65 "tensor 'model.layers.0.mlp.up_proj.weight_i8': expected [5, 1152]" run_model -m bad
    edit 'h["model.layers.0.mlp.up_proj.weight_i4_32"] = h.pop("model.layers.0.mlp.up_proj.weight_i8")'
    fails 65 "tensor 'model.layers.0.mlp.up_proj.weight_i4_32': expected [5, 640]" run_model -m bad
    edit 'h["model.layers.0.mlp.up_proj.weight_nf4"] = h.pop("model.layers.0.mlp.up_proj.weight_i8")'
    fails 65 "tensor 'model.layers.0.mlp.up_proj.weight_nf4': expected [5, 640]" run_model -m bad
    edit 'h["x"] = h.pop("model.layers.0.mlp.up_proj.weight_i8")'
    fails 65 "tensor 'model.layers.0.mlp.up_proj.weight" run_model -m bad
    head -c 60000 q/model.safetensors >bad/model.safetensors
    fails 65 "bad/model.safetensors" run_model -m bad
}

@test "st-inspect --spec knows the tensors" {
    quantise mixed llama
    run st-inspect --spec q
    [ "$status" -eq 0 ]
    [[ $output != *"not used"* ]]
}
