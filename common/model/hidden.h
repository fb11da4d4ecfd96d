/* Which hidden states model_forward gives: numbers of layers, as in transformers'
 * output_hidden_states.
 *
 *     0                 what enters the first layer: embeddings, scaled, with learned positions
 *     k < n_layers      what leaves layer k, counted from 1
 *     n_layers          what leaves the last layer, after the final norm
 *
 * Source: transformers' utils/output_capturing.py, where the last hidden state is the output of the
 * final norm (tie_last_hidden_states).
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef MODEL_HIDDEN_H
#define MODEL_HIDDEN_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum { HIDDEN_MAX_LAYERS = 1024 }; // of a model, as SPEC_MAX_LAYERS

/* Layers in ascending order, each once. */
struct hidden_layers {
    size_t n; // 0: the last one
    uint32_t layers[HIDDEN_MAX_LAYERS + 1];
};

/* Reads "0,4,12", ranges "2-5" with both ends, "8-" up to the last, and "all", for a model of
 * n_layers. -1: EXIT_USAGE. */
int hidden_parse(struct hidden_layers *h, const char *list, size_t n_layers, struct err *e);

#endif
