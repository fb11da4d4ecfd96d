/* Mixtral is Mistral with 8 experts in place of each FFN. A row uses the 2 experts with the largest
 * router scores, weighted by the softmax over these two.
 *
 * Keys and defaults: transformers' models/mixtral/configuration_mixtral.py.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "spec/family_parts.h"

static const struct family_names names = {
    NAMES_ENDS,
    NAMES_NORMS,
    NAMES_ATTENTION,
    .moe = {"layers.#.block_sparse_moe", "layers.#.mlp"}, // the latter in transformers 5
    .router = "gate",
    .expert_gate = "experts.@.w1",
    .expert_up = "experts.@.w3",
    .expert_down = "experts.@.w2",
};

const struct family family_mixtral = {
    .model_type = "mixtral",
    .sizes = {.vocab_size = 32000,
              .hidden_dim = 4096,
              .ffn_dim = 14336,
              .n_layers = 32,
              .n_heads = 32,
              .max_pos = 131072},
    .ends = {.bos = 1, .eos = 2},
    .names = &names,
    .keys = {family_rotary_keys, family_rms_norm_keys, family_sliding_window_keys,
             family_experts_keys},
    .base = {.spec = {.norm_eps = 1e-5f,
                      .act = ACT_SILU,
                      .n_kv_heads = 8,
                      .n_experts = 8,
                      .n_experts_used = 2},
             .theta = 1e6},
};
