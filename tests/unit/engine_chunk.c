/* engine/chunk against machines of known speed: a step with rows of a prompt may take three steps
 * without, whatever the machine, its noise, or the length of what came before; and prompts still
 * get on.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "../lib/check.h"

#include "engine/chunk.h"

/* What a step takes: reading the weights, each row past the first, and each row of a prompt for
 * what it sees. */
struct machine {
    double weights, row, seen;
    double noise; // most of it: 0.1 is up to a tenth more
    unsigned random;
};

static double step_of(struct machine *m, size_t n_prompt_rows, size_t n_others, size_t pos) {
    double seconds = m->weights + m->row * (double)(n_prompt_rows + n_others - 1) +
                     m->seen * (double)n_prompt_rows * (double)pos;
    m->random = m->random * 1103515245u + 12345u;
    return seconds * (1 + m->noise * (double)(m->random >> 16 & 0xff) / 256);
}

static void decode(struct chunk *p, struct machine *m, size_t n_others, int steps) {
    while (steps-- > 0)
        chunk_note(p, 0, n_others, step_of(m, 0, n_others, 0));
}

/* A prompt of n ids enters beside others. Returns the longest step, in steps without it; *steps:
 * how many it took. */
static double enter(struct chunk *p, struct machine *m, size_t n_others, size_t n, size_t *steps) {
    double longest = 0;
    *steps = 0;
    for (size_t done = 0, rows; done < n; done += rows, ++*steps) {
        rows = chunk_rows(p, n_others, true, 256);
        rows = rows < n - done ? rows : n - done;
        double seconds = step_of(m, rows, n_others, done);
        chunk_note(p, rows, n_others, seconds);
        longest = seconds > longest ? seconds : longest;
    }
    struct machine quiet = *m;
    quiet.noise = 0;
    return longest / step_of(&quiet, 0, n_others, 0);
}

static void others_wait_two_steps_at_most(void) {
    static const struct machine machines[] = {
        {9e-3, 1e-3, 0, 0, 1},      {9e-3, 0.6e-3, 1e-6, 0, 1},  {60e-3, 7e-3, 3e-6, 0.1, 2},
        {60e-3, 0.2e-3, 0, 0.2, 3}, {0.2, 0.1, 0, 0.1, 4},       {1e-3, 0, 0, 0.1, 5},
        {5.0, 0.4, 0, 0, 6},        {9e-3, 1e-3, 2e-6, 0.15, 7},
    };
    for (size_t i = 0; i < sizeof machines / sizeof *machines; i++)
        for (size_t n_others = 1; n_others <= 64; n_others *= 4) {
            struct machine m = machines[i];
            struct chunk p = {0};
            size_t steps, rows = chunk_rows(&p, 0, false, 256);
            CHECK_INT(rows, CHUNK_FIRST);
            chunk_note(&p, 5, 0, 4 * step_of(&m, 5, 0, 0)); // the first prompt, with cold pages
            decode(&p, &m, n_others, 5);
            double longest = enter(&p, &m, n_others, 1024, &steps);
            CHECK_MSG(longest <= 3, "machine %zu, %zu others: %.2f steps", i, n_others, longest);
            // About as many rows as two steps hold, whole ones, but for the first few steps.
            double rows_fit =
                m.row > 0 && m.seen == 0 ? 0.75 * step_of(&m, 0, n_others, 0) / m.row - 1 : 1;
            double enough = 1024 / (rows_fit > 1 ? rows_fit : 1) + 20;
            CHECK_MSG((double)steps <= enough,
                      "machine %zu, %zu others: %zu steps, %.0f are enough", i, n_others, steps,
                      enough);
        }
}

static void nobody_waits_for_large_chunks(void) {
    struct machine m = {9e-3, 1e-3, 0, 0, 1};
    struct chunk p = {0};
    size_t rows = chunk_rows(&p, 0, false, 256);
    CHECK_INT(chunk_rows(&p, 0, false, 40), 40);
    chunk_note(&p, rows, 0, step_of(&m, rows, 0, 0));
    CHECK_INT(chunk_rows(&p, 0, false, 256), 256);
    m = (struct machine){1.0, 0.1, 0, 0, 1}; // a slow one: new prompts may come within the second
    p = (struct chunk){0};
    for (int i = 0; i < 10; i++) {
        rows = chunk_rows(&p, 0, false, 256);
        chunk_note(&p, rows, 0, step_of(&m, rows, 0, 0));
    }
    CHECK_MSG(rows <= 10 && rows > 0, "%zu rows", rows);
    // Back from small pieces to large ones at once.
    m = (struct machine){9e-3, 1e-3, 0, 0, 1};
    p = (struct chunk){0};
    chunk_note(&p, 128, 0, step_of(&m, 128, 0, 0));
    decode(&p, &m, 1, 3);
    chunk_note(&p, 8, 1, step_of(&m, 8, 1, 0));
    CHECK(chunk_rows(&p, 1, true, 256) <= 16);
    CHECK_INT(chunk_rows(&p, 0, false, 256), CHUNK_FIRST);
}

static void a_step_alone_is_measured_first_and_now_and_then(void) {
    struct machine m = {9e-3, 1e-3, 0, 0, 1};
    struct chunk p = {0};
    CHECK_INT(chunk_rows(&p, 1, true, 256), 0);
    CHECK(chunk_rows(&p, 0, true, 256) > 0); // nothing else could run
    decode(&p, &m, 1, 1);
    CHECK(chunk_rows(&p, 1, true, 256) > 0);
    CHECK_INT(chunk_rows(&p, 16, true, 256), 0); // of so many, nothing is known
    size_t n = 0;
    for (size_t rows; (rows = chunk_rows(&p, 1, true, 256)) > 0 && n < 1000; n++)
        chunk_note(&p, rows, 1, step_of(&m, rows, 1, 0));
    CHECK_INT(n, CHUNK_REMEASURE);
    decode(&p, &m, 1, 1);
    CHECK(chunk_rows(&p, 1, true, 256) > 0);
}

static void one_slow_step_changes_little(void) {
    struct machine m = {9e-3, 1e-3, 0, 0, 1};
    struct chunk p = {0};
    size_t steps;
    decode(&p, &m, 1, 5);
    enter(&p, &m, 1, 300, &steps);
    size_t before = chunk_rows(&p, 1, true, 256);
    chunk_note(&p, 0, 1, 36e-3); // somebody else had the machine
    CHECK(chunk_rows(&p, 1, true, 256) <= before + before / 2);
    decode(&p, &m, 1, 3);
    chunk_note(&p, before, 1, 36e-3);
    CHECK(chunk_rows(&p, 1, true, 256) >= before / 2);
}

int main(void) {
    RUN(others_wait_two_steps_at_most);
    RUN(nobody_waits_for_large_chunks);
    RUN(a_step_alone_is_measured_first_and_now_and_then);
    RUN(one_slow_step_changes_little);
    return check_done();
}
