/* A client of a resident engine: see listen_client.h.
 *
 * Its messages are packets. Those that its process does not read wait in a queue of bounded size;
 * while that is full, no prompts are taken.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "stages/listen_client.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/progress.h"

enum { MAX_QUEUE = 1 << 16 }; // bytes of messages

/* A connection that asks nothing, and a process that does not hear how it ended, are dropped. */
static const double ask_seconds = 3.0, end_seconds = 5.0;

struct listen_client *listen_client_new(const struct listen_job *job, struct engine *engine,
                                        int control, uint32_t number) {
    struct listen_client *c = xcalloc(1, sizeof *c);
    *c = (struct listen_client){.job = job,
                                .engine = engine,
                                .number = number,
                                .control = control,
                                .in = {.fd = -1},
                                .out = {.fd = -1},
                                .started = seconds_now()};
    c->until = c->started + ask_seconds;
    return c;
}

/* ---- Messages ---- */

/* Sends what waits, as far as the process reads it. */
static void send_queue(struct listen_client *c) {
    size_t at = 0;
    uint32_t n;
    while (at < c->queue.n) {
        memcpy(&n, c->queue.p + at, sizeof n);
        if (!passing_send(c->control, c->queue.p + at + sizeof n, n, NULL, 0))
            break;
        at += sizeof n + n;
    }
    bool waits = errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS;
    if (at < c->queue.n && !waits)
        at = c->queue.n; // nobody is there; poll says so, too
    if (at > 0)
        memmove(c->queue.p, c->queue.p + at, c->queue.n - at);
    c->queue.n -= at;
}

static void send_message(struct listen_client *c, const struct control *m) {
    struct buf bytes = {0};
    struct err e;
    if (control_put(&bytes, m, &e) == 0) {
        uint32_t n = (uint32_t)bytes.n;
        buf_add(&c->queue, &n, sizeof n);
        buf_add(&c->queue, bytes.p, bytes.n);
    }
    buf_free(&bytes);
    send_queue(c);
}

static void say(struct listen_client *c, enum control_type type, const char *text) {
    if (c->queue.n < MAX_QUEUE)
        send_message(c, &(struct control){.type = type, .text = str_of(text)});
    else
        c->n_lost++;
}

static void on_warning(void *ctx, const char *text) {
    say(ctx, CONTROL_WARN, text);
}

/* ---- The end ---- */

static void report(struct listen_client *c, double now) {
    char text[200];
    const struct forward_client *f = &c->forward;
    snprintf(text, sizeof text,
             "resident engine: %zu sequences, of which %zu failed; %.3f s in all, %.1f MB written",
             f->n_sequences, f->n_failed, now - c->started, (double)output_bytes(f->out) / 1e6);
    if (c->report)
        say(c, CONTROL_NOTE, text);
    if (c->job->report)
        print_note("client %" PRIu32 ": %s", c->number, text);
}

