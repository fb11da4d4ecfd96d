#!/usr/bin/env python3
"""Makes tiny models whose matrices are stored as published quantised checkpoints store them, with goldens.

  make_quant.py [-o OUT] [NAME...]     make all formats, or those named, as OUT/NAME
  make_quant.py --list                 print the names

Each is a Llama of two layers. This file packs the tensors; the description of each format is the code that packs it.
Norms, embedding and head are BF16, except in mlx-4, where everything is quantised. The reference is transformers in
float32 with eager attention on the dequantised weights, so a reader that computes with activations in f32 comes within
1e-3. README.md describes golden.safetensors.

SPDX-License-Identifier: AGPL-3.0-or-later"""
import argparse, json, math, shutil, zlib
from pathlib import Path

import make_models as M
import torch
from make_models import T
from safetensors.torch import save_file

BF16, F16, F8 = torch.bfloat16, torch.float16, torch.float8_e4m3fn
E2M1 = torch.tensor([0, .5, 1, 1.5, 2, 3, 4, 6])
E2M1 = torch.cat([E2M1, -E2M1])
NF4 = torch.tensor([
    -1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0])


# ---------------------------------------------------------------- parts that formats share
# A format is a function of its parameters that returns (quantise, quantization_config). quantise(w, gen) of a matrix
# w [n_out, n_in] f32 returns ({ending of the name: tensor}, the values that these tensors mean).

def pack(q, bits, dim):
    """Unsigned q packed into int32 along dim, the lowest bits first (bits divides 32)."""
    q = q.movedim(dim, -1).to(torch.int64)
    n = 32 // bits
    pad = -q.shape[-1] % n
    q = torch.nn.functional.pad(q, (0, pad)).unflatten(-1, (-1, n))
    w = (q << (torch.arange(n) * bits)).sum(-1)
    w = torch.where(w >= 2**31, w - 2**32, w).to(torch.int32)
    return w.movedim(-1, dim).contiguous()


def groups(w, g):
    return w.unflatten(1, (-1, g))


def affine(w, g, bits, sym, sdtype):
    """q (unsigned) [n_out, n_in / g, g]; scale (rounded to sdtype) and zero (an integer) [n_out, n_in / g]; the values."""
    x, top = groups(w, g), 2**bits - 1
    if sym:
        s = (x.abs().amax(-1) / (2 ** (bits - 1) - 1)).clamp(min=1e-6).to(sdtype).float()
        z = torch.full_like(s, 2 ** (bits - 1))
    else:
        lo, hi = x.amin(-1).clamp(max=0), x.amax(-1).clamp(min=0)
        s = ((hi - lo) / top).clamp(min=1e-6).to(sdtype).float()
        z = (-lo / s).round().clamp(1, top)
    q = (x / s[..., None] + z[..., None]).round().clamp(0, top)
    return q, s, z, ((q - z[..., None]) * s[..., None]).flatten(1)


def nearest(x, table):
    return (x[..., None] - table).abs().argmin(-1)


def nibbles(codes):
    """Two codes a byte, the first in the low half."""
    return (codes[:, 0::2] | codes[:, 1::2] << 4).to(torch.uint8).contiguous()


# ---------------------------------------------------------------- compressed-tensors

def ct_config(fmt, weights, ignore=("lm_head",)):
    weights = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": 32, "dynamic": False,
               "block_structure": None, "actorder": None, "observer": "minmax", "observer_kwargs": {}, **weights}
    group = {"targets": ["Linear"], "input_activations": None, "output_activations": None, "weights": weights}
    return {"quant_method": "compressed-tensors", "format": fmt, "quantization_status": "compressed", "ignore": list(ignore),
            "kv_cache_scheme": None, "global_compression_ratio": None, "version": "0.15.0", "config_groups": {"group_0": group}}


def ct_int(g, bits, sym, sdtype=BF16):
    def f(w, gen):
        q, s, z, d = affine(w, g, bits, sym, sdtype)
        t = {"weight_packed": pack(q.flatten(1), bits, 1), "weight_scale": s.to(sdtype),
             "weight_shape": torch.tensor(w.shape, dtype=torch.int64)}
        if not sym:
            t["weight_zero_point"] = pack(z, bits, 0)
        return t, d
    return f, ct_config("pack-quantized", {"num_bits": bits, "symmetric": sym, "group_size": g})


