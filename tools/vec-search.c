/* vec-search: the records of an index(5) that are nearest to each vector of vectors(5). See
 * man/vec-search.1.
 *
 * Queries that can be read without waiting are searched together. This file reads and prints;
 * common/index/search.h searches.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>

#include "base/attrs.h"
#include "base/io.h"
#include "base/json.h"
#include "base/num.h"
#include "base/opt.h"
#include "base/sandbox.h"
#include "base/visible.h"
#include "chat/record.h"
#include "index/index.h"
#include "index/search.h"
#include "kernels/kernels.h"
#include "kernels/pool.h"
#include "stages/texts.h"
#include "stages/watch.h"
#include "wire/vectors.h"

enum { MAX_THREADS = 256, DEFAULT_K = 10 };

static const char help[] =
    "usage: vec-search -i INDEX [-k N] [options] [FILE]\n"
    "Finds the records of an index(5) that are nearest to each vector of vectors(5).\n"
    "Prints a line for each: the query, the rank, the score and the record's id.\n"
    "\n"
    "  -i, --index INDEX      the index's file, as vec-index writes it\n"
    "  -k, --top-k N          records for each query (default 10)\n"
    "  -j, --json             print JSON lines, with the keys of the record\n"
    "      --text             with -j: print the record's text, too\n"
    "      --hybrid           join the nearest vectors with the best texts by BM25\n"
    "      --bm25             only the best texts by BM25\n"
    "      --records FILE     with --hybrid or --bm25: JSON lines with the queries' texts, by "
    "\"id\"\n"
    "  -t, --threads N        threads (default: one a core)\n"
    "  -v, --verbose          print what the index has, on stderr\n"
    "  -q, --quiet            no warnings\n"
    "      --no-sandbox       run without the sandbox (debugging)\n"
    "  -h, --help             this text\n"
    "  -V, --version          the version\n";

enum { OPT_TEXT = OPT_LONG_ONLY, OPT_HYBRID, OPT_BM25, OPT_RECORDS };

struct options {
    const char *index, *input, *records;
    size_t k, threads;
    bool json, text, hybrid, bm25;
};

static const struct option longs[] = {
    {"index", required_argument, NULL, 'i'},
    {"top-k", required_argument, NULL, 'k'},
    {"json", no_argument, NULL, 'j'},
    {"text", no_argument, NULL, OPT_TEXT},
    {"hybrid", no_argument, NULL, OPT_HYBRID},
    {"bm25", no_argument, NULL, OPT_BM25},
    {"records", required_argument, NULL, OPT_RECORDS},
    {"threads", required_argument, NULL, 't'},
    OPT_COMMON,
};

static void parse_options(int argc, char **argv, struct options *o) {
    o->k = DEFAULT_K;
    for (int c; (c = getopt_long(argc, argv, "i:k:jt:" OPT_COMMON_LETTERS, longs, NULL)) != -1;)
        switch (c) {
        case 'i':
            o->index = optarg;
            break;
        case 'k':
            o->k = (size_t)opt_u64("-k", optarg, 1, SEARCH_MOST_K);
            break;
        case 'j':
            o->json = true;
            break;
        case OPT_TEXT:
            o->text = true;
            break;
        case OPT_HYBRID:
            o->hybrid = true;
            break;
        case OPT_BM25:
            o->bm25 = true;
            break;
        case OPT_RECORDS:
            o->records = optarg;
            break;
        case 't':
            o->threads = (size_t)opt_u64("-t", optarg, 1, MAX_THREADS);
            break;
        default:
            opt_common(c, help);
        }
    if (!o->index)
        die_usage("-i is needed: the index");
    if (o->text && !o->json)
        die_usage("--text goes with -j");
    if (o->hybrid && o->bm25)
        die_usage("--hybrid or --bm25, not both");
    if ((o->hybrid || o->bm25) != (o->records != NULL))
        die_usage("--hybrid and --bm25 go with --records: the texts of the queries");
    o->input = opt_file(argc, argv);
}

/* ---- A batch of queries ---- */

struct query {
    uint64_t number; // of the sequence
    struct buf attrs, text;
    struct buf failed; // why it has no vector; n = 0: it has one
};

struct run {
    const struct options *o;
    struct index_file ix;
    struct pool *pool;
    struct texts *texts;
    struct vectors_header header;
    struct query queries[SEARCH_BATCH];
    float *vectors; // [SEARCH_BATCH, dim] of those that have one
    size_t n;
    struct buf line;
    bool terminal;
    int status;
};

