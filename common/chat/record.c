/* Keys of JSON records: see record.h.
 *
 * record_member reads one member into attributes. record_write_attrs and record_write_result write
 * attributes as members again.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "chat/record.h"

#include <math.h>
#include <stdlib.h>

#include "base/attrs.h"
#include "base/num.h"
#include "base/utf8.h"

/* The names of sampling parameters in OpenAI's API, and in tokens(5). */
static const struct {
    const char *name, *ours;
} openai_params[] = {
    {"temperature", "temp"},
    {"top_p", "top_p"},
    {"max_tokens", "max"},
    {"max_completion_tokens", "max"},
    {"seed", "seed"},
    {"logit_bias", "logit_bias"},
    {"presence_penalty", "presence_penalty"},
    {"frequency_penalty", "frequency_penalty"},
};

#define DATA(name)                                                                                 \
    {                                                                                              \
        name, "the key \"" name                                                                    \
              "\" of a record is data and has no effect: put sampling parameters in \"params\""    \
    }
#define IGNORED(name)                                                                              \
    { name, "\"" name "\" of a record has no effect" }

/* Keys that are passed on as data, although the user may have expected an effect. */
static const struct {
    const char *name, *text;
} notes_table[] = {
    DATA("temp"),
    DATA("top_k"),
    DATA("min_p"),
    DATA("max"),
    DATA("repetition_penalty"),
    DATA("ignore_eos"),
    DATA("stop_id"),
    IGNORED("response_format"),
    IGNORED("tool_choice"),
    IGNORED("logprobs"),
    IGNORED("top_logprobs"),
    IGNORED("best_of"),
    IGNORED("suffix"),
    IGNORED("echo"),
    IGNORED("functions"),
    IGNORED("function_call"),
    IGNORED("reasoning_effort"),
    IGNORED("prediction"),
    IGNORED("modalities"),
    IGNORED("stream"),
    IGNORED("verbosity"),
    // Names of other programs.
    IGNORED("max_new_tokens"),
    IGNORED("min_tokens"),
    IGNORED("stop_token_ids"),
    IGNORED("do_sample"),
    IGNORED("num_beams"),
};

enum { N_NOTES = sizeof notes_table / sizeof *notes_table };
_Static_assert(N_NOTES <= 30, "a note is a bit, and the caller's bits are 30 and 31");

const char *record_note(unsigned i) {
    return i < N_NOTES ? notes_table[i].text : NULL;
}

/* Whether s is one JSON value. */
static bool is_json(struct str s) {
    struct err e = {0};
    struct json j;
    json_init(&j, "", s.p, s.n, &e);
    json_skip(&j);
    bool good = !json_failed(&j) && json_end(&j);
    json_free(&j);
    return good;
}

static void set_attr(struct buf *attrs, const char *prefix, struct str key, struct str value) {
    struct buf name = {0};
    buf_str(&name, prefix);
    buf_add(&name, key.p, key.n);
    attrs_set(attrs, name.p, value);
    buf_free(&name);
}

/* ---- Parameters ---- */

/* Writes a number of JSON as parameters are written: 2.0 and 2e0 become 2. */
static void write_number(struct json *j, struct buf *out) {
    struct json before = *j;
    struct str raw = json_skip(j);
    bool plain = true;
    for (size_t i = 0; i < raw.n; i++)
        plain &= (raw.p[i] >= '0' && raw.p[i] <= '9') || raw.p[i] == '-';
    if (plain || json_failed(j)) {
        buf_add(out, raw.p, raw.n);
        return;
    }
    double v = json_f64(&before);
    if (fabs(v) < 1e15 && v >= floor(v) && v <= floor(v))
        buf_fmt(out, "%.0f", v + 0.0); // no -0
    else
        buf_add(out, raw.p, raw.n);
}

/* Whether a parameter takes values of this type. Each takes null, which sets nothing, and a string
 * with the value as tokens(5) writes it. */
static bool takes(struct str ours, enum json_type type) {
    switch (type) {
    case JSON_BOOL:
        return str_eq(ours, "ignore_eos");
    case JSON_ARRAY:
        return str_eq(ours, "stop_id");
    case JSON_OBJECT:
        return str_eq(ours, "logit_bias");
    case JSON_NUMBER:
        return !str_eq(ours, "logit_bias");
    default:
        return true;
    }
}

/* Writes a value as an attribute: true becomes 1, [28, 30] becomes 28,30 and {"7": -1} becomes
 * 7=-1. False if the value sets nothing. */
