/* The lexer: text, tags and the tokens in them, with the white space control of jinja2/lexer.py
 * under trim_blocks and lstrip_blocks.
 *
 * - {%-, {{- and {#- remove all white space before them; -%}, -}} and -#} all after them.
 * - Otherwise {% and {# remove the white space between them and the line's start; {%+ does not.
 * - Otherwise %} and #} remove the newline after them; +%} does not.
 * - {% raw %} leaves its text as it is.
 *
 * Refused: bytes that begin no token, unbalanced brackets, comments and raw blocks without an end,
 * and escapes that name no character.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "jinja/lex.h"

#include <stdbool.h>
#include <stdlib.h>

#include "base/num.h"
#include "base/utf8.h"
#include "jinja/text.h"

struct lexer {
    const char *p, *end;
    int line;
    bool line_start; // the last match ended in a newline
    struct arena *arena;
    struct jtoken *tokens;
    size_t n, cap;
    char brackets[256]; // the closing brackets that are expected
    int depth;
    bool failed;
    struct err *e;
};

static void fail(struct lexer *lx, const char *what, const char *detail) {
    if (!lx->failed)
        err_set(lx->e, EXIT_DATA, "TemplateSyntaxError: %s%s", what, detail);
    lx->failed = true;
}

static struct jtoken *push(struct lexer *lx, enum jtoken_type type, const char *p, size_t n) {
    if (lx->n == lx->cap) {
        lx->cap = lx->cap ? lx->cap * 2 : 256;
        lx->tokens = xreallocarray(lx->tokens, lx->cap, sizeof *lx->tokens);
    }
    struct jtoken *t = &lx->tokens[lx->n++];
    *t = (struct jtoken){.type = type, .line = lx->line, .text = {p, n}};
    return t;
}

/* Moves to `to`, counting lines. */
static void advance(struct lexer *lx, const char *to) {
    for (; lx->p < to; lx->p++)
        lx->line += *lx->p == '\n';
}

static size_t space_at(const char *p, const char *end) {
    uint32_t cp;
    if (p >= end)
        return 0;
    size_t n = utf8_decode(p, (size_t)(end - p), &cp);
    return n && jt_is_space(cp) ? n : 0;
}

static const char *skip_space(const char *p, const char *end) {
    for (size_t n; (n = space_at(p, end)) > 0;)
        p += n;
    return p;
}

/* Returns the end of from..to without trailing white space. */
static const char *strip_right(const char *from, const char *to) {
    while (to > from) {
        const char *q = to - 1;
        while (q > from && ((unsigned char)*q & 0xC0) == 0x80)
            q--;
        if (space_at(q, to) == 0)
            break;
        to = q;
    }
    return to;
}

static bool at(const char *p, const char *end, const char *word) {
    size_t n = strlen(word);
    return (size_t)(end - p) >= n && memcmp(p, word, n) == 0;
}

/* Returns the end of the text before a tag, which depends on the tag's sign. */
static const char *strip_before(const struct lexer *lx, const char *from, const char *tag,
                                char sign, bool variable) {
    if (sign == '-')
        return strip_right(from, tag);
    if (sign == '+' || variable)
        return tag;
    const char *line = tag;
    while (line > from && line[-1] != '\n')
        line--;
    bool whole = line > from || lx->line_start;
    return whole && skip_space(line, tag) == tag ? line : tag;
}

/* Returns the position after the closing delimiter (2 bytes at p), which depends on the sign before
 * it. */
static const char *after_close(const char *p, const char *end, char sign, bool trim) {
    p += 2;
    if (sign == '-')
        return skip_space(p, end);
    return trim && sign != '+' && p < end && *p == '\n' ? p + 1 : p;
}

static void moved(struct lexer *lx, const char *to) {
    lx->line_start = to > lx->p && to[-1] == '\n';
    advance(lx, to);
}

/* Matches `word` and a block's end after "{%" and a sign. Returns NULL, or the end of the tag.
 * trim: the newline after it goes too, as after endraw but not after raw. */
static const char *match_tag(const char *p, const char *end, const char *word, bool trim) {
    p = skip_space(p, end);
    if (!at(p, end, word))
        return NULL;
    p = skip_space(p + strlen(word), end);
    char sign = p < end && (*p == '-' || (trim && *p == '+')) ? *p++ : ' ';
    return at(p, end, "%}") ? after_close(p, end, sign, trim) : NULL;
}

