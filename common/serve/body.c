/* Bodies of requests: see body.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "serve/body.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

enum { MAX_IDS = 1 << 24 };

enum field_kind {
    FIELD_PASS,     // passed on as a member, under the name `to` where there is one
    FIELD_PARAM,    // passed on inside "params", under the name `to`
    FIELD_OWN,      // read here
    FIELD_HARMLESS, // has no effect on the answer
    FIELD_NOT_YET,  // refused where it asks for something
};

struct field {
    const char *name;
    enum field_kind kind;
    unsigned in; // bits of enum body_kind
    const char *to;
};

enum {
    CHAT = 1u << BODY_CHAT,
    TEXT = 1u << BODY_COMPLETION,
    ANTH = 1u << BODY_MESSAGES,
    BOTH = CHAT | TEXT,
    ALL = BOTH | ANTH
};

static const struct field fields[] = {
    {"messages", FIELD_OWN, CHAT | ANTH, NULL},
    {"system", FIELD_OWN, ANTH, NULL},
    {"chat_template_kwargs", FIELD_PASS, CHAT | ANTH, NULL},
    {"add_generation_prompt", FIELD_PASS, CHAT, NULL},
    {"continue_final_message", FIELD_PASS, CHAT, NULL},
    {"prompt", FIELD_OWN, TEXT, NULL},
    {"model", FIELD_OWN, ALL, NULL},
    {"stream", FIELD_OWN, ALL, NULL},
    {"stream_options", FIELD_OWN, BOTH, NULL},
    {"temperature", FIELD_OWN, ALL, NULL},
    {"seed", FIELD_OWN, ALL, NULL},
    {"top_p", FIELD_PASS, ALL, NULL},
    {"max_tokens", FIELD_PASS, ALL, NULL},
    {"max_completion_tokens", FIELD_PASS, CHAT, NULL},
    {"stop", FIELD_PASS, BOTH, NULL},
    {"stop_sequences", FIELD_PASS, ANTH, "stop"},
    {"logit_bias", FIELD_PASS, BOTH, NULL},
    {"presence_penalty", FIELD_PASS, BOTH, NULL},
    {"frequency_penalty", FIELD_PASS, BOTH, NULL},
    {"top_k", FIELD_PARAM, ALL, "top_k"},
    {"min_p", FIELD_PARAM, ALL, "min_p"},
    {"repetition_penalty", FIELD_PARAM, ALL, "repetition_penalty"},
    {"ignore_eos", FIELD_PARAM, ALL, "ignore_eos"},
    {"stop_token_ids", FIELD_PARAM, BOTH, "stop_id"},
    {"user", FIELD_HARMLESS, BOTH, NULL},
    {"metadata", FIELD_HARMLESS, ALL, NULL},
    {"service_tier", FIELD_HARMLESS, ALL, NULL},
    {"safety_identifier", FIELD_HARMLESS, BOTH, NULL},
    {"prompt_cache_key", FIELD_HARMLESS, BOTH, NULL},
    {"parallel_tool_calls", FIELD_HARMLESS, CHAT, NULL},
    {"thinking", FIELD_NOT_YET, ANTH, NULL},
    {"mcp_servers", FIELD_NOT_YET, ANTH, NULL},
    {"container", FIELD_NOT_YET, ANTH, NULL},
    {"n", FIELD_NOT_YET, BOTH, NULL},
    {"store", FIELD_NOT_YET, CHAT, NULL},
    {"logprobs", FIELD_NOT_YET, BOTH, NULL},
    {"top_logprobs", FIELD_NOT_YET, CHAT, NULL},
    {"echo", FIELD_NOT_YET, TEXT, NULL},
    {"best_of", FIELD_NOT_YET, TEXT, NULL},
    {"suffix", FIELD_NOT_YET, TEXT, NULL},
    {"tools", FIELD_NOT_YET, CHAT | ANTH, NULL},
    {"tool_choice", FIELD_NOT_YET, CHAT | ANTH, NULL},
    {"functions", FIELD_NOT_YET, CHAT, NULL},
    {"function_call", FIELD_NOT_YET, CHAT, NULL},
    {"response_format", FIELD_NOT_YET, CHAT, NULL},
    {"modalities", FIELD_NOT_YET, CHAT, NULL},
    {"audio", FIELD_NOT_YET, CHAT, NULL},
    {"prediction", FIELD_NOT_YET, CHAT, NULL},
    {"reasoning_effort", FIELD_NOT_YET, CHAT, NULL},
    {"verbosity", FIELD_NOT_YET, CHAT, NULL},
    {"web_search_options", FIELD_NOT_YET, CHAT, NULL},
};

enum { N_FIELDS = sizeof fields / sizeof *fields };
_Static_assert(N_FIELDS <= 64, "seen has a bit for each field");

struct reader {
    struct body *b;
    struct json j;
    char *field; // the path of what is wrong
    size_t size;
    uint64_t seen;               // a bit for each field
    bool prompt;                 // there are messages, or a prompt
    struct str messages, system; // as they are in the body; p is NULL: not given
};

/* Refuses the field that has just been read. */
static void refuse(struct reader *r, const char *field, const char *what) {
    if (json_failed(&r->j))
        return;
    snprintf(r->field, r->size, "%s", field);
    json_refuse(&r->j, "%s %s", field, what);
}

/* Whether a value asks for what a server does without being asked. */
static bool asks_nothing(struct str raw) {
    static const char *const nothing[] = {"null", "false", "0",        "1",        "\"\"",
                                          "[]",   "{}",    "\"auto\"", "\"none\"", "[\"text\"]"};
    for (size_t i = 0; i < sizeof nothing / sizeof *nothing; i++)
        if (str_eq(raw, nothing[i]))
            return true;
    return false;
}

