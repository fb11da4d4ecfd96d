/* The address of a head's keys and values in a page (struct kv_layer, kernels.h). Private to
 * common/kernels.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef KERNELS_KV_PAGE_H
#define KERNELS_KV_PAGE_H

#include "kernels/kernels.h"

static inline unsigned char *kv_page_keys(const struct kv_layer *kv, uint32_t page, size_t head) {
    size_t head_bytes = kv_page_bytes(1, kv->k_dim, kv->v_dim, kv->type);
    if (page >= KV_MAPPED)
        return kv->mapped + kv_mapped_offset(page) + head * head_bytes;
    return kv->base + kv_page_offset(kv->run, kv->run_stride, kv->n_kv_heads * head_bytes, page) +
           head * head_bytes;
}
static inline unsigned char *kv_page_values(const struct kv_layer *kv, uint32_t page, size_t head) {
    return kv_page_keys(kv, page, head) + kv_key_bytes(kv->k_dim, kv->type);
}

/* Of a page in i8, what it holds of a head -> to: the same as a page in f32 would hold it. */
void kv_i8_widen(float *to, const struct kv_layer *kv, const unsigned char *part);

#endif
