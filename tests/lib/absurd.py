#!/usr/bin/env python3
# Files, folders and streams whose numbers are absurd, for tests/limits.bats.
#     absurd.py TINY FOLDER           all of them, into FOLDER; TINY is the model whose files they change
#     absurd.py sparse NAME FILE      one of a GB, as a sparse file
#     absurd.py frames NAME N         a stream of about N frames, to stdout
#     absurd.py slow FOLDER           tokenizers and a text that tries cannot handle in linear time
# SPDX-License-Identifier: AGPL-3.0-or-later
import json
import os
import struct
import sys

GB = 1 << 30
HUGE = 1 << 63


def safetensors(header):
    if not isinstance(header, bytes):
        header = json.dumps(header).encode()
    return struct.pack("<Q", len(header)) + header


def tensor(shape, dtype="F32", at=(0, 0)):
    return {"dtype": dtype, "shape": shape, "data_offsets": list(at)}


def gguf(n_tensors=0, n_kvs=0, rest=b""):
    return b"GGUF" + struct.pack("<IQQ", 3, n_tensors, n_kvs) + rest


def gstr(b, n=None):
    return struct.pack("<Q", len(b) if n is None else n) + b


STRING, ARRAY, U8 = 8, 9, 0


def kv(key, kind, value):
    return gstr(key) + struct.pack("<I", kind) + value


def logits(vocab=4, hidden=0, context=16, frames=b"", n_eos=0):
    h = bytearray(256)
    h[:8] = b"LOGITS\r\n"
    struct.pack_into("<IIIIIIiI", h, 8, 1, 256, vocab, hidden, context, 1, -1, n_eos)
    return bytes(h) + frames


def frame(tag, seq=0, pos=0, rows=0, n_ids=0, n_text=0, payload=None, body=b""):
    size = len(body) if payload is None else payload
    return tag + struct.pack("<IIIIIQ", seq, pos, rows, n_ids, n_text, size) + body + bytes(-len(body) % 8)


def vectors(dim=3, dtype=1, frames=b""):
    return b"VECTOR\r\n" + struct.pack("<IIIIIIQQ", 1, 64, dim, dtype, 1, 0, 7, 0) + bytes(16) + frames


def vector(n_attrs=0, n_reason=0, payload=12, tag=b"VECT"):
    return tag + struct.pack("<IQfIII", 3, 0, 0, n_attrs, n_reason, payload)


def index(dim=3, n=0, texts=0, words=0, blob=0, rest=bytes(4096)):
    h = b"VECIDX\r\n" + struct.pack("<IIIIIffIQQQQQQ", 1, 256, dim, 1, 1, 1, 1, 0, 7, 0, n, texts, words, blob)
    return h + bytes(256 - len(h)) + rest


