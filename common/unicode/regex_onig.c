/* Translates Oniguruma's regular expressions (its own syntax, UTF-8) to PCRE2's.
 *
 * These differ and are translated. ^ and $ always match at lines. (?m) lets '.' match a newline. \h
 * is a hexadecimal digit. \w, \d, \s and the POSIX brackets follow Oniguruma's tables. Classes nest
 * and intersect (&&). {,n} is {0,n}. A '+' after {n} is a repetition, not a possessive mark.
 * \uHHHH, \v and \O exist, and \Q is a Q. Characters that are newer than PCRE2's Unicode are added
 * to their categories.
 *
 * A callout, (?C), is added where regex.c counts the work that was done: after each quantifier, and
 * at the beginning of a group that has one, which may be repeated. A quantifier that ends an
 * alternative of the whole pattern needs none, because its text is then matched for good.
 *
 * Refused: absent operators, verbs such as (*ACCEPT), subexpression calls, text segments (\y),
 * options for ASCII ranges.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "unicode/regex.h"

#include "base/utf8.h"
#include "unicode/regex_behind.h"
#include "unicode/unicode.h"

enum { MAX_NESTING = 50, NO_CLASS = -1, MAX_REPEAT = 100000 };

struct onig {
    struct str in;
    size_t at;
    struct buf *out;
    struct err *e;
    int depth;
    bool extended;      // (?x): white space and comments are ignored
    size_t atom;        // where the last atom begins in the output; SIZE_MAX: none yet
    bool quantified;    // a quantifier was written, and its callout was not
    bool behind;        // inside a look-behind, whose length is fixed: nothing is counted
    size_t n_counted;   // callouts so far
    struct onig_group { // the open groups
        size_t begin;   // in the output
        size_t body;    // after its "(?:" or the like
        size_t n_counted;
        bool extended; // before the group
        bool behind;
    } open[MAX_NESTING];
    int n_open;
};

static int refuse(struct onig *o, const char *what) {
    return err_set(o->e, EXIT_DATA,
                   "regular expression \"%.*s\": %s at byte %zu has no translation",
                   (int)(o->in.n > 200 ? 200 : o->in.n), o->in.p, what, o->at);
}

static int peek(const struct onig *o, size_t ahead) {
    return o->at + ahead < o->in.n ? (unsigned char)o->in.p[o->at + ahead] : -1;
}

static bool looking_at(const struct onig *o, const char *text) {
    size_t n = strlen(text);
    return o->in.n - o->at >= n && memcmp(o->in.p + o->at, text, n) == 0;
}

/* The members of white space, for class brackets. */
static const char space_set[] =
    "\\t-\\r "
    "\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}";

/* Adds those characters new in Unicode 15 and 16 that are in one of the categories or have one of
 * `bits`. */
static void add_newer(struct buf *out, uint32_t categories, unsigned bits) {
    static const uint32_t ranges[][2] = {
        {0x897, 0x897},     {0xCF3, 0xCF3},     {0xECE, 0xECE},     {0x1B4E, 0x1B7F},
        {0x1C89, 0x1C8A},   {0x2427, 0x2429},   {0x2FFC, 0x2FFF},   {0x31E4, 0x31EF},
        {0xA7CB, 0xA7DC},   {0x105C0, 0x105F3}, {0x10D40, 0x10D8F}, {0x10EC2, 0x10EFF},
        {0x1123F, 0x11241}, {0x11380, 0x113E2}, {0x116D0, 0x116E3}, {0x11B00, 0x11B09},
        {0x11BC0, 0x11BF9}, {0x11F00, 0x11F5A}, {0x1342F, 0x143FA}, {0x16100, 0x16139},
        {0x16D40, 0x16D79}, {0x18CFF, 0x18CFF}, {0x1B132, 0x1B155}, {0x1CC00, 0x1CEB3},
        {0x1D2C0, 0x1D2D3}, {0x1DF25, 0x1DF2A}, {0x1E030, 0x1E08F}, {0x1E4D0, 0x1E4F9},
        {0x1E5D0, 0x1E5FF}, {0x1F6DC, 0x1F6DC}, {0x1F774, 0x1F77F}, {0x1F7D9, 0x1F7D9},
        {0x1F8B2, 0x1F8C1}, {0x1FA75, 0x1FAF8}, {0x1FBCB, 0x1FBEF}, {0x2B739, 0x2B739},
        {0x2EBF0, 0x2EE5D}, {0x31350, 0x323AF}};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        for (uint32_t cp = ranges[i][0], from; cp <= ranges[i][1]; cp++) {
            for (from = cp; cp <= ranges[i][1]; cp++) {
                unsigned b = uni_bits(cp);
                if (!(UNI_IN(b, categories) || (b & bits)))
                    break;
            }
            if (cp > from + 1)
                buf_fmt(out, "\\x{%x}-\\x{%x}", (unsigned)from, (unsigned)cp - 1);
            else if (cp > from)
                buf_fmt(out, "\\x{%x}", (unsigned)from);
        }
}