/* Reads one query. 1, 0 at the end, -1 with e set. */
static int read_query(struct run *r, struct vectors_reader *reader, struct err *e) {
    struct vectors_record v;
    int rc = vectors_next(reader, &v, e);
    if (rc != 1)
        return rc;
    struct query *q = &r->queries[r->n];
    const size_t dim = r->ix.info.dim;
    q->number = v.id;
    buf_clear(&q->attrs);
    buf_clear(&q->text);
    buf_clear(&q->failed);
    buf_add(&q->attrs, v.attrs.p, v.attrs.n);
    float *values = r->vectors + r->n++ * dim;
    memset(values, 0, dim * sizeof *values);
    if (v.type == VECTORS_FAILED) {
        buf_add(&q->failed, v.reason.p, v.reason.n);
        if (!v.reason.n)
            buf_str(&q->failed, "it failed");
        return 1;
    }
    vectors_unpack(&r->header, &v, values);
    if (r->ix.info.metric == INDEX_COSINE)
        search_normalise(values, dim);
    struct buf id = {0};
    if (r->texts && texts_id(buf_view(&q->attrs), &id))
        texts_find(r->texts, buf_view(&id), &q->text);
    if (r->texts && !q->text.n)
        warn("query %" PRIu64 " has no text in %s", v.id, r->o->records);
    buf_free(&id);
    return 1;
}

/* Whether a read would not wait: the reader reads nothing ahead of a record. */
static bool is_readable(int fd) {
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, 0) > 0;
}

/* ---- Output ---- */

/* The query's name: its id as JSON, else its number. */
static void write_query(struct buf *line, const struct query *q, bool json) {
    struct buf id = {0};
    if (texts_id(buf_view(&q->attrs), &id) && json) {
        struct buf attrs = {0}, member = {0};
        attrs_set(&attrs, "id", buf_view(&id));
        record_write_attrs(&member, buf_view(&attrs)); // `, "id": 7`
        buf_add(line, member.p + 8, member.n - 8);
        buf_free(&attrs);
        buf_free(&member);
    } else if (id.n) {
        buf_add(line, id.p, id.n);
    } else {
        buf_fmt(line, "%" PRIu64, q->number);
    }
    buf_free(&id);
}

static void write_json(struct run *r, const struct query *q, size_t rank, double score,
                       const struct index_record *record) {
    buf_str(&r->line, "{\"query\": ");
    write_query(&r->line, q, true);
    buf_fmt(&r->line, ", \"rank\": %zu", rank);
    record_write_own(&r->line, record->attrs, "score");
    json_write_f64(&r->line, score);
    if (r->o->text && record->text.n) {
        buf_str(&r->line, ", \"text\": ");
        json_write_str(&r->line, record->text);
    }
    record_write_attrs(&r->line, record->attrs);
    buf_str(&r->line, "}\n");
}

static int write_hits(struct run *r, const struct query *q, const struct index_hits *hits,
                      struct err *e) {
    for (size_t i = 0; i < hits->n; i++) {
        struct index_record record;
        if (index_record(&r->ix, hits->p[i].record, &record, e) != 0)
            return -1;
        buf_clear(&r->line);
        if (r->o->json) {
            write_json(r, q, i + 1, hits->p[i].score, &record);
        } else {
            write_query(&r->line, q, false);
            buf_fmt(&r->line, "\t%zu\t%.9g\t", i + 1, hits->p[i].score);
            buf_add(&r->line, record.id.p, record.id.n);
            buf_byte(&r->line, '\n');
        }
        visible_write(stdout, buf_view(&r->line), r->terminal);
    }
    return 0;
}

static void write_failed(struct run *r, const struct query *q) {
    r->status = EXIT_SOME_FAILED;
    warn("query %" PRIu64 " has no vector: %.*s", q->number, str_shown(buf_view(&q->failed)),
         q->failed.p);
    if (!r->o->json)
        return;
    buf_clear(&r->line);
    buf_str(&r->line, "{\"query\": ");
    write_query(&r->line, q, true);
    buf_str(&r->line, ", \"error\": ");
    json_write_str(&r->line, buf_view(&q->failed));
    buf_str(&r->line, "}\n");
    visible_write(stdout, buf_view(&r->line), r->terminal);
}

/* ---- Searching ---- */

