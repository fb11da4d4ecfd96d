/* A GGUF file as a plan for a Hugging Face folder: see model.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "gguf/model.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/strmap.h"
#include "gguf/dequant.h"

#define MAX_DIM    (1u << 24)
#define MAX_LAYERS (1u << 16)

/* "llama.block_count": the model's keys begin with the architecture's name. */
static char *key_of(const struct gguf_model *m, const char *suffix) {
    return xasprintf("%s.%s", m->arch->name, suffix);
}

/* A fallback of 0 means that the key is required. 0 is refused. */
static int dim(const struct gguf_model *m, const char *suffix, uint64_t fallback, uint64_t max,
               uint64_t *out, struct err *e) {
    char *key = key_of(m, suffix);
    *out = fallback;
    int rc = gguf_u64(m->g, key, max, out, e) < 0 ? -1 : 0;
    if (rc == 0 && *out == 0)
        rc = err_set(e, EXIT_DATA, "key '%s' is missing or 0: %s", key, m->g->path);
    free(key);
    return rc;
}

static int real(const struct gguf_model *m, const char *suffix, double fallback, double *out,
                struct err *e) {
    char *key = key_of(m, suffix);
    *out = fallback;
    int rc = gguf_f64(m->g, key, out, e) < 0 ? -1 : 0;
    if (rc == 0 && *out <= 0)
        rc = err_set(e, EXIT_DATA, "key '%s' is missing or not positive: %s", key, m->g->path);
    free(key);
    return rc;
}

/* Refuses keys whose value would change the result in a way that is not supported. */
static int refuse_unsupported(const struct gguf_model *m, struct err *e) {
    static const struct {
        const char *suffix;
        double neutral;
    } keys[] = {{"expert_count", 0},
                {"attention.scale", 0},
                {"logit_scale", 1},
                {"residual_scale", 1},
                {"embedding_scale", 1},
                {"attention.clamp_kqv", 0},
                {"attn_logit_softcapping", 0},
                {"final_logit_softcapping", 0},
                {"attention.logit_softcapping", 0}};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        double v = keys[i].neutral;
        char *key = key_of(m, keys[i].suffix);
        int rc = gguf_f64(m->g, key, &v, e) < 0 ? -1 : 0;
        if (rc == 0 && v != keys[i].neutral)
            rc = err_set(e, EXIT_DATA, "key '%s' is %g, which is not supported for '%s': %s", key,
                         v, m->arch->name, m->g->path);
        free(key);
        if (rc != 0)
            return -1;
    }
    return 0;
}

static void warn_unknown(const struct gguf_model *m) {
    static const char *const known[] = {"block_count",
                                        "context_length",
                                        "embedding_length",
                                        "feed_forward_length",
                                        "vocab_size",
                                        "attention.head_count",
                                        "attention.head_count_kv",
                                        "attention.key_length",
                                        "attention.value_length",
                                        "attention.layer_norm_rms_epsilon",
                                        "attention.sliding_window",
                                        "attention.causal",
                                        "rope.freq_base",
                                        "rope.dimension_count",
                                        "rope.scale_linear",
                                        "rope.scaling.",
                                        "expert_count",
                                        "expert_used_count",
                                        "attention.scale",
                                        "logit_scale",
                                        "residual_scale",
                                        "embedding_scale",
                                        "attention.clamp_kqv",
                                        "attn_logit_softcapping",
                                        "final_logit_softcapping",
                                        "attention.logit_softcapping"};
    size_t n = strlen(m->arch->name);
    for (size_t i = 0; i < m->g->n_kvs; i++) {
        struct str key = m->g->kvs[i].key;
        if (key.n <= n + 1 || memcmp(key.p, m->arch->name, n) != 0 || key.p[n] != '.')
            continue;
        struct str suffix = {key.p + n + 1, key.n - n - 1};
        bool found = false;
        for (size_t k = 0; k < sizeof known / sizeof *known && !found; k++) {
            size_t len = strlen(known[k]);
            bool group = known[k][len - 1] == '.';
            found = group ? suffix.n > len && memcmp(suffix.p, known[k], len) == 0
                          : str_eq(suffix, known[k]);
        }
        if (!found)
            warn("key '%.*s' is not known and is ignored: %s", str_shown(key), key.p, m->g->path);
    }
}

