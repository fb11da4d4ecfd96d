/* config.json and generation_config.json of a converted GGUF file: see model.h. Keys have the order
 * and form in which transformers 4 writes them, which later versions read too.
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

static void flag(struct buf *out, const char *key, bool on) {
    buf_fmt(out, ",\n  \"%s\": %s", key, on ? "true" : "false");
}

static void count(struct buf *out, const char *key, uint64_t n) {
    buf_fmt(out, ",\n  \"%s\": %" PRIu64, key, n);
}

void gguf_config_json(const struct gguf_model *m, enum dtype t, const struct gguf_ids *ids,
                      struct buf *out) {
    const char *torch = t == DT_F32 ? "float32" : t == DT_F16 ? "float16" : "bfloat16";
    buf_fmt(out, "{\n  \"architectures\": [\"%s\"],\n  \"model_type\": \"%s\"", m->arch->class,
            m->arch->model_type);
    if (m->arch->bias_keys || m->arch->attention_bias_key)
        flag(out, "attention_bias", m->attn_bias);
    if (m->arch->bias_keys)
        flag(out, "mlp_bias", m->mlp_bias);
    id_member(out, "bos_token_id", &ids->bos, 1, true);
    id_member(out, "eos_token_id", ids->eos, ids->n_eos, true);
    id_member(out, "pad_token_id", &ids->pad, 1, false);
    count(out, "head_dim", m->head_dim);
    buf_str(out, ",\n  \"hidden_act\": \"silu\"");
    count(out, "hidden_size", m->hidden_dim);
    count(out, "intermediate_size", m->ffn_dim);
    count(out, "max_position_embeddings", m->max_pos);
    count(out, "num_attention_heads", m->n_heads);
    count(out, "num_hidden_layers", m->n_layers);
    count(out, "num_key_value_heads", m->n_kv_heads);
    buf_str(out, ",\n  \"rms_norm_eps\": ");
    gguf_write_f32(out, m->norm_eps);
    buf_fmt(out, ",\n  \"rope_scaling\": %s,\n  \"rope_theta\": ",
            m->rope_scaling.n ? m->rope_scaling.p : "null");
    gguf_write_f32(out, m->rope_theta);
    if (m->arch->window)
        count(out, "sliding_window", m->window);
    flag(out, "tie_word_embeddings", m->tied);
    buf_fmt(out, ",\n  \"torch_dtype\": \"%s\"", torch);
    flag(out, "use_cache", true);
    count(out, "vocab_size", m->vocab_size);
    buf_str(out, "\n}\n");
}

void gguf_generation_config_json(const struct gguf_ids *ids, struct buf *out) {
    buf_str(out, "{\n  \"_from_model_config\": true");
    id_member(out, "bos_token_id", &ids->bos, 1, false);
    id_member(out, "eos_token_id", ids->eos, ids->n_eos, false);
    id_member(out, "pad_token_id", &ids->pad, 1, false);
    buf_str(out, "\n}\n");
}
