/* Gemma 3's text model is Gemma 2 with an RMS norm on each head of q and k, in place of the cap on
 * scores. Five of six layers have a sliding window, and these have a rotation of their own
 * (rope_local_base_freq).
 *
 * EmbeddingGemma is the same with use_bidirectional_attention. The reference then halves the window
 * to count positions on both sides, and adds the position itself.
 *
 * Keys and defaults: transformers' models/gemma3/configuration_gemma3.py, Gemma3TextConfig.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "spec/family_parts.h"

static const struct key layer_keys[] = {
    {"rope_local_base_freq", KEY_REAL, CONFIG_AT(local_theta), 0},
    {"use_bidirectional_attention", KEY_TRUE, SPEC_AT(bidirectional), 0},
    {"sliding_window_pattern", KEY_OTHER, 0, 0},  // read by family_pattern_keys
    {"_sliding_window_pattern", KEY_OTHER, 0, 0}, // written by the reference, and not read
    {NULL, KEY_OTHER, 0, 0},
};

const struct family family_gemma3 = {
    .model_type = "gemma3_text",
    .sizes = {.vocab_size = 262208,
              .hidden_dim = 2304,
              .ffn_dim = 9216,
              .n_layers = 26,
              .n_heads = 8,
              .max_pos = 131072},
    .ends = {.bos = 2, .eos = 1},
    .names = &family_gemma2_names,
    .keys = {family_rotary_keys, family_rms_norm_keys, family_attention_bias_keys,
             family_gemma2_act_keys, family_sliding_window_keys, family_gemma2_scale_keys,
             layer_keys},
    .base = {.spec = {.norm_eps = 1e-6f,
                      .norm_offset = 1,
                      .post_norm = true,
                      .qk_norm = QK_NORM_HEAD,
                      .act = ACT_GELU_TANH,
                      .n_kv_heads = 4,
                      .head_dim = 256,
                      .tied = true},
             .theta = 1e6,
             .local_theta = 1e4,
             .window = 4096,
             .window_pattern = 6,
             .window_both_sides = true,
             .types_by_layer = true,
             .query_scalar = 256,
             .scale_embedding = true},
};
