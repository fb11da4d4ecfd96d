/* The engine against a fake model, without any descriptor: sequences, batches, and several clients.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "../lib/engine_client.h"

#include "base/progress.h"
#include "engine/batch.h"
#include "engine/seqs.h"

/* ---- Sequences and batches ---- */

static struct engine_client one = {.first_fork = FIRST_FORK}, two = {.first_fork = FIRST_FORK};

static void numbers_are_found(void) {
    struct seqs q;
    seqs_init(&q, 20, VOCAB, CONTEXT);
    for (uint32_t i = 0; i < 20; i++)
        CHECK(seqs_open(&q, &one, 32 * i) != NULL); // all in one bucket
    CHECK(seqs_open(&q, &one, 7) == NULL);
    for (uint32_t i = 0; i < 20; i += 3)
        seqs_close(&q, seqs_find(&q, &one, 32 * i));
    for (uint32_t i = 0; i < 20; i++)
        CHECK((seqs_find(&q, &one, 32 * i) != NULL) == (i % 3 != 0));
    CHECK_INT(q.n_open, 13);
    CHECK(seqs_open(&q, &one, 7) != NULL);
    CHECK(seqs_find(&q, &one, 7)->number == 7);
    seqs_free(&q);
}

/* One request to a sequence 5 of 10 ids; what is said of it, or "". */
static const char *answer(struct engine_request r) {
    static struct err e;
    struct seqs q;
    e = (struct err){0};
    seqs_init(&q, 2, VOCAB, CONTEXT);
    seqs_prompt(seqs_open(&q, &one, 5), some_ids, 10, 1);
    if (seqs_request(&q, &one, &r, &e) == 0)
        e.msg[0] = '\0';
    seqs_free(&q);
    return e.msg;
}

static void bad_requests_are_refused(void) {
    static const uint32_t past[] = {3, VOCAB};
    const uint32_t fork = FIRST_FORK;
    CHECK_STR(answer((struct engine_request){ENGINE_EXTEND, .seq = 5, .pos = 10, .ids = some_ids,
                                             .n_ids = 1, .want = 1}),
              "");
    CHECK_STR(answer((struct engine_request){ENGINE_EXTEND, .seq = 5, .pos = 0, .ids = some_ids,
                                             .n_ids = 40}),
              "");
    CHECK_STR(answer((struct engine_request){ENGINE_EXTEND, .seq = 5, .pos = 4}), "");
    CHECK_STR(answer((struct engine_request){ENGINE_EXTEND, .seq = 6, .ids = some_ids, .n_ids = 1}),
              "the sequence is not open");
    CHECK_STR(answer((struct engine_request){ENGINE_EXTEND, .seq = 5, .pos = 11, .ids = some_ids,
                                             .n_ids = 1}),
              "position 11 is past the sequence's end at 10");
    CHECK_STR(answer((struct engine_request){ENGINE_EXTEND, .seq = 5, .pos = 10, .ids = past,
                                             .n_ids = 2}),
              "id 100 is not in the vocabulary of 100");
    CHECK_STR(answer((struct engine_request){ENGINE_EXTEND, .seq = 5, .pos = 10, .ids = some_ids,
                                             .n_ids = 1, .want = 2}),
              "logits of 2 ids are wanted, but only 1 came");
    CHECK(strstr(answer((struct engine_request){ENGINE_EXTEND, .seq = 5, .pos = 10, .ids = some_ids,
                                                .n_ids = 0xffffffff}),
                 "do not fit into the context of 64"));
    CHECK_STR(answer((struct engine_request){ENGINE_CLOSE, .seq = 6}), "");
    CHECK_STR(answer((struct engine_request){ENGINE_FORK, .seq = fork, .from = 5, .pos = 10}), "");
    CHECK(strstr(answer((struct engine_request){ENGINE_FORK, .seq = 6, .from = 5}),
                 "a fork's number is at least 1073741824"));
    CHECK_STR(answer((struct engine_request){ENGINE_FORK, .seq = fork, .from = 6}),
              "sequence 6, to be copied, is not open");
    CHECK_STR(answer((struct engine_request){ENGINE_FORK, .seq = fork, .from = 5, .pos = 11}),
              "position 11 is past the end of sequence 5 at 10");
}

