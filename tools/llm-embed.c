/* llm-embed: token ids in, vectors out. Reads tokens(5), runs the model of -m over all sequences
 * together, and writes vectors(5), JSON or a .npy file. See man/llm-embed.1.
 *
 * This file has the options. common/stages/embedder.c opens the model and what
 * sentence-transformers keeps beside it; the loop is common/stages/embed.c. Refused: a folder that
 * asks for a step that is not supported, weights that differ from --verify's list, and ids that
 * another tokenizer than the model's has made. A single bad sequence is refused alone.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <getopt.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/io.h"
#include "base/num.h"
#include "base/opt.h"
#include "base/sandbox.h"
#include "kernels/kernels.h"
#include "stages/embed.h"
#include "stages/embed_listen.h"
#include "stages/embedder.h"
#include "stages/watch.h"

enum { MAX_THREADS = 1024, MAX_BATCH = 4096 };

static const char help[] =
    "usage: llm-embed [options] [FILE]\n"
    "       llm-embed --listen SOCK [options]\n"
    "       llm-embed --engine SOCK [-j] [FILE]\n"
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
    "      --listen SOCK   stay resident, and serve clients at the Unix socket SOCK\n"
    "      --engine SOCK   let the resident model at SOCK make the vectors\n"
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
    OPT_VERIFY,
    OPT_LISTEN,
    OPT_ENGINE
};

struct options {
    const char *model, *input, *npy, *listen, *engine;
    bool json, given; // given: an option of the model
    struct embedder_options embedder;
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
    {"listen", required_argument, NULL, OPT_LISTEN},
    {"engine", required_argument, NULL, OPT_ENGINE},
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
    if (o->embedder.is_long != EMBED_REFUSE && o->embedder.is_long != is_long)
        die_usage("--truncate and --window exclude each other");
    o->embedder.is_long = is_long;
}

static void long_option(int c, struct options *o) {
    o->given |= c >= OPT_DTYPE && c <= OPT_VERIFY;
    switch (c) {
    case OPT_NPY:
        o->npy = optarg;
        break;
    case OPT_LISTEN:
        o->listen = optarg;
        break;
    case OPT_ENGINE:
        o->engine = optarg;
        break;
    case OPT_DTYPE:
        o->embedder.dtype = dtype_of(optarg);
        break;
    case OPT_DIM:
        o->embedder.dim = opt_u64("--dim", optarg, 1, VECTORS_MAX_DIM);
        break;
    case OPT_POOL:
        o->embedder.pools = pool_of(optarg);
        break;
    case OPT_NORMALIZE:
        o->embedder.normalize = true;
        break;
    case OPT_NO_NORMALIZE:
        o->embedder.no_normalize = true;
        break;
    case OPT_TRUNCATE:
    case OPT_WINDOW:
        set_long(o, c == OPT_TRUNCATE ? EMBED_TRUNCATE : EMBED_WINDOW);
        break;
    case OPT_PRECISE:
        o->embedder.precise = true;
        break;
    case OPT_VERIFY:
        o->embedder.verify = optarg;
        break;
    default:
        opt_common(c, help);
    }
}

/* --listen has no input and no output of its own; what makes the vectors is the engine's choice. */
static void check_resident(const struct options *o) {
    if (o->listen && o->engine)
        die_usage("--listen and --engine exclude each other");
    if (o->listen && (o->input || o->json || o->npy))
        die_usage("--listen reads no FILE, and writes no -j or --npy: clients do");
    if (o->engine && (o->given || o->npy))
        die_usage(
            "--engine: the model and its options are those of --listen, and -j is the client's");
}

