/* llm-forward: token ids in, logits out. Reads tokens(5), runs the model of -m over all sequences
 * together, and writes logits(5). Where stdout is a pipe it serves the return path, over which a
 * sampler asks for the next step.
 *
 * This file has the options, the stream header and the exit status. The loop is
 * common/stages/forward.c, the scheduler common/engine, the model common/model. Refused: a model
 * that cannot be run exactly, weights that differ from --verify's list, and ids that another
 * tokenizer than the model's has made. A single bad sequence is refused alone.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/device.h"
#include "base/hash_thread.h"
#include "base/io.h"
#include "base/num.h"
#include "base/opt.h"
#include "base/sandbox.h"
#include "base/progress.h"
#include "kernels/kernels.h"
#include "model/model.h"
#include "stages/forward.h"
#include "stages/watch.h"
#include "weights/hashlist.h"
#include "weights/safetensors.h"

enum { MAX_THREADS = 1024, DEFAULT_KEEP = 256, MAX_KEEP = 1 << 20 /* MiB */ };

static const char help[] =
    "usage: llm-forward [options] [FILE]\n"
    "Reads token ids (tokens(5)) from FILE or stdin, and writes the model's logits (logits(5)) to "
    "stdout.\n"
    "With stdout a pipe, a sampler asks for further steps over the return path.\n"
    "\n"
    "  -m, --model DIR     model folder, or org/name in the Hugging Face cache (default: "
    "$LLM_MODEL)\n"
    "  -t, --threads N     threads (default: physical cores)\n"
    "  -b, --batch N       sequences in flight (default: 16)\n"
    "  -c, --context N     most ids of a sequence (default: the model's limit)\n"
    "  -a, --all           logits of every position of a prompt, not of the last only\n"
    "      --hidden[=LIST] hidden states too: after the final norm, or of the layers of LIST\n"
    "                      (0: embeddings; 0,4,12  2-5  8-  all)\n"
    "      --device NAME   cpu, cuda or cuda:N; list: say what there is (default: $LLM_DEVICE, "
    "else cpu)\n"
    "      --precise       keep activations in f32\n"
    "      --chunk N       rows of prompts in a step (default: up to 256, on a GPU 2048, or "
    "fewer to keep a step short)\n"
    "      --keep MIB      cache for prompts that begin like an earlier sequence (default: 256)\n"
    "      --no-return     no return path: end after the prompts\n"
    "      --verify FILE   refuse files that differ from a list made by st-inspect --hash\n"
    "  -v, --verbose       say at the end how fast it was, and where the time went\n"
    "  -q, --quiet         no warnings\n"
    "      --no-sandbox    run without the sandbox (debugging)\n"
    "  -h, --help          this text\n"
    "  -V, --version       the version\n";

enum {
    OPT_HIDDEN = OPT_LONG_ONLY,
    OPT_PRECISE,
    OPT_CHUNK,
    OPT_KEEP,
    OPT_NO_RETURN,
    OPT_VERIFY,
    OPT_DEVICE
};

struct options {
    const char *model, *verify, *input, *layers; // layers: of --hidden=LIST
    struct model_options model_opts;
    struct engine_options engine;
    bool all_logits, no_return;
};

static const struct option longs[] = {
    {"model", required_argument, NULL, 'm'},
    {"threads", required_argument, NULL, 't'},
    {"batch", required_argument, NULL, 'b'},
    {"context", required_argument, NULL, 'c'},
    {"all", no_argument, NULL, 'a'},
    {"hidden", optional_argument, NULL, OPT_HIDDEN},
    {"precise", no_argument, NULL, OPT_PRECISE},
    {"chunk", required_argument, NULL, OPT_CHUNK},
    {"keep", required_argument, NULL, OPT_KEEP},
    {"no-return", no_argument, NULL, OPT_NO_RETURN},
    {"verify", required_argument, NULL, OPT_VERIFY},
    {"device", required_argument, NULL, OPT_DEVICE},
    OPT_COMMON,
};

