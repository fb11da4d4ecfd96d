/* The members of config.json that only some families have: see model.h.
 *
 * Names and meanings: transformers' models/NAME/configuration_NAME.py, as in common/spec. Where
 * GGUF has no key for a number, llama.cpp's loaders (src/models/NAME.cpp) say what it is.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "gguf/model.h"

/* rope.dimension_count as the share of a head: the shortest decimal from which the reference's
 * int(head_dim * share) is the same number. */
static void partial_rotary(const struct gguf_model *m, struct buf *out) {
    char text[40];
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)m->rope_dim / (double)m->head_dim);
        if ((uint64_t)((double)m->head_dim * strtod(text, NULL)) == m->rope_dim)
            break;
    }
    buf_fmt(out, ",\n  \"partial_rotary_factor\": %s%s", text, strpbrk(text, ".e") ? "" : ".0");
}

static void layer_types(const struct gguf_model *m, struct buf *out) {
    buf_str(out, ",\n  \"layer_types\": [");
    for (uint64_t i = 0; i < m->n_layers; i++)
        buf_fmt(out, "%s\"%s_attention\"", i ? ", " : "", m->sliding[i] ? "sliding" : "full");
    buf_byte(out, ']');
}

/* The scale of the scores, whose inverse square config.json has. Where the file has none, it is
 * that of the head's size; of the hidden size by head in the 27B models, which are told by their
 * number of layers.
 */
static void query_scalar(const struct gguf_model *m, uint64_t layers_of_27b, struct buf *out) {
    uint64_t size = m->n_layers == layers_of_27b ? m->hidden_dim / m->n_heads : m->head_dim;
    double d = (double)size;
    if (m->attn_scale > 0)
        d = 1 / (m->attn_scale * m->attn_scale);
    // It is a whole number in all published models; the scale is rounded to f32.
    double whole = round(d);
    if (whole >= 1 && whole <= INT32_MAX && (float)(1 / sqrt(whole)) == (float)(1 / sqrt(d)))
        gguf_config_count(out, "query_pre_attn_scalar", (uint64_t)whole);
    else
        gguf_config_real(out, "query_pre_attn_scalar", d);
}

static void softcap(struct buf *out, const char *key, double cap) {
    if (cap > 0)
        gguf_config_real(out, key, cap);
    else
        buf_fmt(out, ",\n  \"%s\": null", key);
}

void gguf_config_gemma(const struct gguf_model *m, struct buf *out) {
    buf_fmt(out, ",\n  \"hidden_activation\": \"%s\"", m->arch->act);
}

void gguf_config_gemma2(const struct gguf_model *m, struct buf *out) {
    gguf_config_gemma(m, out);
    query_scalar(m, 46, out);
    softcap(out, "attn_logit_softcapping", m->attn_cap);
    softcap(out, "final_logit_softcapping", m->logit_cap);
    layer_types(m, out);
}

void gguf_config_gemma3(const struct gguf_model *m, struct buf *out) {
    gguf_config_gemma(m, out);
    query_scalar(m, 62, out);
    softcap(out, "final_logit_softcapping", m->logit_cap);
    gguf_config_real(out, "rope_local_base_freq", m->local_theta);
    if (m->window_period) // transformers before 4.53 reads this instead of layer_types
        gguf_config_count(out, "sliding_window_pattern", m->window_period);
    layer_types(m, out);
}

void gguf_config_gpt2(const struct gguf_model *m, struct buf *out) {
    gguf_config_count(out, "n_ctx", m->max_pos);
}

/* A factor of 1 where the file has no key. */
static void factor(struct buf *out, const char *key, double f) {
    gguf_config_real(out, key, f > 0 ? f : 1);
}

void gguf_config_granite(const struct gguf_model *m, struct buf *out) {
    factor(out, "embedding_multiplier", m->embed_scale);
    factor(out, "residual_multiplier", m->residual_scale);
    gguf_config_real(out, "attention_multiplier",
                     m->attn_scale > 0 ? m->attn_scale : 1 / sqrt((double)m->head_dim));
    factor(out, "logits_scaling", m->logit_scale);
}

void gguf_config_mixtral(const struct gguf_model *m, struct buf *out) {
    gguf_config_count(out, "num_local_experts", m->n_experts);
    gguf_config_count(out, "num_experts_per_tok", m->n_experts_used);
}

void gguf_config_olmo3(const struct gguf_model *m, struct buf *out) {
    layer_types(m, out);
}

void gguf_config_phi(const struct gguf_model *m, struct buf *out) {
    partial_rotary(m, out);
    gguf_config_flag(out, "qk_layernorm", m->qk_norm);
}

void gguf_config_phi3(const struct gguf_model *m, struct buf *out) {
    partial_rotary(m, out);
    gguf_config_count(out, "original_max_position_embeddings",
                      m->original_max_pos ? m->original_max_pos : m->max_pos);
}

/* norm_topk_prob is true in llama.cpp unless a key says otherwise. */
void gguf_config_qwen3_moe(const struct gguf_model *m, struct buf *out) {
    const char *comma = "";
    gguf_config_count(out, "num_experts", m->n_experts);
    gguf_config_count(out, "num_experts_per_tok", m->n_experts_used);
    gguf_config_count(out, "moe_intermediate_size", m->expert_ffn_dim);
    gguf_config_flag(out, "norm_topk_prob", m->experts_sum_to_1);
    gguf_config_count(out, "decoder_sparse_step", 1);
    buf_str(out, ",\n  \"mlp_only_layers\": [");
    for (uint64_t i = 0; i < m->n_layers; i++)
        if (m->dense[i]) {
            buf_fmt(out, "%s%llu", comma, (unsigned long long)i);
            comma = ", ";
        }
    buf_byte(out, ']');
}

/* Every fourth layer is not rotated: src/models/smollm3.cpp, n_no_rope_layer_step. */
void gguf_config_smollm3(const struct gguf_model *m, struct buf *out) {
    gguf_config_count(out, "no_rope_layer_interval", 4);
    buf_str(out, ",\n  \"no_rope_layers\": [");
    for (uint64_t i = 0; i < m->n_layers; i++)
        buf_fmt(out, "%s%d", i ? ", " : "", (i + 1) % 4 != 0);
    buf_byte(out, ']');
    gguf_config_flag(out, "use_sliding_window", false);
}

void gguf_config_stablelm(const struct gguf_model *m, struct buf *out) {
    partial_rotary(m, out);
    gguf_config_flag(out, "use_qkv_bias", m->qkv_bias);
    gguf_config_flag(out, "use_parallel_residual", m->parallel);
    gguf_config_flag(out, "qk_layernorm", m->qk_norm);
}

void gguf_config_starcoder2(const struct gguf_model *m, struct buf *out) {
    gguf_config_flag(out, "use_bias", m->attn_bias);
}
