/* The weights as forward uses them: matrices where they lie in the mapping, vectors (norms, biases)
 * as f32 copies.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef MODEL_LAYERS_H
#define MODEL_LAYERS_H

#include "backend/ops.h"
#include "spec/spec.h"
#include "weights/safetensors.h"

struct pending_copy { // one to be copied
    float *to;
    const struct tensor *from;
};

struct layer {
    struct norm attn_norm, attn_post_norm, ffn_norm, ffn_post_norm;
    struct norm q_norm, k_norm;
    struct linear qkv[3]; // one after the other in a row of q, k, v; a fused matrix is qkv[0] alone
    struct linear o;
    struct linear
        ffn_in[2]; // gate, up; a fused matrix is ffn_in[0] alone, an ungated FFN has up alone
    struct linear down;
    struct linear router;   // [n_experts, hidden_dim]; w.data NULL: an ordinary FFN
    struct linear *experts; // [n_experts][3]: gate, up, down
};

struct layers {
    struct linear embed, positions,
        head; // embed [vocab_size, hidden_dim] and positions [max_pos, hidden_dim]
    struct norm final_norm;
    struct layer *layers;         // [n_layers]
    struct arena mem;             // holds f32 copies of vectors, and the experts
    struct pending_copy *vectors; // [n_vectors], in the order of the layers: copied when their
                                  // layer is first used, so
    size_t n_vectors,
        n_copied;       // that opening a model that is not in memory does not wait for the disk
    size_t *vectors_of; // [n_layers + 1] vectors of the layers up to this one; the last: all
    unsigned char **transposed; // GPT-2's matrices, turned; owned
    size_t n_transposed;
    bool *used;       // [n_tensors] of the weights
    struct buf wrong; // a line for each tensor that is missing, misshapen or of a wrong type
};

/* Finds, checks and notes every tensor that the spec asks for. -1 (EXIT_DATA) where any is missing
 * or of the wrong shape or type: all of them are named. Tensors left over add lines to warnings.
 * What is kept points into w. */
int layers_load(struct layers *m, const struct spec *s, const struct weights *w,
                struct buf *warnings, struct err *e);
/* The norms and biases of the layers up to this one are there from now on; layer n_layers stands
 * for what follows them. */
void layers_ready(struct layers *m, size_t layer);
/* All of it goes to a device that keeps weights in memory of its own; the vectors are no longer the
 * host's then. */
int layers_send(struct layers *m, const struct spec *s, struct device *d, struct err *e);
void layers_free(struct layers *m); // needed after -1 too

/* A tensor that the family's files have, and that is no weight (GPT-2's causal masks). */
bool layers_ignores(const struct spec *s, const char *tensor);

#endif
