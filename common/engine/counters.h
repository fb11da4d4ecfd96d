/* What an engine has done so far, and how long it took.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ENGINE_COUNTERS_H
#define ENGINE_COUNTERS_H

#include <stddef.h>
#include <stdint.h>

struct batch;

struct engine_counters {
    double first_rows;      // seconds_now() after the first logits were given out; 0: none yet
    double last_step;       // seconds_now() after the last step's results; at first, of the start
    double prefill, decode; // seconds in model_forward: steps with rows of prompts; other steps
    double decode_whole;    // decode, and the time between each such step and the step before it
    uint64_t prefill_rows;  // of prompts and long requests
    uint64_t mixed_rows;    // other rows in the same steps
    uint64_t prefill_steps;
    uint64_t decode_rows, decode_steps;
    uint64_t paused;      // times that a sequence was paused, or waited for memory
    uint64_t reused;      // positions of prompts that came from the prefix cache
    size_t most_together; // sequences of the largest decode step
};

/* The batch was run, in `seconds`. */
void counters_add(struct engine_counters *n, const struct batch *b, double seconds);

#endif
