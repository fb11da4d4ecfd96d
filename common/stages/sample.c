/* logits(5) to tokens(5): see sample.h.
 *
 * Answers are written in the order of the sequences' numbers (answers.h). So the output does not
 * depend on how the frames of the sequences were interleaved.
 *
 * A stream that ends early, as one that was cut does, ends every open line, and the error is
 * returned after that.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "stages/sample.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "base/attrs.h"
#include "base/visible.h"
#include "sample/chain.h"
#include "stages/answer_text.h"
#include "stages/answers.h"
#include "wire/logits.h"
#include "wire/note.h"
#include "wire/return.h"
#include "wire/tokens.h"

struct run {
    const struct sample_job *o;
    const char *name; // of the input
    struct logits_header header;
    struct return_client *client; // NULL: a recording, or the path has failed
    struct err no_client;         // why it is NULL
    struct sampler *sampler;
    struct answers answers;
    struct answer_texts texts;
    uint64_t n_chosen, n_cut;
    bool some_failed;
    bool said_endless; // it was said that nothing ends an answer
    bool quiet;        // one message for all sequences will follow
};

/* ---- How an answer goes on and ends ---- */

static void request(struct run *r, const struct request *q) {
    if (!r->client || return_send(r->client, q, &r->no_client) == 0)
        return;
    return_client_free(r->client); // the stream will say how it ended
    r->client = NULL;
}

static void finish(struct run *r, struct answer *s, const char *how) {
    s->state = ANSWER_DONE;
    s->finish = how;
    s->more = false;
    request(r, &(struct request){.type = REQUEST_CLOSE, .seq = s->number});
}

static void fail(struct run *r, struct answer *s, struct str reason) {
    answers_fail(s, reason);
    r->some_failed = true;
    if (s->n > s->n_prompt && !r->quiet) // its line has begun, so it cannot say the reason
        warn("%s: sequence %" PRIu32, s->reason, s->number);
}

/* Fails it by our own decision, so llm-forward must be told. */
static void refuse(struct run *r, struct answer *s, const struct err *e) {
    fail(r, s, str_of(e->msg));
    request(r, &(struct request){.type = REQUEST_CLOSE, .seq = s->number});
}

/* The recording has no more rows for it. */
static void cut(struct run *r, struct answer *s) {
    s->state = ANSWER_DONE;
    s->finish = "cut";
    r->n_cut++;
}

static bool is_eos(const struct run *r, const struct answer *s, uint32_t id) {
    if (s->params->end == (int64_t)id)
        return true;
    for (uint32_t i = 0; i < r->header.n_eos; i++)
        if (r->header.eos[i] >= 0 && (uint32_t)r->header.eos[i] == id)
            return true;
    return false;
}

/* Chooses one more token from the logits [vocab_size] of the last position. Requests the logits
 * after it, unless the answer ends with it. */
static void choose(struct run *r, struct answer *s, const float *logits) {
    struct sample_history history = {
        .ids = s->ids, .n = s->n, .n_prompt = s->n_prompt, .sequence = s->number};
    struct err e = {0};
    uint32_t id;
    if (!r->sampler) // a header alone, which may claim a large vocabulary, takes no memory
        r->sampler = sampler_new(r->header.vocab_size);
    if (sampler_choose(r->sampler, logits, s->params, &history, &id, &e) != 0) {
        refuse(r, s, &e);
        return;
    }
    answers_add_ids(&r->answers, s, &id, 1);
    s->more = true;
    r->n_chosen++;
    uint32_t pos = (uint32_t)s->n - 1;
    bool stops = answer_text_stops(s->text, id);
    answers_count_text(&r->answers, s);
    if (!s->params->ignore_eos && is_eos(r, s, id))
        finish(r, s, "eos");
    else if (stops || sample_stops(s->params, id))
        finish(r, s, "stop");
    else if (s->n - s->n_prompt >= s->params->max || s->n > r->header.context)
        finish(r, s, "length");
    else
        request(r, &(struct request){.type = REQUEST_EXTEND,
                                     .seq = s->number,
                                     .pos = pos,
                                     .want = 1,
                                     .ids = s->ids + pos,
                                     .n_ids = 1});
}

