/* A thread that brings weights from the disk ahead of their use.
 *
 * Pages of a mapping that are not in memory come one fault at a time, and each waits for the disk.
 * This asks for the tensors in the order in which a forward pass uses them, in large pieces, until
 * all are there. Where they are there already nothing is started. It is about speed only: what
 * cannot be brought is left to the faults.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef WEIGHTS_PREFAULT_H
#define WEIGHTS_PREFAULT_H

#include "weights/safetensors.h"

struct prefault;

/* NULL where there is nothing to do. w must stay open until prefault_stop, which waits for one
 * piece at most. */
struct prefault *prefault_start(const struct weights *w);
void prefault_stop(struct prefault *a); // NULL: nothing to do

/* For tests: the indices of w's tensors [n_tensors] in the order in which they are brought. */
void prefault_order(const struct weights *w, size_t *order);

#endif
