/* A thread that reads weights from the disk before they are used.
 *
 * Without it, pages of a mapping that are not in memory are read by page faults, each of which
 * waits for the disk. The thread reads the tensors in the order in which a forward pass uses them,
 * in large pieces. It is not started if all are in memory. It only affects speed: pages that it
 * cannot read are read by faults.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef WEIGHTS_PREFAULT_H
#define WEIGHTS_PREFAULT_H

#include "weights/safetensors.h"

struct prefault;

/* NULL if there is nothing to do. w must stay open until prefault_stop, which waits for one piece
 * at most. */
struct prefault *prefault_start(const struct weights *w);
void prefault_stop(struct prefault *a); // NULL: nothing to do

/* For tests: the indices of w's tensors [n_tensors] in the order in which they are read. */
void prefault_order(const struct weights *w, size_t *order);

#endif
