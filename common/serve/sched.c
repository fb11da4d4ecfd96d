/* The loop of llm-forward: see sched.h.
 *
 * Sequences that were just sent logits are about to be asked on; a step that did not wait for them
 * would run their rows in two batches from then on, each reading all the weights. So a step waits
 * for answers, but at most half as long as a step without prompts takes, and each sequence is
 * waited for once.
 *
 * While a sequence is decoding, or was sent logits not long ago, prompts enter in pieces that keep
 * a step short (pace.h); else in large ones.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "serve/sched.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/progress.h"
#include "serve/batch.h"
#include "serve/input.h"
#include "serve/output.h"
#include "serve/chunk.h"
#include "serve/seqs.h"

enum {
    LOGITS_BYTES = 32 << 20, // of one step's logits, unless every sequence in flight wants a row
};

static const double asked_seconds =
    0.25; // a sequence that has not been asked on for so long is not decoding
static const double notice_seconds = 5.0; // without a peer, until stderr says so

struct sched {
    struct sched_options opts;
    struct model *model;
    struct logits_header *header;
    struct return_server *ret; // or NULL
    struct input *input;
    struct output *out;
    struct seqs seqs;
    struct batch batch;
    float *logits; // [batch.max_want, vocab_size]
    float *hidden; // [batch.max_want, hidden_dim], or NULL
    struct chunk pace;
    double answers_until; // the next step waits for answers until then
    double asked_until;   // until then, sequences that were sent logits count as decoding
    double idle_since;    // the last step's end
    bool begun, noticed, declined;
    struct stats stats;
};

size_t sched_slots(const struct sched_options *o) {
    return o->max_in_flight + SCHED_FORKS;
}

static size_t most_chunk(const struct sched_options *o) {
    return o->chunk ? o->chunk : o->auto_chunk ? o->auto_chunk : CPU_PROMPT_ROWS;
}

size_t sched_rows(const struct sched_options *o) {
    return most_chunk(o) + (o->max_in_flight > BATCH_SHORT ? o->max_in_flight : BATCH_SHORT);
}

struct sched *sched_new(const struct sched_options *o, struct model *m, struct logits_header *h,
                        struct return_server *ret, int in_fd, const char *in_name, int out_fd) {
    struct sched *s = xcalloc(1, sizeof *s);
    *s = (struct sched){.opts = *o, .model = m, .header = h, .ret = ret};
    s->input = input_new(in_fd, in_name);
    s->out = output_new(out_fd, h, ret);
    seqs_init(&s->seqs, (uint32_t)sched_slots(o), h->vocab_size, h->context);
    size_t max_want = LOGITS_BYTES / (h->vocab_size * sizeof(float)), rows = sched_rows(o);
    if (max_want < rows - most_chunk(o))
        max_want = rows - most_chunk(o);
    if (max_want > rows)
        max_want = rows;
    batch_init(&s->batch, rows, max_want, sched_slots(o));
    s->logits = model_host_alloc(m, max_want, h->vocab_size * sizeof(float));
    if (o->hidden)
        s->hidden = model_host_alloc(m, max_want, h->hidden_dim * sizeof(float));
    s->stats.started = s->stats.opened = s->idle_since = seconds_now();
    s->stats.step_bytes = model_step_bytes(m);
    return s;
}

void sched_free(struct sched *s) {
    if (!s)
        return;
    input_free(s->input);
    output_free(s->out);
    seqs_free(&s->seqs);
    batch_free(&s->batch);
    model_host_free(s->model, s->logits);
    model_host_free(s->model, s->hidden);
    free(s);
}

bool sched_reader_left(const struct sched *s) {
    return output_left(s->out);
}

struct stats *sched_stats(struct sched *s) {
    s->stats.writing = output_seconds(s->out);
    s->stats.written = output_bytes(s->out);
    memcpy(s->stats.parts, model_times(s->model), sizeof s->stats.parts);
    return &s->stats;
}

static int send_frame(struct sched *s, const struct frame *f, struct err *e) {
    return output_add(s->out, f, e) != 0 || output_flush(s->out, e) != 0 ? -1 : 0;
}

/* Whether requests may still come. */
static bool may_be_asked(const struct sched *s) {
    return s->ret &&
           (return_state(s->ret) == RETURN_WAITING || return_state(s->ret) == RETURN_TAKEN);
}

/* ---- Sequences end and go on ---- */

static int send_failed(struct sched *s, uint32_t number, struct str reason, bool say,
                       struct err *e) {
    s->stats.failed++;
    if (say)
        warn("sequence %" PRIu32 ": %.*s", number, (int)reason.n, reason.p);
    return send_frame(s, &(struct frame){.type = FRAME_FAILED, .seq = number, .text = reason}, e);
}

