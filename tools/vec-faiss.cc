/* vec-faiss: vectors(5) to and from the index files of the faiss library, and a search in them. See
 * man/vec-faiss.1.
 *
 * An adapter for what an index(5) is not made for: approximate search in very many vectors. It is
 * built by `make faiss`, where libfaiss is installed. The library reads and writes through the
 * descriptors of this program, so that a stranger's file is parsed inside the sandbox.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <faiss/Index.h>
#include <faiss/impl/io.h>
#include <faiss/index_factory.h>
#include <faiss/index_io.h>

extern "C" {
#include "base/attrs.h"
#include "base/io.h"
#include "base/num.h"
#include "base/opt.h"
#include "base/sandbox.h"
#include "base/utf8.h"
#include "stages/texts.h"
#include "stages/watch.h"
#include "wire/vectors.h"
}

enum { MOST_K = 1 << 20, DEFAULT_K = 10 };
static const size_t QUERIES = 64; // searched together

static const char help[] =
    "usage: vec-faiss -o FILE [--factory NAME] [--ids IDS] [VECTORS]\n"
    "       vec-faiss -i FILE [-k N] [--ids IDS] [QUERIES]\n"
    "       vec-faiss -i FILE --vectors [--ids IDS] [--model HEX]\n"
    "Writes vectors(5) as an index file of the faiss library, searches one, or writes its "
    "vectors.\n"
    "\n"
    "  -o, --output FILE      write this index file\n"
    "      --factory NAME     its kind: Flat (default), HNSW32, IVF256,PQ48 ...\n"
    "  -i, --index FILE       search this index file for the vectors of QUERIES\n"
    "  -k, --top-k N          records for each query (default 10)\n"
    "      --vectors          write the vectors of the index file as vectors(5)\n"
    "      --ids IDS          the records' ids, a line each: written with -o, else read\n"
    "      --model HEX        with --vectors: the fingerprint of the model\n"
    "  -v, --verbose          print what the index has, on stderr\n"
    "  -q, --quiet            no warnings\n"
    "      --no-sandbox       run without the sandbox (debugging)\n"
    "  -h, --help             this text\n"
    "  -V, --version          the version\n";

enum { OPT_FACTORY = OPT_LONG_ONLY, OPT_VECTORS, OPT_IDS, OPT_MODEL };

struct options {
    const char *output, *index, *factory, *ids, *input;
    size_t k;
    bool vectors;
    uint64_t model;
};

static const struct option longs[] = {
    {"output", required_argument, NULL, 'o'},
    {"factory", required_argument, NULL, OPT_FACTORY},
    {"index", required_argument, NULL, 'i'},
    {"top-k", required_argument, NULL, 'k'},
    {"vectors", no_argument, NULL, OPT_VECTORS},
    {"ids", required_argument, NULL, OPT_IDS},
    {"model", required_argument, NULL, OPT_MODEL},
    OPT_COMMON,
};

static uint64_t parse_hex(const char *arg) {
    uint64_t value = 0;
    size_t n = strlen(arg);
    for (size_t i = 0; i < n; i++) {
        int digit = num_hex_digit(arg[i]);
        if (digit < 0 || n > 16)
            die_usage("--model takes up to 16 hexadecimal digits, not '%s'", arg);
        value = value << 4 | (uint64_t)digit;
    }
    return value;
}

static void parse_options(int argc, char **argv, struct options *o) {
    o->k = DEFAULT_K;
    for (int c; (c = getopt_long(argc, argv, "o:i:k:" OPT_COMMON_LETTERS, longs, NULL)) != -1;)
        switch (c) {
        case 'o':
            o->output = optarg;
            break;
        case OPT_FACTORY:
            o->factory = optarg;
            break;
        case 'i':
            o->index = optarg;
            break;
        case 'k':
            o->k = (size_t)opt_u64("-k", optarg, 1, MOST_K);
            break;
        case OPT_VECTORS:
            o->vectors = true;
            break;
        case OPT_IDS:
            o->ids = optarg;
            break;
        case OPT_MODEL:
            o->model = parse_hex(optarg);
            break;
        default:
            opt_common(c, help);
        }
    if (!o->output == !o->index)
        die_usage("-o or -i is needed: an index file to write, or one to read");
    if (o->output && o->vectors)
        die_usage("--vectors goes with -i");
    if (o->index && o->factory)
        die_usage("--factory goes with -o");
    o->input = opt_file(argc, argv);
}

/* ---- The library's reads and writes ---- */

/* Reads from a mapping. */
struct map_reader : faiss::IOReader {
    const struct map *map;
    size_t at = 0;
    size_t operator()(void *to, size_t size, size_t n) override {
        size_t left = size ? (map->n - at) / size : 0;
        n = n < left ? n : left;
        if (n)
            memcpy(to, map->p + at, n * size);
        at += n * size;
        return n;
    }
};

