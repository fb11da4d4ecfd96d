/* Attributes: key=value words of the "#@" and "#=" lines of tokens(5). See attrs.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/attrs.h"

#include "base/num.h"

bool attrs_get(struct str attrs, const char *key, struct buf *out) {
    size_t key_len = strlen(key);
    struct str value = {NULL, 0}, word;
    while ((word = str_word(&attrs)).n) // the last one counts: a later "#@" line overrides
        if (word.n > key_len && word.p[key_len] == '=' && memcmp(word.p, key, key_len) == 0)
            value = (struct str){word.p + key_len + 1, word.n - key_len - 1};
    if (!value.p)
        return false;
    buf_clear(out);
    buf_reserve(out, value.n);
    for (size_t i = 0; i < value.n; i++) {
        int hi = value.n - i > 2 && value.p[i] == '%' ? num_hex_digit(value.p[i + 1]) : -1;
        int lo = hi >= 0 ? num_hex_digit(value.p[i + 2]) : -1;
        if (lo >= 0)
            i += 2;
        buf_byte(out, lo >= 0 ? hi << 4 | lo : value.p[i]);
    }
    return true;
}

static bool among(struct str name, const char *const *names) {
    for (; *names; names++)
        if (str_eq(name, *names))
            return true;
    return false;
}

bool attrs_is_param(struct str name) {
    static const char *const names[] = {"max",
                                        "temp",
                                        "top_k",
                                        "top_p",
                                        "min_p",
                                        "repetition_penalty",
                                        "presence_penalty",
                                        "frequency_penalty",
                                        "logit_bias",
                                        "seed",
                                        "ignore_eos",
                                        "stop_id",
                                        "stop",
                                        NULL};
    return among(name, names);
}

bool attrs_is_private(struct str name) {
    static const char *const names[] = {"continues", "end_id", "from", "ends",
                                        "begins",    "cache",  "salt", NULL};
    return among(name, names);
}

void attrs_set(struct buf *attrs, const char *key, struct str value) {
    if (attrs->n)
        buf_byte(attrs, ' ');
    buf_str(attrs, key);
    buf_byte(attrs, '=');
    for (size_t i = 0; i < value.n; i++) {
        unsigned char c = (unsigned char)value.p[i];
        if (c <= ' ' || c == '%' || c == 0x7f)
            buf_fmt(attrs, "%%%02X", c);
        else
            buf_byte(attrs, c);
    }
}
