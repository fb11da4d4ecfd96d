/* tokens(5), read and written: see tokens.h and the page tokens(5).
 *
 * The reader is a scanner that stops when its buffer is empty and goes on where it stopped when
 * more bytes have come; an event never waits for bytes behind it. At the end of the input a missing
 * last newline is supplied, so that there is one path for both. Blanks between ids may be more than
 * one, and tabs (paste(1) makes them).
 *
 * Refused, with line and byte: anything but digits and blanks in a line of ids, ids past
 * TOKENS_MAX_ID, longer sequences and texts than tokens.h allows, texts that are not UTF-8, and a
 * second header that says otherwise.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "wire/tokens.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/io.h"
#include "base/num.h"
#include "base/utf8.h"

enum { READ_BYTES = 1 << 16 };

enum line_state { LINE_START, LINE_IDS, LINE_TEXT };

struct tokens_reader {
    int fd;
    char *name;
    struct tokens_header header;
    char *bytes; // [READ_BYTES]; bytes[at .. n) are not yet read
    size_t at, n;
    uint64_t before;     // bytes of the stream before bytes[0]
    uint64_t line;       // from 1
    uint64_t line_start; // its first byte, in the stream
    enum line_state state;
    struct buf text; // of a '#' or '!' line, so far
    uint64_t id;     // the id so far, while in_id
    bool in_id;
    size_t n_ids; // of this line
    bool begun;   // an event has been given: too late for a header
    bool eof;
    int held; // what scan() gave for tokens_pending: 1 an event, -1 an error, 0 nothing
    struct tokens_event held_event;
    struct err held_err;
};

struct tokens_reader *tokens_reader_new(int fd, const char *name) {
    struct tokens_reader *r = xcalloc(1, sizeof *r);
    r->fd = fd;
    r->name = xstrdup(name);
    r->bytes = xmalloc(READ_BYTES);
    r->line = 1;
    return r;
}

void tokens_reader_free(struct tokens_reader *r) {
    if (!r)
        return;
    buf_free(&r->text);
    free(r->bytes);
    free(r->name);
    free(r);
}

const struct tokens_header *tokens_header(const struct tokens_reader *r) {
    return &r->header;
}

static int bad_line(const struct tokens_reader *r, struct err *e, const char *what) {
    uint64_t byte = r->before + r->at - r->line_start + 1;
    if (r->line == 1 && r->before == 0 && r->n && r->bytes[0] != '#' &&
        file_hint(r->bytes, r->n)) // of another stage
        return err_set(e, EXIT_DATA, "%s: %s", file_hint(r->bytes, r->n), r->name);
    return err_set(e, EXIT_DATA, "%s: %s: line %" PRIu64 ", byte %" PRIu64, what, r->name, r->line,
                   byte);
}

static void next_line(struct tokens_reader *r) {
    r->at++; // the newline
    r->line++;
    r->line_start = r->before + r->at;
    r->state = LINE_START;
}

static bool starts_with(struct str s, const char *prefix) {
    size_t n = strlen(prefix);
    return s.n >= n && memcmp(s.p, prefix, n) == 0;
}

static bool parse_hex64(struct str s, uint64_t *out) {
    uint64_t v = 0;
    if (s.n != 16)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
            return false;
        v = v << 4 | (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    *out = v;
    return true;
}

/* "# tokens vocab=N tokenizer=HEX": a comment is a header only with one of these keys behind "#
 * tokens". */
static int header_line(struct tokens_reader *r, struct str text, struct err *e) {
    struct tokens_header h = {.present = true};
    while (text.n) {
        struct str word = str_word(&text);
        if (starts_with(word, "vocab=")) {
            if (!parse_u64((struct str){word.p + 6, word.n - 6}, 1, (uint64_t)TOKENS_MAX_ID + 1,
                           &h.vocab))
                return bad_line(r, e, "the header's vocab= is no count of ids");
        } else if (starts_with(word, "tokenizer=")) {
            if (!parse_hex64((struct str){word.p + 10, word.n - 10}, &h.tokenizer))
                return bad_line(r, e, "the header's tokenizer= is not 16 hexadecimal digits");
        }
    }
    if (r->header.present) { // as in `cat a.tokens b.tokens`
        if (h.vocab != r->header.vocab || h.tokenizer != r->header.tokenizer)
            return bad_line(r, e, "a second header names another vocabulary than the first");
    } else if (r->begun) {
        return bad_line(r, e, "a header line comes after the first sequence");
    }
    r->header = h;
    return 0;
}

