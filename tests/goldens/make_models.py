#!/usr/bin/env python3
"""Makes the models of tests/data/models: tiny random models in Hugging Face form, each with reference outputs ("goldens").

  make_models.py [-o OUT] [NAME...]     make all models, or those named, as OUT/NAME
  make_models.py --verify [NAME...]     load every folder again and compare with its golden
  make_models.py --sensitivity [NAME...]
                                        print how far the logits move when one feature is wrong
  make_models.py --list                 print the names

Weights are drawn, rounded to the storage dtype and saved. The reference is computed from the saved folder, loaded in
float32 with eager attention. README.md describes the files.

SPDX-License-Identifier: AGPL-3.0-or-later"""
import argparse, copy, json, math, os, shutil, sys, tempfile, warnings, zlib
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
import torch
import transformers
import transformers as T
from safetensors import safe_open
from safetensors.torch import load_file, save_file

torch.set_num_threads(1)
torch.set_grad_enabled(False)
transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
warnings.filterwarnings("ignore")

DATA = Path(__file__).resolve().parent.parent / "data"
BF16, F16, F32 = torch.bfloat16, torch.float16, torch.float32
NEW = 32              # greedy ids
MIN_MARGIN = 5e-3     # smallest top-1/top-2 logit gap allowed at a greedy step
MIN_ROUTER_GAP = 1e-3 # smallest gap allowed between the logits of the last expert that is chosen and of the next


@dataclass
class Spec:
    name: str
    config: object                # a transformers config
    form: str = "v4"              # form of config.json: v4 (rope_theta, rope_scaling) or v5 (rope_parameters)
    dtype: torch.dtype = BF16     # storage dtype
    n: int = 48                   # prompt length
    n_cross: int = 0              # if set: also ids_cross/greedy_cross, a prompt of this length
    shard: str = "5GB"            # max_shard_size
    gains: dict = field(default_factory=dict)   # changes to GAINS
    set4: dict = field(default_factory=dict)    # keys to set in the v4 form
    drop4: tuple = ()                           # keys to drop from the v4 form
    type_key: str = "rope_type"                 # v4 rope_scaling: "rope_type" or the older "type"
    post: object = None                         # rewrites the saved tensors {name: tensor} to the hub's form
    generation: bool = True                     # keep generation_config.json
    cached_differs: bool = False                # a KV cache changes the result (dynamic NTK)
    seed: int = 0                               # the first seed that is tried; 0: one made from the name
    varied: bool = True                         # the greedy ids are 12 or more different ones, and none is below 4


# ---------------------------------------------------------------- weights

# The standard deviation of a linear weight is gain / sqrt(fan_in), that of any other is the gain.
GAINS = dict(qk=1.6, v=1.2, o=1.2, up=1.3, down=1.5, router=2.0, embed=0.3, head=0.3, bias=0.3,
             norm=0.2, qk_norm_mean=1.6, final_norm_mean=1.0)


def role_std(name, shape, g, conv1d):
    """Standard deviation for the weight matrix `name`."""
    if "embed" in name or ".wte." in name or ".wpe." in name:
        return g["embed"]
    if name.startswith("lm_head"):
        return g["head"]
    fan_in = shape[0] if conv1d else shape[-1]
    for keys, role in ((("q_proj", "k_proj", "qkv_proj", "c_attn"), "qk"), (("v_proj",), "v"),
                       (("o_proj", "attn.dense", "attn.c_proj"), "o"),
                       (("mlp.gate.weight", "router"), "router"),
                       (("gate_proj", "up_proj", "gate_up_proj", "fc1", "c_fc"), "up"),
                       (("down_proj", "fc2", "mlp.c_proj"), "down")):
        if any(k in name for k in keys):
            return g[role] / math.sqrt(fan_in)
    raise ValueError(f"no role for {name} {tuple(shape)}")


