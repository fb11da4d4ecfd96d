/* The size of prompts' chunks: see chunk.h.
 *
 * Other processes make a step longer, never shorter. So a learned time follows a shorter
 * measurement quickly and a longer one slowly. A chunk is at most twice the last one, because the
 * time of longer ones is not known.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "engine/chunk.h"

/* Limit of a step with rows of prompts, in steps without. Some rows take longer than others, so a
 * real step may take three. */
static const double most_steps = 2.0;
/* Limit of a step of prompts only: a new prompt that comes during the step waits for its end. */
static const double alone_seconds = 1.0;

static size_t kind_of(size_t n_rows) {
    size_t kind = 0;
    while (((size_t)1 << kind) < n_rows && kind + 1 < CHUNK_KINDS)
        kind++;
    return kind;
}

static void learn(double *known, double seen, double fall, double rise) {
    *known = *known == 0 ? seen : *known + (seen - *known) * (seen < *known ? fall : rise);
}

double chunk_step(const struct chunk *p, size_t n_rows) {
    size_t kind = kind_of(n_rows), below = kind + 1;
    while (below-- > 0)
        if (p->step[below] > 0)
            return p->step[below];
    while (kind + 1 < CHUNK_KINDS && p->step[kind] == 0)
        kind++;
    return p->step[kind];
}

void chunk_note(struct chunk *p, size_t n_prompt_rows, size_t n_others, double seconds) {
    if (n_prompt_rows == 0) {
        learn(&p->step[kind_of(n_others)], seconds, 0.5, 0.125);
        p->since = 0;
        return;
    }
    double more = seconds - chunk_step(p, n_others), least = seconds / 1024;
    if (n_others == 0)
        learn(&p->alone, seconds / (double)n_prompt_rows, 0.5, 0.5);
    else
        learn(&p->row, (more > least ? more : least) / (double)n_prompt_rows, 0.25, 0.25);
    p->last = n_prompt_rows;
    p->room = most_steps * chunk_step(p, n_others) - seconds;
    p->since++;
}

static size_t at_most(double fits, size_t most) {
    return fits < 1 ? 1 : fits < (double)most ? (size_t)fits : most;
}

size_t chunk_rows(const struct chunk *p, size_t n_others, bool waited_for, size_t most) {
    if (!waited_for) {
        size_t limit = 2 * p->last > CHUNK_FIRST ? 2 * p->last : CHUNK_FIRST;
        return at_most(p->alone > 0 ? alone_seconds / p->alone : CHUNK_FIRST,
                       limit < most ? limit : most);
    }
    if (n_others > 0 && (p->step[kind_of(n_others)] == 0 || p->since >= CHUNK_REMEASURE))
        return 0;
    // Until rows beside others have been measured, the time of a row alone is used. It is an upper
    // bound: it includes a part of reading the weights.
    double row = p->row > 0 ? p->row : p->alone,
           fits = row > 0 ? (most_steps - 1) * chunk_step(p, n_others) / row : 1;
    // A prompt beside others may have a fixed cost. A smaller chunk spreads it over fewer rows, so
    // that its rows seem slower and the next chunk would shrink again. So one more row than last
    // time is tried where the last step left room for it.
    if (p->room > row && fits < (double)p->last + 1)
        fits = (double)p->last + 1;
    return at_most(fits, p->last > 0 && 2 * p->last < most ? 2 * p->last : most);
}
