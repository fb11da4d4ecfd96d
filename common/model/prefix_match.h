/* What a prompt and the prefix cache have in common.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef MODEL_PREFIX_MATCH_H
#define MODEL_PREFIX_MATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Separates prefix caches: sequences share state only where their salts are equal. It is a hash, so
 * that two texts do not give the same. All zero: no salt. */
struct prefix_salt {
    uint64_t word[2];
};

struct prefix_match {
    size_t len;      // the first ids that some cached sequence has too
    bool differs;    // it goes on there, with another id
    uint32_t theirs; // that id
};

#endif
