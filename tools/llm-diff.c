/* llm-diff: compares two logits(5) streams: largest difference, KL divergence, top-1 agreement. See
 * man/llm-diff.1.
 *
 * Rows are matched by sequence and position, so the frames may come in any order. The rows of the
 * first stream wait in a temporary file. Streams with different vocabularies or different prompts
 * are refused. A row that only one stream has, and a NaN, exceed every bound.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/io.h"
#include "base/json.h"
#include "base/num.h"
#include "base/opt.h"
#include "base/sandbox.h"
#include "sample/rank.h"
#include "stages/watch.h"
#include "wire/logits.h"
#include "wire/viewer.h"

static const char help[] =
    "usage: llm-diff [options] A B\n"
    "Compares two logits(5) streams of the same prompts. One of them may be - (stdin).\n"
    "\n"
    "      --max X    fail where two logits differ by more than X\n"
    "      --kl X     fail where the mean KL divergence of B from A is above X nats\n"
    "      --top1 X   fail where less than X (0 to 1) of the rows agree on the best token\n"
    "      --percentile P\n"
    "                 say which KL divergence P percent of the rows do not exceed\n"
    "  -j, --json     one JSON object\n"
    "  -v, --verbose  print the streams' headers on stderr\n"
    "  -q, --quiet    no report, only the exit status\n"
    "      --no-sandbox\n"
    "                 run without the sandbox (debugging)\n"
    "  -h, --help\n"
    "  -V, --version\n";

enum { OPT_MAX = OPT_LONG_ONLY, OPT_KL, OPT_TOP1, OPT_PERCENTILE };

/* A row or a prompt of a stream. */
struct place {
    uint32_t seq, pos;
    uint64_t what; // a row's number in the temporary file, or a prompt's fingerprint
};

struct places {
    struct place *p; // [n]
    size_t n, cap;
};

struct stream {
    const char *name;
    struct logits_reader *reader;
    struct logits_header header;
    struct places prompts, rows;
};

struct options {
    double max, kl, top1; // bounds
    double percentile;    // of the rows' divergences to print; 0: none
    bool json, quiet;
};

struct run {
    struct options o;
    struct stream a, b;
    int temp;     // descriptor of a file with the rows of a
    float *row_a; // [vocab_size]
    uint64_t n_rows, n_same_top, n_failed;
    double max, kl_sum, kl_max;
    struct buf kls; // doubles: the divergence of each row, for --percentile
    uint32_t max_seq, max_pos, max_id;
};

static void places_add(struct places *t, uint32_t seq, uint32_t pos, uint64_t what) {
    if (t->n == t->cap) {
        t->cap = 2 * t->cap + 64;
        t->p = xreallocarray(t->p, t->cap, sizeof *t->p);
    }
    t->p[t->n++] = (struct place){seq, pos, what};
}

static int by_place(const void *x, const void *y) {
    const struct place *a = x, *b = y;
    if (a->seq != b->seq)
        return a->seq < b->seq ? -1 : 1;
    if (a->pos != b->pos)
        return a->pos < b->pos ? -1 : 1;
    return (a->what > b->what) - (a->what < b->what);
}

/* The last row of this place: if a sampler stepped back, the row that it continued from. t is
 * sorted. */
static const struct place *places_find(const struct places *t, uint32_t seq, uint32_t pos) {
    size_t low = 0, high = t->n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (t->p[mid].seq < seq || (t->p[mid].seq == seq && t->p[mid].pos <= pos))
            low = mid + 1;
        else
            high = mid;
    }
    const struct place *p = low ? &t->p[low - 1] : NULL;
    return p && p->seq == seq && p->pos == pos ? p : NULL;
}

static bool same_place(const struct place *a, const struct place *b) {
    return a->seq == b->seq && a->pos == b->pos;
}

/* The number of places that t has and other has not, each counted once. Both are sorted. */
static uint64_t places_only(const struct places *t, const struct places *other) {
    uint64_t n = 0;
    for (size_t i = 0; i < t->n; i++)
        if (i == 0 || !same_place(&t->p[i], &t->p[i - 1]))
            n += !places_find(other, t->p[i].seq, t->p[i].pos);
    return n;
}

/* Writes the rows of A to the temporary file, in the order in which they come. */
static int store_rows(struct run *r, const struct frame *f, struct err *e) {
    for (uint32_t i = 0; i < f->rows; i++)
        places_add(&r->a.rows, f->seq, f->pos + i, r->a.rows.n);
    return write_full(r->temp, f->values,
                      (size_t)f->rows * r->a.header.vocab_size * sizeof *f->values, e);
}

static int read_row(struct run *r, uint64_t number, struct err *e) {
    size_t n = r->a.header.vocab_size * sizeof *r->row_a, got;
    if (!r->row_a)
        r->row_a = xmalloc(n);
    if (lseek(r->temp, (off_t)(number * n), SEEK_SET) < 0 ||
        read_full(r->temp, r->row_a, n, &got, e) != 0 || got < n)
        return err_set(e, EXIT_IO, "cannot read a temporary file");
    return 0;
}

