/* A client of the engine: see forward_client.h.
 *
 * Each prompt is announced with an OPEN frame and opened in the engine under its line's number. The
 * engine's events become frames; what a step gives is gathered and sent with few system calls
 * (output.h). The return path's state decides whether the engine may expect requests.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "stages/forward_client.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/attrs.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/progress.h"
#include "wire/note.h"

/* A sampler can make any number of sequences fail: after these it is only said how many more. Their
 * frames name all. */
enum { MOST_SAID = 20, SAID_BYTES = 2048 };

static const double notice_seconds = 5.0; // without a peer, until a warning says so

static void say(struct forward_client *c, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void say(struct forward_client *c, const char *fmt, ...) {
    char text[SAID_BYTES];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    c->warn(c->warn_ctx, text);
}

/* ---- Frames ---- */

/* The engine learns at once what the return path has become while frames were written. */
static void note_asking(struct forward_client *c) {
    enum return_state state = c->ret ? return_state(c->ret) : RETURN_DECLINED;
    c->of_engine.asking = state == RETURN_WAITING ? ENGINE_MAY_ASK
                          : state == RETURN_TAKEN ? ENGINE_ASKS
                                                  : ENGINE_ASKS_NEVER;
}

static int flush(struct forward_client *c, struct err *e) {
    int rc = output_flush(c->out, e);
    note_asking(c);
    return rc;
}

static int send_frame(struct forward_client *c, const struct frame *f, struct err *e) {
    return output_add(c->out, f, e) != 0 || flush(c, e) != 0 ? -1 : 0;
}

static int send_failed(struct forward_client *c, uint32_t number, struct str reason, bool is_said,
                       struct err *e) {
    c->n_failed++;
    if (is_said)
        say(c, "sequence %" PRIu32 ": %.*s", number, (int)reason.n, reason.p);
    return send_frame(c, &(struct frame){.type = FRAME_FAILED, .seq = number, .text = reason}, e);
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
    struct forward_client *c = ctx;
    struct frame f = {.type = FRAME_IDS, .seq = seq, .pos = pos, .ids = ids, .n_ids = n};
    return output_add(c->out, &f, e);
}

/* The layers of `have` are those that some client wants, and include this client's. */
static int send_hidden(struct forward_client *c, struct frame f, const float *const *hidden,
                       struct err *e) {
    const struct hidden_layers *have = model_hidden(c->model);
    f.type = FRAME_HIDDEN;
    for (size_t i = 0, k = 0; i < have->n && k < c->hidden.n; i++) {
        if (have->layers[i] != c->hidden.layers[k])
            continue;
        f.values = hidden[i];
        f.text = str_of(c->layers[k++]);
        if (output_add(c->out, &f, e) != 0)
            return -1;
    }
    return 0;
}

static int on_rows(void *ctx, uint32_t seq, uint32_t pos, uint32_t n, const float *logits,
                   const float *const *hidden, struct err *e) {
    struct forward_client *c = ctx;
    struct frame f = {.type = FRAME_LOGITS, .seq = seq, .pos = pos, .rows = n, .values = logits};
    if (output_add(c->out, &f, e) != 0)
        return -1;
    return hidden ? send_hidden(c, f, hidden, e) : 0;
}

static int on_reused(void *ctx, uint32_t seq, const struct engine_reuse *r, struct err *e) {
    struct buf text = {0};
    bool why = r->tells == ENGINE_TELLS_WHY;
    note_write(&text, &(struct note){.cached = r->cached,
                                     .has_match = why,
                                     .match = r->match,
                                     .has_ours = r->has_ours,
                                     .ours = r->ours,
                                     .has_theirs = r->has_theirs,
                                     .theirs = r->theirs});
    int rc = send_frame(
        ctx, &(struct frame){.type = FRAME_NOTE, .seq = seq, .text = buf_view(&text)}, e);
    buf_free(&text);
    return rc;
}

static int on_stepped(void *ctx, struct err *e) {
    return flush(ctx, e);
}

static int on_ended(void *ctx, uint32_t seq, const char *reason, struct err *e) {
    struct forward_client *c = ctx;
    if (reason)
        return send_failed(c, seq, str_of(reason), ++c->n_ended_badly <= MOST_SAID, e);
    return send_frame(c, &(struct frame){.type = FRAME_CLOSED, .seq = seq}, e);
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

/* The attributes cache=count, cache=why and salt=TEXT. Where other users share the cache, how far a
 * prompt is like one of theirs must not be seen to the id: it would let a user find their prompts
 * id by id. Prompts with the same salt are of one who knows it. */
static int cache_attributes(const struct forward_client *c, struct str attrs,
                            struct engine_prompt *p, struct err *e) {
    struct buf value = {0};
    struct hash h;
    int rc = 0;
    if (attrs_get(attrs, "salt", &value) && value.n > 0) {
        hash_bytes(&h, value.p, value.n);
        memcpy(&p->salt, h.bytes, sizeof p->salt);
    }
    bool salted = value.n > 0;
    buf_clear(&value);
    if (attrs_get(attrs, "cache", &value)) {
        bool why = str_eq(buf_view(&value), "why");
        if (!why && !str_eq(buf_view(&value), "count"))
            rc = err_set(e, EXIT_DATA, "cache takes count or why: '%.*s'",
                         str_shown(buf_view(&value)), value.p ? value.p : "");
        p->tells = why && (salted || !c->others) ? ENGINE_TELLS_WHY : ENGINE_TELLS_COUNT;
    }
    buf_free(&value);
    return rc;
}

static int open_prompt(struct forward_client *c, const struct input_prompt *p, struct err *e) {
    struct frame open = {
        .type = FRAME_OPEN, .seq = p->number, .ids = p->ids, .n_ids = p->n_ids, .text = p->attrs};
    struct err bad = {0};
    uint32_t from;
    c->n_sequences++;
    if (send_frame(c, &open, e) != 0)
        return -1;
    if (p->refused.n && p->line && !p->said_before)
        say(c, "sequence %" PRIu32 ": %.*s: %s: line %" PRIu64, p->number, (int)p->refused.n,
            p->refused.p, p->name, p->line);
    if (p->refused.n)
        return send_failed(c, p->number, p->refused, !p->line && !p->said_before, e);
    struct engine_prompt prompt = {
        .seq = p->number, .ids = p->ids, .n_ids = p->n_ids, .want = c->all_logits ? p->n_ids : 1};
    int scored = scored_from(p->attrs, &from, &bad);
    if (scored < 0 || cache_attributes(c, p->attrs, &prompt, &bad) != 0)
        return send_failed(c, p->number, str_of(bad.msg), true, e);
    if (scored && !c->all_logits)
        return engine_score(c->engine, &c->of_engine, &prompt, from, e);
    return engine_open(c->engine, &c->of_engine, &prompt, e);
}

/* The header is sent as soon as the input's first line tells which tokenizer made the ids. */
static int begin_stream(struct forward_client *c, struct err *e) {
    struct err warning = {0};
    if (c->begun || !input_begun(c->input))
        return 0;
    c->begun = true;
    if (input_check(c->input, c->header, &warning, e) != 0)
        return -1;
    if (warning.code)
        say(c, "%s", warning.msg);
    return output_header(c->out, e);
}

bool forward_client_has_prompt(const struct forward_client *c) {
    return c->of_engine.n_open < c->max_in_flight && input_pending(c->input);
}

int forward_client_take_prompts(struct forward_client *c, size_t most, struct err *e) {
    struct input_prompt p;
    int n = 0;
    if (begin_stream(c, e) != 0)
        return -1;
    for (; c->begun && (size_t)n < most && c->of_engine.n_open < c->max_in_flight &&
           input_next(c->input, c->header, &p);
         n++)
        if (open_prompt(c, &p, e) != 0)
            return -1;
    return n;
}

static int take_request(struct forward_client *c, const struct request *r, struct err *e) {
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
    return engine_request(c->engine, &c->of_engine, &to, e);
}

int forward_client_take_requests(struct forward_client *c, struct err *e) {
    struct request r;
    while (c->ret && !output_waits(c->out) && return_request(c->ret, &r))
        if (take_request(c, &r, e) != 0)
            return -1;
    if (!c->ret || c->declined || return_state(c->ret) != RETURN_DECLINED)
        return 0;
    c->declined = true;
    return engine_close_idle(c->engine, &c->of_engine, e);
}

/* ---- Waiting ---- */

void forward_client_fds(const struct forward_client *c, struct pollfd *fds, bool takes) {
    bool wants = !c->begun || (takes && c->of_engine.n_open < c->max_in_flight);
    short out = output_waits(c->out) ? POLLOUT : 0; // POLLERR, POLLHUP: the reader has left
    fds[FORWARD_IN] = (struct pollfd){.fd = wants ? input_poll_fd(c->input) : -1, .events = POLLIN};
    fds[FORWARD_OUT] = (struct pollfd){.fd = output_fd(c->out), .events = out};
    fds[FORWARD_RETURN] =
        (struct pollfd){.fd = c->ret ? return_poll_fd(c->ret) : -1, .events = POLLIN};
}

int forward_client_heard(struct forward_client *c, const struct pollfd *fds, int n, struct err *e) {
    if (n > 0 && fds[FORWARD_IN].revents)
        input_fill(c->input);
    if (n > 0 && (fds[FORWARD_OUT].revents & (POLLERR | POLLHUP)))
        return output_set_left(c->out, e);
    if (n > 0 && (fds[FORWARD_OUT].revents & POLLOUT) && output_flush(c->out, e) != 0)
        return -1;
    int rc = c->ret && (n <= 0 || fds[FORWARD_RETURN].revents) ? return_serve(c->ret, e) : 0;
    note_asking(c);
    return rc;
}

static int ms_until(double when) {
    double left = when - seconds_now();
    return left <= 0 ? 0 : (int)(left * 1e3) + 1;
}

/* Warns once that no sampler has connected. Returns milliseconds until then; -1: never. */
static int notice_ms(struct forward_client *c) {
    if (c->noticed || c->of_engine.asking != ENGINE_MAY_ASK || c->of_engine.n_open == 0)
        return -1;
    int ms = ms_until(engine_counters(c->engine)->last_step + notice_seconds);
    if (ms > 0)
        return ms;
    say(c, "the prompts are done; waiting for a sampler on the return path (--no-return: end "
           "without one)");
    c->noticed = true;
    return -1;
}

int forward_client_timeout_ms(struct forward_client *c) {
    if (forward_client_has_prompt(c)) // which a sequence that has ended since made room for
        return 0;
    int notice = notice_ms(c), ret = c->ret ? return_timeout_ms(c->ret) : -1;
    return notice < 0 || (ret >= 0 && ret < notice) ? ret : notice;
}

/* ---- Begin and end ---- */

/* The texts of frames of hidden states. */
static void name_layers(struct forward_client *c) {
    c->layers = xcalloc(c->hidden.n, sizeof *c->layers);
    for (size_t i = 0; i < c->hidden.n && c->names_layers; i++)
        snprintf(c->layers[i], sizeof c->layers[i], "layer=%" PRIu32, c->hidden.layers[i]);
}

void forward_client_begin(struct forward_client *c) {
    name_layers(c);
    c->of_engine = (struct engine_client){.ctx = c,
                                          .first_fork = RETURN_FIRST_FORK,
                                          .forked = on_forked,
                                          .appended = on_appended,
                                          .rows = on_rows,
                                          .reused = on_reused,
                                          .stepped = on_stepped,
                                          .ended = on_ended};
    note_asking(c);
}

void forward_client_end(struct forward_client *c) {
    if (c->n_ended_badly > MOST_SAID)
        say(c, "%zu more sequences failed", c->n_ended_badly - MOST_SAID);
    engine_leave(c->engine, &c->of_engine);
    free(c->layers);
    c->layers = NULL;
}

bool forward_client_finished(const struct forward_client *c) {
    return c->begun && c->of_engine.n_open == 0 && input_ended(c->input);
}

int forward_client_finish(struct forward_client *c, int *code, struct err *e) {
    if (send_frame(c, &(struct frame){.type = FRAME_END}, e) != 0)
        return -1;
    int early = input_code(c->input);
    *code = early != EXIT_DONE ? early : c->n_failed ? EXIT_SOME_FAILED : EXIT_DONE;
    return 0;
}

bool forward_client_peer_left(const struct forward_client *c) {
    return c->ret && return_state(c->ret) == RETURN_GONE && !forward_client_finished(c);
}
