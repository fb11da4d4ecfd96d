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
#include "stages/answer_text.h"
#include "wire/tokens.h"

enum { MAX_AHEAD = 1 << 20 }; // how far a sequence may be past the first unfinished one

static void answer_free(struct answer *s) {
    if (!s)
        return;
    buf_free(&s->attrs);
    answer_text_free(s->text);
    free(s->ids);
    free(s->reason);
    free(s);
}

void answers_free(struct answers *a) {
    for (size_t i = 0; i < a->n; i++)
        answer_free(a->items[i]);
    free(a->items);
    a->items = NULL;
    a->n = a->cap = 0;
}

void answers_add_ids(struct answer *s, const uint32_t *ids, size_t n) {
    if (s->n + n > s->cap) {
        s->cap = s->n + n + s->cap / 2 + 64;
        s->ids = xreallocarray(s->ids, s->cap, sizeof *s->ids);
    }
    if (n)
        memcpy(s->ids + s->n, ids, n * sizeof *ids);
    s->n += n;
}

void answers_fail(struct answer *s, struct str reason) {
    s->state = ANSWER_FAILED;
    s->reason = str_dup(reason);
}

struct answer *answers_find(const struct answers *a, uint32_t number) {
    return number >= a->first && number - a->first < a->n ? a->items[number - a->first] : NULL;
}

struct answer *answers_open(struct answers *a, uint32_t number, const uint32_t *ids, size_t n_ids,
                            struct str attrs, struct err *e) {
    size_t at = number - a->first;
    if (number < a->first || (at < a->n && a->items[at])) {
        err_set(e, EXIT_DATA, "sequence %" PRIu32 " is opened twice", number);
        return NULL;
    }
    if (at >= MAX_AHEAD) {
        err_set(e, EXIT_DATA, "sequence %" PRIu32 " comes while %" PRIu32 " is not finished",
                number, a->first);
        return NULL;
    }
    if (at >= a->cap) {
        a->cap = at + 1 + a->cap / 2;
        a->items = xreallocarray(a->items, a->cap, sizeof *a->items);
    }
    while (a->n <= at)
        a->items[a->n++] = NULL;
    struct answer *s = a->items[at] = xcalloc(1, sizeof *s);
    s->number = number;
    answers_add_ids(s, ids, n_ids);
    s->n_prompt = n_ids;
    s->n_written = a->echo ? 0 : n_ids;
    buf_add(&s->attrs, attrs.p, attrs.n);
    s->continues = n_ids > 1 || (n_ids == 1 && (a->bos < 0 || ids[0] != (uint32_t)a->bos));
    if (!a->echo && s->continues)
        attrs_set(&s->attrs, "continues", str_of("1"));
    return s;
}

static void begin_line(const struct answers *a, struct answer *s) {
    if (!s->begun)
        tokens_write_attrs(a->out, buf_view(&s->attrs));
    s->begun = true;
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
        tokens_write_failed(a->out, str_of(s->reason));
        return;
    }
    const char *finish = s->state == ANSWER_DONE ? s->finish : "failed";
    char result[128];
    int n = snprintf(result, sizeof result, "finish=%s prompt=%zu completion=%zu", finish,
                     s->n_prompt, s->n - s->n_prompt);
    tokens_write_end(a->out);
    tokens_write_result(a->out, (struct str){result, (size_t)n});
}

int answers_write(struct answers *a, struct err *e) {
    size_t done = 0;
    while (done < a->n && a->items[done]) {
        struct answer *s = a->items[done];
        write_ids(a, s);
        if (s->state == ANSWER_OPEN)
            break;
        write_end(a, s);
        answer_free(s);
        done++;
    }
    if (done) {
        memmove(a->items, a->items + done, (a->n - done) * sizeof *a->items);
        a->n -= done;
        a->first += (uint32_t)done;
    }
    return flush_out(a->out, e);
}