/* What a whole '#' or '!' line means: 1 an event, 0 a comment. */
static int text_line(struct tokens_reader *r, struct tokens_event *ev, struct err *e) {
    struct str text = buf_view(&r->text);
    if (utf8_valid(text.p, text.n) != text.n)
        return bad_line(r, e, "the line is not UTF-8");
    if (starts_with(text, "# tokens vocab=") || starts_with(text, "# tokens tokenizer="))
        return header_line(r, (struct str){text.p + 9, text.n - 9}, e);
    size_t mark = text.p[0] == '!' ? 1 : 2;
    if (starts_with(text, "#@"))
        ev->type = TOKENS_ATTRS;
    else if (starts_with(text, "#="))
        ev->type = TOKENS_RESULT;
    else if (text.p[0] == '!')
        ev->type = TOKENS_FAILED;
    else
        return 0;
    if (text.n > mark && text.p[mark] == ' ')
        mark++;
    ev->text = (struct str){text.p + mark, text.n - mark};
    return 1;
}

/* Takes what the buffer holds of a '#' or '!' line. */
static int scan_text(struct tokens_reader *r, struct tokens_event *ev, struct err *e) {
    const char *from = r->bytes + r->at, *newline = memchr(from, '\n', r->n - r->at);
    size_t len = newline ? (size_t)(newline - from) : r->n - r->at;
    if (r->text.n + len > TOKENS_MAX_TEXT)
        return bad_line(r, e, "a '#' or '!' line is longer than 1 MiB");
    buf_add(&r->text, from, len);
    r->at += len;
    if (!newline)
        return 0;
    int rc = text_line(r, ev, e);
    next_line(r);
    return rc;
}

static int scan_ids(struct tokens_reader *r, struct tokens_event *ev, struct err *e) {
    for (; r->at < r->n; r->at++) {
        char c = r->bytes[r->at];
        if (c >= '0' && c <= '9') {
            r->id = (r->in_id ? r->id * 10 : 0) + (uint64_t)(c - '0');
            r->in_id = true;
            if (r->id > TOKENS_MAX_ID)
                return bad_line(r, e, "a token id is past 2147483647");
        } else if (c != ' ' && c != '\t' && c != '\n') {
            return bad_line(r, e, "a token id is expected, in digits");
        } else if (r->in_id) {
            if (++r->n_ids > TOKENS_MAX_SEQUENCE)
                return bad_line(r, e, "a sequence is longer than 16777216 ids");
            r->in_id = false;
            *ev = (struct tokens_event){.type = TOKENS_ID, .id = (uint32_t)r->id};
            return 1; // the blank or newline is for the next call
        } else if (c == '\n') {
            *ev = (struct tokens_event){.type = TOKENS_END};
            next_line(r);
            return 1;
        }
    }
    return 0;
}

/* The next event that the buffer holds: 1, 0 where more bytes are needed, or -1. */
static int scan(struct tokens_reader *r, struct tokens_event *ev, struct err *e) {
    while (r->at < r->n) {
        if (r->state == LINE_START) {
            char c = r->bytes[r->at];
            r->state = c == '#' || c == '!' ? LINE_TEXT : LINE_IDS;
            r->n_ids = 0;
            buf_clear(&r->text);
        }
        int rc = r->state == LINE_TEXT ? scan_text(r, ev, e) : scan_ids(r, ev, e);
        if (rc != 0) {
            r->begun = true;
            return rc;
        }
    }
    if (!r->eof)
        return 0;
    *ev = (struct tokens_event){.type = TOKENS_EOF};
    return 1;
}

/* More bytes into the empty buffer. */
int tokens_fill(struct tokens_reader *r, struct err *e) {
    ssize_t got = read_some(r->fd, r->bytes, READ_BYTES);
    if (got < 0)
        return err_errno(e, EXIT_IO, "cannot read: %s", r->name);
    r->before += r->n;
    r->at = 0;
    r->n = (size_t)got;
    if (got == 0) {
        r->eof = true;
        if (r->state != LINE_START)
            r->bytes[r->n++] = '\n';
    }
    return 0;
}

int tokens_next(struct tokens_reader *r, struct tokens_event *ev, struct err *e) {
    *ev = (struct tokens_event){.type = TOKENS_EOF};
    int rc = r->held;
    if (rc != 0) {
        *ev = r->held_event;
        if (rc < 0 && e)
            *e = r->held_err;
        r->held = 0;
    }
    while (rc == 0) {
        rc = scan(r, ev, e);
        if (rc == 0 && tokens_fill(r, e) != 0)
            return -1;
    }
    return rc < 0 ? -1 : 0;
}

