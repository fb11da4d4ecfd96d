/* Lowercase: the lower case of each character alone, without context or language.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "tokens/norm.h"
#include "tokens/norm_chars.h"

static int apply(const void *data, struct tok_text *t, struct err *e) {
    (void)data, (void)e;
    norm_lower(t);
    return 0;
}

const struct tok_norm_kind norm_lowercase = {"Lowercase", NULL, NULL, apply};
