/* Prompts with sources: see prefix.h.
 *
 *     record -> question -> embedder -> vector -> search -> chunks by id -> template -> record
 *
 * Of a record with "text" that is the question, and the template's output replaces it. Of one with
 * "messages" the last user's message is the question. The template's output then becomes the
 * system message, and has the system message that was there.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "stages/prefix.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/io.h"
#include "base/json.h"
#include "base/records.h"
#include "base/visible.h"
#include "chat/record.h"
#include "index/search.h"
#include "stages/texts.h"
#include "wire/vectors.h"

enum { MAX_LINE = 0x7fffffff };

/* The first newline after a block is no part of the output (trim_blocks). */
static const char of_text[] =
    "Answer the question from these sources. Name the sources that you use by their numbers.\n"
    "{% for c in chunks %}\n\n[{{ loop.index }}] {{ c.file }}{% if c.head %}: {{ c.head }}{% endif "
    "%}\n\n"
    "{{ c.text }}\n{% endfor %}\n\nQuestion: {{ question }}\nAnswer:";
static const char of_chat[] =
    "{% if system %}{{ system }}\n\n{% endif %}"
    "Answer from these sources. Name the sources that you use by their numbers.\n"
    "{% for c in chunks %}\n\n[{{ loop.index }}] {{ c.file }}{% if c.head %}: {{ c.head }}{% endif "
    "%}\n\n"
    "{{ c.text }}\n{% endfor %}";

/* A record. Views are into the line, or into the parser's arena. */
struct asked {
    struct json json; // owns the strings
    bool chat, has_cite;
    struct str question, system;
    struct str after;  // messages after the system message: JSON values with commas between
    struct buf others; // `, "key": value` of the other keys
};

struct run {
    const struct prefix_job *job;
    struct jinja_template *text, *chat; // the defaults
    struct vectors_reader *reader;
    struct vectors_header header;
    struct buf chunks; // a JSON array, for the template
    struct buf cite;   // a JSON array
    struct buf prompt, line;
    int status;
};

/* ---- Reading a record ---- */

/* The text of a message's content: a string, or a list of parts of which the texts count. */
static struct str read_content(struct json *j) {
    struct str key, text = {"", 0};
    if (json_peek(j) == JSON_STRING)
        return json_str(j);
    if (json_peek(j) != JSON_ARRAY) {
        json_skip(j);
        return text;
    }
    json_enter_array(j);
    while (json_item(j)) {
        if (json_peek(j) != JSON_OBJECT) {
            json_skip(j);
            continue;
        }
        json_enter_object(j);
        while (json_key(j, &key))
            if (str_eq(key, "text") && json_peek(j) == JSON_STRING)
                text = json_str(j); // the last one
            else
                json_skip(j);
    }
    return text;
}

static void read_messages(struct json *j, struct asked *a) {
    struct str key, value;
    const char *first = NULL, *last = NULL;
    json_enter_array(j);
    for (size_t i = 0; json_item(j); i++) {
        struct str role = {"", 0}, content = {"", 0};
        json_peek(j); // white space
        const char *begin = j->p;
        json_enter_object(j);
        while (json_key(j, &key)) {
            if (str_eq(key, "role") && json_peek(j) == JSON_STRING)
                role = json_str(j);
            else if (str_eq(key, "content"))
                content = read_content(j);
            else
                json_skip(j);
        }
        value = (struct str){begin, (size_t)(j->p - begin)};
        if (i == 0 && str_eq(role, "system")) {
            a->system = content;
            continue;
        }
        first = first ? first : value.p;
        last = value.p + value.n;
        if (str_eq(role, "user"))
            a->question = content;
    }
    if (first)
        a->after = (struct str){first, (size_t)(last - first)};
}

static int read_asked(struct asked *a, struct str line, struct err *e) {
    struct str key;
    bool text = false;
    struct json *j = &a->json;
    json_init(j, NULL, line.p, line.n, e);
    json_enter_object(j);
    while (json_key(j, &key)) {
        if (str_eq(key, "text") && json_peek(j) == JSON_STRING) {
            text = true;
            a->question = json_str(j);
        } else if (str_eq(key, "messages") && json_peek(j) == JSON_ARRAY) {
            a->chat = true;
            read_messages(j, a);
        } else {
            struct str name = key, value = json_skip(j);
            a->has_cite |= str_eq(name, "cite");
            buf_str(&a->others, ", ");
            json_write_str(&a->others, name);
            buf_str(&a->others, ": ");
            buf_add(&a->others, value.p, value.n);
        }
    }
    if (!json_end(j))
        return -1;
    if (text == a->chat)
        return err_set(e, EXIT_DATA, "a record needs \"text\" or \"messages\", and not both");
    if (a->question.n == 0)
        return err_set(e, EXIT_DATA,
                       a->chat ? "no message of a user with a text" : "the text is empty");
    return 0;
}

static void asked_free(struct asked *a) {
    json_free(&a->json);
    buf_free(&a->others);
}

/* ---- Searching ---- */

