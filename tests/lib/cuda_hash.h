/* Writes down what kernels computed, so that two runs can be compared: tests/gpu/compare-hashes.sh.
 *
 * Where the environment has CUDA_TEST_HASHES=FILE, FILE is written anew, with a line for each
 * result: NAME SHAPE HASH.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TESTS_CUDA_HASH_H
#define TESTS_CUDA_HASH_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* n bytes that `name` computed. The shape is the number of the result in this program, a grid and
 * n: a test does the same in the same order on every device. */
static void cuda_hash(const char *name, unsigned x, unsigned y, const void *p, size_t n) {
    static FILE *out;
    static unsigned count;
    const char *path = getenv("CUDA_TEST_HASHES");
    if (!path || (!out && !(out = fopen(path, "w"))))
        return;
    uint64_t h = 0xcbf29ce484222325u; // FNV-1a, http://www.isthe.com/chongo/tech/comp/fnv/
    for (size_t i = 0; i < n; i++)
        h = (h ^ ((const unsigned char *)p)[i]) * 0x100000001b3u;
    fprintf(out, "%s %u:%ux%u:%zuB %016llx\n", name, ++count, x, y, n, (unsigned long long)h);
    fflush(out);
}

#endif
