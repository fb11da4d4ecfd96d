/* The fast ways of loading vocabularies and merges against plain ones.
 *
 * The fast code reads many bytes at a time and skips repeated bytes between values. The plain code
 * here reads byte by byte, through the JSON parser. Both get the same random files, many of them
 * mutated. They must give the same tables or the same error.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "tokens/vocab.h"

#include <stdlib.h>

#include "../lib/check.h"
#include "tokens/json_gap.h"
#include "base/utf8.h"
#include "tokens/bpe_merges.h"
#include "tokens/vocab_table.h"

static uint64_t seed = 1;

static uint32_t below(uint32_t n) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((seed >> 33) % n);
}

/* scan_plain finds the end of the plain bytes, in memory that ends at the text's end. */
static void plain_bytes(void) {
    static const char alphabet[] = "aaaaaaaa\xC4\xA0 \"\\\x1F\x7F!#";
    for (int round = 0; round < 20000; round++) {
        size_t n = below(50), from = below(8);
        char *text = xmalloc(n + from);
        for (size_t i = 0; i < n + from; i++)
            text[i] = below(4) ? 'x' : alphabet[below(sizeof alphabet - 1)];
        for (int spaces = 0; spaces < 2; spaces++) {
            size_t want = from;
            bool high = false, got_high = false;
            while (want < n + from && text[want] != '"' && text[want] != '\\' &&
                   (unsigned char)text[want] >= 0x21 - spaces)
                high |= (unsigned char)text[want++] >= 0x80;
            const char *got = scan_plain(text + from, text + from + n, spaces, &got_high);
            CHECK_INT(got - text, want);
            CHECK(got_high == high &&
                  scan_plain(text + from, text + from + n, spaces, NULL) == got);
        }
        free(text);
    }
}

/* scan_utf8 accepts only valid UTF-8, and it accepts what tokens usually are. */
static void short_utf8(void) {
    static const char *const parts[] = {"a",
                                        "\xC4\xA0",
                                        "\xE2\x96\x81",
                                        "\xE4\xB8\xAD",
                                        "\xC3",
                                        "\x80",
                                        "\xE0\x80\x80",
                                        "\xED\xA0\x80",
                                        "\xF0\x9F\x98\x80",
                                        "\xC1\x80",
                                        "\xEF\xBF\xBD",
                                        "\xFF",
                                        "\xE1\x80"};
    for (int round = 0; round < 100000; round++) {
        char text[64] = {0};
        size_t n = 0;
        for (uint32_t k = below(6); k > 0; k--) {
            const char *part = parts[below(below(3) ? 4 : sizeof parts / sizeof *parts)];
            memcpy(text + n, part, strlen(part));
            n += strlen(part);
        }
        n = n > 16 ? 16 : n;
        CHECK_MSG(!scan_utf8(text, n) || utf8_valid(text, n) == n, "accepted: %.*s", (int)n, text);
    }
    CHECK(scan_utf8("\xC4\xA0hello\0\0\0\0\0\0\0\0\0", 7));
#ifdef __SSE2__
    CHECK(scan_utf8("\xE2\x96\x81the\0\0\0\0\0\0\0\0\0\0", 6));
#endif
}

static void digits(void) {
    static const struct {
        const char *text;
        unsigned n;
        uint64_t value;
    } cases[] = {{"0,......", 1, 0},        {"7}......", 1, 7},        {"1234567,", 7, 1234567},
                 {"12345678", 8, 12345678}, {"-1......", 0, 0},        {",1......", 0, 0},
                 {"50256\n\n\n", 5, 50256}, {"00012...", 5, 12},       {"9:......", 1, 9},
                 {"9/......", 1, 9},        {"42\xB1\xB2....", 2, 42}, {"99999999", 8, 99999999}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t value = 0;
        CHECK_INT(scan_digits(cases[i].text, &value), cases[i].n);
        CHECK_INT(value, cases[i].value);
    }
}

static void regions(void) {
    struct region r = {0};
    region_begin(&r, 100);
    char *a = region_take(&r, 10), *b = region_take(&r, 1000);
    size_t n = 1000;
    memset(a, 1, 10);
    memset(b, 2, n);
    for (int i = 0; i < 14; i++, n *= 2) { // past the first block, and past the size of big pages
        b = region_grow(&r, b, n, 2 * n);
        for (size_t k = 0; k < 2 * n; k += 97)
            CHECK(b[k] == (k < n ? 2 : 0));
        memset(b, 2, 2 * n);
    }
    b = region_grow(&r, b, n, 10);
    char *c = region_take(&r, 5000);
    CHECK(c >= b + 10 && (uintptr_t)c % 64 == 0 && a[9] == 1 && b[9] == 2);
    region_free(&r);
}