static int check_model(const struct run *r, struct err *e) {
    const struct index_info *info = &r->job->ix->info;
    if (r->header.dim != info->dim || r->header.model != info->model)
        return err_set(e, EXIT_DATA,
                       "the index is of another embedding model: fingerprint %016" PRIx64
                       ", and -m has %016" PRIx64 ": %s",
                       info->model, r->header.model, r->job->ix->path);
    return 0;
}

/* Writes r->line to the embedder. Where that has ended it is an error, and not our end. */
static int write_question(struct run *r, struct err *e) {
    void (*before)(int) = signal(SIGPIPE, SIG_IGN);
    int rc = write_full(r->job->to_embedder, r->line.p, r->line.n, NULL);
    signal(SIGPIPE, before);
    return rc == 0 ? 0 : err_set(e, EXIT_DATA, "tok-encode and llm-embed have ended");
}

/* The vector of a question -> q [dim]. 1; 0 with `why` if it has none; -1 with e set. */
static int embed(struct run *r, struct str question, float *q, struct buf *why, struct err *e) {
    struct vectors_record v;
    buf_clear(&r->line);
    buf_str(&r->line, "{\"text\": ");
    json_write_str(&r->line, question);
    buf_str(&r->line, "}\n");
    if (write_question(r, e) != 0)
        return -1;
    if (!r->reader) {
        r->reader = vectors_reader_new(r->job->from_embedder, "llm-embed", &r->header, e);
        if (!r->reader || check_model(r, e) != 0)
            return -1;
    }
    int rc = vectors_next(r->reader, &v, e);
    if (rc <= 0)
        return rc < 0 ? -1 : err_set(e, EXIT_DATA, "llm-embed has ended");
    if (v.type == VECTORS_FAILED) {
        buf_add(why, v.reason.p, v.reason.n);
        return 0;
    }
    vectors_unpack(&r->header, &v, q);
    if (r->job->ix->info.metric == INDEX_COSINE)
        search_normalise(q, r->job->ix->info.dim);
    return 1;
}

static int search(const struct run *r, const float *q, struct str question, struct index_hits *hits,
                  struct err *e) {
    const struct prefix_job *job = r->job;
    size_t depth = job->hybrid ? search_fuse_depth(job->k) : job->k;
    struct index_hits vectors, words;
    if (search_vectors(job->ix, job->pool, q, 1, depth, &vectors, e) != 0)
        return -1;
    if (!job->hybrid) {
        *hits = vectors;
        return 0;
    }
    int rc = search_words(job->ix, question, depth, &words, e);
    if (rc == 0) {
        rc = search_fuse(job->ix, &vectors, &words, job->k, hits, e);
        free(words.p);
    }
    free(vectors.p);
    return rc;
}

/* A hit with its record, to be ordered by id. */
struct source {
    struct index_record record;
    double score;
};

static int by_id(const void *x, const void *y) {
    const struct source *a = x, *b = y;
    return str_compare(a->record.id, b->record.id);
}

/* Writes the hits as two JSON arrays, in the order of ids. */
static int write_sources(struct run *r, const struct index_hits *hits, struct err *e) {
    struct source *all = xcalloc(hits->n, sizeof *all);
    int rc = 0;
    for (size_t i = 0; i < hits->n && rc == 0; i++) {
        struct index_record *record = &all[i].record;
        all[i].score = hits->p[i].score;
        rc = index_record(r->job->ix, hits->p[i].record, record, e);
        if (rc == 0 && record->text.n == 0)
            rc =
                err_set(e, EXIT_DATA, "record %.*s has no text, which vec-index --records adds: %s",
                        str_shown(record->id), record->id.p, r->job->ix->path);
    }
    if (rc == 0 && hits->n)
        qsort(all, hits->n, sizeof *all, by_id);
    buf_clear(&r->chunks);
    buf_clear(&r->cite);
    for (size_t i = 0; i < hits->n && rc == 0; i++) {
        const struct str attrs = all[i].record.attrs;
        buf_str(&r->chunks, i ? ", {\"text\": " : "[{\"text\": ");
        json_write_str(&r->chunks, all[i].record.text);
        record_write_attrs(&r->chunks, attrs);
        buf_fmt(&r->cite, "%s{\"source\": %zu", i ? ", " : "[", i + 1);
        record_write_own(&r->cite, attrs, "score");
        json_write_f64(&r->cite, all[i].score);
        record_write_attrs(&r->cite, attrs);
        buf_byte(&r->chunks, '}');
        buf_byte(&r->cite, '}');
    }
    buf_str(&r->chunks, hits->n ? "]" : "[]");
    buf_str(&r->cite, hits->n ? "]" : "[]");
    free(all);
    return rc;
}

/* ---- The prompt ---- */