/* Reads the text of a raw block that begins at lx->p, and its end tag. */
static void lex_raw(struct lexer *lx) {
    for (const char *p = lx->p; p < lx->end; p++) {
        if (!at(p, lx->end, "{%"))
            continue;
        const char *q = p + 2;
        char sign = q < lx->end && (*q == '-' || *q == '+') ? *q : ' ';
        const char *after = match_tag(sign == ' ' ? q : q + 1, lx->end, "endraw", true);
        if (!after)
            continue;
        const char *to = strip_before(lx, lx->p, p, sign, false);
        push(lx, T_DATA, lx->p, (size_t)(to - lx->p));
        moved(lx, after);
        return;
    }
    fail(lx, "Missing end of raw directive", "");
}

static void lex_comment(struct lexer *lx) {
    for (const char *p = lx->p; p + 1 < lx->end; p++) {
        if (p[0] != '#' || p[1] != '}')
            continue;
        moved(lx, after_close(p, lx->end, p > lx->p ? p[-1] : ' ', true));
        return;
    }
    fail(lx, "Missing end of comment tag", "");
}

/* Reads digits of the base with single '_' between them, and copies them without '_'. Returns the
 * length read. */
static size_t digits(const char *p, const char *end, int base, char *out, size_t cap,
                     bool lead_underscore) {
    size_t i = 0, n = 0;
    while (p + i < end) {
        size_t at_digit = i;
        if (p[i] == '_' && (i > 0 || lead_underscore))
            at_digit++;
        if (p + at_digit >= end)
            break;
        char c = p[at_digit];
        int v = num_hex_digit(c);
        if (v < 0 || v >= base)
            break;
        if (n + 1 < cap)
            out[n] = c;
        n++;
        i = at_digit + 1;
    }
    out[n < cap ? n : cap - 1] = '\0';
    return i;
}

/* Reads a float at p: digits, then a fraction, an exponent or both. Returns its length, or 0. */
static size_t float_length(const char *p, const char *end, char *text, size_t cap) {
    char part[400];
    size_t n = digits(p, end, 10, part, sizeof part, false), len;
    struct buf b = {0};
    if (n == 0)
        return 0;
    bool good = false;
    buf_str(&b, part);
    if (p + n < end && p[n] == '.' &&
        (len = digits(p + n + 1, end, 10, part, sizeof part, false)) > 0) {
        buf_fmt(&b, ".%s", part);
        n += 1 + len;
        good = true;
    }
    if (p + n < end && (p[n] == 'e' || p[n] == 'E')) {
        size_t sign = p + n + 1 < end && (p[n + 1] == '+' || p[n + 1] == '-');
        len = digits(p + n + 1 + sign, end, 10, part, sizeof part, false);
        if (len) {
            buf_fmt(&b, "e%.*s%s", (int)sign, p + n + 1, part);
            n += 1 + sign + len;
            good = true;
        }
    }
    good = good && b.n < cap;
    if (good)
        memcpy(text, b.p, b.n + 1);
    buf_free(&b);
    return good ? n : 0;
}

static void lex_number(struct lexer *lx, const char *source) {
    char text[1024];
    const char *p = lx->p;
    size_t n = p > source && p[-1] == '.' ? 0 : float_length(p, lx->end, text, sizeof text);
    if (n) {
        push(lx, T_FLOAT, p, n)->f = strtod(text, NULL);
        lx->p += n;
        return;
    }
    int base = 10;
    if (p[0] == '0' && p + 1 < lx->end) {
        int c = p[1] | 0x20;
        base = c == 'b' ? 2 : c == 'o' ? 8 : c == 'x' ? 16 : 10;
        n = base == 10 ? 0 : digits(p + 2, lx->end, base, text, sizeof text, true);
    }
    if (n) {
        n += 2;
        // "007" is 00 and then 7, as two integers. No grammar accepts that.
    } else {
        n = digits(p, lx->end, p[0] == '0' ? 1 : 10, text, sizeof text, false);
        base = 10;
    }
    char *stop;
    unsigned long long v = strtoull(text, &stop, base);
    if (*stop || strlen(text) > 63 || v > INT64_MAX)
        fail(lx, "an integer is larger than 64 bits", "");
    push(lx, T_INTEGER, p, n)->i = (int64_t)v;
    lx->p += n;
}

