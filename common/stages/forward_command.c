/* The options of llm-forward: see forward_command.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "stages/forward_command.h"

#include <getopt.h>
#include <stdlib.h>

#include "backend/device.h"
#include "base/io.h"
#include "base/num.h"
#include "base/opt.h"
#include "kernels/kernels.h"
#include "stages/listen.h"

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
    "      --kv-type TYPE  keys and values as bf16 (default), or as i8: half the memory\n"
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
    OPT_KV_TYPE,
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
    {"kv-type", required_argument, NULL, OPT_KV_TYPE},
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

/* --kv-type of this process's model. */
static void check_kv_type(struct forward_command *o) {
    const char *type = o->kv_type;
    if (!type)
        return;
    if (strcmp(type, "bf16") != 0 && strcmp(type, "i8") != 0)
        die_usage("--kv-type '%s' is not bf16 or i8", type);
    if (o->engine_socket)
        die_usage("--kv-type is for the engine (--listen), not for its clients");
    if (o->model_opts.precise)
        die_usage("--kv-type and --precise, which has keys and values in f32, exclude each other");
    o->model_opts.kv_i8 = strcmp(type, "i8") == 0;
}

/* Options that follow from others: the device, and how much room the model needs. */
static void complete_options(struct forward_command *o) {
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
static void check_resident(struct forward_command *o) {
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

void forward_command_parse(struct forward_command *o, int argc, char **argv) {
    *o = (struct forward_command){.engine = {.max_in_flight = 16},
                                  .model_opts = {.keep_bytes = DEFAULT_KEEP << 20}};
    for (int c; (c = getopt_long(argc, argv, "m:t:b:c:a" OPT_COMMON_LETTERS, longs, NULL)) != -1;)
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
        case OPT_KV_TYPE:
            o->kv_type = optarg;
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
    check_kv_type(o);
    complete_options(o);
}
