/* Scores of the sequences of a logits(5) stream: see score.h.
 *
 * Row i of a prompt gives the probability of id i + 1. Rows arrive in the order of positions, so a
 * sequence's sums grow by row, and no row is stored.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "stages/score.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "base/attrs.h"
#include "base/json.h"
#include "base/num.h"
#include "base/u32_map.h"
#include "base/visible.h"
#include "chat/record.h"
#include "sample/rank.h"
#include "wire/in_order.h"
#include "wire/return.h"

struct score {
    uint32_t number;
    uint32_t *ids; // [n] of the prompt
    size_t n;
    size_t first;    // position of the first row that scores an id
    size_t scored;   // rows first .. first + scored - 1 have come
    double nll;      // their sum, in nats
    bool greedy;     // each scored id is the most probable one
    struct buf text; // --tokens: lines, or numbers with commas
    struct buf attrs;
};

struct run {
    const struct score_job *o;
    FILE *out;
    bool terminal; // out is one
    struct in_order *lines;
    struct score *scores; // [n_scores] of open sequences
    size_t n_scores, cap;
    struct u32_map by_number; // index into scores
    double nll;               // sum over all that are done
    uint64_t n_tokens, n_done;
    bool some_failed;
};

static struct score *find(struct run *r, uint32_t number) {
    uint32_t i = u32_map_find(&r->by_number, number);
    return i == U32_MAP_NONE ? NULL : &r->scores[i];
}

static void score_free(struct score *s) {
    free(s->ids);
    buf_free(&s->text);
    buf_free(&s->attrs);
}

static int open_score(struct run *r, const struct frame *f, struct err *e) {
    if (find(r, f->seq))
        return err_set(e, EXIT_DATA, "sequence %" PRIu32 " is opened twice", f->seq);
    if (r->n_scores == r->cap) {
        r->cap = 2 * r->cap + 16;
        r->scores = xreallocarray(r->scores, r->cap, sizeof *r->scores);
    }
    u32_map_set(&r->by_number, f->seq, (uint32_t)r->n_scores);
    struct score *s = &r->scores[r->n_scores++];
    *s = (struct score){.number = f->seq, .n = f->n_ids, .greedy = true};
    s->ids = xreallocarray(NULL, f->n_ids, sizeof *s->ids);
    if (f->n_ids)
        memcpy(s->ids, f->ids, f->n_ids * sizeof *s->ids);
    buf_add(&s->attrs, f->text.p, f->text.n);
    struct buf from = {0};
    uint64_t n;
    if (attrs_get(f->text, "from", &from) && parse_u64(buf_view(&from), 1, f->n_ids, &n))
        s->first = (size_t)n - 1;
    buf_free(&from);
    return 0;
}

/* The number of logits that rank before that of id, as in rank_top. */
static size_t rank_of(const float *row, size_t n, uint32_t id) {
    size_t rank = 0;
    for (size_t i = 0; i < n; i++)
        rank += row[i] > row[id] || (i < id && row[i] == row[id]);
    return rank;
}

static int score_row(struct run *r, struct score *s, const float *row, struct err *e) {
    size_t pos = s->first + s->scored;
    uint32_t id = s->ids[pos + 1];
    size_t rank = r->o->json || r->o->tokens ? rank_of(row, r->o->header->vocab_size, id) : 0;
    double logp = (double)row[id] - rank_distribution(row, r->o->header->vocab_size).log_sum;
    if (isnan(logp))
        return err_set(e, EXIT_DATA,
                       "logits that are no numbers: sequence %" PRIu32 ", position %zu", s->number,
                       pos);
    if (r->o->json && r->o->tokens) {
        buf_str(&s->text, s->scored ? "," : "");
        json_write_f64(&s->text, logp);
    } else if (r->o->tokens) {
        buf_fmt(&s->text, "%8" PRIu32 " %8zu %8" PRIu32 " %12.6f %8zu\n", s->number, pos + 1, id,
                logp, rank + 1);
    }
    s->nll -= logp;
    s->greedy &= rank == 0;
    s->scored++;
    return 0;
}

static int miss(const struct score *s, struct err *e) {
    return err_set(e, EXIT_DATA,
                   "no logits of position %zu of sequence %" PRIu32 ": llm-forward -a gives all",
                   s->first + s->scored, s->number);
}

static int score_rows(struct run *r, const struct frame *f, struct err *e) {
    struct score *s = find(r, f->seq);
    if (!s)
        return err_set(e, EXIT_DATA, "logits of sequence %" PRIu32 ", which is not open", f->seq);
    for (uint32_t i = 0; i < f->rows; i++) {
        size_t pos = (size_t)f->pos + i;
        if (pos + 1 >= s->n) // it predicts an id that is not part of the text
            return 0;
        if (pos < s->first)
            continue;
        if (pos != s->first + s->scored)
            return miss(s, e);
        if (score_row(r, s, f->values + i * (size_t)r->o->header->vocab_size, e) != 0)
            return -1;
    }
    return 0;
}

static void write_number(struct buf *line, struct str attrs, const char *name, double value) {
    record_write_own(line, attrs, name);
    json_write_f64(line, value);
}

/* Begins an object: "seq" and the attributes. A data key keeps its name; where one of ours has the
 * same name, ours gets an underscore, as in tok-decode -j. */
static void begin_json(struct buf *line, uint32_t seq, struct str attrs) {
    struct buf own = {0};
    record_write_own(&own, attrs, "seq");
    buf_fmt(line, "{%s%" PRIu32, own.p + 2, seq);
    record_write_attrs(line, attrs);
    buf_free(&own);
}

