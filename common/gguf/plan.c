/* The plan: which GGUF tensor each tensor of model.safetensors comes from. See model.h.
 *
 * The rules of an architecture are applied layer by layer. Where a tensor is missing, one that
 * holds it together with others is looked for: q, k and v in one, gate and up of the experts in
 * one, or each expert alone.
 *
 * Refused: missing tensors, other shapes, block formats without a dequantiser, and tensors that no
 * rule uses.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "gguf/dequant.h"
#include "gguf/model.h"
#include "base/strmap.h"

enum { PANEL_COLS = 256 }; // of a transposed matrix, a multiple of every block

struct gguf_panel {
    uint64_t first, n_cols; // columns of the GGUF tensor that are cached
    float *values;          // [GGUF rows, n_cols]
};

/* A group of optional tensors. The first one decides whether the group is present; the others must
 * agree. */
struct group {
    bool decided, present;
};

/* The plan under construction: an index of the file's tensors, and which of them are used. */
struct plan {
    struct gguf_model *m;
    struct strmap index;
    bool *used; // [g->n_tensors]
    struct group groups[GGUF_NEED_COUNT];
    uint64_t layer;
    bool sparse; // the layer has experts
    struct err *e;
};

/* Where a rule's tensor is: in a GGUF tensor of `items` stacked ones with `rows` rows each, from
 * row `first` on. */
struct place {
    const struct gguf_tensor *from;
    uint64_t items, rows, first;
};

static uint64_t dim_size(const struct gguf_model *m, enum gguf_dim d) {
    uint64_t q = m->n_heads * m->head_dim, kv = m->n_kv_heads * m->head_dim;
    const uint64_t sizes[GGUF_DIM_COUNT] = {[GGUF_DIM_NONE] = 1,
                                            [GGUF_DIM_HIDDEN] = m->hidden_dim,
                                            [GGUF_DIM_Q] = q,
                                            [GGUF_DIM_KV] = kv,
                                            [GGUF_DIM_QKV] = q + 2 * kv,
                                            [GGUF_DIM_HEAD] = m->head_dim,
                                            [GGUF_DIM_HEADS] = m->n_heads,
                                            [GGUF_DIM_KV_HEADS] = m->n_kv_heads,
                                            [GGUF_DIM_FFN] = m->ffn_dim,
                                            [GGUF_DIM_2FFN] = 2 * m->ffn_dim,
                                            [GGUF_DIM_EXPERT_FFN] = m->expert_ffn_dim,
                                            [GGUF_DIM_EXPERTS] = m->n_experts,
                                            [GGUF_DIM_MAX_POS] = m->max_pos,
                                            [GGUF_DIM_VOCAB] = m->vocab_size};
    return sizes[d];
}

/* The pattern with '#' replaced by the layer and '@' by the item. */
static char *name_of(const char *pattern, uint64_t layer, uint64_t item) {
    struct buf out = {0};
    for (const char *p = pattern; *p; p++)
        if (*p == '#' || *p == '@')
            buf_fmt(&out, "%" PRIu64, *p == '#' ? layer : item);
        else
            buf_byte(&out, *p);
    char *name = xstrndup(out.p, out.n);
    buf_free(&out);
    return name;
}

static const struct gguf_tensor *find(const struct plan *p, const char *pattern, uint64_t item) {
    char *name = name_of(pattern, p->layer, item);
    uint32_t i = 0;
    bool found = strmap_find(&p->index, str_of(name), &i);
    free(name);
    return found ? &p->m->g->tensors[i] : NULL;
}

/* ---- one tensor ---- */

/* "[4, 96, 64]": the reverse of ne, without a first dimension of 1. */
static void shape_text(char out[80], const uint64_t ne[3]) {
    if (ne[2] > 1)
        snprintf(out, 80, "[%" PRIu64 ", %" PRIu64 ", %" PRIu64 "]", ne[2], ne[1], ne[0]);
    else
        snprintf(out, 80, "[%" PRIu64 ", %" PRIu64 "]", ne[1], ne[0]);
}

