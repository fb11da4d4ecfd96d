/* Oniguruma's patterns through PCRE2: the matches are those that the reference library replaces by
 * '#'.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdlib.h>

#include "../lib/check.h"
#include "base/progress.h"
#include "unicode/regex.h"

static void check(const char *pattern, const char *text, const char *want) {
    struct err e = {0};
    struct regex *r = regex_compile(str_of(pattern), &e);
    if (!r) {
        CHECK_MSG(want == NULL, "%s", e.msg);
        return;
    }
    struct buf got = {0};
    struct regex_work *w = regex_work_new();
    regex_work_begin(w, strlen(text));
    struct regex_iter it = regex_begin(r, w, str_of(text));
    size_t from = 0, start, end;
    while (regex_next(&it, &start, &end, &e) > 0) {
        buf_add(&got, text + from, start - from);
        buf_byte(&got, '#');
        from = end;
    }
    buf_str(&got, text + from);
    CHECK_MSG(want && strcmp(got.p, want) == 0, "%s in '%s' gives '%s', not '%s'", pattern, text,
              got.p, want ? want : "(refused)");
    buf_free(&got);
    regex_work_free(w);
    regex_free(r);
}

static void anchors_and_options(void) {
    check("^a", "a\na", "#\n#");
    check("a$", "a\na\n", "#\n#\n");
    check("a\\z", "a\na\n", "a\na\n");
    check("\\Aa", "aa", "#a");
    check("a.b", "a\nb", "a\nb");
    check("(?m:a.b)", "a\nb", "#");
    check("(?s:a.b)", "a\nb", NULL);
    check("(?x) a b", "ab", "#");
    check("(?x) a b # c", "abc", "#c");
    check("(?x: a (?-x: b)# c\n)b", "a bb", "#");
    check("(?#c)a", "a", "#");
}

static void escapes(void) {
    check("\\h", "gF x", "g# x");
    check("\\H", "gF", "#F");
    check("\\v", "\x0b\n", "#\n");
    check("\\O", "a\n", "##");
    check("\\Q.\\E", ".", ".");
    check("\\u0041", "A", "#");
    check("\\x{1F600}", "\xF0\x9F\x98\x80", "#");
    check("\\101", "A", "#");
    check("(a)\\1", "aa", "#");
    check("a\\Kb", "ab", "a#");
    check("\\b", "ab cd", "#ab# #cd#");
    check("\\b", "a\xC2\xBD \xC2\xBD\xE2\x91\xA0", "#a\xC2\xBD# #\xC2\xBD#\xE2\x91\xA0");
    check("\\B", "a\xC2\xBD \xC2\xBD", "a#\xC2\xBD \xC2\xBD");
    check("\\y", "ab", NULL);
    check("(?~ab)", "xxab", NULL);
}

static void repetitions(void) {
    check("a{,2}", "aaaa", "##");
    check("a{2}+", "aaaaa", "#a");
    check("a++b", "aaab", "#");
    check("a{", "a{", "#");
    check("{", "{", "#");
    check("", "ab", "#a#b#");
}

static void look_behind(void) {
    check("(?<=a|bc)d", "ad bcd cd", "a# bc# cd");
    check("(?<=\\d{1,3})a", "1a a 12a", "1# a 12#");
    check("(?<!\\p{L}{1,2})\\d", "ab1 1", "ab1 #");
    check("(?<=ab?)c", "abc ac c", "ab# a# c");
    check("(?<=(?:a|bc)d?)e", "ade ae bce bcde de", "ad# a# bc# bcd# de");
    check("(?<=a+)b", "aab b", "aa# b");
    check("(?<!x|ya?)b", "yab yb xb ab", "yab yb xb a#");
    check("(?<=xa+)b", "xaab", NULL);
    check("(?<=(?:a?b?c?d?){4})e", "e", NULL); // more alternatives than the limit
}

static void classes(void) {
    check("[a-c&&b-d]", "abcd", "a##d");
    check("[[a-c]d]", "abcd]", "####]");
    check("[a[^b]]", "abc", "#b#");
    check("[]a]", "]a", "##");
    check("[\\h]", "gF", "g#");
    check("[^\\s\\p{L}\\p{N}]", "a !1", "a #1");
    check("\\p{^L}", "a1", "a#");
    check("\\P{L}", "a1", "a#");
    check("\\p{Letter}", "a1", "#1");
    check("\\p{Punct}", "$!+", "$#+");
    check("[[:punct:]]", "$!+", "###");
    check("\\w", "\xC3\xA9_\xC2\xB2", "###");
    check("[\\w]", "\xC3\xA9_\xC2\xB2", "##\xC2\xB2");
    check("\\s", "\xC2\x85\xE1\xA0\x8E\x0b", "#\xE1\xA0\x8E#");
    check("\\p{Word}[\\p{Word}]", "\xC2\xB2\xC3\xA9\xC2\xB2", "#\xC2\xB2");
    check("\\p{Uppercase_Letter}\\p{decimal number}", "A1a1", "#a1");
    check("[[:graph:]]", "\xC3\xA9 \x01!", "# \x01#");
    check("\\p{Print}", "\xC3\xA9 \x01!", "##\x01#");
    check("\\p{Hiragana}", "\xE3\x81\x82\xE3\x82\xA2", "#\xE3\x82\xA2");
    check("\\p{L}", "\xF0\xB1\x8D\x90 \xF0\xAE\xAF\xB0", "# #"); // letters of Unicode 15
    check("\\P{L}", "\xF0\xB1\x8D\x90", "\xF0\xB1\x8D\x90");
    check("\\p{Nonsense}", "a", NULL);
}

/* All matches of a pattern in text: their number, or -1 with e set. */
static long count_matches(const char *pattern, struct str text, struct err *e) {
    struct regex *r = regex_compile(str_of(pattern), e);
    if (!r)
        return -1;
    struct regex_work *w = regex_work_new();
    regex_work_begin(w, text.n);
    struct regex_iter it = regex_begin(r, w, text);
    size_t start, end;
    long n = 0;
    int found;
    while ((found = regex_next(&it, &start, &end, e)) > 0)
        n++;
    regex_work_free(w);
    regex_free(r);
    return found < 0 ? -1 : n;
}

