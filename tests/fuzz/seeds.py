"""Writes the seeds that are made from tests/data or that are binary. See README.md, which says what each entry reads.

usage: python3 tests/fuzz/seeds.py          (from the project's root; the result is committed)
SPDX-License-Identifier: AGPL-3.0-or-later"""
import base64
import hashlib
import json
import os
import random
import struct
import sys

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
DATA = os.path.join(ROOT, "tests", "data")
sys.path.insert(0, os.path.join(ROOT, "tests", "lib"))
import quant_variants  # noqa: E402
import quantise  # noqa: E402


def seed(entry, name, data):
    folder = os.path.join(ROOT, "tests", "fuzz", "seeds", entry)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), "wb") as f:
        f.write(data.encode() if isinstance(data, str) else data)


def read(*path):
    with open(os.path.join(DATA, *path), "rb") as f:
        return f.read()


def compact(data):
    return json.dumps(json.loads(data), ensure_ascii=False, separators=(",", ":")).encode()


# ---- Streams ----


def frame(kind, seq=0, pos=0, rows=0, ids=(), text=b"", values=()):
    payload = struct.pack(f"<{len(ids)}I", *ids) + text + struct.pack(f"<{len(values)}f", *values)
    head = struct.pack("<4sIIIIIQ", kind, seq, pos, rows, len(ids), len(text), len(payload))
    return head + payload + bytes(-len(payload) % 8)


def recording():
    """Two sequences, one that fails, and a fork, after a header whose sizes are those of the entries."""
    return b"".join([
        frame(b"OPEN", 0, ids=[1, 2], text=b"max=2 temp=0"),
        frame(b"OPEN", 1, ids=[2], text=b"id=7"),
        frame(b"LOGI", 0, 1, 1, values=[0.5, 2, -1]),
        frame(b"HIDD", 0, 1, 1, values=[1, -1]),
        frame(b"FAIL", 1, text=b"no memory"),
        frame(b"IDS ", 0, 2, ids=[1]),
        frame(b"LOGI", 0, 2, 1, values=[3, 1, 1]),
        frame(b"CLOS", 0),
        frame(b"OPEN", 2, ids=[0]),
        frame(b"LOGI", 2, 0, 1, values=[0, 0, 1]),
        frame(b"CLOS", 2),
        frame(b"END "),
    ])


def control(kind, *parts):
    """A message between a resident llm-forward and a client."""
    texts = (struct.pack("<I", len(p)) + p if isinstance(p, bytes) else struct.pack("<I", p) for p in parts)
    return b"LLM-CTL1" + struct.pack("<I", kind) + b"".join(texts)


def control_ask(flags, address=b"", device=b"", layers=b""):
    fixed = struct.pack("<IIIQQ", flags, 16, 0, 1, 2) + bytes(32) + address.ljust(108, b"\0") + bytes(16)
    return control(1) + fixed + control(0, device, layers, b"stdin")[12:]


seed("control", "ask", control_ask(0))
seed("control", "ask-all", control_ask(255, b"/tmp/x/return", b"cuda:1", b"0,4-"))
seed("control", "taken", control(2))
seed("control", "declined", control(3))
seed("control", "warning", control(16, "sequence 3: the sequence is empty".encode()))
seed("control", "end", control(18, 65, 0, b"expected a pipe"))
seed("control", "left", control(18, 0, 1, b""))


def header():
    h = b"LOGITS\r\n" + struct.pack("<II4IiI", 1, 256, 3, 2, 100, 1, -1, 1) + struct.pack("<8i", 2, *[0] * 7)
    return h + bytes(256 - len(h))


def all_positions():
    """What llm-forward -a gives for two lines."""
    return header() + b"".join([
        frame(b"OPEN", 0, ids=[1, 2, 0]),
        frame(b"LOGI", 0, 0, 3, values=[0.5, 2, -1, 1, 1, 1, 0, 0, 3]),
        frame(b"OPEN", 1, ids=[2, 2], text=b"id=7"),
        frame(b"CLOS", 0),
        frame(b"LOGI", 1, 0, 2, values=[3, -1, 0, 0, 0, 0]),
        frame(b"CLOS", 1),
        frame(b"END "),
    ])