static int64_t hex_value(const char *p, const char *end, int n) {
    int64_t v = 0;
    for (int i = 0; i < n; i++) {
        int d = p + i < end ? num_hex_digit(p[i]) : -1;
        if (d < 0)
            return -1;
        v = v << 4 | d;
    }
    return v;
}

/* Reads one escape of a string, with p after the backslash. Appends its meaning to *out and returns
 * its end. */
static const char *unescape(struct lexer *lx, const char *p, const char *end, char **out) {
    static const char letters[] = "\\'\"abfnrtv", bytes[] = "\\'\"\a\b\f\n\r\t\v";
    const char *letter = *p ? strchr(letters, *p) : NULL;
    if (letter) {
        *(*out)++ = bytes[letter - letters];
        return p + 1;
    }
    if (*p == '\n')
        return p + 1;
    int64_t cp = -1;
    int n = *p == 'x' ? 2 : *p == 'u' ? 4 : *p == 'U' ? 8 : 0;
    if (n) {
        cp = hex_value(p + 1, end, n);
        p += 1 + n;
    } else if (*p >= '0' && *p <= '7') {
        for (cp = 0, n = 0; n < 3 && p < end && *p >= '0' && *p <= '7'; n++, p++)
            cp = cp * 8 + (*p - '0');
    } else if (*p != 'N') { // unknown escapes stay as they are
        *(*out)++ = '\\';
        return p;
    }
    if (cp < 0 || cp > 0x10FFFF || (cp >= 0xD800 && cp <= 0xDFFF)) {
        fail(lx, "a string has an escape that names no character", "");
        return end;
    }
    *out += utf8_encode((uint32_t)cp, *out);
    return p;
}

static void lex_string(struct lexer *lx) {
    const char *from = lx->p + 1, *p = from;
    bool escapes = false;
    for (; p < lx->end && *p != *lx->p; p++)
        if (*p == '\\' && p + 1 < lx->end) {
            escapes = true;
            p++;
        }
    if (p >= lx->end) {
        fail(lx, "a string has no end", "");
        return;
    }
    if (!escapes) {
        push(lx, T_STRING, from, (size_t)(p - from));
    } else {
        char *text = arena_alloc(lx->arena, (size_t)(p - from) + 1), *out = text;
        for (const char *q = from; q < p && !lx->failed;)
            if (*q == '\\')
                q = unescape(lx, q + 1, p, &out);
            else
                *out++ = *q++;
        push(lx, T_STRING, text, (size_t)(out - text));
    }
    advance(lx, p + 1);
}

static const struct {
    char text[3];
    enum jtoken_type type;
} operators[] = {
    {"//", T_FLOORDIV}, {"**", T_POW},   {"==", T_EQ},      {"!=", T_NE},      {">=", T_GE},
    {"<=", T_LE},       {"+", T_ADD},    {"-", T_SUB},      {"*", T_MUL},      {"/", T_DIV},
    {"%", T_MOD},       {"~", T_TILDE},  {"[", T_LBRACKET}, {"]", T_RBRACKET}, {"(", T_LPAREN},
    {")", T_RPAREN},    {"{", T_LBRACE}, {"}", T_RBRACE},   {">", T_GT},       {"<", T_LT},
    {"=", T_ASSIGN},    {".", T_DOT},    {":", T_COLON},    {"|", T_PIPE},     {",", T_COMMA},
    {";", T_SEMICOLON},
};
enum { N_OPERATORS = sizeof operators / sizeof *operators };

const char *jinja_token_name(enum jtoken_type type) {
    static const char *const names[] = {
        "end of template", "text",     "'{%'",     "'%}'",    "'{{'", "'}}'",
        "a name",          "a string", "a number", "a number"};
    if (type <= T_FLOAT)
        return names[type];
    for (int i = 0; i < N_OPERATORS; i++)
        if (operators[i].type == type)
            return operators[i].text;
    return "an operator";
}