/* The template's variables, as a JSON object that outlives the rendering. */
static void write_variables(struct run *r, const struct asked *a) {
    buf_clear(&r->line);
    buf_str(&r->line, "{\"chunks\": ");
    buf_add(&r->line, r->chunks.p, r->chunks.n);
    buf_str(&r->line, ", \"question\": ");
    json_write_str(&r->line, a->question);
    buf_str(&r->line, ", \"system\": ");
    json_write_str(&r->line, a->system.n ? a->system : str_of(""));
    buf_byte(&r->line, '}');
}

static int render(struct run *r, const struct asked *a, struct err *e) {
    const struct jinja_template *t = r->job->template ? r->job->template
                                     : a->chat        ? r->chat
                                                      : r->text;
    struct jinja *in = jinja_begin(t, NULL);
    struct json j;
    struct str name;
    write_variables(r, a);
    json_init(&j, "variables", r->line.p, r->line.n, e);
    json_enter_object(&j);
    while (json_key(&j, &name))
        jinja_set_str(in, name, jinja_from_json(in, &j));
    buf_clear(&r->prompt);
    int rc = json_failed(&j) ? -1 : jinja_render(in, &r->prompt, NULL, e);
    jinja_end(in);
    json_free(&j);
    return rc;
}

static void write_record(struct run *r, const struct asked *a) {
    struct str prompt = r->prompt.n ? buf_view(&r->prompt) : str_of("");
    buf_clear(&r->line);
    if (a->chat) {
        buf_str(&r->line, "{\"messages\": [{\"role\": \"system\", \"content\": ");
        json_write_str(&r->line, prompt);
        buf_str(&r->line, "}, ");
        buf_add(&r->line, a->after.p, a->after.n);
        buf_byte(&r->line, ']');
    } else {
        buf_str(&r->line, "{\"text\": ");
        json_write_str(&r->line, prompt);
    }
    buf_add(&r->line, a->others.p, a->others.n);
    buf_str(&r->line, a->has_cite ? ", \"cite_\": " : ", \"cite\": ");
    buf_add(&r->line, r->cite.p, r->cite.n);
    buf_str(&r->line, "}\n");
}

/* A record that failed: its other keys, and why. */
static void write_failed(struct run *r, const struct asked *a, const char *why, size_t number,
                         const char *name) {
    r->status = EXIT_SOME_FAILED;
    print_note("%s: line %zu of %s", why, number, name);
    buf_clear(&r->line);
    buf_str(&r->line, "{\"error\": ");
    json_write_str(&r->line, str_of(why));
    buf_add(&r->line, a->others.p, a->others.n);
    buf_str(&r->line, "}\n");
}

/* One line. -1 with e set where no further record can be answered. */
static int prefix_line(struct run *r, struct str line, size_t number, const char *name,
                       struct err *e) {
    struct asked a = {0};
    struct err bad = {0};
    struct buf why = {0};
    struct index_hits hits = {0};
    float *q = xcalloc(r->job->ix->info.dim, sizeof *q);
    int rc = 0;
    if (read_asked(&a, line, &bad) != 0)
        buf_str(&why, bad.msg);
    else
        rc = embed(r, a.question, q, &why, e);
    if (rc == 1) {
        rc = search(r, q, a.question, &hits, e) != 0 || write_sources(r, &hits, e) != 0 ? -1 : 0;
        if (rc == 0 && render(r, &a, &bad) != 0)
            buf_str(&why, bad.msg);
    }
    if (rc == 0 && why.n)
        write_failed(r, &a, why.p, number, name);
    else if (rc == 0)
        write_record(r, &a);
    free(hits.p);
    free(q);
    buf_free(&why);
    asked_free(&a);
    return rc;
}

static int prefix_all(struct run *r, int fd, const char *name, FILE *out, struct err *e) {
    struct records *records = records_new(fd, name, RECORDS_LINES, MAX_LINE);
    struct str line;
    bool terminal = visible_terminal(out);
    int rc = 0, more = 1;
    for (size_t number = 1; rc == 0 && more == 1; number++) {
        if (!records_pending(records) && flush_out(out, e) != 0)
            rc = -1;
        else if ((more = records_next(records, &line, e)) == 1)
            rc = prefix_line(r, line, number, name, e);
        if (rc == 0 && more == 1)
            visible_write(out, buf_view(&r->line), terminal);
    }
    records_free(records);
    return more < 0 ? -1 : rc;
}

int stage_prefix(const struct prefix_job *job, int fd, const char *name, FILE *out, struct err *e) {
    struct run r = {.job = job};
    r.text = jinja_parse("the template of texts", str_of(of_text), e);
    r.chat = jinja_parse("the template of chats", str_of(of_chat), e);
    int rc = r.text && r.chat ? prefix_all(&r, fd, name, out, e) : -1;
    if (flush_out(out, rc == 0 ? e : NULL) != 0)
        rc = -1;
    close(job->to_embedder);
    vectors_reader_free(r.reader);
    jinja_template_free(r.text);
    jinja_template_free(r.chat);
    buf_free(&r.chunks);
    buf_free(&r.cite);
    buf_free(&r.prompt);
    buf_free(&r.line);
    return rc == 0 ? r.status : -1;
}
