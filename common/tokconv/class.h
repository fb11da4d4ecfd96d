/* The tokenizer classes of transformers that are converted, and what each one fixes.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TOKCONV_CLASS_H
#define TOKCONV_CLASS_H

#include "tokconv/config.h"

enum tokconv_family { // how a SentencePiece model of the class is converted: see sp_convert.c
    FAMILY_PLAIN,
    FAMILY_LLAMA,
    FAMILY_GEMMA,
    FAMILY_T5,
    FAMILY_XLMR,
};

struct tokconv_class {
    const char *name;
    enum tokconv_family family;
    const char *pre;               // of vocab.json and ranks (tokconv/pre.h), NULL: none
    bool add_bos;                  // where add_bos_token is not given
    const char *defaults[N_ROLES]; // special tokens where the files do not name them
};

/* The class that tokenizer_config.json or config.json names, else the class of config.json's
 * model_type, else the plain one, whose name is "". NULL with e set if the class is one that
 * converts in a way of its own and is not supported; folder is for the message. */
const struct tokconv_class *tokconv_class_of(const struct tokconv_config *c, const char *folder,
                                             struct err *e);

#endif
