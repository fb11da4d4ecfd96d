/* The parameters of Replace, which is both a normalizer and a decoder: {"type": "Replace",
 * "pattern": {"String": " "}, "content": "▁"}.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TOKENS_REPLACE_H
#define TOKENS_REPLACE_H

#include "base/json.h"
#include "unicode/regex.h"

struct replace {
    struct regex *pattern;
    struct buf content;
};

/* Refuses the object in j if a member is missing. Free the result with replace_free in any case. */
struct replace *replace_load(struct json *j);
void replace_free(struct replace *r);

#endif
