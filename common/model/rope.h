/* Rotary position embedding (Su et al. 2021, RoFormer), and its extensions past the trained length.
 *
 * Two kinds depend on the length of the whole sequence as well as on the position: dynamic (the
 * base grows with the length) and longrope (other factors past the trained length). rope_variant
 * gives the variant of a length. Keys that were rotated by another variant are wrong, and the
 * caller computes them again.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef MODEL_ROPE_H
#define MODEL_ROPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "spec/rope_spec.h"

struct rope {
    enum rope_kind kind;
    size_t half; // rotary_dim / 2
    double theta, factor, max_pos, original_max_pos;
    float scale;      // of cos and sin (yarn, longrope)
    float *freq;      // [half] radians a position; owned
    float *freq_long; // longrope: past original_max_pos; owned
};

void rope_init(struct rope *r, const struct rope_spec *spec, size_t max_pos);
void rope_free(struct rope *r);

/* The variant of a forward over `length` positions; 0 for kinds that do not depend on the length.
 */
uint32_t rope_variant(const struct rope *r, uint32_t length);

/* The frequencies [half] of a variant. If rope_needs_own (dynamic: each variant has others), they
 * are written to own [half]; else they are the rope's, and own may be NULL. */
bool rope_needs_own(const struct rope *r);
const float *rope_freqs(const struct rope *r, uint32_t variant, float *own);

#endif