static const char *const category_names[] = {
    "Cn", "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Pc", "Pd", "Ps",
    "Pe", "Pi", "Pf", "Po", "Sm", "Sc", "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cf", "Co"};

#define GRAPH                                                                                      \
    (UNI_LETTERS | UNI_MARKS | UNI_NUMBERS | 0x7Fu << UNI_PC | 0xFu << UNI_SM | UNI_SET(UNI_CF) |  \
     UNI_SET(UNI_CO))

static const struct {
    const char *name, *set; // its members in class brackets
    uint32_t categories;    // newer characters that belong to it
    unsigned bits;
} named[] = {
    {"alpha", "\\p{Alphabetic}\\x{363}-\\x{36f}", UNI_LETTERS | UNI_SET(UNI_NL), 0},
    {"digit", "\\p{Nd}", UNI_SET(UNI_ND), 0},
    {"alnum", "\\p{Alphabetic}\\p{Nd}\\x{363}-\\x{36f}",
     UNI_LETTERS | UNI_SET(UNI_NL) | UNI_SET(UNI_ND), 0},
    {"upper", "\\p{Uppercase}", UNI_SET(UNI_LU), 0},
    {"lower", "\\p{Lowercase}\\x{1e030}-\\x{1e06d}", UNI_SET(UNI_LL), 0},
    {"space", space_set, 0, 0},
    {"blank", "\\t\\p{Zs}", 0, 0},
    {"cntrl", "\\p{Cc}", 0, 0},
    {"xdigit", "0-9A-Fa-f", 0, 0},
    {"ascii", "\\x{0}-\\x{7f}", 0, 0},
    {"word", "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}", 0, UNI_WORD},
    {"any", "\\x{0}-\\x{10ffff}", 0, 0},
    {"letter", "\\p{L}", UNI_LETTERS, 0},
    {"number", "\\p{N}", UNI_NUMBERS, 0},
    {"mark", "\\p{M}", UNI_MARKS, 0},
    {"punctuation", "\\p{P}", 0x7Fu << UNI_PC, 0},
    {"symbol", "\\p{S}", 0xFu << UNI_SM, 0},
    {"separator", "\\p{Z}", 0, 0},
    {"lc", "\\p{Lu}\\p{Ll}\\p{Lt}", UNI_SET(UNI_LU) | UNI_SET(UNI_LL) | UNI_SET(UNI_LT), 0},
    {"graph", "\\p{L}\\p{M}\\p{N}\\p{P}\\p{S}\\p{Cf}\\p{Co}", GRAPH, 0},
    {"print", "\\p{L}\\p{M}\\p{N}\\p{P}\\p{S}\\p{Cf}\\p{Co}\\p{Zs}", GRAPH, 0},
    {"han", "\\p{sc:Han}\\x{2ebf0}-\\x{2ee5d}\\x{31350}-\\x{323af}", 0, 0},
};

