/* Granite 3 is Llama with four factors: on the embeddings, on what each block adds, on the scores
 * (in place of head_dim^-1/2), and a divisor of the logits.
 *
 * Keys and defaults: transformers' models/granite/configuration_granite.py.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "spec/family_parts.h"

static const struct key scale_keys[] = {
    {"embedding_multiplier", KEY_FLOAT, SPEC_AT(embed_scale), 0},
    {"residual_multiplier", KEY_FLOAT, SPEC_AT(residual_scale), 0},
    {"attention_multiplier", KEY_FLOAT, SPEC_AT(attn_scale), 0},
    {"logits_scaling", KEY_FLOAT, SPEC_AT(logit_divisor), 0},
    {NULL, KEY_OTHER, 0, 0},
};

const struct family family_granite = {
    .model_type = "granite",
    .sizes = {.vocab_size = 32000,
              .hidden_dim = 4096,
              .ffn_dim = 11008,
              .n_layers = 32,
              .n_heads = 32,
              .max_pos = 2048},
    .ends = {.bos = 1, .eos = 2},
    .names = &family_llama_names,
    .keys = {family_rotary_keys, family_rms_norm_keys, family_attention_bias_keys,
             family_mlp_bias_keys, scale_keys},
    .base = {.spec = {.norm_eps = 1e-6f, .act = ACT_SILU, .attn_scale = 1}, .theta = 1e4},
};
