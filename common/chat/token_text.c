/* Texts of special tokens: see token_text.h. A token is a string, or an object with `content`. A
 * file that cannot be read or parsed gives no token: who reads it for other values reports that.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "chat/token_text.h"

#include <stdlib.h>

#include "base/io.h"
#include "base/json.h"

enum { MAX_CONFIG = 64 << 20 }; // bytes

/* Reads the text of a token; p is NULL if the value gives none. */
static struct str read_text(struct json *j) {
    struct str text = {NULL, 0}, key;
    if (json_peek(j) == JSON_STRING) {
        text = json_str(j);
    } else if (json_peek(j) == JSON_OBJECT) {
        json_enter_object(j);
        while (json_key(j, &key))
            if (str_eq(key, "content") && json_peek(j) == JSON_STRING)
                text = json_str(j);
            else
                json_skip(j);
    } else {
        json_skip(j);
    }
    return text;
}

static bool find_in(const char *dir, const char *file, const char *name, struct buf *out) {
    char *path = path_join(dir, file);
    struct buf bytes = {0};
    struct err ignored = {0};
    struct str key, text = {NULL, 0};
    struct json j;
    if (is_file(path) && read_file(path, MAX_CONFIG, &bytes, &ignored) == 0) {
        json_init(&j, path, bytes.p, bytes.n, &ignored);
        json_enter_object(&j);
        while (json_key(&j, &key))
            if (str_eq(key, name))
                text = read_text(&j);
            else
                json_skip(&j);
        if (text.p && !json_failed(&j)) {
            buf_clear(out);
            buf_add(out, text.p, text.n);
        }
        json_free(&j);
    }
    buf_free(&bytes);
    free(path);
    return text.p && !ignored.code;
}

bool chat_token_text(const char *dir, const char *name, struct buf *out) {
    return find_in(dir, "tokenizer_config.json", name, out) ||
           find_in(dir, "special_tokens_map.json", name, out);
}