/* Other names of properties, with their names in `named` or category_names. */
static const char *const other_names[][2] = {{"alphabetic", "alpha"},
                                             {"uppercase", "upper"},
                                             {"lowercase", "lower"},
                                             {"whitespace", "space"},
                                             {"hani", "han"},
                                             {"uppercaseletter", "Lu"},
                                             {"lowercaseletter", "Ll"},
                                             {"titlecaseletter", "Lt"},
                                             {"modifierletter", "Lm"},
                                             {"otherletter", "Lo"},
                                             {"casedletter", "lc"},
                                             {"nonspacingmark", "Mn"},
                                             {"spacingmark", "Mc"},
                                             {"enclosingmark", "Me"},
                                             {"combiningmark", "M"},
                                             {"decimalnumber", "Nd"},
                                             {"letternumber", "Nl"},
                                             {"othernumber", "No"},
                                             {"connectorpunctuation", "Pc"},
                                             {"dashpunctuation", "Pd"},
                                             {"openpunctuation", "Ps"},
                                             {"closepunctuation", "Pe"},
                                             {"initialpunctuation", "Pi"},
                                             {"finalpunctuation", "Pf"},
                                             {"otherpunctuation", "Po"},
                                             {"mathsymbol", "Sm"},
                                             {"currencysymbol", "Sc"},
                                             {"modifiersymbol", "Sk"},
                                             {"othersymbol", "So"},
                                             {"spaceseparator", "Zs"},
                                             {"lineseparator", "Zl"},
                                             {"paragraphseparator", "Zp"},
                                             {"control", "cntrl"},
                                             {"format", "Cf"},
                                             {"privateuse", "Co"},
                                             {"unassigned", "Cn"},
                                             {"other", "C"}};

static int lower_case(int c) {
    return c >= 'A' && c <= 'Z' ? c + 32 : c;
}

/* Whether a property's name means `known`. Case, spaces, '_' and '-' are ignored. */
static bool same_name(struct str name, const char *known) {
    for (size_t i = 0; i < name.n; i++) {
        if (name.p[i] == ' ' || name.p[i] == '_' || name.p[i] == '-')
            continue;
        if (!*known || lower_case((unsigned char)name.p[i]) != lower_case((unsigned char)*known++))
            return false;
    }
    return *known == '\0';
}

static void add_named(struct buf *out, size_t i) {
    buf_str(out, named[i].set);
    if (named[i].categories || named[i].bits)
        add_newer(out, named[i].categories, named[i].bits);
}

/* Writes the members of \p{name} for class brackets. Scripts and other properties are left to
 * PCRE2, which refuses unknown ones. */
static void add_property(struct buf *out, struct str name, bool posix) {
    static const char *const majors = "LMNPSZ";
    for (size_t i = 0; i < sizeof other_names / sizeof *other_names && !posix; i++)
        if (same_name(name, other_names[i][0]))
            name = str_of(other_names[i][1]);
    if (same_name(name, "punct")) { // the bracket includes symbols, the property does not
        buf_str(out, posix ? "\\p{P}\\p{S}" : "\\p{P}");
        add_newer(out, 0x7Fu << UNI_PC | (posix ? 0xFu << UNI_SM : 0), 0);
        return;
    }
    for (size_t i = 0; i < sizeof named / sizeof *named; i++)
        if (same_name(name, named[i].name)) {
            add_named(out, i);
            return;
        }
    buf_fmt(out, regex_is_script(name) ? "\\p{sc:%.*s}" : "\\p{%.*s}", (int)name.n, name.p);
    uint32_t categories = 0;
    for (uint32_t k = 1; k < sizeof category_names / sizeof *category_names; k++) {
        bool whole = name.n == 2 && same_name(name, category_names[k]);
        bool major = name.n == 1 && strchr(majors, name.p[0] & ~0x20) &&
                     (name.p[0] & ~0x20) == category_names[k][0];
        categories |= whole || major ? UNI_SET(k) : 0;
    }
    if (categories)
        add_newer(out, categories, 0);
}

/* Reads \p{..}, \P{..}, [:..:], \w, \d, \s or \h at o->at: appends its members for class brackets,
 * and sets *negated. 0 if there is none. */
