/* The tokenizer against golden files: the ids of each text with and without special tokens, and the
 * text that they decode to, one id at a time.
 *
 * Our tokenizers are in tests/data/tokenizers. Published ones are read from a folder beside the
 * checkout if it exists. odd.jsonl has small tokenizers with unusual settings, most of them random,
 * and the results of tokenizers 0.23.3.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <dirent.h>
#include <stdlib.h>

#include "../lib/check.h"
#include "base/io.h"
#include "base/json.h"
#include "base/utf8.h"
#include "tokens/tokenizer.h"

static const char *folder; // of the running test

struct expected {
    struct str text, decoded, decoded_skip;
    uint32_t *ids[2]; // [0] with special tokens, [1] without
    size_t n[2], cap[2];
};

static void read_ids(struct json *j, struct expected *x, int k) {
    x->n[k] = 0;
    json_enter_array(j);
    while (json_item(j)) {
        if (x->n[k] == x->cap[k]) {
            x->cap[k] = x->cap[k] ? x->cap[k] * 2 : 256;
            x->ids[k] = xreallocarray(x->ids[k], x->cap[k], sizeof *x->ids[k]);
        }
        x->ids[k][x->n[k]++] = (uint32_t)json_u64(j);
    }
}

static void read_case(struct json *j, struct expected *x) {
    struct str key;
    json_enter_object(j);
    while (json_key(j, &key))
        if (str_eq(key, "text"))
            x->text = json_str(j);
        else if (str_eq(key, "decoded"))
            x->decoded = json_str(j);
        else if (str_eq(key, "decoded_skip"))
            x->decoded_skip = json_str(j);
        else if (str_eq(key, "ids"))
            read_ids(j, x, 0);
        else if (str_eq(key, "ids_nospecial"))
            read_ids(j, x, 1);
        else
            json_skip(j);
}

static void show(struct buf *b, const uint32_t *ids, size_t n) {
    for (size_t i = 0; i < n && i < 30; i++)
        buf_fmt(b, " %u", (unsigned)ids[i]);
}

static void check_ids(struct encoder *en, const struct expected *x, int k, size_t line) {
    struct token_ids got = {0};
    struct err e = {0};
    struct encode_options o = {.no_special = k};
    CHECK_MSG(tokenizer_encode(en, x->text, &o, &got, &e) == 0, "case %zu: %s", line, e.msg);
    if (got.n != x->n[k] || (got.n && memcmp(got.ids, x->ids[k], got.n * sizeof *got.ids) != 0)) {
        struct buf a = {0}, b = {0};
        show(&a, got.ids, got.n);
        show(&b, x->ids[k], x->n[k]);
        CHECK_MSG(0, "case %zu, \"%.*s\":%s, not%s", line, (int)(x->text.n > 60 ? 60 : x->text.n),
                  x->text.p, a.p ? a.p : "", b.p ? b.p : "");
        buf_free(&a);
        buf_free(&b);
    }
    token_ids_free(&got);
}

static void check_text(struct decoder *d, const uint32_t *ids, size_t n, struct str want,
                       size_t line) {
    struct buf out = {0};
    bool whole = true;
    for (size_t i = 0; i < n; i++) {
        size_t from = out.n;
        CHECK(decoder_id(d, ids[i], &out, NULL) == 0);
        whole &= out.n == from || utf8_valid(out.p + from, out.n - from) == out.n - from;
    }
    CHECK(decoder_end(d, &out, NULL) == 0);
    CHECK_MSG(whole, "case %zu: a character came in parts", line);
    CHECK_MSG(str_same(buf_view(&out), want), "case %zu decodes to \"%.*s\", not \"%.*s\"", line,
              (int)out.n, out.p ? out.p : "", (int)want.n, want.p);
    buf_free(&out);
}

struct checker {
    struct encoder *en;
    struct decoder *keep, *skip;
    struct expected x;
};

static struct checker checker_begin(const struct tokenizer *t) {
    return (struct checker){
        .en = encoder_new(t), .keep = decoder_new(t, true), .skip = decoder_new(t, false)};
}

static void checker_end(struct checker *c) {
    free(c->x.ids[0]);
    free(c->x.ids[1]);
    decoder_free(c->keep);
    decoder_free(c->skip);
    encoder_free(c->en);
}

/* Checks the case that is the next value of j. */
static void check_case(struct checker *c, struct json *j, size_t number) {
    read_case(j, &c->x);
    CHECK_MSG(!json_failed(j), "%s", j->e->msg);
    check_ids(c->en, &c->x, 0, number);
    check_ids(c->en, &c->x, 1, number);
    check_text(c->keep, c->x.ids[1], c->x.n[1], c->x.decoded, number);
    check_text(c->skip, c->x.ids[0], c->x.n[0], c->x.decoded_skip, number);
}

