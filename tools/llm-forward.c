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
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/device.h"
#include "base/io.h"
#include "base/num.h"
#include "base/opt.h"
#include "base/sandbox.h"
#include "base/progress.h"
#include "kernels/kernels.h"
#include "model/collect.h"
#include "model/model.h"
#include "stages/forward.h"
#include "stages/forward_model.h"
#include "stages/listen.h"
#include "stages/resident_list.h"
#include "stages/resident_run.h"
#include "stages/run_folder.h"
#include "stages/watch.h"

enum {
    MAX_THREADS = 1024,
    DEFAULT_KEEP = 256,
    MAX_KEEP = 1 << 20, // MiB
    MAX_IDLE = 1 << 30, // seconds
};

static const char help[] =
    "usage: llm-forward [options] [FILE]\n"
    "       llm-forward --listen [options] [SOCK]\n"
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
    "      --kv MIB        most memory for keys and values: sequences wait for it (default: no "
    "limit)\n"
    "      --kv-load FILE  take keys and values of earlier prompts from FILE (kv(5)); may be "
    "repeated\n"
    "      --kv-save FILE  at the end, write those that are cached to FILE\n"
    "      --no-return     no return path: end after the prompts\n"
    "      --collect FILE  write statistics of activations for st-quantize\n"
    "      --verify FILE   refuse files that differ from a list made by st-inspect --hash\n"
    "      --listen [SOCK] stay resident, and serve clients at the Unix socket SOCK\n"
    "      --engine SOCK   be a client of a resident llm-forward (default: $LLM_ENGINE)\n"
    "      --idle SECONDS  with --listen: end when no client is left for so long\n"
    "      --stall SECONDS with --listen: drop a client that reads nothing for so long\n"
    "      --group         other users may be clients, or own the engine\n"
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
    OPT_DEVICE,
    OPT_LISTEN,
    OPT_ENGINE,
    OPT_GROUP,
    OPT_IDLE,
    OPT_KV,
    OPT_COLLECT,
    OPT_KV_LOAD,
    OPT_KV_SAVE,
    OPT_STALL,
};

struct options {
    const char *model, *verify, *input, *layers; // layers: of --hidden=LIST
    const char *collect;                         // where statistics are written, or NULL
    struct model_options model_opts;
    struct engine_options engine;
    bool all_logits, no_return, hidden, keep_given;
    bool listens, group;
    const char *listen, *engine_socket; // listen: NULL where systemd passes the socket
    uint64_t idle, stall;               // seconds; 0: never
    const char *kv_load[MODEL_KV_FILES], *kv_save;
    size_t n_kv_load;
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
    {"listen", optional_argument, NULL, OPT_LISTEN},
    {"engine", required_argument, NULL, OPT_ENGINE},
    {"group", no_argument, NULL, OPT_GROUP},
    {"idle", required_argument, NULL, OPT_IDLE},
    {"kv", required_argument, NULL, OPT_KV},
    {"collect", required_argument, NULL, OPT_COLLECT},
    {"kv-load", required_argument, NULL, OPT_KV_LOAD},
    {"kv-save", required_argument, NULL, OPT_KV_SAVE},
    {"stall", required_argument, NULL, OPT_STALL},
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
    if (o->all_logits || o->collect)
        o->model_opts.keep_bytes = 0; // every position is run
    o->model_opts.max_sequences = engine_slots(&o->engine);
    o->model_opts.max_rows = engine_rows(&o->engine);
}

/* Options of --listen and --engine, which exclude each other. With --listen the operand is where to
 * listen. */
