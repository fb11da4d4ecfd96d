/* A GGUF file's architecture and dimensions: see model.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "gguf/model.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/strmap.h"

#define MAX_DIM     (1u << 24)
#define MAX_LAYERS  (1u << 16)
#define MAX_HEADS   (1u << 16)
#define MAX_EXPERTS (1u << 12)

char *gguf_model_key(const struct gguf_model *m, const char *suffix) {
    return xasprintf("%s.%s", m->arch->name, suffix);
}

/* ---- keys ---- */

/* A whole number, or an array that has the same number for each layer. 1, 0 or -1 as gguf_u64. */
static int same_u64(const struct gguf_model *m, const char *key, uint64_t max, uint64_t *out,
                    struct err *e) {
    const struct gguf_kv *kv = gguf_find(m->g, key);
    if (!kv || !kv->is_array || !gguf_is_int(kv->type))
        return gguf_u64(m->g, key, max, out, e);
    if (kv->count == 0 || (m->n_layers && kv->count != m->n_layers))
        return err_set(e, EXIT_DATA,
                       "key '%s' has %" PRIu64 " items, not one for each of %" PRIu64 " layers: %s",
                       key, kv->count, m->n_layers, m->g->path);
    int64_t first = gguf_int_at(kv, 0);
    for (uint64_t i = 1; i < kv->count; i++)
        if (gguf_int_at(kv, i) != first)
            return err_set(e, EXIT_DATA,
                           "key '%s' is %" PRId64 " in layer 0 and %" PRId64 " in layer %" PRIu64
                           ", but only the same number in all layers is supported: %s",
                           key, first, gguf_int_at(kv, i), i, m->g->path);
    if (first < 0 || (uint64_t)first > max)
        return err_set(e, EXIT_DATA, "key '%s' is %" PRId64 ", not 0 to %" PRIu64 ": %s", key,
                       first, max, m->g->path);
    *out = (uint64_t)first;
    return 1;
}

/* *out is the fallback if the key is missing. */
static int count(const struct gguf_model *m, const char *suffix, uint64_t fallback, uint64_t max,
                 uint64_t *out, struct err *e) {
    char *key = gguf_model_key(m, suffix);
    *out = fallback;
    int rc = same_u64(m, key, max, out, e) < 0 ? -1 : 0;
    free(key);
    return rc;
}

/* A fallback of 0 means that the key is required. 0 is refused. */
static int dim(const struct gguf_model *m, const char *suffix, uint64_t fallback, uint64_t max,
               uint64_t *out, struct err *e) {
    if (count(m, suffix, fallback, max, out, e) != 0)
        return -1;
    return *out ? 0
                : err_set(e, EXIT_DATA, "key '%s.%s' is missing or 0: %s", m->arch->name, suffix,
                          m->g->path);
}

/* Any finite number; *out is unchanged if the key is missing. */
static int number(const struct gguf_model *m, const char *suffix, double *out, struct err *e) {
    char *key = gguf_model_key(m, suffix);
    int rc = gguf_f64(m->g, key, out, e) < 0 ? -1 : 0;
    free(key);
    return rc;
}

static int real(const struct gguf_model *m, const char *suffix, double fallback, double *out,
                struct err *e) {
    *out = fallback;
    if (number(m, suffix, out, e) != 0)
        return -1;
    return *out > 0 ? 0
                    : err_set(e, EXIT_DATA, "key '%s.%s' is missing or not positive: %s",
                              m->arch->name, suffix, m->g->path);
}

static int boolean(const struct gguf_model *m, const char *suffix, bool *out, struct err *e) {
    char *key = gguf_model_key(m, suffix);
    int rc = gguf_bool(m->g, key, out, e) < 0 ? -1 : 0;
    free(key);
    return rc;
}

/* Refuses keys whose value would change the result in a way that is not supported. An architecture
 * that has what `has` names reads the key itself. */
