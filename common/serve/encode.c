/* Records to tokens(5): see encode.h.
 *
 * Records that the input has at once make a batch, of a bounded size; batches are encoded by a few
 * threads and written in their order. Before the input is waited for, everything that is done is
 * written and flushed.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "serve/encode.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/attrs.h"
#include "base/io.h"
#include "base/jobs.h"
#include "base/json.h"
#include "chat/record.h"
#include "wire/tokens.h"

enum { BATCH_BYTES = 1 << 17, BATCH_RECORDS = 4096, MAX_RECORD = 0x7fffffff };

/* Notes beside those of record.h, in bits that it does not use. */
#define NOTE_TWICE (UINT32_C(1) << 31)
#define NOTE_CR    (UINT32_C(1) << 30)

struct context {
    const struct encode_job *o;
    const struct tokenizer *t;
};

/* What one thread needs. */
struct worker {
    const struct encode_job *o;
    struct encoder *en; // NULL where nothing is encoded
    const struct tokenizer *tokenizer;
    struct chat_prompt prompt;
    struct token_ids ids;
};

/* Records that are encoded together, and what they give. */
struct batch {
    struct buf text;
    size_t *ends;         // [n] of each record in text
    size_t n, cap, first; // first: number of the first record, from 1
    char *out;
    size_t out_n;
    struct buf warnings; // a line each
    uint32_t notes;      // of its records: record_note
    struct err failed;   // of a whole input
};

/* Prints a rendered chat: its text as it is, or with -j as {"text": "..."} on a line. */
static void print_rendered(FILE *f, const struct chat_prompt *p, const struct encode_job *o) {
    struct buf line = {0};
    if (o->prompt.form == PROMPT_JSON) {
        buf_str(&line, "{\"text\": ");
        json_write_str(&line, p->text);
        record_write_attrs(&line, buf_view(&p->attrs));
        buf_str(&line, "}\n");
    } else {
        buf_add(&line, p->text.p, p->text.n);
    }
    fwrite(line.p, 1, line.n, f);
    buf_free(&line);
}

/* A token a line: the bytes of the text that it stands for, and its id; an empty line behind the
 * last. */
static void print_offsets(FILE *f, const struct token_ids *ids) {
    for (size_t i = 0; i < ids->n; i++)
        fprintf(f, "%u-%u\t%u\n", (unsigned)ids->offsets[i][0], (unsigned)ids->offsets[i][1],
                (unsigned)ids->ids[i]);
    putc('\n', f);
}

static int encode_prompt(struct worker *w, struct err *e) {
    const struct chat_prompt *p = &w->prompt;
    struct encode_options encode = w->o->encode;
    if (p->is_chat) {
        encode.no_special = true;
        encode.trusted = w->o->trust_content ? NULL : (const uint8_t *)p->trust.p;
    }
    w->ids.want_offsets = w->o->offsets;
    if (tokenizer_encode(w->en, p->text, &encode, &w->ids, e) < 0)
        return -1;
    if (!encode.no_special && w->ids.n > 1 && w->ids.ids[0] == w->ids.ids[1] &&
        tokenizer_is_special(w->tokenizer, w->ids.ids[0]))
        w->prompt.notes |= NOTE_TWICE;
    if (w->o->records == RECORDS_LINES && w->o->prompt.form == PROMPT_RECORD && p->text.n &&
        p->text.p[p->text.n - 1] == '\r')
        w->prompt.notes |= NOTE_CR;
    if (w->ids.n > TOKENS_MAX_SEQUENCE)
        return err_set(e, EXIT_DATA, "%zu tokens, more than %d", w->ids.n, TOKENS_MAX_SEQUENCE);
    return 0;
}

