#!/usr/bin/env python3
"""Makes safetensors files that each break one rule, and DIR/list: 'file<TAB>text that the refusal must hold'.

usage: bad-safetensors.py DIR
SPDX-License-Identifier: AGPL-3.0-or-later"""
import json
import os
import struct
import sys

DIR = sys.argv[1]
LIST = open(os.path.join(DIR, "list"), "w")


def info(dtype, shape, begin, end, **more):
    return dict({"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}, **more)


def raw(name, data, text):
    with open(os.path.join(DIR, name), "wb") as f:
        f.write(data)
    LIST.write(f"{name}\t{text}\n")


def bad(name, text, header, data=b"", length=None):
    """header: an object, or JSON text where an object cannot say it (duplicate keys, bad syntax)."""
    text_bytes = header if isinstance(header, bytes) else json.dumps(header).encode()
    size = len(text_bytes) if length is None else length
    raw(name + ".safetensors", struct.pack("<Q", size) + text_bytes + data, text)


a = info("F32", [2], 0, 8)
A = json.dumps(a).encode()
eight = bytes(8)

raw("empty.safetensors", b"", "0 bytes")
raw("seven.safetensors", bytes(7), "7 bytes")
raw("text.safetensors", b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer")
raw("page.safetensors", b"hello, this is not what was asked for", "not a safetensors file?")
bad("too-long", "limit is 100000000", {}, length=100000001)
bad("huge-length", "limit is 100000000", {}, length=2**64 - 1)
bad("past-end", "after its length", {"a": a}, length=1000)
bad("zero-length", "does not begin with '{'", b"", eight, length=0)
bad("space-first", "does not begin with '{'", b' {"a":' + A + b"}", eight)
bad("array", "does not begin with '{'", b"[]")
bad("cut-json", "JSON ends", b'{"a":' + A[:20])
bad("trailing", "the end was expected", b'{"a":' + A + b"} {}", eight)
bad("not-utf8", "not valid UTF-8", b'{"\xff":' + A + b"}", eight)
bad("deep", "an object was expected", b'{"a":' + b"[" * 100000)
bad("deep-unknown", "nested deeper", b'{"a":{"x":' + b"[" * 100000)
bad("twice", "duplicate tensor 'a'", b'{"a":' + A + b',"a":' + json.dumps(info("F32", [2], 8, 16)).encode() + b"}", bytes(16))
bad("twice-escaped", "duplicate tensor 'a'", b'{"a":' + A + b',"\\u0061":' + json.dumps(info("F32", [2], 8, 16)).encode() + b"}", bytes(16))
bad("key-twice", "duplicate key 'shape' in tensor 'a'", b'{"a":{"shape":[2],' + A[1:] + b"}", eight)
bad("metadata-twice", "duplicate key '__metadata__'", b'{"__metadata__":{},"__metadata__":{},"a":' + A + b"}", eight)
bad("metadata-key-twice", "duplicate key 'k' in '__metadata__'", b'{"__metadata__":{"k":"1","k":"2"},"a":' + A + b"}", eight)
bad("metadata-number", "a string was expected", {"__metadata__": {"k": 1}, "a": a}, eight)
bad("metadata-list", "an object was expected", {"__metadata__": [], "a": a}, eight)
bad("no-dtype", "key 'dtype' of tensor 'a' is missing", {"a": {"shape": [2], "data_offsets": [0, 8]}}, eight)
bad("no-shape", "key 'shape' of tensor 'a' is missing", {"a": {"dtype": "F32", "data_offsets": [0, 8]}}, eight)
bad("no-offsets", "key 'data_offsets' of tensor 'a' is missing", {"a": {"dtype": "F32", "shape": [2]}}, eight)
bad("dtype-unknown", "tensor 'a' has the unknown dtype 'F31'", {"a": info("F31", [2], 0, 8)}, eight)
bad("dtype-case", "unknown dtype 'f32'", {"a": info("f32", [2], 0, 8)}, eight)
bad("dtype-number", "a string was expected", {"a": info(4, [2], 0, 8)}, eight)
bad("shape-number", "an array was expected", {"a": info("F32", 2, 0, 8)}, eight)
bad("shape-negative", "not a whole number", {"a": info("F32", [-2], 0, 8)}, eight)
bad("shape-float", "not a whole number", {"a": info("F32", [2.0], 0, 8)}, eight)
bad("shape-huge", "not a whole number", {"a": info("F32", [2**64], 0, 8)}, eight)
bad("shape-overflow", "tensor 'a', F32 [4294967296, 4294967296]: too large", {"a": info("F32", [2**32, 2**32], 0, 8)}, eight)
bad("bytes-overflow", "too large", {"a": info("F64", [2**61], 0, 0)})
bad("dims", "tensor 'a' has more than 8 dimensions", {"a": info("F32", [2] + [1] * 8, 0, 8)}, eight)
bad("size-small", "takes 8 bytes, but its data_offsets hold 4", {"a": info("F32", [2], 0, 4)}, bytes(4))
bad("size-large", "takes 4 bytes, but its data_offsets hold 8", {"a": info("F32", [1], 0, 8)}, eight)
bad("half-byte", "not whole bytes", {"a": info("F4", [3], 0, 2)}, bytes(2))
bad("six-bits", "not whole bytes", {"a": info("F6_E2M3", [3], 0, 3)}, bytes(3))
bad("offsets-one", "tensor 'a': expected 2 data_offsets, found 1", {"a": {"dtype": "F32", "shape": [2], "data_offsets": [8]}}, eight)
bad("offsets-backwards", "tensor 'a' ends at data byte 0, before its start at 8", {"a": info("F32", [2], 8, 0)}, eight)
bad("offsets-past-end", "tensor 'a' ends at data byte 16, but the file has 8", {"a": info("F32", [4], 0, 16)}, eight)
bad("offsets-huge", "but the file has 8 bytes of data", {"a": info("F32", [2], 2**64 - 9, 2**64 - 1)}, eight)
bad("overlap", "tensors 'a' and 'b' overlap at data byte 4", {"a": a, "b": info("F32", [2], 4, 12)}, bytes(12))
bad("same-bytes", "overlap", {"a": a, "b": a}, eight)
bad("hole-first", "before tensor 'a', belong to no tensor", {"a": info("F32", [2], 4, 12)}, bytes(12))
bad("hole-between", "data bytes 8 to 12, before tensor 'b'", {"a": a, "b": info("F32", [1], 12, 16)}, bytes(16))
bad("hole-last", "the last 1 of 9 data bytes belong to no tensor", {"a": a}, bytes(9))
bad("name-empty", "is empty", {"": a}, eight)
bad("name-long", "is too long", {"n" * 1025: a}, eight)
bad("name-nul", "control character", {"a\0b": a}, eight)
bad("name-newline", "control character", {"a\nb": a}, eight)
bad("name-escape", "control character", {"a\x1b[2J": a}, eight)
bad("tuple", "an object was expected", {"a": ["F32", [2], [0, 8]]}, eight)
