/* Qwen 2 and 2.5 are Llama with biases on q, k and v, but not on o.
 * A sliding window counts only if use_sliding_window is true, and then from layer
 * max_window_layers on.
 *
 * Keys and defaults: transformers' models/qwen2/configuration_qwen2.py.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "spec/family_parts.h"

const struct family family_qwen2 = {
    .model_type = "qwen2",
    .sizes = {.vocab_size = 151936,
              .hidden_dim = 4096,
              .ffn_dim = 22016,
              .n_layers = 32,
              .n_heads = 32,
              .max_pos = 32768},
    .ends = {.bos = -1, .eos = -1},
    .names = &family_llama_names,
    .keys = {family_rotary_keys, family_rms_norm_keys, family_optional_window_keys},
    .base = {.spec = {.norm_eps = 1e-6f, .act = ACT_SILU, .n_kv_heads = 32, .qkv_bias = true},
             .theta = 1e4,
             .window = 4096,
             .no_window = true,
             .max_window_layers = 28,
             .has_max_window_layers = true,
             .types_by_layer = true},
};
