/* Gemma 1 is Llama with four differences. Embeddings are multiplied by sqrt(hidden_dim).
 * Norm weights are stored minus 1. The activation is gelu in its tanh form. The head is the
 * embedding.
 *
 * The first published configs say "gelu" in hidden_act and mean the tanh form.
 * Keys and defaults: transformers' models/gemma/configuration_gemma.py.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "spec/family_parts.h"

static const struct key act_keys[] = {
    {"hidden_act", KEY_ACT, SPEC_AT(act), 0},
    {"hidden_activation", KEY_OTHER, 0, 0}, // not read any more
    {"use_bidirectional_attention", KEY_ONLY_FALSE, 0, 0},
    {NULL, KEY_OTHER, 0, 0},
};

const struct family family_gemma = {
    .model_type = "gemma",
    .sizes = {.vocab_size = 256000,
              .hidden_dim = 3072,
              .ffn_dim = 24576,
              .n_layers = 28,
              .n_heads = 16,
              .max_pos = 8192},
    .ends = {.bos = 2, .eos = 1},
    .names = &family_llama_names,
    .keys = {family_rotary_keys, family_rms_norm_keys, family_attention_bias_keys, act_keys},
    .base = {.spec = {.norm_eps = 1e-6f,
                      .norm_offset = 1,
                      .act = ACT_GELU_TANH,
                      .n_kv_heads = 16,
                      .head_dim = 256,
                      .tied = true},
             .theta = 1e4,
             .scale_embedding = true,
             .gelu_is_tanh = true},
};
