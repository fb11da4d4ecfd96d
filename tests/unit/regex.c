/* Oniguruma's patterns through PCRE2: the matches are those that the reference library replaces by
 * '#'.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "../lib/check.h"
#include "unicode/regex.h"

static void check(const char *pattern, const char *text, const char *want) {
    struct err e = {0};
    struct regex *r = regex_compile(str_of(pattern), &e);
    if (!r) {
        CHECK_MSG(want == NULL, "%s", e.msg);
        return;
    }
    struct buf got = {0};
    struct regex_iter it = regex_begin(r, str_of(text));
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

/* A pattern that would run forever gives an error. */
static void limits(void) {
    struct err e = {0};
    struct regex *r = regex_compile(str_of("(a|aa)+c"), &e);
    struct regex_iter it = regex_begin(
        r, str_of("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa c"));
    size_t start, end;
    CHECK_INT(regex_next(&it, &start, &end, &e), -1);
    CHECK_INT(e.code, EXIT_DATA);
    CHECK(strstr(e.msg, "gives up"));
    regex_free(r);
}

int main(void) {
    RUN(anchors_and_options);
    RUN(escapes);
    RUN(repetitions);
    RUN(look_behind);
    RUN(classes);
    RUN(limits);
    return check_done();
}
