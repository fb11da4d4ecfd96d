/* The tensors of a GGUF file as items for weights/convert.h, which writes a model.safetensors.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef GGUF_CONVERT_H
#define GGUF_CONVERT_H

#include "gguf/model.h"
#include "weights/convert.h"

/* m's tensors [m->n_tensors] as dtype t: F32, F16 or BF16. With `keep`, matrices whose blocks can
 * be kept are; *n_kept is their number. The caller frees the items by gguf_convert_free; m owns
 * what they point to. */
struct convert_item *gguf_convert_items(const struct gguf_model *m, enum dtype t, bool keep,
                                        size_t *n_kept);
void gguf_convert_free(struct convert_item *items, size_t n);

#endif
