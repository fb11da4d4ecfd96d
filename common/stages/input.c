/* Prompts in: see input.h.
 *
 * The ids of a line are stored until it ends, but no more than the context holds. A longer line is
 * read to its end and refused, so it takes no more memory.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "stages/input.h"

#include <inttypes.h>
#include <stdlib.h>

#include "wire/return.h"
#include "wire/tokens.h"

struct input {
    int fd;
    const char *name; // the caller's
    struct tokens_reader *reader;
    uint32_t next_number;
    bool begun, ended;
    int code;
    // The line so far.
    uint32_t *ids; // [n_ids], room for cap
    size_t n_ids, cap;
    uint64_t n_seen; // ids of the line, stored or not
    uint32_t bad_id; // the first that is not in the vocabulary
    uint64_t bad_at; // its place in the line, from 1; 0: none
    struct buf attrs;
    struct buf reason;
    bool given; // the line has come out: begin a new one
};

struct input *input_new(int fd, const char *name) {
    struct input *in = xcalloc(1, sizeof *in);
    in->fd = fd;
    in->name = name;
    in->reader = tokens_reader_new(fd, name);
    return in;
}

void input_free(struct input *in) {
    if (!in)
        return;
    tokens_reader_free(in->reader);
    free(in->ids);
    buf_free(&in->attrs);
    buf_free(&in->reason);
    free(in);
}

void input_read_by(struct input *in, tokens_read_fn *read, void *ctx) {
    tokens_read_by(in->reader, read, ctx);
}

int input_poll_fd(const struct input *in) {
    return in->ended ? -1 : in->fd;
}

bool input_ended(const struct input *in) {
    return in->ended;
}

int input_code(const struct input *in) {
    return in->code;
}

static void begin_line(struct input *in) {
    in->n_ids = 0;
    in->n_seen = in->bad_at = 0;
    buf_clear(&in->attrs);
    buf_clear(&in->reason);
    in->given = false;
}

/* The input ends because of e, and the current line becomes a failed line. */
static void end_early(struct input *in, const struct err *e) {
    in->ended = in->begun = true;
    in->code = e->code;
    buf_clear(&in->reason);
    buf_str(&in->reason, e->msg);
}

void input_fill(struct input *in) {
    struct err e = {0};
    if (!tokens_pending(in->reader) && tokens_fill(in->reader, &e) != 0)
        end_early(in, &e);
}

bool input_begun(struct input *in) {
    if (!in->begun)
        in->begun = tokens_pending(in->reader);
    return in->begun;
}

int input_check(const struct input *in, struct logits_header *h, struct err *warning,
                struct err *e) {
    const struct tokens_header *t = tokens_header(in->reader);
    if (t->tokenizer && h->tokenizer && t->tokenizer != h->tokenizer)
        return err_set(e, EXIT_DATA,
                       "the ids were made with tokenizer %016" PRIx64
                       ", the model has tokenizer %016" PRIx64,
                       t->tokenizer, h->tokenizer);
    // The model's own tokenizer may have more ids than the model has rows, because a pad token was
    // added. With any other tokenizer that is a reason to warn.
    if (t->vocab > h->vocab_size && !(t->tokenizer && h->tokenizer))
        err_set(warning, EXIT_DATA,
                "the ids were made with a vocabulary of %" PRIu64 ", the model has one of %" PRIu32,
                t->vocab, h->vocab_size);
    if (!h->tokenizer)
        h->tokenizer = t->tokenizer;
    return 0;
}

static void add_id(struct input *in, uint32_t id, const struct logits_header *h) {
    in->n_seen++;
    if (id >= h->vocab_size && !in->bad_at) {
        in->bad_id = id;
        in->bad_at = in->n_seen;
    }
    if (in->n_ids == h->context)
        return;
    if (in->n_ids == in->cap) {
        in->cap = in->cap ? 2 * in->cap : 256;
        in->ids = xreallocarray(in->ids, in->cap, sizeof *in->ids);
    }
    in->ids[in->n_ids++] = id;
}

static void add_attrs(struct input *in, struct str text) {
    if (in->attrs.n)
        buf_byte(&in->attrs, ' ');
    buf_add(&in->attrs, text.p, text.n);
}

/* Writes to in->reason why the current line cannot be run; empty where it can. */
static void judge_line(struct input *in, const struct logits_header *h) {
    buf_clear(&in->reason);
    if (in->n_seen == 0)
        buf_str(&in->reason, "the sequence is empty: there is nothing to go on from");
    else if (in->bad_at)
        buf_fmt(&in->reason,
                "id %" PRIu32 " is not in the vocabulary of %" PRIu32 ": id %" PRIu64
                " of the sequence",
                in->bad_id, h->vocab_size, in->bad_at);
    else if (in->n_seen > h->context)
        buf_fmt(&in->reason, "%" PRIu64 " ids do not fit into the context of %" PRIu32, in->n_seen,
                h->context);
}

bool input_pending(struct input *in) {
    return !in->ended && tokens_pending(in->reader);
}

static bool give_line(struct input *in, struct input_prompt *p, bool said_before) {
    bool refused = in->reason.n > 0;
    *p = (struct input_prompt){
        .number = in->next_number++,
        .name = in->name,
        .ids = in->ids,
        .n_ids = refused ? 0 : (uint32_t)in->n_ids,
        .attrs = buf_view(&in->attrs),
        .refused = buf_view(&in->reason),
        .said_before = said_before,
    };
    in->given = true;
    return true;
}

bool input_next(struct input *in, const struct logits_header *h, struct input_prompt *p) {
    struct tokens_event ev;
    struct err e = {0};
    if (in->given)
        begin_line(in);
    if (in->ended) // only a line that bad bytes have ended can be left
        return in->reason.n > 0 && give_line(in, p, false);
    while (tokens_pending(in->reader)) {
        if (tokens_next(in->reader, &ev, &e) != 0) {
            end_early(in, &e);
            return give_line(in, p, false);
        }
        switch (ev.type) {
        case TOKENS_EOF:
            in->ended = true;
            return false;
        case TOKENS_ATTRS:
            add_attrs(in, ev.text);
            break;
        case TOKENS_ID:
            add_id(in, ev.id, h);
            break;
        case TOKENS_END:
            judge_line(in, h);
            give_line(in, p, false);
            p->line = tokens_line(in->reader);
            return true;
        case TOKENS_FAILED:
            buf_add(&in->reason, ev.text.p, ev.text.n);
            if (!ev.text.n)
                buf_str(&in->reason, "failed, without a reason");
            return give_line(in, p, true);
        case TOKENS_RESULT:
            break;
        }
    }
    return false;
}
