"""Reads goldens (safetensors) with the standard library alone.
golden.py ids FILE TENSOR             the ids of an I64 tensor, on one line
golden.py close FILE TENSOR ROWS TOL  the largest difference between an F32 tensor and rows of floats, raw or .npy;
                                      exit 1 where it is past TOL, or their numbers differ
golden.py rows ROWS ROWS TOL          the same for two files of rows
SPDX-License-Identifier: AGPL-3.0-or-later"""
import array
import ast
import json
import struct
import sys


def tensor(path, name):
    data = open(path, "rb").read()
    n = struct.unpack_from("<Q", data)[0]
    entry = json.loads(data[8 : 8 + n])[name]
    begin, end = entry["data_offsets"]
    code = {"F32": "f", "I64": "q"}[entry["dtype"]]
    return array.array(code, data[8 + n + begin : 8 + n + end])


def rows_of(path):
    data = open(path, "rb").read()
    if data[:8] != b"\x93NUMPY\x01\x00":
        return array.array("f", data)
    n = struct.unpack_from("<H", data, 8)[0]
    header = ast.literal_eval(data[10 : 10 + n].decode())
    assert header["descr"] == "<f4" and not header["fortran_order"]
    return array.array("f", data[10 + n :])


what, args = sys.argv[1], sys.argv[2:]
if what == "ids":
    print(*tensor(args[0], args[1]))
elif what in ("close", "rows"):
    want, got = tensor(args[0], args[1]) if what == "close" else rows_of(args[0]), rows_of(args[-2])
    worst = max(map(lambda a, b: abs(a - b) if a == a and b == b else float("inf"), want, got), default=0)
    print(f"largest difference {worst:.3g}, {len(want)} and {len(got)} numbers")
    sys.exit(len(want) != len(got) or not worst <= float(args[-1]))
