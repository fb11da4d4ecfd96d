/* nomic-bert: BERT with rotation in place of position embeddings, a gated FFN with SiLU, and no
 * biases but those of its norms. Its q, k and v are one matrix.
 *
 * Two forms of config.json are read: that of transformers, and that of the first release, which
 * has GPT-2's names (n_embd) and switches. A switch that changes the model is refused. Sources:
 * transformers' models/nomic_bert/configuration_nomic_bert.py and conversion_mapping.py
 * ("nomic_bert", the names of tensors), and nomic-ai/nomic-bert-2048's configuration.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "spec/family_parts.h"

static const struct key first_keys[] = {
    {"n_embd", KEY_SIZE, SPEC_AT(hidden_dim), SPEC_MAX_DIM},
    {"n_layer", KEY_SIZE, SPEC_AT(n_layers), SPEC_MAX_LAYERS},
    {"n_head", KEY_SIZE, SPEC_AT(n_heads), SPEC_MAX_HEADS},
    {"n_inner", KEY_SIZE, SPEC_AT(ffn_dim), SPEC_MAX_DIM},
    {"n_positions", KEY_SIZE, SPEC_AT(max_pos), SPEC_MAX_CONTEXT},
    {"layer_norm_epsilon", KEY_EPS, SPEC_AT(norm_eps), 0},
    {"rotary_emb_base", KEY_REAL, CONFIG_AT(theta), 0},
    {"rotary_emb_fraction", KEY_ONLY_TRUE, 0, 0}, // 1
    {"rotary_emb_interleaved", KEY_ONLY_FALSE, 0, 0},
    {"rotary_emb_scale_base", KEY_ONLY_FALSE, 0, 0},
    {"rotary_scaling_factor", KEY_ONLY_FALSE, 0, 0},
    {"activation_function", KEY_ONLY_SWIGLU, 0, 0},
    {"prenorm", KEY_ONLY_FALSE, 0, 0},
    {"parallel_block", KEY_ONLY_FALSE, 0, 0},
    {"use_rms_norm", KEY_ONLY_FALSE, 0, 0},
    {"qkv_proj_bias", KEY_ONLY_FALSE, 0, 0},
    {"mlp_fc1_bias", KEY_ONLY_FALSE, 0, 0},
    {"mlp_fc2_bias", KEY_ONLY_FALSE, 0, 0},
    {"scale_attn_by_inverse_layer_idx", KEY_ONLY_FALSE, 0, 0},
    {"scale_attn_weights", KEY_ONLY_TRUE, 0, 0},
    {"causal", KEY_ONLY_FALSE, 0, 0},
    {NULL, KEY_OTHER, 0, 0},
};

/* No effect on hidden states. */
static const struct key other_keys[] = {
    {"dense_seq_output", KEY_OTHER, 0, 0},
    {"fused_bias_fc", KEY_OTHER, 0, 0},
    {"fused_dropout_add_ln", KEY_OTHER, 0, 0},
    {"last_layer_subset", KEY_OTHER, 0, 0},
    {"max_trained_positions", KEY_OTHER, 0, 0},
    {"pad_vocab_size_multiple", KEY_OTHER, 0, 0},
    {"reorder_and_upcast_attn", KEY_OTHER, 0, 0},
    {"summary_activation", KEY_OTHER, 0, 0},
    {"summary_first_dropout", KEY_OTHER, 0, 0},
    {"summary_proj_to_labels", KEY_OTHER, 0, 0},
    {"summary_type", KEY_OTHER, 0, 0},
    {"summary_use_proj", KEY_OTHER, 0, 0},
    {"use_xentropy", KEY_OTHER, 0, 0},
    {NULL, KEY_OTHER, 0, 0},
};

static const struct family_names names = {
    .prefix = "nomic_bert.",
    .embed = "embeddings.word_embeddings",
    .token_types = "embeddings.token_type_embeddings",
    .embed_norm = "emb_ln",
    .ignored = family_no_embedding,
    .qkv = "encoder.layers.#.attn.Wqkv",
    .o = "encoder.layers.#.attn.out_proj",
    .attn_post_norm = "encoder.layers.#.norm1",
    .gate = "encoder.layers.#.mlp.fc12",
    .up = "encoder.layers.#.mlp.fc11",
    .down = "encoder.layers.#.mlp.fc2",
    .ffn_post_norm = "encoder.layers.#.norm2",
};

const struct family family_nomic_bert = {
    .model_type = "nomic_bert",
    .sizes = {.vocab_size = 30528,
              .hidden_dim = 768,
              .ffn_dim = 3072,
              .n_layers = 12,
              .n_heads = 12,
              .max_pos = 2048},
    .ends = {.bos = -1, .eos = -1},
    .names = &names,
    .keys = {family_rotary_keys, family_encoder_keys, family_encoder_other_keys, first_keys,
             other_keys},
    .base = {.spec = {.norm = NORM_LAYER,
                      .norm_eps = 1e-12f,
                      .act = ACT_SILU,
                      .bidirectional = true,
                      .no_head = true,
                      .token_types = 2,
                      .embed_norm = true,
                      .residual_norm = true,
                      .no_pre_norm = true,
                      .no_final_norm = true,
                      .fused_qkv = true},
             .theta = 1000},
};
