/* llm-sample: logits(5) -> tokens(5). Chooses the next token of every sequence and asks for the
 * logits behind it over the return path.
 *
 * Sequences are answered in the order of their numbers. The first unfinished one is written as it
 * grows, id by id; what is chosen for later ones waits in memory until it is their turn. What is
 * written does not depend on how the sequences' frames were interleaved.
 *
 * Without a return path (a recorded stream), rows are taken from the stream as far as it has them
 * and as far as the recorded choices are our own; a sequence that would need more ends with
 * finish=cut, and the exit status is 1. A stream that was cut ends all open lines, says so, and
 * exits 65.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <getopt.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/io.h"
#include "base/opt.h"
#include "sample/answers.h"
#include "sample/chain.h"
#include "sample/params.h"
#include "stages/watch.h"
#include "wire/logits.h"
#include "wire/return.h"
#include "wire/tokens.h"

static const char help[] =
    "usage: llm-sample [options] [FILE] < logits(5) > tokens(5)\n"
    "Chooses the next tokens of every sequence. Greedy unless -T is given.\n"
    "\n"
    "  -n, --max N                 most new tokens (default: until EOS or the context's end)\n"
    "  -T, --temp X                temperature (0 is greedy)\n"
    "  -k, --top-k N               only the N most probable (0: all)\n"
    "  -p, --top-p X               only the most probable that make up X of the mass\n"
    "      --min-p X               only those with X times the largest probability\n"
    "  -s, --seed N                same seed, same tokens (default: another one each time)\n"
    "      --repetition-penalty X  divide logits of seen tokens by X (1: none)\n"
    "      --presence-penalty X    lower logits of tokens that have been chosen by X\n"
    "      --frequency-penalty X   lower them by X for each time\n"
    "      --logit-bias ID=X,...   add X to a token's logit\n"
    "      --ignore-eos            go on after an end-of-sequence token\n"
    "      --stop-id ID,...        stop after these tokens too\n"
    "      --echo                  write the prompt's ids before the new ones\n"
    "  -v, --verbose               say the seed and what was done\n"
    "  -q, --quiet                 no warnings\n"
    "  -h, --help\n"
    "  -V, --version\n"
    "\n"
    "Attributes of a sequence (max=20 temp=0.7 ...: the long names with '_') override options. See "
    "llm-sample(1).\n";

struct run {
    struct sample_params defaults;
    struct logits_header header;
    struct return_client *client; // NULL: a recording
    char no_client[256];          // why
    struct sampler *sampler;
    struct answers answers;
    uint64_t n_chosen, n_cut;
    bool some_failed;
    bool endless; // it was said that nothing ends an answer
};

static void request(struct run *r, const struct request *q) {
    struct err e;
    if (!r->client || return_send(r->client, q, &e) == 0)
        return;
    return_client_free(r->client); // the stream will tell how it ended
    r->client = NULL;
    snprintf(r->no_client, sizeof r->no_client, "%.*s", (int)sizeof r->no_client - 1, e.msg);
}

static void finish(struct run *r, struct answer *s, const char *how) {
    s->state = ANSWER_DONE;
    s->finish = how;
    s->more = false;
    request(r, &(struct request){.type = REQUEST_CLOSE, .seq = s->number});
}

static void fail(struct run *r, struct answer *s, struct str reason) {
    answer_fail(s, reason);
    r->some_failed = true;
    if (s->n > s->n_prompt) // its line has begun and cannot say why
        warn("%s: sequence %" PRIu32, s->reason, s->number);
}

/* Fails it by our own decision: llm-forward must be told. */
static void refuse(struct run *r, struct answer *s, const struct err *e) {
    fail(r, s, str_of(e->msg));
    request(r, &(struct request){.type = REQUEST_CLOSE, .seq = s->number});
}

/* The recording has no more of it. */
static void cut(struct run *r, struct answer *s) {
    s->state = ANSWER_DONE;
    s->finish = "cut";
    r->n_cut++;
}

static bool is_eos(const struct run *r, const struct answer *s, uint32_t id) {
    if (s->params.end == (int64_t)id)
        return true;
    for (uint32_t i = 0; i < r->header.n_eos; i++)
        if (r->header.eos[i] >= 0 && (uint32_t)r->header.eos[i] == id)
            return true;
    return false;
}

/* One more token from the logits of the last position; asks for the next ones unless this is the
 * end. */
