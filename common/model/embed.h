/* From hidden states to one vector: pooling over the positions of a text, then the folder's dense
 * layers and norms (spec/sentence.h).
 *
 * Sums run in a fixed order, so the same hidden states give the same bits.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef MODEL_EMBED_H
#define MODEL_EMBED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "spec/sentence.h"

struct weights;

/* ---- Pooling ---- */

struct embed_pool {
    unsigned pools;            // of enum pooling
    size_t dim, n;             // of a hidden state; positions so far
    double *sum, *weighted;    // [dim]
    float *max, *first, *last; // [dim]
};

void embed_pool_init(struct embed_pool *p, unsigned pools, size_t dim);
void embed_pool_free(struct embed_pool *p);

/* Whether position pos of a text of n is read. */
bool embed_pool_wants(unsigned pools, size_t pos, size_t n);

void embed_pool_clear(struct embed_pool *p); // a new text begins
/* hidden [dim] of position pos, in order of pos; those that are not wanted may be left out. */
void embed_pool_take(struct embed_pool *p, const float *hidden, size_t pos);
/* out [pooling_count * dim], of a text of n positions. */
void embed_pool_end(const struct embed_pool *p, size_t n, float *out);

/* ---- The steps after it ---- */

struct embed_steps;

/* dim: of what pooling gives. NULL with e set: EXIT_DATA if the weights of a dense layer do not fit
 * its config.json, or dim. */
struct embed_steps *embed_steps_open(const struct sentence_spec *s, const char *dir, size_t dim,
                                     struct err *e);
void embed_steps_free(struct embed_steps *s);
size_t embed_steps_dim(const struct embed_steps *s); // of the result

/* out [embed_steps_dim] = the steps of pooled. normalize: carry out the folder's norms. Not for
 * several threads at once. */
void embed_steps_run(struct embed_steps *s, const float *pooled, bool normalize, float *out);

/* A fingerprint of what makes a vector of ids: the weights' headers and some of the bytes of each
 * tensor, those of the steps, and text, which says the rest. Two trainings of one model differ. */
uint64_t embed_fingerprint(const struct embed_steps *s, const struct weights *w, const char *text);

/* v / max(|v|, 1e-12), as torch.nn.functional.normalize does. */
void embed_normalize(float *v, size_t n);

#endif
