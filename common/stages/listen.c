/* The loop of the resident engine: see listen.h.
 *
 * Each turn polls every client's descriptors, does what they ask for, takes prompts (one of each
 * client in turn, until none is left or the engine has no slot), and runs one step. The layers of
 * hidden states are the union of what clients want.
 *
 * A flood of connections costs little: only MAX_NEW that have not asked are open at once, and only
 * LISTEN_MAX_CLIENTS in all. The others wait in the kernel's queue. Where MAX_NEW are open, the one
 * that has waited longest is dropped, but not before it had time to ask: on a busy machine a client
 * may be interrupted between its connection and its question.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#if defined(__linux__)
#define _GNU_SOURCE // ppoll
#endif
#include "stages/listen.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/progress.h"
#include "stages/forward_stats.h"
#include "stages/listen_client.h"
#include "wire/peer.h"

enum { MAX_NEW = 64 }; // connections that have not asked yet

static const double time_to_ask = 0.5; // seconds that each of them has, where there are MAX_NEW

struct listen {
    const struct listen_job *job;
    struct engine *engine;
    struct listen_client *clients[LISTEN_MAX_CLIENTS]; // [n_clients], in the order of their turns
    size_t n_clients;
    uint32_t next_number;
    bool full; // no descriptors for another connection: wait until a client has gone
    double idle_since;
    struct hidden_layers hidden;
    struct pollfd fds[1 + LISTEN_FDS_EACH * LISTEN_MAX_CLIENTS];
    sigset_t waiting; // signals blocked while it waits
};

/* ---- Signals ---- */

static volatile sig_atomic_t n_stops;

static void on_stop(int signal) {
    (void)signal;
    if (n_stops < 2)
        n_stops = n_stops + 1;
}

/* The signals come only while ppoll waits, so none is missed before it. */
static void catch_signals(struct listen *l) {
    struct sigaction act = {.sa_handler = on_stop};
    sigset_t stops;
    sigemptyset(&stops);
    sigaddset(&stops, SIGTERM);
    sigaddset(&stops, SIGINT);
    sigemptyset(&act.sa_mask);
    sigprocmask(SIG_BLOCK, &stops, &l->waiting);
    sigdelset(&l->waiting, SIGTERM);
    sigdelset(&l->waiting, SIGINT);
    sigaction(SIGTERM, &act, NULL);
    sigaction(SIGINT, &act, NULL);
}

static int poll_with_signals(struct listen *l, size_t n_fds, int ms) {
#if defined(__linux__)
    struct timespec wait = {ms / 1000, ms % 1000 * 1000000L};
    return ppoll(l->fds, (nfds_t)n_fds, ms < 0 ? NULL : &wait, &l->waiting);
#else
    sigset_t blocked;
    sigprocmask(SIG_SETMASK, &l->waiting, &blocked);
    int n = poll(l->fds, (nfds_t)n_fds, ms);
    sigprocmask(SIG_SETMASK, &blocked, NULL);
    return n;
#endif
}

/* ---- Clients come and go ---- */

/* The connection that has waited longest without asking, where MAX_NEW have not; else NULL. */
static struct listen_client *one_too_many(const struct listen *l) {
    struct listen_client *oldest = NULL;
    size_t n = 0;
    for (size_t i = 0; i < l->n_clients; i++) {
        struct listen_client *c = l->clients[i];
        if (c->state != LISTEN_NEW)
            continue;
        n++;
        oldest = !oldest || c->started < oldest->started ? c : oldest;
    }
    return n >= MAX_NEW ? oldest : NULL;
}

/* When the next connection may be accepted, as seconds_now() counts; 0: now. */
static double accepts_at(const struct listen *l) {
    const struct listen_client *oldest = one_too_many(l);
    return oldest ? oldest->started + time_to_ask : 0;
}

/* Drops the connection that makes room for another. */
static void make_room(struct listen *l) {
    struct listen_client *oldest = one_too_many(l);
    if (oldest)
        oldest->state = LISTEN_GONE;
}

