/* One block of i4: codes for one scale, and for several scales the sums that say how good they are.
 * The including file defines TARGET and NAME(f), and has struct levels and struct sums. Vectors are
 * GNU C's, and every sum has the same order on each instruction set.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */

/* Twice x / scale [LANES], rounded up at a half: a value is past the middle of two levels where
 * the result > half. Adding 1.5 * 2^23 leaves the integer in the low bits. */
TARGET INLINE void NAME(quotients)(const float *x, float inverse, lanes *out) {
    const float magic = 12582912.0f, most = 1024;
    floats v[2];
    ints t[2];
    memcpy(v, x, sizeof v);
    for (int i = 0; i < 2; i++) {
        v[i] = v[i] * (2 * inverse) + 0.5f;
        ints high = v[i] > most, low = v[i] < -most;
        v[i] = (floats)(((ints)v[i] & ~high & ~low) | ((ints)(most - (floats){0}) & high) |
                        ((ints)(-most - (floats){0}) & low));
        t[i] = (ints)(v[i] + magic);
    }
    shorts a = __builtin_convertvector(t[0], shorts), b = __builtin_convertvector(t[1], shorts);
    *out = __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}

/* The sums of TRIES scales: side by side, so that none waits for the steps of another. */
TARGET INLINE void NAME(sums)(const float *x, const float *wx, const float *weight, size_t n,
                              const struct levels *l, const float inverse[TRIES],
                              struct sums out[TRIES]) {
    floats xq[TRIES] = {{0}}, qq[TRIES] = {{0}};
    for (size_t i = 0; i < n; i += LANES) {
        lanes t[TRIES], q[TRIES];
        for (size_t c = 0; c < TRIES; c++) {
            NAME(quotients)(x + i, inverse[c], &t[c]);
            q[c] = l->first - (lanes){0};
        }
        for (size_t k = 0; k + 1 < SEARCH_CODES; k++)
            for (size_t c = 0; c < TRIES; c++)
                q[c] += (t[c] > l->half[k]) & l->step[k];
        floats a[2], b[2];
        memcpy(a, wx + i, sizeof a);
        memcpy(b, weight + i, sizeof b);
        for (size_t c = 0; c < TRIES; c++) {
            const shorts parts[2] = {
                __builtin_shufflevector(q[c], q[c], 0, 1, 2, 3, 4, 5, 6, 7),
                __builtin_shufflevector(q[c], q[c], 8, 9, 10, 11, 12, 13, 14, 15)};
            for (size_t j = 0; j < 2; j++) {
                floats f = __builtin_convertvector(parts[j], floats);
                xq[c] += a[j] * f;
                qq[c] += b[j] * f * f;
            }
        }
    }
    for (size_t c = 0; c < TRIES; c++) {
        float of[2][LANES / 2];
        memcpy(of[0], &xq[c], sizeof xq[c]);
        memcpy(of[1], &qq[c], sizeof qq[c]);
        out[c] = (struct sums){tree_sum(of[0], LANES / 2), tree_sum(of[1], LANES / 2)};
    }
}

TARGET static void NAME(sums_16)(const float *x, const float *wx, const float *weight,
                                 const struct levels *l, const float inverse[TRIES],
                                 struct sums out[TRIES]) {
    NAME(sums)(x, wx, weight, 16, l, inverse, out);
}
TARGET static void NAME(sums_32)(const float *x, const float *wx, const float *weight,
                                 const struct levels *l, const float inverse[TRIES],
                                 struct sums out[TRIES]) {
    NAME(sums)(x, wx, weight, 32, l, inverse, out);
}
TARGET static void NAME(sums_64)(const float *x, const float *wx, const float *weight,
                                 const struct levels *l, const float inverse[TRIES],
                                 struct sums out[TRIES]) {
    NAME(sums)(x, wx, weight, 64, l, inverse, out);
}

/* The codes of n values nearest to x. */
TARGET static void NAME(codes)(const float *x, size_t n, const struct levels *l, float inverse,
                               uint8_t *codes) {
    for (size_t i = 0; i < n; i += LANES) {
        lanes t, code = {0};
        NAME(quotients)(x + i, inverse, &t);
        for (size_t k = 0; k + 1 < SEARCH_CODES; k++)
            code -= t > l->half[k];
        for (size_t j = 0; j < LANES; j++)
            codes[i + j] = (uint8_t)code[j];
    }
}

/* The sums of a block of i8, in eight chains. What is past the row's end is 0. */
TARGET static struct sums NAME(sums_i8)(const float *x, const float *wx, const float *weight,
                                        float inverse) {
    enum { CHAINS = sizeof(floats) / sizeof(float) };
    const floats zero = {0}, most = zero + (float)I8_MOST, magic = zero + 12582912.0f;
    floats xq = zero, qq = zero;
    for (size_t i = 0; i < I8_BLOCK; i += CHAINS) {
        floats q, a, b;
        memcpy(&q, x + i, sizeof q);
        memcpy(&a, wx + i, sizeof a);
        memcpy(&b, weight + i, sizeof b);
        q *= inverse;
        q = EITHER(q < most, q, most);
        q = EITHER(q > -most, q, -most);
        q = (q + magic) - magic; // floats near 1.5 * 2^23 are whole numbers
        xq += a * q;
        qq += b * q * q;
    }
    float of[2][CHAINS];
    memcpy(of[0], &xq, sizeof xq);
    memcpy(of[1], &qq, sizeof qq);
    return (struct sums){tree_sum(of[0], CHAINS), tree_sum(of[1], CHAINS)};
}