/* With a reason: it has failed, and so have the forks that were still to be made of it. */
static int end_seq(struct sched *s, struct seq *q, const char *reason, struct err *e) {
    uint32_t number = q->number;
    for (struct job *j = q->jobs; j; j = j->next)
        if (j->type == REQUEST_FORK &&
            end_seq(s, &s->seqs.seq[j->to], "the sequence to be copied has ended", e) != 0)
            return -1;
    if (!reason)
        model_seq_keep(s->model, q->slot);
    model_seq_clear(s->model, q->slot);
    seqs_close(&s->seqs, q);
    if (reason)
        return send_failed(s, number, str_of(reason), true, e);
    return send_frame(s, &(struct frame){.type = FRAME_CLOSED, .seq = number}, e);
}

/* A prompt that has not come as far as kept pages reach goes on behind them. Of what wants logits,
 * nothing is taken over. */
static void reuse(struct sched *s, struct seq *q) {
    struct job *j = q->jobs;
    if (!j->is_prompt)
        return;
    uint32_t most = j->n_ids - (j->want > 0 ? j->want : 1);
    uint32_t len = (uint32_t)model_seq_reuse(s->model, q->slot, j->ids, most);
    s->stats.reused += len - j->done;
    j->done = len;
}

/* Carries out what costs nothing, up to the first job with ids to run. */
static int advance(struct sched *s, struct seq *q, struct err *e) {
    while (q->jobs && !q->copying && !q->runnable) {
        struct job *j = q->jobs;
        if (j->type == REQUEST_CLOSE)
            return end_seq(s, q, NULL, e);
        if (j->type == REQUEST_EXTEND && model_seq_len(s->model, q->slot) > j->pos)
            model_seq_truncate(s->model, q->slot, j->pos);
        if (j->type == REQUEST_EXTEND && j->n_ids > 0) {
            model_seq_expect(s->model, q->slot, (size_t)j->pos + j->n_ids);
            reuse(s, q);
            seqs_set_runnable(&s->seqs, q, true);
            return 0;
        }
        uint32_t to = j->type == REQUEST_FORK ? j->to : SEQ_NONE, pos = j->pos;
        seqs_pop_job(&s->seqs, q);
        if (to != SEQ_NONE) {
            model_seq_fork(s->model, to, q->slot, pos);
            s->seqs.seq[to].copying = false;
            if (advance(s, &s->seqs.seq[to], e) != 0)
                return -1;
        }
    }
    return q->jobs || may_be_asked(s) ? 0 : end_seq(s, q, NULL, e);
}

/* The peer has declined: what waits to be asked on is done. */
static int end_unasked(struct sched *s, struct err *e) {
    for (uint32_t slot = 0; slot < s->seqs.n_slots && s->seqs.n_open > 0; slot++)
        if (s->seqs.seq[slot].open && advance(s, &s->seqs.seq[slot], e) != 0)
            return -1;
    return 0;
}

/* ---- What comes in ---- */

static int open_prompt(struct sched *s, const struct job_prompt *p, struct err *e) {
    struct frame open = {
        .type = FRAME_OPEN, .seq = p->number, .ids = p->ids, .n_ids = p->n_ids, .text = p->attrs};
    s->stats.sequences++;
    if (send_frame(s, &open, e) != 0)
        return -1;
    if (p->refused.n)
        return send_failed(s, p->number, p->refused, !p->said_before, e);
    struct seq *q = seqs_open(&s->seqs, p->number);
    seqs_prompt(&s->seqs, q, p->ids, p->n_ids, s->opts.all_logits ? p->n_ids : 1);
    return advance(s, q, e);
}

/* The header goes out as soon as the input's first line says which tokenizer it is of. */
static int begin(struct sched *s, struct err *e) {
    if (s->begun || !input_begun(s->input))
        return 0;
    s->begun = true;
    return input_check(s->input, s->header, e) != 0 ? -1 : output_header(s->out, e);
}

static int take_prompts(struct sched *s, struct err *e) {
    struct job_prompt p;
    if (begin(s, e) != 0)
        return -1;
    while (s->begun && s->seqs.n_open < s->opts.max_in_flight &&
           input_next(s->input, s->header, &p))
        if (open_prompt(s, &p, e) != 0)
            return -1;
    return 0;
}

