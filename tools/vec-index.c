/* vec-index: vectors(5) to an index(5), which vec-search searches. See man/vec-index.1.
 *
 * This file reads the streams; common/index/writer.h writes the file.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#define _XOPEN_SOURCE 700 // realpath
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/hash.h"
#include "base/io.h"
#include "base/json.h"
#include "base/num.h"
#include "base/opt.h"
#include "base/records.h"
#include "base/sandbox.h"
#include "base/strmap.h"
#include "base/visible.h"
#include "chat/record.h"
#include "index/index.h"
#include "index/writer.h"
#include "stages/texts.h"
#include "stages/watch.h"
#include "wire/vectors.h"

enum { MAX_LINE = 0x7fffffff, DEFAULT_EVERY = 65536 };

static const char help[] =
    "usage: vec-index -i INDEX [options] [FILE]\n"
    "Adds the vectors of vectors(5), as llm-embed writes them, to an index(5).\n"
    "\n"
    "  -i, --index INDEX      the index's file, made if it is missing\n"
    "      --records FILE     JSON lines with the texts of the records, found by \"id\"\n"
    "      --store TYPE       store vectors as f32 (default), bf16, or i8 beside f32\n"
    "      --every N          write the index after each N new records (default 65536)\n"
    "      --missing          copy the JSON lines of FILE that the index does not have yet\n"
    "      --prune            remove the records that --records does not have\n"
    "  -l, --list             print the records of the index as JSON lines\n"
    "  -v, --verbose          print what was added, on stderr\n"
    "  -q, --quiet            no warnings\n"
    "      --no-sandbox       run without the sandbox (debugging)\n"
    "  -h, --help             this text\n"
    "  -V, --version          the version\n";

enum { OPT_RECORDS = OPT_LONG_ONLY, OPT_STORE, OPT_EVERY, OPT_MISSING, OPT_PRUNE };

struct options {
    const char *index, *input;
    enum index_store store;
    size_t every;
    bool missing, prune, list;
    struct texts *texts; // of --records, or NULL
};

static const struct option longs[] = {
    {"index", required_argument, NULL, 'i'},
    {"records", required_argument, NULL, OPT_RECORDS},
    {"store", required_argument, NULL, OPT_STORE},
    {"every", required_argument, NULL, OPT_EVERY},
    {"missing", no_argument, NULL, OPT_MISSING},
    {"prune", no_argument, NULL, OPT_PRUNE},
    {"list", no_argument, NULL, 'l'},
    OPT_COMMON,
};

static enum index_store store_of(const char *arg) {
    const enum index_store store = index_store_of(arg);
    if (!store)
        die_usage("--store takes f32, bf16 or i8, not '%s'", arg);
    return store;
}

/* Where a symbolic link leads: the index is written there, and the link stays. */
static const char *follow(const char *path) {
    static char *real; // for the life of the program
    struct stat st;
    if (lstat(path, &st) == 0 && S_ISLNK(st.st_mode))
        real = realpath(path, NULL);
    return real ? real : path;
}

static void parse_options(int argc, char **argv, struct options *o) {
    const char *records = NULL;
    struct err e = {0};
    o->every = DEFAULT_EVERY;
    for (int c; (c = getopt_long(argc, argv, "i:l" OPT_COMMON_LETTERS, longs, NULL)) != -1;)
        switch (c) {
        case 'i':
            o->index = optarg;
            break;
        case OPT_RECORDS:
            records = optarg;
            break;
        case OPT_STORE:
            o->store = store_of(optarg);
            break;
        case OPT_EVERY:
            o->every = (size_t)opt_u64("--every", optarg, 1, DEFAULT_EVERY);
            break;
        case OPT_MISSING:
            o->missing = true;
            break;
        case OPT_PRUNE:
            o->prune = true;
            break;
        case 'l':
            o->list = true;
            break;
        default:
            opt_common(c, help);
        }
    if (!o->index)
        die_usage("-i is needed: the index");
    o->index = follow(o->index);
    if (o->missing + o->prune + o->list > 1)
        die_usage("--missing, --prune and --list are three different things");
    if (o->prune && !records)
        die_usage("--prune goes with --records");
    o->input = opt_file(argc, argv);
    if (o->input && (o->prune || o->list))
        die_usage("--prune and --list read no FILE");
    if (records && !(o->texts = texts_open(records, &e)))
        die_err(&e);
}