def ct_int8():
    def f(w, gen):
        s = (w.abs().amax(1, keepdim=True) / 127).to(BF16).float()
        q = (w / s).round().clamp(-128, 127)
        return {"weight": q.to(torch.int8), "weight_scale": s.to(BF16)}, q * s
    return f, ct_config("int-quantized", {"num_bits": 8, "strategy": "channel", "group_size": None})


def ct_fp8():
    def f(w, gen):
        s = (w.abs().amax(1, keepdim=True) / 448).to(BF16).float()
        q = (w / s).to(F8)
        return {"weight": q, "weight_scale": s.to(BF16)}, q.float() * s
    return f, ct_config("float-quantized", {"num_bits": 8, "type": "float", "strategy": "channel", "group_size": None})


def mxfp4():
    def f(w, gen):
        x = groups(w, 32)
        e = torch.ceil(torch.log2(x.abs().amax(-1).clamp(min=1e-9) / 6)).clamp(-127, 127)
        c = nearest(x / 2 ** e[..., None], E2M1)
        return ({"weight_packed": nibbles(c.flatten(1)), "weight_scale": (e + 127).to(torch.uint8)},
                (E2M1[c] * 2 ** e[..., None]).flatten(1))
    return f, ct_config("mxfp4-pack-quantized", {"type": "float", "group_size": 32, "scale_dtype": "torch.uint8"})


def nvfp4():
    def f(w, gen):
        x = groups(w, 16)
        glob = (448 * 6 / w.abs().max()).float()          # compressed-tensors divides by it
        s8 = (x.abs().amax(-1) / 6 * glob).to(F8)
        s = s8.float() / glob
        c = nearest(x / s[..., None].clamp(min=1e-12), E2M1)
        return ({"weight_packed": nibbles(c.flatten(1)), "weight_scale": s8, "weight_global_scale": glob[None]},
                (E2M1[c] * s[..., None]).flatten(1))
    return f, ct_config("nvfp4-pack-quantized", {"type": "float", "strategy": "tensor_group", "group_size": 16,
                                                 "scale_dtype": "torch.float8_e4m3fn"})


# ---------------------------------------------------------------- FP8 with a scale a block

def fp8_block(b, sdtype):
    def f(w, gen):
        o, i = w.shape
        s = torch.empty(math.ceil(o / b), math.ceil(i / b))
        d, q = torch.empty_like(w), torch.empty(w.shape, dtype=F8)
        for r in range(s.shape[0]):
            for c in range(s.shape[1]):
                at = (slice(r * b, r * b + b), slice(c * b, c * b + b))
                s[r, c] = (w[at].abs().max() / 448).to(sdtype).float()
                q[at] = (w[at] / s[r, c]).to(F8)
                d[at] = q[at].float() * s[r, c]
        return {"weight": q, "weight_scale_inv": s.to(sdtype)}, d
    return f, {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [b, b],
               "modules_to_not_convert": ["lm_head"]}


# ---------------------------------------------------------------- GPTQ, AutoRound, AWQ

