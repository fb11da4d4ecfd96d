/* What a family's file is made of: key tables and tensor names that several families share, and
 * macros for tables of its own.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef SPEC_FAMILY_PARTS_H
#define SPEC_FAMILY_PARTS_H

#include <stddef.h>

#include "spec/family.h"
#include "spec/family_list.h"

/* Where a key's value is stored: the field's offset in struct spec_config, in the struct spec
 * inside it, or in struct rope_spec. */
#define CONFIG_AT(field) offsetof(struct spec_config, field)
#define SPEC_AT(field)   offsetof(struct spec_config, spec.field)
#define ROPE_AT(field)   offsetof(struct rope_spec, field)

/* ---- keys ---- */

extern const struct key family_rotary_keys[];         // all families that rotate q and k
extern const struct key family_partial_rotary_keys[]; // ... those that can rotate a part of a head
extern const struct key family_rms_norm_keys[];
extern const struct key family_layer_norm_keys[];     // Phi, StableLM
extern const struct key family_attention_bias_keys[]; // one key for q, k, v and o
extern const struct key family_mlp_bias_keys[];
extern const struct key family_sliding_window_keys[];  // a window if sliding_window is not null
extern const struct key family_optional_window_keys[]; // ... and if use_sliding_window is true
extern const struct key family_experts_keys[];         // Mixtral, Qwen 3 MoE
extern const struct key family_gemma2_act_keys[];      // Gemma 2 and 3: hidden_activation
extern const struct key family_encoder_keys[];         // BERT, XLM-R, nomic-bert
extern const struct key family_encoder_other_keys[];   // of encoders' heads and dropout, no effect
extern const struct key family_gemma2_scale_keys[];    // Gemma 2 and 3: of scores, cap on logits

/* ---- tensor names ---- */

extern const char *const family_no_weights[];   // for family_names.ignored
extern const char *const family_no_embedding[]; // of encoders: poolers, and heads of other tasks

/* Llama's names, in groups, because most families have most of them. */
#define NAMES_ENDS                                                                                 \
    .prefix = "model.", .embed = "embed_tokens", .final_norm = "norm", .head = "lm_head",          \
    .ignored = family_no_weights
#define NAMES_NORMS                                                                                \
    .attn_norm = "layers.#.input_layernorm", .ffn_norm = "layers.#.post_attention_layernorm"
#define NAMES_ATTENTION                                                                            \
    .q = "layers.#.self_attn.q_proj", .k = "layers.#.self_attn.k_proj",                            \
    .v = "layers.#.self_attn.v_proj", .o = "layers.#.self_attn.o_proj"
#define NAMES_QK_NORM .q_norm = "layers.#.self_attn.q_norm", .k_norm = "layers.#.self_attn.k_norm"
#define NAMES_FFN                                                                                  \
    .gate = "layers.#.mlp.gate_proj", .up = "layers.#.mlp.up_proj", .down = "layers.#.mlp.down_proj"

extern const struct family_names family_llama_names;
extern const struct family_names family_gemma2_names; // Gemma 2 and 3
extern const struct family_names family_olmo2_names;  // OLMo 2 and 3

/* BERT's names after its prefix. */
#define NAMES_BERT                                                                                 \
    .embed = "embeddings.word_embeddings", .positions = "embeddings.position_embeddings",          \
    .token_types = "embeddings.token_type_embeddings", .embed_norm = "embeddings.LayerNorm",       \
    .ignored = family_no_embedding, .q = "encoder.layer.#.attention.self.query",                   \
    .k = "encoder.layer.#.attention.self.key", .v = "encoder.layer.#.attention.self.value",        \
    .o = "encoder.layer.#.attention.output.dense",                                                 \
    .attn_post_norm = "encoder.layer.#.attention.output.LayerNorm",                                \
    .up = "encoder.layer.#.intermediate.dense", .down = "encoder.layer.#.output.dense",            \
    .ffn_post_norm = "encoder.layer.#.output.LayerNorm"

/* What BERT and XLM-R fix. */
#define BASE_BERT                                                                                  \
    .norm = NORM_LAYER, .norm_eps = 1e-12f, .act = ACT_GELU_ERF, .bidirectional = true,            \
    .no_head = true, .token_types = 2, .embed_norm = true, .residual_norm = true,                  \
    .no_pre_norm = true, .no_final_norm = true, .learned_pos = true, .ungated = true,              \
    .qkv_bias = true, .o_bias = true, .ffn_bias = true

#endif
