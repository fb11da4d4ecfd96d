/* llm-sample: logits(5) to tokens(5). Chooses the next token of every sequence. See
 * man/llm-sample.1.
 *
 * This file parses the options; common/stages/sample.c does the work.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <getopt.h>
#include <inttypes.h>
#include <sodium.h>

#include "base/io.h"
#include "base/num.h"
#include "base/opt.h"
#include "base/sandbox.h"
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
    {"stop", required_argument, NULL, OPT_STOP_TEXT}, // else an abbreviation of --stop-id
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

/* Returns the FILE operand, or NULL. */
static const char *parse_options(int argc, char **argv, struct sample_job *o) {
    bool seeded = false, shaped = false;
    struct err e;
    for (int c;
         (c = getopt_long(argc, argv, "n:T:k:p:s:" OPT_COMMON_LETTERS, longs, NULL)) != -1;) {
        switch (c) {
        case 'h':
        case 'V':
        case 'q':
        case 'v':
        case '?':
            opt_common(c, help);
            break;
        case OPT_STOP_TEXT:
            die_usage("texts that end an answer are not supported, only ids: --stop-id");
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
            if (sample_param(&o->params, long_name(c), str_of(optarg), &e) < 0)
                die_usage("%s", e.msg);
            seeded |= c == 's';
            shaped |= c == 'k' || c == 'p' || c == 's' || c == OPT_MIN_P;
        }
    }
    if (shaped && o->params.temp == 0)
        warn("-k, -p, --min-p and -s change nothing without -T: the choice is greedy");
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
    if (status < 0 && e.code == EXIT_USAGE)
        die_usage("%s", e.msg);
    if (status < 0)
        die_err(&e);
    if (opt_verbose())
        print_note("%" PRIu64 " tokens, seed %" PRIu64, n_chosen, o.params.seed);
    close_stdout();
    return status;
}
