/* Qwen 3 is Qwen 2 without biases, but with an RMS norm on each head of q and k.
 * head_dim is 128, whatever hidden_size and the number of heads are.
 *
 * Keys and defaults: transformers' models/qwen3/configuration_qwen3.py.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "spec/family_parts.h"

static const struct family_names names = {NAMES_ENDS, NAMES_NORMS, NAMES_ATTENTION, NAMES_QK_NORM,
                                          NAMES_FFN};

const struct family family_qwen3 = {
    .model_type = "qwen3",
    .sizes = {.vocab_size = 151936,
              .hidden_dim = 4096,
              .ffn_dim = 22016,
              .n_layers = 32,
              .n_heads = 32,
              .max_pos = 32768},
    .ends = {.bos = -1, .eos = -1},
    .names = &names,
    .keys = {family_rotary_keys, family_rms_norm_keys, family_optional_window_keys,
             family_attention_bias_keys},
    .base = {.spec = {.norm_eps = 1e-6f,
                      .act = ACT_SILU,
                      .n_kv_heads = 32,
                      .head_dim = 128,
                      .qk_norm = QK_NORM_HEAD},
             .theta = 1e4,
             .window = 4096,
             .no_window = true,
             .max_window_layers = 28,
             .has_max_window_layers = true,
             .types_by_layer = true},
};
