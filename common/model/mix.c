/* The kinds of mixers: see mix.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "model/mix.h"

const struct mix_ops *const mix_table[MIXERS] = {
    [MIXER_ATTENTION] = &mix_attention,
};

void mix_states(const struct spec *s, size_t page_bytes, size_t context, struct state_layer *out) {
    for (size_t l = 0; l < s->n_layers; l++) {
        out[l] = mix_of(s, l)->state(s, l, page_bytes);
        if (out[l].window >= context)
            out[l].window = 0;
    }
}
