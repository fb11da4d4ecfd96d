/* A stand-in for libsodium where tests are linked for another CPU, for which the library is seldom
 * installed.
 *
 * The hash is FNV-1a, spread over the length that is asked for: equal data have equal hashes, and
 * that is all which the tests of kernels and models need. Tests that know values of BLAKE2b are not
 * run with it. sodium_hex2bin always fails: nothing there reads a list of hashes.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <sodium.h>
#include <string.h>

#define FNV_BASIS 14695981039346656037u
#define FNV_PRIME 1099511628211u

static uint64_t add(uint64_t h, const unsigned char *in, unsigned long long n) {
    for (; n > 0; n--)
        h = (h ^ *in++) * FNV_PRIME;
    return h;
}

static void spread(unsigned char *out, size_t n, uint64_t h) {
    for (size_t i = 0; i < n; i++) {
        h = (h ^ i) * FNV_PRIME;
        out[i] = (unsigned char)(h >> 56);
    }
}

int sodium_init(void) {
    return 0;
}

int crypto_generichash(unsigned char *out, size_t n, const unsigned char *in,
                       unsigned long long n_in, const unsigned char *key, size_t n_key) {
    spread(out, n, add(add(FNV_BASIS, key, n_key), in, n_in));
    return 0;
}

int crypto_generichash_init(crypto_generichash_state *state, const unsigned char *key, size_t n_key,
                            size_t n) {
    (void)n;
    uint64_t h = add(FNV_BASIS, key, n_key);
    memcpy(state, &h, sizeof h);
    return 0;
}

int crypto_generichash_update(crypto_generichash_state *state, const unsigned char *in,
                              unsigned long long n_in) {
    uint64_t h;
    memcpy(&h, state, sizeof h);
    h = add(h, in, n_in);
    memcpy(state, &h, sizeof h);
    return 0;
}

int crypto_generichash_final(crypto_generichash_state *state, unsigned char *out, const size_t n) {
    uint64_t h;
    memcpy(&h, state, sizeof h);
    spread(out, n, h);
    return 0;
}

char *sodium_bin2hex(char *const hex, const size_t size, const unsigned char *const bin,
                     const size_t n) {
    for (size_t i = 0; i < n && 2 * i + 2 < size; i++) {
        hex[2 * i] = "0123456789abcdef"[bin[i] >> 4];
        hex[2 * i + 1] = "0123456789abcdef"[bin[i] & 15];
        hex[2 * i + 2] = '\0';
    }
    return hex;
}

int sodium_hex2bin(unsigned char *const bin, const size_t size, const char *const hex,
                   const size_t n_hex, const char *const ignore, size_t *const n,
                   const char **const end) {
    (void)bin, (void)size, (void)hex, (void)n_hex, (void)ignore, (void)n, (void)end;
    return -1;
}
