/* vectors(5): what is written is read; every cut and every changed structural bit is noticed.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "wire/vectors.h"

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "../lib/check.h"
#include "base/io.h"

enum { DIM = 5 };

static const float some_values[DIM] = {0.5f, -0.25f, 1, 0, -0.001f};

static struct vectors_header header_of(enum vectors_dtype dtype) {
    return (struct vectors_header){.dim = DIM,
                                   .dtype = dtype,
                                   .metric = VECTORS_DOT,
                                   .unit = true,
                                   .model = UINT64_C(0x1122334455667788),
                                   .tokenizer = UINT64_C(0x99aabbccddeeff00)};
}

/* A stream of a vector, a failure and a vector, as bytes. */
static void some_stream(struct buf *out, const struct vectors_header *h) {
    float room[DIM];
    struct vectors_record v = {.type = VECTORS_VALUES, .n_tokens = 3, .values = room};
    struct vectors_record failed = {.type = VECTORS_FAILED,
                                    .id = 1,
                                    .n_tokens = 700,
                                    .attrs = str_of("id=7"),
                                    .reason = str_of("why\nnot")};
    FILE *f = tmpfile();
    vectors_pack(h, some_values, room, &v.scale);
    CHECK(vectors_write_header(f, h, NULL) == 0 && vectors_write(f, h, &v, NULL) == 0 &&
          vectors_write(f, h, &failed, NULL) == 0);
    v.id = 2;
    v.attrs = str_of("file=a%20b from=3");
    CHECK(vectors_write(f, h, &v, NULL) == 0);
    vectors_write_end(f, 3);
    CHECK(fflush(f) == 0 && lseek(fileno(f), 0, SEEK_SET) == 0 &&
          read_all(fileno(f), "test", 1 << 20, out, NULL) == 0);
    fclose(f);
}

static int fd_of(const void *p, size_t n) {
    int ends[2];
    CHECK(pipe(ends) == 0 && write_full(ends[1], p, n, NULL) == 0);
    close(ends[1]);
    return ends[0];
}

/* Reads p[0..n) to its end: the number of records, or -1 with e set. */
static int count_records(const void *p, size_t n, struct err *e) {
    struct vectors_header h;
    struct vectors_record v;
    int fd = fd_of(p, n), rc = -1, records = 0;
    struct vectors_reader *r = vectors_reader_new(fd, "test", &h, e);
    while (r && (rc = vectors_next(r, &v, e)) == 1)
        records++;
    vectors_reader_free(r);
    close(fd);
    return rc == 0 ? records : -1;
}

static void round_trip(enum vectors_dtype dtype, double tolerance) {
    struct buf b = {0};
    struct vectors_header h, written = header_of(dtype);
    struct vectors_record v;
    float got[DIM];
    some_stream(&b, &written);
    CHECK_INT(b.n % 8, 0);
    int fd = fd_of(b.p, b.n);
    struct vectors_reader *r = vectors_reader_new(fd, "test", &h, NULL);
    CHECK(r && h.dim == DIM && h.dtype == dtype && h.metric == VECTORS_DOT && h.unit &&
          h.model == written.model && h.tokenizer == written.tokenizer);
    CHECK(vectors_next(r, &v, NULL) == 1 && v.type == VECTORS_VALUES && v.id == 0 &&
          v.n_tokens == 3 && v.attrs.n == 0 && (uintptr_t)v.values % 8 == 0);
    vectors_unpack(&h, &v, got);
    for (size_t i = 0; i < DIM; i++)
        CHECK_MSG(fabs((double)got[i] - (double)some_values[i]) <= tolerance, "value %zu is %g", i,
                  (double)got[i]);
    CHECK(vectors_next(r, &v, NULL) == 1 && v.type == VECTORS_FAILED && v.id == 1 &&
          v.n_tokens == 700 && str_eq(v.attrs, "id=7") && str_eq(v.reason, "why"));
    CHECK(vectors_next(r, &v, NULL) == 1 && v.type == VECTORS_VALUES && v.id == 2 &&
          str_eq(v.attrs, "file=a%20b from=3"));
    CHECK_INT(vectors_next(r, &v, NULL), 0);
    CHECK_INT(vectors_next(r, &v, NULL), 0);
    vectors_reader_free(r);
    close(fd);
    buf_free(&b);
}

