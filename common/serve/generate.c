/* One answer inside a server: see generate.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#define _GNU_SOURCE // POLLRDHUP
#include "serve/generate.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/attrs.h"
#include "base/num.h"
#include "base/utf8.h"
#include "sample/params.h"
#include "stages/answer_decoder.h"
#include "stages/resident_client.h"
#include "stages/sample.h"
#include "wire/tokens.h"

enum { LOOK_MS = 100 }; // the longest time between two looks at whether the client has left

/* ---- The sampler's thread ---- */

struct sampling {
    const struct served *m;
    int in;   // logits(5) of the engine
    int peer; // the return path
    FILE *out;
    struct scores *scores; // NULL: nobody wants them
    int rc;                // of stage_sample
    struct err e;
};

static void *run_sampler(void *arg) {
    struct sampling *s = arg;
    struct sample_job job = {.params = sample_defaults,
                             .stops = s->m->stops,
                             .tokenizer = s->m->tokenizer,
                             .limit = UINT64_MAX,
                             .has_peer = true,
                             .peer = s->peer,
                             .saw = s->scores ? scores_take : NULL,
                             .ctx = s->scores};
    uint64_t chosen;
    s->rc = stage_sample(&job, s->in, s->m->name, s->out, &chosen, &s->e);
    close(s->in); // the engine sees that the reader has left
    fclose(s->out);
    return NULL;
}

/* ---- The text ---- */

/* An id whose text has not been given out yet. */
struct waiting {
    struct generate_token token;
    size_t before; // bytes of the answer's text before it
};

struct answering {
    const struct generate_ask *ask;
    const struct generate_sink *sink;
    const struct tokenizer *tokenizer;
    struct answer_decoder *decoder;
    struct buf attrs, text;
    bool begun, ended;
    struct generate_result *r;
    // Where log-probabilities are wanted:
    struct scores scores;
    struct decoder *plain;   // gives the answer's text without the cut at a stop text
    struct buf plain_text;   // what it gave for one id
    size_t n_ids;            // of the answer
    size_t bytes, chars;     // of the plain text
    size_t given;            // bytes of text that were given out
    size_t echo_chars;       // of the prompt
    struct waiting *waiting; // [n_waiting] of cap
    size_t n_waiting, cap;
    struct generate_token *part; // [cap]
};

static size_t count_chars(struct str s) {
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        n += ((unsigned char)s.p[i] & 0xc0) != 0x80;
    return n;
}

/* Gives out the text, and the ids that begin in what has been given out; or all ids. */
static int give(struct answering *a, bool all) {
    size_t n = 0;
    a->given += a->text.n;
    for (; n < a->n_waiting && (all || a->waiting[n].before < a->given); n++)
        a->part[n] = a->waiting[n].token;
    struct generate_part part = {.text = buf_view(&a->text), .tokens = a->part, .n_tokens = n};
    int rc = (n || a->text.n) && !a->ask->no_answer ? a->sink->part(a->sink->ctx, &part) : 0;
    a->n_waiting -= n;
    if (n > 0)
        memmove(a->waiting, a->waiting + n, a->n_waiting * sizeof *a->waiting);
    buf_clear(&a->text);
    return rc == 0 ? 0 : GENERATE_LEFT;
}

static void add_waiting(struct answering *a, uint32_t id, size_t pos) {
    if (a->n_waiting == a->cap) {
        a->cap = a->cap ? 2 * a->cap : 16;
        a->waiting = xreallocarray(a->waiting, a->cap, sizeof *a->waiting);
        a->part = xreallocarray(a->part, a->cap, sizeof *a->part);
    }
    struct waiting *w = &a->waiting[a->n_waiting++];
    *w = (struct waiting){.token = {.id = id, .offset = a->echo_chars + a->chars},
                          .before = a->bytes};
    w->token.scored = scores_get(&a->scores, (uint32_t)pos, &w->token.score);
}

/* Puts an id of the answer into the list of those that wait for their text. */
static int take_token(struct answering *a, uint32_t id, struct err *e) {
    add_waiting(a, id, a->ask->prompt->n_ids + a->n_ids++);
    buf_clear(&a->plain_text);
    if (decoder_id(a->plain, id, &a->plain_text, e) != 0)
        return -1;
    a->bytes += a->plain_text.n;
    a->chars += count_chars(buf_view(&a->plain_text));
    return 0;
}

