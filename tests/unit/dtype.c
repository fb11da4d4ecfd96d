/* common/weights/dtype: every value of the narrow types against its definition, rounding, array
 * sizes.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <math.h>

#include "../lib/check.h"
#include "weights/dtype.h"

static double one(enum dtype t, unsigned bits) {
    uint8_t byte = (uint8_t)bits;
    return dtype_value(t, &byte, 0);
}

static void names(void) {
    for (int t = 0; t < DT_COUNT; t++) {
        enum dtype back = DT_COUNT;
        CHECK(dtype_parse(str_of(dtype_name((enum dtype)t)), &back) && (int)back == t);
    }
    enum dtype t;
    CHECK(!dtype_parse(str_of("f32"), &t) && !dtype_parse(str_of(""), &t) &&
          !dtype_parse(str_of("F3"), &t));
    CHECK_INT(dtype_bits(DT_F4), 4);
    CHECK_INT(dtype_bits(DT_F6_E3M2), 6);
    CHECK_INT(dtype_bits(DT_BF16), 16);
    CHECK_INT(dtype_bits(DT_C64), 64);
}

static void sizes(void) {
    uint64_t n, bytes;
    CHECK(dtype_array_size(DT_F32, 0, NULL, &n, &bytes) && n == 1 && bytes == 4);
    CHECK(dtype_array_size(DT_F6_E2M3, 2, (uint64_t[]){3, 4}, &n, &bytes) && n == 12 && bytes == 9);
    CHECK(!dtype_array_size(DT_F6_E2M3, 1, (uint64_t[]){3}, &n, &bytes));
    CHECK(!dtype_array_size(DT_F4, 1, (uint64_t[]){3}, &n, &bytes));
    CHECK(dtype_array_size(DT_U8, 2, (uint64_t[]){0, UINT64_MAX}, &n, &bytes) && n == 0 &&
          bytes == 0);
    CHECK(!dtype_array_size(DT_U8, 3, (uint64_t[]){1ull << 63, 2, 0}, &n, &bytes));
    CHECK(!dtype_array_size(DT_F64, 1, (uint64_t[]){1ull << 59}, &n, &bytes));
}

/* The OCP tables: largest, smallest normal, subnormals, specials. */
static void narrow_floats(void) {
    static const double f4[8] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
    for (unsigned i = 0; i < 8; i++)
        CHECK(one(DT_F4, i) == f4[i] && one(DT_F4, i | 8) == -f4[i]);
    CHECK(one(DT_F6_E2M3, 0x1f) == 7.5 && one(DT_F6_E2M3, 8) == 1 && one(DT_F6_E2M3, 1) == 0.125);
    CHECK(one(DT_F6_E3M2, 0x1f) == 28 && one(DT_F6_E3M2, 4) == 0.25 &&
          one(DT_F6_E3M2, 0x21) == -0.0625);
    CHECK(one(DT_F8_E4M3, 0x7e) == 448 && one(DT_F8_E4M3, 8) == 0x1p-6 &&
          one(DT_F8_E4M3, 1) == 0x1p-9);
    CHECK(isnan(one(DT_F8_E4M3, 0x7f)) && isnan(one(DT_F8_E4M3, 0xff)) &&
          one(DT_F8_E4M3, 0xb8) == -1);
    CHECK(one(DT_F8_E5M2, 0x7b) == 57344 && one(DT_F8_E5M2, 4) == 0x1p-14 &&
          one(DT_F8_E5M2, 1) == 0x1p-16);
    CHECK(isinf(one(DT_F8_E5M2, 0x7c)) && one(DT_F8_E5M2, 0xfc) < 0 &&
          isnan(one(DT_F8_E5M2, 0x7d)));
    CHECK(one(DT_F8_E4M3FNUZ, 0x7f) == 240 && isnan(one(DT_F8_E4M3FNUZ, 0x80)) &&
          one(DT_F8_E4M3FNUZ, 1) == 0x1p-10);
    CHECK(one(DT_F8_E5M2FNUZ, 0x7f) == 57344 && isnan(one(DT_F8_E5M2FNUZ, 0x80)) &&
          one(DT_F8_E5M2FNUZ, 1) == 0x1p-17);
    CHECK(one(DT_F8_E8M0, 127) == 1 && one(DT_F8_E8M0, 0) == 0x1p-127 &&
          isnan(one(DT_F8_E8M0, 255)));
}

