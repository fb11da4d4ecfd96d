/* The loop of llm-forward: see forward.h.
 *
 * It is the engine's only client (forward_client.h). Prompts are read while fewer than
 * max_in_flight sequences are open. When the peer of the return path is gone before all is done,
 * the run ends as it does when the reader of stdout has left.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "stages/forward.h"

#include <errno.h>
#include <math.h>
#include <unistd.h>

#include "base/progress.h"
#include "stages/forward_client.h"
#include "stages/forward_stats.h"

struct forward {
    const struct forward_job *job;
    struct engine *engine;
    struct forward_client client;
    struct forward_stats stats;
};

static void say_warning(void *ctx, const char *text) {
    (void)ctx;
    warn("%s", text);
}

/* How long poll may wait, in milliseconds: 0 where a step is due, -1 for ever. */
static int wait_ms(struct forward *s) {
    double left = engine_due(s->engine);
    if (left >= (double)INFINITY)
        return forward_client_timeout_ms(&s->client);
    left -= seconds_now();
    return left <= 0 ? 0 : (int)(left * 1e3) + 1;
}

static int wait_for_events(struct forward *s, struct err *e) {
    struct pollfd fds[FORWARD_FDS];
    forward_client_fds(&s->client, fds, true);
    int timeout = wait_ms(s);
    double start = seconds_now();
    int n = poll(fds, FORWARD_FDS, timeout);
    *(s->client.of_engine.n_open > 0 ? &s->stats.for_sampler : &s->stats.for_input) +=
        seconds_now() - start;
    if (n < 0 && errno != EINTR)
        return err_errno(e, EXIT_SYSTEM, "cannot poll");
    return forward_client_heard(&s->client, fds, n, e);
}

static int step_if_due(struct forward *s, struct err *e) {
    if (engine_due(s->engine) > seconds_now())
        return 0;
    engine_step(s->engine);
    if (engine_lost(s->engine)) {
        *e = *engine_lost(s->engine);
        return -1;
    }
    if (!s->client.of_engine.failed)
        return 0;
    *e = s->client.of_engine.err;
    return -1;
}

static int run(struct forward *s, int *code, struct err *e) {
    while (!forward_client_finished(&s->client)) {
        if (wait_for_events(s, e) != 0 || forward_client_take_requests(&s->client, e) != 0 ||
            forward_client_take_prompts(&s->client, SIZE_MAX, e) < 0)
            return -1;
        if (forward_client_peer_left(&s->client))
            return output_set_left(s->client.out, e);
        if (step_if_due(s, e) != 0)
            return -1;
    }
    return forward_client_finish(&s->client, code, e);
}

static void report(struct forward *s) {
    s->stats.writing = output_seconds(s->client.out);
    s->stats.written = output_bytes(s->client.out);
    s->stats.sequences = s->client.n_sequences;
    s->stats.failed = s->client.n_failed;
    forward_stats_print(&s->stats, engine_counters(s->engine), s->job->model);
}

int stage_forward(const struct forward_job *job, int *code, struct err *e) {
    struct forward s = {.job = job, .engine = engine_new(&job->engine, job->model)};
    struct forward_client *c = &s.client;
    *c = (struct forward_client){.engine = s.engine,
                                 .model = job->model,
                                 .header = job->header,
                                 .ret = job->ret,
                                 .input = input_new(job->in_fd, job->in_name),
                                 .out = output_new(job->out_fd, job->header, job->ret),
                                 .max_in_flight = job->engine.max_in_flight,
                                 .all_logits = job->all_logits,
                                 .names_layers = job->hidden_layers,
                                 .warn = say_warning};
    if (job->engine.hidden)
        c->hidden = *model_hidden(job->model);
    s.stats.started = job->started;
    s.stats.opened = seconds_now();
    s.stats.status_fd = job->report ? forward_stats_open() : -1;
    forward_client_begin(c);
    int rc = job->opened ? job->opened(e) : 0;
    if (rc == 0)
        rc = run(&s, code, e);
    if (rc != 0 && output_left(c->out))
        rc = FORWARD_READER_LEFT;
    if (job->report)
        report(&s);
    if (s.stats.status_fd >= 0)
        close(s.stats.status_fd);
    forward_client_end(c);
    engine_free(s.engine);
    output_free(c->out);
    input_free(c->input);
    return rc;
}
