/* tokens(5), read and written: see tokens.h and the page tokens(5).
 *
 * The reader is a scanner. It stops when its buffer is empty, and continues there when more bytes
 * have come, so that an event never waits for later bytes. At the end of the input it supplies a
 * missing newline, unless the stream has a header: then a program wrote it, and was cut. Ids may be
 * separated by several blanks, and by tabs, which paste(1) writes.
 *
 * It refuses, with line and byte: anything but digits and blanks in a line of ids, ids above
 * TOKENS_MAX_ID, sequences, texts and attributes that are longer than tokens.h allows, texts that
 * are not UTF-8, and a second header that differs from the first.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "wire/tokens.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/io.h"
#include "base/num.h"
#include "base/utf8.h"

enum { READ_BYTES = 1 << 16 };

enum line_state { LINE_START, LINE_IDS, LINE_TEXT };

struct tokens_reader {
    int fd;
    tokens_read_fn *read; // instead of fd; or NULL
    void *read_ctx;
    char *name;
    struct tokens_header header;
    char *bytes; // [READ_BYTES]; bytes[at .. n) are not scanned yet
    size_t at, n;
    uint64_t before;     // bytes of the stream before bytes[0]
    uint64_t line;       // from 1
    uint64_t line_start; // its first byte, in the stream
    enum line_state state;
    struct buf text; // of a '#' or '!' line, so far
    uint64_t id;     // the id so far, while in_id
    bool in_id;
    size_t n_ids;     // of this line
    size_t n_attrs;   // bytes of "#@" lines since the last sequence, and one for each line
    size_t n_results; // the same of "#=" lines
    bool begun;       // an event has been returned: too late for a header
    bool eof;
    int held; // scan()'s result for tokens_pending: 1 an event, -1 an error, 0 nothing
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

void tokens_read_by(struct tokens_reader *r, tokens_read_fn *read, void *ctx) {
    r->read = read;
    r->read_ctx = ctx;
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

uint64_t tokens_line(const struct tokens_reader *r) {
    return r->line - 1;
}

static int bad_line(const struct tokens_reader *r, struct err *e, const char *what) {
    uint64_t byte = r->before + r->at - r->line_start + 1;
    if (r->line == 1 && r->before == 0 && r->n && r->bytes[0] != '#' &&
        file_hint(r->bytes, r->n)) // the input is another stage's
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

/* 16 hexadecimal digits in lower case. */
static bool parse_hex64(struct str s, uint64_t *out) {
    uint64_t v = 0;
    if (s.n != 16)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        int digit = num_hex_digit(s.p[i]);
        if (digit < 0 || (s.p[i] >= 'A' && s.p[i] <= 'F'))
            return false;
        v = v << 4 | (uint64_t)digit;
    }
    *out = v;
    return true;
}

/* "# tokens vocab=N tokenizer=HEX". A comment is a header only if one of these keys follows
 * "# tokens". */
static int header_line(struct tokens_reader *r, struct str text, struct err *e) {
    struct tokens_header h = {.present = true};
    while (text.n) {
        struct str word = str_word(&text);
        if (str_begins_with(word, "vocab=")) {
            if (!parse_u64((struct str){word.p + 6, word.n - 6}, 1, (uint64_t)TOKENS_MAX_ID + 1,
                           &h.vocab))
                return bad_line(r, e, "the header's vocab= is not a number of ids");
        } else if (str_begins_with(word, "tokenizer=")) {
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

/* Adds a line to those of its kind since the last sequence. */
static int add_words(struct tokens_reader *r, size_t *sum, size_t n, const char *what,
                     struct err *e) {
    *sum += n + 1;
    return *sum - 1 > TOKENS_MAX_TEXT ? bad_line(r, e, what) : 1;
}

/* A complete '#' or '!' line: 1 an event, 0 a comment, -1 with e set. */
static int text_line(struct tokens_reader *r, struct tokens_event *ev, struct err *e) {
    struct str text = buf_view(&r->text);
    if (utf8_valid(text.p, text.n) != text.n)
        return bad_line(r, e, "the line is not UTF-8");
    if (str_begins_with(text, "# tokens vocab=") || str_begins_with(text, "# tokens tokenizer="))
        return header_line(r, (struct str){text.p + 9, text.n - 9}, e);
    size_t mark = text.p[0] == '!' ? 1 : 2;
    if (str_begins_with(text, "#@"))
        ev->type = TOKENS_ATTRS;
    else if (str_begins_with(text, "#="))
        ev->type = TOKENS_RESULT;
    else if (text.p[0] == '!')
        ev->type = TOKENS_FAILED;
    else
        return 0;
    if (text.n > mark && text.p[mark] == ' ')
        mark++;
    ev->text = (struct str){text.p + mark, text.n - mark};
    if (ev->type == TOKENS_ATTRS)
        return add_words(r, &r->n_attrs, ev->text.n,
                         "the attributes of a sequence are longer than 1 MiB", e);
    if (ev->type == TOKENS_RESULT)
        return add_words(r, &r->n_results, ev->text.n,
                         "the results of a sequence are longer than 1 MiB", e);
    r->n_attrs = r->n_results = 0;
    return 1;
}

/* Scans the part of a '#' or '!' line that is in the buffer. As scan. */
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
                return bad_line(r, e, "a token id is larger than 2147483647");
        } else if (c != ' ' && c != '\t' && c != '\n') {
            return bad_line(r, e,
                            r->line == 1 && r->before + r->at == 0
                                ? "expected a token id in decimal digits, as tok-encode writes them"
                                : "expected a token id in decimal digits");
        } else if (r->in_id) {
            if (++r->n_ids > TOKENS_MAX_SEQUENCE)
                return bad_line(r, e, "a sequence is longer than 16777216 ids");
            r->in_id = false;
            *ev = (struct tokens_event){.type = TOKENS_ID, .id = (uint32_t)r->id};
            return 1; // the next call sees the blank or newline
        } else if (c == '\n') {
            *ev = (struct tokens_event){.type = TOKENS_END};
            r->n_attrs = r->n_results = 0;
            next_line(r);
            return 1;
        }
    }
    return 0;
}

/* The next event in the buffer: 1; 0 if it needs more bytes; -1 with e set. */
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

int tokens_fill(struct tokens_reader *r, struct err *e) {
    ssize_t got = r->read ? r->read(r->read_ctx, r->bytes, READ_BYTES)
                          : read_some(r->fd, r->bytes, READ_BYTES);
    if (got < 0 && r->read && errno == EAGAIN)
        return 0;
    if (got < 0)
        return err_errno(e, EXIT_IO, "cannot read: %s", r->name);
    r->before += r->n;
    r->at = 0;
    r->n = (size_t)got;
    if (got == 0) {
        if (r->state != LINE_START && r->header.present) // made by a program, which ends its lines
            return err_set(e, EXIT_DATA, "the stream was cut: line %" PRIu64 " has no newline: %s",
                           r->line, r->name);
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
