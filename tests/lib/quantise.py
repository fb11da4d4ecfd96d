#!/usr/bin/env python3
"""quantise.py KIND MODEL OUT PLAIN: the matrices of a small model in a layout of quant(5).

KIND is i8, i4_32, i4_16, nf4, several of them with commas between, or mixed, which is all of them: each matrix another one. OUT gets
the quantised model, PLAIN the same values as F32. The codes are the nearest ones, nothing is searched.

SPDX-License-Identifier: AGPL-3.0-or-later"""
import json
import os
import shutil
import struct
import sys

TABLES = {
    32: [-124, -99, -80, -64, -50, -37, -25, -14, -3, 8, 20, 33, 46, 59, 75, 101],
    16: [-124, -103, -84, -66, -50, -37, -25, -13, -3, 9, 20, 33, 46, 60, 78, 107],
    64: [-112, -78, -59, -44, -32, -21, -10, 0, 9, 18, 28, 38, 49, 63, 81, 112],
}


def f32(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


def values(dtype, raw):
    if dtype == "F32":
        return list(struct.unpack("<%df" % (len(raw) // 4), raw))
    halves = struct.unpack("<%dH" % (len(raw) // 2), raw)
    if dtype == "BF16":
        return list(struct.unpack("<%df" % len(halves), struct.pack("<%dI" % len(halves), *[h << 16 for h in halves])))
    return list(struct.unpack("<%de" % len(halves), raw))


def read(path):
    with open(path, "rb") as f:
        header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
        data = f.read()
    header.pop("__metadata__", None)
    return {name: (t["dtype"], t["shape"], data[slice(*t["data_offsets"])]) for name, t in header.items()}


def write(path, tensors):
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, (dtype, shape, raw) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(raw)]}
        at += len(raw)
    text = json.dumps(header).encode()
    text += b" " * (-(8 + len(text)) % 64)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(raw for _, _, raw in tensors.values()))


def row_i8(row, block):
    """The row's scale, descriptors, codes, and the integers that the scale multiplies."""
    most = max(map(abs, row)) or 1
    scale = f32(most / 127 / 255)
    descriptors, codes = [], []
    for k in range(0, len(row), block):
        part = row[k:k + block]
        m = min(255, int(max(map(abs, part)) / scale / 127) + 1)
        descriptors.append(m)
        codes += [max(-127, min(127, round(x / (scale * m)))) for x in part]
    return scale, descriptors, codes, [descriptors[k // block] * c for k, c in enumerate(codes)]


def row_i4(row, block):
    table, most = TABLES[block], max(map(abs, row)) or 1
    scale = f32(most / 100 / 31)
    descriptors, codes, whole = [], [], []
    for k in range(0, len(row), block):
        part = row[k:k + block]
        m = min(31, int(max(map(abs, part)) / scale / 100) + 1) * (-1 if k // block % 3 == 1 else 1)
        shift = (k // block + len(codes)) % 4  # any: this is a test
        descriptors.append(m & 63 | shift << 6)
        for x in part:
            code = min(range(16), key=lambda c: abs(x - scale * m * (table[c] + 4 * shift)))
            codes.append(code)
            whole.append(m * (table[code] + 4 * shift))
    return scale, descriptors, codes, whole


def panel(rows, n_in, kind, block):
    """rows: up to 16 of (scale, descriptors, codes)."""
    out = bytearray(struct.pack("<16f", *[rows[r][0] if r < len(rows) else 0 for r in range(16)]))
    padded = -(-n_in // 64) * 64
    for k in range(0, padded, 256):
        n = min(256, padded - k)
        descriptors = bytearray(-(-n // block * 16 // 64) * 64)
        codes = bytearray([128] * (n * 16)) if kind == "i8" else bytearray(n * 8)
        for r, (_, d, c) in enumerate(rows):
            for i in range(min(n, n_in - k)):
                if i % block == 0:
                    descriptors[i // block * 16 + r] = d[(k + i) // block]
                if kind == "i8":
                    codes[i // 4 * 64 + r * 4 + i % 4] = c[k + i] + 128
                else:
                    at = i // 32 * 256 + i % 16 // 4 * 64 + r * 4 + i % 4
                    codes[at] |= c[k + i] << (4 if i % 32 >= 16 else 0)
        out += descriptors + codes
    return bytes(out)


def quantise(shape, x, kind):
    n_out, n_in = shape
    block = {"i4_16": 16, "nf4": 64}.get(kind, 32)
    rows = [(row_i8 if kind == "i8" else row_i4)(x[o * n_in:(o + 1) * n_in], block) for o in range(n_out)]
    panels = [panel([r[:3] for r in rows[o:o + 16]], n_in, kind, block) for o in range(0, n_out, 16)]
    plain = b"".join(struct.pack("<%df" % n_in, *[r[0] * w for w in r[3]]) for r in rows)
    return ("U8", [len(panels), len(panels[0])], b"".join(panels)), ("F32", shape, plain)


def main():
    kind, model, out, plain = sys.argv[1:]
    kinds, seen = "i8,i4_32,i4_16,nf4".split(",") if kind == "mixed" else kind.split(","), 0
    ours, floats = {}, {}
    for name, (dtype, shape, raw) in read(os.path.join(model, "model.safetensors")).items():
        if len(shape) == 2 and name.endswith(".weight"):
            own = kinds[seen % len(kinds)]
            seen += 1
            ours[name + "_" + own], floats[name] = quantise(shape, values(dtype, raw), own)
        else:
            ours[name] = floats[name] = (dtype, shape, raw)
    for path, tensors in ((out, ours), (plain, floats)):
        os.makedirs(path)
        for name in os.listdir(model):
            if name.endswith(".json"):
                shutil.copy(os.path.join(model, name), path)
        write(os.path.join(path, "model.safetensors"), tensors)
    config = os.path.join(out, "config.json")
    with open(config) as f:
        c = json.load(f)
    c["quantization_config"] = {"quant_method": "tokpipe"}
    with open(config, "w") as f:
        json.dump(c, f)


if __name__ == "__main__":
    main()
