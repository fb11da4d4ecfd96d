/* tok-decode: token ids, tokens(5), to text, with the model's tokenizer.json. See man/tok-decode.1.
 *
 * This file parses the options and opens the tokenizer; common/stages/decode.c does the work.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/opt.h"
#include "base/sandbox.h"
#include "stages/decode.h"
#include "stages/watch.h"
#include "tokens/tokenizer.h"

static const char help[] =
    "usage: tok-decode [-m DIR] [-l | -0 | -j] [options] [FILE]\n"
    "Turns token ids, tokens(5), back into text.\n"
    "Without -l, -0 or -j texts are written one after the other, with a newline between two.\n"
    "\n"
    "  -m, --model DIR        the model's folder, or org/name in the Hugging Face cache "
    "($LLM_MODEL)\n"
    "  -l, --lines            each text is a line; newlines in it become spaces\n"
    "  -0, --null             each text ends in a NUL byte\n"
    "  -j, --json             each text is a line {\"text\": \"...\"} with the sequence's "
    "attributes\n"
    "      --special          keep special tokens in the text\n"
    "      --continue         each sequence continues a text: keep the space before its first "
    "word\n"
    "      --pieces           one token a line: its id and its bytes, escaped\n"
    "  -v, --verbose          print which tokenizer it is, on stderr\n"
    "  -q, --quiet            no warnings\n"
    "      --no-sandbox       run without the sandbox (debugging)\n"
    "  -h, --help             this text\n"
    "  -V, --version          the version\n";

struct options {
    const char *model, *input;
    struct decode_job job;
};

enum { OPT_SPECIAL = OPT_LONG_ONLY, OPT_CONTINUE, OPT_PIECES };

static const struct option longs[] = {
    {"model", required_argument, NULL, 'm'},
    {"lines", no_argument, NULL, 'l'},
    {"null", no_argument, NULL, '0'},
    {"json", no_argument, NULL, 'j'},
    {"special", no_argument, NULL, OPT_SPECIAL},
    {"continue", no_argument, NULL, OPT_CONTINUE},
    {"pieces", no_argument, NULL, OPT_PIECES},
    OPT_COMMON,
};

static bool wants_colour(void) {
    const char *no_color = getenv("NO_COLOR");
    return isatty(STDOUT_FILENO) && !(no_color && *no_color);
}

static void parse_options(int argc, char **argv, struct options *o) {
    for (int c; (c = getopt_long(argc, argv, "m:l0j" OPT_COMMON_LETTERS, longs, NULL)) != -1;)
        switch (c) {
        case 'm':
            o->model = optarg;
            break;
        case 'l':
            o->job.form = DECODE_LINES;
            break;
        case '0':
            o->job.form = DECODE_NUL;
            break;
        case 'j':
            o->job.form = DECODE_JSON;
            break;
        case OPT_SPECIAL:
            o->job.special = true;
            break;
        case OPT_CONTINUE:
            o->job.continues = true;
            break;
        case OPT_PIECES:
            o->job.form = DECODE_PIECES;
            break;
        default:
            opt_common(c, help);
        }
    o->input = opt_file(argc, argv);
    o->job.colour = wants_colour();
}

/* The tokenizer of -m, which may also be a tokenizer.json. */
static struct tokenizer *open_tokenizer(const char *model) {
    struct err e = {0};
    char *path = model && is_file(model) ? xstrdup(model) : model_dir(model, &e);
    struct tokenizer *t = path ? tokenizer_open_hashed(path, &e) : NULL;
    if (!t)
        die_err(&e);
    if (opt_verbose())
        print_note("%s: vocabulary %" PRIu32 ", fingerprint %016" PRIx64, path, tokenizer_vocab(t),
                   tokenizer_fingerprint(t));
    free(path);
    return t;
}

int main(int argc, char **argv) {
    struct options o = {0};
    struct err e = {0};
    const char *name;
    program_init(argv[0]);
    stage_watch_stdout();
    parse_options(argc, argv, &o);
    struct tokenizer *t = open_tokenizer(o.model);
    int fd = open_operand(o.input, &name, &e);
    if (fd < 0)
        die_err(&e);
    if (sandbox_enter(&(struct sandbox){.may = 0}, &e) != 0)
        die_err(&e);
    int status = stage_decode(&o.job, t, fd, name, stdout, &e);
    if (status < 0)
        die_err(&e);
    tokenizer_free(t);
    close_stdout();
    return status;
}
