/* Chat templates of model folders: see chat.h.
 *
 * First the members are found that choose the template, because variables are set in a rendering of
 * one template. tok-encode -j has seen them when it read the record; any other request is parsed
 * twice. Then each member becomes a variable: first those of the defaults, so that the request's
 * own win. The messages are set last, when it is known how they end.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "chat/chat.h"

#include <stdlib.h>

#include "base/json.h"
#include "base/utf8.h"
#include "chat/messages.h"
#include "chat/templates.h"
#include "jinja/run.h"
#include "tokens/special.h"

struct chat {
    struct chat_templates templates;
    struct special_tokens special;
    struct jinja_limits limits;
    struct buf literals;
};

struct chat *chat_open(const char *dir, const struct chat_options *options, struct err *e) {
    struct chat *c = xcalloc(1, sizeof *c);
    c->limits = options->limits;
    if (templates_read(&c->templates, dir, options->template, e) == 0 &&
        special_tokens_read(&c->special, dir, e) == 0) {
        templates_literals(&c->templates, &c->literals);
        return c;
    }
    chat_free(c);
    return NULL;
}

void chat_free(struct chat *c) {
    if (!c)
        return;
    templates_free(&c->templates);
    special_tokens_free(&c->special);
    buf_free(&c->literals);
    free(c);
}

static bool is_json(struct str s) {
    struct err ignored = {0};
    struct json j;
    json_init(&j, "", s.p, s.n, &ignored);
    json_skip(&j);
    bool good = !json_failed(&j) && json_end(&j);
    json_free(&j);
    return good;
}

int chat_set(struct buf *variables, const char *setting, struct err *e) {
    const char *equals = strchr(setting, '=');
    struct buf key = {0}, value = {0};
    if (!equals || equals == setting)
        return err_set(e, EXIT_USAGE, "expected KEY=VALUE, found '%s'", setting);
    utf8_repair(&key, setting, (size_t)(equals - setting));
    utf8_repair(&value, equals + 1, strlen(equals + 1));
    bool messages = str_eq(buf_view(&key), "messages");
    if (variables->n)
        variables->n--; // the '}'
    buf_str(variables, variables->n ? ", " : "{");
    json_write_str(variables, buf_view(&key));
    buf_str(variables, ": ");
    struct str text = value.p ? buf_view(&value) : str_of("");
    if (is_json(text))
        buf_add(variables, text.p, text.n);
    else
        json_write_str(variables, text);
    buf_byte(variables, '}');
    buf_free(&key);
    buf_free(&value);
    return messages ? err_set(e, EXIT_USAGE, "\"messages\" cannot be set, only variables") : 0;
}

/* ---- One request ---- */

struct rendering {
    const struct chat *c;
    const struct chat_defaults *defaults;
    char *template; // the name that the request gives, or NULL
    bool tools;
    const struct chat_template *t;
    struct jinja *in;
    struct jvalue messages; // V_MISSING until read
    bool generation, generation_said, continues;
    struct str field; // of the last message, that is continued
    struct str final; // its text
};

void chat_choice_member(struct chat_choice *choice, struct json *j, struct str key) {
    enum json_type type = json_peek(j);
    if (str_eq(key, "tools")) {
        choice->said_tools = true;
        choice->tools = type != JSON_NULL;
    }
    if (str_eq(key, "chat_template") && type == JSON_STRING)
        choice->template = json_str(j);
    else
        json_skip(j);
}

static void take_choice(struct rendering *r, const struct chat_choice *choice) {
    if (choice->said_tools)
        r->tools = choice->tools;
    if (!choice->template.p)
        return;
    free(r->template);
    r->template = str_dup(choice->template);
}

/* Finds what chooses the template. Errors are left to read_object. */
static void look(struct rendering *r, struct str request) {
    struct chat_choice choice = {0};
    struct json j;
    struct str key;
    struct err ignored = {0};
    json_init(&j, "", request.p, request.n, &ignored);
    if (request.n && json_peek(&j) == JSON_OBJECT) {
        json_enter_object(&j);
        while (json_key(&j, &key))
            chat_choice_member(&choice, &j, key);
    }
    take_choice(r, &choice);
    json_free(&j);
}

