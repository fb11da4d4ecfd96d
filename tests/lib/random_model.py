"""Makes a small Llama with random weights and a long context, for a tokenizer of tests/data.

    random_model.py TOKENIZER-FOLDER FOLDER [MEMBERS-OF-CONFIG]

Tokens that spell one byte (<0x00>) have embeddings of zero, so that answers are mostly whole characters. The same call gives the same
bytes. SPDX-License-Identifier: AGPL-3.0-or-later"""
import array, json, os, random, re, shutil, sys

source, folder = sys.argv[1:3]
config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2,
          "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 12, "max_position_embeddings": 32768, "rms_norm_eps": 1e-6,
          "rope_theta": 10000.0, "hidden_act": "silu", "tie_word_embeddings": True, "torch_dtype": "float32"}
config.update(json.loads(sys.argv[3]) if len(sys.argv) > 3 else {})
os.makedirs(folder)
for name in ("tokenizer.json", "tokenizer_config.json"):
    shutil.copy(os.path.join(source, name), os.path.join(folder, name))
tokenizer = json.load(open(os.path.join(folder, "tokenizer.json")))
said = json.load(open(os.path.join(folder, "tokenizer_config.json")))
ids = dict(tokenizer["model"]["vocab"])
ids.update({t["content"]: t["id"] for t in tokenizer["added_tokens"]})
for name in ("bos_token", "eos_token"):
    text = said.get(name)
    config[name + "_id"] = ids.get(text["content"] if isinstance(text, dict) else text)
config["vocab_size"] = max(ids.values()) + 1
h, f, kv = config["hidden_size"], config["intermediate_size"], config["num_key_value_heads"] * config["head_dim"]
rng = random.Random(7)


def matrix(rows, columns):
    return rows, columns, array.array("f", (rng.uniform(-0.7, 0.7) for _ in range(rows * columns)))


tensors = {"model.embed_tokens.weight": matrix(config["vocab_size"], h), "model.norm.weight": (h, None, array.array("f", [1.0]) * h)}
for text, i in ids.items():
    if re.fullmatch(r"<0x[0-9A-F]{2}>", text):
        tensors["model.embed_tokens.weight"][2][i * h:(i + 1) * h] = array.array("f", [0.0]) * h
for layer in range(config["num_hidden_layers"]):
    at = f"model.layers.{layer}."
    for name, rows, columns in (("self_attn.q_proj", h, h), ("self_attn.k_proj", kv, h), ("self_attn.v_proj", kv, h), ("self_attn.o_proj", h, h),
                                ("mlp.gate_proj", f, h), ("mlp.up_proj", f, h), ("mlp.down_proj", h, f)):
        tensors[at + name + ".weight"] = matrix(rows, columns)
    for name in ("input_layernorm", "post_attention_layernorm"):
        tensors[at + name + ".weight"] = h, None, array.array("f", [1.0]) * h
header, end = {}, 0
for name, (rows, columns, values) in tensors.items():
    header[name] = {"dtype": "F32", "shape": [rows, columns] if columns else [rows], "data_offsets": [end, end + 4 * len(values)]}
    end += 4 * len(values)
head = json.dumps(header).encode()
head += b" " * (-len(head) % 8)
with open(os.path.join(folder, "model.safetensors"), "wb") as out:
    out.write(len(head).to_bytes(8, "little") + head)
    for _, _, values in tensors.values():
        out.write(values.tobytes())
json.dump(config, open(os.path.join(folder, "config.json"), "w"), indent=2)
