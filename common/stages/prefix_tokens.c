/* Lines of tokens(5) with the nearest chunks before them: see prefix.h.
 *
 *     line -> question -> chunks (prefix_find.h) -> template -> ids
 *     out: ids that begin a text | ids of the template | the line's own ids
 *
 * The text of a chunk is not trusted: special tokens in it are encoded as text. What the template
 * writes itself can become special tokens.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <inttypes.h>
#include <stdlib.h>

#include "base/attrs.h"
#include "base/io.h"
#include "base/num.h"
#include "stages/input.h"
#include "stages/prefix_find.h"
#include "tokens/frame.h"
#include "wire/tokens.h"

static const char of_tokens[] =
    "Answer from these sources. Name the sources that you use by their numbers.\n"
    "{% for c in chunks %}\n\n[{{ loop.index }}] {{ c.file }}{% if c.head %}: {{ c.head }}{% endif "
    "%}\n\n"
    "{{ c.text }}\n{% endfor %}\n\n";

struct run {
    struct prefix_finder find;
    const struct tokenizer *t;
    struct jinja_template *plain; // the default
    struct encoder *encoder;
    struct token_frame frame;
    struct token_ids ids; // of the template
    struct input *input;
    struct logits_header header; // what input.h checks lines against
    struct buf question, prompt, trust, attrs;
    FILE *out;
    bool begun;
    int status;
};

/* ---- A line ---- */

/* What is asked -> r->question. -1 with e set: EXIT_DATA. */
static int read_question(struct run *r, const struct input_prompt *p, struct err *e) {
    buf_clear(&r->question);
    if (attrs_get(p->attrs, "question", &r->question) && r->question.n)
        return 0;
    struct decoder *d = decoder_new(r->t, false);
    int rc = 0;
    for (size_t i = 0; i < p->n_ids && rc == 0; i++)
        rc = decoder_id(d, p->ids[i], &r->question, e);
    if (rc == 0)
        rc = decoder_end(d, &r->question, e);
    decoder_free(d);
    return rc == 0 && r->question.n == 0 ? err_set(e, EXIT_DATA, "the question is empty") : rc;
}

/* The template's ids -> r->ids. */
static int encode_chunks(struct run *r, struct err *e) {
    const struct jinja_template *own = r->find.job->template;
    buf_clear(&r->prompt);
    buf_clear(&r->trust);
    if (prefix_render(&r->find, own ? own : r->plain, buf_view(&r->question), str_of(""),
                      &r->prompt, &r->trust, e) != 0)
        return -1;
    const struct encode_options options = {.no_special = true,
                                           .trusted = (const uint8_t *)r->trust.p};
    return tokenizer_encode(r->encoder, r->prompt.n ? buf_view(&r->prompt) : str_of(""), &options,
                            &r->ids, e);
}

/* Attributes that count ids of the line count n more. */
static void raise_count(struct run *r, struct str attrs, const char *key, size_t n) {
    struct buf value = {0};
    uint64_t count;
    char text[24];
    if (attrs_get(attrs, key, &value) && parse_u64(buf_view(&value), 0, UINT32_MAX, &count)) {
        snprintf(text, sizeof text, "%" PRIu64, count + n);
        attrs_set(&r->attrs, key, str_of(text));
    }
    buf_free(&value);
}

/* The line's attributes and those that are new -> r->attrs. Of equal keys the last one counts. */
static int make_attrs(struct run *r, struct str attrs, size_t n, struct err *e) {
    struct buf old = {0};
    buf_clear(&r->attrs);
    buf_add(&r->attrs, attrs.p, attrs.n);
    raise_count(r, attrs, "from", n);
    raise_count(r, attrs, "begins", n);
    attrs_set(&r->attrs, attrs_get(attrs, "cite", &old) ? "cite_" : "cite",
              buf_view(&r->find.cite));
    buf_free(&old);
    return r->attrs.n <= TOKENS_MAX_TEXT
               ? 0
               : err_set(e, EXIT_DATA, "the attributes have more than %d bytes with the citations",
                         TOKENS_MAX_TEXT);
}

/* Ids that begin the line as they begin every text. */
static size_t begin_of(const struct run *r, const struct input_prompt *p) {
    const size_t n = r->frame.n_begin;
    return n && p->n_ids >= n && memcmp(p->ids, r->frame.begin, n * sizeof *p->ids) == 0 ? n : 0;
}

