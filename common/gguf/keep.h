/* Matrices of a GGUF file whose blocks are kept (weights/kept.h).
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef GGUF_KEEP_H
#define GGUF_KEEP_H

#include "gguf/model.h"
#include "weights/convert.h"

/* Whether the blocks of t can be kept: it is a matrix of a type of weights/kept.h, which is not
 * transposed. */
bool gguf_keep(const struct gguf_hf_tensor *t);

/* The tensor with the blocks of t, for which gguf_keep is true. The caller frees the name; t must
 * outlive the item. */
struct convert_item gguf_keep_item(const struct gguf_hf_tensor *t);

#endif
