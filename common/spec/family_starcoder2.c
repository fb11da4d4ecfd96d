/* StarCoder 2 is Mistral with LayerNorm and biases on all of a layer's matrices.
 * The FFN is down(gelu(up)) without a gate, in the tanh form. The head is the embedding.
 *
 * Keys and defaults: transformers' models/starcoder2/configuration_starcoder2.py.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "spec/family_parts.h"

static const struct key own_keys[] = {
    {"norm_epsilon", KEY_EPS, SPEC_AT(norm_eps), 0},
    {"use_bias", KEY_TRUE, SPEC_AT(qkv_bias), 0},
    {"use_bias", KEY_TRUE, SPEC_AT(o_bias), 0},
    {"use_bias", KEY_TRUE, SPEC_AT(ffn_bias), 0},
    {"mlp_type", KEY_OTHER, 0, 0},
    {"norm_type", KEY_OTHER, 0, 0},
    {NULL, KEY_OTHER, 0, 0},
};

static const struct family_names names = {
    NAMES_ENDS,
    NAMES_NORMS,
    NAMES_ATTENTION,
    .up = "layers.#.mlp.c_fc",
    .down = "layers.#.mlp.c_proj",
};

const struct family family_starcoder2 = {
    .model_type = "starcoder2",
    .sizes = {.vocab_size = 49152,
              .hidden_dim = 3072,
              .ffn_dim = 12288,
              .n_layers = 30,
              .n_heads = 24,
              .max_pos = 4096},
    .ends = {.bos = 50256, .eos = 50256},
    .names = &names,
    .keys = {family_rotary_keys, family_sliding_window_keys, own_keys},
    .base = {.spec = {.norm = NORM_LAYER,
                      .norm_eps = 1e-5f,
                      .n_kv_heads = 2,
                      .act = ACT_GELU_TANH,
                      .ungated = true,
                      .qkv_bias = true,
                      .o_bias = true,
                      .ffn_bias = true,
                      .tied = true},
             .theta = 1e4},
};