def shared_index(n=10000, blob=1 << 20):
    """n records that share their text of half of the blob, so that a copy would have 5 GB."""
    def aligned(part):
        return part + bytes(-len(part) % 4096)
    table = b"".join(struct.pack("<QIIIIIxxxx", 8 * i, 8, 0, blob // 2, 0, 1) for i in range(n))
    ids = b"".join(b"%08d" % i for i in range(n))
    return aligned(index(n=n, texts=n, words=n, blob=blob, rest=b"")) + aligned(bytes(n * 6)) + aligned(bytes(n * 12)) + aligned(table) + \
        ids + b"x" * (blob - len(ids))


def million():
    one = '"t%d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}'
    return safetensors(("{" + ",".join(one % i for i in range(1000000)) + "}").encode())


def tokenizer(**parts):
    t = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
         "pre_tokenizer": None, "post_processor": None, "decoder": None,
         "model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []}}
    t.update(parts)
    return json.dumps(t).encode()


def split(pattern):
    return {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}


def nested(n, left="[", right="]"):
    return (left * n + right * n).encode()


FILES = {
    # safetensors
    "st-elements": lambda: safetensors({"w": tensor([HUGE])}),
    "st-product": lambda: safetensors({"w": tensor([1 << 32, 1 << 32])}),
    "st-offsets": lambda: safetensors({"w": tensor([1 << 60], "U8", (0, 1 << 60))}),
    "st-length": lambda: struct.pack("<Q", HUGE) + b"{}",
    "st-nesting": lambda: safetensors(b'{"w":' + nested(10000) + b"}"),
    "st-million": million,
    # GGUF
    "gguf-tensors": lambda: gguf(HUGE),
    "gguf-keys": lambda: gguf(0, HUGE),
    "gguf-million": lambda: gguf(1000000, 0, bytes(64)),
    "gguf-string": lambda: gguf(0, 1, kv(b"general.architecture", STRING, gstr(b"llama", HUGE))),
    "gguf-key": lambda: gguf(0, 1, gstr(b"general.architecture", HUGE)),
    "gguf-array": lambda: gguf(0, 1, kv(b"tokenizer.ggml.tokens", ARRAY, struct.pack("<IQ", STRING, HUGE))),
    "gguf-bytes": lambda: gguf(0, 1, kv(b"x", ARRAY, struct.pack("<IQ", U8, HUGE))),
    "gguf-nesting": lambda: gguf(0, 1, kv(b"x", ARRAY, struct.pack("<IQ", ARRAY, 1) * 10000)),
    "gguf-dims": lambda: gguf(1, 0, gstr(b"w") + struct.pack("<IQQIQ", 2, HUGE, HUGE, 0, 0)),
    # JSON
    "nesting": lambda: nested(10000),
    "record-text": lambda: b'{"text":' + nested(10000) + b"}\n",
    "record-chat": lambda: b'{"messages":' + nested(5000, '[{"content":', "]") + b"}\n",
    "objects": lambda: nested(10000, '{"a":', "}"),
    # tokenizer.json
    "tok-nesting": lambda: b'{"model":' + nested(10000) + b"}",
    "tok-sequences": lambda: tokenizer(pre_tokenizer="@").replace(
        b'"@"', nested(10000, '{"type":"Sequence","pretokenizers":[', "]}")),
    "tok-regex": lambda: tokenizer(pre_tokenizer=split({"Regex": "(" * 10000 + ")" * 10000})),
    "tok-classes": lambda: tokenizer(pre_tokenizer=split({"Regex": "[" * 10000 + "a" + "]" * 10000})),
    "tok-repeat": lambda: tokenizer(pre_tokenizer=split({"Regex": "(?:(?:a{1000}){1000}){1000}"})),
    "tok-steps": lambda: tokenizer(pre_tokenizer={"type": "Sequence", "pretokenizers": [split({"String": "x"})] * 2000}),
    "tok-id": lambda: tokenizer(model={"type": "BPE", "vocab": {"a": HUGE}, "merges": []}),
    "tok-added-id": lambda: tokenizer(added_tokens=[{"id": HUGE, "content": "x", "special": True}]),
    "tok-template": lambda: tokenizer(post_processor={
        "type": "TemplateProcessing", "single": [{"Sequence": {"id": "A", "type_id": HUGE}}], "pair": [],
        "special_tokens": {}}),
    # templates
    "jinja-brackets": lambda: b"{{ " + nested(10000) + b" }}",
    "jinja-blocks": lambda: b"{% if x %}" * 10000 + b"{% endif %}" * 10000,
    "jinja-minus": lambda: b"{{ " + b"-" * 10000 + b"1 }}",
    "jinja-not": lambda: b"{{ " + b"not " * 10000 + b"1 }}",
    "jinja-range": lambda: b"{% for i in range(9223372036854775807) %}{% endfor %}",
    "jinja-repeat": lambda: b"{{ 'x' * 9223372036854775807 }}",
    "jinja-width": lambda: b"{{ '%9223372036854775807d' % 1 }}",
    "jinja-calls": lambda: b"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    # tokens(5)
    "tokens-vocab": lambda: b"# tokens vocab=%d\n1 2\n" % HUGE,
    "tokens-id": lambda: b"%d\n" % HUGE,
    "tokens-digits": lambda: b"1" * 1000000 + b"\n",
    "tokens-attrs": lambda: (b"#@ key=" + b"x" * 1000 + b"\n") * 10000,
    "tokens-results": lambda: b"1\n" + (b"#= key=" + b"x" * 1000 + b"\n") * 10000,
    "tokens-line": lambda: b"#@ " + b"x" * (2 << 20),
    # logits(5)
    "logits-vocab": lambda: logits(vocab=0xFFFFFFFF),
    "logits-hidden": lambda: logits(hidden=0xFFFFFFFF),
    "logits-context": lambda: logits(context=0xFFFFFFFF),
    "logits-eos": lambda: logits(n_eos=0xFFFFFFFF),
    "logits-cut": lambda: logits(vocab=1 << 24, hidden=1 << 20, context=1 << 28, frames=frame(b"OPEN", n_ids=1, body=bytes(4))),
    "logits-ids": lambda: logits(frames=frame(b"OPEN", n_ids=0xFFFFFFFF, payload=4 * 0xFFFFFFFF)),
    "logits-text": lambda: logits(frames=frame(b"FAIL", n_text=0xFFFFFFFF, payload=0xFFFFFFFF)),
    "logits-rows": lambda: logits(frames=frame(b"OPEN", n_ids=1, body=bytes(4))
                                  + frame(b"LOGI", rows=0xFFFFFFFF, payload=16 * 0xFFFFFFFF)),
    "logits-payload": lambda: logits(frames=frame(b"OPEN", n_ids=1, payload=HUGE)),
    "logits-promised": lambda: logits(vocab=1 << 24, context=1 << 28, frames=frame(b"OPEN", n_ids=1, body=bytes(4))
                                      + frame(b"LOGI", rows=16, payload=1 << 30)),
    "logits-ahead": lambda: logits(frames=frame(b"OPEN", seq=1 << 24)),
    # vectors(5)
    "vectors-dim": lambda: vectors(dim=0xFFFFFFFF),
    "vectors-payload": lambda: vectors(frames=vector(payload=0xFFFFFFFF)),
    "vectors-attrs": lambda: vectors(frames=vector(n_attrs=0xFFFFFFFF, payload=11)),
    "vectors-reason": lambda: vectors(frames=vector(n_reason=0xFFFFFFFF, payload=0xFFFFFFFF, tag=b"FAIL")),
    "vectors-cut": lambda: vectors(dim=1 << 20, frames=vector(payload=4 << 20)),
    # index(5)
    "index-records": lambda: index(n=HUGE),
    "index-product": lambda: index(dim=1 << 20, n=1 << 30),
    "index-blob": lambda: index(blob=HUGE),
    "index-words": lambda: index(words=HUGE),
    "index-shared": shared_index,
    # a document
    "headings.md": lambda: b"# " + b"x" * 1000000 + b"\n" + b"## a\nb\n" * 1000,
}

# Changes to the config.json of the tiny model, each of which must be refused.
CONFIGS = {
    "layers": {"num_hidden_layers": 10**9},
    "layers-huge": {"num_hidden_layers": HUGE},
    "layers-1e30": {"num_hidden_layers": 10**30},
    "hidden": {"hidden_size": HUGE},
    "heads": {"num_attention_heads": 10**9},
    "kv-heads": {"num_key_value_heads": 10**9},
    "head-dim": {"head_dim": 10**9},
    "ffn": {"intermediate_size": 10**9},
    "vocab": {"vocab_size": HUGE},
    "positions": {"max_position_embeddings": HUGE},
    "experts": {"model_type": "mixtral", "architectures": ["MixtralForCausalLM"], "num_local_experts": 10**9,
                "num_experts_per_tok": 2},
    "rope": {"rope_scaling": {"type": "dynamic", "factor": 1e300}},
    "eos": {"eos_token_id": list(range(1000000))},
    "types": {"layer_types": ["full_attention"] * 1000000},
    "keys": {"k%d" % i: 1 for i in range(100000)},
    "bits-nesting": {"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 128, "dynamic": "@"}},
    "bits-kinds": {"quantization_config": {"quant_method": "auto-round", "bits": 4, "group_size": 128, "extra_config": {
        "m%d" % i: {"bits": 2 + i % 7, "group_size": 1 + i} for i in range(10000)}}},
}


def model_folder(tiny, folder, config=None, index=None):
    """A folder with the files of the tiny model, and another config.json or an index in place of the weights."""
    os.makedirs(folder)
    for name in os.listdir(tiny):
        if not (name == "config.json" and config) and not (name == "model.safetensors" and index):
            os.symlink(os.path.join(tiny, name), os.path.join(folder, name))
    for name, text in ("config.json", config), ("model.safetensors.index.json", index):
        if text:
            with open(os.path.join(folder, name), "wb") as f:
                f.write(text)


def model_folders(tiny, to):
    config = json.load(open(os.path.join(tiny, "config.json")))
    for name, change in CONFIGS.items():
        text = json.dumps({**config, **change}).encode().replace(b'"@"', nested(10000))
        model_folder(tiny, os.path.join(to, "m-" + name), text)
    model_folder(tiny, os.path.join(to, "m-nesting"), b'{"a":' + nested(10000) + b"}")
    names = {"t%d" % i: "model.safetensors" for i in range(1000000)}
    model_folder(tiny, os.path.join(to, "m-index"), index=json.dumps({"weight_map": names}).encode())
    model_folder(tiny, os.path.join(to, "m-index-nesting"), index=b'{"weight_map":' + nested(10000) + b"}")
    for name, text in FILES.items():
        if name.startswith("jinja-"):
            folder = os.path.join(to, name + ".d")
            os.makedirs(folder)
            os.symlink(os.path.join(tiny, "tokenizer.json"), os.path.join(folder, "tokenizer.json"))
            with open(os.path.join(folder, "tokenizer_config.json"), "w") as f:
                json.dump({"chat_template": text().decode()}, f)


# What a sparse file begins with; the rest are GB zeros.
SPARSE = {
    "st-string": struct.pack("<Q", 100000000) + b'{"',
    "gguf-value": gguf(0, 1, kv(b"general.architecture", STRING, struct.pack("<Q", GB))),
    "json-string": b'{"model_type":"',
}

ORDERS = {
    "open": lambda n: range(n),
    "ahead": lambda n: range(1, n),
    "down": lambda n: range(n - 1, -1, -1),
}


def many_frames(name, n):
    kind, order = name.split("-")
    tags = {"open": (b"OPEN",), "close": (b"CLOS",), "both": (b"OPEN", b"CLOS"), "fail": (b"FAIL",)}[kind]
    text = {"n_text": 1, "body": b"x"} if kind == "fail" else {}
    body = b"".join(frame(tag, seq, **text) for seq in ORDERS[order](n) for tag in tags)
    return logits(frames=body + frame(b"END "))


def slow(to):
    bpe = {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []}
    added = [{"id": 10 + i, "content": "a" * (i + 1) + "b", "special": True, "single_word": False, "lstrip": False,
              "rstrip": False, "normalized": False} for i in range(1500)]
    unigram = {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0], ["a", -1], ["a" * 60000, -2]]}
    for name, text in (("unigram.json", tokenizer(model=unigram)), ("added.json", tokenizer(model=bpe, added_tokens=added)),
                       ("text", b"a" * 200000), ("short", b"a" * 500)):
        with open(os.path.join(to, name), "wb") as f:
            f.write(text)


if sys.argv[1] == "sparse":
    with open(sys.argv[3], "wb") as f:
        f.write(SPARSE[sys.argv[2]])
        f.truncate(GB + len(SPARSE[sys.argv[2]]))
elif sys.argv[1] == "frames":
    sys.stdout.buffer.write(many_frames(sys.argv[2], int(sys.argv[3])))
elif sys.argv[1] == "slow":
    slow(sys.argv[2])
else:
    tiny, to = sys.argv[1:]
    for name, make in FILES.items():
        with open(os.path.join(to, name), "wb") as f:
            f.write(make())
    model_folders(tiny, to)