/* May read and write below the index's folder. */
static void enter_sandbox(const struct options *o) {
    struct err e = {0};
    char *folder = path_parent(o->index);
    struct sandbox s = {.may = SANDBOX_FILES, .write = {folder}};
    if (sandbox_enter(&s, &e) != 0)
        die_err(&e);
    free(folder);
}

/* ---- Adding ---- */

struct adding {
    const struct options *o;
    struct index_writer *w;
    struct vectors_header header;
    float *values; // [dim]
    struct buf id, text;
    size_t counts[3]; // by enum index_added
    size_t n_failed, n_textless;
};

/* The id of a record without one: a hash of its values. So the same vector is added once. */
static void id_of_values(struct adding *a) {
    buf_clear(&a->id);
    buf_fmt(&a->id, "%016" PRIx64, hash_fingerprint(a->values, a->header.dim * sizeof *a->values));
}

static int add_record(struct adding *a, const struct vectors_record *v, struct err *e) {
    if (v->type == VECTORS_FAILED) {
        warn("record %" PRIu64 " has no vector: %.*s", v->id, str_shown(v->reason), v->reason.p);
        a->n_failed++;
        return 0;
    }
    vectors_unpack(&a->header, v, a->values);
    if (!texts_id(v->attrs, &a->id))
        id_of_values(a);
    buf_clear(&a->text);
    if (a->o->texts && !texts_find(a->o->texts, buf_view(&a->id), &a->text))
        a->n_textless++;
    struct index_item item = {.values = a->values,
                              .id = buf_view(&a->id),
                              .attrs = v->attrs,
                              .text = a->text.n ? buf_view(&a->text) : str_of("")};
    enum index_added added;
    if (index_add(a->w, &item, &added, e) != 0)
        return -1;
    a->counts[added]++;
    return index_staged(a->w) >= a->o->every ? index_commit(a->w, e) : 0;
}

static void report_added(const struct adding *a) {
    if (a->n_textless)
        warn("%zu records have no text in the file of --records", a->n_textless);
    if (opt_verbose())
        print_note("%zu records are new, %zu replaced, %zu the same; the index has %zu: %s",
                   a->counts[INDEX_NEW], a->counts[INDEX_REPLACED], a->counts[INDEX_SAME],
                   index_count(a->w), a->o->index);
}

static struct index_info info_of(const struct options *o, const struct vectors_header *h) {
    if (h->metric == VECTORS_EUCLIDEAN)
        die(EXIT_DATA, "vectors with the metric euclidean: an index has cosine or dot");
    return (struct index_info){.dim = h->dim,
                               .store = o->store,
                               .metric = h->metric == VECTORS_DOT ? INDEX_DOT : INDEX_COSINE,
                               .model = h->model,
                               .tokenizer = h->tokenizer};
}

/* Adds the stream. What came before a stream was cut is in the index, too. */
static int add_vectors(const struct options *o, int fd, const char *name) {
    struct err e = {0}, bad = {0};
    struct adding a = {.o = o};
    struct vectors_record v;
    struct vectors_reader *r = vectors_reader_new(fd, name, &a.header, &e);
    if (!r)
        die_err(&e);
    struct index_info info = info_of(o, &a.header);
    if (!(a.w = index_writer_open(o->index, &info, &e)))
        die_err(&e);
    a.values = xcalloc(a.header.dim, sizeof *a.values);
    int rc;
    while ((rc = vectors_next(r, &v, &bad)) == 1)
        if (add_record(&a, &v, &e) != 0)
            die_err(&e);
    if (rc < 0 && bad.code != EXIT_DATA)
        die_err(&bad);
    if (index_commit(a.w, &e) != 0)
        die_err(&e);
    report_added(&a);
    if (rc < 0) {
        print_note("the records before that are in the index: %s", o->index);
        die_err(&bad);
    }
    vectors_reader_free(r);
    index_writer_close(a.w);
    buf_free(&a.id);
    buf_free(&a.text);
    free(a.values);
    return a.n_failed ? EXIT_SOME_FAILED : EXIT_DONE;
}

/* ---- Removing ---- */

static bool keep(void *ctx, struct str id) {
    return texts_have(ctx, id);
}

