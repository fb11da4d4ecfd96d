/* llm-serve: OpenAI's API in front of resident engines. See man/llm-serve.1.
 *
 * This file parses the options, makes the listening socket, and waits for a signal;
 * common/serve does the work.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "base/io.h"
#include "base/num.h"
#include "base/opt.h"
#include "base/sandbox.h"
#include "serve/http.h"
#include "stages/listen_socket.h"
#include "stages/run_folder.h"

static const char help[] =
    "usage: llm-serve [options] [-m DIR --engine SOCK]...\n"
    "Serves OpenAI's API over HTTP. Each model has a resident engine (llm-forward --listen SOCK).\n"
    "Without -m and --engine: those of the folder $LLM_RUN, NAME.sock with its model NAME, as "
    "they\n"
    "come and go.\n"
    "\n"
    "  -m, --model DIR        model folder, or org/name in the Hugging Face cache; default "
    "$LLM_MODEL\n"
    "      --engine SOCK      the socket of its engine; default $LLM_ENGINE\n"
    "      --models DIR       with $LLM_RUN: its models are below DIR; no other file is read\n"
    "      --name NAME        what requests call it; default the last part of DIR\n"
    "      --embed DIR        a model for /v1/embeddings, which llm-serve runs itself\n"
    "  -t, --threads N        threads of models given by --embed; default: physical cores\n"
    "  -p, --port N           port on 127.0.0.1; default 8080, 0 is any free one\n"
    "      --socket PATH      listen on a Unix socket instead\n"
    "  -b, --batch N          most answers at the same time; default 64\n"
    "      --max-body MIB     most MiB of a request; default 16\n"
    "      --connections N    most connections; default 2048\n"
    "      --idle SECONDS     close a connection that sends nothing; default 60\n"
    "      --any-host         take requests whose Host is not localhost, from a proxy\n"
    "      --any-model        a model's name that is not known means the first model\n"
    "      --origin ORIGIN    let pages of this site ask, such as https://chat.example\n"
    "      --keys FILE        requests need a key of this file, which has their hashes; SIGHUP "
    "reads\n"
    "                         it again\n"
    "      --log FILE         append a line of JSON for each request; '-' is stdout\n"
    "      --log-prompts      with --log: the bodies of requests too\n"
    "      --record DIR       write the line of tokens(5) of each request into DIR\n"
    "      --grace SECONDS    time for answers to end after SIGTERM; default 30\n"
    "  -v, --verbose          more messages\n"
    "  -q, --quiet            no warnings\n"
    "      --no-sandbox       run without the sandbox (debugging)\n"
    "  -h, --help             this text\n"
    "  -V, --version          the version\n";

enum {
    OPT_ENGINE = OPT_LONG_ONLY,
    OPT_NAME,
    OPT_SOCKET,
    OPT_MAX_BODY,
    OPT_ANY_HOST,
    OPT_ANY_MODEL,
    OPT_RECORD,
    OPT_GRACE,
    OPT_EMBED,
    OPT_CONNECTIONS,
    OPT_IDLE,
    OPT_ORIGIN,
    OPT_KEYS,
    OPT_LOG,
    OPT_LOG_PROMPTS,
    OPT_MODELS
};

static const struct option longs[] = {
    {"model", required_argument, NULL, 'm'},
    {"engine", required_argument, NULL, OPT_ENGINE},
    {"models", required_argument, NULL, OPT_MODELS},
    {"name", required_argument, NULL, OPT_NAME},
    {"port", required_argument, NULL, 'p'},
    {"socket", required_argument, NULL, OPT_SOCKET},
    {"batch", required_argument, NULL, 'b'},
    {"max-body", required_argument, NULL, OPT_MAX_BODY},
    {"any-host", no_argument, NULL, OPT_ANY_HOST},
    {"any-model", no_argument, NULL, OPT_ANY_MODEL},
    {"record", required_argument, NULL, OPT_RECORD},
    {"grace", required_argument, NULL, OPT_GRACE},
    {"embed", required_argument, NULL, OPT_EMBED},
    {"threads", required_argument, NULL, 't'},
    {"connections", required_argument, NULL, OPT_CONNECTIONS},
    {"idle", required_argument, NULL, OPT_IDLE},
    {"origin", required_argument, NULL, OPT_ORIGIN},
    {"keys", required_argument, NULL, OPT_KEYS},
    {"log", required_argument, NULL, OPT_LOG},
    {"log-prompts", no_argument, NULL, OPT_LOG_PROMPTS},
    OPT_COMMON,
};

enum { MAX_MODELS = 64, MAX_THREADS = 1024 };

struct options {
    struct {
        const char *dir, *engine, *name;
        bool embeds;
    } models[MAX_MODELS];
    size_t n_models, n_threads;
    const char *folder; // of engines; NULL: the models are those above
    const char *below;  // the folder of their models; NULL: they may be anywhere
    const char *socket, *keys, *log;
    bool log_prompts;
    uint16_t port;
    unsigned grace;
    struct http_options http;
};

/* The model that an option belongs to: the last one. `next` begins another where that has it. */
static size_t model_at(struct options *o, bool next) {
    if (o->n_models == 0 || next)
        o->n_models++;
    if (o->n_models > MAX_MODELS)
        die_usage("more than %d models", MAX_MODELS);
    return o->n_models - 1;
}