/* A text of n bytes: copies of `part`, then `last`. */
static struct buf repeat(const char *part, size_t n, const char *last) {
    struct buf b = {0};
    while (b.n + strlen(part) <= n)
        buf_str(&b, part);
    buf_str(&b, last);
    return b;
}

/* A pattern whose work grows faster than the text gives an error, soon. */
static void limits(void) {
    static const struct {
        const char *pattern, *part, *last;
    } cases[] = {
        {"(a|aa)+[cd]", "a", " c"},
        {"(a|aa)+$", "a", "!"},
        {"(a+)+$", "aaaaaaaaaaaaaaaaaaaaaaa!", ""},
        {"(?:a?){30}a{30}[bc]", "a", ""},
        {"(?:a?){15}a{15}[bc]", "aaaaaaaaaaaaaaa!", ""},
        {".*.*.*.*[xy]", "a", ""},
        {".*\\d*[xy]", "1", ""}, // \d* gives nothing back: only its scans are work
        {"(?:\\d*+[xy]|\\d)*[xy]", "1", ""},
        {"(?:\\d*+[xy]|\\d)*+[xy]", "1", ""},
        {"(?:(?=\\d*+[xy])|\\d)*+[xy]", "1", ""},
        {"(?=(.*)[bc])[cd]|a", "a", ""},
        {"(?=.*[xy]).*[yz]", "a", "x"},
        {"(?!.*[xy])b|[cd]|a", "a", ""},
        {"(?>a*)[bc]", "a", ""},
        {"a*+[bc]|a", "a", ""},
        {"\\X[yz]|[b-d]", "\xCC\x81", ""}, // one long cluster of marks
        {"a{60000}[bc]", "a", ""},
        {"(?:a{200}){200}[bc]", "a", ""},
        {"(.*)\\1[xy]", "a", ""},
        {"(?:(?:(?:a*)*)*)*[bc]", "a", ""},
        {"(a|b|ab)*[cd]", "ab", ""},
        {"(?i:a|A)*[cd]", "aA", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = {0};
        struct buf text = repeat(cases[i].part, 100000, cases[i].last);
        double started = seconds_now();
        CHECK_MSG(count_matches(cases[i].pattern, buf_view(&text), &e) == -1, "%s ends",
                  cases[i].pattern);
        CHECK_INT(e.code, EXIT_DATA);
        CHECK_MSG(strstr(e.msg, "gives up"), "%s", e.msg);
        double seconds = seconds_now() - started;
        if (getenv("REGEX_TIMES"))
            printf("# %.3f s %s\n", seconds, cases[i].pattern);
        CHECK_MSG(seconds < 30, "%s takes %.1f s", cases[i].pattern, seconds);
        buf_free(&text);
    }
}

/* Honest patterns on long runs of one kind of character. */
static void long_runs(void) {
    static const char *const patterns[] = {
        // of Qwen2, GPT-4o, Kimi-K2, DeepSeek-V3 and XLM-R
        "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| "
        "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
        "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+("
        "?i:'s|'t|'re|'ve|'"
        "m|'ll|'d)?|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{"
        "Lo}\\p{M}]*(?i:'s|'"
        "t|'re|'ve|'m|'ll|'d)?|\\p{N}{1,3}| "
        "?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
        "[\\p{Han}]+|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]*[\\p{"
        "Ll}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{"
        "Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}"
        "\\p{M}&&[^"
        "\\p{Han}]]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\\p{N}"
        "{1,3}| "
        "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
        "[!\"#$%&'()*+,\\-./"
        ":;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| "
        "?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
        "[\\u4E00-\\u9FA5\\u3040-\\u309F\\u30A0-\\u30FF]+",
        " {2,}",
    };
    static const char *const parts[] = {"a",  "A", "\xC3\xA9", "\xE0\xB8\x81", "\xE4\xB8\x80", " ",
                                        "\n", "7", "-",        "a ",           "\xCC\x81",     "aB",
                                        " \n"};
    for (size_t p = 0; p < sizeof patterns / sizeof *patterns; p++)
        for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
            struct err e = {0};
            struct buf text = repeat(parts[i], 1000000, "");
            double started = seconds_now();
            CHECK_MSG(count_matches(patterns[p], buf_view(&text), &e) >= 0, "pattern %zu, '%s': %s",
                      p, parts[i], e.msg);
            if (getenv("REGEX_TIMES"))
                printf("# %.3f s pattern %zu, '%s'\n", seconds_now() - started, p, parts[i]);
            buf_free(&text);
        }
}

