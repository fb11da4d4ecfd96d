/* The sampler closes a return path that it was given exactly once, however the stream ends. A
 * second close could hit a descriptor that another thread has opened meanwhile.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#define _GNU_SOURCE // syscall
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../lib/check.h"
#include "stages/sample.h"
#include "wire/logits.h"

static int watched = -1, n_closed;

/* In place of libc's. */
int close(int fd) {
    n_closed += fd == watched;
    return (int)syscall(SYS_close, fd);
}

enum { VOCAB = 4 };

/* Writes a header and n frames to a pipe, and returns the end that is read. */
static int stream(const struct logits_header *h, const struct frame *frames, size_t n) {
    int ends[2];
    uint8_t head[LOGITS_FRAME_BYTES];
    struct iovec v[4];
    struct err e = {0};
    CHECK(pipe(ends) == 0);
    if (h)
        CHECK(logits_write_header(ends[1], h, &e) == 0);
    for (size_t i = 0; i < n; i++) {
        int pieces = logits_frame_pieces(h, &frames[i], head, v, &e);
        CHECK(pieces > 0 && writev(ends[1], v, pieces) > 0);
    }
    close(ends[1]);
    return ends[0];
}

/* Runs the sampler with a path to nobody or to a silent peer. Returns how often it was closed. */
static int closes(int in, bool peer_left) {
    static const struct sample_job none;
    struct sample_job job = none;
    int path[2];
    uint64_t chosen;
    struct err e = {0};
    FILE *out = tmpfile();
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, path) == 0);
    if (peer_left)
        close(path[1]);
    job.params = sample_defaults;
    job.limit = 5;
    job.has_peer = true;
    job.peer = watched = path[0];
    n_closed = 0;
    CHECK(stage_sample(&job, in, "it", out, &chosen, &e) != EXIT_DONE);
    int n = n_closed;
    watched = -1;
    if (!peer_left)
        close(path[1]);
    close(in);
    fclose(out);
    return n;
}

static void whatever_the_stream(void) {
    static const float row[VOCAB] = {0, 1, 2, 3};
    static const uint32_t ids[] = {1, 2};
    static const struct logits_header h = {.vocab_size = VOCAB, .context = 8, .bos = -1};
    const struct frame frames[] = {
        {.type = FRAME_OPEN, .ids = ids, .n_ids = 2},
        {.type = FRAME_LOGITS, .pos = 1, .rows = 1, .values = row},
    };
    for (int peer_left = 0; peer_left < 2; peer_left++) {
        CHECK_INT(closes(stream(NULL, NULL, 0), peer_left), 1);
        for (size_t n = 0; n <= 2; n++)
            CHECK_INT(closes(stream(&h, frames, n), peer_left), 1);
    }
}

int main(void) {
    RUN(whatever_the_stream);
    return check_done();
}
