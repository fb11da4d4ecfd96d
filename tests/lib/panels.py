#!/usr/bin/env python3
"""Reads matrices of tokpipe's own formats with the standard library alone, as panel_i8.h and panel_i4.h describe them.

  panels.py error QUANTISED SOURCE MODULE      the relative error of a matrix, of a plain one in SOURCE
  panels.py types QUANTISED                    a line "MODULE TYPE" for each matrix

SPDX-License-Identifier: AGPL-3.0-or-later"""
import glob, json, math, struct, sys

TABLES = {
    32: [-124, -99, -80, -64, -50, -37, -25, -14, -3, 8, 20, 33, 46, 59, 75, 101],
    16: [-124, -103, -84, -66, -50, -37, -25, -13, -3, 9, 20, 33, 46, 60, 78, 107],
    64: [-112, -78, -59, -44, -32, -21, -10, 0, 9, 18, 28, 38, 49, 63, 81, 112],
}


def tensors(folder):
    out = {}
    for path in sorted(glob.glob(folder + "/*.safetensors")):
        raw = open(path, "rb").read()
        n = struct.unpack("<Q", raw[:8])[0]
        head = json.loads(raw[8 : 8 + n])
        head.pop("__metadata__", None)
        for name, v in head.items():
            begin, end = v["data_offsets"]
            out[name] = (v["dtype"], v["shape"], raw[8 + n + begin : 8 + n + end])
    return out


def plain(dtype, shape, body):
    if dtype == "F32":
        flat = struct.unpack("<%df" % (len(body) // 4), body)
    else:
        halves = struct.unpack("<%dH" % (len(body) // 2), body)
        flat = [struct.unpack("<f", struct.pack("<I", h << 16))[0] for h in halves] if dtype == "BF16" else \
            struct.unpack("<%de" % (len(body) // 2), body)
    return [flat[i * shape[1] : (i + 1) * shape[1]] for i in range(shape[0])]


def value(kind, table, descriptor, code):
    if kind == "i8":
        return descriptor * (code - 128)
    return ((descriptor & 31) - (descriptor & 32)) * (table[code] + 4 * (descriptor >> 6))


def panel_row(kind, panel, r, n_in):
    """Row r of a panel: scales, then superblocks of 256 inputs: descriptors, then codes by lines of 4 inputs."""
    block, line = (32, 64) if kind == "i8" else (64 if kind == "nf4" else int(kind[-2:]), 32)
    table = TABLES.get(block)
    scale = struct.unpack_from("<f", panel, 4 * r)[0]
    padded, at, out = (n_in + 63) // 64 * 64, 64, []
    for first in range(0, padded, 256):
        n = min(256, padded - first)
        codes = at + (n // block * 16 + 63) // 64 * 64
        for k in range(n):
            descriptor = panel[at + k // block * 16 + r]
            if kind == "i8":
                code = panel[codes + k // 4 * 64 + 4 * r + k % 4]
            else:
                byte = panel[codes + k // 32 * 256 + k % 16 // 4 * 64 + 4 * r + k % 4]
                code = byte >> (4 if k % 32 >= 16 else 0) & 15
            out.append(scale * value(kind, table, descriptor, code))
        at = codes + n // 4 * line
    return out[:n_in]


def kinds(folder):
    return {n.rsplit(".weight_", 1)[0]: n.rsplit(".weight_", 1)[1] for n in tensors(folder) if ".weight_" in n}


if sys.argv[1] == "types":
    for module, kind in kinds(sys.argv[2]).items():
        print(module, kind)
else:
    _, _, folder, source, module = sys.argv
    kind = kinds(folder)[module]
    _, (panels, size), body = tensors(folder)["%s.weight_%s" % (module, kind)]
    want = plain(*tensors(source)[module + ".weight"])
    assert panels == (len(want) + 15) // 16
    error = energy = 0
    for i, row in enumerate(want):
        got = panel_row(kind, body[i // 16 * size : (i // 16 + 1) * size], i % 16, len(row))
        error += sum((a - b) ** 2 for a, b in zip(row, got))
        energy += sum(a * a for a in row)
    print("%.3f" % (100 * math.sqrt(error / energy)))
