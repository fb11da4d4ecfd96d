/* Sums of the integer kernels with vpdpbusd, for vectors of any width: it adds four products of a
 * byte of W and a byte of x to each lane. x comes as planes (matmul_int.h), so a sum has two parts.
 *
 * The including file defines TARGET and, of its vectors, ivec, iv_zero, iv_load, iv_add, iv_mul,
 * spread, iv_dot (vpdpbusd), and fvec, fv_of, fv_load, fv_store, fv_set, fv_add, fv_mul.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
typedef ivec wvec;
typedef struct int_x {
    ivec low, high;
} xvec;
struct parts {
    ivec low, high;
};

TARGET EVERY_ISA wvec load_w(const unsigned char *p) {
    return iv_load(p);
}
TARGET EVERY_ISA xvec load_x(const unsigned char *p) {
    return (xvec){spread(p), spread(p + 4)};
}
TARGET EVERY_ISA struct parts sum_begin(const unsigned char *corrections) {
    if (!corrections)
        return (struct parts){iv_zero(), iv_zero()};
    return (struct parts){spread(corrections), spread(corrections + 4)};
}
TARGET EVERY_ISA struct parts sum_zeros(const int32_t *x, ivec zeros) {
    const unsigned char *p = (const unsigned char *)x;
    return (struct parts){iv_mul(spread(p), zeros), iv_mul(spread(p + 4), zeros)};
}
TARGET EVERY_ISA void sum_add(struct parts *s, wvec w, xvec x) {
    s->low = iv_dot(s->low, w, x.low);
    s->high = iv_dot(s->high, w, x.high);
}
TARGET EVERY_ISA void sum_merge(struct parts *s, struct parts o) {
    s->low = iv_add(s->low, o.low);
    s->high = iv_add(s->high, o.high);
}
TARGET EVERY_ISA void add_block(ivec *low, ivec *high, const struct parts *s, ivec m) {
    *low = iv_add(*low, iv_mul(s->low, m));
    *high = iv_add(*high, iv_mul(s->high, m));
}

/* Either part of 256 products of bytes has at most 24 bits, so it is exact in f32; the sum is
 * rounded once. */
TARGET EVERY_ISA fvec sum_value(const struct parts *s) {
    return fv_add(fv_mul(fv_of(s->high), fv_set(INT_HIGH)), fv_of(s->low));
}
