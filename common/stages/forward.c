/* The loop of llm-forward: see forward.h.
 *
 * Prompts are read while fewer than max_in_flight sequences are open. Each is announced with an
 * OPEN frame and opened in the engine under its line's number. The engine's events become frames;
 * what a step gives is gathered and sent with few system calls (output.h).
 *
 * The return path's state decides whether the engine may expect requests. When the peer is gone
 * before all is done, the run ends as it does when the reader of stdout has left.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "stages/forward.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/attrs.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/progress.h"
#include "stages/forward_stats.h"
#include "stages/input.h"
#include "stages/output.h"

enum { LAYER_TEXT = 16 };

static const double notice_seconds = 5.0; // without a peer, until stderr says so

struct forward {
    const struct forward_job *job;
    struct return_server *ret; // job's, or NULL
    struct input *input;
    struct output *out;
    struct engine *engine;
    struct engine_client client;
    char (*layers)[LAYER_TEXT]; // [model_hidden's n]: "layer=N", or ""
    bool begun, noticed, declined;
    size_t n_ended_badly; // sequences that failed after they were opened
    struct forward_stats stats;
};

/* A sampler can make any number of sequences fail: after these it is only said
 * how many more. Their frames name all. */
enum { MOST_SAID = 20 };

/* ---- Frames ---- */

/* The engine learns at once what the return path has become while frames were written. */
static void note_asking(struct forward *s) {
    enum return_state state = s->ret ? return_state(s->ret) : RETURN_DECLINED;
    s->client.asking = state == RETURN_WAITING ? ENGINE_MAY_ASK
                       : state == RETURN_TAKEN ? ENGINE_ASKS
                                               : ENGINE_ASKS_NEVER;
}

static int flush(struct forward *s, struct err *e) {
    int rc = output_flush(s->out, e);
    note_asking(s);
    return rc;
}

static int send_frame(struct forward *s, const struct frame *f, struct err *e) {
    return output_add(s->out, f, e) != 0 || flush(s, e) != 0 ? -1 : 0;
}

static int send_failed(struct forward *s, uint32_t number, struct str reason, bool say,
                       struct err *e) {
    s->stats.failed++;
    if (say)
        warn("sequence %" PRIu32 ": %.*s", number, (int)reason.n, reason.p);
    return send_frame(s, &(struct frame){.type = FRAME_FAILED, .seq = number, .text = reason}, e);
}

/* ---- The engine's events ---- */

static int on_forked(void *ctx, uint32_t seq, uint32_t from, uint32_t pos, struct err *e) {
    struct buf attrs = {0};
    buf_fmt(&attrs, "from=%" PRIu32 " pos=%" PRIu32, from, pos);
    int rc = send_frame(
        ctx, &(struct frame){.type = FRAME_OPEN, .seq = seq, .text = buf_view(&attrs)}, e);
    buf_free(&attrs);
    return rc;
}

static int on_appended(void *ctx, uint32_t seq, uint32_t pos, const uint32_t *ids, uint32_t n,
                       struct err *e) {
    struct forward *s = ctx;
    struct frame f = {.type = FRAME_IDS, .seq = seq, .pos = pos, .ids = ids, .n_ids = n};
    return output_add(s->out, &f, e);
}

static int on_rows(void *ctx, uint32_t seq, uint32_t pos, uint32_t n, const float *logits,
                   const float *const *hidden, struct err *e) {
    struct forward *s = ctx;
    struct frame f = {.type = FRAME_LOGITS, .seq = seq, .pos = pos, .rows = n, .values = logits};
    if (output_add(s->out, &f, e) != 0)
        return -1;
    f.type = FRAME_HIDDEN;
    for (size_t i = 0; hidden && i < model_hidden(s->job->model)->n; i++) {
        f.values = hidden[i];
        f.text = str_of(s->layers[i]);
        if (output_add(s->out, &f, e) != 0)
            return -1;
    }
    return 0;
}

static int on_stepped(void *ctx, struct err *e) {
    return flush(ctx, e);
}

static int on_ended(void *ctx, uint32_t seq, const char *reason, struct err *e) {
    struct forward *s = ctx;
    if (reason)
        return send_failed(s, seq, str_of(reason), ++s->n_ended_badly <= MOST_SAID, e);
    return send_frame(ctx, &(struct frame){.type = FRAME_CLOSED, .seq = seq}, e);
}

