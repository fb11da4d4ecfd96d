/* Mistral is Llama with a sliding window on every layer (null in later models: no window).
 * It has 8 KV heads unless config.json says otherwise, and no biases.
 *
 * Keys and defaults: transformers' models/mistral/configuration_mistral.py.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "spec/family_parts.h"

const struct family family_mistral = {
    .model_type = "mistral",
    .sizes = {.vocab_size = 32000,
              .hidden_dim = 4096,
              .ffn_dim = 14336,
              .n_layers = 32,
              .n_heads = 32,
              .max_pos = 131072},
    .ends = {.bos = 1, .eos = 2},
    .names = &family_llama_names,
    .keys = {family_rotary_keys, family_rms_norm_keys, family_sliding_window_keys},
    .base = {.spec = {.norm_eps = 1e-6f, .act = ACT_SILU, .n_kv_heads = 8},
             .theta = 1e4,
             .window = 4096},
};
