/* tok-encode: text to token ids, as the model's tokenizer.json says. See man/tok-encode.1.
 *
 * Contract: a record in, a line of tokens(5) out, in order; a record that cannot be encoded becomes
 * a "!" line, and the exit status is 1. Output is flushed whenever the input has nothing more to
 * give at once.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/io.h"
#include "base/num.h"
#include "base/opt.h"
#include "serve/encode.h"
#include "chat/prompt.h"
#include "stages/watch.h"
#include "tokens/tokenizer.h"
#include "wire/tokens.h"

enum { MAX_THREADS = 256 };

static const char help[] =
    "usage: tok-encode [-m DIR] [-l | -0 | -j] [options] [FILE]\n"
    "Turns text into token ids, as the model's tokenizer.json says: tokens(5).\n"
    "Without -l, -0 or -j the whole input is one prompt, less one newline at its end.\n"
    "\n"
    "  -m, --model DIR        the model's folder, or org/name in the Hugging Face cache "
    "($LLM_MODEL)\n"
    "  -l, --lines            each line is a record\n"
    "  -0, --null             each record ends in a NUL byte\n"
    "  -j, --json             each line is {\"text\": \"...\"} or {\"messages\": [...]}; other "
    "keys become\n"
    "                         attributes\n"
    "      --chat             the input is messages in JSON, for the model's chat template\n"
    "      --no-generation-prompt  do not end a chat with what makes the model answer\n"
    "      --trust-content    text in messages can become control tokens\n"
    "      --render           print the rendered chat, not its ids\n"
    "      --no-special       no beginning and end tokens\n"
    "  -t, --threads N        records are encoded by N threads, and written in order (default 1)\n"
    "      --offsets          a token a line: its bytes of the text, from and to, and its id\n"
    "      --truncate         cut texts as tokenizer.json's truncation says\n"
    "      --strict           invalid UTF-8 is an error, not replaced by U+FFFD\n"
    "  -v, --verbose          say which tokenizer it is, on stderr\n"
    "  -q, --quiet            no warnings\n"
    "  -h, --help             this text\n"
    "  -V, --version          the version\n";

struct options {
    const char *model, *input;
    bool chat;
    struct encode_job job;
};

enum {
    OPT_NO_SPECIAL = OPT_LONG_ONLY,
    OPT_OFFSETS,
    OPT_TRUNCATE,
    OPT_STRICT,
    OPT_CHAT,
    OPT_NO_GENERATION,
    OPT_TRUST_CONTENT,
    OPT_RENDER
};

/* --chat and the options that go with it. */
static void check_chat(struct options *o) {
    if (o->chat && o->job.prompt.form == PROMPT_RECORD)
        die_usage("--chat reads JSON: not with -l or -0");
    if (!o->chat && (o->job.render || ((!o->job.prompt.generation || o->job.trust_content) &&
                                       o->job.prompt.form != PROMPT_JSON)))
        die_usage("--no-generation-prompt, --trust-content and --render go with --chat");
    o->job.prompt.chat_only = o->chat;
    if (o->chat && o->job.prompt.form == PROMPT_WHOLE)
        o->job.prompt.form = PROMPT_CHAT;
}