static void write_ids(struct run *r, const struct input_prompt *p) {
    const size_t begin = begin_of(r, p);
    const struct {
        const uint32_t *ids;
        size_t n;
    } parts[] = {{p->ids, begin}, {r->ids.ids, r->ids.n}, {p->ids + begin, p->n_ids - begin}};
    bool first = true;
    tokens_write_attrs(r->out, buf_view(&r->attrs));
    for (size_t k = 0; k < sizeof parts / sizeof *parts; k++)
        for (size_t i = 0; i < parts[k].n; i++, first = false)
            tokens_write_id(r->out, parts[k].ids[i], first);
    tokens_write_end(r->out);
}

static void write_failed(struct run *r, const struct input_prompt *p, struct str why) {
    r->status = EXIT_SOME_FAILED;
    tokens_write_attrs(r->out, p->attrs);
    tokens_write_failed(r->out, why);
    if (!p->said_before)
        print_note("%.*s: sequence %" PRIu32 " of %s", str_shown(why), why.p, p->number, p->name);
}

/* -1 with e set where no further line can be answered. */
static int prefix_line(struct run *r, const struct input_prompt *p, struct err *e) {
    struct err bad = {0};
    struct buf why = {0};
    int rc = 1;
    if (p->refused.n)
        buf_add(&why, p->refused.p, p->refused.n);
    else if (read_question(r, p, &bad) != 0)
        buf_str(&why, bad.msg);
    else if ((rc = prefix_find(&r->find, buf_view(&r->question), &why, e)) == 1 &&
             (encode_chunks(r, &bad) != 0 || make_attrs(r, p->attrs, r->ids.n, &bad) != 0))
        buf_str(&why, bad.msg);
    if (rc >= 0 && why.n)
        write_failed(r, p, buf_view(&why));
    else if (rc >= 0)
        write_ids(r, p);
    buf_free(&why);
    return rc < 0 ? -1 : 0;
}

/* ---- The loop ---- */

static int begin(struct run *r, struct err *e) {
    if (r->begun || !input_begun(r->input))
        return 0;
    struct err warning = {0};
    r->begun = true;
    if (input_check(r->input, &r->header, &warning, e) != 0)
        return -1;
    if (warning.code)
        warn_err(&warning);
    tokens_write_header(
        r->out, &(struct tokens_header){true, r->header.vocab_size, tokenizer_fingerprint(r->t)});
    return 0;
}

static int prefix_all(struct run *r, struct err *e) {
    struct input_prompt p;
    for (;;) {
        if (begin(r, e) != 0)
            return -1;
        while (r->begun && input_next(r->input, &r->header, &p))
            if (prefix_line(r, &p, e) != 0)
                return -1;
        if (input_ended(r->input))
            return 0;
        if (flush_out(r->out, e) != 0)
            return -1;
        input_fill(r->input);
    }
}

int stage_prefix_tokens(const struct prefix_job *job, const struct tokenizer *t, int fd,
                        const char *name, FILE *out, struct err *e) {
    struct run r = {.find = {.job = job}, .t = t, .out = out, .input = input_new(fd, name)};
    r.header = (struct logits_header){.vocab_size = tokenizer_vocab(t),
                                      .context = LOGITS_MAX_CONTEXT,
                                      .tokenizer = tokenizer_fingerprint(t)};
    r.encoder = encoder_new(t);
    r.plain = jinja_parse("the template of tokens", str_of(of_tokens), e);
    int rc = r.plain ? token_frame_find(&r.frame, r.encoder, e) : -1;
    if (rc == 0)
        rc = prefix_all(&r, e);
    if (flush_out(out, rc == 0 ? e : NULL) != 0)
        rc = -1;
    const int code = input_code(r.input) != EXIT_DONE ? input_code(r.input) : r.status;
    prefix_finder_free(&r.find);
    input_free(r.input);
    token_ids_free(&r.frame.both);
    token_ids_free(&r.ids);
    encoder_free(r.encoder);
    jinja_template_free(r.plain);
    buf_free(&r.question);
    buf_free(&r.prompt);
    buf_free(&r.trust);
    buf_free(&r.attrs);
    return rc == 0 ? code : -1;
}