def streams():
    whole = header() + recording()
    for entry in ("logits", "stage_sample"):
        seed(entry, "frames", b"\1" + recording())
        seed(entry, "whole", whole)
        notes = [frame(b"NOTE", 0, text=t) for t in (b"cached=1 match=2 ours=1 theirs=0", b"cached=x", b"match=4294967296 theirs=9")]
        seed(entry, "notes", header() + frame(b"OPEN", 0, ids=[1, 2], text=b"max=1 cache=why") + b"".join(notes[:1]) +
             frame(b"LOGI", 0, 1, 1, values=[0.5, 2, -1]) + frame(b"CLOS", 0) + frame(b"END "))
        seed(entry, "bad-notes", b"\1" + frame(b"OPEN", 0, ids=[1, 2]) + notes[1] + notes[2] + frame(b"END "))
    text = b"# tokens vocab=288 tokenizer=00000000000000ff\n#@ id=7 max=3\n1 2 3\n#= finish=eos\n\n! not UTF-8\n# x\n5 6"
    seed("tokens", "stream", text)
    seed("tokens", "plain", b"1 2 3\n4\n")
    seed("tokens", "header-and-empty-attributes", b"# tokens vocab=1007\n#@ \n")
    text = text.replace(b" tokenizer=00000000000000ff", b"")
    for form in range(5):
        seed("stage_decode", f"form-{form}", bytes([form | form % 3 << 5 | form % 2 << 3]) + text + b"0 65 66 200\n")
    # options, pace, length of the prompts, prompts, requests
    requests = (bytes([0, 0, 3, 2, 0, 2, 9, 8]) + bytes([1, 0x81, 2, 0, 0, 0]) + bytes([0, 0x81, 1, 1, 0, 3, 4, 5, 6]) +
                bytes([2, 0, 0, 0, 0, 0]) + bytes([2, 0x81, 0, 0, 0, 0]))
    for bits in (0x00, 0x15, 0x3f, 0x43, 0xc1, 0xf7):
        asks = b"#@ cache=why salt=a\n1 2 3\n#@ cache=count\n1 2 3 4\n#@ cache=x\n5\n"
        seed("stage_forward", f"asks-{bits:02x}", bytes([bits, 0, 9, 3, 200, len(asks)]) + asks + requests)
        for prompts in (b"1 2 3\n4 5\n", b"1 2 3\n\n! no\n200\n1 2 3 4 5 6 7 8 9 10 11 12 13\n"):
            seed("stage_forward", f"options-{bits:02x}-{len(prompts)}",
                 bytes([bits, 0, 9, 3, 200, len(prompts)]) + prompts + requests)
    seed("stage_forward", "raw", bytes([1, 255, 9, 3, 200, 4]) + b"1 2\n" + bytes([7, 8]) + b"EXTD\0\0\0\0" + requests)
    seed("stage_forward", "raw-after-hello", bytes([1, 5, 9, 3, 200, 4]) + b"1 2\n" + requests[:8] + bytes([7, 9]) + b"NOPE\0\0\0\0\0")


