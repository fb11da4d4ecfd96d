/* Sequences and their jobs: see seqs.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "engine/seqs.h"

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
            seqs_pop_job(&q->seq[i]);
    free(q->seq);
    free(q->free_slots);
    free(q->queue);
    free(q->buckets);
    *q = (struct seqs){0};
}

/* Numbers of one client, which mostly follow each other, get buckets that follow each other. */
static uint32_t *bucket_of(const struct seqs *q, const struct engine_client *c, uint32_t number) {
    uint32_t start = (uint32_t)((uintptr_t)c / sizeof *c) * 0x9e3779b1u;
    return &q->buckets[(start + number) & (q->n_buckets - 1)];
}

struct seq *seqs_find(const struct seqs *q, const struct engine_client *c, uint32_t number) {
    uint32_t slot = *bucket_of(q, c, number);
    while (slot != SEQ_NONE && (q->seq[slot].number != number || q->seq[slot].client != c))
        slot = q->seq[slot].chain;
    return slot == SEQ_NONE ? NULL : &q->seq[slot];
}

struct seq *seqs_open(struct seqs *q, struct engine_client *c, uint32_t number) {
    if (q->n_open == q->n_slots)
        return NULL;
    uint32_t slot = q->free_slots[q->n_slots - ++q->n_open], *bucket = bucket_of(q, c, number);
    q->seq[slot] = (struct seq){.client = c,
                                .number = number,
                                .slot = slot,
                                .open = true,
                                .chain = *bucket,
                                .born = q->n_born++};
    *bucket = slot;
    c->n_open++;
    return &q->seq[slot];
}

void seqs_close(struct seqs *q, struct seq *s) {
    while (s->jobs)
        seqs_pop_job(s);
    // The slot may soon be another sequence's, which the job must not overwrite.
    for (struct seq_job *j = s->copying ? q->seq[s->source].jobs : NULL; j; j = j->next)
        if (j->type == ENGINE_FORK && j->to == s->slot)
            j->to = SEQ_NONE;
    seqs_set_runnable(q, s, false);
    seqs_set_unanswered(q, s, false);
    seqs_set_waits(q, s, false);
    seqs_set_paused(q, s, false);
    uint32_t *link = bucket_of(q, s->client, s->number);
    while (*link != s->slot)
        link = &q->seq[*link].chain;
    *link = s->chain;
    s->open = false;
    s->client->n_open--;
    q->free_slots[q->n_slots - q->n_open--] = s->slot;
}

static struct seq_job *add_job(struct seq *s, enum engine_request_type type, uint32_t n_ids) {
    struct seq_job *j = xmalloc(sizeof *j + n_ids * sizeof *j->ids);
    *j = (struct seq_job){.type = type, .n_ids = n_ids};
    if (s->jobs)
        s->last_job->next = j;
    else
        s->jobs = j;
    s->last_job = j;
    s->n_jobs++;
    return j;
}

void seqs_pop_job(struct seq *s) {
    struct seq_job *j = s->jobs;
    s->jobs = j->next;
    s->n_jobs--;
    free(j);
}

static void add_extend(struct seq *s, uint32_t pos, const uint32_t *ids, uint32_t n_ids,
                       uint32_t want, bool is_prompt) {
    struct seq_job *j = add_job(s, ENGINE_EXTEND, n_ids);
    if (n_ids)
        memcpy(j->ids, ids, n_ids * sizeof *ids);
    j->pos = pos;
    j->want = want;
    j->is_prompt = is_prompt;
    j->len = s->len = pos + n_ids;
}

void seqs_prompt(struct seq *s, const uint32_t *ids, uint32_t n_ids, uint32_t want) {
    add_extend(s, 0, ids, n_ids, want, true);
}

