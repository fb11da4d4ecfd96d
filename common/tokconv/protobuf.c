/* Reads protocol buffers: see protobuf.h. Every read is bounded by the end of the message, and a
 * message by the end of the field that holds it.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "tokconv/protobuf.h"

#include <inttypes.h>
#include <stdio.h>

struct protobuf protobuf_begin(const char *name, struct str file, struct err *e) {
    const unsigned char *p = (const unsigned char *)file.p;
    return (struct protobuf){.name = name, .file = p, .p = p, .end = p + file.n, .e = e};
}

struct protobuf protobuf_inside(const struct protobuf *m, const struct protobuf_field *f) {
    struct protobuf in = *m;
    in.p = (const unsigned char *)f->bytes.p;
    in.end = in.p + f->bytes.n;
    return in;
}

static bool fail(struct protobuf *m, const unsigned char *at, const char *what) {
    err_set(m->e, EXIT_DATA, "%s: %s: byte %zu", what, m->name, (size_t)(at - m->file));
    m->failed = true;
    return false;
}

static bool varint(struct protobuf *m, uint64_t *out) {
    const unsigned char *start = m->p;
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        if (m->p == m->end)
            return fail(m, start, "a varint is cut short");
        uint64_t byte = *m->p++;
        if (shift == 63 && byte > 1)
            break;
        v |= (byte & 0x7F) << shift;
        if (byte < 0x80) {
            *out = v;
            return true;
        }
    }
    return fail(m, start, "a varint has more than 64 bits");
}

static bool fixed(struct protobuf *m, unsigned n, uint64_t *out) {
    if ((size_t)(m->end - m->p) < n)
        return fail(m, m->p, "a number is cut short");
    *out = 0;
    for (unsigned i = 0; i < n; i++)
        *out |= (uint64_t)m->p[i] << 8 * i;
    m->p += n;
    return true;
}

static bool bytes(struct protobuf *m, struct str *out) {
    const unsigned char *start = m->p;
    uint64_t n;
    if (!varint(m, &n))
        return false;
    if (n > (size_t)(m->end - m->p))
        return fail(m, start, "a field is longer than its message");
    *out = (struct str){(const char *)m->p, (size_t)n};
    m->p += n;
    return true;
}

bool protobuf_next(struct protobuf *m, struct protobuf_field *f) {
    if (m->failed || m->p == m->end)
        return false;
    *f = (struct protobuf_field){.at = m->p};
    uint64_t tag;
    if (!varint(m, &tag))
        return false;
    if (tag >> 3 == 0 || tag >> 3 > 0x1FFFFFFF)
        return fail(m, f->at, "a field has no valid number");
    f->number = (uint32_t)(tag >> 3);
    switch (tag & 7) {
    case PROTOBUF_VARINT:
        f->type = PROTOBUF_VARINT;
        return varint(m, &f->value);
    case PROTOBUF_I64:
        f->type = PROTOBUF_I64;
        return fixed(m, 8, &f->value);
    case PROTOBUF_BYTES:
        f->type = PROTOBUF_BYTES;
        return bytes(m, &f->bytes);
    case PROTOBUF_I32:
        f->type = PROTOBUF_I32;
        return fixed(m, 4, &f->value);
    default:
        return fail(m, f->at, "a field has an unsupported wire type");
    }
}

bool protobuf_is(struct protobuf *m, const struct protobuf_field *f, enum protobuf_type type) {
    if (f->type == type)
        return true;
    protobuf_refuse(m, f, "field %" PRIu32 " has the wire type %d, not %d", f->number, (int)f->type,
                    (int)type);
    return false;
}

void protobuf_refuse(struct protobuf *m, const struct protobuf_field *f, const char *fmt, ...) {
    char what[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    fail(m, f->at, what);
}

float protobuf_float(const struct protobuf_field *f) {
    uint32_t bits = (uint32_t)f->value;
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}