/* Encodes one record and writes its line. -1 with e set where it failed; then its line says so. */
static int encode_record(struct worker *w, FILE *f, struct str record, struct err *e) {
    const struct encode_job *o = w->o;
    int rc = prompt_read(&w->prompt, &o->prompt, record, e);
    if (rc == 0 && !o->render)
        rc = encode_prompt(w, e);
    if (rc != 0 && o->records == RECORDS_WHOLE)
        return rc;
    if (rc == 0 && o->render) {
        print_rendered(f, &w->prompt, o);
        return 0;
    }
    if (rc == 0 && w->prompt.is_chat && o->end_id >= 0) {
        char id[24];
        snprintf(id, sizeof id, "%lld", (long long)o->end_id);
        attrs_set(&w->prompt.attrs, "end_id", str_of(id));
    }
    if (!o->offsets)
        tokens_write_attrs(f, buf_view(&w->prompt.attrs));
    if (rc != 0) {
        tokens_write_failed(f, str_of(e->msg));
        return rc;
    }
    if (o->offsets) {
        print_offsets(f, &w->ids);
    } else {
        tokens_write_ids(f, w->ids.ids, w->ids.n);
        tokens_write_end(f);
    }
    return 0;
}

static void encode_batch(void *worker, void *job) {
    struct worker *w = worker;
    struct batch *b = job;
    FILE *f = open_memstream(&b->out, &b->out_n);
    if (!f)
        die(EXIT_SYSTEM, "out of memory");
    for (size_t i = 0, from = 0; i < b->n; from = b->ends[i++]) {
        struct err e = {0};
        int rc = encode_record(w, f, (struct str){b->text.p + from, b->ends[i] - from}, &e);
        b->notes |= w->prompt.notes;
        if (rc == 0)
            continue;
        if (w->o->records == RECORDS_WHOLE)
            b->failed = e;
        buf_fmt(&b->warnings, "%s: record %zu\n", e.msg, b->first + i);
    }
    if (fclose(f) != 0)
        die(EXIT_SYSTEM, "out of memory");
}

static void *worker_begin(void *ctx) {
    struct worker *w = xcalloc(1, sizeof *w);
    const struct context *c = ctx;
    w->o = c->o;
    w->en = c->t ? encoder_new(c->t) : NULL;
    w->tokenizer = c->t;
    return w;
}

static void worker_end(void *worker) {
    struct worker *w = worker;
    encoder_free(w->en);
    token_ids_free(&w->ids);
    prompt_free(&w->prompt);
    free(w);
}

/* Says what of the records is not followed: each once for all. */
static void say_notes(uint32_t notes, uint32_t *said) {
    for (unsigned i = 0; record_note(i); i++)
        if (notes & ~*said & UINT32_C(1) << i)
            warn("%s", record_note(i));
    if (notes & ~*said & NOTE_TWICE)
        warn("a text begins with the token that the tokenizer puts before it, which is then there "
             "twice: --no-special leaves that out");
    if (notes & ~*said & NOTE_CR)
        warn("lines end in CR LF, and the CR is part of each text");
    *said |= notes;
}

/* Writes a batch that is done, and empties it. EXIT_DONE or EXIT_SOME_FAILED; e is set where the
 * whole input failed. */
static int write_batch(struct batch *b, uint32_t *said, struct err *e) {
    int status = EXIT_DONE;
    say_notes(b->notes, said);
    b->notes = 0;
    if (b->failed.code)
        *e = b->failed;
    fwrite(b->out, 1, b->out_n, stdout);
    for (char *line = b->warnings.p, *end; b->warnings.n && (end = strchr(line, '\n'));
         line = end + 1) {
        warn("%.*s", (int)(end - line), line);
        status = EXIT_SOME_FAILED;
    }
    free(b->out);
    b->out = NULL;
    b->n = 0;
    buf_clear(&b->text);
    buf_clear(&b->warnings);
    return status;
}

/* Fills b as far as the input has records at once; 0 at the end of the input. */
static int read_batch(struct records *r, struct batch *b, size_t *number, struct err *e) {
    struct str record;
    int more;
    b->first = *number + 1;
    do {
        if ((more = records_next(r, &record, e)) <= 0)
            return more;
        if (b->n == b->cap) {
            b->cap = b->cap ? b->cap * 2 : 64;
            b->ends = xreallocarray(b->ends, b->cap, sizeof *b->ends);
        }
        buf_add(&b->text, record.p, record.n);
        b->ends[b->n++] = b->text.n;
        ++*number;
    } while (b->text.n < BATCH_BYTES && b->n < BATCH_RECORDS && records_pending(r));
    return 1;
}

/* Waits until the input has a whole record or ends. What is done meanwhile is written, and where
 * nothing more is being done, that is flushed before the wait. -1 with e set. */
