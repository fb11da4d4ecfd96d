/* logits(5), read and written: see logits.h and the page logits(5).
 *
 *     stream header, 256 bytes or more | frame | frame | ... | END frame
 *     frame: header, 32 bytes | values or ids | text | padding
 *
 * The two enums below are the offsets in both headers. A frame's type is four ASCII letters: `xxd`
 * of a stream is readable, and a reader at a wrong place notices it at once. Payloads are written
 * from the caller's memory. They are read into one buffer that grows as bytes come, so that a false
 * length takes no memory.
 *
 * The reader refuses, with the byte: another magic, version or dtype, nonzero reserved bytes and
 * padding, sizes above the maxima of logits.h, a payload that does not match its header, ids
 * outside the vocabulary, positions outside the context, and a stream that stops before its END
 * frame.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "wire/logits.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "base/io.h"
#include "base/num.h"
#include "base/utf8.h"
#include "wire/bytes.h"
#include "wire/payload.h"
#include "wire/tokens.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "payloads are read and written in place: on a big-endian machine they would need swapping"
#endif

static const char magic[8] = {'L', 'O', 'G', 'I', 'T', 'S', '\r', '\n'};

enum header_offset {
    H_MAGIC = 0,
    H_VERSION = 8,
    H_BYTES = 12, // of the header itself: 256
    H_VOCAB = 16,
    H_HIDDEN = 20,
    H_CONTEXT = 24,
    H_DTYPE = 28,
    H_BOS = 32,
    H_N_EOS = 36,
    H_EOS = 40, // [8]
    H_WEIGHTS = 72,
    H_TOKENIZER = 80,
    H_NONCE = 88,
    H_ADDRESS = 104,
    H_RESERVED = 212, // zeros
};

enum frame_offset {
    F_TYPE = 0,
    F_SEQ = 4,
    F_POS = 8,
    F_ROWS = 12,
    F_IDS = 16,
    F_TEXT = 20,
    F_PAYLOAD = 24
};

enum { DTYPE_F32 = 1 };

/* By enum frame_type, from 1. */
static const char frame_tag[][5] = {"",     "OPEN", "LOGI", "HIDD", "FAIL",
                                    "IDS ", "CLOS", "END ", "NOTE"};

enum { N_FRAME_TYPES = sizeof frame_tag / sizeof *frame_tag };

/* Columns of the frame's rows; 0 if it has no rows. */
static size_t columns(const struct logits_header *h, enum frame_type type) {
    return type == FRAME_LOGITS ? h->vocab_size : type == FRAME_HIDDEN ? h->hidden_dim : 0;
}

static bool has_ids(enum frame_type type) {
    return type == FRAME_OPEN || type == FRAME_IDS;
}

static bool has_text(enum frame_type type) {
    return type == FRAME_OPEN || type == FRAME_FAILED || type == FRAME_HIDDEN || type == FRAME_NOTE;
}

bool logits_layer(const struct frame *f, uint32_t *layer) {
    static const char key[] = "layer=";
    uint64_t n;
    if (!str_begins_with(f->text, key) ||
        !parse_u64((struct str){f->text.p + strlen(key), f->text.n - strlen(key)}, 0,
                   LOGITS_MAX_LAYER, &n))
        return false;
    *layer = (uint32_t)n;
    return true;
}

/* ---- Writing ---- */

static int check_own_header(const struct logits_header *h, struct err *e) {
    if (h->vocab_size == 0 || h->vocab_size > LOGITS_MAX_VOCAB)
        return err_set(e, EXIT_BUG, "logits header: vocabulary of %" PRIu32, h->vocab_size);
    if (h->hidden_dim > LOGITS_MAX_HIDDEN)
        return err_set(e, EXIT_BUG, "logits header: hidden size %" PRIu32, h->hidden_dim);
    if (h->context == 0 || h->context > LOGITS_MAX_CONTEXT)
        return err_set(e, EXIT_BUG, "logits header: context of %" PRIu32, h->context);
    if (h->n_eos > LOGITS_MAX_EOS)
        return err_set(e, EXIT_BUG, "logits header: %" PRIu32 " EOS ids", h->n_eos);
    return 0;
}