static struct options parse(int argc, char **argv) {
    static const struct option longs[] = {
        {"model", required_argument, NULL, 'm'},
        {"lines", no_argument, NULL, 'l'},
        {"null", no_argument, NULL, '0'},
        {"json", no_argument, NULL, 'j'},
        {"no-special", no_argument, NULL, OPT_NO_SPECIAL},
        {"strict", no_argument, NULL, OPT_STRICT},
        {"offsets", no_argument, NULL, OPT_OFFSETS},
        {"truncate", no_argument, NULL, OPT_TRUNCATE},
        {"threads", required_argument, NULL, 't'},
        {"chat", no_argument, NULL, OPT_CHAT},
        {"no-generation-prompt", no_argument, NULL, OPT_NO_GENERATION},
        {"trust-content", no_argument, NULL, OPT_TRUST_CONTENT},
        {"render", no_argument, NULL, OPT_RENDER},
        OPT_COMMON};
    struct options o = {.input = "-", .job.records = RECORDS_WHOLE, .job.prompt.generation = true};
    int c;
    while ((c = getopt_long(argc, argv, "t:m:l0j" OPT_COMMON_LETTERS, longs, NULL)) != -1)
        switch (c) {
        case 'm':
            o.model = optarg;
            break;
        case 'l':
            o.job.records = RECORDS_LINES;
            o.job.prompt.form = PROMPT_RECORD;
            break;
        case '0':
            o.job.records = RECORDS_NUL;
            o.job.prompt.form = PROMPT_RECORD;
            break;
        case 'j':
            o.job.records = RECORDS_LINES;
            o.job.prompt.form = PROMPT_JSON;
            break;
        case OPT_NO_SPECIAL:
            o.job.encode.no_special = true;
            break;
        case OPT_OFFSETS:
            o.job.offsets = true;
            break;
        case OPT_TRUNCATE:
            o.job.encode.truncate = true;
            break;
        case 't':
            o.job.threads = (unsigned)opt_u64("-t", optarg, 1, MAX_THREADS);
            break;
        case OPT_STRICT:
            o.job.prompt.strict = true;
            break;
        case OPT_CHAT:
            o.chat = true;
            break;
        case OPT_NO_GENERATION:
            o.job.prompt.generation = false;
            break;
        case OPT_TRUST_CONTENT:
            o.job.trust_content = true;
            break;
        case OPT_RENDER:
            o.job.render = true;
            break;
        default:
            opt_common(c, help);
        }
    check_chat(&o);
    if (optind < argc)
        o.input = opt_file(argc, argv);
    return o;
}

int main(int argc, char **argv) {
    program_init(argv[0]);
    stage_watch_stdout();
    struct options o = parse(argc, argv);
    struct err e = {0};
    char *dir = o.model && is_file(o.model) ? xstrdup(o.model) : model_dir(o.model, &e);
    if (!dir)
        die_err(&e);
    struct tokenizer *t = o.job.render    ? NULL
                          : o.job.offsets ? tokenizer_open(dir, &e)
                                          : tokenizer_open_hashed(dir, &e);
    if (!t && !o.job.render)
        die_err(&e);
    struct chat *chat = NULL;
    if (o.chat || o.job.prompt.form == PROMPT_JSON)
        o.job.prompt.chat = chat = chat_open(dir, &o.job.prompt.no_chat);
    if (o.chat && !chat)
        die_err(&o.job.prompt.no_chat);
    const char *name;
    int fd = open_operand(o.input, &name, &e);
    if (fd < 0)
        die_err(&e);
    if (t && opt_verbose())
        fprintf(stderr, "%s: %s: vocabulary %" PRIu32 ", fingerprint %016" PRIx64 "\n",
                program_name(), dir, tokenizer_vocab(t), tokenizer_fingerprint(t));
    if (chat && t)
        tokenizer_find_plain(t, chat_sources(chat));
    o.job.end_id = chat && t && !o.job.offsets ? encode_turn_end(chat, t, dir) : -1;
    if (o.job.end_id >= 0 && opt_verbose())
        fprintf(stderr,
                "%s: %s: id %" PRId64
                " (%.*s) ends a message in the chat template, and the model's files do not say so: "
                "answers end there\n",
                program_name(), dir, o.job.end_id,
                (int)tokenizer_piece(t, (uint32_t)o.job.end_id).n,
                tokenizer_piece(t, (uint32_t)o.job.end_id).p);
    if (t && tokenizer_truncation(t) && !o.job.encode.truncate)
        warn("tokenizer.json asks for truncation to %zu tokens, which is not done without "
             "--truncate",
             tokenizer_truncation(t));
    if (t && tokenizer_pads(t))
        warn("tokenizer.json asks for padding, which is not done");
    if (t && !o.job.offsets)
        tokens_write_header(
            stdout, &(struct tokens_header){true, tokenizer_vocab(t), tokenizer_fingerprint(t)});
    int status = encode_records(&o.job, t, fd, name, &e);
    if (status < 0)
        die_err(&e);
    tokenizer_free(t);
    chat_free(chat);
    free(dir);
    close_stdout();
    return status;
}
