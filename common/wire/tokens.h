/* tokens(5): sequences of token ids as text, a line each.
 *
 * Reading is incremental: every id is returned as soon as its bytes have come, so that a line can
 * grow while a model generates it.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef WIRE_TOKENS_H
#define WIRE_TOKENS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/mem.h"

enum {
    TOKENS_MAX_ID = 0x7fffffff,    // ids are 0 .. TOKENS_MAX_ID
    TOKENS_MAX_SEQUENCE = 1 << 24, // most ids of one sequence
    TOKENS_MAX_TEXT = 1 << 20,     // most bytes of one '#' or '!' line, of a sequence's "#@" lines
                                   // together, and of its "#=" lines
};

struct tokens_header {
    bool present;       // there is a header line
    uint64_t vocab;     // ids are below it; 0: not known. A model's may exceed its tokenizer's
    uint64_t tokenizer; // fingerprint of tokenizer.json; 0: not known
};

enum tokens_event_type {
    TOKENS_EOF,
    TOKENS_ATTRS,  // a "#@" line for the next sequence: text follows "#@ "
    TOKENS_ID,     // id
    TOKENS_END,    // the line's end: the sequence is complete (an empty line is an empty sequence)
    TOKENS_FAILED, // a "!" line instead of a sequence; text is the reason
    TOKENS_RESULT, // a "#=" line about the last sequence: text follows "#= "
};

struct tokens_event {
    enum tokens_event_type type;
    uint32_t id;
    struct str text; // valid until the next call
};

struct tokens_reader; // owns a buffer, not the fd

struct tokens_reader *tokens_reader_new(int fd, const char *name);
void tokens_reader_free(struct tokens_reader *r);

/* Reads by a function instead of read(2), from now on: into p [n]; -1 with errno set. Where it sets
 * EAGAIN, tokens_fill gets nothing, which is no error; tokens_next is not to be called then unless
 * something is pending. */
typedef ssize_t tokens_read_fn(void *ctx, void *p, size_t n);
void tokens_read_by(struct tokens_reader *r, tokens_read_fn *read, void *ctx);

/* The next event; waits for it. Comments are skipped. A header line must come before the first
 * event; a second one must be equal, as in `cat` of two streams. Texts are valid UTF-8. The last
 * line may lack its newline if there is no header; with one the stream was cut. 0, or -1 on bad
 * data (EXIT_DATA, with line and byte) or a read error. */
int tokens_next(struct tokens_reader *r, struct tokens_event *ev, struct err *e);

/* The header line, if any: valid after the first event. */
const struct tokens_header *tokens_header(const struct tokens_reader *r);

/* The number of the line that a TOKENS_END has ended, from 1. */
uint64_t tokens_line(const struct tokens_reader *r);

/* For poll loops. tokens_pending: tokens_next will return without reading from the fd; the end of
 * the input counts. tokens_fill: one read(2); call it only if nothing is pending. An id is complete
 * only with the byte after it, so tokens_next may wait even if the fd is readable: call it only if
 * something is pending. */
bool tokens_pending(struct tokens_reader *r);
int tokens_fill(struct tokens_reader *r, struct err *e);

/* Writing, through stdio, without a flush. Errors show in ferror, which flush_out and close_stdout
 * check. */
void tokens_write_header(FILE *f, const struct tokens_header *h); // nothing unless present
void tokens_write_attrs(FILE *f, struct str attrs);               // nothing if attrs is empty
void tokens_write_id(FILE *f, uint32_t id, bool first); // the space before it unless first
/* The space after an id that another will follow, written early: it tells a reader that the id is
 * complete. Write the next id with `first`. */
void tokens_write_space(FILE *f);
void tokens_write_ids(FILE *f, const uint32_t *ids, size_t n); // all of a sequence, no newline
void tokens_write_end(FILE *f);                                // the newline
void tokens_write_result(FILE *f, struct str text);            // "#= ..."
void tokens_write_failed(FILE *f, struct str reason); // "! ...", newlines in it become spaces

#endif