/* The header's length in bytes. EOS ids that do not fit into 256 bytes follow, padded to a multiple
 * of 8 bytes. */
static size_t header_bytes(uint32_t n_eos) {
    size_t more = n_eos > LOGITS_HEADER_EOS ? n_eos - LOGITS_HEADER_EOS : 0;
    return LOGITS_HEADER_BYTES + (more + 1) / 2 * 8;
}

/* The offset of EOS id i. */
static size_t eos_at(uint32_t i) {
    return i < LOGITS_HEADER_EOS ? H_EOS + 4 * i
                                 : LOGITS_HEADER_BYTES + 4 * (i - LOGITS_HEADER_EOS);
}

enum { MAX_HEADER = LOGITS_HEADER_BYTES + 4 * (LOGITS_MAX_EOS - LOGITS_HEADER_EOS) };

int logits_put_header(struct buf *out, const struct logits_header *h, struct err *e) {
    uint8_t bytes[MAX_HEADER] = {0};
    if (check_own_header(h, e) != 0)
        return -1;
    memcpy(bytes + H_MAGIC, magic, sizeof magic);
    put_u32(bytes + H_VERSION, LOGITS_VERSION);
    put_u32(bytes + H_BYTES, (uint32_t)header_bytes(h->n_eos));
    put_u32(bytes + H_VOCAB, h->vocab_size);
    put_u32(bytes + H_HIDDEN, h->hidden_dim);
    put_u32(bytes + H_CONTEXT, h->context);
    put_u32(bytes + H_DTYPE, DTYPE_F32);
    put_u32(bytes + H_BOS, (uint32_t)h->bos);
    put_u32(bytes + H_N_EOS, h->n_eos);
    for (uint32_t i = 0; i < h->n_eos; i++)
        put_u32(bytes + eos_at(i), (uint32_t)h->eos[i]);
    put_u64(bytes + H_WEIGHTS, h->weights);
    put_u64(bytes + H_TOKENIZER, h->tokenizer);
    memcpy(bytes + H_NONCE, h->nonce, sizeof h->nonce);
    memcpy(bytes + H_ADDRESS, h->address, strnlen(h->address, sizeof h->address - 1));
    buf_add(out, bytes, header_bytes(h->n_eos));
    return 0;
}

int logits_write_header(int fd, const struct logits_header *h, struct err *e) {
    struct buf out = {0};
    int rc = logits_put_header(&out, h, e);
    if (rc == 0)
        rc = write_full(fd, out.p, out.n, e);
    buf_free(&out);
    return rc;
}

static struct iovec part_of(const void *p, size_t n) {
    return (struct iovec){(void *)(uintptr_t)p, n};
}

