/* The model's vocabulary: token text to id and back.
 *
 *     {"the": 262, "Ġthe": 264}     entries[0] = {"the", 3, 262}, by_id[262] = 0
 *
 * Token texts are views into tokenizer.json. A vocabulary is filled in one of two ways: from a list
 * of tokens that is indexed at the end (vocab_load.c), or token by token (vocab.c). vocab_table.h
 * has the hash table and the fast look-ups. In a byte-level vocabulary, vocab_find takes the bytes
 * that a token spells (bytechars.h).
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TOKENS_VOCAB_H
#define TOKENS_VOCAB_H

#include <stdbool.h>
#include <stdint.h>

#include "base/json.h"
#include "base/mem.h"
#include "tokens/region.h"

enum { VOCAB_MAX_ID = (1 << 24) - 1 };
#define NO_ID UINT32_MAX // no such token or entry

struct vocab_entry {
    const char *p; // [n] as the file writes it
    uint32_t n, id;
};

struct vocab_bucket; // vocab_table.h

struct vocab {
    bool byte_level;
    bool in_region; // the arrays belong to a region
    // Ids are places in a list: if two have the same text, both ids give that text.
    bool is_list;
    bool in_order; // entry k has id k for all k
    uint32_t size; // largest id + 1
    // [size] index into entries, NO_ID if the id has no token. NULL if in_order.
    uint32_t *by_id;
    struct vocab_entry *entries; // [count], in the file's order
    uint32_t count;
    struct vocab_bucket *buckets; // [last + 1], a power of two; open addressing
    size_t last, by_id_cap, entries_cap;
    unsigned shift; // shifts a hash of 32 bits to a bucket
    size_t longest; // bytes of the longest token, as the file writes it
    // At n_readable16 addresses from here, 16 bytes can be read.
    const char *readable16;
    size_t n_readable16;
};

/* Reads an object of token texts and ids, the next value of j, or refuses it in j. Tables are taken
 * from mem. Texts stay in j's input. */
void vocab_load(struct vocab *v, struct json *j, bool byte_level, struct region *mem);
void vocab_free(struct vocab *v);

/* The same for other forms of lists. Append all tokens, then index them; only then can they be
 * found. Take nothing else from mem in between. */
void vocab_begin_load(struct vocab *v, const struct json *j, bool byte_level);
static inline void vocab_append(struct vocab *v, struct str piece, uint32_t id, struct region *mem);
void vocab_index(struct vocab *v, struct region *mem);

/* Adds tokens one by one, in the vocabulary's own memory. A later token replaces one with the same
 * text. */
void vocab_begin(struct vocab *v, size_t expected, bool byte_level);
void vocab_add(struct vocab *v, struct str piece, uint32_t id);

/* Returns the id of a text as the model sees it, or NO_ID. For a byte-level vocabulary, p has
 * bytes. */
uint32_t vocab_find(const struct vocab *v, const char *p, size_t n);
// Returns the id of a token as the file writes it, or NO_ID.
uint32_t vocab_find_name(const struct vocab *v, struct str name);

static inline uint32_t vocab_id(const struct vocab *v, uint32_t entry) {
    return v->by_id ? v->entries[entry].id : entry;
}

static inline struct str vocab_piece(const struct vocab *v, uint32_t id) {
    uint32_t k = id >= v->size ? NO_ID : v->by_id ? v->by_id[id] : id;
    if (k == NO_ID)
        return (struct str){0};
    const struct vocab_entry *en = &v->entries[k];
    return (struct str){en->p, en->n};
}

void vocab_more_entries(struct vocab *v, struct region *mem);

static inline void vocab_append(struct vocab *v, struct str piece, uint32_t id,
                                struct region *mem) {
    uint32_t k = v->count;
    if (k == v->entries_cap)
        vocab_more_entries(v, mem);
    v->longest = piece.n > v->longest ? piece.n : v->longest;
    v->size = id >= v->size ? id + 1 : v->size;
    v->in_order &= id == k;
    v->entries[k] = (struct vocab_entry){piece.p, (uint32_t)piece.n, id};
    v->count = k + 1;
}

#endif