/* Reads continue_final_message: false, true, or the name of a member. */
static void read_continue(struct rendering *r, struct json *j) {
    enum json_type type = json_peek(j);
    if (type == JSON_STRING) {
        r->field = json_str(j);
        r->continues = r->field.n > 0;
    } else if (type != JSON_NULL) {
        r->continues = json_bool(j);
        r->field = str_of("content");
    } else {
        json_null(j);
    }
}

static void read_member(struct rendering *r, struct json *j, struct str key) {
    struct jinja *in = r->in;
    struct jvalue v;
    struct str name;
    bool null = json_peek(j) == JSON_NULL;
    if (str_eq(key, "messages")) {
        r->messages = messages_read(in, j, r->t->takes_parts);
    } else if ((str_eq(key, "tools") || str_eq(key, "documents")) && !null) {
        if (messages_list(in, j, str_eq(key, "tools") ? "tools" : "documents", &v))
            jinja_set_str(in, key, v);
    } else if (str_eq(key, "chat_template_kwargs") && json_peek(j) == JSON_OBJECT) {
        json_enter_object(j);
        while (json_key(j, &name))
            jinja_set_str(in, name, jinja_from_json(in, j));
    } else if (str_eq(key, "chat_template")) {
        if (!null)
            json_str(j); // look() has read it
        else
            json_null(j);
    } else if (str_eq(key, "continue_final_message")) {
        read_continue(r, j);
    } else if (str_eq(key, "add_generation_prompt")) {
        v = jinja_from_json(in, j);
        if (!null) {
            r->generation = !json_failed(j) && jv_truth(in, v);
            r->generation_said = true;
        }
    } else {
        jinja_set_str(in, key, jinja_from_json(in, j));
    }
}

static void read_object(struct rendering *r, struct json *j) {
    struct str key;
    if (json_peek(j) == JSON_ARRAY) {
        r->messages = messages_read(r->in, j, r->t->takes_parts);
    } else {
        json_enter_object(j);
        while (json_key(j, &key))
            read_member(r, j, key);
    }
}

/* Sets the variables that depend on the whole request. */
static int finish(struct rendering *r, struct err *e) {
    if (r->defaults->system)
        messages_add_system(r->in, r->messages, str_of(r->defaults->system));
    if (r->continues && r->generation_said && r->generation)
        return err_set(e, EXIT_DATA,
                       "continue_final_message and add_generation_prompt exclude each other");
    if (r->continues &&
        messages_mark_end(r->in, r->messages, r->field, r->t->parsed->source, &r->final, e) != 0)
        return -1;
    jinja_set(r->in, "messages", r->messages);
    jinja_set(r->in, "add_generation_prompt", jv_bool(r->generation && !r->continues));
    return 0;
}

/* Removes white space at the ends, as Python's str.strip does. */
static struct str strip(struct str s) {
    struct jtext t = {.p = s.p, .n = s.n};
    size_t from = 0, to = s.n, len;
    while (from < to && jt_is_space(jt_decode(&t, from, &len)))
        from += len;
    while (to > from) {
        size_t i = to - 1;
        while (i > from && ((unsigned char)s.p[i] & 0xC0) == 0x80)
            i--;
        if (!jt_is_space(jt_decode(&t, i, &len)))
            break;
        to = i;
    }
    return (struct str){s.p + from, to - from};
}

/* Cuts the text [from, n) after the message that is continued. As in transformers, white space
 * before the cut stays only if the template left the tag's own space. */