/* head_dim is attention.key_length, or hidden_dim / n_heads if that is missing. All of it must be
 * rotated. */
static int read_head_dim(struct gguf_model *m, struct err *e) {
    uint64_t value_dim, rope_dim;
    if (dim(m, "attention.key_length", m->hidden_dim / m->n_heads, MAX_DIM, &m->head_dim, e) ||
        dim(m, "attention.value_length", m->head_dim, MAX_DIM, &value_dim, e) ||
        dim(m, "rope.dimension_count", m->head_dim, MAX_DIM, &rope_dim, e))
        return -1;
    if (value_dim != m->head_dim || rope_dim != m->head_dim || m->head_dim % 2)
        return err_set(e, EXIT_DATA,
                       "heads of %" PRIu64 " elements, values of %" PRIu64 ", %" PRIu64
                       " of them rotated: not supported: %s",
                       m->head_dim, value_dim, rope_dim, m->g->path);
    return 0;
}

static int read_dims(struct gguf_model *m, struct err *e) {
    char *key = key_of(m, "attention.sliding_window");
    int rc = gguf_u64(m->g, key, INT32_MAX, &m->window, e) < 0 ? -1 : 0;
    free(key);
    const struct gguf_arch *windowed = rc == 0 && m->window ? gguf_arch_windowed(m->arch) : m->arch;
    if (rc == 0 && !windowed)
        rc = err_set(e, EXIT_DATA, "a sliding window is not supported for '%s': %s", m->arch->name,
                     m->g->path);
    if (rc != 0)
        return -1;
    m->arch = windowed;
    if (dim(m, "block_count", 0, MAX_LAYERS, &m->n_layers, e) ||
        dim(m, "embedding_length", 0, MAX_DIM, &m->hidden_dim, e) ||
        dim(m, "feed_forward_length", 0, MAX_DIM, &m->ffn_dim, e) ||
        dim(m, "context_length", 0, INT32_MAX, &m->max_pos, e) ||
        dim(m, "attention.head_count", 0, 1u << 16, &m->n_heads, e) ||
        dim(m, "attention.head_count_kv", m->n_heads, 1u << 16, &m->n_kv_heads, e) ||
        read_head_dim(m, e) || real(m, "attention.layer_norm_rms_epsilon", 0, &m->norm_eps, e) ||
        real(m, "rope.freq_base", 10000, &m->rope_theta, e))
        return -1;
    if (m->n_heads % m->n_kv_heads)
        return err_set(e, EXIT_DATA,
                       "%" PRIu64 " heads are not a multiple of %" PRIu64 " key-value heads: %s",
                       m->n_heads, m->n_kv_heads, m->g->path);
    return 0;
}

static uint64_t dim_size(const struct gguf_model *m, enum gguf_dim d) {
    const uint64_t sizes[GGUF_DIM_COUNT] = {[GGUF_DIM_NONE] = 1,
                                            [GGUF_DIM_HIDDEN] = m->hidden_dim,
                                            [GGUF_DIM_Q] = m->n_heads * m->head_dim,
                                            [GGUF_DIM_KV] = m->n_kv_heads * m->head_dim,
                                            [GGUF_DIM_HEAD] = m->head_dim,
                                            [GGUF_DIM_FFN] = m->ffn_dim,
                                            [GGUF_DIM_VOCAB] = m->vocab_size};
    return sizes[d];
}

/* The pattern with its '#' replaced by the layer. */
static char *name_of(const char *pattern, uint64_t layer) {
    const char *mark = strchr(pattern, '#');
    return mark ? xasprintf("%.*s%" PRIu64 "%s", (int)(mark - pattern), pattern, layer, mark + 1)
                : xstrdup(pattern);
}

/* The plan under construction: an index of the file's tensors, and which of them are used. */
struct plan {
    struct gguf_model *m;
    struct strmap index;
    bool *used; // [g->n_tensors]
    struct err *e;
};

