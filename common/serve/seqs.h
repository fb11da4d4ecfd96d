/* The open sequences of llm-forward, and the requests that wait for each.
 *
 * A sequence has a number (its name on the wire), a slot (its place in the model's KV pages, and
 * its index here) and a queue of jobs, which are carried out in the order in which the requests
 * came. A request is checked when it comes, against the length that its sequence will have when all
 * earlier jobs are done; so a job that was taken can only fail for want of memory. What was asked
 * comes from another process and is not to be trusted.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef SERVE_SEQS_H
#define SERVE_SEQS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "wire/return.h"

enum {
    SEQ_NONE = 0x7fffffff, // no slot
    SEQ_MAX_JOBS = 1024,   // most requests that wait for one sequence
};

struct job {
    struct job *next;
    enum request_type type; // FORK is a job of the sequence that is copied
    bool is_prompt;         // its ids stand in the OPEN frame already
    uint32_t pos;           // EXTEND, FORK: ids that are kept or copied
    uint32_t want;          // logits of the last `want` ids
    uint32_t to;            // FORK: slot of the copy
    uint32_t done;          // ids[0 .. done) have been run
    uint32_t n_ids;
    uint32_t ids[];
};

struct seq {
    uint32_t number, slot;
    bool open;
    bool copying;    // a fork whose job has not come up
    bool runnable;   // its first job is an EXTEND with ids to run: it stands in the run queue
    bool unanswered; // logits have been sent, and no request has come since
    uint32_t len;    // ids it will have when all its jobs are done
    struct job *jobs, *last_job; // first to last
    uint32_t n_jobs;
    uint32_t chain; // next slot in the same hash bucket
};

struct seqs {
    struct seq *seq; // [n_slots], by slot
    uint32_t n_slots, n_open, n_unanswered;
    uint32_t vocab_size, context;
    uint32_t *free_slots; // [n_slots - n_open], a stack
    uint32_t *buckets;    // [n_buckets] slots by number
    uint32_t n_buckets;   // a power of two
    uint32_t *queue;      // [n_queue] slots of runnable sequences, longest waiting first
    uint32_t n_queue;
};

void seqs_init(struct seqs *q, uint32_t n_slots, uint32_t vocab_size, uint32_t context);
void seqs_free(struct seqs *q);

struct seq *seqs_find(const struct seqs *q, uint32_t number); // NULL where it is not open
/* An open, empty sequence; NULL where all slots are taken. number must not be open. */
struct seq *seqs_open(struct seqs *q, uint32_t number);
/* Forgets the sequence and its jobs. The caller has ended the copies that FORK jobs were to make.
 */
void seqs_close(struct seqs *q, struct seq *s);

/* The prompt of a new sequence, checked already; wants the logits of its last `want` ids. */
void seqs_prompt(struct seqs *q, struct seq *s, const uint32_t *ids, uint32_t n_ids, uint32_t want);

/* Checks a request and queues it. -1 with e set: what is wrong with it, and r->seq (open or not)
 * has failed. A fork opens r->seq. A close of what is not open is no error (it may have failed
 * meanwhile). */
int seqs_request(struct seqs *q, const struct request *r, struct err *e);

void seqs_pop_job(struct seqs *q, struct seq *s); // the first job is done
void seqs_set_runnable(struct seqs *q, struct seq *s, bool runnable);
void seqs_set_unanswered(struct seqs *q, struct seq *s, bool unanswered);

#endif