/* One row of A, one of B. KL(A || B) = sum of p_a (ln p_a - ln p_b). */
static void compare_rows(struct run *r, const float *a, const float *b, uint32_t seq,
                         uint32_t pos) {
    size_t n = r->a.header.vocab_size;
    struct rank_distribution da = rank_distribution(a, n), db = rank_distribution(b, n);
    double kl = 0;
    for (size_t i = 0; i < n; i++) {
        double x = (double)a[i], y = (double)b[i], d = x == y ? 0 : fabs(x - y),
               p = exp(x - da.log_sum);
        if (isnan(d))
            d = INFINITY;
        if (d > r->max) {
            r->max = d;
            r->max_seq = seq;
            r->max_pos = pos;
            r->max_id = (uint32_t)i;
        }
        if (p != 0)
            kl += p * ((x - da.log_sum) - (y - db.log_sum));
    }
    kl = isnan(kl) ? INFINITY : kl < 0 ? 0 : kl; // rounding can make it slightly negative
    r->kl_sum += kl;
    r->kl_max = kl > r->kl_max ? kl : r->kl_max;
    if (r->o.percentile > 0)
        buf_add(&r->kls, &kl, sizeof kl);
    r->n_same_top += rank_first(a, n) == rank_first(b, n);
    r->n_rows++;
}

static int match_rows(struct run *r, const struct frame *f, struct err *e) {
    for (uint32_t i = 0; i < f->rows; i++) {
        const struct place *p = places_find(&r->a.rows, f->seq, f->pos + i);
        places_add(&r->b.rows, f->seq, f->pos + i, 0);
        if (!p)
            continue; // counted at the end
        if (read_row(r, p->what, e) != 0)
            return -1;
        compare_rows(r, r->row_a, f->values + i * (size_t)r->a.header.vocab_size, f->seq,
                     f->pos + i);
    }
    return 0;
}

static int check_prompt(struct run *r, const struct frame *f, struct err *e) {
    const struct place *p = places_find(&r->a.prompts, f->seq, 0);
    if (p && p->what != hash_fingerprint(f->ids, f->n_ids * sizeof *f->ids))
        return err_set(e, EXIT_DATA, "the prompts of sequence %" PRIu32 " differ", f->seq);
    return 0;
}

static int read_stream(struct run *r, struct stream *s, struct err *e) {
    struct frame f;
    int rc;
    while ((rc = logits_next(s->reader, &f, e)) == 1) {
        if (f.type == FRAME_FAILED)
            r->n_failed++;
        if (f.type == FRAME_OPEN && s == &r->a)
            places_add(&s->prompts, f.seq, 0, hash_fingerprint(f.ids, f.n_ids * sizeof *f.ids));
        else if (f.type == FRAME_OPEN)
            rc = check_prompt(r, &f, e);
        else if (f.type == FRAME_LOGITS)
            rc = s == &r->a ? store_rows(r, &f, e) : match_rows(r, &f, e);
        if (rc < 0)
            return -1;
    }
    if (rc == 0 && s->rows.n)
        qsort(s->rows.p, s->rows.n, sizeof *s->rows.p, by_place);
    if (rc == 0 && s->prompts.n)
        qsort(s->prompts.p, s->prompts.n, sizeof *s->prompts.p, by_place);
    return rc;
}

static void open_stream(struct stream *s, const char *path) {
    struct err e = {0};
    s->reader = viewer_open(path, &s->name, &s->header, &e);
    if (!s->reader)
        die_err(&e);
}

static int by_size(const void *x, const void *y) {
    const double *a = x, *b = y;
    return (*a > *b) - (*a < *b);
}

/* The least divergence of a row that the wanted share of the rows does not exceed. */
static double kl_percentile(const struct run *r) {
    double *all = (double *)(void *)r->kls.p;
    if (r->kls.n == 0)
        return 0;
    qsort(all, r->n_rows, sizeof *all, by_size);
    double place = ceil(r->o.percentile / 100 * (double)r->n_rows);
    return all[place < 1 ? 0 : (size_t)place - 1];
}

static void report_json(const struct run *r, uint64_t only_a, uint64_t only_b, double mean_kl,
                        double top1) {
    const struct {
        const char *key;
        double value;
    } numbers[] = {{"max", r->max},
                   {"mean_kl", mean_kl},
                   {"max_kl", r->kl_max},
                   {"top1", top1},
                   {"percentile_kl", kl_percentile(r)}};
    size_t n = sizeof numbers / sizeof *numbers - (r->o.percentile > 0 ? 0 : 1);
    struct buf line = {0};
    buf_fmt(&line, "{\"rows\":%" PRIu64 ",\"only_a\":%" PRIu64 ",\"only_b\":%" PRIu64, r->n_rows,
            only_a, only_b);
    for (size_t i = 0; i < n; i++) {
        buf_fmt(&line, ",\"%s\":", numbers[i].key);
        json_write_f64(&line, numbers[i].value);
    }
    printf("%s}\n", line.p);
    buf_free(&line);
}