static int refuse_unsupported(const struct gguf_model *m, struct err *e) {
    static const struct {
        const char *suffix;
        double neutral, other; // both have no effect
        unsigned has;
    } keys[] = {{"expert_count", 0, 0, GGUF_MOE},
                {"expert_shared_count", 0, 0, 0},
                {"expert_group_count", 0, 1, 0},
                {"expert_weights_scale", 0, 1, 0},
                {"expert_gating_func", 0, 1, 0}, // 1: softmax
                {"nextn_predict_layers", 0, 0, 0},
                {"attention.scale", 0, 0, GGUF_ATTN_SCALE},
                {"attention.output_scale", 0, 1, 0},
                {"attention.temperature_scale", 0, 0, 0},
                {"attention.max_alibi_bias", 0, 0, 0},
                {"logit_scale", 0, 1, GGUF_SCALES},
                {"residual_scale", 0, 1, GGUF_SCALES},
                {"embedding_scale", 0, 1, GGUF_SCALES},
                {"attention.clamp_kqv", 0, 0, 0},
                {"attn_logit_softcapping", 0, 0, GGUF_ATTN_CAP},
                {"final_logit_softcapping", 0, 0, GGUF_LOGIT_CAP},
                {"attention.logit_softcapping", 0, 0, 0},
                {"rope.scaling.alpha", 0, 0, 0},
                {"rope.scaling.yarn_log_multiplier", 0, 0, 0}};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        double v = keys[i].neutral;
        if (m->arch->has & keys[i].has)
            continue;
        if (number(m, keys[i].suffix, &v, e) != 0)
            return -1;
        if (v != keys[i].neutral && v != keys[i].other)
            return err_set(e, EXIT_DATA, "key '%s.%s' is %g, which is not supported for '%s': %s",
                           m->arch->name, keys[i].suffix, v, m->arch->model_type, m->g->path);
    }
    return 0;
}

/* Likewise for keys that say yes or no. llama.cpp does not rotate a granite that is not finetuned
 * (src/models/granite.cpp). */
static int refuse_unsupported_flags(const struct gguf_model *m, struct err *e) {
    bool causal = true, rotated = true;
    if (boolean(m, "attention.causal", &causal, e) ||
        (m->arch->has & GGUF_SCALES && boolean(m, "rope.scaling.finetuned", &rotated, e)))
        return -1;
    return causal && rotated
               ? 0
               : err_set(e, EXIT_DATA, "key '%s.%s' is false, which is not supported: %s",
                         m->arch->name, causal ? "rope.scaling.finetuned" : "attention.causal",
                         m->g->path);
}

/* Keys that are read, or that refuse_unsupported has looked at. */
static const struct {
    const char *suffix;
    unsigned has; // only architectures that have this read it; 0: all
} known_keys[] = {{"block_count", 0},
                  {"context_length", 0},
                  {"embedding_length", 0},
                  {"feed_forward_length", 0},
                  {"vocab_size", 0},
                  {"attention.head_count", 0},
                  {"attention.head_count_kv", 0},
                  {"attention.key_length", 0},
                  {"attention.value_length", 0},
                  {"attention.layer_norm_rms_epsilon", 0},
                  {"attention.layer_norm_epsilon", GGUF_LAYER_NORM},
                  {"attention.sliding_window", 0},
                  {"attention.sliding_window_pattern", GGUF_WINDOW | GGUF_IF_WINDOW},
                  {"attention.causal", 0},
                  {"rope.freq_base", 0},
                  {"rope.freq_base_swa", GGUF_LOCAL_ROPE},
                  {"rope.dimension_count", 0},
                  {"rope.scale_linear", 0},
                  {"rope.scaling.", 0},
                  {"expert_count", 0},
                  {"expert_used_count", 0},
                  {"expert_shared_count", 0},
                  {"expert_group_count", 0},
                  {"expert_weights_scale", 0},
                  {"expert_gating_func", 0},
                  {"expert_weights_norm", GGUF_EXPERT_NORM},
                  {"expert_feed_forward_length", GGUF_OWN_EXPERT_FFN},
                  {"nextn_predict_layers", 0},
                  {"use_parallel_residual", GGUF_PARALLEL_KEY},
                  {"attention.scale", 0},
                  {"attention.output_scale", 0},
                  {"attention.temperature_scale", 0},
                  {"attention.max_alibi_bias", 0},
                  {"logit_scale", 0},
                  {"residual_scale", 0},
                  {"embedding_scale", 0},
                  {"attention.clamp_kqv", 0},
                  {"attn_logit_softcapping", 0},
                  {"final_logit_softcapping", 0},
                  {"attention.logit_softcapping", 0}};

