/* llm-forward's loop against a fake model: whole runs from an input to a stream of logits(5), with
 * and without a return path.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "../lib/fake_model.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stages/forward.h"

/* ---- Whole runs ---- */

struct run {
    struct engine_options opts;
    bool all_logits;
    const char *input;
    struct model *model; // a fresh one where NULL
    bool serve;
};

/* In a child: the loop, from an input to a pipe, of which the reading end is returned. */
static int start(const struct run *r, pid_t *child) {
    int in[2], out[2];
    if (pipe(in) != 0 || pipe(out) != 0)
        abort();
    if (write(in[1], r->input, strlen(r->input)) < 0)
        abort();
    close(in[1]);
    fflush(stdout);
    *child = fork();
    if (*child != 0) {
        close(in[0]);
        close(out[1]);
        return out[0];
    }
    close(out[0]);
    struct err e = {0};
    struct logits_header h = {
        .vocab_size = VOCAB, .hidden_dim = r->opts.hidden, .context = CONTEXT, .bos = -1};
    struct return_server *ret = r->serve ? return_listen(&h, &e) : NULL;
    struct model *m = r->model ? r->model : xcalloc(1, sizeof *m);
    warn_quiet(1);
    struct forward_job job = {.engine = r->opts,
                              .all_logits = r->all_logits,
                              .model = m,
                              .header = &h,
                              .ret = ret,
                              .in_fd = in[0],
                              .out_fd = out[1],
                              .in_name = "input"};
    int code = 0, rc = stage_forward(&job, &code, &e);
    if (rc != 0)
        code = rc == FORWARD_READER_LEFT ? 99 : e.code;
    return_server_free(ret);
    free(m);
    close(in[0]);
    close(out[1]);
    _exit(code);
}

