#!/usr/bin/env python3
"""Copies a model's folder and changes how its files hold the same model: refold.py FROM TO EDIT...

  fuse               experts become the tensors of transformers 5: gate_up_proj and down_proj
  rename=OLD=NEW     of tensors: a regular expression, and its replacement
  drop=NAME          of a tensor
  add=NAME=HEX       a tensor U8 [n] of these bytes
  bytes=NAME=AT=HEX  bytes of a tensor from byte AT on
  shape=NAME=JSON    the shape of a tensor
  dtype=NAME=TYPE    the type of a tensor
  wrap=TYPE          config.json becomes the text_config of a model of this type
  set=KEY=JSON       a key of config.json; at the top level, also after wrap. JSON empty: without it
  split              two shards and an index; every other tensor is in the second
  stale=NAME         after split: the other shard has NAME too, with its bytes inverted
  index=NAME=FILE    after split: an entry of the index; FILE empty: without it
  cut=FILE=N         the last N bytes of a file are missing

SPDX-License-Identifier: AGPL-3.0-or-later"""
import json, os, re, shutil, struct, sys


def read(path):
    raw = open(path, "rb").read()
    n = struct.unpack("<Q", raw[:8])[0]
    head, data = json.loads(raw[8 : 8 + n]), raw[8 + n :]
    head.pop("__metadata__", None)
    return {k: (v["dtype"], v["shape"], data[slice(*v["data_offsets"])]) for k, v in head.items()}


def write(path, tensors):
    head, data = {"__metadata__": {"format": "pt"}}, b""
    for name, (dtype, shape, body) in sorted(tensors.items()):
        head[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(body)]}
        data += body
    text = json.dumps(head, separators=(",", ":")).encode()
    open(path, "wb").write(struct.pack("<Q", len(text)) + text + data)


def stack(tensors, moe, sources, target):
    """Replaces the experts' matrices of each layer by one tensor [experts, rows of all sources, columns]."""
    pattern = r"(.*\.\d+\.)" + moe + r"\.experts\.0\." + sources[0] + r"\.weight"
    for layer in [m[1] for m in (re.fullmatch(pattern, n) for n in list(tensors)) if m]:
        body, n = b"", 0
        while f"{layer}{moe}.experts.{n}.{sources[0]}.weight" in tensors:
            parts = [tensors.pop(f"{layer}{moe}.experts.{n}.{s}.weight") for s in sources]
            dtype, columns, rows = parts[0][0], parts[0][1][1], sum(p[1][0] for p in parts)
            body += b"".join(p[2] for p in parts)
            n += 1
        tensors[f"{layer}mlp.experts.{target}"] = (dtype, [n, rows, columns], body)


def fuse(tensors):
    for moe, gate, up, down in (("mlp", "gate_proj", "up_proj", "down_proj"), ("block_sparse_moe", "w1", "w3", "w2")):
        stack(tensors, moe, [gate, up], "gate_up_proj")
        stack(tensors, moe, [down], "down_proj")
    return {n.replace("block_sparse_moe.gate", "mlp.gate"): t for n, t in tensors.items()}


def main(source, target, edits):
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("golden*", "*.safetensors*", "config.v*"))
    tensors, shards = {}, {}
    for name in sorted(os.listdir(source)):
        if re.fullmatch(r"model.*\.safetensors", name):
            tensors.update(read(f"{source}/{name}"))
    config = json.load(open(f"{target}/config.json"))
    index, cuts = {}, []
    for edit in edits:
        what, _, rest = edit.partition("=")
        key, _, value = rest.partition("=")
        if what == "fuse":
            tensors = fuse(tensors)
        elif what == "rename":
            tensors = {re.sub(key, value, n): t for n, t in tensors.items()}
        elif what == "drop":
            del tensors[rest]
        elif what == "add":
            tensors[key] = ("U8", [len(value) // 2], bytes.fromhex(value))
        elif what == "bytes":
            at, _, text = value.partition("=")
            dtype, shape, body = tensors[key]
            new = bytes.fromhex(text)
            tensors[key] = (dtype, shape, body[: int(at)] + new + body[int(at) + len(new) :])
        elif what == "shape":
            tensors[key] = (tensors[key][0], json.loads(value), tensors[key][2])
        elif what == "dtype":
            tensors[key] = (value, *tensors[key][1:])
        elif what == "wrap":
            config = {"model_type": rest, "architectures": ["X"], "text_config": config}
        elif what == "set" and value:
            config[key] = json.loads(value)
        elif what == "set":
            config.pop(key, None)
        elif what == "split":
            files = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
            index = {n: files[i % 2] for i, n in enumerate(sorted(tensors))}
            shards = {f: {n: t for n, t in tensors.items() if index[n] == f} for f in files}
        elif what == "stale":
            dtype, shape, body = tensors[rest]
            other = next(f for f in shards if f != index[rest])
            shards[other][rest] = (dtype, shape, bytes(255 - b for b in body))
        elif what == "index" and value:
            index[key] = value
        elif what == "index":
            del index[key]
        elif what == "cut":
            cuts.append((key, int(value)))
        else:
            sys.exit(f"refold.py: unknown edit {edit}")
    json.dump(config, open(f"{target}/config.json", "w"))
    for name, shard in (shards or {"model.safetensors": tensors}).items():
        write(f"{target}/{name}", shard)
    if shards:
        json.dump({"metadata": {}, "weight_map": index}, open(f"{target}/model.safetensors.index.json", "w"))
    for name, n in cuts:
        os.truncate(f"{target}/{name}", os.path.getsize(f"{target}/{name}") - n)


main(sys.argv[1], sys.argv[2], sys.argv[3:])
