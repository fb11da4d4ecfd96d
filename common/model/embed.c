/* Pooling and what follows it: see embed.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "model/embed.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/io.h"
#include "quant/format.h"
#include "weights/mat.h"
#include "weights/safetensors.h"

/* ---- Pooling ---- */

void embed_pool_init(struct embed_pool *p, unsigned pools, size_t dim) {
    *p = (struct embed_pool){.pools = pools,
                             .dim = dim,
                             .sum = xcalloc(dim, sizeof *p->sum),
                             .weighted = xcalloc(dim, sizeof *p->weighted),
                             .max = xcalloc(dim, sizeof *p->max),
                             .first = xcalloc(dim, sizeof *p->first),
                             .last = xcalloc(dim, sizeof *p->last)};
}

void embed_pool_free(struct embed_pool *p) {
    free(p->sum);
    free(p->weighted);
    free(p->max);
    free(p->first);
    free(p->last);
    *p = (struct embed_pool){0};
}

bool embed_pool_wants(unsigned pools, size_t pos, size_t n) {
    unsigned ends = POOL_CLS | POOL_LAST;
    return (pools & ~ends) != 0 || ((pools & POOL_CLS) && pos == 0) ||
           ((pools & POOL_LAST) && pos == n - 1);
}

void embed_pool_clear(struct embed_pool *p) {
    p->n = 0;
    memset(p->sum, 0, p->dim * sizeof *p->sum);
    memset(p->weighted, 0, p->dim * sizeof *p->weighted);
}

void embed_pool_take(struct embed_pool *p, const float *hidden, size_t pos) {
    if (pos == 0)
        memcpy(p->first, hidden, p->dim * sizeof *hidden);
    memcpy(p->last, hidden, p->dim * sizeof *hidden);
    if (p->n++ == 0)
        memcpy(p->max, hidden, p->dim * sizeof *hidden);
    for (size_t i = 0; i < p->dim; i++) {
        p->sum[i] += (double)hidden[i];
        p->weighted[i] += (double)(pos + 1) * (double)hidden[i];
        p->max[i] = hidden[i] > p->max[i] ? hidden[i] : p->max[i];
    }
}

/* out [dim] = sum / by; returns what follows out. */
static float *divided(const struct embed_pool *p, const double *sum, double by, float *out) {
    for (size_t i = 0; i < p->dim; i++)
        out[i] = (float)(sum[i] / by);
    return out + p->dim;
}

static float *copied(const struct embed_pool *p, const float *from, float *out) {
    memcpy(out, from, p->dim * sizeof *out);
    return out + p->dim;
}

void embed_pool_end(const struct embed_pool *p, size_t n, float *out) {
    double count = (double)n;
    if (p->pools & POOL_CLS)
        out = copied(p, p->first, out);
    if (p->pools & POOL_MAX)
        out = copied(p, p->max, out);
    if (p->pools & POOL_MEAN)
        out = divided(p, p->sum, count, out);
    if (p->pools & POOL_MEAN_SQRT)
        out = divided(p, p->sum, sqrt(count), out);
    if (p->pools & POOL_WEIGHTED)
        out = divided(p, p->weighted, count * (count + 1) / 2, out);
    if (p->pools & POOL_LAST)
        copied(p, p->last, out);
}

void embed_normalize(float *v, size_t n) {
    double squares = 0;
    for (size_t i = 0; i < n; i++)
        squares += (double)v[i] * (double)v[i];
    double length = fmax(sqrt(squares), 1e-12);
    for (size_t i = 0; i < n; i++)
        v[i] = (float)((double)v[i] / length);
}

/* ---- Dense layers ---- */

struct embed_dense {
    struct weights weights;
    bool *used;
    struct mat_memory memory;
    struct mat w;
    float *bias; // [n_out] or NULL
};

struct embed_steps {
    struct sentence_step steps[SENTENCE_MAX_STEPS];
    struct embed_dense dense[SENTENCE_MAX_STEPS]; // of the steps that have one
    size_t n_steps, dim, n_in;
    float *row, *from, *to; // [most]: a row of a matrix, the input and output of a step
};

static int open_dense(struct embed_dense *d, const struct sentence_step *s, const char *dir,
                      struct err *e) {
    char *folder = path_join(dir, s->folder);
    int rc = weights_open(&d->weights, folder, e);
    if (rc == 0) {
        d->used = xcalloc(d->weights.n_tensors + 1, sizeof *d->used);
        const struct mat_source source = {
            .weights = &d->weights, .used = d->used, .memory = &d->memory};
        rc = mat_open(&source, "linear", s->n_out, s->n_in, &d->w, e);
        const struct tensor *b = rc == 0 && s->bias
                                     ? mat_source_floats(&source, "linear", ".bias", s->n_out, 0, e)
                                     : NULL;
        if (rc == 0 && s->bias && !b)
            rc = -1;
        d->bias = b ? xcalloc(s->n_out, sizeof *d->bias) : NULL;
        for (size_t i = 0; b && i < s->n_out; i++)
            d->bias[i] = (float)dtype_value(b->dtype, b->data, i);
        if (rc != 0)
            err_where(e, "%s", folder);
    }
    free(folder);
    return rc;
}

