/* Tensors -> layers: loads what each layer has, and reports what does not fit.
 *
 * Matrices are not copied, except where a format has to convert them. Vectors are copied later, and
 * take a few KiB a layer.
 *
 * All errors are reported together: one missing tensor is often the first of many, and the names
 * show which key of config.json disagrees with the file.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "model/layers.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "model/load.h"
#include "model/mix.h"

/* MAX_WRONG: errors after which no more layers are loaded. MAX_NAMED: tensors that one message
 * names. */
enum { MAX_NAMED = 8, MAX_WRONG = 1000 };

/* "MODULE.NAME", in out. */
static const char *inside(char out[LOAD_NAME_BYTES], const char *module, const char *name) {
    snprintf(out, LOAD_NAME_BYTES, "%s.%s", module, name);
    return out;
}

/* What the files call the module of layer i's experts: the first name that has a router. */
static const char *moe_module(const struct loader *l, size_t i) {
    char name[LOAD_NAME_BYTES], module[LOAD_NAME_BYTES];
    for (const char *const *m = l->names->moe; *m; m++) {
        load_expand(module, l->prefix, inside(name, *m, l->names->router), i, 0);
        if (mat_format_of(&l->source, module))
            return *m;
    }
    return l->names->moe[0];
}

/* Notes a stacked expert's matrix under the name that it has where experts are apart. */
static void note_expert(struct loader *l, const char *moe, const char *own, size_t layer, size_t x,
                        const char *stack, const struct mat *w) {
    char name[LOAD_NAME_BYTES], module[LOAD_NAME_BYTES];
    load_expand(module, l->prefix, inside(name, moe, own), layer, x);
    load_note(l, module, stack, w);
}

/* The experts of transformers 5: gate_up_proj [n_experts, 2 ffn, dim], where the gate comes first,
 * and down_proj [n_experts, dim, ffn]. Each expert is a view. False if the file does not have them
 * in this form. */
static bool load_stacked_experts(struct loader *l, const char *moe, struct layer *y, size_t i) {
    const struct spec *s = l->s;
    size_t dim = s->hidden_dim, ffn = s->expert_ffn_dim;
    char name[LOAD_NAME_BYTES], gate_up[LOAD_NAME_BYTES], down[LOAD_NAME_BYTES];
    load_expand(gate_up, l->prefix, inside(name, moe, "experts.gate_up_proj"), i, 0);
    load_expand(down, l->prefix, inside(name, moe, "experts.down_proj"), i, 0);
    if (!mat_source_find(&l->source, gate_up, "") && !mat_source_find(&l->source, down, ""))
        return false;
    struct mat in = load_stack(l, gate_up, s->n_experts, 2 * ffn, dim),
               out = load_stack(l, down, s->n_experts, dim, ffn);
    for (size_t x = 0; x < s->n_experts && in.data && out.data; x++) {
        y->experts[3 * x].w = mat_rows(&in, 2 * x * ffn, ffn);
        y->experts[3 * x + 1].w = mat_rows(&in, (2 * x + 1) * ffn, ffn);
        y->experts[3 * x + 2].w = mat_rows(&out, x * dim, dim);
        note_expert(l, moe, l->names->expert_gate, i, x, gate_up, &y->experts[3 * x].w);
        note_expert(l, moe, l->names->expert_up, i, x, gate_up, &y->experts[3 * x + 1].w);
        note_expert(l, moe, l->names->expert_down, i, x, down, &y->experts[3 * x + 2].w);
    }
    return true;
}

/* MLX's experts: a stack [n_experts, ...] for each of gate, up and down. False if the file does not
 * have them in this form. */
static bool load_mlx_experts(struct loader *l, const char *moe, struct layer *y, size_t i) {
    static const char *const parts[] = {"switch_mlp.gate_proj", "switch_mlp.up_proj",
                                        "switch_mlp.down_proj"};
    const struct spec *s = l->s;
    const size_t dim = s->hidden_dim, ffn = s->expert_ffn_dim;
    char name[LOAD_NAME_BYTES], module[LOAD_NAME_BYTES];
    load_expand(module, l->prefix, inside(name, moe, parts[0]), i, 0);
    if (!mat_format_of(&l->source, module))
        return false;
    l->source.n_stack = s->n_experts;
    for (size_t k = 0; k < 3 * s->n_experts && l->n_wrong < MAX_WRONG; k++) {
        l->source.stack = k / 3;
        y->experts[k] = load_linear(l, inside(name, moe, parts[k % 3]), i, 0,
                                    k % 3 == 2 ? dim : ffn, k % 3 == 2 ? ffn : dim, false);
    }
    l->source.n_stack = l->source.stack = 0;
    return true;
}

