/* st-quantize: a Hugging Face folder as one of 8 or about 4 bits a weight. See man/st-quantize.1.
 *
 * Matrices become tokpipe's own formats (quant(5)): i8, or i4 and nf4 with scales that a search
 * chooses.
 * Everything else is copied. The choice of types is common/quantize/plan.c, the search search.c,
 * the output write.c. A table of types, sizes and errors goes to stdout. The output folder appears
 * under its name when it is complete. An error or a signal leaves nothing on the disk.
 *
 * It refuses models that are quantised already or whose tensors do not fit config.json, weights
 * that are not finite, and an output folder that exists, unless --force is given.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/ending.h"
#include "base/io.h"
#include "base/jobs.h"
#include "base/json.h"
#include "base/num.h"
#include "base/opt.h"
#include "base/sandbox.h"
#include "base/visible.h"
#include "quantize/write.h"
#include "stages/folder_copy.h"

static const char help[] =
    "usage: st-quantize [options] MODEL FOLDER\n"
    "       st-quantize --dry-run [options] MODEL\n"
    "Writes a Hugging Face folder again with fewer bits a weight, in tokpipe's own formats.\n"
    "\n"
    "      --type TYPE      of all matrices: i8, i4 (default, the same as i4_16: 4.5 bits a "
    "weight),\n"
    "                       i4_32 (4.25 bits), nf4 (4.125 bits)\n"
    "      --type PATTERN=TYPE\n"
    "                       of matrices with such a name, as '*.down_proj=i8'; the last that "
    "matches counts\n"
    "      --keep PATTERN   leave matrices with such a name as they are\n"
    "      --target-size BYTES\n"
    "                       choose types by their errors, for tensors of at most this size; with "
    "k, M or G\n"
    "      --stats FILE     weight errors by activations, which llm-forward --collect wrote\n"
    "      --no-search      faster and worse: take scales from the largest values\n"
    "      --dry-run        only say what would be done, with errors of a sample of rows\n"
    "      --shard-size BYTES\n"
    "                       most bytes of tensors in a file (default: 5G)\n"
    "  -j, --json           print the table as JSON lines\n"
    "  -t, --threads N      threads (default: one a CPU)\n"
    "  -f, --force          replace FOLDER if it is a model folder\n"
    "  -v, --verbose        say what was found\n"
    "  -q, --quiet          no warnings\n"
    "      --no-sandbox     run without the sandbox (debugging)\n"
    "  -h, --help           this text\n"
    "  -V, --version        the version\n";

enum { MAX_THREADS = 1024, MAX_RULES = 4096 };

struct options {
    struct quantize_options quantize;
    struct quantize_rule *rules; // [quantize.n_rules], owned, with their patterns
    const char *stats, *source, *target;
    uint64_t target_size, shard_bytes;
    bool dry_run, json, force;
};

/* ---- Options ---- */

static void add_rule(struct options *o, char *pattern, enum quantize_type type) {
    size_t n = o->quantize.n_rules;
    if (n == MAX_RULES)
        die_usage("more than %d patterns", MAX_RULES);
    if (!*pattern)
        die_usage("a pattern is empty");
    o->rules = xreallocarray(o->rules, n + 1, sizeof *o->rules);
    o->rules[n] = (struct quantize_rule){pattern, type};
    o->quantize.n_rules = n + 1;
}

static enum quantize_type type_of(const char *name) {
    enum quantize_type t;
    if (!quantize_type_parse(name, &t) || t == QUANTIZE_PLAIN)
        die_usage("--type '%s' is not i8, i4, i4_16, i4_32 or nf4", name);
    return t;
}

static void type_option(struct options *o, const char *arg) {
    const char *equals = strrchr(arg, '=');
    if (equals)
        add_rule(o, xstrndup(arg, (size_t)(equals - arg)), type_of(equals + 1));
    else
        o->quantize.type = type_of(arg);
}

/* A number of bytes: "1500000", "1500k", "1.5G". */
static uint64_t size_option(const char *option, const char *arg) {
    static const char units[] = "kMG";
    size_t n = strlen(arg);
    const char *unit = n > 1 ? strchr(units, arg[n - 1]) : NULL;
    double factor = 1, v = 0;
    for (const char *u = units; unit && u <= unit; u++)
        factor *= 1000;
    if (!parse_f64((struct str){arg, n - (unit != NULL)}, 1, 1e15, &v) || v * factor > 1e15)
        die_usage("%s '%s' is not a number of bytes, such as 1500000, 1500k or 1.5G", option, arg);
    return (uint64_t)(v * factor);
}

enum {
    OPT_TYPE = OPT_LONG_ONLY,
    OPT_KEEP,
    OPT_TARGET,
    OPT_STATS,
    OPT_NO_SEARCH,
    OPT_DRY_RUN,
    OPT_SHARD
};

