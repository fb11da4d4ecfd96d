/* Random numbers for tests, the same ones in every run.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TESTS_RANDOM_H
#define TESTS_RANDOM_H

#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"

static uint64_t random_state = 88172645463325252u;
static uint64_t random_bits(void) { // xorshift64 (Marsaglia 2003)
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}
static float random_float(void) { // [-1, 1)
    return (float)((double)(random_bits() >> 11) * 0x1p-52 - 1.0);
}
static float *random_floats(size_t n) {
    float *x = xcalloc(n ? n : 1, sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = random_float();
    return x;
}

#endif