def randomise(model, spec, seed):
    """Draw every parameter and round it to the storage dtype."""
    g = {**GAINS, **spec.gains}
    gen = torch.Generator().manual_seed(seed)
    plus_one = float(spec.config.model_type.startswith("gemma"))   # RMSNorm multiplies by 1 + weight
    for name, p in model.named_parameters():
        z = torch.randn(p.shape, generator=gen)
        if name.endswith("bias"):
            w = g["bias"] * z
        elif p.dim() == 1:
            final = name.split(".")[-2] in ("norm", "ln_f", "final_layernorm") and "layers" not in name
            mean = g["final_norm_mean"] if final else \
                g["qk_norm_mean"] if ("q_norm" in name or "k_norm" in name) else 1.0
            w = mean * (1 + g["norm"] * z) - plus_one
        else:
            w = role_std(name, p.shape, g, spec.config.model_type == "gpt2") * z
        p.copy_(w.to(spec.dtype).float())


def make_prompt(vocab, n, seed):
    """n ids: random, with some repeated. Only the first is below 4 (bos, eos, pad)."""
    gen = torch.Generator().manual_seed(seed)
    ids = torch.randint(4, vocab, (n,), generator=gen)
    for k in range(5, n, 7):                      # attention has something to match
        ids[k] = ids[k - 5]
    ids[0] = 1
    return ids


# ---------------------------------------------------------------- reference

EAGER = dict(dtype=F32, attn_implementation="eager", experts_implementation="eager")


def run(model, ids):
    """Logits and final-norm hidden state of a full (cacheless) forward."""
    x = ids[None]
    hidden = model.base_model(input_ids=x, use_cache=False).last_hidden_state[0]
    return model(input_ids=x, use_cache=False).logits[0], hidden


def greedy(model, ids, cached=False):
    """NEW greedy ids, and the smallest gap between the best and the second logit."""
    seq, new, margin, past = ids, [], math.inf, None
    for _ in range(NEW):
        if cached:
            out = model(input_ids=(seq if past is None else seq[-1:])[None], past_key_values=past, use_cache=True)
            past = out.past_key_values
        else:
            out = model(input_ids=seq[None], use_cache=False)
        top = out.logits[0, -1].topk(2)
        margin = min(margin, float(top.values[0] - top.values[1]))
        new.append(int(top.indices[0]))
        seq = torch.cat([seq, top.indices[:1]])
    return torch.tensor(new), margin


def router_gap(model, ids):
    """Smallest gap, over tokens and MoE layers, between the last chosen expert's logit and the next."""
    gaps, hooks = [math.inf], []
    for m in model.modules():
        if type(m).__name__.endswith("TopKRouter"):
            def hook(mod, args, out):
                s = out[0].sort(-1, descending=True).values
                gaps.append(float((s[..., mod.top_k - 1] - s[..., mod.top_k]).min()))
            hooks.append(m.register_forward_hook(hook))
    model(input_ids=ids[None], use_cache=False)
    for h in hooks:
        h.remove()
    return min(gaps)


def load(folder, **kw):
    return T.AutoModelForCausalLM.from_pretrained(folder, **EAGER, **kw).eval()


# ---------------------------------------------------------------- config forms

