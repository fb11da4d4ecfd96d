/* vectors(5), read and written: see vectors.h and the page vectors(5).
 *
 *     stream header, 64 bytes | record | record | ... | END record
 *     record: header, 32 bytes | values | attributes | reason | padding
 *
 * The two enums below are the offsets in both headers. A record's type is four ASCII letters. The
 * reader's buffer has room for one record, and grows as bytes come, so that a false length takes no
 * memory.
 *
 * The reader refuses, with the byte: another magic, version, dtype or metric, nonzero reserved
 * bytes and padding, sizes above the maxima of vectors.h, values that are not finite, text that is
 * not one line of UTF-8, an END record with another count, and a stream that stops before it.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "wire/vectors.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/utf8.h"
#include "weights/half.h"
#include "wire/bytes.h"
#include "wire/payload.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "values are read and written in place: on a big-endian machine they would need swapping"
#endif

static const char magic[8] = {'V', 'E', 'C', 'T', 'O', 'R', '\r', '\n'};

enum header_offset {
    H_MAGIC = 0,
    H_VERSION = 8,
    H_BYTES = 12, // of the header itself: 64
    H_DIM = 16,
    H_DTYPE = 20,
    H_METRIC = 24,
    H_UNIT = 28,
    H_MODEL = 32,
    H_TOKENIZER = 40,
    H_RESERVED = 48, // zeros
};

enum record_offset {
    R_TYPE = 0,
    R_TOKENS = 4,
    R_ID = 8,
    R_SCALE = 16,
    R_ATTRS = 20,
    R_REASON = 24,
    R_PAYLOAD = 28
};

/* By enum vectors_type, from 1; the last is no type of struct vectors_record. */
static const char record_tag[][5] = {"", "VECT", "FAIL", "END "};

enum { TYPE_END = 3, N_TYPES = sizeof record_tag / sizeof *record_tag };

static size_t value_bytes(enum vectors_dtype t) {
    return t == VECTORS_F32 ? 4 : t == VECTORS_BF16 ? 2 : 1;
}

size_t vectors_bytes(const struct vectors_header *h) {
    return h->dim * value_bytes(h->dtype);
}

/* ---- Values ---- */

static float largest_magnitude(const float *v, size_t n) {
    float most = 0;
    for (size_t i = 0; i < n; i++)
        most = fabsf(v[i]) > most ? fabsf(v[i]) : most;
    return most;
}

void vectors_pack(const struct vectors_header *h, const float *values, void *to, float *scale) {
    uint16_t *halves = to;
    int8_t *bytes = to;
    float most = h->dtype == VECTORS_I8 ? largest_magnitude(values, h->dim) : 0;
    *scale = most / 127;
    switch (h->dtype) {
    case VECTORS_F32:
        memcpy(to, values, h->dim * sizeof *values);
        break;
    case VECTORS_BF16:
        for (size_t i = 0; i < h->dim; i++)
            halves[i] = bf16_from_f32(values[i]);
        break;
    case VECTORS_I8:
        for (size_t i = 0; i < h->dim; i++)
            bytes[i] = (int8_t)(most > 0 ? rintf(values[i] * (127 / most)) : 0);
        break;
    }
}

void vectors_unpack(const struct vectors_header *h, const struct vectors_record *r, float *to) {
    const uint16_t *halves = r->values;
    const int8_t *bytes = r->values;
    switch (h->dtype) {
    case VECTORS_F32:
        memcpy(to, r->values, h->dim * sizeof *to);
        break;
    case VECTORS_BF16:
        for (size_t i = 0; i < h->dim; i++)
            to[i] = f32_from_bf16(halves[i]);
        break;
    case VECTORS_I8:
        for (size_t i = 0; i < h->dim; i++)
            to[i] = r->scale * (float)bytes[i];
        break;
    }
}

/* ---- Writing ---- */

int vectors_write_header(FILE *out, const struct vectors_header *h, struct err *e) {
    uint8_t b[VECTORS_HEADER_BYTES] = {0};
    if (h->dim == 0 || h->dim > VECTORS_MAX_DIM)
        return err_set(e, EXIT_BUG, "vectors header: dimension %" PRIu32, h->dim);
    memcpy(b + H_MAGIC, magic, sizeof magic);
    put_u32(b + H_VERSION, VECTORS_VERSION);
    put_u32(b + H_BYTES, VECTORS_HEADER_BYTES);
    put_u32(b + H_DIM, h->dim);
    put_u32(b + H_DTYPE, h->dtype);
    put_u32(b + H_METRIC, h->metric);
    put_u32(b + H_UNIT, h->unit);
    put_u64(b + H_MODEL, h->model);
    put_u64(b + H_TOKENIZER, h->tokenizer);
    fwrite(b, 1, sizeof b, out);
    return 0;
}

