/* For MemorySanitizer alone: what libraries that it has not compiled write to our memory.
 *
 * MSan learns from the compiler which bytes a program has written. PCRE2, utf8proc and libsodium
 * are the system's, so what they write would count as never written. The linker replaces each call
 * that writes to memory of ours by the function here (--wrap), which marks those bytes as written.
 * It also replaces preadv2, which clang's runtime does not know.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#define _GNU_SOURCE           // preadv2
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <sanitizer/msan_interface.h>
#include <sodium.h>
#include <string.h>
#include <sys/uio.h>
#include <utf8proc.h>

/* The library's function, and ours in its place. */
#define WRAP(type, name, parameters)                                                               \
    type __real_##name parameters;                                                                 \
    type __wrap_##name parameters;                                                                 \
    type __wrap_##name parameters

int __real_pcre2_pattern_info_8(const pcre2_code *code, uint32_t what, void *where);

WRAP(pcre2_code *, pcre2_compile_8,
     (PCRE2_SPTR pattern, PCRE2_SIZE n, uint32_t options, int *code, PCRE2_SIZE *offset,
      pcre2_compile_context *context)) {
    pcre2_code *p = __real_pcre2_compile_8(pattern, n, options, code, offset, context);
    size_t size = 0;
    if (p && __real_pcre2_pattern_info_8(p, PCRE2_INFO_SIZE, &size) == 0)
        __msan_unpoison(p, size); // pcre2_jit_compile compares parts of it with memcmp
    __msan_unpoison(code, sizeof *code);
    __msan_unpoison(offset, sizeof *offset);
    return p;
}

WRAP(int, pcre2_match_8,
     (const pcre2_code *code, PCRE2_SPTR text, PCRE2_SIZE n, PCRE2_SIZE start, uint32_t options,
      pcre2_match_data *data, pcre2_match_context *context)) {
    int rc = __real_pcre2_match_8(code, text, n, start, options, data, context);
    __msan_unpoison(pcre2_get_ovector_pointer(data),
                    2 * pcre2_get_ovector_count(data) * sizeof(PCRE2_SIZE));
    return rc;
}

WRAP(int, pcre2_pattern_info_8, (const pcre2_code *code, uint32_t what, void *where)) {
    int n = __real_pcre2_pattern_info_8(code, what, NULL); // the bytes that it writes
    int rc = __real_pcre2_pattern_info_8(code, what, where);
    if (rc == 0 && n > 0)
        __msan_unpoison(where, (size_t)n);
    return rc;
}

/* PCRE2 and the code that it compiles call back with a block on their own stack. The project has
 * one callback. */
static int (*callout)(pcre2_callout_block *, void *);

__attribute__((no_sanitize("memory"))) static int written_callout(pcre2_callout_block *b,
                                                                  void *data) {
    __msan_unpoison(b, sizeof *b);
    __msan_unpoison(b->offset_vector, 2 * b->capture_top * sizeof *b->offset_vector);
    return callout(b, data);
}

WRAP(int, pcre2_set_callout_8,
     (pcre2_match_context * context, int (*function)(pcre2_callout_block *, void *), void *data)) {
    callout = function;
    return __real_pcre2_set_callout_8(context, written_callout, data);
}

WRAP(int, pcre2_get_error_message_8, (int code, PCRE2_UCHAR *out, PCRE2_SIZE n)) {
    int rc = __real_pcre2_get_error_message_8(code, out, n);
    __msan_unpoison(out, n);
    return rc;
}

WRAP(utf8proc_ssize_t, utf8proc_decompose_char,
     (utf8proc_int32_t cp, utf8proc_int32_t *out, utf8proc_ssize_t n, utf8proc_option_t options,
      int *last)) {
    utf8proc_ssize_t got = __real_utf8proc_decompose_char(cp, out, n, options, last);
    if (got > 0)
        __msan_unpoison(out, (size_t)(got < n ? got : n) * sizeof *out);
    return got;
}

WRAP(int, crypto_generichash,
     (unsigned char *out, size_t n_out, const unsigned char *in, unsigned long long n,
      const unsigned char *key, size_t n_key)) {
    int rc = __real_crypto_generichash(out, n_out, in, n, key, n_key);
    __msan_unpoison(out, n_out);
    return rc;
}

WRAP(int, crypto_generichash_final,
     (crypto_generichash_state * state, unsigned char *out, const size_t n)) {
    int rc = __real_crypto_generichash_final(state, out, n);
    __msan_unpoison(out, n);
    return rc;
}

WRAP(int, crypto_shorthash,
     (unsigned char *out, const unsigned char *in, unsigned long long n,
      const unsigned char *key)) {
    int rc = __real_crypto_shorthash(out, in, n, key);
    __msan_unpoison(out, crypto_shorthash_BYTES);
    return rc;
}

WRAP(void, randombytes_buf, (void *const out, const size_t n)) {
    __real_randombytes_buf(out, n);
    __msan_unpoison(out, n);
}

WRAP(char *, sodium_bin2hex,
     (char *const hex, const size_t most, const unsigned char *const bin, const size_t n)) {
    char *p = __real_sodium_bin2hex(hex, most, bin, n);
    __msan_unpoison(hex, 2 * n + 1);
    return p;
}

WRAP(int, sodium_hex2bin,
     (unsigned char *const bin, const size_t most, const char *const hex, const size_t n,
      const char *const ignore, size_t *const got, const char **const end)) {
    int rc = __real_sodium_hex2bin(bin, most, hex, n, ignore, got, end);
    if (got)
        __msan_unpoison(got, sizeof *got);
    if (end)
        __msan_unpoison(end, sizeof *end);
    if (rc == 0)
        __msan_unpoison(bin, got ? *got : most);
    return rc;
}

WRAP(ssize_t, preadv2, (int fd, const struct iovec *v, int n, off_t at, int flags)) {
    ssize_t got = __real_preadv2(fd, v, n, at, flags), left = got;
    for (int i = 0; i < n && left > 0; i++, left -= (ssize_t)v[i - 1].iov_len)
        __msan_unpoison(v[i].iov_base, (size_t)left < v[i].iov_len ? (size_t)left : v[i].iov_len);
    return got;
}