static void load_experts(struct loader *l, struct layer *y, size_t i) {
    const struct spec *s = l->s;
    const struct family_names *n = l->names;
    size_t dim = s->hidden_dim, ffn = s->expert_ffn_dim;
    const char *moe = moe_module(l, i);
    char name[LOAD_NAME_BYTES];
    y->router = load_linear(l, inside(name, moe, n->router), i, 0, s->n_experts, dim, false);
    if (!y->router.w.data) // no memory for a number of experts that no tensor has confirmed
        return;
    y->experts = arena_alloc(&l->m->mem, s->n_experts * 3 * sizeof *y->experts);
    if (load_stacked_experts(l, moe, y, i) || load_mlx_experts(l, moe, y, i))
        return;
    for (size_t x = 0; x < s->n_experts; x++) {
        struct linear *w = &y->experts[3 * x];
        w[0] = load_linear(l, inside(name, moe, n->expert_gate), i, x, ffn, dim, false);
        w[1] = load_linear(l, inside(name, moe, n->expert_up), i, x, ffn, dim, false);
        w[2] = load_linear(l, inside(name, moe, n->expert_down), i, x, dim, ffn, false);
    }
}

static void load_ffn(struct loader *l, struct layer *y, size_t i) {
    const struct spec *s = l->s;
    const struct family_names *n = l->names;
    if (s->fused_gate) {
        y->ffn_in[0] = load_linear(l, n->gate_up, i, 0, 2 * s->ffn_dim, s->hidden_dim, s->ffn_bias);
        if (s->ffn_dim % mat_panel_rows(y->ffn_in[0].w.layout) > 0)
            load_wrong(l, "layer %zu: gate and up, %zu rows each, share a panel of 16 rows", i,
                       s->ffn_dim);
    } else if (s->ungated) {
        y->ffn_in[0] = load_linear(l, n->up, i, 0, s->ffn_dim, s->hidden_dim, s->ffn_bias);
    } else {
        y->ffn_in[0] = load_linear(l, n->gate, i, 0, s->ffn_dim, s->hidden_dim, s->ffn_bias);
        y->ffn_in[1] = load_linear(l, n->up, i, 0, s->ffn_dim, s->hidden_dim, s->ffn_bias);
    }
    y->down = load_linear(l, n->down, i, 0, s->hidden_dim, s->ffn_dim, s->ffn_bias);
}

static void load_layer(struct loader *l, size_t i) {
    const struct spec *s = l->s;
    const struct family_names *n = l->names;
    struct layer *y = &l->m->layers[i];
    bool has_norm = !s->no_pre_norm && !(s->no_first_norm && i == 0);
    y->attn_norm = load_norm(l, has_norm, n->attn_norm, i, s->hidden_dim);
    y->ffn_norm = load_norm(l, !s->no_pre_norm && !s->parallel, n->ffn_norm, i, s->hidden_dim);
    bool has_post = s->post_norm || s->residual_norm;
    y->attn_post_norm = load_norm(l, has_post, n->attn_post_norm, i, s->hidden_dim);
    y->ffn_post_norm = load_norm(l, has_post, n->ffn_post_norm, i, s->hidden_dim);
    mix_of(s, i)->load(l, y, i);
    if (s->n_experts > 0 && !s->layers[i].dense)
        load_experts(l, y, i);
    else
        load_ffn(l, y, i);
}

static bool same_bits(const struct mat *a, const struct mat *b) {
    if (a->quant || b->quant)
        return a->quant == b->quant && a->data == b->data && a->first == b->first;
    return a->data && b->data && a->layout == b->layout && mat_bytes(a) == mat_bytes(b) &&
           (a->data == b->data || memcmp(a->data, b->data, mat_bytes(a)) == 0);
}

static bool has_matrix(const struct loader *l, const char *prefix, const char *name) {
    char module[LOAD_NAME_BYTES];
    if (!name)
        return false;
    load_expand(module, prefix, name, 0, 0);
    return mat_format_of(&l->source, module) != NULL;
}

/* The embedding. If the model is tied, the file may have it under the head's name alone. */
static void load_embed(struct loader *l) {
    const struct spec *s = l->s;
    bool as_head = s->tied && !has_matrix(l, l->prefix, l->names->embed) &&
                   has_matrix(l, l->head_prefix, l->names->head);
    l->m->embed =
        load_table(l, as_head ? l->head_prefix : l->prefix,
                   as_head ? l->names->head : l->names->embed, s->vocab_size, s->hidden_dim);
}

/* The rows from pos_offset on: those before belong to padding. */
static void load_positions(struct loader *l) {
    const struct spec *s = l->s;
    struct linear all =
        load_table(l, l->prefix, l->names->positions, s->max_pos + s->pos_offset, s->hidden_dim);
    if (s->pos_offset % mat_panel_rows(all.w.layout) > 0)
        load_wrong(l, "the table of positions begins at row %zu, within a panel of 16 rows",
                   s->pos_offset);
    else
        l->m->positions.w = all.w.data ? mat_rows(&all.w, s->pos_offset, s->max_pos) : all.w;
}