/* ---- Frames ---- */

/* Whether neither the model nor the options name an end that comes before the context's. */
static bool is_endless(const struct run *r, const struct answer *s) {
    return r->client && r->header.n_eos == 0 && s->params->end < 0 && s->params->n_stop == 0 &&
           !s->text && !s->params->ignore_eos && s->params->max >= r->header.context;
}

static int take_open(struct run *r, const struct frame *f, struct err *e) {
    struct err bad = {0};
    struct answer *s = answers_open(&r->answers, f->seq, f->ids, f->n_ids, f->text, e);
    if (!s)
        return -1;
    struct sample_params params = r->o->params;
    if (sample_attributes(&params, f->text, &bad) != 0 ||
        sample_check_ids(&params, r->header.vocab_size, &bad) != 0 ||
        answer_text_begin(&r->texts, s, r->o->echo, &bad) != 0) {
        refuse(r, s, &bad);
        return 0;
    }
    answers_count_text(&r->answers, s);
    if (params.max > r->o->limit)
        params.max = r->o->limit;
    answers_set_params(&r->answers, s, &params);
    if (params.max == 0) {
        finish(r, s, "length");
    } else if (is_endless(r, s) && !r->said_endless) {
        r->said_endless = true;
        warn("the model names no id that ends a text: without -n or --stop-id an answer goes on to "
             "the end of the context");
    }
    return 0;
}

static int take_failed(struct run *r, const struct frame *f, struct err *e) {
    struct answer *s = answers_find(&r->answers, f->seq);
    if (!s && f->seq >= r->answers.first) { // refused before it was opened
        s = answers_open(&r->answers, f->seq, NULL, 0, str_of(""), e);
        if (!s)
            return -1;
    }
    if (s && s->state == ANSWER_OPEN)
        fail(r, s, f->text);
    return 0;
}

/* llm-forward has closed a sequence that we have not. */
static void take_closed(struct run *r, struct answer *s) {
    struct buf value = {0};
    bool scored = attrs_get(buf_view(&s->attrs), "from", &value);
    buf_free(&value);
    if (r->client)
        fail(r, s,
             str_of(scored ? "the sequence has the attribute from: its ids are scored, and nothing "
                             "follows them"
                           : "llm-forward closed the sequence"));
    else
        cut(r, s);
}

/* What was cached of its prompt goes into its results. */
static int take_note(struct answer *s, const struct frame *f, struct err *e) {
    struct note note;
    if (note_read(&note, f->text, e) != 0)
        return -1;
    buf_clear(&s->note);
    note_write(&s->note, &note);
    return 0;
}

/* Whether the ids that a recorded sampler chose are ours. If they are not, we cannot go on. */
static bool follows(const struct answer *s, const struct frame *f) {
    return f->pos <= s->n && s->n - f->pos == f->n_ids &&
           (f->n_ids == 0 || memcmp(s->ids + f->pos, f->ids, f->n_ids * sizeof *f->ids) == 0);
}

static int take_frame(struct run *r, const struct frame *f, struct err *e) {
    struct answer *s = answers_find(&r->answers, f->seq);
    bool open = s && s->state == ANSWER_OPEN;
    if (f->seq >= RETURN_FIRST_FORK)
        return 0; // a recording: another sampler's fork
    if (f->type == FRAME_OPEN)
        return take_open(r, f, e);
    if (f->type == FRAME_FAILED)
        return take_failed(r, f, e);
    if (f->type == FRAME_NOTE)
        return open ? take_note(s, f, e) : 0;
    if (f->type == FRAME_LOGITS && open && s->n > 0) {
        size_t last = s->n - 1;
        if (last >= f->pos && last - f->pos < f->rows)
            choose(r, s, f->values + (last - f->pos) * r->header.vocab_size);
        if (r->o->saw)
            r->o->saw(r->o->ctx,
                      &(struct sample_rows){f->seq, f->pos, f->rows, r->header.vocab_size,
                                            f->values, s->ids, s->n});
    } else if (f->type == FRAME_IDS && open && !r->client && !follows(s, f)) {
        cut(r, s);
    } else if (f->type == FRAME_CLOSED && open) {
        take_closed(r, s);
    }
    return 0;
}

