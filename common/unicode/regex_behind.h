/* Look-behind of variable length, rewritten for PCRE2, where each alternative needs a fixed length.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef UNICODE_REGEX_BEHIND_H
#define UNICODE_REGEX_BEHIND_H

#include <stdbool.h>

#include "base/mem.h"

/* body is the inside of a look-behind in PCRE2's syntax. Appends it to out as alternatives of fixed
 * length. False, with nothing appended, if its length is fixed already or if that is not
 * possible. */
bool regex_behind(struct str body, struct buf *out);

#endif
