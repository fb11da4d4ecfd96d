/* Sums of a single row with vpdpbusd, for vectors of any width: it adds four products of a byte of
 * W and a byte of x to each lane. x comes as planes (matmul_int.h), so a sum has two parts.
 *
 * The including file defines TARGET and, of its vectors, ivec, iv_set, iv_add, iv_shl, spread and
 * iv_dot (vpdpbusd).
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
typedef ivec wvec;
typedef struct int_x {
    ivec low, high;
} xvec;
struct parts {
    ivec low, high;
};

TARGET EVERY_ISA wvec w_of(ivec bytes) {
    return bytes;
}
TARGET EVERY_ISA xvec load_x(const unsigned char *p) {
    return (xvec){spread(p), spread(p + 4)};
}
TARGET EVERY_ISA struct parts sum_begin(ivec first) {
    return (struct parts){first, iv_set(0)};
}
TARGET EVERY_ISA void sum_add(struct parts *s, wvec w, xvec x) {
    s->low = iv_dot(s->low, w, x.low);
    s->high = iv_dot(s->high, w, x.high);
}
TARGET EVERY_ISA ivec sum_of(const struct parts *s) {
    return iv_add(s->low, iv_shl(s->high, 7));
}