/* The head is the embedding if the model is tied. Some tied models' files have a head as well. If
 * it differs from the embedding it is used, as the reference does. */
static void load_head(struct loader *l) {
    const struct spec *s = l->s;
    struct layers *m = l->m;
    char module[LOAD_NAME_BYTES];
    if (s->no_head)
        return;
    bool present = has_matrix(l, l->head_prefix, l->names->head);
    load_expand(module, l->head_prefix, l->names->head, 0, 0);
    m->head = m->embed;
    if (present)
        m->head = load_table(l, l->head_prefix, l->names->head, s->vocab_size, s->hidden_dim);
    else if (!s->tied)
        load_wrong(l,
                   "tensor '%s.weight' is missing: expected [%zu, %zu], because the head is not "
                   "the embedding where config.json does not have \"tie_word_embeddings\": true",
                   module, s->vocab_size, s->hidden_dim);
    if (s->tied && same_bits(&m->head.w, &m->embed.w)) {
        m->matrices[m->n_matrices - 1].same_as_embed = present;
        m->head = m->embed;
    }
    if (s->head_bias)
        m->head.bias = load_vector(l, module, ".bias", s->vocab_size);
}

/* ---- What does not fit ---- */

bool layers_ignores(const struct spec *s, const char *tensor) {
    const char *head = spec_family(s)->names->head;
    if (s->no_head && head && str_begins_with(str_of(tensor), head))
        return true;
    for (const char *const *x = spec_family(s)->names->ignored; x && *x; x++)
        if (str_ends_with(str_of(tensor), *x))
            return true;
    return false;
}

bool layers_other_part(const struct spec *s, const char *tensor) {
    return s->part_of && multimodal_other_part(tensor);
}

static void warn_unused(const struct loader *l, struct buf *warnings) {
    const struct weights *w = l->source.weights;
    size_t n = 0;
    for (size_t i = 0; i < w->n_tensors; i++) {
        const struct tensor *t = &w->tensors[i];
        bool other = !l->m->used[i] && layers_other_part(l->s, t->name);
        l->m->n_other += other;
        if (!l->m->used[i] && !other && !layers_ignores(l->s, t->name) && ++n <= MAX_NAMED)
            buf_fmt(warnings, "tensor '%s' is not used by model type %s: %s\n", t->name,
                    l->s->model_type, w->files[t->file].path);
    }
    if (n > MAX_NAMED)
        buf_fmt(warnings, "%zu more tensors are not used\n", n - MAX_NAMED);
}

/* One error that names the first MAX_NAMED lines of what is wrong. */
static int refuse_wrong(const struct loader *l, struct err *e) {
    struct buf text = {0};
    size_t named = 0;
    for (const char *p = l->m->wrong.p, *end; named < MAX_NAMED && (end = strchr(p, '\n'));
         p = end + 1)
        buf_fmt(&text, "%s%.*s", named++ > 0 ? "; " : "", (int)(end - p), p);
    if (l->n_wrong > named)
        buf_fmt(&text, "; and %zu more", l->n_wrong - named);
    err_set(e, EXIT_DATA, "the tensors do not fit config.json: %s: %s", text.p,
            l->source.weights->files[0].path);
    buf_free(&text);
    return -1;
}

/* ---- Loading ---- */

/* The prefix of the names in this file: the family's, or "" (the hub has GPT-2 without
 * "transformer."); in a multimodal model one of several. It is the first with which the file has
 * the embedding or the final norm. */
static const char *prefix_of(const struct loader *l) {
    const char *const of_family[] = {l->names->prefix, "", NULL};
    const char *const *prefixes = l->s->part_of ? multimodal_prefixes : of_family;
    for (const char *const *p = prefixes; *p; p++)
        if (has_matrix(l, *p, l->names->embed) || has_matrix(l, *p, l->names->final_norm))
            return *p;
    return prefixes[0];
}

static const char *head_prefix_of(const struct loader *l) {
    for (const char *const *p = multimodal_head_prefixes; *p && l->s->part_of; p++)
        if (has_matrix(l, *p, l->names->head))
            return *p;
    return "";
}