static void report(const struct run *r, uint64_t only_a, uint64_t only_b) {
    double rows = (double)r->n_rows, mean = r->n_rows ? r->kl_sum / rows : 0;
    double same = r->n_rows ? (double)r->n_same_top / rows : 1;
    if (r->o.json) {
        report_json(r, only_a, only_b, mean, same);
        return;
    }
    printf("rows             %" PRIu64 "\n", r->n_rows);
    if (only_a || only_b)
        printf("only in one      %" PRIu64 " in A, %" PRIu64 " in B\n", only_a, only_b);
    printf("max difference   %.6g", r->max);
    if (r->max > 0)
        printf(" (sequence %" PRIu32 ", position %" PRIu32 ", token %" PRIu32 ")", r->max_seq,
               r->max_pos, r->max_id);
    printf("\nKL divergence    mean %.6g, max %.6g nats\n", mean, r->kl_max);
    if (r->o.percentile > 0)
        printf("KL, %g %% of rows  at most %.6g nats\n", r->o.percentile, kl_percentile(r));
    printf("top-1 agreement  %" PRIu64 " of %" PRIu64 " (%.2f %%)\n", r->n_same_top, r->n_rows,
           100 * same);
}

static const struct option longs[] = {
    {"max", required_argument, NULL, OPT_MAX},
    {"kl", required_argument, NULL, OPT_KL},
    {"top1", required_argument, NULL, OPT_TOP1},
    {"percentile", required_argument, NULL, OPT_PERCENTILE},
    {"json", no_argument, NULL, 'j'},
    OPT_COMMON,
};

static void parse_options(int argc, char **argv, struct options *o) {
    o->max = o->kl = INFINITY;
    for (int c; (c = getopt_long(argc, argv, "j" OPT_COMMON_LETTERS, longs, NULL)) != -1;)
        switch (c) {
        case OPT_MAX:
            o->max = opt_f64("--max", optarg, 0, 1e300);
            break;
        case OPT_KL:
            o->kl = opt_f64("--kl", optarg, 0, 1e300);
            break;
        case OPT_TOP1:
            o->top1 = opt_f64("--top1", optarg, 0, 1);
            break;
        case OPT_PERCENTILE:
            o->percentile = opt_f64("--percentile", optarg, 0, 100);
            break;
        case 'j':
            o->json = true;
            break;
        case 'q':
            o->quiet = true;
            opt_common(c, help);
            break;
        default:
            opt_common(c, help);
        }
    if (argc - optind != 2)
        die_usage("two streams are needed, A and B");
    if (strcmp(argv[optind], "-") == 0 && strcmp(argv[optind + 1], "-") == 0)
        die_usage("only one of the streams can be stdin");
}

static bool within_bounds(const struct run *r) {
    return r->max <= r->o.max && (r->n_rows == 0 || r->kl_sum / (double)r->n_rows <= r->o.kl) &&
           (double)r->n_same_top >= r->o.top1 * (double)r->n_rows;
}

static void close_stream(struct stream *s) {
    logits_reader_free(s->reader);
    free(s->prompts.p);
    free(s->rows.p);
}

int main(int argc, char **argv) {
    struct run r = {0};
    struct err e = {0};
    program_init(argv[0]);
    stage_watch_stdout();
    parse_options(argc, argv, &r.o);
    open_stream(&r.a, argv[optind]);
    open_stream(&r.b, argv[optind + 1]);
    if (r.a.header.vocab_size != r.b.header.vocab_size)
        die(EXIT_DATA, "vocabularies of %" PRIu32 " and %" PRIu32 " tokens: %s, %s",
            r.a.header.vocab_size, r.b.header.vocab_size, r.a.name, r.b.name);
    r.temp = io_temp(NULL, &e);
    if (r.temp < 0)
        die_err(&e);
    if (sandbox_enter(&(struct sandbox){.may = 0}, &e) != 0)
        die_err(&e);
    if (read_stream(&r, &r.a, &e) != 0 || read_stream(&r, &r.b, &e) != 0)
        die_err(&e);
    uint64_t only_a = places_only(&r.a.rows, &r.b.rows), only_b = places_only(&r.b.rows, &r.a.rows);
    if (!r.o.quiet)
        report(&r, only_a, only_b);
    bool same = only_a == 0 && only_b == 0 && r.n_failed == 0 && within_bounds(&r);
    close_stream(&r.a);
    close_stream(&r.b);
    free(r.row_a);
    buf_free(&r.kls);
    close_stdout();
    return same ? EXIT_DONE : EXIT_SOME_FAILED;
}
