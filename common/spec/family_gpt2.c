/* GPT-2: learned position embeddings in place of rotation, LayerNorm, biases on all of a layer's
 * matrices, one matrix for q, k, v, and the FFN down(gelu(up)) without a gate.
 * Matrices are stored [n_in, n_out], because the reference uses Conv1D. The head is the embedding.
 *
 * An ffn_dim of 0 (n_inner null or missing) means 4 * hidden_dim.
 * Keys and defaults: transformers' models/gpt2/configuration_gpt2.py.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "spec/family_parts.h"

static const struct key own_keys[] = {
    {"n_embd", KEY_SIZE, SPEC_AT(hidden_dim), SPEC_MAX_DIM},
    {"n_layer", KEY_SIZE, SPEC_AT(n_layers), SPEC_MAX_LAYERS},
    {"n_head", KEY_SIZE, SPEC_AT(n_heads), SPEC_MAX_HEADS},
    {"n_inner", KEY_SIZE, SPEC_AT(ffn_dim), SPEC_MAX_DIM},
    {"n_positions", KEY_SIZE, SPEC_AT(max_pos), SPEC_MAX_CONTEXT},
    {"activation_function", KEY_ACT, SPEC_AT(act), 0},
    {"layer_norm_epsilon", KEY_EPS, SPEC_AT(norm_eps), 0},
    {"scale_attn_weights", KEY_FALSE, CONFIG_AT(unscaled), 0},
    {"add_cross_attention", KEY_ONLY_FALSE, 0, 0},
    {"scale_attn_by_inverse_layer_idx", KEY_TRUE, SPEC_AT(attn_scale_by_layer), 0},
    {"n_ctx", KEY_OTHER, 0, 0},
    {"reorder_and_upcast_attn", KEY_OTHER, 0, 0},
    {"summary_activation", KEY_OTHER, 0, 0},
    {"summary_first_dropout", KEY_OTHER, 0, 0},
    {"summary_proj_to_labels", KEY_OTHER, 0, 0},
    {"summary_type", KEY_OTHER, 0, 0},
    {"summary_use_proj", KEY_OTHER, 0, 0},
    {NULL, KEY_OTHER, 0, 0},
};

static const struct family_names names = {
    .prefix = "transformer.",
    .embed = "wte",
    .positions = "wpe",
    .final_norm = "ln_f",
    .head = "lm_head",
    .ignored = family_no_weights,
    .attn_norm = "h.#.ln_1",
    .ffn_norm = "h.#.ln_2",
    .qkv = "h.#.attn.c_attn",
    .o = "h.#.attn.c_proj",
    .up = "h.#.mlp.c_fc",
    .down = "h.#.mlp.c_proj",
};

const struct family family_gpt2 = {
    .model_type = "gpt2",
    .sizes = {.vocab_size = 50257,
              .hidden_dim = 768,
              .ffn_dim = 0,
              .n_layers = 12,
              .n_heads = 12,
              .max_pos = 1024},
    .ends = {.bos = 50256, .eos = 50256},
    .names = &names,
    .keys = {own_keys},
    .base = {.spec = {.norm = NORM_LAYER,
                      .norm_eps = 1e-5f,
                      .act = ACT_GELU_TANH,
                      .learned_pos = true,
                      .fused_qkv = true,
                      .transposed = true,
                      .ungated = true,
                      .qkv_bias = true,
                      .o_bias = true,
                      .ffn_bias = true,
                      .tied = true}},
};