int vectors_write(FILE *out, const struct vectors_header *h, const struct vectors_record *r,
                  struct err *e) {
    static const uint8_t zeros[8];
    uint8_t b[VECTORS_RECORD_BYTES] = {0};
    bool failed = r->type == VECTORS_FAILED;
    size_t n_values = failed ? 0 : vectors_bytes(h);
    struct str reason = failed ? payload_one_line(r->reason, VECTORS_MAX_TEXT) : str_of("");
    if (r->attrs.n > VECTORS_MAX_TEXT)
        return err_set(e, EXIT_BUG, "vectors record: attributes of %zu bytes", r->attrs.n);
    size_t payload = n_values + r->attrs.n + reason.n;
    memcpy(b + R_TYPE, record_tag[r->type], 4);
    put_u32(b + R_TOKENS, r->n_tokens);
    put_u64(b + R_ID, r->id);
    put_u32(b + R_SCALE, h->dtype == VECTORS_I8 && !failed ? f32_bits(r->scale) : 0);
    put_u32(b + R_ATTRS, (uint32_t)r->attrs.n);
    put_u32(b + R_REASON, (uint32_t)reason.n);
    put_u32(b + R_PAYLOAD, (uint32_t)payload);
    fwrite(b, 1, sizeof b, out);
    if (n_values)
        fwrite(r->values, 1, n_values, out);
    if (r->attrs.n)
        fwrite(r->attrs.p, 1, r->attrs.n, out);
    if (reason.n)
        fwrite(reason.p, 1, reason.n, out);
    fwrite(zeros, 1, -payload % 8, out);
    return 0;
}

void vectors_write_end(FILE *out, uint64_t n_records) {
    uint8_t b[VECTORS_RECORD_BYTES] = {0};
    memcpy(b + R_TYPE, record_tag[TYPE_END], 4);
    put_u64(b + R_ID, n_records);
    fwrite(b, 1, sizeof b, out);
}

/* ---- Reading ---- */

struct vectors_reader {
    int fd;
    char *name;
    struct vectors_header header;
    uint8_t header_bytes[VECTORS_HEADER_BYTES];
    uint64_t at;            // offset in the stream of what is read next
    uint64_t n_records;     // since the last stream header
    struct payload payload; // with padding
    bool ended;
};

static int refuse(struct vectors_reader *r, struct err *e, uint64_t byte, const char *what) {
    return err_set(e, EXIT_DATA, "%s: %s: byte %" PRIu64, what, r->name, byte);
}

static int check_header(struct vectors_reader *r, const uint8_t *b, struct err *e) {
    if (get_u32(b + H_VERSION) != VECTORS_VERSION)
        return refuse(r, e, r->at + H_VERSION, "a vectors(5) stream of a version other than 1");
    if (get_u32(b + H_BYTES) != VECTORS_HEADER_BYTES)
        return refuse(r, e, r->at + H_BYTES, "the stream header's length is not 64");
    if (get_u32(b + H_DIM) == 0 || get_u32(b + H_DIM) > VECTORS_MAX_DIM)
        return refuse(r, e, r->at + H_DIM, "the dimension is not in 1 .. 1048576");
    if (get_u32(b + H_DTYPE) < VECTORS_F32 || get_u32(b + H_DTYPE) > VECTORS_I8)
        return refuse(r, e, r->at + H_DTYPE, "the dtype is not f32 (1), bf16 (2) or i8 (3)");
    if (get_u32(b + H_METRIC) < VECTORS_COSINE || get_u32(b + H_METRIC) > VECTORS_EUCLIDEAN)
        return refuse(r, e, r->at + H_METRIC,
                      "the metric is not cosine (1), dot (2) or euclidean (3)");
    if (get_u32(b + H_UNIT) > 1)
        return refuse(r, e, r->at + H_UNIT, "'unit' is not 0 or 1");
    if (!payload_all_zero(b + H_RESERVED, VECTORS_HEADER_BYTES - H_RESERVED))
        return refuse(r, e, r->at + H_RESERVED, "reserved bytes are not zero");
    return 0;
}

