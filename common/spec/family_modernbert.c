/* ModernBERT: an encoder with rotation, norms before each block, an FFN with a gate in one matrix
 * (GeGLU), and LayerNorms without biases. Embeddings are normed, so layer 0 has no norm before
 * attention. Two of three layers see a window of local_attention positions, half of it on each
 * side, and have a rotation of their own.
 *
 * Keys and defaults: transformers' models/modernbert/configuration_modernbert.py.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "spec/family_parts.h"

static const struct key own_keys[] = {
    {"hidden_activation", KEY_ACT, SPEC_AT(act), 0},
    {"hidden_act", KEY_OTHER, 0, 0},
    {"norm_eps", KEY_EPS, SPEC_AT(norm_eps), 0},
    {"norm_bias", KEY_FALSE, SPEC_AT(no_norm_bias), 0},
    {"local_attention", KEY_SIZE, CONFIG_AT(window), SPEC_MAX_CONTEXT},
    {"global_attn_every_n_layers", KEY_SIZE, CONFIG_AT(window_pattern), SPEC_MAX_LAYERS},
    {"global_rope_theta", KEY_REAL, CONFIG_AT(theta), 0},
    {"local_rope_theta", KEY_REAL, CONFIG_AT(local_theta), 0},
    {"rope_scaling", KEY_OTHER, 0, 0},
    {"rope_parameters", KEY_OTHER, 0, 0},
    {NULL, KEY_OTHER, 0, 0},
};

/* Of heads, training and flash attention: no effect on hidden states. */
static const struct key other_keys[] = {
    {"layer_norm_eps", KEY_OTHER, 0, 0},
    {"position_embedding_type", KEY_OTHER, 0, 0},
    {"cls_token_id", KEY_OTHER, 0, 0},
    {"sep_token_id", KEY_OTHER, 0, 0},
    {"classifier_activation", KEY_OTHER, 0, 0},
    {"classifier_bias", KEY_OTHER, 0, 0},
    {"classifier_dropout", KEY_OTHER, 0, 0},
    {"classifier_pooling", KEY_OTHER, 0, 0},
    {"decoder_bias", KEY_OTHER, 0, 0},
    {"deterministic_flash_attn", KEY_OTHER, 0, 0},
    {"initializer_cutoff_factor", KEY_OTHER, 0, 0},
    {"mlp_dropout", KEY_OTHER, 0, 0},
    {"reference_compile", KEY_OTHER, 0, 0},
    {"repad_logits_with_grad", KEY_OTHER, 0, 0},
    {"sparse_pred_ignore_index", KEY_OTHER, 0, 0},
    {"sparse_prediction", KEY_OTHER, 0, 0},
    {"is_causal", KEY_ONLY_FALSE, 0, 0},
    {NULL, KEY_OTHER, 0, 0},
};

static const struct family_names names = {
    .prefix = "model.",
    .embed = "embeddings.tok_embeddings",
    .embed_norm = "embeddings.norm",
    .final_norm = "final_norm",
    .ignored = family_no_embedding,
    .attn_norm = "layers.#.attn_norm",
    .qkv = "layers.#.attn.Wqkv",
    .o = "layers.#.attn.Wo",
    .ffn_norm = "layers.#.mlp_norm",
    .gate_up = "layers.#.mlp.Wi",
    .down = "layers.#.mlp.Wo",
};

const struct family family_modernbert = {
    .model_type = "modernbert",
    .sizes = {.vocab_size = 50368,
              .hidden_dim = 768,
              .ffn_dim = 1152,
              .n_layers = 22,
              .n_heads = 12,
              .max_pos = 8192},
    .ends = {.bos = 50281, .eos = 50282},
    .names = &names,
    .keys = {own_keys, other_keys, family_attention_bias_keys, family_mlp_bias_keys},
    .base = {.spec = {.norm = NORM_LAYER,
                      .norm_eps = 1e-5f,
                      .no_norm_bias = true,
                      .act = ACT_GELU_ERF,
                      .bidirectional = true,
                      .no_head = true,
                      .embed_norm = true,
                      .no_first_norm = true,
                      .fused_qkv = true,
                      .fused_gate = true},
             .theta = 160000,
             .local_theta = 1e4,
             .window = 128,
             .window_pattern = 3,
             .window_from_first = true,
             .window_both_sides = true,
             .types_by_layer = true},
};
