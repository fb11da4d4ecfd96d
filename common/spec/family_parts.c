/* Key tables and tensor names that several families share: see family_parts.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "spec/family_parts.h"

/* ---- keys ---- */

const struct key family_rotary_keys[] = {
    {"rope_theta", KEY_REAL, CONFIG_AT(theta), 0},
    {"rope_scaling", KEY_OTHER, 0, 0},
    {"rope_parameters", KEY_OTHER, 0, 0},
    // Phi 3 has this key at the top level, where it takes precedence over the one in rope_scaling.
    {"original_max_position_embeddings", KEY_REAL, CONFIG_AT(original_max_pos), 0},
    {"num_key_value_heads", KEY_SIZE, SPEC_AT(n_kv_heads), SPEC_MAX_HEADS},
    {"head_dim", KEY_COUNT, SPEC_AT(head_dim), SPEC_MAX_HEAD_DIM}, // 0: not given
    {NULL, KEY_OTHER, 0, 0},
};

const struct key family_partial_rotary_keys[] = {
    {"partial_rotary_factor", KEY_REAL, CONFIG_AT(partial), 0},
    {NULL, KEY_OTHER, 0, 0},
};

const struct key family_rms_norm_keys[] = {
    {"rms_norm_eps", KEY_EPS, SPEC_AT(norm_eps), 0},
    {NULL, KEY_OTHER, 0, 0},
};

const struct key family_layer_norm_keys[] = {
    {"layer_norm_eps", KEY_EPS, SPEC_AT(norm_eps), 0},
    {"qk_layernorm", KEY_TRUE, CONFIG_AT(qk_layernorm), 0},
    {NULL, KEY_OTHER, 0, 0},
};

const struct key family_attention_bias_keys[] = {
    {"attention_bias", KEY_TRUE, SPEC_AT(qkv_bias), 0},
    {"attention_bias", KEY_TRUE, SPEC_AT(o_bias), 0},
    {NULL, KEY_OTHER, 0, 0},
};

const struct key family_mlp_bias_keys[] = {
    {"mlp_bias", KEY_TRUE, SPEC_AT(ffn_bias), 0},
    {NULL, KEY_OTHER, 0, 0},
};

const struct key family_sliding_window_keys[] = {
    {"sliding_window", KEY_SIZE, CONFIG_AT(window), SPEC_MAX_CONTEXT},
    {NULL, KEY_OTHER, 0, 0},
};

const struct key family_optional_window_keys[] = {
    {"use_sliding_window", KEY_FALSE, CONFIG_AT(no_window), 0},
    {"sliding_window", KEY_OTHER, 0, 0}, // read by family_used_window_keys
    {"max_window_layers", KEY_OTHER, 0, 0},
    {NULL, KEY_OTHER, 0, 0},
};

const struct key family_gemma2_act_keys[] = {
    {"hidden_act", KEY_OTHER, 0, 0},
    {"hidden_activation", KEY_ACT, SPEC_AT(act), 0},
    {NULL, KEY_OTHER, 0, 0},
};

const struct key family_gemma2_scale_keys[] = {
    {"query_pre_attn_scalar", KEY_REAL, CONFIG_AT(query_scalar), 0},
    {"final_logit_softcapping", KEY_FLOAT, SPEC_AT(logit_softcap), 0},
    {NULL, KEY_OTHER, 0, 0},
};

const struct key family_encoder_keys[] = {
    {"layer_norm_eps", KEY_EPS, SPEC_AT(norm_eps), 0},
    {"type_vocab_size", KEY_SIZE, SPEC_AT(token_types), SPEC_MAX_TOKEN_TYPES},
    {"is_decoder", KEY_ONLY_FALSE, 0, 0},
    {"add_cross_attention", KEY_ONLY_FALSE, 0, 0},
    {"is_causal", KEY_ONLY_FALSE, 0, 0},
    {NULL, KEY_OTHER, 0, 0},
};

const struct key family_encoder_other_keys[] = {
    {"hidden_dropout_prob", KEY_OTHER, 0, 0},
    {"attention_probs_dropout_prob", KEY_OTHER, 0, 0},
    {"classifier_dropout", KEY_OTHER, 0, 0},
    {"directionality", KEY_OTHER, 0, 0}, // and pooler_...: of BERT's first releases, not read
    {"pooler_fc_size", KEY_OTHER, 0, 0},
    {"pooler_num_attention_heads", KEY_OTHER, 0, 0},
    {"pooler_num_fc_layers", KEY_OTHER, 0, 0},
    {"pooler_size_per_head", KEY_OTHER, 0, 0},
    {"pooler_type", KEY_OTHER, 0, 0},
    {"output_past", KEY_OTHER, 0, 0},
    {NULL, KEY_OTHER, 0, 0},
};

const struct key family_experts_keys[] = {
    {"num_local_experts", KEY_SIZE, SPEC_AT(n_experts), SPEC_MAX_EXPERTS},
    {"num_experts", KEY_SIZE, SPEC_AT(n_experts), SPEC_MAX_EXPERTS},
    {"num_experts_per_tok", KEY_SIZE, SPEC_AT(n_experts_used), SPEC_MAX_EXPERTS},
    {NULL, KEY_OTHER, 0, 0},
};

/* ---- tensor names ---- */

const char *const family_no_weights[] = {"rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias",
                                         NULL};

const char *const family_no_embedding[] = {
    "position_ids",
    "pooler.dense.weight",
    "pooler.dense.bias",
    "rotary_emb.inv_freq",
    "decoder.weight",
    "decoder.bias",
    "predictions.bias",
    "transform.dense.weight",
    "transform.dense.bias",
    "transform.LayerNorm.weight",
    "transform.LayerNorm.bias",
    "seq_relationship.weight",
    "seq_relationship.bias",
    "head.dense.weight",
    "head.dense.bias",
    "head.norm.weight",
    "head.norm.bias",
    "lm_head.bias",
    "lm_head.dense.weight",
    "lm_head.dense.bias",
    "lm_head.layer_norm.weight",
    "lm_head.layer_norm.bias",
    NULL,
};

const struct family_names family_llama_names = {NAMES_ENDS, NAMES_NORMS, NAMES_ATTENTION,
                                                NAMES_FFN};

const struct family_names family_gemma2_names = {
    NAMES_ENDS,
    NAMES_ATTENTION,
    NAMES_QK_NORM,
    NAMES_FFN,
    .attn_norm = "layers.#.input_layernorm",
    .attn_post_norm = "layers.#.post_attention_layernorm",
    .ffn_norm = "layers.#.pre_feedforward_layernorm",
    .ffn_post_norm = "layers.#.post_feedforward_layernorm",
};

const struct family_names family_olmo2_names = {
    NAMES_ENDS,
    NAMES_ATTENTION,
    NAMES_QK_NORM,
    NAMES_FFN,
    .attn_post_norm = "layers.#.post_attention_layernorm",
    .ffn_post_norm = "layers.#.post_feedforward_layernorm",
};
