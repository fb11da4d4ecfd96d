/* Llama 1, 2 and 3, and the many models that copy it: the family that all others are described by.
 * Each layer is RMS norm, attention, add, RMS norm, silu(gate) * up, down, add.
 *
 * Keys and defaults: transformers' models/llama/configuration_llama.py.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "spec/family_parts.h"

const struct family family_llama = {
    .model_type = "llama",
    .sizes = {.vocab_size = 32000,
              .hidden_dim = 4096,
              .ffn_dim = 11008,
              .n_layers = 32,
              .n_heads = 32,
              .max_pos = 2048},
    .ends = {.bos = 1, .eos = 2},
    .names = &family_llama_names,
    .keys = {family_rotary_keys, family_rms_norm_keys, family_attention_bias_keys,
             family_mlp_bias_keys},
    .base = {.spec = {.norm_eps = 1e-6f, .act = ACT_SILU}, .theta = 1e4},
};