static void requests_do_not_pile_up(void) {
    struct seqs q;
    struct err e = {0};
    int taken = 0;
    seqs_init(&q, 2, VOCAB, CONTEXT);
    seqs_prompt(seqs_open(&q, &one, 0), some_ids, 10, 1);
    while (taken < 5000 &&
           seqs_request(&q, &one, &(struct engine_request){ENGINE_EXTEND, .seq = 0, .pos = 3},
                        &e) == 0)
        taken++;
    CHECK_INT(taken, SEQ_MAX_JOBS - 1);
    seqs_free(&q);
}

/* A queue of prompts of n ids each (0: a request of one id), and how the rows of a batch are dealt.
 */
static void deal(const uint32_t *n, uint32_t n_seqs, size_t max_rows, size_t max_want,
                 size_t prompt_rows, uint32_t *rows) {
    struct seqs q;
    struct batch b;
    seqs_init(&q, n_seqs, VOCAB, CONTEXT);
    batch_init(&b, max_rows, max_want, n_seqs);
    for (uint32_t i = 0; i < n_seqs; i++) {
        struct seq *s = seqs_open(&q, &one, i);
        if (n[i])
            seqs_prompt(s, some_ids, n[i], n[i]);
        else
            seqs_request(&q, &one,
                         &(struct engine_request){ENGINE_EXTEND, .seq = i, .ids = some_ids,
                                                  .n_ids = 1, .want = 1},
                         NULL);
        seqs_set_runnable(&q, s, true);
        rows[i] = 0;
    }
    batch_build(&b, &q, prompt_rows);
    for (size_t i = 0; i < b.n_parts; i++)
        rows[b.parts[i].slot] += b.parts[i].n_rows;
    CHECK(b.n_rows <= max_rows && b.n_want <= max_want && b.n_prompt_rows <= prompt_rows);
    batch_free(&b);
    seqs_free(&q);
}

static void short_requests_run_first_and_prompts_share(void) {
    uint32_t rows[5];
    deal((uint32_t[]){40, 0, 5, 40, 0}, 5, 100, 100, 32, rows);
    CHECK_INT(rows[0], 16); // half of 32
    CHECK_INT(rows[1], 1);
    CHECK_INT(rows[2], 5);  // all it has, less than half of 16
    CHECK_INT(rows[3], 11); // the rest
    CHECK_INT(rows[4], 1);
    deal((uint32_t[]){40, 0, 5, 0, 0}, 5, 100, 100, 32, rows);
    CHECK_INT(rows[0], 27); // what the last did not need comes back
    CHECK_INT(rows[2], 5);
    deal((uint32_t[]){40, 0, 0, 0, 0}, 5, 100, 100, 1, rows);
    CHECK_INT(rows[0], 1);
    CHECK_INT(rows[4], 1);
}

static void memory_for_logits_bounds_a_batch(void) {
    uint32_t rows[3];
    deal((uint32_t[]){40, 0, 40}, 3, 100, 10, 64, rows); // every row of the prompts wants logits
    CHECK_INT(rows[1], 1);
    CHECK_INT(rows[0], 9);
    CHECK_INT(rows[2], 0);
}

