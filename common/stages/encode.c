/* Records to tokens(5): see encode.h.
 *
 * Records that can be read without waiting make a batch of bounded size. Threads encode batches
 * into memory; the calling thread reads records and writes the batches in their order:
 *
 *     input -> records -> batch -> threads (base/jobs.h) -> batch -> out
 *
 * Before it waits for input, the calling thread writes and flushes what is done.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "stages/encode.h"

#include <stdlib.h>

#include "base/attrs.h"
#include "base/io.h"
#include "base/jobs.h"
#include "base/json.h"
#include "base/visible.h"
#include "chat/record.h"
#include "stages/encode_pair.h"
#include "wire/tokens.h"

enum { BATCH_BYTES = 1 << 17, BATCH_RECORDS = 4096, MAX_RECORD = 0x7fffffff };

/* Notes of our own, in bits that chat/record.h does not use. */
#define NOTE_TWICE (UINT32_C(1) << 31)
#define NOTE_CR    (UINT32_C(1) << 30)

struct context {
    const struct encode_job *o;
    const struct tokenizer *t;
};

/* The state of one thread. */
struct worker {
    const struct encode_job *o;
    struct encoder *en; // NULL if nothing is to be encoded
    const struct tokenizer *tokenizer;
    struct chat_prompt prompt;
    struct buf text; // with encode_job.before
    struct token_ids ids;
};

/* Records that are encoded together, and the result. */
struct batch {
    struct buf text;
    struct {
        size_t end;    // of the record in text
        size_t number; // in the input, from 1
    } * records;       // [n]
    size_t n, cap;
    char *out; // lines of tokens(5)
    size_t out_n;
    struct buf warnings; // a line each
    uint32_t notes;      // of its records: bits of record_note, NOTE_TWICE, NOTE_CR
    struct err failed;   // the whole input failed
};

/* The stage's writing side. */
struct sink {
    FILE *out;
    struct done *done;           // records to leave out, or NULL
    bool terminal;               // out is one: control characters are escaped
    struct tokens_header header; // to be written before the first batch; present: not yet
    int status;                  // EXIT_DONE or EXIT_SOME_FAILED
    uint32_t said;               // notes that have been printed
};

