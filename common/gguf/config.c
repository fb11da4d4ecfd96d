/* config.json and generation_config.json of a converted GGUF file: see model.h. Keys have the form
 * in which transformers 4 writes them, which later versions read too. A family's own members follow
 * those that most families have.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <inttypes.h>

#include "gguf/model.h"

/* Writes an id or a list of ids. If there is none, writes null with say_none, because a missing key
 * means the family's default. */
static void id_member(struct buf *out, const char *key, const int64_t *ids, size_t n,
                      bool say_none) {
    bool none = n == 0 || ids[0] < 0;
    if (none && say_none)
        buf_fmt(out, ",\n  \"%s\": null", key);
    if (none)
        return;
    buf_fmt(out, ",\n  \"%s\": ", key);
    for (size_t i = 0; i < n; i++)
        buf_fmt(out, "%s%" PRId64, i > 0 ? ", " : n > 1 ? "[" : "", ids[i]);
    if (n > 1)
        buf_byte(out, ']');
}

void gguf_config_flag(struct buf *out, const char *key, bool on) {
    buf_fmt(out, ",\n  \"%s\": %s", key, on ? "true" : "false");
}

void gguf_config_count(struct buf *out, const char *key, uint64_t n) {
    buf_fmt(out, ",\n  \"%s\": %" PRIu64, key, n);
}

void gguf_config_real(struct buf *out, const char *key, double f) {
    buf_fmt(out, ",\n  \"%s\": ", key);
    gguf_write_f32(out, f);
}

/* Names of config.json's members. */
struct config_names {
    const char *act, *hidden, *ffn, *max_pos, *heads, *layers;
};

static void dimensions(const struct gguf_model *m, struct buf *out) {
    static const struct config_names usual =
                                         {
                                             "hidden_act",          "hidden_size",
                                             "intermediate_size",   "max_position_embeddings",
                                             "num_attention_heads", "num_hidden_layers",
                                         },
                                     gpt2 = {"activation_function", "n_embd", "n_inner",
                                             "n_positions",         "n_head", "n_layer"};
    bool learned = m->arch->has & GGUF_LEARNED_POS;
    const struct config_names *names = learned ? &gpt2 : &usual;
    if (!learned)
        gguf_config_count(out, "head_dim", m->head_dim);
    buf_fmt(out, ",\n  \"%s\": \"%s\"", names->act, m->arch->act ? m->arch->act : "silu");
    gguf_config_count(out, names->hidden, m->hidden_dim);
    gguf_config_count(out, names->ffn, m->ffn_dim);
    gguf_config_count(out, names->max_pos, m->max_pos);
    gguf_config_count(out, names->heads, m->n_heads);
    gguf_config_count(out, names->layers, m->n_layers);
    if (!learned)
        gguf_config_count(out, "num_key_value_heads", m->n_kv_heads);
    gguf_config_real(out, m->arch->eps ? m->arch->eps : "rms_norm_eps", m->norm_eps);
    if (learned)
        return;
    buf_fmt(out, ",\n  \"rope_scaling\": %s", m->rope_scaling.n ? m->rope_scaling.p : "null");
    gguf_config_real(out, "rope_theta", m->rope_theta);
}

void gguf_config_json(const struct gguf_model *m, enum dtype t, bool kept,
                      const struct gguf_ids *ids, struct buf *out) {
    const char *torch = t == DT_F32 ? "float32" : t == DT_F16 ? "float16" : "bfloat16";
    buf_fmt(out, "{\n  \"architectures\": [\"%s\"],\n  \"model_type\": \"%s\"", m->arch->class,
            m->arch->model_type);
    if (m->arch->has & (GGUF_BIAS_KEYS | GGUF_ATTN_BIAS_KEY))
        gguf_config_flag(out, "attention_bias", m->attn_bias);
    if (m->arch->has & GGUF_BIAS_KEYS)
        gguf_config_flag(out, "mlp_bias", m->mlp_bias);
    id_member(out, "bos_token_id", &ids->bos, 1, true);
    id_member(out, "eos_token_id", ids->eos, ids->n_eos, true);
    id_member(out, "pad_token_id", &ids->pad, 1, false);
    dimensions(m, out);
    if (m->window)
        gguf_config_count(out, "sliding_window", m->window);
    else if (m->arch->has & GGUF_WINDOW)
        buf_str(out, ",\n  \"sliding_window\": null");
    if (kept)
        buf_str(out, ",\n  \"quantization_config\": {\"quant_method\": \"tokpipe\"}");
    gguf_config_flag(out, "tie_word_embeddings", m->tied);
    buf_fmt(out, ",\n  \"torch_dtype\": \"%s\"", torch);
    gguf_config_flag(out, "use_cache", true);
    gguf_config_count(out, "vocab_size", m->vocab_size);
    if (m->arch->config)
        m->arch->config(m, out);
    buf_str(out, "\n}\n");
}

void gguf_generation_config_json(const struct gguf_ids *ids, struct buf *out) {
    buf_str(out, "{\n  \"_from_model_config\": true");
    id_member(out, "bos_token_id", &ids->bos, 1, false);
    id_member(out, "eos_token_id", ids->eos, ids->n_eos, false);
    id_member(out, "pad_token_id", &ids->pad, 1, false);
    buf_str(out, "\n}\n");
}