/* The texts of frames of hidden states. */
static void name_layers(struct forward *s) {
    const struct hidden_layers *h = model_hidden(s->job->model);
    s->layers = xcalloc(h->n, sizeof *s->layers);
    for (size_t i = 0; i < h->n && s->job->hidden_layers; i++)
        snprintf(s->layers[i], sizeof s->layers[i], "layer=%" PRIu32, h->layers[i]);
}

/* ---- What comes in ---- */

/* The attribute from=N: the ids from N on are to be scored. 1: *from is set; 0: there is none; -1
 * with e set. */
static int scored_from(struct str attrs, uint32_t *from, struct err *e) {
    struct buf value = {0};
    uint64_t n = 0;
    int rc = attrs_get(attrs, "from", &value);
    if (rc && !parse_u64(buf_view(&value), 0, UINT32_MAX, &n))
        rc = err_set(e, EXIT_DATA, "from takes the position of an id: '%.*s'",
                     str_shown(buf_view(&value)), value.p ? value.p : "");
    *from = (uint32_t)n;
    buf_free(&value);
    return rc;
}

static int open_prompt(struct forward *s, const struct input_prompt *p, struct err *e) {
    struct frame open = {
        .type = FRAME_OPEN, .seq = p->number, .ids = p->ids, .n_ids = p->n_ids, .text = p->attrs};
    struct err bad = {0};
    uint32_t from;
    s->stats.sequences++;
    if (send_frame(s, &open, e) != 0)
        return -1;
    if (p->refused.n && p->line && !p->said_before)
        warn("sequence %" PRIu32 ": %.*s: %s: line %" PRIu64, p->number, (int)p->refused.n,
             p->refused.p, p->name, p->line);
    if (p->refused.n)
        return send_failed(s, p->number, p->refused, !p->line && !p->said_before, e);
    int scored = scored_from(p->attrs, &from, &bad);
    if (scored < 0)
        return send_failed(s, p->number, str_of(bad.msg), true, e);
    if (scored && !s->job->all_logits)
        return engine_score(s->engine, &s->client, p->number, p->ids, p->n_ids, from, e);
    return engine_open(s->engine, &s->client, p->number, p->ids, p->n_ids,
                       s->job->all_logits ? p->n_ids : 1, e);
}

/* The header is sent as soon as the input's first line tells which tokenizer made the ids. */
static int begin(struct forward *s, struct err *e) {
    if (s->begun || !input_begun(s->input))
        return 0;
    s->begun = true;
    return input_check(s->input, s->job->header, e) != 0 ? -1 : output_header(s->out, e);
}

static int take_prompts(struct forward *s, struct err *e) {
    struct input_prompt p;
    if (begin(s, e) != 0)
        return -1;
    while (s->begun && s->client.n_open < s->job->engine.max_in_flight &&
           input_next(s->input, s->job->header, &p))
        if (open_prompt(s, &p, e) != 0)
            return -1;
    return 0;
}

static int take_request(struct forward *s, const struct request *r, struct err *e) {
    static const enum engine_request_type types[] = {[REQUEST_EXTEND] = ENGINE_EXTEND,
                                                     [REQUEST_FORK] = ENGINE_FORK,
                                                     [REQUEST_CLOSE] = ENGINE_CLOSE};
    struct engine_request to = {.type = types[r->type],
                                .seq = r->seq,
                                .pos = r->pos,
                                .want = r->want,
                                .from = r->from,
                                .ids = r->ids,
                                .n_ids = r->n_ids};
    return engine_request(s->engine, &s->client, &to, e);
}

static int take_requests(struct forward *s, struct err *e) {
    struct request r;
    while (s->ret && return_request(s->ret, &r))
        if (take_request(s, &r, e) != 0)
            return -1;
    if (!s->ret || s->declined || return_state(s->ret) != RETURN_DECLINED)
        return 0;
    s->declined = true;
    return engine_close_idle(s->engine, &s->client, e);
}

static bool finished(const struct forward *s) {
    return s->begun && s->client.n_open == 0 && input_ended(s->input);
}

/* ---- Waiting ---- */

static int ms_until(double when) {
    double left = when - seconds_now();
    return left <= 0 ? 0 : (int)(left * 1e3) + 1;
}

/* Warns once that no sampler has connected. Returns milliseconds until then; -1: never. */
static int notice_ms(struct forward *s) {
    if (s->noticed || s->client.asking != ENGINE_MAY_ASK || s->client.n_open == 0)
        return -1;
    int ms = ms_until(engine_counters(s->engine)->last_step + notice_seconds);
    if (ms > 0)
        return ms;
    warn("the prompts are done; waiting for a sampler on the return path (--no-return: end "
         "without one)");
    s->noticed = true;
    return -1;
}