def v4_form(cfg, spec):
    """config.json as transformers 4 wrote it, which is the form of most published models."""
    c = copy.deepcopy(cfg)
    if "dtype" in c:
        c["torch_dtype"] = c.pop("dtype")
    c["transformers_version"] = "4.48.0"
    rope = c.pop("rope_parameters", None)
    if rope is not None:
        if "full_attention" in rope:
            if c["model_type"].startswith("gemma3"):                   # olmo3 has one theta for both
                c["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
            rope = rope["full_attention"]
        c["rope_theta"] = rope.pop("rope_theta")
        if "partial_rotary_factor" in rope:
            c["partial_rotary_factor"] = rope.pop("partial_rotary_factor")
        kind = rope.pop("rope_type", "default")
        if c["model_type"] == "phi3":
            rope.pop("original_max_position_embeddings", None)         # phi3 keeps it at the top level
        c["rope_scaling"] = None if kind == "default" else {**rope, spec.type_key: kind}
    if c["model_type"] != "smollm3":
        c.pop("layer_types", None)
    if c.get("pad_token_id", 0) is None:
        c.pop("pad_token_id")
    for k in spec.drop4:
        c.pop(k, None)
    c.update(spec.set4)
    return c


def write_json(path, obj):
    path.write_text(json.dumps(obj, indent=2, sort_keys=True) + "\n")


def with_config(folder, config_file):
    """A scratch folder with the weights of `folder` and another config."""
    tmp = Path(tempfile.mkdtemp())
    for f in folder.glob("model*.safetensors*"):
        (tmp / f.name).symlink_to(f)
    shutil.copy(folder / config_file, tmp / "config.json")
    return tmp


# ---------------------------------------------------------------- making

def find_seed(spec):
    """The first seed whose greedy continuation is clear at each step, varied, and free of special ids."""
    cfg = spec.config
    first = spec.seed or zlib.crc32(spec.name.encode())
    for attempt in range(400):
        seed = (first + attempt) % 2**31
        model = T.AutoModelForCausalLM.from_config(copy.deepcopy(cfg), **EAGER).eval()
        randomise(model, spec, seed)
        prompts = [make_prompt(cfg.vocab_size, spec.n, seed + 1), make_prompt(cfg.vocab_size, 5, seed + 2)]
        if spec.n_cross:
            prompts.append(make_prompt(cfg.vocab_size, spec.n_cross, seed + 3))
        ok = True
        for k in reversed(range(len(prompts))):
            if k == 1:
                ok = ok and router_gap(model, prompts[k]) > MIN_ROUTER_GAP
                continue
            new, margin = greedy(model, prompts[k])
            ok = ok and margin > MIN_MARGIN
            ok = ok and not (spec.varied and (len(set(new.tolist())) < 12 or int(new.min()) < 4))
            ok = ok and router_gap(model, torch.cat([prompts[k], new])) > MIN_ROUTER_GAP
            if spec.cached_differs and k == 0:
                model(input_ids=prompts[1][None])     # a short forward resets the dynamic NTK state
                ok = ok and greedy(model, prompts[k], cached=True)[1] > MIN_MARGIN
            if not ok:
                break
        if ok:
            return seed, model, prompts
    raise RuntimeError(f"{spec.name}: no good seed")


def make(spec, out):
    seed, model, prompts = find_seed(spec)
    folder = out / spec.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    model.to(spec.dtype).save_pretrained(folder, max_shard_size=spec.shard)
    if spec.post:
        f = folder / "model.safetensors"
        save_file(spec.post(load_file(f)), f, metadata={"format": "pt"})

    # config.json in the chosen form, the other form beside it
    v5 = json.loads((folder / "config.json").read_text())
    v4 = v4_form(v5, spec)
    first, other, other_name = (v4, v5, "config.v5.json") if spec.form == "v4" else (v5, v4, "config.v4.json")
    write_json(folder / "config.json", first)
    write_json(folder / other_name, other)

    # the reference, from what was saved
    ref = load(folder)
    g = {}
    g["ids"], g["ids2"] = prompts[0], prompts[1]
    g["logits2"], _ = run(ref, g["ids2"])
    g["logits"], g["hidden"] = run(ref, g["ids"])
    g["greedy"], margin = greedy(ref, g["ids"])
    cached, _ = greedy(load(folder), g["ids"], cached=True)
    if spec.cached_differs:
        g["greedy_cached"] = cached
    else:
        assert torch.equal(cached, g["greedy"]), "KV cache changes the result"
    if spec.n_cross:
        g["ids_cross"] = prompts[2]
        g["greedy_cross"], _ = greedy(load(folder), prompts[2])
    f64 = float((run(load(folder).double(), g["ids"])[0] - g["logits"]).abs().max())
    meta = dict(transformers=transformers.__version__, torch=torch.__version__, reference="float32, eager attention",
                seed=str(seed), min_margin=f"{margin:.4g}", float64_max_abs_diff=f"{f64:.3g}", config_form=spec.form)
    save_file({k: v.contiguous() for k, v in g.items()}, folder / "golden.safetensors", metadata=meta)
    if not spec.generation:
        (folder / "generation_config.json").unlink()
    for f in folder.iterdir():
        f.chmod(0o644)
    print(f"{spec.name:18s} seed {seed} margin {margin:.3g} logits std {g['logits'].std():.2f} "
          f"max {g['logits'].abs().max():.1f} f64 diff {f64:.1g} distinct {len(set(g['greedy'].tolist()))}", flush=True)


# ---------------------------------------------------------------- checking

def verify(specs, out):
    total, good = 0, True
    print(f"{'model':18s} {'form':4s} {'weights':>8s} {'folder':>8s}  {'logits':>8s} {'logits2':>8s} {'hidden':>8s} "
          f"{'greedy':6s} {'other form':>10s}")
    for spec in specs:
        folder = out / spec.name
        gold = load_file(folder / "golden.safetensors")
        def diffs(model):
            l2, _ = run(model, gold["ids2"])
            l1, h = run(model, gold["ids"])
            return [float((a - b).abs().max()) for a, b in ((l1, gold["logits"]), (l2, gold["logits2"]), (h, gold["hidden"]))]
        model = load(folder)
        d = diffs(model)
        same = torch.equal(greedy(model, gold["ids"])[0], gold["greedy"])
        if "ids_cross" in gold:
            same = same and torch.equal(greedy(load(folder), gold["ids_cross"])[0], gold["greedy_cross"])
        if "greedy_cached" in gold:
            same = same and torch.equal(greedy(load(folder), gold["ids"], cached=True)[0], gold["greedy_cached"])
        other = next(f.name for f in folder.glob("config.v?.json"))
        tmp = with_config(folder, other)
        d_other = max(diffs(load(tmp)))
        shutil.rmtree(tmp)
        weights = sum(f.stat().st_size for f in folder.glob("model*.safetensors"))
        size = sum(f.stat().st_size for f in folder.iterdir())
        total += size
        want = {BF16: "BF16", F16: "F16", F32: "F32"}[spec.dtype]
        for f in folder.glob("model*.safetensors"):
            with safe_open(f, "pt") as s:
                for k in s.keys():
                    t = s.get_slice(k)
                    assert t.get_dtype() == want, (k, t.get_dtype())
                    assert len(t.get_shape()) < 3 or k.endswith("attn.bias"), f"fused tensor {k}"
        ok = max(d) < 1e-4 and d_other < 1e-4 and same        # another CPU sums in another order
        good = good and ok
        bad = "" if ok else "   <-- BAD"
        print(f"{spec.name:18s} {spec.form:4s} {weights:8d} {size:8d}  {d[0]:8.2g} {d[1]:8.2g} {d[2]:8.2g} "
              f"{'same' if same else 'DIFF':6s} {d_other:10.2g}{bad}", flush=True)
    print(f"total {total} bytes in {len(specs)} folders")
    return good


def wrong_ways(cfg):
    """(label, function on config, function on model): ways of getting one feature wrong."""
    def setter(**kw):
        return lambda c: [setattr(c, k, v) for k, v in kw.items()]
    ways = []
    add = lambda label, fc=None, fm=None: ways.append((label, fc, fm))
    rope = getattr(cfg, "rope_parameters", None)
    if rope:
        for kind in [k for k in ("full_attention", "sliding_attention") if k in rope] or [None]:
            def theta(c, kind=kind):
                r = c.rope_parameters[kind] if kind else c.rope_parameters
                r["rope_theta"] *= 4
            add(f"theta x4 {kind or ''}", theta)
        if rope.get("rope_type", "default") != "default":
            def plain(c):
                c.rope_parameters = {k: v for k, v in c.rope_parameters.items() if k in ("rope_theta", "partial_rotary_factor")}
                c.rope_parameters["rope_type"] = "default"
            add("no rope scaling", plain)
        if rope.get("rope_type") == "yarn" or rope.get("rope_type") == "longrope":
            add("no rope attention factor", lambda c: c.rope_parameters.update(attention_factor=1.0))
        if rope.get("partial_rotary_factor", 1.0) != 1.0 and rope.get("rope_type") == "default":
            add("full rotary", lambda c: c.rope_parameters.update(partial_rotary_factor=1.0))
    if getattr(cfg, "sliding_window", None):
        add("window + 1", setter(sliding_window=cfg.sliding_window + 1))
        add("no window", setter(sliding_window=10**6))
    if len(set(getattr(cfg, "layer_types", None) or [])) == 2 and cfg.model_type != "smollm3":
        add("layer types rotated", lambda c: setattr(c, "layer_types", c.layer_types[1:] + c.layer_types[:1]))
    for k in ("attn_logit_softcapping", "final_logit_softcapping"):
        if getattr(cfg, k, None):
            add(f"no {k}", setter(**{k: None}))
    if getattr(cfg, "query_pre_attn_scalar", None):
        add("scale from head_dim", setter(query_pre_attn_scalar=cfg.head_dim))
    for k in ("embedding_multiplier", "residual_multiplier", "attention_multiplier", "logits_scaling"):
        if hasattr(cfg, k):
            add(f"{k} = 1", setter(**{k: 1.0}))
    if getattr(cfg, "norm_topk_prob", None):
        add("norm_topk_prob off", setter(norm_topk_prob=False))
    if 0 in (getattr(cfg, "no_rope_layers", None) or []):
        add("rope on every layer", setter(no_rope_layers=[1] * cfg.num_hidden_layers))
    for k in ("rms_norm_eps", "layer_norm_eps", "norm_epsilon", "layer_norm_epsilon"):
        if hasattr(cfg, k):
            add("eps = 1e-8", setter(**{k: 1e-8}))
    for k in ("hidden_act", "hidden_activation", "activation_function"):
        act = getattr(cfg, k, None)
        if act:
            add(f"{act} -> gelu (erf)", setter(**{k: "gelu"}))
    def zero(what):
        return lambda m: [p.zero_() for n, p in m.named_parameters() if what(n)]
    add("no biases", None, zero(lambda n: n.endswith("bias")))
    add("qk-norm weights = 1", None,
        lambda m: [p.fill_(0.0 if cfg.model_type.startswith("gemma") else 1.0) for n, p in m.named_parameters() if "q_norm" in n or "k_norm" in n])
    return ways


def sensitivity(specs, out):
    for spec in specs:
        folder = out / spec.name
        gold = load_file(folder / "golden.safetensors")
        cells = []
        for label, fc, fm in wrong_ways(T.AutoConfig.from_pretrained(folder)):
            cfg = T.AutoConfig.from_pretrained(folder)
            if fc:
                fc(cfg)
            try:
                m = load(folder, config=cfg)
                before = [p.sum() for p in m.parameters()]
                if fm:
                    fm(m)
                    if all(a == p.sum() for a, p in zip(before, m.parameters())):
                        continue                  # the model has no such parameter
                d = (run(m, gold["ids"])[0] - gold["logits"]).abs().max()
                cells.append(f"{label}: {float(d):.2g}" + (" <-- weak" if d < 1e-2 else ""))
            except Exception as e:
                cells.append(f"{label}: {type(e).__name__}")
        print(f"{spec.name}: " + "; ".join(cells), flush=True)


# ---------------------------------------------------------------- forms of the hub that transformers 5 does not write

def gpt2_hub(tensors):
    """The hub's gpt2: no `transformer.` prefix, and the causal mask of each layer as attn.bias [1,1,n,n]."""
    out = {k.removeprefix("transformer."): v for k, v in tensors.items()}
    n = out["wpe.weight"].shape[0]
    for k in [k for k in out if k.endswith("attn.c_attn.weight")]:
        out[k.replace("c_attn.weight", "bias")] = torch.tril(torch.ones(n, n)).view(1, 1, n, n).to(out["wpe.weight"].dtype)
    return out


# ---------------------------------------------------------------- the table

def rope(theta=10000.0, kind="default", **kw):
    return dict(rope_type=kind, rope_theta=theta, **kw)


BASE = dict(vocab_size=288, hidden_size=64, intermediate_size=80, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=256, bos_token_id=1, eos_token_id=2)


def conf(cls, **kw):
    return cls(**{**BASE, **kw})


def llama(**kw):
    return conf(T.LlamaConfig, **{**dict(rms_norm_eps=1e-5, rope_parameters=rope()), **kw})


UNGATED = dict(o=1.8, down=2.5, bias=0.2)     # blocks then outweigh the embedding and the biases
GEMMA = dict(bos_token_id=2, eos_token_id=1, pad_token_id=0)
LONG = [1.0, 1.2, 1.7, 2.4, 3.9, 5.5, 8.0, 11.5]
SHORT = [1.0, 1.02, 1.05, 1.1, 1.2, 1.3, 1.45, 1.6]


def models():
    no_hd = ("head_dim",)
    S = Spec
    return [
        S("llama", llama(), drop4=no_hd),
        S("llama-f32", llama(rms_norm_eps=1e-6), dtype=F32, drop4=no_hd),
        S("llama-f16", llama(rope_parameters=rope(500000.0)), "v5", dtype=F16),
        S("llama-tied-f32", llama(tie_word_embeddings=True), "v5", dtype=F32),
        S("llama-mha-bias", llama(num_key_value_heads=4, attention_bias=True, mlp_bias=True),
          drop4=("head_dim", "num_key_value_heads")),
        S("llama3-rope", llama(num_attention_heads=2, num_key_value_heads=1, rope_parameters=rope(
            20000.0, "llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
            original_max_position_embeddings=64)), drop4=no_hd),
        S("llama-linear-rope", llama(rope_parameters=rope(10000.0, "linear", factor=4.0)), type_key="type", drop4=no_hd),
        S("llama-yarn", llama(num_attention_heads=2, num_key_value_heads=1, rope_parameters=rope(
            10000.0, "yarn", factor=4.0, original_max_position_embeddings=64)), "v5", drop4=no_hd),
        S("llama-dynamic-ntk", llama(max_position_embeddings=32, rope_parameters=rope(10000.0, "dynamic", factor=2.0)),
          type_key="type", drop4=no_hd, n_cross=20, cached_differs=True),
        S("llama-sharded", llama(num_hidden_layers=3), "v5", shard="100KB"),
        S("llama-headdim", llama(head_dim=32, num_attention_heads=4), "v5"),
        S("mistral", conf(T.MistralConfig, sliding_window=16, rms_norm_eps=1e-5, rope_parameters=rope()), drop4=no_hd),
        S("mistral-nowindow", conf(T.MistralConfig, sliding_window=None, head_dim=32, rms_norm_eps=1e-5,
                                   rope_parameters=rope(1e6)), "v5"),
        S("qwen2", conf(T.Qwen2Config, rms_norm_eps=1e-3, num_hidden_layers=3, tie_word_embeddings=True, rope_parameters=rope(1e6)),
          set4=dict(use_sliding_window=False, sliding_window=131072, max_window_layers=28)),
        S("qwen3", conf(T.Qwen3Config, head_dim=32, rope_parameters=rope(1e6)), "v5"),
        S("gemma", conf(T.GemmaConfig, **GEMMA, rms_norm_eps=1e-3, head_dim=32, num_key_value_heads=1, rope_parameters=rope()),
          gains=dict(embed=0.06, final_norm_mean=6.0), drop4=("tie_word_embeddings", "use_bidirectional_attention")),
        S("gemma2", conf(T.Gemma2Config, **GEMMA, num_hidden_layers=3, head_dim=16, query_pre_attn_scalar=24,
                         sliding_window=16, attn_logit_softcapping=4.0, final_logit_softcapping=10.0,
                         rope_parameters=rope()), "v5", gains=dict(embed=0.06, final_norm_mean=7.0, qk=2.0),
          drop4=("tie_word_embeddings", "use_bidirectional_attention")),
        S("gemma3", conf(T.Gemma3TextConfig, **GEMMA, rms_norm_eps=1e-2, num_hidden_layers=4, head_dim=16, query_pre_attn_scalar=24,
                         sliding_window=12, sliding_window_pattern=3, rope_parameters=dict(
                             full_attention=rope(1e6, "linear", factor=8.0), sliding_attention=rope(10000.0))),
          gains=dict(embed=0.06, final_norm_mean=6.0),
          drop4=("tie_word_embeddings", "use_bidirectional_attention", "_sliding_window_pattern"),
          set4=dict(sliding_window_pattern=3)),
        S("phi", conf(T.PhiConfig, layer_norm_eps=1e-3, num_key_value_heads=4, rope_parameters=rope(partial_rotary_factor=0.5)),
          gains=UNGATED, set4=dict(num_key_value_heads=None), drop4=no_hd),
        S("phi3", conf(T.Phi3Config, pad_token_id=0, sliding_window=20, original_max_position_embeddings=256,
                       rope_parameters=rope()), drop4=("head_dim", "partial_rotary_factor")),
        S("phi3-longrope", conf(T.Phi3Config, pad_token_id=0, max_position_embeddings=160,
                                original_max_position_embeddings=40,
                                rope_parameters=rope(10000.0, "longrope", short_factor=SHORT, long_factor=LONG)),
          type_key="type", n_cross=24, drop4=("head_dim", "partial_rotary_factor")),
        S("phi3-partial", conf(T.Phi3Config, pad_token_id=0, num_attention_heads=2, num_key_value_heads=1,
                               tie_word_embeddings=True, original_max_position_embeddings=256,
                               rope_parameters=rope(partial_rotary_factor=0.75)), "v5"),
        S("smollm3", conf(T.SmolLM3Config, pad_token_id=0, num_hidden_layers=4, no_rope_layer_interval=2,
                          rope_parameters=rope(50000.0)), "v5"),
        S("olmo2", conf(T.Olmo2Config, rms_norm_eps=1e-3, pad_token_id=0, rope_parameters=rope(500000.0)), drop4=no_hd),
        S("granite", conf(T.GraniteConfig, embedding_multiplier=12.0, residual_multiplier=0.3,
                          attention_multiplier=0.15, logits_scaling=4.0, tie_word_embeddings=True,
                          rms_norm_eps=1e-3, rope_parameters=rope()), "v5",
          gains=dict(embed=0.04, final_norm_mean=30.0, o=4.0, down=5.0)),
        S("mixtral", conf(T.MixtralConfig, intermediate_size=48, num_local_experts=4, num_experts_per_tok=2,
                          rope_parameters=rope(1e6)), set4=dict(head_dim=None)),
        S("qwen3-moe", conf(T.Qwen3MoeConfig, head_dim=16, num_experts=8, num_experts_per_tok=2,
                            moe_intermediate_size=24, norm_topk_prob=True, rope_parameters=rope(1e6)), "v5"),
        S("starcoder2", conf(T.Starcoder2Config, norm_epsilon=1e-3, sliding_window=20, rope_parameters=rope(100000.0)), "v5",
          gains=UNGATED),
        S("stablelm", conf(T.StableLmConfig, layer_norm_eps=1e-3, num_key_value_heads=4, use_qkv_bias=True,
                           rope_parameters=rope(partial_rotary_factor=0.25)), drop4=no_hd),
        S("gpt2", gpt2_config(), post=gpt2_hub, gains=UNGATED, drop4=("tie_word_embeddings",)),
        S("gpt2-prefixed", gpt2_config(n_inner=160, layer_norm_epsilon=1e-3), "v5", gains=UNGATED),
        S("llama-q", llama(hidden_size=256, intermediate_size=512, vocab_size=512, num_attention_heads=4,
                           num_key_value_heads=2, tie_word_embeddings=True), drop4=no_hd,
          gains=dict(embed=0.15)),
    ]


def gpt2_config(**kw):
    return T.GPT2Config(vocab_size=288, n_positions=96, n_embd=64, n_layer=2, n_head=4, bos_token_id=1,
                        eos_token_id=2, **kw)


def main(specs, out, about):
    ap = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("names", nargs="*", metavar="NAME", help="only these models")
    ap.add_argument("-o", "--out", type=Path, default=out, help="folder of the models (default: in tests/data)")
    ap.add_argument("--verify", action="store_true", help="compare every folder with its golden; exit 1 on a difference")
    ap.add_argument("--sensitivity", action="store_true", help="print how far the logits move when one feature is wrong")
    ap.add_argument("--list", action="store_true", help="print the names")
    a = ap.parse_args()
    unknown = set(a.names) - {s.name for s in specs}
    if unknown:
        ap.error(f"no such model: {' '.join(sorted(unknown))}")
    if a.names:
        specs = [s for s in specs if s.name in a.names]
    if a.list:
        print("\n".join(s.name for s in specs))
    elif a.verify:
        sys.exit(0 if verify(specs, a.out) else 1)
    elif a.sensitivity:
        sensitivity(specs, a.out)
    else:
        for s in specs:
            make(s, a.out)


if __name__ == "__main__":
    main(models(), DATA / "models", __doc__)