static int wait_for_record(struct records *r, struct jobs *jobs, int fd, int *status,
                           uint32_t *said, struct err *e) {
    struct batch *done;
    while (!records_pending(r)) {
        bool reads = jobs_wait(jobs, fd);
        while ((done = jobs_take(jobs, false)))
            *status |= write_batch(done, said, e);
        if (!reads)
            continue;
        if (jobs_idle(jobs))
            flush_stdout();
        if (records_fill(r, e) != 0)
            return -1;
    }
    return 0;
}

int encode_records(const struct encode_job *o, const struct tokenizer *t, int fd, const char *name,
                   struct err *e) {
    struct records *records = records_new(fd, name, o->records, MAX_RECORD);
    struct context ctx = {o, t};
    unsigned n_batches = o->threads > 1 ? o->threads * 3 : 1, next = 0;
    struct jobs *jobs = jobs_new(o->threads, n_batches,
                                 &(struct jobs_work){worker_begin, encode_batch, worker_end, &ctx});
    struct batch *batches = xcalloc(n_batches, sizeof *batches), *done;
    size_t number = 0;
    int status = EXIT_DONE;
    uint32_t said = 0;
    for (int more = 1; more > 0;) {
        struct batch *b = &batches[next++ % n_batches];
        more = wait_for_record(records, jobs, fd, &status, &said, e) == 0
                   ? read_batch(records, b, &number, e)
                   : -1;
        if (b->n)
            jobs_give(jobs, b);
        while ((done = jobs_take(jobs, more <= 0 || jobs_full(jobs))))
            status |= write_batch(done, &said, e);
    }
    flush_stdout();
    for (unsigned i = 0; i < n_batches; i++) {
        buf_free(&batches[i].text);
        buf_free(&batches[i].warnings);
        free(batches[i].ends);
    }
    free(batches);
    jobs_free(jobs);
    records_free(records);
    return e->code ? -1 : status;
}

/* Whether the file names id as an end of text; *named: whether it has the key at all. */
static bool names_end(const char *dir, const char *file, int64_t id, bool *named) {
    enum { MAX_CONFIG = 4 << 20 };
    char *path = path_join(dir, file);
    struct buf text = {0};
    struct err ignored = {0};
    struct str key;
    struct json j;
    bool found = false;
    if (is_file(path) && read_file(path, MAX_CONFIG, &text, &ignored) == 0) {
        json_init(&j, path, text.p, text.n, &ignored);
        j.python = true;
        json_enter_object(&j);
        while (json_key(&j, &key)) {
            bool ends = str_eq(key, "eos_token_id") && json_peek(&j) != JSON_NULL;
            *named |= ends;
            if (ends && json_peek(&j) == JSON_ARRAY) {
                json_enter_array(&j);
                while (json_item(&j))
                    found |= json_i64(&j) == id;
            } else if (ends) {
                found |= json_i64(&j) == id;
            } else {
                json_skip(&j);
            }
        }
        json_free(&j);
    }
    buf_free(&text);
    free(path);
    return found;
}

int64_t encode_turn_end(const struct chat *c, const struct tokenizer *t, const char *dir) {
    struct buf behind = {0};
    struct token_ids ids = {0};
    struct err ignored = {0};
    int64_t end = -1;
    bool named = false;
    chat_turn_end(c, &behind);
    struct encoder *en = encoder_new(t);
    struct encode_options o = {.no_special = true};
    if (behind.n && tokenizer_encode(en, buf_view(&behind), &o, &ids, &ignored) == 0)
        for (size_t i = 0; i < ids.n && end < 0;
             i++) { // behind white space at most, which some templates write before it
            struct str piece = tokenizer_piece(t, ids.ids[i]);
            if (tokenizer_is_special(t, ids.ids[i]))
                end = ids.ids[i];
            else if (piece.n > 4)
                break;
        }
    encoder_free(en);
    token_ids_free(&ids);
    buf_free(&behind);
    // generation_config.json goes before config.json, as llm-forward reads them.
    if (end >= 0 && (names_end(dir, "generation_config.json", end, &named) ||
                     (!named && names_end(dir, "config.json", end, &named))))
        end = -1;
    return end;
}