/* Writes a rendered chat: its text as it is, or for JSON input {"text": "..."} on a line. */
static void write_rendered(FILE *f, const struct chat_prompt *p, const struct encode_job *o) {
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

/* A token a line: its bytes of the text and its id. An empty line follows the last. */
static void write_offsets(FILE *f, const struct token_ids *ids) {
    for (size_t i = 0; i < ids->n; i++)
        fprintf(f, "%u-%u\t%u\n", (unsigned)ids->offsets[i][0], (unsigned)ids->offsets[i][1],
                (unsigned)ids->ids[i]);
    putc('\n', f);
}

/* Encodes a context and its continuation. The attribute `from` says where the continuation begins.
 */
static int encode_two(struct worker *w, struct err *e) {
    struct chat_prompt *p = &w->prompt;
    size_t from;
    char number[24];
    if (w->o->offsets)
        return err_set(e, EXIT_DATA, "--offsets is for one text, but the record has two");
    if (encode_pair(w->en, w->tokenizer, p->text, p->continuation, &w->o->encode, w->o->prefix_id,
                    &w->ids, &from, e) != 0)
        return -1;
    snprintf(number, sizeof number, "%zu", from);
    attrs_set(&p->attrs, "from", str_of(number));
    return 0;
}

static int encode_one(struct worker *w, struct err *e) {
    const struct chat_prompt *p = &w->prompt;
    struct encode_options encode = w->o->encode;
    if (p->is_chat) {
        encode.no_special = true;
        encode.split_special = false; // the template's tokens are tokens
        encode.trusted = w->o->trust_content ? NULL : (const uint8_t *)p->trust.p;
    }
    w->ids.want_offsets = w->o->offsets;
    struct str text = p->text;
    if (w->o->before.n) {
        buf_clear(&w->text);
        buf_add(&w->text, w->o->before.p, w->o->before.n);
        buf_add(&w->text, text.p, text.n);
        text = buf_view(&w->text);
    }
    if (tokenizer_encode(w->en, text, &encode, &w->ids, e) < 0)
        return -1;
    if (!encode.no_special && w->ids.n > 1 && w->ids.ids[0] == w->ids.ids[1] &&
        tokenizer_is_special(w->tokenizer, w->ids.ids[0]))
        w->prompt.notes |= NOTE_TWICE;
    if (w->o->records == RECORDS_LINES && w->o->prompt.form == PROMPT_RECORD && p->text.n &&
        p->text.p[p->text.n - 1] == '\r')
        w->prompt.notes |= NOTE_CR;
    return 0;
}

static int encode_prompt(struct worker *w, struct err *e) {
    if (w->o->before.n && (w->prompt.is_pair || w->prompt.is_chat))
        return err_set(e, EXIT_DATA, "--prompt is for texts, but the record is a %s",
                       w->prompt.is_pair ? "context and a continuation" : "chat");
    if ((w->prompt.is_pair ? encode_two : encode_one)(w, e) != 0)
        return -1;
    if (w->ids.n > TOKENS_MAX_SEQUENCE)
        return err_set(e, EXIT_DATA, "%zu tokens, more than %d", w->ids.n, TOKENS_MAX_SEQUENCE);
    return 0;
}

/* Encodes one record and writes its line. -1 with e set if it failed; its line then says why. */
static int encode_record(struct worker *w, FILE *f, struct str record, struct err *e) {
    const struct encode_job *o = w->o;
    int rc = prompt_read(&w->prompt, &o->prompt, record, e);
    if (rc == 0 && !o->render)
        rc = encode_prompt(w, e);
    if (rc != 0 && o->records == RECORDS_WHOLE)
        return rc;
    if (rc == 0 && o->render) {
        write_rendered(f, &w->prompt, o);
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
        write_offsets(f, &w->ids);
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
    if (!f) {
        err_errno(&b->failed, EXIT_SYSTEM, "cannot encode record %zu", b->records[0].number);
        return;
    }
    for (size_t i = 0, from = 0; i < b->n; from = b->records[i++].end) {
        struct err e = {0};
        int rc = encode_record(w, f, (struct str){b->text.p + from, b->records[i].end - from}, &e);
        b->notes |= w->prompt.notes;
        if (rc != 0 && w->o->records == RECORDS_WHOLE)
            b->failed = e;
        else if (rc != 0)
            buf_fmt(&b->warnings, "%s: %s: %s %zu\n", e.msg, w->o->prompt.input,
                    w->o->records == RECORDS_LINES ? "line" : "record", b->records[i].number);
    }
    bool lost = ferror(f) != 0;            // fclose does not report a write that failed before
    if (fclose(f) != 0 || lost || !b->out) // nor that it found no memory itself
        err_set(&b->failed, EXIT_SYSTEM, "out of memory: the output of record %zu",
                b->records[0].number);
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
    buf_free(&w->text);
    prompt_free(&w->prompt);
    free(w);
}

/* Warns about what the records ask for and we do not do: once for each kind of note. */
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

static void write_header(struct sink *s) {
    tokens_write_header(s->out, &s->header); // nothing unless present
    s->header.present = false;
}

/* Writes a batch that is done, and empties it. -1 with e set if the whole input failed. */
static int write_batch(struct sink *s, struct batch *b, struct err *e) {
    bool failed = b->failed.code != 0;
    say_notes(b->notes, &s->said);
    b->notes = 0;
    if (failed) {
        *e = b->failed;
    } else {
        write_header(s);
        visible_write(s->out, (struct str){b->out, b->out_n}, s->terminal);
    }
    for (char *line = b->warnings.p, *end; b->warnings.n && (end = strchr(line, '\n'));
         line = end + 1) {
        warn("%.*s", (int)(end - line), line);
        s->status = EXIT_SOME_FAILED;
    }
    free(b->out);
    b->out = NULL;
    b->n = 0;
    buf_clear(&b->text);
    buf_clear(&b->warnings);
    return failed ? -1 : 0;
}

/* Warns if the input is what another program writes, which would be encoded as text. */
static void warn_of_stream(struct str first) {
    const char *hint = first.n ? file_hint(first.p, first.n) : NULL;
    if (hint && first.p[0] != '<') // a page of HTML is a text
        warn("the input is encoded as text, but it is %s", hint);
}

/* Fills b with the records that can be read without waiting, except those that are done. 1; 0 at
 * the end of the input; -1 with e set. */
static int read_batch(struct records *r, struct batch *b, struct done *done, size_t *number,
                      struct err *e) {
    struct str record;
    int more;
    do {
        if ((more = records_next(r, &record, e)) <= 0)
            return more;
        if (++*number == 1)
            warn_of_stream(record);
        if (done && done_take(done, record))
            continue;
        if (b->n == b->cap) {
            b->cap = b->cap ? b->cap * 2 : 64;
            b->records = xreallocarray(b->records, b->cap, sizeof *b->records);
        }
        buf_add(&b->text, record.p, record.n);
        b->records[b->n].end = b->text.n;
        b->records[b->n++].number = *number;
    } while (b->text.n < BATCH_BYTES && b->n < BATCH_RECORDS && records_pending(r));
    return 1;
}

/* Waits until the input has a complete record or ends. During the wait, batches that are done are
 * written; they are flushed before a read that may have to wait. -1 with e set. */
static int wait_for_record(struct records *r, struct jobs *jobs, int fd, struct sink *s,
                           struct err *e) {
    struct batch *done;
    while (!records_pending(r)) {
        bool reads = jobs_wait(jobs, fd);
        while ((done = jobs_take(jobs, false)))
            if (write_batch(s, done, e) != 0)
                return -1;
        if (!reads)
            continue;
        if (jobs_idle(jobs) && flush_out(s->out, e) != 0)
            return -1;
        if (records_fill(r, e) != 0)
            return -1;
    }
    return 0;
}

/* Runs the input through the batches. After a failure only takes the jobs that are still there; e
 * keeps the first one. */
static int run_batches(struct records *r, struct jobs *jobs, struct batch *batches, size_t n,
                       int fd, struct sink *s, struct err *e) {
    struct batch *done;
    size_t number = 0;
    int more = 1;
    for (size_t next = 0; more > 0; next++) {
        struct batch *b = &batches[next % n];
        more = wait_for_record(r, jobs, fd, s, e) == 0 ? read_batch(r, b, s->done, &number, e) : -1;
        if (b->n)
            jobs_give(jobs, b);
        while ((done = jobs_take(jobs, more <= 0 || jobs_full(jobs)))) {
            struct err failed = {0};
            if (write_batch(s, done, &failed) == 0)
                continue;
            if (more >= 0)
                *e = failed;
            more = -1;
        }
    }
    return more;
}

int stage_encode(const struct encode_job *o, const struct tokenizer *t, int fd, const char *name,
                 FILE *out, struct err *e) {
    struct context ctx = {o, t};
    struct sink s = {.out = out, .done = o->done, .terminal = visible_terminal(out)};
    size_t n_batches = o->threads > 1 ? o->threads * 3 : 1;
    struct jobs_work work = {worker_begin, encode_batch, worker_end, &ctx};
    struct jobs *jobs = jobs_new(o->threads, n_batches, &work, e);
    if (!jobs)
        return -1;
    if (t && !o->offsets && !o->render)
        s.header = (struct tokens_header){true, tokenizer_vocab(t), tokenizer_fingerprint(t)};
    if (o->records != RECORDS_WHOLE)
        write_header(&s);
    struct records *records = records_new(fd, name, o->records, MAX_RECORD);
    struct batch *batches = xcalloc(n_batches, sizeof *batches);
    int rc = run_batches(records, jobs, batches, n_batches, fd, &s, e);
    if (flush_out(out, rc == 0 ? e : NULL) != 0)
        rc = -1;
    for (size_t i = 0; i < n_batches; i++) {
        buf_free(&batches[i].text);
        buf_free(&batches[i].warnings);
        free(batches[i].records);
    }
    free(batches);
    jobs_free(jobs);
    records_free(records);
    return rc == 0 ? s.status : -1;
}

/* Whether the file names id as an end of text. *named is set if it has the key eos_token_id. */
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
    struct buf after = {0}; // a message
    int64_t end = -1;
    bool named = false;
    chat_turn_end(c, &after);
    struct token_ids ids = tokenizer_ids(t, after.n ? buf_view(&after) : str_of(""), false);
    for (size_t i = 0; i < ids.n && end < 0; i++) {
        // Some templates write white space before it: short pieces are skipped.
        struct str piece = tokenizer_piece(t, ids.ids[i]);
        if (tokenizer_is_special(t, ids.ids[i]))
            end = ids.ids[i];
        else if (piece.n > 4)
            break;
    }
    token_ids_free(&ids);
    buf_free(&after);
    // generation_config.json takes precedence over config.json, as in llm-forward.
    if (end >= 0 && (names_end(dir, "generation_config.json", end, &named) ||
                     (!named && names_end(dir, "config.json", end, &named))))
        end = -1;
    return end;
}