static bool write_param(struct json *j, struct str key, struct buf *out) {
    struct str item;
    bool first = true;
    buf_clear(out);
    switch (json_peek(j)) {
    case JSON_NULL:
        json_null(j);
        return false;
    case JSON_BOOL:
        buf_str(out, json_bool(j) ? "1" : "0");
        return true;
    case JSON_NUMBER:
        write_number(j, out);
        return true;
    case JSON_STRING:
        item = json_str(j);
        buf_add(out, item.p, item.n);
        return true;
    case JSON_ARRAY:
        json_enter_array(j);
        while (json_item(j)) {
            if (!first)
                buf_byte(out, ',');
            first = false;
            if (json_peek(j) != JSON_NUMBER)
                json_refuse(j, "\"%.*s\" must be a list of numbers", (int)key.n, key.p);
            else
                write_number(j, out);
        }
        return !first;
    case JSON_OBJECT:
        json_enter_object(j);
        while (json_key(j, &item)) {
            if (!first)
                buf_byte(out, ',');
            first = false;
            buf_add(out, item.p, item.n);
            buf_byte(out, '=');
            if (json_peek(j) != JSON_NUMBER)
                json_refuse(j, "\"%.*s\" must be an object of numbers", (int)key.n, key.p);
            else
                write_number(j, out);
        }
        return !first;
    case JSON_ERROR:
        break;
    }
    return false;
}

static void read_param(struct json *j, struct str key, struct str ours, struct buf *attrs) {
    struct buf value = {0};
    if (!takes(ours, json_peek(j)))
        json_refuse(j, "\"%.*s\" has a value of another type", (int)key.n, key.p);
    else if (write_param(j, key, &value) && !json_failed(j))
        set_attr(attrs, "", ours, buf_view(&value));
    buf_free(&value);
}

/* Adds a text of "stop" to a JSON array. */
static void add_stop(struct json *j, struct buf *list) {
    if (json_peek(j) != JSON_STRING) {
        json_refuse(j, "\"stop\" must be a text or a list of texts");
        return;
    }
    struct str text = json_str(j);
    if (!json_failed(j) && text.n == 0)
        json_refuse(j, "\"stop\" has an empty text");
    buf_str(list, list->n ? "," : "[");
    json_write_str(list, text.n ? text : str_of(""));
}

/* Reads "stop": a text or a list of texts, as an attribute that is a JSON array. null and an empty
 * list set nothing. */
static void read_stop(struct json *j, struct buf *attrs) {
    struct buf list = {0};
    if (json_peek(j) == JSON_NULL) {
        json_null(j);
    } else if (json_peek(j) == JSON_ARRAY) {
        json_enter_array(j);
        while (json_item(j))
            add_stop(j, &list);
    } else {
        add_stop(j, &list);
    }
    if (list.n && !json_failed(j)) {
        buf_byte(&list, ']');
        attrs_set(attrs, "stop", buf_view(&list));
    }
    buf_free(&list);
}

/* Reads a sampling parameter by OpenAI's name, or refuses a feature that is not supported. False if
 * the key is another one. */
static bool read_openai(struct json *j, struct str key, struct buf *attrs) {
    for (size_t i = 0; i < sizeof openai_params / sizeof *openai_params; i++)
        if (str_eq(key, openai_params[i].name)) {
            read_param(j, key, str_of(openai_params[i].ours), attrs);
            return true;
        }
    if (str_eq(key, "stop")) {
        read_stop(j, attrs);
        return true;
    }
    if (!str_eq(key, "n"))
        return false;
    struct str raw = json_skip(j);
    bool said = !json_failed(j) && !str_eq(raw, "null") && !str_eq(raw, "1");
    if (said &&
        json_peek(&(struct json){.p = raw.p, .end = raw.p + raw.n, .e = j->e}) != JSON_NUMBER)
        // A data column of that name: here n is not a number of answers.
        set_attr(attrs, "", key, raw);
    else if (said)
        json_refuse(j, "\"n\" is %.*s, but a record has one answer", (int)(raw.n < 80 ? raw.n : 80),
                    raw.p);
    return true;
}

/* Reads "params": an object of parameters by our names or OpenAI's. */
static void read_params(struct json *j, struct buf *attrs) {
    struct str key;
    if (!json_enter_object_or_null(j))
        return;
    while (json_key(j, &key))
        if (attrs_is_param(key) && !str_eq(key, "stop"))
            read_param(j, key, key, attrs);
        else if (!read_openai(j, key, attrs))
            json_refuse(j, "\"params\" has no \"%.*s\"", (int)key.n, key.p);
}