static int take(struct plan *p, const struct gguf_rule *r, uint64_t layer,
                const struct gguf_tensor *from) {
    struct gguf_model *m = p->m;
    struct gguf_hf_tensor *t = &m->tensors[m->n_tensors++];
    uint64_t rows = dim_size(m, r->rows), cols = dim_size(m, r->cols);
    bool vector = r->cols == GGUF_DIM_NONE;
    struct gguf_layout layout;
    gguf_layout(from->type, &layout);
    if (!layout.convertible)
        return err_set(p->e, EXIT_DATA, "tensor '%.*s' is %s, which is not supported: %s",
                       str_shown(from->name), from->name.p, layout.name, m->g->path);
    if (from->n_dims != (vector ? 1 : 2) || from->ne[0] != (vector ? rows : cols) ||
        from->ne[1] != (vector ? 1 : rows))
        return err_set(p->e, EXIT_DATA,
                       "tensor '%.*s' has the shape [%" PRIu64 ", %" PRIu64 "], not [%" PRIu64
                       ", %" PRIu64 "]: %s",
                       str_shown(from->name), from->name.p, from->ne[1], from->ne[0],
                       vector ? 1 : rows, vector ? rows : cols, m->g->path);
    char *name = name_of(r->hf, layer);
    *t = (struct gguf_hf_tensor){.name = arena_str(&m->names, name, strlen(name)).p,
                                 .from = from,
                                 .n_dims = vector ? 1 : 2,
                                 .shape = {rows, vector ? 0 : cols},
                                 .n_rows = vector ? 1 : rows,
                                 .n_cols = vector ? rows : cols};
    free(name);
    if (r->order != GGUF_AS_STORED) {
        t->permuted_heads = r->order == GGUF_UNPERMUTE_Q ? m->n_heads : m->n_kv_heads;
        t->n_rows = rows;
        t->n_cols = cols;
        if (t->n_cols % layout.block)
            return err_set(p->e, EXIT_DATA, "tensor '%.*s' is a vector of %s: %s",
                           str_shown(from->name), from->name.p, layout.name, m->g->path);
    }
    p->used[from - m->g->tensors] = true;
    return 0;
}

/* A group of optional tensors. The first one decides whether the group is present; the others must
 * agree. */
struct group {
    bool decided, present;
};

static int apply(struct plan *p, const struct gguf_rule *r, uint64_t layer,
                 struct group groups[static GGUF_NEED_MLP_BIAS + 1]) {
    char *name = name_of(r->gguf, layer);
    uint32_t i = 0;
    int rc = 0;
    bool found = strmap_find(&p->index, str_of(name), &i);
    struct group *group = &groups[r->need];
    if (r->need != GGUF_NEED && !group->decided)
        *group = (struct group){true, found};
    if (!found && (r->need == GGUF_NEED || group->present))
        rc = err_set(p->e, EXIT_DATA, "tensor '%s' is missing: %s", name, p->m->g->path);
    else if (found && r->need != GGUF_NEED && !group->present)
        rc = err_set(p->e, EXIT_DATA,
                     "tensor '%s' is there, but others of its group are missing: %s", name,
                     p->m->g->path);
    else if (found)
        rc = take(p, r, layer, &p->m->g->tensors[i]);
    free(name);
    return rc;
}

static int make_plan(struct plan *p) {
    struct gguf_model *m = p->m;
    struct group groups[GGUF_NEED_MLP_BIAS + 1] = {{0}};
    for (uint64_t layer = 0; layer < m->n_layers; layer++)
        for (const struct gguf_rule *r = m->arch->rules; r->gguf; r++)
            if ((layer == 0 || strchr(r->gguf, '#')) && apply(p, r, layer, groups) != 0)
                return -1;
    m->tied = !groups[GGUF_NEED_HEAD].present;
    m->attn_bias = groups[GGUF_NEED_ATTN_BIAS].present;
    m->mlp_bias = groups[GGUF_NEED_MLP_BIAS].present;
    for (size_t i = 0; i < m->g->n_tensors; i++) {
        struct str name = m->g->tensors[i].name;
        if (!p->used[i] && !str_eq(name, "rope_freqs.weight"))
            return err_set(p->e, EXIT_DATA, "tensor '%.*s' is not used by a '%s' model: %s",
                           str_shown(name), name.p, m->arch->model_type, m->g->path);
    }
    return 0;
}

