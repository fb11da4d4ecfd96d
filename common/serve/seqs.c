/* Sequences and their jobs: see seqs.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "serve/seqs.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/mem.h"

void seqs_init(struct seqs *q, uint32_t n_slots, uint32_t vocab_size, uint32_t context) {
    *q = (struct seqs){
        .n_slots = n_slots, .vocab_size = vocab_size, .context = context, .n_buckets = 16};
    while (q->n_buckets < n_slots)
        q->n_buckets *= 2;
    q->seq = xcalloc(n_slots, sizeof *q->seq);
    q->free_slots = xcalloc(n_slots, sizeof *q->free_slots);
    q->queue = xcalloc(n_slots, sizeof *q->queue);
    q->buckets = xcalloc(q->n_buckets, sizeof *q->buckets);
    for (uint32_t i = 0; i < n_slots; i++)
        q->free_slots[i] = n_slots - 1 - i; // slot 0 is taken first
    for (uint32_t i = 0; i < q->n_buckets; i++)
        q->buckets[i] = SEQ_NONE;
}

void seqs_free(struct seqs *q) {
    for (uint32_t i = 0; i < q->n_slots; i++)
        while (q->seq[i].jobs)
            seqs_pop_job(q, &q->seq[i]);
    free(q->seq);
    free(q->free_slots);
    free(q->queue);
    free(q->buckets);
    *q = (struct seqs){0};
}

static uint32_t *bucket_of(const struct seqs *q, uint32_t number) {
    return &q->buckets[number & (q->n_buckets - 1)];
}

struct seq *seqs_find(const struct seqs *q, uint32_t number) {
    uint32_t slot = *bucket_of(q, number);
    while (slot != SEQ_NONE && q->seq[slot].number != number)
        slot = q->seq[slot].chain;
    return slot == SEQ_NONE ? NULL : &q->seq[slot];
}

struct seq *seqs_open(struct seqs *q, uint32_t number) {
    if (q->n_open == q->n_slots)
        return NULL;
    uint32_t slot = q->free_slots[q->n_slots - ++q->n_open], *bucket = bucket_of(q, number);
    q->seq[slot] = (struct seq){.number = number, .slot = slot, .open = true, .chain = *bucket};
    *bucket = slot;
    return &q->seq[slot];
}

void seqs_close(struct seqs *q, struct seq *s) {
    while (s->jobs)
        seqs_pop_job(q, s);
    seqs_set_runnable(q, s, false);
    seqs_set_unanswered(q, s, false);
    uint32_t *link = bucket_of(q, s->number);
    while (*link != s->slot)
        link = &q->seq[*link].chain;
    *link = s->chain;
    s->open = false;
    q->free_slots[q->n_slots - q->n_open--] = s->slot;
}

static struct job *add_job(struct seq *s, enum request_type type, uint32_t n_ids) {
    struct job *j = xmalloc(sizeof *j + n_ids * sizeof *j->ids);
    *j = (struct job){.type = type, .n_ids = n_ids};
    if (s->jobs)
        s->last_job->next = j;
    else
        s->jobs = j;
    s->last_job = j;
    s->n_jobs++;
    return j;
}

void seqs_pop_job(struct seqs *q, struct seq *s) {
    struct job *j = s->jobs;
    (void)q;
    s->jobs = j->next;
    s->n_jobs--;
    free(j);
}

static void add_extend(struct seq *s, uint32_t pos, const uint32_t *ids, uint32_t n_ids,
                       uint32_t want, bool is_prompt) {
    struct job *j = add_job(s, REQUEST_EXTEND, n_ids);
    if (n_ids)
        memcpy(j->ids, ids, n_ids * sizeof *ids);
    j->pos = pos;
    j->want = want;
    j->is_prompt = is_prompt;
    s->len = pos + n_ids;
}

void seqs_prompt(struct seqs *q, struct seq *s, const uint32_t *ids, uint32_t n_ids,
                 uint32_t want) {
    (void)q;
    add_extend(s, 0, ids, n_ids, want, true);
}

void seqs_set_runnable(struct seqs *q, struct seq *s, bool runnable) {
    if (s->runnable == runnable)
        return;
    s->runnable = runnable;
    if (runnable) {
        q->queue[q->n_queue++] = s->slot;
        return;
    }
    uint32_t at = 0;
    while (q->queue[at] != s->slot)
        at++;
    memmove(q->queue + at, q->queue + at + 1, (--q->n_queue - at) * sizeof *q->queue);
}

void seqs_set_unanswered(struct seqs *q, struct seq *s, bool unanswered) {
    if (s->unanswered == unanswered)
        return;
    s->unanswered = unanswered;
    q->n_unanswered += unanswered ? 1 : -1u;
}

static int check_extend(const struct seqs *q, const struct seq *s, const struct request *r,
                        struct err *e) {
    if (r->pos > s->len)
        return err_set(e, EXIT_DATA, "position %" PRIu32 " is past the sequence's end at %" PRIu32,
                       r->pos, s->len);
    if (r->n_ids > q->context - r->pos)
        return err_set(e, EXIT_DATA,
                       "%" PRIu32 " ids at position %" PRIu32
                       " do not fit into the context of %" PRIu32,
                       r->n_ids, r->pos, q->context);
    if (r->want > r->n_ids)
        return err_set(e, EXIT_DATA,
                       "logits of %" PRIu32 " ids are wanted, but only %" PRIu32 " came", r->want,
                       r->n_ids);
    for (uint32_t i = 0; i < r->n_ids; i++)
        if (r->ids[i] >= q->vocab_size)
            return err_set(e, EXIT_DATA, "id %" PRIu32 " is not in the vocabulary of %" PRIu32,
                           r->ids[i], q->vocab_size);
    return 0;
}

static int request_fork(struct seqs *q, const struct request *r, struct err *e) {
    if (r->seq < RETURN_FIRST_FORK)
        return err_set(e, EXIT_DATA, "a fork's number is at least %u", (unsigned)RETURN_FIRST_FORK);
    if (seqs_find(q, r->seq))
        return err_set(e, EXIT_DATA, "the number is open already, and cannot become a fork");
    struct seq *from = seqs_find(q, r->from);
    if (!from)
        return err_set(e, EXIT_DATA, "sequence %" PRIu32 ", to be copied, is not open", r->from);
    if (r->pos > from->len)
        return err_set(e, EXIT_DATA,
                       "position %" PRIu32 " is past the end of sequence %" PRIu32 " at %" PRIu32,
                       r->pos, r->from, from->len);
    if (from->n_jobs == SEQ_MAX_JOBS)
        return err_set(e, EXIT_DATA, "more than %d requests wait for sequence %" PRIu32,
                       (int)SEQ_MAX_JOBS, r->from);
    struct seq *copy = seqs_open(q, r->seq);
    if (!copy)
        return err_set(e, EXIT_DATA, "no room for a copy: %" PRIu32 " sequences are open",
                       q->n_open);
    struct job *j = add_job(from, REQUEST_FORK, 0);
    j->pos = r->pos;
    j->to = copy->slot;
    copy->len = r->pos;
    copy->copying = true;
    return 0;
}

int seqs_request(struct seqs *q, const struct request *r, struct err *e) {
    if (r->type == REQUEST_FORK)
        return request_fork(q, r, e);
    struct seq *s = seqs_find(q, r->seq);
    if (!s)
        return r->type == REQUEST_CLOSE ? 0 : err_set(e, EXIT_DATA, "the sequence is not open");
    if (s->n_jobs == SEQ_MAX_JOBS)
        return err_set(e, EXIT_DATA, "more than %d requests wait for the sequence",
                       (int)SEQ_MAX_JOBS);
    seqs_set_unanswered(q, s, false);
    if (r->type == REQUEST_CLOSE) {
        add_job(s, REQUEST_CLOSE, 0);
        return 0;
    }
    if (check_extend(q, s, r, e) != 0)
        return -1;
    add_extend(s, r->pos, r->ids, r->n_ids, r->want, false);
    return 0;
}
