/* logits(5): the binary stream from llm-forward to its readers.
 *
 * It is little-endian: a stream header, then frames. A frame is a 32-byte header and a payload that
 * is padded with zeros to a multiple of 8 bytes. Every length is checked against its maximum before
 * memory is allocated. A stream without its END frame was cut.
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
    LOGITS_MAX_LAYER = 1 << 16,
    LOGITS_MAX_EOS = 1024,
    LOGITS_HEADER_EOS = 8,      // EOS ids in those bytes; more make the header longer
    LOGITS_ADDRESS_BYTES = 108, // sun_path, with its NUL
    LOGITS_NONCE_BYTES = 16,
    LOGITS_MAX_PAYLOAD = 1 << 30, // bytes; a writer puts more rows into several frames
};

struct logits_header {
    uint32_t vocab_size; // columns of a row
    uint32_t hidden_dim; // columns of a hidden row; 0: there will be no hidden frames
    uint32_t context;    // most ids of a sequence
    int32_t bos;         // -1: the model has none
    uint32_t n_eos;
    int32_t eos[LOGITS_MAX_EOS];
    uint64_t weights;                   // fingerprint of the weights' headers
    uint64_t tokenizer;                 // fingerprint of tokenizer.json; 0: not known
    char address[LOGITS_ADDRESS_BYTES]; // of the return path; "": there is none
    uint8_t nonce[LOGITS_NONCE_BYTES];
};

enum frame_type {
    FRAME_OPEN = 1,   // a sequence begins: struct frame's n_ids, ids, attrs
    FRAME_LOGITS = 2, // f32 [rows, vocab_size], of positions pos .. pos + rows - 1
    FRAME_HIDDEN = 3, // f32 [rows, hidden_dim]; text "layer=N", or "": after the final norm
    FRAME_FAILED = 4, // text is the reason; no more frames of this sequence
    FRAME_IDS = 5,    // ids that a request appended at pos, before their logits: for viewers
    FRAME_CLOSED = 6, // no more frames of this sequence
    FRAME_END = 7,    // the stream is complete
    FRAME_NOTE = 8,   // text: what was cached (note.h); only of a sequence that asks for it
};

/* Sequences are numbered from 0 in the order of the lines on llm-forward's stdin; forks get numbers
 * that the requester chooses (see wire/return.h). */
struct frame {
    enum frame_type type;
    uint32_t seq, pos, rows;
    const float *values; // LOGITS, HIDDEN: [rows, columns]
    const uint32_t *ids; // OPEN, IDS: [n_ids]
    uint32_t n_ids;
    struct str text; // OPEN: attributes; HIDDEN: the layer; FAILED: the reason; NOTE
};

/* The layer of a HIDDEN frame (model/hidden.h has the numbers); false if the frame does not say it.
 * The reader has checked that the text is one of the two forms. */
bool logits_layer(const struct frame *f, uint32_t *layer);

/* Writes the stream header. -1: EXIT_IO, or EXIT_BUG if a field exceeds its maximum. */
int logits_write_header(int fd, const struct logits_header *h, struct err *e);

/* Appends the stream header's bytes to out. -1: EXIT_BUG. */
int logits_put_header(struct buf *out, const struct logits_header *h, struct err *e);

/* A frame's bytes, for writev: fills v with the header, then ids or values, text and padding as far
 * as there are any. Returns the number of pieces, 1 .. 4, or -1 (EXIT_BUG). Nothing is copied: the
 * pieces point into head, into the memory that f points to, and to constants. */
int logits_frame_pieces(const struct logits_header *h, const struct frame *f,
                        uint8_t head[LOGITS_FRAME_BYTES], struct iovec v[4], struct err *e);

struct logits_reader; // owns its buffer, not the fd

/* Reads and checks the header; name is for messages. NULL with e set: EXIT_DATA if it is not such a
 * stream, or if a field is out of bounds. */
struct logits_reader *logits_reader_new(int fd, const char *name, struct logits_header *h,
                                        struct err *e);
void logits_reader_free(struct logits_reader *r);

/* 1 with the next frame, whose pointers are valid until the next call; 0 at END; -1 with e set
 * (EXIT_DATA, with the byte). Waits for a complete frame. */
int logits_next(struct logits_reader *r, struct frame *f, struct err *e);

#endif