/* --device, else $LLM_DEVICE, else NULL: the CPU. */
static const char *device_name(const char *given) {
    const char *name = given ? given : getenv("LLM_DEVICE");
    return name && *name ? name : NULL;
}

static NORETURN void list_devices(void) {
    struct err e = {0};
    if (kernels_init(&e) != 0)
        die_err(&e);
    device_list(stdout);
    close_stdout();
    exit(EXIT_DONE);
}

/* A list that no model can have is refused before a model is opened. */
static void check_layers(const char *list) {
    struct hidden_layers h;
    struct err e = {0};
    if (list && hidden_parse(&h, list, HIDDEN_MAX_LAYERS, &e) != 0)
        die_usage("--hidden: %s", e.msg);
}

/* Options that follow from others: the device, and how much room the model needs. */
static void complete_options(struct options *o) {
    struct err e = {0};
    if (o->model_opts.device && strcmp(o->model_opts.device, "list") == 0)
        list_devices();
    o->model_opts.device = device_name(o->model_opts.device);
    if (device_check(o->model_opts.device, &e) != 0)
        die_err(&e);
    o->engine.auto_chunk = device_prompt_rows(o->model_opts.device);
    if (o->all_logits)
        o->model_opts.keep_bytes = 0; // every position is run
    o->model_opts.max_sequences = engine_slots(&o->engine);
    o->model_opts.max_rows = engine_rows(&o->engine);
}

static void parse_options(int argc, char **argv, struct options *o) {
    int c;
    while ((c = getopt_long(argc, argv, "m:t:b:c:a" OPT_COMMON_LETTERS, longs, NULL)) != -1)
        switch (c) {
        case 'm':
            o->model = optarg;
            break;
        case 't':
            o->model_opts.n_threads = opt_u64("-t", optarg, 1, MAX_THREADS);
            break;
        case 'b':
            o->engine.max_in_flight = opt_u64("-b", optarg, 1, ENGINE_MAX_IN_FLIGHT);
            break;
        case 'c':
            o->model_opts.context = opt_u64("-c", optarg, 1, LOGITS_MAX_CONTEXT);
            break;
        case 'a':
            o->all_logits = true;
            break;
        case OPT_HIDDEN:
            o->engine.hidden = true;
            o->layers = optarg;
            break;
        case OPT_PRECISE:
            o->model_opts.precise = true;
            break;
        case OPT_CHUNK:
            o->engine.chunk = opt_u64("--chunk", optarg, 1, ENGINE_MAX_CHUNK);
            break;
        case OPT_KEEP:
            o->model_opts.keep_bytes = opt_u64("--keep", optarg, 0, MAX_KEEP) << 20;
            break;
        case OPT_NO_RETURN:
            o->no_return = true;
            break;
        case OPT_VERIFY:
            o->verify = optarg;
            break;
        case OPT_DEVICE:
            o->model_opts.device = optarg;
            break;
        default:
            opt_common(c, help);
        }
    o->input = opt_file(argc, argv);
    check_layers(o->layers);
    complete_options(o);
}

/* The fingerprint of the model's tokenizer.json; 0 where it has none. A thread hashes it while the
 * model is opened, because hashing takes a millisecond a MB. */
struct fingerprint {
    struct map map;
    struct hash_thread hash;
    bool found;
    struct err e; // of opening the file; it is reported after the model's own errors
};

static void fingerprint_start(struct fingerprint *f, const char *dir) {
    char *path = path_join(dir, "tokenizer.json");
    *f = (struct fingerprint){0};
    f->found = is_there(path) && map_file(&f->map, path, &f->e) == 0;
    if (f->found)
        hash_thread_start(&f->hash, f->map.p, f->map.n);
    free(path);
}

static uint64_t fingerprint_end(struct fingerprint *f) {
    if (f->e.code)
        die_err(&f->e);
    if (!f->found)
        return 0;
    uint64_t fingerprint = hash_thread_end(&f->hash);
    unmap_file(&f->map);
    return fingerprint;
}

