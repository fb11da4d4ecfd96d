"""Writes a folder of BF16 weights as a GGUF file, so that llama.cpp can be measured on the same shapes and bits. Needs the
PyPI packages gguf and numpy.

usage: python bench/to-gguf.py FOLDER OUT.gguf [f16]      f16: matrices in F16, for CPUs where a peer is faster with it

A byte-level tokenizer.json with merges is written, too: llama-server splits the text of its requests with it. A folder of
bench/mkmodel has none, and gets a dummy vocabulary, because llama-bench reads no text.

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


def dummy_vocabulary():
    writer.add_tokenizer_model("llama")
    writer.add_token_list([f"<{i}>" for i in range(config["vocab_size"])])
    writer.add_token_scores([0.0] * config["vocab_size"])
    writer.add_token_types([gguf.TokenType.NORMAL] * config["vocab_size"])


def vocabulary(tokenizer):
    """A byte-level BPE. llama.cpp knows the split before it by a name."""
    before = tokenizer["pre_tokenizer"]
    kinds = [p["type"] for p in before.get("pretokenizers", [before])]
    names = {("Digits", "ByteLevel"): "smollm", ("ByteLevel",): "gpt-2"}
    if tokenizer["model"]["type"] != "BPE" or tuple(kinds) not in names:
        raise SystemExit(f"to-gguf.py: {folder / 'tokenizer.json'}: no name is known for a split by {', '.join(kinds)}")
    tokens = [f"<unused {i}>" for i in range(config["vocab_size"])]
    types = [gguf.TokenType.UNUSED] * len(tokens)
    for token, i in tokenizer["model"]["vocab"].items():
        tokens[i], types[i] = token, gguf.TokenType.NORMAL
    for added in tokenizer["added_tokens"]:
        tokens[added["id"]] = added["content"]
        types[added["id"]] = gguf.TokenType.CONTROL if added["special"] else gguf.TokenType.USER_DEFINED
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(names[tuple(kinds)])
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in tokenizer["model"]["merges"]])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_add_bos_token(False)


tokenizer = json.loads((folder / "tokenizer.json").read_text()) if (folder / "tokenizer.json").exists() else {}
if tokenizer.get("model", {}).get("merges"):
    vocabulary(tokenizer)
else:
    dummy_vocabulary()

HEADS = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}


def in_order(name, matrix):
    """llama.cpp rotates neighbouring rows of q and k in this architecture, and the folder has the two halves of a head."""
    heads = next((n for part, n in HEADS.items() if part in name), 0)
    if arch != "llama" or not heads:
        return matrix
    return matrix.reshape(heads, 2, -1, matrix.shape[1]).swapaxes(1, 2).reshape(matrix.shape)


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
        continue
    bits = numpy.ascontiguousarray(in_order(name, bits.reshape(t["shape"])))
    if f16:
        writer.add_tensor(target, (bits.astype("<u4") << 16).view("<f4").astype("<f2"))
    else:
        writer.add_tensor(target, bits.view(numpy.uint8), raw_dtype=gguf.GGMLQuantizationType.BF16)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
