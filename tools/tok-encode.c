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
#include "base/utf8.h"
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
    "  -j, --json             each line is {\"text\": \"...\"}; other keys become attributes\n"
    "      --no-special       no beginning and end tokens\n"
    "      --strict           invalid UTF-8 is an error, not replaced by U+FFFD\n"
    "  -h, --help             this text\n"
    "  -V, --version          the version\n";

enum mode { MODE_WHOLE, MODE_LINES, MODE_NUL, MODE_JSON };

struct options {
    const char *model, *input;
    enum mode mode;
    bool strict;
    struct encode_options encode;
};

enum { OPT_NO_SPECIAL = OPT_LONG_ONLY, OPT_STRICT };

static struct options parse(int argc, char **argv) {
    static const struct option longs[] = {{"model", required_argument, NULL, 'm'},
                                          {"lines", no_argument, NULL, 'l'},
                                          {"null", no_argument, NULL, '0'},
                                          {"json", no_argument, NULL, 'j'},
                                          {"no-special", no_argument, NULL, OPT_NO_SPECIAL},
                                          {"strict", no_argument, NULL, OPT_STRICT},
                                          {"help", no_argument, NULL, 'h'},
                                          {"version", no_argument, NULL, 'V'},
                                          {NULL, 0, NULL, 0}};
    struct options o = {.input = "-"};
    int c;
    while ((c = getopt_long(argc, argv, "m:l0jhV", longs, NULL)) != -1)
        switch (c) {
        case 'm':
            o.model = optarg;
            break;
        case 'l':
            o.mode = MODE_LINES;
            break;
        case '0':
            o.mode = MODE_NUL;
            break;
        case 'j':
            o.mode = MODE_JSON;
            break;
        case OPT_NO_SPECIAL:
            o.encode.no_special = true;
            break;
        case OPT_STRICT:
            o.strict = true;
            break;
        case 'h':
            opt_help(help);
        case 'V':
            opt_version();
        default:
            die_usage("see the line above");
        }
    if (argc - optind > 1)
        die_usage("more than one input: %s", argv[optind + 1]);
    if (optind < argc)
        o.input = argv[optind];
    return o;
}

/* What one record says. */
struct prompt {
    struct str text;
    struct buf attrs, repaired;
    struct json json;
};

/* {"text": "...", ...} into p. -1 with e set. */
static int read_json(struct prompt *p, struct str record, struct err *e) {
    struct str key;
    bool found = false;
    json_init(&p->json, "record", record.p, record.n, e);
    json_enter_object(&p->json);
    while (json_key(&p->json, &key))
        if (str_eq(key, "text")) {
            p->text = json_str(&p->json);
            found = true;
        } else {
            record_attr(&p->json, key, &p->attrs);
        }
    json_end(&p->json);
    if (!found)
        json_refuse(&p->json, "no \"text\"");
    return json_failed(&p->json) ? -1 : 0;
}

static int read_prompt(struct prompt *p, const struct options *o, struct str record, struct err *e) {
    buf_clear(&p->attrs);
    if (o->mode == MODE_JSON)
        return read_json(p, record, e);
    if (o->mode == MODE_WHOLE && record.n && record.p[record.n - 1] == '\n')
        record.n--;
    size_t good = utf8_valid(record.p, record.n);
    p->text = record;
    if (good == record.n)
        return 0;
    if (o->strict)
        return err_set(e, EXIT_DATA, "invalid UTF-8: byte 0x%02x at offset %zu", (unsigned char)record.p[good], good);
    buf_clear(&p->repaired);
    utf8_repair(&p->repaired, record.p, record.n);
    p->text = buf_view(&p->repaired);
    return 0;
}

/* Encodes one record and writes its line. -1 with e set where it failed; then its line says so. */
static int encode_record(struct encoder *en, struct prompt *p, const struct options *o, struct str record,
                         struct token_ids *ids, struct err *e) {
    int rc = read_prompt(p, o, record, e);
    if (rc == 0)
        rc = tokenizer_encode(en, p->text, &o->encode, ids, e);
    if (rc == 0 && ids->n > TOKENS_MAX_SEQUENCE)
        rc = err_set(e, EXIT_DATA, "%zu tokens, more than %d", ids->n, TOKENS_MAX_SEQUENCE);
    if (rc != 0 && o->mode == MODE_WHOLE)
        return rc;
    tokens_write_attrs(stdout, buf_view(&p->attrs));
    if (rc != 0) {
        tokens_write_failed(stdout, str_of(e->msg));
        return rc;
    }
    for (size_t i = 0; i < ids->n; i++)
        tokens_write_id(stdout, ids->ids[i], i == 0);
    tokens_write_end(stdout);
    return 0;
}

static int run(const struct options *o, const struct tokenizer *t, int fd) {
    static const enum records_kind kinds[] = {RECORDS_WHOLE, RECORDS_LINES, RECORDS_NUL, RECORDS_LINES};
    struct records *records = records_new(fd, o->input, kinds[o->mode], MAX_RECORD);
    struct encoder *en = encoder_new(t);
    struct prompt p = {0};
    struct token_ids ids = {0};
    struct str record;
    size_t number = 0;
    int status = EXIT_DONE, more;
    struct err e = {0};
    while ((more = records_next(records, &record, &e)) > 0) {
        number++;
        if (encode_record(en, &p, o, record, &ids, &e) != 0) {
            if (o->mode == MODE_WHOLE)
                break;
            err_where(&e, "record %zu", number);
            warn_err(&e);
            e = (struct err){0};
            status = EXIT_SOME_FAILED;
        }
        json_free(&p.json);
        p.json = (struct json){0};
        if (!records_pending(records))
            flush_stdout();
    }
    if (e.code)
        die_err(&e);
    records_free(records);
    encoder_free(en);
    token_ids_free(&ids);
    buf_free(&p.attrs);
    buf_free(&p.repaired);
    return status;
}

int main(int argc, char **argv) {
    program_init(argv[0]);
    struct options o = parse(argc, argv);
    struct err e = {0};
    char *dir = o.model && is_file(o.model) ? xstrdup(o.model) : model_dir(o.model, &e);
    if (!dir)
        die_err(&e);
    struct tokenizer *t = tokenizer_open(dir, &e);
    if (!t)
        die_err(&e);
    int fd = 0;
    if (strcmp(o.input, "-") != 0 && (fd = open(o.input, O_RDONLY)) < 0)
        die(EXIT_NO_INPUT, "cannot open %s: %s", o.input, strerror(errno));
    struct tokens_header h = {true, tokenizer_vocab(t), tokenizer_fingerprint(t)};
    tokens_write_header(stdout, &h);
    int status = run(&o, t, fd);
    tokenizer_free(t);
    free(dir);
    close_stdout();
    return status;
}