def gptq(g, bits, sym, act_order, g_idx=True):
    """Zeros are stored less one. Without g_idx it is a checkpoint of AutoRound."""
    def f(w, gen):
        i = w.shape[1]
        perm = torch.randperm(i, generator=gen) if act_order else torch.arange(i)
        q, s, z, d = affine(w[:, perm], g, bits, sym, F16)
        idx = torch.empty(i, dtype=torch.int32)
        idx[perm] = (torch.arange(i) // g).to(torch.int32)
        back = torch.argsort(perm)
        q, d = q.flatten(1)[:, back], d[:, back]
        t = {"qweight": pack(q.T, bits, 0), "qzeros": pack((z - 1).T, bits, 1), "scales": s.T.to(F16).contiguous()}
        if g_idx:
            t["g_idx"] = idx
        return t, d
    if not g_idx:
        return f, {"quant_method": "auto-round", "packing_format": "auto_round:auto_gptq", "bits": bits, "group_size": g,
                   "sym": sym, "data_type": "int", "block_name_to_quantize": "model.layers"}
    return f, {"quant_method": "gptq", "bits": bits, "group_size": g, "desc_act": act_order, "sym": sym,
               "checkpoint_format": "gptq", "damp_percent": 0.01, "true_sequential": True, "pack_dtype": "int32",
               "lm_head": False}


def awq(g):
    order = torch.tensor([0, 2, 4, 6, 1, 3, 5, 7])        # of the eight outputs in an int32

    def interleaved(x):
        return pack(x.unflatten(-1, (-1, 8))[..., order].flatten(-2), 4, 1)

    def f(w, gen):
        q, s, z, d = affine(w, g, 4, False, F16)
        return {"qweight": interleaved(q.flatten(1).T), "qzeros": interleaved(z.T), "scales": s.T.to(F16).contiguous()}, d
    return f, {"quant_method": "awq", "bits": 4, "group_size": g, "zero_point": True, "version": "gemm",
               "modules_to_not_convert": None}


# ---------------------------------------------------------------- MLX

def mlx(g, bits):
    def f(w, gen):
        x, top = groups(w, g), 2**bits - 1
        lo, hi = x.amin(-1), x.amax(-1)
        up = lo.abs() > hi.abs()                          # MLX begins at the edge that is larger: a scale may be negative
        s = ((hi - lo) / top).clamp(min=1e-6)
        s, b = torch.where(up, s, -s).to(BF16).float(), torch.where(up, lo, hi).to(BF16).float()
        q = ((x - b[..., None]) / s[..., None]).round().clamp(0, top)
        return ({"weight": pack(q.flatten(1), bits, 1).view(torch.uint32), "scales": s.to(BF16), "biases": b.to(BF16)},
                (q * s[..., None] + b[..., None]).flatten(1))
    return f, {"group_size": g, "bits": bits, "mode": "affine"}


# ---------------------------------------------------------------- bitsandbytes

def bnb4(nested, bs=64):
    def f(w, gen):
        x = w.flatten().unflatten(0, (-1, bs))
        absmax = x.abs().amax(-1)
        t = {"weight.absmax": absmax}
        if nested:
            off = absmax.mean()
            table = torch.cat([torch.linspace(-1, 0, 129)[:-1], torch.linspace(0, 1, 128)]).float()
            blocks = (absmax - off).split(256)
            na = torch.stack([b.abs().max() for b in blocks])
            codes = torch.cat([nearest(b / m, table) for b, m in zip(blocks, na)])
            t = {"weight.absmax": codes.to(torch.uint8), "weight.nested_absmax": na, "weight.nested_quant_map": table}
            absmax = table[codes] * na.repeat_interleave(256)[: len(absmax)] + off
        c = nearest(x / absmax[:, None], NF4)
        d = (NF4[c] * absmax[:, None]).flatten().reshape(w.shape)
        c = c.flatten()
        state = {"quant_type": "nf4", "blocksize": bs, "dtype": "bfloat16", "shape": list(w.shape)}
        if nested:
            state |= {"nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": float(off)}
        t |= {"weight": (c[0::2] << 4 | c[1::2]).to(torch.uint8)[:, None].contiguous(), "weight.quant_map": NF4.clone(),
              "weight.quant_state.bitsandbytes__nf4": torch.tensor(list(json.dumps(state).encode()), dtype=torch.uint8)}
        return t, d
    return f, {"quant_method": "bitsandbytes", "load_in_4bit": True, "load_in_8bit": False, "bnb_4bit_quant_type": "nf4",
               "bnb_4bit_use_double_quant": nested, "bnb_4bit_compute_dtype": "bfloat16", "bnb_4bit_quant_storage": "uint8",
               "llm_int8_threshold": 6.0, "llm_int8_skip_modules": ["lm_head"]}


def bnb8():
    def f(w, gen):
        scb = w.abs().amax(1)
        q = (w * 127 / scb[:, None]).round()
        return {"weight": q.to(torch.int8), "SCB": scb, "weight_format": torch.tensor(0, dtype=torch.uint8)}, q * scb[:, None] / 127
    return f, {"quant_method": "bitsandbytes", "load_in_8bit": True, "load_in_4bit": False, "llm_int8_threshold": 6.0,
               "llm_int8_skip_modules": ["lm_head"]}


# ---------------------------------------------------------------- the table

FORMATS = {
    "ct-w4-sym": ct_int(32, 4, True),
    "ct-w4-asym": ct_int(64, 4, False),
    "ct-w8-group": ct_int(32, 8, True),
    "ct-int8": ct_int8(),
    "ct-fp8": ct_fp8(),
    "fp8-block": fp8_block(128, torch.float32),
    "gptq-sym": gptq(32, 4, True, False),
    "gptq-asym-actorder": gptq(32, 4, False, True),
    "gptq-8bit": gptq(64, 8, True, False),
    "awq": awq(32),
    "autoround": gptq(32, 4, True, False, g_idx=False),
    "mxfp4": mxfp4(),
    "nvfp4": nvfp4(),
    "mlx-4": mlx(64, 4),
    "bnb-nf4": bnb4(False),
    "bnb-nf4-nested": bnb4(True),
    "bnb-int8": bnb8(),
}

# The keys of config.json that published models have.
KEYS = ("architectures", "attention_bias", "bos_token_id", "eos_token_id", "hidden_act", "hidden_size", "head_dim",
        "intermediate_size", "max_position_embeddings", "mlp_bias", "model_type", "num_attention_heads", "num_hidden_layers",
        "num_key_value_heads", "rms_norm_eps", "rope_theta", "tie_word_embeddings", "torch_dtype", "transformers_version",
        "use_cache", "vocab_size", "attention_dropout", "initializer_range", "pretraining_tp")


def config():
    return M.llama(vocab_size=288, hidden_size=128, intermediate_size=384, num_attention_heads=4, num_key_value_heads=2,
                   rms_norm_eps=1e-6, tie_word_embeddings=False)


def quantised(spec, seed, quantise, everything):
    """A model of random weights that has the dequantised values, and its tensors as a checkpoint holds them."""
    model = T.AutoModelForCausalLM.from_config(spec.config, **M.EAGER).eval()
    M.randomise(model, spec, seed)
    gen, tensors = torch.Generator().manual_seed(seed), {}
    for name, p in model.named_parameters():
        if p.dim() == 2 and ("layers." in name or everything):
            t, d = quantise(p.detach().clone(), gen)
            p.copy_(d)
            tensors |= {name.removesuffix("weight") + n: v.contiguous() for n, v in t.items()}
        else:
            tensors[name] = p.detach().to(BF16).contiguous()
    return model, tensors


def make(name, out):
    quantise, quantization = FORMATS[name]
    everything = name.startswith("mlx")
    spec = M.Spec(name, config())
    for attempt in range(400):
        seed = (zlib.crc32(name.encode()) + attempt) % 2**31
        model, tensors = quantised(spec, seed, quantise, everything)
        ids, ids2 = M.make_prompt(288, 48, seed + 1), M.make_prompt(288, 5, seed + 2)
        new, margin = M.greedy(model, ids)
        if margin > M.MIN_MARGIN and len(set(new.tolist())) >= 12 and int(new.min()) > 3:
            break
    else:
        raise SystemExit(f"{name}: no good seed")
    folder = out / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "mlx" if everything else "pt"})
    c = M.v4_form(spec.config.to_dict() | {"architectures": ["LlamaForCausalLM"], "dtype": "bfloat16"}, spec)
    c = {k: v for k, v in c.items() if v is not None and k in KEYS}
    c |= {"quantization": quantization} if everything else {}
    M.write_json(folder / "config.json", c | {"quantization_config": quantization})
    g = {"ids": ids, "ids2": ids2, "greedy": new}
    g["logits"], g["hidden"] = M.run(model, ids)
    g["logits2"], _ = M.run(model, ids2)
    save_file({k: v.contiguous() for k, v in g.items()}, folder / "golden.safetensors",
              metadata={"seed": str(seed), "min_margin": f"{margin:.4g}"})
    print(f"{name:20s} seed {seed} margin {margin:.3g} std {g['logits'].std():.2f} "
          f"{sum(f.stat().st_size for f in folder.iterdir()) // 1024} KB", flush=True)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("names", nargs="*", metavar="NAME", help="only these formats")
    ap.add_argument("-o", "--out", type=Path, default=M.DATA / "quant", help="folder of the models (default: tests/data/quant)")
    ap.add_argument("--list", action="store_true", help="print the names")
    a = ap.parse_args()
    unknown = set(a.names) - set(FORMATS)
    if unknown:
        ap.error(f"no such format: {' '.join(sorted(unknown))}")
    for name in a.names or FORMATS:
        print(name) if a.list else make(name, a.out)


if __name__ == "__main__":
    main()