def kv_file(records, blocks):
    """records: (parent, salt, has each group's block, ids) of the model that the entry makes up."""

    def block_sum(data):
        lanes = [14695981039346656037 + i for i in range(4)]
        for k, (word,) in enumerate(struct.iter_unpack("<Q", data)):
            lanes[k % 4] = (lanes[k % 4] ^ word) * 1099511628211 % 2**64
        h = 0
        for a in lanes:
            h = (h ^ a ^ a >> 32) * 1099511628211 % 2**64
        return h

    at = first = (256 + 312 * len(records) + 4095) // 4096 * 4096 if blocks else 256 + (312 * len(records) + 63) // 64 * 64
    table, data = b"", b""
    for i, (parent, salt, has, ids) in enumerate(records):
        places, sums = [0, 0], [0, 0]
        for g in range(2):
            if has[g]:
                block = bytes((i * 7 + g + k) % 256 for k in range(128))
                places[g], sums[g] = at, block_sum(block)
                at += 128
                data += block
        table += struct.pack("<II2Q2Q2Q64I", parent, 0, *salt, *places, *sums, *ids)
    groups = b"".join(struct.pack("<IIIIQQ", 0, 2, 64, 0, 64, window) for window in (0, 100))
    header = b"LLM-KV\r\n" + struct.pack("<4I", 1, 256, 64, 2) + bytes(32) + b"fuzz f32".ljust(32, b"\0")
    header += struct.pack("<QQ", len(records), first) + groups + bytes(56)
    assert len(header) == 224
    return header + hashlib.blake2b(header + table, digest_size=32).digest() + (table.ljust(first - 256, b"\0") + data if data else table)


def kv_files():
    a, b = list(range(64)), [7] * 64
    seed("kv_file", "empty", kv_file([], False))
    seed("kv_file", "path", kv_file([(0, (0, 0), (1, 1), a), (1, (0, 0), (1, 1), b), (2, (0, 0), (1, 0), a)], True))
    seed("kv_file", "salts", kv_file([(0, (0, 0), (1, 0), a), (0, (1, 2), (0, 1), a), (1, (0, 0), (0, 0), b), (1, (0, 0), (1, 1), a)], False))


def vectors():
    """A vector, a failure and the end, for each type of values."""

    def record(kind, n_tokens=0, number=0, scale=0.0, values=b"", attrs=b"", reason=b""):
        payload = values + attrs + reason
        head = struct.pack("<4sIQfIII", kind, n_tokens, number, scale, len(attrs), len(reason), len(payload))
        return head + payload + bytes(-len(payload) % 8)

    values = {1: (struct.pack("<3f", 0.5, -1, 2), 0.0), 2: (struct.pack("<3H", 0x3f80, 0xbf00, 0), 0.0), 3: (b"\x7f\x80\0", 0.25)}
    for dtype, (bytes_, scale) in values.items():
        records = b"".join([
            record(b"VECT", 3, 0, scale, bytes_, b"id=7"),
            record(b"FAIL", 900, 1, 0.0, b"", b"id=8", b"too long"),
            record(b"END ", 0, 2),
        ])
        seed("vectors", f"records-{dtype}", bytes([dtype]) + records)
        whole = b"VECTOR\r\n" + struct.pack("<6IQQQQ", 1, 64, 3, dtype, 1, 1, 5, 0, 0, 0) + records
        seed("vectors", f"joined-{dtype}", whole + whole)


def embeddings():
    """Files beside embedding models; and streams for each of them. The first byte chooses."""
    for i, name in enumerate("bert xlm-roberta modernbert nomic-bert qwen3 gemma3".split()):
        config = compact(read("embed", name, "config.json"))
        seed("config", "embed-" + name, config + b"\0{}")
        ids = b"# tokens vocab=71\n#@ id=7 file=a%20b\n3 4 5\n\n! no\n9 99\n" + b" ".join(b"%d" % (3 + k % 60) for k in range(130)) + b"\n6\n"
        seed("stage_embed", name, bytes([i | i % 2 << 3 | i % 3 << 4 | i % 2 << 6]) + config + b"\0" + ids)
    for name in ("bert", "gemma3", "pools"):
        seed("sentence", "modules-" + name, b"\0" + compact(read("embed", name, "modules.json")))
        seed("sentence", "pooling-" + name, b"\1" + compact(read("embed", name, "1_Pooling", "config.json")))
    seed("sentence", "pooling-first-form", b'\1{"word_embedding_dimension": 384, "pooling_mode_cls_token": false, '
         b'"pooling_mode_mean_tokens": true, "pooling_mode_max_tokens": false, "pooling_mode_mean_sqrt_len_tokens": false}')
    for step in ("2_Dense", "3_Dense"):
        seed("sentence", "dense-" + step[0], b"\2" + compact(read("embed", "gemma3", step, "config.json")))
    seed("sentence", "settings", b'\3{"max_seq_length": 256, "do_lower_case": false, "similarity_fn_name": "cosine", '
         b'"prompts": {"query": "q: "}, "default_prompt_name": "query"}')


