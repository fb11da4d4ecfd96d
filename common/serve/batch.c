/* Filling a batch: see batch.h. The order of rows decides who waits, never what comes out: a row's
 * result does not depend on the others.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "serve/batch.h"

#include <stdlib.h>

#include "base/mem.h"

void batch_init(struct batch *b, size_t max_rows, size_t max_want, size_t max_parts) {
    *b = (struct batch){.max_rows = max_rows, .max_want = max_want};
    b->rows = xcalloc(max_rows, sizeof *b->rows);
    b->parts = xcalloc(max_parts, sizeof *b->parts);
    b->share = xcalloc(max_parts, sizeof *b->share);
}

void batch_free(struct batch *b) {
    free(b->rows);
    free(b->parts);
    free(b->share);
    *b = (struct batch){0};
}

static uint32_t left_of(const struct job *j) {
    return j->n_ids - j->done;
}

static bool is_short(const struct job *j) {
    return !j->is_prompt && left_of(j) <= BATCH_SHORT;
}

/* How many of the next n rows of j want logits. */
static uint32_t wanted(const struct job *j, uint32_t n) {
    uint32_t before = j->n_ids - j->want, end = j->done + n;
    return end <= before ? 0 : end - (j->done > before ? j->done : before);
}

/* n, or fewer rows where that many would want more logits than most_want. */
static uint32_t cut_to_want(const struct job *j, uint32_t n, size_t most_want) {
    uint32_t want = wanted(j, n);
    return want > most_want ? n - (want - (uint32_t)most_want) : n;
}

/* The next n rows of a sequence's first job. */
static void add_part(struct batch *b, const struct seq *s, uint32_t n) {
    const struct job *j = s->jobs;
    uint32_t before = j->n_ids - j->want;
    struct part *p = &b->parts[b->n_parts++];
    *p = (struct part){.slot = s->slot, .n_rows = n, .n_want = wanted(j, n)};
    for (uint32_t i = j->done; i < j->done + n; i++)
        b->rows[b->n_rows++] =
            (struct row){.slot = s->slot, .pos = j->pos + i, .id = j->ids[i], .want = i >= before};
    b->n_want += p->n_want;
}

/* Deals `left` rows to the long ones of the queue, into b->share; see batch.h. */
static void deal(struct batch *b, const struct seqs *q, size_t n_long, size_t left) {
    for (uint32_t i = 0; i < q->n_queue; i++) {
        const struct job *j = q->seq[q->queue[i]].jobs;
        b->share[i] = 0;
        if (is_short(j))
            continue;
        size_t half = --n_long == 0 ? left : (left + 1) / 2;
        b->share[i] = left_of(j) < half ? left_of(j) : (uint32_t)half;
        left -= b->share[i];
    }
    for (uint32_t i = 0; i < q->n_queue && left > 0; i++) { // what the short ones did not need
        const struct job *j = q->seq[q->queue[i]].jobs;
        size_t more = is_short(j) ? 0 : left_of(j) - b->share[i];
        more = more < left ? more : left;
        b->share[i] += (uint32_t)more;
        left -= more;
    }
}

void batch_count(const struct seqs *q, size_t *short_rows, size_t *n_long) {
    *short_rows = *n_long = 0;
    for (uint32_t i = 0; i < q->n_queue; i++) {
        const struct job *j = q->seq[q->queue[i]].jobs;
        if (is_short(j))
            *short_rows += left_of(j);
        else
            ++*n_long;
    }
}

void batch_build(struct batch *b, const struct seqs *q, size_t prompt_rows) {
    b->n_rows = b->n_want = b->n_parts = b->n_prompt_rows = 0;
    size_t n_long = 0;
    for (uint32_t i = 0; i < q->n_queue; i++) {
        const struct seq *s = &q->seq[q->queue[i]];
        if (!is_short(s->jobs))
            n_long++;
        else if (b->n_rows + left_of(s->jobs) <= b->max_rows &&
                 b->n_want + s->jobs->want <= b->max_want)
            add_part(b, s, left_of(s->jobs));
    }
    size_t room = b->max_rows - b->n_rows;
    if (n_long > 0)
        deal(b, q, n_long, room < prompt_rows ? room : prompt_rows);
    for (uint32_t i = 0; i < q->n_queue && n_long > 0; i++) {
        const struct seq *s = &q->seq[q->queue[i]];
        uint32_t n = cut_to_want(s->jobs, b->share[i], b->max_want - b->n_want);
        if (n == 0)
            continue;
        add_part(b, s, n);
        b->n_prompt_rows += n;
    }
}
