/* Normalizers: what is done to text before it is split. One file a kind (norm_*.c); norm.c knows
 * their names.
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
    /* Reads the object that j stands before. What it makes is ended by unload. NULL with j refused,
     * or for none. */
    void *(*load)(struct json *j);
    void (*unload)(void *data);
    int (*apply)(const void *data, struct tok_text *t, struct err *e); // -1 with e set
};

/* A Sequence is flattened. */
struct norms {
    struct tok_norm *steps; // [n]
    size_t n;
};

void norms_load(struct norms *n, struct json *j); // the value that j stands before; null is none
void norms_free(struct norms *n);
int norms_apply(const struct norms *n, struct tok_text *t, struct err *e);

extern const struct tok_norm_kind norm_nfc, norm_nfd, norm_nfkc, norm_nfkd, norm_lowercase,
    norm_strip, norm_strip_accents, norm_replace, norm_prepend, norm_nmt, norm_bert,
    norm_precompiled, norm_byte_level;

#endif