static bool stdout_is_pipe(void) {
    struct stat st;
    if (fstat(STDOUT_FILENO, &st) != 0)
        die(EXIT_IO, "cannot examine stdout: %s", strerror(errno));
    return S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode);
}

static void fill_header(struct logits_header *h, const struct model *m,
                        struct fingerprint *tokenizer, bool hidden) {
    const struct spec *spec = model_spec(m);
    h->vocab_size = (uint32_t)spec->vocab_size;
    h->hidden_dim = hidden ? (uint32_t)spec->hidden_dim : 0;
    h->context = (uint32_t)model_context(m);
    h->bos = spec->bos;
    h->n_eos = spec->n_eos;
    memcpy(h->eos, spec->eos, sizeof h->eos);
    h->weights = model_weights(m)->fingerprint;
    h->tokenizer = fingerprint_end(tokenizer);
}

/* Opens the model and checks its weights; ends the program where that fails. */
static struct model *open_model(const struct options *o, const char *dir) {
    struct err e = {0};
    struct model *m;
    if (model_open(&m, dir, &o->model_opts, &e) != 0)
        die_err(&e);
    if (o->layers && model_set_hidden(m, o->layers, &e) != 0)
        die_usage("--hidden: %s: %s", e.msg, dir);
    if (o->verify && hashlist_verify(model_weights(m), dir, o->verify, o->model_opts.n_threads,
                                     NULL, NULL, &e) != 0)
        die_err(&e);
    const struct spec *spec = model_spec(m);
    if (o->model_opts.context > spec->max_pos &&
        !(spec->n_ropes > 0 && spec->ropes[0].kind == ROPE_DYNAMIC))
        warn("-c %zu is past the %zu positions that the model was made for: what comes after them "
             "may be of no use",
             o->model_opts.context, spec->max_pos);
    return m;
}

static int opened(struct err *e) {
    return sandbox_enter(&(struct sandbox){.may = SANDBOX_ACCEPT}, e);
}

int main(int argc, char **argv) {
    struct forward_job job = {.started = seconds_now(), .out_fd = STDOUT_FILENO};
    program_init(argv[0]);
    mem_hint(" (smaller -b, -c, --chunk and --keep need less)");
    // A reader that left is noticed where we write, so that the socket can be removed.
    signal(SIGPIPE, SIG_IGN);
    struct options o = {.engine = {.max_in_flight = 16},
                        .model_opts = {.keep_bytes = DEFAULT_KEEP << 20}};
    parse_options(argc, argv, &o);

    struct err e = {0};
    char *dir = model_dir(o.model, &e);
    if (!dir || kernels_init(&e) != 0)
        die_err(&e);
    job.in_fd = open_operand(o.input, &job.in_name, &e);
    if (job.in_fd < 0)
        die_err(&e);
    struct logits_header h = {0};
    bool wants_return = !o.no_return && stdout_is_pipe();
    if (wants_return && !(job.ret = return_listen(&h, &e))) // forks: before there are threads
        die_err(&e);
    struct fingerprint tokenizer;
    fingerprint_start(&tokenizer, dir);
    job.model = open_model(&o, dir);
    fill_header(&h, job.model, &tokenizer, o.engine.hidden);

    // A GPU's driver opens files whenever it needs them.
    const char *device = o.model_opts.device;
    job.opened = !device || strcmp(device, "cpu") == 0 ? opened : NULL;
    job.engine = o.engine;
    job.all_logits = o.all_logits;
    job.hidden_layers = o.layers != NULL;
    job.report = opt_verbose();
    job.header = &h;
    int code = EXIT_DONE, rc = stage_forward(&job, &code, &e);
    return_server_free(job.ret);
    model_close(job.model);
    free(dir);
    if (rc == FORWARD_READER_LEFT)
        stage_end_by_sigpipe();
    if (rc != 0)
        die_err(&e);
    close_stdout();
    return code;
}