/* Accepts one connection. 1: accepted or dropped; 0: nobody calls, or there is no descriptor. */
static int accept_one(struct listen *l, struct err *e) {
    int fd = accept(l->job->socket->fd, NULL, NULL);
    if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
        return 1;
    if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)) {
        l->full = l->n_clients > 0;
        return 0;
    }
    if (fd < 0)
        return errno == EAGAIN || errno == EWOULDBLOCK
                   ? 0
                   : err_errno(e, EXIT_SYSTEM, "cannot accept a client");
    if (peer_set_flags(fd, true) != 0 || (!l->job->group && !peer_is_own_user(fd))) {
        close(fd);
        return 1;
    }
    make_room(l);
    l->clients[l->n_clients++] = listen_client_new(l->job, l->engine, fd, l->next_number++);
    return 1;
}

/* No more than MAX_NEW a turn. What they ask is read in the next turn, so that none of them is
 * dropped as one that has not asked only because many came at once. */
static int accept_clients(struct listen *l, struct err *e) {
    int rc = 1;
    for (size_t n = 0; rc == 1 && n < MAX_NEW && l->n_clients < LISTEN_MAX_CLIENTS; n++)
        rc = accepts_at(l) <= seconds_now() ? accept_one(l, e) : 0;
    return rc < 0 ? -1 : 0;
}

/* The engine gives hidden states of the layers that any client wants. */
static void choose_hidden(struct listen *l) {
    static bool wanted[HIDDEN_MAX_LAYERS + 1];
    struct hidden_layers all = {0};
    memset(wanted, 0, sizeof wanted);
    for (size_t i = 0; i < l->n_clients; i++)
        for (size_t k = 0; k < l->clients[i]->forward.hidden.n; k++)
            wanted[l->clients[i]->forward.hidden.layers[k]] = true;
    for (uint32_t layer = 0; layer <= HIDDEN_MAX_LAYERS; layer++)
        if (wanted[layer])
            all.layers[all.n++] = layer;
    if (all.n == l->hidden.n &&
        memcmp(all.layers, l->hidden.layers, all.n * sizeof *all.layers) == 0)
        return;
    l->hidden = all;
    engine_set_hidden(l->engine, &all);
}

static void drop_gone(struct listen *l) {
    size_t n = 0;
    for (size_t i = 0; i < l->n_clients; i++) {
        if (l->clients[i]->state != LISTEN_GONE) {
            l->clients[n++] = l->clients[i];
            continue;
        }
        listen_client_free(l->clients[i]);
        l->full = false;
    }
    if (l->n_clients > 0)
        l->idle_since = seconds_now();
    l->n_clients = n;
}

/* ---- A turn ---- */

static int shorter(int a, int b) {
    return a < 0 || (b >= 0 && b < a) ? b : a;
}

static int ms_until(double when) {
    double left = when - seconds_now();
    return left <= 0 ? 0 : left > 1e6 ? 1000000000 : (int)(left * 1e3) + 1;
}

static bool has_slots(const struct listen *l) {
    return engine_free_slots(l->engine) > 0;
}

static bool is_open(const struct listen *l) {
    return l->n_clients < LISTEN_MAX_CLIENTS && !l->full && n_stops == 0;
}

/* Milliseconds that poll may wait; -1: for ever. */
static int wait_ms(const struct listen *l) {
    double due = engine_due(l->engine), idle = l->job->idle_seconds;
    int ms = due < (double)INFINITY ? ms_until(due) : -1;
    if (idle > 0 && l->n_clients == 0)
        ms = shorter(ms, ms_until(l->idle_since + idle));
    if (is_open(l) && one_too_many(l))
        ms = shorter(ms, ms_until(accepts_at(l)));
    for (size_t i = 0; i < l->n_clients && ms != 0; i++) {
        struct listen_client *c = l->clients[i];
        if (!listen_client_has_prompt(c) || has_slots(l))
            ms = shorter(ms, listen_client_timeout_ms(c));
    }
    return ms;
}

