/* A client of a resident embedding model: see embed_listen.h. A thread sends the input, while the
 * main thread reads the vectors.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/io.h"
#include "base/thread.h"
#include "stages/embed_listen.h"
#include "wire/peer.h"

int embed_connect(const char *path, struct err *e) {
    struct sockaddr_un sa;
    if (peer_address(&sa, path) != 0)
        return err_set(e, EXIT_USAGE, "the socket's path has more than %zu bytes: %s",
                       sizeof sa.sun_path - 1, path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0 || peer_set_flags(fd, false) != 0)
        err_errno(e, EXIT_SYSTEM, "cannot make a socket");
    else if (peer_connect(fd, &sa, false) != 0)
        err_errno(e, errno == ENOENT || errno == ENOTDIR ? EXIT_NO_INPUT : EXIT_SYSTEM,
                  "no embedding engine listens at %s", path);
    else if (!peer_is_own_user(fd))
        err_set(e, EXIT_SYSTEM, "the engine belongs to another user: %s", path);
    else
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

/* ---- The input ---- */

struct sender {
    int from, to;
    struct err err; // code 0: all was sent, or the engine has closed
};

/* False: no more can be sent. Where the engine has closed, the reader of the vectors sees it. */
static bool send_all(int fd, const char *p, size_t n, struct err *e) {
    while (n > 0) {
        ssize_t sent = send(fd, p, n, MSG_NOSIGNAL);
        if (sent < 0 && errno != EINTR) {
            if (errno != EPIPE && errno != ECONNRESET)
                err_errno(e, EXIT_IO, "cannot send the input to the engine");
            return false;
        }
        p += sent > 0 ? sent : 0;
        n -= sent > 0 ? (size_t)sent : 0;
    }
    return true;
}

static void *run_sender(void *arg) {
    enum { SIZE = 1 << 16 };
    struct sender *s = arg;
    char *bytes = xmalloc(SIZE);
    ssize_t n = 1;
    while (n > 0 && (n = read_some(s->from, bytes, SIZE)) > 0)
        n = send_all(s->to, bytes, (size_t)n, &s->err) ? n : 0;
    if (n < 0)
        err_errno(&s->err, EXIT_IO, "cannot read the input");
    // After an error the engine must not take what came for the whole.
    shutdown(s->to, s->err.code ? SHUT_RDWR : SHUT_WR);
    free(bytes);
    return NULL;
}

/* ---- The vectors ---- */

static bool would_wait(int fd) {
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, 0) == 0;
}

static int write_vector(struct embed_out *o, const struct vectors_record *v, float *values,
                        struct err *e) {
    const struct embed_record r = {.number = v->id,
                                   .n_tokens = v->n_tokens,
                                   .attrs = v->attrs,
                                   .reason = v->reason,
                                   .failed = v->type == VECTORS_FAILED};
    if (!r.failed && !o->form.json) { // the bytes as they came
        o->n_written++;
        return vectors_write(o->out, &o->header, v, e);
    }
    if (!r.failed)
        vectors_unpack(&o->header, v, values);
    return embed_out_record(o, &r, values, e);
}

static int read_vectors(struct vectors_reader *reader, int fd, struct embed_out *o, struct err *e) {
    struct vectors_record v;
    float *values = xcalloc(o->header.dim, sizeof *values);
    int rc = 0;
    while (rc == 0) {
        if (would_wait(fd) && flush_out(o->out, e) != 0)
            rc = -1;
        else if ((rc = vectors_next(reader, &v, e)) == 1)
            rc = write_vector(o, &v, values, e);
        else if (rc == 0)
            break;
    }
    if (rc == 0)
        embed_out_end(o);
    free(values);
    return rc;
}

int stage_embed_client(int engine, bool json, int fd, FILE *out, int *code, struct err *e) {
    struct sender s = {.from = fd, .to = engine};
    struct vectors_header header;
    struct embed_out o = {0};
    pthread_t thread;
    if (thread_start(&thread, run_sender, &s) != 0)
        return err_set(e, EXIT_SYSTEM, "cannot start a thread");
    struct vectors_reader *reader = vectors_reader_new(engine, "the engine", &header, e);
    int rc = reader ? embed_out_begin(&o, &(struct embed_form){.json = json}, &header, out, e) : -1;
    if (rc == 0)
        rc = read_vectors(reader, engine, &o, e);
    if (flush_out(out, rc == 0 ? e : NULL) != 0)
        rc = -1;
    *code = o.status;
    embed_out_free(&o);
    vectors_reader_free(reader);
    if (rc != 0)
        return -1; // the thread may wait for input: it ends with the program
    pthread_join(thread, NULL);
    if (s.err.code) {
        *e = s.err;
        return -1;
    }
    return 0;
}
