/* The engine against a fake model: sequences that are scored, what they share, and what clients are
 * told of the prefix cache.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "../lib/engine_client.h"

static int score_prompt(struct engine *g, struct engine_client *c, uint32_t seq,
                        const uint32_t *ids, uint32_t n, uint32_t from, struct err *e) {
    return engine_score(g, c, &(struct engine_prompt){.seq = seq, .ids = ids, .n_ids = n}, from, e);
}

/* ids [n] of a question and an answer after an introduction of 20. */
static uint32_t question(uint32_t q, uint32_t answer, uint32_t ids[CONTEXT]) {
    for (uint32_t i = 0; i < 34; i++)
        ids[i] = i < 20 ? i : i < 30 ? (q * 7 + i) % VOCAB : (answer * 11 + q + i) % VOCAB;
    return 34;
}

static void a_scored_sequence_gives_the_rows_that_score(void) {
    struct model *m;
    struct engine *g = begin(&m, 3, false);
    struct told *t = told_new(ENGINE_ASKS), *all = told_new(ENGINE_ASKS_NEVER);
    CHECK_INT(score_prompt(g, &t->client, 5, some_ids, 10, 4, NULL), 0);
    run_all(g);
    CHECK_INT(m->n_rows, 9); // the last id scores nothing
    open_prompt(g, &all->client, 5, some_ids, 10, 10, NULL);
    run_all(g);
    CHECK_INT(count(t, 'r'), 6);
    CHECK_INT(t->n, 7);
    CHECK(memcmp(t->events, all->events + 3, 6 * sizeof *t->events) == 0);
    CHECK_INT(count(t, 'c'), 1); // it closes itself
    CHECK_INT(t->client.n_open, 0);
    end(g, m);
    free(t);
    free(all);
}

static void what_cannot_be_scored_ends_at_once(void) {
    struct model *m;
    struct engine *g = begin(&m, 3, false);
    struct told *t = told_new(ENGINE_ASKS);
    struct engine_client *c = &t->client;
    CHECK_INT(score_prompt(g, c, 0, some_ids, 10, 0, NULL), 0);
    CHECK_STR(t->reason, "ids from 0 on are to be scored, but from 1 to 10 is possible");
    CHECK_INT(score_prompt(g, c, 0, some_ids, 10, 11, NULL), 0);
    CHECK_INT(count(t, 'x'), 2);
    CHECK_INT(score_prompt(g, c, 0, some_ids, CONTEXT + 1, 3, NULL), 0);
    CHECK_INT(count(t, 'x'), 3);
    CHECK_INT(score_prompt(g, c, 0, some_ids, 10, 10, NULL), 0); // nothing to score is no failure
    CHECK_INT(score_prompt(g, c, 0, some_ids, 1, 1, NULL), 0);
    CHECK_INT(count(t, 'c'), 2);
    CHECK_INT(t->n, 5);
    CHECK(c->n_open == 0 && engine_due(g) == (double)INFINITY);
    end(g, m);
    free(t);
}

/* Scores four answers to each of n_questions, at most n_open together, and returns the rows run. */
static size_t score_questions(size_t n_open, size_t chunk, bool keeps) {
    struct model *m = xcalloc(1, sizeof *m);
    struct engine_options o = {.max_in_flight = n_open, .chunk = chunk};
    struct engine *g = engine_new(&o, m);
    struct told *t = told_new(ENGINE_ASKS_NEVER);
    uint32_t ids[CONTEXT], n_sent = 0;
    size_t n_rows = 0;
    m->keeps = keeps;
    while (n_sent < 40 || t->client.n_open > 0) {
        for (; n_sent < 40 && t->client.n_open < n_open; n_sent++)
            score_prompt(g, &t->client, n_sent, ids, question(n_sent / 4, n_sent % 4, ids), 30,
                         NULL);
        if (t->client.n_open > 0)
            CHECK(engine_due(g) < (double)INFINITY); // somebody always runs
        engine_step(g);
    }
    CHECK_INT(count(t, 'c'), 40);
    CHECK_INT(count(t, 'r'), 40 * 4);
    for (size_t i = 0; i < t->n; i++)
        if (t->events[i].type == 'r') {
            question(t->events[i].seq / 4, t->events[i].seq % 4, ids);
            CHECK(t->events[i].value >= digest(ids, t->events[i].pos + 1) &&
                  t->events[i].value <= digest(ids, t->events[i].pos + 1));
        }
    n_rows = m->n_rows;
    end(g, m);
    free(t);
    return n_rows;
}

