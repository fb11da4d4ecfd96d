/* The model families: a row of data each. What every number and flag does is said in spec.h and
 * family.h; how to add a family is in ARCHITECTURE.md.
 *
 * The rows follow the reference implementation (huggingface/transformers,
 * src/transformers/models/NAME/ configuration_NAME.py for keys and defaults, modeling_NAME.py for
 * what they do; of transformers 5.24). A key that config.json lacks has the default of the
 * reference's config class.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "spec/family.h"

#include <stddef.h>

#define C(field) offsetof(struct spec_config, field)
#define S(field) offsetof(struct spec_config, spec.field)
#define R(field) offsetof(struct rope_spec, field)

/* ---- keys ---- */

/* What means the same in every family. */
const struct key family_common_keys[] = {
    {"vocab_size", KEY_SIZE, S(vocab_size), SPEC_MAX_VOCAB},
    {"hidden_size", KEY_SIZE, S(hidden_dim), SPEC_MAX_DIM},
    {"intermediate_size", KEY_SIZE, S(ffn_dim), SPEC_MAX_DIM},
    {"num_hidden_layers", KEY_SIZE, S(n_layers), SPEC_MAX_LAYERS},
    {"num_attention_heads", KEY_SIZE, S(n_heads), SPEC_MAX_HEADS},
    {"max_position_embeddings", KEY_SIZE, S(max_pos), SPEC_MAX_CONTEXT},
    {"tie_word_embeddings", KEY_TRUE, S(tied), 0},
    {"hidden_act", KEY_ACT, S(act), 0},
    {"model_type", KEY_OTHER, 0, 0},
    {"bos_token_id", KEY_OTHER, 0, 0},
    {"eos_token_id", KEY_OTHER, 0, 0},
    {"layer_types", KEY_OTHER, 0, 0},
    // What the reference does for any model, if it is on. (What it does not read is in
    // family_foreign_keys.)
    {"quantization_config", KEY_OTHER, 0, 0},
    {"compression_config", ONLY_FALSE, 0, 0},
    {"is_encoder_decoder", ONLY_FALSE, 0, 0},
    {"is_causal", ONLY_TRUE, 0, 0},
    {"attention_chunk_size", ONLY_FALSE, 0, 0},
    {NULL, KEY_OTHER, 0, 0},
};

/* Inside rope_scaling and rope_parameters. */
const struct key family_rope_keys[] = {
    {"rope_type", KEY_OTHER, 0, 0},
    {"type", KEY_OTHER, 0, 0},
    {"short_factor", KEY_OTHER, 0, 0},
    {"long_factor", KEY_OTHER, 0, 0},
    {"truncate", KEY_FALSE, R(no_truncate), 0},
    {"rope_theta", KEY_REAL, R(theta), 0},
    {"partial_rotary_factor", KEY_REAL, R(partial), 0},
    {"factor", KEY_REAL, R(factor), 0},
    {"attention_factor", KEY_REAL, R(attention_factor), 0},
    {"original_max_position_embeddings", KEY_REAL, R(original_max_pos), 0},
    {"low_freq_factor", KEY_REAL, R(low_freq_factor), 0},
    {"high_freq_factor", KEY_REAL, R(high_freq_factor), 0},
    {"beta_fast", KEY_REAL, R(beta_fast), 0},
    {"beta_slow", KEY_REAL, R(beta_slow), 0},
    {"mscale", KEY_REAL, R(mscale), 0},
    {"mscale_all_dim", KEY_REAL, R(mscale_all_dim), 0},
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
    "pretraining_tp", // in how many slices a product was summed: 2 in Llama 2 13B, and never read
    NULL,
};

/* Keys that change other models, not those of the families here, whatever their value: the
 * reference reads them nowhere. */
const char *const family_foreign_keys[] = {
    "alibi", "clip_qkv", "logit_scale", "rope_interleaved", "use_mrope", "use_qk_norm", NULL,
};

