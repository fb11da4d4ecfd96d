/* llm-sample: logits(5) to tokens(5). Chooses the next token of every sequence. See
 * man/llm-sample.1.
 *
 * This file parses the options; common/stages/sample.c does the work.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <getopt.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdlib.h>

#include "base/io.h"
#include "base/num.h"
#include "base/opt.h"
#include "base/sandbox.h"
#include "sample/generation.h"
#include "sample/params.h"
#include "stages/sample.h"
#include "stages/watch.h"

static const char help[] =
    "usage: llm-sample [options] [FILE] < logits(5) > tokens(5)\n"
    "Chooses the next tokens of every sequence. Greedy unless -T is given.\n"
    "\n"
    "  -n, --max N                 most new tokens (default: until EOS or the context's end)\n"
    "      --limit N               as -n, but attributes of a sequence cannot ask for more\n"
    "  -T, --temp X                temperature (0 is greedy)\n"
    "  -k, --top-k N               only the N most probable (0: all)\n"
    "  -p, --top-p X               only the most probable that together have probability X\n"
    "      --min-p X               only those with X times the largest probability\n"
    "  -s, --seed N                same seed, same tokens (default: a new one each time)\n"
    "      --repetition-penalty X  divide logits of seen tokens by X (1: none)\n"
    "      --presence-penalty X    subtract X from logits of tokens chosen before\n"
    "      --frequency-penalty X   subtract X for each time that a token was chosen\n"
    "      --logit-bias ID=X,...   add X to a token's logit\n"
    "      --ignore-eos            go on after an end-of-sequence token\n"
    "      --stop-id ID,...        stop after these tokens too\n"
    "      --stop TEXT             stop before this text (can be given again)\n"
    "      --defaults              begin with the values of the model's generation_config.json\n"
    "  -m, --model DIR             the model, for --stop and --defaults (default: $LLM_MODEL)\n"
    "      --echo                  write the prompt's ids before the new ones\n"
    "  -v, --verbose               print the seed and the number of tokens\n"
    "  -q, --quiet                 no warnings\n"
    "      --no-sandbox            run without the sandbox (debugging)\n"
    "  -h, --help\n"
    "  -V, --version\n"
    "\n"
    "Attributes of a sequence (max=20 temp=0.7 ...: the long names with '_') override options. See "
    "llm-sample(1).\n";

enum {
    OPT_MIN_P = OPT_LONG_ONLY,
    OPT_REPETITION,
    OPT_PRESENCE,
    OPT_FREQUENCY,
    OPT_BIAS,
    OPT_IGNORE_EOS,
    OPT_STOP,
    OPT_STOP_TEXT,
    OPT_ECHO,
    OPT_DEFAULTS,
    OPT_LIMIT
};

static const struct option longs[] = {
    {"max", required_argument, NULL, 'n'},
    {"temp", required_argument, NULL, 'T'},
    {"top-k", required_argument, NULL, 'k'},
    {"top-p", required_argument, NULL, 'p'},
    {"min-p", required_argument, NULL, OPT_MIN_P},
    {"seed", required_argument, NULL, 's'},
    {"repetition-penalty", required_argument, NULL, OPT_REPETITION},
    {"presence-penalty", required_argument, NULL, OPT_PRESENCE},
    {"frequency-penalty", required_argument, NULL, OPT_FREQUENCY},
    {"logit-bias", required_argument, NULL, OPT_BIAS},
    {"ignore-eos", no_argument, NULL, OPT_IGNORE_EOS},
    {"stop-id", required_argument, NULL, OPT_STOP},
    {"stop", required_argument, NULL, OPT_STOP_TEXT},
    {"model", required_argument, NULL, 'm'},
    {"defaults", no_argument, NULL, OPT_DEFAULTS},
    {"echo", no_argument, NULL, OPT_ECHO},
    {"limit", required_argument, NULL, OPT_LIMIT},
    OPT_COMMON,
};

static const char *long_name(int code) {
    for (const struct option *o = longs; o->name; o++)
        if (o->val == code)
            return o->name;
    return "";
}

/* A text that was perhaps meant as something else. */
static void hint_stop(const char *text) {
    if (*text && text[strspn(text, "0123456789")] == '\0')
        warn(
            "--stop %s ends an answer before the text \"%s\"; --stop-id ends it after a token's id",
            text, text);
    else if (*text && text[strspn(text, "\\ntr")] == '\0' && strchr(text, '\\'))
        warn("--stop '%s' has backslashes, which stand for themselves: the shell writes a newline "
             "as "
             "$'\\n'",
             text);
}

