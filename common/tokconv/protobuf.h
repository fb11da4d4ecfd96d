/* Reads protocol buffers in the binary format, one field at a time, without copying.
 *
 *     while (protobuf_next(&m, &f))
 *         if (f.number == 1 && protobuf_is(&m, &f, PROTOBUF_BYTES)) text = f.bytes;
 *     if (m.failed) return -1;
 *
 * Fields that the caller does not ask for are skipped. The first error ends the loop, and its
 * message names the file and the byte. Refused: a varint of more than 10 bytes or 64 bits, a field
 * past the end of its message, field number 0, groups (which proto2 has given up) and the two
 * unassigned wire types.
 *
 * Format: https://protobuf.dev/programming-guides/encoding/
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TOKCONV_PROTOBUF_H
#define TOKCONV_PROTOBUF_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"

enum protobuf_type { // wire types
    PROTOBUF_VARINT = 0,
    PROTOBUF_I64 = 1,
    PROTOBUF_BYTES = 2, // strings, bytes, messages
    PROTOBUF_I32 = 5,
};

struct protobuf {
    const char *name;                    // of the file, for messages
    const unsigned char *file, *p, *end; // the file's first byte; the rest of this message
    struct err *e;
    bool failed;
};

struct protobuf_field {
    uint32_t number;
    enum protobuf_type type;
    const unsigned char *at; // the field's first byte
    uint64_t value;          // VARINT, I64, I32
    struct str bytes;        // BYTES, a view
};

struct protobuf protobuf_begin(const char *name, struct str file, struct err *e);
/* A message in a field of type BYTES. */
struct protobuf protobuf_inside(const struct protobuf *m, const struct protobuf_field *f);

/* False at the end of the message, and after an error. */
bool protobuf_next(struct protobuf *m, struct protobuf_field *f);
/* Refuses a field of another type. */
bool protobuf_is(struct protobuf *m, const struct protobuf_field *f, enum protobuf_type type);
/* Refuses the field: "MESSAGE: FILE: byte B". */
void protobuf_refuse(struct protobuf *m, const struct protobuf_field *f, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

/* The field's value as a float, for type I32. */
float protobuf_float(const struct protobuf_field *f);

#endif
