/* tokens(5): sequences of token ids as text, a line each. Reading is incremental: every id is given
 * out as soon as its bytes are there, so a line can grow while the model speaks.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef WIRE_TOKENS_H
#define WIRE_TOKENS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"
#include "base/mem.h"

enum {
    TOKENS_MAX_ID = 0x7fffffff,    // ids are 0 .. TOKENS_MAX_ID
    TOKENS_MAX_SEQUENCE = 1 << 24, // most ids of one sequence
    TOKENS_MAX_TEXT = 1 << 20,     // most bytes of one '#' or '!' line
};

struct tokens_header {
    bool present;
    uint64_t
        vocab; // ids are below it (a model's may be larger than its tokenizer's); 0 where not said
    uint64_t tokenizer; // fingerprint of tokenizer.json; 0 where not said
};

enum tokens_event_type {
    TOKENS_EOF,
    TOKENS_ATTRS,  // a "#@" line for the next sequence: text is what follows "#@ "
    TOKENS_ID,     // id
    TOKENS_END,    // the line's end: the sequence is complete (an empty line is an empty sequence)
    TOKENS_FAILED, // a "!" line in place of a sequence; text is the reason
    TOKENS_RESULT, // a "#=" line about the last sequence; text is what follows "#= "
};

struct tokens_event {
    enum tokens_event_type type;
    uint32_t id;
    struct str text; // good until the next call
};

struct tokens_reader; // owns a buffer, not the fd

struct tokens_reader *tokens_reader_new(int fd, const char *name);
void tokens_reader_free(struct tokens_reader *r);

/* The next event, waiting for it. Comments are passed over; a header line may only come first and
 * is kept (a later one must say the same, as in `cat` of two streams). Texts are valid UTF-8. A
 * last line without a newline counts. 0, or -1 on bad data (EXIT_DATA, naming line and byte) or a
 * read error. */
int tokens_next(struct tokens_reader *r, struct tokens_event *ev, struct err *e);
const struct tokens_header *
tokens_header(const struct tokens_reader *r); // valid from the first event on
bool tokens_pending(struct tokens_reader *r); // an event can be had without reading from the fd
/* For poll loops: one read(2) into the buffer, where tokens_pending is false. An id is whole only
 * with the byte behind it, so tokens_next may wait even on a readable fd: call it only when
 * tokens_pending. The end of the input is pending too. */
int tokens_fill(struct tokens_reader *r, struct err *e);

/* A whole sequence, for readers that need no streaming. */
struct tokens_seq {
    struct buf attrs; // the texts of its "#@" lines, joined by a space
    uint32_t *ids;    // [n_ids]
    size_t n_ids, cap;
    bool failed; // attrs stand; reason says why, there are no ids
    struct buf reason;
};
/* 1 with the next sequence in *s (memory is reused), 0 at the end, -1 on error. "#=" lines are
 * dropped. */
int tokens_next_seq(struct tokens_reader *r, struct tokens_seq *s, struct err *e);
void tokens_seq_free(struct tokens_seq *s);

/* Writing, through stdio; every call but flush only appends. Errors show in ferror and
 * close_stdout. */
void tokens_write_header(FILE *f, const struct tokens_header *h); // nothing unless present
void tokens_write_attrs(FILE *f, struct str attrs);               // nothing where attrs is empty
void tokens_write_id(FILE *f, uint32_t id, bool first); // the space before it unless first
/* The space behind an id that another will follow, written early: only then does a reader know that
 * the id is whole. The next id is then written as a first one. */
void tokens_write_space(FILE *f);
void tokens_write_ids(FILE *f, const uint32_t *ids,
                      size_t n);                      // a whole sequence's, without the newline
void tokens_write_end(FILE *f);                       // the newline
void tokens_write_result(FILE *f, struct str text);   // "#= ..."
void tokens_write_failed(FILE *f, struct str reason); // "! ...", newlines in it become spaces

#endif
