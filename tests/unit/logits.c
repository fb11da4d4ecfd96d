/* logits(5): what is written is read; every flipped header byte and every cut is noticed.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "wire/logits.h"

#include <stdlib.h>
#include <unistd.h>

#include "../lib/check.h"
#include "base/io.h"

static const struct logits_header some_header = {
    .vocab_size = 3,
    .hidden_dim = 2,
    .context = 100,
    .bos = -1,
    .n_eos = 2,
    .eos = {2, 1},
    .weights = UINT64_C(0x1122334455667788),
    .tokenizer = UINT64_C(0x99aabbccddeeff00),
    .address = "/tmp/x/return",
    .nonce = {1, 2, 3},
};

static int temp_file(void) {
    char path[] = "/tmp/logits-test-XXXXXX";
    int fd = mkstemp(path);
    unlink(path);
    return fd;
}

static int write_frame(int fd, const struct logits_header *h, const struct frame *f,
                       struct err *e) {
    uint8_t head[LOGITS_FRAME_BYTES];
    struct iovec v[4];
    int n = logits_frame_pieces(h, f, head, v, e), rc = n < 0 ? -1 : 0;
    for (int i = 0; i < n && rc == 0; i++)
        rc = write_full(fd, v[i].iov_base, v[i].iov_len, e);
    return rc;
}

/* A stream with a frame of each type, as bytes. */
static void some_stream(struct buf *out) {
    static const float rows[2][3] = {{1, 2, 3}, {-1, 0, 0.5f}}, hidden[1][2] = {{7, 8}};
    static const uint32_t ids[3] = {0, 2, 1};
    const struct frame frames[] = {
        {.type = FRAME_OPEN, .seq = 4, .ids = ids, .n_ids = 3, .text = {"id=7", 4}},
        {.type = FRAME_LOGITS, .seq = 4, .pos = 1, .rows = 2, .values = rows[0]},
        {.type = FRAME_HIDDEN, .seq = 4, .pos = 2, .rows = 1, .values = hidden[0]},
        {.type = FRAME_HIDDEN,
         .seq = 4,
         .pos = 2,
         .rows = 1,
         .values = hidden[0],
         .text = {"layer=12", 8}},
        {.type = FRAME_IDS, .seq = 4, .pos = 3, .ids = ids, .n_ids = 1},
        {.type = FRAME_CLOSED, .seq = 4},
        {.type = FRAME_FAILED, .seq = 5, .text = {"why\nnot", 7}},
        {.type = FRAME_END},
    };
    int fd = temp_file();
    CHECK(logits_write_header(fd, &some_header, NULL) == 0);
    for (size_t i = 0; i < sizeof frames / sizeof *frames; i++)
        CHECK(write_frame(fd, &some_header, &frames[i], NULL) == 0);
    CHECK(lseek(fd, 0, SEEK_SET) == 0 && read_all(fd, "test", 1 << 20, out, NULL) == 0);
    close(fd);
}

/* Reads p[0..n) to its end: the number of frames, or -1 with e set. */
static int count_frames(const void *p, size_t n, struct err *e) {
    struct logits_header h;
    struct frame f;
    int ends[2], rc, frames = 0;
    CHECK(pipe(ends) == 0 && write_full(ends[1], p, n, NULL) == 0);
    close(ends[1]);
    struct logits_reader *r = logits_reader_new(ends[0], "test", &h, e);
    if (r)
        while ((rc = logits_next(r, &f, e)) == 1)
            frames++;
    else
        rc = -1;
    logits_reader_free(r);
    close(ends[0]);
    return rc == 0 ? frames : -1;
}

