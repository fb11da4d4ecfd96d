/* The thin client: see resident_run.h.
 *
 * The return path's socket is made here, with the client's rights, and removed by its own cleaner.
 * When a sampler has said hello, its connection is passed on to the engine, which from then on
 * reads the requests itself.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#if defined(__linux__)
#define _GNU_SOURCE // F_SETPIPE_SZ
#endif
#include "stages/resident_run.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "stages/relay.h"
#include "wire/passing.h"
#include "wire/return.h"

enum { PIPE_BYTES = 1 << 20 };
enum { FD_CONTROL, FD_RETURN, FD_IN, FD_OUT, N_FDS };

struct run {
    int control;
    struct return_server *ret; // NULL: none, or taken or declined already
    struct relay in, out;
    bool ended, left;
    int code;
};

/* ---- Handing over ---- */

/* A descriptor that the engine takes in place of fd: the same pipe or socket, or a pipe that r
 * copies from or to. The caller closes it. */
static int to_pass(struct relay *r, int fd, bool reads, struct err *e) {
    struct stat st;
    relay_none(r);
    if (fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode)) {
        int copy = dup(fd);
        return copy >= 0 ? copy : err_errno(e, EXIT_SYSTEM, "cannot copy a descriptor");
    }
#if defined(F_SETPIPE_SZ)
    if (!reads && S_ISFIFO(st.st_mode))
        fcntl(fd, F_SETPIPE_SZ, PIPE_BYTES); // a row of 50,000 logits is three times the default
#endif
    int again = passing_open_again(fd, !reads);
    return again >= 0 ? again : relay_start(r, fd, reads, e);
}

/* Connects last, because the engine drops who is slow to ask. */
static int hand_over(struct run *s, const struct resident_run *r, struct err *e) {
    struct logits_header path = {0};
    struct resident_ask ask = r->ask;
    if (r->wants_return && !(s->ret = return_listen(&path, e)))
        return -1;
    ask.returns = r->wants_return;
    ask.path = r->wants_return ? &path : NULL;
    int in = to_pass(&s->in, r->in_fd, true, e), out = -1;
    int rc = in < 0 || (out = to_pass(&s->out, r->out_fd, false, e)) < 0 ||
                     (s->control = resident_connect(r->socket, r->group, e)) < 0
                 ? -1
                 : resident_ask(s->control, &ask, in, out, e);
    if (in >= 0)
        close(in);
    if (out >= 0)
        close(out);
    return rc;
}

/* ---- The loop ---- */

/* The sampler's connection, or that there is none, goes to the engine. */
static int serve_return(struct run *s, struct err *e) {
    if (!s->ret)
        return 0;
    if (return_meet(s->ret, e) != 0)
        return -1;
    if (return_state(s->ret) == RETURN_WAITING)
        return 0;
    int peer = return_state(s->ret) == RETURN_TAKEN ? return_give_peer(s->ret) : -1;
    int rc = resident_take(s->control, peer, e);
    if (peer >= 0)
        close(peer);
    return_server_free(s->ret);
    s->ret = NULL;
    return rc;
}

static int hear(struct run *s, struct err *e) {
    struct resident_answer a;
    do {
        if (resident_hear(s->control, &a, e) != 0)
            return -1;
        if (a.event == RESIDENT_WARNED)
            warn("%s", a.text);
        if (a.event == RESIDENT_NOTED)
            print_note("%s", a.text);
        s->left = a.event == RESIDENT_LEFT;
        s->ended = s->left || a.event == RESIDENT_ENDED;
    } while (a.event != RESIDENT_NOTHING && !s->ended);
    if (s->ended)
        s->code = a.code;
    return s->ended && a.text[0] ? err_set(e, a.code, "%s", a.text) : 0;
}

static int wait_once(struct run *s, struct err *e) {
    struct pollfd fds[N_FDS] = {
        [FD_CONTROL] = {.fd = s->ended ? -1 : s->control, .events = POLLIN},
        [FD_RETURN] = {.fd = s->ret ? return_poll_fd(s->ret) : -1, .events = POLLIN},
        [FD_IN] = relay_poll(&s->in),
        [FD_OUT] = relay_poll(&s->out),
    };
    int n = poll(fds, N_FDS, s->ret ? return_timeout_ms(s->ret) : -1);
    if (n < 0 && errno != EINTR)
        return err_errno(e, EXIT_SYSTEM, "cannot poll");
    if (n <= 0)
        return serve_return(s, e);
    relay_step(&s->in, &fds[FD_IN]);
    relay_step(&s->out, &fds[FD_OUT]);
    if (fds[FD_RETURN].revents && serve_return(s, e) != 0)
        return -1;
    return fds[FD_CONTROL].revents ? hear(s, e) : 0;
}

/* Until the engine has ended the request, and then until the rest has been copied. */
static int run(struct run *s, struct err *e) {
    int rc = 0;
    while (!s->ended && rc == 0)
        rc = wait_once(s, e);
    // The engine closes its end of the relay's pipe, now at the latest.
    close(s->control);
    s->control = -1;
    s->ended = true;
    struct err ignored;
    while (!s->out.ended && wait_once(s, &ignored) == 0)
        ;
    return rc;
}

int stage_resident(const struct resident_run *r, int *code, struct err *e) {
    struct run s = {.control = -1};
    relay_none(&s.in);
    relay_none(&s.out);
    int rc = hand_over(&s, r, e);
    if (rc == 0 && r->opened)
        rc = r->opened(e);
    if (rc == 0)
        rc = run(&s, e);
    *code = s.code;
    if (s.out.err.code || (rc == 0 && s.in.err.code)) {
        *e = s.out.err.code ? s.out.err : s.in.err;
        rc = -1;
    } else if (s.left || s.out.left) {
        rc = FORWARD_READER_LEFT;
    }
    return_server_free(s.ret);
    relay_free(&s.in);
    relay_free(&s.out);
    if (s.control >= 0)
        close(s.control);
    return rc;
}
