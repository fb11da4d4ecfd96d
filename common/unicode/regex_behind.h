/* Look-behind whose length varies, for PCRE2, whose alternatives must each have a length.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef UNICODE_REGEX_BEHIND_H
#define UNICODE_REGEX_BEHIND_H

#include <stdbool.h>

#include "base/mem.h"

/* Appends body, what stands in a look-behind in PCRE2's syntax, to out as alternatives that have a
 * length each. False, with nothing appended, where it has one already or cannot be written so. */
bool regex_behind(struct str body, struct buf *out);

#endif