static void add_model(struct options *o, const char *dir, bool embeds) {
    size_t i = model_at(o, o->n_models > 0 && o->models[o->n_models - 1].dir);
    if (embeds && o->models[i].engine)
        die_usage("--engine is for a model given by -m, not by --embed");
    o->models[i].dir = dir;
    o->models[i].embeds = embeds;
}

static void long_option(int c, struct options *o) {
    switch (c) {
    case OPT_EMBED:
        add_model(o, optarg, true);
        break;
    case OPT_CONNECTIONS:
        o->http.max_connections = (unsigned)opt_u64("--connections", optarg, 1, 65536);
        break;
    case OPT_IDLE:
        o->http.idle_seconds = (unsigned)opt_u64("--idle", optarg, 1, 86400);
        break;
    case OPT_ANY_MODEL:
        o->http.any_model = true;
        break;
    case OPT_ORIGIN:
        o->http.origin = optarg;
        break;
    case OPT_KEYS:
        o->keys = optarg;
        break;
    case OPT_LOG:
        o->log = optarg;
        break;
    case OPT_MODELS:
        o->below = optarg;
        break;
    case OPT_LOG_PROMPTS:
        o->log_prompts = true;
        break;
    default:
        opt_common(c, help);
    }
}

static void parse_options(int argc, char **argv, struct options *o) {
    *o = (struct options){
        .port = 8080,
        .grace = 30,
        .http = {
            .max_answers = 64, .max_body = 16 << 20, .max_connections = 2048, .idle_seconds = 60}};
    for (int c; (c = getopt_long(argc, argv, "m:p:b:t:" OPT_COMMON_LETTERS, longs, NULL)) != -1;)
        switch (c) {
        case 'm':
            add_model(o, optarg, false);
            break;
        case OPT_ENGINE:
            if (o->models[model_at(o, false)].embeds)
                die_usage("--engine is for a model given by -m, not by --embed");
            o->models[model_at(o, false)].engine = optarg;
            break;
        case OPT_NAME:
            o->models[model_at(o, false)].name = optarg;
            break;
        case 'p':
            o->port = (uint16_t)opt_u64("-p", optarg, 0, 65535);
            break;
        case OPT_SOCKET:
            o->socket = optarg;
            break;
        case 'b':
            o->http.max_answers = (size_t)opt_u64("-b", optarg, 1, 4096);
            break;
        case OPT_MAX_BODY:
            o->http.max_body = (size_t)opt_u64("--max-body", optarg, 1, 1024) << 20;
            break;
        case OPT_ANY_HOST:
            o->http.any_host = true;
            break;
        case OPT_RECORD:
            o->http.record = optarg;
            break;
        case OPT_GRACE:
            o->grace = (unsigned)opt_u64("--grace", optarg, 0, 3600);
            break;
        case 't':
            o->n_threads = opt_u64("-t", optarg, 1, MAX_THREADS);
            break;
        default:
            long_option(c, o);
        }
    if (optind < argc)
        die_usage("llm-serve takes no operand: %s", argv[optind]);
    const char *folder = getenv("LLM_RUN"), *engine = getenv("LLM_ENGINE");
    if (o->n_models == 0 && folder && *folder && !(engine && *engine))
        o->folder = folder;
    else
        model_at(o, false);
    if (o->below && !o->folder)
        die_usage("--models is for the engines of $LLM_RUN");
    if (o->below && !is_dir(o->below))
        die_usage("--models: no such folder: %s", o->below);
    if (o->log_prompts && !o->log)
        die_usage("--log-prompts needs --log");
    if (o->http.record && !is_dir(o->http.record))
        die_usage("--record: no such folder: %s", o->http.record);
}

/* ---- The listening socket ---- */

static int listen_tcp(uint16_t port, struct err *e) {
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t n = sizeof a;
    int on = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        bind(fd, (struct sockaddr *)&a, sizeof a) != 0 || listen(fd, SOMAXCONN) != 0 ||
        getsockname(fd, (struct sockaddr *)&a, &n) != 0) {
        err_errno(e, EXIT_SYSTEM, "cannot listen on 127.0.0.1:%u", (unsigned)port);
        if (fd >= 0)
            close(fd);
        return -1;
    }
    print_note("http://127.0.0.1:%u", (unsigned)ntohs(a.sin_port));
    return fd;
}