/* {"type": "text"} */
static bool is_text_format(struct str raw) {
    struct err ignored = {0};
    struct json j;
    struct str key;
    bool text = false, other = false;
    json_init(&j, NULL, raw.p, raw.n, &ignored);
    json_enter_object(&j);
    while (json_key(&j, &key))
        if (str_eq(key, "type") && json_peek(&j) == JSON_STRING)
            text = str_eq(json_str(&j), "text");
        else {
            other = true;
            json_skip(&j);
        }
    bool good = !json_failed(&j) && text && !other;
    json_free(&j);
    return good;
}

static void add_member(struct buf *to, const char *name, struct str raw) {
    buf_fmt(to, "%s\"%s\": ", to->n ? ", " : "", name);
    buf_add(to, raw.p, raw.n);
}

static void read_stream_options(struct reader *r) {
    struct str key;
    if (json_null(&r->j))
        return;
    json_enter_object(&r->j);
    while (json_key(&r->j, &key)) {
        if (str_eq(key, "include_usage"))
            r->b->include_usage = json_bool(&r->j);
        else if (str_eq(key, "include_obfuscation"))
            json_skip(&r->j);
        else
            refuse(r, "stream_options", "has a member that is not known");
    }
}

void body_read_ids(struct json *j, const char *name, uint32_t **ids, size_t *n) {
    size_t cap = 0;
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

static void read_prompt(struct reader *r) {
    if (json_peek(&r->j) == JSON_ARRAY) {
        body_read_ids(&r->j, "prompt", &r->b->ids, &r->b->n_ids);
        if (r->b->n_ids == 0)
            refuse(r, "prompt", "has no token ids");
        return;
    }
    struct str raw = json_skip(&r->j);
    if (!json_failed(&r->j) && raw.p[0] != '"')
        refuse(r, "prompt", "must be a text or a list of token ids");
    add_member(&r->b->record, "text", raw);
}

static void read_own(struct reader *r, struct str key) {
    struct body *b = r->b;
    if (str_eq(key, "messages")) {
        r->messages = json_skip(&r->j);
    } else if (str_eq(key, "prompt")) {
        read_prompt(r);
    } else if (str_eq(key, "stream_options")) {
        read_stream_options(r);
    } else if (json_null(&r->j)) {
        return;
    } else if (str_eq(key, "system")) {
        r->system = json_skip(&r->j);
    } else if (str_eq(key, "stream")) {
        b->stream = json_bool(&r->j);
    } else if (str_eq(key, "model")) {
        b->model = str_dup(json_str(&r->j));
    } else if (str_eq(key, "temperature")) {
        b->has_temp = true;
        add_member(&b->params, "temp", json_skip(&r->j));
    } else if (str_eq(key, "seed")) {
        b->has_seed = true;
        add_member(&b->params, "seed", json_skip(&r->j));
    }
}

static void read_field(struct reader *r, const struct field *f, struct str key) {
    struct str raw;
    if (f->kind == FIELD_OWN) {
        read_own(r, key);
        return;
    }
    raw = json_skip(&r->j);
    if (json_failed(&r->j) || str_eq(raw, "null"))
        return;
    if (f->kind == FIELD_PASS)
        add_member(&r->b->record, f->to ? f->to : f->name, raw);
    else if (f->kind == FIELD_PARAM)
        add_member(&r->b->params, f->to, raw);
    else if (f->kind == FIELD_NOT_YET && !asks_nothing(raw) &&
             !(str_eq(key, "response_format") && is_text_format(raw)))
        refuse(r, f->name, "is not supported by this server");
}

static const char *prompt_field(enum body_kind kind) {
    return kind == BODY_COMPLETION ? "prompt" : "messages";
}

/* Adds the messages, with the system's text as the first of them. */
static void add_messages(struct reader *r) {
    struct buf with = {0};
    struct str raw = r->messages, rest = raw;
    if (!raw.p || raw.p[0] != '[' || !r->system.p) {
        if (raw.p)
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

static void read_member(struct reader *r, enum body_kind kind, struct str key) {
    for (size_t i = 0; i < N_FIELDS; i++) {
        if (!str_eq(key, fields[i].name) || !(fields[i].in & 1u << kind))
            continue;
        if (r->seen & UINT64_C(1) << i)
            refuse(r, fields[i].name, "comes twice");
        r->seen |= UINT64_C(1) << i;
        r->prompt |= str_eq(key, prompt_field(kind));
        read_field(r, &fields[i], key);
        if (json_failed(&r->j) && !*r->field)
            snprintf(r->field, r->size, "%s", fields[i].name);
        return;
    }
    char *name = str_dup(key);
    refuse(r, name, "is not a field that this server knows");
    free(name);
}

int body_read(struct body *b, enum body_kind kind, struct str text, char *field, size_t size,
              struct err *e) {
    struct reader r = {.b = b, .field = field, .size = size};
    struct str key;
    *b = (struct body){0};
    *field = '\0';
    json_init(&r.j, "the body", text.p, text.n, e);
    json_enter_object(&r.j);
    while (json_key(&r.j, &key))
        read_member(&r, kind, key);
    bool good = json_end(&r.j);
    if (good && !r.prompt) {
        snprintf(field, size, "%s", prompt_field(kind));
        err_set(e, EXIT_DATA, "%s is missing", prompt_field(kind));
        good = false;
    }
    if (good)
        add_messages(&r);
    json_free(&r.j);
    return good ? 0 : -1;
}

void body_free(struct body *b) {
    buf_free(&b->record);
    buf_free(&b->params);
    free(b->ids);
    free(b->model);
    *b = (struct body){0};
}