static void verbs(void) {
    static const char *const patterns[] = {"(*ACCEPT)a",      "a(*SKIP)b",   "(*UTF)a",
                                           "(*NO_JIT)a",      "(*CRLF)a",    "(*LIMIT_MATCH=10)a",
                                           "(*script_run:a)", "(*napla:a)b", "(?:(*F)|a)"};
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++)
        check(patterns[i], "ab", NULL);
    check("\\(*a", "((a", "#");
    check("[(*]+", "(*a", "#a");
}

/* Callouts are not in the way of quantifiers and groups. */
static void counting(void) {
    check("(?:a{20})+b", "aaaaaaaaaaaaaaaaaaaab", "#");
    check("a{16}+b", "aaaaaaaaaaaaaaaab", "#");
    check("a{16,}?b", "aaaaaaaaaaaaaaaaab", "#");
    check("(?x)a {16} b", "aaaaaaaaaaaaaaaab", "#");
    check("(?x)a + + b", "aaab", "#");
    check("(?x)a+ # more\n b", "aab", "#");
    check("(a+)\\1b", "aaaab", "#");
    check("(?<n>a+)\\k<n>b", "aaaab", "#");
    check("\\X+b|\\Xc",
          "e\xCC\x81"
          "c",
          "#");
    check("(?<=a{1,3})b+c", "aabbc", "aa#");
    check("(?:a?)*b?(?=c+)", "aabc", "#c");
}

int main(void) {
    RUN(anchors_and_options);
    RUN(escapes);
    RUN(repetitions);
    RUN(look_behind);
    RUN(classes);
    RUN(limits);
    RUN(long_runs);
    RUN(verbs);
    RUN(counting);
    return check_done();
}
