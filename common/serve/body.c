/* Bodies of requests: see body.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "serve/body.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "chat/record.h"
#include "sample/params.h"
#include "serve/body_reader.h"

enum { MAX_IDS = 1 << 24 };

void body_refuse(struct body_reader *r, const char *field, const char *what) {
    if (json_failed(&r->j))
        return;
    snprintf(r->field, BODY_MAX_FIELD, "%s", field);
    json_refuse(&r->j, "%s %s", field, what);
}

bool body_asks_nothing(struct str raw) {
    static const char *const nothing[] = {"null", "false", "0",        "1",        "\"\"",
                                          "[]",   "{}",    "\"auto\"", "\"none\"", "[\"text\"]"};
    for (size_t i = 0; i < sizeof nothing / sizeof *nothing; i++)
        if (str_eq(raw, nothing[i]))
            return true;
    return false;
}

/* {"type": TYPE} */
static bool is_type(struct str raw, const char *type) {
    struct err ignored = {0};
    struct json j;
    struct str key;
    bool same = false, other = false;
    json_init(&j, NULL, raw.p, raw.n, &ignored);
    json_enter_object(&j);
    while (json_key(&j, &key))
        if (str_eq(key, "type") && json_peek(&j) == JSON_STRING)
            same = str_eq(json_str(&j), type);
        else {
            other = true;
            json_skip(&j);
        }
    bool good = !json_failed(&j) && same && !other;
    json_free(&j);
    return good;
}

static void add_member(struct buf *to, const char *name, struct str raw) {
    buf_fmt(to, "%s\"%s\": ", to->n ? ", " : "", name);
    buf_add(to, raw.p, raw.n);
}

/* ---- Parameters ---- */

/* Passes a sampling parameter on, or refuses the field if its value is no good. */
static void read_param(struct body_reader *r, const struct body_field *f, struct str raw) {
    struct sample_params params = sample_defaults;
    struct buf member = {0}, attrs = {0};
    struct err e = {0};
    struct json j;
    struct str key;
    uint32_t notes = 0;
    bool stop = strcmp(f->to, "stop") == 0;
    buf_fmt(&member, stop ? "{\"stop\": " : "{\"params\": {\"%s\": ", f->to);
    buf_add(&member, raw.p, raw.n);
    buf_str(&member, stop ? "}" : "}}");
    json_init(&j, NULL, member.p, member.n, &e);
    json_enter_object(&j);
    while (json_key(&j, &key))
        record_member(&j, key, &attrs, &notes);
    bool good =
        !json_failed(&j) && json_end(&j) && sample_attributes(&params, buf_view(&attrs), &e) == 0;
    const char *takes = strstr(e.msg, " takes ");
    if (!good || (raw.p[0] == '"' && !stop)) // a record takes a number in a string
        body_refuse(r, f->name,
                    takes  ? takes + 1
                    : stop ? "must be a text or a list of texts, "
                             "none of them empty"
                           : "has a value of another type");
    add_member(stop ? &r->b->record : &r->b->params, f->to, raw);
    json_free(&j);
    buf_free(&member);
    buf_free(&attrs);
}

static uint64_t read_count(struct body_reader *r, const char *name, uint64_t min, uint64_t max) {
    uint64_t v = 0;
    struct str raw = json_skip(&r->j);
    if (json_failed(&r->j) || parse_u64(raw, min, max, &v))
        return v;
    char what[80];
    snprintf(what, sizeof what, "must be a whole number from %llu to %llu", (unsigned long long)min,
             (unsigned long long)max);
    body_refuse(r, name, what);
    return min;
}

static bool read_bool(struct body_reader *r, const char *name) {
    struct str raw = json_skip(&r->j);
    if (!str_eq(raw, "true") && !str_eq(raw, "false"))
        body_refuse(r, name, "must be true or false");
    return str_eq(raw, "true");
}

