/* Log-probabilities of the ids of one sequence: from the sampler's thread, which sees the logits,
 * to the answer's thread.
 *
 * They are those of the model: softmax of the logits, before temperature and other parameters.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef SERVE_SCORES_H
#define SERVE_SCORES_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "serve/body.h"
#include "stages/sample.h"

struct score {
    double logprob; // natural
    uint32_t n_top;
    struct {
        uint32_t id;
        double logprob;
    } top[BODY_MAX_TOP]; // the likeliest ids, the likeliest first
};

struct scores {
    pthread_mutex_t lock;
    uint32_t n_top;  // alternatives that are wanted
    uint32_t first;  // position of the first id that has a score
    struct score *s; // [n] of cap
    size_t n, cap;
};

void scores_init(struct scores *s, uint32_t n_top);
void scores_free(struct scores *s);

/* Takes rows of the sequence, in order. ctx is a struct scores; for sample_job.saw. */
void scores_take(void *ctx, const struct sample_rows *rows);

/* The score of the id at a position; false if it has none, as the first id of a prompt. */
bool scores_get(struct scores *s, uint32_t pos, struct score *out);

#endif
