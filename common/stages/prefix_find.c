/* The chunks that are nearest to a question: see prefix_find.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "stages/prefix_find.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/io.h"
#include "base/json.h"
#include "chat/record.h"
#include "index/search.h"

/* ---- Searching ---- */

static int check_model(const struct prefix_finder *f, struct err *e) {
    const struct index_info *info = &f->job->ix->info;
    if (f->header.dim != info->dim || f->header.model != info->model)
        return err_set(e, EXIT_DATA,
                       "the index is of another embedding model: fingerprint %016" PRIx64
                       ", and -m has %016" PRIx64 ": %s",
                       info->model, f->header.model, f->job->ix->path);
    return 0;
}

/* Writes f->line to the embedder. Where that has ended it is an error, and not our end. */
static int write_question(struct prefix_finder *f, struct err *e) {
    void (*before)(int) = signal(SIGPIPE, SIG_IGN);
    int rc = write_full(f->job->to_embedder, f->line.p, f->line.n, NULL);
    signal(SIGPIPE, before);
    return rc == 0 ? 0 : err_set(e, EXIT_DATA, "tok-encode and llm-embed have ended");
}

/* The vector of a question -> q [dim]. 1; 0 with `why` if it has none; -1 with e set. */
static int embed(struct prefix_finder *f, struct str question, float *q, struct buf *why,
                 struct err *e) {
    struct vectors_record v;
    buf_clear(&f->line);
    buf_str(&f->line, "{\"text\": ");
    json_write_str(&f->line, question);
    buf_str(&f->line, "}\n");
    if (write_question(f, e) != 0)
        return -1;
    if (!f->reader) {
        f->reader = vectors_reader_new(f->job->from_embedder, "llm-embed", &f->header, e);
        if (!f->reader || check_model(f, e) != 0)
            return -1;
    }
    int rc = vectors_next(f->reader, &v, e);
    if (rc <= 0)
        return rc < 0 ? -1 : err_set(e, EXIT_DATA, "llm-embed has ended");
    if (v.type == VECTORS_FAILED) {
        buf_add(why, v.reason.p, v.reason.n);
        return 0;
    }
    vectors_unpack(&f->header, &v, q);
    if (f->job->ix->info.metric == INDEX_COSINE)
        search_normalise(q, f->job->ix->info.dim);
    return 1;
}

static int search(const struct prefix_finder *f, const float *q, struct str question,
                  struct index_hits *hits, struct err *e) {
    const struct prefix_job *job = f->job;
    size_t depth = job->hybrid ? search_fuse_depth(job->k) : job->k;
    struct index_hits vectors, words;
    if (search_vectors(job->ix, job->pool, q, 1, depth, &vectors, e) != 0)
        return -1;
    if (!job->hybrid) {
        *hits = vectors;
        return 0;
    }
    int rc = search_words(job->ix, question, depth, &words, e);
    if (rc == 0) {
        rc = search_fuse(job->ix, &vectors, &words, job->k, hits, e);
        free(words.p);
    }
    free(vectors.p);
    return rc;
}

/* A hit with its record, to be ordered by id. */
struct source {
    struct index_record record;
    double score;
};

static int by_id(const void *x, const void *y) {
    const struct source *a = x, *b = y;
    return str_compare(a->record.id, b->record.id);
}

/* Writes the hits as two JSON arrays, in the order of ids. */
static int write_sources(struct prefix_finder *f, const struct index_hits *hits, struct err *e) {
    struct source *all = xcalloc(hits->n, sizeof *all);
    int rc = 0;
    for (size_t i = 0; i < hits->n && rc == 0; i++) {
        struct index_record *record = &all[i].record;
        all[i].score = hits->p[i].score;
        rc = index_record(f->job->ix, hits->p[i].record, record, e);
        if (rc == 0 && record->text.n == 0)
            rc =
                err_set(e, EXIT_DATA, "record %.*s has no text, which vec-index --records adds: %s",
                        str_shown(record->id), record->id.p, f->job->ix->path);
    }
    if (rc == 0 && hits->n)
        qsort(all, hits->n, sizeof *all, by_id);
    buf_clear(&f->chunks);
    buf_clear(&f->cite);
    for (size_t i = 0; i < hits->n && rc == 0; i++) {
        const struct str attrs = all[i].record.attrs;
        buf_str(&f->chunks, i ? ", {\"text\": " : "[{\"text\": ");
        json_write_str(&f->chunks, all[i].record.text);
        record_write_attrs(&f->chunks, attrs);
        buf_fmt(&f->cite, "%s{\"source\": %zu", i ? ", " : "[", i + 1);
        record_write_own(&f->cite, attrs, "score");
        json_write_f64(&f->cite, all[i].score);
        record_write_attrs(&f->cite, attrs);
        buf_byte(&f->chunks, '}');
        buf_byte(&f->cite, '}');
    }
    buf_str(&f->chunks, hits->n ? "]" : "[]");
    buf_str(&f->cite, hits->n ? "]" : "[]");
    free(all);
    return rc;
}

int prefix_find(struct prefix_finder *f, struct str question, struct buf *why, struct err *e) {
    struct index_hits hits = {0};
    float *q = xcalloc(f->job->ix->info.dim, sizeof *q);
    int rc = embed(f, question, q, why, e);
    if (rc == 1 && (search(f, q, question, &hits, e) != 0 || write_sources(f, &hits, e) != 0))
        rc = -1;
    free(hits.p);
    free(q);
    return rc;
}

/* ---- The template ---- */

/* Its variables, as a JSON object that outlives the rendering. */
static void write_variables(struct prefix_finder *f, struct str question, struct str system) {
    buf_clear(&f->line);
    buf_str(&f->line, "{\"chunks\": ");
    buf_add(&f->line, f->chunks.p, f->chunks.n);
    buf_str(&f->line, ", \"question\": ");
    json_write_str(&f->line, question);
    buf_str(&f->line, ", \"system\": ");
    json_write_str(&f->line, system.n ? system : str_of(""));
    buf_byte(&f->line, '}');
}

int prefix_render(struct prefix_finder *f, const struct jinja_template *t, struct str question,
                  struct str system, struct buf *out, struct buf *trust, struct err *e) {
    struct jinja *in = jinja_begin(t, NULL);
    struct json j;
    struct str name;
    write_variables(f, question, system);
    json_init(&j, "variables", f->line.p, f->line.n, e);
    json_enter_object(&j);
    while (json_key(&j, &name))
        jinja_set_str(in, name, jinja_from_json(in, &j));
    int rc = json_failed(&j) ? -1 : jinja_render(in, out, trust, e);
    jinja_end(in);
    json_free(&j);
    return rc;
}

void prefix_finder_free(struct prefix_finder *f) {
    close(f->job->to_embedder);
    vectors_reader_free(f->reader);
    buf_free(&f->chunks);
    buf_free(&f->cite);
    buf_free(&f->line);
}
