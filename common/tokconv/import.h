/* The importers: each turns the bytes of one format into a tokbuild. All return 0, or -1 with e
 * set; the caller frees b with tokbuild_free in both cases. The bytes and c must outlive b.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TOKCONV_IMPORT_H
#define TOKCONV_IMPORT_H

#include "tokconv/build.h"
#include "tokconv/pre.h"

/* SentencePiece: tokenizer.model (sp_import.c). */
int tokconv_import_sp(struct tokbuild *b, const char *name, struct str file,
                      const struct tokconv_config *c, const struct tokconv_class *k, struct err *e);

/* tiktoken's ranks (tiktoken.c): one line a token, its bytes in base64, a space, its rank. p: the
 * pre-tokenizer, which the file does not name. */
int tokconv_import_tiktoken(struct tokbuild *b, const char *name, struct str file,
                            const struct tokconv_config *c, const struct tokconv_class *k,
                            const struct tokpre *p, struct err *e);

/* Mistral's tekken.json (tekken.c). */
int tokconv_import_tekken(struct tokbuild *b, const char *name, struct str file,
                          const struct tokconv_config *c, struct err *e);

/* vocab.json and merges.txt (bpe_files.c). The files' names are for messages. */
struct tokconv_bpe_files {
    const char *vocab_name, *merges_name;
    struct str vocab, merges;
};
int tokconv_import_bpe(struct tokbuild *b, const struct tokconv_bpe_files *f,
                       const struct tokconv_config *c, const struct tokconv_class *k,
                       const struct tokpre *p, struct err *e);

#endif