static void balance(struct lexer *lx, char c) {
    if (c == '(' || c == '[' || c == '{') {
        if (lx->depth == (int)sizeof lx->brackets)
            fail(lx, "brackets are nested too deeply", "");
        else
            lx->brackets[lx->depth++] = c == '(' ? ')' : c == '[' ? ']' : '}';
    } else if (c == ')' || c == ']' || c == '}') {
        if (lx->depth == 0 || lx->brackets[--lx->depth] != c)
            fail(lx, "unexpected closing bracket ", (char[]){c, '\0'});
    }
}

static bool name_byte(char c) {
    return c == '_' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (unsigned char)c >= 0x80;
}

/* Reads one token inside a tag. */
static void lex_token(struct lexer *lx, const char *source) {
    char c = *lx->p;
    if (c >= '0' && c <= '9') {
        lex_number(lx, source);
    } else if (name_byte(c)) {
        const char *p = lx->p;
        while (p < lx->end && name_byte(*p) && space_at(p, lx->end) == 0)
            p++;
        push(lx, T_NAME, lx->p, (size_t)(p - lx->p));
        lx->p = p;
    } else if (c == '\'' || c == '"') {
        lex_string(lx);
    } else {
        for (int i = 0; i < N_OPERATORS; i++)
            if (at(lx->p, lx->end, operators[i].text)) {
                balance(lx, c);
                push(lx, operators[i].type, lx->p, strlen(operators[i].text));
                lx->p += strlen(operators[i].text);
                return;
            }
        fail(lx, "unexpected character ", (char[]){c, '\0'});
    }
}

/* Reads the inside of a tag and its end. */
static void lex_tag(struct lexer *lx, bool variable, const char *source) {
    const char *close = variable ? "}}" : "%}";
    while (!lx->failed) {
        lx->p = skip_space(lx->p, lx->end) == lx->p
                    ? lx->p
                    : (advance(lx, skip_space(lx->p, lx->end)), lx->p);
        if (lx->p >= lx->end)
            return; // the parser sees T_EOF and reports what it expected
        char sign = *lx->p == '-' || (*lx->p == '+' && !variable) ? *lx->p : ' ';
        const char *q = lx->p + (sign != ' ');
        if (lx->depth == 0 && at(q, lx->end, close)) {
            push(lx, variable ? T_VARIABLE_END : T_BLOCK_END, q, 2);
            moved(lx, after_close(q, lx->end, sign, !variable));
            return;
        }
        lex_token(lx, source);
    }
}

/* Reads the text up to the next tag, and the tag. */
static void lex_text(struct lexer *lx, const char *source) {
    const char *tag = lx->p;
    while (tag + 1 < lx->end &&
           !(tag[0] == '{' && (tag[1] == '{' || tag[1] == '%' || tag[1] == '#')))
        tag++;
    if (tag + 1 >= lx->end) {
        push(lx, T_DATA, lx->p, (size_t)(lx->end - lx->p));
        lx->p = lx->end;
        return;
    }
    char what = tag[1];
    const char *q = tag + 2;
    char sign = q < lx->end && (*q == '-' || *q == '+') ? *q++ : ' ';
    const char *to = strip_before(lx, lx->p, tag, sign, what == '{');
    if (to > lx->p)
        push(lx, T_DATA, lx->p, (size_t)(to - lx->p));
    advance(lx, tag);
    const char *raw = what == '%' ? match_tag(q, lx->end, "raw", false) : NULL;
    if (raw) {
        moved(lx, raw);
        lex_raw(lx);
    } else if (what == '#') {
        lx->p = q;
        lex_comment(lx);
    } else {
        push(lx, what == '{' ? T_VARIABLE_BEGIN : T_BLOCK_BEGIN, tag, 2);
        lx->p = q;
        lex_tag(lx, what == '{', source);
    }
}

int jinja_lex(struct str source, struct arena *arena, struct jtoken **tokens, int *line,
              struct err *e) {
    struct lexer lx = {.p = source.p,
                       .end = source.p + source.n,
                       .line = 1,
                       .line_start = true,
                       .arena = arena,
                       .e = e};
    while (lx.p < lx.end && !lx.failed)
        lex_text(&lx, source.p);
    push(&lx, T_EOF, lx.end, 0);
    *tokens = lx.tokens;
    *line = lx.line;
    return lx.failed ? -1 : 0;
}
