/* Normalizers: rewriting the text before it is split into words.
 *
 * A tokenizer has a list of steps, for example NFC and then Lowercase: "É" becomes "é". The kinds
 * are in norm_*.c, each a struct tok_norm_kind, and norm.c lists them. A Sequence in tokenizer.json
 * becomes part of the flat list. Steps rewrite through text.h, which records where each byte came
 * from.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TOKENS_NORM_H
#define TOKENS_NORM_H

#include "base/err.h"
#include "base/json.h"
#include "tokens/text.h"

struct tok_norm {
    const struct tok_norm_kind *kind;
    void *data; // the kind's own, made by load
};

struct tok_norm_kind {
    const char *type; // as tokenizer.json names it
    /* Reads the next object of j. `unload` frees the result. NULL if the kind has no data, or with
     * j refused. */
    void *(*load)(struct json *j);
    void (*unload)(void *data);
    int (*apply)(const void *data, struct tok_text *t, struct err *e); // -1 with e set
};

/* A Sequence is flattened into this list. */
struct norms {
    struct tok_norm *steps; // [n]
    size_t n;
};

// Reads the next value of j; null means no normalizer.
void norms_load(struct norms *n, struct json *j);
void norms_free(struct norms *n);
int norms_apply(const struct norms *n, struct tok_text *t, struct err *e);

extern const struct tok_norm_kind norm_nfc, norm_nfd, norm_nfkc, norm_nfkd, norm_lowercase,
    norm_strip, norm_strip_accents, norm_replace, norm_prepend, norm_nmt, norm_bert,
    norm_precompiled, norm_byte_level;

#endif
