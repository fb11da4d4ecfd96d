/* The resident embedding model: see embed_listen.h.
 *
 * One loop polls the socket and the clients, reads once from each that has sent something, runs
 * all lines, and writes what each client takes.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "stages/embed_listen.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/io.h"
#include "stages/input.h"
#include "wire/peer.h"

enum { MAX_QUEUED = 1 << 20 }; // bytes that a client has not taken, before it is read again

struct client {
    int fd;
    char name[32];
    struct input *input;
    struct logits_header header; // what input.h checks lines against
    struct buf out;
    size_t sent; // of out
    uint64_t n_written;
    bool begun, ended, gone;
};

struct engine {
    const struct embed_job *job;
    struct embed_batch *batch;
    void *packed; // a vector in the header's dtype
    FILE *stream; // writes to bytes [n_bytes]
    char *bytes;
    size_t n_bytes;
    struct client *clients[EMBED_LISTEN_CLIENTS]; // [n]
    size_t n;
    bool full; // no descriptors for another client: wait until one has gone
    uint64_t next_name;
    struct pollfd fds[1 + EMBED_LISTEN_CLIENTS];
};

/* ---- Output ---- */

/* What was written to the stream goes to the client's queue. */
static int queue(struct engine *g, struct client *c, struct err *e) {
    if (fflush(g->stream) != 0 || ferror(g->stream))
        return err_errno(e, EXIT_SYSTEM, "no memory for the vectors of a client");
    buf_add(&c->out, g->bytes, g->n_bytes);
    rewind(g->stream);
    return 0;
}

/* An embed_done_fn. */
static int take_vector(void *ctx, const struct embed_record *r, const float *vector,
                       struct err *e) {
    struct engine *g = ctx;
    struct client *c = r->owner;
    struct vectors_record v = {.type = r->failed ? VECTORS_FAILED : VECTORS_VALUES,
                               .id = r->number,
                               .n_tokens = (uint32_t)r->n_tokens,
                               .values = g->packed,
                               .attrs = r->attrs,
                               .reason = r->reason};
    c->n_written++;
    if (!r->failed)
        vectors_pack(&g->job->header, vector, g->packed, &v.scale);
    return vectors_write(g->stream, &g->job->header, &v, e) == 0 ? queue(g, c, e) : -1;
}

/* Sends what the client takes without waiting. */
static void send_queued(struct client *c) {
    while (c->sent < c->out.n && !c->gone) {
        ssize_t n =
            send(c->fd, c->out.p + c->sent, c->out.n - c->sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
        if (n < 0 && errno != EINTR)
            c->gone = true;
        c->sent += n > 0 ? (size_t)n : 0;
    }
    buf_clear(&c->out);
    c->sent = 0;
}

/* ---- Clients ---- */

static int add_client(struct engine *g, int fd, struct err *e) {
    const struct embed_job *job = g->job;
    struct client *c = xcalloc(1, sizeof *c);
    c->fd = fd;
    snprintf(c->name, sizeof c->name, "client %" PRIu64, g->next_name++);
    c->input = input_new(fd, c->name);
    // Lines that are too long come whole, so that they can be cut.
    c->header = (struct logits_header){.vocab_size = (uint32_t)model_spec(job->model)->vocab_size,
                                       .context = LOGITS_MAX_CONTEXT,
                                       .tokenizer = job->tokenizer};
    g->clients[g->n++] = c;
    return vectors_write_header(g->stream, &job->header, e) == 0 ? queue(g, c, e) : -1;
}

static void free_client(struct client *c) {
    close(c->fd);
    input_free(c->input);
    buf_free(&c->out);
    free(c);
}

static int accept_clients(struct engine *g, int socket, struct err *e) {
    while (g->n < EMBED_LISTEN_CLIENTS) {
        int fd = accept(socket, NULL, NULL);
        if (fd < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return 0;
        if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)) {
            g->full = g->n > 0;
            return 0;
        }
        if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
            continue;
        if (fd < 0)
            return err_errno(e, EXIT_SYSTEM, "cannot accept a client");
        if (peer_set_flags(fd, true) != 0 || !peer_is_own_user(fd))
            close(fd);
        else if (add_client(g, fd, e) != 0)
            return -1;
    }
    return 0;
}

/* The client's stream is refused as a whole: it gets the reason, and no end. */
static int refuse(struct engine *g, struct client *c, const struct err *why, struct err *e) {
    const struct vectors_record v = {
        .type = VECTORS_FAILED, .id = c->n_written, .reason = str_of(why->msg)};
    c->ended = true;
    return vectors_write(g->stream, &g->job->header, &v, e) == 0 ? queue(g, c, e) : -1;
}