static const struct key rotary[] = {
    // all but GPT-2
    {"rope_theta", KEY_REAL, C(theta), 0},
    {"rope_scaling", KEY_OTHER, 0, 0},
    {"rope_parameters", KEY_OTHER, 0, 0},
    {"original_max_position_embeddings", KEY_REAL, C(original_max_pos),
     0}, // Phi 3; goes before that inside
    {"num_key_value_heads", KEY_SIZE, S(n_kv_heads), SPEC_MAX_HEADS},
    {"head_dim", KEY_SIZE, S(head_dim), SPEC_MAX_HEAD_DIM},
    {NULL, KEY_OTHER, 0, 0},
};
static const struct key partial_rotary[] = {
    {"partial_rotary_factor", KEY_REAL, C(partial), 0},
    {NULL, KEY_OTHER, 0, 0},
};
static const struct key rms_norm[] = {
    {"rms_norm_eps", KEY_EPS, S(norm_eps), 0},
    {NULL, KEY_OTHER, 0, 0},
};
static const struct key layer_norm[] = {
    {"layer_norm_eps", KEY_EPS, S(norm_eps), 0},
    {"qk_layernorm", KEY_TRUE, C(qk_layernorm), 0},
    {NULL, KEY_OTHER, 0, 0},
};
static const struct key attention_bias[] = {
    {"attention_bias", KEY_TRUE, S(qkv_bias), 0},
    {"attention_bias", KEY_TRUE, S(o_bias), 0},
    {NULL, KEY_OTHER, 0, 0},
};
static const struct key mlp_bias[] = {
    {"mlp_bias", KEY_TRUE, S(ffn_bias), 0},
    {NULL, KEY_OTHER, 0, 0},
};
static const struct key window[] = {
    {"sliding_window", KEY_SIZE, C(window), SPEC_MAX_CONTEXT},
    {NULL, KEY_OTHER, 0, 0},
};
static const struct key optional_window[] = {
    {"use_sliding_window", KEY_FALSE, C(no_window), 0},
    {"sliding_window", KEY_OTHER, 0, 0}, // by family_window_keys
    {"max_window_layers", KEY_OTHER, 0, 0},
    {NULL, KEY_OTHER, 0, 0},
};
const struct key family_window_keys[] = {
    {"sliding_window", KEY_SIZE, C(window), SPEC_MAX_CONTEXT},
    {"max_window_layers", KEY_COUNT, C(max_window_layers), SPEC_MAX_CONTEXT},
    {NULL, KEY_OTHER, 0, 0},
};
static const struct key gemma_act[] = {
    {"hidden_act", KEY_ACT, S(act), 0},
    {"hidden_activation", KEY_OTHER, 0, 0}, // not read any more
    {"use_bidirectional_attention", ONLY_FALSE, 0, 0},
    {NULL, KEY_OTHER, 0, 0},
};
static const struct key gemma2_act[] = {
    {"hidden_act", KEY_OTHER, 0, 0},
    {"hidden_activation", KEY_ACT, S(act), 0},
    {"use_bidirectional_attention", ONLY_FALSE, 0, 0},
    {NULL, KEY_OTHER, 0, 0},
};
static const struct key query_scalar[] = {
    {"query_pre_attn_scalar", KEY_REAL, C(query_scalar), 0},
    {"final_logit_softcapping", KEY_FLOAT, S(logit_softcap), 0},
    {NULL, KEY_OTHER, 0, 0},
};
static const struct key gemma2_cap[] = {
    {"attn_logit_softcapping", KEY_FLOAT, S(attn_softcap), 0},
    {NULL, KEY_OTHER, 0, 0},
};
static const struct key gemma3_layers[] = {
    {"rope_local_base_freq", KEY_REAL, C(local_theta), 0},
    {"sliding_window_pattern", KEY_SIZE, C(window_pattern), SPEC_MAX_LAYERS},
    {"_sliding_window_pattern", KEY_SIZE, C(window_pattern), SPEC_MAX_LAYERS},
    {NULL, KEY_OTHER, 0, 0},
};
static const struct key smollm3_layers[] = {
    {"no_rope_layers", KEY_OTHER, 0, 0},
    {"no_rope_layer_interval", KEY_SIZE, C(no_rope_interval), SPEC_MAX_LAYERS},
    {NULL, KEY_OTHER, 0, 0},
};
static const struct key granite_scales[] = {
    {"embedding_multiplier", KEY_FLOAT, S(embed_scale), 0},
    {"residual_multiplier", KEY_FLOAT, S(residual_scale), 0},
    {"attention_multiplier", KEY_FLOAT, S(attn_scale), 0},
    {"logits_scaling", KEY_FLOAT, S(logit_divisor), 0},
    {NULL, KEY_OTHER, 0, 0},
};
static const struct key experts[] = {
    {"num_local_experts", KEY_SIZE, S(n_experts), SPEC_MAX_EXPERTS},
    {"num_experts", KEY_SIZE, S(n_experts), SPEC_MAX_EXPERTS},
    {"num_experts_per_tok", KEY_SIZE, S(n_experts_used), SPEC_MAX_EXPERTS},
    {NULL, KEY_OTHER, 0, 0},
};
static const struct key qwen3_experts[] = {
    {"moe_intermediate_size", KEY_SIZE, S(expert_ffn_dim), SPEC_MAX_DIM},
    {"norm_topk_prob", KEY_FALSE, S(no_renormalise), 0},
    {"decoder_sparse_step", KEY_SIZE, C(sparse_step), SPEC_MAX_LAYERS},
    {"mlp_only_layers", KEY_OTHER, 0, 0},
    {NULL, KEY_OTHER, 0, 0},
};
static const struct key starcoder2[] = {
    {"norm_epsilon", KEY_EPS, S(norm_eps), 0},
    {"use_bias", KEY_TRUE, S(qkv_bias), 0},
    {"use_bias", KEY_TRUE, S(o_bias), 0},
    {"use_bias", KEY_TRUE, S(ffn_bias), 0},
    {"mlp_type", KEY_OTHER, 0, 0},
    {"norm_type", KEY_OTHER, 0, 0},
    {NULL, KEY_OTHER, 0, 0},
};
static const struct key stablelm[] = {
    {"use_qkv_bias", KEY_TRUE, S(qkv_bias), 0},
    {"use_parallel_residual", KEY_TRUE, S(parallel), 0},
    {NULL, KEY_OTHER, 0, 0},
};
static const struct key gpt2[] = {
    {"n_embd", KEY_SIZE, S(hidden_dim), SPEC_MAX_DIM},
    {"n_layer", KEY_SIZE, S(n_layers), SPEC_MAX_LAYERS},
    {"n_head", KEY_SIZE, S(n_heads), SPEC_MAX_HEADS},
    {"n_inner", KEY_SIZE, S(ffn_dim), SPEC_MAX_DIM},
    {"n_positions", KEY_SIZE, S(max_pos), SPEC_MAX_CONTEXT},
    {"activation_function", KEY_ACT, S(act), 0},
    {"layer_norm_epsilon", KEY_EPS, S(norm_eps), 0},
    {"scale_attn_weights", KEY_FALSE, C(unscaled), 0},
    {"add_cross_attention", ONLY_FALSE, 0, 0},
    {"scale_attn_by_inverse_layer_idx", KEY_TRUE, S(attn_scale_by_layer), 0},
    {"n_ctx", KEY_OTHER, 0, 0},
    {"reorder_and_upcast_attn", KEY_OTHER, 0, 0},
    {"summary_activation", KEY_OTHER, 0, 0},
    {"summary_first_dropout", KEY_OTHER, 0, 0},
    {"summary_proj_to_labels", KEY_OTHER, 0, 0},
    {"summary_type", KEY_OTHER, 0, 0},
    {"summary_use_proj", KEY_OTHER, 0, 0},
    {NULL, KEY_OTHER, 0, 0},
};

