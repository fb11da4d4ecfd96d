/* Chat templates of model folders: see chat.h.
 *
 * chat_open reads the template and the special tokens. chat_render parses the request, sets the
 * template's variables and renders it. Messages are prepared as in transformers 5
 * (tokenization_utils_base.py, utils/chat_template_utils.py). Members that are null are dropped. A
 * message's reasoning is passed under each name that templates know.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "chat/chat.h"

#include <stdlib.h>

#include "base/io.h"
#include "base/json.h"
#include "jinja/jinja.h"
#include "jinja/run.h"

enum { MAX_TEMPLATE = 8 << 20, MAX_CONFIG = 64 << 20 }; // bytes

static const char *const token_names[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                          "pad_token", "cls_token", "mask_token"};
enum { N_TOKENS = sizeof token_names / sizeof *token_names };

struct chat {
    struct jinja_template *plain,
        // tool_use: for requests with tools; NULL if `plain` is for them too.
        *tool_use;
    char *tokens[N_TOKENS]; // NULL: the model has no such token
    size_t token_lengths[N_TOKENS];
    struct buf sources; // the texts of the templates, one after another
    // Why tool_use could not be parsed. code 0: it was parsed, or the model has none.
    struct err tool_use_broken;
};

static int add_template(struct chat *c, const char *place, struct str name, struct str source,
                        struct err *e) {
    struct jinja_template **slot = str_eq(name, "default")    ? &c->plain
                                   : str_eq(name, "tool_use") ? &c->tool_use
                                                              : NULL;
    if (!slot || *slot)
        return 0;
    if (source.n > MAX_TEMPLATE)
        return err_set(e, EXIT_DATA, "the chat template has %zu bytes, more than %d: %s", source.n,
                       MAX_TEMPLATE, place);
    *slot = jinja_parse(place, source, e);
    if (*slot)
        buf_add(&c->sources, source.p, source.n);
    if (!*slot && slot == &c->tool_use) { // requests without tools do not need it
        c->tool_use_broken = *e;
        *e = (struct err){0};
        return 0;
    }
    return *slot ? 0 : -1;
}

/* Reads a token's text: a string, or the `content` of an object; null for none. The first file that
 * has the token counts. */
static void read_token(struct chat *c, struct json *j, size_t i) {
    struct str text = {NULL, 0}, key;
    if (json_null(j))
        return;
    if (json_peek(j) == JSON_STRING) {
        text = json_str(j);
    } else {
        json_enter_object(j);
        while (json_key(j, &key))
            if (str_eq(key, "content"))
                text = json_str(j);
            else
                json_skip(j);
    }
    if (json_failed(j) || !text.p || c->tokens[i])
        return;
    c->tokens[i] = str_dup(text);
    c->token_lengths[i] = text.n;
}

/* Reads `chat_template`: null, a text, or a list of {name, template}. */
static void read_templates(struct chat *c, struct json *j, bool wanted, struct err *e) {
    struct str key, name = str_of("default"), source = {NULL, 0};
    if (!wanted || json_peek(j) == JSON_NULL) {
        json_skip(j);
    } else if (json_peek(j) == JSON_STRING) {
        source = json_str(j);
        if (!json_failed(j) && add_template(c, j->name, name, source, e) < 0)
            json_refuse(j, "%s", e->msg);
    } else {
        json_enter_array(j);
        while (json_item(j)) {
            json_enter_object(j);
            while (json_key(j, &key)) {
                if (str_eq(key, "name"))
                    name = json_str(j);
                else if (str_eq(key, "template"))
                    source = json_str(j);
                else
                    json_skip(j);
            }
            struct err inner = {0};
            if (!json_failed(j) && source.p && add_template(c, j->name, name, source, &inner) < 0)
                json_refuse(j, "%s", inner.msg);
        }
    }
}