static int read_set(struct onig *o, struct buf *set, bool *negated) {
    static const char letters[][2] = {{'w', 10}, {'d', 1}, {'s', 5}, {'h', 8}}; // index into named
    *negated = false;
    if (peek(o, 0) == '[' && peek(o, 1) == ':') {
        size_t from = o->at + 2, end;
        *negated = peek(o, 2) == '^';
        from += *negated;
        for (end = from; end + 1 < o->in.n && lower_case(o->in.p[end]) >= 'a' &&
                         lower_case(o->in.p[end]) <= 'z';
             end++)
            ;
        if (end == from || end + 1 >= o->in.n || o->in.p[end] != ':' || o->in.p[end + 1] != ']')
            return 0;
        add_property(set, (struct str){o->in.p + from, end - from}, true);
        o->at = end + 2;
        return 1;
    }
    if (peek(o, 0) != '\\')
        return 0;
    int c = peek(o, 1);
    if ((c == 'p' || c == 'P') && peek(o, 2) == '{') {
        size_t from = o->at + 3;
        const char *end = memchr(o->in.p + from, '}', o->in.n - from);
        if (!end)
            return 0;
        *negated = (c == 'P') != (peek(o, 3) == '^');
        from += peek(o, 3) == '^';
        add_property(set, (struct str){o->in.p + from, (size_t)(end - o->in.p) - from}, false);
        o->at = (size_t)(end - o->in.p) + 1;
        return 1;
    }
    for (size_t i = 0; i < sizeof letters / sizeof *letters; i++)
        if (lower_case(c) == letters[i][0] && c != -1) {
            *negated = c != letters[i][0];
            add_named(set, (size_t)letters[i][1]);
            o->at += 2;
            return 1;
        }
    return 0;
}

/* Reads one character of a class, or an escape for one. */
static int read_class_char(struct onig *o, uint32_t *cp) {
    size_t len;
    if (peek(o, 0) != '\\') {
        *cp = uni_next(o->in.p + o->at, &len);
        o->at += len;
        return 0;
    }
    static const char from[] = "tnrfvae", to[] = "\t\n\r\f\v\a\x1b";
    int c = peek(o, 1);
    if (c < 0)
        return refuse(o, "a '\\' at the end");
    const char *known = strchr(from, c);
    o->at += 2;
    if (known) {
        *cp = (unsigned char)to[known - from];
        return 0;
    }
    if (c == 'b') {
        *cp = 8;
        return 0;
    }
    if (c != 'x' && c != 'u' && c != 'o' && !(c >= '0' && c <= '7')) {
        o->at--;
        *cp = uni_next(o->in.p + o->at, &len);
        o->at += len;
        return 0;
    }
    bool braces = (c == 'x' || c == 'o') && peek(o, 0) == '{',
         octal = c == 'o' || (c >= '0' && c <= '7');
    int most = braces ? 8 : c == 'u' ? 4 : c == 'x' ? 2 : 3, n = 0;
    o->at += braces;
    o->at -= !braces && octal && c != 'o';
    for (*cp = 0; n < most; n++, o->at++) {
        int d = lower_case(peek(o, 0));
        int v = d >= '0' && d <= (octal ? '7' : '9') ? d - '0'
                : !octal && d >= 'a' && d <= 'f'     ? d - 'a' + 10
                                                     : -1;
        if (v < 0)
            break;
        *cp = *cp * (octal ? 8 : 16) + (uint32_t)v;
    }
    if (braces && peek(o, 0) != '}')
        return refuse(o, "a list of code points");
    o->at += braces;
    return *cp > 0x10FFFF ? refuse(o, "a code point") : 0;
}

static int translate_class(struct onig *o, struct buf *out);

/* Reads one operand of &&, up to "&&" or ']'. Members go to `set`. What PCRE2 does not allow in
 * brackets goes to `others`, each after a '|'. */
static int read_operand(struct onig *o, struct buf *set, struct buf *others, bool first) {
    for (;; first = false) {
        if (peek(o, 0) < 0)
            return refuse(o, "a class without an end");
        if ((peek(o, 0) == ']' && !first) || looking_at(o, "&&"))
            return 0;
        bool negated;
        struct buf part = {0};
        if (read_set(o, &part, &negated)) {
            if (negated)
                buf_fmt(others, "|[^%s]", part.p);
            else
                buf_add(set, part.p, part.n);
            buf_free(&part);
            continue;
        }
        buf_free(&part);
        if (peek(o, 0) == '[') {
            buf_byte(others, '|');
            if (translate_class(o, others) != 0)
                return -1;
            continue;
        }
        uint32_t low, high;
        if (read_class_char(o, &low) != 0)
            return -1;
        high = low;
        if (peek(o, 0) == '-' && peek(o, 1) != ']' && peek(o, 1) >= 0) {
            o->at++;
            if (peek(o, 0) == '[' ||
                (peek(o, 0) == '\\' && peek(o, 1) > 0 && strchr("wWdDsShHpP", peek(o, 1))))
                return refuse(o, "a range that ends in a class");
            if (read_class_char(o, &high) != 0)
                return -1;
        }
        buf_fmt(set, high == low ? "\\x{%x}" : "\\x{%x}-\\x{%x}", (unsigned)low, (unsigned)high);
    }
}

