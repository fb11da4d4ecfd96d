/* Scripts of characters, as the reference's UnicodeScripts tells them apart; the numbers mean
 * nothing else.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef UNICODE_SCRIPTS_H
#define UNICODE_SCRIPTS_H

#include <stddef.h>
#include <stdint.h>

enum { SCRIPT_ANY = 0 };

struct script_range {
    uint32_t start; // up to the next range's
    uint16_t script;
};
extern const struct script_range script_ranges[]; // [script_ranges_n], ascending, the first at 0
extern const size_t script_ranges_n;

#endif