# ---- Weights ----


def safetensors(tensors, metadata=None):
    """tensors: name -> (dtype, shape, bytes)"""
    header, data = ({"__metadata__": metadata} if metadata else {}), b""
    for name, (dtype, shape, bytes_) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(bytes_)]}
        data += bytes_
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def tiny_llama(dtype="F32", tied=True):
    rng = random.Random(7)

    def tensor(*shape):
        n = 1
        for d in shape:
            n *= d
        values = [round(rng.uniform(-1, 1), 2) for _ in range(n)]
        raw = struct.pack(f"<{n}f", *values)
        if dtype == "BF16":
            raw = b"".join(raw[i + 2:i + 4] for i in range(0, len(raw), 4))
        return (dtype, list(shape), raw)

    config = {"model_type": "llama", "vocab_size": 8, "hidden_size": 4, "intermediate_size": 4, "num_hidden_layers": 1,
              "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 16, "rms_norm_eps": 1e-5,
              "rope_theta": 100.0, "hidden_act": "silu", "tie_word_embeddings": tied, "eos_token_id": 2}
    p = "model.layers.0."
    t = {"model.embed_tokens.weight": tensor(8, 4), "model.norm.weight": tensor(4), p + "input_layernorm.weight": tensor(4),
         p + "post_attention_layernorm.weight": tensor(4), p + "self_attn.q_proj.weight": tensor(4, 4),
         p + "self_attn.k_proj.weight": tensor(2, 4), p + "self_attn.v_proj.weight": tensor(2, 4),
         p + "self_attn.o_proj.weight": tensor(4, 4), p + "mlp.gate_proj.weight": tensor(4, 4),
         p + "mlp.up_proj.weight": tensor(4, 4), p + "mlp.down_proj.weight": tensor(4, 4)}
    if not tied:
        t["lm_head.weight"] = tensor(8, 4)
    return json.dumps(config, separators=(",", ":")).encode(), safetensors(t)


def quantised_llama():
    """The tiny llama with a matrix in each layout of quant(5)."""
    config, file = tiny_llama("F32", True)
    n = struct.unpack("<Q", file[:8])[0]
    tensors, header = {}, json.loads(file[8:8 + n])
    kinds = {"self_attn.q_proj": "i8", "mlp.up_proj": "i4_32", "mlp.down_proj": "i4_16", "mlp.gate_proj": "nf4"}
    for name, t in header.items():
        raw = file[8 + n:][slice(*t["data_offsets"])]
        kind = next((k for module, k in kinds.items() if module in name), None)
        if kind:
            x = quantise.values("F32", raw)
            tensors[name + "_" + kind] = quantise.quantise(t["shape"], x, kind)[0]
        else:
            tensors[name] = (t["dtype"], t["shape"], raw)
    config = json.loads(config) | {"quantization_config": {"quant_method": "tokpipe"}}
    return json.dumps(config, separators=(",", ":")).encode() + b"\0" + safetensors(tensors)