/* Translates the class at o->at, which is '['. */
static int translate_class(struct onig *o, struct buf *out) {
    if (++o->depth > MAX_NESTING)
        return refuse(o, "a deep nesting");
    o->at++;
    bool negated = peek(o, 0) == '^', first = true, more = true;
    o->at += negated;
    struct buf all = {0}; // all operands but the last as look-aheads, then the last
    int rc = 0;
    bool simple = false;
    while (more && rc == 0) {
        struct buf set = {0}, others = {0};
        rc = read_operand(o, &set, &others, first);
        more = rc == 0 && looking_at(o, "&&");
        simple = first && !more && others.n == 0;
        first = false;
        if (simple) {
            buf_fmt(&all,
                    set.n     ? "[%s%s]"
                    : negated ? "(?s:.)"
                              : "(?!)",
                    negated ? "^" : "", set.n ? set.p : "");
        } else {
            buf_str(&all, more ? "(?=" : "(?:");
            buf_fmt(&all, set.n ? "[%s]" : "(?!)", set.n ? set.p : "");
            buf_fmt(&all, "%s)", others.n ? others.p : "");
        }
        o->at += more ? 2 : 1;
        buf_free(&set);
        buf_free(&others);
    }
    if (rc == 0)
        buf_fmt(out, simple ? "%s" : negated ? "(?:(?!%s)(?s:.))" : "(?:%s)", all.p);
    buf_free(&all);
    o->depth--;
    return rc;
}

/* Translates the beginning of a group. Ruby's options are i, m (PCRE2's s) and x. */
static int translate_group(struct onig *o) {
    static const char *const same[] = {"(?:", "(?=", "(?!", "(?>", "(?<=", "(?<!"};
    if (peek(o, 1) != '?') {
        buf_byte(o->out, '(');
        o->at++;
        return 0;
    }
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        if (looking_at(o, same[i])) {
            buf_str(o->out, same[i]);
            o->at += strlen(same[i]);
            return 0;
        }
    int c = peek(o, 2);
    if (c == '#') {
        const char *end = memchr(o->in.p + o->at, ')', o->in.n - o->at);
        if (!end)
            return refuse(o, "a comment without an end");
        o->at = (size_t)(end - o->in.p) + 1;
        return 0;
    }
    if (c == '<' || c == '\'') { // a named group
        const char *name = o->in.p + o->at + 3,
                   *end = memchr(name, c == '<' ? '>' : '\'', o->in.n - o->at - 3);
        if (!end)
            return refuse(o, "a name without an end");
        buf_str(o->out, c == '<' ? "(?<" : "(?'");
        buf_add(o->out, name, (size_t)(end - name) + 1);
        o->at += 3 + (size_t)(end - name) + 1;
        return 0;
    }
    buf_str(o->out, "(?");
    bool on = true;
    for (o->at += 2; (c = peek(o, 0)) != ')' && c != ':'; o->at++) {
        if (c != 'i' && c != 'm' && c != 'x' && c != '-')
            return refuse(o, "a group option");
        on = on && c != '-';
        o->extended = c == 'x' ? on : o->extended;
        buf_byte(o->out, c == 'm' ? 's' : c);
    }
    buf_byte(o->out, c);
    o->at++;
    return 0;
}

/* These numbers of Latin-1 are in Oniguruma's \w and at its boundaries, but only outside of
 * brackets. */
static const char word_numbers[] = "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}";