static void choose(struct run *r, struct answer *s, const float *logits) {
    struct sample_history history = {s->ids, s->n, s->n_prompt, s->number};
    struct err e = {0};
    uint32_t id;
    if (sampler_choose(r->sampler, logits, &s->params, &history, &id, &e) != 0) {
        refuse(r, s, &e);
        return;
    }
    answer_add(s, &id, 1);
    s->more = true;
    r->n_chosen++;
    struct request more = {
        .type = REQUEST_EXTEND, .seq = s->number, .pos = (uint32_t)s->n - 1, .want = 1};
    more.ids = s->ids + more.pos;
    more.n_ids = 1;
    if (!s->params.ignore_eos && is_eos(r, s, id))
        finish(r, s, "eos");
    else if (sample_stops(&s->params, id))
        finish(r, s, "stop");
    else if (s->n - s->n_prompt >= s->params.max || s->n > r->header.context)
        finish(r, s, "length");
    else
        request(r, &more);
}

/* ---- Frames ---- */

static void take_open(struct run *r, const struct frame *f) {
    struct err e = {0};
    struct answer *s = answers_open(&r->answers, f->seq, f->ids, f->n_ids, f->text, &e);
    if (!s)
        die_err(&e);
    s->params = r->defaults;
    if (sample_attributes(&s->params, f->text, &e) != 0 ||
        sample_check_ids(&s->params, r->header.vocab_size, &e) != 0)
        refuse(r, s, &e);
    else if (s->params.max == 0)
        finish(r, s, "length");
    else if (r->client && r->header.n_eos == 0 && s->params.end < 0 && s->params.n_stop == 0 &&
             !s->params.ignore_eos && s->params.max >= r->header.context && !r->endless) {
        r->endless = true;
        warn("the model names no id that ends a text: without -n or --stop-id an answer goes on to "
             "the end of the context");
    }
}

static void take_failed(struct run *r, const struct frame *f) {
    struct err e = {0};
    struct answer *s = answers_find(&r->answers, f->seq);
    if (!s && f->seq >= r->answers.first) { // refused before it was opened
        s = answers_open(&r->answers, f->seq, NULL, 0, str_of(""), &e);
        if (!s)
            die_err(&e);
    }
    if (s && s->state == ANSWER_OPEN)
        fail(r, s, f->text);
}

/* What a recorded sampler chose: we can follow it only while it is what we chose. */
static bool follows(const struct answer *s, const struct frame *f) {
    return f->pos <= s->n && s->n - f->pos == f->n_ids &&
           (f->n_ids == 0 || memcmp(s->ids + f->pos, f->ids, f->n_ids * sizeof *f->ids) == 0);
}

static void take_frame(struct run *r, const struct frame *f) {
    struct answer *s = answers_find(&r->answers, f->seq);
    bool open = s && s->state == ANSWER_OPEN;
    if (f->seq >= RETURN_FIRST_FORK) {
        return; // another sampler's, in a recording
    } else if (f->type == FRAME_OPEN) {
        take_open(r, f);
    } else if (f->type == FRAME_FAILED) {
        take_failed(r, f);
    } else if (f->type == FRAME_LOGITS && open && s->n > 0) {
        size_t last = s->n - 1;
        if (last >= f->pos && last - f->pos < f->rows)
            choose(r, s, f->values + (last - f->pos) * r->header.vocab_size);
    } else if (f->type == FRAME_IDS && open && !r->client && !follows(s, f)) {
        cut(r, s);
    } else if (f->type == FRAME_CLOSED && open && r->client) {
        fail(r, s, str_of("llm-forward closed the sequence"));
    } else if (f->type == FRAME_CLOSED && open) {
        cut(r, s);
    }
}

static void write_answers(struct run *r) {
    struct err e = {0};
    if (answers_write(&r->answers, &e) != 0)
        die_err(&e);
}

/* Ends every sequence that is still open: why is NULL at the proper end of a recording. */
static void end_all(struct run *r, const char *why) {
    for (size_t i = 0; i < r->answers.n; i++) {
        struct answer *s = r->answers.items[i];
        uint32_t number = r->answers.first + (uint32_t)i;
        if (!s && !why)
            die(EXIT_DATA, "the stream has no sequence %" PRIu32, number);
        if (!s)
            s = answers_open(&r->answers, number, NULL, 0, str_of(""), NULL);
        if (s->state == ANSWER_OPEN && why)
            fail(r, s, str_of(why));
        else if (s->state == ANSWER_OPEN)
            cut(r, s);
    }
    write_answers(r);
}

static void sample_stream(struct run *r, struct logits_reader *in) {
    static const char vanished[] = "llm-forward ended before the sequence did";
    struct frame f;
    struct err e = {0};
    int rc;
    for (;;) {
        if (r->client)
            return_flush(r->client, NULL); // its failure shows in the stream
        if ((rc = logits_next(in, &f, &e)) != 1)
            break;
        take_frame(r, &f);
        write_answers(r);
    }
    if (rc < 0) {
        warn_quiet(1); // one message for all of them
        end_all(r, vanished);
        close_stdout();
        die_err(&e);
    }
    end_all(r, r->client ? vanished : NULL);
}

