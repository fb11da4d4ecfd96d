/* llm-score: the probability of a text, from the logits(5) of its tokens. Prints negative
 * log-likelihood and perplexity. See man/llm-score.1.
 *
 * This file parses the options; common/stages/score.c does the work. Like every program that only
 * reads, it declines the return path.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <getopt.h>
#include <stdio.h>

#include "base/io.h"
#include "base/opt.h"
#include "base/sandbox.h"
#include "stages/score.h"
#include "stages/watch.h"
#include "wire/viewer.h"

static const char help[] =
    "usage: llm-score [options] [FILE] < logits(5)\n"
    "Scores text: prints for every sequence of `llm-forward -a` its number, the number of tokens\n"
    "scored, their mean negative log-likelihood in nats, and the perplexity.\n"
    "\n"
    "  -j, --json     a JSON object a sequence\n"
    "      --tokens   a line for every token: sequence, position, id, log-probability, rank\n"
    "  -v, --verbose  print the stream's header on stderr\n"
    "  -q, --quiet    no warnings\n"
    "      --no-sandbox\n"
    "                 run without the sandbox (debugging)\n"
    "  -h, --help\n"
    "  -V, --version\n";

enum { OPT_TOKENS = OPT_LONG_ONLY };

struct options {
    struct score_job job;
    const char *input;
};

static const struct option longs[] = {
    {"json", no_argument, NULL, 'j'},
    {"tokens", no_argument, NULL, OPT_TOKENS},
    OPT_COMMON,
};

static void parse_options(int argc, char **argv, struct options *o) {
    for (int c; (c = getopt_long(argc, argv, "j" OPT_COMMON_LETTERS, longs, NULL)) != -1;)
        switch (c) {
        case 'j':
            o->job.json = true;
            break;
        case OPT_TOKENS:
            o->job.tokens = true;
            break;
        default:
            opt_common(c, help);
        }
    o->input = opt_file(argc, argv);
}

int main(int argc, char **argv) {
    struct options o = {0};
    struct logits_header header;
    struct err e = {0};
    const char *name;
    program_init(argv[0]);
    stage_watch_stdout();
    parse_options(argc, argv, &o);
    struct logits_reader *in = viewer_open(o.input, &name, &header, &e);
    if (!in)
        die_err(&e);
    if (sandbox_enter(&(struct sandbox){.may = SANDBOX_FILES, .write = {io_temp_folder()}}, &e) !=
        0)
        die_err(&e);
    o.job.header = &header;
    int status = stage_score(&o.job, in, stdout, &e);
    if (status < 0)
        die_err(&e);
    logits_reader_free(in);
    close_stdout();
    return status;
}