/* Translates a '\' outside a class. */
static int translate_escape(struct onig *o) {
    struct buf set = {0};
    bool negated;
    struct str all = {o->in.p + o->at, o->in.n - o->at};
    if (read_set(o, &set, &negated)) {
        size_t name = 3u + (all.n > 3 && all.p[3] == '^'); // of \p{Word}, which means \w
        size_t n = (size_t)(o->in.p + o->at - all.p);
        bool word = all.p[1] == 'w' || all.p[1] == 'W' ||
                    (n > name && same_name((struct str){all.p + name, n - name - 1}, "word"));
        buf_fmt(o->out, "[%s%s%s]", negated ? "^" : "", set.p, word ? word_numbers : "");
        buf_free(&set);
        return 0;
    }
    int c = peek(o, 1);
    if (c < 0 || c == 'y' || c == 'Y' || c == 'g')
        return refuse(o, "an escape");
    if (c == 'b' || c == 'B') { // PCRE2's \w differs
        struct buf w = {0};
        add_named(&w, 10);
        buf_str(&w, word_numbers);
        buf_fmt(o->out,
                c == 'b' ? "(?:(?<=[%s])(?![%s])|(?<![%s])(?=[%s]))"
                         : "(?:(?<=[%s])(?=[%s])|(?<![%s])(?![%s]))",
                w.p, w.p, w.p, w.p);
        buf_free(&w);
        o->at += 2;
        return 0;
    }
    if (c == 'O') {
        buf_str(o->out, "(?s:.)");
        o->at += 2;
        return 0;
    }
    if (strchr("ARXNKGZzk123456789", c)) { // the same in PCRE2
        o->quantified = c == 'X';          // of any length
        if ((c == 'k' || (c >= '1' && c <= '9')) && !o->behind) {
            buf_str(o->out, "(?C)"); // its group may be of any length, too
            o->n_counted++;
            o->atom = o->out->n;
        }
        buf_byte(o->out, '\\');
        buf_byte(o->out, c);
        o->at += 2;
        return 0;
    }
    uint32_t cp;
    if (read_class_char(o, &cp) != 0)
        return -1;
    buf_fmt(o->out, "\\x{%x}", (unsigned)cp);
    return 0;
}

/* Inserts a callout with a number at a place in the output. Returns the bytes that were inserted.
 */
static size_t insert_callout(struct onig *o, size_t at, unsigned number) {
    struct buf tail = {0};
    buf_add(&tail, o->out->p + at, o->out->n - at);
    o->out->n = at;
    buf_fmt(o->out, "(?C%u)", number);
    size_t n = o->out->n - at;
    buf_add(o->out, tail.p, tail.n);
    buf_free(&tail);
    o->n_counted++;
    return n;
}

/* Counts an atom that must match `least` times: if it does not, that takes up to as many steps
 * without another callout. The callout's number is the logarithm of the steps. Returns the bytes
 * that were inserted. */
static size_t count_least(struct onig *o, size_t atom, size_t least) {
    enum { FEW = 16 };
    if (least < FEW || o->behind)
        return 0;
    unsigned log = 0;
    while ((size_t)1 << (log + 1) <= least)
        log++;
    return insert_callout(o, atom, log);
}

/* Translates "{n,m}" at o->at, a quantifier of the atom that begins at `atom` in the output. False
 * if it is plain text. */
static bool translate_braces(struct onig *o, size_t atom) {
    size_t i = o->at + 1, comma = 0, digits = 0, least = 0;
    for (; i < o->in.n && o->in.p[i] != '}'; i++) {
        if (o->in.p[i] == ',' && !comma)
            comma = i;
        else if (o->in.p[i] < '0' || o->in.p[i] > '9')
            return false;
        else if (++digits && !comma && least < MAX_REPEAT)
            least = 10 * least + (size_t)(o->in.p[i] - '0');
    }
    if (i >= o->in.n || digits == 0 || atom == SIZE_MAX)
        return false;
    atom += count_least(o, atom, least);
    bool group = i + 1 < o->in.n && (o->in.p[i + 1] == '+' || (o->in.p[i + 1] == '?' && !comma));
    if (group) { // "{n}+" repeats the repetition, "{n}?" makes it optional
        struct buf tail = {0};
        buf_add(&tail, o->out->p + atom, o->out->n - atom);
        o->out->n = atom;
        buf_str(o->out, "(?:");
        buf_add(o->out, tail.p, tail.n);
        buf_free(&tail);
    }
    buf_byte(o->out, '{');
    if (comma == o->at + 1)
        buf_byte(o->out, '0');
    buf_add(o->out, o->in.p + o->at + 1, i - o->at);
    if (group)
        buf_byte(o->out, ')');
    o->at = i + 1;
    return true;
}