static int take_request(struct sched *s, const struct request *r, struct err *e) {
    struct err bad = {0};
    bool was_open = seqs_find(&s->seqs, r->seq) != NULL;
    if (seqs_request(&s->seqs, r, &bad) != 0) {
        struct seq *q = seqs_find(&s->seqs, r->seq);
        return q ? end_seq(s, q, bad.msg, e) : send_failed(s, r->seq, str_of(bad.msg), true, e);
    }
    if (r->type == REQUEST_FORK && !was_open) {
        struct buf attrs = {0};
        buf_fmt(&attrs, "from=%" PRIu32 " pos=%" PRIu32, r->from, r->pos);
        int rc = send_frame(
            s, &(struct frame){.type = FRAME_OPEN, .seq = r->seq, .text = buf_view(&attrs)}, e);
        buf_free(&attrs);
        return rc != 0 ? -1 : advance(s, seqs_find(&s->seqs, r->from), e);
    }
    struct seq *q = seqs_find(&s->seqs, r->seq);
    return q ? advance(s, q, e) : 0;
}

static int take_requests(struct sched *s, struct err *e) {
    struct request r;
    while (s->ret && return_request(s->ret, &r))
        if (take_request(s, &r, e) != 0)
            return -1;
    if (!s->ret || s->declined || return_state(s->ret) != RETURN_DECLINED)
        return 0;
    s->declined = true;
    return end_unasked(s, e);
}

static bool finished(const struct sched *s) {
    return s->begun && s->seqs.n_open == 0 && input_ended(s->input);
}

/* ---- Waiting ---- */

static int ms_until(double when) {
    double left = when - seconds_now();
    return left <= 0 ? 0 : (int)(left * 1e3) + 1;
}

/* Says once what is missing where nobody asks for more. */
static int notice_ms(struct sched *s) {
    if (s->noticed || !s->ret || return_state(s->ret) != RETURN_WAITING || s->seqs.n_open == 0)
        return -1;
    int ms = ms_until(s->idle_since + notice_seconds);
    if (ms == 0) {
        warn("the prompts are done; waiting for a sampler on the return path (--no-return: end "
             "without "
             "one)");
        s->noticed = true;
        return -1;
    }
    return ms;
}

/* How long poll may wait: 0 where a step is to run now, -1 for ever. */
static int wait_ms(struct sched *s) {
    if (s->seqs.n_queue > 0)
        return s->seqs.n_unanswered > 0 ? ms_until(s->answers_until) : 0;
    int notice = notice_ms(s), ret = s->ret ? return_timeout_ms(s->ret) : -1;
    return notice < 0 || (ret >= 0 && ret < notice) ? ret : notice;
}

static int wait_for_events(struct sched *s, int timeout, struct err *e) {
    bool wants_input = !s->begun || s->seqs.n_open < s->opts.max_in_flight;
    struct pollfd fds[3] = {
        {.fd = wants_input ? input_poll_fd(s->input) : -1, .events = POLLIN},
        {.fd = output_fd(s->out)}, // POLLERR, POLLHUP: nobody reads any more
        {.fd = s->ret ? return_poll_fd(s->ret) : -1, .events = POLLIN},
    };
    double start = seconds_now();
    int n = poll(fds, 3, timeout);
    *(s->seqs.n_open > 0 ? &s->stats.for_sampler : &s->stats.for_input) += seconds_now() - start;
    if (n < 0 && errno != EINTR)
        return err_errno(e, EXIT_SYSTEM, "cannot poll");
    if (n > 0 && fds[0].revents)
        input_fill(s->input);
    if (n > 0 && (fds[1].revents & (POLLERR | POLLHUP)))
        return output_set_left(s->out, e);
    return s->ret && (n <= 0 || fds[2].revents) ? return_serve(s->ret, e) : 0;
}

/* ---- A step ---- */

static void forget_unanswered(struct sched *s) {
    for (uint32_t slot = 0; slot < s->seqs.n_slots && s->seqs.n_unanswered > 0; slot++)
        seqs_set_unanswered(&s->seqs, &s->seqs.seq[slot], false);
}

static void account(struct sched *s, double seconds) {
    const struct batch *b = &s->batch;
    struct stats *st = &s->stats;
    if (b->n_prompt_rows == 0) {
        st->decode += seconds;
        st->decode_rows += b->n_rows;
        st->decode_steps++;
        st->most_together = b->n_parts > st->most_together ? b->n_parts : st->most_together;
    } else {
        st->prefill += seconds;
        st->prefill_rows += b->n_prompt_rows;
        st->mixed_rows += b->n_rows - b->n_prompt_rows;
        st->prefill_steps++;
    }
    chunk_note(&s->pace, b->n_prompt_rows, b->n_rows - b->n_prompt_rows, seconds);
}

/* Rows of prompts in the next step. */
static size_t next_chunk(const struct sched *s) {
    size_t short_rows, n_long;
    if (s->opts.chunk)
        return s->opts.chunk;
    batch_count(&s->seqs, &short_rows, &n_long);
    bool waited_for = short_rows > 0 || (s->seqs.n_open > n_long && seconds_now() < s->asked_until);
    return n_long == 0 ? 0 : chunk_rows(&s->pace, short_rows, waited_for, most_chunk(&s->opts));
}

