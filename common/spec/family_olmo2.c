/* OLMo 2 is Llama with the norms moved: attention and FFN read the residual as it is, and their
 * outputs are normed before they are added. q and k have an RMS norm over all heads of a row at
 * once.
 *
 * Keys and defaults: transformers' models/olmo2/configuration_olmo2.py.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "spec/family_parts.h"

const struct family family_olmo2 = {
    .model_type = "olmo2",
    .sizes = {.vocab_size = 50304,
              .hidden_dim = 4096,
              .ffn_dim = 11008,
              .n_layers = 32,
              .n_heads = 32,
              .max_pos = 2048},
    .ends = {.bos = -1, .eos = 50279},
    .names = &family_olmo2_names,
    .keys = {family_rotary_keys, family_rms_norm_keys, family_attention_bias_keys},
    .base = {.spec = {.norm_eps = 1e-5f,
                      .no_pre_norm = true,
                      .post_norm = true,
                      .qk_norm = QK_NORM_ALL,
                      .act = ACT_SILU},
             .theta = 1e4},
};