/* ---- The stream ---- */

/* Ends every open sequence. why is NULL at the proper end of a recording. */
static int end_all(struct run *r, const char *why, struct err *e) {
    for (size_t i = 0; i < r->answers.n; i++) {
        uint32_t number = r->answers.first + (uint32_t)i;
        struct answer *s = answers_find(&r->answers, number);
        if (!s && !why)
            return err_set(e, EXIT_DATA, "the stream has no sequence %" PRIu32 ": %s", number,
                           r->name);
        if (!s)
            s = answers_open(&r->answers, number, NULL, 0, str_of(""), NULL);
        if (s->state == ANSWER_OPEN && why)
            fail(r, s, str_of(why));
        else if (s->state == ANSWER_OPEN)
            cut(r, s);
    }
    return answers_write(&r->answers, e);
}

static int take_stream(struct run *r, struct logits_reader *in, struct err *e) {
    static const char vanished[] = "llm-forward ended before the sequence did";
    struct frame f;
    int rc;
    for (;;) {
        if (r->client)
            return_flush(r->client, NULL); // the stream will tell if it fails
        if ((rc = logits_next(in, &f, e)) != 1)
            break;
        if (take_frame(r, &f, e) != 0)
            return err_where(e, "%s", r->name);
        if (answers_write(&r->answers, e) != 0)
            return -1;
    }
    if (rc == 0)
        return end_all(r, r->client ? vanished : NULL, e);
    struct err full;
    r->quiet = true;
    if (end_all(r, vanished, &full) != 0)
        *e = full;
    return -1;
}

static int take_input(struct run *r, struct logits_reader *in, int fd, struct err *e) {
    const struct logits_header *h = &r->header;
    if (sample_check_ids(&r->o->params, h->vocab_size, e) != 0)
        return -1;
    r->answers.bos = h->bos;
    r->texts.fingerprint = h->tokenizer;
    answer_texts_map(&r->texts);
    if (r->o->stops.n > 0 && answer_texts_open(&r->texts, e) != 0)
        return -1;
    if (!r->o->has_peer)
        r->client = return_connect(h, fd, &r->no_client);
    if (!r->client && r->no_client.code == EXIT_SYSTEM) { // llm-forward would wait for us
        *e = r->no_client;
        return -1;
    }
    if (r->o->opened && r->o->opened(e) != 0)
        return -1;
    if (h->tokenizer) // a vocabulary's size alone would say nothing: models pad theirs
        tokens_write_header(r->answers.out,
                            &(struct tokens_header){true, h->vocab_size, h->tokenizer});
    // The header is to arrive before the first token.
    if (answers_write(&r->answers, e) != 0)
        return -1;
    return take_stream(r, in, e);
}

int stage_sample(const struct sample_job *o, int fd, const char *name, FILE *out,
                 uint64_t *n_chosen, struct err *e) {
    struct run r = {.o = o,
                    .name = name,
                    .answers = {.out = out,
                                .terminal = visible_terminal(out),
                                .echo = o->echo,
                                .params = &o->params},
                    .texts = {.model = o->model, .tokenizer = o->tokenizer, .stops = &o->stops}};
    if (o->has_peer)
        r.client = return_client_of(o->peer, fd);
    struct logits_reader *in = logits_reader_new(fd, name, &r.header, e);
    int rc = in ? take_input(&r, in, fd, e) : -1;
    if (!in) {
        return_client_free(r.client);
        return -1;
    }
    if (rc == 0 && r.n_cut)
        warn("%s: %" PRIu64 " sequence%s ended where the recording does", r.no_client.msg, r.n_cut,
             r.n_cut == 1 ? "" : "s");
    *n_chosen = r.n_chosen;
    return_client_free(r.client);
    logits_reader_free(in);
    sampler_free(r.sampler);
    answers_free(&r.answers);
    answer_texts_free(&r.texts);
    if (rc != 0)
        return -1;
    return r.some_failed || r.n_cut ? EXIT_SOME_FAILED : EXIT_DONE;
}
