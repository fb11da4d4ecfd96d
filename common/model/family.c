/* The model families: a row of data each. What every number and flag does is said in spec.h and family.h; how to
 * add a family is in ARCHITECTURE.md.
 *
 * The rows follow the reference implementation (huggingface/transformers, src/transformers/models/NAME/
 * configuration_NAME.py for keys and defaults, modeling_NAME.py for what they do). Defaults stand here only
 * for keys that published configs leave out; dimensions have none.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "model/family.h"

#include <stddef.h>

#define C(field) offsetof(struct config, field)
#define S(field) offsetof(struct config, spec.field)
#define R(field) offsetof(struct rope_spec, field)

/* Keys that mean the same in every family. */
const struct key common_keys[] = {
    {"vocab_size", KEY_SIZE, S(vocab_size), 1, SPEC_MAX_VOCAB},
    {"hidden_size", KEY_SIZE, S(hidden_dim), 1, SPEC_MAX_DIM},
    {"intermediate_size", KEY_SIZE, S(ffn_dim), 1, SPEC_MAX_DIM},
    {"num_hidden_layers", KEY_SIZE, S(n_layers), 1, SPEC_MAX_LAYERS},
    {"num_attention_heads", KEY_SIZE, S(n_heads), 1, SPEC_MAX_HEADS},
    {"max_position_embeddings", KEY_SIZE, S(max_pos), 1, SPEC_MAX_CONTEXT},
    {"tie_word_embeddings", KEY_TRUE, S(tied), 0, 0},
    {"hidden_act", KEY_ACT, S(act), 0, 0},

    {"model_type", KEY_OTHER, 0, 0, 0},
    {"bos_token_id", KEY_OTHER, 0, 0, 0},
    {"eos_token_id", KEY_OTHER, 0, 0, 0},
    {"layer_types", KEY_OTHER, 0, 0, 0},

    {"quantization_config", ONLY_NULL, 0, 0, 0},
    {"compression_config", ONLY_NULL, 0, 0, 0},
    {"pretraining_tp", ONLY_ONE, 0, 0, 0},
    {"is_encoder_decoder", ONLY_FALSE, 0, 0, 0},
    {"add_cross_attention", ONLY_FALSE, 0, 0, 0},
    {"use_bidirectional_attention", ONLY_FALSE, 0, 0, 0},
    {"rope_interleaved", ONLY_FALSE, 0, 0, 0},
    {"attention_chunk_size", ONLY_NULL, 0, 0, 0},
    {"alibi", ONLY_FALSE, 0, 0, 0},
    {"clip_qkv", ONLY_NULL, 0, 0, 0},
    {"use_qk_norm", ONLY_FALSE, 0, 0, 0},
    {"attn_logit_softcapping", ONLY_NULL, 0, 0, 0},
    {"final_logit_softcapping", ONLY_NULL, 0, 0, 0},
    {"embedding_multiplier", ONLY_ONE, 0, 0, 0},
    {"residual_multiplier", ONLY_ONE, 0, 0, 0},
    {"logits_scaling", ONLY_ONE, 0, 0, 0},
    {"logit_scale", ONLY_ONE, 0, 0, 0},
    {"partial_rotary_factor", ONLY_ONE, 0, 0, 0},

    {"architectures", KEY_HARMLESS, 0, 0, 0},
    {"auto_map", KEY_HARMLESS, 0, 0, 0},
    {"dtype", KEY_HARMLESS, 0, 0, 0},
    {"torch_dtype", KEY_HARMLESS, 0, 0, 0},
    {"transformers_version", KEY_HARMLESS, 0, 0, 0},
    {"transformers.js_config", KEY_HARMLESS, 0, 0, 0},
    {"unsloth_version", KEY_HARMLESS, 0, 0, 0},
    {"unsloth_fixed", KEY_HARMLESS, 0, 0, 0},
    {"is_llama_config", KEY_HARMLESS, 0, 0, 0},
    {"is_decoder", KEY_HARMLESS, 0, 0, 0},
    {"_name_or_path", KEY_HARMLESS, 0, 0, 0},
    {"_attn_implementation", KEY_HARMLESS, 0, 0, 0},
    {"_attn_implementation_autoset", KEY_HARMLESS, 0, 0, 0},
    {"attn_implementation", KEY_HARMLESS, 0, 0, 0},
    {"use_flash_attn", KEY_HARMLESS, 0, 0, 0},
    {"use_cache", KEY_HARMLESS, 0, 0, 0},
    {"cache_implementation", KEY_HARMLESS, 0, 0, 0},
    {"gradient_checkpointing", KEY_HARMLESS, 0, 0, 0},
    {"initializer_range", KEY_HARMLESS, 0, 0, 0},
    {"attention_dropout", KEY_HARMLESS, 0, 0, 0},
    {"hidden_dropout", KEY_HARMLESS, 0, 0, 0},
    {"residual_dropout", KEY_HARMLESS, 0, 0, 0},
    {"embedding_dropout", KEY_HARMLESS, 0, 0, 0},
    {"resid_pdrop", KEY_HARMLESS, 0, 0, 0},
    {"embd_pdrop", KEY_HARMLESS, 0, 0, 0},
    {"attn_pdrop", KEY_HARMLESS, 0, 0, 0},
    {"pad_token_id", KEY_HARMLESS, 0, 0, 0},
    {"tokenizer_class", KEY_HARMLESS, 0, 0, 0},
    {"task_specific_params", KEY_HARMLESS, 0, 0, 0},
    {"id2label", KEY_HARMLESS, 0, 0, 0},
    {"label2id", KEY_HARMLESS, 0, 0, 0},
    {"problem_type", KEY_HARMLESS, 0, 0, 0},
    {"return_dict", KEY_HARMLESS, 0, 0, 0},
    {"output_attentions", KEY_HARMLESS, 0, 0, 0},
    {"output_hidden_states", KEY_HARMLESS, 0, 0, 0},
    {"chunk_size_feed_forward", KEY_HARMLESS, 0, 0, 0},
    {NULL, KEY_END, 0, 0, 0},
};

