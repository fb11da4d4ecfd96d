/* Texts that end an answer: see stop_texts.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "sample/stop_texts.h"

#include <stdlib.h>

#include "base/json.h"
#include "base/utf8.h"

/* The table of Knuth, Morris and Pratt: "Fast pattern matching in strings", 1977. */
static void fill_back(struct stop_text *t) {
    size_t k = 0;
    for (size_t i = 1; i < t->n; i++) {
        while (k > 0 && t->text[i] != t->text[k])
            k = t->back[k - 1];
        k += t->text[i] == t->text[k];
        t->back[i] = (uint16_t)k;
    }
}

int stop_texts_add(struct stop_texts *s, struct str text, struct err *e) {
    if (text.n == 0)
        return err_set(e, EXIT_USAGE, "stop: a text that ends an answer must not be empty");
    if (text.n > STOP_TEXT_BYTES)
        return err_set(e, EXIT_USAGE, "stop: a text has %zu bytes, more than %d", text.n,
                       STOP_TEXT_BYTES);
    if (utf8_valid(text.p, text.n) != text.n)
        return err_set(e, EXIT_USAGE, "stop: a text is not valid UTF-8: byte %zu",
                       utf8_valid(text.p, text.n));
    if (s->n == STOP_TEXTS_MAX)
        return err_set(e, EXIT_USAGE, "stop: at most %d texts", STOP_TEXTS_MAX);
    struct stop_text *t = &s->items[s->n++];
    *t = (struct stop_text){.text = str_dup(text), .n = text.n};
    t->back = xcalloc(text.n, sizeof *t->back);
    fill_back(t);
    return 0;
}

int stop_texts_parse(struct stop_texts *s, struct str value, struct err *e) {
    struct json j;
    struct err ignored = {0};
    json_init(&j, "stop", value.p, value.n, &ignored);
    enum json_type type = value.n ? json_peek(&j) : JSON_STRING;
    struct str raw = value.n ? json_skip(&j) : value;
    bool is_json = value.n > 0 && !json_failed(&j) && json_end(&j);
    json_free(&j);
    if (!is_json || (type != JSON_ARRAY && type != JSON_STRING))
        return stop_texts_add(s, value, e);
    int rc = 0;
    json_init(&j, "stop", raw.p, raw.n, &ignored);
    if (type == JSON_STRING) {
        rc = stop_texts_add(s, json_str(&j), e);
    } else {
        json_enter_array(&j);
        while (rc == 0 && json_item(&j))
            rc = json_peek(&j) == JSON_STRING
                     ? stop_texts_add(s, json_str(&j), e)
                     : err_set(e, EXIT_USAGE, "stop takes a text or a list of texts");
    }
    json_free(&j);
    return rc;
}

void stop_texts_write(const struct stop_texts *s, struct buf *out) {
    buf_byte(out, '[');
    for (size_t i = 0; i < s->n; i++) {
        buf_str(out, i ? "," : "");
        json_write_str(out, (struct str){s->items[i].text, s->items[i].n});
    }
    buf_byte(out, ']');
}

size_t stop_texts_bytes(const struct stop_texts *s) {
    size_t n = 0;
    for (size_t i = 0; i < s->n; i++)
        n += (s->items[i].n + 1) * (sizeof *s->items[i].text + sizeof *s->items[i].back);
    return n;
}

void stop_texts_free(struct stop_texts *s) {
    for (size_t i = 0; i < s->n; i++) {
        free(s->items[i].text);
        free(s->items[i].back);
    }
    *s = (struct stop_texts){0};
}

bool stop_search_take(struct stop_search *q, const char *p, size_t n, size_t *used, size_t *held) {
    size_t longest = 0;
    for (size_t i = 0; i < q->texts->n; i++)
        longest = larger(longest, q->at[i]);
    *used = n;
    *held = longest;
    for (size_t b = 0; b < n; b++) {
        size_t complete = 0;
        longest = 0;
        for (size_t i = 0; i < q->texts->n; i++) {
            const struct stop_text *t = &q->texts->items[i];
            size_t k = q->at[i];
            while (k > 0 && t->text[k] != p[b])
                k = t->back[k - 1];
            k += t->text[k] == p[b];
            q->at[i] = (uint16_t)k;
            longest = larger(longest, k);
            complete = larger(complete, k == t->n ? k : 0);
        }
        *held = complete ? complete : longest;
        if (!complete)
            continue;
        *used = b + 1;
        return true;
    }
    return false;
}