/* Writes to a file that is renamed when it is complete. */
struct file_writer : faiss::IOWriter {
    struct outfile file;
    struct err e = {};
    size_t operator()(const void *p, size_t size, size_t n) override {
        return outfile_write(&file, p, size * n, &e) == 0 ? n : 0;
    }
};

static void normalise(float *v, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)v[i] * (double)v[i];
    for (size_t i = 0; i < n && sum > 0; i++)
        v[i] = (float)((double)v[i] / sqrt(sum));
}

/* ---- Writing an index file ---- */

struct gathered {
    struct vectors_header header;
    std::vector<float> values; // [n, dim]
    std::vector<std::string> ids;
    size_t n_failed = 0;
};

/* The id of a record, else its number. */
static std::string id_of(const struct vectors_record *v) {
    struct buf id = {};
    std::string text = texts_id(v->attrs, &id) ? std::string(id.p, id.n) : std::to_string(v->id);
    buf_free(&id);
    return text;
}

static void gather(struct gathered *g, int fd, const char *name) {
    struct err e = {};
    struct vectors_record v;
    int rc;
    struct vectors_reader *r = vectors_reader_new(fd, name, &g->header, &e);
    if (!r)
        die_err(&e);
    std::vector<float> row(g->header.dim);
    while ((rc = vectors_next(r, &v, &e)) == 1) {
        if (v.type == VECTORS_FAILED) {
            warn("record %" PRIu64 " has no vector: %.*s", v.id, str_shown(v.reason), v.reason.p);
            g->n_failed++;
            continue;
        }
        vectors_unpack(&g->header, &v, row.data());
        if (g->header.metric == VECTORS_COSINE)
            normalise(row.data(), row.size());
        g->values.insert(g->values.end(), row.begin(), row.end());
        g->ids.push_back(id_of(&v));
    }
    if (rc < 0)
        die_err(&e);
    vectors_reader_free(r);
}

static int write_index_file(const struct options *o, int fd, const char *name) {
    struct gathered g;
    struct file_writer w;
    struct outfile ids;
    struct err e = {};
    gather(&g, fd, name);
    const faiss::MetricType metric =
        g.header.metric == VECTORS_EUCLIDEAN ? faiss::METRIC_L2 : faiss::METRIC_INNER_PRODUCT;
    std::unique_ptr<faiss::Index> index(
        faiss::index_factory((int)g.header.dim, o->factory ? o->factory : "Flat", metric));
    const auto n = (faiss::Index::idx_t)g.ids.size();
    if (!index->is_trained)
        index->train(n, g.values.data());
    index->add(n, g.values.data());
    if (outfile_open(&w.file, o->output, &e) != 0)
        die_err(&e);
    faiss::write_index(index.get(), &w);
    if (o->ids) {
        if (outfile_open(&ids, o->ids, &e) != 0)
            die_err(&e);
        for (const std::string &id : g.ids)
            if (outfile_write(&ids, id.data(), id.size(), &e) != 0 ||
                outfile_write(&ids, "\n", 1, &e) != 0)
                die_err(&e);
        if (outfile_commit(&ids, &e) != 0)
            die_err(&e);
    }
    if (w.e.code || outfile_commit(&w.file, &e) != 0)
        die_err(w.e.code ? &w.e : &e);
    if (opt_verbose())
        print_note("%zu vectors of dimension %" PRIu32 ": %s", g.ids.size(), g.header.dim,
                   o->output);
    return g.n_failed ? EXIT_SOME_FAILED : EXIT_DONE;
}

/* ---- Reading one ---- */

static std::unique_ptr<faiss::Index> read_index_file(const struct map *map) {
    struct map_reader r;
    r.map = map;
    std::unique_ptr<faiss::Index> index(faiss::read_index(&r));
    if (index->d < 1 || index->d > VECTORS_MAX_DIM || index->ntotal < 0)
        throw std::runtime_error("a dimension or a number of vectors is out of bounds");
    return index;
}

/* Lines of --ids, checked against the number of vectors. */
static std::vector<std::string> read_ids(const char *path, const struct map *map, size_t n) {
    std::vector<std::string> ids;
    const char *p = (const char *)map->p, *end = p + map->n;
    while (path && p < end) {
        const char *newline = (const char *)memchr(p, '\n', (size_t)(end - p));
        const char *stop = newline ? newline : end;
        if (utf8_valid(p, (size_t)(stop - p)) != (size_t)(stop - p))
            die(EXIT_DATA, "line %zu is not valid UTF-8: %s", ids.size() + 1, path);
        ids.emplace_back(p, stop);
        p = newline ? newline + 1 : end;
    }
    if (path && ids.size() != n)
        die(EXIT_DATA, "%zu ids, and the index has %zu vectors: %s", ids.size(), n, path);
    return ids;
}