/* Inside rope_scaling and rope_parameters. */
const struct key rope_keys[] = {
    {"rope_type", KEY_OTHER, 0, 0, 0},
    {"type", KEY_OTHER, 0, 0, 0},
    {"short_factor", KEY_OTHER, 0, 0, 0},
    {"long_factor", KEY_OTHER, 0, 0, 0},
    {"truncate", KEY_FALSE, R(no_truncate), 0, 0},
    {"rope_theta", KEY_REAL, R(theta), 0, 0},
    {"partial_rotary_factor", KEY_REAL, R(partial), 0, 0},
    {"factor", KEY_REAL, R(factor), 0, 0},
    {"attention_factor", KEY_REAL, R(attention_factor), 0, 0},
    {"original_max_position_embeddings", KEY_REAL, R(original_max_pos), 0, 0},
    {"low_freq_factor", KEY_REAL, R(low_freq_factor), 0, 0},
    {"high_freq_factor", KEY_REAL, R(high_freq_factor), 0, 0},
    {"beta_fast", KEY_REAL, R(beta_fast), 0, 0},
    {"beta_slow", KEY_REAL, R(beta_slow), 0, 0},
    {"mscale", KEY_REAL, R(mscale), 0, 0},
    {"mscale_all_dim", KEY_REAL, R(mscale_all_dim), 0, 0},
    {NULL, KEY_END, 0, 0, 0},
};

/* What most families share: pasted into the rows' lists. */
#define KEYS_ROPE                                                                                              \
    {"rope_theta", KEY_REAL, C(theta), 0, 0}, {"rope_scaling", KEY_OTHER, 0, 0, 0},                            \
        {"rope_parameters", KEY_OTHER, 0, 0, 0},                                                               \
        {"num_key_value_heads", KEY_SIZE, S(n_kv_heads), 1, SPEC_MAX_HEADS},                                   \
        {"head_dim", KEY_SIZE, S(head_dim), 1, SPEC_MAX_HEAD_DIM}
#define KEYS_RMS {"rms_norm_eps", KEY_EPS, S(norm_eps), 0, 0}
#define KEYS_BIAS {"attention_bias", KEY_TRUE, S(qkv_bias), 0, 0}, {"attention_bias", KEY_TRUE, S(o_bias), 0, 0}
#define KEYS_WINDOW {"sliding_window", KEY_SIZE, C(window), 1, SPEC_MAX_CONTEXT}
#define KEYS_END {NULL, KEY_END, 0, 0, 0}

static const struct key llama_keys[] = {
    KEYS_ROPE, KEYS_RMS, KEYS_BIAS, {"mlp_bias", KEY_TRUE, S(ffn_bias), 0, 0}, KEYS_END,
};
static const struct key mistral_keys[] = {KEYS_ROPE, KEYS_RMS, KEYS_WINDOW, KEYS_END};
static const struct key qwen2_keys[] = {
    KEYS_ROPE,
    KEYS_RMS,
    KEYS_WINDOW,
    {"use_sliding_window", KEY_FALSE, C(no_window), 0, 0},
    {"max_window_layers", KEY_SIZE, C(max_window_layers), 0, SPEC_MAX_CONTEXT},
    KEYS_END,
};

static const char *const rotary_buffers[] = {"rotary_emb.inv_freq", NULL};

static const struct names llama_names = {
    .prefix = "model.",
    .embed = "embed_tokens",
    .final_norm = "norm",
    .head = "lm_head",
    .attn_norm = "layers.#.input_layernorm",
    .ffn_norm = "layers.#.post_attention_layernorm",
    .q_norm = "layers.#.self_attn.q_norm",
    .k_norm = "layers.#.self_attn.k_norm",
    .q = "layers.#.self_attn.q_proj",
    .k = "layers.#.self_attn.k_proj",
    .v = "layers.#.self_attn.v_proj",
    .o = "layers.#.self_attn.o_proj",
    .gate = "layers.#.mlp.gate_proj",
    .up = "layers.#.mlp.up_proj",
    .down = "layers.#.mlp.down_proj",
    .ignored = rotary_buffers,
};

static const struct family families[] = {
    {.model_type = "llama",
     .names = &llama_names,
     .keys = llama_keys,
     .base = {.spec = {.norm_eps = 1e-6f, .act = ACT_SILU}, .theta = 1e4}},
    {.model_type = "mistral",
     .names = &llama_names,
     .keys = mistral_keys,
     .base = {.spec = {.norm_eps = 1e-6f, .act = ACT_SILU, .n_kv_heads = 8}, .theta = 1e4, .window = 4096}},
    {.model_type = "qwen2",
     .names = &llama_names,
     .keys = qwen2_keys,
     .base = {.spec = {.norm_eps = 1e-6f, .act = ACT_SILU, .qkv_bias = true},
              .theta = 1e4,
              .window = 4096,
              .no_window = true,
              .max_window_layers = 28,
              .has_max_window_layers = true,
              .types_by_layer = true}},
};

const struct family *family_at(size_t i) {
    return i < sizeof families / sizeof *families ? &families[i] : NULL;
}

const struct family *family_find(struct str model_type) {
    for (size_t i = 0; family_at(i); i++)
        if (str_eq(model_type, families[i].model_type))
            return &families[i];
    return NULL;
}
