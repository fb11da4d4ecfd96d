/* Fuzzes loading, encoding and decoding. The input is a tokenizer.json, a NUL byte and a text.
 * Nothing may crash or hang, and decoded text must be valid UTF-8.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "../lib/fuzz.h"
#include "tokens/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *end = size ? memchr(data, 0, size) : NULL;
    size_t n = end ? (size_t)(end - data) : size;
    struct err e = {0};
    struct tokenizer *t = tokenizer_load("fuzz", (const char *)data, n, &e);
    if (!t)
        return 0;
    struct buf text = {0}, out = {0};
    if (end)
        utf8_repair(&text, (const char *)end + 1, size - n - 1);
    struct encoder *en = encoder_new(t);
    struct decoder *d = decoder_new(t, size & 1);
    struct token_ids ids = {.want_offsets = size & 2};
    struct encode_options o = {.no_special = size & 4, .truncate = size & 8};
    if (tokenizer_encode(en, (struct str){text.p ? text.p : "", text.n}, &o, &ids, &e) == 0)
        for (size_t i = 0; i < ids.n; i++)
            decoder_id(d, ids.ids[i], &out, &e);
    decoder_end(d, &out, &e);
    if (out.n && utf8_valid(out.p, out.n) != out.n)
        __builtin_trap();
    token_ids_free(&ids);
    decoder_free(d);
    encoder_free(en);
    buf_free(&text);
    buf_free(&out);
    tokenizer_free(t);
    return 0;
}
