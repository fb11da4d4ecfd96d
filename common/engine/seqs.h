/* The open sequences of an engine, and the jobs that wait for each.
 *
 * A sequence has a key (its client and a number that the client chose), a slot (its place in the
 * model's KV pages, and its index here) and a queue of jobs. Jobs are carried out in the order of
 * their requests. A request is checked when it comes, against the length that its sequence will
 * have after all earlier jobs. So a job that was accepted can only fail when memory runs out.
 *
 * Requests come from other processes and are not trusted.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ENGINE_SEQS_H
#define ENGINE_SEQS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "engine/engine.h"

enum {
    SEQ_NONE = 0x7fffffff, // no slot
    SEQ_MAX_JOBS = 1024,   // most jobs that wait for one sequence
};

struct seq_job {
    struct seq_job *next;
    enum engine_request_type type; // FORK is a job of the sequence that is copied
    bool is_prompt;
    bool is_scored; // a prompt of engine_score
    bool is_replay; // ids whose state was dropped while the sequence was paused
    uint32_t pos;   // EXTEND, FORK: ids that stay or are copied
    uint32_t want;  // logits of the last `want` ids
    uint32_t to;    // FORK: slot of the copy; SEQ_NONE once the copy has ended
    uint32_t done;  // ids[0 .. done) have been run
    uint32_t
        len; // EXTEND: of the sequence after it; of a scored prompt with the id that is not run
    uint32_t n_ids;
    uint32_t ids[];
};

struct seq {
    struct engine_client *client;
    uint32_t number, slot;
    bool open;
    bool copying;    // a fork whose job has not been carried out
    uint32_t source; // copying: the slot of the sequence that has this job
    bool runnable;   // its first job is an EXTEND with ids to run: it is in the run queue
    bool waits;      // its first job is a scored prompt, to run when the sequence in waits_for ends
    bool paused;     // runs nothing and holds no state until there is room
    uint64_t born;   // sequences that were opened before it
    struct prefix_salt salt;
    struct engine_reuse reuse; // of its prompt, so far
    bool unanswered;           // its client asks, has its logits, and has sent no request since
    uint32_t len;              // ids it will have after all its jobs
    struct seq_job *jobs, *last_job; // first to last
    uint32_t n_jobs;
    uint32_t waits_for; // a slot
    uint32_t chain;     // next slot in the same hash bucket
};

struct seqs {
    struct seq *seq; // [n_slots], by slot
    uint32_t n_slots, n_open, n_unanswered, n_waiting, n_paused;
    uint64_t n_born;
    uint32_t vocab_size, context;
    uint32_t *free_slots; // [n_slots - n_open], a stack
    uint32_t *buckets;    // [n_buckets] slots by key
    uint32_t n_buckets;   // a power of two
    uint32_t *queue;      // [n_queue] slots of runnable sequences, longest waiting first
    uint32_t n_queue;
};

void seqs_init(struct seqs *q, uint32_t n_slots, uint32_t vocab_size, uint32_t context);
void seqs_free(struct seqs *q);

/* NULL where it is not open. */
struct seq *seqs_find(const struct seqs *q, const struct engine_client *c, uint32_t number);
/* An open, empty sequence; NULL where all slots are taken. The key must not be open. */
struct seq *seqs_open(struct seqs *q, struct engine_client *c, uint32_t number);
/* Forgets the sequence and its jobs. The caller has ended the copies that its FORK jobs wait to
 * make. */
void seqs_close(struct seqs *q, struct seq *s);

/* Whether a prompt of a sequence that is not open can be run; -1 with e set: why not. */
int seqs_check_prompt(const struct seqs *q, const struct engine_client *c, uint32_t number,
                      const uint32_t *ids, uint32_t n_ids, uint32_t want, struct err *e);
/* The prompt of a new sequence, checked already; wants the logits of its last `want` ids. */
void seqs_prompt(struct seq *s, const uint32_t *ids, uint32_t n_ids, uint32_t want);
/* The same for engine_score, 0 < from < n_ids, and the job that closes the sequence after it. */
void seqs_scored_prompt(struct seq *s, const uint32_t *ids, uint32_t n_ids, uint32_t from);

/* Checks a request of c and queues it. -1 with e set: what is wrong with it, and r->seq (open or
 * not) has failed. A fork opens r->seq. A close of what is not open is no error: it may have failed
 * since it was sent. */
int seqs_request(struct seqs *q, struct engine_client *c, const struct engine_request *r,
                 struct err *e);

void seqs_pop_job(struct seq *s); // the first job is done
void seqs_set_runnable(struct seqs *q, struct seq *s, bool runnable);
void seqs_set_unanswered(struct seqs *q, struct seq *s, bool unanswered);
void seqs_set_waits(struct seqs *q, struct seq *s, bool waits);
void seqs_set_paused(struct seqs *q, struct seq *s, bool paused);

/* Puts a job before all others of s that runs ids [n_ids] again, from position 0. */
void seqs_replay(struct seq *s, const uint32_t *ids, uint32_t n_ids);

#endif