/* A seed is 64 bits; OpenAI's may be negative. */
static void read_seed(struct body_reader *r) {
    struct str raw = json_skip(&r->j);
    int64_t negative;
    if (json_failed(&r->j))
        return;
    r->b->has_seed = true;
    if (parse_u64(raw, 0, UINT64_MAX, &r->b->seed))
        return;
    if (parse_i64(raw, INT64_MIN, 0, &negative))
        r->b->seed = (uint64_t)negative;
    else
        body_refuse(r, "seed", "must be a whole number of 64 bits");
}

/* ---- Prompts ---- */

void body_read_ids(struct json *j, const char *name, uint32_t **ids, size_t *n) {
    size_t cap = *n;
    json_enter_array(j);
    while (json_item(j)) {
        if (json_peek(j) != JSON_NUMBER || *n == MAX_IDS) {
            json_refuse(j, "%s must be a text or a list of token ids", name);
            return;
        }
        uint64_t id = json_u64(j);
        if (id > 0x7fffffff)
            json_refuse(j, "%s has a token id that is too large", name);
        if (*n == cap) {
            cap = cap ? 2 * cap : 64;
            *ids = xreallocarray(*ids, cap, sizeof **ids);
        }
        (*ids)[(*n)++] = (uint32_t)id;
    }
}

static struct body_prompt *add_prompt(struct body_prompt **prompts, size_t *n) {
    if ((*n & (*n - 1)) == 0) // 0 and powers of two: full
        *prompts = xreallocarray(*prompts, *n ? 2 * *n : 1, sizeof **prompts);
    (*prompts)[*n] = (struct body_prompt){0};
    return &(*prompts)[(*n)++];
}

static void read_prompt(struct json *j, const char *name, struct body_prompt *p) {
    if (json_peek(j) == JSON_ARRAY) {
        body_read_ids(j, name, &p->ids, &p->n_ids);
        if (!json_failed(j) && p->n_ids == 0)
            json_refuse(j, "%s has no token ids", name);
        return;
    }
    p->text = json_skip(j);
    if (!json_failed(j) && p->text.p[0] != '"')
        json_refuse(j, "%s must be a text or a list of token ids, or a list of these", name);
}

void body_read_prompts(struct json *j, const char *name, size_t max, struct body_prompt **prompts,
                       size_t *n) {
    struct json before = *j;
    bool nested = false;
    if (json_peek(j) == JSON_ARRAY) { // of what?
        json_enter_array(j);
        nested = json_item(j) && (json_peek(j) == JSON_STRING || json_peek(j) == JSON_ARRAY);
        if (json_failed(j))
            return;
        before.strings = j->strings;
        *j = before;
    }
    if (!nested) {
        read_prompt(j, name, add_prompt(prompts, n));
        return;
    }
    json_enter_array(j);
    while (json_item(j)) {
        if (*n == max)
            json_refuse(j, "%s has more than %zu texts", name, max);
        else
            read_prompt(j, name, add_prompt(prompts, n));
    }
}

void body_free_prompts(struct body_prompt *prompts, size_t n) {
    for (size_t i = 0; i < n; i++)
        free(prompts[i].ids);
    free(prompts);
}

/* ---- Fields ---- */

static void read_stream_options(struct body_reader *r) {
    struct str key;
    char path[BODY_MAX_FIELD];
    if (json_peek(&r->j) != JSON_OBJECT) {
        json_skip(&r->j);
        body_refuse(r, "stream_options", "must be an object");
        return;
    }
    json_enter_object(&r->j);
    while (json_key(&r->j, &key)) {
        snprintf(path, sizeof path, "stream_options.%.*s",
                 (int)(key.n < BODY_MAX_ERROR ? key.n : BODY_MAX_ERROR), key.p);
        if (str_eq(key, "include_usage"))
            r->b->include_usage = read_bool(r, path);
        else if (str_eq(key, "include_obfuscation"))
            read_bool(r, path);
        else
            body_refuse(r, path, "is not a field that this server knows");
    }
}

static void read_logprobs(struct body_reader *r) {
    if (r->b->kind == BODY_CHAT) {
        r->logprobs = read_bool(r, "logprobs");
        return;
    }
    r->top = (int)read_count(r, "logprobs", 0, BODY_MAX_TOP);
    r->logprobs = true;
}