static int begin(struct engine *g, struct client *c, struct err *e) {
    struct err warning = {0}, bad = {0};
    if (c->begun || !input_begun(c->input))
        return 0;
    c->begun = true;
    return input_check(c->input, &c->header, &warning, &bad) == 0 ? 0 : refuse(g, c, &bad, e);
}

/* Reads once, and adds the lines that are whole. */
static int read_client(struct engine *g, struct client *c, struct err *e) {
    struct input_prompt p;
    input_fill(c->input);
    if (begin(g, c, e) != 0)
        return -1;
    while (c->begun && !c->ended && input_next(c->input, &c->header, &p)) {
        const struct embed_sequence q = {.owner = c,
                                         .number = p.number,
                                         .ids = p.ids,
                                         .n_ids = p.n_ids,
                                         .attrs = p.attrs,
                                         .refused = p.refused};
        if (embed_batch_add(g->batch, &q, e) != 0)
            return -1;
    }
    return 0;
}

/* Once all lines have run. A stream that was cut gets no end. */
static int end_client(struct engine *g, struct client *c, struct err *e) {
    if (c->ended || !input_ended(c->input))
        return 0;
    c->ended = true;
    if (input_code(c->input) != EXIT_DONE)
        return 0;
    vectors_write_end(g->stream, c->n_written);
    return queue(g, c, e);
}

static void drop_gone(struct engine *g) {
    size_t n = 0;
    for (size_t i = 0; i < g->n; i++)
        if (g->clients[i]->gone || (g->clients[i]->ended && !g->clients[i]->out.n))
            free_client(g->clients[i]);
        else
            g->clients[n++] = g->clients[i];
    g->full = g->full && n == g->n;
    g->n = n;
}

/* ---- The loop ---- */

static int wait_for_events(struct engine *g, int socket, struct err *e) {
    const bool accepts = g->n < EMBED_LISTEN_CLIENTS && !g->full;
    g->fds[0] = (struct pollfd){.fd = accepts ? socket : -1, .events = POLLIN};
    for (size_t i = 0; i < g->n; i++) {
        const struct client *c = g->clients[i];
        const bool reads = !c->ended && c->out.n < MAX_QUEUED;
        g->fds[1 + i] = (struct pollfd){
            .fd = c->fd, .events = (short)((reads ? POLLIN : 0) | (c->out.n ? POLLOUT : 0))};
    }
    return poll(g->fds, (nfds_t)(1 + g->n), -1) < 0 && errno != EINTR
               ? err_errno(e, EXIT_SYSTEM, "cannot poll")
               : 0;
}

static int serve(struct engine *g, int socket, struct err *e) {
    const size_t n = g->n; // those that are new were not polled
    for (size_t i = 0; i < n; i++) {
        struct client *c = g->clients[i];
        const short events = g->fds[1 + i].revents;
        c->gone |= (events & (POLLERR | POLLNVAL)) != 0 || (events & (POLLHUP | POLLIN)) == POLLHUP;
        if (!c->gone && (events & POLLIN) && read_client(g, c, e) != 0)
            return -1;
    }
    if (embed_batch_run(g->batch, e) != 0)
        return -1;
    for (size_t i = 0; i < n; i++) {
        if (end_client(g, g->clients[i], e) != 0)
            return -1;
        send_queued(g->clients[i]);
    }
    drop_gone(g);
    return g->fds[0].revents ? accept_clients(g, socket, e) : 0;
}

int stage_embed_listen(const struct embed_job *job, const struct listen_socket *socket,
                       struct err *e) {
    struct engine *g = xcalloc(1, sizeof *g);
    g->job = job;
    g->batch = embed_batch_new(job, take_vector, g);
    g->packed = xcalloc(job->header.dim, sizeof(float));
    g->stream = open_memstream(&g->bytes, &g->n_bytes);
    int rc = g->stream ? 0 : err_errno(e, EXIT_SYSTEM, "cannot open a stream");
    listen_socket_notify(socket, "READY=1");
    while (rc == 0)
        rc = wait_for_events(g, socket->fd, e) == 0 ? serve(g, socket->fd, e) : -1;
    while (g->n > 0)
        free_client(g->clients[--g->n]);
    embed_batch_free(g->batch);
    if (g->stream)
        fclose(g->stream);
    free(g->bytes);
    free(g->packed);
    free(g);
    return rc;
}
