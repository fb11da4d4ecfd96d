/* st-inspect: shows safetensors weights without running them. See man/st-inspect.1.
 *
 * It prints all tensors as a table or JSON, one tensor's values, statistics, or content hashes that
 * can be checked later. weights/safetensors.h checks the format before anything is shown, so a
 * listing is also a check.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/jobs.h"
#include "base/json.h"
#include "base/num.h"
#include "base/opt.h"
#include "base/sandbox.h"
#include "base/visible.h"
#include "model/describe.h"
#include "spec/spec.h"
#include "weights/hashlist.h"
#include "weights/listing.h"
#include "weights/safetensors.h"
#include "weights/stats.h"
#include "weights/values.h"

static const char help[] =
    "usage: st-inspect [-jv] [-t N] [--stats | --hash [--all] | --check FILE | --values "
    "NAME[:SLICE] | "
    "--spec] [-m DIR | PATH]\n"
    "\n"
    "Shows the tensors of a .safetensors file, a sharded model's index, or a model folder.\n"
    "\n"
    "  -m, --model DIR        model folder, or org/name in the Hugging Face cache; default "
    "$LLM_MODEL\n"
    "  -j, --json             print JSON\n"
    "      --stats            min, max, mean, standard deviation, NaN and infinities of every "
    "tensor\n"
    "      --hash             BLAKE2b-256 of every file and of every tensor's bytes, in b2sum's "
    "format\n"
    "      --all              with --hash: of configurations, tokenizer and templates too\n"
    "      --check FILE       compare with such a list; print what differs, is missing or is new\n"
    "      --values NAME[:SLICE]\n"
    "                         print a tensor, or a slice of it such as 0,:,3:5\n"
    "      --spec             the model as llm-forward reads it: config.json, memory, use of each "
    "tensor\n"
    "  -c, --context N        with --spec: tokens of a sequence, for its memory; default the "
    "model's limit\n"
    "  -t, --threads N        threads for --hash, --check and --stats; default one a CPU\n"
    "  -v, --verbose          with --check: print what is the same too\n"
    "  -q, --quiet            no warnings\n"
    "      --no-sandbox       run without the sandbox (debugging)\n"
    "  -h, --help             this text\n"
    "  -V, --version          the version\n";

enum mode { LIST, HASH, CHECK, VALUES, SPEC };

struct options {
    enum mode mode;
    const char *arg;         // of --check or --values
    const char *model;       // -m, or NULL
    const char *const *args; // [n_args] operands
    int n_args;
    bool json, stats, all;
    size_t n_threads, context;
};

/* ---- All tensors ---- */

struct stats_job {
    const struct weights *w;
    struct stats_tensor *stats; // [w->n_tensors]
};

static void stats_one(void *arg, size_t i) {
    struct stats_job *job = arg;
    stats_tensor(&job->stats[i], &job->w->tensors[i]);
}

static void list(const struct weights *w, const struct options *o) {
    struct stats_job job = {w, o->stats ? xcalloc(w->n_tensors, sizeof *job.stats) : NULL};
    struct err e = {0};
    struct jobs_list all = {.n = w->n_tensors, .work = stats_one, .arg = &job};
    if (o->stats && jobs_run(&all, o->n_threads, &e) != 0)
        die_err(&e);
    struct visible_out out;
    visible_begin(&out, stdout);
    if (o->json)
        listing_json(out.f, w, job.stats);
    else
        listing_table(out.f, w, job.stats);
    visible_end(&out);
    free(job.stats);
}

/* ---- Hashes ---- */

static void print_hash(void *arg, const struct hashlist_item *item) {
    char hex[HASH_HEX];
    const char **comma = arg; // JSON, or NULL
    hash_hex(&item->hash, hex);
    if (!comma) {
        printf("%s  %s\n", hex, item->label);
        return;
    }
    struct buf line = {0};
    json_write_str(&line, str_of(item->label));
    printf("%s\n  %s: \"%s\"", *comma, line.p, hex);
    buf_free(&line);
    *comma = ",";
}

/* The folder of a model, whose other files are hashed too, or NULL. */
static const char *folder_of(const char *path) {
    return is_dir(path) ? path : NULL;
}

static void print_hashes(const struct weights *w, const char *path, const struct options *o) {
    struct hashlist_set set;
    struct err e = {0};
    const char *comma = "";
    if (o->json)
        putchar('{');
    if (hashlist_set_new(&set, w, o->all ? folder_of(path) : NULL, &e) != 0 ||
        hashlist_set_compute(&set, o->n_threads, print_hash, o->json ? &comma : NULL, &e) != 0)
        die_err(&e);
    if (o->json)
        puts("\n}");
    hashlist_set_free(&set);
}

static void print_verdict(void *arg, enum hashlist_verdict v, const char *label) {
    static const char *const words[] = {"same", "differs", "missing", "new"};
    (void)arg;
    if (v != HASH_SAME || opt_verbose())
        printf("%s: %s\n", label, words[v]);
}

static int check(const struct weights *w, const char *path, const struct options *o) {
    struct err e = {0};
    if (hashlist_verify(w, folder_of(path), o->arg, o->n_threads, print_verdict, NULL, &e) == 0)
        return EXIT_DONE;
    if (e.code != EXIT_SOME_FAILED)
        die_err(&e);
    fflush(stdout); // the names first, then the summary on stderr
    warn_err(&e);
    return EXIT_SOME_FAILED;
}

/* ---- Values ---- */

