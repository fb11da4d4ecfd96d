/* The list of model families, and the keys that mean the same in all of them.
 *
 * A family is one file, family_NAME.c, and one line of family_list.h. ARCHITECTURE.md says how to
 * add one. The families follow the reference implementation, transformers 5.24:
 * src/transformers/models/NAME/configuration_NAME.py for keys and defaults, modeling_NAME.py for
 * their effect. A key that config.json lacks has the default of the reference's config class.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "spec/family_list.h"
#include "spec/family_parts.h"

/* Keys that mean the same in every family. */
const struct key family_common_keys[] = {
    {"vocab_size", KEY_SIZE, SPEC_AT(vocab_size), SPEC_MAX_VOCAB},
    {"hidden_size", KEY_SIZE, SPEC_AT(hidden_dim), SPEC_MAX_DIM},
    {"intermediate_size", KEY_COUNT, SPEC_AT(ffn_dim), SPEC_MAX_DIM},
    {"num_hidden_layers", KEY_SIZE, SPEC_AT(n_layers), SPEC_MAX_LAYERS},
    {"num_attention_heads", KEY_SIZE, SPEC_AT(n_heads), SPEC_MAX_HEADS},
    {"max_position_embeddings", KEY_SIZE, SPEC_AT(max_pos), SPEC_MAX_CONTEXT},
    {"tie_word_embeddings", KEY_TRUE, SPEC_AT(tied), 0},
    {"hidden_act", KEY_ACT, SPEC_AT(act), 0},
    {"model_type", KEY_OTHER, 0, 0},
    {"bos_token_id", KEY_OTHER, 0, 0},
    {"eos_token_id", KEY_OTHER, 0, 0},
    {"layer_types", KEY_OTHER, 0, 0},
    // The reference acts on these for every model. Keys that it never reads are in
    // family_foreign_keys.
    {"quantization_config", KEY_OTHER, 0, 0},
    {"compression_config", KEY_ONLY_FALSE, 0, 0},
    {"is_encoder_decoder", KEY_ONLY_FALSE, 0, 0},
    {"is_causal", KEY_ONLY_TRUE, 0, 0},
    {"attention_chunk_size", KEY_ONLY_FALSE, 0, 0},
    {NULL, KEY_OTHER, 0, 0},
};

/* Keys inside rope_scaling and rope_parameters. */
const struct key family_rope_keys[] = {
    {"rope_type", KEY_OTHER, 0, 0},
    {"type", KEY_OTHER, 0, 0},
    {"short_factor", KEY_OTHER, 0, 0},
    {"long_factor", KEY_OTHER, 0, 0},
    {"truncate", KEY_FALSE, ROPE_AT(no_truncate), 0},
    {"rope_theta", KEY_REAL, ROPE_AT(theta), 0},
    {"partial_rotary_factor", KEY_REAL, ROPE_AT(partial), 0},
    {"factor", KEY_REAL, ROPE_AT(factor), 0},
    {"attention_factor", KEY_REAL, ROPE_AT(attention_factor), 0},
    {"original_max_position_embeddings", KEY_REAL, ROPE_AT(original_max_pos), 0},
    {"low_freq_factor", KEY_REAL, ROPE_AT(low_freq_factor), 0},
    {"high_freq_factor", KEY_REAL, ROPE_AT(high_freq_factor), 0},
    {"beta_fast", KEY_REAL, ROPE_AT(beta_fast), 0},
    {"beta_slow", KEY_REAL, ROPE_AT(beta_slow), 0},
    {"mscale", KEY_REAL, ROPE_AT(mscale), 0},
    {"mscale_all_dim", KEY_REAL, ROPE_AT(mscale_all_dim), 0},
    {NULL, KEY_OTHER, 0, 0},
};

/* Keys that do not change what forward computes. */
const char *const family_harmless_keys[] = {
    "architectures",
    "auto_map",
    "dtype",
    "torch_dtype",
    "transformers_version",
    "transformers.js_config",
    "unsloth_version",
    "unsloth_fixed",
    "is_llama_config",
    "is_decoder",
    "_name_or_path",
    "_attn_implementation",
    "_attn_implementation_autoset",
    "attn_implementation",
    "use_flash_attn",
    "use_cache",
    "cache_implementation",
    "gradient_checkpointing",
    "initializer_range",
    "attention_dropout",
    "hidden_dropout",
    "residual_dropout",
    "output_router_logits",
    "router_aux_loss_coef",
    "router_jitter_noise",
    "embedding_dropout",
    "resid_pdrop",
    "embd_pdrop",
    "attn_pdrop",
    "pad_token_id",
    "tokenizer_class",
    "task_specific_params",
    "id2label",
    "label2id",
    "problem_type",
    "return_dict",
    "output_attentions",
    "output_hidden_states",
    "chunk_size_feed_forward",
    "pretraining_tp", // slices in which a product was summed; the reference never reads it
    NULL,
};

/* Keys that change other models. The reference reads them for none of the families here, so their
 * value never matters. */
const char *const family_foreign_keys[] = {
    "alibi", "clip_qkv", "logit_scale", "rope_interleaved", "use_mrope", "use_qk_norm", NULL,
};

/* Read only if use_sliding_window is true; otherwise these keys may have any value. */
const struct key family_used_window_keys[] = {
    {"sliding_window", KEY_SIZE, CONFIG_AT(window), SPEC_MAX_CONTEXT},
    {"max_window_layers", KEY_COUNT, CONFIG_AT(max_window_layers), SPEC_MAX_CONTEXT},
    {NULL, KEY_OTHER, 0, 0},
};

/* Read only if layer_types is not given. */
const struct key family_pattern_keys[] = {
    {"sliding_window_pattern", KEY_SIZE, CONFIG_AT(window_pattern), SPEC_MAX_LAYERS},
    {NULL, KEY_OTHER, 0, 0},
};

#define FAMILY_ADDRESS(name) &family_##name,
static const struct family *const families[] = {FAMILY_LIST(FAMILY_ADDRESS)};
#undef FAMILY_ADDRESS

const struct family *family_at(size_t i) {
    return i < sizeof families / sizeof *families ? families[i] : NULL;
}

const struct family *family_find(struct str model_type) {
    for (size_t i = 0; family_at(i); i++)
        if (str_eq(model_type, families[i]->model_type))
            return families[i];
    return NULL;
}
