/* common/base: numbers, UTF-8, JSON, buffers, hashes.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <pthread.h>
#include <stdlib.h>

#include "../lib/check.h"
#include "base/hash.h"
#include "base/io.h"
#include "base/json.h"
#include "base/num.h"
#include "base/utf8.h"

static void numbers(void) {
    uint64_t u = 7;
    int64_t i = 7;
    double d = 7;
    CHECK(parse_u64(str_of("18446744073709551615"), 0, UINT64_MAX, &u) && u == UINT64_MAX);
    CHECK(!parse_u64(str_of("18446744073709551616"), 0, UINT64_MAX, &u) && u == UINT64_MAX);
    CHECK(!parse_u64(str_of(""), 0, 9, &u) && !parse_u64(str_of(" 1"), 0, 9, &u) &&
          !parse_u64(str_of("1x"), 0, 9, &u));
    CHECK(!parse_u64(str_of("10"), 0, 9, &u) && !parse_u64(str_of("+1"), 0, 9, &u));
    CHECK(parse_i64(str_of("-9223372036854775808"), INT64_MIN, 0, &i) && i == INT64_MIN);
    CHECK(!parse_i64(str_of("-9223372036854775809"), INT64_MIN, 0, &i) &&
          !parse_i64(str_of("-"), -9, 9, &i));
    CHECK(parse_f64(str_of("-1.5e-3"), -1, 1, &d) && d == -1.5e-3);
    CHECK(!parse_f64(str_of("nan"), -1, 1, &d) && !parse_f64(str_of("inf"), -1, 1, &d) &&
          !parse_f64(str_of("0x1"), 0, 9, &d));
    CHECK(!parse_f64(str_of("1e999"), 0, 9, &d) && !parse_f64(str_of("1e"), 0, 9, &d) &&
          !parse_f64(str_of(" 1"), 0, 9, &d));
}

static void utf8_forms(void) {
    static const char *const bad[] = {
        "\x80",         "\xC0\x80",         "\xC1\xBF",         "\xE0\x80\x80",
        "\xED\xA0\x80", "\xF0\x80\x80\x80", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80",
        "\xFF",         "\xE2\x82",         "\xF0\x9F\x92"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_INT(utf8_valid(bad[i], strlen(bad[i])), 0);
    for (uint32_t cp = 1; cp <= 0x10FFFF; cp += cp < 0x3000 ? 1 : 97) {
        char text[4];
        uint32_t back = 0;
        if (cp >= 0xD800 && cp <= 0xDFFF)
            continue;
        size_t n = utf8_encode(cp, text);
        if (utf8_decode(text, n, &back) != n || back != cp)
            CHECK_MSG(0, "U+%04X", cp);
    }
}

/* The counts of U+FFFD that Unicode's "maximal subpart" practice gives (also Python's
 * errors="replace"). */
