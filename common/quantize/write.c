/* Writing a quantised model: see write.h.
 *
 * The tensors of the result are a list, which is cut into shards. One thread writes; a pool encodes
 * pieces of a few panels, whose results are taken in order.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "quantize/write.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/io.h"
#include "base/jobs.h"
#include "base/json.h"
#include "base/progress.h"
#include "quantize/release.h"
#include "weights/panel_i8.h"
#include "weights/st_write.h"

enum {
    PIECE_BYTES = 1 << 18, // of a result; a piece has one panel at least
    COPY_BYTES = 1 << 22,  // of a tensor that is copied, at a time
};

/* A tensor of the result. */
struct out_tensor {
    char *name;
    struct quantize_matrix *matrix; // encoded, or NULL: copied
    const struct tensor *source;    // of a copy
    uint64_t n_bytes;
    size_t shard;
};

struct out_list {
    struct out_tensor *all; // [n]
    size_t n, n_shards;
    uint64_t n_bytes;
};

static void list_add(struct out_list *l, struct out_tensor t) {
    l->all[l->n++] = t;
    l->n_bytes += t.n_bytes;
}

static void list_make(struct out_list *l, const struct quantize_plan *p, uint64_t shard_bytes) {
    *l = (struct out_list){.all = xcalloc(p->n + p->source->n_tensors, sizeof *l->all)};
    for (size_t i = 0; i < p->n; i++) {
        struct quantize_matrix *m = &p->matrices[i];
        if (m->type == QUANTIZE_PLAIN)
            continue;
        list_add(l, (struct out_tensor){
                        .name = xasprintf("%s%s", m->from->module, quantize_type_ending(m->type)),
                        .matrix = m,
                        .n_bytes = quantize_bytes(p, m, m->type)});
    }
    for (size_t i = 0; i < p->source->n_tensors; i++) {
        const struct tensor *t = &p->source->tensors[i];
        if (!quantize_replaces(p, i))
            list_add(l, (struct out_tensor){
                            .name = xstrdup(t->name), .source = t, .n_bytes = t->n_bytes});
    }
    uint64_t in_shard = 0;
    for (size_t i = 0; i < l->n; i++) {
        bool full = in_shard > 0 &&
                    (l->all[i].n_bytes > shard_bytes || in_shard > shard_bytes - l->all[i].n_bytes);
        l->n_shards += full;
        in_shard = full ? l->all[i].n_bytes : in_shard + l->all[i].n_bytes;
        l->all[i].shard = l->n_shards;
    }
    l->n_shards++;
}

static void list_free(struct out_list *l) {
    for (size_t i = 0; i < l->n; i++)
        free(l->all[i].name);
    free(l->all);
}

static char *shard_name(const struct out_list *l, size_t shard) {
    return l->n_shards == 1 ? xstrdup("model.safetensors")
                            : xasprintf("model-%05zu-of-%05zu.safetensors", shard + 1, l->n_shards);
}

/* ---- Pieces ---- */

/* Panels [first, first + n) of a matrix. */
struct piece {
    struct quantize_matrix *matrix;
    size_t first, n;
    bool thorough;
    unsigned char *bytes; // [n_bytes]
    size_t n_bytes;
    struct quantize_error sum;
    struct err e; // code 0: none
};

struct writing {
    struct st_writer *w;
    struct jobs *jobs;
    const struct weights *source;
    const struct quantize_target *to;
    struct progress progress;
    size_t since_look; // bytes since interrupted was called
    bool thorough;
};

struct worker {
    struct quantizer *encoder; // of the last piece
};

static void *worker_begin(void *ctx) {
    (void)ctx;
    return xcalloc(1, sizeof(struct worker));
}

static void worker_end(void *worker) {
    struct worker *w = worker;
    quantizer_free(w->encoder);
    free(w);
}

static void encode_piece(void *worker, void *job) {
    struct worker *w = worker;
    struct piece *p = job;
    const struct mat *mat = &p->matrix->from->w;
    if (!quantizer_fits(w->encoder, p->matrix->type, mat->n_in)) {
        quantizer_free(w->encoder);
        w->encoder = quantizer_new(p->matrix->type, mat->n_in);
    }
    const struct quantizer_options o = {.weight = p->matrix->weight, .thorough = p->thorough};
    size_t panel_bytes = p->n_bytes / p->n;
    for (size_t i = 0; i < p->n; i++)
        if (quantizer_panel(w->encoder, mat, p->first + i, &o, p->bytes + i * panel_bytes, &p->sum,
                            &p->e) != 0) {
            err_where(&p->e, "'%s'", p->matrix->from->module);
            return;
        }
}

static int put(struct writing *out, const void *p, size_t n, struct err *e) {
    if (st_writer_data(out->w, p, n, e) != 0)
        return -1;
    progress_add(&out->progress, n);
    out->since_look += n;
    if (out->since_look < COPY_BYTES)
        return 0;
    out->since_look = 0;
    return out->to->interrupted && out->to->interrupted() ? err_set(e, EXIT_SYSTEM, "interrupted")
                                                          : 0;
}

/* Drops the pages of the source's mapping that hold the piece's rows. */
static void release_rows(const struct writing *out, const struct piece *p) {
    const struct mat *w = &p->matrix->from->w;
    const unsigned char *begin =
        (const unsigned char *)w->data + p->first * PANEL_ROWS * w->row_bytes;
    for (size_t i = 0; i < out->source->n_files; i++) {
        const struct map *m = &out->source->files[i].map;
        if (begin >= m->p && begin < m->p + m->n) {
            size_t n = p->n * PANEL_ROWS * w->row_bytes, left = (size_t)(m->p + m->n - begin);
            release_pages(begin, n < left ? n : left);
        }
    }
}

