/* A tokenizer's description: see tokenizer_info.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "serve/tokenizer_info.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/io.h"
#include "base/json.h"
#include "base/utf8.h"

enum { MAX_FILE = 16 << 20 };

static const char *const names[] = {"tokenizer_class", "bos_token", "eos_token",
                                    "unk_token",       "pad_token", "chat_template"};
enum { N_NAMES = sizeof names / sizeof *names, TEMPLATE = N_NAMES - 1 };

/* A text, the "content" of a token that is an object, or the template called "default" of a list.
 * p is NULL where there is none of these. */
static struct str read_value(struct json *j) {
    struct str key, text = {0}, name = {0}, found = {0};
    if (json_peek(j) == JSON_STRING)
        return json_str(j);
    if (json_peek(j) == JSON_OBJECT) {
        json_enter_object(j);
        while (json_key(j, &key))
            if (str_eq(key, "content") && json_peek(j) == JSON_STRING)
                found = json_str(j);
            else
                json_skip(j);
        return found;
    }
    if (json_peek(j) != JSON_ARRAY) {
        json_skip(j);
        return found;
    }
    json_enter_array(j);
    while (json_item(j)) {
        if (json_peek(j) != JSON_OBJECT) {
            json_skip(j);
            continue;
        }
        name = text = (struct str){0};
        json_enter_object(j);
        while (json_key(j, &key))
            if (str_eq(key, "name") && json_peek(j) == JSON_STRING)
                name = json_str(j);
            else if (str_eq(key, "template") && json_peek(j) == JSON_STRING)
                text = json_str(j);
            else
                json_skip(j);
        if (str_eq(name, "default"))
            found = text;
    }
    return found;
}

static int read_config(struct json *j, struct str values[N_NAMES]) {
    struct str key;
    json_enter_object(j);
    while (json_key(j, &key)) {
        size_t i = 0;
        while (i < N_NAMES && !str_eq(key, names[i]))
            i++;
        if (i < N_NAMES)
            values[i] = read_value(j);
        else
            json_skip(j);
    }
    return json_end(j) ? 0 : -1;
}

/* Appends a file of the folder, if it is there. */
static int read_optional(const char *dir, const char *name, struct buf *out, struct err *e) {
    char *path = path_join(dir, name);
    int rc = is_there(path) ? read_file(path, MAX_FILE, out, e) : 0;
    free(path);
    return rc;
}

int tokenizer_info_write(const struct tokenizer *t, const char *dir, struct buf *out,
                         struct err *e) {
    struct buf config = {0}, template = {0};
    struct str values[N_NAMES] = {{0}};
    struct json j = {0};
    int rc = read_optional(dir, "tokenizer_config.json", &config, e);
    if (rc == 0)
        rc = read_optional(dir, "chat_template.jinja", &template, e);
    if (rc == 0 && config.n) {
        json_init(&j, "tokenizer_config.json", config.p, config.n, e);
        rc = read_config(&j, values);
    }
    if (template.n)
        values[TEMPLATE] = buf_view(&template);
    buf_fmt(out, "{\"vocab_size\": %" PRIu32 ", \"fingerprint\": \"%016" PRIx64 "\"",
            tokenizer_vocab(t), tokenizer_fingerprint(t));
    for (size_t i = 0; i < N_NAMES; i++) {
        buf_fmt(out, ", \"%s\": ", names[i]);
        if (values[i].p && utf8_valid(values[i].p, values[i].n) == values[i].n)
            json_write_str(out, values[i]);
        else
            buf_str(out, "null");
    }
    buf_byte(out, '}');
    json_free(&j);
    buf_free(&config);
    buf_free(&template);
    return rc;
}