static int read_config(struct chat *c, const char *path, bool templates, struct err *e) {
    struct buf text = {0};
    struct json j;
    struct str key;
    if (read_file(path, MAX_CONFIG, &text, e) < 0) {
        buf_free(&text);
        return -1;
    }
    json_init(&j, path, text.p, text.n, e);
    json_enter_object(&j);
    while (json_key(&j, &key)) {
        size_t i = 0;
        while (i < N_TOKENS && !str_eq(key, token_names[i]))
            i++;
        if (i < N_TOKENS)
            read_token(c, &j, i);
        else if (str_eq(key, "chat_template"))
            read_templates(c, &j, templates, e);
        else
            json_skip(&j);
    }
    bool good = json_end(&j);
    json_free(&j);
    buf_free(&text);
    return good ? 0 : -1;
}

/* Reads a template file. Returns 0 if there is no such file. */
static int read_template(struct chat *c, const char *dir, const char *file, const char *name,
                         struct err *e) {
    char *path = path_join(dir, file);
    struct buf text = {0};
    int rc = 0;
    if (is_there(path))
        rc = read_file(path, MAX_TEMPLATE, &text, e) < 0
                 ? -1
                 : add_template(c, path, str_of(name), buf_view(&text), e);
    buf_free(&text);
    free(path);
    return rc;
}

static int read_json_file(struct chat *c, const char *dir, const char *file, bool templates,
                          struct err *e) {
    char *path = path_join(dir, file);
    int rc = is_there(path) ? read_config(c, path, templates, e) : 0;
    free(path);
    return rc;
}

struct chat *chat_open(const char *dir, struct err *e) {
    struct chat *c = xcalloc(1, sizeof *c);
    bool good =
        read_template(c, dir, "chat_template.jinja", "default", e) == 0 &&
        read_template(c, dir, "additional_chat_templates/tool_use.jinja", "tool_use", e) == 0;
    bool from_files = c->plain || c->tool_use;
    good = good && read_json_file(c, dir, "tokenizer_config.json", !from_files, e) == 0 &&
           read_json_file(c, dir, "special_tokens_map.json", false, e) == 0;
    if (good && !c->plain) {
        err_set(e, EXIT_NO_INPUT, "the model has no chat template: %s", dir);
        good = false;
    }
    if (good)
        return c;
    chat_free(c);
    return NULL;
}

void chat_free(struct chat *c) {
    if (!c)
        return;
    jinja_template_free(c->plain);
    jinja_template_free(c->tool_use);
    buf_free(&c->sources);
    for (size_t i = 0; i < N_TOKENS; i++)
        free(c->tokens[i]);
    free(c);
}

/* Whether the request has tools, which choose the template. Variables are set in a rendering of one
 * template, so this is known before the request is parsed. Only models with a tool_use template
 * need it. */
static bool has_tools(struct str request) {
    struct json j;
    struct str key;
    struct err ignored = {0};
    bool found = false;
    json_init(&j, "", request.p, request.n, &ignored);
    if (json_peek(&j) == JSON_OBJECT) {
        json_enter_object(&j);
        while (json_key(&j, &key)) {
            if (str_eq(key, "tools"))
                found = json_peek(&j) != JSON_NULL;
            json_skip(&j);
        }
    }
    json_free(&j);
    return found;
}

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

/* Parses the arguments of a call. In OpenAI's form they are a string of JSON, but templates expect
 * the object. A string that is no object stays. */