static int prune(const struct options *o) {
    struct err e = {0};
    size_t n;
    struct index_writer *w = index_writer_open_old(o->index, &e);
    if (!w || index_prune(w, keep, o->texts, &n, &e) != 0 || index_commit(w, &e) != 0)
        die_err(&e);
    if (opt_verbose())
        print_note("%zu records removed; the index has %zu: %s", n, index_count(w), o->index);
    index_writer_close(w);
    return EXIT_DONE;
}

/* ---- What the index has ---- */

static void list_record(const struct index_record *r, struct buf *line) {
    buf_clear(line);
    buf_str(line, "{\"text\": ");
    if (r->text.n)
        json_write_str(line, r->text);
    else
        buf_str(line, "null");
    record_write_attrs(line, r->attrs);
    buf_str(line, "}\n");
}

static int list(const struct options *o) {
    struct index_file ix;
    struct err e = {0};
    struct index_record r;
    struct buf line = {0};
    bool terminal = visible_terminal(stdout);
    if (index_open(&ix, o->index, &e) != 0 || index_check_records(&ix, &e) != 0)
        die_err(&e);
    for (size_t i = 0; i < ix.info.n; i++) {
        if (index_record(&ix, i, &r, &e) != 0)
            die_err(&e);
        list_record(&r, &line);
        visible_write(stdout, buf_view(&line), terminal);
    }
    buf_free(&line);
    index_close(&ix);
    return EXIT_DONE;
}

/* The ids of an index, to the records' numbers. */
struct known {
    struct index_file ix; // map.p NULL: there is no index yet
    struct strmap ids;
};

static void read_known(struct known *k, const char *path) {
    struct err e = {0};
    struct str id;
    if (is_there(path) &&
        (index_open(&k->ix, path, &e) != 0 || index_check_records(&k->ix, &e) != 0))
        die_err(&e);
    strmap_init(&k->ids, k->ix.info.n);
    for (size_t i = 0; i < k->ix.info.n; i++) {
        if (index_id(&k->ix, i, &id, &e) != 0)
            die_err(&e);
        strmap_add(&k->ids, id, (uint32_t)i);
    }
}

/* Whether the index has a record with this id, and the same text if it stores one. */
static bool is_known(const struct known *k, struct str id, struct str text) {
    struct index_record r;
    struct err e = {0};
    uint32_t at;
    if (!id.n || !strmap_find(&k->ids, id, &at))
        return false;
    if (index_record(&k->ix, at, &r, &e) != 0)
        die_err(&e);
    return !r.text.n || !text.n || str_same(r.text, text);
}

static int copy_missing(const struct options *o, int fd, const char *name) {
    struct known known = {0};
    struct err e = {0};
    struct str line;
    struct buf id = {0}, text = {0};
    size_t number = 0;
    read_known(&known, o->index);
    struct records *r = records_new(fd, name, RECORDS_LINES, MAX_LINE);
    while (records_pending(r) || flush_out(stdout, &e) == 0) {
        if (records_next(r, &line, &e) <= 0)
            break;
        struct err bad = {0};
        number++;
        if (texts_read(line, &id, &text, &bad) != 0)
            die(EXIT_DATA, "%s: line %zu of %s", bad.msg, number, name);
        if (is_known(&known, buf_view(&id), buf_view(&text)))
            continue;
        fwrite(line.p, 1, line.n, stdout);
        putc('\n', stdout);
    }
    if (e.code)
        die_err(&e);
    records_free(r);
    strmap_free(&known.ids);
    index_close(&known.ix);
    buf_free(&id);
    buf_free(&text);
    return EXIT_DONE;
}

int main(int argc, char **argv) {
    struct options o = {0};
    struct err e = {0};
    const char *name = NULL;
    int status, fd = -1;
    program_init(argv[0]);
    stage_watch_stdout();
    parse_options(argc, argv, &o);
    if (!o.prune && !o.list && (fd = open_operand(o.input, &name, &e)) < 0)
        die_err(&e);
    enter_sandbox(&o);
    if (o.prune)
        status = prune(&o);
    else if (o.list)
        status = list(&o);
    else if (o.missing)
        status = copy_missing(&o, fd, name);
    else
        status = add_vectors(&o, fd, name);
    texts_free(o.texts);
    close_stdout();
    return status;
}
