/* ByteLevel as a normalizer: spells the text's bytes in the byte alphabet (bytechars.h).
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "tokens/bytechars.h"
#include "tokens/norm.h"

static int apply(const void *data, struct tok_text *t, struct err *e) {
    (void)data, (void)e;
    bytechars_spell(t);
    return 0;
}

const struct tok_norm_kind norm_byte_level = {"ByteLevel", NULL, NULL, apply};
