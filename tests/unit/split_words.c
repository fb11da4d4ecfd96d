/* The hand-written split matchers against PCRE2: random text in which all kinds of characters that
 * the patterns distinguish are frequent, and random code points of all planes. Characters that
 * PCRE2's older Unicode version classifies differently from the tokenizers' table (unicode.h) are
 * skipped.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "unicode/split_words.h"

#include <stdlib.h>

#include "../lib/check.h"
#include "base/utf8.h"
#include "unicode/regex.h"

enum { N_CODES = 0x110000, TEXTS = 20000, MAX_ATOMS = 24 };

static uint64_t seed = 1;

static uint32_t below(uint32_t n) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((seed >> 33) % n);
}

/* Marks in differs[] where the regular expression and the table see different characters. all:
 * every code point. */
static void compare_class(const char *pattern, unsigned categories, unsigned bit, struct str all,
                          const uint32_t *code_at, unsigned char *differs) {
    struct err e = {0};
    struct regex *r = regex_compile(str_of(pattern), &e);
    CHECK_MSG(r, "%s", e.msg);
    if (!r)
        return;
    unsigned char *in = xcalloc(N_CODES, 1);
    struct regex_work *w = regex_work_new();
    regex_work_begin(w, all.n);
    struct regex_iter it = regex_begin(r, w, all);
    size_t start, end;
    while (regex_next(&it, &start, &end, &e) > 0)
        for (; start < end; start += uni_len(all.p[start]))
            in[code_at[start]] = 1;
    for (uint32_t cp = 0; cp < N_CODES; cp++)
        if (in[cp] != (UNI_IN(uni_bits(cp), categories) || (uni_bits(cp) & bit)))
            differs[cp] = 1;
    free(in);
    regex_work_free(w);
    regex_free(r);
}

/* [N_CODES], nonzero for the characters to skip. */
static unsigned char *find_differences(void) {
    unsigned char *differs = xcalloc(N_CODES, 1);
    struct buf all = {0};
    uint32_t *code_at = xcalloc(N_CODES * (size_t)4, sizeof *code_at);
    for (uint32_t cp = 0; cp < N_CODES; cp++) {
        char c[4];
        if (cp >= 0xD800 && cp <= 0xDFFF) {
            differs[cp] = 1;
            continue;
        }
        code_at[all.n] = cp;
        buf_add(&all, c, utf8_encode(cp, c));
    }
    static const struct {
        const char *pattern;
        unsigned categories, bit;
    } classes[] = {{"\\p{Lu}+", UNI_SET(UNI_LU), 0}, {"\\p{Ll}+", UNI_SET(UNI_LL), 0},
                   {"\\p{Lt}+", UNI_SET(UNI_LT), 0}, {"\\p{Lm}+", UNI_SET(UNI_LM), 0},
                   {"\\p{Lo}+", UNI_SET(UNI_LO), 0}, {"\\p{M}+", UNI_MARKS, 0},
                   {"\\p{N}+", UNI_NUMBERS, 0},      {"\\s+", 0, UNI_SPACE}};
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        compare_class(classes[i].pattern, classes[i].categories, classes[i].bit, buf_view(&all),
                      code_at, differs);
    free(code_at);
    buf_free(&all);
    return differs;
}

static void known_differences(void) {
    unsigned char *differs = find_differences();
    int n = 0, ascii = 0;
    for (uint32_t cp = 0; cp < N_CODES; cp++)
        n += differs[cp] && (cp < 0xD800 || cp > 0xDFFF);
    for (uint32_t cp = 0; cp < 0x250; cp++)
        ascii += differs[cp];
    CHECK_INT(ascii, 0);
    CHECK_MSG(n < 20000, "%d characters differ", n);
    free(differs);
}