/* The cleaner forks, so this comes before any thread. Until the models are open, clients wait in
 * the queue of the socket. */
static void listen_unix(struct listen_socket *s, const char *path) {
    struct err e = {0};
    if (listen_socket_open(s, path, SOCK_STREAM, false, &e) != 0)
        die_err(&e);
}

/* ---- Main ---- */

/* A choice that runs has up to eight descriptors, and the usual limit of 1024 is for select(2),
 * which is not used here. */
static void raise_descriptors(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit); // if it fails, answers say what is missing
    }
}

static void open_model(const struct options *o, size_t i, struct served *s) {
    struct err e = {0};
    if (o->models[i].embeds) {
        if (served_open_embed(s, o->models[i].name, o->models[i].dir, o->n_threads, &e) != 0)
            die_err(&e);
        return;
    }
    const char *engine = o->models[i].engine ? o->models[i].engine : getenv("LLM_ENGINE");
    if (!engine || !*engine)
        die_usage("no engine: give --engine SOCK or set LLM_ENGINE (llm-forward --listen SOCK)");
    char *socket = run_folder_socket(engine);
    if (served_open(s, o->models[i].name, o->models[i].dir, socket, &e) != 0)
        die_err(&e);
    free(socket);
}

static struct models *open_models(const struct options *o) {
    struct models *m = models_new(o->folder);
    struct err e = {0};
    for (size_t i = 0; i < o->n_models; i++) {
        struct served s;
        open_model(o, i, &s);
        if (models_add(m, &s, &e) != 0)
            die_usage("%s", e.msg);
    }
    if (models_scan(m, &e) != 0)
        die_err(&e);
    return m;
}

/* A broken file changes nothing. */
static void read_keys_again(const struct options *o) {
    struct err e = {0};
    if (api_keys_reload(o->http.keys, o->keys, &e) != 0)
        warn("SIGHUP: the keys stay as they were: %s", e.msg);
    else if (opt_verbose())
        print_note("SIGHUP: %zu keys", api_keys_count(o->http.keys));
}

static void wait_for_end(const sigset_t *signals, const struct options *o) {
    int number = 0, rc;
    while ((rc = sigwait(signals, &number)) == 0 && number == SIGHUP)
        read_keys_again(o);
    if (rc != 0)
        die(EXIT_SYSTEM, "cannot wait for a signal: %s", strerror(rc));
    if (opt_verbose())
        print_note("ends after signal %d", number);
}

/* Every answer has threads of its own. By default malloc has up to eight arenas a core, and each
 * retains what the longest prompt took. */
static void bound_arenas(void) {
#ifdef __GLIBC__
    mallopt(M_ARENA_MAX, 2);
#endif
}

/* What is opened later: models of new engines, the keys, and files of --record. A prompt goes to a
 * file without a name in the temporary folder. */
static int enter_sandbox(const struct options *o, const char *keys, struct err *e) {
    struct sandbox s = {.may = SANDBOX_THREADS | SANDBOX_FILES | SANDBOX_ACCEPT | SANDBOX_CONNECT,
                        .read = {keys, o->folder, o->folder && !o->below ? "/" : o->below},
                        .write = {o->http.record, io_temp_folder()}};
    return sandbox_enter(&s, e);
}

int main(int argc, char **argv) {
    struct options o;
    struct listen_socket own = {.fd = -1};
    struct err e = {0};
    sigset_t signals;
    program_init(argv[0]);
    bound_arenas();
    parse_options(argc, argv, &o);
    raise_descriptors();
    if (o.socket)
        listen_unix(&own, o.socket);
    signal(SIGPIPE, SIG_IGN); // before threads, which inherit it, as they do what is blocked here
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    if (o.keys)
        sigaddset(&signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    o.http.models = open_models(&o);
    if ((o.keys && !(o.http.keys = api_keys_open(o.keys, &e))) ||
        (o.log && !(o.http.log = access_log_open(o.log, o.log_prompts, &e))))
        die_err(&e);
    int fd = o.socket ? own.fd : listen_tcp(o.port, &e);
    char *keys = o.keys ? path_parent(o.keys) : NULL; // where they are read again
    if (fd < 0 || enter_sandbox(&o, keys, &e) != 0)
        die_err(&e);
    struct http *h = http_start(fd, &o.http, &e);
    if (!h)
        die_err(&e);
    wait_for_end(&signals, &o);
    http_stop(h, o.grace);
    if (o.socket)
        cleaner_stop(&own.cleaner); // it removes the socket
    models_free(o.http.models);
    api_keys_free(o.http.keys);
    access_log_close(o.http.log);
    free(keys);
    return EXIT_DONE;
}
