/* logits(5): the binary stream from llm-forward to its readers. Little-endian; a header, then
 * frames of a 32-byte header and a payload padded with zeros to a multiple of 8 bytes. Every length
 * is checked against its maximum before memory is taken. A stream without its END frame was cut.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef WIRE_LOGITS_H
#define WIRE_LOGITS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/err.h"
#include "base/mem.h"

enum {
    LOGITS_VERSION = 1,
    LOGITS_HEADER_BYTES = 256, // with up to LOGITS_HEADER_EOS ids
    LOGITS_FRAME_BYTES = 32,   // of a frame's header
    LOGITS_MAX_VOCAB = 1 << 24,
    LOGITS_MAX_HIDDEN = 1 << 20,
    LOGITS_MAX_CONTEXT = 1 << 28,
    LOGITS_MAX_EOS = 1024,
    LOGITS_HEADER_EOS = 8,      // that the header has room for; more make it longer
    LOGITS_ADDRESS_BYTES = 108, // sun_path, with its NUL
    LOGITS_NONCE_BYTES = 16,
    LOGITS_MAX_PAYLOAD = 1 << 30, // a writer cuts longer runs of rows into several frames
};

struct logits_header {
    uint32_t vocab_size; // columns of a row
    uint32_t hidden_dim; // columns of a hidden row; 0 where no hidden frames will come
    uint32_t context;    // most ids of a sequence
    int32_t bos;         // -1 where the model has none
    uint32_t n_eos;
    int32_t eos[LOGITS_MAX_EOS];
    uint64_t weights;                   // fingerprint of the weights' headers
    uint64_t tokenizer;                 // fingerprint of tokenizer.json; 0 where not known
    char address[LOGITS_ADDRESS_BYTES]; // of the return path; "" where there is none
    uint8_t nonce[LOGITS_NONCE_BYTES];
};

enum frame_type {
    FRAME_OPEN = 1,   // a sequence begins: struct frame's n_ids, ids, attrs
    FRAME_LOGITS = 2, // f32 [rows, vocab_size], of positions pos .. pos + rows - 1
    FRAME_HIDDEN = 3, // f32 [rows, hidden_dim], after the final norm
    FRAME_FAILED = 4, // text says why; nothing more comes for this sequence
    FRAME_IDS =
        5, // ids that a request appended from pos on, before their logits (for who only looks)
    FRAME_CLOSED = 6, // nothing more comes for this sequence
    FRAME_END = 7,    // the stream is whole
};

/* Sequences are numbered from 0 in the order of the lines on llm-forward's stdin; forks get numbers
 * that the requester chooses (see wire/return.h). */
struct frame {
    enum frame_type type;
    uint32_t seq, pos, rows;
    const float *values; // LOGITS, HIDDEN: [rows, columns]
    const uint32_t *ids; // OPEN, IDS: [n_ids]
    uint32_t n_ids;
    struct str text; // OPEN: attributes; FAILED: the reason
};

/* Writing, straight to a descriptor (writev: no copy of the values). -1: EXIT_IO, or EXIT_BUG past
 * a maximum. */
int logits_write_header(int fd, const struct logits_header *h, struct err *e);
int logits_write_frame(int fd, const struct logits_header *h, const struct frame *f, struct err *e);

/* The same frame in pieces, for a writer that must not wait or that sends many at once: fills v and
 * returns how many of it (1..4: header, ids or values, text, padding), or -1. The pieces point to
 * head, to what f points to and to constants, and are good as long as those are. */
int logits_frame_pieces(const struct logits_header *h, const struct frame *f,
                        uint8_t head[LOGITS_FRAME_BYTES], struct iovec v[4], struct err *e);

struct logits_reader; // owns its buffer, not the fd

/* Reads and checks the header. NULL with e set: EXIT_DATA for what is no such stream or is out of
 * bounds. */
struct logits_reader *logits_reader_new(int fd, const char *name, struct logits_header *h,
                                        struct err *e);
void logits_reader_free(struct logits_reader *r);

/* What the header says, as a line for people ("PROGRAM: NAME: vocabulary 49152, ...") on stderr:
 * option -v. */
void logits_header_show(const struct logits_header *h, const char *name);

/* 1 with the next frame (its pointers are good until the next call), 0 behind END, -1 with e set:
 * EXIT_DATA names the byte; a cut stream says so. Waits for a whole frame. */
int logits_next(struct logits_reader *r, struct frame *f, struct err *e);

#endif
