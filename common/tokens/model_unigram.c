/* Unigram: of all ways to write a word in tokens, the one with the highest sum of scores (Kudo
 * 2018).
 *
 * Dynamic programming finds it. nodes[i] is the best way to write the first i bytes, and the trie
 * lists the tokens that begin there:
 *
 *     "▁hello"    "▁hell" + "o"   -8.1 - 6.2 = -14.3
 *                 "▁hello"        -9.7            best
 *
 * A character without a token of its own costs the lowest score - 10 and becomes unk. A run of them
 * is one unk, or with byte_fallback the <0xNN> tokens of its bytes. Of equal sums the token that
 * begins earlier wins, as in the reference. Sums are double and added from the left.
 *
 * At each character the trie is followed as far as a token may go. Where tokens of thousands of
 * bytes make that quadratic, the word is refused.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "tokens/json_gap.h"
#include "base/utf8.h"
#include "tokens/component.h"
#include "tokens/model.h"
#include "tokens/trie.h"
#include "unicode/unicode.h"

enum { STEPS_A_BYTE = 256 }; // most steps in the trie for each byte of a word

struct unigram {
    double *scores; // [n] by id
    size_t n;
    struct trie_lists lists;
    double unk_score;
    uint32_t unk; // id of the unknown token, or NO_ID
    bool byte_fallback;
    uint32_t byte_ids[256];
};

/* 10^n as the nearest double, for n in [0, 308]. Up to 22 it is exact. */
static double power_of_ten(int n) {
    static const double exact[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                   1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                   1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    char text[16];
    if (n < (int)(sizeof exact / sizeof *exact))
        return exact[n];
    snprintf(text, sizeof text, "1e%d", n);
    return strtod(text, NULL);
}

/* Reads a score as the reference reads numbers (serde_json). Digits go into 64 bits as far as they
 * fit. One multiplication or division by a power of ten follows. The result is not always the
 * nearest double, and the last bit decides between equal sums. */
static double read_score(struct json *j, struct str *text) {
    json_peek(j);
    struct str s = *text = json_skip(j);
    uint64_t digits = 0;
    int64_t exponent = 0, given = 0;
    size_t i = s.n && s.p[0] == '-';
    bool fraction = false, full = false;
    for (; i < s.n && (s.p[i] == '.' || (s.p[i] >= '0' && s.p[i] <= '9')); i++) {
        if (s.p[i] == '.') {
            fraction = true;
            continue;
        }
        uint64_t digit = (uint64_t)(s.p[i] - '0');
        full |= digits >= UINT64_MAX / 10 && digits > (UINT64_MAX - digit) / 10;
        if (!full)
            digits = digits * 10 + digit;
        exponent += full ? !fraction : -(int64_t)fraction;
    }
    if (i < s.n && (s.p[i] | 0x20) == 'e') {
        bool minus = s.p[++i] == '-';
        i += s.p[i] == '-' || s.p[i] == '+';
        for (; i < s.n && given < 100000; i++)
            given = given * 10 + (s.p[i] - '0');
        exponent += minus ? -given : given;
    }
    double f = (double)digits;
    for (; exponent < -308 && f != 0; exponent += 308)
        f /= 1e308;
    if (exponent > 308 && f != 0)
        f = HUGE_VAL;
    else if (f != 0)
        f = exponent >= 0 ? f * power_of_ten((int)exponent) : f / power_of_ten((int)-exponent);
    if (isinf(f) || s.n == 0 || (s.p[0] != '-' && (s.p[0] < '0' || s.p[0] > '9')))
        json_refuse(j, "the score is not a number in range");
    return s.n && s.p[0] == '-' ? -f : f;
}

/* The bytes before a token's text, between the text and its score, and after the score. */
struct gaps {
    struct json_gap begin, mid, end;
    bool known;
};

enum { SCANNED = 16, MOST_DIGITS = 19, NUMBER = 48, AHEAD = 2 * JSON_GAP_BYTES + NUMBER };

/* Reads a number of at most MOST_DIGITS digits without an exponent. NUMBER bytes must be readable
 * at *at. False for other numbers. */
static inline bool quick_number(const char **at, double *score) {
    static const uint64_t tens[] = {1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000};
    const char *p = *at;
    bool minus = *p == '-';
    p += minus;
    uint64_t v = 0, more = 0;
    unsigned n = scan_digits(p, &v), fraction = 0;
    if (n == 0 || n == 8 || (*p == '0' && n > 1))
        return false;
    p += n;
    if (*p == '.') {
        p++;
        do {
            n = scan_digits(p, &more);
            v = v * tens[n] + (n ? more : 0);
            fraction += n;
            p += n;
        } while (n == 8 && fraction < MOST_DIGITS); // at most 24 digits
        if (fraction == 0)
            return false;
    }
    if (p - *at - minus - (fraction > 0) > MOST_DIGITS)
        return false;
    double f = v && fraction ? (double)v / power_of_ten((int)fraction) : (double)v;
    *score = minus ? -f : f;
    *at = p;
    return true;
}

/* Reads a token and its score if the bytes around them are those of the previous one. False if not:
 * nothing is read then. */
static inline bool quick_token(struct json *j, const struct gaps *g, struct str *piece,
                               double *score) {
    const char *p = j->p, *safe = j->end - AHEAD; // AHEAD bytes are readable up to here
    bool high = false;
    if (!g->known || j->end - p < AHEAD || !json_gap_skip(&g->begin, &p))
        return false;
    const char *from = p;
    p = scan_plain(p, safe, true, &high);
    size_t n = (size_t)(p - from);
    if (p > safe || !json_gap_skip(&g->mid, &p) || !quick_number(&p, score) ||
        !json_gap_skip(&g->end, &p))
        return false;
    if (high && !(n <= SCANNED && scan_utf8(from, n)) && utf8_valid(from, n) != n)
        return false;
    j->p = p;
    *piece = (struct str){from, n};
    return true;
}

/* Reads any token and learns the gaps around it. False after the last token. */
static bool slow_token(struct json *j, struct gaps *g, struct str *piece, double *score) {
    const char *before = j->p, *number = j->p, *after = j->p;
    bool first = j->fresh; // no comma before it
    if (!json_item(j))
        return false;
    json_enter_array(j);
    *piece = json_item(j) ? json_str(j) : (struct str){0};
    *score = 0;
    if (json_item(j)) {
        struct str s;
        *score = read_score(j, &s);
        number = s.p;
        after = s.p + s.n;
    }
    if (json_item(j) || !piece->p)
        json_refuse(j, "expected a token and its score");
    g->known = !first && json_gap_learn(&g->begin, j, before, piece->p) &&
               json_gap_learn(&g->mid, j, piece->p + piece->n, number) &&
               json_gap_learn(&g->end, j, after, j->p);
    return true;
}

static void load_vocab(struct tok_model *m, struct unigram *u, struct json *j) {
    enum { BYTES = 24 }; // of a token and its score: a first guess of their number
    size_t cap = (size_t)(j->end - j->p) / BYTES + 64;
    double least = 0, score;
    struct gaps gaps = {0};
    struct str piece;
    free(u->scores);
    u->scores = xreallocarray(NULL, cap, sizeof *u->scores);
    vocab_begin_load(&m->vocab, j, false);
    m->vocab.is_list = true;
    json_enter_array(j);
    while (quick_token(j, &gaps, &piece, &score) || slow_token(j, &gaps, &piece, &score)) {
        if (u->n > VOCAB_MAX_ID)
            json_refuse(j, "more than %d tokens", VOCAB_MAX_ID + 1);
        if (json_failed(j))
            return;
        if (u->n == cap)
            u->scores = xreallocarray(u->scores, cap *= 2, sizeof *u->scores);
        least = u->n == 0 || score < least ? score : least;
        vocab_append(&m->vocab, piece, (uint32_t)u->n, &m->mem);
        u->scores[u->n++] = score;
    }
    if (json_failed(j))
        return;
    vocab_index(&m->vocab, &m->mem);
    m->n_listed = (uint32_t)u->n;
    u->unk_score = least - 10;
}

static void load(struct tok_model *m, struct json *j) {
    struct unigram *u = xcalloc(1, sizeof *u);
    struct str key;
    bool vocab = false;
    m->data = u;
    m->byte_level = false;
    u->unk = NO_ID;
    json_enter_object(j);
    while (json_key(j, &key))
        if (str_eq(key, "vocab")) {
            vocab_free(&m->vocab);
            u->n = 0;
            load_vocab(m, u, j);
            vocab = true;
        } else if (str_eq(key, "unk_id") && json_peek(j) != JSON_NULL) {
            uint64_t id = json_u64(j);
            u->unk = id > VOCAB_MAX_ID ? VOCAB_MAX_ID : (uint32_t)id;
        } else if (str_eq(key, "byte_fallback")) {
            u->byte_fallback = json_bool(j);
        } else {
            m->misjudged |= str_eq(key, "type") || str_eq(key, "merges");
            json_skip(j);
        }
    component_need(j, vocab, "Unigram", "vocab");
    if (u->unk != NO_ID && u->unk >= u->n)
        json_refuse(j, "unk_id is %u, but the vocabulary has %zu tokens", (unsigned)u->unk, u->n);
    if (json_failed(j))
        return;
    if (!trie_list(&u->lists, &m->vocab, &m->mem)) {
        json_refuse(j, "the tokens need a trie of more than %d nodes", TRIE_MAX_NODES);
        return;
    }
    for (int byte = 0; byte < 256; byte++) {
        char name[8];
        snprintf(name, sizeof name, "<0x%02X>", (unsigned)byte);
        u->byte_ids[byte] = vocab_find_name(&m->vocab, str_of(name));
    }
}

static void unload(void *data) {
    struct unigram *u = data;
    free(u->scores);
    free(u);
}

/* The best way to write the word up to this byte. */
struct node {
    double score;
    uint32_t id, start; // of its last token; start == NO_ID: no way is known
};

struct scratch {
    struct node *nodes; // [word.n + 1]
    size_t cap;
    struct trie trie;
    uint32_t *ends; // the ends of the path's tokens, last first
    size_t ends_cap;
};

static void *scratch_new(const struct tok_model *m) {
    const struct unigram *u = m->data;
    struct scratch *s = xcalloc(1, sizeof *s);
    trie_begin(&s->trie, &m->vocab, &u->lists);
    return s;
}

static void scratch_free(void *scratch) {
    struct scratch *s = scratch;
    trie_free(&s->trie);
    free(s->nodes);
    free(s->ends);
    free(s);
}

static int too_slow(struct err *e) {
    return err_set(e, EXIT_DATA,
                   "a word takes more than %d steps a byte: the vocabulary has long tokens that "
                   "often begin but do not end",
                   STEPS_A_BYTE);
}

static void offer(struct node *n, double score, uint32_t id, size_t start) {
    if (n->start == NO_ID || score > n->score)
        *n = (struct node){score, id, (uint32_t)start};
}

/* Fills nodes[1 .. word.n]. */
static int find_path(const struct tok_model *m, struct trie *trie, struct node *nodes,
                     struct str word, struct err *e) {
    const struct unigram *u = m->data;
    uint64_t steps = 0, most = (uint64_t)word.n * STEPS_A_BYTE;
    for (size_t i = 0; i <= word.n; i++)
        nodes[i] = (struct node){0, 0, NO_ID};
    for (size_t start = 0, len; start < word.n; start += len) {
        double score = nodes[start].score;
        bool single = false;
        uint32_t at = 0;
        len = uni_len(word.p[start]);
        if (len > word.n - start)
            return err_set(e, EXIT_DATA, "a word is cut inside a character");
        trie_ready(trie, word.p + start, word.n - start);
        size_t i = start;
        for (; i < word.n && (at = trie_step(trie, at, (unsigned char)word.p[i])) != 0; i++) {
            uint32_t id = trie->ids[at];
            if (id == NO_ID || model_is_control(m, id))
                continue;
            offer(&nodes[i + 1], u->scores[id] + score, id, start);
            single |= i + 1 - start == len;
        }
        if ((steps += i - start) > most)
            return too_slow(e);
        if (single)
            continue;
        struct node *next = &nodes[start + len];
        if (u->unk == NO_ID && (next->start == NO_ID || u->unk_score + score > next->score))
            return err_set(e, EXIT_DATA,
                           "a character is not in the vocabulary, and the model has no unk_id");
        offer(next, u->unk_score + score, u->unk, start);
    }
    return 0;
}

/* Adds one part of the path: a token, or a run of unknown characters. */
static void add(const struct tok_model *m, struct str word, size_t start, size_t end, uint32_t id,
                struct token_ids *out) {
    const struct unigram *u = m->data;
    if (id != u->unk) {
        token_ids_add(out, id, start, end);
        return;
    }
    // The run may be a token's text by chance. Then it is that token.
    uint32_t whole = model_find(m, word.p + start, end - start);
    bool bytes = whole == NO_ID && u->byte_fallback;
    for (size_t i = start; i < end && bytes; i++)
        bytes = u->byte_ids[(unsigned char)word.p[i]] != NO_ID;
    if (!bytes) {
        token_ids_add(out, whole == NO_ID ? u->unk : whole, start, end);
        return;
    }
    for (size_t i = start; i < end; i++)
        token_ids_add(out, u->byte_ids[(unsigned char)word.p[i]], start, end);
}

static int encode(const struct tok_model *m, void *scratch, struct str word, struct token_ids *out,
                  struct err *e) {
    const struct unigram *u = m->data;
    struct scratch *s = scratch;
    if (word.n + 1 > s->cap) {
        s->cap = word.n + 1 > 256 ? word.n + 1 : 256;
        s->nodes = xreallocarray(s->nodes, s->cap, sizeof *s->nodes);
        s->ends = xreallocarray(s->ends, s->cap, sizeof *s->ends);
    }
    if (find_path(m, &s->trie, s->nodes, word, e) != 0)
        return -1;
    size_t n = 0;
    for (size_t end = word.n; end > 0; end = s->nodes[end].start)
        s->ends[n++] = (uint32_t)end;
    while (n > 0) {
        const struct node *node = &s->nodes[s->ends[--n]];
        size_t start = node->start, end = s->ends[n];
        while (u->unk != NO_ID && node->id == u->unk && n > 0 &&
               s->nodes[s->ends[n - 1]].id == u->unk)
            end = s->ends[--n];
        add(m, word, start, end, node->id, out);
    }
    return 0;
}

const struct tok_model_kind model_unigram = {"Unigram",   load,         unload,
                                             scratch_new, scratch_free, encode};