def weights():
    small = {"a": ("F32", [2, 2], struct.pack("<4f", 1, -2, 0.5, 3)), "b": ("BF16", [3], bytes(6)), "c": ("U8", [], b"\7")}
    seed("safetensors", "three", safetensors(small, {"format": "pt"}))
    seed("safetensors", "empty", safetensors({}))
    seed("safetensors", "odd-dtypes", safetensors({"a": ("F8_E4M3", [4], b"\0\x7f\x80\xff"), "b": ("I64", [1], bytes(8)),
                                                   "c": ("BOOL", [2], b"\0\1"), "d": ("F16", [0], b"")}))
    index = {"metadata": {"total_size": 6}, "weight_map": {"a": "a", "b": "b"}}
    seed("st_index", "two", json.dumps(index))
    seed("st_index", "one", '{"weight_map": {"a": "a"}}')
    for dtype, tied in (("F32", True), ("BF16", False)):
        config, file = tiny_llama(dtype, tied)
        seed("load", f"tiny-{dtype.lower()}", config + b"\0" + file)
    seed("load", "tiny-quantised", quantised_llama())
    folders = ("gemma2 gemma3 gpt2 granite llama llama-yarn llama3-rope mistral mixtral olmo2 phi phi3 phi3-longrope qwen2 "
               "qwen3 stablelm starcoder2").split()
    for i, name in enumerate(folders):
        config = compact(read("models", name, "config.json"))
        if name in ("gemma2", "gemma3", "gpt2", "llama-yarn", "mixtral", "phi3-longrope", "starcoder2"):
            seed("load", name, config + b"\0" + bytes([i]))
        if name in ("gemma3", "gpt2", "llama3-rope", "mixtral", "phi3-longrope", "qwen2"):
            seed("config", name, config + b"\0" + compact(read("models", name, "generation_config.json")))


def quantised():
    """One matrix of each kind of format, as quant.c reads it."""
    names = ("ct-w4-actorder ct-w8-asym ct-w3-gaps ct-int8-asym ct-fp8-block ct-mxfp4 ct-nvfp4 gptq-v2 gptq-3 gptq-8-asym awq-tail fp8-e8m0 "
             "modelopt-nvfp4 mlx-5 bnb-fp4 bnb-nf4-nested bnb-int8-moe").split()
    for name in names:
        n_out, n_in = 24, 96 if name in ("ct-w3-gaps", "mlx-5") else 48
        pack, config = quant_variants.VARIANTS[name]["format"]
        tensors, _ = pack(random.Random(name), n_out, n_in)
        head, data = {}, b""
        for ending, (dtype, shape, body) in tensors.items():
            head["m." + ending] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(body)]}
            data += body
        text = json.dumps(head, separators=(",", ":")).encode()
        config = json.dumps(config, separators=(",", ":")).encode()
        seed("quant", name, f"{n_out} {n_in}\n".encode() + config + b"\0" + struct.pack("<Q", len(text)) + text + data)


# ---- GGUF ----


def gguf():
    import gguf_tiny as g

    def small(n_tokens, **options):
        m = g.Model(hidden=32, heads=2, kv=1, ffn=32, layers=1, head=False, **options)
        for key in ("tokens", "token_type", "scores"):
            name = "tokenizer.ggml." + key
            if name in m.kv_pairs:
                kind, values = m.kv_pairs[name]
                m.kv_pairs[name] = (kind, values[:n_tokens])
        m.vocab = n_tokens
        return m

    seed("gguf", "bpe", g.make(small(12, types={"*": "Q8_0", "attn_q": "Q4_0", "attn_k": "F16", "attn_v": "Q5_1"})))
    seed("gguf", "spm", g.make(small(12, spm=True, types={"*": "Q4_1", "attn_q": "BF16"})))
    seed("gguf", "spm-bytes", g.make(small(266, spm=True, types={"*": "Q5_0"})))
    qwen = small(12, arch="qwen2", qkv_bias=True, types={"*": "Q8_0"})
    qwen.kv_pairs["tokenizer.ggml.merges"] = ([g.STRING], [])
    seed("gguf", "qwen2", g.make(qwen))


# ---- Tokenizers ----