void seqs_scored_prompt(struct seq *s, const uint32_t *ids, uint32_t n_ids, uint32_t from) {
    seqs_prompt(s, ids, n_ids - 1, n_ids - from);
    s->jobs->is_scored = true;
    s->jobs->len = n_ids;
    add_job(s, ENGINE_CLOSE, 0);
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

void seqs_set_waits(struct seqs *q, struct seq *s, bool waits) {
    if (s->waits == waits)
        return;
    s->waits = waits;
    q->n_waiting += waits ? 1 : -1u;
}

void seqs_set_paused(struct seqs *q, struct seq *s, bool paused) {
    if (s->paused == paused)
        return;
    s->paused = paused;
    q->n_paused += paused ? 1 : -1u;
}

void seqs_replay(struct seq *s, const uint32_t *ids, uint32_t n_ids) {
    struct seq_job *j = xmalloc(sizeof *j + n_ids * sizeof *j->ids);
    *j = (struct seq_job){.type = ENGINE_EXTEND,
                          .is_prompt = true,
                          .is_replay = true,
                          .n_ids = n_ids,
                          .len = n_ids,
                          .next = s->jobs};
    memcpy(j->ids, ids, n_ids * sizeof *ids);
    // The part of a request that has run already is in ids; its rotations are those of its end.
    if (s->jobs && s->jobs->type == ENGINE_EXTEND && s->jobs->done > 0)
        j->len = s->jobs->len;
    if (!s->jobs)
        s->last_job = j;
    s->jobs = j;
    s->n_jobs++;
}

/* Whether ids can follow position pos, and be asked for the logits of the last `want`. */
static int check_ids(const struct seqs *q, const struct engine_client *c, uint32_t pos,
                     const uint32_t *ids, uint32_t n_ids, uint32_t want, struct err *e) {
    uint32_t context = c->context && c->context < q->context ? c->context : q->context;
    if (n_ids > context - pos)
        return err_set(e, EXIT_DATA,
                       "%" PRIu32 " ids at position %" PRIu32
                       " do not fit into the context of %" PRIu32,
                       n_ids, pos, context);
    if (want > n_ids)
        return err_set(e, EXIT_DATA,
                       "logits of %" PRIu32 " ids are wanted, but only %" PRIu32 " came", want,
                       n_ids);
    for (uint32_t i = 0; i < n_ids; i++)
        if (ids[i] >= q->vocab_size)
            return err_set(e, EXIT_DATA, "id %" PRIu32 " is not in the vocabulary of %" PRIu32,
                           ids[i], q->vocab_size);
    return 0;
}

/* Whether the client may open one more sequence. */
static bool has_room(const struct seqs *q, const struct engine_client *c) {
    return q->n_open < q->n_slots && (c->max_open == 0 || c->n_open < c->max_open);
}

int seqs_check_prompt(const struct seqs *q, const struct engine_client *c, uint32_t number,
                      const uint32_t *ids, uint32_t n_ids, uint32_t want, struct err *e) {
    if (seqs_find(q, c, number))
        return err_set(e, EXIT_DATA, "the number is open already");
    if (n_ids == 0)
        return err_set(e, EXIT_DATA, "the prompt is empty");
    if (!has_room(q, c))
        return err_set(e, EXIT_DATA, "no room for a sequence: %" PRIu32 " are open", c->n_open);
    return check_ids(q, c, 0, ids, n_ids, want, e);
}

static int request_extend(struct seq *s, const struct seqs *q, const struct engine_request *r,
                          struct err *e) {
    if (r->pos > s->len)
        return err_set(e, EXIT_DATA, "position %" PRIu32 " is past the sequence's end at %" PRIu32,
                       r->pos, s->len);
    if (check_ids(q, s->client, r->pos, r->ids, r->n_ids, r->want, e) != 0)
        return -1;
    add_extend(s, r->pos, r->ids, r->n_ids, r->want, false);
    return 0;
}

static int request_fork(struct seqs *q, struct engine_client *c, const struct engine_request *r,
                        struct err *e) {
    if (r->seq < c->first_fork)
        return err_set(e, EXIT_DATA, "a fork's number is at least %" PRIu32, c->first_fork);
    if (seqs_find(q, c, r->seq))
        return err_set(e, EXIT_DATA, "the number is open already, and cannot become a fork");
    struct seq *from = seqs_find(q, c, r->from);
    if (!from)
        return err_set(e, EXIT_DATA, "sequence %" PRIu32 ", to be copied, is not open", r->from);
    if (r->pos > from->len)
        return err_set(e, EXIT_DATA,
                       "position %" PRIu32 " is past the end of sequence %" PRIu32 " at %" PRIu32,
                       r->pos, r->from, from->len);
    if (from->n_jobs == SEQ_MAX_JOBS)
        return err_set(e, EXIT_DATA, "more than %d requests wait for sequence %" PRIu32,
                       (int)SEQ_MAX_JOBS, r->from);
    struct seq *copy = has_room(q, c) ? seqs_open(q, c, r->seq) : NULL;
    if (!copy)
        return err_set(e, EXIT_DATA, "no room for a copy: %" PRIu32 " sequences are open",
                       c->n_open);
    struct seq_job *j = add_job(from, ENGINE_FORK, 0);
    j->pos = r->pos;
    j->to = copy->slot;
    copy->len = r->pos;
    copy->copying = true;
    copy->source = from->slot;
    return 0;
}

int seqs_request(struct seqs *q, struct engine_client *c, const struct engine_request *r,
                 struct err *e) {
    if (r->type == ENGINE_FORK)
        return request_fork(q, c, r, e);
    struct seq *s = seqs_find(q, c, r->seq);
    if (!s)
        return r->type == ENGINE_CLOSE ? 0 : err_set(e, EXIT_DATA, "the sequence is not open");
    if (s->n_jobs == SEQ_MAX_JOBS)
        return err_set(e, EXIT_DATA, "more than %d requests wait for the sequence",
                       (int)SEQ_MAX_JOBS);
    seqs_set_unanswered(q, s, false);
    if (r->type == ENGINE_EXTEND)
        return request_extend(s, q, r, e);
    add_job(s, ENGINE_CLOSE, 0);
    return 0;
}