static void open_arguments(struct jinja *in, struct jvalue function) {
    struct jvalue *v =
        function.kind == V_DICT ? jv_get_str(in, function.d, str_of("arguments")) : NULL;
    if (!v || !jv_is_str(*v))
        return;
    struct str text = jt_view(v->s);
    struct err ignored = {0};
    struct json j;
    json_init(&j, "arguments", text.p, text.n, &ignored);
    if (text.n && json_peek(&j) == JSON_OBJECT) {
        struct jvalue object = jinja_from_json(in, &j);
        if (json_end(&j))
            *v = object;
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

/* Returns a message as templates expect it: without null members, and with its reasoning as
 * `thinking` and as `reasoning_content`. */
static struct jvalue prepare_message(struct jinja *in, struct jvalue message) {
    static const char *const fields[] = {"reasoning_content", "thinking", "reasoning"};
    struct jvalue reasoning = jv_none(), out = jv_dict(in);
    for (size_t i = 0; i < sizeof fields / sizeof *fields && reasoning.kind == V_NONE; i++) {
        struct jvalue *v = jv_get_str(in, message.d, str_of(fields[i]));
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

/* Reads a list of objects. messages, tools and documents must be one. */
static bool list_of_objects(struct jinja *in, struct json *j, const char *what,
                            struct jvalue *out) {
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

static void read_messages(struct jinja *in, struct json *j, bool *seen) {
    struct jvalue list;
    *seen = true;
    if (!list_of_objects(in, j, "messages", &list))
        return;
    if (list.l->n == 0)
        json_refuse(j, "messages is empty");
    for (size_t i = 0; i < list.l->n; i++) {
        open_calls(in, list.l->v[i]);
        list.l->v[i] = prepare_message(in, list.l->v[i]);
    }
    jinja_set(in, "messages", list);
}

static void read_member(struct jinja *in, struct json *j, struct str key, bool *seen) {
    struct jvalue v;
    struct str name;
    if (str_eq(key, "messages")) {
        read_messages(in, j, seen);
    } else if ((str_eq(key, "tools") || str_eq(key, "documents")) && json_peek(j) != JSON_NULL) {
        if (list_of_objects(in, j, str_eq(key, "tools") ? "tools" : "documents", &v))
            jinja_set_str(in, key, v);
    } else if (str_eq(key, "chat_template_kwargs") && json_peek(j) == JSON_OBJECT) {
        json_enter_object(j);
        while (json_key(j, &name))
            jinja_set_str(in, name, jinja_from_json(in, j));
    } else {
        jinja_set_str(in, key, jinja_from_json(in, j));
    }
}

static int read_request(struct jinja *in, struct json *j) {
    bool seen = false;
    struct str key;
    if (json_peek(j) == JSON_ARRAY) {
        read_messages(in, j, &seen);
    } else {
        json_enter_object(j);
        while (json_key(j, &key))
            read_member(in, j, key, &seen);
    }
    if (!json_failed(j) && !seen)
        json_refuse(j, "\"messages\" is missing");
    return json_end(j) ? 0 : -1;
}

int chat_render(const struct chat *c, const char *name, struct str request, bool generation,
                struct buf *text, struct buf *trust, struct err *e) {
    struct json j;
    bool tools = (c->tool_use || c->tool_use_broken.code) && has_tools(request);
    if (tools && !c->tool_use) {
        *e = c->tool_use_broken;
        return -1;
    }
    struct jinja *in = jinja_begin(tools ? c->tool_use : c->plain);
    for (size_t i = 0; i < N_TOKENS; i++)
        if (c->tokens[i])
            jinja_set(
                in, token_names[i],
                jv_text(jt_new(in, (struct str){c->tokens[i], c->token_lengths[i]}, TRUST_ALL)));
    jinja_set(in, "tools", jv_none());
    jinja_set(in, "documents", jv_none());
    jinja_set(in, "add_generation_prompt", jv_bool(generation));
    json_init(&j, name, request.p, request.n, e);
    int rc = read_request(in, &j);
    if (rc == 0)
        rc = jinja_render(in, text, trust, e);
    jinja_end(in);
    json_free(&j);
    return rc;
}

struct str chat_sources(const struct chat *c) {
    return buf_view(&c->sources);
}

void chat_turn_end(const struct chat *c, struct buf *out) {
    static const char probe[] = "tokpipe-turn";
    static const char request[] = "[{\"role\": \"user\", \"content\": \"a\"}, {\"role\": "
                                  "\"assistant\", \"content\": \"tokpipe-turn\"}, "
                                  "{\"role\": \"user\", \"content\": \"b\"}]";
    struct buf text = {0};
    struct err e = {0};
    if (chat_render(c, "probe", str_of(request), false, &text, NULL, &e) == 0) {
        const char *at = strstr(text.p ? text.p : "", probe);
        if (at && !strstr(at + 1, probe))
            buf_str(out, at + sizeof probe - 1);
    }
    buf_free(&text);
}
