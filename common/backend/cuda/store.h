/* Keys and values into the KV pages, one element at a time.
 *
 * A page has, for each KV head, keys and then values; in both a row's element d of one position:
 *
 *   keys [CU_KV_PAGE, pad]     position p at [p, d]: a position's dimensions are neighbours
 *   values [pad, CU_KV_PAGE]   position p at [d, p]: a dimension's positions are neighbours
 *
 * The padding of head_dim is not written: the host has filled new pages with zeros.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BACKEND_CUDA_STORE_H
#define BACKEND_CUDA_STORE_H

#include "backend/cuda/device.h"

/* Where a row's keys and values are: its page, and its position in the page. */
struct cu_place {
    unsigned char *page;
    uint32_t at;
};
DEVICE struct cu_place store_place(const struct cu_kv *kv, const struct cu_step *step,
                                   uint32_t row) {
    const struct cu_row *r = &step->rows[row];
    uint32_t pos = r->pos, page = step->words[(uint32_t)(r->table[kv->group] + pos / CU_KV_PAGE)];
    struct cu_place place = {kv->base + page * kv->page_stride, pos % CU_KV_PAGE};
    return place;
}

/* Element i of the keys and values of one head. */
DEVICE void store_element(const struct cu_kv *kv, struct cu_place place, uint32_t head, uint32_t i,
                          float f) {
    size_t of_head = (size_t)head * 2 * CU_KV_PAGE * kv->pad;
    store_as(place.page, kv->f32 ? CU_F32 : CU_BF16, of_head + i, f);
}
DEVICE void store_key_at(const struct cu_kv *kv, struct cu_place place, uint32_t head, uint32_t d,
                         float f) {
    store_element(kv, place, head, place.at * kv->pad + d, f);
}
DEVICE void store_value_at(const struct cu_kv *kv, struct cu_place place, uint32_t head, uint32_t d,
                           float f) {
    store_element(kv, place, head, (kv->pad + d) * CU_KV_PAGE + place.at, f);
}

/* The same for a row of the step. To store several elements of a row, find its place once. */
DEVICE void store_key(const struct cu_kv *kv, const struct cu_step *step, uint32_t row,
                      uint32_t head, uint32_t d, float f) {
    store_key_at(kv, store_place(kv, step, row), head, d, f);
}
DEVICE void store_value(const struct cu_kv *kv, const struct cu_step *step, uint32_t row,
                        uint32_t head, uint32_t d, float f) {
    store_value_at(kv, store_place(kv, step, row), head, d, f);
}

#endif