static void check_resident(struct options *o) {
    const char *engine = getenv("LLM_ENGINE");
    if (o->listens && o->engine_socket)
        die_usage("--listen and --engine exclude each other");
    if (o->listens && (o->all_logits || o->hidden || o->no_return))
        die_usage("--listen: -a, --hidden and --no-return are for each client to choose");
    if (o->collect && (o->listens || o->engine_socket))
        die_usage("--collect is not for a resident engine");
    if (o->listens && o->listen && o->input)
        die_usage("--listen takes one socket, not also '%s'", o->input);
    if ((o->idle || o->stall) && !o->listens)
        die_usage("%s is for --listen", o->idle ? "--idle" : "--stall");
    if (o->engine.pauses && o->model_opts.keep_bytes > o->model_opts.kv_bytes)
        o->model_opts.keep_bytes = o->model_opts.kv_bytes;
    if (o->listens) {
        o->listen = o->listen ? o->listen : o->input;
        o->input = NULL;
        o->engine.slots = LISTEN_SLOTS;
    } else if (!o->engine_socket && engine && *engine && !o->collect) {
        o->engine_socket = engine;
    }
    if (o->engine_socket && (o->n_kv_load > 0 || o->kv_save))
        die_usage("--kv-load and --kv-save are for the engine (--listen), not for its clients");
    if (o->group && !o->listens && !o->engine_socket)
        die_usage("--group is for --listen and --engine");
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
            o->hidden = true;
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
            o->keep_given = true;
            break;
        case OPT_KV:
            o->model_opts.kv_bytes = opt_u64("--kv", optarg, 1, MAX_KEEP) << 20;
            o->engine.pauses = true;
            break;
        case OPT_LISTEN:
            o->listens = true;
            o->listen = optarg;
            break;
        case OPT_ENGINE:
            o->engine_socket = optarg;
            break;
        case OPT_GROUP:
            o->group = true;
            break;
        case OPT_IDLE:
            o->idle = opt_u64("--idle", optarg, 1, MAX_IDLE);
            break;
        case OPT_STALL:
            o->stall = opt_u64("--stall", optarg, 1, MAX_IDLE);
            break;
        case OPT_KV_LOAD:
            if (o->n_kv_load == MODEL_KV_FILES)
                die_usage("--kv-load: at most %d files", (int)MODEL_KV_FILES);
            o->kv_load[o->n_kv_load++] = optarg;
            break;
        case OPT_KV_SAVE:
            o->kv_save = optarg;
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
        case OPT_COLLECT:
            o->collect = optarg;
            break;
        default:
            opt_common(c, help);
        }
    o->input = opt_file(argc, argv);
    check_layers(o->layers);
    check_resident(o);
    complete_options(o);
}

static bool stdout_is_pipe(void) {
    struct stat st;
    if (fstat(STDOUT_FILENO, &st) != 0)
        die(EXIT_IO, "cannot examine stdout: %s", strerror(errno));
    return S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode);
}

static char *out_folders[2]; // [n_out_folders] where files are written at the end
static size_t n_out_folders;

static int opened(struct err *e) {
    struct sandbox s = {.may = SANDBOX_ACCEPT | (n_out_folders > 0 ? SANDBOX_FILES : 0)};
    for (size_t i = 0; i < n_out_folders; i++)
        s.write[i] = out_folders[i];
    return sandbox_enter(&s, e);
}

/* A file will be written at the end. A place that cannot be written is found before the run. */
static void expect_file(const char *path) {
    char *folder = path_parent(path);
    if (is_dir(path) || (is_there(path) && !is_file(path)) || access(folder, W_OK | X_OK) != 0)
        die(EXIT_IO, "cannot write a file: %s", path);
    out_folders[n_out_folders++] = folder;
}

static void forget_folders(void) {
    while (n_out_folders > 0)
        free(out_folders[--n_out_folders]);
}

/* Begins to collect activations. */
static struct collect *start_collecting(const struct options *o, struct model *m) {
    struct err e = {0};
    struct collect *c = NULL;
    if (!o->collect)
        return NULL;
    expect_file(o->collect);
    if (collect_start(&c, m, &e) != 0)
        die_err(&e);
    return c;
}

static struct model *open_model(const struct options *o, const char *dir, struct logits_header *h) {
    const struct forward_model_options opts = {.model = o->model_opts,
                                               .verify = o->verify,
                                               .layers = o->layers,
                                               .hidden = o->hidden,
                                               .kv_load = o->kv_load,
                                               .n_kv_load = o->n_kv_load,
                                               .kv_save = o->kv_save != NULL};
    struct model *m;
    struct err e = {0};
    if (o->kv_save)
        expect_file(o->kv_save);
    if (forward_model_open(&m, h, dir, &opts, &e) == 0)
        return m;
    if (e.code == EXIT_USAGE)
        die_usage("%s", e.msg);
    die_err(&e);
}

static NORETURN void end(int rc, int code, const struct err *e) {
    if (rc == FORWARD_READER_LEFT)
        stage_end_by_sigpipe();
    if (rc != 0 && e->code == EXIT_USAGE)
        die_usage("%s", e->msg);
    if (rc != 0)
        die_err(e);
    close_stdout();
    exit(code);
}

/* A GPU's driver opens files whenever it needs them. */
static bool on_cpu(const char *device) {
    return !device || strcmp(device, "cpu") == 0;
}

/* ---- One pipe ---- */

static NORETURN void run_pipe(const struct options *o, double started) {
    struct forward_job job = {.started = started, .out_fd = STDOUT_FILENO, .engine = o->engine};
    struct logits_header h = {0};
    struct err e = {0};
    char *dir = model_dir(o->model, &e);
    if (!dir || kernels_init(&e) != 0)
        die_err(&e);
    job.in_fd = open_operand(o->input, &job.in_name, &e);
    if (job.in_fd < 0)
        die_err(&e);
    bool wants_return = !o->no_return && stdout_is_pipe();
    if (wants_return && !(job.ret = return_listen(&h, &e))) // forks: before there are threads
        die_err(&e);
    job.model = open_model(o, dir, &h);
    struct collect *collect = start_collecting(o, job.model);
    job.opened = on_cpu(o->model_opts.device) ? opened : NULL;
    job.engine.hidden = o->hidden;
    job.all_logits = o->all_logits;
    job.hidden_layers = o->layers != NULL;
    job.report = opt_verbose();
    job.header = &h;
    int code = EXIT_DONE, rc = stage_forward(&job, &code, &e);
    return_server_free(job.ret);
    if (rc == 0 && collect)
        rc = collect_write(collect, o->collect, &e);
    collect_free(collect);
    if (rc >= 0 && o->kv_save && model_kv_save(job.model, o->kv_save, &e) != 0)
        rc = -1;
    forget_folders();
    model_close(job.model);
    free(dir);
    end(rc, code, &e);
}