/* Writes a random token, sometimes a difficult one. */
static void add_token(struct buf *out, uint32_t i) {
    static const char *const odd[] = {"",
                                      "\\u0120t",
                                      "\\\"",
                                      "a b",
                                      "\xE2\x96\x81",
                                      "\xF0\x9F\x98\x80",
                                      "abcdefghijk",
                                      "abcdefghijkl",
                                      "a token that is longer than sixteen bytes",
                                      "#version",
                                      "\\u0000",
                                      "x\\u0000"};
    if (below(12) == 0)
        buf_str(out, odd[below(sizeof odd / sizeof *odd)]);
    else
        buf_fmt(out, "%s%x", below(3) ? "" : "\xC4\xA0",
                (unsigned)(below(3) ? i * 2654435761u : i));
}

/* Returns an exact copy, so that a read past its end is an error. Sometimes some bytes are
 * changed. */
static char *mutate(struct buf *text) {
    char *copy = xmalloc(text->n);
    memcpy(copy, text->p, text->n);
    for (uint32_t k = below(3) ? 0 : 1 + below(2); k > 0; k--)
        copy[below((uint32_t)text->n)] = "\",:{}[]0 9\\x\n\xC4"[below(14)];
    if (below(10) == 0)
        text->n -= below((uint32_t)text->n);
    return copy;
}

static void plainly(struct vocab *v, struct json *j) {
    struct str piece;
    vocab_begin(v, 1, false);
    json_enter_object(j);
    while (json_key(j, &piece)) {
        uint64_t id = json_u64(j);
        if (id > VOCAB_MAX_ID)
            json_refuse(j, "token id %llu, more than %d", (unsigned long long)id, VOCAB_MAX_ID);
        if (!json_failed(j))
            vocab_add(v, piece, (uint32_t)id);
    }
}

static void same_vocab(const struct vocab *a, const struct vocab *b) {
    CHECK_INT(a->count, b->count);
    CHECK_INT(a->size, b->size);
    CHECK_INT(a->longest, b->longest);
    for (uint32_t k = 0; k < a->count && k < b->count; k++) {
        struct str s = {a->entries[k].p, a->entries[k].n};
        CHECK(str_same(s, (struct str){b->entries[k].p, b->entries[k].n}));
        CHECK_INT(vocab_find_name(a, s), vocab_find_name(b, s));
        CHECK_INT(vocab_find_name(a, s), b->entries[k].id);
    }
    for (uint32_t id = 0; id < a->size; id++)
        CHECK(str_same(vocab_piece(a, id), vocab_piece(b, id)));
    CHECK_INT(vocab_find_name(a, str_of("no such token")), NO_ID);
    CHECK_INT(vocab_find_name(a, str_of("nosuch")), NO_ID);
}

static void vocabularies(void) {
    static const char *const shapes[][3] = {{"{\"", "\":", ",\""},
                                            {"{\n      \"", "\": ", ",\n      \""},
                                            {" { \"", "\" :\t", " ,\r\n\""}};
    for (int round = 0; round < 3000; round++) {
        const char *const *shape = shapes[below(3)];
        struct buf text = {0};
        uint32_t n = below(200), first = below(10) ? 0 : below(1000);
        for (uint32_t i = 0; i < n; i++) {
            buf_str(&text, i ? shape[2] : shape[0]);
            add_token(&text, i);
            buf_fmt(&text, "%s%u", shape[1], (unsigned)(below(300) ? first + i : below(1u << 26)));
        }
        buf_str(&text, n ? "}" : "{}");
        char *copy = mutate(&text);
        struct vocab a, b;
        struct region mem = {0};
        struct err ea = {0}, eb = {0};
        struct json ja, jb;
        region_begin(&mem, below(2) ? 1000 : 1 << 20);
        json_init(&ja, "vocab", copy, text.n, &ea);
        json_init(&jb, "vocab", copy, text.n, &eb);
        vocab_load(&a, &ja, false, &mem);
        plainly(&b, &jb);
        CHECK_STR(ea.msg, eb.msg);
        CHECK(ja.p == jb.p);
        if (!json_failed(&ja) && !json_failed(&jb))
            same_vocab(&a, &b);
        vocab_free(&a);
        vocab_free(&b);
        json_free(&ja);
        json_free(&jb);
        region_free(&mem);
        buf_free(&text);
        free(copy);
    }
}

/* Keys of all lengths, made from exact copies and from longer texts. */
static void keys(void) {
    char text[] = "abcdefghijklmnopqrstuvwxyz\0\0\0";
    for (size_t n = 0; n < 20; n++) {
        char *exact = xmalloc(n);
        memcpy(exact, text, n);
        struct vocab_key a = vocab_key(exact, n), b = vocab_key16(text, n),
                         c = vocab_key16(text, n + 1);
        CHECK(a.low == b.low && a.tag == b.tag);
        CHECK(a.low != c.low || a.tag != c.tag);
        free(exact);
    }
}