static int write_vectors(const struct options *o, faiss::Index *index,
                         const std::vector<std::string> &ids) {
    struct err e = {};
    struct vectors_header h = {};
    struct buf attrs = {};
    std::vector<float> row((size_t)index->d);
    h.dim = (uint32_t)index->d;
    h.dtype = VECTORS_F32;
    h.metric = index->metric_type == faiss::METRIC_L2 ? VECTORS_EUCLIDEAN : VECTORS_DOT;
    h.model = o->model;
    if (vectors_write_header(stdout, &h, &e) != 0)
        die_err(&e);
    for (faiss::Index::idx_t i = 0; i < index->ntotal; i++) {
        struct vectors_record v = {};
        index->reconstruct(i, row.data());
        for (float x : row)
            if (!isfinite(x))
                die(EXIT_DATA, "vector %" PRId64 " is not finite: %s", (int64_t)i, o->index);
        std::string id = ids.empty() ? std::to_string(i) : ids[(size_t)i];
        buf_clear(&attrs);
        attrs_set(&attrs, "id", (struct str){id.data(), id.size()});
        v.type = VECTORS_VALUES;
        v.id = (uint64_t)i;
        v.values = row.data();
        v.attrs = buf_view(&attrs);
        if (vectors_write(stdout, &h, &v, &e) != 0)
            die_err(&e);
    }
    vectors_write_end(stdout, (uint64_t)index->ntotal);
    buf_free(&attrs);
    return EXIT_DONE;
}

static int search(const struct options *o, faiss::Index *index, const std::vector<std::string> &ids,
                  int fd, const char *name) {
    struct gathered q;
    gather(&q, fd, name);
    if (q.header.dim != (uint32_t)index->d)
        die(EXIT_DATA, "vectors of dimension %" PRIu32 ", and the index has %d: %s", q.header.dim,
            index->d, name);
    const size_t k = o->k;
    std::vector<float> scores(QUERIES * k);
    std::vector<faiss::Index::idx_t> found(QUERIES * k);
    for (size_t at = 0; at < q.ids.size(); at += QUERIES) {
        const size_t n = q.ids.size() - at < QUERIES ? q.ids.size() - at : QUERIES;
        index->search((faiss::Index::idx_t)n, q.values.data() + at * q.header.dim,
                      (faiss::Index::idx_t)k, scores.data(), found.data());
        for (size_t i = 0; i < n * k; i++) {
            const faiss::Index::idx_t id = found[i];
            if (id < 0) // fewer than k
                continue;
            const std::string shown =
                (size_t)id < ids.size() ? ids[(size_t)id] : std::to_string(id);
            printf("%s\t%zu\t%.9g\t%s\n", q.ids[at + i / k].c_str(), i % k + 1, (double)scores[i],
                   shown.c_str());
        }
    }
    return q.n_failed ? EXIT_SOME_FAILED : EXIT_DONE;
}

static int read_and_use(const struct options *o, const struct map *file, const struct map *id_file,
                        int fd, const char *name) {
    std::unique_ptr<faiss::Index> index = read_index_file(file);
    std::vector<std::string> ids = read_ids(o->ids, id_file, (size_t)index->ntotal);
    if (opt_verbose())
        print_note("%" PRId64 " vectors of dimension %d: %s", (int64_t)index->ntotal, index->d,
                   o->index);
    return o->vectors ? write_vectors(o, index.get(), ids) : search(o, index.get(), ids, fd, name);
}

/* May write below the folders of -o and --ids. */
static void enter_sandbox(const struct options *o) {
    struct err e = {};
    struct sandbox s = {};
    char *folder = o->output ? path_parent(o->output) : NULL,
         *ids = o->output && o->ids ? path_parent(o->ids) : NULL;
    s.may = SANDBOX_THREADS | (o->output ? SANDBOX_FILES : 0);
    s.write[0] = folder;
    s.write[1] = ids;
    if (sandbox_enter(&s, &e) != 0)
        die_err(&e);
    free(folder);
    free(ids);
}

int main(int argc, char **argv) {
    struct options o = {};
    struct err e = {};
    struct map file = {}, ids = {};
    const char *name = NULL;
    int fd = -1, status = EXIT_DATA;
    program_init(argv[0]);
    stage_watch_stdout();
    parse_options(argc, argv, &o);
    if ((!o.vectors && (fd = open_operand(o.input, &name, &e)) < 0) ||
        (o.index && map_file(&file, o.index, &e) != 0) ||
        (o.index && o.ids && map_file(&ids, o.ids, &e) != 0))
        die_err(&e);
    enter_sandbox(&o);
    try {
        status =
            o.output ? write_index_file(&o, fd, name) : read_and_use(&o, &file, &ids, fd, name);
    } catch (const std::bad_alloc &) {
        die(EXIT_SYSTEM, "out of memory: %s", o.output ? o.output : o.index);
    } catch (const std::exception &x) { // the library's own messages have several lines
        die(EXIT_DATA, "faiss: %s: %s", x.what(), o.output ? o.output : o.index);
    }
    unmap_file(&file);
    unmap_file(&ids);
    close_stdout();
    return status;
}
