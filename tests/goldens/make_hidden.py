#!/usr/bin/env python3
"""Adds hidden.safetensors to models of tests/data/models: ids I64 [12], and hidden F32 [12, n_layers + 1, hidden_size], which is
the reference's output_hidden_states (float32, eager). Without names: the models that have such a file.

    make_hidden.py [--verify] [NAME...]

SPDX-License-Identifier: AGPL-3.0-or-later"""
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file

MODELS = Path(__file__).parent.parent / "data/models"
N = 12


def hidden(folder, ids):
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    with torch.no_grad():
        states = model(ids[None], output_hidden_states=True).hidden_states
    return torch.stack([s[0] for s in states], dim=1)


def main(args):
    names = [a for a in args if a[0] != "-"] or sorted(p.parent.name for p in MODELS.glob("*/hidden.safetensors"))
    worst = 0.0
    for name in names:
        ids = load_file(MODELS / name / "golden.safetensors")["ids"][:N]
        got = hidden(MODELS / name, ids)
        if "--verify" in args:
            differs = (load_file(MODELS / name / "hidden.safetensors")["hidden"] - got).abs().max().item()
            print(f"{name}: {differs:.2g}")
            worst = max(worst, differs)
        else:
            meta = {"transformers": transformers.__version__, "torch": torch.__version__}
            save_file({"ids": ids, "hidden": got.contiguous()}, MODELS / name / "hidden.safetensors", metadata=meta)
    sys.exit(worst > 1e-4)


main(sys.argv[1:])
