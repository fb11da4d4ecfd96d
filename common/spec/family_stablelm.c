/* StableLM is Llama with LayerNorm in place of RMS norm. A quarter of each head's dimensions are
 * rotated. Some models have biases on q, k and v, run attention and FFN on the same input, or norm
 * each head of q and k with weights of its own (StableLM 2 12B).
 *
 * Keys and defaults: transformers' models/stablelm/configuration_stablelm.py.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "spec/family_parts.h"

static const struct key own_keys[] = {
    {"use_qkv_bias", KEY_TRUE, SPEC_AT(qkv_bias), 0},
    {"use_parallel_residual", KEY_TRUE, SPEC_AT(parallel), 0},
    {NULL, KEY_OTHER, 0, 0},
};

static const struct family_names names = {
    NAMES_ENDS,
    NAMES_NORMS,
    NAMES_ATTENTION,
    NAMES_FFN,
    .q_norm = "layers.#.self_attn.q_layernorm.norms.@", // '@' is the head here
    .k_norm = "layers.#.self_attn.k_layernorm.norms.@",
};

const struct family family_stablelm = {
    .model_type = "stablelm",
    .sizes = {.vocab_size = 50304,
              .hidden_dim = 2560,
              .ffn_dim = 6912,
              .n_layers = 32,
              .n_heads = 32,
              .max_pos = 4096},
    .ends = {.bos = 0, .eos = 0},
    .names = &names,
    .keys = {family_rotary_keys, family_partial_rotary_keys, family_layer_norm_keys, own_keys},
    .base = {.spec = {.norm = NORM_LAYER, .norm_eps = 1e-5f, .act = ACT_SILU, .n_kv_heads = 32},
             .theta = 1e4,
             .partial = 0.25},
};