/* The prompt as the first part of the answer, with the scores of its ids. */
static int give_echo(struct answering *a, struct err *e) {
    const struct generate_prompt *p = a->ask->prompt;
    struct generate_token *tokens = xcalloc(p->n_ids, sizeof *tokens);
    struct decoder *d = decoder_new(a->tokenizer, false);
    struct buf text = {0};
    struct generate_part part = {.text = buf_view(&p->text), .tokens = tokens, .is_prompt = true};
    size_t chars = 0, all = count_chars(part.text);
    int rc = 0;
    for (size_t i = 0; i < p->n_ids && a->ask->top >= 0 && rc == 0; i++) {
        struct generate_token *t = &tokens[part.n_tokens++];
        t->id = p->ids[i];
        t->offset = chars < all ? chars : all;
        t->scored = scores_get(&a->scores, (uint32_t)i, &t->score);
        rc = decoder_id(d, t->id, &text, e);
        chars += count_chars(buf_view(&text));
        buf_clear(&text);
    }
    a->echo_chars = all;
    if (rc == 0 && a->sink->part(a->sink->ctx, &part) != 0)
        rc = GENERATE_LEFT;
    decoder_free(d);
    buf_free(&text);
    free(tokens);
    return rc;
}

static bool take_number(struct str text, const char *name, uint64_t max, uint64_t *n) {
    struct buf value = {0};
    bool there = attrs_get(text, name, &value) && parse_u64(buf_view(&value), 0, max, n);
    buf_free(&value);
    return there;
}

/* Appends the text of an id, in quotes, without control characters. */
static void show_id(const struct tokenizer *t, uint64_t id, struct buf *out) {
    struct buf bytes = {0}, good = {0};
    tokenizer_bytes(t, (uint32_t)id, &bytes);
    utf8_repair(&good, bytes.p ? bytes.p : "", bytes.n < 40 ? bytes.n : 40);
    buf_byte(out, '"');
    for (size_t i = 0; i < good.n; i++)
        buf_byte(out, (unsigned char)good.p[i] < ' ' ? ' ' : good.p[i]);
    buf_byte(out, '"');
    buf_free(&bytes);
    buf_free(&good);
}

/* What the engine says of the prefix cache, as NOTE of logits(5) has it. */
static void take_cache(struct answering *a, struct str text) {
    uint64_t n, ours, theirs;
    struct buf why = {0};
    if (take_number(text, "cached", INT64_MAX, &n))
        a->r->cached_tokens = (int64_t)n;
    if (!take_number(text, "match", UINT32_MAX, &n))
        return;
    buf_fmt(&why, "the first %" PRIu64 " tokens are in the cache", n);
    if (take_number(text, "ours", TOKENS_MAX_ID, &ours)) {
        buf_str(&why, "; then the prompt has ");
        show_id(a->tokenizer, ours, &why);
        if (take_number(text, "theirs", TOKENS_MAX_ID, &theirs)) {
            buf_str(&why, " where the cache has ");
            show_id(a->tokenizer, theirs, &why);
        }
    }
    size_t most = sizeof a->r->cache_why - 1, left = why.n < most ? why.n : most;
    memcpy(a->r->cache_why, why.p, left); // never cut inside a character:
    a->r->cache_why[utf8_valid(a->r->cache_why, left)] = '\0';
    buf_free(&why);
}

static int begin(struct answering *a, struct err *e) {
    struct buf value = {0};
    a->begun = true;
    if (a->sink->began)
        a->sink->began(a->sink->ctx);
    if (a->plain && attrs_get(buf_view(&a->attrs), "continues", &value) &&
        str_eq(buf_view(&value), "1"))
        decoder_continue(a->plain);
    buf_free(&value);
    if (answer_decoder_begin(a->decoder, buf_view(&a->attrs), false, e) != 0)
        return -1;
    return a->ask->echo ? give_echo(a, e) : 0;
}

static void take_result(struct answering *a, struct str text) {
    struct generate_result *r = a->r;
    struct buf value = {0};
    if (attrs_get(text, "finish", &value))
        snprintf(r->finish, sizeof r->finish, "%s", value.p ? value.p : "");
    buf_free(&value);
    take_number(text, "prompt", UINT64_MAX, &r->prompt_tokens);
    take_number(text, "completion", UINT64_MAX, &r->completion_tokens);
    take_cache(a, text);
    if (a->ask->no_answer) {
        snprintf(r->finish, sizeof r->finish, "length");
        r->completion_tokens = 0;
    }
}

static int take_id(struct answering *a, uint32_t id, struct err *e) {
    if (a->plain && take_token(a, id, e) != 0)
        return -1;
    return answer_decoder_id(a->decoder, id, &a->text, e) == 0 ? give(a, false) : -1;
}

