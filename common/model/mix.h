/* Mixers: how a layer combines positions. Each kind is a file, mix_NAME.c, and mix.c lists them.
 *
 * To add a kind: write mix_NAME.c with one struct mix_ops, and add its enumerator to enum mixer of
 * spec/spec.h and its line to mix_table in mix.c.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef MODEL_MIX_H
#define MODEL_MIX_H

#include "backend/ops.h"
#include "model/layers.h"
#include "model/state.h"
#include "spec/spec.h"

struct loader;
struct model;
struct row;

struct mix_ops {
    /* Loads y's matrices and norms of this kind; layer is its number. */
    void (*load)(struct loader *l, struct layer *y, size_t layer);
    /* Copies them to a device that keeps weights. */
    int (*send)(struct device *d, struct layer *y, const struct spec *s, struct err *e);
    /* The state that the layer needs. page_bytes: the device's size of a page of keys and values.
     */
    struct state_layer (*state)(const struct spec *s, size_t layer, size_t page_bytes);
    /* Fills in the part of a step that all layers of this kind read. The rows' blocks are there. */
    void (*step)(struct model *m, const struct row *rows, size_t n_rows, struct step *step);
    /* x += scale * block(in), or of norm(in) if pre is not NULL. */
    void (*block)(struct model *m, size_t layer, const float *in, const struct norm *pre,
                  float scale);
};

extern const struct mix_ops *const mix_table[]; // [MIXERS]
extern const struct mix_ops mix_attention;

static inline const struct mix_ops *mix_of(const struct spec *s, size_t layer) {
    return mix_table[s->layers[layer].mixer];
}

/* The state that each layer needs -> out [n_layers]. A window of at least `context` positions
 * counts as none. */
void mix_states(const struct spec *s, size_t page_bytes, size_t context, struct state_layer *out);

#endif