/* The frames of the batch, which point into jobs, logits and hidden states. */
static int send_results(struct sched *s, struct err *e) {
    const struct batch *b = &s->batch;
    size_t at = 0; // rows of logits sent
    for (size_t i = 0; i < b->n_parts; i++) {
        const struct part *p = &b->parts[i];
        const struct seq *q = &s->seqs.seq[p->slot];
        const struct job *j = q->jobs;
        struct frame ids = {
            .type = FRAME_IDS, .seq = q->number, .pos = j->pos, .ids = j->ids, .n_ids = j->n_ids};
        if (j->done == 0 && !j->is_prompt && output_add(s->out, &ids, e) != 0)
            return -1;
        struct frame f = {
            .seq = q->number, .pos = j->pos + j->done + p->n_rows - p->n_want, .rows = p->n_want};
        if (p->n_want == 0)
            continue;
        f.type = FRAME_LOGITS;
        f.values = s->logits + at * s->header->vocab_size;
        if (output_add(s->out, &f, e) != 0)
            return -1;
        f.type = FRAME_HIDDEN;
        f.values = s->hidden ? s->hidden + at * s->header->hidden_dim : NULL;
        if (s->hidden && output_add(s->out, &f, e) != 0)
            return -1;
        at += p->n_want;
    }
    return output_flush(s->out, e);
}

static int finish_parts(struct sched *s, struct err *e) {
    bool kept = false, taken = s->ret && return_state(s->ret) == RETURN_TAKEN;
    for (size_t i = 0; i < s->batch.n_parts; i++) {
        const struct part *p = &s->batch.parts[i];
        struct seq *q = &s->seqs.seq[p->slot];
        q->jobs->done += p->n_rows;
        if (q->jobs->done < q->jobs->n_ids)
            continue;
        seqs_set_runnable(&s->seqs, q, false);
        if (q->jobs->is_prompt) {
            model_seq_keep(s->model, q->slot);
            kept = true;
        }
        seqs_pop_job(&s->seqs, q);
        seqs_set_unanswered(&s->seqs, q, taken && p->n_want > 0 && !q->jobs);
        if (advance(s, q, e) != 0)
            return -1;
    }
    for (uint32_t i = 0; kept && i < s->seqs.n_queue; i++)
        reuse(s, &s->seqs.seq[s->seqs.queue[i]]);
    return 0;
}

static int step(struct sched *s, struct err *e) {
    struct err bad = {0};
    forget_unanswered(s);
    batch_build(&s->batch, &s->seqs, next_chunk(s));
    double start = seconds_now();
    if (model_forward(s->model, s->batch.rows, s->batch.n_rows, s->logits, s->hidden, &bad) != 0) {
        // No room for the KV of all: the one that came last gives way.
        return end_seq(s, &s->seqs.seq[s->batch.parts[s->batch.n_parts - 1].slot], bad.msg, e);
    }
    double seconds = seconds_now() - start;
    account(s, seconds);
    if (send_results(s, e) != 0)
        return -1;
    double end = seconds_now();
    if (s->batch.n_prompt_rows == 0)
        s->stats.decode_whole += end - s->idle_since;
    s->idle_since = end;
    if (s->stats.first_logits == 0 && s->batch.n_want > 0)
        s->stats.first_logits = end;
    double alone = chunk_step(&s->pace, s->batch.n_parts);
    s->answers_until = end + (alone > 0 && alone < seconds ? alone : seconds) / 2;
    if (s->batch.n_want > 0 && s->ret && return_state(s->ret) == RETURN_TAKEN)
        s->asked_until = end + asked_seconds;
    return finish_parts(s, e);
}

int sched_run(struct sched *s, int *code, struct err *e) {
    while (!finished(s)) {
        int timeout = wait_ms(s);
        if (wait_for_events(s, timeout, e) != 0 || take_requests(s, e) != 0 ||
            take_prompts(s, e) != 0)
            return -1;
        if (s->ret && return_state(s->ret) == RETURN_GONE && !finished(s))
            return output_set_left(s->out, e);
        if (s->seqs.n_queue > 0 && wait_ms(s) == 0 && step(s, e) != 0)
            return -1;
    }
    if (send_frame(s, &(struct frame){.type = FRAME_END}, e) != 0)
        return -1;
    int early = input_code(s->input);
    *code = early != EXIT_DONE ? early : s->stats.failed ? EXIT_SOME_FAILED : EXIT_DONE;
    return 0;
}