static void round_trips(void) {
    round_trip(VECTORS_F32, 0);
    round_trip(VECTORS_BF16, 1.0 / 512);
    round_trip(VECTORS_I8, 0.5 / 127 * 1.001);
}

static void every_cut(void) {
    struct buf b = {0};
    struct vectors_header h = header_of(VECTORS_F32);
    some_stream(&b, &h);
    for (size_t n = 0; n < b.n; n++) {
        struct err e = {0};
        char byte[64];
        CHECK_MSG(count_records(b.p, n, &e) == -1 && e.code == EXIT_DATA, "cut at %zu", n);
        snprintf(byte, sizeof byte, ": test: byte %zu", n);
        if (n >= 8)
            CHECK_MSG(strstr(e.msg, "the stream was cut") && strstr(e.msg, byte), "cut at %zu: %s",
                      n, e.msg);
    }
    CHECK_INT(count_records(b.p, b.n, NULL), 3);
    buf_free(&b);
}

/* Joined streams are one; one of another model is refused. */
static void joined(void) {
    struct buf b = {0}, other = {0};
    struct vectors_header h = header_of(VECTORS_BF16);
    struct err e = {0};
    some_stream(&b, &h);
    size_t n = b.n;
    some_stream(&b, &h);
    CHECK_INT(count_records(b.p, b.n, NULL), 6);
    h.model++;
    some_stream(&other, &h);
    b.n = n;
    buf_add(&b, other.p, other.n);
    CHECK_INT(count_records(b.p, b.n, &e), -1);
    CHECK_MSG(strstr(e.msg, "another header"), "%s", e.msg);
    buf_free(&b);
    buf_free(&other);
}

/* A changed bit in a magic, a size, a reserved byte or padding is refused. */
static void every_bit_of_structure(void) {
    struct buf b = {0};
    struct vectors_header h = header_of(VECTORS_I8);
    some_stream(&b, &h);
    for (size_t i = 0; i < b.n; i++) {
        size_t in = i < 64 ? i : (i - 64) % 40;
        size_t texts = i < 64 + 40 ? 37 : 39; // where values or texts end
        bool number =
            i < 64 ? in >= 32 && in < 48 : (in >= 4 && in < 20) || (in >= 32 && in < texts);
        struct err e = {0};
        if (i >= 64 + 2 * 40) // later records have other lengths
            break;
        b.p[i] ^= 0x40;
        if (!number)
            CHECK_MSG(count_records(b.p, b.n, &e) == -1 && e.code == EXIT_DATA, "byte %zu", i);
        b.p[i] ^= 0x40;
    }
    buf_free(&b);
}

/* Values that no writer of ours makes. */
static void not_finite(void) {
    struct buf b = {0};
    struct vectors_header h = header_of(VECTORS_F32);
    struct err e = {0};
    some_stream(&b, &h);
    memcpy(b.p + 64 + 32 + 4, &(float){NAN}, 4);
    CHECK_INT(count_records(b.p, b.n, &e), -1);
    CHECK_MSG(strstr(e.msg, "a value is not finite: test: byte 100"), "%s", e.msg);
    buf_free(&b);
    struct vectors_header wrong = {.dim = 0, .dtype = VECTORS_F32};
    CHECK(vectors_write_header(stderr, &wrong, &e) == -1 && e.code == EXIT_BUG);
}

/* Rounding to i8 keeps the largest magnitude and zeros; all zeros have scale 0. */
static void packing(void) {
    struct vectors_header h = header_of(VECTORS_I8);
    const float zeros[DIM] = {0};
    int8_t q[DIM];
    float scale;
    vectors_pack(&h, some_values, q, &scale);
    CHECK(q[2] == 127 && q[0] == 64 && q[1] == -32 && q[3] == 0 && q[4] == 0);
    CHECK(scale == 1.0f / 127);
    vectors_pack(&h, zeros, q, &scale);
    CHECK(scale == 0 && q[0] == 0 && q[DIM - 1] == 0);
}

int main(void) {
    RUN(round_trips);
    RUN(every_cut);
    RUN(joined);
    RUN(every_bit_of_structure);
    RUN(not_finite);
    RUN(packing);
    return check_done();
}
