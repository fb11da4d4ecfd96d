/* vectors(5): the binary stream of embeddings, which llm-embed writes.
 *
 * It is little-endian: a stream header, then records. A record is a 32-byte header and a payload
 * that is padded with zeros to a multiple of 8 bytes: the values, the attributes, the reason of a
 * failure. Record k answers line k of the tokens(5) stream it was made from. Every length is
 * checked against its maximum before memory is allocated. A stream without its END record was cut.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef WIRE_VECTORS_H
#define WIRE_VECTORS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"
#include "base/mem.h"

enum {
    VECTORS_VERSION = 1,
    VECTORS_HEADER_BYTES = 64,
    VECTORS_RECORD_BYTES = 32, // of a record's header
    VECTORS_MAX_DIM = 1 << 20,
    VECTORS_MAX_TEXT = 1 << 20, // bytes of attributes, and of a reason
};

enum vectors_dtype {
    VECTORS_F32 = 1,
    VECTORS_BF16 = 2,
    VECTORS_I8 = 3, // value = scale * i8, with one scale a record
};

/* How two vectors are to be compared. */
enum vectors_metric {
    VECTORS_COSINE = 1,
    VECTORS_DOT = 2,
    VECTORS_EUCLIDEAN = 3, // the smaller distance is the better one
};

struct vectors_header {
    uint32_t dim; // values of a vector, 1 .. VECTORS_MAX_DIM
    enum vectors_dtype dtype;
    enum vectors_metric metric;
    bool unit;          // vectors have length 1, so that a dot product is the cosine
    uint64_t model;     // fingerprint of all that makes a vector of ids: weights, pooling, dim
    uint64_t tokenizer; // fingerprint of tokenizer.json, as in tokens(5); 0: not known
};

enum vectors_type { VECTORS_VALUES = 1, VECTORS_FAILED = 2 };

struct vectors_record {
    enum vectors_type type;
    uint64_t id;        // number of the sequence: llm-embed counts the lines that it reads from 0
    uint32_t n_tokens;  // ids that the vector was made of
    const void *values; // VALUES: [dim] of the header's dtype, aligned to 8 bytes when read
    float scale;        // of i8; 0 otherwise
    struct str attrs;   // attributes of the sequence, as text of tokens(5); one line
    struct str reason;  // FAILED: why, one line
};

/* Bytes of a vector's values. */
size_t vectors_bytes(const struct vectors_header *h);

/* values [dim] f32 to the header's dtype and back. `to` of vectors_pack has vectors_bytes. Rounds
 * to nearest, ties to even; *scale of i8 is the largest magnitude / 127. */
void vectors_pack(const struct vectors_header *h, const float *values, void *to, float *scale);
void vectors_unpack(const struct vectors_header *h, const struct vectors_record *r, float *to);

/* Writing, through stdio, without a flush. Errors of out show in ferror, which flush_out and
 * close_stdout check. -1 (EXIT_BUG): a field exceeds its maximum. vectors_write shortens a reason
 * to one line of UTF-8. */
int vectors_write_header(FILE *out, const struct vectors_header *h, struct err *e);
int vectors_write(FILE *out, const struct vectors_header *h, const struct vectors_record *r,
                  struct err *e);
void vectors_write_end(FILE *out, uint64_t n_records); // after n_records

struct vectors_reader; // owns its buffer, not the fd

/* Reads and checks the header; name is for messages. NULL with e set: EXIT_DATA if it is not such a
 * stream, or if a field is out of bounds. */
struct vectors_reader *vectors_reader_new(int fd, const char *name, struct vectors_header *h,
                                          struct err *e);
void vectors_reader_free(struct vectors_reader *r);

/* 1 with the next record, whose pointers are valid until the next call; 0 after the last; -1 with e
 * set (EXIT_DATA, with the byte). Values are finite. Streams with equal headers can be joined; ids
 * then begin at 0 again. */
int vectors_next(struct vectors_reader *r, struct vectors_record *v, struct err *e);

#endif
