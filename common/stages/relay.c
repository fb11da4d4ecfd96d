/* Relays: see relay.h. The pipe's end does not wait; the other descriptor may, which only makes
 * this process wait.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#if defined(__linux__)
#define _GNU_SOURCE // F_SETPIPE_SZ
#endif
#include "stages/relay.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "wire/peer.h"

enum { RELAY_BYTES = 1 << 16, PIPE_BYTES = 1 << 20 };

void relay_none(struct relay *r) {
    *r = (struct relay){.from = -1, .to = -1, .ended = true};
}

int relay_start(struct relay *r, int fd, bool reads, struct err *e) {
    int ends[2];
    relay_none(r);
    if (pipe(ends) != 0)
        return err_errno(e, EXIT_SYSTEM, "cannot make a pipe");
    if (peer_set_flags(ends[0], true) != 0 || peer_set_flags(ends[1], true) != 0) {
        err_errno(e, EXIT_SYSTEM, "cannot make a pipe");
        close(ends[0]);
        close(ends[1]);
        return -1;
    }
#if defined(F_SETPIPE_SZ)
    if (!reads)
        fcntl(ends[1], F_SETPIPE_SZ, PIPE_BYTES);
#endif
    *r = (struct relay){.from = reads ? fd : ends[0], .to = reads ? ends[1] : fd};
    r->owns_from = !reads;
    r->bytes = xmalloc(RELAY_BYTES);
    return reads ? ends[0] : ends[1];
}

static void end(struct relay *r) {
    if (!r->ended)
        close(r->owns_from ? r->from : r->to);
    r->from = r->to = -1;
    r->ended = true;
}

void relay_free(struct relay *r) {
    end(r);
    free(r->bytes);
    r->bytes = NULL;
}

struct pollfd relay_poll(const struct relay *r) {
    bool writes = r->at < r->n;
    return (struct pollfd){.fd = writes ? r->to : r->from, .events = writes ? POLLOUT : POLLIN};
}

static bool would_wait(void) {
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

static void read_more(struct relay *r) {
    ssize_t got = read(r->from, r->bytes, RELAY_BYTES);
    if (got < 0 && would_wait())
        return;
    if (got < 0)
        err_errno(&r->err, EXIT_IO, "cannot read: %s", r->owns_from ? "the engine" : "stdin");
    r->at = 0;
    r->n = got > 0 ? (size_t)got : 0;
    if (got <= 0)
        end(r);
}

static void write_more(struct relay *r) {
    ssize_t sent = write(r->to, r->bytes + r->at, r->n - r->at);
    if (sent >= 0) {
        r->at += (size_t)sent;
        return;
    }
    if (would_wait())
        return;
    r->left = errno == EPIPE;
    if (!r->left)
        err_errno(&r->err, EXIT_IO, "cannot write to stdout");
    r->at = r->n = 0;
    end(r);
}

void relay_step(struct relay *r, const struct pollfd *p) {
    if (r->ended || p->revents == 0)
        return;
    if (r->at == r->n)
        read_more(r);
    if (!r->ended && r->at < r->n)
        write_more(r);
}