/* Joins a query's hits by vector with those by words. */
static int join_words(struct run *r, const struct query *q, struct index_hits *hits,
                      struct err *e) {
    struct index_hits words, both;
    size_t depth = r->o->bm25 ? r->o->k : search_fuse_depth(r->o->k);
    if (search_words(&r->ix, q->text.n ? buf_view(&q->text) : str_of(""), depth, &words, e) != 0)
        return -1;
    if (r->o->bm25) {
        free(hits->p);
        *hits = words;
        return 0;
    }
    int rc = search_fuse(&r->ix, hits, &words, r->o->k, &both, e);
    free(words.p);
    free(hits->p);
    *hits = rc == 0 ? both : (struct index_hits){0};
    return rc;
}

/* Searches for the batch, and prints it. */
static int search_batch(struct run *r, struct err *e) {
    struct index_hits hits[SEARCH_BATCH] = {{0}};
    const size_t depth = r->o->hybrid ? search_fuse_depth(r->o->k) : r->o->k;
    int rc = r->o->bm25 ? 0 : search_vectors(&r->ix, r->pool, r->vectors, r->n, depth, hits, e);
    for (size_t i = 0; i < r->n; i++) {
        const struct query *q = &r->queries[i];
        if (rc == 0 && q->failed.n)
            write_failed(r, q);
        else if (rc == 0 && r->texts)
            rc = join_words(r, q, &hits[i], e);
        if (rc == 0 && !q->failed.n)
            rc = write_hits(r, q, &hits[i], e);
        free(hits[i].p);
    }
    r->n = 0;
    return rc == 0 ? flush_out(stdout, e) : -1;
}

static int search_all(struct run *r, struct vectors_reader *reader, int fd, struct err *e) {
    int rc;
    do {
        rc = read_query(r, reader, e);
        if (r->n && (rc != 1 || r->n == SEARCH_BATCH || !is_readable(fd))) {
            struct err bad = {0};
            if (search_batch(r, &bad) != 0) {
                *e = bad;
                return -1;
            }
        }
    } while (rc == 1);
    return rc;
}

static void check_header(const struct run *r, const char *name) {
    const struct index_info *info = &r->ix.info;
    if (r->header.dim != info->dim)
        die(EXIT_DATA, "vectors of dimension %" PRIu32 ", and the index has %zu: %s", r->header.dim,
            info->dim, name);
    if (r->header.model != info->model)
        die(EXIT_DATA,
            "vectors of another model: fingerprint %016" PRIx64 ", and the index has %016" PRIx64
            ": %s",
            r->header.model, info->model, name);
    if (opt_verbose())
        print_note("%s: %zu records of dimension %zu, %s, %s, %zu with a text, model %016" PRIx64,
                   r->o->index, info->n, info->dim, info->metric == INDEX_COSINE ? "cosine" : "dot",
                   index_store_name(info->store), (size_t)info->n_texts, info->model);
}

static void run_free(struct run *r) {
    for (size_t i = 0; i < SEARCH_BATCH; i++) {
        buf_free(&r->queries[i].attrs);
        buf_free(&r->queries[i].text);
        buf_free(&r->queries[i].failed);
    }
    buf_free(&r->line);
    free(r->vectors);
    texts_free(r->texts);
    pool_free(r->pool);
    index_close(&r->ix);
}

int main(int argc, char **argv) {
    struct options o = {0};
    struct run r = {.o = &o};
    struct err e = {0};
    const char *name;
    program_init(argv[0]);
    stage_watch_stdout();
    parse_options(argc, argv, &o);
    r.terminal = visible_terminal(stdout);
    int fd = open_operand(o.input, &name, &e);
    if (fd < 0 || index_open(&r.ix, o.index, &e) != 0 || kernels_init(&e) != 0 ||
        (o.records && !(r.texts = texts_open(o.records, &e))) ||
        !(r.pool = pool_new(o.threads, &e)))
        die_err(&e);
    if (sandbox_enter(&(struct sandbox){.may = 0}, &e) != 0)
        die_err(&e);
    struct vectors_reader *reader = vectors_reader_new(fd, name, &r.header, &e);
    if (!reader)
        die_err(&e);
    check_header(&r, name);
    r.vectors = xcalloc(SEARCH_BATCH, r.ix.info.dim * sizeof *r.vectors);
    if (search_all(&r, reader, fd, &e) != 0)
        die_err(&e);
    vectors_reader_free(reader);
    run_free(&r);
    close_stdout();
    return r.status;
}