/* ---- Data ---- */

/* Whether a value asks for something. false, null, 0, "", "auto", "none" and the like do not. */
static bool asks(struct str raw) {
    static const char *const nothing[] = {"null", "false", "0",        "1",        "\"\"",
                                          "[]",   "{}",    "\"auto\"", "\"none\"", "[\"text\"]"};
    for (size_t i = 0; i < sizeof nothing / sizeof *nothing; i++)
        if (str_eq(raw, nothing[i]))
            return false;
    return true;
}

static void read_data(struct json *j, struct str key, struct buf *attrs, uint32_t *notes) {
    bool good = key.n > 0, ours = attrs_is_param(key);
    for (size_t i = 0; i < key.n; i++)
        good &= (unsigned char)key.p[i] > ' ' && key.p[i] != '=' && key.p[i] != 0x7f;
    if (!good) {
        json_refuse(j, "the key \"%.*s\" cannot name an attribute", (int)key.n, key.p);
        return;
    }
    bool string = json_peek(j) == JSON_STRING;
    struct buf quoted = {0};
    struct json before = *j;
    struct str raw = json_skip(j), value = raw;
    if (string) {
        before.strings = j->strings;
        *j = before;
        value = json_str(j);
        if (is_json(value)) {
            json_write_str(&quoted, value);
            value = buf_view(&quoted);
        }
    }
    for (unsigned i = 0; i < N_NOTES && !json_failed(j); i++)
        if (str_eq(key, notes_table[i].name) && (ours ? !str_eq(raw, "null") : asks(raw)))
            *notes |= UINT32_C(1) << i;
    if (!json_failed(j))
        set_attr(attrs, ours || attrs_is_private(key) || key.p[0] == '.' ? "." : "", key, value);
    buf_free(&quoted);
}

void record_member(struct json *j, struct str key, struct buf *attrs, uint32_t *notes) {
    if (str_eq(key, "params"))
        read_params(j, attrs);
    else if (!read_openai(j, key, attrs))
        read_data(j, key, attrs, notes);
}

/* ---- Writing ---- */

/* A part of "key=value key=value". Of equal keys the last counts. */
struct attr {
    struct str key, word;
    bool gone; // a later one has the same key
};

struct attr_list {
    struct attr *items; // [n]
    size_t n;
};

static int by_key(const void *a, const void *b) {
    const struct attr *x = *(struct attr *const *)a, *y = *(struct attr *const *)b;
    size_t n = x->key.n < y->key.n ? x->key.n : y->key.n;
    int c = memcmp(x->key.p, y->key.p, n);
    if (c == 0 && x->key.n == y->key.n)
        return x < y ? -1 : x > y;
    return c ? c : x->key.n < y->key.n ? -1 : 1;
}

static void drop_equal(struct attr_list *l) {
    struct attr **sorted = xcalloc(l->n, sizeof *sorted);
    for (size_t i = 0; i < l->n; i++)
        sorted[i] = &l->items[i];
    if (l->n > 1)
        qsort(sorted, l->n, sizeof *sorted, by_key);
    for (size_t i = 0; i + 1 < l->n; i++)
        sorted[i]->gone = str_same(sorted[i]->key, sorted[i + 1]->key);
    free(sorted);
}

static struct attr_list list_attrs(struct str attrs) {
    struct attr_list l = {0};
    size_t cap = 0;
    for (size_t from = 0, end; from < attrs.n; from = end + 1) {
        size_t equals;
        for (end = from; end < attrs.n && attrs.p[end] != ' '; end++)
            ;
        for (equals = from; equals < end && attrs.p[equals] != '='; equals++)
            ;
        if (equals == from || equals == end)
            continue;
        if (l.n == cap) {
            cap = cap ? cap * 2 : 16;
            l.items = xreallocarray(l.items, cap, sizeof *l.items);
        }
        l.items[l.n++] =
            (struct attr){{attrs.p + from, equals - from}, {attrs.p + from, end - from}, false};
    }
    drop_equal(&l);
    return l;
}

/* Returns the key as users see it: a data key without its period. */
static struct str shown(struct str key) {
    return key.p[0] == '.' && key.n > 1 ? (struct str){key.p + 1, key.n - 1} : key;
}