struct merge_list {
    struct bpe_merge *list;
    uint32_t count;
};

/* Reads the merges one by one. */
static void merges_plainly(struct merge_list *m, const struct vocab *v, struct json *j) {
    json_enter_array(j);
    while (json_item(j)) {
        struct str left, right;
        if (json_peek(j) == JSON_ARRAY) {
            json_enter_array(j);
            left = json_item(j) ? json_str_unchecked(j) : (struct str){0};
            right = json_item(j) ? json_str_unchecked(j) : (struct str){0};
            if (json_item(j))
                json_refuse(j, "expected two tokens in a merge, found more");
            if (!left.p || !right.p)
                json_refuse(j, "expected two tokens in a merge, found fewer");
        } else {
            struct str s = json_str_unchecked(j);
            if (s.n >= 8 && memcmp(s.p, "#version", 8) == 0)
                continue;
            const char *space = s.n ? memchr(s.p, ' ', s.n) : NULL;
            left = (struct str){s.p, space ? (size_t)(space - s.p) : 0};
            right = space ? (struct str){space + 1, s.n - left.n - 1} : (struct str){0};
            if (!space || (right.n && memchr(right.p, ' ', right.n)))
                json_refuse(j, "expected two tokens and a space in a merge");
        }
        if (json_failed(j))
            break;
        char *both = xasprintf("%.*s%.*s", (int)left.n, left.p, (int)right.n, right.p);
        uint32_t ids[] = {vocab_find_name(v, left), vocab_find_name(v, right),
                          vocab_find_name(v, (struct str){both, left.n + right.n})};
        const struct str missing = ids[0] == NO_ID   ? left
                                   : ids[1] == NO_ID ? right
                                                     : (struct str){both, left.n + right.n};
        if (ids[0] == NO_ID || ids[1] == NO_ID || ids[2] == NO_ID)
            json_refuse(j, "a merge's %s \"%.*s\" is not in the vocabulary",
                        ids[0] == NO_ID || ids[1] == NO_ID ? "token" : "result", (int)missing.n,
                        missing.p);
        m->list = xreallocarray(m->list, m->count + 1, sizeof *m->list);
        m->list[m->count++] = (struct bpe_merge){ids[0], ids[1], ids[2]};
        free(both);
    }
}

static void same_merges(const struct bpe_merges *a, const struct merge_list *b) {
    CHECK_INT(a->count, b->count);
    for (uint32_t i = 0; i < b->count && i < a->count; i++) {
        const struct bpe_merge *x = &b->list[i], *found = bpe_find(a, x->left, x->right);
        CHECK(memcmp(&a->list[i], x, sizeof *x) == 0);
        uint32_t last = i; // of equal pairs the later one counts
        for (uint32_t k = i + 1; k < b->count; k++)
            if (b->list[k].left == x->left && b->list[k].right == x->right)
                last = k;
        CHECK(found == &a->list[last]);
        CHECK(bpe_find(a, x->left + 1000, x->right) == NULL);
    }
}

/* Loads a mutated copy of the list `text` in both ways and compares. */
static void compare_merges(struct buf *text, const struct vocab *v) {
    char *copy = mutate(text);
    struct region mem = {0};
    struct err ea = {0}, eb = {0};
    struct json ja, jb;
    struct bpe_merges a = {0};
    struct merge_list b = {0};
    json_init(&ja, "merges", copy, text->n, &ea);
    json_init(&jb, "merges", copy, text->n, &eb);
    region_begin(&mem, 1000);
    bpe_merges_load(&a, v, (struct str){0}, &ja, &mem);
    merges_plainly(&b, v, &jb);
    CHECK(json_failed(&ja) == json_failed(&jb));
    if (!json_failed(&ja) && !json_failed(&jb))
        same_merges(&a, &b);
    json_free(&ja);
    json_free(&jb);
    region_free(&mem);
    free(b.list);
    free(copy);
}

