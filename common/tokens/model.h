/* Models: from one word to token ids. One file a kind (model_*.c); model.c knows their names.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TOKENS_MODEL_H
#define TOKENS_MODEL_H

#include "base/err.h"
#include "base/json.h"
#include "tokens/tokenizer.h"
#include "tokens/vocab.h"

struct tok_model {
    const struct tok_model_kind *kind;
    struct region mem; // of the tables
    struct vocab vocab;
    uint32_t n_listed; // tokens as the reference counts them; 0: as many as the vocabulary has
    bool misjudged;    // a member that was not asked for is one that tells kinds apart
    bool byte_level;   // words come as bytes, not spelt in the byte alphabet
    void *data;        // the kind's own
};

struct tok_model_kind {
    const char *type; // as tokenizer.json names it
    /* Reads the object that j stands before into m->vocab and data, or refuses it in j. */
    void (*load)(struct tok_model *m, struct json *j);
    void (*unload)(void *data);
    void *(*scratch_new)(const struct tok_model *m); // of one thread; NULL: none is needed
    void (*scratch_free)(void *scratch);
    /* Appends the ids of word (n > 0) to out, with byte ranges of word as their offsets where those
     * are wanted. -1 with e set. */
    int (*encode)(const struct tok_model *m, void *scratch, struct str word, struct token_ids *out,
                  struct err *e);
};

void model_load(struct tok_model *m, struct json *j, bool byte_level);
void model_free(struct tok_model *m);

void token_ids_grow(struct token_ids *t); // room for one more

static inline void token_ids_add(struct token_ids *t, uint32_t id, size_t start, size_t end) {
    if (t->n == t->cap || (t->want_offsets && t->n == t->offsets_cap))
        token_ids_grow(t);
    if (t->want_offsets) {
        t->offsets[t->n][0] = (uint32_t)start;
        t->offsets[t->n][1] = (uint32_t)end;
    }
    t->ids[t->n++] = id;
}

extern const struct tok_model_kind model_bpe, model_unigram, model_wordpiece, model_wordlevel;

#endif
