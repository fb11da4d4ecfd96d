"""Prints vectors(5) as JSON, written from the page: a reader of its own.

usage: vectors.py [--header] FILE      a JSON line for each record, or the header as one object
SPDX-License-Identifier: AGPL-3.0-or-later"""
import json, struct, sys

data = open(sys.argv[-1], "rb").read()
magic, version, length, dim, dtype, metric, unit, model, tokenizer, a, b = struct.unpack_from("<8s6IQQQQ", data)
assert magic == b"VECTOR\r\n" and version == 1 and length == 64 and a == b == 0
if sys.argv[1] == "--header":
    print(json.dumps({"dim": dim, "dtype": dtype, "metric": metric, "unit": unit, "model": f"{model:016x}", "tokenizer": f"{tokenizer:016x}"}))
    sys.exit()
at, n = 64, 0
while True:
    kind, tokens, number, scale, n_attrs, n_reason, payload = struct.unpack_from("<4sIQfIII", data, at)
    at += 32
    if kind == b"END ":
        assert number == n and tokens == n_attrs == n_reason == payload == 0 and at == len(data)
        break
    n_values = {1: 4, 2: 2, 3: 1}[dtype] * dim if kind == b"VECT" else 0
    assert payload == n_values + n_attrs + n_reason and n_reason == 0 or kind == b"FAIL"
    raw, values = data[at:at + n_values], []
    if dtype == 1:
        values = list(struct.unpack(f"<{len(raw) // 4}f", raw))
    elif dtype == 2:
        values = [struct.unpack("<f", b"\0\0" + raw[i:i + 2])[0] for i in range(0, len(raw), 2)]
    else:
        values = [scale * q for q in struct.unpack(f"<{len(raw)}b", raw)]
    text = data[at + n_values:at + payload].decode()
    print(json.dumps({"type": kind.decode(), "id": number, "tokens": tokens, "attrs": text[:n_attrs], "reason": text[n_attrs:], "values": values}))
    padded = -(-payload // 8) * 8
    assert data[at + payload:at + padded] == bytes(padded - payload)
    at, n = at + padded, n + 1