static int take_event(struct answering *a, const struct tokens_event *ev, struct err *e) {
    struct str stop;
    if (!a->begun && (ev->type == TOKENS_ID || ev->type == TOKENS_END)) {
        int rc = begin(a, e);
        if (rc != 0)
            return rc;
    }
    switch (ev->type) {
    case TOKENS_ATTRS:
        buf_fmt(&a->attrs, "%s%.*s", a->attrs.n ? " " : "", (int)ev->text.n, ev->text.p);
        return 0;
    case TOKENS_ID:
        return take_id(a, ev->id, e);
    case TOKENS_END:
        if (answer_decoder_end(a->decoder, &a->text, e) != 0)
            return -1;
        if (!a->r->stop_text && answer_decoder_stopped(a->decoder, &stop))
            a->r->stop_text = str_dup(stop);
        return give(a, true);
    case TOKENS_FAILED:
        return err_set(e, EXIT_DATA, "%.*s", (int)ev->text.n, ev->text.p);
    case TOKENS_RESULT:
        a->ended = true;
        take_result(a, ev->text);
        if (strcmp(a->r->finish, "failed") != 0)
            return 0;
        return err_set(e, EXIT_SYSTEM, "the answer failed after %" PRIu64 " tokens",
                       a->r->completion_tokens);
    case TOKENS_EOF:
        break;
    }
    return a->ended ? 0 : err_set(e, EXIT_SYSTEM, "the engine ended before the answer did");
}

/* ---- The engine ---- */

/* This side's ends of what connects a request to the engine; -1: closed. */
struct ends {
    int control, prompt, logits, peer, tokens;
    struct str line; // what is left to be written to prompt
};