bool tokens_pending(struct tokens_reader *r) {
    if (r->held == 0)
        r->held = scan(r, &r->held_event, &r->held_err);
    return r->held != 0;
}

/* attrs and the next "#@" text, with a space between. */
static int join_attrs(struct tokens_reader *r, struct buf *attrs, struct str text, struct err *e) {
    if (attrs->n + text.n + 1 > TOKENS_MAX_TEXT)
        return bad_line(r, e, "the attributes of a sequence are longer than 1 MiB");
    if (attrs->n && text.n)
        buf_byte(attrs, ' ');
    buf_add(attrs, text.p, text.n);
    return 0;
}

int tokens_next_seq(struct tokens_reader *r, struct tokens_seq *s, struct err *e) {
    struct tokens_event ev;
    buf_clear(&s->attrs);
    buf_clear(&s->reason);
    s->n_ids = 0;
    s->failed = false;
    for (;;) {
        if (tokens_next(r, &ev, e) != 0)
            return -1;
        switch (ev.type) {
        case TOKENS_EOF:
            return 0;
        case TOKENS_ATTRS:
            if (join_attrs(r, &s->attrs, ev.text, e) != 0)
                return -1;
            break;
        case TOKENS_ID:
            if (s->n_ids == s->cap) {
                s->cap = s->cap ? 2 * s->cap : 64;
                s->ids = xreallocarray(s->ids, s->cap, sizeof *s->ids);
            }
            s->ids[s->n_ids++] = ev.id;
            break;
        case TOKENS_END:
            return 1;
        case TOKENS_FAILED:
            s->failed = true;
            buf_add(&s->reason, ev.text.p, ev.text.n);
            return 1;
        case TOKENS_RESULT:
            break;
        }
    }
}

void tokens_seq_free(struct tokens_seq *s) {
    buf_free(&s->attrs);
    buf_free(&s->reason);
    free(s->ids);
    *s = (struct tokens_seq){0};
}

void tokens_write_header(FILE *f, const struct tokens_header *h) {
    if (!h->present || (!h->vocab && !h->tokenizer))
        return;
    fputs("# tokens", f);
    if (h->vocab)
        fprintf(f, " vocab=%" PRIu64, h->vocab);
    if (h->tokenizer)
        fprintf(f, " tokenizer=%016" PRIx64, h->tokenizer);
    putc('\n', f);
}

void tokens_write_attrs(FILE *f, struct str attrs) {
    if (attrs.n == 0)
        return;
    fputs("#@ ", f);
    fwrite(attrs.p, 1, attrs.n, f);
    putc('\n', f);
}

void tokens_write_id(FILE *f, uint32_t id, bool first) {
    char digits[16], *p = digits + sizeof digits;
    do
        *--p = (char)('0' + id % 10);
    while ((id /= 10) != 0);
    if (!first)
        *--p = ' ';
    fwrite(p, 1, (size_t)(digits + sizeof digits - p), f);
}

void tokens_write_ids(FILE *f, const uint32_t *ids, size_t n) {
    char room[4096];
    size_t used = 0;
    for (size_t i = 0; i < n; i++) {
        if (sizeof room - used < 12) {
            fwrite(room, 1, used, f);
            used = 0;
        }
        char digits[10];
        unsigned len = 0;
        for (uint32_t id = ids[i]; id || len == 0; id /= 10)
            digits[len++] = (char)('0' + id % 10);
        if (i)
            room[used++] = ' ';
        while (len)
            room[used++] = digits[--len];
    }
    fwrite(room, 1, used, f);
}

void tokens_write_space(FILE *f) {
    putc(' ', f);
}

void tokens_write_end(FILE *f) {
    putc('\n', f);
}

void tokens_write_result(FILE *f, struct str text) {
    fputs("#= ", f);
    fwrite(text.p, 1, text.n, f);
    putc('\n', f);
}

void tokens_write_failed(FILE *f, struct str reason) {
    struct buf line = {0};
    utf8_repair(&line, reason.p, reason.n);
    for (size_t i = 0; i < line.n; i++)
        if (line.p[i] == '\n' || line.p[i] == '\r')
            line.p[i] = ' ';
    fputs("! ", f);
    fwrite(line.p, 1,
           utf8_valid(line.p, line.n < TOKENS_MAX_TEXT - 2 ? line.n : TOKENS_MAX_TEXT - 2), f);
    putc('\n', f);
    buf_free(&line);
}