static void warn_unknown(const struct gguf_model *m) {
    size_t n = strlen(m->arch->name);
    for (size_t i = 0; i < m->g->n_kvs; i++) {
        struct str key = m->g->kvs[i].key;
        if (key.n <= n + 1 || memcmp(key.p, m->arch->name, n) != 0 || key.p[n] != '.')
            continue;
        struct str suffix = {key.p + n + 1, key.n - n - 1};
        bool found = false;
        for (size_t k = 0; k < sizeof known_keys / sizeof *known_keys && !found; k++) {
            size_t len = strlen(known_keys[k].suffix);
            bool group = known_keys[k].suffix[len - 1] == '.';
            found = group ? suffix.n > len && memcmp(suffix.p, known_keys[k].suffix, len) == 0
                          : str_eq(suffix, known_keys[k].suffix);
            found &= !known_keys[k].has || m->arch->has & known_keys[k].has;
        }
        if (!found)
            warn("key '%.*s' is not known and is ignored: %s", str_shown(key), key.p, m->g->path);
    }
}

/* ---- dimensions ---- */

/* head_dim is attention.key_length, or hidden_dim / n_heads if that is missing. */
static int read_head_dim(struct gguf_model *m, struct err *e) {
    uint64_t value_dim;
    if (dim(m, "attention.key_length", m->hidden_dim / m->n_heads, MAX_DIM, &m->head_dim, e) ||
        dim(m, "attention.value_length", m->head_dim, MAX_DIM, &value_dim, e))
        return -1;
    bool rotates = !(m->arch->has & GGUF_LEARNED_POS);
    if (rotates && dim(m, "rope.dimension_count", m->head_dim, MAX_DIM, &m->rope_dim, e))
        return -1;
    if (value_dim != m->head_dim || m->rope_dim > m->head_dim || m->rope_dim % 2 ||
        (rotates && m->rope_dim != m->head_dim && !(m->arch->has & GGUF_PARTIAL)))
        return err_set(e, EXIT_DATA,
                       "heads of %" PRIu64 " elements, values of %" PRIu64 ", %" PRIu64
                       " of them rotated: not supported: %s",
                       m->head_dim, value_dim, m->rope_dim, m->g->path);
    return 0;
}

static int read_experts(struct gguf_model *m, struct err *e) {
    m->expert_ffn_dim = m->ffn_dim;
    m->experts_sum_to_1 = true;
    if (!(m->arch->has & GGUF_MOE))
        return 0;
    if (dim(m, "expert_count", 0, MAX_EXPERTS, &m->n_experts, e) ||
        dim(m, "expert_used_count", 0, m->n_experts, &m->n_experts_used, e))
        return -1;
    if (m->arch->has & GGUF_OWN_EXPERT_FFN &&
        dim(m, "expert_feed_forward_length", m->ffn_dim / m->n_experts_used, MAX_DIM,
            &m->expert_ffn_dim, e))
        return -1;
    return boolean(m, "expert_weights_norm", &m->experts_sum_to_1, e);
}

/* Which layers have a window. attention.sliding_window_pattern is the period, whose last layer has
 * none, or an array with a bool for each layer. */
static int read_pattern(struct gguf_model *m, struct err *e) {
    char *key = gguf_model_key(m, "attention.sliding_window_pattern");
    const struct gguf_kv *kv = gguf_find(m->g, key);
    uint64_t period = m->arch->window_period;
    bool list = kv && kv->is_array && (kv->type == GGUF_BOOL || gguf_is_int(kv->type));
    int rc = !list && gguf_u64(m->g, key, MAX_LAYERS, &period, e) < 0 ? -1 : 0;
    if (list && kv->count != m->n_layers)
        rc = err_set(e, EXIT_DATA,
                     "key '%s' has %" PRIu64 " items, not one for each of %" PRIu64 " layers: %s",
                     key, kv->count, m->n_layers, m->g->path);
    free(key);
    if (rc != 0)
        return -1;
    m->window_period = list ? 0 : period;
    m->sliding = xcalloc((size_t)m->n_layers, sizeof *m->sliding);
    m->dense = xcalloc((size_t)m->n_layers, sizeof *m->dense);
    for (uint64_t i = 0; i < m->n_layers && m->window; i++)
        m->sliding[i] = list && kv->type == GGUF_BOOL ? kv->p[i] != 0
                        : list                        ? gguf_int_at(kv, i) != 0
                                                      : period == 0 || (i + 1) % period != 0;
    return 0;
}

