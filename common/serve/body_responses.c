/* Fields that only /v1/responses has: see body.h.
 *
 *     "input": "Hi"                                            -> [{"role": "user", "content":
 * "Hi"}] "input": [{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}]   -> the
 * same
 *
 * Refused, with the path: items that are no messages, and parts that are no texts.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdio.h>
#include <string.h>

#include "serve/body_reader.h"

/* A member of item `item`, and of its part `part` unless that is negative. */
static void refuse_at(struct body_reader *r, size_t item, int part, const char *member,
                      const char *what) {
    char path[BODY_MAX_FIELD];
    if (part >= 0)
        snprintf(path, sizeof path, "input[%zu].content[%d].%s", item, part, member);
    else
        snprintf(path, sizeof path, "input[%zu]%s%s", item, *member ? "." : "", member);
    body_refuse(r, path, what);
}

static bool read_text(struct body_reader *r, struct str *out) {
    if (json_peek(&r->j) != JSON_STRING) {
        json_skip(&r->j);
        return false;
    }
    *out = json_str(&r->j);
    return true;
}

/* {"type": "input_text", "text": "Hi"}, as a part of a chat's message. */
static void read_part(struct body_reader *r, size_t item, int part, struct buf *content) {
    struct str key, type = {0}, text = {0};
    if (json_peek(&r->j) != JSON_OBJECT) {
        json_skip(&r->j);
        refuse_at(r, item, part, "type", "is missing");
        return;
    }
    json_enter_object(&r->j);
    while (json_key(&r->j, &key))
        if (str_eq(key, "type") && !read_text(r, &type))
            refuse_at(r, item, part, "type", "must be a text");
        else if (str_eq(key, "text") && !read_text(r, &text))
            refuse_at(r, item, part, "text", "must be a text");
        else if (!str_eq(key, "type") && !str_eq(key, "text"))
            json_skip(&r->j); // annotations, logprobs
    if (!str_eq(type, "input_text") && !str_eq(type, "output_text") && !str_eq(type, "text"))
        refuse_at(r, item, part, "type", "is not supported: the server takes texts only");
    else if (!text.p)
        refuse_at(r, item, part, "text", "is missing");
    buf_str(content, content->n > 1 ? ", " : "");
    buf_str(content, "{\"type\": \"text\", \"text\": ");
    json_write_str(content, text.p ? text : str_of(""));
    buf_byte(content, '}');
}

static void read_content(struct body_reader *r, size_t item, struct buf *content) {
    struct str text;
    buf_clear(content);
    if (json_peek(&r->j) == JSON_ARRAY) {
        buf_byte(content, '[');
        json_enter_array(&r->j);
        for (int part = 0; json_item(&r->j); part++)
            read_part(r, item, part, content);
        buf_byte(content, ']');
    } else if (read_text(r, &text)) {
        json_write_str(content, text);
    } else {
        refuse_at(r, item, -1, "content", "must be a text or a list of parts");
    }
}

/* {"type": "message", "role": "user", "content": ...} */
static void read_item(struct body_reader *r, size_t item, struct buf *content) {
    struct str key, role = {0}, type = str_of("message");
    bool has_content = false;
    if (json_peek(&r->j) != JSON_OBJECT) {
        json_skip(&r->j);
        refuse_at(r, item, -1, "", "must be an object");
        return;
    }
    json_enter_object(&r->j);
    while (json_key(&r->j, &key)) {
        if (str_eq(key, "content")) {
            has_content = true;
            read_content(r, item, content);
        } else if (str_eq(key, "role") && !read_text(r, &role)) {
            refuse_at(r, item, -1, "role", "must be a text");
        } else if (str_eq(key, "type") && !read_text(r, &type)) {
            refuse_at(r, item, -1, "type", "must be a text");
        } else if (str_eq(key, "id") || str_eq(key, "status") || str_eq(key, "phase")) {
            json_skip(&r->j); // of an answer that comes back
        } else if (!str_eq(key, "role") && !str_eq(key, "type")) {
            char name[BODY_MAX_ERROR];
            snprintf(name, sizeof name, "%.*s", str_shown(key), key.p);
            json_skip(&r->j);
            if (str_eq(type, "message"))
                refuse_at(r, item, -1, name, "is not a field that this server knows");
        }
    }
    if (!str_eq(type, "message"))
        refuse_at(r, item, -1, "type", "is not supported: the server takes messages only");
    else if (!role.p || !has_content)
        refuse_at(r, item, -1, role.p ? "content" : "role", "is missing");
    if (json_failed(&r->j))
        return;
    buf_str(&r->built, r->built.n > 1 ? ", " : "");
    buf_str(&r->built, "{\"role\": ");
    json_write_str(&r->built, str_eq(role, "developer") ? str_of("system") : role);
    buf_str(&r->built, ", \"content\": ");
    buf_add(&r->built, content->p, content->n);
    buf_byte(&r->built, '}');
}

void body_read_input(struct body_reader *r) {
    struct buf content = {0};
    struct str text;
    buf_byte(&r->built, '[');
    if (json_peek(&r->j) == JSON_ARRAY) {
        json_enter_array(&r->j);
        for (size_t item = 0; json_item(&r->j); item++)
            read_item(r, item, &content);
    } else if (read_text(r, &text)) {
        buf_str(&r->built, "{\"role\": \"user\", \"content\": ");
        json_write_str(&r->built, text.n ? text : str_of(""));
        buf_byte(&r->built, '}');
    } else {
        body_refuse(r, "input", "must be a text or a list of messages");
    }
    buf_byte(&r->built, ']');
    buf_free(&content);
}

/* {"format": {"type": "text"}, "verbosity": null} */
void body_read_text_config(struct body_reader *r) {
    struct str key, inner, type = str_of("text");
    if (json_peek(&r->j) != JSON_OBJECT) {
        json_skip(&r->j);
        body_refuse(r, "text", "must be an object");
        return;
    }
    json_enter_object(&r->j);
    while (json_key(&r->j, &key)) {
        if (str_eq(key, "format") && json_peek(&r->j) == JSON_OBJECT) {
            json_enter_object(&r->j);
            while (json_key(&r->j, &inner))
                if (!str_eq(inner, "type") || !read_text(r, &type))
                    json_skip(&r->j);
            if (!str_eq(type, "text"))
                body_refuse(r, "text.format.type", "is not supported by this server");
        } else if (!str_eq(key, "verbosity") && !str_eq(key, "format")) {
            json_skip(&r->j);
            body_refuse(r, "text", "has a member that is not known");
        } else if (!body_asks_nothing(json_skip(&r->j))) {
            body_refuse(r, str_eq(key, "format") ? "text.format" : "text.verbosity",
                        "is not supported by this server");
        }
    }
}

void body_read_include(struct body_reader *r) {
    struct str what;
    if (json_peek(&r->j) != JSON_ARRAY) {
        json_skip(&r->j);
        body_refuse(r, "include", "must be a list");
        return;
    }
    json_enter_array(&r->j);
    for (size_t i = 0; json_item(&r->j); i++) {
        char path[BODY_MAX_FIELD];
        snprintf(path, sizeof path, "include[%zu]", i);
        if (!read_text(r, &what))
            body_refuse(r, path, "must be a text");
        else if (str_eq(what, "message.output_text.logprobs"))
            r->include_logprobs = true;
        else if (!str_eq(what, "reasoning.encrypted_content")) // there is no reasoning to include
            body_refuse(r, path, "is not supported by this server");
    }
}