/* A string, which must be one. */
static struct str read_string(struct body_reader *r, const char *name) {
    if (json_peek(&r->j) == JSON_STRING)
        return json_str(&r->j);
    json_skip(&r->j);
    body_refuse(r, name, "must be a text");
    return str_of("");
}

static void read_truncation(struct body_reader *r) {
    if (!str_eq(read_string(r, "truncation"), "disabled"))
        body_refuse(r, "truncation", "must be \"disabled\"");
}

static void read_own(struct body_reader *r, const struct body_field *f) {
    struct body *b = r->b;
    struct str key = str_of(f->name);
    if (str_eq(key, "messages")) {
        r->messages = json_skip(&r->j);
    } else if (str_eq(key, "prompt")) {
        body_read_prompts(&r->j, "prompt", BODY_MAX_PROMPTS, &b->prompts, &b->n_prompts);
    } else if (str_eq(key, "input")) {
        body_read_input(r);
    } else if (json_null(&r->j)) {
        return;
    } else if (str_eq(key, "system") || str_eq(key, "instructions")) {
        r->system = json_skip(&r->j);
    } else if (str_eq(key, "stream")) {
        b->stream = read_bool(r, "stream");
    } else if (str_eq(key, "stream_options")) {
        read_stream_options(r);
    } else if (str_eq(key, "model")) {
        b->model = str_dup(read_string(r, "model"));
    } else if (str_eq(key, "n")) {
        b->n_choices = (size_t)read_count(r, "n", 1, BODY_MAX_CHOICES);
    } else if (str_eq(key, "logprobs")) {
        read_logprobs(r);
    } else if (str_eq(key, "top_logprobs")) {
        r->top = (int)read_count(r, "top_logprobs", 0, BODY_MAX_TOP);
    } else if (str_eq(key, "include")) {
        body_read_include(r);
    } else if (str_eq(key, "text")) {
        body_read_text_config(r);
    } else if (str_eq(key, "truncation")) {
        read_truncation(r);
    } else if (str_eq(key, "echo")) {
        b->echo = read_bool(r, "echo");
    } else if (str_eq(key, "seed")) {
        read_seed(r);
    } else if (strcmp(f->to, "max") == 0) {
        r->max = json_skip(&r->j);
        if (!json_failed(&r->j))
            read_param(r, f, r->max);
    } else if (str_eq(key, "temperature")) {
        b->has_temp = true;
        b->said.temperature = json_skip(&r->j);
        if (!json_failed(&r->j))
            read_param(r, f, b->said.temperature);
    }
}

static void read_field(struct body_reader *r, const struct body_field *f) {
    if (f->kind == BODY_OWN) {
        read_own(r, f);
        return;
    }
    struct str raw = json_skip(&r->j);
    if (json_failed(&r->j) || str_eq(raw, "null"))
        return;
    if (strcmp(f->name, "top_p") == 0)
        r->b->said.top_p = raw;
    if (strcmp(f->name, "metadata") == 0 && raw.p[0] == '{')
        r->b->said.metadata = raw;
    if (f->kind == BODY_PARAM)
        read_param(r, f, raw);
    else if (f->kind == BODY_TEMPLATE && strcmp(f->name, "chat_template_kwargs") == 0
                 ? raw.p[0] != '{'
                 : f->kind == BODY_TEMPLATE && !str_eq(raw, "true") && !str_eq(raw, "false"))
        body_refuse(r, f->name, raw.p[0] == '{' ? "must be true or false" : "has another type");
    else if (f->kind == BODY_TEMPLATE)
        add_member(&r->b->record, f->name, raw);
    else if (f->kind == BODY_NOT_YET && !body_asks_nothing(raw) &&
             !(strcmp(f->name, "response_format") == 0 && is_type(raw, "text")) &&
             !(strcmp(f->name, "tool_choice") == 0 && is_type(raw, "auto")))
        body_refuse(r, f->name, "is not supported by this server");
}

const char *body_prompt_field(enum body_kind kind) {
    return kind == BODY_COMPLETION ? "prompt" : kind == BODY_RESPONSES ? "input" : "messages";
}