static int cut(struct rendering *r, struct buf *text, size_t from, size_t *end, struct err *e) {
    static const char tag[] = CONTINUE_TAG;
    struct str word = {tag, sizeof tag - 2}; // without the space
    struct jtext all = {.p = text->p + from, .n = text->n - from};
    size_t at = jt_rfind(r->in, &all, word, 0, all.n);
    struct str final = strip(r->final);
    if (at == SIZE_MAX || (final.n && jt_find(r->in, &all, final, 0, all.n) == SIZE_MAX))
        return err_set(e, EXIT_DATA,
                       "continue_final_message: the template does not write the last message as it "
                       "is: %s",
                       r->t->parsed->name);
    bool whole = at + word.n < all.n && all.p[at + word.n] == ' ';
    for (size_t len; !whole && at > 0;) { // rstrip
        size_t i = at - 1;
        while (i > 0 && ((unsigned char)all.p[i] & 0xC0) == 0x80)
            i--;
        if (!jt_is_space(jt_decode(&all, i, &len)))
            break;
        at = i;
    }
    *end = from + at;
    return 0;
}

static int read_all_members(struct rendering *r, struct json *j, struct json *defaults) {
    if (r->defaults->variables.n) {
        read_object(r, defaults);
        if (!json_end(defaults))
            return -1;
    }
    read_object(r, j);
    if (!json_failed(j) && r->messages.kind == V_MISSING)
        json_refuse(j, "\"messages\" is missing");
    return json_end(j) ? 0 : -1;
}

static int render(struct rendering *r, struct json *j, struct json *defaults, struct buf *text,
                  struct buf *trust, struct err *e) {
    size_t from = text->n, trust_from = trust ? trust->n : 0, end = 0;
    for (size_t i = 0; i < r->c->special.n_names; i++) {
        const struct special_name *s = &r->c->special.names[i];
        jinja_set_str(r->in, s->name, jv_text(jt_new(r->in, s->token.content, TRUST_ALL)));
    }
    jinja_set(r->in, "tools", jv_none());
    jinja_set(r->in, "documents", jv_none());
    if (read_all_members(r, j, defaults) != 0 || finish(r, e) != 0 ||
        jinja_render(r->in, text, trust, e) != 0)
        return -1;
    if (!r->continues)
        return 0;
    int rc = cut(r, text, from, &end, e);
    text->n = rc == 0 ? end : from;
    if (trust)
        trust->n = trust_from + (text->n - from);
    return rc;
}

int chat_render(const struct chat *c, const char *name, struct str request,
                const struct chat_choice *choice, const struct chat_defaults *defaults,
                struct buf *text, struct buf *trust, struct err *e) {
    struct rendering r = {.c = c,
                          .defaults = defaults,
                          .messages = {.kind = V_MISSING},
                          .generation = defaults->generation,
                          .continues = defaults->continue_final,
                          .field = str_of("content")};
    struct json j, variables;
    struct str set = defaults->variables.n ? buf_view(&defaults->variables) : str_of("");
    look(&r, set);
    if (choice)
        take_choice(&r, choice);
    else
        look(&r, request);
    r.t = templates_choose(&c->templates, r.template, r.tools, e);
    free(r.template);
    if (!r.t)
        return -1;
    json_init(&j, name, request.p, request.n, e);
    json_init(&variables, "--set", set.p, set.n, e);
    r.in = jinja_begin(r.t->parsed, &c->limits);
    int rc = render(&r, &j, &variables, text, trust, e);
    jinja_end(r.in);
    json_free(&j);
    json_free(&variables);
    return rc;
}

struct str chat_literals(const struct chat *c) {
    return buf_view(&c->literals);
}

void chat_turn_end(const struct chat *c, struct buf *out) {
    static const char probe[] = "tokpipe-turn";
    static const char request[] = "[{\"role\": \"user\", \"content\": \"a\"}, {\"role\": "
                                  "\"assistant\", \"content\": \"tokpipe-turn\"}, "
                                  "{\"role\": \"user\", \"content\": \"b\"}]";
    struct chat_defaults none = {0};
    struct buf text = {0};
    struct err e = {0};
    if (chat_render(c, "probe", str_of(request), NULL, &none, &text, NULL, &e) == 0) {
        const char *at = strstr(text.p ? text.p : "", probe);
        if (at && !strstr(at + 1, probe))
            buf_str(out, at + sizeof probe - 1);
    }
    buf_free(&text);
}
