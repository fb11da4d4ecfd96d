/* Scripts of characters, as the reference's UnicodeScripts distinguishes them. The numbers only
 * tell scripts apart.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef UNICODE_SCRIPTS_H
#define UNICODE_SCRIPTS_H

#include <stddef.h>
#include <stdint.h>

enum { SCRIPT_ANY = 0 };

struct script_range {
    uint32_t start; // to the next range's start
    uint16_t script;
};
extern const struct script_range script_ranges[]; // [script_ranges_n], ascending, the first at 0
extern const size_t script_ranges_n;

#endif
