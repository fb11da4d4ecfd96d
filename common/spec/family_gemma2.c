/* Gemma 2 is Gemma with a second norm after attention and after the FFN.
 * Every second layer has a sliding window. Scores and logits are soft-capped. Scores are scaled by
 * query_pre_attn_scalar^-1/2 instead of head_dim^-1/2.
 *
 * Keys and defaults: transformers' models/gemma2/configuration_gemma2.py.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "spec/family_parts.h"

static const struct key softcap_keys[] = {
    {"attn_logit_softcapping", KEY_FLOAT, SPEC_AT(attn_softcap), 0},
    {"use_bidirectional_attention", KEY_ONLY_FALSE, 0, 0},
    {NULL, KEY_OTHER, 0, 0},
};

const struct family family_gemma2 = {
    .model_type = "gemma2",
    .sizes = {.vocab_size = 256000,
              .hidden_dim = 2304,
              .ffn_dim = 9216,
              .n_layers = 26,
              .n_heads = 8,
              .max_pos = 8192},
    .ends = {.bos = 2, .eos = 1},
    .names = &family_gemma2_names,
    .keys = {family_rotary_keys, family_rms_norm_keys, family_attention_bias_keys,
             family_gemma2_act_keys, family_sliding_window_keys, family_gemma2_scale_keys,
             softcap_keys},
    .base = {.spec = {.norm_eps = 1e-6f,
                      .norm_offset = 1,
                      .post_norm = true,
                      .act = ACT_GELU_TANH,
                      .n_kv_heads = 4,
                      .head_dim = 256,
                      .tied = true,
                      .attn_softcap = 50,
                      .logit_softcap = 30},
             .theta = 1e4,
             .window = 4096,
             .window_pattern = 2,
             .types_by_layer = true,
             .query_scalar = 256,
             .scale_embedding = true},
};