static void parse_options(int argc, char **argv, struct options *o) {
    for (int c; (c = getopt_long(argc, argv, "m:t:b:c:j" OPT_COMMON_LETTERS, longs, NULL)) != -1;) {
        o->given |= c == 'm' || c == 't' || c == 'b' || c == 'c';
        switch (c) {
        case 'm':
            o->model = optarg;
            break;
        case 't':
            o->embedder.n_threads = opt_u64("-t", optarg, 1, MAX_THREADS);
            break;
        case 'b':
            o->embedder.batch = opt_u64("-b", optarg, 1, MAX_BATCH);
            break;
        case 'c':
            o->embedder.context = opt_u64("-c", optarg, 1, SPEC_MAX_CONTEXT);
            break;
        case 'j':
            o->json = true;
            break;
        default:
            long_option(c, o);
        }
    }
    o->input = opt_file(argc, argv);
    check_resident(o);
    if (o->embedder.normalize && o->embedder.no_normalize)
        die_usage("--normalize and --no-normalize exclude each other");
    if (o->json && o->npy)
        die_usage("-j and --npy exclude each other");
    if (o->embedder.dtype && (o->json || o->npy))
        die_usage("--dtype is for vectors(5), not for -j or --npy");
}

/* ---- The model ---- */

static struct embedder *open_embedder(const struct options *o) {
    struct buf warnings = {0};
    struct err e = {0};
    char *dir = model_dir(o->model, &e);
    struct embedder *m = dir ? embedder_open(dir, &o->embedder, &warnings, &e) : NULL;
    warn_lines(warnings.p);
    if (!m)
        die_err(&e);
    if (embedder_default_prompt(m))
        warn("the folder has the default prompt '%s', which tok-encode --prompt puts before texts",
             embedder_default_prompt(m));
    buf_free(&warnings);
    free(dir);
    return m;
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

static void describe(const struct embedder *m) {
    char text[4096];
    embedder_describe(m, text, sizeof text);
    print_note("%s", text);
}

/* ---- A resident model ---- */

static NORETURN void run_client(const struct options *o) {
    struct err e = {0};
    const char *name;
    int code = EXIT_DONE, fd = open_operand(o->input, &name, &e),
        engine = fd < 0 ? -1 : embed_connect(o->engine, &e);
    if (engine < 0 || sandbox_enter(&(struct sandbox){.may = SANDBOX_THREADS}, &e) != 0 ||
        stage_embed_client(engine, o->json, fd, stdout, &code, &e) != 0)
        die_err(&e);
    close_stdout();
    exit(code);
}

static NORETURN void run_engine(struct options *o) {
    struct listen_socket socket;
    struct err e = {0};
    if (kernels_init(&e) != 0 || // the socket's cleaner forks: before there are threads
        listen_socket_open(&socket, o->listen, SOCK_STREAM, false, &e) != 0)
        die_err(&e);
    struct embedder *m = open_embedder(o);
    if (opt_verbose())
        describe(m);
    if (sandbox_enter(&(struct sandbox){.may = SANDBOX_ACCEPT}, &e) != 0 ||
        stage_embed_listen(embedder_job(m), &socket, &e) != 0)
        die_err(&e);
    exit(EXIT_DONE);
}

/* ---- Main ---- */

int main(int argc, char **argv) {
    struct options o = {.embedder = {.batch = 64}};
    struct embed_form form = {0};
    struct err e = {0};
    const char *name;
    program_init(argv[0]);
    mem_hint(" (smaller -b and -c need less)");
    parse_options(argc, argv, &o);
    if (o.listen)
        run_engine(&o);
    stage_watch_stdout();
    if (o.engine)
        run_client(&o);
    int fd = kernels_init(&e) == 0 ? open_operand(o.input, &name, &e) : -1;
    if (fd < 0)
        die_err(&e);
    struct embedder *m = open_embedder(&o);
    const struct embed_job *job = embedder_job(m);
    form.json = o.json;
    if (o.npy && !(form.npy = npy_open(o.npy, job->header.dim, &e)))
        die_err(&e);
    if (opt_verbose())
        describe(m);
    enter_sandbox(o.npy);
    int code = EXIT_DONE, rc = stage_embed(job, &form, fd, name, stdout, &code, &e);
    bool whole = rc == 0 && code <= EXIT_SOME_FAILED;
    if (form.npy && !whole)
        npy_abort(form.npy);
    else if (form.npy)
        rc = npy_commit(form.npy, &e);
    embedder_close(m);
    if (rc != 0)
        die_err(&e);
    close_stdout();
    return code;
}
