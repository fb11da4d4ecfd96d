/* Where a head's keys and values lie in a page (struct kv_layer, kernels.h). Private to common/kernels.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef KERNELS_KV_PAGE_H
#define KERNELS_KV_PAGE_H

#include "kernels/kernels.h"

static inline unsigned char *page_keys(const struct kv_layer *kv, uint32_t page, size_t head) {
    size_t first = page % kv->run * kv->n_kv_heads; // heads of the run that lie before the page's
    return kv->base + page / kv->run * kv->run_stride + kv_page_bytes(first + head, kv->head_dim, kv->f32);
}
static inline unsigned char *page_values(const struct kv_layer *kv, uint32_t page, size_t head) {
    return page_keys(kv, page, head) + kv_key_bytes(kv->head_dim, kv->f32);
}

#endif