/* Takes the oldest piece and writes it, unless rc says that something has failed. */
static int take_piece(struct writing *out, int rc, struct err *e) {
    struct piece *p = jobs_take(out->jobs, true);
    if (rc == 0 && p->e.code) {
        *e = p->e;
        rc = -1;
    }
    p->matrix->error.error += p->sum.error;
    p->matrix->error.energy += p->sum.energy;
    if (rc == 0)
        rc = put(out, p->bytes, p->n_bytes, e);
    release_rows(out, p);
    free(p->bytes);
    free(p);
    return rc;
}

static int drain(struct writing *out, int rc, struct err *e) {
    while (!jobs_idle(out->jobs))
        rc = take_piece(out, rc, e);
    return rc;
}

static int write_encoded(struct writing *out, struct quantize_matrix *m, struct err *e) {
    const struct mat *w = &m->from->w;
    size_t panels = quantize_panels(w->n_out), bytes = quantize_panel_bytes(m->type, w->n_in),
           most = bytes < PIECE_BYTES ? PIECE_BYTES / bytes : 1;
    int rc = 0;
    m->error = (struct quantize_error){0};
    for (size_t at = 0, n; at < panels && rc == 0; at += n) {
        n = panels - at < most ? panels - at : most;
        if (jobs_full(out->jobs))
            rc = take_piece(out, rc, e);
        struct piece *p = xcalloc(1, sizeof *p);
        *p = (struct piece){.matrix = m,
                            .first = at,
                            .n = n,
                            .thorough = out->thorough,
                            .bytes = xmalloc(n * bytes),
                            .n_bytes = n * bytes};
        jobs_give(out->jobs, p);
    }
    return rc;
}

static int write_copy(struct writing *out, const struct tensor *t, struct err *e) {
    const unsigned char *p = t->data;
    int rc = drain(out, 0, e);
    for (size_t at = 0, n; at < t->n_bytes && rc == 0; at += n) {
        n = t->n_bytes - at < COPY_BYTES ? (size_t)t->n_bytes - at : COPY_BYTES;
        rc = put(out, p + at, n, e);
        release_pages(p + at, n);
    }
    return rc;
}

/* ---- Files ---- */

static int write_shard(struct writing *out, const struct out_list *l, size_t shard, struct err *e) {
    out->w = st_writer_new(out->to->metadata);
    for (size_t i = 0; i < l->n; i++) {
        const struct out_tensor *t = &l->all[i];
        if (t->shard != shard)
            continue;
        if (t->source) {
            st_writer_add(out->w, t->name, t->source->dtype, t->source->n_dims, t->source->shape);
            continue;
        }
        const struct mat *w = &t->matrix->from->w;
        const uint64_t shape[2] = {quantize_panels(w->n_out),
                                   quantize_panel_bytes(t->matrix->type, w->n_in)};
        st_writer_add(out->w, t->name, DT_U8, 2, shape);
    }
    char *name = shard_name(l, shard), *path = path_join(out->to->dir->temp, name);
    int rc = st_writer_begin(out->w, path, e);
    free(path);
    free(name);
    for (size_t i = 0; i < l->n && rc == 0; i++) {
        const struct out_tensor *t = &l->all[i];
        if (t->shard == shard)
            rc = t->source ? write_copy(out, t->source, e) : write_encoded(out, t->matrix, e);
    }
    rc = drain(out, rc, e);
    if (rc == 0)
        return st_writer_commit(out->w, e);
    st_writer_abort(out->w);
    return -1;
}

static int write_index(const struct out_list *l, const struct outdir *dir, struct err *e) {
    struct buf text = {0};
    buf_fmt(&text, "{\n  \"metadata\": {\"total_size\": %" PRIu64 "},\n  \"weight_map\": {",
            l->n_bytes);
    for (size_t i = 0; i < l->n; i++) {
        char *name = shard_name(l, l->all[i].shard);
        buf_str(&text, i > 0 ? ",\n    " : "\n    ");
        json_write_str(&text, str_of(l->all[i].name));
        buf_str(&text, ": ");
        json_write_str(&text, str_of(name));
        free(name);
    }
    buf_str(&text, "\n  }\n}\n");
    int rc = outdir_file(dir, "model.safetensors.index.json", text.p, text.n, e);
    buf_free(&text);
    return rc;
}

int quantize_write(struct quantize_plan *p, const struct quantize_options *o,
                   const struct quantize_target *to, struct err *e) {
    struct out_list list;
    struct jobs_work work = {worker_begin, encode_piece, worker_end, NULL};
    struct writing out = {.source = p->source, .to = to, .thorough = o->thorough};
    out.jobs = jobs_new(o->n_threads, 4 * o->n_threads, &work, e);
    if (!out.jobs)
        return -1;
    list_make(&list, p, to->shard_bytes);
    progress_start(&out.progress, "quantising", list.n_bytes);
    int rc = 0;
    for (size_t s = 0; s < list.n_shards && rc == 0; s++)
        rc = write_shard(&out, &list, s, e);
    progress_end(&out.progress);
    if (rc == 0 && list.n_shards > 1)
        rc = write_index(&list, to->dir, e);
    jobs_free(out.jobs);
    list_free(&list);
    return rc;
}
