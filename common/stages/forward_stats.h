/* What llm-forward -v prints at the end: how fast, how much memory, and where the time went.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef STAGES_FORWARD_STATS_H
#define STAGES_FORWARD_STATS_H

#include <stdint.h>

#include "engine/counters.h"
#include "model/model.h"

struct forward_stats {
    double started;     // seconds_now() when the program began
    double opened;      // seconds_now() when the model was open
    double writing;     // seconds spent writing frames
    double for_sampler; // seconds spent waiting while sequences were open
    double for_input;   // seconds spent waiting while none was
    int status_fd;      // forward_stats_open's
    uint64_t sequences; // prompts
    uint64_t failed;
    uint64_t written; // bytes
};

/* Opens what the report reads at the end, when files can no longer be opened: the process's memory
 * in /proc. -1 where the system has no such file. The caller closes it. */
int forward_stats_open(void);

/* To stderr, some lines. The shares of the time are those of one thread, and add up to all of it.
 */
void forward_stats_print(const struct forward_stats *st, const struct engine_counters *n,
                         const struct model *m);

#endif
