"""Models for the parts hub and loss of bench/run, from a folder whose file is one, in BF16 or F32.

make: matrices of layers get random codes of 4 bits in a published form, everything else stays. common/quant's files describe the
forms. round_trip: they get the values that Q4_K leaves of them, as F32.

SPDX-License-Identifier: AGPL-3.0-or-later"""
import ctypes, json, random, re, shutil, struct

GROUP, BLOCK = 128, 64  # inputs of a scale; of one of NF4
PIECE = 1 << 24
NF4 = [-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
       -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
       0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0]
ARGS = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": GROUP, "dynamic": False}
CONFIGS = {
    "gptq": {"quant_method": "gptq", "bits": 4, "group_size": GROUP, "sym": True, "desc_act": False, "checkpoint_format": "gptq"},
    "awq": {"quant_method": "awq", "bits": 4, "group_size": GROUP, "zero_point": True, "version": "gemm"},
    "compressed-tensors": {"quant_method": "compressed-tensors", "format": "pack-quantized", "quantization_status": "compressed",
                           "ignore": ["lm_head"], "config_groups": {"group_0": {"targets": ["Linear"], "weights": ARGS}}},
    "bitsandbytes": {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4",
                     "llm_int8_skip_modules": ["lm_head"]},
}
SIZES = {"I32": 4, "I64": 8, "U8": 1, "F16": 2, "BF16": 2, "F32": 4}
SCALE = 0.02 / 4.61  # codes from 0 to 15 have a deviation of 4.61, and weights one of 0.02


def parts(form, out, n_in):
    """Ending -> (dtype, shape, bytes that repeat; None: random)."""
    groups, zeros = n_in // GROUP, b"\x77" if form == "gptq" else b"\x88"  # GPTQ stores a zero point less one
    if form == "gptq":
        return {"qweight": ("I32", [n_in // 8, out], None), "qzeros": ("I32", [groups, out // 8], zeros),
                "scales": ("F16", [groups, out], struct.pack("<e", SCALE)),
                "g_idx": ("I32", [n_in], struct.pack(f"<{n_in}I", *(i // GROUP for i in range(n_in))))}
    if form == "awq":
        return {"qweight": ("I32", [n_in, out // 8], None), "qzeros": ("I32", [groups, out // 8], zeros),
                "scales": ("F16", [groups, out], struct.pack("<e", SCALE))}
    if form == "compressed-tensors":
        return {"weight_packed": ("I32", [out, n_in // 8], None),
                "weight_scale": ("BF16", [out, groups], struct.pack("<f", SCALE)[2:]),
                "weight_shape": ("I64", [2], struct.pack("<2q", out, n_in))}
    state = json.dumps({"quant_type": "nf4", "blocksize": BLOCK, "dtype": "bfloat16", "shape": [out, n_in]}).encode()
    return {"weight": ("U8", [out * n_in // 2, 1], None), "weight.absmax": ("F32", [out * n_in // BLOCK], struct.pack("<f", 0.04)),
            "weight.quant_map": ("F32", [16], struct.pack("<16f", *NF4)),
            "weight.quant_state.bitsandbytes__nf4": ("U8", [len(state)], state)}


def read_header(folder):
    """The header, and where the data begins."""
    with open(folder / "model.safetensors", "rb") as f:
        n = struct.unpack("<Q", f.read(8))[0]
        header = json.loads(f.read(n))
    header.pop("__metadata__", None)
    return header, 8 + n


def is_matrix(name, tensor):
    return re.search(r"layers?\.\d+\.", name) and name.endswith(".weight") and len(tensor["shape"]) == 2


def size_of(dtype, shape):
    n = SIZES[dtype]
    for d in shape:
        n *= d
    return n


def write(source, folder, tensors, quantization):
    """tensors: (name, dtype, shape, bytes as pieces), the largest first, so that they are aligned."""
    folder.mkdir()
    header, at = {}, 0
    for name, dtype, shape, _ in tensors:
        n = size_of(dtype, shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + n]}
        at += n
    text = json.dumps(header).encode()
    text += b" " * (-(len(text) + 8) % 64)
    with open(folder / "model.safetensors", "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for *_, pieces in tensors:
            for p in pieces:
                f.write(p)
    shutil.copy(source / "tokenizer.json", folder)
    config = json.loads((source / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | ({"quantization_config": quantization} if quantization else {})))


def slices(file, begin, end):
    with open(file, "rb") as f:
        f.seek(begin)
        for at in range(begin, end, PIECE):
            yield f.read(min(PIECE, end - at))


def randoms(rng, n):
    for at in range(0, n, PIECE):
        yield rng.randbytes(min(PIECE, n - at))


def make(source, folder, form):
    """The same bytes each time."""
    header, data = read_header(source)
    rng, tensors = random.Random(1), []
    for name, t in header.items():
        if not is_matrix(name, t):
            tensors.append((name, t["dtype"], t["shape"], slices(source / "model.safetensors", *(data + o for o in t["data_offsets"]))))
            continue
        for ending, (dtype, shape, fill) in parts(form, *t["shape"]).items():
            n = size_of(dtype, shape)
            tensors.append((name.removesuffix("weight") + ending, dtype, shape, randoms(rng, n) if fill is None else [fill * (n // len(fill))]))
    write(source, folder, sorted(tensors, key=lambda t: -size_of(t[1], t[2])), CONFIGS[form])


def q4_k(base, raw):
    """F32 bytes of rows that are whole blocks of 32 -> those of the values that Q4_K leaves. A superblock of 256 may end in another
    row than it begins."""
    n = len(raw) // 4
    values, blocks = (ctypes.c_float * n).from_buffer_copy(raw), ctypes.create_string_buffer(n // 256 * 144)
    base.ggml_quantize_chunk(12, values, blocks, ctypes.c_int64(0), ctypes.c_int64(n // 256), ctypes.c_int64(256), None)  # 12: Q4_K
    base.dequantize_row_q4_K(blocks, values, ctypes.c_int64(n))
    return bytes(values)


def round_trip(source, folder, library):
    """Of a folder in F32. library: the path of llama.cpp's libggml-base.so."""
    base = ctypes.CDLL(library)
    base.ggml_quantize_chunk.restype = ctypes.c_size_t
    header, data = read_header(source)
    file, tensors = source / "model.safetensors", []

    def rounded(t):
        yield q4_k(base, b"".join(slices(file, *(data + o for o in t["data_offsets"]))))

    for name, t in header.items():
        if is_matrix(name, t) and t["dtype"] == "F32" and size_of("U8", t["shape"]) % 256 == 0:
            tensors.append((name, "F32", t["shape"], rounded(t)))
        else:
            tensors.append((name, t["dtype"], t["shape"], slices(file, *(data + o for o in t["data_offsets"]))))
    write(source, folder, sorted(tensors, key=lambda t: -size_of(t[1], t[2])), None)