/* ---- tensor names ---- */

static const char *const no_weights[] = {"rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias",
                                         NULL};

/* Llama's names, in parts, because most families take most of them. */
#define NAMES_ENDS                                                                                 \
    .prefix = "model.", .embed = "embed_tokens", .final_norm = "norm", .head = "lm_head",          \
    .ignored = no_weights
#define NAMES_NORMS                                                                                \
    .attn_norm = "layers.#.input_layernorm", .ffn_norm = "layers.#.post_attention_layernorm"
#define NAMES_ATTENTION                                                                            \
    .q = "layers.#.self_attn.q_proj", .k = "layers.#.self_attn.k_proj",                            \
    .v = "layers.#.self_attn.v_proj", .o = "layers.#.self_attn.o_proj"
#define NAMES_QK_NORM .q_norm = "layers.#.self_attn.q_norm", .k_norm = "layers.#.self_attn.k_norm"
#define NAMES_FFN                                                                                  \
    .gate = "layers.#.mlp.gate_proj", .up = "layers.#.mlp.up_proj", .down = "layers.#.mlp.down_proj"

static const struct family_names llama_names = {NAMES_ENDS, NAMES_NORMS, NAMES_ATTENTION,
                                                NAMES_FFN};
static const struct family_names qwen3_names = {NAMES_ENDS, NAMES_NORMS, NAMES_ATTENTION,
                                                NAMES_QK_NORM, NAMES_FFN};