/* Each of two clients has three prompts in the queue, the first client's before the second's. */
static void clients_take_turns(void) {
    struct seqs q;
    struct batch b;
    uint32_t rows[6] = {0};
    one.n_open = two.n_open = 0; // what seqs_free of earlier tests has left
    seqs_init(&q, 6, VOCAB, CONTEXT);
    batch_init(&b, 100, 100, 6);
    for (uint32_t i = 0; i < 6; i++) {
        struct seq *s = seqs_open(&q, i < 3 ? &one : &two, i % 3);
        seqs_prompt(s, some_ids, 40, 1);
        seqs_set_runnable(&q, s, true);
    }
    CHECK_INT(one.n_open, 3);
    CHECK(seqs_find(&q, &one, 1) != seqs_find(&q, &two, 1));
    batch_build(&b, &q, 32);
    for (size_t i = 0; i < b.n_parts; i++)
        rows[b.parts[i].slot] = b.parts[i].n_rows;
    for (uint32_t i = 0; i < 6; i += 3) { // 16 for each client
        CHECK_INT(rows[i], 8);
        CHECK_INT(rows[i + 1], 4);
        CHECK_INT(rows[i + 2], 4);
    }
    CHECK_INT(b.n_rows, 32);
    two.held = true;
    batch_build(&b, &q, 32);
    CHECK_INT(b.n_parts, 3); // all of one's
    CHECK_INT(b.n_rows, 32);
    two.held = false;
    for (uint32_t i = 0; i < 6; i++)
        seqs_close(&q, &q.seq[i]);
    CHECK_INT(one.n_open + two.n_open, 0);
    batch_free(&b);
    seqs_free(&q);
}

/* ---- Clients ---- */

/* Events of one sequence of t, in order. */
static size_t of_seq(const struct told *t, uint32_t seq, struct event *out) {
    size_t n = 0;
    for (size_t i = 0; i < t->n; i++)
        if (t->events[i].seq == seq)
            out[n++] = t->events[i];
    return n;
}

/* Work of one client, which differs by `which`: prompts, extensions, a cut, a fork, closes. Between
 * the moves, `g` may run steps for others. */
static void move(struct engine *g, struct told *t, uint32_t which, int at) {
    struct engine_client *c = &t->client;
    const uint32_t *ids = some_ids + 3 * which, fork = FIRST_FORK + which;
    struct engine_request r[] = {
        {ENGINE_EXTEND, .seq = 7, .pos = 12, .ids = ids, .n_ids = 5, .want = 2},
        {ENGINE_EXTEND, .seq = 7, .pos = 4, .ids = ids + 2, .n_ids = 3, .want = 3},
        {ENGINE_FORK, .seq = fork, .from = 7, .pos = 5},
        {ENGINE_EXTEND, .seq = fork, .pos = 5, .ids = ids, .n_ids = 20, .want = 1},
        {ENGINE_CLOSE, .seq = 7},
        {ENGINE_EXTEND, .seq = fork, .pos = 25, .ids = ids, .n_ids = 1, .want = 1},
        {ENGINE_CLOSE, .seq = fork},
        {ENGINE_CLOSE, .seq = 8},
    };
    if (at == 0)
        CHECK(open_prompt(g, c, 7, ids, 12, 1, NULL) == 0 &&
              open_prompt(g, c, 8, ids + 1, 20, 20, NULL) == 0);
    else if (at <= (int)(sizeof r / sizeof *r))
        CHECK(engine_request(g, c, &r[at - 1], NULL) == 0);
}

enum { MOVES = 9 };

static void two_clients_get_what_each_gets_alone(void) {
    static struct event a[MAX_EVENTS], b[MAX_EVENTS];
    static const size_t chunks[] = {0, 1, 5, 64};
    for (size_t k = 0; k < 4; k++) {
        struct model *m;
        struct told *alone[2], *both[2] = {told_new(ENGINE_ASKS), told_new(ENGINE_ASKS)};
        for (uint32_t i = 0; i < 2; i++) {
            struct engine *g = begin(&m, chunks[k], true);
            alone[i] = told_new(ENGINE_ASKS);
            for (int at = 0; at < MOVES; at++) {
                move(g, alone[i], i, at);
                run_all(g);
            }
            CHECK_INT(alone[i]->client.n_open, 0);
            end(g, m);
        }
        struct engine *g = begin(&m, chunks[k], true);
        for (int at = 0; at < MOVES + 2; at++) { // the second is two moves late
            if (at < MOVES)
                move(g, both[0], 0, at);
            if (at >= 2)
                move(g, both[1], 1, at - 2);
            if (engine_due(g) < (double)INFINITY)
                engine_step(g);
        }
        run_all(g);
        for (uint32_t i = 0; i < 2; i++) {
            const uint32_t numbers[] = {7, 8, FIRST_FORK + i};
            for (size_t j = 0; j < 3; j++) {
                size_t n = of_seq(alone[i], numbers[j], a);
                CHECK_INT(of_seq(both[i], numbers[j], b), n);
                for (size_t v = 0; v < n; v++)
                    CHECK(a[v].type == b[v].type && a[v].pos == b[v].pos && a[v].n == b[v].n &&
                          a[v].value == b[v].value);
            }
            CHECK_INT(count(both[i], 'r'), 1 + 20 + 2 + 3 + 1 + 1);
            CHECK_INT(count(both[i], 'f'), 1);
            CHECK_INT(count(both[i], 'c'), 3);
            CHECK_INT(count(both[i], 'x'), 0);
            CHECK_INT(both[i]->client.n_open, 0);
            CHECK(both[i]->n_steps > 0);
            free(alone[i]);
            free(both[i]);
        }
        end(g, m);
    }
}