static int check_shape(const struct plan *p, const struct place *at, uint64_t cols, bool vector) {
    const struct gguf_tensor *t = at->from;
    const uint64_t want[3] = {vector ? at->rows : cols, vector ? at->items : at->rows,
                              vector ? 1 : at->items};
    size_t n_dims = (vector ? 1u : 2u) + (at->items > 1 ? 1u : 0u);
    // A stack of one may have its dimension or not.
    bool fits = t->n_dims == n_dims || (at->items == 1 && t->n_dims == n_dims + 1);
    if (fits && memcmp(t->ne, want, sizeof want) == 0)
        return 0;
    char found[80], expected[80];
    shape_text(found, t->ne);
    shape_text(expected, want);
    return err_set(p->e, EXIT_DATA, "tensor '%.*s' has the shape %s, not %s: %s",
                   str_shown(t->name), t->name.p, found, expected, gguf_path_of(p->m->g, t));
}

static struct gguf_hf_tensor *append(struct gguf_model *m) {
    if (m->n_tensors == m->tensors_cap) {
        m->tensors_cap = m->tensors_cap ? m->tensors_cap * 2 : 256;
        m->tensors = xreallocarray(m->tensors, m->tensors_cap, sizeof *m->tensors);
    }
    return &m->tensors[m->n_tensors++];
}

static void set_order(const struct gguf_model *m, const struct gguf_rule *r,
                      struct gguf_hf_tensor *t, uint64_t rows, uint64_t cols) {
    if (r->order == GGUF_UNPERMUTE_Q || r->order == GGUF_UNPERMUTE_K) {
        t->permuted_heads = r->order == GGUF_UNPERMUTE_Q ? m->n_heads : m->n_kv_heads;
        t->n_rows = rows;
        t->n_cols = cols;
    } else if (r->order == GGUF_TRANSPOSE) {
        t->shape[0] = t->n_rows = cols;
        t->shape[1] = t->n_cols = rows;
        t->panel = xcalloc(1, sizeof *t->panel);
    }
    t->minus_one = r->order == GGUF_MINUS_ONE;
}

/* Adds item `item` of rule r, which is in `from`, from row `first` on. */
static int take_item(struct plan *p, const struct gguf_rule *r, const struct gguf_tensor *from,
                     uint64_t item, uint64_t first) {
    struct gguf_model *m = p->m;
    uint64_t rows = dim_size(m, r->rows), cols = dim_size(m, r->cols);
    bool vector = r->cols == GGUF_DIM_NONE,
         moves = r->order == GGUF_UNPERMUTE_Q || r->order == GGUF_UNPERMUTE_K;
    struct gguf_layout layout;
    gguf_layout(from->type, &layout);
    // A vector whose elements move, or which is a part of another one, is read by elements.
    uint64_t row_elements = vector ? 1 : cols;
    if (first * row_elements % layout.block || (moves && row_elements % layout.block))
        return err_set(p->e, EXIT_DATA, "tensor '%.*s' is a vector of %s: %s",
                       str_shown(from->name), from->name.p, layout.name, gguf_path_of(m->g, from));
    char *name = name_of(r->hf, p->layer, item);
    struct gguf_hf_tensor *t = append(m);
    *t = (struct gguf_hf_tensor){.name = arena_str(&m->names, name, strlen(name)).p,
                                 .from = from,
                                 .data = from->data +
                                         first * row_elements / layout.block * layout.n_bytes,
                                 .n_dims = vector ? 1 : 2,
                                 .shape = {rows, vector ? 0 : cols},
                                 .n_rows = vector ? 1 : rows,
                                 .n_cols = vector ? rows : cols,
                                 .row_bytes = row_elements / layout.block * layout.n_bytes};
    free(name);
    set_order(m, r, t, rows, cols);
    p->used[from - m->g->tensors] = true;
    return 0;
}