static const struct option longs[] = {
    {"type", required_argument, NULL, OPT_TYPE},
    {"keep", required_argument, NULL, OPT_KEEP},
    {"target-size", required_argument, NULL, OPT_TARGET},
    {"stats", required_argument, NULL, OPT_STATS},
    {"no-search", no_argument, NULL, OPT_NO_SEARCH},
    {"dry-run", no_argument, NULL, OPT_DRY_RUN},
    {"shard-size", required_argument, NULL, OPT_SHARD},
    {"json", no_argument, NULL, 'j'},
    {"threads", required_argument, NULL, 't'},
    {"force", no_argument, NULL, 'f'},
    OPT_COMMON,
};

static void set_option(struct options *o, int c) {
    switch (c) {
    case OPT_TYPE:
        type_option(o, optarg);
        break;
    case OPT_KEEP:
        add_rule(o, xstrdup(optarg), QUANTIZE_PLAIN);
        break;
    case OPT_TARGET:
        o->target_size = size_option("--target-size", optarg);
        break;
    case OPT_STATS:
        o->stats = optarg;
        break;
    case OPT_NO_SEARCH:
        o->quantize.thorough = false;
        break;
    case OPT_DRY_RUN:
        o->dry_run = true;
        break;
    case OPT_SHARD:
        o->shard_bytes = size_option("--shard-size", optarg);
        break;
    case 'j':
        o->json = true;
        break;
    case 't':
        o->quantize.n_threads = (size_t)opt_u64("-t", optarg, 1, MAX_THREADS);
        break;
    case 'f':
        o->force = true;
        break;
    default:
        opt_common(c, help);
    }
}

static void parse_options(int argc, char **argv, struct options *o) {
    for (int c; (c = getopt_long(argc, argv, "jt:f" OPT_COMMON_LETTERS, longs, NULL)) != -1;)
        set_option(o, c);
    o->quantize.rules = o->rules;
    int n = argc - optind;
    if (n > 2 || n < (o->dry_run ? 1 : 2))
        die_usage(o->dry_run ? "a model is needed" : "a model and a folder are needed");
    o->source = argv[optind];
    o->target = n > 1 ? argv[optind + 1] : NULL;
}

/* ---- The report ---- */

static double megabytes(uint64_t n) {
    return (double)n / 1e6;
}

static void print_row(FILE *out, const struct quantize_plan *p, const struct quantize_matrix *m,
                      bool json) {
    const struct mat *w = &m->from->w;
    uint64_t bytes = quantize_bytes(p, m, m->type);
    double bits = 8 * (double)bytes / ((double)w->n_out * (double)w->n_in),
           error = quantize_relative(m->error);
    bool measured = m->type != QUANTIZE_PLAIN;
    if (!json) {
        fprintf(out, "%-50s %-6s %8zu x %-6zu %6.2f %14" PRIu64, m->from->module,
                quantize_type_name(m->type), w->n_out, w->n_in, bits, bytes);
        fprintf(out, measured ? " %9.3f %%\n" : "         -\n", 100 * error);
        return;
    }
    struct buf line = {0};
    buf_str(&line, "{\"module\":");
    json_write_str(&line, str_of(m->from->module));
    buf_fmt(&line, ",\"type\":\"%s\",\"outputs\":%zu,\"inputs\":%zu,\"bytes\":%" PRIu64,
            quantize_type_name(m->type), w->n_out, w->n_in, bytes);
    buf_str(&line, ",\"error\":");
    if (measured)
        json_write_f64(&line, error);
    else
        buf_str(&line, "null");
    fprintf(out, "%s}\n", line.p);
    buf_free(&line);
}

/* Bytes of the source's tensors. */
static uint64_t source_bytes(const struct weights *w) {
    uint64_t n = 0;
    for (size_t i = 0; i < w->n_tensors; i++)
        n += w->tensors[i].n_bytes;
    return n;
}

static void report(const struct quantize_plan *p, const struct options *o) {
    uint64_t before = source_bytes(p->source), after = quantize_plan_bytes(p);
    double weights = 0, bits = 0;
    struct visible_out out;
    visible_begin(&out, stdout);
    if (!o->json)
        fprintf(out.f, "%-50s %-6s %8s   %-6s %6s %14s %11s\n", "module", "type", "outputs",
                "inputs", "bits", "bytes", "error");
    for (size_t i = 0; i < p->n; i++) {
        const struct quantize_matrix *m = &p->matrices[i];
        if (m->leave_out)
            continue;
        print_row(out.f, p, m, o->json);
        weights += (double)m->from->w.n_out * (double)m->from->w.n_in;
        bits += 8 * (double)quantize_bytes(p, m, m->type);
    }
    if (!o->json)
        fprintf(out.f, "%.1f MB, before %.1f MB; %.2f bits a weight of these matrices\n",
                megabytes(after), megabytes(before), weights > 0 ? bits / weights : 0);
    visible_end(&out);
}

