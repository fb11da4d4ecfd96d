/* The parameters of Metaspace, which is both a pre-tokenizer and a decoder.
 *
 * Metaspace writes spaces as a visible mark, "▁" in most files: "a b" becomes "▁a▁b".
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TOKENS_METASPACE_H
#define TOKENS_METASPACE_H

#include "base/json.h"

enum metaspace_scheme { METASPACE_ALWAYS, METASPACE_FIRST, METASPACE_NEVER };

struct metaspace {
    char mark[4]; // [mark_n] the replacement character
    size_t mark_n;
    enum metaspace_scheme scheme;
    bool split;
};

struct metaspace *metaspace_load(struct json *j); // free() it in any case

#endif
