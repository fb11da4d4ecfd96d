/* Models: turning one word into token ids.
 *
 * Each kind is a file (model_*.c) with a struct tok_model_kind, and model.c lists them: BPE,
 * Unigram, WordPiece and WordLevel. Loading fills the vocabulary and the kind's own data, which
 * never change afterwards. Working memory (scratch) belongs to one thread.
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
    struct region mem; // memory of the tables
    struct vocab vocab;
    // The reference's count of tokens; 0: the vocabulary's count.
    uint32_t n_listed;
    // Loading saw a member that belongs to another kind of model.
    bool misjudged;
    bool byte_level; // words come as bytes, not in the byte alphabet
    void *data;      // owned by the kind
    /* [n_control] by id: 1 for control tokens, which a word from a conversation must not become.
     * NULL: all ids are allowed. encode.c sets it in a copy of the model. */
    const unsigned char *control;
    uint32_t n_control;
};

static inline bool model_is_control(const struct tok_model *m, uint32_t id) {
    return m->control && id < m->n_control && m->control[id];
}

/* The token with this text, unless it is a control token; NO_ID where there is none. */
static inline uint32_t model_find(const struct tok_model *m, const char *p, size_t n) {
    uint32_t id = vocab_find(&m->vocab, p, n);
    return model_is_control(m, id) ? NO_ID : id;
}

struct tok_model_kind {
    const char *type; // as tokenizer.json names it
    /* Reads the next object of j into m->vocab and m->data, or refuses it in j. */
    void (*load)(struct tok_model *m, struct json *j);
    void (*unload)(void *data);
    void *(*scratch_new)(
        const struct tok_model *m); // one thread's working memory; NULL: not needed
    void (*scratch_free)(void *scratch);
    /* Appends the ids of word (n > 0) to out. Offsets, if wanted, are byte ranges of word. Returns
     * -1 with e set. */
    int (*encode)(const struct tok_model *m, void *scratch, struct str word, struct token_ids *out,
                  struct err *e);
};

void model_load(struct tok_model *m, struct json *j, bool byte_level);
void model_free(struct tok_model *m);

void token_ids_grow(struct token_ids *t); // makes room for one more

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
