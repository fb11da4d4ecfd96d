/* The choice of types: see plan.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "quantize/plan.h"

#include <fnmatch.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/jobs.h"
#include "weights/panel_i8.h"

/* ---- Defaults and rules ---- */

static bool is_router(const struct layers *l, const struct spec *s, const struct mat *w) {
    for (size_t i = 0; i < s->n_layers; i++)
        if (l->layers[i].router.w.data == w->data)
            return true;
    return false;
}

/* Whether the model reads halves of the matrix that do not begin at a panel. */
static bool has_odd_halves(const struct layers *l, const struct spec *s, const struct mat *w) {
    if (!s->fused_gate || s->ffn_dim % PANEL_ROWS == 0)
        return false;
    for (size_t i = 0; i < s->n_layers; i++)
        if (l->layers[i].ffn_in[0].w.data == w->data)
            return true;
    return false;
}

/* Whether it is a table of positions, of which the model reads the rows from pos_offset on, or of
 * types of tokens. They are small, and are only looked up. */
static bool is_small_table(const struct layers *l, const struct spec *s, const struct mat *w) {
    const unsigned char *p = w->data;
    return p && (p + s->pos_offset * w->row_bytes == (const unsigned char *)l->positions.w.data ||
                 p == l->types.w.data);
}

static void set_default(struct quantize_matrix *m, const struct layers *l, const struct spec *s,
                        enum quantize_type type) {
    const struct mat *w = &m->from->w;
    bool table = w->data == l->embed.w.data || w->data == l->head.w.data;
    m->type = table && type < QUANTIZE_I8 ? QUANTIZE_I8 : type;
    if (is_small_table(l, s, w) || is_router(l, s, w)) {
        m->type = QUANTIZE_PLAIN;
        m->fixed = true;
    }
}

static int apply_rules(struct quantize_plan *p, const struct quantize_options *o, struct err *e) {
    for (size_t r = 0; r < o->n_rules; r++) {
        size_t n = 0;
        for (size_t i = 0; i < p->n; i++) {
            struct quantize_matrix *m = &p->matrices[i];
            if (fnmatch(o->rules[r].pattern, m->from->module, 0) != 0)
                continue;
            m->type = o->rules[r].type;
            m->fixed = true;
            n++;
        }
        if (n == 0)
            return err_set(e, EXIT_USAGE, "no matrix has a name like '%s'", o->rules[r].pattern);
    }
    return 0;
}

/* Whether both are experts of one layer that has them in two tensors: the model reads both tensors
 * or neither. */
static bool same_layer(const char *stack, const char *other) {
    const char *dot = other ? strrchr(other, '.') : NULL;
    size_t n = dot ? (size_t)(dot - other) : 0;
    return n > 0 && strncmp(stack, other, n + 1) == 0 && !strchr(stack + n + 1, '.');
}

/* Experts in one tensor stay in it unless all of their layer get another type. */
static void settle_stacks(struct quantize_plan *p) {
    for (size_t i = 0; i < p->n; i++) {
        const struct quantize_matrix *m = &p->matrices[i];
        if (m->type != QUANTIZE_PLAIN || !m->from->stack)
            continue;
        bool warned = false;
        for (size_t k = 0; k < p->n; k++) {
            struct quantize_matrix *other = &p->matrices[k];
            if (!same_layer(m->from->stack, other->from->stack) || other->type == QUANTIZE_PLAIN)
                continue;
            if (!warned)
                warn("all experts beside '%s' stay as they are, because it does", m->from->module);
            warned = true;
            other->type = QUANTIZE_PLAIN;
            other->fixed = true;
        }
    }
}

/* What no rule can change. */
static void settle_limits(struct quantize_plan *p, const struct layers *l, const struct spec *s) {
    size_t n_odd = 0;
    for (size_t i = 0; i < p->n; i++) {
        struct quantize_matrix *m = &p->matrices[i];
        if (m->from->same_as_embed) {
            m->leave_out = m->fixed = true;
            m->type = QUANTIZE_PLAIN;
        }
        if (m->type != QUANTIZE_PLAIN && s->pos_offset % PANEL_ROWS > 0 &&
            is_small_table(l, s, &m->from->w)) { // a rule says so
            warn("'%s' stays as it is: its first row is not that of a panel", m->from->module);
            m->type = QUANTIZE_PLAIN;
        }
        if (m->type == QUANTIZE_PLAIN || !has_odd_halves(l, s, &m->from->w))
            continue;
        m->type = QUANTIZE_PLAIN;
        m->fixed = true;
        n_odd++;
    }
    if (n_odd > 0)
        warn(
            "%zu fused matrices stay as they are: half of their outputs, %zu, is not a multiple of "
            "%d",
            n_odd, s->ffn_dim, PANEL_ROWS);
}

/* ---- Statistics ---- */

