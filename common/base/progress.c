/* A progress line: see progress.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

double seconds_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void show_count(struct progress *p, double now) {
    if (now - p->started < 1)
        return;
    fprintf(stderr, "\r%s: %" PRIu64 " %s, %.0f a second ", p->label, p->done, p->unit,
            (double)p->done / (now - p->started));
    fflush(stderr);
    p->shown = now;
}

static void show_share(struct progress *p, double now) {
    double share = p->total ? (double)p->done / (double)p->total : 1;
    double elapsed = now - p->started;
    enum { WIDTH = 30 };
    char bar[WIDTH + 1];
    for (int i = 0; i < WIDTH; i++)
        bar[i] = i < (int)(share * WIDTH) ? '#' : '.';
    bar[WIDTH] = '\0';
    fprintf(stderr, "\r%s [%s] %3.0f %%  %.0f of %.0f MB, %.0f MB/s ", p->label, bar, share * 100,
            (double)p->done / 1e6, (double)p->total / 1e6,
            elapsed > 0 ? (double)p->done / 1e6 / elapsed : 0);
    fflush(stderr);
    p->shown = now;
}

void progress_start(struct progress *p, const char *label, uint64_t total_bytes) {
    *p = (struct progress){.label = label, .total = total_bytes, .on = isatty(STDERR_FILENO) == 1};
    p->started = p->on ? seconds_now() : 0;
}

void progress_start_count(struct progress *p, const char *label, const char *unit) {
    progress_start(p, label, 0);
    p->unit = unit;
}

void progress_add(struct progress *p, uint64_t n) {
    p->done += n;
    if (!p->on)
        return;
    double now = seconds_now();
    if (now - p->shown > 0.1)
        (p->unit ? show_count : show_share)(p, now);
}

void progress_clear(struct progress *p) {
    if (p->on && p->shown > 0)
        fputs("\r\033[K", stderr);
}

void progress_end(struct progress *p) {
    progress_clear(p);
    p->on = false;
}