static int wait_for_events(struct listen *l, struct err *e) {
    size_t n_fds = 1;
    bool accepts = is_open(l) && accepts_at(l) <= seconds_now();
    l->fds[0] = (struct pollfd){.fd = accepts ? l->job->socket->fd : -1, .events = POLLIN};
    for (size_t i = 0; i < l->n_clients; i++, n_fds += LISTEN_FDS_EACH)
        listen_client_fds(l->clients[i], l->fds + n_fds, has_slots(l));
    int ms = wait_ms(l);
    int n = poll_with_signals(l, n_fds, ms);
    if (n < 0 && errno != EINTR)
        return err_errno(e, EXIT_SYSTEM, "cannot poll");
    for (size_t i = 0; i < l->n_clients; i++)
        listen_client_serve(l->clients[i], l->fds + 1 + i * LISTEN_FDS_EACH, n);
    return n > 0 && l->fds[0].revents ? accept_clients(l, e) : 0;
}

/* One prompt of each client, until there are none or no slots. Another client begins next time. */
static void take_prompts(struct listen *l) {
    bool some = true;
    while (some) {
        some = false;
        for (size_t i = 0; i < l->n_clients && has_slots(l); i++)
            some |= listen_client_take_prompt(l->clients[i]);
    }
    if (l->n_clients > 1) {
        struct listen_client *first = l->clients[0];
        memmove(l->clients, l->clients + 1, (l->n_clients - 1) * sizeof *l->clients);
        l->clients[l->n_clients - 1] = first;
    }
}

static void check_clients(struct listen *l) {
    for (size_t i = 0; i < l->n_clients; i++)
        listen_client_check(l->clients[i]);
}

/* Whether it is time to end. */
static bool is_over(struct listen *l) {
    double idle = l->job->idle_seconds;
    return n_stops > 1 || (l->n_clients == 0 &&
                           (n_stops > 0 || (idle > 0 && seconds_now() - l->idle_since >= idle)));
}

static int run(struct listen *l, struct err *e) {
    bool stopping = false;
    while (!is_over(l)) {
        if (wait_for_events(l, e) != 0)
            return -1;
        if (n_stops > 0 && !stopping) {
            stopping = true;
            listen_socket_notify(l->job->socket, "STOPPING=1");
            listen_socket_close(l->job->socket);
        }
        take_prompts(l);
        check_clients(l);
        choose_hidden(l);
        if (engine_due(l->engine) <= seconds_now()) {
            engine_step(l->engine);
            if (engine_lost(l->engine)) {
                *e = *engine_lost(l->engine);
                return -1;
            }
            check_clients(l);
        }
        drop_gone(l);
    }
    return 0;
}

static void report(const struct listen *l, int status_fd, double opened) {
    struct forward_stats st = {
        .started = l->job->started, .opened = opened, .status_fd = status_fd};
    forward_stats_print(&st, engine_counters(l->engine), l->job->model);
}

int stage_listen(const struct listen_job *job, int *code, struct err *e) {
    struct listen *l = xcalloc(1, sizeof *l);
    double opened = seconds_now();
    int status_fd = job->report ? forward_stats_open() : -1;
    l->job = job;
    l->engine = engine_new(&job->engine, job->model);
    l->idle_since = opened;
    catch_signals(l);
    int rc = job->opened ? job->opened(e) : 0;
    if (rc == 0) {
        listen_socket_notify(job->socket, "READY=1");
        rc = run(l, e);
    }
    *code = n_stops > 1 ? EXIT_SYSTEM : EXIT_DONE;
    for (size_t i = 0; i < l->n_clients; i++) {
        if (l->clients[i]->state != LISTEN_ENDS)
            listen_client_end(l->clients[i], EXIT_SYSTEM, false,
                              rc != 0 && e ? e->msg : "the engine was stopped");
        listen_client_free(l->clients[i]);
    }
    if (job->report)
        report(l, status_fd, opened);
    if (status_fd >= 0)
        close(status_fd);
    engine_free(l->engine);
    free(l);
    return rc;
}