static void write_json(const struct run *r, const struct score *s, struct buf *line) {
    struct str attrs = buf_view(&s->attrs);
    double mean = s->nll / (double)s->scored;
    begin_json(line, s->number, attrs);
    write_number(line, attrs, "tokens", (double)s->scored);
    write_number(line, attrs, "nll", mean);
    write_number(line, attrs, "ppl", exp(mean));
    write_number(line, attrs, "sum", s->scored ? -s->nll : 0);
    write_number(line, attrs, "count", (double)s->scored);
    record_write_own(line, attrs, "is_greedy");
    buf_str(line, s->greedy ? "true" : "false");
    if (r->o->tokens) {
        record_write_own(line, attrs, "logprobs");
        buf_fmt(line, "[%s]", s->text.n ? s->text.p : "");
    }
    if (attrs.n) {
        record_write_own(line, attrs, "attrs");
        json_write_str(line, attrs);
    }
    buf_str(line, "}\n");
}

static void write_score(struct run *r, struct score *s, struct buf *line) {
    double mean = s->nll / (double)s->scored;
    if (r->o->json) {
        write_json(r, s, line);
    } else if (r->o->tokens) {
        buf_add(line, s->text.p, s->text.n);
    } else if (s->scored) {
        buf_fmt(line, "%8" PRIu32 " %8zu %12.6f %14.6f\n", s->number, s->scored, mean, exp(mean));
    } else {
        buf_fmt(line, "%8" PRIu32 " %8d %12s %14s\n", s->number, 0, "-", "-");
    }
}

/* JSON strings may still have C1 control characters. */
static int write_line(struct run *r, uint32_t seq, struct str line, struct err *e) {
    struct buf shown = {0};
    if (r->terminal) {
        visible_add(&shown, line, VISIBLE_TEXT);
        line = buf_view(&shown);
    }
    int rc = in_order_write(r->lines, seq, line.p, line.n, e);
    buf_free(&shown);
    return rc;
}

/* The sequence is complete, or has failed with a reason. */
static int end_score(struct run *r, const struct frame *f, struct err *e) {
    struct score *s = find(r, f->seq);
    struct buf line = {0};
    if (f->type == FRAME_FAILED) {
        r->some_failed = true;
        warn("sequence %" PRIu32 " failed: %.*s", f->seq, (int)f->text.n, f->text.p);
        if (r->o->json) {
            struct str attrs = s ? buf_view(&s->attrs) : str_of("");
            begin_json(&line, f->seq, attrs);
            record_write_own(&line, attrs, "error");
            json_write_str(&line, f->text);
            buf_str(&line, "}\n");
        }
    } else if (s) {
        if (s->first + s->scored + 1 < s->n)
            return miss(s, e);
        write_score(r, s, &line);
        r->nll += s->nll;
        r->n_tokens += s->scored;
        r->n_done++;
    }
    if (s) {
        score_free(s);
        *s = r->scores[--r->n_scores];
        u32_map_set(&r->by_number, s->number, (uint32_t)(s - r->scores));
        u32_map_remove(&r->by_number, f->seq);
    }
    int rc = line.n ? write_line(r, f->seq, buf_view(&line), e) : 0;
    buf_free(&line);
    return rc != 0 ? -1 : in_order_end(r->lines, f->seq, e);
}

static int take_frame(struct run *r, const struct frame *f, struct err *e) {
    switch (f->type) {
    case FRAME_OPEN:
        return f->seq < RETURN_FIRST_FORK ? open_score(r, f, e) : 0;
    case FRAME_LOGITS:
        return f->seq < RETURN_FIRST_FORK ? score_rows(r, f, e) : 0;
    case FRAME_FAILED:
    case FRAME_CLOSED:
        return f->seq < RETURN_FIRST_FORK ? end_score(r, f, e) : 0;
    case FRAME_HIDDEN:
    case FRAME_IDS:
    case FRAME_NOTE:
    case FRAME_END:
        break;
    }
    return 0;
}

static int read_stream(struct run *r, struct logits_reader *in, struct err *e) {
    struct frame f;
    int rc;
    while ((rc = logits_next(in, &f, e)) == 1) {
        if (take_frame(r, &f, e) != 0)
            return -1;
        if (fflush(r->out) != 0)
            return err_errno(e, EXIT_IO, "cannot write to stdout");
    }
    return rc == 0 ? in_order_finish(r->lines, e) : -1;
}

static void print_head(const struct run *r) {
    if (r->o->tokens && !r->o->json)
        fprintf(r->out, "%8s %8s %8s %12s %8s\n", "sequence", "position", "id", "logprob", "rank");
    else if (!r->o->json)
        fprintf(r->out, "%8s %8s %12s %14s\n", "sequence", "tokens", "nll", "perplexity");
}

/* The line for all sequences together, if there is more than one. */
static void print_sum(const struct run *r) {
    double mean = r->nll / (double)r->n_tokens;
    if (!r->o->json && !r->o->tokens && r->n_done > 1 && r->n_tokens > 0)
        fprintf(r->out, "%8s %8" PRIu64 " %12.6f %14.6f\n", "all", r->n_tokens, mean, exp(mean));
}

int stage_score(const struct score_job *o, struct logits_reader *in, FILE *out, struct err *e) {
    struct run r = {
        .o = o, .out = out, .terminal = visible_terminal(out), .lines = in_order_new(out, NULL)};
    print_head(&r);
    int rc = read_stream(&r, in, e);
    if (rc == 0)
        print_sum(&r);
    for (size_t i = 0; i < r.n_scores; i++)
        score_free(&r.scores[i]);
    free(r.scores);
    u32_map_free(&r.by_number);
    in_order_free(r.lines);
    return rc != 0 ? -1 : r.some_failed ? EXIT_SOME_FAILED : EXIT_DONE;
}