static void utf8_repairs(void) {
    static const struct {
        const char *in, *out;
    } cases[] = {{"a\xF1\x80\x80\xE1\x80\xC2"
                  "b\x80"
                  "c",
                  "a\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"
                  "b\xEF\xBF\xBD"
                  "c"},
                 {"\xED\xA0\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"},
                 {"\xF0\x9F\x92", "\xEF\xBF\xBD"},
                 {"h\xC3\xA9", "h\xC3\xA9"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf b = {0};
        utf8_repair(&b, cases[i].in, strlen(cases[i].in));
        CHECK_STR(b.p, cases[i].out);
        buf_free(&b);
    }
}

static void json_walk(void) {
    static const char text[] = " {\"a\": [1, -2.5e1, \"x\\n\\u00e9\\ud83d\\ude00\", true, null, "
                               "{}], \"b\":{\"c\":[[],[1]]}, \"d\":18446744073709551615} ";
    struct err e = {0};
    struct json j;
    struct str key;
    int keys = 0;
    json_init(&j, "t", text, sizeof text - 1, &e);
    json_enter_object(&j);
    while (json_key(&j, &key)) {
        keys++;
        if (str_eq(key, "a")) {
            json_enter_array(&j);
            CHECK(json_item(&j) && json_i64(&j) == 1);
            CHECK(json_item(&j) && json_f64(&j) == -25.0);
            CHECK(json_item(&j) && str_eq(json_str(&j), "x\n\xC3\xA9\xF0\x9F\x98\x80"));
            CHECK(json_item(&j) && json_bool(&j));
            CHECK(json_item(&j) && json_null(&j));
            CHECK(json_item(&j));
            json_skip(&j);
            CHECK(!json_item(&j));
        } else if (str_eq(key, "d")) {
            CHECK(json_u64(&j) == UINT64_MAX);
        } else {
            CHECK(str_eq(json_skip(&j), "{\"c\":[[],[1]]}"));
        }
    }
    CHECK(json_end(&j) && keys == 3);
    json_free(&j);
}

static int refused(const char *text, size_t n) {
    struct err e = {0};
    struct json j;
    char *copy = malloc(n ? n : 1); // exact size, so that a sanitizer sees any read past the end
    memcpy(copy, text, n);
    json_init(&j, "t", copy, n, &e);
    json_skip(&j);
    int bad = !json_end(&j);
    if (bad)
        CHECK(e.code == EXIT_DATA && strstr(e.msg, "line "));
    json_free(&j);
    free(copy);
    return bad;
}

/* Numbers at the limits of the fast path. */
static void json_whole_numbers(void) {
    static const char text[] = "[0,7,9999999999999999999,18446744073709551615,12 ,34]";
    static const uint64_t values[] = {0, 7, 9999999999999999999u, UINT64_MAX, 12, 34};
    static const char *const bad[] = {"[01]", "[1.0]", "[18446744073709551616]",
                                      "[-1]", "[1e2]", "[12"};
    struct json j;
    struct err e = {0};
    json_init(&j, "numbers", text, strlen(text), &e);
    json_enter_array(&j);
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        CHECK(json_item(&j) && json_u64(&j) == values[i]);
    CHECK(!json_item(&j) && json_end(&j));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        json_init(&j, "numbers", bad[i], strlen(bad[i]), &e);
        json_enter_array(&j);
        json_item(&j);
        json_u64(&j);
        CHECK(json_item(&j) ? false : json_failed(&j));
    }
}