/* As above, with memory for fewer positions than the sequences have together: each move's client
 * still gets what it gets alone. */
static void sequences_that_do_not_fit_together_are_paused(void) {
    static struct event a[MAX_EVENTS], b[MAX_EVENTS];
    static const size_t chunks[] = {1, 5, 64}, rooms[] = {40, 45, 60};
    for (size_t k = 0; k < 9; k++) {
        enum { CLIENTS = 4 };
        struct model *m;
        struct told *alone[CLIENTS], *all[CLIENTS];
        for (uint32_t i = 0; i < CLIENTS; i++) {
            struct engine *g = begin(&m, 64, true);
            alone[i] = told_new(ENGINE_ASKS);
            all[i] = told_new(ENGINE_MAY_ASK); // for which no step waits
            for (int at = 0; at < MOVES; at++) {
                move(g, alone[i], i, at);
                run_all(g);
            }
            end(g, m);
        }
        m = xcalloc(1, sizeof *m);
        m->refuse_past = rooms[k / 3];
        struct engine *g = engine_new(
            &(struct engine_options){
                .max_in_flight = 8, .chunk = chunks[k % 3], .hidden = true, .pauses = true},
            m);
        for (int at = 0; at < MOVES + CLIENTS; at++) {
            for (uint32_t i = 0; i < CLIENTS; i++)
                if (at >= (int)i && at < MOVES + (int)i)
                    move(g, all[i], i, at - (int)i);
            if (engine_due(g) < (double)INFINITY)
                engine_step(g);
        }
        for (double until = seconds_now() + 20; engine_due(g) < (double)INFINITY;) {
            engine_step(g);
            if (seconds_now() > until)
                break;
        }
        CHECK(engine_due(g) == (double)INFINITY);
        for (uint32_t i = 0; i < CLIENTS; i++) {
            const uint32_t numbers[] = {7, 8, FIRST_FORK + i};
            for (size_t j = 0; j < 3; j++) {
                size_t n = of_seq(alone[i], numbers[j], a);
                CHECK_INT(of_seq(all[i], numbers[j], b), n);
                for (size_t v = 0; v < n; v++)
                    CHECK(a[v].type == b[v].type && a[v].pos == b[v].pos && a[v].n == b[v].n &&
                          a[v].value == b[v].value);
            }
            CHECK_INT(count(all[i], 'x'), 0);
            CHECK_INT(all[i]->client.n_open, 0);
            free(alone[i]);
            free(all[i]);
        }
        end(g, m);
    }
}

/* Only what could never fit fails, and a client that leaves while it is paused leaves nothing. */
static void what_never_fits_fails(void) {
    struct told *t = told_new(ENGINE_ASKS_NEVER), *other = told_new(ENGINE_ASKS_NEVER);
    struct model *m = xcalloc(1, sizeof *m);
    m->refuse_past = 20;
    struct engine *g =
        engine_new(&(struct engine_options){.max_in_flight = 4, .chunk = 64, .pauses = true}, m);
    CHECK(open_prompt(g, &t->client, 0, some_ids, 21, 1, NULL) == 0);
    CHECK(open_prompt(g, &t->client, 1, some_ids, 20, 1, NULL) == 0);
    CHECK(open_prompt(g, &other->client, 0, some_ids, 19, 1, NULL) == 0);
    engine_leave(g, &other->client);
    for (int i = 0; i < 100 && engine_due(g) < (double)INFINITY; i++)
        engine_step(g);
    CHECK_INT(count(t, 'x'), 1);
    CHECK_INT(count(t, 'c'), 1);
    CHECK_INT(count(t, 'r'), 1);
    CHECK_INT(t->client.n_open + other->client.n_open, 0);
    free(t);
    free(other);
    end(g, m);
}

