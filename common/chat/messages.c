/* Messages of a request: see messages.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "chat/messages.h"

#include <stdlib.h>

#include "jinja/run.h"

static const char *const reasoning_fields[] = {"reasoning_content", "thinking", "reasoning"};
enum { N_REASONING = sizeof reasoning_fields / sizeof *reasoning_fields };

static struct jvalue trusted_str(struct jinja *in, const char *s) {
    return jv_text(jt_new(in, str_of(s), TRUST_ALL));
}

/* Returns the role, trusted if it is a plain word. A word of letters, '_' and '-' alone makes only
 * tokens that the template writes around it. */
static struct jvalue role_of(struct jinja *in, struct jvalue role) {
    if (!jv_is_str(role))
        return role;
    struct str word = jt_view(role.s);
    for (size_t i = 0; i < word.n; i++)
        if (!((word.p[i] >= 'a' && word.p[i] <= 'z') || (word.p[i] >= 'A' && word.p[i] <= 'Z') ||
              word.p[i] == '_' || word.p[i] == '-'))
            return role;
    return jv_text(jt_new(in, word, TRUST_ALL));
}

/* ---- Tool calls ---- */

static bool is_blank(struct str s) {
    for (size_t i = 0; i < s.n; i++)
        if (!strchr(" \t\r\n", s.p[i]) || !s.p[i])
            return false;
    return true;
}

/* Parses the arguments of a call, a string of JSON. An empty string is an empty object, for a call
 * without arguments. A string that is no object stays. */
static void open_arguments(struct jinja *in, struct jvalue function) {
    struct jvalue *v =
        function.kind == V_DICT ? jv_get_str(in, function.d, str_of("arguments")) : NULL;
    if (!v || !jv_is_str(*v))
        return;
    struct jtext *as_written = v->s;
    struct str text = jt_view(as_written);
    struct err ignored = {0};
    struct json j;
    if (is_blank(text)) {
        *v = jv_dict(in);
        v->foreign = true;
        jv_set_text(*v, as_written);
        return;
    }
    json_init(&j, "arguments", text.p, text.n, &ignored);
    if (json_peek(&j) == JSON_OBJECT) {
        struct jvalue object = jinja_from_json(in, &j);
        if (json_end(&j)) {
            jv_set_text(object, as_written);
            *v = object;
        }
    }
    json_free(&j);
}

static void open_calls(struct jinja *in, struct jvalue message) {
    struct jvalue *calls = jv_get_str(in, message.d, str_of("tool_calls"));
    for (size_t i = 0; calls && calls->kind == V_LIST && i < calls->l->n; i++) {
        struct jvalue call = calls->l->v[i];
        struct jvalue *function =
            call.kind == V_DICT ? jv_get_str(in, call.d, str_of("function")) : NULL;
        open_arguments(in, function ? *function : call);
    }
    struct jvalue *legacy = jv_get_str(in, message.d, str_of("function_call"));
    if (legacy)
        open_arguments(in, *legacy);
}

/* ---- Parts of content ---- */

/* The text of one part: a string, {"type": "text", "text": ...} or {"type": "refusal", "refusal":
 * ...}. NULL for any other part. */
static struct jtext *part_text(struct jinja *in, struct jvalue part) {
    if (jv_is_str(part))
        return part.s;
    if (part.kind != V_DICT)
        return NULL;
    struct jvalue *type = jv_get_str(in, part.d, str_of("type")),
                  *text = jv_get_str(in, part.d, str_of("text"));
    if (type && jv_is_str(*type) && str_eq(jt_view(type->s), "refusal"))
        text = jv_get_str(in, part.d, str_of("refusal"));
    return text && jv_is_str(*text) ? text->s : NULL;
}

/* Joins the parts. NULL if one is not a text; *other is then its type, or n = 0. */
static struct jtext *join_parts(struct jinja *in, const struct jlist *parts, struct str *other) {
    struct jbuild b;
    jb_init(&b, in, 64);
    for (size_t i = 0; i < parts->n; i++) {
        struct jtext *text = part_text(in, parts->v[i]);
        if (!text) {
            struct jvalue *type =
                parts->v[i].kind == V_DICT ? jv_get_str(in, parts->v[i].d, str_of("type")) : NULL;
            *other = type && jv_is_str(*type) ? jt_view(type->s) : str_of("");
            return NULL;
        }
        if (i)
            jb_str(&b, "\n", false);
        jb_text(&b, text);
    }
    return jb_done(&b);
}

static void open_content(struct jinja *in, struct json *j, struct jvalue message,
                         bool takes_parts) {
    struct jvalue *content = jv_get_str(in, message.d, str_of("content"));
    struct str other;
    if (!content || content->kind != V_LIST)
        return;
    struct jtext *text = join_parts(in, content->l, &other);
    if (text && takes_parts)
        jv_set_text(*content, text);
    else if (text)
        *content = jv_text(text);
    else if (!takes_parts)
        json_refuse(j,
                    "\"content\" has a part of type \"%.*s\", and the chat template takes only "
                    "text",
                    str_shown(other), other.p);
}

/* ---- Messages ---- */

