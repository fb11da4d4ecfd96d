"""vectors(5) for tests, and what a search must find.

usage: make_vectors.py random N DIM SEED [key=value ...]      N vectors with ids r0, r1 ..., to stdout
       make_vectors.py lines                                   from JSON lines {"values": [...], "attrs": "id=7"} on stdin
       make_vectors.py nearest RECORDS QUERIES K               exact search in double: query TAB rank TAB id
Keys: dtype=1 (f32, bf16 2, i8 3), metric=1 (cosine, dot 2, euclidean 3), model=7, tokenizer=0, first=0, small=0 (values are
whole numbers up to it, so that scores tie).

SPDX-License-Identifier: AGPL-3.0-or-later"""
import json
import random
import struct
import sys


def header(dim, dtype=1, metric=1, unit=0, model=7, tokenizer=0):
    return b"VECTOR\r\n" + struct.pack("<IIIIIIQQ", 1, 64, dim, dtype, metric, unit, model, tokenizer) + bytes(16)


def bf16(x):
    bits = struct.unpack("<I", struct.pack("<f", x))[0]
    return (bits + 0x7fff + (bits >> 16 & 1)) >> 16


def pack(values, dtype):
    if dtype == 1:
        return struct.pack(f"<{len(values)}f", *values), 0.0
    if dtype == 2:
        return struct.pack(f"<{len(values)}H", *[bf16(v) for v in values]), 0.0
    scale = max(map(abs, values)) / 127
    return struct.pack(f"<{len(values)}b", *[round(v / scale) if scale else 0 for v in values]), scale


def record(number, values, attrs=b"", dtype=1, reason=None):
    data, scale = (b"", 0.0) if reason is not None else pack(values, dtype)
    reason = reason or b""
    payload = data + attrs + reason
    tag = b"FAIL" if reason else b"VECT"
    head = tag + struct.pack("<IQfIII", 0 if reason else 3, number, scale, len(attrs), len(reason), len(payload))
    return head + payload + bytes(-len(payload) % 8)


def end(n):
    return b"END " + struct.pack("<IQfIII", 0, n, 0, 0, 0, 0)


def read(path):
    """(id, values) of each record of an f32 stream without failures."""
    data = open(path, "rb").read()
    dim, at, found = struct.unpack_from("<I", data, 16)[0], 64, []
    while data[at:at + 4] == b"VECT":
        n_attrs, _, payload = struct.unpack_from("<III", data, at + 20)
        values = struct.unpack_from(f"<{dim}f", data, at + 32)
        attrs = data[at + 32 + 4 * dim:at + 32 + 4 * dim + n_attrs].decode()
        found.append((dict(a.split("=", 1) for a in attrs.split())["id"], values))
        at += 32 + payload + -payload % 8
    return found


def f32(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


def unit(v):
    scale = sum(x * x for x in v) ** 0.5
    return [f32(x / scale) for x in v]


def main():
    out = sys.stdout.buffer
    if sys.argv[1] == "random":
        n, dim, seed = map(int, sys.argv[2:5])
        keys = {"dtype": 1, "metric": 1, "model": 7, "tokenizer": 0, "first": 0, "small": 0}
        keys.update({k: int(v) for k, v in (a.split("=") for a in sys.argv[5:])})
        draw = random.Random(seed)
        small = keys.pop("small")
        first = keys.pop("first")
        out.write(header(dim, **keys))
        for i in range(n):
            values = [draw.randint(-small, small) if small else draw.gauss(0, 1) for _ in range(dim)]
            out.write(record(i, values, f"id=r{first + i} n={first + i}".encode(), keys["dtype"]))
        out.write(end(n))
    elif sys.argv[1] == "lines":
        lines = [json.loads(line) for line in sys.stdin]
        out.write(header(len(next(l["values"] for l in lines if "values" in l)), metric=2))
        for i, line in enumerate(lines):
            out.write(record(i, line.get("values"), line.get("attrs", "").encode(), 1, line.get("reason", "").encode() or None))
        out.write(end(len(lines)))
    else:
        records, queries, k = read(sys.argv[2]), read(sys.argv[3]), int(sys.argv[4])
        records = [(name, unit(v)) for name, v in records]
        for name, q in queries:
            q = unit(q)
            scored = sorted((-sum(a * b for a, b in zip(q, v)), r.encode()) for r, v in records)
            for rank, (_, r) in enumerate(scored[:k], 1):
                print(name, rank, r.decode(), sep="\t")


if __name__ == "__main__":
    main()