int logits_frame_pieces(const struct logits_header *h, const struct frame *f,
                        uint8_t head[LOGITS_FRAME_BYTES], struct iovec v[4], struct err *e) {
    static const uint8_t zeros[8];
    if (f->type < FRAME_OPEN || (int)f->type >= N_FRAME_TYPES)
        return err_set(e, EXIT_BUG, "logits frame: type %d", (int)f->type);
    size_t row_bytes = columns(h, f->type) * sizeof *f->values;
    uint32_t rows = row_bytes ? f->rows : 0, n_ids = has_ids(f->type) ? f->n_ids : 0;
    struct str text = f->type == FRAME_FAILED ? payload_one_line(f->text, TOKENS_MAX_TEXT)
                      : has_text(f->type)     ? f->text
                                              : str_of("");
    bool has_rows = f->type == FRAME_LOGITS || f->type == FRAME_HIDDEN;
    if (has_rows && (rows == 0 || rows > LOGITS_MAX_PAYLOAD / row_bytes))
        return err_set(e, EXIT_BUG, "logits frame: %" PRIu32 " rows", rows);
    if (n_ids > TOKENS_MAX_SEQUENCE || text.n > TOKENS_MAX_TEXT)
        return err_set(e, EXIT_BUG, "logits frame: %" PRIu32 " ids, a text of %zu bytes", n_ids,
                       text.n);
    size_t payload = rows * row_bytes + n_ids * sizeof *f->ids + text.n;
    memcpy(head + F_TYPE, frame_tag[f->type], 4);
    put_u32(head + F_SEQ, f->seq);
    put_u32(head + F_POS, f->pos);
    put_u32(head + F_ROWS, rows);
    put_u32(head + F_IDS, n_ids);
    put_u32(head + F_TEXT, (uint32_t)text.n);
    put_u64(head + F_PAYLOAD, payload);
    int n = 0;
    v[n++] = part_of(head, LOGITS_FRAME_BYTES);
    if (rows)
        v[n++] = part_of(f->values, rows * row_bytes);
    if (n_ids)
        v[n++] = part_of(f->ids, n_ids * sizeof *f->ids);
    if (text.n)
        v[n++] = part_of(text.p, text.n);
    if (payload % 8)
        v[n++] = part_of(zeros, 8 - payload % 8);
    return n;
}

/* ---- Reading ---- */

struct logits_reader {
    int fd;
    char *name;
    struct logits_header header;
    uint64_t at;            // offset in the stream of the frame that is read
    struct payload payload; // with padding
    bool ended;
};

static int refuse(struct logits_reader *r, struct err *e, uint64_t byte, const char *what) {
    return err_set(e, EXIT_DATA, "%s: %s: byte %" PRIu64, what, r->name, byte);
}

static int check_header(struct logits_reader *r, const uint8_t *b, struct err *e) {
    if (memcmp(b + H_MAGIC, magic, sizeof magic) != 0)
        return refuse(r, e, H_MAGIC, "not a logits(5) stream, as llm-forward writes it");
    if (get_u32(b + H_VERSION) != LOGITS_VERSION)
        return refuse(r, e, H_VERSION, "a logits(5) stream of a version other than 1");
    if (get_u32(b + H_VOCAB) == 0 || get_u32(b + H_VOCAB) > LOGITS_MAX_VOCAB)
        return refuse(r, e, H_VOCAB, "the vocabulary size is not in 1 .. 16777216");
    if (get_u32(b + H_HIDDEN) > LOGITS_MAX_HIDDEN)
        return refuse(r, e, H_HIDDEN, "the hidden size is larger than 1048576");
    if (get_u32(b + H_CONTEXT) == 0 || get_u32(b + H_CONTEXT) > LOGITS_MAX_CONTEXT)
        return refuse(r, e, H_CONTEXT, "the context length is not in 1 .. 268435456");
    if (get_u32(b + H_DTYPE) != DTYPE_F32)
        return refuse(r, e, H_DTYPE, "the dtype of the logits is not f32 (1)");
    if (get_u32(b + H_N_EOS) > LOGITS_MAX_EOS)
        return refuse(r, e, H_N_EOS, "more than 1024 EOS ids");
    if (get_u32(b + H_BYTES) != header_bytes(get_u32(b + H_N_EOS)))
        return refuse(r, e, H_BYTES, "the stream header's length does not match its EOS ids");
    if (!memchr(b + H_ADDRESS, '\0', LOGITS_ADDRESS_BYTES))
        return refuse(r, e, H_ADDRESS, "the return path's address has no NUL");
    if (!payload_all_zero(b + H_RESERVED, LOGITS_HEADER_BYTES - H_RESERVED))
        return refuse(r, e, H_RESERVED, "reserved bytes are not zero");
    return 0;
}

