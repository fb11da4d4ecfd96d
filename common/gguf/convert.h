/* The tensors of a GGUF file as items for weights/convert.h, which writes a model.safetensors.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef GGUF_CONVERT_H
#define GGUF_CONVERT_H

#include "gguf/model.h"
#include "weights/convert.h"

/* m's tensors [m->n_tensors] as dtype t: F32, F16 or BF16. The caller frees the items; m owns what
 * they point to. */
struct convert_item *gguf_convert_items(const struct gguf_model *m, enum dtype t);

#endif
