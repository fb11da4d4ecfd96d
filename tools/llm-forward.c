/* llm-forward: token ids in, logits out. Reads tokens(5), runs the model of -m over all sequences
 * together, and writes logits(5). Where stdout is a pipe it serves the return path, over which a
 * sampler asks for the next step.
 *
 * This file opens what the options name, calls one stage, and ends with its exit status. The
 * options are in common/stages/forward_command.c, the loop is forward.c there; the scheduler is
 * common/engine, the model common/model. Refused: a model
 * that cannot be run exactly, weights that differ from --verify's list, and ids that another
 * tokenizer than the model's has made. A single bad sequence is refused alone.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/opt.h"
#include "base/sandbox.h"
#include "base/progress.h"
#include "kernels/kernels.h"
#include "model/collect.h"
#include "model/model.h"
#include "stages/forward.h"
#include "stages/forward_command.h"
#include "stages/forward_model.h"
#include "stages/listen.h"
#include "stages/resident_list.h"
#include "stages/resident_run.h"
#include "stages/run_folder.h"
#include "stages/watch.h"

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
static struct collect *start_collecting(const struct forward_command *o, struct model *m) {
    struct err e = {0};
    struct collect *c = NULL;
    if (!o->collect)
        return NULL;
    expect_file(o->collect);
    if (collect_start(&c, m, &e) != 0)
        die_err(&e);
    return c;
}

static struct model *open_model(const struct forward_command *o, const char *dir,
                                struct logits_header *h) {
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

static NORETURN void run_pipe(const struct forward_command *o, double started) {
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
    const bool whole = code == EXIT_DONE || code == EXIT_SOME_FAILED; // the input
    return_server_free(job.ret);
    if (rc == 0 && whole && collect)
        rc = collect_write(collect, o->collect, &e);
    collect_free(collect);
    if (rc >= 0 && whole && o->kv_save && model_kv_save(job.model, o->kv_save, &e) != 0)
        rc = -1;
    forget_folders();
    model_close(job.model);
    free(dir);
    end(rc, code, &e);
}

/* ---- The resident engine ---- */

static NORETURN void run_engine(const struct forward_command *o, double started) {
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
static void warn_of_unused(const struct forward_command *o) {
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

static NORETURN void run_client(const struct forward_command *o) {
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
    struct forward_command o;
    forward_command_parse(&o, argc, argv);
    if (o.listens)
        run_engine(&o, started);
    if (o.engine_socket)
        run_client(&o);
    run_pipe(&o, started);
}