static void close_fd(int *fd) {
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void close_ends(struct ends *s) {
    close_fd(&s->control);
    close_fd(&s->prompt);
    close_fd(&s->logits);
    close_fd(&s->peer);
    close_fd(&s->tokens);
}

static int pair_of(int *fds, bool sockets, struct err *e) {
    if ((sockets ? socketpair(AF_UNIX, SOCK_STREAM, 0, fds) : pipe(fds)) != 0)
        return err_errno(e, EXIT_SYSTEM, "cannot connect to the engine");
    for (int i = 0; i < 2; i++)
        if (fcntl(fds[i], F_SETFD, FD_CLOEXEC) != 0)
            return err_errno(e, EXIT_SYSTEM, "cannot connect to the engine");
    return 0;
}

static bool no_wait(int fd) {
    int flags = fcntl(fd, F_GETFL);
    return flags >= 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0;
}

/* An engine that has ended is as one that does not listen: status 503. */
static int lost_engine(struct err *e) {
    if (e->code == EXIT_IO)
        e->code = EXIT_SYSTEM;
    return -1;
}

/* Asks the engine for one sequence. Its ends are closed here. */
static int connect_engine(struct ends *s, const struct served *m, bool all, struct err *e) {
    int prompt[2] = {-1, -1}, logits[2] = {-1, -1}, peer[2] = {-1, -1}, rc = -1;
    struct resident_ask ask = {
        .model = m->dir, .in_name = "the request", .all_logits = all, .returns = true, .batch = 1};
    // All is made before it connects: an engine may drop a connection that is slow to ask.
    if (pair_of(prompt, false, e) == 0 && pair_of(logits, false, e) == 0 &&
        pair_of(peer, true, e) == 0 && no_wait(prompt[0]) && no_wait(prompt[1]) &&
        no_wait(logits[1]) && (s->control = resident_connect(m->socket, false, e)) >= 0 &&
        resident_ask(s->control, &ask, prompt[0], logits[1], e) == 0)
        rc = resident_take(s->control, peer[0], e);
    close_fd(&prompt[0]);
    close_fd(&logits[1]);
    close_fd(&peer[0]);
    s->prompt = prompt[1];
    s->logits = logits[0];
    s->peer = peer[1];
    return rc == 0 ? 0 : lost_engine(e);
}

/* Writes what the pipe takes of the prompt. */
static void write_prompt(struct ends *s) {
    ssize_t n = write(s->prompt, s->line.p, s->line.n);
    if (n > 0) {
        s->line.p += n;
        s->line.n -= (size_t)n;
    }
    bool waits = n < 0 && (errno == EAGAIN || errno == EINTR);
    if (s->line.n == 0 || (n < 0 && !waits)) // the stream says why, where the engine has left
        close_fd(&s->prompt);
}

/* Takes what the engine says beside the stream. */
static int hear(struct ends *s, struct err *e) {
    struct resident_answer a;
    if (resident_hear(s->control, &a, e) != 0)
        return lost_engine(e);
    if (a.event == RESIDENT_WARNED)
        warn("%s", a.text);
    if (a.event != RESIDENT_ENDED && a.event != RESIDENT_LEFT)
        return 0;
    close_fd(&s->control);
    if (a.event == RESIDENT_ENDED && a.code != EXIT_DONE && a.code != EXIT_SOME_FAILED)
        return err_set(e, a.code, "%s", a.text);
    return 0;
}

/* Waits until the reader has something; GENERATE_LEFT if the client leaves first. */
static int wait_for(struct ends *s, struct tokens_reader *in, const struct generate_sink *sink,
                    struct err *e) {
    while (!tokens_pending(in)) {
        struct pollfd p[] = {{.fd = s->tokens, .events = POLLIN},
                             {.fd = s->control, .events = POLLIN},
                             {.fd = s->prompt, .events = POLLOUT},
                             {.fd = sink->socket, .events = POLLRDHUP}};
        if (poll(p, 4, LOOK_MS) < 0 && errno != EINTR)
            return err_errno(e, EXIT_SYSTEM, "cannot wait for the engine");
        if (p[3].revents || sink->left(sink->ctx))
            return GENERATE_LEFT;
        if (p[2].revents)
            write_prompt(s);
        if (p[1].revents && hear(s, e) != 0)
            return -1;
        if (p[0].revents && tokens_fill(in, e) != 0)
            return -1;
    }
    return 0;
}

static int take_answer(struct answering *a, struct ends *s, struct err *e) {
    struct tokens_reader *in = tokens_reader_new(s->tokens, "the engine");
    struct tokens_event ev = {.type = TOKENS_END};
    int rc;
    do {
        rc = wait_for(s, in, a->sink, e);
        if (rc == 0)
            rc = tokens_next(in, &ev, e);
        if (rc == 0)
            rc = take_event(a, &ev, e);
    } while (rc == 0 && ev.type != TOKENS_EOF);
    tokens_reader_free(in);
    return rc;
}

/* The sampler runs on a thread of its own, and the text is made on this one. */
static int run(struct answering *a, struct sampling *sampling, struct ends *s, struct err *e) {
    pthread_t thread;
    int tokens[2];
    if (pair_of(tokens, false, e) != 0)
        return -1;
    s->tokens = tokens[0];
    sampling->in = s->logits;
    sampling->peer = s->peer;
    sampling->out = fdopen(tokens[1], "w");
    if (!sampling->out || pthread_create(&thread, NULL, run_sampler, sampling) != 0) {
        if (sampling->out)
            fclose(sampling->out);
        else
            close(tokens[1]);
        return err_set(e, EXIT_SYSTEM, "cannot start the sampler");
    }
    s->logits = s->peer = -1; // the thread's
    int rc = take_answer(a, s, e);
    close_ends(s); // the engine forgets the sequence, and the sampler's next write fails
    pthread_join(thread, NULL);
    if (rc == -1 && sampling->rc == -1 && e->code == EXIT_SYSTEM) {
        *e = sampling->e;      // it knows better why the stream ended
        e->code = EXIT_SYSTEM; // and the stream is the engine's, not the client's
    }
    return rc;
}

static void answering_init(struct answering *a, const struct served *m) {
    a->tokenizer = m->tokenizer;
    a->decoder = answer_decoder_new(m->tokenizer, false);
    scores_init(&a->scores, a->ask->top > 0 ? (uint32_t)a->ask->top : 0);
    if (a->ask->top >= 0)
        a->plain = decoder_new(m->tokenizer, false);
}

static void answering_free(struct answering *a) {
    answer_decoder_free(a->decoder);
    decoder_free(a->plain);
    scores_free(&a->scores);
    buf_free(&a->attrs);
    buf_free(&a->text);
    buf_free(&a->plain_text);
    free(a->waiting);
    free(a->part);
}

int generate(const struct served *m, const struct generate_ask *ask,
             const struct generate_sink *sink, struct generate_result *r, struct err *e) {
    struct ends s = {-1, -1, -1, -1, -1, ask->line};
    struct answering a = {.ask = ask, .sink = sink, .r = r};
    struct sampling sampling = {.m = m, .scores = ask->top >= 0 ? &a.scores : NULL};
    *r = (struct generate_result){.cached_tokens = -1};
    answering_init(&a, m);
    int rc = connect_engine(&s, m, ask->echo && ask->top >= 0, e);
    if (rc == 0)
        rc = run(&a, &sampling, &s, e);
    close_ends(&s);
    answering_free(&a);
    return rc;
}
