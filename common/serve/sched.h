/* The scheduler of llm-forward: prompts from its input and requests from the return path become
 * flat batches for model_forward, and what they give becomes frames of logits(5).
 *
 * One loop, one thread. Each step is one batch of all sequences that have ids to run: first those
 * with few (decode), whole; then prompts, in chunks. Sequences join and leave at every step.
 * Nothing waits that could run.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef SERVE_SCHED_H
#define SERVE_SCHED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "model/model.h"
#include "serve/stats.h"
#include "wire/logits.h"
#include "wire/return.h"

enum {
    SCHED_MAX_IN_FLIGHT = 4096,
    SCHED_MAX_CHUNK = 4096,
    SCHED_FORKS = 256, // slots beyond max_in_flight, for forks
};

struct sched_options {
    size_t max_in_flight; // prompts are taken from the input while fewer sequences are open
    size_t
        chunk; // rows of prompts in a step; 0: by what others wait for (pace.h), up to auto_chunk
    size_t auto_chunk; // device_prompt_rows of the model's device; 0: the CPU's
    bool all_logits;   // of every position of a prompt
    bool hidden;       // hidden states beside the logits
};

/* What model_open must be asked for. */
size_t sched_slots(const struct sched_options *o);
size_t sched_rows(const struct sched_options *o);

struct sched;

/* h (kept) is complete but for what the input's header line may add. ret may be NULL: sequences end
 * with their prompts. */
struct sched *sched_new(const struct sched_options *o, struct model *m, struct logits_header *h,
                        struct return_server *ret, int in_fd, const char *in_name, int out_fd);
void sched_free(struct sched *s);

/* Until all is done. 0, and *code says EXIT_DONE, EXIT_SOME_FAILED where a sequence failed, or why
 * the input ended early. -1 with e set: the stream to stdout is cut; where sched_reader_left,
 * because nobody reads it or asks any more. */
int sched_run(struct sched *s, int *code, struct err *e);
bool sched_reader_left(const struct sched *s);
struct stats *sched_stats(struct sched *s);

#endif
