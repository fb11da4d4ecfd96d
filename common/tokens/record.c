/* JSON records: see record.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "tokens/record.h"

#include "base/utf8.h"
#include "wire/tokens.h"

/* Whether s, as it stands, is one JSON value. */
static bool is_json(struct str s) {
    struct err e = {0};
    struct json j;
    json_init(&j, "", s.p, s.n, &e);
    json_skip(&j);
    bool good = !json_failed(&j) && json_end(&j);
    json_free(&j);
    return good;
}

void record_attr(struct json *j, struct str key, struct buf *attrs) {
    bool good = key.n > 0;
    for (size_t i = 0; i < key.n; i++)
        good &= (unsigned char)key.p[i] > ' ' && key.p[i] != '=' && key.p[i] != 0x7f;
    if (!good) {
        json_refuse(j, "the key \"%.*s\" cannot be an attribute's", (int)key.n, key.p);
        return;
    }
    struct buf name = {0}, quoted = {0};
    struct str value;
    buf_add(&name, key.p, key.n);
    if (json_peek(j) == JSON_STRING) {
        value = json_str(j);
        if (is_json(value)) {
            json_write_str(&quoted, value);
            value = buf_view(&quoted);
        }
    } else {
        value = json_skip(j);
    }
    if (!json_failed(j))
        attrs_set(attrs, name.p, value);
    buf_free(&name);
    buf_free(&quoted);
}

void record_write_attrs(struct buf *out, struct str attrs) {
    struct buf key = {0}, value = {0}, text = {0};
    for (size_t i = 0; i < attrs.n;) {
        size_t end = i, equals;
        while (end < attrs.n && attrs.p[end] != ' ')
            end++;
        for (equals = i; equals < end && attrs.p[equals] != '='; equals++)
            ;
        buf_clear(&key);
        buf_add(&key, attrs.p + i, equals - i);
        struct str word = {attrs.p + i, end - i};
        if (equals > i && equals < end && attrs_get(word, key.p, &value)) {
            buf_str(out, ", ");
            buf_clear(&text);
            utf8_repair(&text, key.p, key.n);
            json_write_str(out, buf_view(&text));
            buf_str(out, ": ");
            buf_clear(&text);
            utf8_repair(&text, value.p ? value.p : "", value.n);
            if (is_json(buf_view(&text)))
                buf_add(out, text.p, text.n);
            else
                json_write_str(out, buf_view(&text));
        }
        i = end + 1;
    }
    buf_free(&key);
    buf_free(&value);
    buf_free(&text);
}
