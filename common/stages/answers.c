/* Answers in order: see answers.h.
 *
 * A sequence that fails before its first new id becomes a "! reason" line, even if its prompt is
 * echoed. A sequence that fails later keeps its ids and ends with finish=failed. So nothing of a
 * prompt is written before the first new id.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "stages/answers.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/attrs.h"
#include "base/io.h"
#include "base/visible.h"
#include "stages/answer_text.h"
#include "wire/tokens.h"

enum {
    MAX_AHEAD = 1 << 20,   // how far a sequence may be past the first unfinished one
    MAX_WAITING = 1 << 30, // bytes of all answers, when another sequence is opened
};

/* Memory of s has grown, or has shrunk by -more. */
static void count_bytes(struct answers *a, struct answer *s, size_t more) {
    s->bytes += more;
    a->bytes += more;
}

static void answer_free(struct answers *a, struct answer *s) {
    if (!s)
        return;
    a->bytes -= s->bytes;
    if (s->params != a->params)
        free((void *)(uintptr_t)s->params);
    buf_free(&s->attrs);
    buf_free(&s->note);
    answer_text_free(s->text);
    free(s->ids);
    free(s->reason);
    free(s);
}

void answers_free(struct answers *a) {
    for (size_t i = 0; i < a->n; i++)
        answer_free(a, a->items[a->begin + i]);
    free(a->items);
    a->items = NULL;
    a->begin = a->n = a->cap = 0;
}

void answers_set_params(struct answers *a, struct answer *s, const struct sample_params *p) {
    size_t n;
    // Where they differ in padding alone, the copy is made for nothing.
    // NOLINTNEXTLINE(bugprone-suspicious-memory-comparison,cert-exp42-c,cert-flp37-c)
    if (memcmp(p, s->params, sizeof *p) != 0) {
        s->params = sample_params_copy(p, &n);
        count_bytes(a, s, n);
    }
}

void answers_add_ids(struct answers *a, struct answer *s, const uint32_t *ids, size_t n) {
    if (s->n + n > s->cap) {
        size_t cap = s->n + n + (s->n > 0 ? s->cap / 2 + 64 : 0); // a prompt alone may never grow
        count_bytes(a, s, (cap - s->cap) * sizeof *s->ids);
        s->cap = cap;
        s->ids = xreallocarray(s->ids, s->cap, sizeof *s->ids);
    }
    if (n)
        memcpy(s->ids + s->n, ids, n * sizeof *ids);
    s->n += n;
}

void answers_count_text(struct answers *a, struct answer *s) {
    size_t now = answer_text_bytes(s->text);
    count_bytes(a, s, now - s->text_bytes); // modulo 2^64 where it has become less
    s->text_bytes = now;
}

void answers_fail(struct answer *s, struct str reason) {
    s->state = ANSWER_FAILED;
    s->reason = str_dup(reason);
}

struct answer *answers_find(const struct answers *a, uint32_t number) {
    size_t at = number - a->first;
    return number >= a->first && at < a->n ? a->items[a->begin + at] : NULL;
}

/* Items for the next n sequences. */
static void make_room(struct answers *a, size_t n) {
    if (a->begin + n > a->cap) {
        a->cap = a->begin + n + a->cap / 2;
        a->items = xreallocarray(a->items, a->cap, sizeof *a->items);
    }
    while (a->n < n)
        a->items[a->begin + a->n++] = NULL;
}

struct answer *answers_open(struct answers *a, uint32_t number, const uint32_t *ids, size_t n_ids,
                            struct str attrs, struct err *e) {
    size_t at = number - a->first;
    if (number < a->first || answers_find(a, number)) {
        err_set(e, EXIT_DATA, "sequence %" PRIu32 " is opened twice", number);
        return NULL;
    }
    if (at >= MAX_AHEAD) {
        err_set(e, EXIT_DATA, "sequence %" PRIu32 " comes while %" PRIu32 " is not finished",
                number, a->first);
        return NULL;
    }
    if (a->bytes > MAX_WAITING && n_ids + attrs.n > 0) {
        err_set(e, EXIT_DATA,
                "sequence %" PRIu32 " comes while %" PRIu32
                " is not finished, and more than 1 GiB of answers wait for that",
                number, a->first);
        return NULL;
    }
    make_room(a, at + 1);
    struct answer *s = a->items[a->begin + at] = xcalloc(1, sizeof *s);
    s->number = number;
    s->params = a->params;
    count_bytes(a, s, sizeof *s);
    answers_add_ids(a, s, ids, n_ids);
    s->n_prompt = n_ids;
    s->n_written = a->echo ? 0 : n_ids;
    if (attrs.n > 0)
        buf_add(&s->attrs, attrs.p, attrs.n);
    s->continues = n_ids > 1 || (n_ids == 1 && (a->bos < 0 || ids[0] != (uint32_t)a->bos));
    if (!a->echo && s->continues)
        attrs_set(&s->attrs, "continues", str_of("1"));
    count_bytes(a, s, s->attrs.cap);
    return s;
}

static void begin_line(const struct answers *a, struct answer *s) {
    struct buf shown = {0};
    if (!s->begun && a->terminal && s->attrs.n) {
        visible_add(&shown, buf_view(&s->attrs), VISIBLE_LINE);
        tokens_write_attrs(a->out, buf_view(&shown));
    } else if (!s->begun) {
        tokens_write_attrs(a->out, buf_view(&s->attrs));
    }
    buf_free(&shown);
    s->begun = true;
}

static void write_failed(const struct answers *a, const struct answer *s) {
    struct buf shown = {0};
    if (a->terminal)
        visible_add(&shown, str_of(s->reason), VISIBLE_LINE);
    tokens_write_failed(a->out, a->terminal ? buf_view(&shown) : str_of(s->reason));
    buf_free(&shown);
}

/* Writes new ids. If another id will follow, so does the space that completes an id for its
 * reader. */
static void write_ids(const struct answers *a, struct answer *s) {
    if (s->n == s->n_prompt && s->state != ANSWER_DONE)
        return;
    begin_line(a, s);
    for (; s->n_written < s->n; s->n_written++) {
        tokens_write_id(a->out, s->ids[s->n_written], true);
        if (s->n_written + 1 < s->n || s->more)
            tokens_write_space(a->out);
    }
}

static void write_end(const struct answers *a, struct answer *s) {
    begin_line(a, s);
    if (s->state == ANSWER_FAILED && s->n == s->n_prompt) {
        write_failed(a, s);
        return;
    }
    const char *finish = s->state == ANSWER_DONE ? s->finish : "failed";
    struct buf result = {0};
    buf_fmt(&result, "finish=%s prompt=%zu completion=%zu", finish, s->n_prompt,
            s->n - s->n_prompt);
    if (s->note.n)
        buf_fmt(&result, " %.*s", (int)s->note.n, s->note.p);
    tokens_write_end(a->out);
    tokens_write_result(a->out, buf_view(&result));
    buf_free(&result);
}

int answers_write(struct answers *a, struct err *e) {
    while (a->n > 0 && a->items[a->begin]) {
        struct answer *s = a->items[a->begin];
        write_ids(a, s);
        if (s->state == ANSWER_OPEN)
            break;
        write_end(a, s);
        answer_free(a, s);
        a->begin++;
        a->n--;
        a->first++;
    }
    if (a->begin > a->n) { // at most one move for each item that was written
        memmove(a->items, a->items + a->begin, a->n * sizeof *a->items);
        a->begin = 0;
    }
    return flush_out(a->out, e);
}