def charsmap(pairs):
    """A double-array trie for a few keys, in the layout of Darts-clone: see norm_precompiled.c."""
    texts, units, used = b"", {}, set()
    nodes = {}
    for key, to in pairs.items():
        at = nodes
        for byte in key.encode():
            at = at.setdefault(byte, {})
        at[None] = len(texts)
        texts += to.encode() + b"\0"

    def place(node, index):
        """Gives the children of the node at `index` their places; returns nothing."""
        labels = sorted((b for b in node if b is not None))
        need = ([0] if None in node else []) + labels
        base = 0
        while any((base ^ label) in used or (base ^ label) == 0 for label in need):
            base += 256
        offset = index ^ base
        label = units.get(index, 0) & 0xff
        units[index] = label | (1 << 8 if None in node else 0) | (offset << 10 if offset < 1 << 21 else 0)
        used.update(base ^ b for b in need)
        if None in node:
            units[base] = 1 << 31 | node[None]
        for b in labels:
            units[base ^ b] = b
        for b in labels:
            place(node[b], base ^ b)

    used.add(0)
    place(nodes, 0)
    n = (max(units) | 255) + 1
    raw = b"".join(struct.pack("<I", units.get(i, 0)) for i in range(n))
    return struct.pack("<I", len(raw)) + raw + texts


def precompiled():
    small = charsmap({"a": "b", "\u00e9": "e", "\u00bd": "1/2", "z": ""})
    text = "aza \u00e9\u00bd b".encode()
    for i in range(8):
        seed("precompiled", f"map-{i}", bytes([i * 9 | (64 if i % 2 else 0), i, len(text)]) + text + small)


def tokenizers():
    lines = read("tokenizers", "odd.jsonl").decode().strip("\n").split("\n")
    chosen, kinds = [], set()
    for line in lines:
        t = json.loads(line)
        tok = t["tokenizer"]

        def types(x):
            if isinstance(x, dict):
                here = {x["type"]} if isinstance(x.get("type"), str) else set()
                return here.union(*[types(v) for k, v in x.items() if k != "vocab"])
            return set().union(*[types(v) for v in x]) if isinstance(x, list) else set()

        new = types(tok) - kinds
        text = json.dumps(tok, ensure_ascii=False, separators=(",", ":"))
        if new and len(text) < 3000:
            kinds |= new
            chosen.append(text + "\0" + "".join(c["text"] for c in t["cases"][:6])[:80])
    for i, text in enumerate(chosen):
        seed("tokenizer", f"odd-{i:02}", text)