/* How long poll may wait, in milliseconds: 0 where a step is due, -1 for ever. */
static int wait_ms(struct forward *s) {
    double due = engine_due(s->engine);
    if (due < (double)INFINITY)
        return ms_until(due);
    int notice = notice_ms(s), ret = s->ret ? return_timeout_ms(s->ret) : -1;
    return notice < 0 || (ret >= 0 && ret < notice) ? ret : notice;
}

static int wait_for_events(struct forward *s, struct err *e) {
    bool wants_input = !s->begun || s->client.n_open < s->job->engine.max_in_flight;
    struct pollfd fds[3] = {
        {.fd = wants_input ? input_poll_fd(s->input) : -1, .events = POLLIN},
        {.fd = output_fd(s->out)}, // POLLERR, POLLHUP: the reader has left
        {.fd = s->ret ? return_poll_fd(s->ret) : -1, .events = POLLIN},
    };
    int timeout = wait_ms(s);
    double start = seconds_now();
    int n = poll(fds, 3, timeout);
    *(s->client.n_open > 0 ? &s->stats.for_sampler : &s->stats.for_input) += seconds_now() - start;
    if (n < 0 && errno != EINTR)
        return err_errno(e, EXIT_SYSTEM, "cannot poll");
    if (n > 0 && fds[0].revents)
        input_fill(s->input);
    if (n > 0 && (fds[1].revents & (POLLERR | POLLHUP)))
        return output_set_left(s->out, e);
    int rc = s->ret && (n <= 0 || fds[2].revents) ? return_serve(s->ret, e) : 0;
    note_asking(s);
    return rc;
}

/* ---- The run ---- */

static int step_if_due(struct forward *s, struct err *e) {
    if (engine_due(s->engine) > seconds_now())
        return 0;
    engine_step(s->engine);
    if (!s->client.failed)
        return 0;
    *e = s->client.err;
    return -1;
}

static int run(struct forward *s, int *code, struct err *e) {
    while (!finished(s)) {
        if (wait_for_events(s, e) != 0 || take_requests(s, e) != 0 || take_prompts(s, e) != 0)
            return -1;
        if (s->ret && return_state(s->ret) == RETURN_GONE && !finished(s))
            return output_set_left(s->out, e);
        if (step_if_due(s, e) != 0)
            return -1;
    }
    if (send_frame(s, &(struct frame){.type = FRAME_END}, e) != 0)
        return -1;
    int early = input_code(s->input);
    *code = early != EXIT_DONE ? early : s->stats.failed ? EXIT_SOME_FAILED : EXIT_DONE;
    return 0;
}

int stage_forward(const struct forward_job *job, int *code, struct err *e) {
    struct forward s = {.job = job,
                        .ret = job->ret,
                        .client = {.first_fork = RETURN_FIRST_FORK,
                                   .forked = on_forked,
                                   .appended = on_appended,
                                   .rows = on_rows,
                                   .stepped = on_stepped,
                                   .ended = on_ended}};
    s.client.ctx = &s;
    s.input = input_new(job->in_fd, job->in_name);
    s.out = output_new(job->out_fd, job->header, job->ret);
    s.engine = engine_new(&job->engine, job->model);
    name_layers(&s);
    s.stats.started = job->started;
    s.stats.opened = seconds_now();
    s.stats.status_fd = job->report ? forward_stats_open() : -1;
    note_asking(&s);
    int rc = job->opened ? job->opened(e) : 0;
    if (rc == 0)
        rc = run(&s, code, e);
    if (rc != 0 && output_left(s.out))
        rc = FORWARD_READER_LEFT;
    if (job->report) {
        s.stats.writing = output_seconds(s.out);
        s.stats.written = output_bytes(s.out);
        forward_stats_print(&s.stats, engine_counters(s.engine), job->model);
    }
    if (s.stats.status_fd >= 0)
        close(s.stats.status_fd);
    if (s.n_ended_badly > MOST_SAID)
        warn("%zu more sequences failed", s.n_ended_badly - MOST_SAID);
    engine_leave(s.engine, &s.client);
    engine_free(s.engine);
    output_free(s.out);
    input_free(s.input);
    free(s.layers);
    return rc;
}
