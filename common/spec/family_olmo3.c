/* OLMo 3 is OLMo 2 with a sliding window in three of four layers.
 * Only the layers without a window are rotated by rope_scaling's YaRN. The others have the default
 * rotation, with the same theta.
 *
 * Keys and defaults: transformers' models/olmo3/configuration_olmo3.py.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "spec/family_parts.h"

const struct family family_olmo3 = {
    .model_type = "olmo3",
    .sizes = {.vocab_size = 50304,
              .hidden_dim = 4096,
              .ffn_dim = 11008,
              .n_layers = 32,
              .n_heads = 32,
              .max_pos = 2048},
    .ends = {.bos = -1, .eos = 50279},
    .names = &family_olmo2_names,
    .keys = {family_rotary_keys, family_rms_norm_keys, family_attention_bias_keys,
             family_sliding_window_keys},
    .base = {.spec = {.norm_eps = 1e-5f,
                      .no_pre_norm = true,
                      .post_norm = true,
                      .qk_norm = QK_NORM_ALL,
                      .act = ACT_SILU},
             .theta = 5e5,
             .local_theta = 5e5,
             .window = 4096,
             .window_pattern = 4,
             .types_by_layer = true},
};
