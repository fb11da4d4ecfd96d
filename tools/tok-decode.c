/* tok-decode: token ids to text, as the model's tokenizer.json says. See man/tok-decode.1.
 *
 * Contract: text comes out as soon as no later id can change it, and never a part of a character.
 * Ids of another tokenizer are refused where the stream says which one they are of.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/attrs.h"
#include "base/io.h"
#include "base/json.h"
#include "base/opt.h"
#include "base/utf8.h"
#include "chat/record.h"
#include "stages/watch.h"
#include "tokens/tokenizer.h"
#include "wire/tokens.h"

static const char help[] =
    "usage: tok-decode [-m DIR] [-l | -0 | -j] [options] [FILE]\n"
    "Turns token ids, tokens(5), back into text.\n"
    "Without -l, -0 or -j texts are written as they come, with a newline between two.\n"
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
    "  -v, --verbose          say which tokenizer it is, on stderr\n"
    "  -q, --quiet            no warnings\n"
    "  -h, --help             this text\n"
    "  -V, --version          the version\n";

enum mode { MODE_TEXT, MODE_LINES, MODE_NUL, MODE_JSON, MODE_PIECES };

struct options {
    const char *model, *input;
    enum mode mode;
    bool special, continues;
    bool colour; // --pieces: special tokens stand out
};

enum { OPT_SPECIAL = OPT_LONG_ONLY, OPT_CONTINUE, OPT_PIECES };

static struct options parse(int argc, char **argv) {
    static const struct option longs[] = {{"model", required_argument, NULL, 'm'},
                                          {"lines", no_argument, NULL, 'l'},
                                          {"null", no_argument, NULL, '0'},
                                          {"json", no_argument, NULL, 'j'},
                                          {"special", no_argument, NULL, OPT_SPECIAL},
                                          {"continue", no_argument, NULL, OPT_CONTINUE},
                                          {"pieces", no_argument, NULL, OPT_PIECES},
                                          OPT_COMMON};
    struct options o = {.input = "-"};
    int c;
    while ((c = getopt_long(argc, argv, "m:l0j" OPT_COMMON_LETTERS, longs, NULL)) != -1)
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
        case OPT_SPECIAL:
            o.special = true;
            break;
        case OPT_CONTINUE:
            o.continues = true;
            break;
        case OPT_PIECES:
            o.mode = MODE_PIECES;
            break;
        default:
            opt_common(c, help);
        }
    if (optind < argc)
        o.input = opt_file(argc, argv);
    return o;
}

/* The sequence that is being decoded. */
struct sequence {
    size_t number;     // from 1
    bool begun;        // an id or its end has come
    struct buf text;   // not written yet
    struct buf attrs;  // its "#@" lines
    struct buf result; // its "#=" lines
    struct str failed; // p is NULL unless it failed
    bool held;         // a JSON record is whole, but for its "#=" lines
};

static void check_header(const struct tokens_header *h, const struct tokenizer *t,
                         const char *name) {
    if (h->present && h->tokenizer && h->tokenizer != tokenizer_fingerprint(t))
        die(EXIT_DATA, "the ids are of another tokenizer: %016" PRIx64 ", not %016" PRIx64 ": %s",
            h->tokenizer, tokenizer_fingerprint(t), name);
    if (h->present && !h->tokenizer && h->vocab &&
        h->vocab < tokenizer_vocab(t)) // a model's may be padded
        warn("the ids are of a vocabulary of %" PRIu64 ", this tokenizer's is of %" PRIu32 ": %s",
             h->vocab, tokenizer_vocab(t), name);
}

static void write_json(struct sequence *s) {
    struct buf line = {0};
    buf_str(&line, "{\"text\": ");
    json_write_str(&line, (struct str){s->text.p ? s->text.p : "", s->text.n});
    record_write_attrs(&line, buf_view(&s->attrs));
    record_write_result(&line, buf_view(&s->attrs), buf_view(&s->result), s->failed);
    buf_str(&line, "}\n");
    fwrite(line.p, 1, line.n, stdout);
    buf_free(&line);
}

/* Writes what has become certain. */
static void write_text(const struct options *o, struct sequence *s) {
    if (o->mode == MODE_JSON || o->mode == MODE_PIECES)
        return;
    for (size_t i = 0; o->mode == MODE_LINES && i < s->text.n; i++)
        if (s->text.p[i] == '\n')
            s->text.p[i] = ' ';
    fwrite(s->text.p ? s->text.p : "", 1, s->text.n, stdout);
    buf_clear(&s->text);
}

static void begin(const struct options *o, struct sequence *s, struct decoder *d) {
    struct buf value = {0};
    if (s->begun)
        return;
    s->begun = true;
    if (o->mode == MODE_TEXT && s->number > 0)
        putchar('\n');
    s->number++;
    if (o->continues ||
        (attrs_get(buf_view(&s->attrs), "continues", &value) && str_eq(buf_view(&value), "1")))
        decoder_continue(d);
    buf_free(&value);
}

/* A JSON record that waited for its "#=" lines. */
static void release(struct sequence *s) {
    if (s->held)
        write_json(s);
    s->held = false;
    buf_clear(&s->text);
    buf_clear(&s->result);
}