/* ---- The command line ---- */

enum {
    OPT_MIN_P = OPT_LONG_ONLY,
    OPT_REPETITION,
    OPT_PRESENCE,
    OPT_FREQUENCY,
    OPT_BIAS,
    OPT_IGNORE_EOS,
    OPT_STOP,
    OPT_STOP_TEXT,
    OPT_ECHO
};

static const struct option options[] = {
    {"max", required_argument, NULL, 'n'},
    {"temp", required_argument, NULL, 'T'},
    {"top-k", required_argument, NULL, 'k'},
    {"top-p", required_argument, NULL, 'p'},
    {"min-p", required_argument, NULL, OPT_MIN_P},
    {"seed", required_argument, NULL, 's'},
    {"repetition-penalty", required_argument, NULL, OPT_REPETITION},
    {"presence-penalty", required_argument, NULL, OPT_PRESENCE},
    {"frequency-penalty", required_argument, NULL, OPT_FREQUENCY},
    {"logit-bias", required_argument, NULL, OPT_BIAS},
    {"ignore-eos", no_argument, NULL, OPT_IGNORE_EOS},
    {"stop-id", required_argument, NULL, OPT_STOP},
    {"stop", required_argument, NULL, OPT_STOP_TEXT}, // else an abbreviation of --stop-id
    {"echo", no_argument, NULL, OPT_ECHO},
    OPT_COMMON,
};

static const char *long_name(int code) {
    for (const struct option *o = options; o->name; o++)
        if (o->val == code)
            return o->name;
    return "";
}

static void parse_options(struct run *r, int argc, char **argv) {
    bool seeded = false, shaped = false;
    struct err e;
    r->defaults = sample_defaults;
    for (int c;
         (c = getopt_long(argc, argv, "n:T:k:p:s:" OPT_COMMON_LETTERS, options, NULL)) != -1;) {
        switch (c) {
        case 'h':
        case 'V':
        case 'q':
        case 'v':
        case '?':
            opt_common(c, help);
            break;
        case OPT_STOP_TEXT:
            die_usage("texts that end an answer are not supported, only ids: --stop-id");
        case OPT_ECHO:
            r->answers.echo = true;
            break;
        case OPT_IGNORE_EOS:
            r->defaults.ignore_eos = true;
            break;
        default:
            if (sample_param(&r->defaults, long_name(c), str_of(optarg), &e) < 0)
                die_usage("%s", e.msg);
            seeded |= c == 's';
            shaped |= c == 'k' || c == 'p' || c == 's' || c == OPT_MIN_P;
        }
    }
    if (shaped && r->defaults.temp == 0)
        warn("-k, -p, --min-p and -s change nothing without -T: the choice is greedy");
    if (!seeded) {
        if (sodium_init() < 0)
            die(EXIT_SYSTEM, "libsodium cannot start");
        randombytes_buf(&r->defaults.seed, sizeof r->defaults.seed);
    }
}

int main(int argc, char **argv) {
    struct run r = {.answers = {.out = stdout}};
    struct err e = {0};
    const char *name;
    program_init(argv[0]);
    stage_watch_stdout();
    parse_options(&r, argc, argv);
    int fd = open_operand(opt_file(argc, argv), &name, &e);
    struct logits_reader *in = fd < 0 ? NULL : logits_reader_new(fd, name, &r.header, &e);
    if (!in)
        die_err(&e);
    r.answers.bos = r.header.bos;
    if (sample_check_ids(&r.defaults, r.header.vocab_size, &e) != 0)
        die_usage("%s", e.msg);
    r.client = return_connect(&r.header, fd, &e);
    if (!r.client)
        snprintf(r.no_client, sizeof r.no_client, "%.*s", (int)sizeof r.no_client - 1, e.msg);
    r.sampler = sampler_new(r.header.vocab_size);
    if (r.header.tokenizer) // a vocabulary alone would say nothing: models pad theirs
        tokens_write_header(stdout,
                            &(struct tokens_header){true, r.header.vocab_size, r.header.tokenizer});
    write_answers(&r); // the header, before the first token
    sample_stream(&r, in);
    if (r.n_cut)
        warn("%s: %" PRIu64 " sequence%s ended where the recording does", r.no_client, r.n_cut,
             r.n_cut == 1 ? "" : "s");
    if (opt_verbose())
        fprintf(stderr, "%s: %" PRIu64 " tokens, seed %" PRIu64 "\n", program_name(), r.n_chosen,
                r.defaults.seed);
    return_client_free(r.client);
    logits_reader_free(in);
    sampler_free(r.sampler);
    answers_free(&r.answers);
    close_stdout();
    return r.some_failed || r.n_cut ? EXIT_SOME_FAILED : EXIT_DONE;
}