static void add_random(struct buf *text, const unsigned char *differs) {
    static const char *const atoms[] = {"'",
                                        "'s",
                                        "'S",
                                        "'re",
                                        "'VE",
                                        "'lL",
                                        "'t",
                                        "'m",
                                        "'d",
                                        "'\xC5\xBF",
                                        "'r",
                                        "'v",
                                        "'l",
                                        " ",
                                        " ",
                                        "  ",
                                        "   ",
                                        "\n",
                                        "\r\n",
                                        "\r",
                                        "\t",
                                        "\xC2\xA0",
                                        "\xE3\x80\x80",
                                        "\xE2\x80\xA8",
                                        "\xC2\x85",
                                        "\v",
                                        "a",
                                        "bc",
                                        "D",
                                        "EF",
                                        "Gh",
                                        "1",
                                        "23",
                                        "4567",
                                        "!",
                                        "?!",
                                        "/",
                                        "//",
                                        "-",
                                        "_",
                                        "\"",
                                        "\xC3\xA9",
                                        "\xC3\x89",
                                        "\xD0\x96\xD0\xB6",
                                        "\xE4\xB8\xAD\xE6\x96\x87",
                                        "\xCC\x81",
                                        "\xE0\xA4\xBE",
                                        "\xC2\xAA",
                                        "\xC7\x85",
                                        "\xCA\xB0",
                                        "\xE2\x85\xA7",
                                        "\xC2\xBD",
                                        "\xD9\xA3",
                                        "\xF0\x9F\x98\x80",
                                        "\xF0\x9F\x87\xA6",
                                        "\xE2\x80\x8D",
                                        "\xEF\xB8\x8F",
                                        "\xEE\x80\x80",
                                        "\xCD\xB8",
                                        "\xF0\x9D\x9F\x98",
                                        "\x01",
                                        "\x7f"};
    static const uint32_t planes[] = {0x80, 0x250, 0x3000, 0x20000, N_CODES};
    if (below(8)) {
        buf_str(text, atoms[below(sizeof atoms / sizeof *atoms)]);
        return;
    }
    uint32_t cp = below(planes[below(5)]);
    char c[4];
    if (!differs[cp])
        buf_add(text, c, utf8_encode(cp, c));
}

/* The first byte of a match that the matcher and the regular expression see differently, or -1. */
static long first_difference(const struct split_words *w, const struct regex *r, struct str text) {
    struct regex_work *work = regex_work_new();
    regex_work_begin(work, text.n);
    struct regex_iter it = regex_begin(r, work, text);
    struct err e = {0};
    size_t start, end, at = 0;
    bool same = true;
    while (same && at < text.n) {
        size_t next = (size_t)(w->match(text.p + at, text.p + text.n) - text.p);
        same = regex_next(&it, &start, &end, &e) == 1 && start == at && end == next;
        at = same ? next : at;
    }
    same = same && regex_next(&it, &start, &end, &e) == 0;
    regex_work_free(work);
    return same ? -1 : (long)at;
}

static void same_as_regex(void) {
    unsigned char *differs = find_differences();
    size_t n;
    const struct split_words *list = split_words_list(&n);
    for (size_t k = 0; k < n; k++) {
        struct err e = {0};
        struct buf text = {0};
        struct regex *r = regex_compile(str_of(list[k].pattern), &e);
        CHECK_MSG(r, "%s", e.msg);
        for (int i = 0; r && i < TEXTS; i++) {
            buf_clear(&text);
            for (uint32_t atoms = below(MAX_ATOMS) + 1; atoms > 0; atoms--)
                add_random(&text, differs);
            // A copy of exact size, so that a sanitizer sees a read past the end.
            char *copy = xmalloc(text.n);
            if (text.n)
                memcpy(copy, text.p, text.n);
            long at = first_difference(&list[k], r, (struct str){copy, text.n});
            CHECK_MSG(at < 0, "pattern %zu, text %d, byte %ld of \"%s\"", k, i, at, text.p);
            free(copy);
        }
        regex_free(r);
        buf_free(&text);
    }
    free(differs);
}

static void found_by_pattern(void) {
    size_t n;
    const struct split_words *list = split_words_list(&n);
    for (size_t k = 0; k < n; k++) {
        CHECK(split_words_find(str_of(list[k].pattern)) == &list[k]);
        static const char word[] = "word";
        CHECK(list[k].match(word, word + 4) == word + 4);
    }
    CHECK(split_words_find(str_of("\\s+")) == NULL);
}

int main(void) {
    RUN(known_differences);
    RUN(same_as_regex);
    RUN(found_by_pattern);
    return check_done();
}