static void a_lost_device_ends_no_sequence(void) {
    for (int pauses = 0; pauses < 2; pauses++) {
        struct model *m = xcalloc(1, sizeof *m);
        struct engine *g = engine_new(
            &(struct engine_options){.max_in_flight = 4, .chunk = 4, .pauses = pauses}, m);
        struct told *t = told_new(ENGINE_ASKS);
        m->lost_at = 2;
        open_prompt(g, &t->client, 0, some_ids, 9, 1, NULL);
        open_prompt(g, &t->client, 1, some_ids, 3, 1, NULL);
        engine_step(g);
        CHECK(!engine_lost(g) && engine_due(g) < (double)INFINITY);
        size_t before = t->n;
        engine_step(g);
        CHECK(engine_lost(g) && engine_lost(g)->code == EXIT_SYSTEM);
        CHECK_STR(engine_lost(g)->msg, "the device is lost");
        CHECK(engine_due(g) == (double)INFINITY);
        CHECK_INT(t->n, before);
        CHECK_INT(count(t, 'x'), 0);
        CHECK_INT(t->client.n_open, 2);
        free(t);
        end(g, m);
    }
}

static void one_step_runs_the_rows_of_both(void) {
    struct model *m;
    struct engine *g = begin(&m, 64, false);
    struct told *a = told_new(ENGINE_ASKS), *b = told_new(ENGINE_ASKS);
    open_prompt(g, &a->client, 0, some_ids, 5, 1, NULL);
    open_prompt(g, &b->client, 0, some_ids, 9, 1, NULL); // the same number, another sequence
    engine_step(g);
    CHECK_INT(m->n_steps, 1);
    CHECK_INT(a->events[0].value, digest(some_ids, 5));
    CHECK_INT(b->events[0].value, digest(some_ids, 9));
    CHECK(a->n_steps == 1 && b->n_steps == 1);
    engine_free(g);
    free(m);
    free(a);
    free(b);
}

static void a_client_that_fails_ends_alone(void) {
    for (size_t fail_at = 1; fail_at <= 6; fail_at++) {
        struct model *m;
        struct err e = {0};
        struct engine *g = begin(&m, 8, false);
        struct told *bad = told_new(ENGINE_ASKS), *good = told_new(ENGINE_ASKS);
        bad->fail_at = fail_at;
        int rc = 0;
        for (int at = 0; at < MOVES; at++) {
            move(g, good, 1, at);
            if (at == 0) {
                open_prompt(g, &bad->client, 0, some_ids, 30, 4, NULL);
                open_prompt(g, &bad->client, 1, some_ids, 9, 9, NULL);
            }
            if (!bad->client.failed) // an event of 'f' comes at once, one of 'x' too
                rc = engine_request(g, &bad->client,
                                    &(struct engine_request){ENGINE_FORK,
                                                             .seq = FIRST_FORK + (uint32_t)at,
                                                             .from = 0, .pos = 30},
                                    &e);
            run_all(g);
        }
        CHECK(bad->client.failed);
        CHECK_INT(bad->n, fail_at);
        CHECK_STR(bad->client.err.msg, "enough");
        CHECK_INT(bad->client.n_open, 0);
        CHECK(fail_at > 1 || (rc == -1 && e.code == EXIT_IO));
        CHECK_INT(open_prompt(g, &bad->client, 9, some_ids, 3, 1, &e), -1);
        CHECK_INT(bad->n, fail_at); // nothing more is told
        CHECK_INT(count(good, 'r'), 28);
        CHECK_INT(count(good, 'c'), 3);
        CHECK_INT(count(good, 'x'), 0);
        engine_leave(g, &bad->client);
        end(g, m);
        free(bad);
        free(good);
    }
}