struct embed_steps *embed_steps_open(const struct sentence_spec *s, const char *dir, size_t dim,
                                     struct err *e) {
    struct embed_steps *steps = xcalloc(1, sizeof *steps);
    size_t most = dim;
    steps->n_in = steps->dim = dim;
    for (size_t i = 0; i < s->n_steps; i++) {
        const struct sentence_step *step = &s->steps[i];
        steps->steps[steps->n_steps++] = *step;
        if (step->kind != SENTENCE_DENSE)
            continue;
        int rc =
            step->n_in == steps->dim
                ? open_dense(&steps->dense[i], step, dir, e)
                : err_set(e, EXIT_DATA, "in_features is %zu, but vectors have %zu values: %s/%s",
                          step->n_in, steps->dim, dir, step->folder);
        if (rc != 0) {
            embed_steps_free(steps);
            return NULL;
        }
        steps->dim = step->n_out;
        most = step->n_out > most ? step->n_out : most;
    }
    steps->row = xcalloc(most, sizeof *steps->row);
    steps->from = xcalloc(most, sizeof *steps->from);
    steps->to = xcalloc(most, sizeof *steps->to);
    return steps;
}

void embed_steps_free(struct embed_steps *s) {
    if (!s)
        return;
    for (size_t i = 0; i < s->n_steps; i++) {
        struct embed_dense *d = &s->dense[i];
        if (s->steps[i].kind != SENTENCE_DENSE)
            continue;
        mat_memory_free(&d->memory);
        weights_close(&d->weights);
        free(d->used);
        free(d->bias);
    }
    free(s->row);
    free(s->from);
    free(s->to);
    free(s);
}

size_t embed_steps_dim(const struct embed_steps *s) {
    return s->dim;
}

/* The dot product of a and b [n], in LANES sums that are added up in order. */
static float dot(const float *a, const float *b, size_t n) {
    enum { LANES = 16 };
    float sums[LANES] = {0}, sum = 0;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t l = 0; l < LANES; l++)
            sums[l] += a[i + l] * b[i + l];
    for (; i < n; i++)
        sums[i % LANES] += a[i] * b[i];
    for (size_t l = 0; l < LANES; l++)
        sum += sums[l];
    return sum;
}

static void run_dense(struct embed_steps *s, size_t i) {
    const struct embed_dense *d = &s->dense[i];
    const struct sentence_step *step = &s->steps[i];
    for (size_t o = 0; o < step->n_out; o++) {
        mat_row(&d->w, o, s->row);
        float y = dot(s->row, s->from, step->n_in) + (d->bias ? d->bias[o] : 0);
        s->to[o] = step->act == SENTENCE_TANH ? tanhf(y) : y;
    }
    memcpy(s->from, s->to, step->n_out * sizeof *s->to);
}

void embed_steps_run(struct embed_steps *s, const float *pooled, bool normalize, float *out) {
    size_t dim = s->n_in;
    memcpy(s->from, pooled, dim * sizeof *pooled);
    for (size_t i = 0; i < s->n_steps; i++)
        if (s->steps[i].kind == SENTENCE_DENSE) {
            run_dense(s, i);
            dim = s->steps[i].n_out;
        } else if (normalize) {
            embed_normalize(s->from, dim);
        }
    memcpy(out, s->from, s->dim * sizeof *out);
}

/* ---- The fingerprint ---- */

/* Up to 64 bytes from the middle of each tensor: one page of memory each. */
static void hash_weights(struct hash_state *h, const struct weights *w) {
    enum { SAMPLE = 64 };
    hash_update(h, &w->fingerprint, sizeof w->fingerprint);
    for (size_t i = 0; i < w->n_tensors; i++) {
        const struct tensor *t = &w->tensors[i];
        size_t n = t->n_bytes < SAMPLE ? (size_t)t->n_bytes : SAMPLE;
        if (n > 0)
            hash_update(h, (const char *)t->data + (t->n_bytes - n) / 2, n);
    }
}

uint64_t embed_fingerprint(const struct embed_steps *s, const struct weights *w, const char *text) {
    struct hash_state *h = hash_new();
    struct hash hash;
    hash_weights(h, w);
    for (size_t i = 0; i < s->n_steps; i++) {
        hash_update(h, &s->steps[i].kind, sizeof s->steps[i].kind);
        hash_update(h, &s->steps[i].act, sizeof s->steps[i].act);
        if (s->steps[i].kind == SENTENCE_DENSE)
            hash_weights(h, &s->dense[i].weights);
    }
    hash_update(h, text, strlen(text));
    hash_final(h, &hash);
    return hash_prefix(&hash);
}
