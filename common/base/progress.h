/* A progress line on stderr: only when stderr is a terminal, at most ten times a second.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BASE_PROGRESS_H
#define BASE_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
    const char *label; // not copied
    const char *unit;  // what is counted, not copied; NULL: bytes of a total
    uint64_t done, total;
    double started, shown; // seconds
    bool on;
};

void progress_start(struct progress *p, const char *label, uint64_t total_bytes);
/* Without a total: "LABEL: N UNIT, M a second", from the first second on. */
void progress_start_count(struct progress *p, const char *label, const char *unit);
void progress_add(struct progress *p, uint64_t n);
void progress_clear(struct progress *p); // before a message; the next addition may show it again
void progress_end(struct progress *p);   // clears the line

double seconds_now(void); // CLOCK_MONOTONIC

#endif