static void packed(void) {
    static const uint8_t f4[] = {0x21, 0xf7}; // low half first: 1 2 7 15
    CHECK(dtype_value(DT_F4, f4, 0) == 0.5 && dtype_value(DT_F4, f4, 1) == 1);
    CHECK(dtype_value(DT_F4, f4, 2) == 6 && dtype_value(DT_F4, f4, 3) == -6);
    /* Codes 1, 8, 31, 33 as a 24-bit little-endian number, twice. */
    uint32_t bits = 1u | 8u << 6 | 31u << 12 | 33u << 18;
    const uint8_t f6[] = {(uint8_t)bits, (uint8_t)(bits >> 8), (uint8_t)(bits >> 16),
                          (uint8_t)bits, (uint8_t)(bits >> 8), (uint8_t)(bits >> 16)};
    static const double want[] = {0.125, 1, 7.5, -0.125};
    for (size_t i = 0; i < 8; i++)
        CHECK(dtype_value(DT_F6_E2M3, f6, i) == want[i % 4]);
}

static void wide(void) {
    static const uint8_t all[9] = {0,    0xff, 0xff, 0xff, 0xff,
                                   0xff, 0xff, 0xff, 0xff}; // unaligned ones
    CHECK(dtype_value(DT_BOOL, all, 0) == 0 && dtype_value(DT_BOOL, all, 1) == 1);
    CHECK(dtype_value(DT_U8, all, 1) == 255 && dtype_value(DT_I8, all, 1) == -1);
    CHECK(dtype_value(DT_U16, all + 1, 3) == 65535 && dtype_value(DT_I16, all + 1, 3) == -1);
    CHECK(dtype_value(DT_U32, all + 1, 1) == 4294967295.0 && dtype_value(DT_I32, all + 1, 1) == -1);
    CHECK(dtype_value(DT_U64, all + 1, 0) == 0x1p64 && dtype_value(DT_I64, all + 1, 0) == -1);
    double d[2] = {0, -0x1.23456789abcdep-700};
    float f[4] = {0, 1.5f, 3.25f, -2.0f};
    CHECK(dtype_value(DT_F64, d, 1) == d[1] && dtype_value(DT_F32, f, 1) == 1.5 &&
          dtype_value(DT_C64, f, 1) == 3.25);
}

/* The value of a half by the definition of IEEE 754. */
static double half(unsigned h) {
    int exponent = (int)(h >> 10 & 31);
    double m = h & 1023, v = exponent ? ldexp(m + 1024, exponent - 25) : ldexp(m, -24);
    return h & 0x8000 ? -v : v;
}

static void f16_every_value(void) {
    int bad = 0;
    for (unsigned h = 0; h < 65536; h++) {
        float f = f32_from_f16((uint16_t)h);
        if ((h & 0x7c00) == 0x7c00)
            bad += (h & 0x3ff) ? !isnan(f) || !isnan(f32_from_f16(f16_from_f32(f)))
                               : !isinf(f) || f16_from_f32(f) != h;
        else
            bad += (double)f != half(h) || f16_from_f32(f) != h;
    }
    CHECK_INT(bad, 0);
}

/* Between each two neighbouring halves: just below, at, and just above the middle. */
static void f16_rounding(void) {
    int bad = 0;
    for (unsigned h = 0; h < 0x7c00; h++) {
        double next = h == 0x7bff ? 65536 : half(h + 1);
        float middle = (float)((half(h) + next) / 2); // exact
        unsigned even = h & 1 ? h + 1 : h;
        bad += f16_from_f32(middle) != even || f16_from_f32(-middle) != (even | 0x8000);
        bad += f16_from_f32(nextafterf(middle, 0)) != h ||
               f16_from_f32(nextafterf(middle, 1e9f)) != h + 1;
    }
    CHECK_INT(bad, 0);
    CHECK(f16_from_f32(1e30f) == 0x7c00 && f16_from_f32(-1e-30f) == 0x8000);
}

static void bf16(void) {
    int bad = 0;
    for (unsigned h = 0; h < 65536; h++) {
        float f = f32_from_bf16((uint16_t)h);
        uint16_t back = bf16_from_f32(f);
        bad += isnan(f) ? !isnan(f32_from_bf16(back)) : back != h;
        if (isnan(f) || isinf(f) || (h & 0x7fff) == 0x7f7f)
            continue;
        float middle = (float)(((double)f + (double)f32_from_bf16((uint16_t)(h + 1))) / 2);
        bad += bf16_from_f32(middle) != (h & 1 ? h + 1 : h) ||
               bf16_from_f32(nextafterf(middle, 0)) != h;
    }
    CHECK_INT(bad, 0);
    uint32_t bits = 0x7f800001; // a NaN whose upper half alone would be an infinity
    float nan;
    memcpy(&nan, &bits, sizeof nan);
    CHECK(isnan(f32_from_bf16(bf16_from_f32(nan))));
    CHECK(bf16_from_f32(0x1.fffffep127f) == 0x7f80);
}

int main(void) {
    RUN(names);
    RUN(sizes);
    RUN(narrow_floats);
    RUN(packed);
    RUN(wide);
    RUN(f16_every_value);
    RUN(f16_rounding);
    RUN(bf16);
    return check_done();
}
