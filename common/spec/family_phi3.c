/* Phi 3, 3.5 and 4 are Llama with one matrix for q, k, v and one for gate and up.
 * Long contexts use longrope, whose original_max_position_embeddings is a top-level key.
 * A sliding window applies to every layer. Phi 4 mini rotates a part of each head.
 *
 * Keys and defaults: transformers' models/phi3/configuration_phi3.py.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "spec/family_parts.h"

static const struct family_names names = {
    NAMES_ENDS,
    NAMES_NORMS,
    .qkv = "layers.#.self_attn.qkv_proj",
    .o = "layers.#.self_attn.o_proj",
    .gate_up = "layers.#.mlp.gate_up_proj",
    .down = "layers.#.mlp.down_proj",
};

const struct family family_phi3 = {
    .model_type = "phi3",
    .sizes = {.vocab_size = 32064,
              .hidden_dim = 3072,
              .ffn_dim = 8192,
              .n_layers = 32,
              .n_heads = 32,
              .max_pos = 4096},
    .ends = {.bos = 1, .eos = 32000},
    .names = &names,
    .keys = {family_rotary_keys, family_partial_rotary_keys, family_rms_norm_keys,
             family_sliding_window_keys},
    .base = {.spec = {.norm_eps = 1e-5f, .act = ACT_SILU, .fused_qkv = true, .fused_gate = true},
             .theta = 1e4,
             .partial = 1,
             .original_max_pos = 4096},
};
