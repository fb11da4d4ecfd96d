/* Reading the vocabulary of tokenizer.json: see vocab.h.
 *
 * Loading delays the first token of every program, so it is fast. One pass over the file lists the
 * tokens (json_gap.h). One pass over the list enters them into a table that has the right size from
 * the start. A file that repeats a text takes a slower way.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "tokens/json_gap.h"
#include "base/utf8.h"
#include "tokens/vocab_table.h"

enum { SCANNED = 16 };

void vocab_begin_load(struct vocab *v, const struct json *j, bool byte_level) {
    size_t n = (size_t)(j->end - j->start);
    *v = (struct vocab){
        .byte_level = byte_level, .in_region = true, .in_order = true, .readable16 = j->start};
    v->n_readable16 = n < SCANNED ? 0 : n - SCANNED + 1;
}

void vocab_more_entries(struct vocab *v, struct region *mem) {
    size_t cap = v->entries_cap ? v->entries_cap * 2 : 1024,
           n = v->entries_cap * sizeof *v->entries;
    v->entries = n ? region_grow(mem, v->entries, n, cap * sizeof *v->entries)
                   : region_take(mem, cap * sizeof *v->entries);
    v->entries_cap = cap;
}

/* Enters the tokens one by one, in the vocabulary's own memory. This handles equal texts. */
static void index_slowly(struct vocab *v) {
    struct vocab all = *v;
    vocab_begin(v, all.count, all.byte_level);
    v->readable16 = all.readable16;
    v->n_readable16 = all.n_readable16;
    v->is_list = all.is_list;
    for (uint32_t k = 0; k < all.count; k++)
        vocab_add(v, (struct str){all.entries[k].p, all.entries[k].n}, all.entries[k].id);
}

static struct vocab_key entry_key(const struct vocab *v, const struct vocab_entry *en) {
    return vocab_readable16(v, en->p) ? vocab_key16(en->p, en->n) : vocab_key(en->p, en->n);
}

/* Enters a token. False if its text is there already. */
static inline bool enter(const struct vocab *v, struct vocab_key key, uint32_t entry) {
    const struct vocab_entry *en = &v->entries[entry];
    for (size_t i = vocab_bucket(v, key);; i = i == v->last ? 0 : i + 1) {
        struct vocab_bucket *b = &v->buckets[i];
        for (unsigned found = vocab_tags(b, key.tag); found; found &= found - 1) {
            unsigned k = (unsigned)__builtin_ctz(found);
            const struct vocab_entry *old = &v->entries[b->place[k] - 1];
            if (b->place[k] && b->low[k] == key.low &&
                (en->n <= VOCAB_SHORT || (old->n == en->n && bytes_same(old->p, en->p, en->n))))
                return false;
        }
        unsigned vacant = vocab_vacant(b);
        if (vacant) {
            unsigned k = (unsigned)__builtin_ctz(vacant);
            b->low[k] = key.low;
            b->tag[k] = key.tag;
            b->place[k] = entry + 1;
            return true;
        }
    }
}

/* Enters all tokens. False if a text occurs twice. */
static bool fill_buckets(const struct vocab *v) {
    enum { AHEAD = 16 }; // distance of the prefetch, in tokens
    struct vocab_key keys[AHEAD];
    uint32_t count = v->count;
    for (uint32_t k = 0; k < AHEAD && k < count; k++)
        keys[k] = entry_key(v, &v->entries[k]);
    for (uint32_t k = 0; k < count; k++) {
        struct vocab_key key = keys[k % AHEAD];
        if (k + AHEAD < count) {
            keys[k % AHEAD] = entry_key(v, &v->entries[k + AHEAD]);
            vocab_prefetch(v, keys[k % AHEAD]);
        }
        if (!enter(v, key, k))
            return false;
    }
    return true;
}

void vocab_index(struct vocab *v, struct region *mem) {
    if (v->count) // give back the unused end of the list
        region_grow(mem, v->entries, v->entries_cap * sizeof *v->entries,
                    v->count * sizeof *v->entries);
    v->entries_cap = v->count;
    v->buckets = region_take(mem, vocab_buckets(v, v->count) * sizeof *v->buckets);
    if (!fill_buckets(v)) {
        index_slowly(v);
    } else if (!v->in_order) {
        v->by_id_cap = v->size;
        v->by_id = region_take(mem, v->size * sizeof *v->by_id);
        memset(v->by_id, 0xFF, v->size * sizeof *v->by_id);
        for (uint32_t k = 0; k < v->count; k++)
            v->by_id[v->entries[k].id] = k;
    }
}

/* The bytes before a key's text, and between the text and the value. */
struct gaps {
    struct json_gap key, value;
    bool known;
};

/* Reads a member if the bytes around it are those of the previous one. False if not: nothing is
 * read then. */
static inline bool quick_member(struct json *j, const struct gaps *g, struct str *key,
                                uint64_t *id) {
    const char *p = j->p;
    const char *safe = j->end - JSON_GAP_BYTES - 16; // a gap and a number are readable up to here
    bool high = false;
    if (!g->known || j->end - p < JSON_GAP_BYTES + 16 || !json_gap_skip(&g->key, &p))
        return false;
    const char *from = p;
    p = scan_plain(p, safe, true, &high);
    size_t n = (size_t)(p - from);
    if (p > safe || !json_gap_skip(&g->value, &p))
        return false;
    if (high && !(n <= SCANNED && scan_utf8(from, n)) && utf8_valid(from, n) != n)
        return false;
    unsigned digits = scan_digits(p, id);
    if (digits == 0 || digits == 8 || (p[digits] != ',' && p[digits] != '}') ||
        (*p == '0' && digits > 1))
        return false;
    j->p = p + digits;
    *key = (struct str){from, n};
    return true;
}

/* Reads any member and learns the gaps around it. False after the last member. */
static bool slow_member(struct json *j, struct gaps *g, struct str *key, uint64_t *id) {
    const char *before = j->p;
    bool first = j->fresh; // no comma before it
    if (!json_key(j, key))
        return false;
    *id = json_u64(j);
    const char *value = j->p;
    while (value > before && value[-1] >= '0' && value[-1] <= '9')
        value--;
    g->known = !first && json_gap_learn(&g->key, j, before, key->p) &&
               json_gap_learn(&g->value, j, key->p + key->n, value);
    return true;
}

void vocab_load(struct vocab *v, struct json *j, bool byte_level, struct region *mem) {
    struct gaps gaps = {0};
    struct str piece;
    uint64_t id;
    vocab_begin_load(v, j, byte_level);
    json_enter_object(j);
    while (quick_member(j, &gaps, &piece, &id) || slow_member(j, &gaps, &piece, &id)) {
        if (id > VOCAB_MAX_ID)
            json_refuse(j, "token id %llu, more than %d", (unsigned long long)id, VOCAB_MAX_ID);
        if (json_failed(j))
            return;
        vocab_append(v, piece, (uint32_t)id, mem);
    }
    if (!json_failed(j))
        vocab_index(v, mem);
}
