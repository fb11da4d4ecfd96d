/* llm-embed: token ids in, vectors out. Reads tokens(5), runs the model of -m over all sequences
 * together, and writes vectors(5), JSON or a .npy file. See man/llm-embed.1.
 *
 * This file has the options, and opens the model and what sentence-transformers keeps beside it.
 * The loop is common/stages/embed.c. Refused: a folder that asks for a step that is not supported,
 * weights that differ from --verify's list, and ids that another tokenizer than the model's has
 * made. A single bad sequence is refused alone.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <getopt.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/io.h"
#include "base/num.h"
#include "base/opt.h"
#include "base/sandbox.h"
#include "kernels/kernels.h"
#include "model/model.h"
#include "spec/sentence.h"
#include "stages/embed.h"
#include "stages/watch.h"
#include "tokens/tokenizer.h"
#include "weights/hashlist.h"
#include "weights/safetensors.h"

enum { MAX_THREADS = 1024, MAX_BATCH = 4096 };

static const char help[] =
    "usage: llm-embed [options] [FILE]\n"
    "Reads token ids (tokens(5)) from FILE or stdin, and writes a vector for each sequence\n"
    "(vectors(5)) to stdout.\n"
    "\n"
    "  -m, --model DIR     model folder, or org/name in the Hugging Face cache (default: "
    "$LLM_MODEL)\n"
    "  -t, --threads N     threads (default: physical cores)\n"
    "  -b, --batch N       most sequences in a batch (default: 64)\n"
    "  -c, --context N     most ids of a sequence (default: the folder's or the model's limit)\n"
    "  -j, --json          a JSON object a sequence, with its vector as \"embedding\"\n"
    "      --npy FILE      write all vectors as float32 [sequences, dimension] and print nothing\n"
    "      --dtype TYPE    values of vectors(5): f32, bf16 or i8 (default: f32)\n"
    "      --dim N         the first N values, at length 1 where whole vectors have it\n"
    "      --pool NAME     cls, mean, max, last, weighted or mean-sqrt (default: the folder's)\n"
    "      --normalize     vectors of length 1\n"
    "      --no-normalize  leave out the folder's Normalize\n"
    "      --truncate      cut sequences that are too long\n"
    "      --window        of sequences that are too long, the mean over windows\n"
    "      --precise       compute in f32 where weights are BF16, too\n"
    "      --verify FILE   refuse files that differ from a list made by st-inspect --hash\n"
    "  -v, --verbose       say what the folder asks for\n"
    "  -q, --quiet         no warnings\n"
    "      --no-sandbox    run without the sandbox (debugging)\n"
    "  -h, --help          this text\n"
    "  -V, --version       the version\n";

enum {
    OPT_NPY = OPT_LONG_ONLY,
    OPT_DTYPE,
    OPT_DIM,
    OPT_POOL,
    OPT_NORMALIZE,
    OPT_NO_NORMALIZE,
    OPT_TRUNCATE,
    OPT_WINDOW,
    OPT_PRECISE,
    OPT_VERIFY
};

struct options {
    const char *model, *input, *npy, *verify;
    size_t n_threads, batch, context, dim;
    unsigned pools; // 0: the folder's
    bool json, precise, normalize, no_normalize;
    enum embed_long is_long;
    enum vectors_dtype dtype; // 0: not given
};

static const struct option longs[] = {
    {"model", required_argument, NULL, 'm'},
    {"threads", required_argument, NULL, 't'},
    {"batch", required_argument, NULL, 'b'},
    {"context", required_argument, NULL, 'c'},
    {"json", no_argument, NULL, 'j'},
    {"npy", required_argument, NULL, OPT_NPY},
    {"dtype", required_argument, NULL, OPT_DTYPE},
    {"dim", required_argument, NULL, OPT_DIM},
    {"pool", required_argument, NULL, OPT_POOL},
    {"normalize", no_argument, NULL, OPT_NORMALIZE},
    {"no-normalize", no_argument, NULL, OPT_NO_NORMALIZE},
    {"truncate", no_argument, NULL, OPT_TRUNCATE},
    {"window", no_argument, NULL, OPT_WINDOW},
    {"precise", no_argument, NULL, OPT_PRECISE},
    {"verify", required_argument, NULL, OPT_VERIFY},
    OPT_COMMON,
};

static enum vectors_dtype dtype_of(const char *arg) {
    static const char *const names[] = {"f32", "bf16", "i8"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i], arg) == 0)
            return (enum vectors_dtype)(VECTORS_F32 + i);
    die_usage("--dtype takes f32, bf16 or i8, not '%s'", arg);
}

static unsigned pool_of(const char *arg) {
    unsigned pool = pooling_of(arg);
    if (pool == 0)
        die_usage("--pool takes cls, mean, max, last, weighted or mean-sqrt, not '%s'", arg);
    return pool;
}

static void set_long(struct options *o, enum embed_long is_long) {
    if (o->is_long != EMBED_REFUSE && o->is_long != is_long)
        die_usage("--truncate and --window exclude each other");
    o->is_long = is_long;
}

static void long_option(int c, struct options *o) {
    switch (c) {
    case OPT_NPY:
        o->npy = optarg;
        break;
    case OPT_DTYPE:
        o->dtype = dtype_of(optarg);
        break;
    case OPT_DIM:
        o->dim = opt_u64("--dim", optarg, 1, VECTORS_MAX_DIM);
        break;
    case OPT_POOL:
        o->pools = pool_of(optarg);
        break;
    case OPT_NORMALIZE:
        o->normalize = true;
        break;
    case OPT_NO_NORMALIZE:
        o->no_normalize = true;
        break;
    case OPT_TRUNCATE:
    case OPT_WINDOW:
        set_long(o, c == OPT_TRUNCATE ? EMBED_TRUNCATE : EMBED_WINDOW);
        break;
    case OPT_PRECISE:
        o->precise = true;
        break;
    case OPT_VERIFY:
        o->verify = optarg;
        break;
    default:
        opt_common(c, help);
    }
}

static void parse_options(int argc, char **argv, struct options *o) {
    for (int c; (c = getopt_long(argc, argv, "m:t:b:c:j" OPT_COMMON_LETTERS, longs, NULL)) != -1;)
        switch (c) {
        case 'm':
            o->model = optarg;
            break;
        case 't':
            o->n_threads = opt_u64("-t", optarg, 1, MAX_THREADS);
            break;
        case 'b':
            o->batch = opt_u64("-b", optarg, 1, MAX_BATCH);
            break;
        case 'c':
            o->context = opt_u64("-c", optarg, 1, SPEC_MAX_CONTEXT);
            break;
        case 'j':
            o->json = true;
            break;
        default:
            long_option(c, o);
        }
    o->input = opt_file(argc, argv);
    if (o->normalize && o->no_normalize)
        die_usage("--normalize and --no-normalize exclude each other");
    if (o->json && o->npy)
        die_usage("-j and --npy exclude each other");
    if (o->dtype && (o->json || o->npy))
        die_usage("--dtype is for vectors(5), not for -j or --npy");
}

/* ---- What the folder says ---- */