/* Returns a message as templates expect it. */
static struct jvalue prepare_message(struct jinja *in, struct jvalue message) {
    struct jvalue reasoning = jv_none(), out = jv_dict(in);
    for (size_t i = 0; i < N_REASONING && reasoning.kind == V_NONE; i++) {
        struct jvalue *v = jv_get_str(in, message.d, str_of(reasoning_fields[i]));
        reasoning = v ? *v : reasoning;
    }
    if (reasoning.kind != V_NONE)
        jv_put(in, out.d, trusted_str(in, "thinking"), reasoning);
    for (size_t i = 0; i < message.d->n; i++) {
        struct jpair p = message.d->pairs[i];
        if (p.value.kind != V_NONE)
            jv_put(in, out.d, p.key,
                   str_eq(jt_view(p.key.s), "role") ? role_of(in, p.value) : p.value);
    }
    if (reasoning.kind != V_NONE)
        jv_put(in, out.d, trusted_str(in, "reasoning_content"), reasoning);
    out.foreign = true;
    return out;
}

bool messages_list(struct jinja *in, struct json *j, const char *what, struct jvalue *out) {
    *out = jinja_from_json(in, j);
    if (json_failed(j))
        return false;
    bool good = out->kind == V_LIST;
    for (size_t i = 0; good && i < out->l->n; i++)
        good = out->l->v[i].kind == V_DICT;
    if (!good)
        json_refuse(j, "%s must be an array of objects", what);
    return good;
}

struct jvalue messages_read(struct jinja *in, struct json *j, bool takes_parts) {
    struct jvalue list;
    if (!messages_list(in, j, "messages", &list))
        return jv_none();
    if (list.l->n == 0)
        json_refuse(j, "messages is empty");
    for (size_t i = 0; i < list.l->n && !json_failed(j); i++) {
        open_calls(in, list.l->v[i]);
        open_content(in, j, list.l->v[i], takes_parts);
        list.l->v[i] = prepare_message(in, list.l->v[i]);
    }
    return list;
}

void messages_add_system(struct jinja *in, struct jvalue messages, struct str text) {
    struct jlist *l = messages.l;
    struct jvalue *role = jv_get_str(in, l->v[0].d, str_of("role"));
    if (role && jv_is_str(*role) &&
        (str_eq(jt_view(role->s), "system") || str_eq(jt_view(role->s), "developer")))
        return;
    struct jvalue message = jv_dict(in);
    jv_put(in, message.d, trusted_str(in, "role"), trusted_str(in, "system"));
    jv_put(in, message.d, trusted_str(in, "content"), jv_text(jt_new(in, text, TRUST_NONE)));
    message.foreign = true;
    jv_push(in, l, message);
    for (size_t i = l->n - 1; i > 0; i--)
        l->v[i] = l->v[i - 1];
    l->v[0] = message;
}

/* ---- Continuing the last message ---- */

static struct jvalue with_tag(struct jinja *in, struct jtext *text) {
    return jv_text(jt_concat(in, text, jt_new(in, str_of(CONTINUE_TAG), TRUST_NONE)));
}

static bool occurs(struct str word, struct str text) {
    for (size_t i = 0; word.n && i + word.n <= text.n; i++)
        if (memcmp(text.p + i, word.p, word.n) == 0)
            return true;
    return false;
}

/* Tags the last part with a text. NULL if there is none. */
static struct jtext *tag_parts(struct jinja *in, struct jlist *parts) {
    for (size_t i = parts->n; i-- > 0;) {
        struct jvalue *v =
            parts->v[i].kind == V_DICT ? jv_get_str(in, parts->v[i].d, str_of("text")) : NULL;
        if (!v)
            continue;
        if (!jv_is_str(*v))
            return NULL;
        struct jtext *text = v->s;
        *v = with_tag(in, text);
        return text;
    }
    return NULL;
}

/* Tags each copy of the member: reasoning has several names. *used: the template has one of the
 * names. */
static void tag_member(struct jinja *in, struct jvalue message, struct str field,
                       struct jtext *text, struct str source, bool *used) {
    bool reasoning = false;
    for (size_t i = 0; i < N_REASONING; i++)
        reasoning |= str_eq(field, reasoning_fields[i]);
    for (size_t i = 0; i < (reasoning ? N_REASONING : 1); i++) {
        struct str name = reasoning ? str_of(reasoning_fields[i]) : field;
        struct jvalue *v = jv_get_str(in, message.d, name);
        if (!v || !jv_is_str(*v) || !str_same(jt_view(v->s), jt_view(text)))
            continue;
        *v = with_tag(in, text);
        *used |= occurs(name, source);
    }
}

int messages_mark_end(struct jinja *in, struct jvalue messages, struct str field, struct str source,
                      struct str *text, struct err *e) {
    static const char option[] = "continue_final_message";
    struct jvalue last = messages.l->v[messages.l->n - 1], *v = jv_get_str(in, last.d, field);
    struct jtext *found = NULL;
    bool used = false;
    if (!v)
        return err_set(e, EXIT_DATA, "%s: the last message has no \"%.*s\"", option,
                       str_shown(field), field.p);
    if (jv_is_str(*v)) {
        found = v->s;
        tag_member(in, last, field, found, source, &used);
    } else if (v->kind == V_LIST) {
        found = tag_parts(in, v->l);
        used = occurs(field, source);
    }
    if (!found)
        return err_set(e, EXIT_DATA, "%s: \"%.*s\" of the last message has no text", option,
                       str_shown(field), field.p);
    if (!used)
        return err_set(e, EXIT_DATA, "%s: the template does not use \"%.*s\"", option,
                       str_shown(field), field.p);
    if (v->kind == V_LIST && v->l->as_text) { // the text for printing has the tag, too
        struct str ignored;
        jv_set_text(*v, join_parts(in, v->l, &ignored));
    }
    *text = jt_view(found);
    return 0;
}