static void json_refusals(void) {
    static const char *const bad[] = {
        "",          "{",         "[",           "[1",          "[1,",
        "[1,]",      "{\"a\"",    "{\"a\":",     "{\"a\":1,}",  "{a:1}",
        "01",        "-",         "1.",          "1e",          ".5",
        "+1",        "tru",       "nul",         "\"",          "\"\\",
        "\"\\x\"",   "\"\\u12\"", "\"\\ud800\"", "\"\\udc00\"", "\"\\ud800\\u0041\"",
        "\"\n\"",    "\"\xff\"",  "\"\xc3\"",    "1 2",         "[1}",
        "{\"a\":1]", "]",         "NaN",         "Infinity",    "'a'"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_MSG(refused(bad[i], strlen(bad[i])), "accepted: %s", bad[i]);
    static const char *const good[] = {"0",  "-0",    "1e5",    "\"\"",        "[]",
                                       "{}", " [ ] ", "[[[]]]", "\"\\u0000\"", "1.5E+3"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        CHECK_MSG(!refused(good[i], strlen(good[i])), "refused: %s", good[i]);
}

static void json_depth(void) {
    char deep[2 * (JSON_MAX_DEPTH + 1)];
    for (int extra = 0; extra < 2; extra++) {
        size_t n = JSON_MAX_DEPTH + (size_t)extra;
        memset(deep, '[', n);
        memset(deep + n, ']', n);
        CHECK_INT(refused(deep, 2 * n), extra);
    }
}

/* Every truncation of a valid document is refused, and none is read past its end. */
static void json_cuts(void) {
    static const char text[] = "{\"k\\u00e9\":[1.5e3,\"\xC3\xA9\\n\",{\"x\":null}],\"t\":true}";
    for (size_t n = 0; n < sizeof text - 1; n++)
        CHECK(refused(text, n));
    CHECK(!refused(text, sizeof text - 1));
}

static void json_strings_out(void) {
    struct buf b = {0};
    json_write_str(&b, (struct str){"a\"\\\n\t\r\0\x1f\x7f\xC3\xA9", 11});
    CHECK_STR(b.p, "\"a\\\"\\\\\\n\\t\\r\\u0000\\u001f\\u007f\xC3\xA9\"");
    struct err e = {0};
    struct json j;
    json_init(&j, "t", b.p, b.n, &e);
    CHECK_INT(json_str(&j).n, 11);
    json_free(&j);
    buf_free(&b);
}

static void hashes(void) {
    struct hash h;
    char hex[HASH_HEX];
    hash_bytes(&h, "abc", 3); // b2sum -l 256
    hash_hex(&h, hex);
    CHECK_STR(hex, "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319");
    struct hash_state *s = hash_new();
    hash_update(s, "a", 1);
    hash_update(s, "bc", 2);
    struct hash again;
    hash_final(s, &again);
    CHECK(memcmp(&h, &again, sizeof h) == 0);
    CHECK(hash_fingerprint("abc", 3) == 0xbddd813c63423972u);
}

static void outfile_is_whole_or_absent(void) {
    char dir[] = "/tmp/tokpipe-test-XXXXXX";
    CHECK(mkdtemp(dir) != NULL);
    char *path = path_join(dir, "f");
    struct outfile o;
    struct err e = {0};
    CHECK(outfile_open(&o, path, &e) == 0 && outfile_write(&o, "xy", 2, &e) == 0 && !is_file(path));
    CHECK(outfile_commit(&o, &e) == 0 && is_file(path));
    struct buf b = {0};
    CHECK(read_file(path, 2, &b, &e) == 0 && b.n == 2);
    CHECK(read_file(path, 1, &b, &e) == -1 && e.code == EXIT_DATA);
    CHECK(outfile_open(&o, path, &e) == 0 && outfile_write(&o, "z", 1, &e) == 0);
    outfile_abort(&o);
    b.n = 0;
    CHECK(read_file(path, 2, &b, &e) == 0 && b.n == 2);
    buf_free(&b);
    CHECK(remove(path) == 0 && remove(dir) == 0); // the folder is empty: no temporary is left
    free(path);
}

enum { WRITERS = 8, FILES = 40 };

/* Writes files, of which every other one is given up. */
static void *write_files(void *folder) {
    for (int i = 0; i < FILES; i++) {
        struct outfile o;
        struct err e = {0};
        char *path = xasprintf("%s/%p-%d", (char *)folder, (void *)&o, i);
        if (outfile_open(&o, path, &e) != 0)
            return "cannot open";
        if (i % 2 == 0)
            outfile_abort(&o);
        else if (outfile_write(&o, "x", 1, &e) != 0 || outfile_commit(&o, &e) != 0 ||
                 remove(path) != 0)
            return "cannot write";
        free(path);
    }
    return NULL;
}

/* The list of what must not be left is one for all threads. */
static void outfiles_of_several_threads(void) {
    char dir[] = "/tmp/tokpipe-base-XXXXXX";
    pthread_t threads[WRITERS];
    void *problem;
    CHECK(mkdtemp(dir) != NULL);
    for (int i = 0; i < WRITERS; i++)
        CHECK(pthread_create(&threads[i], NULL, write_files, dir) == 0);
    for (int i = 0; i < WRITERS; i++)
        CHECK(pthread_join(threads[i], &problem) == 0 && problem == NULL);
    CHECK(remove(dir) == 0);
}

int main(void) {
    RUN(numbers);
    RUN(utf8_forms);
    RUN(utf8_repairs);
    RUN(json_walk);
    RUN(json_whole_numbers);
    RUN(json_refusals);
    RUN(json_depth);
    RUN(json_cuts);
    RUN(json_strings_out);
    RUN(hashes);
    RUN(outfile_is_whole_or_absent);
    RUN(outfiles_of_several_threads);
    return check_done();
}
