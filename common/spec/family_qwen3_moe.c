/* Qwen 3 MoE is Qwen 3 with experts, whose FFN has a size of its own (moe_intermediate_size).
 * decoder_sparse_step and mlp_only_layers choose layers that have an ordinary FFN.
 * Unless norm_topk_prob is true, the chosen experts' weights do not add up to 1.
 *
 * Keys and defaults: transformers' models/qwen3_moe/configuration_qwen3_moe.py.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "spec/family_parts.h"

static const struct key expert_keys[] = {
    {"moe_intermediate_size", KEY_SIZE, SPEC_AT(expert_ffn_dim), SPEC_MAX_DIM},
    {"norm_topk_prob", KEY_FALSE, SPEC_AT(no_renormalise), 0},
    {"decoder_sparse_step", KEY_SIZE, CONFIG_AT(sparse_step), SPEC_MAX_LAYERS},
    {"mlp_only_layers", KEY_OTHER, 0, 0},
    {NULL, KEY_OTHER, 0, 0},
};

static const struct family_names names = {
    NAMES_ENDS,
    NAMES_NORMS,
    NAMES_ATTENTION,
    NAMES_QK_NORM,
    NAMES_FFN,
    .moe = {"layers.#.mlp"},
    .router = "gate",
    .expert_gate = "experts.@.gate_proj",
    .expert_up = "experts.@.up_proj",
    .expert_down = "experts.@.down_proj",
};

const struct family family_qwen3_moe = {
    .model_type = "qwen3_moe",
    .sizes = {.vocab_size = 151936,
              .hidden_dim = 2048,
              .ffn_dim = 6144,
              .n_layers = 24,
              .n_heads = 32,
              .max_pos = 32768},
    .ends = {.bos = -1, .eos = -1},
    .names = &names,
    .keys = {family_rotary_keys, family_rms_norm_keys, family_attention_bias_keys,
             family_optional_window_keys, family_experts_keys, expert_keys},
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
             .sparse_step = 1},
};
