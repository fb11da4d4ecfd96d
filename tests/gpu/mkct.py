#!/usr/bin/env python3
"""mkct.py DIR: a folder in TinyLlama's shape as compressed-tensors stores it, 4 bits in groups of 128, random.

SPDX-License-Identifier: AGPL-3.0-or-later"""
import json
import os
import struct
import sys

HIDDEN, FFN, LAYERS, VOCAB, KV = 2048, 5632, 22, 32000, 256
SIZES = {"I32": 4, "BF16": 2, "I64": 8}
ONE = struct.pack("<H", 0x3F80)
RANDOM = os.urandom(1 << 24)
NOISE = b"".join(struct.pack("<H", 0x3C00 | b & 0x7F | (b & 1) << 15) for b in RANDOM[:1 << 16])
tensors = []  # (name, dtype, shape, bytes that are repeated)


def linear(name, n_out, n_in):
    tensors.append((name + ".weight_packed", "I32", [n_out, n_in // 8], RANDOM))
    tensors.append((name + ".weight_scale", "BF16", [n_out, n_in // 128], struct.pack("<H", 0x3AC0)))
    tensors.append((name + ".weight_shape", "I64", [2], struct.pack("<2q", n_out, n_in)))


def write(folder):
    header, at = {}, 0
    for name, dtype, shape, _ in tensors:
        n = SIZES[dtype]
        for x in shape:
            n *= x
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + n]}
        at += n
    text = json.dumps(header).encode()
    text += b" " * (-(8 + len(text)) % 64)
    with open(os.path.join(folder, "model.safetensors"), "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for name, _, _, piece in tensors:
            begin, end = header[name]["data_offsets"]
            f.write((piece * ((end - begin) // len(piece) + 1))[:end - begin])


def main():
    folder = sys.argv[1]
    os.makedirs(folder)
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        tensors.append((name, "BF16", [VOCAB, HIDDEN], NOISE))
    tensors.append(("model.norm.weight", "BF16", [HIDDEN], ONE))
    for i in range(LAYERS):
        layer = "model.layers.%d." % i
        for norm in ("input_layernorm", "post_attention_layernorm"):
            tensors.append((layer + norm + ".weight", "BF16", [HIDDEN], ONE))
        for name, n_out, n_in in (("self_attn.q_proj", HIDDEN, HIDDEN), ("self_attn.k_proj", KV, HIDDEN),
                                  ("self_attn.v_proj", KV, HIDDEN), ("self_attn.o_proj", HIDDEN, HIDDEN),
                                  ("mlp.gate_proj", FFN, HIDDEN), ("mlp.up_proj", FFN, HIDDEN), ("mlp.down_proj", HIDDEN, FFN)):
            linear(layer + name, n_out, n_in)
    write(folder)
    weights = {"num_bits": 4, "group_size": 128, "strategy": "group", "symmetric": True, "type": "int", "dynamic": False}
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": VOCAB, "hidden_size": HIDDEN,
        "intermediate_size": FFN, "num_hidden_layers": LAYERS, "num_attention_heads": 32, "num_key_value_heads": 4,
        "max_position_embeddings": 16384, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
        "tie_word_embeddings": False, "torch_dtype": "bfloat16", "bos_token_id": 1, "eos_token_id": 2,
        "quantization_config": {
            "quant_method": "compressed-tensors", "format": "pack-quantized", "ignore": ["lm_head"],
            "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}}}}
    with open(os.path.join(folder, "config.json"), "w") as f:
        json.dump(config, f)


if __name__ == "__main__":
    main()
