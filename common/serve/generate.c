/* One answer inside a server: see generate.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "serve/generate.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <sodium.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/attrs.h"
#include "base/io.h"
#include "base/num.h"
#include "sample/params.h"
#include "stages/answer_decoder.h"
#include "stages/encode.h"
#include "stages/resident_client.h"
#include "stages/sample.h"
#include "wire/tokens.h"

enum { LOOK_MS = 100 }; // the longest time between two looks at whether the client has left

/* ---- The prompt ---- */

/* The body as a record of tok-encode, with all parameters that the answer depends on. Defaults come
 * first, because of two equal parameters the later one counts. */
static void write_record(const struct served *m, const struct body *b, struct buf *out) {
    const struct str parts[] = {buf_view(&m->defaults), buf_view(&b->params)};
    size_t begin;
    buf_str(out, "{\"params\": {");
    begin = out->n;
    if (!b->has_temp)
        buf_fmt(out, "\"temp\": %.9g", m->temp);
    if (!b->has_seed)
        buf_fmt(out, "%s\"seed\": %" PRIu32, out->n > begin ? ", " : "",
                randombytes_random() & INT32_MAX);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (parts[i].n && out->n > begin)
            buf_str(out, ", ");
        buf_add(out, parts[i].p, parts[i].n);
    }
    buf_str(out, "}");
    if (b->record.n)
        buf_str(out, ", ");
    buf_add(out, b->record.p, b->record.n);
    if (b->ids) // a record needs a text
        buf_str(out, ", \"text\": \"\"");
    buf_byte(out, '}');
}

static int write_ids(const struct served *m, const struct body *b, FILE *f, struct err *e) {
    struct err bad = {0};
    struct buf record = {0};
    struct chat_prompt p = {0};
    write_record(m, b, &record);
    struct prompt_options o = {.form = PROMPT_JSON, .input = "the body"};
    int rc = prompt_read(&p, &o, buf_view(&record), &bad);
    for (size_t i = 0; i < b->n_ids && rc == 0; i++)
        if (b->ids[i] >= tokenizer_vocab(m->tokenizer))
            rc = err_set(&bad, EXIT_DATA,
                         "prompt has id %" PRIu32 ", past the vocabulary of %" PRIu32, b->ids[i],
                         tokenizer_vocab(m->tokenizer));
    if (rc == 0) {
        tokens_write_header(f, &(struct tokens_header){true, tokenizer_vocab(m->tokenizer),
                                                       tokenizer_fingerprint(m->tokenizer)});
        tokens_write_attrs(f, buf_view(&p.attrs));
        tokens_write_ids(f, b->ids, b->n_ids);
        tokens_write_end(f);
    } else {
        *e = bad;
    }
    prompt_free(&p);
    buf_free(&record);
    return rc;
}

static int encode(const struct served *m, const struct body *b, FILE *f, struct err *e) {
    struct encode_job job = {.records = RECORDS_WHOLE,
                             .prompt = {.form = PROMPT_JSON,
                                        .input = "the body",
                                        .strict = true,
                                        .defaults = {.generation = true},
                                        .chat = m->chat,
                                        .no_chat = m->no_chat},
                             .end_id = m->end_id,
                             .prefix_id = -1,
                             .threads = 1};
    struct buf record = {0};
    int in = io_temp(NULL, e), rc = -1;
    write_record(m, b, &record);
    if (in >= 0 && write_full(in, record.p, record.n, e) == 0 && lseek(in, 0, SEEK_SET) == 0)
        rc = stage_encode(&job, m->tokenizer, in, "the body", f, e) == EXIT_DONE ? 0 : -1;
    if (in >= 0)
        close(in);
    buf_free(&record);
    return rc;
}

int generate_prompt(const struct served *m, const struct body *b, struct buf *line, struct err *e) {
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    if (!f)
        return err_errno(e, EXIT_SYSTEM, "cannot write the prompt");
    int rc = (b->ids ? write_ids : encode)(m, b, f, e);
    bool lost = ferror(f) != 0;
    if (fclose(f) != 0 || lost)
        rc = err_set(e, EXIT_SYSTEM, "out of memory: the prompt");
    if (rc == 0)
        buf_add(line, text, n);
    free(text);
    return rc;
}

int generate_count(const struct served *m, const struct body *b, uint64_t *n, struct err *e) {
    struct buf line = {0};
    int rc = generate_prompt(m, b, &line, e);
    *n = 0;
    for (const char *p = line.p, *end; rc == 0 && p && (end = strchr(p, '\n')); p = end + 1) {
        if (*p == '#' || p == end) // the header, attributes, an empty prompt
            continue;
        *n = 1;
        for (const char *c = p; c < end; c++)
            *n += *c == ' ';
    }
    buf_free(&line);
    return rc;
}

/* ---- The sampler's thread ---- */

