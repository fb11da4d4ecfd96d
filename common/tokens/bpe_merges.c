/* Reading the merges of a BPE model: see bpe_merges.h.
 *
 * Most of the time would be spent on waiting for memory. Each merge needs two or three look-ups of
 * texts, which are spread over the whole vocabulary. So merges are read in batches. Each step is
 * done for a whole batch, and prefetches what the next step reads.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdlib.h>

#include "base/scan.h"
#include "tokens/bpe_merges.h"
#include "tokens/json_gap.h"
#include "tokens/vocab_table.h"

enum { BATCH = 64, SCANNED = 16 };
#define MISSING "not in the vocabulary"

struct line {
    struct str left, right;
    struct vocab_key left_key, right_key;
    const char *at;   // position after it in the file, for messages
    bool short_texts; // both texts have less than 16 bytes, and 16 are readable
};

struct loader {
    struct bpe_merges *m;
    const struct vocab *v;
    struct json *j;
    struct region *mem;
    size_t cap; // entries of m->list
    struct str prefix;
    uint32_t guess; // the entry that the last merge made
    struct json_gap begin, mid,
        // The gaps before the left text, between the two, and after the right one.
        end;
    bool known, pairs; // known: the gaps have been learned; pairs: ["a", "b"], not "a b"
    struct buf room;
    struct line lines[BATCH];
    size_t n;
};

/* Reads a merge if the bytes around it are those of the previous one. False if not: nothing is read
 * then. UTF-8 is not checked, because the texts must be in the vocabulary. */
static inline bool quick_line(const struct loader *l, struct json *j, struct line *line,
                              bool pairs) {
    const char *p = j->p, *safe = j->end - JSON_GAP_BYTES; // a gap is readable up to here
    if (!l->known || j->end - p < JSON_GAP_BYTES || !json_gap_skip(&l->begin, &p))
        return false;
    const char *left = p;
    p = scan_plain(p, safe, pairs, NULL);
    size_t left_n = (size_t)(p - left);
    if (p > safe || !json_gap_skip(&l->mid, &p))
        return false;
    const char *right = p;
    p = scan_plain(p, safe, pairs, NULL);
    size_t right_n = (size_t)(p - right);
    if (p > safe || !json_gap_skip(&l->end, &p) || (!pairs && *left == '#'))
        return false;
    j->p = p;
    *line = (struct line){{left, left_n},
                          {right, right_n},
                          vocab_key16(left, left_n),
                          vocab_key16(right, right_n),
                          p,
                          (left_n | right_n) < SCANNED};
    return true;
}

static bool read_pair(struct json *j, struct line *line) {
    json_enter_array(j);
    line->left = json_item(j) ? json_str_unchecked(j) : (struct str){0};
    line->right = json_item(j) ? json_str_unchecked(j) : (struct str){0};
    if (json_item(j))
        json_refuse(j, "expected two tokens in a merge, found more");
    if (!line->left.p || !line->right.p)
        json_refuse(j, "expected two tokens in a merge, found fewer");
    return !json_failed(j);
}

static bool read_text(struct json *j, struct line *line) {
    struct str s = json_str_unchecked(j);
    if (s.n >= 8 && memcmp(s.p, "#version", 8) == 0)
        return false;
    const char *space = s.n ? memchr(s.p, ' ', s.n) : NULL;
    line->left = (struct str){s.p, space ? (size_t)(space - s.p) : 0};
    line->right = space ? (struct str){space + 1, s.n - line->left.n - 1} : (struct str){0};
    if (!space || (line->right.n && memchr(line->right.p, ' ', line->right.n)))
        json_refuse(j, "expected two tokens and a space in a merge");
    return !json_failed(j);
}

/* Reads any merge and learns the gaps around it. `before` is where the last one ended. False if j
 * is refused or the line is a comment. */
static bool slow_line(struct loader *l, struct line *line, const char *before, bool first) {
    struct json *j = l->j;
    l->pairs = json_peek(j) == JSON_ARRAY;
    if (l->pairs ? !read_pair(j, line) : !read_text(j, line))
        return false;
    l->known = !first && // no comma before it
               json_gap_learn(&l->begin, j, before, line->left.p) &&
               json_gap_learn(&l->mid, j, line->left.p + line->left.n, line->right.p) &&
               json_gap_learn(&l->end, j, line->right.p + line->right.n, j->p);
    line->short_texts = false;
    line->at = j->p;
    line->left_key = vocab_key(line->left.p, line->left.n);
    line->right_key = vocab_key(line->right.p, line->right.n);
    return true;
}

static bool refuse(struct loader *l, const struct line *line, const char *what, struct str s,
                   const char *fault) {
    l->j->p = line->at;
    json_refuse(l->j, "a merge's %s \"%.*s\" is %s", what, s.n > 100 ? 100 : (int)s.n, s.p, fault);
    return false;
}

/* Whether the text of entry k is left and then tail. */
static inline bool is_made(const struct vocab *v, uint32_t k, struct str left, struct str tail,
                           bool short_texts) {
    if (k >= v->count || v->entries[k].n != left.n + tail.n)
        return false;
    const char *p = v->entries[k].p;
    if (short_texts && vocab_readable16(v, p + left.n))
        return scan_same(p, left.p, left.n) && scan_same(p + left.n, tail.p, tail.n);
    return bytes_same(p, left.p, left.n) && bytes_same(p + left.n, tail.p, tail.n);
}

