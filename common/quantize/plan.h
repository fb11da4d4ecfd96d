/* Which type each matrix of a model gets.
 *
 * Without a rule, norms, biases, routers and tables of positions stay as they are. The embedding
 * and the head get i8 where the others get i4. Rules of the user come after that. plan_fit chooses
 * the types of all matrices that no rule names by their measured errors, for a size of the whole.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef QUANTIZE_PLAN_H
#define QUANTIZE_PLAN_H

#include "model/layers.h"
#include "quantize/encode.h"
#include "quantize/stats.h"
#include "spec/spec.h"

/* The last rule whose pattern matches a module counts. */
struct quantize_rule {
    const char *pattern; // as of a shell: "*.down_proj"
    enum quantize_type type;
};

struct quantize_options {
    enum quantize_type type; // of what no rule names
    const struct quantize_rule *rules;
    size_t n_rules;
    bool thorough;
    size_t n_threads;
};

/* A matrix. The array is in the order in which the model uses them. */
struct quantize_matrix {
    const struct layers_matrix *from;
    enum quantize_type type;
    bool fixed;     // by a rule, or by what the model can read
    bool leave_out; // the same bits as the embedding, which is read in its place
    float *weight;  // [n_in] of errors, owned; NULL: all 1
    struct quantize_error error;
};

struct quantize_plan {
    struct quantize_matrix *matrices; // [n]
    size_t n;
    const struct weights *source;
    size_t *owner; // [n_tensors of the source] the matrix in this tensor, or n
};

/* l must outlive the plan. -1: EXIT_USAGE, a pattern matches no matrix; EXIT_DATA, stats (NULL:
 * none) do not fit the model. */
int quantize_plan_make(struct quantize_plan *p, const struct layers *l, const struct spec *s,
                       const struct weights *w, const struct quantize_options *o,
                       const struct quantize_stats *stats, struct err *e);
void quantize_plan_free(struct quantize_plan *p);

/* Bytes of a matrix in the result. */
uint64_t quantize_bytes(const struct quantize_plan *p, const struct quantize_matrix *m,
                        enum quantize_type t);

/* Whether the result has something else in place of tensor i of the source. */
bool quantize_replaces(const struct quantize_plan *p, size_t i);

/* Bytes of all tensors of the result. */
uint64_t quantize_plan_bytes(const struct quantize_plan *p);

/* Sets each matrix's error from a sample of its rows. */
int quantize_plan_measure(struct quantize_plan *p, const struct quantize_options *o, struct err *e);

/* Chooses types so that all tensors have at most `most` bytes. All matrices that are free begin
 * with the smallest type. Then bits go where they remove the most of the relative squared error of
 * a matrix, weighted by the statistics, for each byte. -1 (EXIT_DATA): the smallest is too large.
 */
int quantize_plan_fit(struct quantize_plan *p, uint64_t most, const struct quantize_options *o,
                      struct err *e);

#endif