/* Whether the tensor at `at` has the right type and shape for rule r. */
static int check(const struct plan *p, const struct gguf_rule *r, const struct place *at) {
    struct gguf_layout layout;
    gguf_layout(at->from->type, &layout);
    if (!layout.convertible)
        return err_set(p->e, EXIT_DATA, "tensor '%.*s' is %s, which is not supported: %s",
                       str_shown(at->from->name), at->from->name.p, layout.name,
                       gguf_path_of(p->m->g, at->from));
    return check_shape(p, at, dim_size(p->m, r->cols), r->cols == GGUF_DIM_NONE);
}

/* Adds all items of rule r, which are in at. */
static int take(struct plan *p, const struct gguf_rule *r, const struct place *at) {
    int rc = check(p, r, at);
    for (uint64_t i = 0; i < at->items && rc == 0; i++)
        rc = take_item(p, r, at->from, i, i * at->rows + at->first);
    return rc;
}

static int missing(const struct plan *p, const char *pattern, uint64_t item) {
    char *name = name_of(pattern, p->layer, item);
    int rc = err_set(p->e, EXIT_DATA, "tensor '%s' is missing: %s", name, p->m->g->path);
    free(name);
    return rc;
}

/* ---- where a tensor is ---- */

/* Tensors that hold several others. "attn_q.weight" may be the first rows of "attn_qkv.weight". */
static const struct {
    const char *part, *whole;
    enum gguf_dim rows;      // of the whole
    enum gguf_dim before[2]; // what is before the part
} fused[] = {
    {"attn_q.", "attn_qkv.", GGUF_DIM_QKV, {GGUF_DIM_NONE, GGUF_DIM_NONE}},
    {"attn_k.", "attn_qkv.", GGUF_DIM_QKV, {GGUF_DIM_Q, GGUF_DIM_NONE}},
    {"attn_v.", "attn_qkv.", GGUF_DIM_QKV, {GGUF_DIM_Q, GGUF_DIM_KV}},
    {"ffn_gate_exps.", "ffn_gate_up_exps.", GGUF_DIM_NONE, {GGUF_DIM_NONE, GGUF_DIM_NONE}},
    {"ffn_up_exps.", "ffn_gate_up_exps.", GGUF_DIM_NONE, {GGUF_DIM_EXPERT_FFN, GGUF_DIM_NONE}},
};

static uint64_t rows_before(const struct gguf_model *m, const enum gguf_dim before[2]) {
    uint64_t n = 0;
    for (int i = 0; i < 2; i++)
        n += before[i] == GGUF_DIM_NONE ? 0 : dim_size(m, before[i]);
    return n;
}

static bool find_fused(const struct plan *p, const struct gguf_rule *r, struct place *at) {
    static const char layer[] = "blk.#.";
    if (strncmp(r->gguf, layer, sizeof layer - 1) != 0)
        return false;
    const char *kind = r->gguf + sizeof layer - 1;
    for (size_t i = 0; i < sizeof fused / sizeof *fused; i++) {
        size_t n = strlen(fused[i].part);
        if (strncmp(kind, fused[i].part, n) != 0)
            continue;
        char *pattern = xasprintf("%s%s%s", layer, fused[i].whole, kind + n);
        at->from = find(p, pattern, 0);
        free(pattern);
        at->first = rows_before(p->m, fused[i].before);
        at->rows = fused[i].rows != GGUF_DIM_NONE ? dim_size(p->m, fused[i].rows) : 2 * at->rows;
        return at->from != NULL;
    }
    return false;
}

/* Files of 2023 have each expert's matrix alone: "blk.0.ffn_gate.3.weight". NULL if rule r's are
 * not stored so. */
