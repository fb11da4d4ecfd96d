/* Rotary position embedding (Su et al. 2021, RoFormer) and the ways of stretching it past the
 * trained length.
 *
 * Two kinds depend on how long the whole sequence is, not only on the position: dynamic (the base
 * grows with the length) and longrope (other factors past the trained length). rope_variant names
 * what a length asks for; keys that were turned by another variant do not fit, and the caller
 * computes them anew.
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

/* Which rotation a forward over `length` positions takes; 0 wherever the length does not matter. */
uint32_t rope_variant(const struct rope *r, uint32_t length);

/* The frequencies [half] of a variant: the rope's own, or `own` [half], filled, where each variant
 * has others (dynamic). */
bool rope_needs_own(const struct rope *r);
const float *rope_freqs(const struct rope *r, uint32_t variant, float *own);

#endif