/* Writes the value of "key=value" as JSON. */
static void write_value(struct buf *out, struct str word) {
    struct buf name = {0}, value = {0}, text = {0};
    buf_add(&name, word.p, (size_t)((const char *)memchr(word.p, '=', word.n) - word.p));
    attrs_get(word, name.p, &value);
    utf8_repair(&text, value.p ? value.p : "", value.n);
    if (is_json(buf_view(&text)))
        buf_add(out, text.p, text.n);
    else
        json_write_str(out, text.p ? buf_view(&text) : str_of(""));
    buf_free(&name);
    buf_free(&value);
    buf_free(&text);
}

static void write_member(struct buf *out, const char *comma, struct str key, struct str word) {
    struct buf text = {0};
    buf_str(out, comma);
    utf8_repair(&text, key.p, key.n);
    json_write_str(out, buf_view(&text));
    buf_str(out, ": ");
    write_value(out, word);
    buf_free(&text);
}

/* Whether the record has this key as data. */
static bool has_data(const struct attr_list *l, const char *name) {
    for (size_t i = 0; i < l->n; i++)
        if (!attrs_is_param(l->items[i].key) && !attrs_is_private(l->items[i].key) &&
            str_eq(shown(l->items[i].key), name))
            return true;
    return false;
}

/* Writes one of our own names, with underscores after it until the record has no such key. */
static void write_own(struct buf *out, const struct attr_list *l, const char *name) {
    struct buf own = {0};
    utf8_repair(&own, name, strlen(name));
    while (has_data(l, own.p))
        buf_byte(&own, '_');
    buf_str(out, ", ");
    json_write_str(out, buf_view(&own));
    buf_str(out, ": ");
    buf_free(&own);
}

void record_write_own(struct buf *out, struct str attrs, const char *name) {
    struct attr_list l = list_attrs(attrs);
    write_own(out, &l, name);
    free(l.items);
}

void record_write_attrs(struct buf *out, struct str attrs) {
    struct attr_list l = list_attrs(attrs);
    bool params = false;
    for (size_t i = 0; i < l.n; i++) {
        struct attr *a = &l.items[i];
        if (attrs_is_param(a->key))
            params |= !a->gone;
        else if (!a->gone && !attrs_is_private(a->key))
            write_member(out, ", ", shown(a->key), a->word);
    }
    if (params) {
        write_own(out, &l, "params");
        const char *comma = "{";
        for (size_t i = 0; i < l.n; i++)
            if (!l.items[i].gone && attrs_is_param(l.items[i].key)) {
                write_member(out, comma, l.items[i].key, l.items[i].word);
                comma = ", ";
            }
        buf_byte(out, '}');
    }
    free(l.items);
}

void record_write_result(struct buf *out, struct str attrs, struct str result, struct str error) {
    static const char *const counts[][2] = {{"prompt", "prompt_tokens"},
                                            {"completion", "completion_tokens"}};
    struct attr_list l = list_attrs(attrs);
    struct buf value = {0}, usage = {0}, text = {0};
    if (attrs_get(result, "finish", &value)) {
        utf8_repair(&text, value.p ? value.p : "", value.n); // %ff may be in it
        write_own(out, &l, "finish");
        json_write_str(out, text.p ? buf_view(&text) : str_of(""));
    }
    for (size_t i = 0; i < 2; i++) {
        uint64_t n;
        buf_clear(&value);
        if (attrs_get(result, counts[i][0], &value) &&
            parse_u64(buf_view(&value), 0, UINT64_MAX, &n))
            buf_fmt(&usage, "%s\"%s\": %llu", usage.n ? ", " : "{", counts[i][1],
                    (unsigned long long)n);
    }
    if (usage.n) {
        write_own(out, &l, "usage");
        buf_add(out, usage.p, usage.n);
        buf_byte(out, '}');
    }
    struct attr_list results = list_attrs(result);
    for (size_t i = 0; i < results.n; i++) { // other results, from a later llm-sample
        struct str key = results.items[i].key;
        if (results.items[i].gone || str_eq(key, "finish") || str_eq(key, "prompt") ||
            str_eq(key, "completion"))
            continue;
        char *name = str_dup(key);
        write_own(out, &l, name);
        write_value(out, results.items[i].word);
        free(name);
    }
    free(results.items);
    if (error.p) {
        write_own(out, &l, "error");
        json_write_str(out, error);
    }
    buf_free(&value);
    buf_free(&usage);
    buf_free(&text);
    free(l.items);
}