static int add_weights(struct quantize_plan *p, const struct quantize_stats *stats, struct err *e) {
    size_t n_missing = 0, n_found = 0;
    const char *first = NULL;
    for (size_t i = 0; i < p->n; i++) {
        struct quantize_matrix *m = &p->matrices[i];
        size_t n_in = m->from->w.n_in;
        if (m->leave_out)
            continue;
        m->weight = xcalloc(n_in, sizeof *m->weight);
        int rc = quantize_stats_weights(stats, m->from->module, n_in, m->weight, e);
        if (rc < 0)
            return -1;
        n_found += rc > 0;
        if (rc > 0)
            continue;
        free(m->weight);
        m->weight = NULL;
        if (m->type == QUANTIZE_PLAIN)
            continue;
        first = first ? first : m->from->module;
        n_missing++;
    }
    if (n_found == 0)
        return err_set(e, EXIT_DATA,
                       "the statistics are of another model: '%s.sum_squares' is missing: %s",
                       p->matrices[0].from->module, stats->file.files[0].path);
    if (n_missing > 0)
        warn("%zu matrices have no statistics, the first of them '%s': %s", n_missing, first,
             stats->file.files[0].path);
    return 0;
}

/* The tensor of the source that a matrix is in; NULL: a format that has no such tensor. */
static const struct tensor *source_of(const struct quantize_plan *p,
                                      const struct quantize_matrix *m) {
    char *name = m->from->stack ? xstrdup(m->from->stack) : xasprintf("%s.weight", m->from->module);
    const struct tensor *t = weights_find(p->source, name);
    free(name);
    return t;
}

static void find_owners(struct quantize_plan *p) {
    size_t n = p->source->n_tensors;
    p->owner = xcalloc(n + 1, sizeof *p->owner);
    for (size_t i = 0; i < n; i++)
        p->owner[i] = p->n;
    for (size_t i = p->n; i-- > 0;) { // the first of two matrices counts
        const struct tensor *t = source_of(p, &p->matrices[i]);
        if (t)
            p->owner[t - p->source->tensors] = i;
    }
}

int quantize_plan_make(struct quantize_plan *p, const struct layers *l, const struct spec *s,
                       const struct weights *w, const struct quantize_options *o,
                       const struct quantize_stats *stats, struct err *e) {
    *p = (struct quantize_plan){
        .matrices = xcalloc(l->n_matrices, sizeof *p->matrices), .n = l->n_matrices, .source = w};
    for (size_t i = 0; i < p->n; i++) {
        p->matrices[i].from = &l->matrices[i];
        set_default(&p->matrices[i], l, s, o->type);
    }
    find_owners(p);
    int rc = apply_rules(p, o, e);
    settle_limits(p, l, s);
    settle_stacks(p);
    if (rc == 0 && stats)
        rc = add_weights(p, stats, e);
    if (rc != 0)
        quantize_plan_free(p);
    return rc;
}

void quantize_plan_free(struct quantize_plan *p) {
    for (size_t i = 0; i < p->n; i++)
        free(p->matrices[i].weight);
    free(p->matrices);
    free(p->owner);
    *p = (struct quantize_plan){0};
}

/* ---- Sizes ---- */

uint64_t quantize_bytes(const struct quantize_plan *p, const struct quantize_matrix *m,
                        enum quantize_type t) {
    const struct mat *w = &m->from->w;
    if (m->leave_out)
        return 0;
    if (t != QUANTIZE_PLAIN)
        return (uint64_t)quantize_panels(w->n_out) * quantize_panel_bytes(t, w->n_in);
    const struct tensor *source = m->from->stack ? NULL : source_of(p, m);
    return source ? source->n_bytes : mat_bytes(w);
}

bool quantize_replaces(const struct quantize_plan *p, size_t i) {
    const struct quantize_matrix *m = p->owner[i] < p->n ? &p->matrices[p->owner[i]] : NULL;
    return m && (m->type != QUANTIZE_PLAIN || m->leave_out);
}

uint64_t quantize_plan_bytes(const struct quantize_plan *p) {
    uint64_t n = 0;
    for (size_t i = 0; i < p->source->n_tensors; i++)
        if (!quantize_replaces(p, i))
            n += p->source->tensors[i].n_bytes;
    for (size_t i = 0; i < p->n; i++)
        if (p->matrices[i].type != QUANTIZE_PLAIN)
            n += quantize_bytes(p, &p->matrices[i], p->matrices[i].type);
    return n;
}

/* ---- Measuring ---- */

/* Panels of a matrix that are measured, evenly spaced. */
enum { SAMPLED = 8 };

struct measured {
    const struct quantize_matrix *m;
    enum quantize_type type;
    struct quantize_error sum;
    struct err e;
};

struct measuring {
    struct measured *all;
    bool thorough;
};

static void measure_one(void *arg, size_t i) {
    const struct measuring *job = arg;
    struct measured *y = &job->all[i];
    const struct mat *w = &y->m->from->w;
    size_t panels = quantize_panels(w->n_out), n = panels < SAMPLED ? panels : SAMPLED;
    struct quantizer *c = quantizer_new(y->type, w->n_in);
    unsigned char *to = xmalloc(quantize_panel_bytes(y->type, w->n_in));
    const struct quantizer_options o = {.weight = y->m->weight, .thorough = job->thorough};
    for (size_t k = 0, rc = 0; k < n && rc == 0; k++)
        rc = (size_t)(quantizer_panel(c, w, panels * k / n, &o, to, &y->sum, &y->e) != 0);
    if (y->e.code)
        err_where(&y->e, "'%s'", y->m->from->module);
    free(to);
    quantizer_free(c);
}

