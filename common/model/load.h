/* Loading a model's tensors by the names of its family: what layers.c and the mixers share. Private
 * to common/model.
 *
 * Each function notes what is wrong and goes on, so that all errors are reported together.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef MODEL_LOAD_H
#define MODEL_LOAD_H

#include "model/layers.h"
#include "quant/format.h"
#include "spec/family.h"

enum { LOAD_NAME_BYTES = 256 };

struct loader {
    struct layers *m;
    const struct spec *s;
    const struct family_names *names;
    const char *prefix;      // of all names but the head's
    const char *head_prefix; // "", except in multimodal models
    struct mat_source source;
    size_t n_wrong; // lines of m->wrong
    size_t vectors_cap;
};

/* Adds a line to what is wrong. */
void PRINTF_LIKE(2, 3) load_wrong(struct loader *l, const char *fmt, ...);

/* Writes a tensor's name with its prefix: '#' becomes the layer's number, '@' the expert's. */
void load_expand(char out[LOAD_NAME_BYTES], const char *prefix, const char *name, size_t layer,
                 size_t expert);

/* Adds a matrix to the layers' list. A matrix without data is left out. */
void load_note(struct loader *l, const char *module, const char *stack, const struct mat *w);

/* The matrix [n_out, n_in] called name, and its bias [n_out]. name NULL is wrong. w.data is NULL if
 * it could not be loaded. */
struct linear load_linear(struct loader *l, const char *name, size_t layer, size_t expert,
                          size_t n_out, size_t n_in, bool bias);

/* The matrices [n][n_out, n_in] of one tensor [n, n_out, n_in], stacked: one matrix of n * n_out
 * rows in the mapping. data is NULL if it could not be loaded. */
struct mat load_stack(struct loader *l, const char *name, size_t n, size_t n_out, size_t n_in);

/* A table of rows that are looked up: as load_linear, but never transposed, without a bias. */
struct linear load_table(struct loader *l, const char *prefix, const char *name, size_t n_out,
                         size_t n_in);

/* The vector [n] called module + ending, as f32 from layers_ready on; NULL if it is wrong. */
const float *load_vector(struct loader *l, const char *module, const char *ending, size_t n);

/* The norm [n] called name, with a bias if the family has LayerNorms; one without weight if not
 * `present`. */
struct norm load_norm(struct loader *l, bool present, const char *name, size_t layer, size_t n);

/* The norm of q or k, over each head or over all heads [n_heads, head_dim] of a row. */
struct norm load_head_norm(struct loader *l, const char *name, size_t layer, size_t n_heads);

/* To a device that keeps weights in memory of its own. A matrix without data is left out. */
int load_send_linear(struct device *d, struct linear *l, struct err *e);
int load_send_norm(struct device *d, struct norm *y, size_t n, struct err *e);

#endif