static void check_cases(const struct tokenizer *t, const char *p, size_t n) {
    struct checker c = checker_begin(t);
    size_t line = 0;
    for (const char *end = p + n; p < end; line++) {
        const char *newline = memchr(p, '\n', (size_t)(end - p));
        size_t len = newline ? (size_t)(newline - p) : (size_t)(end - p);
        struct err e = {0};
        struct json j;
        json_init(&j, "cases.jsonl", p, len, &e);
        check_case(&c, &j, line + 1);
        json_free(&j);
        p += len + 1;
    }
    CHECK(line > 400);
    checker_end(&c);
}

/* Checks one line: {"tokenizer": its tokenizer.json, "cases": [...]}. */
static void check_odd(const char *p, size_t n, size_t line) {
    struct err e = {0};
    struct json j;
    struct str key, file = {0};
    json_init(&j, "odd.jsonl", p, n, &e);
    json_enter_object(&j);
    while (json_key(&j, &key)) {
        if (str_eq(key, "tokenizer")) {
            file = json_skip(&j);
            continue;
        }
        struct tokenizer *t = tokenizer_load("odd.jsonl", file.p, file.n, &e);
        CHECK_MSG(t, "line %zu: %s", line, e.msg);
        if (!t)
            break;
        struct checker c = checker_begin(t);
        json_enter_array(&j);
        for (size_t i = 1; json_item(&j); i++)
            check_case(&c, &j, 1000 * line + i);
        checker_end(&c);
        tokenizer_free(t);
    }
    json_free(&j);
}

static void odd(void) {
    struct buf b = {0};
    struct err e = {0};
    size_t line = 0;
    CHECK_MSG(read_file("tests/data/tokenizers/odd.jsonl", 1 << 26, &b, &e) == 0, "%s", e.msg);
    for (const char *p = b.p, *end = b.p + b.n; p < end; line++) {
        const char *newline = memchr(p, '\n', (size_t)(end - p));
        CHECK(newline);
        check_odd(p, (size_t)(newline - p), line + 1);
        p = newline + 1;
    }
    CHECK(line > 200);
    buf_free(&b);
}

static void golden(void) {
    struct err e = {0};
    char *cases = path_join(folder, "cases.jsonl");
    struct buf b = {0};
    struct tokenizer *t = tokenizer_open(folder, &e);
    CHECK_MSG(t, "%s", e.msg);
    CHECK_MSG(read_file(cases, 1 << 26, &b, &e) == 0, "%s", e.msg);
    if (t && b.n)
        check_cases(t, b.p, b.n);
    buf_free(&b);
    free(cases);
    tokenizer_free(t);
}

static void all_in(const char *path) {
    struct dirent **names = NULL;
    int n = scandir(path, &names, NULL, alphasort);
    if (n < 0)
        SKIP(golden, path);
    for (int i = 0; i < n; i++) {
        char *dir = path_join(path, names[i]->d_name);
        if (names[i]->d_name[0] != '.' && is_dir(dir)) {
            printf("# %s\n", dir);
            folder = dir;
            RUN(golden);
        }
        free(dir);
        free(names[i]);
    }
    free(names);
}

int main(void) {
    all_in("tests/data/tokenizers");
    RUN(odd);
    all_in("../shared/goldens/thirdparty/tokenizers");
    return check_done();
}