/* Measures all [n]; the first error counts. */
static int measure(struct measured *all, size_t n, const struct quantize_options *o,
                   struct err *e) {
    struct measuring job = {all, o->thorough};
    struct jobs_list list = {.n = n, .work = measure_one, .arg = &job};
    if (jobs_run(&list, o->n_threads, e) != 0)
        return -1;
    for (size_t i = 0; i < n; i++)
        if (all[i].e.code) {
            *e = all[i].e;
            return -1;
        }
    return 0;
}

int quantize_plan_measure(struct quantize_plan *p, const struct quantize_options *o,
                          struct err *e) {
    struct measured *all = xcalloc(p->n, sizeof *all);
    size_t n = 0;
    for (size_t i = 0; i < p->n; i++)
        if (p->matrices[i].type != QUANTIZE_PLAIN)
            all[n++] = (struct measured){.m = &p->matrices[i], .type = p->matrices[i].type};
    int rc = measure(all, n, o, e);
    for (size_t i = 0; i < n && rc == 0; i++)
        p->matrices[all[i].m - p->matrices].error = all[i].sum;
    free(all);
    return rc;
}

/* ---- A size ---- */

/* Types that a size chooses from: nf4 has 0.125 bits less than the first, and much more error. */
#define FIRST_CHOICE QUANTIZE_I4_32
enum { N_CHOICES = QUANTIZE_PLAIN - FIRST_CHOICE };

/* What a matrix that is free costs, by type. */
struct choice {
    struct quantize_matrix *m;
    double loss[QUANTIZE_TYPES]; // relative squared error
    uint64_t bytes[QUANTIZE_TYPES];
};

/* The type from which on the choice gains most loss a byte; false: it has the best. */
static bool best_step(const struct choice *c, enum quantize_type *to, double *gain) {
    enum quantize_type from = c->m->type;
    *gain = 0;
    for (enum quantize_type t = from + 1; t < QUANTIZE_TYPES; t++) {
        if (c->bytes[t] <= c->bytes[from])
            continue;
        double g = (c->loss[from] - c->loss[t]) / (double)(c->bytes[t] - c->bytes[from]);
        if (g > *gain) {
            *gain = g;
            *to = t;
        }
    }
    return *gain > 0;
}

/* Takes the best step that still fits, until none does. */
static void spend(struct choice *choices, size_t n, uint64_t left) {
    for (;;) {
        struct choice *best = NULL;
        enum quantize_type best_to = QUANTIZE_PLAIN, to = QUANTIZE_PLAIN;
        double best_gain = 0, gain;
        for (size_t i = 0; i < n; i++) {
            struct choice *c = &choices[i];
            if (best_step(c, &to, &gain) && gain > best_gain &&
                c->bytes[to] - c->bytes[c->m->type] <= left) {
                best = c;
                best_to = to;
                best_gain = gain;
            }
        }
        if (!best)
            return;
        left -= best->bytes[best_to] - best->bytes[best->m->type];
        best->m->type = best_to;
    }
}

static void fill_choices(const struct quantize_plan *p, struct choice *choices, size_t n,
                         const struct measured *all) {
    for (size_t i = 0; i < n; i++)
        for (enum quantize_type t = FIRST_CHOICE; t < QUANTIZE_TYPES; t++) {
            bool part = t == QUANTIZE_PLAIN && choices[i].m->from->stack; // all of it, or none
            choices[i].bytes[t] = part ? 0 : quantize_bytes(p, choices[i].m, t);
            if (t == QUANTIZE_PLAIN)
                continue;
            double r = quantize_relative(all[i * N_CHOICES + t - FIRST_CHOICE].sum);
            choices[i].loss[t] = r * r;
        }
}

int quantize_plan_fit(struct quantize_plan *p, uint64_t most, const struct quantize_options *o,
                      struct err *e) {
    struct choice *choices = xcalloc(p->n, sizeof *choices);
    struct measured *all = xcalloc(p->n * N_CHOICES, sizeof *all);
    size_t n = 0;
    for (size_t i = 0; i < p->n; i++) {
        struct quantize_matrix *m = &p->matrices[i];
        if (m->fixed)
            continue;
        m->type = FIRST_CHOICE;
        for (enum quantize_type t = FIRST_CHOICE; t < QUANTIZE_PLAIN; t++)
            all[n * N_CHOICES + t - FIRST_CHOICE] = (struct measured){.m = m, .type = t};
        choices[n++].m = m;
    }
    uint64_t least = quantize_plan_bytes(p);
    int rc = least <= most ? measure(all, n * N_CHOICES, o, e)
                           : err_set(e, EXIT_DATA,
                                     "the tensors have at least %" PRIu64
                                     " bytes, more than the %" PRIu64 " of --target-size",
                                     least, most);
    if (rc == 0) {
        fill_choices(p, choices, n, all);
        spend(choices, n, most - least);
        settle_stacks(p);
    }
    free(all);
    free(choices);
    return rc;
}
