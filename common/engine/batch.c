/* Filling a batch: see batch.h. The order of rows decides which client waits. It does not change
 * results: a row's result does not depend on the other rows.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "engine/batch.h"

#include <stdlib.h>

#include "base/mem.h"

void batch_init(struct batch *b, size_t max_rows, size_t max_want, size_t max_parts) {
    *b = (struct batch){.max_rows = max_rows, .max_want = max_want};
    b->rows = xcalloc(max_rows, sizeof *b->rows);
    b->parts = xcalloc(max_parts, sizeof *b->parts);
    b->order = xcalloc(max_parts, sizeof *b->order);
    b->share = xcalloc(max_parts, sizeof *b->share);
    b->count = xcalloc(max_parts + 1, sizeof *b->count);
}

void batch_free(struct batch *b) {
    free(b->rows);
    free(b->parts);
    free(b->order);
    free(b->share);
    free(b->count);
    *b = (struct batch){0};
}

static uint32_t left_of(const struct seq_job *j) {
    return j->n_ids - j->done;
}

static bool is_short(const struct seq_job *j) {
    return !j->is_prompt && left_of(j) <= BATCH_SHORT;
}

/* The number of rows that want logits among the next n rows of j. */
static uint32_t wanted(const struct seq_job *j, uint32_t n) {
    uint32_t before = j->n_ids - j->want, end = j->done + n;
    return end <= before ? 0 : end - (j->done > before ? j->done : before);
}

/* n, or fewer rows where n rows would want more logits than most_want. */
static uint32_t cut_to_want(const struct seq_job *j, uint32_t n, size_t most_want) {
    uint32_t want = wanted(j, n);
    return want > most_want ? n - (want - (uint32_t)most_want) : n;
}

/* The next n rows of a sequence's first job. */
static void add_part(struct batch *b, const struct seq *s, uint32_t n) {
    const struct seq_job *j = s->jobs;
    uint32_t before = j->n_ids - j->want;
    struct batch_part *p = &b->parts[b->n_parts++];
    *p = (struct batch_part){.slot = s->slot, .n_rows = n, .n_want = wanted(j, n)};
    for (uint32_t i = j->done; i < j->done + n; i++)
        b->rows[b->n_rows++] =
            (struct row){.slot = s->slot, .pos = j->pos + i, .id = j->ids[i], .want = i >= before};
    b->n_want += p->n_want;
}

static const struct seq *queued(const struct seqs *q, uint32_t at) {
    return &q->seq[q->queue[at]];
}

/* The sequence runs a part of a prompt or of a long request in this step, if there is room. */
static bool is_long(const struct seq *s) {
    return !s->client->held && !is_short(s->jobs);
}

/* Lists the long ones of the run queue in b->order, and returns their number. The turn of a
 * sequence is the number of its client's sequences before it; the list is sorted by turn, and by
 * place in the queue where turns are equal. This is a counting sort; share serves as turns. */
static size_t order_by_turn(struct batch *b, const struct seqs *q) {
    size_t n_long = 0;
    for (uint32_t i = 0; i < q->n_queue; i++) {
        queued(q, i)->client->turn = 0;
        b->count[i + 1] = 0;
    }
    for (uint32_t i = 0; i < q->n_queue; i++) {
        if (!is_long(queued(q, i)))
            continue;
        n_long++;
        b->share[i] = queued(q, i)->client->turn++;
        b->count[b->share[i] + 1]++;
    }
    b->count[0] = 0;
    for (uint32_t i = 0; i < q->n_queue; i++)
        b->count[i + 1] += b->count[i];
    for (uint32_t i = 0; i < q->n_queue; i++)
        if (is_long(queued(q, i)))
            b->order[b->count[b->share[i]]++] = i;
    return n_long;
}

/* Deals n rows to the clients of the first n_clients of b->order, into client->dealt. Those that
 * get one more than others change from step to step. */
static void deal_rows(struct batch *b, const struct seqs *q, size_t n, size_t n_clients) {
    for (size_t k = 0; k < n_clients; k++) {
        size_t turn = (k + b->n_built) % n_clients;
        queued(q, b->order[k])->client->dealt =
            (uint32_t)(n / n_clients + (turn < n % n_clients ? 1 : 0));
    }
}

/* Adds up to n rows to the share of queue entry i; returns how many. */
static uint32_t add_share(struct batch *b, const struct seqs *q, uint32_t i, uint32_t n) {
    uint32_t most = left_of(queued(q, i)->jobs) - b->share[i];
    n = most < n ? most : n;
    b->share[i] += n;
    return n;
}

/* Shares out n rows among the long ones of the run queue, into b->share; see batch.h. */
static void share_rows(struct batch *b, const struct seqs *q, size_t n) {
    size_t n_long = order_by_turn(b, q), n_clients = 0;
    while (n_clients < n_long && b->share[b->order[n_clients]] == 0)
        n_clients++;
    deal_rows(b, q, n, n_clients);
    for (size_t k = 0; k < n_long; k++) {
        struct engine_client *c = queued(q, b->order[k])->client;
        bool is_last = b->share[b->order[k]] + 1 == c->turn;
        b->share[b->order[k]] = 0;
        uint32_t given = add_share(b, q, b->order[k], is_last ? c->dealt : (c->dealt + 1) / 2);
        c->dealt -= given;
        n -= given;
    }
    for (size_t k = 0; k < n_long; k++) { // rows that shorter ones of the client did not need
        struct engine_client *c = queued(q, b->order[k])->client;
        uint32_t given = add_share(b, q, b->order[k], c->dealt);
        c->dealt -= given;
        n -= given;
    }
    for (size_t k = 0; k < n_long && n > 0; k++) // rows that other clients did not need
        n -= add_share(b, q, b->order[k], (uint32_t)n);
}

bool batch_any(const struct seqs *q) {
    for (uint32_t i = 0; i < q->n_queue; i++)
        if (!queued(q, i)->client->held)
            return true;
    return false;
}

void batch_count(const struct seqs *q, size_t *short_rows, size_t *n_long) {
    *short_rows = *n_long = 0;
    for (uint32_t i = 0; i < q->n_queue; i++) {
        const struct seq_job *j = queued(q, i)->jobs;
        if (queued(q, i)->client->held)
            continue;
        if (is_short(j))
            *short_rows += left_of(j);
        else
            ++*n_long;
    }
}

void batch_build(struct batch *b, const struct seqs *q, size_t prompt_rows) {
    b->n_rows = b->n_want = b->n_parts = b->n_prompt_rows = 0;
    b->n_built++;
    bool any_long = false;
    for (uint32_t i = 0; i < q->n_queue; i++) {
        const struct seq *s = queued(q, i);
        if (s->client->held)
            continue;
        if (!is_short(s->jobs))
            any_long = true;
        else if (b->n_rows + left_of(s->jobs) <= b->max_rows &&
                 b->n_want + s->jobs->want <= b->max_want)
            add_part(b, s, left_of(s->jobs));
    }
    if (!any_long)
        return;
    size_t room = b->max_rows - b->n_rows;
    share_rows(b, q, room < prompt_rows ? room : prompt_rows);
    for (uint32_t i = 0; i < q->n_queue; i++) {
        const struct seq *s = queued(q, i);
        if (!is_long(s))
            continue;
        uint32_t n = cut_to_want(s->jobs, b->share[i], b->max_want - b->n_want);
        if (n == 0)
            continue;
        add_part(b, s, n);
        b->n_prompt_rows += n;
    }
}
