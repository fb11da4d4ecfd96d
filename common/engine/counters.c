/* Counting steps: see counters.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "engine/counters.h"

#include "engine/batch.h"

void counters_add(struct engine_counters *n, const struct batch *b, double seconds) {
    if (b->n_prompt_rows == 0) {
        n->decode += seconds;
        n->decode_rows += b->n_rows;
        n->decode_steps++;
        n->most_together = b->n_parts > n->most_together ? b->n_parts : n->most_together;
    } else {
        n->prefill += seconds;
        n->prefill_rows += b->n_prompt_rows;
        n->mixed_rows += b->n_rows - b->n_prompt_rows;
        n->prefill_steps++;
    }
}