static void read_member(struct body_reader *r, struct str key) {
    for (size_t i = 0; i < BODY_N_FIELDS; i++) {
        const struct body_field *f = &body_fields[i];
        if (!f->name || !str_eq(key, f->name) || !(f->in & 1u << r->b->kind))
            continue;
        if (r->seen[i]) {
            body_refuse(r, f->name, "comes twice");
            return;
        }
        r->seen[i] = true;
        r->prompt |= str_eq(key, body_prompt_field(r->b->kind));
        read_field(r, f);
        if (json_failed(&r->j) && !*r->field)
            snprintf(r->field, BODY_MAX_FIELD, "%s", f->name);
        return;
    }
    char name[BODY_MAX_ERROR];
    snprintf(name, sizeof name, "%.*s", str_shown(key), key.p);
    body_refuse(r, name, "is not a field that this server knows");
}

/* ---- The whole ---- */

/* Adds the messages, with the system's text as the first of them. */
static void add_messages(struct body_reader *r) {
    struct buf with = {0};
    struct str raw = r->built.n ? buf_view(&r->built) : r->messages, rest = raw;
    if (!raw.p)
        return;
    add_prompt(&r->b->prompts, &r->b->n_prompts);
    if (raw.p[0] != '[' || !r->system.p) {
        add_member(&r->b->record, "messages", raw);
        return;
    }
    for (rest.p++, rest.n--; rest.n && strchr(" \t\r\n", rest.p[0]); rest.p++)
        rest.n--;
    buf_str(&with, "[{\"role\": \"system\", \"content\": ");
    buf_add(&with, r->system.p, r->system.n);
    buf_str(&with, rest.p[0] == ']' ? "}" : "}, ");
    buf_add(&with, rest.p, rest.n);
    add_member(&r->b->record, "messages", buf_view(&with));
    buf_free(&with);
}

/* What two fields say together. false with e set. */
static bool check_together(struct body_reader *r, struct err *e) {
    struct body *b = r->b;
    const char *wrong = NULL, *what = NULL;
    if (b->kind == BODY_RESPONSES)
        r->logprobs = r->include_logprobs;
    if (!r->prompt) {
        wrong = body_prompt_field(b->kind);
        what = "is missing";
    } else if (r->top > 0 && !r->logprobs && b->kind == BODY_CHAT) {
        wrong = "top_logprobs";
        what = "needs \"logprobs\": true";
    } else if (b->n_prompts * b->n_choices > BODY_MAX_ANSWERS) {
        wrong = "n";
        what = "times the number of prompts is more than 2048";
    }
    if (wrong) {
        snprintf(r->field, BODY_MAX_FIELD, "%s", wrong);
        err_set(e, EXIT_DATA, "%s %s", wrong, what);
        return false;
    }
    b->said.instructions = r->system;
    b->said.max = r->max;
    b->top = !r->logprobs ? -1 : r->top < 0 ? 0 : r->top;
    b->no_answer = b->echo && b->top >= 0 && r->max.p && str_eq(r->max, "0");
    if (b->no_answer) // the last of equal parameters counts
        add_member(&b->params, "max", str_of("1"));
    return true;
}

int body_read(struct body *b, enum body_kind kind, struct str text, char *field, struct err *e) {
    struct body_reader r = {.b = b, .field = field, .top = -1};
    struct str key;
    *b = (struct body){.kind = kind, .n_choices = 1};
    *field = '\0';
    json_init(&r.j, "the body", text.p, text.n, e);
    json_enter_object(&r.j);
    while (json_key(&r.j, &key))
        read_member(&r, key);
    bool good = json_end(&r.j);
    if (good && kind != BODY_COMPLETION)
        add_messages(&r);
    good = good && check_together(&r, e);
    json_free(&r.j);
    buf_free(&r.built);
    return good ? 0 : -1;
}

void body_free(struct body *b) {
    buf_free(&b->record);
    buf_free(&b->params);
    body_free_prompts(b->prompts, b->n_prompts);
    free(b->model);
    *b = (struct body){0};
}
