/* Fuzz entry of wire/logits: frames that are accepted are written again and must be the same bytes.
 * A first byte of 1 stands for a good header, so that the fuzzer gets to the frames.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "../lib/fuzz.h"
#include "../lib/fuzzfd.h"
#include "sample/rank.h"
#include "wire/logits.h"
#include "wire/open_seqs.h"

static void add_pieces(struct buf *out, const struct logits_header *h, const struct frame *f) {
    uint8_t head[LOGITS_FRAME_BYTES];
    struct iovec v[4];
    struct err e = {0};
    int n = logits_frame_pieces(h, f, head, v, &e);
    if (n < 0)
        abort();
    for (int i = 0; i < n; i++)
        buf_add(out, v[i].iov_base, v[i].iov_len);
}

static void read_frames(struct logits_reader *r, const struct logits_header *h,
                        const uint8_t *frames) {
    struct open_seqs roll = {0};
    struct buf again = {0};
    struct frame f;
    struct err e = {0};
    uint32_t top[4];
    int rc;
    while ((rc = logits_next(r, &f, &e)) == 1) {
        add_pieces(&again, h, &f);
        if (f.type == FRAME_LOGITS) {
            rank_distribution(f.values, (size_t)f.rows * h->vocab_size);
            rank_top(f.values, h->vocab_size, top, 4);
        }
        open_seqs_take(&roll, &f, NULL);
    }
    if (memcmp(again.p ? again.p : "", frames, again.n) != 0)
        abort();
    if (rc < 0 && (e.code != EXIT_DATA || !e.msg[0]))
        abort();
    buf_free(&again);
    open_seqs_free(&roll);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct logits_header h = {.vocab_size = 3, .hidden_dim = 2, .context = 100};
    struct buf stream = {0};
    struct err e = {0};
    if (size && data[0] == 1) {
        int fd = fuzz_fd(data, 0);
        char bytes[LOGITS_HEADER_BYTES];
        if (logits_write_header(fd, &h, &e) != 0 ||
            pread(fd, bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
            abort();
        buf_add(&stream, bytes, sizeof bytes);
        data++;
        size--;
    }
    buf_add(&stream, data, size);
    struct logits_reader *r =
        logits_reader_new(fuzz_fd((const uint8_t *)stream.p, stream.n), "fuzz", &h, &e);
    if (r)
        read_frames(r, &h, (const uint8_t *)stream.p + LOGITS_HEADER_BYTES);
    else if (e.code != EXIT_DATA)
        abort();
    logits_reader_free(r);
    buf_free(&stream);
    return 0;
}