/* The group that begins at `from`, without its ')'. If it is a look-behind of variable length, it
 * is rewritten with alternatives of fixed length. */
static void give_lengths(struct buf *out, size_t from) {
    enum { BEGIN = 4 }; // "(?<="
    struct buf fixed = {0};
    if (out->n - from < BEGIN || memcmp(out->p + from, "(?<", 3) != 0 ||
        (out->p[from + 3] != '=' && out->p[from + 3] != '!'))
        return;
    if (regex_behind((struct str){out->p + from + BEGIN, out->n - from - BEGIN}, &fixed)) {
        out->n = from + BEGIN;
        buf_add(out, fixed.p, fixed.n);
    }
    buf_free(&fixed);
}

/* '(' at o->at; begin is the end of the output so far. */
static int open_group(struct onig *o, size_t begin) {
    bool extended = o->extended;
    bool behind = looking_at(o, "(?<=") || looking_at(o, "(?<!");
    if (o->n_open == MAX_NESTING)
        return refuse(o, "a deep nesting");
    if (peek(o, 1) == '*')
        return refuse(o, "a verb");
    if (translate_group(o) != 0)
        return -1;
    if (o->in.p[o->at - 1] == ')') // (?#...) and (?i) open no group
        return 0;
    o->open[o->n_open++] = (struct onig_group){begin, o->out->n, o->n_counted, extended, o->behind};
    o->behind |= behind;
    return 0;
}

/* ')' at o->at. Without an open group, PCRE2 refuses it. */
static void close_group(struct onig *o) {
    const struct onig_group *group = o->n_open ? &o->open[--o->n_open] : NULL;
    if (group) {
        o->atom = group->begin;
        if (o->n_counted > group->n_counted)
            insert_callout(o, group->body, 0);
        if (!o->extended)
            give_lengths(o->out, group->begin);
        o->extended = group->extended;
        o->behind = group->behind;
    }
    buf_byte(o->out, ')');
    o->at++;
}

/* Writes the callout of the last quantifier, before c or the end of the pattern, c < 0. */
static void count_here(struct onig *o, int c) {
    bool at_end = o->n_open == 0 && (c < 0 || c == '|');
    if (o->quantified && !o->behind && !at_end) {
        buf_str(o->out, "(?C)");
        o->n_counted++;
    }
    o->quantified = false;
}

/* One atom, quantifier or comment. */
static int translate_next(struct onig *o) {
    size_t len;
    int c = peek(o, 0);
    if (c == '{' && translate_braces(o, o->atom)) {
        o->quantified = true;
        return 0;
    }
    if (c == '*' || c == '+' || c == '?') {
        buf_byte(o->out, c);
        o->quantified = true;
        o->at++;
        return 0;
    }
    bool ignored = o->extended && (c == '#' || c == ' ' || (c >= '\t' && c <= '\r'));
    if (!ignored) // a '+' of the quantifier may follow
        count_here(o, c);
    size_t begin = o->out->n;
    if (c == '#' && o->extended) {
        const char *end = memchr(o->in.p + o->at, '\n', o->in.n - o->at);
        o->at = end ? (size_t)(end - o->in.p) + 1 : o->in.n;
        return 0;
    }
    if (!ignored)
        o->atom = begin;
    if (c == '(')
        return open_group(o, begin);
    if (c == '[')
        return translate_class(o, o->out);
    if (c == '\\')
        return translate_escape(o);
    if (c == ')') {
        close_group(o);
    } else if (c == '{' || c == '#') {
        buf_byte(o->out, '\\');
        buf_byte(o->out, c);
        o->at++;
    } else {
        uni_next(o->in.p + o->at, &len);
        buf_add(o->out, o->in.p + o->at, len);
        o->at += len;
    }
    return 0;
}

int regex_from_onig(struct str pattern, struct buf *out, struct err *e) {
    struct onig o = {.in = pattern, .out = out, .e = e, .atom = SIZE_MAX};
    int rc = 0;
    if (utf8_valid(pattern.p, pattern.n) != pattern.n)
        return refuse(&o, "invalid UTF-8");
    buf_str(out, "");
    while (o.at < pattern.n && rc == 0)
        rc = translate_next(&o);
    count_here(&o, -1);
    return rc;
}