/* Returns the entry of left and tail together. Merges mostly make tokens in the order of the
 * vocabulary, some of them several times. */
static inline uint32_t find_made(struct loader *l, struct str left, struct str tail,
                                 bool short_texts) {
    for (uint32_t k = l->guess; k < l->guess + 2; k++)
        if (is_made(l->v, k, left, tail, short_texts))
            return k;
    buf_clear(&l->room);
    buf_add(&l->room, left.p, left.n);
    buf_add(&l->room, tail.p, tail.n);
    return vocab_entry(l->v, vocab_key(l->room.p, l->room.n), l->room.p, l->room.n);
}

static struct bpe_merge *next_merge(struct loader *l) {
    struct bpe_merges *m = l->m;
    if (m->count == l->cap) {
        size_t cap = l->cap ? 2 * l->cap : 1024, n = l->cap * sizeof *m->list;
        m->list = n ? region_grow(l->mem, m->list, n, cap * sizeof *m->list)
                    : region_take(l->mem, cap * sizeof *m->list);
        l->cap = cap;
    }
    return &m->list[m->count++];
}

static inline bool add(struct loader *l, const struct line *line) {
    const struct vocab *v = l->v;
    uint32_t left = vocab_entry(v, line->left_key, line->left.p, line->left.n);
    uint32_t right = vocab_entry(v, line->right_key, line->right.p, line->right.n);
    if (left == NO_ID || right == NO_ID)
        return refuse(l, line, "token", left == NO_ID ? line->left : line->right, MISSING);
    if (line->right.n < l->prefix.n)
        return refuse(l, line, "token", line->right, "shorter than the prefix");
    struct str tail = {line->right.p + l->prefix.n, line->right.n - l->prefix.n};
    uint32_t made = find_made(l, line->left, tail, line->short_texts);
    if (made == NO_ID)
        return refuse(l, line, "result", buf_view(&l->room), MISSING);
    l->guess = made;
    *next_merge(l) = (struct bpe_merge){vocab_id(v, left), vocab_id(v, right), vocab_id(v, made)};
    return true;
}

static void add_batch(struct loader *l) {
    for (const struct line *line = l->lines, *end = line + l->n; line < end && add(l, line); line++)
        ;
    l->n = 0;
}

static inline void put(const struct bpe_merges *m, uint32_t rank) {
    const struct bpe_merge *new = &m->list[rank];
    uint64_t h = bpe_hash(new->left, new->right);
    size_t i = bpe_group(m, h);
    uint32_t tag = bpe_tag(h);
    for (;; i = (i + 1) & m->mask) {
        uint32_t *slots = m->slots[i].slots;
        unsigned vacant, found = bpe_look(slots, tag, &vacant);
        for (; found; found &= found - 1) {
            uint32_t *slot = &slots[__builtin_ctz(found)];
            const struct bpe_merge *old = &m->list[(*slot & BPE_MAX_MERGES) - 1];
            if (old->left == new->left && old->right == new->right) {
                *slot = tag | (rank + 1);
                return;
            }
        }
        if (vacant) {
            slots[__builtin_ctz(vacant)] = tag | (rank + 1);
            return;
        }
    }
}

static void make_table(struct bpe_merges *m, struct region *mem) {
    enum { AHEAD = 16 };
    size_t n = 2;
    while (n * BPE_GROUP < (size_t)m->count * 3 / 2)
        n *= 2;
    m->slots = region_take(mem, n * sizeof *m->slots);
    m->mask = n - 1;
    const struct bpe_merges t = *m; // a copy, which stores to slots cannot alias
    for (uint32_t rank = 0; rank < t.count; rank++) {
        const struct bpe_merge *next = &t.list[rank + AHEAD < t.count ? rank + AHEAD : rank];
        __builtin_prefetch(&t.slots[bpe_group(&t, bpe_hash(next->left, next->right))], 1);
        put(&t, rank);
    }
}

/* Reads the next merge into a line. False after the last one, or if j is refused. */
static bool read_line_slowly(struct loader *l, struct line *line) {
    const char *before = l->j->p;
    bool first = l->j->fresh;
    while (json_item(l->j)) {
        if (slow_line(l, line, before, first))
            return true;
        before = l->j->p;
        first = false;
    }
    return false;
}

void bpe_merges_load(struct bpe_merges *m, const struct vocab *v, struct str prefix, struct json *j,
                     struct region *mem) {
    struct loader l = {.m = m, .v = v, .j = j, .mem = mem, .prefix = prefix};
    struct line *line = l.lines;
    *m = (struct bpe_merges){0};
    json_enter_array(j);
    while ((l.pairs ? quick_line(&l, j, line, true) : quick_line(&l, j, line, false)) ||
           read_line_slowly(&l, line)) {
        vocab_prefetch(v, line->left_key);
        vocab_prefetch(v, line->right_key);
        if (++l.n == BATCH)
            add_batch(&l);
        line = &l.lines[l.n];
        if (m->count >= BPE_MAX_MERGES - BATCH)
            json_refuse(j, "more than %d merges", BPE_MAX_MERGES - BATCH);
    }
    add_batch(&l);
    buf_free(&l.room);
    if (m->count)
        region_grow(mem, m->list, l.cap * sizeof *m->list, m->count * sizeof *m->list);
    make_table(m, mem);
}