def texts():
    for i, t in enumerate(("bpe-gemma", "bpe-gpt2", "", "bpe-llama2", "bpe-llama3", "bpe-qwen2", "bpe-smollm2", "bpe-tekken",
                           "unigram-t5", "unigram-xlmr", "wordpiece-bert")):
        if t:
            added = json.loads(read("tokenizers", t, "tokenizer.json"))["added_tokens"]
            s = [a["content"] for a in added if a["special"]]
            seed("trust_tokens", t, bytes([i]) + (f"x\1{s[0]}\1{s[0]} {s[-1]}{s[-1]}y" + "\1\n".join(s[1:4])).encode())
    patterns = {"gpt2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
                "llama3": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
                "set": r"[\p{Han}&&[^\u4e00]]+|[^a-c&&[b-z]]|\h+|[[:alpha:]]{2,}", "behind": r"(?<=a|bc)d|(?<!x)y|\bz\b|\Aq|w\z",
                "groups": r"(?<n>a|b)\k<n>|(?:c(?=d)|(?>e+))++|(?i)f(?-i)g|\x{1F600}|\x41|\cA"}
    for name, p in patterns.items():
        seed("regex", name, p + "\0Hello w\u00f6rld's 1234\n\n  abcd yz \u4e2d\u4e00 ee ffG")
    templates = {
        "loop": "{% for m in messages %}{{ '<|' + m['role'] + '|>\\n' + m.content | trim }}{% if not loop.last %}\n{% endif %}{% endfor %}",
        "macro": "{%- macro f(x, y=2) -%}{{ x ~ y }}{%- endmacro -%}{% set ns = namespace(n=0) %}{% for m in messages[::-1] %}{% set ns.n = ns.n + 1 %}{{ f(m.content, ns.n) }}{% endfor %}{{ bos_token }}",
        "tools": "{% if tools %}{{ tools | tojson(indent=2) }}{% endif %}{% for m in messages if m.role != 'system' %}{{ m.content | upper | replace('X', 'y') | list | join('-') }}{% else %}{{ raise_exception('no') }}{% endfor %}{% if add_generation_prompt %}A:{% endif %}",
        "slices": "{% set c = messages[0].content %}{{ c[1:-1] }}{{ c.split('a') | length }}{{ c.strip() is string and 'x' in c }}{{ '%s %d' | format(c, 3) }}{{ {'a': [1, 2.5]}.items() | list }}{{ messages | selectattr('role', 'eq', 'user') | map(attribute='content') | first }}"}
    requests = ['[{"role":"user","content":"Hi x"}]',
                '{"messages":[{"role":"system","content":"s"},{"role":"user","content":"x \\u00e9"}],"tools":[{"type":"function","function":{"name":"f","parameters":{}}}]}']
    for name, t in templates.items():
        seed("chat_template", name, t + "\0" + requests[len(name) % 2])
        seed("trust_template", name, t)
        seed("jinja", name, t.replace("messages", "l") + '\0{"l":[{"role":"user","content":"abc x"}],"tools":[1]}')
    seed("chat_template", "config", json.dumps({"chat_template": templates["loop"], "bos_token": {"content": "<s>"}}) + "\0" + requests[0])
    records = '{"text": "Hi", "id": 7, "params": {"temperature": 0.5, "top_k": 3, "logit_bias": {"5": -1}}, "x": [1, {"y": null}]}\n' \
              '{"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5, "temp": 3}\n{"custom_id": "a", "url": "/v1", "body": {"text": "t"}}\nplain\n'
    for bits in (0x01, 0x09, 0x19, 0x4d, 0x8a, 0x29, 0x00):
        seed("records", f"options-{bits:02x}", bytes([bits]) + records.encode())
        seed("stage_encode", f"options-{bits:02x}", bytes([bits]) + records.encode())
    for name, attrs in {"all": "temp=0.7 top_k=5 top_p=0.9 min_p=0.01 repetition_penalty=1.2 presence_penalty=0.5 frequency_penalty=-0.5 seed=3 max=4 ignore_eos=1",
                        "greedy": "temp=0 stop_id=2,7 logit_bias=1=-1,0=2.5", "plain": "id=7"}.items():
        seed("sampler", name, bytes([7, 0 if name == "all" else 0xff]) + struct.pack("<8f", 1, -1, 0.5, 2, -3, 0, 1, 2) + attrs.encode())
    seed("json", "all", '{"a": [1, -2.5e-3, true, false, null, "\\u00e9\\ud83d\\ude00\\n"], "b": {}, "": []}')
    listing = read_listing()
    seed("hashlist", "list", read_listing())


def chats():
    messages = [{"role": "user", "content": [{"type": "text", "text": "a\u00e9"}]},
                {"role": "assistant", "content": "b c", "reasoning_content": "r",
                 "tool_calls": [{"function": {"name": "f", "arguments": "{\"x\": 1}"}}]}]
    whole = {"messages": messages, "tools": [{"type": "function", "function": {"name": "f"}}], "chat_template_kwargs": {"x": 2}}
    for name, bits, request in (("messages", 0x10, messages), ("object", 0x1e, whole), ("continued", 0x11, messages[::-1]),
                                ("named", 0x06, {**whole, "chat_template": "default", "add_generation_prompt": False})):
        seed("chat", name, bytes([bits]) + json.dumps(request, ensure_ascii=False).encode())
    bos = {"content": "<a>", "lstrip": True, "special": True}
    config = {"added_tokens_decoder": {"2": bos, "3": {"content": "<c>"}}, "bos_token": bos, "eos_token": "<a>", "additional_special_tokens": ["<d>"]}
    for name, files in {"config": [config], "map": [{}, {"eos_token": {"content": "<a>"}, "unk_token": "b", "pad_token": None}],
                        "added": [{"bos_token": "<a>"}, {}, {"<a>": 2, "<e>": 3}]}.items():
        seed("special", name, "\0".join(json.dumps(f) for f in files))


