#!/usr/bin/env python3
"""Makes tests/data/embed: tiny random embedding models, one of each family, as sentence-transformers saves them, and the
vectors that it computes.

    venv/bin/pip install sentence-transformers==6.2.0 -r tests/goldens/requirements.txt
    venv/bin/python tests/goldens/make_embed.py [-o OUT] [NAME...]

A folder has config.json, model.safetensors, modules.json and the folders of its steps, `ids` (tokens(5) without a header)
and golden.safetensors: `vectors` F32 [lines of ids, dimension], the vectors of SentenceTransformer on those ids in float32,
and `hidden` F32 [ids of the first line, hidden size]. There is no tokenizer: the ids are the input. The longest line has
more than a page of keys (64), and more than a window.

Weights are drawn so that attention, positions and each bias matter: see `fill`.

SPDX-License-Identifier: AGPL-3.0-or-later"""
import argparse
import json
import pathlib
import random
import shutil
import tempfile
import zlib

import torch
import transformers as T
from safetensors import safe_open
from safetensors.torch import save_file
from sentence_transformers.base.modules import Dense, Normalize
from sentence_transformers.sentence_transformer.modules import Pooling

DATA = pathlib.Path(__file__).resolve().parent.parent / "data" / "embed"
SMALL = dict(vocab_size=71, hidden_size=36, intermediate_size=50, num_hidden_layers=3, num_attention_heads=3)
LENGTHS = (6, 1, 2, 17, 64, 65, 130, 33)


def fill(model, seed):
    """Normal weights: large enough for sharp attention; norms near 1, biases near 0."""
    g = torch.Generator().manual_seed(seed)
    for name, p in model.named_parameters():
        if "norm" in name.lower() or name.endswith("emb_ln.weight"):
            base, std = (1.0, 0.2) if name.endswith("weight") else (0.0, 0.2)
            if "gemma" in type(model).__name__.lower() and name.endswith("weight"):
                base = 0.0
        elif name.endswith("bias"):
            base, std = 0.0, 0.2
        elif "embed" in name:
            base, std = 0.0, 0.5
        else:
            base, std = 0.0, 1.6 / p.shape[-1]**0.5
        with torch.no_grad():
            p.copy_(base + std * torch.randn(p.shape, generator=g))
            p.copy_(p.to(torch.bfloat16).float())


def rope(theta):
    return dict(rope_type="default", rope_theta=theta)


