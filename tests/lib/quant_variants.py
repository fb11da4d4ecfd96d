#!/usr/bin/env python3
"""Makes tiny quantised models in many of the forms that published checkpoints have, each beside the same model in F32.

  quant_variants.py OUT [NAME...]     OUT/NAME and OUT/NAME.plain, of all variants or those named
  quant_variants.py --list            print the names

Codes, scales and zero points are random, so nothing is rounded: both folders hold the same weights. Dimensions are no multiples of
panels or groups. Each function here packs one format as its description says (docs of common/quant name the sources); it knows
nothing of the programs. Standard library only.

SPDX-License-Identifier: AGPL-3.0-or-later"""
import array, json, math, os, random, struct, sys

HIDDEN, FFN, VOCAB, HEADS, KV, HEAD_DIM = 80, 112, 52, 4, 1, 24
E2M1 = [0, .5, 1, 1.5, 2, 3, 4, 6, -0.0, -.5, -1, -1.5, -2, -3, -4, -6]
ENDINGS = ("weight", "bias")


# ---------------------------------------------------------------- numbers and bytes

def f32(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


def bf16(x):
    """The nearest BF16 towards zero: only values that are one matter."""
    return struct.unpack("<f", b"\0\0" + struct.pack("<f", x)[2:])[0]


def f16(x):
    return struct.unpack("<e", struct.pack("<e", x))[0]


def e4m3(b):
    e, m = b >> 3 & 15, b & 7
    v = math.ldexp(m, -9) if e == 0 else math.ldexp(8 + m, e - 10)
    return -v if b & 128 else v


ROUND = {"F32": f32, "F16": f16, "BF16": bf16}


def floats(values, dtype, shape):
    if dtype == "BF16":
        data = b"".join(struct.pack("<f", v)[2:] for v in values)
    else:
        data = struct.pack(f"<{len(values)}{'e' if dtype == 'F16' else 'f'}", *values)
    return dtype, list(shape), data


def words(values, shape, dtype="I32"):
    return dtype, list(shape), struct.pack(f"<{len(values)}I", *values)


def stream(codes, bits):
    """Codes as 32-bit words, the first in the low bits, without gaps."""
    all_bits = sum(c << i * bits for i, c in enumerate(codes))
    return [all_bits >> 32 * w & 0xFFFFFFFF for w in range(-(-len(codes) * bits // 32))]


def spaced(codes, bits):
    """The same, but a code never spans two words."""
    each = 32 // bits
    return [sum(c << i * bits for i, c in enumerate(codes[w:w + each])) for w in range(0, len(codes), each)]


def columns(rows):
    return [list(c) for c in zip(*rows)]


def flat(rows):
    return [x for r in rows for x in r]


# ---------------------------------------------------------------- random matrices

class Affine:
    """Random codes [out][in], scales [out][groups] and zero points, of groups of g inputs, in the order `perm`."""

    def __init__(self, rng, out, n_in, bits, g, sym, dtype="F16", act_order=False):
        g = n_in if g in (-1, None) else g
        self.n_groups = -(-n_in // g)
        perm = list(range(n_in))
        if act_order:
            rng.shuffle(perm)
        self.group_of = [0] * n_in
        for at, k in enumerate(perm):
            self.group_of[k] = at // g
        top = (1 << bits) - 1
        self.q = [[rng.randint(0, top) for _ in range(n_in)] for _ in range(out)]
        self.s = [[ROUND[dtype](rng.uniform(.5, 1.5) / top / 3) for _ in range(self.n_groups)] for _ in range(out)]
        self.z = [[1 << bits - 1 if sym else rng.randint(1, top) for _ in range(self.n_groups)] for _ in range(out)]

    def values(self):
        g = self.group_of
        return [[(q - z[g[k]]) * s[g[k]] for k, q in enumerate(row)] for row, s, z in zip(self.q, self.s, self.z)]


# ---------------------------------------------------------------- formats: f(rng, out, in) -> tensors by ending, values

def ct_config(fmt, status="compressed", **weights):
    w = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": 32, "dynamic": False, **weights}
    return {"quant_method": "compressed-tensors", "format": fmt, "quantization_status": status, "ignore": ["lm_head", "re:.*router.*"],
            "config_groups": {"group_0": {"targets": ["Linear"], "weights": w, "input_activations": None, "output_activations": None}}}


def ct_int(bits, g, sym, dtype="BF16", gaps=False, act_order=False, no_order=False, shape_type="I64"):
    put = spaced if gaps else stream

    def f(rng, out, n_in):
        a = Affine(rng, out, n_in, bits, g, sym, dtype, act_order)
        rows = [put(r, bits) for r in a.q]
        t = {"weight_packed": words(flat(rows), (out, len(rows[0]))), "weight_scale": floats(flat(a.s), dtype, (out, a.n_groups)),
             "weight_shape": (shape_type, [2], struct.pack("<2q" if shape_type == "I64" else "<2i", out, n_in))}
        if not sym:
            zeros = [put(c, bits) for c in columns(a.z)]
            t["weight_zero_point"] = words(flat(columns(zeros)), (len(zeros[0]), a.n_groups))
        if act_order or no_order:
            t["weight_g_idx"] = words([0xFFFFFFFF] * n_in if no_order else a.group_of, (n_in,))
        return t, a.values()
    strategy = "channel" if g is None else "group"
    return f, ct_config("pack-quantized", num_bits=bits, symmetric=sym, group_size=g, strategy=strategy, actorder="group" if act_order else None)


def ct_int8(sym, scale):
    def f(rng, out, n_in):
        a = Affine(rng, out, n_in, 8, -1, sym, "F32")
        s = a.s if scale == "channel" else [a.s[0]] * out
        shape = (out, 1) if scale == "channel" else (1,)
        kept = s if scale == "channel" else s[:1]
        t = {"weight": ("I8", [out, n_in], bytes(q ^ 128 for q in flat(a.q))), "weight_scale": floats(flat(kept), "F32", shape)}
        if not sym:
            z = a.z if scale == "channel" else [a.z[0]] * out
            t["weight_zero_point"] = ("I8", list(shape), bytes(v ^ 128 for v in flat(z if scale == "channel" else z[:1])))
            a.z = z
        a.s = s
        return t, a.values()
    return f, ct_config("int-quantized", num_bits=8, symmetric=sym, strategy=scale, group_size=None)


def f8_codes(rng, n):
    return [rng.choice((0, 128)) | rng.randint(0, 0x5F) for _ in range(n)]


def f8(names, scale_dtype, block, shape=None, extra=None):
    """block: (rows, inputs) with a scale; None: all."""
    def f(rng, out, n_in):
        br, bc = block(out, n_in)
        down, across = -(-out // br), -(-n_in // bc)
        q = [f8_codes(rng, n_in) for _ in range(out)]
        if scale_dtype in ("F8_E8M0", "U8"):
            e = [rng.randint(116, 120) for _ in range(down * across)]
            s, data = [math.ldexp(1, v - 127) for v in e], (scale_dtype, [down, across], bytes(e))
        else:
            s = [ROUND[scale_dtype](rng.uniform(.005, .02)) for _ in range(down * across)]
            data = floats(s, scale_dtype, (down, across))
        if shape is not None:
            data = (data[0], list(shape(out)), data[2])
        values = [[e4m3(c) * s[r // br * across + k // bc] for k, c in enumerate(row)] for r, row in enumerate(q)]
        return {"weight": ("F8_E4M3", [out, n_in], bytes(flat(q))), names: data, **(extra or {})}, values
    return f


def ct_fp8(**kw):
    return f8("weight_scale", **kw), ct_config("float-quantized", num_bits=8, type="float", strategy="block", group_size=None)


def fp8(stated, **kw):
    c = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": stated, "modules_to_not_convert": ["lm_head"]}
    return f8("weight_scale_inv", **kw), c


def everything(out, n_in):
    return out, n_in


def e2m1(names, g, scale, factor_name=None):
    """scale: mx (E8M0) or nv (E4M3, with a factor that is multiplied, or divided if its name says so)."""
    def f(rng, out, n_in):
        n_groups = -(-n_in // g)
        q = [[rng.randint(0, 15) for _ in range(n_in)] for _ in range(out)]
        b = [[rng.randint(121, 124) if scale == "mx" else rng.randint(0x30, 0x4F) for _ in range(n_groups)] for _ in range(out)]
        factor, t = 1, {}
        if factor_name:
            stored = f32(rng.uniform(.02, .05))
            if "global" in factor_name:
                factor, stored = 1 / f32(1 / stored), f32(1 / stored)
            else:
                factor = stored
            t[factor_name] = floats([stored], "F32", (1,) if "global" in factor_name else ())
        s = [[math.ldexp(1, v - 127) if scale == "mx" else e4m3(v) * factor for v in r] for r in b]
        t[names[0]] = ("U8", [out, n_in // 2], bytes(r[k] | r[k + 1] << 4 for r in q for k in range(0, n_in, 2)))
        t[names[1]] = ("U8" if scale == "mx" else "F8_E4M3", [out, n_groups], bytes(flat(b)))
        return t, [[E2M1[c] * s[r][k // g] for k, c in enumerate(row)] for r, row in enumerate(q)]
    return f


def gptq(bits, g, sym, act_order=False, form="gptq", lying=False, g_idx=True, dtype="F16", negative=False, **keys):
    def f(rng, out, n_in, bits=bits):
        a = Affine(rng, out, n_in, bits, g, sym, dtype, act_order)
        raw = form != "gptq" or lying
        codes = [stream(c, bits) for c in a.q]
        zeros = [stream([z - (not raw) for z in c], bits) for c in columns(a.z)]
        t = {"qweight": words(flat(columns(codes)), (len(codes[0]), out)), "qzeros": words(flat(zeros), (a.n_groups, len(zeros[0]))),
             "scales": floats(flat(columns(a.s)), dtype, (a.n_groups, out))}
        if g_idx:
            t["g_idx"] = words([(v - a.n_groups if negative else v) & 0xFFFFFFFF for v in a.group_of], (n_in,))
        return t, a.values()
    c = {"quant_method": "gptq", "bits": bits, "group_size": g, "desc_act": act_order, "sym": sym, "checkpoint_format": form,
         "pack_dtype": "int32", **keys}
    return f, c


def auto_round(packing, **kw):
    f, c = gptq(**kw)
    return f, {"quant_method": "auto-round", "packing_format": packing, "bits": c["bits"], "group_size": c["group_size"], "sym": c["sym"]}


def awq(g, **keys):
    place = (0, 4, 1, 5, 2, 6, 3, 7)

    def mix(rows):
        return [sum(r[w + j] << 4 * place[j] for j in range(8)) for r in rows for w in range(0, len(r), 8)]

    def f(rng, out, n_in):
        a = Affine(rng, out, n_in, 4, g, False)
        return {"qweight": words(mix(columns(a.q)), (n_in, out // 8)), "qzeros": words(mix(columns(a.z)), (a.n_groups, out // 8)),
                "scales": floats(flat(columns(a.s)), "F16", (a.n_groups, out))}, a.values()
    return f, {"quant_method": "awq", "bits": 4, "group_size": g, "zero_point": True, "version": "gemm", **keys}


def mlx(bits, g, dtype="BF16"):
    def f(rng, out, n_in, bits=bits):
        a = Affine(rng, out, n_in, bits, g, True, dtype)
        b = [[ROUND[dtype](rng.uniform(-.3, .1)) for _ in r] for r in a.s]
        a.s = [[s * rng.choice((1, -1)) for s in r] for r in a.s]
        rows = [stream(r, bits) for r in a.q]
        values = [[q * a.s[o][k // g] + b[o][k // g] for k, q in enumerate(row)] for o, row in enumerate(a.q)]
        return {"weight": words(flat(rows), (out, len(rows[0])), "U32"), "scales": floats(flat(a.s), dtype, (out, a.n_groups)),
                "biases": floats(flat(b), dtype, (out, a.n_groups))}, values
    return f, {"group_size": g, "bits": bits}


def bnb4(kind, block, nested=0, storage="U8"):
    def f(rng, out, n_in):
        n = out * n_in
        table = sorted(f32(rng.uniform(-1, 1)) for _ in range(16)) if kind == "nf4" else [f32(v / 12) for v in (0, .0625, 8, 12, 4, 6, 2, 3)]
        table += [-v for v in table] if kind == "fp4" else []
        q = [rng.randint(0, 15) for _ in range(n)]
        n_blocks = -(-n // block)
        state = {"quant_type": kind, "blocksize": block, "dtype": "bfloat16", "shape": [out, n_in]}
        if nested:
            a = [rng.randint(0, 255) for _ in range(n_blocks)]
            big = [f32(rng.uniform(.05, .1)) for _ in range(-(-n_blocks // nested))]
            steps = [f32(i / 255 - .5) for i in range(256)]
            state |= {"nested_blocksize": nested, "nested_dtype": "float32", "nested_offset": .25}
            s = [steps[v] * big[i // nested] + .25 for i, v in enumerate(a)]
            t = {"weight.absmax": ("U8", [n_blocks], bytes(a)), "weight.nested_absmax": floats(big, "F32", (len(big),)),
                 "weight.nested_quant_map": floats(steps, "F32", (256,))}
        else:
            s = [f32(rng.uniform(.1, .4)) for _ in range(n_blocks)]
            t = {"weight.absmax": floats(s, "F32", (n_blocks,))}
        text = json.dumps(state).encode()
        data = bytes(q[k] << 4 | q[k + 1] for k in range(0, n, 2))
        size = {"U8": 1, "BF16": 2, "F32": 4}[storage]
        t |= {"weight": (storage, [len(data) // size, 1], data), "weight.quant_map": floats(table, "F32", (16,)),
              f"weight.quant_state.bitsandbytes__{kind}": ("U8", [len(text)], text)}
        return t, [[table[q[o * n_in + k]] * s[(o * n_in + k) // block] for k in range(n_in)] for o in range(out)]
    return f, {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": kind, "llm_int8_skip_modules": ["lm_head"]}


def bnb8():
    def f(rng, out, n_in):
        q = [[rng.randint(-127, 127) for _ in range(n_in)] for _ in range(out)]
        s = [f32(rng.uniform(.2, .6)) for _ in range(out)]
        t = {"weight": ("I8", [out, n_in], bytes(v & 255 for v in flat(q))), "SCB": floats(s, "F32", (out,)),
             "weight_format": ("U8", [], b"\0")}
        return t, [[v * s[o] / 127 for v in row] for o, row in enumerate(q)]
    return f, {"quant_method": "bitsandbytes", "load_in_8bit": True, "llm_int8_skip_modules": ["lm_head"]}


# ---------------------------------------------------------------- models

def llama(tied=False):
    return {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": HIDDEN, "intermediate_size": FFN, "num_hidden_layers": 1,
            "num_attention_heads": HEADS, "num_key_value_heads": KV, "head_dim": HEAD_DIM, "vocab_size": VOCAB, "max_position_embeddings": 64,
            "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu", "tie_word_embeddings": tied, "bos_token_id": 1, "eos_token_id": 2}


def linears(kind):
    """The modules of layer 0 that are quantised, with their shapes."""
    q, kv = HEADS * HEAD_DIM, KV * HEAD_DIM
    if kind == "phi3":
        return {"self_attn.qkv_proj": (q + 2 * kv, HIDDEN), "self_attn.o_proj": (HIDDEN, q),
                "mlp.gate_up_proj": (2 * FFN, HIDDEN), "mlp.down_proj": (HIDDEN, FFN)}
    m = {"self_attn.q_proj": (q, HIDDEN), "self_attn.k_proj": (kv, HIDDEN), "self_attn.v_proj": (kv, HIDDEN), "self_attn.o_proj": (HIDDEN, q)}
    if kind == "qwen3_moe":
        for x in range(3):
            m |= {f"mlp.experts.{x}.gate_proj": (FFN, HIDDEN), f"mlp.experts.{x}.up_proj": (FFN, HIDDEN), f"mlp.experts.{x}.down_proj": (HIDDEN, FFN)}
        return m | {"mlp.gate": (3, HIDDEN)}
    return m | {"mlp.gate_proj": (FFN, HIDDEN), "mlp.up_proj": (FFN, HIDDEN), "mlp.down_proj": (HIDDEN, FFN)}


def config_of(kind, tied):
    c = llama(tied) | {"model_type": kind}
    if kind == "phi3":
        c |= {"pad_token_id": 0, "original_max_position_embeddings": 64, "architectures": ["Phi3ForCausalLM"]}
        c["head_dim"] = HEAD_DIM
    if kind == "qwen3_moe":
        c |= {"num_experts": 3, "num_experts_per_tok": 2, "moe_intermediate_size": FFN, "decoder_sparse_step": 1, "norm_topk_prob": True,
              "mlp_only_layers": [], "architectures": ["Qwen3MoeForCausalLM"]}
    return c


def random_rows(rng, out, n_in, size=.3):
    return [[f32(rng.gauss(0, size)) for _ in range(n_in)] for _ in range(out)]


def stack_experts(t):
    """MLX: the experts of a layer as one tensor of each kind."""
    done = {}
    for name, (dtype, shape, data) in t.items():
        if ".experts." not in name:
            done[name] = (dtype, shape, data)
            continue
        head, rest = name.split(".experts.")
        x, part = rest.split(".", 1)
        key = f"{head}.switch_mlp.{part}"
        done[key] = (dtype, [int(x) + 1] + shape, done.get(key, (0, 0, b""))[2] + data)
    return done


def make(out, name, v):
    global HIDDEN, FFN
    HIDDEN, FFN = v.get("dims", (80, 112))
    rng = random.Random(name)
    kind, quantise, plain = v.get("kind", "llama"), v["format"][0], {}
    t, prefix = {}, "model.layers.0."
    tables = {"model.embed_tokens": (VOCAB, HIDDEN), "lm_head": (VOCAB, HIDDEN)}
    for module, (o, i) in {**{prefix + m: s for m, s in linears(kind).items()}, **tables}.items():
        if module == "lm_head" and v.get("tied"):
            continue
        is_table = module in tables
        if (is_table and not v.get("tables")) or module in [prefix + m for m in v.get("leave", ())]:
            w = random_rows(rng, o, i, 1 if is_table else .3)
            t[module + ".weight"] = floats(flat(w), "F32", (o, i))
        else:
            bits = v.get("bits", {}).get(module)
            ends, w = quantise(rng, o, i, **({"bits": bits} if bits else {}))
            t |= {f"{module}.{e}": x for e, x in ends.items()}
        plain[module + ".weight"] = floats(flat(w), "F32", (o, i))
    norms = {prefix + "input_layernorm": HIDDEN, prefix + "post_attention_layernorm": HIDDEN, "model.norm": HIDDEN}
    if kind == "qwen3_moe":
        norms |= {prefix + "self_attn.q_norm": HEAD_DIM, prefix + "self_attn.k_norm": HEAD_DIM}
    for norm, n in norms.items():
        t[norm + ".weight"] = plain[norm + ".weight"] = floats([f32(rng.uniform(.5, 1.5)) for _ in range(n)], "F32", (n,))
    t |= {prefix + k: x for k, x in v.get("extra", {}).items()}
    if v.get("stacked"):
        t = stack_experts(t)
    config, q = config_of(kind, v.get("tied", False)), v["format"][1]
    save(f"{out}/{name}.plain", config, plain)
    if v.get("file"):
        save(f"{out}/{name}", config, t)
        with open(f"{out}/{name}/{v['file']}", "w") as f:
            json.dump(v.get("wrap", lambda x: x)(q), f)
        return
    save(f"{out}/{name}", config | {v.get("key", "quantization_config"): q | v.get("keys", {})}, t)


def save(folder, config, tensors):
    os.makedirs(folder, exist_ok=True)
    with open(f"{folder}/config.json", "w") as f:
        json.dump(config, f, indent=1)
    head, data = {"__metadata__": {"format": "pt"}}, b""
    for name, (dtype, shape, body) in tensors.items():
        head[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(body)]}
        data += body
    text = json.dumps(head).encode()
    with open(f"{folder}/model.safetensors", "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + data)


def without(c, *keys):
    return {k: v for k, v in c.items() if k not in keys}


def presets(pair):
    f, c = pair
    return f, c | {"config_groups": {"W4A16": ["Linear"]}}


def dynamic_inputs(pair):
    """Activations are rounded by scales that are computed from them. Scales in the file are not used."""
    f, c = pair
    c["config_groups"]["group_0"]["input_activations"] = {"num_bits": 8, "type": "int", "dynamic": True, "strategy": "token"}
    return f, c


INPUT_SCALES = {"mlp.up_proj.input_scale": floats([.5], "F32", (1,)), "self_attn.v_scale": floats([.5], "F32", (1,)),
                "self_attn.k_proj.k_scale": floats([.5], "F32", ())}
NVFP4 = ct_config("nvfp4-pack-quantized", type="float", strategy="tensor_group", group_size=16)
MXFP4 = ct_config("mxfp4-pack-quantized", type="float")
MODELOPT = {"quant_method": "modelopt", "quant_algo": "NVFP4", "group_size": 16, "ignore": ["lm_head"]}
MODELOPT_F8 = {"quant_method": "modelopt", "quant_algo": "FP8", "ignore": ["lm_head"]}
VARIANTS = {
    "ct-w4-channel": {"format": ct_int(4, None, True)},
    "ct-w4-actorder": {"format": ct_int(4, 32, True, act_order=True)},
    "ct-w4-asym-f16": {"format": ct_int(4, 32, False, "F16", shape_type="I32")},
    "ct-w4-no-order": {"format": ct_int(4, 16, True, no_order=True)},
    "ct-w4-preset": {"format": presets(ct_int(4, 32, True))},
    "ct-w4-phi3": {"format": ct_int(4, 32, False), "kind": "phi3"},
    "ct-w4-moe": {"format": ct_int(4, 32, True), "kind": "qwen3_moe", "leave": ["mlp.gate"]},
    "ct-w8-asym": {"format": ct_int(8, 32, False)},
    "ct-w3": {"format": ct_int(3, 32, False), "dims": (96, 128)},
    "ct-w3-gaps": {"format": ct_int(3, 32, False, gaps=True), "dims": (96, 128)},
    "ct-w2": {"format": ct_int(2, 16, True, "F32")},
    "ct-w6": {"format": ct_int(6, 32, False), "dims": (96, 128)},
    "ct-int8-asym": {"format": ct_int8(False, "channel")},
    "ct-int8-tensor": {"format": dynamic_inputs(ct_int8(True, "tensor")), "extra": INPUT_SCALES},
    "ct-fp8-tensor": {"format": ct_fp8(scale_dtype="F32", block=everything, shape=lambda o: [1])},
    "ct-fp8-block": {"format": ct_fp8(scale_dtype="BF16", block=lambda o, i: (16, 16))},
    "ct-mxfp8": {"format": (f8("weight_scale", "U8", lambda o, i: (1, 32)), ct_config("mxfp8-quantized", num_bits=8, type="float"))},
    "ct-mxfp4": {"format": (e2m1(("weight_packed", "weight_scale"), 32, "mx"), MXFP4)},
    "ct-nvfp4": {"format": (e2m1(("weight_packed", "weight_scale"), 16, "nv", "weight_global_scale"), NVFP4)},
    "gptq-v2": {"format": gptq(4, 32, False, act_order=True, form="gptq_v2")},
    "gptq-lying": {"format": gptq(4, 32, True, lying=True)},
    "gptq-asym": {"format": gptq(4, 16, False)},
    "gptq-whole": {"format": gptq(4, -1, False, dtype="BF16")},
    "gptq-8-asym": {"format": gptq(8, 32, False, dtype="F32")},
    "gptq-8-actorder": {"format": gptq(8, 32, True, act_order=True)},
    "gptq-2": {"format": gptq(2, 32, False)},
    "gptq-3": {"format": gptq(3, 32, False)},
    "gptq-negative": {"format": gptq(4, 32, False, act_order=True, negative=True)},
    "gptq-no-g-idx": {"format": gptq(4, 32, False, g_idx=False)},
    "gptq-phi3": {"format": gptq(4, 32, False), "kind": "phi3"},
    "gptq-mixed": {"format": gptq(4, 32, True, dynamic={"+:.*down.*": {"bits": 8}, "-:.*q_proj": {}}),
                   "bits": {"model.layers.0.mlp.down_proj": 8}, "leave": ["self_attn.q_proj"]},
    "gptq-file": {"format": (lambda p: (p[0], without(p[1], "quant_method")))(gptq(4, 32, False)), "file": "quantize_config.json"},
    "gptq-moe": {"format": gptq(4, 32, True), "kind": "qwen3_moe", "leave": ["mlp.gate"]},
    "awq-tail": {"format": awq(32)},
    "awq-whole": {"format": awq(-1)},
    "awq-old": {"format": (awq(32)[0], {"w_bit": 4, "q_group_size": 32, "zero_point": True, "version": "GEMM"}), "file": "quant_config.json"},
    "autoround-awq": {"format": (awq(32)[0], {"quant_method": "auto-round", "packing_format": "auto_round:auto_awq", "bits": 4, "group_size": 32, "sym": False})},
    "autoround-raw": {"format": auto_round("auto_round", bits=4, g=32, sym=False, form="gptq_v2", g_idx=False)},
    "fp8-bf16": {"format": fp8([64, 64], scale_dtype="BF16", block=lambda o, i: (64, 64))},
    "fp8-e8m0": {"format": fp8([32, 32], scale_dtype="F8_E8M0", block=lambda o, i: (32, 32))},
    "fp8-tensor": {"format": fp8(None, scale_dtype="F32", block=everything, shape=lambda o: [])},
    "fp8-phi3": {"format": fp8([32, 48], scale_dtype="F32", block=lambda o, i: (32, 48)), "kind": "phi3"},
    "fp8-dynamic": {"format": fp8(None, scale_dtype="F32", block=everything, shape=lambda o: [1]),
                   "extra": {"mlp.up_proj.activation_scale": floats([.5], "F32", (1,))}},
    "fbgemm": {"format": (f8("weight_scale", "F32", lambda o, i: (1, i)), {"quant_method": "fbgemm_fp8"})},
    "modelopt-nvfp4": {"format": (e2m1(("weight", "weight_scale"), 16, "nv", "weight_scale_2"), MODELOPT), "extra": INPUT_SCALES},
    "modelopt-fp8": {"format": (f8("weight_scale", "F32", everything, shape=lambda o: []), MODELOPT_F8), "extra": INPUT_SCALES},
    "modelopt-file": {"format": (f8("weight_scale", "F32", everything, shape=lambda o: []), MODELOPT_F8), "file": "hf_quant_config.json",
                      "wrap": lambda q: {"producer": {"name": "modelopt"}, "quantization": without(q, "quant_method", "ignore")}},
    "mlx-8": {"format": mlx(8, 16), "tables": True, "key": "quantization"},
    "mlx-2": {"format": mlx(2, 16, "F16"), "tables": True, "key": "quantization"},
    "mlx-3": {"format": mlx(3, 32), "dims": (96, 128), "key": "quantization", "leave": ["self_attn.o_proj"]},
    "mlx-5": {"format": mlx(5, 32), "dims": (96, 128), "key": "quantization"},
    "mlx-6": {"format": mlx(6, 32), "dims": (96, 128), "key": "quantization"},
    "mlx-tied": {"format": mlx(4, 16), "tables": True, "tied": True, "key": "quantization"},
    "mlx-mixed": {"format": mlx(4, 16), "key": "quantization", "bits": {"model.layers.0.mlp.down_proj": 8},
                  "keys": {"mode": "affine", "model.layers.0.mlp.down_proj": {"group_size": 16, "bits": 8}}},
    "mlx-moe": {"format": mlx(4, 16), "kind": "qwen3_moe", "stacked": True, "tables": True, "key": "quantization",
                "bits": {"model.layers.0.mlp.gate": 8}, "keys": {"model.layers.0.mlp.gate": {"group_size": 16, "bits": 8}}},
    "bnb-fp4": {"format": bnb4("fp4", 64)},
    "bnb-nf4-128": {"format": bnb4("nf4", 128, storage="BF16")},
    "bnb-nf4-nested": {"format": bnb4("nf4", 64, nested=16, storage="F32")},
    "bnb-nf4-phi3": {"format": bnb4("nf4", 64), "kind": "phi3"},
    "bnb-int8-moe": {"format": bnb8(), "kind": "qwen3_moe", "leave": ["mlp.gate"]},
}


if __name__ == "__main__":
    if sys.argv[1] == "--list":
        print(*VARIANTS)
    else:
        for n in sys.argv[2:] or VARIANTS:
            make(sys.argv[1], n, VARIANTS[n])