/* ---- The model ---- */

struct source {
    char *dir;
    struct spec spec;
    struct weights weights;
    struct layers layers;
};

static void source_close(struct source *s) {
    layers_free(&s->layers);
    weights_close(&s->weights);
    spec_free(&s->spec);
    free(s->dir);
}

static int source_open(struct source *s, const char *dir, struct err *e) {
    struct buf warnings = {0};
    *s = (struct source){.dir = xstrdup(dir)};
    int rc = spec_read(&s->spec, dir, &warnings, e);
    if (rc == 0)
        rc = weights_open(&s->weights, dir, e);
    if (rc == 0) {
        buf_add(&warnings, s->weights.warnings.p, s->weights.warnings.n);
        rc = layers_load(&s->layers, &s->spec, &s->weights, &warnings, e);
    }
    if (rc == 0)
        warn_lines(warnings.p);
    buf_free(&warnings);
    return rc;
}

static int write_folder(const struct options *o, const struct source *s, struct quantize_plan *p,
                        const struct buf *config, struct err *e) {
    struct outdir dir;
    struct buf metadata = {0};
    if (outdir_open(&dir, o->target, o->force, e) != 0)
        return -1;
    int rc = outdir_file(&dir, "config.json", config->p, config->n, e);
    if (rc == 0)
        rc = folder_copy(s->dir, &dir, e);
    if (rc == 0)
        rc = quantize_metadata(&s->weights, o->quantize.n_threads, &metadata, e);
    if (rc == 0 && ending_pending())
        rc = err_set(e, EXIT_SYSTEM, "interrupted");
    const struct quantize_target to = {.dir = &dir,
                                       .metadata = metadata.p,
                                       .shard_bytes = o->shard_bytes,
                                       .interrupted = ending_pending};
    if (rc == 0)
        rc = quantize_write(p, &o->quantize, &to, e);
    buf_free(&metadata);
    if (rc == 0)
        return outdir_commit(&dir, e);
    outdir_abort(&dir);
    return -1;
}

static int make_plan(const struct options *o, struct source *s, struct quantize_plan *p,
                     struct err *e) {
    struct quantize_stats stats;
    if (o->stats && quantize_stats_open(&stats, o->stats, e) != 0)
        return -1;
    int rc = quantize_plan_make(p, &s->layers, &s->spec, &s->weights, &o->quantize,
                                o->stats ? &stats : NULL, e);
    if (o->stats)
        quantize_stats_close(&stats);
    if (rc == 0 && o->target_size > 0)
        rc = quantize_plan_fit(p, o->target_size, &o->quantize, e);
    return rc;
}

static int run(const struct options *o, struct source *s, struct err *e) {
    struct quantize_plan plan = {0};
    struct buf config = {0};
    char *path = path_join(s->dir, "config.json");
    int rc = model_file_check(s->dir, path, e);
    free(path);
    if (rc == 0)
        rc = quantize_config(s->dir, &config, e);
    if (rc == 0)
        rc = make_plan(o, s, &plan, e);
    if (rc == 0)
        rc = o->dry_run ? quantize_plan_measure(&plan, &o->quantize, e)
                        : write_folder(o, s, &plan, &config, e);
    if (rc == 0)
        report(&plan, o);
    quantize_plan_free(&plan);
    buf_free(&config);
    return rc;
}

int main(int argc, char **argv) {
    struct options o = {
        .quantize = {.type = QUANTIZE_I4_16, .thorough = true, .n_threads = jobs_cpus_online()},
        .shard_bytes = 5000000000};
    struct source source;
    struct err e = {0};
    program_init(argv[0]);
    parse_options(argc, argv, &o);
    char *dir = model_dir(o.source, &e), *parent = o.dry_run ? NULL : path_parent(o.target);
    if (!dir)
        die_err(&e);
    const struct sandbox sandbox = {
        .may = SANDBOX_FILES | SANDBOX_THREADS, .read = {"/"}, .write = {parent}};
    if (sandbox_enter(&sandbox, &e) != 0)
        die_err(&e);
    ending_hold();
    int rc = source_open(&source, dir, &e);
    if (rc == 0)
        rc = run(&o, &source, &e);
    ending_release(); // a pending signal ends the program here
    if (rc != 0)
        die_err(&e);
    source_close(&source);
    for (size_t i = 0; i < o.quantize.n_rules; i++)
        free((char *)(uintptr_t)o.rules[i].pattern);
    free(o.rules);
    free(parent);
    free(dir);
    close_stdout();
    return EXIT_DONE;
}