static void who_leaves_takes_its_sequences_along(void) {
    struct model *m;
    struct engine *g = begin(&m, 4, false);
    struct told *a = told_new(ENGINE_ASKS), *b = told_new(ENGINE_ASKS);
    for (uint32_t i = 0; i < 3; i++)
        open_prompt(g, &a->client, i, some_ids, 40, 1, NULL);
    engine_request(g, &a->client,
                   &(struct engine_request){ENGINE_FORK, .seq = FIRST_FORK, .from = 1, .pos = 40},
                   NULL);
    open_prompt(g, &b->client, 0, some_ids, 7, 1, NULL);
    engine_step(g);
    CHECK_INT(a->client.n_open, 4);
    size_t told = a->n;
    engine_leave(g, &a->client);
    CHECK_INT(a->client.n_open, 0);
    run_all(g);
    CHECK_INT(a->n, told);
    CHECK_INT(count(b, 'r'), 1);
    size_t rows = 0;
    for (size_t slot = 0; slot < FAKE_SLOTS; slot++)
        rows += m->len[slot];
    CHECK_INT(rows, 7); // nothing of the first client is in a slot
    end(g, m);
    free(a);
    free(b);
}

static void what_cannot_be_run_ends_with_a_reason(void) {
    static const uint32_t past[] = {3, VOCAB};
    struct model *m;
    struct engine *g = begin(&m, 0, false);
    struct told *t = told_new(ENGINE_ASKS);
    struct engine_client *c = &t->client;
    CHECK(open_prompt(g, c, 0, past, 2, 1, NULL) == 0);
    CHECK_STR(t->reason, "id 100 is not in the vocabulary of 100");
    CHECK(open_prompt(g, c, 0, some_ids, 0, 0, NULL) == 0);
    CHECK_STR(t->reason, "the prompt is empty");
    CHECK(open_prompt(g, c, 0, some_ids, CONTEXT + 1, 1, NULL) == 0);
    CHECK_STR(t->reason, "65 ids at position 0 do not fit into the context of 64");
    CHECK(open_prompt(g, c, 0, some_ids, 3, 4, NULL) == 0);
    CHECK_STR(t->reason, "logits of 4 ids are wanted, but only 3 came");
    CHECK_INT(c->n_open, 0);
    CHECK(open_prompt(g, c, 0, some_ids, 3, 1, NULL) == 0 && c->n_open == 1);
    CHECK(open_prompt(g, c, 0, some_ids, 3, 1, NULL) == 0 && c->n_open == 0);
    CHECK_STR(t->reason, "the number is open already");
    CHECK_INT(count(t, 'x'), 5);
    for (uint32_t i = 0; i < 4 + ENGINE_FORKS; i++)
        open_prompt(g, c, i, some_ids, 3, 1, NULL);
    CHECK_INT(count(t, 'x'), 5);
    open_prompt(g, c, 999, some_ids, 3, 1, NULL);
    CHECK_STR(t->reason, "no room for a sequence: 260 are open");
    CHECK_INT(c->n_open, 4 + ENGINE_FORKS);
    end(g, m);
    free(t);
}

/* A copy that is refused while it waits for its source leaves no trace. Neither the source's end
 * nor the job that would have made the copy touches the sequence that is in its slot now. */
