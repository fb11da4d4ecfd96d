/* tok-encode: text to token ids, as the model's tokenizer.json says. See man/tok-encode.1.
 *
 * Contract: a record in, a line of tokens(5) out, in order; a record that cannot be encoded becomes a "!" line, and the
 * exit status is 1. Output is flushed whenever the input has nothing more to give at once.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/io.h"
#include "base/num.h"
#include "base/opt.h"
#include "base/records.h"
#include "tokens/prompt.h"
#include "tokens/record.h"
#include "tokens/tokenizer.h"
#include "wire/tokens.h"

enum { MAX_RECORD = 0x7fffffff };

static const char help[] =
    "usage: tok-encode [-m DIR] [-l | -0 | -j] [options] [FILE]\n"
    "Turns text into token ids, as the model's tokenizer.json says: tokens(5).\n"
    "Without -l, -0 or -j the whole input is one prompt, less one newline at its end.\n"
    "\n"
    "  -m, --model DIR        the model's folder, or org/name in the Hugging Face cache ($LLM_MODEL)\n"
    "  -l, --lines            each line is a record\n"
    "  -0, --null             each record ends in a NUL byte\n"
    "  -j, --json             each line is {\"text\": \"...\"} or {\"messages\": [...]}; other keys become\n"
    "                         attributes\n"
    "      --chat             the input is messages in JSON, for the model's chat template\n"
    "      --no-generation-prompt  do not end a chat with what makes the model answer\n"
    "      --trust-content    text in messages can become control tokens\n"
    "      --render           print the rendered chat, not its ids\n"
    "      --no-special       no beginning and end tokens\n"
    "      --strict           invalid UTF-8 is an error, not replaced by U+FFFD\n"
    "  -h, --help             this text\n"
    "  -V, --version          the version\n";

struct options {
    const char *model, *input;
    enum records_kind records;
    struct prompt_options prompt;
    bool chat, trust_content, render;
    struct encode_options encode;
};

enum { OPT_NO_SPECIAL = OPT_LONG_ONLY, OPT_STRICT, OPT_CHAT, OPT_NO_GENERATION, OPT_TRUST_CONTENT, OPT_RENDER };

/* --chat and the options that go with it. */
static void check_chat(struct options *o) {
    if (o->chat && o->prompt.form == PROMPT_RECORD)
        die_usage("--chat reads JSON: not with -l or -0");
    if (!o->chat && (o->render || ((!o->prompt.generation || o->trust_content) && o->prompt.form != PROMPT_JSON)))
        die_usage("--no-generation-prompt, --trust-content and --render go with --chat");
    o->prompt.chat_only = o->chat;
    if (o->chat && o->prompt.form == PROMPT_WHOLE)
        o->prompt.form = PROMPT_CHAT;
}

static struct options parse(int argc, char **argv) {
    static const struct option longs[] = {{"model", required_argument, NULL, 'm'},
                                          {"lines", no_argument, NULL, 'l'},
                                          {"null", no_argument, NULL, '0'},
                                          {"json", no_argument, NULL, 'j'},
                                          {"no-special", no_argument, NULL, OPT_NO_SPECIAL},
                                          {"strict", no_argument, NULL, OPT_STRICT},
                                          {"chat", no_argument, NULL, OPT_CHAT},
                                          {"no-generation-prompt", no_argument, NULL, OPT_NO_GENERATION},
                                          {"trust-content", no_argument, NULL, OPT_TRUST_CONTENT},
                                          {"render", no_argument, NULL, OPT_RENDER},
                                          {"help", no_argument, NULL, 'h'},
                                          {"version", no_argument, NULL, 'V'},
                                          {NULL, 0, NULL, 0}};
    struct options o = {.input = "-", .records = RECORDS_WHOLE, .prompt.generation = true};
    int c;
    while ((c = getopt_long(argc, argv, "m:l0jhV", longs, NULL)) != -1)
        switch (c) {
        case 'm':
            o.model = optarg;
            break;
        case 'l':
            o.records = RECORDS_LINES;
            o.prompt.form = PROMPT_RECORD;
            break;
        case '0':
            o.records = RECORDS_NUL;
            o.prompt.form = PROMPT_RECORD;
            break;
        case 'j':
            o.records = RECORDS_LINES;
            o.prompt.form = PROMPT_JSON;
            break;
        case OPT_NO_SPECIAL:
            o.encode.no_special = true;
            break;
        case OPT_STRICT:
            o.prompt.strict = true;
            break;
        case OPT_CHAT:
            o.chat = true;
            break;
        case OPT_NO_GENERATION:
            o.prompt.generation = false;
            break;
        case OPT_TRUST_CONTENT:
            o.trust_content = true;
            break;
        case OPT_RENDER:
            o.render = true;
            break;
        case 'h':
            opt_help(help);
        case 'V':
            opt_version();
        default:
            die_usage("see the line above");
        }
    check_chat(&o);
    if (argc - optind > 1)
        die_usage("more than one input: %s", argv[optind + 1]);
    if (optind < argc)
        o.input = argv[optind];
    return o;
}