static int read_header(struct logits_reader *r, struct err *e) {
    uint8_t b[MAX_HEADER];
    size_t got, more;
    if (read_full(r->fd, b, LOGITS_HEADER_BYTES, &got, e) != 0)
        return err_where(e, "%s", r->name);
    if (got == 0)
        return err_set(e, EXIT_DATA, "no input, not even a logits(5) header: %s", r->name);
    if (file_hint(b, got) && memcmp(b, magic, got < sizeof magic ? got : sizeof magic) != 0)
        return err_set(e, EXIT_DATA, "not a logits(5) stream: %s: %s", file_hint(b, got), r->name);
    if (got < sizeof magic || memcmp(b, magic, sizeof magic) != 0)
        return refuse(r, e, H_MAGIC, "not a logits(5) stream, as llm-forward writes it");
    if (got < LOGITS_HEADER_BYTES)
        return refuse(r, e, got, "the stream was cut inside its header");
    if (check_header(r, b, e) != 0)
        return -1;
    size_t length = get_u32(b + H_BYTES);
    if (read_full(r->fd, b + LOGITS_HEADER_BYTES, length - LOGITS_HEADER_BYTES, &more, e) != 0)
        return err_where(e, "%s", r->name);
    if (LOGITS_HEADER_BYTES + more < length)
        return refuse(r, e, LOGITS_HEADER_BYTES + more, "the stream was cut inside its header");
    struct logits_header *h = &r->header;
    *h = (struct logits_header){
        .vocab_size = get_u32(b + H_VOCAB),
        .hidden_dim = get_u32(b + H_HIDDEN),
        .context = get_u32(b + H_CONTEXT),
        .bos = (int32_t)get_u32(b + H_BOS),
        .n_eos = get_u32(b + H_N_EOS),
        .weights = get_u64(b + H_WEIGHTS),
        .tokenizer = get_u64(b + H_TOKENIZER),
    };
    for (uint32_t i = 0; i < h->n_eos; i++)
        h->eos[i] = (int32_t)get_u32(b + eos_at(i));
    memcpy(h->address, b + H_ADDRESS, sizeof h->address);
    memcpy(h->nonce, b + H_NONCE, sizeof h->nonce);
    r->at = length;
    return 0;
}

struct logits_reader *logits_reader_new(int fd, const char *name, struct logits_header *h,
                                        struct err *e) {
    struct logits_reader *r = xcalloc(1, sizeof *r);
    r->fd = fd;
    r->name = xstrdup(name);
    if (read_header(r, e) != 0) {
        logits_reader_free(r);
        return NULL;
    }
    *h = r->header;
    return r;
}

void logits_reader_free(struct logits_reader *r) {
    if (!r)
        return;
    free(r->payload.p);
    free(r->name);
    free(r);
}

static enum frame_type type_of(const uint8_t *head) {
    for (int t = FRAME_OPEN; t < N_FRAME_TYPES; t++)
        if (memcmp(head + F_TYPE, frame_tag[t], 4) == 0)
            return (enum frame_type)t;
    return 0;
}

/* Checks the frame header's numbers against the maxima and against each other, before any memory is
 * allocated. */
