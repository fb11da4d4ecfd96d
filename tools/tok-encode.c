/* tok-encode: text to token ids, tokens(5), with the model's tokenizer.json. See man/tok-encode.1.
 *
 * This file parses the options and opens tokenizer and chat template; common/stages/encode.c does
 * the work.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/opt.h"
#include "base/sandbox.h"
#include "chat/prompt.h"
#include "stages/encode.h"
#include "stages/watch.h"
#include "tokens/tokenizer.h"
#include "weights/hashlist.h"

enum { MAX_THREADS = 256 };

static const char help[] =
    "usage: tok-encode [-m DIR] [-l | -0 | -j] [options] [FILE]\n"
    "Turns text into token ids, as the model's tokenizer.json says: tokens(5).\n"
    "Without -l, -0 or -j the whole input is one prompt, without one newline at its end.\n"
    "\n"
    "  -m, --model DIR        the model's folder, or org/name in the Hugging Face cache "
    "($LLM_MODEL)\n"
    "  -l, --lines            each line is a record\n"
    "  -0, --null             each record ends in a NUL byte\n"
    "  -j, --json             each line is {\"text\": \"...\"} or {\"messages\": [...]}; other "
    "keys become\n"
    "                         attributes\n"
    "      --chat             the input is messages in JSON, for the model's chat template\n"
    "      --no-generation-prompt  do not append the beginning of an answer to a chat\n"
    "      --trust-content    text in messages can become control tokens\n"
    "      --render           print the rendered chat, not its ids\n"
    "      --no-special       no beginning and end tokens\n"
    "  -t, --threads N        encode records on N threads; output stays in order (default 1)\n"
    "      --offsets          a token a line: its range of bytes in the text, and its id\n"
    "      --truncate         cut texts to the length that tokenizer.json gives\n"
    "      --verify FILE      refuse files that differ from a list made by st-inspect --hash "
    "--all\n"
    "      --strict           invalid UTF-8 is an error, not replaced by U+FFFD\n"
    "  -v, --verbose          print which tokenizer it is, on stderr\n"
    "  -q, --quiet            no warnings\n"
    "      --no-sandbox       run without the sandbox (debugging)\n"
    "  -h, --help             this text\n"
    "  -V, --version          the version\n";

struct options {
    const char *model, *input, *verify;
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
    OPT_RENDER,
    OPT_VERIFY
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
    {"verify", required_argument, NULL, OPT_VERIFY},
    OPT_COMMON,
};

static void parse_options(int argc, char **argv, struct options *o) {
    o->job.records = RECORDS_WHOLE;
    o->job.prompt.generation = true;
    for (int c; (c = getopt_long(argc, argv, "t:m:l0j" OPT_COMMON_LETTERS, longs, NULL)) != -1;)
        switch (c) {
        case 'm':
            o->model = optarg;
            break;
        case 'l':
            o->job.records = RECORDS_LINES;
            o->job.prompt.form = PROMPT_RECORD;
            break;
        case '0':
            o->job.records = RECORDS_NUL;
            o->job.prompt.form = PROMPT_RECORD;
            break;
        case 'j':
            o->job.records = RECORDS_LINES;
            o->job.prompt.form = PROMPT_JSON;
            break;
        case OPT_NO_SPECIAL:
            o->job.encode.no_special = true;
            break;
        case OPT_OFFSETS:
            o->job.offsets = true;
            break;
        case OPT_TRUNCATE:
            o->job.encode.truncate = true;
            break;
        case 't':
            o->job.threads = (unsigned)opt_u64("-t", optarg, 1, MAX_THREADS);
            break;
        case OPT_STRICT:
            o->job.prompt.strict = true;
            break;
        case OPT_CHAT:
            o->chat = true;
            break;
        case OPT_NO_GENERATION:
            o->job.prompt.generation = false;
            break;
        case OPT_TRUST_CONTENT:
            o->job.trust_content = true;
            break;
        case OPT_VERIFY:
            o->verify = optarg;
            break;
        case OPT_RENDER:
            o->job.render = true;
            break;
        default:
            opt_common(c, help);
        }
    check_chat(o);
    o->input = opt_file(argc, argv);
}

static void verify_model(const char *list, const char *path) {
    struct err e = {0};
    if (!is_dir(path))
        die_usage("--verify needs a model's folder: %s", path);
    if (hashlist_verify_folder(path, list, &e) != 0)
        die_err(&e);
}

/* The tokenizer, or NULL with --render, which needs none. Without the ids' header it need not be
 * hashed. */
static struct tokenizer *open_tokenizer(const struct options *o, const char *path) {
    struct err e = {0};
    if (o->job.render)
        return NULL;
    struct tokenizer *t =
        o->job.offsets ? tokenizer_open(path, &e) : tokenizer_open_hashed(path, &e);
    if (!t)
        die_err(&e);
    if (opt_verbose())
        print_note("%s: vocabulary %" PRIu32 ", fingerprint %016" PRIx64, path, tokenizer_vocab(t),
                   tokenizer_fingerprint(t));
    if (tokenizer_truncation(t) && !o->job.encode.truncate)
        warn("tokenizer.json asks for truncation to %zu tokens, which is not done without "
             "--truncate",
             tokenizer_truncation(t));
    if (tokenizer_pads(t))
        warn("tokenizer.json asks for padding, which is not done");
    return t;
}

/* The chat template: needed with --chat, used with -j if there is one. */
static struct chat *open_chat(struct options *o, const char *path) {
    if (!o->chat && o->job.prompt.form != PROMPT_JSON)
        return NULL;
    struct chat *chat = chat_open(path, &o->job.prompt.no_chat);
    if (o->chat && !chat)
        die_err(&o->job.prompt.no_chat);
    o->job.prompt.chat = chat;
    return chat;
}

/* The id that ends a message in the template, if llm-forward does not know it. */
static int64_t find_turn_end(const struct options *o, const struct chat *chat,
                             const struct tokenizer *t, const char *path) {
    if (!chat || !t || o->job.offsets)
        return -1;
    int64_t id = encode_turn_end(chat, t, path);
    if (id >= 0 && opt_verbose()) {
        struct str piece = tokenizer_piece(t, (uint32_t)id);
        print_note("%s: id %" PRId64
                   " (%.*s) ends a message in the chat template, and the model's files "
                   "do not say so: answers end there",
                   path, id, (int)piece.n, piece.p);
    }
    return id;
}

int main(int argc, char **argv) {
    struct options o = {0};
    struct err e = {0};
    const char *name;
    program_init(argv[0]);
    stage_watch_stdout();
    parse_options(argc, argv, &o);
    char *path = o.model && is_file(o.model) ? xstrdup(o.model) : model_dir(o.model, &e);
    if (!path)
        die_err(&e);
    if (o.verify)
        verify_model(o.verify, path);
    struct tokenizer *t = open_tokenizer(&o, path);
    struct chat *chat = open_chat(&o, path);
    int fd = open_operand(o.input, &name, &e);
    if (fd < 0)
        die_err(&e);
    if (chat && t)
        tokenizer_find_plain(t, chat_sources(chat));
    o.job.end_id = find_turn_end(&o, chat, t, path);
    if (sandbox_enter(&(struct sandbox){.may = SANDBOX_THREADS}, &e) != 0)
        die_err(&e);
    int status = stage_encode(&o.job, t, fd, name, stdout, &e);
    if (status < 0)
        die_err(&e);
    tokenizer_free(t);
    chat_free(chat);
    free(path);
    close_stdout();
    return status;
}
