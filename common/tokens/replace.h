/* The parameters of Replace, which is a normalizer and a decoder.
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

struct replace *replace_load(
    struct json *j); // refused in j where it is not whole; ended by replace_free in any case
void replace_free(struct replace *r);

#endif
