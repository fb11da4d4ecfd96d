/* The size of prompts' chunks: see pace.h.
 *
 * Whatever else runs on the machine makes a step longer, never shorter; so what is learned follows
 * a shorter time quickly and a longer one slowly. Chunks at most double from one step to the next:
 * nothing is known of longer ones.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "serve/chunk.h"

static const double most_steps =
    2.0; // a step with rows of prompts, in steps without: some take longer than others
static const double alone_seconds =
    1.0; // a step that nobody waits for yet: new prompts may come meanwhile

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
    // Before anything is known of rows beside others: each of those alone bore a part of reading
    // the weights.
    double row = p->row > 0 ? p->row : p->alone,
           fits = row > 0 ? (most_steps - 1) * chunk_step(p, n_others) / row : 1;
    // Having any prompt beside others may cost something, which a smaller chunk spreads over fewer
    // rows, so that it seems that fewer still would fit: what the last step left room for is tried.
    if (p->room > row && fits < (double)p->last + 1)
        fits = (double)p->last + 1;
    return at_most(fits, p->last > 0 && 2 * p->last < most ? 2 * p->last : most);
}