static void round_trip(void) {
    struct buf b = {0};
    struct logits_header h;
    struct frame f;
    uint32_t layer = 0;
    int ends[2];
    some_stream(&b);
    CHECK_INT(b.n, 256 + 8 * 32 + 16 + 24 + 8 + 16 + 8 + 0 + 8);
    CHECK(pipe(ends) == 0 && write_full(ends[1], b.p, b.n, NULL) == 0);
    close(ends[1]);
    struct logits_reader *r = logits_reader_new(ends[0], "test", &h, NULL);
    CHECK(r != NULL);
    CHECK(memcmp(&h, &some_header, sizeof h) == 0);
    CHECK(logits_next(r, &f, NULL) == 1 && f.type == FRAME_OPEN && f.seq == 4 && f.n_ids == 3);
    CHECK(f.ids[0] == 0 && f.ids[1] == 2 && f.ids[2] == 1 && str_eq(f.text, "id=7"));
    CHECK(logits_next(r, &f, NULL) == 1 && f.type == FRAME_LOGITS && f.pos == 1 && f.rows == 2);
    CHECK(f.values[0] == 1 && f.values[5] == 0.5f);
    CHECK(logits_next(r, &f, NULL) == 1 && f.type == FRAME_HIDDEN && f.rows == 1 &&
          f.values[1] == 8 && !logits_layer(&f, &layer));
    CHECK(logits_next(r, &f, NULL) == 1 && f.type == FRAME_HIDDEN && f.values[1] == 8);
    CHECK(logits_layer(&f, &layer) && layer == 12 && str_eq(f.text, "layer=12"));
    CHECK(logits_next(r, &f, NULL) == 1 && f.type == FRAME_IDS && f.pos == 3 && f.n_ids == 1 &&
          f.ids[0] == 0);
    CHECK(logits_next(r, &f, NULL) == 1 && f.type == FRAME_CLOSED && f.seq == 4);
    CHECK(logits_next(r, &f, NULL) == 1 && f.type == FRAME_FAILED && f.seq == 5 &&
          str_eq(f.text, "why"));
    CHECK_INT(logits_next(r, &f, NULL), 0);
    CHECK_INT(logits_next(r, &f, NULL), 0);
    logits_reader_free(r);
    close(ends[0]);
    buf_free(&b);
}

static void every_cut(void) {
    struct buf b = {0};
    some_stream(&b);
    for (size_t n = 0; n < b.n; n++) {
        struct err e = {0};
        CHECK_MSG(count_frames(b.p, n, &e) == -1 && e.code == EXIT_DATA, "cut at %zu", n);
        char byte[64];
        snprintf(byte, sizeof byte, ": test: byte %zu", n);
        if (n >= 8)
            CHECK_MSG(strstr(e.msg, "the stream was cut") && strstr(e.msg, byte), "cut at %zu: %s",
                      n, e.msg);
    }
    CHECK_INT(count_frames(b.p, b.n, NULL), 7);
    buf_free(&b);
}

/* Bytes that have no meaning must be zero; a frame's counts must agree: one changed byte is never
 * read over, except in numbers, where it is another number. */
static void every_bit_of_structure(void) {
    struct buf b = {0};
    some_stream(&b);
    for (size_t i = 0; i < 256 + 32; i++) {
        bool number = (i >= 16 && i < 28) || (i >= 32 && i < 212) || (i >= 256 + 4 && i < 256 + 8);
        struct err e = {0};
        b.p[i] ^= 0x40;
        if (!number)
            CHECK_MSG(count_frames(b.p, b.n, &e) == -1 && e.code == EXIT_DATA, "byte %zu", i);
        b.p[i] ^= 0x40;
    }
    buf_free(&b);
}

static void refused(void) {
    static const struct {
        size_t at;
        uint32_t value;
        const char *want;
    } changes[] = {
        {0, 0, "not a logits(5) stream, as llm-forward writes it: test: byte 0"},
        {8, 2, "a logits(5) stream of a version other than 1: test: byte 8"},
        {16, 0, "the vocabulary size is not in 1 .. 16777216: test: byte 16"},
        {16, (1 << 24) + 1, "the vocabulary size is not in 1 .. 16777216: test: byte 16"},
        {20, (1 << 20) + 1, "the hidden size is larger than 1048576: test: byte 20"},
        {24, (1 << 28) + 1, "the context length is not in 1 .. 268435456: test: byte 24"},
        {28, 2, "the dtype of the logits is not f32 (1): test: byte 28"},
        {36, 9, "the stream header's length does not match its EOS ids: test: byte 12"},
        {36, 1025, "more than 1024 EOS ids: test: byte 36"},
        {212, 1, "reserved bytes are not zero: test: byte 212"},
        {256, 0x4f4f4f4f, "unknown frame type: test: byte 256"},
        {256 + 12, 1, "the number of rows is out of bounds: test: byte 268"},
        {256 + 16, 0xffffffff, "the number of ids is out of bounds: test: byte 272"},
        {256 + 20, 0xffffffff, "the length of the text is out of bounds: test: byte 276"},
        {256 + 16, 4, "the payload's length does not match its parts: test: byte 280"},
        {256 + 28, 1, "the payload's length does not match its parts: test: byte 280"},
        {256 + 36, 3, "a token id is outside the vocabulary: test: byte 292"},
        {256 + 44, 0x0a, "a newline in the text: test: byte 300"},
        {304 + 8, 99, "the position is out of bounds: test: byte 312"},
        {400 + 40, 0x6179616d, "the text of hidden states is not 'layer=N': test: byte 440"},
        {400 + 44, 0x78313d72, "the text of hidden states is not 'layer=N': test: byte 440"},
        {400 + 20, 7, "the payload's length does not match its parts: test: byte 424"},
        {304 + 12, 0xffffffff, "the number of rows is out of bounds: test: byte 316"},
    };
    struct buf b = {0};
    some_stream(&b);
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        struct err e = {0};
        uint32_t old;
        memcpy(&old, b.p + changes[i].at, 4);
        memcpy(b.p + changes[i].at, &changes[i].value, 4);
        CHECK_INT(count_frames(b.p, b.n, &e), -1);
        CHECK_STR(e.msg, changes[i].want);
        memcpy(b.p + changes[i].at, &old, 4);
    }
    struct err e = {0};
    CHECK_INT(count_frames("", 0, &e), -1);
    CHECK_STR(e.msg, "no input, not even a logits(5) header: test");
    buf_free(&b);
}

