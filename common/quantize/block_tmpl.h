/* One block of i4 for one scale: codes, and the sums that say how good they are. The including file
 * defines TARGET and NAME(f), and has struct levels and struct sums. Vectors are GNU C's, and every
 * sum has the same order on each instruction set.
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
    memcpy(out, &a, sizeof a);
    memcpy((char *)out + sizeof a, &b, sizeof b);
}

TARGET INLINE struct sums NAME(sums)(const float *x, const float *wx, const float *weight, size_t n,
                                     const struct levels *l, float inverse) {
    floats xq = {0}, qq = {0};
    for (size_t i = 0; i < n; i += LANES) {
        lanes t, q = l->first - (lanes){0};
        NAME(quotients)(x + i, inverse, &t);
        for (size_t k = 0; k + 1 < SEARCH_CODES; k++)
            q += (t > l->half[k]) & l->step[k];
        for (size_t j = 0; j < 2; j++) {
            shorts part;
            floats f, a, b;
            memcpy(&part, (const char *)&q + j * sizeof part, sizeof part);
            f = __builtin_convertvector(part, floats);
            memcpy(&a, wx + i + j * (LANES / 2), sizeof a);
            memcpy(&b, weight + i + j * (LANES / 2), sizeof b);
            xq += a * f;
            qq += b * f * f;
        }
    }
    float of[2][LANES / 2];
    memcpy(of[0], &xq, sizeof xq);
    memcpy(of[1], &qq, sizeof qq);
    return (struct sums){tree_sum(of[0], LANES / 2), tree_sum(of[1], LANES / 2)};
}

TARGET static struct sums NAME(sums_16)(const float *x, const float *wx, const float *weight,
                                        const struct levels *l, float inverse) {
    return NAME(sums)(x, wx, weight, 16, l, inverse);
}
TARGET static struct sums NAME(sums_32)(const float *x, const float *wx, const float *weight,
                                        const struct levels *l, float inverse) {
    return NAME(sums)(x, wx, weight, 32, l, inverse);
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
