/* For tests of the engine: a fake model, and clients that note all they are told.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TESTS_ENGINE_CLIENT_H
#define TESTS_ENGINE_CLIENT_H

#include "fake_model.h"

#include <math.h>

#include "engine/engine.h"

enum { FIRST_FORK = 1 << 30 };

static inline int open_prompt(struct engine *g, struct engine_client *c, uint32_t seq,
                              const uint32_t *ids, uint32_t n, uint32_t want, struct err *e) {
    return engine_open(
        g, c, &(struct engine_prompt){.seq = seq, .ids = ids, .n_ids = n, .want = want}, e);
}

enum { MAX_EVENTS = 4096 };

/* What a client was told, an event a row: comparable between runs. */
struct event {
    char type; // 'f'orked, 'a'ppended, 'r'ow, 'c'losed, 'x' failed
    uint32_t seq, pos, n;
    float value; // of a row: the digest
};

struct told {
    struct engine_client client;
    struct event events[MAX_EVENTS];
    size_t n, n_steps, n_rows, fail_at; // fail_at: the event, from 1, that is answered with -1
    char reason[200];
};

static inline int note(struct told *t, struct event v, struct err *e) {
    if (t->n < MAX_EVENTS)
        t->events[t->n] = v;
    t->n++;
    CHECK(!t->client.failed);
    return t->n == t->fail_at ? err_set(e, EXIT_IO, "enough") : 0;
}

static inline int on_forked(void *ctx, uint32_t seq, uint32_t from, uint32_t pos, struct err *e) {
    return note(ctx, (struct event){'f', seq, pos, from, 0}, e);
}

static inline int on_appended(void *ctx, uint32_t seq, uint32_t pos, const uint32_t *ids,
                              uint32_t n, struct err *e) {
    return note(ctx, (struct event){'a', seq, pos, n, digest(ids, n)}, e);
}

static inline int on_rows(void *ctx, uint32_t seq, uint32_t pos, uint32_t n, const float *logits,
                          const float *const *hidden, struct err *e) {
    struct told *t = ctx;
    t->n_rows += n;
    for (uint32_t i = 0; i < n; i++) {
        CHECK_INT(logits[i * COLUMNS + 1], pos + i + 1);
        CHECK(!hidden || (hidden[0][i] < VOCAB && hidden[1][i] - hidden[0][i] == 0.5f));
        if (note(t, (struct event){'r', seq, pos + i, 1, logits[i * COLUMNS]}, e) != 0)
            return -1;
    }
    return 0;
}

static inline int on_stepped(void *ctx, struct err *e) {
    struct told *t = ctx;
    (void)e;
    t->n_steps++;
    return 0;
}

static inline int on_ended(void *ctx, uint32_t seq, const char *reason, struct err *e) {
    struct told *t = ctx;
    snprintf(t->reason, sizeof t->reason, "%s", reason ? reason : "");
    return note(t, (struct event){reason ? 'x' : 'c', seq, 0, 0, 0}, e);
}

static inline struct told *told_new(enum engine_asking asking) {
    struct told *t = xcalloc(1, sizeof *t);
    t->client = (struct engine_client){.ctx = t,
                                       .first_fork = FIRST_FORK,
                                       .asking = asking,
                                       .forked = on_forked,
                                       .appended = on_appended,
                                       .rows = on_rows,
                                       .stepped = on_stepped,
                                       .ended = on_ended};
    return t;
}

static inline struct engine *begin(struct model **m, size_t chunk, bool hidden) {
    *m = xcalloc(1, sizeof **m);
    return engine_new(
        &(struct engine_options){.max_in_flight = 4, .chunk = chunk, .hidden = hidden}, *m);
}

static inline void end(struct engine *g, struct model *m) {
    engine_free(g);
    free(m);
}

static inline void run_all(struct engine *g) {
    for (int i = 0; i < 1000 && engine_due(g) < (double)INFINITY; i++)
        engine_step(g);
    CHECK(engine_due(g) == (double)INFINITY);
}

static inline size_t count(const struct told *t, char type) {
    size_t n = 0;
    for (size_t i = 0; i < t->n; i++)
        n += t->events[i].type == type;
    return n;
}

#endif
