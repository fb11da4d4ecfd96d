"""Writes a folder of bench/mkmodel as a GGUF file, so that llama.cpp can be measured on the same shapes and bits. The
vocabulary is a dummy: only speed is asked of the result. Needs the PyPI packages gguf and numpy.

usage: python bench/to-gguf.py FOLDER OUT.gguf [f16]      f16: matrices in F16, for CPUs where a peer is faster with it

SPDX-License-Identifier: AGPL-3.0-or-later"""
import json, pathlib, sys
import gguf, numpy

folder, out = pathlib.Path(sys.argv[1]), sys.argv[2]
config = json.loads((folder / "config.json").read_text())
f16 = sys.argv[3:] == ["f16"]
arch = {"llama": "llama", "qwen2": "qwen2"}[config["model_type"]]
writer = gguf.GGUFWriter(out, arch)
writer.add_context_length(config["max_position_embeddings"])
writer.add_embedding_length(config["hidden_size"])
writer.add_block_count(config["num_hidden_layers"])
writer.add_feed_forward_length(config["intermediate_size"])
writer.add_head_count(config["num_attention_heads"])
writer.add_head_count_kv(config["num_key_value_heads"])
writer.add_rope_freq_base(float(config["rope_theta"]))
writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
writer.add_vocab_size(config["vocab_size"])
writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16 if f16 else gguf.LlamaFileType.MOSTLY_BF16)
writer.add_tokenizer_model("llama")
writer.add_token_list([f"<{i}>" for i in range(config["vocab_size"])])
writer.add_token_scores([0.0] * config["vocab_size"])
writer.add_token_types([gguf.TokenType.NORMAL] * config["vocab_size"])

names = {"input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
         "self_attn.o_proj": "attn_output", "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate",
         "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}
data = numpy.memmap(folder / "model.safetensors", mode="r", dtype=numpy.uint8)
length = int(data[:8].view("<u8")[0])
header = json.loads(bytes(data[8:8 + length]))
for name, t in header.items():
    if name == "__metadata__":
        continue
    part, _, kind = name.removeprefix("model.").rpartition(".")
    if part.startswith("layers."):
        _, layer, rest = part.split(".", 2)
        target = f"blk.{layer}.{names[rest]}.{kind}"
    else:
        target = {"embed_tokens": "token_embd", "norm": "output_norm", "lm_head": "output"}[part] + "." + kind
    begin, end = (8 + length + o for o in t["data_offsets"])
    bits = data[begin:end].view("<u2")
    if len(t["shape"]) == 1:
        writer.add_tensor(target, (bits.astype("<u4") << 16).view("<f4"))
    elif f16:
        writer.add_tensor(target, (bits.astype("<u4") << 16).view("<f4").reshape(t["shape"]).astype("<f2"))
    else:
        writer.add_tensor(target, bits.reshape(t["shape"]).view(numpy.uint8), raw_dtype=gguf.GGMLQuantizationType.BF16)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