/* More than 8 ids that end a sequence make the header longer, and nothing else. */
static void many_ends(void) {
    static const uint32_t numbers[] = {9, 10, LOGITS_MAX_EOS};
    for (size_t k = 0; k < sizeof numbers / sizeof *numbers; k++) {
        struct logits_header h = some_header, read;
        struct buf b = {0};
        struct err e = {0};
        h.n_eos = numbers[k];
        for (uint32_t i = 0; i < h.n_eos; i++)
            h.eos[i] = (int32_t)(3 * i + 1);
        int fd = temp_file();
        CHECK(logits_write_header(fd, &h, NULL) == 0);
        CHECK(write_frame(fd, &h, &(struct frame){.type = FRAME_END}, NULL) == 0);
        CHECK(lseek(fd, 0, SEEK_SET) == 0 && read_all(fd, "test", 1 << 20, &b, NULL) == 0);
        CHECK_INT(b.n, 256 + (h.n_eos - 8 + 1) / 2 * 8 + 32);
        CHECK_INT(count_frames(b.p, b.n, &e), 0);
        CHECK(lseek(fd, 0, SEEK_SET) == 0);
        struct logits_reader *r = logits_reader_new(fd, "test", &read, &e);
        CHECK(r && read.n_eos == h.n_eos && memcmp(read.eos, h.eos, sizeof h.eos) == 0);
        logits_reader_free(r);
        close(fd);
        CHECK_INT(count_frames(b.p, 258, &e), -1);
        CHECK_STR(e.msg, "the stream was cut inside its header: test: byte 258");
        b.p[12] ^= 8;
        CHECK_INT(count_frames(b.p, b.n, &e), -1);
        CHECK_STR(e.msg, "the stream header's length does not match its EOS ids: test: byte 12");
        buf_free(&b);
    }
    struct logits_header h = some_header;
    struct err e = {0};
    h.n_eos = LOGITS_MAX_EOS + 1;
    CHECK(logits_write_header(STDOUT_FILENO, &h, &e) == -1);
}

static void own_mistakes(void) {
    struct logits_header h = some_header;
    struct err e = {0};
    h.vocab_size = 0;
    CHECK(logits_write_header(STDOUT_FILENO, &h, &e) == -1 && e.code == EXIT_BUG);
    CHECK(write_frame(STDOUT_FILENO, &some_header, &(struct frame){.type = 9}, &e) == -1);
    CHECK(write_frame(STDOUT_FILENO, &some_header, &(struct frame){.type = FRAME_LOGITS}, &e) ==
          -1);
    CHECK_INT(e.code, EXIT_BUG);
    static const float row[3]; // one row too many for a payload, of which none is read
    struct frame f = {.type = FRAME_LOGITS, .values = row, .rows = LOGITS_MAX_PAYLOAD / 12 + 1};
    CHECK(write_frame(STDOUT_FILENO, &some_header, &f, &e) == -1 && e.code == EXIT_BUG);
}

int main(void) {
    RUN(round_trip);
    RUN(every_cut);
    RUN(every_bit_of_structure);
    RUN(refused);
    RUN(many_ends);
    RUN(own_mistakes);
    return check_done();
}