static const struct family_names gemma2_names = {
    NAMES_ENDS,
    NAMES_ATTENTION,
    NAMES_QK_NORM,
    NAMES_FFN,
    .attn_norm = "layers.#.input_layernorm",
    .attn_post_norm = "layers.#.post_attention_layernorm",
    .ffn_norm = "layers.#.pre_feedforward_layernorm",
    .ffn_post_norm = "layers.#.post_feedforward_layernorm",
};
static const struct family_names olmo2_names = {
    NAMES_ENDS,
    NAMES_ATTENTION,
    NAMES_QK_NORM,
    NAMES_FFN,
    .attn_post_norm = "layers.#.post_attention_layernorm",
    .ffn_post_norm = "layers.#.post_feedforward_layernorm",
};
static const struct family_names phi_names = {
    .prefix = "model.",
    .embed = "embed_tokens",
    .final_norm = "final_layernorm",
    .head = "lm_head",
    .ignored = no_weights,
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
static const struct family_names phi3_names = {
    NAMES_ENDS,
    NAMES_NORMS,
    .qkv = "layers.#.self_attn.qkv_proj",
    .o = "layers.#.self_attn.o_proj",
    .gate_up = "layers.#.mlp.gate_up_proj",
    .down = "layers.#.mlp.down_proj",
};
static const struct family_names mixtral_names = {
    NAMES_ENDS,
    NAMES_NORMS,
    NAMES_ATTENTION,
    .router = "layers.#.block_sparse_moe.gate",
    .expert_gate = "layers.#.block_sparse_moe.experts.@.w1",
    .expert_up = "layers.#.block_sparse_moe.experts.@.w3",
    .expert_down = "layers.#.block_sparse_moe.experts.@.w2",
};
static const struct family_names qwen3_moe_names = {
    NAMES_ENDS,
    NAMES_NORMS,
    NAMES_ATTENTION,
    NAMES_QK_NORM,
    NAMES_FFN,
    .router = "layers.#.mlp.gate",
    .expert_gate = "layers.#.mlp.experts.@.gate_proj",
    .expert_up = "layers.#.mlp.experts.@.up_proj",
    .expert_down = "layers.#.mlp.experts.@.down_proj",
};
static const struct family_names starcoder2_names = {
    NAMES_ENDS,
    NAMES_NORMS,
    NAMES_ATTENTION,
    .up = "layers.#.mlp.c_fc",
    .down = "layers.#.mlp.c_proj",
};
static const struct family_names stablelm_names = {
    NAMES_ENDS,
    NAMES_NORMS,
    NAMES_ATTENTION,
    NAMES_FFN,
    .q_norm = "layers.#.self_attn.q_layernorm.norms.@", // '@' is the head here
    .k_norm = "layers.#.self_attn.k_layernorm.norms.@",
};
static const struct family_names gpt2_names = {
    .prefix = "transformer.",
    .embed = "wte",
    .positions = "wpe",
    .final_norm = "ln_f",
    .head = "lm_head",
    .ignored = no_weights,
    .attn_norm = "h.#.ln_1",
    .ffn_norm = "h.#.ln_2",
    .qkv = "h.#.attn.c_attn",
    .o = "h.#.attn.c_proj",
    .up = "h.#.mlp.c_fc",
    .down = "h.#.mlp.c_proj",
};

/* ---- the table ---- */

static const struct family families[] = {
    {.model_type = "llama",
     .sizes = {32000, 4096, 11008, 32, 32, 2048},
     .ends = {1, 2},
     .names = &llama_names,
     .keys = {rotary, rms_norm, attention_bias, mlp_bias},
     .base = {.spec = {.norm_eps = 1e-6f, .act = ACT_SILU}, .theta = 1e4}},
    {.model_type = "mistral",
     .sizes = {32000, 4096, 14336, 32, 32, 131072},
     .ends = {1, 2},
     .names = &llama_names,
     .keys = {rotary, rms_norm, window},
     .base = {.spec = {.norm_eps = 1e-6f, .act = ACT_SILU, .n_kv_heads = 8},
              .theta = 1e4,
              .window = 4096}},
    {.model_type = "qwen2",
     .sizes = {151936, 4096, 22016, 32, 32, 32768},
     .ends = {-1, -1},
     .names = &llama_names,
     .keys = {rotary, rms_norm, optional_window},
     .base = {.spec = {.norm_eps = 1e-6f, .act = ACT_SILU, .n_kv_heads = 32, .qkv_bias = true},
              .theta = 1e4,
              .window = 4096,
              .no_window = true,
              .max_window_layers = 28,
              .has_max_window_layers = true,
              .types_by_layer = true}},
    {.model_type = "qwen3",
     .sizes = {151936, 4096, 22016, 32, 32, 32768},
     .ends = {-1, -1},
     .names = &qwen3_names,
     .keys = {rotary, rms_norm, optional_window, attention_bias},
     .base = {.spec = {.norm_eps = 1e-6f,
                       .act = ACT_SILU,
                       .n_kv_heads = 32,
                       .head_dim = 128,
                       .qk_norm = QK_NORM_HEAD},
              .theta = 1e4,
              .window = 4096,
              .no_window = true,
              .max_window_layers = 28,
              .has_max_window_layers = true,
              .types_by_layer = true}},
    {.model_type = "gemma",
     .sizes = {256000, 3072, 24576, 28, 16, 8192},
     .ends = {2, 1},
     .names = &llama_names,
     .keys = {rotary, rms_norm, attention_bias, gemma_act},
     .base = {.spec = {.norm_eps = 1e-6f,
                       .norm_offset = 1,
                       .act = ACT_GELU_TANH,
                       .n_kv_heads = 16,
                       .head_dim = 256,
                       .tied = true},
              .theta = 1e4,
              .scale_embedding = true,
              .gelu_is_tanh = true}},
    {.model_type = "gemma2",
     .sizes = {256000, 2304, 9216, 26, 8, 8192},
     .ends = {2, 1},
     .names = &gemma2_names,
     .keys = {rotary, rms_norm, attention_bias, gemma2_act, window, query_scalar, gemma2_cap},
     .base = {.spec = {.norm_eps = 1e-6f,
                       .norm_offset = 1,
                       .post_norm = true,
                       .act = ACT_GELU_TANH,
                       .n_kv_heads = 4,
                       .head_dim = 256,
                       .tied = true,
                       .attn_softcap = 50,
                       .logit_softcap = 30},
              .theta = 1e4,
              .window = 4096,
              .window_pattern = 2,
              .types_by_layer = true,
              .query_scalar = 256,
              .scale_embedding = true}},
    {.model_type = "gemma3_text",
     .sizes = {262208, 2304, 9216, 26, 8, 131072},
     .ends = {2, 1},
     .names = &gemma2_names,
     .keys = {rotary, rms_norm, attention_bias, gemma2_act, window, query_scalar, gemma3_layers},
     .base = {.spec = {.norm_eps = 1e-6f,
                       .norm_offset = 1,
                       .post_norm = true,
                       .qk_norm = QK_NORM_HEAD,
                       .act = ACT_GELU_TANH,
                       .n_kv_heads = 4,
                       .head_dim = 256,
                       .tied = true},
              .theta = 1e6,
              .local_theta = 1e4,
              .window = 4096,
              .window_pattern = 6,
              .types_by_layer = true,
              .query_scalar = 256,
              .scale_embedding = true}},
    {.model_type = "phi",
     .sizes = {51200, 2048, 8192, 24, 32, 2048},
     .ends = {1, 2},
     .names = &phi_names,
     .keys = {rotary, partial_rotary, layer_norm},
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
              .partial = 0.5}},
    {.model_type = "phi3",
     .sizes = {32064, 3072, 8192, 32, 32, 4096},
     .ends = {1, 32000},
     .names = &phi3_names,
     .keys = {rotary, partial_rotary, rms_norm, window},
     .base = {.spec = {.norm_eps = 1e-5f, .act = ACT_SILU, .fused_qkv = true, .fused_gate = true},
              .theta = 1e4,
              .partial = 1,
              .original_max_pos = 4096}},
    {.model_type = "smollm3",
     .sizes = {128256, 2048, 11008, 36, 16, 32768},
     .ends = {128000, 128001},
     .names = &llama_names,
     .keys = {rotary, rms_norm, attention_bias, mlp_bias, optional_window, smollm3_layers},
     .base = {.spec = {.norm_eps = 1e-6f, .act = ACT_SILU, .n_kv_heads = 4, .tied = true},
              .theta = 2e6,
              .no_rope_interval = 4,
              .no_window = true,
              .window_unrotated = true,
              .types_by_layer = true}},
    {.model_type = "olmo2",
     .sizes = {50304, 4096, 11008, 32, 32, 2048},
     .ends = {-1, 50279},
     .names = &olmo2_names,
     .keys = {rotary, rms_norm, attention_bias},
     .base = {.spec = {.norm_eps = 1e-5f,
                       .no_pre_norm = true,
                       .post_norm = true,
                       .qk_norm = QK_NORM_ALL,
                       .act = ACT_SILU},
              .theta = 1e4}},
    {.model_type = "olmo3", // OLMo 2 with windows; only the layers without one have YaRN
     .sizes = {50304, 4096, 11008, 32, 32, 2048},
     .ends = {-1, 50279},
     .names = &olmo2_names,
     .keys = {rotary, rms_norm, attention_bias, window},
     .base = {.spec = {.norm_eps = 1e-5f,
                       .no_pre_norm = true,
                       .post_norm = true,
                       .qk_norm = QK_NORM_ALL,
                       .act = ACT_SILU},
              .theta = 5e5,
              .local_theta = 5e5,
              .window = 4096,
              .window_pattern = 4,
              .types_by_layer = true}},
    {.model_type = "granite",
     .sizes = {32000, 4096, 11008, 32, 32, 2048},
     .ends = {1, 2},
     .names = &llama_names,
     .keys = {rotary, rms_norm, attention_bias, mlp_bias, granite_scales},
     .base = {.spec = {.norm_eps = 1e-6f, .act = ACT_SILU, .attn_scale = 1}, .theta = 1e4}},
    {.model_type = "mixtral",
     .sizes = {32000, 4096, 14336, 32, 32, 131072},
     .ends = {1, 2},
     .names = &mixtral_names,
     .keys = {rotary, rms_norm, window, experts},
     .base = {.spec = {.norm_eps = 1e-5f,
                       .act = ACT_SILU,
                       .n_kv_heads = 8,
                       .n_experts = 8,
                       .n_experts_used = 2},
              .theta = 1e6}},
    {.model_type = "qwen3_moe",
     .sizes = {151936, 2048, 6144, 24, 32, 32768},
     .ends = {-1, -1},
     .names = &qwen3_moe_names,
     .keys = {rotary, rms_norm, attention_bias, optional_window, experts, qwen3_experts},
     .base = {.spec = {.norm_eps = 1e-6f,
                       .act = ACT_SILU,
                       .n_kv_heads = 4,
                       .qk_norm = QK_NORM_HEAD,
                       .n_experts = 128,
                       .n_experts_used = 8,
                       .expert_ffn_dim = 768,
                       .no_renormalise = true},
              .theta = 1e4,
              .window = 4096,
              .no_window = true,
              .sparse_step = 1}},
    {.model_type = "starcoder2",
     .sizes = {49152, 3072, 12288, 30, 24, 4096},
     .ends = {50256, 50256},
     .names = &starcoder2_names,
     .keys = {rotary, window, starcoder2},
     .base = {.spec = {.norm = NORM_LAYER,
                       .norm_eps = 1e-5f,
                       .n_kv_heads = 2,
                       .act = ACT_GELU_TANH,
                       .ungated = true,
                       .qkv_bias = true,
                       .o_bias = true,
                       .ffn_bias = true,
                       .tied = true},
              .theta = 1e4}},
    {.model_type = "stablelm",
     .sizes = {50304, 2560, 6912, 32, 32, 4096},
     .ends = {0, 0},
     .names = &stablelm_names,
     .keys = {rotary, partial_rotary, layer_norm, stablelm},
     .base = {.spec = {.norm = NORM_LAYER, .norm_eps = 1e-5f, .act = ACT_SILU, .n_kv_heads = 32},
              .theta = 1e4,
              .partial = 0.25}},
    {.model_type = "gpt2",
     .sizes = {50257, 768, 0, 12, 12, 1024},
     .ends = {50256, 50256},
     .names = &gpt2_names,
     .keys = {gpt2},
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
                       .tied = true}}},
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
