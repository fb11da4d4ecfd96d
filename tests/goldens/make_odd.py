#!/usr/bin/env python3
"""Makes the models of tests/data/models-odd: tiny, with dimensions that are no multiple of what kernels like, each with a
feature that the models of make_models.py lack. Options and the form of each folder are those of make_models.py.

To add a family, add a row to models() below, run `make_odd.py NAME`, and test it: README.md has the steps.

SPDX-License-Identifier: AGPL-3.0-or-later"""
import make_models as M
from make_models import F32, GEMMA, Spec, T, rope

BASE = dict(vocab_size=67, hidden_size=36, intermediate_size=29, num_hidden_layers=2, num_attention_heads=6,
            num_key_value_heads=3, max_position_embeddings=256, bos_token_id=1, eos_token_id=2)
SHORT, LONG = [1.0, 1.1, 1.4], [1.0, 1.3, 2.7]
YARN = dict(factor=3.0, original_max_position_embeddings=48)
# The seeds of the folders that are in the tree, whose greedy ids are less varied. A new model needs no line here: the
# search for its seed begins with one made from its name.
SEEDS = {
    "gemma3": 1289076384, "gpt2-relu": 143875936, "llama-longrope": 194651549, "llama-yarn": 2037367529,
    "llama-yarn2": 889043845, "llama3": 1641321386, "mixtral": 5376389, "olmo3": 747115440, "phi-qk": 2048694578,
    "phi3-long": 1592246877, "qwen2-win": 2114414436, "qwen3-moe": 324933244, "qwen3": 1665698356,
    "smollm3-list": 513404294, "smollm3": 714479089, "stablelm-qk": 1018009840, "starcoder2": 18384032,
}


def conf(cls, **kw):
    return cls(**{**BASE, "rope_parameters": rope(), **kw})


def models():
    S = Spec
    return [
        S("gemma3", conf(T.Gemma3TextConfig, **GEMMA, num_hidden_layers=7, head_dim=6, query_pre_attn_scalar=7, sliding_window=8,
                         rope_parameters=dict(full_attention=rope(1e6), sliding_attention=rope(5000.0))), "v5",
          drop4=("_sliding_window_pattern",)),
        S("gpt2-relu", T.GPT2Config(vocab_size=67, n_positions=90, n_embd=36, n_layer=3, n_head=3, bos_token_id=1, eos_token_id=2,
                                    activation_function="relu", scale_attn_by_inverse_layer_idx=True,
                                    tie_word_embeddings=False), "v5"),
        S("llama-longrope", conf(T.LlamaConfig, rope_parameters=rope(
            10000.0, "longrope", factor=4.0, original_max_position_embeddings=30, short_factor=SHORT, long_factor=LONG)), "v5"),
        S("llama-yarn", conf(T.LlamaConfig, head_dim=12, rope_parameters=rope(
            20000.0, "yarn", beta_fast=16.0, beta_slow=2.0, mscale=1.2, mscale_all_dim=0.8, **YARN)), "v5"),
        S("llama-yarn2", conf(T.LlamaConfig, head_dim=12, rope_parameters=rope(
            20000.0, "yarn", truncate=False, attention_factor=0.9, **YARN))),
        S("llama3", conf(T.LlamaConfig, tie_word_embeddings=True, rope_parameters=rope(
            500.0, "llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=3.0, original_max_position_embeddings=40)),
          dtype=F32),
        S("mixtral", conf(T.MixtralConfig, intermediate_size=37, num_local_experts=5, num_experts_per_tok=3, sliding_window=13,
                          rope_parameters=rope(1e6)), "v5"),
        S("olmo3", conf(T.Olmo3Config, num_hidden_layers=5, pad_token_id=0, sliding_window=9, rope_parameters=dict(
            full_attention=rope(5e5, "yarn", factor=4.0, original_max_position_embeddings=64), sliding_attention=rope(5e5)),
            layer_types=["sliding_attention"] * 3 + ["full_attention", "sliding_attention"]), "v5"),
        S("phi-qk", conf(T.PhiConfig, qk_layernorm=True, rope_parameters=rope(partial_rotary_factor=0.7)), "v5"),
        S("phi3-long", conf(T.Phi3Config, pad_token_id=0, original_max_position_embeddings=60, rope_parameters=rope(
            10000.0, "longrope", short_factor=SHORT, long_factor=LONG)), "v5", n_cross=45, cached_differs=True),
        S("qwen2-win", conf(T.Qwen2Config, num_hidden_layers=4, use_sliding_window=True, sliding_window=9, max_window_layers=2,
                            rope_parameters=rope(1e6)), "v5"),
        S("qwen3", conf(T.Qwen3Config, num_hidden_layers=3, head_dim=6, attention_bias=True, use_sliding_window=True,
                        sliding_window=5, max_window_layers=1, tie_word_embeddings=True, rope_parameters=rope(1e6))),
        S("qwen3-moe", conf(T.Qwen3MoeConfig, num_hidden_layers=5, head_dim=6, attention_bias=True, use_sliding_window=True,
                            sliding_window=9, mlp_only_layers=[3], decoder_sparse_step=2, num_experts=7, num_experts_per_tok=3,
                            moe_intermediate_size=19, norm_topk_prob=False, rope_parameters=rope(1e6))),
        S("smollm3", conf(T.SmolLM3Config, num_hidden_layers=5, pad_token_id=0, attention_bias=True, mlp_bias=True,
                          tie_word_embeddings=True, use_sliding_window=True, sliding_window=6, no_rope_layer_interval=3,
                          rope_parameters=rope(50000.0)), "v5"),
        S("smollm3-list", conf(T.SmolLM3Config, num_hidden_layers=4, pad_token_id=0, tie_word_embeddings=False,
                               no_rope_layers=[0, 1, 1, 0], rope_parameters=rope(50000.0))),
        S("starcoder2", conf(T.Starcoder2Config, use_bias=False, tie_word_embeddings=False, sliding_window=None,
                             rope_parameters=rope(100000.0))),
        S("stablelm-qk", conf(T.StableLmConfig, num_attention_heads=3, qk_layernorm=True, use_parallel_residual=True,
                              rope_parameters=rope(partial_rotary_factor=0.5))),
    ]


if __name__ == "__main__":
    specs = models()
    for spec in specs:
        spec.seed = SEEDS.get(spec.name, 0)
        spec.varied, spec.generation = spec.seed == 0, False
    M.main(specs, M.DATA / "models-odd", __doc__)
