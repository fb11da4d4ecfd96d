/* What llm-forward -v says at the end: how fast, how much memory, and where the time went.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef SERVE_STATS_H
#define SERVE_STATS_H

#include <stddef.h>
#include <stdint.h>

#include "model/model.h"

struct stats {
    double started;      // seconds_now() when the program began; set by the caller
    double opened;       // when the model was open
    double first_logits; // when the first logits had been written; 0: none yet
    double prefill,
        decode; // seconds inside model_forward: steps with rows of prompts, and other steps
    double decode_whole;       // from step to step: decode, and the writing and waiting before it
    double parts[MODEL_PARTS]; // seconds of model_forward by part (model_times)
    double writing;            // seconds spent writing frames
    double for_sampler, for_input; // seconds spent waiting: while sequences are open, for requests;
                                   // else for prompts
    uint64_t prefill_rows;         // of prompts
    uint64_t reused;     // positions of prompts whose keys were kept from an earlier sequence
    uint64_t mixed_rows; // of other requests, in the same steps
    uint64_t decode_rows, decode_steps;
    uint64_t prefill_steps;
    uint64_t sequences, failed;
    uint64_t step_bytes;  // weights that a decode step must read
    uint64_t written;     // bytes to stdout
    size_t most_together; // sequences of the largest decode step
};

/* To stderr, some lines. The shares of the time are those of one thread, and add up to all of it.
 */
void stats_print(const struct stats *st);

#endif
