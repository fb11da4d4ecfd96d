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

#include "base/io.h"
#include "base/json.h"
#include "base/records.h"
#include "base/visible.h"
#include "stages/prefix_find.h"

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
    struct prefix_finder find;
    struct jinja_template *text, *chat; // the defaults
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

/* ---- Writing ---- */

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
    buf_add(&r->line, r->find.cite.p, r->find.cite.n);
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

static int render(struct run *r, const struct asked *a, struct err *e) {
    const struct jinja_template *own = r->find.job->template, *plain = a->chat ? r->chat : r->text;
    buf_clear(&r->prompt);
    return prefix_render(&r->find, own ? own : plain, a->question, a->system, &r->prompt, NULL, e);
}

/* One line. -1 with e set where no further record can be answered. */
static int prefix_line(struct run *r, struct str line, size_t number, const char *name,
                       struct err *e) {
    struct asked a = {0};
    struct err bad = {0};
    struct buf why = {0};
    int rc = 1;
    if (read_asked(&a, line, &bad) != 0)
        buf_str(&why, bad.msg);
    else if ((rc = prefix_find(&r->find, a.question, &why, e)) == 1 && render(r, &a, &bad) != 0)
        buf_str(&why, bad.msg);
    if (rc >= 0 && why.n)
        write_failed(r, &a, why.p, number, name);
    else if (rc >= 0)
        write_record(r, &a);
    buf_free(&why);
    asked_free(&a);
    return rc < 0 ? -1 : 0;
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
    struct run r = {.find = {.job = job}};
    r.text = jinja_parse("the template of texts", str_of(of_text), e);
    r.chat = jinja_parse("the template of chats", str_of(of_chat), e);
    int rc = r.text && r.chat ? prefix_all(&r, fd, name, out, e) : -1;
    if (flush_out(out, rc == 0 ? e : NULL) != 0)
        rc = -1;
    prefix_finder_free(&r.find);
    jinja_template_free(r.text);
    jinja_template_free(r.chat);
    buf_free(&r.prompt);
    buf_free(&r.line);
    return rc == 0 ? r.status : -1;
}