static void close_fd(int *fd) {
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* Forgets streams and sequences. */
static void close_streams(struct listen_client *c) {
    if (c->state == LISTEN_RUNS || c->state == LISTEN_FINISHES) {
        forward_client_end(&c->forward);
        report(c, seconds_now());
        output_free(c->forward.out);
        input_free(c->forward.input);
        return_server_free(c->forward.ret);
    }
    c->forward = (struct forward_client){0};
    close_fd(&c->in.fd);
    close_fd(&c->out.fd);
}

void listen_client_end(struct listen_client *c, int code, bool left, const char *text) {
    close_streams(c);
    if (c->n_lost > 0) {
        char lost[80];
        snprintf(lost, sizeof lost, "%zu more messages", c->n_lost);
        send_message(c, &(struct control){.type = CONTROL_WARN, .text = str_of(lost)});
    }
    send_message(
        c, &(struct control){
               .type = CONTROL_END, .code = (uint32_t)code, .left = left, .text = str_of(text)});
    c->state = LISTEN_ENDS;
    c->until = seconds_now() + end_seconds;
}

/* The client ends because of e. */
static void end_by(struct listen_client *c, const struct err *e) {
    if (output_left(c->forward.out))
        listen_client_end(c, EXIT_DONE, true, "");
    else
        listen_client_end(c, e->code ? e->code : EXIT_BUG, false, e->msg);
}

void listen_client_free(struct listen_client *c) {
    close_streams(c);
    close_fd(&c->control);
    buf_free(&c->queue);
    free(c->in_name);
    free(c);
}

/* ---- What it asks for ---- */

static int check_streams(struct listen_client *c, int *fds, size_t n_fds, struct err *e) {
    if (n_fds != 2)
        return err_set(e, EXIT_DATA, "expected the descriptors of stdin and stdout, found %zu",
                       n_fds);
    if (!passed_init(&c->in, fds[0], false))
        return err_set(e, EXIT_DATA, "stdin: expected a pipe or a socket of a stream");
    fds[0] = -1;
    if (!passed_init(&c->out, fds[1], true))
        return err_set(e, EXIT_DATA, "stdout: expected a pipe or a socket of a stream");
    fds[1] = -1;
    return 0;
}

/* Refuses by its name what this engine cannot do. */
static int check_options(const struct listen_job *job, const struct control *ask, struct err *e) {
    uint32_t flags = ask->flags;
    if ((flags & CONTROL_MODEL) &&
        (ask->model_dev != job->folder_dev || ask->model_ino != job->folder_ino))
        return err_set(e, EXIT_DATA, "-m: the engine has another model: %s", job->folder);
    if ((flags & CONTROL_PRECISE) && !job->precise)
        return err_set(e, EXIT_DATA, "--precise: the engine was started without it");
    if (ask->device.n && !str_eq(ask->device, job->device))
        return err_set(e, EXIT_DATA, "--device: the engine runs on %s", job->device);
    if (ask->context > job->header->context)
        return err_set(e, EXIT_DATA, "-c: the engine's context is %" PRIu32, job->header->context);
    if ((flags & CONTROL_VERIFIED) &&
        (!job->verified || memcmp(ask->list, job->list, sizeof job->list) != 0))
        return err_set(e, EXIT_DATA,
                       "--verify: the engine has not compared its weights with this "
                       "list (start it with --verify)");
    return 0;
}

static int choose_hidden(struct forward_client *f, const struct listen_job *job,
                         const struct control *ask, struct err *e) {
    uint32_t last = (uint32_t)model_spec(job->model)->n_layers;
    if (!(ask->flags & CONTROL_HIDDEN))
        return 0;
    f->hidden = (struct hidden_layers){1, {last}};
    f->names_layers = (ask->flags & CONTROL_LAYERS) != 0;
    if (!f->names_layers)
        return 0;
    char *list = str_dup(ask->layers);
    int rc = hidden_parse(&f->hidden, list, last, e);
    free(list);
    if (rc == 0)
        return 0;
    struct err why = *e;
    return err_set(e, EXIT_USAGE, "--hidden: %s: %s", why.msg, job->folder);
}

static ssize_t read_passed(void *ctx, void *p, size_t n) {
    const struct listen_client *c = ctx;
    return passed_read(&c->in, p, n);
}

/* Opens the streams as the request says. */
static void start(struct listen_client *c, const struct control *ask) {
    struct forward_client *f = &c->forward;
    c->header = *c->job->header;
    c->header.hidden_dim = f->hidden.n ? (uint32_t)model_spec(c->job->model)->hidden_dim : 0;
    if (ask->context)
        c->header.context = ask->context;
    memcpy(c->header.address, ask->address, sizeof ask->address);
    memcpy(c->header.nonce, ask->nonce, sizeof ask->nonce);
    c->in_name = str_dup(ask->in_name);
    c->report = ask->flags & CONTROL_REPORT;
    f->engine = c->engine;
    f->model = c->job->model;
    f->header = &c->header;
    f->ret = (ask->flags & CONTROL_RETURN) ? return_adopt() : NULL;
    f->input = input_new(c->in.fd, c->in_name);
    input_read_by(f->input, read_passed, c);
    f->out = output_new_passed(&c->out, &c->header);
    f->max_in_flight = ask->batch < ENGINE_MAX_IN_FLIGHT ? ask->batch : ENGINE_MAX_IN_FLIGHT;
    f->all_logits = ask->flags & CONTROL_ALL;
    f->others = c->job->group;
    f->warn = on_warning;
    f->warn_ctx = c;
    forward_client_begin(f);
    f->of_engine.no_hidden = f->hidden.n == 0;
    f->of_engine.context = ask->context;
    f->of_engine.max_open = (uint32_t)f->max_in_flight + ENGINE_FORKS;
    c->state = LISTEN_RUNS;
}

static void take_ask(struct listen_client *c, const struct control *ask, int *fds, size_t n_fds) {
    struct err e = {0};
    if (check_streams(c, fds, n_fds, &e) != 0 || check_options(c->job, ask, &e) != 0 ||
        choose_hidden(&c->forward, c->job, ask, &e) != 0)
        listen_client_end(c, e.code, false, e.msg);
    else
        start(c, ask);
}

/* The return path's peer, or that there is none. */
static void take_peer(struct listen_client *c, enum control_type type, int *fds, size_t n_fds) {
    struct return_server *ret = c->forward.ret;
    struct passed peer;
    if (c->state == LISTEN_FINISHES)
        return;
    if (!ret || return_state(ret) != RETURN_WAITING || n_fds != (type == CONTROL_TAKEN)) {
        listen_client_end(c, EXIT_DATA, false, "control message: no return path was to come");
    } else if (type == CONTROL_DECLINED) {
        return_adopt_none(ret);
    } else if (!passed_init(&peer, fds[0], false) || !peer.is_socket) {
        listen_client_end(c, EXIT_DATA, false, "return path: expected a socket of a stream");
    } else {
        return_adopt_peer(ret, fds[0]);
        fds[0] = -1;
    }
}

static void take_message(struct listen_client *c, const uint8_t *p, size_t n, int *fds,
                         size_t n_fds) {
    struct control m;
    struct err e = {0};
    bool is_new = c->state == LISTEN_NEW;
    if (c->state == LISTEN_ENDS)
        return;
    if (control_get(&m, p, n, &e) != 0)
        listen_client_end(c, e.code, false, e.msg);
    else if (is_new && m.type == CONTROL_ASK)
        take_ask(c, &m, fds, n_fds);
    else if (!is_new && (m.type == CONTROL_TAKEN || m.type == CONTROL_DECLINED))
        take_peer(c, m.type, fds, n_fds);
    else
        listen_client_end(c, EXIT_DATA, false, "control message: not expected now");
}

/* Its process has ended. */
static void leave(struct listen_client *c) {
    close_streams(c);
    c->state = LISTEN_GONE;
}

/* Reads all messages that have come. The other side's end is the client's. */
static void hear(struct listen_client *c) {
    uint8_t bytes[CONTROL_MAX_BYTES];
    int fds[PASSING_MAX];
    size_t n_fds;
    while (c->state != LISTEN_GONE) {
        ssize_t n = passing_receive(c->control, bytes, sizeof bytes, fds, &n_fds);
        if (n < 0 && errno == EMSGSIZE && c->state != LISTEN_ENDS)
            listen_client_end(c, EXIT_DATA, false,
                              "control message: too long, or too many "
                              "descriptors");
        else if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
        else if (n > 0)
            take_message(c, bytes, (size_t)n, fds, n_fds);
        else
            leave(c);
        for (size_t i = 0; i < n_fds; i++)
            close_fd(&fds[i]); // those that nobody has taken
    }
}

/* ---- In the loop ---- */

void listen_client_fds(const struct listen_client *c, struct pollfd *fds, bool takes) {
    for (size_t i = 0; i < LISTEN_FDS_EACH; i++)
        fds[i] = (struct pollfd){.fd = -1};
    takes = takes && c->queue.n < MAX_QUEUE && !c->forward.of_engine.held;
    if (c->state == LISTEN_RUNS)
        forward_client_fds(&c->forward, fds, takes);
    if (c->state == LISTEN_FINISHES)
        fds[FORWARD_OUT] = (struct pollfd){.fd = c->out.fd, .events = POLLOUT};
    fds[LISTEN_CONTROL] = (struct pollfd){
        .fd = c->control, .events = (short)(POLLIN | (c->queue.n > 0 ? POLLOUT : 0))};
}

static int ms_until(double when) {
    double left = when - seconds_now();
    return left <= 0 ? 0 : (int)(left * 1e3) + 1;
}

int listen_client_timeout_ms(struct listen_client *c) {
    int own = c->state == LISTEN_RUNS ? forward_client_timeout_ms(&c->forward) : -1;
    if (c->state != LISTEN_RUNS && c->state != LISTEN_FINISHES)
        return ms_until(c->until);
    if (c->job->stall_seconds <= 0 || !output_waits(c->forward.out))
        return own;
    int stall = ms_until(c->read_at + c->job->stall_seconds);
    return own < 0 || stall < own ? stall : own;
}

/* Ends a client whose reader has taken nothing for too long. */
static void check_stall(struct listen_client *c) {
    uint64_t n = output_bytes(c->forward.out);
    double now = seconds_now();
    char text[120];
    if (!output_waits(c->forward.out) || n != c->n_read || c->read_at <= 0) {
        c->n_read = n;
        c->read_at = output_waits(c->forward.out) ? now : 0;
    } else if (c->job->stall_seconds > 0 && now - c->read_at >= c->job->stall_seconds) {
        snprintf(text, sizeof text, "stdout was not read for %.0f seconds (the engine's --stall)",
                 c->job->stall_seconds);
        listen_client_end(c, EXIT_IO, false, text);
    }
}

static void finish_if_done(struct listen_client *c) {
    struct err e = {0};
    if (c->state == LISTEN_RUNS && forward_client_finished(&c->forward)) {
        if (forward_client_finish(&c->forward, &c->code, &e) != 0) {
            end_by(c, &e);
            return;
        }
        c->state = LISTEN_FINISHES;
    }
    if (c->state == LISTEN_FINISHES && !output_waits(c->forward.out))
        listen_client_end(c, c->code, false, "");
}

void listen_client_check(struct listen_client *c) {
    struct forward_client *f = &c->forward;
    if (c->state == LISTEN_RUNS && f->of_engine.failed) {
        struct err why = f->of_engine.err; // which ends with the client
        end_by(c, &why);
    }
    finish_if_done(c);
    if (c->state == LISTEN_RUNS || c->state == LISTEN_FINISHES)
        check_stall(c);
    if (c->state == LISTEN_RUNS)
        f->of_engine.held = output_waits(f->out);
}

void listen_client_serve(struct listen_client *c, const struct pollfd *fds, int n) {
    struct err e = {0};
    if (n > 0 && (fds[LISTEN_CONTROL].revents & POLLOUT))
        send_queue(c);
    if (n > 0 && (fds[LISTEN_CONTROL].revents & ~POLLOUT))
        hear(c);
    if (c->state == LISTEN_RUNS) {
        if (forward_client_heard(&c->forward, fds, n, &e) != 0 ||
            forward_client_take_requests(&c->forward, &e) != 0)
            end_by(c, &e);
        else if (forward_client_peer_left(&c->forward))
            listen_client_end(c, EXIT_DONE, true, "");
    } else if (c->state == LISTEN_FINISHES && n > 0 && fds[FORWARD_OUT].revents) {
        if (output_flush(c->forward.out, &e) != 0)
            end_by(c, &e);
    } else if ((c->state == LISTEN_ENDS && c->queue.n == 0) ||
               ((c->state == LISTEN_NEW || c->state == LISTEN_ENDS) && seconds_now() >= c->until)) {
        c->state = LISTEN_GONE;
    }
    listen_client_check(c);
}

bool listen_client_has_prompt(const struct listen_client *c) {
    return c->state == LISTEN_RUNS && c->queue.n < MAX_QUEUE && !output_waits(c->forward.out) &&
           forward_client_has_prompt(&c->forward);
}

bool listen_client_take_prompt(struct listen_client *c) {
    struct err e = {0};
    if (!listen_client_has_prompt(c))
        return false;
    int n = forward_client_take_prompts(&c->forward, 1, &e);
    if (n < 0)
        end_by(c, &e);
    return n > 0;
}