/* 1 with a checked header in b; 0 at the end of the input. */
static int read_header(struct vectors_reader *r, uint8_t b[VECTORS_HEADER_BYTES], struct err *e) {
    size_t got;
    if (read_full(r->fd, b, VECTORS_HEADER_BYTES, &got, e) != 0)
        return err_where(e, "%s", r->name);
    if (got == 0)
        return 0;
    bool ours = memcmp(b, magic, got < sizeof magic ? got : sizeof magic) == 0;
    if (!ours && file_hint(b, got))
        return err_set(e, EXIT_DATA, "not a vectors(5) stream: %s: %s", file_hint(b, got), r->name);
    if (!ours || got < sizeof magic)
        return refuse(r, e, r->at + H_MAGIC, "not a vectors(5) stream, as llm-embed writes it");
    if (got < VECTORS_HEADER_BYTES)
        return refuse(r, e, r->at + got, "the stream was cut inside its header");
    if (check_header(r, b, e) != 0)
        return -1;
    r->at += VECTORS_HEADER_BYTES;
    r->n_records = 0;
    return 1;
}

struct vectors_reader *vectors_reader_new(int fd, const char *name, struct vectors_header *h,
                                          struct err *e) {
    struct vectors_reader *r = xcalloc(1, sizeof *r);
    r->fd = fd;
    r->name = xstrdup(name);
    uint8_t *b = r->header_bytes;
    int rc = read_header(r, b, e);
    if (rc == 0)
        err_set(e, EXIT_DATA, "no input, not even a vectors(5) header: %s", r->name);
    if (rc != 1) {
        vectors_reader_free(r);
        return NULL;
    }
    r->header = (struct vectors_header){
        .dim = get_u32(b + H_DIM),
        .dtype = (enum vectors_dtype)get_u32(b + H_DTYPE),
        .metric = (enum vectors_metric)get_u32(b + H_METRIC),
        .unit = get_u32(b + H_UNIT) == 1,
        .model = get_u64(b + H_MODEL),
        .tokenizer = get_u64(b + H_TOKENIZER),
    };
    *h = r->header;
    return r;
}

void vectors_reader_free(struct vectors_reader *r) {
    if (!r)
        return;
    free(r->payload.p);
    free(r->name);
    free(r);
}

/* At an END record: 1 if another stream with the same header follows, 0 if none does. */
static int read_joined(struct vectors_reader *r, struct err *e) {
    uint8_t b[VECTORS_HEADER_BYTES];
    uint64_t at = r->at;
    int rc = read_header(r, b, e);
    if (rc == 1 && memcmp(b, r->header_bytes, sizeof b) != 0)
        return refuse(r, e, at, "a second stream has another header than the first");
    return rc;
}

static int type_of(const uint8_t *head) {
    for (int t = VECTORS_VALUES; t < N_TYPES; t++)
        if (memcmp(head + R_TYPE, record_tag[t], 4) == 0)
            return t;
    return 0;
}

/* Checks the record header's numbers against the maxima and against each other, before any memory
 * is allocated. */
static int check_record(struct vectors_reader *r, const uint8_t *head, int type,
                        struct vectors_record *v, struct err *e) {
    size_t n_values = type == VECTORS_VALUES ? vectors_bytes(&r->header) : 0;
    *v = (struct vectors_record){.type = (enum vectors_type)type};
    v->id = get_u64(head + R_ID);
    v->n_tokens = get_u32(head + R_TOKENS);
    v->scale = f32_from_bits(get_u32(head + R_SCALE));
    v->attrs.n = get_u32(head + R_ATTRS);
    v->reason.n = get_u32(head + R_REASON);
    if (type == 0)
        return refuse(r, e, r->at + R_TYPE, "unknown record type");
    if (type == TYPE_END && (v->n_tokens || v->attrs.n))
        return refuse(r, e, r->at + R_TOKENS, "an END record with data");
    if (type == VECTORS_VALUES && r->header.dtype == VECTORS_I8
            ? !(v->scale >= 0 && v->scale <= FLT_MAX / 127)
            : get_u32(head + R_SCALE) != 0)
        return refuse(r, e, r->at + R_SCALE, "the scale is out of bounds");
    if (v->attrs.n > VECTORS_MAX_TEXT)
        return refuse(r, e, r->at + R_ATTRS, "the length of the attributes is out of bounds");
    if (v->reason.n > (type == VECTORS_FAILED ? VECTORS_MAX_TEXT : 0))
        return refuse(r, e, r->at + R_REASON, "the length of the reason is out of bounds");
    if (get_u32(head + R_PAYLOAD) != n_values + v->attrs.n + v->reason.n)
        return refuse(r, e, r->at + R_PAYLOAD, "the payload's length does not match its parts");
    return 0;
}