static void read_folder(struct sentence_spec *s, const char *dir) {
    struct buf warnings = {0};
    struct err e = {0};
    int rc = sentence_read(s, dir, &warnings, &e);
    warn_lines(warnings.p);
    buf_free(&warnings);
    if (rc != 0)
        die_err(&e);
    if (s->default_prompt)
        warn("the folder has the default prompt '%s', which tok-encode --prompt puts before texts",
             s->default_prompt);
}

static struct model *open_model(const struct options *o, const struct sentence_spec *s,
                                const char *dir, size_t *max_ids) {
    struct err e = {0};
    const struct model_options m = {.precise = o->precise,
                                    .embeds = true,
                                    .n_threads = o->n_threads,
                                    .context = o->context,
                                    .limit = s->max_ids,
                                    .max_sequences = o->batch,
                                    .max_rows = EMBED_ROWS};
    struct model *model;
    if (model_open(&model, dir, &m, &e) != 0)
        die_err(&e);
    *max_ids = model_context(model);
    if (o->verify &&
        hashlist_verify(model_weights(model), dir, o->verify, o->n_threads, NULL, NULL, &e) != 0)
        die_err(&e);
    return model;
}

/* Pooling and the steps after it. */
static void open_steps(struct embed_job *job, const struct options *o,
                       const struct sentence_spec *s, const char *dir) {
    struct err e = {0};
    size_t hidden_dim = model_spec(job->model)->hidden_dim;
    job->pools = o->pools ? o->pools : s->pools;
    if (job->pools == 0)
        die(EXIT_USAGE, "the folder has no modules.json: --pool says how to pool: %s", dir);
    if (s->dim > 0 && s->dim != hidden_dim)
        die(EXIT_DATA, "the pooling is for %zu values, but hidden states have %zu: %s", s->dim,
            hidden_dim, dir);
    job->steps = embed_steps_open(s, dir, pooling_count(job->pools) * hidden_dim, &e);
    if (!job->steps)
        die_err(&e);
    size_t dim = embed_steps_dim(job->steps);
    if (o->dim > dim)
        die(EXIT_USAGE, "--dim %zu is more than the model's %zu values: %s", o->dim, dim, dir);
    if (dim > VECTORS_MAX_DIM)
        die(EXIT_DATA, "vectors have %zu values, more than %d: %s", dim, VECTORS_MAX_DIM, dir);
    bool last = s->n_steps > 0 && s->steps[s->n_steps - 1].kind == SENTENCE_NORMALIZE;
    job->normalize = !o->no_normalize;
    job->header.dim = (uint32_t)(o->dim > 0 ? o->dim : dim);
    job->header.unit = (last && job->normalize) || o->normalize;
    job->unit = job->header.unit && !(last && job->normalize && job->header.dim == dim);
}