/* Factors and caps; 0 means none, and is what a missing key gives. */
static int read_scales(struct gguf_model *m, struct err *e) {
    const struct {
        const char *suffix;
        double *out;
    } keys[] = {
        {"attention.scale", &m->attn_scale},      {"logit_scale", &m->logit_scale},
        {"residual_scale", &m->residual_scale},   {"embedding_scale", &m->embed_scale},
        {"attn_logit_softcapping", &m->attn_cap}, {"final_logit_softcapping", &m->logit_cap}};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (number(m, keys[i].suffix, keys[i].out, e) != 0)
            return -1;
        if (*keys[i].out < 0)
            return err_set(e, EXIT_DATA, "key '%s.%s' is %g, not a positive number: %s",
                           m->arch->name, keys[i].suffix, *keys[i].out, m->g->path);
    }
    return 0;
}

static int read_dims(struct gguf_model *m, struct err *e) {
    bool layer_norm = m->arch->has & GGUF_LAYER_NORM;
    if (dim(m, "block_count", 0, MAX_LAYERS, &m->n_layers, e) ||
        dim(m, "embedding_length", 0, MAX_DIM, &m->hidden_dim, e) ||
        dim(m, "feed_forward_length", 0, MAX_DIM, &m->ffn_dim, e) ||
        dim(m, "context_length", 0, INT32_MAX, &m->max_pos, e) ||
        dim(m, "attention.head_count", 0, MAX_HEADS, &m->n_heads, e) ||
        dim(m, "attention.head_count_kv", m->n_heads, MAX_HEADS, &m->n_kv_heads, e) ||
        read_head_dim(m, e) || read_experts(m, e) ||
        real(m, layer_norm ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon", 0,
             &m->norm_eps, e) ||
        real(m, "rope.freq_base", 10000, &m->rope_theta, e) || read_scales(m, e))
        return -1;
    if (m->arch->has & GGUF_LOCAL_ROPE && real(m, "rope.freq_base_swa", 10000, &m->local_theta, e))
        return -1;
    if (m->n_heads % m->n_kv_heads)
        return err_set(e, EXIT_DATA,
                       "%" PRIu64 " heads are not a multiple of %" PRIu64 " key-value heads: %s",
                       m->n_heads, m->n_kv_heads, m->g->path);
    // A model has at least one tensor a layer. This bounds the memory of the plan.
    if (m->n_layers > m->g->n_tensors)
        return err_set(e, EXIT_DATA, "%" PRIu64 " layers, but only %zu tensors: %s", m->n_layers,
                       m->g->n_tensors, m->g->path);
    return read_pattern(m, e);
}

/* ---- the architecture ---- */

/* Sets m->arch. Some names have several model types: experts make a llama a mixtral, a window
 * makes it a mistral. */
static int find_arch(struct gguf_model *m, struct err *e) {
    struct str name = {"", 0};
    uint64_t experts = 0;
    if (gguf_str(m->g, "general.architecture", &name, e) < 0)
        return -1;
    m->arch = gguf_arch_find(name, false, false);
    if (!m->arch) {
        struct buf known = {0};
        err_set(e, EXIT_DATA, "architecture '%.*s' is not supported (known: %s): %s",
                str_shown(name), name.p, gguf_arch_names(&known), m->g->path);
        buf_free(&known);
        return -1;
    }
    if (count(m, "expert_count", 0, MAX_EXPERTS, &experts, e) ||
        count(m, "attention.sliding_window", m->arch->window_default, INT32_MAX, &m->window, e))
        return -1;
    m->arch = gguf_arch_find(name, experts > 0, m->window > 0);
    if (m->window && !(m->arch->has & (GGUF_WINDOW | GGUF_IF_WINDOW)))
        return err_set(e, EXIT_DATA, "a sliding window is not supported for '%s': %s",
                       m->arch->name, m->g->path);
    return 0;
}

int gguf_model_open(struct gguf_model *m, const struct gguf *g, struct err *e) {
    *m = (struct gguf_model){.g = g};
    if (find_arch(m, e) || refuse_unsupported(m, e) || refuse_unsupported_flags(m, e) ||
        read_dims(m, e) || gguf_plan(m, e) || gguf_rope_scaling(m, e)) {
        gguf_model_free(m);
        return -1;
    }
    warn_unknown(m);
    return 0;
}
