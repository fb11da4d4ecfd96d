/* Stop texts: the search against the plain definition, on random texts of few letters, cut into
 * random pieces; and the texts of an attribute.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "../lib/check.h"

#include <stdlib.h>

#include "sample/stop_texts.h"

static uint32_t next_random(uint32_t *state, uint32_t below) {
    *state = *state * 1664525u + 1013904223u;
    return (*state >> 8) % below;
}

/* Where the text is cut, and where the stop text ends: the first end at which one is complete, and
 * the longest of those. False if there is none. */
static bool plain_search(const struct stop_texts *s, const char *text, size_t n, size_t *from,
                         size_t *to) {
    for (size_t end = 1; end <= n; end++) {
        size_t longest = 0;
        for (size_t i = 0; i < s->n; i++)
            if (s->items[i].n <= end &&
                memcmp(text + end - s->items[i].n, s->items[i].text, s->items[i].n) == 0)
                longest = larger(longest, s->items[i].n);
        *from = end - longest;
        *to = end;
        if (longest)
            return true;
    }
    return false;
}

/* The longest end of the text that begins a stop text. */
static size_t plain_held(const struct stop_texts *s, const char *text, size_t n) {
    size_t held = 0;
    for (size_t i = 0; i < s->n; i++)
        for (size_t k = 1; k < s->items[i].n && k <= n; k++)
            if (memcmp(text + n - k, s->items[i].text, k) == 0)
                held = larger(held, k);
    return held;
}

static void fill(char *text, size_t n, uint32_t *random) {
    for (size_t i = 0; i < n; i++)
        text[i] = (char)('a' + next_random(random, 2));
}

/* Gives the text in random pieces. After each, what may be shown is what the definition says. */
static bool check_pieces(const struct stop_texts *s, const char *text, size_t n, uint32_t *random) {
    struct stop_search q = {.texts = s};
    size_t from, to, used, held;
    bool found = plain_search(s, text, n, &from, &to);
    for (size_t at = 0; at < n;) {
        size_t most = n - at, piece = next_random(random, (uint32_t)(most < 7 ? most + 1 : 7));
        bool complete = stop_search_take(&q, text + at, piece, &used, &held);
        CHECK(complete == (found && to <= at + piece));
        if (complete) {
            CHECK_INT(at + used, to);
            CHECK_INT(held, to - from);
            return true;
        }
        at += piece;
        CHECK_INT(used, piece);
        CHECK_INT(held, plain_held(s, text, at));
    }
    return false;
}

static void the_search_is_the_definition(void) {
    uint32_t random = 1;
    size_t n_found = 0;
    for (size_t round = 0; round < 3000; round++) {
        struct stop_texts s = {0};
        struct err e = {0};
        char text[64];
        for (uint32_t i = 0, n = 1 + next_random(&random, 4); i < n; i++) {
            size_t bytes = 1 + next_random(&random, 9);
            fill(text, bytes, &random);
            CHECK_INT(stop_texts_add(&s, (struct str){text, bytes}, &e), 0);
        }
        size_t n = next_random(&random, sizeof text);
        fill(text, n, &random);
        n_found += check_pieces(&s, text, n, &random);
        stop_texts_free(&s);
    }
    CHECK(n_found > 1000 && n_found < 2990);
}

static void a_copy_of_a_search_goes_on_alone(void) {
    struct stop_texts s = {0};
    struct err e = {0};
    size_t used, held;
    CHECK_INT(stop_texts_add(&s, str_of("abc"), &e), 0);
    struct stop_search q = {.texts = &s};
    CHECK(!stop_search_take(&q, "xab", 3, &used, &held) && held == 2);
    struct stop_search copy = q;
    CHECK(stop_search_take(&copy, "c", 1, &used, &held) && held == 3);
    CHECK(!stop_search_take(&q, "b", 1, &used, &held) && held == 0);
    CHECK(!stop_search_take(&q, "", 0, &used, &held) && held == 0);
    stop_texts_free(&s);
}

/* The texts of an attribute's value, written as JSON again; or the message. */
static const char *parsed(const char *value) {
    static struct buf out;
    struct stop_texts s = {0};
    struct err e = {0};
    buf_clear(&out);
    if (stop_texts_parse(&s, str_of(value), &e) == 0)
        stop_texts_write(&s, &out);
    else
        buf_str(&out, e.msg);
    stop_texts_free(&s);
    return out.p;
}

static void values_are_texts_or_json(void) {
    CHECK_STR(parsed("Q:"), "[\"Q:\"]");
    CHECK_STR(parsed("42"), "[\"42\"]");
    CHECK_STR(parsed("null"), "[\"null\"]");
    CHECK_STR(parsed("{}"), "[\"{}\"]");
    CHECK_STR(parsed("[\"a"), "[\"[\\\"a\"]");
    CHECK_STR(parsed("\"a\\n\""), "[\"a\\n\"]");
    CHECK_STR(parsed("[\"a\", \"\\u00e9\\\"\"]"), "[\"a\",\"\xC3\xA9\\\"\"]");
    CHECK_STR(parsed("[]"), "[]");
    CHECK_STR(parsed("[1]"), "stop takes a text or a list of texts");
    CHECK_STR(parsed("[\"a\",[\"b\"]]"), "stop takes a text or a list of texts");
    CHECK_STR(parsed(""), "stop: a text that ends an answer must not be empty");
    CHECK_STR(parsed("[\"\"]"), "stop: a text that ends an answer must not be empty");
    CHECK_STR(parsed("a\xFF"), "stop: a text is not valid UTF-8: byte 1");
}

static void there_are_limits(void) {
    struct stop_texts s = {0};
    struct err e = {0};
    char *text = xcalloc(STOP_TEXT_BYTES + 1, 1);
    memset(text, 'a', STOP_TEXT_BYTES + 1);
    CHECK_INT(stop_texts_add(&s, (struct str){text, STOP_TEXT_BYTES + 1}, &e), -1);
    for (size_t i = 0; i < STOP_TEXTS_MAX; i++)
        CHECK_INT(stop_texts_add(&s, (struct str){text, STOP_TEXT_BYTES}, &e), 0);
    CHECK_INT(stop_texts_add(&s, str_of("b"), &e), -1);
    size_t used, held;
    struct stop_search q = {.texts = &s};
    CHECK(!stop_search_take(&q, text, STOP_TEXT_BYTES - 1, &used, &held));
    CHECK_INT(held, STOP_TEXT_BYTES - 1);
    CHECK(stop_search_take(&q, "a", 1, &used, &held));
    CHECK_INT(held, STOP_TEXT_BYTES);
    stop_texts_free(&s);
    free(text);
}

int main(void) {
    RUN(the_search_is_the_definition);
    RUN(a_copy_of_a_search_goes_on_alone);
    RUN(values_are_texts_or_json);
    RUN(there_are_limits);
    return check_done();
}
