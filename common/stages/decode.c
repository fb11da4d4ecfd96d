/* tokens(5) to text: see decode.h.
 *
 * Ids go one by one to an answer decoder, which gives text that no later id can change. A JSON
 * record waits for the "#=" lines that may follow its sequence. So it is
 * written with the next other line or at the end of the input.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "stages/decode.h"

#include <inttypes.h>
#include <string.h>

#include "base/io.h"
#include "base/json.h"
#include "base/utf8.h"
#include "base/visible.h"
#include "chat/record.h"
#include "stages/answer_decoder.h"
#include "wire/tokens.h"

/* The sequence that is being decoded. */
struct sequence {
    size_t number;     // from 1
    bool begun;        // an id or its end has come
    struct buf text;   // not written yet
    struct buf attrs;  // its "#@" lines
    struct buf result; // its "#=" lines
    struct str failed; // why it failed; p is NULL unless it did
    bool held;         // DECODE_JSON: complete, except for "#=" lines that may follow
};

struct run {
    const struct decode_job *o;
    const struct tokenizer *t;
    struct answer_decoder *decoder;
    struct sequence seq;
    FILE *out;
    bool terminal; // out is one: control characters are escaped
    int status;    // EXIT_DONE or EXIT_SOME_FAILED
};

static int check_header(const struct tokens_header *h, const struct tokenizer *t, const char *name,
                        struct err *e) {
    if (h->present && h->tokenizer && h->tokenizer != tokenizer_fingerprint(t))
        return err_set(e, EXIT_DATA,
                       "the ids are of another tokenizer: %016" PRIx64 ", not %016" PRIx64 ": %s",
                       h->tokenizer, tokenizer_fingerprint(t), name);
    // A model's vocabulary may be padded, so it may be larger than its tokenizer's.
    if (h->present && !h->tokenizer && h->vocab && h->vocab < tokenizer_vocab(t))
        warn("the ids are of a vocabulary of %" PRIu64 ", this tokenizer's is of %" PRIu32 ": %s",
             h->vocab, tokenizer_vocab(t), name);
    return 0;
}

/* ---- Writing ---- */

static void write_json(struct run *r) {
    struct sequence *s = &r->seq;
    struct buf line = {0};
    buf_str(&line, "{\"text\": ");
    json_write_str(&line, (struct str){s->text.p ? s->text.p : "", s->text.n});
    record_write_attrs(&line, buf_view(&s->attrs));
    record_write_result(&line, buf_view(&s->attrs), buf_view(&s->result), s->failed);
    buf_str(&line, "}\n");
    visible_write(r->out, buf_view(&line), r->terminal);
    buf_free(&line);
}

/* Writes the text that the decoder has given out. */
static void write_text(struct run *r) {
    struct buf *text = &r->seq.text;
    if (r->o->form == DECODE_JSON || r->o->form == DECODE_PIECES)
        return;
    // The byte that ends a record cannot be in one.
    char end = r->o->form == DECODE_NUL ? '\0' : '\n';
    bool framed = r->o->form == DECODE_LINES || r->o->form == DECODE_NUL;
    for (size_t i = 0; framed && i < text->n; i++)
        if (text->p[i] == end)
            text->p[i] = ' ';
    visible_write(r->out, buf_view(text), r->terminal);
    buf_clear(text);
}

/* Appends p[0 .. n) as text for people: '\\', control characters and bytes that are not UTF-8 are
 * escaped. */
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

static void write_piece(struct run *r, uint32_t id) {
    struct buf bytes = {0}, line = {0};
    bool bold = r->o->colour && tokenizer_is_special(r->t, id);
    tokenizer_bytes(r->t, id, &bytes);
    buf_fmt(&line, "%" PRIu32 "\t%s", id, bold ? "\033[1m" : "");
    escape(&line, bytes.p, bytes.n);
    buf_str(&line, bold ? "\033[0m\n" : "\n");
    fwrite(line.p, 1, line.n, r->out);
    buf_free(&bytes);
    buf_free(&line);
}

/* ---- Sequences ---- */