/* The tensor of "NAME" or "NAME:SLICE". Both may contain a ':': the longest existing name wins. */
static const struct tensor *find_named(const struct weights *w, const char *path, const char *arg,
                                       struct str *slice) {
    const struct tensor *t = weights_find(w, arg);
    *slice = (struct str){"", 0};
    for (size_t n = strlen(arg); !t && n-- > 0;)
        if (arg[n] == ':') {
            char *name = xstrndup(arg, n);
            t = weights_find(w, name);
            free(name);
            *slice = str_of(arg + n + 1);
        }
    if (!t)
        die(EXIT_NO_INPUT, "no tensor '%s': %s", arg, path);
    return t;
}

static void print_values(const struct weights *w, const char *path, const struct options *o) {
    struct str text;
    struct values_slice slice;
    struct err e = {0};
    const struct tensor *t = find_named(w, path, o->arg, &text);
    if (values_slice_parse(&slice, text, t, &e) != 0)
        die_err(&e);
    if (!o->json) {
        values_print(stdout, t, &slice);
        return;
    }
    values_print_json(stdout, t, &slice);
    putchar('\n');
}

/* ---- The model ---- */

static int describe(const struct weights *w, const char *path, const struct options *o) {
    struct err e = {0};
    struct visible_out out;
    visible_begin(&out, stdout);
    int rc = model_describe(out.f, path, w, o->context, &e);
    visible_end(&out);
    if (rc < 0)
        die_err(&e);
    return rc == 0 ? EXIT_DONE : EXIT_SOME_FAILED;
}

/* ---- Options ---- */

static void set_mode(struct options *o, enum mode mode, const char *arg) {
    if (o->mode != LIST)
        die_usage("only one of --hash, --check, --values and --spec can be given");
    o->mode = mode;
    o->arg = arg;
}

enum { OPT_STATS = OPT_LONG_ONLY, OPT_HASH, OPT_ALL, OPT_CHECK, OPT_VALUES, OPT_SPEC };

static const struct option longs[] = {
    {"model", required_argument, NULL, 'm'},
    {"json", no_argument, NULL, 'j'},
    {"stats", no_argument, NULL, OPT_STATS},
    {"hash", no_argument, NULL, OPT_HASH},
    {"all", no_argument, NULL, OPT_ALL},
    {"check", required_argument, NULL, OPT_CHECK},
    {"values", required_argument, NULL, OPT_VALUES},
    {"threads", required_argument, NULL, 't'},
    {"spec", no_argument, NULL, OPT_SPEC},
    {"context", required_argument, NULL, 'c'},
    OPT_COMMON,
};

static void parse_options(int argc, char **argv, struct options *o) {
    o->n_threads = jobs_cpus_online();
    for (int c; (c = getopt_long(argc, argv, "m:jt:c:" OPT_COMMON_LETTERS, longs, NULL)) != -1;)
        switch (c) {
        case 'm':
            o->model = optarg;
            break;
        case 'j':
            o->json = true;
            break;
        case OPT_STATS:
            o->stats = true;
            break;
        case OPT_HASH:
            set_mode(o, HASH, NULL);
            break;
        case OPT_ALL:
            o->all = true;
            break;
        case OPT_CHECK:
            set_mode(o, CHECK, optarg);
            break;
        case OPT_VALUES:
            set_mode(o, VALUES, optarg);
            break;
        case OPT_SPEC:
            set_mode(o, SPEC, NULL);
            break;
        case 'c':
            o->context = (size_t)opt_u64("-c", optarg, 1, SPEC_MAX_CONTEXT);
            break;
        case 't':
            o->n_threads = (size_t)opt_u64("-t", optarg, 1, 1024);
            break;
        default:
            opt_common(c, help);
        }
    o->args = (const char *const *)argv + optind;
    o->n_args = argc - optind;
    if (o->stats && o->mode != LIST)
        die_usage("--stats goes with the list of all tensors only");
    if (o->all && o->mode != HASH)
        die_usage("--all goes with --hash");
    if (o->json && (o->mode == CHECK || o->mode == SPEC))
        die_usage("%s has no JSON form", o->mode == CHECK ? "--check" : "--spec");
}

/* The path to open: the operand, or the folder of -m. Owned by the caller. */
static char *choose_path(const struct options *o) {
    struct err e = {0};
    if (o->n_args > 1)
        die_usage("more than one PATH: %s", o->args[1]);
    if (o->n_args == 1 && o->model)
        die_usage("both -m and a PATH: %s", o->args[0]);
    if (o->n_args == 1)
        return xstrdup(strcmp(o->args[0], "-") == 0 ? "/dev/stdin" : o->args[0]);
    char *dir = model_dir(o->model, &e);
    if (!dir)
        die_err(&e);
    return dir;
}

/* Does what the mode says; returns the exit code. */
static int run(const struct options *o, const struct weights *w, const char *path) {
    switch (o->mode) {
    case LIST:
        list(w, o);
        return EXIT_DONE;
    case HASH:
        print_hashes(w, path, o);
        return EXIT_DONE;
    case CHECK:
        return check(w, path, o);
    case VALUES:
        print_values(w, path, o);
        return EXIT_DONE;
    case SPEC:
        return describe(w, path, o);
    }
    return EXIT_BUG;
}

int main(int argc, char **argv) {
    struct options o = {0};
    struct weights w;
    struct err e = {0};
    program_init(argv[0]);
    parse_options(argc, argv, &o);
    char *path = choose_path(&o);
    if (weights_open(&w, path, &e) != 0)
        die_err(&e);
    if (sandbox_enter(&(struct sandbox){.may = SANDBOX_FILES | SANDBOX_THREADS, .read = {"/"}},
                      &e) != 0)
        die_err(&e);
    warn_lines(w.warnings.p);
    int code = run(&o, &w, path);
    weights_close(&w);
    free(path);
    close_stdout();
    return code;
}