static int check_frame(struct logits_reader *r, const uint8_t *head, struct frame *f,
                       size_t *payload, struct err *e) {
    *payload = 0;
    *f = (struct frame){.type = type_of(head)};
    f->seq = get_u32(head + F_SEQ);
    f->pos = get_u32(head + F_POS);
    f->rows = get_u32(head + F_ROWS);
    f->n_ids = get_u32(head + F_IDS);
    f->text.n = get_u32(head + F_TEXT);
    if (f->type == 0)
        return refuse(r, e, r->at + F_TYPE, "unknown frame type");
    size_t n_columns = columns(&r->header, f->type), row_bytes = n_columns * sizeof(float);
    if (f->type == FRAME_HIDDEN && n_columns == 0)
        return refuse(r, e, r->at,
                      "a frame of hidden states, which the stream header does not announce");
    if (n_columns ? f->rows == 0 || f->rows > LOGITS_MAX_PAYLOAD / row_bytes : f->rows != 0)
        return refuse(r, e, r->at + F_ROWS, "the number of rows is out of bounds");
    if (f->n_ids > (has_ids(f->type) ? TOKENS_MAX_SEQUENCE : 0))
        return refuse(r, e, r->at + F_IDS, "the number of ids is out of bounds");
    if (f->text.n > (has_text(f->type) ? TOKENS_MAX_TEXT : 0))
        return refuse(r, e, r->at + F_TEXT, "the length of the text is out of bounds");
    if ((uint64_t)f->pos + f->rows > r->header.context || (f->type == FRAME_OPEN && f->pos != 0))
        return refuse(r, e, r->at + F_POS, "the position is out of bounds");
    *payload = f->rows * row_bytes + f->n_ids * sizeof *f->ids + f->text.n;
    if (get_u64(head + F_PAYLOAD) != *payload)
        return refuse(r, e, r->at + F_PAYLOAD, "the payload's length does not match its parts");
    return 0;
}

static int read_payload(struct logits_reader *r, size_t n, struct err *e) {
    size_t have;
    if (payload_read(&r->payload, r->fd, n, &have, e) != 0)
        return err_where(e, "%s", r->name);
    if (have < n)
        return refuse(r, e, r->at + LOGITS_FRAME_BYTES + have, "the stream was cut inside a frame");
    return 0;
}

/* Sets f's pointers into the payload, and checks ids, text and padding. */
static int open_payload(struct logits_reader *r, struct frame *f, size_t payload, size_t padded,
                        struct err *e) {
    uint64_t start = r->at + LOGITS_FRAME_BYTES;
    if (columns(&r->header, f->type))
        f->values = (const float *)(const void *)r->payload.p;
    f->ids = (const uint32_t *)(const void *)r->payload.p;
    for (uint32_t i = 0; i < f->n_ids; i++)
        if (f->ids[i] >= r->header.vocab_size)
            return refuse(r, e, start + 4 * (uint64_t)i, "a token id is outside the vocabulary");
    size_t text_at = payload - f->text.n;
    uint32_t layer;
    f->text.p = f->text.n ? (const char *)r->payload.p + text_at : "";
    if (utf8_valid(f->text.p, f->text.n) != f->text.n)
        return refuse(r, e, start + text_at, "the text is not UTF-8");
    if (memchr(f->text.p, '\n', f->text.n)) // in tokens(5) it would end the line
        return refuse(r, e, start + text_at, "a newline in the text");
    if (f->type == FRAME_HIDDEN && f->text.n && !logits_layer(f, &layer))
        return refuse(r, e, start + text_at, "the text of hidden states is not 'layer=N'");
    if (padded > payload && !payload_all_zero(r->payload.p + payload, padded - payload))
        return refuse(r, e, start + payload, "the padding is not zero");
    return 0;
}

int logits_next(struct logits_reader *r, struct frame *f, struct err *e) {
    uint8_t head[LOGITS_FRAME_BYTES];
    size_t got, payload;
    if (r->ended)
        return 0;
    if (read_full(r->fd, head, sizeof head, &got, e) != 0)
        return err_where(e, "%s", r->name);
    if (got < sizeof head)
        return refuse(r, e, r->at + got,
                      got ? "the stream was cut inside a frame" : "the stream was cut");
    if (check_frame(r, head, f, &payload, e) != 0)
        return -1;
    size_t padded = (payload + 7) & ~(size_t)7;
    if (read_payload(r, padded, e) != 0 || open_payload(r, f, payload, padded, e) != 0)
        return -1;
    r->at += LOGITS_FRAME_BYTES + padded;
    r->ended = f->type == FRAME_END;
    return !r->ended;
}