/* The first id or the end of a sequence has come. */
static void begin(struct run *r) {
    struct sequence *s = &r->seq;
    struct err e = {0};
    if (s->begun)
        return;
    s->begun = true;
    if (r->o->form == DECODE_TEXT && s->number > 0)
        putc('\n', r->out);
    s->number++;
    if (answer_decoder_begin(r->decoder, buf_view(&s->attrs), r->o->continues, &e) != 0)
        warn("sequence %zu: %s", s->number, e.msg);
}

static int take_id(struct run *r, uint32_t id, struct err *e) {
    struct sequence *s = &r->seq;
    if (r->o->form == DECODE_PIECES) {
        write_piece(r, id);
        return 0;
    }
    return answer_decoder_id(r->decoder, id, &s->text, e);
}

static int finish(struct run *r, struct err *e) {
    struct sequence *s = &r->seq;
    int rc = answer_decoder_end(r->decoder, &s->text, e);
    if (r->o->form == DECODE_JSON && s->failed.p)
        write_json(r);
    else if (r->o->form == DECODE_JSON)
        s->held = true;
    write_text(r);
    if (r->o->form == DECODE_LINES || r->o->form == DECODE_PIECES)
        putc('\n', r->out);
    if (r->o->form == DECODE_NUL)
        putc('\0', r->out);
    s->begun = false;
    s->failed = (struct str){0};
    if (!s->held)
        buf_clear(&s->attrs);
    return rc;
}

/* Writes a JSON record that waited for "#=" lines: no more of them will come. */
static void release(struct run *r) {
    struct sequence *s = &r->seq;
    if (!s->held)
        return;
    write_json(r);
    s->held = false;
    buf_clear(&s->text);
    buf_clear(&s->result);
    buf_clear(&s->attrs);
}

static void add_words(struct buf *to, struct str text) {
    if (to->n)
        buf_byte(to, ' ');
    buf_add(to, text.p, text.n);
}

static int take_event(struct run *r, const struct tokens_event *ev, struct err *e) {
    struct sequence *s = &r->seq;
    int rc = 0;
    if (ev->type != TOKENS_RESULT)
        release(r);
    switch (ev->type) {
    case TOKENS_ATTRS:
        add_words(&s->attrs, ev->text);
        break;
    case TOKENS_ID:
        begin(r);
        rc = take_id(r, ev->id, e);
        write_text(r);
        break;
    case TOKENS_FAILED:
        warn("sequence %zu failed: %.*s", s->number + 1, (int)ev->text.n, ev->text.p);
        r->status = EXIT_SOME_FAILED;
        s->failed = ev->text;
        // fall through
    case TOKENS_END:
        begin(r);
        rc = finish(r, e);
        break;
    case TOKENS_RESULT:
        if (s->held)
            add_words(&s->result, ev->text);
        break;
    case TOKENS_EOF:
        break;
    }
    return rc == 0 ? 0 : err_where(e, "sequence %zu", s->number);
}

static int take_stream(struct run *r, struct tokens_reader *in, const char *name, struct err *e) {
    struct tokens_event ev;
    bool checked = false;
    do {
        if (!tokens_pending(in) && flush_out(r->out, e) != 0)
            return -1;
        if (tokens_next(in, &ev, e) != 0)
            return -1;
        if (!checked && check_header(tokens_header(in), r->t, name, e) != 0)
            return -1;
        checked = true;
        if (take_event(r, &ev, e) != 0)
            return -1;
    } while (ev.type != TOKENS_EOF);
    return 0;
}

int stage_decode(const struct decode_job *o, const struct tokenizer *t, int fd, const char *name,
                 FILE *out, struct err *e) {
    struct run r = {.o = o,
                    .t = t,
                    .out = out,
                    .terminal = visible_terminal(out),
                    .decoder = answer_decoder_new(t, o->special)};
    struct tokens_reader *in = tokens_reader_new(fd, name);
    int rc = take_stream(&r, in, name, e);
    if (flush_out(out, rc == 0 ? e : NULL) != 0)
        rc = -1;
    buf_free(&r.seq.text);
    buf_free(&r.seq.attrs);
    buf_free(&r.seq.result);
    answer_decoder_free(r.decoder);
    tokens_reader_free(in);
    return rc == 0 ? r.status : -1;
}