static void finish(const struct options *o, struct sequence *s, struct decoder *d) {
    decoder_end(d, &s->text);
    if (o->mode == MODE_JSON && s->failed.p)
        write_json(s);
    else if (o->mode == MODE_JSON)
        s->held = true;
    write_text(o, s);
    if (o->mode == MODE_LINES || o->mode == MODE_NUL || o->mode == MODE_PIECES)
        putchar(o->mode == MODE_NUL ? '\0' : '\n');
    s->begun = false;
    s->failed = (struct str){0};
    if (!s->held)
        buf_clear(&s->attrs);
}

/* Bytes as they can be shown: '\\', control characters and what is not UTF-8 are escaped. */
static void escape(struct buf *out, const char *p, size_t n) {
    static const char from[] = "\n\t\r\\", to[] = "ntr\\";
    for (size_t i = 0, len; i < n; i += len) {
        uint32_t cp = 0;
        const char *known = p[i] ? strchr(from, p[i]) : NULL;
        len = utf8_decode(p + i, n - i, &cp);
        if (known)
            buf_fmt(out, "\\%c", to[known - from]);
        else if (len == 0 || cp < 0x20 || (cp >= 0x7F && cp < 0xA0))
            for (size_t end = i + (len ? len : 1), k = i; k < end; k++)
                buf_fmt(out, "\\x%02x", (unsigned char)p[k]);
        else
            buf_add(out, p + i, len);
        len = len ? len : 1;
    }
}

static void write_piece(const struct options *o, const struct tokenizer *t, uint32_t id) {
    struct buf bytes = {0}, line = {0};
    bool bold = o->colour && tokenizer_is_special(t, id);
    tokenizer_bytes(t, id, &bytes);
    buf_fmt(&line, "%" PRIu32 "\t%s", id, bold ? "\033[1m" : "");
    escape(&line, bytes.p, bytes.n);
    buf_str(&line, bold ? "\033[0m\n" : "\n");
    fwrite(line.p, 1, line.n, stdout);
    buf_free(&bytes);
    buf_free(&line);
}

static int run(const struct options *o, const struct tokenizer *t, int fd, const char *name) {
    struct tokens_reader *r = tokens_reader_new(fd, name);
    struct decoder *d = decoder_new(t, o->special);
    struct sequence s = {0};
    struct tokens_event ev;
    struct err e = {0};
    int status = EXIT_DONE;
    bool checked = false;
    for (;;) {
        if (!tokens_pending(r))
            flush_stdout();
        if (tokens_next(r, &ev, &e) != 0)
            die_err(&e);
        if (!checked)
            check_header(tokens_header(r), t, name);
        checked = true;
        if (s.held && ev.type != TOKENS_RESULT) {
            release(&s);
            buf_clear(&s.attrs);
        }
        if (ev.type == TOKENS_EOF)
            break;
        switch (ev.type) {
        case TOKENS_ATTRS:
            if (s.attrs.n)
                buf_byte(&s.attrs, ' ');
            buf_add(&s.attrs, ev.text.p, ev.text.n);
            break;
        case TOKENS_ID:
            begin(o, &s, d);
            if (o->mode == MODE_PIECES)
                write_piece(o, t, ev.id);
            else
                decoder_id(d, ev.id, &s.text);
            write_text(o, &s);
            break;
        case TOKENS_FAILED:
            warn("sequence %zu failed: %.*s", s.number + 1, (int)ev.text.n, ev.text.p);
            status = EXIT_SOME_FAILED;
            s.failed = ev.text;
            // fall through
        case TOKENS_END:
            begin(o, &s, d);
            finish(o, &s, d);
            break;
        case TOKENS_RESULT:
            if (s.result.n)
                buf_byte(&s.result, ' ');
            buf_add(&s.result, ev.text.p, ev.text.n);
            break;
        case TOKENS_EOF:
            break;
        }
    }
    buf_free(&s.text);
    buf_free(&s.attrs);
    buf_free(&s.result);
    decoder_free(d);
    tokens_reader_free(r);
    return status;
}

int main(int argc, char **argv) {
    program_init(argv[0]);
    stage_watch_stdout();
    struct options o = parse(argc, argv);
    struct err e = {0};
    char *dir = o.model && is_file(o.model) ? xstrdup(o.model) : model_dir(o.model, &e);
    if (!dir)
        die_err(&e);
    struct tokenizer *t = tokenizer_open_hashed(dir, &e);
    if (!t)
        die_err(&e);
    if (opt_verbose())
        fprintf(stderr, "%s: %s: vocabulary %" PRIu32 ", fingerprint %016" PRIx64 "\n",
                program_name(), dir, tokenizer_vocab(t), tokenizer_fingerprint(t));
    const char *name;
    int fd = open_operand(o.input, &name, &e);
    if (fd < 0)
        die_err(&e);
    const char *no_color = getenv("NO_COLOR");
    o.colour = isatty(1) && !(no_color && *no_color);
    int status = run(&o, t, fd, name);
    tokenizer_free(t);
    free(dir);
    close_stdout();
    return status;
}
