/* Phi 1, 1.5 and 2: LayerNorm with biases, and biases on all matrices, the head's too.
 * Attention and FFN read the same normed input; the residual gets the sum of both outputs.
 * The FFN is down(gelu(up)) without a gate. Half of each head's dimensions are rotated.
 *
 * Keys and defaults: transformers' models/phi/configuration_phi.py.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "spec/family_parts.h"

static const struct family_names names = {
    .prefix = "model.",
    .embed = "embed_tokens",
    .final_norm = "final_layernorm",
    .head = "lm_head",
    .ignored = family_no_weights,
    .attn_norm = "layers.#.input_layernorm",
    .q = "layers.#.self_attn.q_proj",
    .k = "layers.#.self_attn.k_proj",
    .v = "layers.#.self_attn.v_proj",
    .q_norm = "layers.#.self_attn.q_layernorm",
    .k_norm = "layers.#.self_attn.k_layernorm",
    .o = "layers.#.self_attn.dense",
    .up = "layers.#.mlp.fc1",
    .down = "layers.#.mlp.fc2",
};

const struct family family_phi = {
    .model_type = "phi",
    .sizes = {.vocab_size = 51200,
              .hidden_dim = 2048,
              .ffn_dim = 8192,
              .n_layers = 24,
              .n_heads = 32,
              .max_pos = 2048},
    .ends = {.bos = 1, .eos = 2},
    .names = &names,
    .keys = {family_rotary_keys, family_partial_rotary_keys, family_layer_norm_keys},
    .base = {.spec = {.norm = NORM_LAYER,
                      .norm_eps = 1e-5f,
                      .parallel = true,
                      .act = ACT_GELU_TANH,
                      .ungated = true,
                      .qkv_bias = true,
                      .o_bias = true,
                      .ffn_bias = true,
                      .head_bias = true},
             .theta = 1e4,
             .partial = 0.5},
};