static void what_scored_sequences_share_is_run_once(void) {
    // The introduction, ten questions without their last id, and 40 answers, from that id on.
    size_t least = 20 + 10 * 9 + 40 * 4;
    CHECK_INT(score_questions(1, 5, true), least);
    CHECK_INT(score_questions(4, 0, true), least);
    CHECK_INT(score_questions(8, 7, true), least);
    CHECK_INT(score_questions(40, 64, false), 40 * 33);
    CHECK_INT(score_questions(4, 3, false), 40 * 33);
}

/* The sequence that others wait for ends by a failure, or its client does. */
static void who_waits_goes_on_when_the_other_has_failed(void) {
    for (int leaves = 0; leaves < 2; leaves++) {
        struct model *m;
        struct engine *g = begin(&m, 4, false);
        struct told *first = told_new(ENGINE_ASKS_NEVER), *t = told_new(ENGINE_ASKS_NEVER);
        uint32_t ids[CONTEXT];
        m->keeps = true;
        first->fail_at = leaves ? 0 : 1;
        score_prompt(g, &first->client, 0, ids, question(0, 0, ids), 30, NULL);
        score_prompt(g, &t->client, 0, ids, question(0, 1, ids), 30, NULL);
        score_prompt(g, &t->client, 1, ids, question(0, 2, ids), 30, NULL);
        engine_step(g);
        CHECK_INT(m->n_rows, 4); // only the first runs
        engine_request(g, &t->client, &(struct engine_request){ENGINE_CLOSE, .seq = 1}, NULL);
        if (leaves)
            engine_leave(g, &first->client);
        run_all(g);
        CHECK(first->client.failed == !leaves);
        CHECK_INT(count(t, 'c'), 2);
        CHECK_INT(count(t, 'r'), 8);
        end(g, m);
        free(first);
        free(t);
    }
}

/* ---- What was cached of a prompt ---- */

static struct engine_reuse last_reuse;
static size_t n_reuses;

static int note_reuse(void *ctx, uint32_t seq, const struct engine_reuse *r, struct err *e) {
    (void)ctx;
    (void)seq;
    (void)e;
    last_reuse = *r;
    n_reuses++;
    return 0;
}

static void what_was_cached_is_told_to_who_asks(void) {
    struct model *m;
    struct engine *g = begin(&m, 4, false);
    struct told *t = told_new(ENGINE_ASKS_NEVER);
    uint32_t other[12];
    struct engine_prompt p = {.ids = some_ids, .n_ids = 20, .want = 1};
    m->keeps = true;
    t->client.reused = note_reuse;
    n_reuses = 0;
    CHECK_INT(engine_open(g, &t->client, &p, NULL), 0);
    run_all(g);
    CHECK_INT(n_reuses, 0); // it did not ask
    p = (struct engine_prompt){.seq = 1, .ids = some_ids, .n_ids = 24, .want = 1};
    p.tells = ENGINE_TELLS_WHY;
    CHECK_INT(engine_open(g, &t->client, &p, NULL), 0);
    run_all(g);
    CHECK_INT(n_reuses, 1);
    CHECK_INT(last_reuse.cached, 20);
    CHECK_INT(last_reuse.match, 20);
    CHECK(last_reuse.has_ours && last_reuse.ours == some_ids[20] && !last_reuse.has_theirs);
    memcpy(other, some_ids, sizeof other);
    other[5] = 77;
    p = (struct engine_prompt){.seq = 2, .ids = other, .n_ids = 12, .want = 1};
    p.tells = ENGINE_TELLS_WHY;
    CHECK_INT(engine_open(g, &t->client, &p, NULL), 0);
    run_all(g);
    CHECK_INT(last_reuse.cached, 5);
    CHECK_INT(last_reuse.match, 5);
    CHECK(last_reuse.has_ours && last_reuse.ours == 77);
    CHECK(last_reuse.has_theirs && last_reuse.theirs == some_ids[5]);
    end(g, m);
    free(t);
}

int main(void) {
    RUN(a_scored_sequence_gives_the_rows_that_score);
    RUN(what_cannot_be_scored_ends_at_once);
    RUN(what_scored_sequences_share_is_run_once);
    RUN(who_waits_goes_on_when_the_other_has_failed);
    RUN(what_was_cached_is_told_to_who_asks);
    return check_done();
}
