/* Prompts of requests as lines of tokens(5): see generate.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/io.h"
#include "serve/generate.h"
#include "stages/encode.h"
#include "wire/tokens.h"

/* The body as a record of tok-encode, with all parameters that the answer depends on. Defaults come
 * first, because of two equal parameters the later one counts. */
static void write_record(const struct served *m, const struct body *b, const struct body_prompt *p,
                         struct buf *out) {
    const struct str parts[] = {buf_view(&m->defaults), buf_view(&b->params)};
    buf_fmt(out, "{\"params\": {\"seed\": %" PRIu64, b->seed);
    if (!b->has_temp)
        buf_fmt(out, ", \"temp\": %.9g", m->temp);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (parts[i].n)
            buf_str(out, ", ");
        buf_add(out, parts[i].p, parts[i].n);
    }
    buf_str(out, "}");
    if (b->record.n)
        buf_str(out, ", ");
    buf_add(out, b->record.p, b->record.n);
    if (b->kind == BODY_COMPLETION) {
        buf_str(out, ", \"text\": ");
        if (p->text.n)
            buf_add(out, p->text.p, p->text.n);
        else // a record needs a text
            buf_str(out, "\"\"");
    }
    buf_byte(out, '}');
}

static int write_ids(const struct served *m, const struct body *b, const struct body_prompt *p,
                     FILE *f, struct err *e) {
    struct err bad = {0};
    struct buf record = {0};
    struct chat_prompt read = {0};
    write_record(m, b, p, &record);
    struct prompt_options o = {.form = PROMPT_JSON, .input = "the body"};
    int rc = prompt_read(&read, &o, buf_view(&record), &bad);
    for (size_t i = 0; i < p->n_ids && rc == 0; i++)
        if (p->ids[i] >= tokenizer_vocab(m->tokenizer))
            rc = err_set(&bad, EXIT_DATA,
                         "prompt has id %" PRIu32 ", past the vocabulary of %" PRIu32, p->ids[i],
                         tokenizer_vocab(m->tokenizer));
    if (rc == 0) {
        tokens_write_header(f, &(struct tokens_header){true, tokenizer_vocab(m->tokenizer),
                                                       tokenizer_fingerprint(m->tokenizer)});
        tokens_write_attrs(f, buf_view(&read.attrs));
        tokens_write_ids(f, p->ids, p->n_ids);
        tokens_write_end(f);
    } else {
        *e = bad;
    }
    prompt_free(&read);
    buf_free(&record);
    return rc;
}

static int encode(const struct served *m, const struct body *b, const struct body_prompt *p,
                  FILE *f, struct err *e) {
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
    write_record(m, b, p, &record);
    if (in >= 0 && write_full(in, record.p, record.n, e) == 0 && lseek(in, 0, SEEK_SET) == 0)
        rc = stage_encode(&job, m->tokenizer, in, "the body", f, e) == EXIT_DONE ? 0 : -1;
    if (in >= 0)
        close(in);
    buf_free(&record);
    return rc;
}

/* ---- The ids of the line ---- */

static ssize_t read_str(void *ctx, void *p, size_t n) {
    struct str *left = ctx;
    if (n > left->n)
        n = left->n;
    if (n > 0)
        memcpy(p, left->p, n);
    left->p += n;
    left->n -= n;
    return (ssize_t)n;
}

static int read_ids(struct generate_prompt *p, struct err *e) {
    struct tokens_reader *r = tokens_reader_new(-1, "the prompt");
    struct str left = buf_view(&p->line);
    struct tokens_event ev = {.type = TOKENS_END};
    size_t cap = 0;
    int rc;
    tokens_read_by(r, read_str, &left);
    while ((rc = tokens_next(r, &ev, e)) == 0 && ev.type != TOKENS_EOF) {
        if (ev.type != TOKENS_ID)
            continue;
        if (p->n_ids == cap) {
            cap = cap ? 2 * cap : 256;
            p->ids = xreallocarray(p->ids, cap, sizeof *p->ids);
        }
        p->ids[p->n_ids++] = ev.id;
    }
    tokens_reader_free(r);
    return rc;
}

/* ---- The echo ---- */

static int write_echo(const struct served *m, const struct body_prompt *from,
                      struct generate_prompt *p, struct err *e) {
    int rc = 0;
    if (from->text.n) {
        struct json j;
        json_init(&j, NULL, from->text.p, from->text.n, e);
        struct str text = json_str(&j);
        buf_add(&p->text, text.p, text.n);
        json_free(&j);
        return 0;
    }
    struct decoder *d = decoder_new(m->tokenizer, false);
    for (size_t i = 0; i < p->n_ids && rc == 0; i++)
        rc = decoder_id(d, p->ids[i], &p->text, e);
    if (rc == 0)
        rc = decoder_end(d, &p->text, e);
    decoder_free(d);
    return rc;
}

int generate_prompt(const struct served *m, const struct body *b, size_t i,
                    struct generate_prompt *p, struct err *e) {
    const struct body_prompt *from = &b->prompts[i];
    char *text = NULL;
    size_t n = 0;
    *p = (struct generate_prompt){0};
    FILE *f = open_memstream(&text, &n);
    if (!f)
        return err_errno(e, EXIT_SYSTEM, "cannot write the prompt");
    int rc = (from->ids ? write_ids : encode)(m, b, from, f, e);
    bool lost = ferror(f) != 0;
    if (fclose(f) != 0 || lost || !text) // glibc reports no realloc of fclose that fails
        rc = err_set(e, EXIT_SYSTEM, "out of memory: the prompt");
    if (rc == 0) {
        buf_add(&p->line, text, n);
        rc = read_ids(p, e);
    }
    if (rc == 0 && b->echo)
        rc = write_echo(m, from, p, e);
    free(text);
    return rc;
}

void generate_prompt_free(struct generate_prompt *p) {
    buf_free(&p->line);
    buf_free(&p->text);
    free(p->ids);
    *p = (struct generate_prompt){0};
}

void generate_choice(const struct body *b, const struct generate_prompt *p, size_t choice,
                     struct buf *line) {
    size_t ids = p->line.n - 1; // where the line of ids begins, after attributes
    while (ids > 0 && p->line.p[ids - 1] != '\n')
        ids--;
    buf_add(line, p->line.p, ids);
    buf_fmt(line, "#@ cache=%s", b->explain ? "why" : "count");
    if (b->salt[0])
        buf_fmt(line, " salt=%s", b->salt);
    if (choice > 0) // of equal attributes the last counts
        buf_fmt(line, " seed=%" PRIu64, b->seed + choice);
    buf_byte(line, '\n');
    buf_add(line, p->line.p + ids, p->line.n - ids);
}