static int plan_tensors(struct gguf_model *m, struct err *e) {
    const struct gguf *g = m->g;
    const struct gguf_tensor *embd = gguf_find_tensor(g, "token_embd.weight");
    if (!embd || embd->n_dims != 2 || embd->ne[1] > UINT32_MAX)
        return err_set(e, EXIT_DATA, "matrix 'token_embd.weight' is missing: %s", g->path);
    m->vocab_size = embd->ne[1];
    size_t n_rules = 0;
    while (m->arch->rules[n_rules].gguf)
        n_rules++;
    // A model has at least one tensor a layer. This bounds the memory of the plan.
    if (m->n_layers > g->n_tensors)
        return err_set(e, EXIT_DATA, "%" PRIu64 " layers, but only %zu tensors: %s", m->n_layers,
                       g->n_tensors, g->path);
    m->tensors = xcalloc((size_t)m->n_layers * n_rules, sizeof *m->tensors);
    struct plan p = {.m = m, .used = xcalloc(g->n_tensors, sizeof *p.used), .e = e};
    strmap_init(&p.index, g->n_tensors);
    for (size_t i = 0; i < g->n_tensors; i++)
        strmap_add(&p.index, g->tensors[i].name, (uint32_t)i);
    int rc = make_plan(&p);
    strmap_free(&p.index);
    free(p.used);
    return rc;
}

static int find_arch(struct gguf_model *m, struct err *e) {
    struct str name = {"", 0};
    uint64_t parts = 0;
    if (gguf_str(m->g, "general.architecture", &name, e) < 0 ||
        gguf_u64(m->g, "split.count", UINT16_MAX, &parts, e) < 0)
        return -1;
    if (parts > 1)
        return err_set(e, EXIT_DATA,
                       "one of %" PRIu64 " parts of a split file, which is not supported: %s",
                       parts, m->g->path);
    m->arch = gguf_arch_find(name);
    if (m->arch)
        return 0;
    struct buf known = {0};
    err_set(e, EXIT_DATA, "architecture '%.*s' is not supported (known: %s): %s", str_shown(name),
            name.p, gguf_arch_names(&known), m->g->path);
    buf_free(&known);
    return -1;
}

int gguf_model_open(struct gguf_model *m, const struct gguf *g, struct err *e) {
    *m = (struct gguf_model){.g = g};
    if (find_arch(m, e) || refuse_unsupported(m, e) || read_dims(m, e) || plan_tensors(m, e) ||
        gguf_rope_scaling(m, e)) {
        gguf_model_free(m);
        return -1;
    }
    warn_unknown(m);
    return 0;
}

void gguf_model_free(struct gguf_model *m) {
    free(m->tensors);
    buf_free(&m->rope_scaling);
    arena_free(&m->names);
    *m = (struct gguf_model){0};
}

/* The converter's permutation (convert_hf_to_gguf.py, LlamaModel.permute) reshapes a head's rows to
 * [2, head_dim / 2], swaps the two axes and flattens: row h * head_dim / 2 + i of the original
 * became row 2 * i + h. */
void gguf_hf_tensor_row(const struct gguf_hf_tensor *t, uint64_t i, float *out) {
    uint64_t from = i;
    if (t->permuted_heads) {
        uint64_t head_dim = t->n_rows / t->permuted_heads, half = head_dim / 2,
                 in_head = i % head_dim;
        from = i - in_head + in_head % half * 2 + in_head / half;
    }
    uint64_t row_bytes = t->from->n_bytes / t->n_rows;
    gguf_dequant(t->from->type, t->from->data + from * row_bytes, out, (size_t)t->n_cols);
}