/* Prints a rendered chat: its text as it is, or with -j as {"text": "..."} on a line. */
static void print_rendered(const struct prompt *p, const struct options *o) {
    struct buf line = {0};
    if (o->prompt.form == PROMPT_JSON) {
        buf_str(&line, "{\"text\": ");
        json_write_str(&line, p->text);
        record_write_attrs(&line, buf_view(&p->attrs));
        buf_str(&line, "}\n");
    } else {
        buf_add(&line, p->text.p, p->text.n);
    }
    fwrite(line.p, 1, line.n, stdout);
    buf_free(&line);
}

static int encode_prompt(struct encoder *en, const struct prompt *p, const struct options *o, struct token_ids *ids,
                         struct err *e) {
    struct encode_options encode = o->encode;
    if (p->is_chat) {
        encode.no_special = true;
        encode.trusted = o->trust_content ? NULL : (const uint8_t *)p->trust.p;
    }
    if (tokenizer_encode(en, p->text, &encode, ids, e) < 0)
        return -1;
    if (ids->n > TOKENS_MAX_SEQUENCE)
        return err_set(e, EXIT_DATA, "%zu tokens, more than %d", ids->n, TOKENS_MAX_SEQUENCE);
    return 0;
}

/* Encodes one record and writes its line. -1 with e set where it failed; then its line says so. */
static int encode_record(struct encoder *en, struct prompt *p, const struct options *o, struct str record,
                         struct token_ids *ids, struct err *e) {
    int rc = prompt_read(p, &o->prompt, record, e);
    if (rc == 0 && !o->render)
        rc = encode_prompt(en, p, o, ids, e);
    if (rc != 0 && o->records == RECORDS_WHOLE)
        return rc;
    if (rc == 0 && o->render) {
        print_rendered(p, o);
        return 0;
    }
    tokens_write_attrs(stdout, buf_view(&p->attrs));
    if (rc != 0) {
        tokens_write_failed(stdout, str_of(e->msg));
        return rc;
    }
    tokens_write_ids(stdout, ids->ids, ids->n);
    tokens_write_end(stdout);
    return 0;
}

static int run(const struct options *o, const struct tokenizer *t, int fd) {
    struct records *records = records_new(fd, o->input, o->records, MAX_RECORD);
    struct encoder *en = t ? encoder_new(t) : NULL;
    struct prompt p = {0};
    struct token_ids ids = {0};
    struct str record;
    size_t number = 0;
    int status = EXIT_DONE, more;
    struct err e = {0};
    while ((more = records_next(records, &record, &e)) > 0) {
        number++;
        if (encode_record(en, &p, o, record, &ids, &e) != 0) {
            if (o->records == RECORDS_WHOLE)
                break;
            err_where(&e, "record %zu", number);
            warn_err(&e);
            e = (struct err){0};
            status = EXIT_SOME_FAILED;
        }
        if (!records_pending(records))
            flush_stdout();
    }
    if (e.code)
        die_err(&e);
    records_free(records);
    encoder_free(en);
    token_ids_free(&ids);
    prompt_free(&p);
    return status;
}

int main(int argc, char **argv) {
    program_init(argv[0]);
    struct options o = parse(argc, argv);
    struct err e = {0};
    char *dir = o.model && is_file(o.model) ? xstrdup(o.model) : model_dir(o.model, &e);
    if (!dir)
        die_err(&e);
    struct tokenizer *t = o.render ? NULL : tokenizer_open(dir, &e);
    if (!t && !o.render)
        die_err(&e);
    struct chat *chat = NULL;
    if (o.chat || o.prompt.form == PROMPT_JSON)
        o.prompt.chat = chat = chat_open(dir, &o.prompt.no_chat);
    if (o.chat && !chat)
        die_err(&o.prompt.no_chat);
    int fd = 0;
    if (strcmp(o.input, "-") != 0 && (fd = open(o.input, O_RDONLY)) < 0)
        die(EXIT_NO_INPUT, "cannot open %s: %s", o.input, strerror(errno));
    if (t)
        tokens_write_header(stdout, &(struct tokens_header){true, tokenizer_vocab(t), tokenizer_fingerprint(t)});
    int status = run(&o, t, fd);
    tokenizer_free(t);
    chat_free(chat);
    free(dir);
    close_stdout();
    return status;
}