/* Merges of a few letters, so that most of their tokens exist. */
static void merges(void) {
    static const char *const shapes[][4] = {{"[[\"", "\",\"", "\"],[\"", "\"]]"},
                                            {"[\n      [\n        \"", "\",\n        \"",
                                             "\"\n      ],\n      [\n        \"",
                                             "\"\n      ]\n    ]"},
                                            {"[\"", " ", "\",\"", "\"]"},
                                            {"[\n      \"", " ", "\",\n      \"", "\"\n    ]"}};
    static const char *const letters[] = {"a", "b", "\xC4\xA0", "#", "\xE2\x96\x81", "\\n"};
    for (int round = 0; round < 3000; round++) {
        const char *const *shape = shapes[below(4)];
        char *tokens[200];
        uint32_t n_tokens = 0, n = below(150);
        struct buf text = {0};
        struct vocab v;
        for (size_t i = 0; i < sizeof letters / sizeof *letters; i++)
            tokens[n_tokens++] = xstrdup(letters[i]);
        for (uint32_t i = 0; i < n; i++) {
            const char *left = tokens[below(n_tokens)], *right = tokens[below(n_tokens)];
            if (strlen(left) + strlen(right) > 60)
                continue;
            buf_fmt(&text, "%s%s%s%s", text.n ? shape[2] : shape[0], left, shape[1], right);
            if (below(2000))
                tokens[n_tokens++] = xasprintf("%s%s", left, right);
        }
        buf_str(&text, text.n ? shape[3] : "[]");
        vocab_begin(&v, 1, false);
        for (uint32_t i = 0; i < n_tokens; i++) {
            for (char *p = tokens[i]; (p = strstr(p, "\\n"));) { // undo the escape
                *p = '\n';
                memmove(p + 1, p + 2, strlen(p + 2) + 1);
            }
            vocab_add(&v, str_of(tokens[i]), i);
        }
        compare_merges(&text, &v);
        vocab_free(&v);
        buf_free(&text);
        for (uint32_t i = 0; i < n_tokens; i++)
            free(tokens[i]);
    }
}

/* ---- Hash flooding ---- */

enum { FLOOD = 64, FLOOD_BUCKETS = 4096 };

/* Finds FLOOD texts of one bucket, as someone who knows the secret could. */
static void find_colliding(const struct vocab *v, const char *format, char texts[FLOOD][32]) {
    size_t n = 0, bucket = 0;
    for (unsigned i = 0; n < FLOOD; i++) {
        snprintf(texts[n], sizeof texts[n], format, i);
        size_t b = vocab_bucket(v, vocab_key(texts[n], strlen(texts[n])));
        bucket = n == 0 ? b : bucket;
        n += b == bucket;
    }
}

/* The most texts that share a bucket. */
static size_t most_in_bucket(const struct vocab *v, char texts[FLOOD][32]) {
    size_t most = 0, n[FLOOD_BUCKETS] = {0};
    for (size_t i = 0; i < FLOOD; i++) {
        size_t b = vocab_bucket(v, vocab_key(texts[i], strlen(texts[i])));
        most = ++n[b % FLOOD_BUCKETS] > most ? n[b % FLOOD_BUCKETS] : most;
    }
    return most;
}

/* Tokens that collide under one secret do not under another. */
static void flooding(void) {
    static const char *const formats[] = {"%07x", "aaaaaaaaaaaa%08x", "%06xbbbbbbbbbbbbbbb"};
    static char texts[FLOOD][32];
    bytes_secret_make();
    uint64_t before[4];
    memcpy(before, bytes_secret, sizeof before);
    for (size_t f = 0; f < sizeof formats / sizeof *formats; f++) {
        struct vocab v = {0};
        vocab_buckets(&v, 2 * FLOOD_BUCKETS);
        find_colliding(&v, formats[f], texts);
        CHECK_INT(most_in_bucket(&v, texts), FLOOD);
        for (size_t i = 0; i < 4; i++)
            bytes_secret[i] ^= (uint64_t)below(UINT32_MAX) << 32 | (below(UINT32_MAX) & ~1u);
        CHECK(most_in_bucket(&v, texts) < 8);
        memcpy(bytes_secret, before, sizeof before);
    }
}

/* This program, started again, draws another secret. */
static const char *this_program;

static void secret_is_drawn(void) {
    char lines[2][128] = {{0}};
    char *command = xasprintf("'%s' --secret", this_program);
    for (size_t i = 0; i < 2; i++) {
        FILE *f = popen(command, "r");
        CHECK(f && fgets(lines[i], sizeof lines[i], f));
        if (f)
            pclose(f);
    }
    free(command);
    CHECK(strlen(lines[0]) == 65 && strcmp(lines[0], lines[1]) != 0);
}

int main(int argc, char **argv) {
    this_program = argv[0];
    if (argc == 2 && strcmp(argv[1], "--secret") == 0) {
        bytes_secret_make();
        for (size_t i = 0; i < 4; i++)
            printf("%016llx", (unsigned long long)bytes_secret[i]);
        putchar('\n');
        return 0;
    }
    RUN(plain_bytes);
    RUN(short_utf8);
    RUN(digits);
    RUN(regions);
    RUN(keys);
    RUN(vocabularies);
    RUN(merges);
    RUN(flooding);
    RUN(secret_is_drawn);
    return check_done();
}