struct sampling {
    const struct served *m;
    int in;   // logits(5) of the engine
    int peer; // the return path
    FILE *out;
    int rc; // of stage_sample
    struct err e;
};

static void *run_sampler(void *arg) {
    struct sampling *s = arg;
    struct sample_job job = {.params = sample_defaults,
                             .stops = s->m->stops,
                             .tokenizer = s->m->tokenizer,
                             .limit = UINT64_MAX,
                             .has_peer = true,
                             .peer = s->peer};
    uint64_t chosen;
    s->rc = stage_sample(&job, s->in, s->m->name, s->out, &chosen, &s->e);
    close(s->in); // the engine sees that the reader has left
    fclose(s->out);
    return NULL;
}

/* ---- The text ---- */

struct answering {
    const struct generate_sink *sink;
    struct answer_decoder *decoder;
    struct buf attrs, text;
    bool begun, ended;
    struct generate_result *r;
};

static int give_text(struct answering *a) {
    int rc = a->text.n ? a->sink->text(a->sink->ctx, buf_view(&a->text)) : 0;
    buf_clear(&a->text);
    return rc == 0 ? 0 : GENERATE_LEFT;
}

static void take_result(struct generate_result *r, struct str text) {
    struct buf value = {0};
    if (attrs_get(text, "finish", &value))
        snprintf(r->finish, sizeof r->finish, "%s", value.p ? value.p : "");
    if (attrs_get(text, "prompt", &value))
        parse_u64(buf_view(&value), 0, UINT64_MAX, &r->prompt_tokens);
    if (attrs_get(text, "completion", &value))
        parse_u64(buf_view(&value), 0, UINT64_MAX, &r->completion_tokens);
    buf_free(&value);
}

static int take_event(struct answering *a, const struct tokens_event *ev, struct err *e) {
    if (!a->begun && (ev->type == TOKENS_ID || ev->type == TOKENS_END)) {
        a->begun = true;
        if (answer_decoder_begin(a->decoder, buf_view(&a->attrs), false, e) != 0)
            return -1;
    }
    switch (ev->type) {
    case TOKENS_ATTRS:
        buf_fmt(&a->attrs, "%s%.*s", a->attrs.n ? " " : "", (int)ev->text.n, ev->text.p);
        return 0;
    case TOKENS_ID:
        return answer_decoder_id(a->decoder, ev->id, &a->text, e) == 0 ? give_text(a) : -1;
    case TOKENS_END:
        return answer_decoder_end(a->decoder, &a->text, e) == 0 ? give_text(a) : -1;
    case TOKENS_FAILED:
        return err_set(e, EXIT_DATA, "%.*s", (int)ev->text.n, ev->text.p);
    case TOKENS_RESULT:
        a->ended = true;
        take_result(a->r, ev->text);
        return 0;
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

/* Asks the engine for one sequence. Its ends are closed here. */
static int connect_engine(struct ends *s, const struct served *m, struct err *e) {
    int prompt[2] = {-1, -1}, logits[2] = {-1, -1}, peer[2] = {-1, -1}, rc = -1;
    struct resident_ask ask = {
        .model = m->dir, .in_name = "the request", .returns = true, .batch = 1};
    s->control = resident_connect(m->socket, false, e);
    if (s->control >= 0 && pair_of(prompt, false, e) == 0 && pair_of(logits, false, e) == 0 &&
        pair_of(peer, true, e) == 0 && no_wait(prompt[0]) && no_wait(prompt[1]) &&
        no_wait(logits[1]) && resident_ask(s->control, &ask, prompt[0], logits[1], e) == 0)
        rc = resident_take(s->control, peer[0], e);
    close_fd(&prompt[0]);
    close_fd(&logits[1]);
    close_fd(&peer[0]);
    s->prompt = prompt[1];
    s->logits = logits[0];
    s->peer = peer[1];
    return rc;
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
        return -1;
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
                             {.fd = s->prompt, .events = POLLOUT}};
        if (poll(p, 3, LOOK_MS) < 0 && errno != EINTR)
            return err_errno(e, EXIT_SYSTEM, "cannot wait for the engine");
        if (sink->left(sink->ctx))
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
    if (rc == -1 && sampling->rc == -1 && e->code == EXIT_SYSTEM)
        *e = sampling->e; // it knows better why the stream ended
    return rc;
}

int generate(const struct served *m, struct str line, const struct generate_sink *sink,
             struct generate_result *r, struct err *e) {
    struct ends s = {-1, -1, -1, -1, -1, line};
    struct answering a = {.sink = sink, .r = r, .decoder = answer_decoder_new(m->tokenizer, false)};
    struct sampling sampling = {.m = m};
    *r = (struct generate_result){0};
    int rc = connect_engine(&s, m, e);
    if (rc == 0)
        rc = run(&a, &sampling, &s, e);
    close_ends(&s);
    answer_decoder_free(a.decoder);
    buf_free(&a.attrs);
    buf_free(&a.text);
    return rc;
}