static const char *single_experts(const struct plan *p, const struct gguf_rule *r) {
    static const struct {
        const char *stacked, *single;
    } names[] = {{"blk.#.ffn_gate_exps.weight", "blk.#.ffn_gate.@.weight"},
                 {"blk.#.ffn_up_exps.weight", "blk.#.ffn_up.@.weight"},
                 {"blk.#.ffn_down_exps.weight", "blk.#.ffn_down.@.weight"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(r->gguf, names[i].stacked) == 0 && find(p, names[i].single, 0))
            return names[i].single;
    return NULL;
}

static int take_single_experts(struct plan *p, const struct gguf_rule *r, const char *pattern) {
    for (uint64_t x = 0; x < p->m->n_experts; x++) {
        struct place at = {
            .from = find(p, pattern, x), .items = 1, .rows = dim_size(p->m, r->rows)};
        if (!at.from)
            return missing(p, pattern, x);
        if (check(p, r, &at) != 0 || take_item(p, r, at.from, x, 0) != 0)
            return -1;
    }
    return 0;
}

/* Whether rule r applies to the layer at all. */
static bool applies(const struct plan *p, const struct gguf_rule *r) {
    if (p->layer > 0 && !strchr(r->gguf, '#'))
        return false;
    return !(r->need == GGUF_NEED_SPARSE && !p->sparse) &&
           !(r->need == GGUF_NEED_DENSE && p->sparse);
}

static int apply(struct plan *p, const struct gguf_rule *r) {
    struct place at = {.from = find(p, r->gguf, 0),
                       .items = r->items == GGUF_DIM_NONE ? 1 : dim_size(p->m, r->items),
                       .rows = dim_size(p->m, r->rows)};
    bool found = at.from || find_fused(p, r, &at);
    const char *single = found ? NULL : single_experts(p, r);
    if (single)
        return take_single_experts(p, r, single);
    bool required =
        r->need == GGUF_NEED || r->need == GGUF_NEED_SPARSE || r->need == GGUF_NEED_DENSE;
    struct group *group = &p->groups[r->need];
    if (!required && !group->decided)
        *group = (struct group){true, found};
    if (found && (required || group->present))
        return take(p, r, &at);
    if (found)
        return err_set(p->e, EXIT_DATA,
                       "tensor '%.*s' is there, but others of its group are missing: %s",
                       str_shown(at.from->name), at.from->name.p, gguf_path_of(p->m->g, at.from));
    return required || group->present ? missing(p, r->gguf, 0) : 0;
}

/* ---- all ---- */

static int refuse_unused(const struct plan *p) {
    static const char *const others[] = {"rope_freqs.weight", "rope_factors_long.weight",
                                         "rope_factors_short.weight"}; // read by rope.c
    const struct gguf *g = p->m->g;
    for (size_t i = 0; i < g->n_tensors; i++) {
        struct str name = g->tensors[i].name;
        bool known = p->used[i];
        for (size_t k = 0; k < sizeof others / sizeof *others; k++)
            known |= str_eq(name, others[k]);
        if (!known)
            return err_set(p->e, EXIT_DATA, "tensor '%.*s' is not used by a '%s' model: %s",
                           str_shown(name), name.p, p->m->arch->model_type,
                           gguf_path_of(g, &g->tensors[i]));
    }
    return 0;
}

/* Marks a copy of the embedding as used, so that no rule takes it for a head of its own. */
static void drop_copied_head(struct plan *p) {
    const struct gguf *g = p->m->g;
    const struct gguf_tensor *embd = gguf_find_tensor(g, "token_embd.weight"),
                             *head = gguf_find_tensor(g, "output.weight");
    if (!head || head->type != embd->type || head->n_bytes != embd->n_bytes ||
        memcmp(head->data, embd->data, embd->n_bytes) != 0)
        return;
    p->used[head - g->tensors] = true;
    p->groups[GGUF_NEED_HEAD] = (struct group){true, false};
}

static int make_plan(struct plan *p) {
    struct gguf_model *m = p->m;
    bool copied = m->arch->has & GGUF_COPIED_HEAD;
    if (copied)
        drop_copied_head(p);
    for (; p->layer < m->n_layers; p->layer++) {
        p->sparse = find(p, "blk.#.ffn_gate_inp.weight", 0) != NULL;
        m->dense[p->layer] = !p->sparse;
        for (const struct gguf_rule *r = m->arch->rules; r->gguf; r++) {
            bool dropped = r->need == GGUF_NEED_HEAD && p->groups[r->need].decided;
            if (applies(p, r) && !dropped && apply(p, r) != 0)
                return -1;
        }
    }
    m->tied = !p->groups[GGUF_NEED_HEAD].present;
    m->qkv_bias = p->groups[GGUF_NEED_QKV_BIAS].present;
    m->attn_bias = p->groups[GGUF_NEED_ATTN_BIAS].present;
    m->mlp_bias = p->groups[GGUF_NEED_MLP_BIAS].present;
    m->qk_norm = p->groups[GGUF_NEED_QK_NORM].present;
    m->parallel = !p->groups[GGUF_NEED_FFN_NORM].present;
    return refuse_unused(p);
}

int gguf_plan(struct gguf_model *m, struct err *e) {
    const struct gguf *g = m->g;
    const struct gguf_tensor *embd = gguf_find_tensor(g, "token_embd.weight");
    if (!embd || embd->n_dims != 2 || embd->ne[1] > UINT32_MAX)
        return err_set(e, EXIT_DATA, "matrix 'token_embd.weight' is missing: %s", g->path);
    m->vocab_size = embd->ne[1];
    struct plan p = {.m = m, .used = xcalloc(g->n_tensors, sizeof *p.used), .e = e};
    strmap_init(&p.index, g->n_tensors);
    for (size_t i = 0; i < g->n_tensors; i++)
        strmap_add(&p.index, g->tensors[i].name, (uint32_t)i);
    int rc = make_plan(&p);
    strmap_free(&p.index);
    free(p.used);
    return rc;
}

/* ---- rows ---- */

/* Row i of a transposed matrix is column i of GGUF's. 256 columns are dequantised at once. */
static void transposed_row(const struct gguf_hf_tensor *t, uint64_t i, float *out) {
    struct gguf_panel *panel = t->panel;
    uint64_t first = i / PANEL_COLS * PANEL_COLS, n = t->n_rows - first;
    if (n > PANEL_COLS)
        n = PANEL_COLS;
    if (!panel->values || panel->first != first) {
        struct gguf_layout layout;
        gguf_layout(t->from->type, &layout);
        if (!panel->values)
            panel->values = xreallocarray(NULL, (size_t)t->n_cols * PANEL_COLS, sizeof(float));
        panel->first = first;
        for (uint64_t row = 0; row < t->n_cols; row++)
            gguf_dequant(t->from->type,
                         t->data + row * t->row_bytes + first / layout.block * layout.n_bytes,
                         panel->values + row * n, (size_t)n);
    }
    for (uint64_t row = 0; row < t->n_cols; row++)
        out[row] = panel->values[row * n + i - first];
    if (i + 1 == t->n_rows) {
        free(panel->values);
        panel->values = NULL;
    }
}

/* The converter's permutation (LlamaModel.permute) reshapes a head's rows to [2, head_dim / 2],
 * swaps the two axes and flattens: row h * head_dim / 2 + i of the original became row 2 * i + h.
 */
const unsigned char *gguf_hf_tensor_blocks(const struct gguf_hf_tensor *t, uint64_t i) {
    uint64_t from = i;
    if (t->permuted_heads) {
        uint64_t head_dim = t->n_rows / t->permuted_heads, half = head_dim / 2,
                 in_head = i % head_dim;
        from = i - in_head + in_head % half * 2 + in_head / half;
    }
    return t->data + from * t->row_bytes;
}

void gguf_hf_tensor_row(const struct gguf_hf_tensor *t, uint64_t i, float *out) {
    if (t->panel) {
        transposed_row(t, i, out);
        return;
    }
    gguf_dequant(t->from->type, gguf_hf_tensor_blocks(t, i), out, (size_t)t->n_cols);
    if (t->minus_one)
        for (uint64_t k = 0; k < t->n_cols; k++)
            out[k] -= 1;
}

void gguf_model_free(struct gguf_model *m) {
    for (size_t i = 0; i < m->n_tensors; i++)
        if (m->tensors[i].panel) {
            free(m->tensors[i].panel->values);
            free(m->tensors[i].panel);
        }
    free(m->tensors);
    free(m->sliding);
    free(m->dense);
    buf_free(&m->rope_scaling);
    arena_free(&m->names);
    *m = (struct gguf_model){0};
}