static int read_payload(struct vectors_reader *r, size_t n, struct err *e) {
    size_t have;
    if (payload_read(&r->payload, r->fd, n, &have, e) != 0)
        return err_where(e, "%s", r->name);
    if (have < n)
        return refuse(r, e, r->at + VECTORS_RECORD_BYTES + have,
                      "the stream was cut inside a record");
    return 0;
}

/* The first value that is not finite; dim if all are. */
static size_t first_not_finite(const struct vectors_header *h, const void *values) {
    const float *v = values;
    const uint16_t *halves = values;
    for (size_t i = 0; i < h->dim && h->dtype != VECTORS_I8; i++)
        if (!isfinite(h->dtype == VECTORS_F32 ? v[i] : f32_from_bf16(halves[i])))
            return i;
    return h->dim;
}

static int check_text(struct vectors_reader *r, struct str s, uint64_t at, struct err *e) {
    if (utf8_valid(s.p, s.n) != s.n)
        return refuse(r, e, at, "the text is not UTF-8");
    if (memchr(s.p, '\n', s.n)) // in tokens(5) it would end the line
        return refuse(r, e, at, "a newline in the text");
    return 0;
}

/* Sets v's pointers into the payload, and checks values, texts and padding. */
static int open_payload(struct vectors_reader *r, struct vectors_record *v, size_t payload,
                        size_t padded, struct err *e) {
    uint64_t start = r->at + VECTORS_RECORD_BYTES;
    size_t reason_at = payload - v->reason.n, attrs_at = reason_at - v->attrs.n;
    const struct vectors_header *h = &r->header;
    if (v->type == VECTORS_VALUES) {
        v->values = r->payload.p;
        size_t bad = first_not_finite(h, v->values);
        if (bad < h->dim)
            return refuse(r, e, start + bad * value_bytes(h->dtype), "a value is not finite");
    }
    v->attrs.p = v->attrs.n ? (const char *)r->payload.p + attrs_at : "";
    v->reason.p = v->reason.n ? (const char *)r->payload.p + reason_at : "";
    if (check_text(r, v->attrs, start + attrs_at, e) != 0 ||
        check_text(r, v->reason, start + reason_at, e) != 0)
        return -1;
    if (padded > payload && !payload_all_zero(r->payload.p + payload, padded - payload))
        return refuse(r, e, start + payload, "the padding is not zero");
    return 0;
}

/* 1 with the header of the next record in head; 0 after the last. */
static int next_header(struct vectors_reader *r, uint8_t head[VECTORS_RECORD_BYTES],
                       struct vectors_record *v, struct err *e) {
    size_t got;
    if (read_full(r->fd, head, VECTORS_RECORD_BYTES, &got, e) != 0)
        return err_where(e, "%s", r->name);
    if (got < VECTORS_RECORD_BYTES)
        return refuse(r, e, r->at + got,
                      got ? "the stream was cut inside a record" : "the stream was cut");
    int type = type_of(head);
    if (check_record(r, head, type, v, e) != 0)
        return -1;
    if (type != TYPE_END)
        return 1;
    if (v->id != r->n_records)
        return refuse(r, e, r->at + R_ID, "the END record counts other records than came");
    r->at += VECTORS_RECORD_BYTES;
    int more = read_joined(r, e);
    if (more < 0)
        return -1;
    r->ended = more == 0;
    return 0;
}

int vectors_next(struct vectors_reader *r, struct vectors_record *v, struct err *e) {
    uint8_t head[VECTORS_RECORD_BYTES];
    int rc = 0;
    while (!r->ended && (rc = next_header(r, head, v, e)) == 0)
        ;
    if (rc != 1)
        return rc;
    size_t payload = get_u32(head + R_PAYLOAD), padded = round_up_size(payload, 8);
    if (read_payload(r, padded, e) != 0 || open_payload(r, v, payload, padded, e) != 0)
        return -1;
    r->at += VECTORS_RECORD_BYTES + padded;
    r->n_records++;
    return 1;
}