static int finish(pid_t child) {
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Runs without a return path; checks all logits against digests of the lines' ids; returns the exit
 * code, and the number of frames of each type in n. */
static int replay(struct run r, const uint32_t (*lines)[CONTEXT], const size_t *lens, int n[8]) {
    pid_t child;
    int fd = start(&r, &child), rc = -1;
    struct logits_header h;
    struct frame f;
    struct err e = {0};
    size_t seen[64] = {0};
    struct logits_reader *reader = logits_reader_new(fd, "run", &h, &e);
    CHECK_MSG(reader != NULL, "%s", e.msg);
    memset(n, 0, 8 * sizeof *n);
    while (reader && (rc = logits_next(reader, &f, &e)) == 1) {
        n[f.type]++;
        if (f.type == FRAME_OPEN && f.n_ids) {
            CHECK_INT(f.n_ids, lens[f.seq]);
            CHECK(memcmp(f.ids, lines[f.seq], f.n_ids * sizeof *f.ids) == 0);
        }
        for (uint32_t i = 0; f.type == FRAME_LOGITS && i < f.rows; i++) {
            CHECK_INT(f.values[i * COLUMNS], digest(lines[f.seq], f.pos + i + 1));
            CHECK_INT(f.values[i * COLUMNS + 1], f.pos + i + 1);
            seen[f.seq]++;
        }
        for (uint32_t i = 0; f.type == FRAME_HIDDEN && i < f.rows; i++)
            CHECK_INT(f.values[i], lines[f.seq][f.pos + i]);
    }
    CHECK_MSG(rc == 0, "%s", e.msg);
    n[FRAME_END] += rc == 0;
    for (size_t i = 0; r.all_logits && lens[i]; i++)
        CHECK_INT(seen[i], lens[i]);
    logits_reader_free(reader);
    close(fd);
    return finish(child);
}

static const char three[] = "1 2 3 4 5 6 7 8 9 10\n11\n20 21 22 23 24 25 26 27\n";
static const uint32_t three_ids[][CONTEXT] = {
    {1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, {11}, {20, 21, 22, 23, 24, 25, 26, 27}};
static const size_t three_lens[] = {10, 1, 8, 0};

static void prompts_are_run_whatever_the_chunk_and_batch(void) {
    static const size_t chunks[] = {0, 1, 3, 7, 64}, batches[] = {1, 2, 16};
    int n[8];
    for (size_t i = 0; i < 5; i++)
        for (size_t k = 0; k < 3; k++) {
            struct engine_options o = {
                .max_in_flight = batches[k], .chunk = chunks[i], .hidden = true};
            struct run r = {.opts = o, .all_logits = true, .input = three};
            CHECK_INT(replay(r, three_ids, three_lens, n), 0);
            CHECK_INT(n[FRAME_OPEN], 3);
            CHECK_INT(n[FRAME_CLOSED], 3);
            CHECK_INT(n[FRAME_END], 1);
            CHECK_INT(n[FRAME_HIDDEN], 2 * n[FRAME_LOGITS]); // the fake model gives two layers
        }
}

static void bad_lines_fail_alone(void) {
    int n[8];
    static const uint32_t ids[][CONTEXT] = {{1}, {0}, {0}, {0}, {0}, {5, 6}};
    static const size_t lens[] = {1, 0, 0, 0, 0, 2};
    struct run r = {.opts = {.max_in_flight = 2},
                    .input =
                        "1\n\n! upstream\n5 100 6\n"
                        "1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 "
                        "1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1\n5 6"};
    CHECK_INT(replay(r, ids, lens, n), EXIT_SOME_FAILED);
    CHECK_INT(n[FRAME_OPEN], 6);
    CHECK_INT(n[FRAME_FAILED], 4);
    CHECK_INT(n[FRAME_LOGITS], 2);
    CHECK_INT(n[FRAME_END], 1);
}

static void bad_bytes_end_the_input_but_not_what_came_before(void) {
    int n[8];
    struct run r = {.opts = {.max_in_flight = 2},
                    .input = "1 2 3 4 5 6 7 8 9 10\n11\n20 21 x\n1 2\n"};
    CHECK_INT(replay(r, three_ids, three_lens, n), EXIT_DATA);
    CHECK_INT(n[FRAME_CLOSED], 2);
    CHECK_INT(n[FRAME_FAILED], 1);
    CHECK_INT(n[FRAME_END], 1);
}

static void no_input_is_a_whole_stream(void) {
    int n[8];
    CHECK_INT(
        replay((struct run){.opts = {.max_in_flight = 2}, .input = ""}, three_ids, three_lens, n),
        0);
    CHECK_INT(n[FRAME_OPEN], 0);
    CHECK_INT(n[FRAME_END], 1);
}

static void without_memory_the_youngest_gives_way(void) {
    int n[8];
    struct model *m = xcalloc(1, sizeof *m);
    m->refuse_past = 12;
    struct run r = {.opts = {.max_in_flight = 3}, .input = three, .model = m};
    CHECK_INT(replay(r, three_ids, three_lens, n), EXIT_SOME_FAILED);
    CHECK_INT(n[FRAME_CLOSED] + n[FRAME_FAILED], 3);
    CHECK(n[FRAME_CLOSED] >= 1);
    free(m);
}

/* Lines that begin like others, with a model that keeps all and with one that keeps nothing: no
 * frame and no digest tells. All positions are run where all are asked for. */
static void what_was_kept_is_not_run_again(void) {
    static const char lines[] = "1 2 3 4 5 6 7 8 9 10\n1 2 3 4 5 6 7 8 9 10\n1 2 3 4 5 60\n1\n"
                                "1 2 3 4 5 6 7 8 9 10 11 12\n";
    static const uint32_t ids[][CONTEXT] = {{1, 2, 3, 4, 5, 6, 7, 8, 9, 10},
                                            {1, 2, 3, 4, 5, 6, 7, 8, 9, 10},
                                            {1, 2, 3, 4, 5, 60},
                                            {1},
                                            {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}};
    static const size_t lens[] = {10, 10, 6, 1, 12, 0}, chunks[] = {1, 3, 64};
    int n[8];
    for (size_t i = 0; i < 12; i++) {
        struct model *m = xcalloc(1, sizeof *m);
        m->keeps = true;
        m->refuse_rows = i < 3 ? 10 + 1 + 1 + 1 + 2 : 0; // one by one, only what is new is run
        struct run r = {.opts =
                            {
                                .max_in_flight = i < 6 ? 1 : 3,
                                .chunk = chunks[i % 3],
                                .hidden = true,
                            },
                        .all_logits = i / 3 % 2,
                        .input = lines,
                        .model = m};
        CHECK_INT(replay(r, ids, lens, n), 0);
        CHECK_INT(n[FRAME_CLOSED], 5);
        CHECK_INT(n[FRAME_FAILED], 0);
        CHECK(r.all_logits || n[FRAME_LOGITS] == 5);
        free(m);
    }
}

/* ---- The return path ---- */

struct peer {
    pid_t child;
    int fd;
    struct logits_header h;
    struct logits_reader *reader;
    struct return_client *client;
    struct frame f;
    struct err e;
};

static void peer_start(struct peer *p, const char *input, size_t in_flight) {
    *p = (struct peer){0};
    struct run r = {.opts = {.max_in_flight = in_flight}, .input = input, .serve = true};
    p->fd = start(&r, &p->child);
    p->reader = logits_reader_new(p->fd, "run", &p->h, &p->e);
    p->client = p->reader ? return_connect(&p->h, p->fd, &p->e) : NULL;
    CHECK_MSG(p->client != NULL, "%s", p->e.msg);
}

static int peer_end(struct peer *p) {
    return_client_free(p->client);
    logits_reader_free(p->reader);
    close(p->fd);
    return finish(p->child);
}

static void ask(struct peer *p, struct request r) {
    CHECK_MSG(return_send(p->client, &r, &p->e) == 0, "%s", p->e.msg);
}

/* The next frame of one type; others are passed over, but for a FAILED one, which is never expected
 * in between. */
static const struct frame *next_of(struct peer *p, enum frame_type type) {
    while (logits_next(p->reader, &p->f, &p->e) == 1)
        if (p->f.type == type || p->f.type == FRAME_FAILED)
            break;
    CHECK_MSG(p->f.type == type, "a frame of type %d, not %d: %.*s", (int)p->f.type, (int)type,
              (int)p->f.text.n, p->f.text.p ? p->f.text.p : "");
    return &p->f;
}

static void a_sequence_grows_is_cut_and_forked(void) {
    struct peer p;
    const uint32_t fork = RETURN_FIRST_FORK + 9;
    peer_start(&p, "1 2 3\n", 1);
    CHECK_INT(next_of(&p, FRAME_LOGITS)->values[0], digest(some_ids, 3));
    ask(&p, (struct request){REQUEST_EXTEND, .seq = 0, .pos = 3, .ids = some_ids + 3, .n_ids = 2,
                             .want = 2});
    const struct frame *f = next_of(&p, FRAME_IDS);
    CHECK(f->pos == 3 && f->n_ids == 2 && f->ids[1] == 5);
    f = next_of(&p, FRAME_LOGITS);
    CHECK(f->pos == 3 && f->rows == 2 && f->values[COLUMNS] == digest(some_ids, 5));
    // requests that follow each other without waiting: cut, extend, copy, extend both, close the
    // first
    ask(&p, (struct request){REQUEST_EXTEND, .seq = 0, .pos = 2});
    ask(&p, (struct request){REQUEST_EXTEND, .seq = 0, .pos = 2, .ids = (uint32_t[]){50, 51},
                             .n_ids = 2});
    ask(&p, (struct request){REQUEST_FORK, .seq = fork, .from = 0, .pos = 3});
    ask(&p, (struct request){REQUEST_EXTEND, .seq = fork, .pos = 3, .ids = (uint32_t[]){60},
                             .n_ids = 1, .want = 1});
    ask(&p, (struct request){REQUEST_EXTEND, .seq = 0, .pos = 4, .ids = (uint32_t[]){61},
                             .n_ids = 1, .want = 1});
    ask(&p, (struct request){REQUEST_CLOSE, .seq = 0});
    float of_first = 0, of_fork = 0;
    for (int i = 0; i < 2; i++) {
        f = next_of(&p, FRAME_LOGITS);
        *(f->seq == 0 ? &of_first : &of_fork) = f->values[0];
    }
    CHECK_INT(of_first, digest((uint32_t[]){1, 2, 50, 51, 61}, 5));
    CHECK_INT(of_fork, digest((uint32_t[]){1, 2, 50, 60}, 4));
    ask(&p, (struct request){REQUEST_CLOSE, .seq = fork});
    next_of(&p, FRAME_END);
    CHECK_INT(peer_end(&p), 0);
}

static void a_bad_request_fails_its_sequence_only(void) {
    struct peer p;
    peer_start(&p, "1 2 3\n1 2\n", 2);
    next_of(&p, FRAME_LOGITS);
    next_of(&p, FRAME_LOGITS);
    ask(&p, (struct request){REQUEST_EXTEND, .seq = 0, .pos = 9, .ids = some_ids, .n_ids = 1,
                             .want = 1});
    const struct frame *f = next_of(&p, FRAME_FAILED);
    CHECK(f->seq == 0 && f->text.n > 0);
    ask(&p, (struct request){REQUEST_EXTEND, .seq = 1, .pos = 2, .ids = some_ids + 2, .n_ids = 1,
                             .want = 1});
    CHECK_INT(next_of(&p, FRAME_LOGITS)->values[0], digest(some_ids, 3));
    ask(&p, (struct request){REQUEST_CLOSE, .seq = 0}); // it has failed: no error
    ask(&p, (struct request){REQUEST_CLOSE, .seq = 1});
    next_of(&p, FRAME_END);
    CHECK_INT(peer_end(&p), EXIT_SOME_FAILED);
}

static void copies_end_with_what_they_were_to_be_copied_from(void) {
    struct peer p;
    const uint32_t fork = RETURN_FIRST_FORK;
    peer_start(&p, "1 2 3\n", 1);
    next_of(&p, FRAME_LOGITS);
    kill(p.child, SIGSTOP); // so that all four are there when it goes on
    ask(&p, (struct request){REQUEST_EXTEND, .seq = 0, .pos = 3, .ids = some_ids, .n_ids = 40});
    ask(&p, (struct request){REQUEST_FORK, .seq = fork, .from = 0, .pos = 43});
    ask(&p, (struct request){REQUEST_FORK, .seq = fork + 1, .from = fork, .pos = 43});
    ask(&p, (struct request){REQUEST_EXTEND, .seq = 0, .pos = 99, .ids = some_ids, .n_ids = 1});
    kill(p.child, SIGCONT);
    int failed = 0;
    while (logits_next(p.reader, &p.f, &p.e) == 1)
        failed += p.f.type == FRAME_FAILED;
    CHECK_INT(failed, 3);
    CHECK_INT(p.f.type, FRAME_END);
    CHECK_INT(peer_end(&p), EXIT_SOME_FAILED);
}

static void a_slot_is_free_again_when_its_sequence_is_closed(void) {
    struct peer p;
    peer_start(&p, three, 1);
    for (uint32_t i = 0; i < 3; i++) {
        CHECK_INT(next_of(&p, FRAME_OPEN)->seq, i);
        CHECK_INT(next_of(&p, FRAME_LOGITS)->seq, i);
        ask(&p, (struct request){REQUEST_CLOSE, .seq = i});
        CHECK_INT(next_of(&p, FRAME_CLOSED)->seq, i);
    }
    next_of(&p, FRAME_END);
    CHECK_INT(peer_end(&p), 0);
}

static void a_peer_that_leaves_ends_the_run(void) {
    struct peer p;
    peer_start(&p, three, 2);
    next_of(&p, FRAME_LOGITS);
    CHECK_INT(peer_end(&p), 99);
}

static void a_decline_ends_all_behind_their_prompts(void) {
    struct peer p = {0};
    struct run r = {.opts = {.max_in_flight = 2}, .input = three, .serve = true};
    int closed = 0;
    p.fd = start(&r, &p.child);
    p.reader = logits_reader_new(p.fd, "run", &p.h, &p.e);
    return_decline(&p.h, p.fd);
    while (logits_next(p.reader, &p.f, &p.e) == 1)
        closed += p.f.type == FRAME_CLOSED;
    CHECK_INT(closed, 3);
    logits_reader_free(p.reader);
    close(p.fd);
    CHECK_INT(finish(p.child), 0);
}

/* ---- Anything at any time ---- */

enum { STRESS_SEQS = 6, STRESS_REQUESTS = 600, MAX_EXPECTED = 5 * STRESS_REQUESTS };

/* What the peer knows of a sequence: its ids, and the rows of logits that are still to come, in
 * order. */
struct mirror {
    uint32_t number, ids[CONTEXT], len;
    bool open;
    struct {
        uint32_t pos;
        float digest;
    } expected[MAX_EXPECTED];
    size_t n_expected, n_seen;
};

static uint32_t next_random(uint32_t *state, uint32_t below) {
    *state = *state * 1664525u + 1013904223u;
    return (*state >> 8) % below;
}

static void stress_extend(struct peer *p, struct mirror *m, uint32_t *random) {
    uint32_t pos = next_random(random, m->len + 1), n = next_random(random, 6), ids[8];
    n = n > CONTEXT - pos ? CONTEXT - pos : n;
    uint32_t want = next_random(random, n + 1);
    for (uint32_t i = 0; i < n; i++)
        m->ids[pos + i] = ids[i] = next_random(random, VOCAB);
    for (uint32_t i = n - want; i < n; i++) {
        m->expected[m->n_expected].pos = pos + i;
        m->expected[m->n_expected++].digest = digest(m->ids, pos + i + 1);
    }
    m->len = pos + n;
    ask(p, (struct request){REQUEST_EXTEND, .seq = m->number, .pos = pos, .ids = ids, .n_ids = n,
                            .want = want});
}

static void stress_fork(struct peer *p, struct mirror *to, const struct mirror *from,
                        uint32_t number, uint32_t *random) {
    uint32_t len = next_random(random, from->len + 1);
    *to = (struct mirror){.number = number, .len = len, .open = true};
    memcpy(to->ids, from->ids, len * sizeof *to->ids);
    ask(p, (struct request){REQUEST_FORK, .seq = number, .from = from->number, .pos = len});
}

/* Sends requests without waiting for their answers; request i may fork sequence i. */
static void stress_ask(struct peer *p, struct mirror *all, size_t n_all) {
    uint32_t random = 12345;
    for (size_t i = 1; i < n_all; i++) {
        size_t open = 0, k = next_random(&random, STRESS_SEQS);
        for (size_t j = 0; j < i; j++)
            open += all[j].open;
        struct mirror *m = &all[0];
        for (size_t j = 0, left = open ? next_random(&random, (uint32_t)open) + 1 : 0; left > 0;
             j++)
            if (all[j].open && --left == 0)
                m = &all[j];
        if (k == 0 && open < STRESS_SEQS)
            stress_fork(p, &all[i], m, RETURN_FIRST_FORK + (uint32_t)i, &random);
        else if (k == 1 && open > 1) {
            ask(p, (struct request){REQUEST_CLOSE, .seq = m->number});
            m->open = false;
        } else
            stress_extend(p, m, &random);
    }
    for (size_t i = 0; i < n_all; i++)
        if (all[i].open)
            ask(p, (struct request){REQUEST_CLOSE, .seq = all[i].number});
}

static void any_requests_at_any_time_give_the_sequences_own_logits(void) {
    struct peer p;
    struct mirror *all = xcalloc(STRESS_REQUESTS, sizeof *all);
    peer_start(&p, "1 2 3\n", 1);
    next_of(&p, FRAME_LOGITS);
    all[0] = (struct mirror){.number = 0, .ids = {1, 2, 3}, .len = 3, .open = true};
    stress_ask(&p, all, STRESS_REQUESTS);
    while (return_flush(p.client, &p.e) == 0 && logits_next(p.reader, &p.f, &p.e) == 1) {
        const struct frame *f = &p.f;
        CHECK_MSG(f->type != FRAME_FAILED, "sequence %u: %.*s", f->seq, (int)f->text.n, f->text.p);
        struct mirror *m = &all[f->seq == 0 ? 0 : f->seq - RETURN_FIRST_FORK];
        for (uint32_t i = 0; f->type == FRAME_LOGITS && i < f->rows && m->n_seen < m->n_expected;
             i++, m->n_seen++) {
            CHECK_INT(f->pos + i, m->expected[m->n_seen].pos);
            CHECK_INT(f->values[i * COLUMNS], m->expected[m->n_seen].digest);
        }
    }
    CHECK_INT(p.f.type, FRAME_END);
    size_t rows = 0;
    for (size_t i = 0; i < STRESS_REQUESTS; rows += all[i++].n_seen)
        CHECK_INT(all[i].n_seen, all[i].n_expected);
    CHECK(rows > STRESS_REQUESTS / 2);
    CHECK_INT(peer_end(&p), 0);
    free(all);
}

int main(void) {
    signal(SIGPIPE, SIG_IGN);
    RUN(prompts_are_run_whatever_the_chunk_and_batch);
    RUN(bad_lines_fail_alone);
    RUN(bad_bytes_end_the_input_but_not_what_came_before);
    RUN(no_input_is_a_whole_stream);
    RUN(without_memory_the_youngest_gives_way);
    RUN(what_was_kept_is_not_run_again);
    RUN(a_sequence_grows_is_cut_and_forked);
    RUN(a_bad_request_fails_its_sequence_only);
    RUN(copies_end_with_what_they_were_to_be_copied_from);
    RUN(a_slot_is_free_again_when_its_sequence_is_closed);
    RUN(a_peer_that_leaves_ends_the_run);
    RUN(a_decline_ends_all_behind_their_prompts);
    RUN(any_requests_at_any_time_give_the_sequences_own_logits);
    return check_done();
}