def answers():
    lines = ['{"id": 1, "text": "x", "finish": "eos"}', '{"custom_id": "a", "text": "", "finish": "cut"}', '{"id": 1, "text": "y", "finish": "length"}',
             '{"custom_id": "b", "id": 2, "nll": 0.5}', '{"text": "z", "finish": "stop"}', '{"id": "s", "error": "bad"}']
    seed("done", "answers", "\n".join(lines) + "\n")
    seed("done", "cut", "\n".join(lines[:2]) + '\n{"id": 4, "te')
    seed("generation", "all", json.dumps({"do_sample": True, "temperature": 0.6, "top_p": 0.9, "top_k": 20, "min_p": 0.05, "typical_p": 0.95,
                                          "repetition_penalty": 1.1, "max_new_tokens": 64, "stop_strings": ["END", "\n\n"], "eos_token_id": [1, 2]}))
    seed("generation", "greedy", '{"do_sample": false, "temperature": null, "stop_strings": "a", "num_beams": 1}')
    seed("body", "chat", '{"model": "m", "messages": [{"role": "user", "content": "Hi"}], "temperature": 0.5, "stream": true, '
                         '"stream_options": {"include_usage": true}, "stop": ["a"], "top_k": 3, "response_format": {"type": "text"}}')
    seed("body", "text", '{"prompt": "Hi", "max_tokens": 5, "seed": 7, "logit_bias": {"5": -1}, "user": "u", "n": 1}')
    seed("body", "messages", '{"system": "Be short.", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5, "stop_sequences": ["a"]}')
    seed("body", "ids", '{"prompt": [1, 2, 3], "ignore_eos": true, "model": null}')
    seed("body", "prompts", '{"prompt": [[1, 2], [3]], "n": 2, "echo": true, "logprobs": 3, "max_tokens": 0, "stop": ["a", "b"], "seed": -5}')
    seed("body", "texts", '{"prompt": ["a", "b"], "stream": true, "stream_options": {"include_usage": true}, "top_p": 0.5}')
    seed("body", "responses", '{"input": [{"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "Hi"}]}, '
         '{"role": "user", "content": "So"}], "instructions": "Be short.", "text": {"format": {"type": "text"}}, "include": '
         '["message.output_text.logprobs"], "top_logprobs": 2, "truncation": "disabled", "max_output_tokens": 5, "store": false}')
    seed("embeddings", "texts", '{"input": ["a", "b"], "model": "m", "encoding_format": "base64", "dimensions": 4, "user": "u"}')
    seed("embeddings", "ids", '{"input": [[1, 2], [3]], "encoding_format": "float", "model": null}')
    seed("embeddings", "one", '{"input": [1, 2, 3]}')
    seed("api_keys", "two", "# keys\n\nalice " + "3f" * 32 + " requests=4 tokens=60000\nbob  " + "AB" * 32 + "\n")
    seed("record", "scored", '{"context": "a b", "continuation": " c", "id": 7, "custom_id": "x\\u00e9"}')
    seed("record", "text", '{"text": "Hi", "id": {"a": [1, null]}, "stop": ["a\\n", "b"], "temperature": 0.5, "other": "s t=u"}')
    for name, text in {"list": '["aab","ab","\\n\\n"]\nxaaab\n\n', "plain": "END\none\nEN D END", "none": '["abcabd"]\nabcabcab', "utf8": '["\u00e9","\u4e2d"]\nA\u4e2d'}.items():
        seed("stop_texts", name, text)


def read_listing():
    """What st-inspect --hash prints for the file of the entry, if the program is built."""
    import subprocess
    import tempfile
    file = b"\x35\0\0\0\0\0\0\0" + b'{"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}}abc'
    with tempfile.TemporaryDirectory() as d:
        path = os.path.join(d, "f.safetensors")
        with open(path, "wb") as f:
            f.write(file)
        return subprocess.run([os.path.join(ROOT, "build/bin/st-inspect"), "--hash", path], capture_output=True, check=True).stdout


if __name__ == "__main__":
    streams()
    kv_files()
    vectors()
    embeddings()
    weights()
    quantised()
    precompiled()
    gguf()
    tokenizers()
    texts()
    chats()
    answers()