/* The values of generation_config.json, which options override. */
static void take_defaults(struct sample_job *o) {
    struct err e = {0};
    struct buf said = {0};
    char *dir = model_dir(o->model, &e);
    if (!dir)
        die_err(&e);
    char *path = path_join(dir, "generation_config.json");
    if (!is_there(path))
        warn("--defaults changes nothing, because the model has no generation_config.json: %s",
             dir);
    else if (sample_generation(&o->params, &o->stops, path, &said, &e) != 0)
        die_err(&e);
    else if (opt_verbose())
        print_note("%s: %s", path, said.n ? said.p : "no values for sampling");
    buf_free(&said);
    free(path);
    free(dir);
}

/* A parameter from the command line. */
struct given {
    int code;
    const char *value;
};

/* Sets the parameters, after the defaults whose place among the options does not count. */
static void set_params(struct sample_job *o, const struct given *given, size_t n) {
    struct err e = {0};
    bool shaped = false;
    for (size_t i = 0; i < n; i++) {
        int c = given[i].code;
        if (sample_param(&o->params, long_name(c), str_of(given[i].value), &e) < 0)
            die_usage("%s", e.msg);
        shaped |= c == 'k' || c == 'p' || c == 's' || c == OPT_MIN_P;
    }
    if (shaped && o->params.temp == 0)
        warn("-k, -p, --min-p and -s change nothing without -T: the choice is greedy");
}

/* Returns the FILE operand, or NULL. */
static const char *parse_options(int argc, char **argv, struct sample_job *o) {
    bool seeded = false, defaults = false;
    struct err e;
    struct given *given = xcalloc((size_t)argc, sizeof *given);
    size_t n_given = 0;
    for (int c;
         (c = getopt_long(argc, argv, "n:T:k:p:s:m:" OPT_COMMON_LETTERS, longs, NULL)) != -1;) {
        switch (c) {
        case 'h':
        case 'V':
        case 'q':
        case 'v':
        case OPT_NO_SANDBOX:
        case '?':
            opt_common(c, help);
            break;
        case 'm':
            o->model = optarg;
            break;
        case OPT_STOP_TEXT:
            hint_stop(optarg);
            if (stop_texts_add(&o->stops, str_of(optarg), &e) != 0)
                die_usage("%s", e.msg);
            break;
        case OPT_DEFAULTS:
            defaults = true;
            break;
        case OPT_ECHO:
            o->echo = true;
            break;
        case OPT_LIMIT:
            o->limit = opt_u64("--limit", optarg, 0, UINT32_MAX);
            break;
        case OPT_IGNORE_EOS:
            o->params.ignore_eos = true;
            break;
        default:
            given[n_given++] = (struct given){c, optarg};
            seeded |= c == 's';
        }
    }
    if (defaults)
        take_defaults(o);
    set_params(o, given, n_given);
    free(given);
    if (!seeded) {
        if (sodium_init() < 0)
            die(EXIT_SYSTEM, "libsodium cannot start");
        randombytes_buf(&o->params.seed, sizeof o->params.seed);
    }
    return opt_file(argc, argv);
}

static int opened(struct err *e) {
    return sandbox_enter(&(struct sandbox){.may = 0}, e);
}

int main(int argc, char **argv) {
    struct sample_job o = {.params = sample_defaults, .limit = UINT32_MAX, .opened = opened};
    struct err e = {0};
    const char *name;
    uint64_t n_chosen;
    program_init(argv[0]);
    stage_watch_stdout();
    int fd = open_operand(parse_options(argc, argv, &o), &name, &e);
    if (fd < 0)
        die_err(&e);
    int status = stage_sample(&o, fd, name, stdout, &n_chosen, &e);
    stop_texts_free(&o.stops);
    if (status < 0 && e.code == EXIT_USAGE)
        die_usage("%s", e.msg);
    if (status < 0)
        die_err(&e);
    if (opt_verbose())
        print_note("%" PRIu64 " tokens, seed %" PRIu64, n_chosen, o.params.seed);
    close_stdout();
    return status;
}