/* ---- The resident engine ---- */

static NORETURN void run_engine(const struct options *o, double started) {
    struct listen_socket socket;
    struct logits_header h = {0};
    struct stat st = {0};
    struct err e = {0};
    char *dir = model_dir(o->model, &e);
    if (!dir || kernels_init(&e) != 0 ||
        listen_socket_open(&socket, o->listen, SOCK_SEQPACKET, o->group, &e) !=
            0) // forks, as above
        die_err(&e);
    stat(dir, &st);
    struct listen_job job = {.engine = o->engine,
                             .folder = dir,
                             .folder_dev = (uint64_t)st.st_dev,
                             .folder_ino = (uint64_t)st.st_ino,
                             .device = o->model_opts.device ? o->model_opts.device : "cpu",
                             .precise = o->model_opts.precise,
                             .verified = o->verify != NULL,
                             .header = &h,
                             .socket = &socket,
                             .group = o->group,
                             .idle_seconds = (double)o->idle,
                             .stall_seconds = (double)o->stall,
                             .report = opt_verbose(),
                             .started = started};
    if (o->verify && resident_list_hash(job.list, o->verify, &e) != 0)
        die_err(&e);
    job.model = open_model(o, dir, &h);
    job.opened = on_cpu(o->model_opts.device) ? opened : NULL;
    int code = EXIT_DONE, rc = stage_listen(&job, &code, &e);
    listen_socket_close(&socket);
    if (rc == 0 && o->kv_save)
        rc = model_kv_save(job.model, o->kv_save, &e);
    forget_folders();
    model_close(job.model);
    free(dir);
    end(rc, code, &e);
}

/* ---- A client of one ---- */

/* What changes only the speed is the engine's own business, but is not ignored in silence. */
static void warn_of_unused(const struct options *o) {
    const struct {
        bool given;
        const char *name;
    } unused[] = {{o->model_opts.n_threads > 0, "-t"},
                  {o->engine.chunk > 0, "--chunk"},
                  {o->keep_given, "--keep"},
                  {o->engine.pauses, "--kv"}};
    for (size_t i = 0; i < sizeof unused / sizeof *unused; i++)
        if (unused[i].given)
            warn("%s is of no use with a resident engine, which has its own", unused[i].name);
}

static NORETURN void run_client(const struct options *o) {
    char *socket = run_folder_socket(o->engine_socket);
    struct resident_run run = {.socket = socket,
                               .group = o->group,
                               .out_fd = STDOUT_FILENO,
                               .opened = opened,
                               .ask = {.device = o->model_opts.device,
                                       .verify = o->verify,
                                       .layers = o->layers,
                                       .all_logits = o->all_logits,
                                       .hidden = o->hidden,
                                       .precise = o->model_opts.precise,
                                       .report = opt_verbose(),
                                       .batch = (uint32_t)o->engine.max_in_flight,
                                       .context = (uint32_t)o->model_opts.context}};
    const char *named = o->model ? o->model : getenv("LLM_MODEL");
    struct err e = {0};
    char *dir = named && *named ? model_dir(o->model, &e) : NULL;
    if (e.code)
        die_err(&e);
    warn_of_unused(o);
    run.ask.model = dir;
    run.in_fd = open_operand(o->input, &run.ask.in_name, &e);
    if (run.in_fd < 0)
        die_err(&e);
    run.wants_return = !o->no_return && stdout_is_pipe();
    int code = EXIT_DONE, rc = stage_resident(&run, &code, &e);
    free(socket);
    free(dir);
    end(rc, code, &e);
}

int main(int argc, char **argv) {
    double started = seconds_now();
    program_init(argv[0]);
    mem_hint(" (smaller -b, -c, --chunk and --keep need less)");
    // A reader that left is noticed where we write, so that the socket can be removed.
    signal(SIGPIPE, SIG_IGN);
    struct options o = {.engine = {.max_in_flight = 16},
                        .model_opts = {.keep_bytes = DEFAULT_KEEP << 20}};
    parse_options(argc, argv, &o);
    if (o.listens)
        run_engine(&o, started);
    if (o.engine_socket)
        run_client(&o);
    run_pipe(&o, started);
}