static int load(struct layers *m, const struct spec *s, const struct weights *w, bool measure,
                struct buf *warnings, struct err *e) {
    *m = (struct layers){.layers = xcalloc(s->n_layers, sizeof *m->layers),
                         .vectors_of = xcalloc(s->n_layers + 1, sizeof *m->vectors_of),
                         .used = xcalloc(w->n_tensors + 1, sizeof *m->used)};
    struct loader l = {.m = m,
                       .s = s,
                       .names = spec_family(s)->names,
                       .source = {.weights = w,
                                  .config = s->quant.method ? &s->quant : NULL,
                                  .used = m->used,
                                  .memory = &m->converted,
                                  .measure = measure,
                                  .report = &m->quantised,
                                  .warnings = warnings,
                                  .transposed = s->transposed}};
    l.prefix = prefix_of(&l);
    l.head_prefix = head_prefix_of(&l);

    load_embed(&l);
    if (s->learned_pos)
        load_positions(&l);
    if (s->token_types > 0)
        m->types = load_table(&l, l.prefix, l.names->token_types, s->token_types, s->hidden_dim);
    m->embed_norm = load_norm(&l, s->embed_norm, l.names->embed_norm, 0, s->hidden_dim);
    for (size_t i = 0; i < s->n_layers && l.n_wrong < MAX_WRONG; i++) {
        load_layer(&l, i);
        m->vectors_of[i] = m->n_vectors;
    }
    m->final_norm = load_norm(&l, !s->no_final_norm, l.names->final_norm, 0, s->hidden_dim);
    load_head(&l);
    m->vectors_of[s->n_layers] = m->n_vectors;

    warn_unused(&l, warnings);
    return l.n_wrong > 0 ? refuse_wrong(&l, e) : 0;
}

int layers_load(struct layers *m, const struct spec *s, const struct weights *w,
                struct buf *warnings, struct err *e) {
    return load(m, s, w, false, warnings, e);
}

int layers_check(struct layers *m, const struct spec *s, const struct weights *w,
                 struct buf *warnings, struct err *e) {
    return load(m, s, w, true, warnings, e);
}

bool layers_quantised_text(const struct layers *m, size_t i, char *text, size_t size) {
    const struct mat_report_line *l = &m->quantised.lines[i];
    char group[40] = ", a scale a row", mapped[60] = "";
    if (i >= m->quantised.n)
        return false;
    if (!l->whole)
        snprintf(group, sizeof group, " of %zu", l->group);
    if (l->mapped > 0)
        snprintf(mapped, sizeof mapped, ", %" PRIu64 " bytes read from the mapping", l->mapped);
    snprintf(text, size, "%s: %zu %s as %s%s%s, %" PRIu64 " bytes of copies", l->format, l->n,
             l->n == 1 ? "matrix" : "matrices", mat_layout_name(l->layout), group, mapped,
             l->copied);
    return true;
}

void layers_ready(struct layers *m, size_t layer) {
    for (; m->n_copied < m->vectors_of[layer]; m->n_copied++) {
        const struct pending_copy *v = &m->vectors[m->n_copied];
        for (size_t i = 0; i < v->from->n_elements; i++)
            v->to[i] = (float)dtype_value(v->from->dtype, v->from->data, i);
    }
}

/* ---- To a device ---- */

static int send_layer(struct device *d, struct layer *y, const struct spec *s, size_t i,
                      struct err *e) {
    struct linear *linears[] = {&y->ffn_in[0], &y->ffn_in[1], &y->down, &y->router};
    struct norm *norms[] = {&y->attn_norm, &y->attn_post_norm, &y->ffn_norm, &y->ffn_post_norm};
    int rc = mix_of(s, i)->send(d, y, s, e);
    for (size_t k = 0; k < sizeof linears / sizeof *linears && rc == 0; k++)
        rc = load_send_linear(d, linears[k], e);
    for (size_t k = 0; y->experts && k < 3 * s->n_experts && rc == 0; k++)
        rc = load_send_linear(d, &y->experts[k], e);
    for (size_t k = 0; k < sizeof norms / sizeof *norms && rc == 0; k++)
        rc = load_send_norm(d, norms[k], s->hidden_dim, e);
    return rc;
}

int layers_send(struct layers *m, const struct spec *s, struct device *d, struct err *e) {
    layers_ready(m, s->n_layers);
    if (load_send_linear(d, &m->embed, e) != 0 || load_send_linear(d, &m->positions, e) != 0)
        return -1;
    for (size_t i = 0; i < s->n_layers; i++)
        if (send_layer(d, &m->layers[i], s, i, e) != 0)
            return -1;
    if (load_send_norm(d, &m->final_norm, s->hidden_dim, e) != 0 ||
        load_send_linear(d, &m->head, e) != 0)
        return -1;
    return d->ops->load_end(d, e);
}

void layers_free(struct layers *m) {
    mat_memory_free(&m->converted);
    free(m->layers);
    free(m->matrices);
    free(m->used);
    free(m->vectors);
    free(m->vectors_of);
    arena_free(&m->mem);
    buf_free(&m->wrong);
    *m = (struct layers){0};
}