static void a_copy_that_fails_early_is_not_made(void) {
    const uint32_t fork = FIRST_FORK;
    for (int source_fails = 0; source_fails < 2; source_fails++) {
        struct model *m;
        struct engine *g = begin(&m, 0, false);
        struct told *t = told_new(ENGINE_ASKS);
        struct engine_client *c = &t->client;
        struct engine_request copy = {ENGINE_FORK, .seq = fork, .from = 7, .pos = 5},
                              bad = {ENGINE_EXTEND, .seq = fork, .pos = 60},
                              more = {ENGINE_EXTEND,        .seq = 9,   .pos = 6,
                                      .ids = some_ids + 26, .n_ids = 1, .want = 1};
        CHECK(open_prompt(g, c, 7, some_ids, 10, 1, NULL) == 0);
        CHECK(engine_request(g, c, &copy, NULL) == 0 && engine_request(g, c, &bad, NULL) == 0);
        CHECK(open_prompt(g, c, 9, some_ids + 20, 6, 0, NULL) == 0); // in the copy's slot
        bad.seq = 7;
        if (source_fails)
            CHECK(engine_request(g, c, &bad, NULL) == 0);
        run_all(g);
        CHECK(engine_request(g, c, &more, NULL) == 0);
        run_all(g);
        CHECK_INT(count(t, 'x'), 1 + source_fails);
        CHECK_INT(c->n_open, 2 - source_fails);
        CHECK(t->n > 0 && t->events[t->n - 1].seq == 9);
        CHECK(t->n > 0 && t->events[t->n - 1].value == digest(some_ids + 20, 7));
        end(g, m);
        free(t);
    }
}

static void who_never_asks_gets_its_sequences_closed(void) {
    struct model *m;
    struct engine *g = begin(&m, 0, false);
    struct told *t = told_new(ENGINE_ASKS_NEVER), *later = told_new(ENGINE_MAY_ASK);
    open_prompt(g, &t->client, 0, some_ids, 3, 1, NULL);
    open_prompt(g, &later->client, 0, some_ids, 4, 1, NULL);
    run_all(g);
    CHECK(t->client.n_open == 0 && count(t, 'c') == 1);
    CHECK(later->client.n_open == 1 && count(later, 'r') == 1);
    CHECK_INT(engine_close_idle(g, &later->client, NULL), 0);
    CHECK_INT(later->client.n_open, 1);
    later->client.asking = ENGINE_ASKS_NEVER;
    CHECK_INT(engine_close_idle(g, &later->client, NULL), 0);
    CHECK(later->client.n_open == 0 && count(later, 'c') == 1);
    end(g, m);
    free(t);
    free(later);
}

static void a_step_waits_shortly_for_a_client_that_asks(void) {
    struct model *m;
    struct engine *g = begin(&m, 8, false);
    struct told *asks = told_new(ENGINE_ASKS), *other = told_new(ENGINE_MAY_ASK);
    CHECK(engine_due(g) == (double)INFINITY);
    open_prompt(g, &asks->client, 0, some_ids, 3, 1, NULL);
    CHECK(engine_due(g) <= seconds_now());
    engine_step(g);
    open_prompt(g, &other->client, 0, some_ids, 3, 1, NULL);
    double due = engine_due(g);
    CHECK(due > 0 && due < seconds_now() + 0.1); // as long as half a step of the fake takes
    engine_request(g, &asks->client,
                   &(struct engine_request){ENGINE_EXTEND, .seq = 0, .pos = 3, .ids = some_ids,
                                            .n_ids = 1, .want = 1},
                   NULL);
    CHECK(engine_due(g) == 0); // all have answered
    engine_step(g);
    CHECK_INT(m->n_steps, 2);
    CHECK_INT(engine_counters(g)->mixed_rows, 1); // both in one step
    end(g, m);
    free(asks);
    free(other);
}

int main(void) {
    RUN(numbers_are_found);
    RUN(bad_requests_are_refused);
    RUN(requests_do_not_pile_up);
    RUN(short_requests_run_first_and_prompts_share);
    RUN(memory_for_logits_bounds_a_batch);
    RUN(clients_take_turns);
    RUN(two_clients_get_what_each_gets_alone);
    RUN(sequences_that_do_not_fit_together_are_paused);
    RUN(what_never_fits_fails);
    RUN(a_lost_device_ends_no_sequence);
    RUN(one_step_runs_the_rows_of_both);
    RUN(a_client_that_fails_ends_alone);
    RUN(who_leaves_takes_its_sequences_along);
    RUN(what_cannot_be_run_ends_with_a_reason);
    RUN(a_copy_that_fails_early_is_not_made);
    RUN(who_never_asks_gets_its_sequences_closed);
    RUN(a_step_waits_shortly_for_a_client_that_asks);
    return check_done();
}