def models():
    """name: (config, pooling, steps, dtype, changes of the config.json that is written)"""
    return {
        "bert": (T.BertConfig(**SMALL, max_position_embeddings=140, hidden_act="gelu"), "mean", ["normalize"], "F32", {}),
        "xlm-roberta": (T.XLMRobertaConfig(**SMALL, max_position_embeddings=142, type_vocab_size=1, pad_token_id=1), "cls",
                        ["normalize"], "F16", {}),
        "modernbert": (T.ModernBertConfig(**{**SMALL, "num_hidden_layers": 4}, max_position_embeddings=160, local_attention=24,
                                          pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2,
                                          norm_bias=False, rope_parameters=dict(full_attention=rope(5000.0),
                                                                                sliding_attention=rope(300.0))),
                       "mean", ["normalize"], "BF16", {}),
        "nomic-bert": (T.NomicBertConfig(**SMALL, max_position_embeddings=160, rope_parameters=rope(1000.0)), "mean", [], "F32",
                       {}),
        "qwen3": (T.Qwen3Config(**SMALL, num_key_value_heads=1, head_dim=12, max_position_embeddings=256, tie_word_embeddings=True,
                                bos_token_id=1, eos_token_id=2, rope_parameters=rope(10000.0)),
                  "lasttoken", ["normalize"], "BF16", {}),
        "gemma3": (T.Gemma3TextConfig(**{**SMALL, "num_hidden_layers": 6}, num_key_value_heads=1, head_dim=12,
                                      query_pre_attn_scalar=12, max_position_embeddings=160, sliding_window=20,
                                      use_bidirectional_attention=True, hidden_activation="gelu_pytorch_tanh", pad_token_id=0,
                                      bos_token_id=1, eos_token_id=2,
                                      rope_parameters=dict(full_attention=rope(1e5), sliding_attention=rope(2000.0))),
                   "mean", [(60, torch.nn.Identity(), False), (24, torch.nn.Tanh(), True), "normalize"], "F32", {}),
        # All poolings at once, and BERT with relu and a bias of each kind.
        "pools": (T.BertConfig(**{**SMALL, "num_hidden_layers": 1}, max_position_embeddings=140, hidden_act="relu"),
                  ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"), [], "F32", {}),
    }


def ids_of(config, rng):
    return [[rng.randrange(3, config.vocab_size) for _ in range(n)] for n in LENGTHS]


def make(name, out):
    config, pooling, steps, dtype, changes = models()[name]
    seed = zlib.crc32(name.encode())
    rng = random.Random(seed)
    torch.manual_seed(seed)
    config._attn_implementation = "eager"
    model = T.AutoModel.from_config(config).eval().float()
    fill(model, seed)
    folder = out / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    modules = [Pooling(config.hidden_size, pooling)]
    dim = modules[0].pooling_output_dimension
    for s in steps:
        if s == "normalize":
            modules.append(Normalize())
        else:
            modules.append(Dense(dim, s[0], bias=s[2], activation_function=s[1]))
            fill(modules[-1], seed + len(modules))
            dim = s[0]
    save(model, config, modules, folder, dtype, changes)
    lines = ids_of(config, rng)
    vectors = []
    with torch.no_grad():
        for ids in lines:
            t = torch.tensor([ids])
            mask = torch.ones_like(t)
            hidden = model(input_ids=t, attention_mask=mask).last_hidden_state
            if not vectors:
                first = hidden[0].clone()
            f = {"token_embeddings": hidden, "attention_mask": mask}
            for m in modules:
                f = m(f)
            vectors.append(f["sentence_embedding"][0])
    v = torch.stack(vectors).contiguous()
    assert torch.isfinite(v).all()
    save_file({"vectors": v, "hidden": first}, folder / "golden.safetensors",
              metadata={"torch": torch.__version__, "transformers": T.__version__, "seed": str(seed)})
    (folder / "ids").write_text("".join(" ".join(map(str, i)) + "\n" for i in lines))
    size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    cos = torch.nn.functional.normalize(v, dim=1)
    off = (cos @ cos.T - 2 * torch.eye(len(v))).max()
    print(f"{name}: {size} bytes, dimension {v.shape[1]}, largest cosine of two lines {off:.3f}")
    assert size < 300_000


def save(model, config, modules, folder, dtype, changes):
    """The folder as sentence-transformers has it; weights in dtype, under the names of published files."""
    with tempfile.TemporaryDirectory() as d:
        model.save_pretrained(d)
        with safe_open(pathlib.Path(d) / "model.safetensors", "pt") as f:
            kind = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}[dtype]
            tensors = {k: f.get_tensor(k).to(kind).contiguous() for k in f.keys()}
        for k, v in tensors.items():
            assert torch.isfinite(v).all() and v.numel() > 0, k
        text = json.loads((pathlib.Path(d) / "config.json").read_text())
    text.update(changes)
    (folder / "config.json").write_text(json.dumps(text, indent=1, sort_keys=True) + "\n")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    listed = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]
    for i, m in enumerate(modules, 1):
        kind = type(m).__name__
        listed.append({"idx": i, "name": str(i), "path": f"{i}_{kind}", "type": f"sentence_transformers.models.{kind}"})
        if kind != "Normalize":
            sub = folder / f"{i}_{kind}"
            sub.mkdir()
            m.save(str(sub))
    (folder / "modules.json").write_text(json.dumps(listed, indent=1) + "\n")


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("-o", metavar="OUT", type=pathlib.Path, default=DATA)
    p.add_argument("names", nargs="*", metavar="NAME")
    a = p.parse_args()
    torch.set_num_threads(1)
    for name in a.names or models():
        make(name, a.o)


if __name__ == "__main__":
    main()