/* The ids that begin and end every text: what an empty one is encoded to, cut where one with a word
 * goes on otherwise. */
static void find_ends(struct embed_job *job, const char *dir) {
    static struct token_ids none, some;
    struct err e = {0};
    struct tokenizer *t = tokenizer_open(dir, &e);
    struct encoder *en = t ? encoder_new(t) : NULL;
    const struct encode_options options = {0};
    if (!t || tokenizer_encode(en, str_of(""), &options, &none, &e) != 0 ||
        tokenizer_encode(en, str_of("a"), &options, &some, &e) != 0)
        die_err(&e);
    while (job->n_begin < none.n && job->n_begin < some.n &&
           none.ids[job->n_begin] == some.ids[job->n_begin])
        job->n_begin++;
    job->n_end = none.n - job->n_begin;
    job->begin = none.ids;
    job->end = none.n ? none.ids + job->n_begin : NULL;
    if (none.n >= job->max_ids)
        die(EXIT_USAGE, "-c %zu leaves no room beside the %zu ids that every text has",
            job->max_ids, none.n);
    token_ids_free(&some);
    encoder_free(en);
    tokenizer_free(t);
}

static uint64_t tokenizer_of(const char *dir) {
    char *path = path_join(dir, "tokenizer.json");
    struct map map = {0};
    struct err e = {0};
    uint64_t fingerprint = 0;
    if (is_there(path)) {
        if (map_file(&map, path, &e) != 0)
            die_err(&e);
        fingerprint = hash_fingerprint(map.p, map.n);
        unmap_file(&map);
    }
    free(path);
    return fingerprint;
}

static void fill_header(struct embed_job *job, const struct options *o,
                        const struct sentence_spec *s, const char *dir) {
    static const enum vectors_metric metrics[] = {
        [SENTENCE_COSINE] = VECTORS_COSINE,
        [SENTENCE_DOT] = VECTORS_DOT,
        [SENTENCE_EUCLIDEAN] = VECTORS_EUCLIDEAN,
    };
    char text[128];
    snprintf(text, sizeof text, "pools=%u normalize=%d unit=%d dim=%u", job->pools, job->normalize,
             job->header.unit, (unsigned)job->header.dim);
    job->header.dtype = o->dtype ? o->dtype : VECTORS_F32;
    job->header.metric = metrics[s->metric];
    job->header.model = embed_fingerprint(job->steps, model_weights(job->model), text);
    job->header.tokenizer = job->tokenizer = tokenizer_of(dir);
}

static void enter_sandbox(const char *npy) {
    char *folder = npy ? path_parent(npy) : NULL;
    struct err e = {0};
    const struct sandbox plain = {.may = 0},
                         writes = {.may = SANDBOX_FILES, .write = {io_temp_folder(), folder}};
    if (sandbox_enter(npy ? &writes : &plain, &e) != 0)
        die_err(&e);
    free(folder);
}

static void describe(const struct embed_job *job, const char *dir) {
    char device[100];
    model_device_text(job->model, device, sizeof device);
    print_note("%s: %s, %u values, at most %zu ids, %s%s", dir, model_spec(job->model)->model_type,
               (unsigned)job->header.dim, job->max_ids, device,
               model_precise(job->model) ? ", f32" : "");
}

int main(int argc, char **argv) {
    struct options o = {.batch = 64};
    struct embed_job job = {0};
    struct sentence_spec s;
    struct err e = {0};
    const char *name;
    program_init(argv[0]);
    mem_hint(" (smaller -b and -c need less)");
    stage_watch_stdout();
    parse_options(argc, argv, &o);
    char *dir = model_dir(o.model, &e);
    if (!dir || kernels_init(&e) != 0)
        die_err(&e);
    int fd = open_operand(o.input, &name, &e);
    if (fd < 0)
        die_err(&e);
    read_folder(&s, dir);
    job.model = open_model(&o, &s, dir, &job.max_ids);
    open_steps(&job, &o, &s, dir);
    fill_header(&job, &o, &s, dir);
    job.max_batch = o.batch;
    job.is_long = o.is_long;
    job.json = o.json;
    if (o.is_long != EMBED_REFUSE)
        find_ends(&job, dir);
    if (o.npy && !(job.npy = npy_open(o.npy, job.header.dim, &e)))
        die_err(&e);
    if (opt_verbose())
        describe(&job, dir);
    enter_sandbox(o.npy);
    int code = EXIT_DONE, rc = stage_embed(&job, fd, name, stdout, &code, &e);
    bool whole = rc == 0 && code <= EXIT_SOME_FAILED;
    if (job.npy && !whole)
        npy_abort(job.npy);
    else if (job.npy)
        rc = npy_commit(job.npy, &e);
    embed_steps_free(job.steps);
    model_close(job.model);
    sentence_free(&s);
    free(dir);
    if (rc != 0)
        die_err(&e);
    close_stdout();
    return code;
}
