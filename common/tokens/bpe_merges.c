/* Reading the merges of a BPE model: see bpe.h.
 *
 * Most of the time would go to waiting for memory: each merge is two or three look-ups of texts all over the vocabulary. So
 * merges are taken in batches, each step done for a whole batch, and what the next step reads is asked for ahead of it.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdlib.h>

#include "tokens/bpe.h"

enum { BATCH = 64 };

struct line {
    struct str left, right;
    uint64_t left_hash, right_hash;
    const char *at; // behind it in the file, for messages
};

struct loader {
    struct bpe_merges *m;
    const struct vocab *v;
    struct json *j;
    struct str prefix;
    uint32_t guess; // the entry that the last merge made
    struct buf room;
    struct line lines[BATCH];
    size_t n;
};

/* Reads one merge, whose texts are checked by finding them in the vocabulary; false with j refused, or for a line that is none. */
static bool read_line(struct json *j, struct line *line) {
    if (json_plain_pair(j, &line->left, &line->right))
        return true;
    if (json_peek(j) == JSON_ARRAY) {
        json_enter_array(j);
        line->left = json_item(j) ? json_str_unchecked(j) : (struct str){0};
        line->right = json_item(j) ? json_str_unchecked(j) : (struct str){0};
        if (json_item(j))
            json_refuse(j, "a merge of more than two tokens");
        if (!line->left.p || !line->right.p)
            json_refuse(j, "a merge of less than two tokens");
        return !json_failed(j);
    }
    struct str s = json_str_unchecked(j);
    if (s.n >= 8 && memcmp(s.p, "#version", 8) == 0)
        return false;
    const char *space = s.n ? memchr(s.p, ' ', s.n) : NULL;
    line->left = (struct str){s.p, space ? (size_t)(space - s.p) : 0};
    line->right = space ? (struct str){space + 1, s.n - line->left.n - 1} : (struct str){0};
    if (!space || (line->right.n && memchr(line->right.p, ' ', line->right.n)))
        json_refuse(j, "a merge that is not two tokens and a space");
    return !json_failed(j);
}

static bool refuse(struct loader *l, const struct line *line, const char *what, struct str s) {
    l->j->p = line->at;
    json_refuse(l->j, "a merge %s \"%.*s\"%s", what, s.n > 100 ? 100 : (int)s.n, s.p,
                *what == 'w' ? ", which is shorter than the prefix" : ", which is not in the vocabulary");
    return false;
}

/* Whether entry k is left and tail together. */
static bool is_made(const struct vocab *v, uint32_t k, struct str left, struct str tail) {
    if (k >= v->count || v->entries[k].n != left.n + tail.n)
        return false;
    const char *p = v->entries[k].p;
    return bytes_same(p, left.p, left.n) && bytes_same(p + left.n, tail.p, tail.n);
}

/* The entry that left and right make. Merges mostly make tokens in the order of the vocabulary, some several times. */
static uint32_t find_made(struct loader *l, struct str left, struct str tail) {
    for (uint32_t k = l->guess; k < l->guess + 2; k++)
        if (is_made(l->v, k, left, tail))
            return k;
    buf_clear(&l->room);
    buf_add(&l->room, left.p, left.n);
    buf_add(&l->room, tail.p, tail.n);
    return vocab_entry(l->v, buf_view(&l->room), hash_short(l->room.p, l->room.n));
}

static bool add(struct loader *l, const struct line *line) {
    const struct vocab *v = l->v;
    uint32_t left = vocab_entry(v, line->left, line->left_hash), right = vocab_entry(v, line->right, line->right_hash);
    if (left == NO_ID || right == NO_ID)
        return refuse(l, line, "of", left == NO_ID ? line->left : line->right);
    if (line->right.n < l->prefix.n)
        return refuse(l, line, "with", line->right);
    struct str tail = {line->right.p + l->prefix.n, line->right.n - l->prefix.n};
    uint32_t made = find_made(l, line->left, tail);
    if (made == NO_ID)
        return refuse(l, line, "makes", buf_view(&l->room));
    l->guess = made;
    struct bpe_merges *m = l->m;
    if (m->count == m->cap) {
        m->cap = m->cap ? m->cap * 2 : 1024;
        m->list = xreallocarray(m->list, m->cap, sizeof *m->list);
    }
    m->list[m->count++] = (struct bpe_merge){v->entries[left].id, v->entries[right].id, v->entries[made].id};
    return true;
}

static void add_batch(struct loader *l) {
    for (size_t i = 0; i < l->n; i++) {
        vocab_prefetch_entry(l->v, l->lines[i].left_hash);
        vocab_prefetch_entry(l->v, l->lines[i].right_hash);
    }
    for (size_t i = 0; i < l->n; i++) {
        vocab_prefetch_text(l->v, l->lines[i].left_hash);
        vocab_prefetch_text(l->v, l->lines[i].right_hash);
    }
    for (size_t i = 0; i < l->n && add(l, &l->lines[i]); i++)
        ;
    l->n = 0;
}

static void put(struct bpe_merges *m, uint32_t rank) {
    const struct bpe_merge *new = &m->list[rank];
    uint64_t h = bpe_hash(new->left, new->right);
    size_t i = (size_t)h & m->mask;
    for (; m->slots[i]; i = (i + 1) & m->mask) {
        if (m->slots[i] >> BPE_INDEX_BITS != h >> 56)
            continue;
        const struct bpe_merge *old = &m->list[(m->slots[i] & BPE_MAX_MERGES) - 1];
        if (old->left == new->left && old->right == new->right)
            break;
    }
    m->slots[i] = (uint32_t)(h >> 56) << BPE_INDEX_BITS | (rank + 1);
}

static void make_table(struct bpe_merges *m) {
    enum { AHEAD = 16 };
    size_t n = 16;
    while (n < (size_t)m->count * 3 / 2)
        n *= 2;
    free(m->slots);
    m->slots = xcalloc(n, sizeof *m->slots);
    m->mask = n - 1;
    for (uint32_t rank = 0; rank < m->count; rank++) {
        if (rank + AHEAD < m->count) {
            const struct bpe_merge *next = &m->list[rank + AHEAD];
            __builtin_prefetch(&m->slots[(size_t)bpe_hash(next->left, next->right) & m->mask], 1);
        }
        put(m, rank);
    }
}

void bpe_merges_load(struct bpe_merges *m, const struct vocab *v, struct str prefix, struct json *j) {
    struct loader l = {.m = m, .v = v, .j = j, .prefix = prefix};
    m->count = 0;
    json_enter_array(j);
    while (json_item(j)) {
        struct line *line = &l.lines[l.n];
        if (!read_line(j, line))
            continue;
        line->at = j->p;
        line->left_hash = hash_short(line->left.p, line->left.n);
        line->right_hash = hash_short(line->right.p, line->right.n);
        vocab_prefetch(v, line->left_hash);
        vocab_prefetch(v, line->right_hash);
        if (++l.n == BATCH)
            add_batch(&l);
        if (m->count >= BPE_MAX_MERGES - BATCH)
            json_refuse(j, "more than %d merges", BPE_MAX_MERGES - BATCH);
    }
    add_batch(&l);
    buf_free(&l.room);
    make_table(m);
}

void bpe_merges_free(struct bpe_merges *m) {
    free(m->list);
    free(m->slots);
}
