/* Attention over paged keys and values, with an online softmax (Milakov and Gimelshein 2018).
 *
 * A row's positions are taken page by page in order: scores of one page, their maximum, the exponentials, then the
 * weighted values; when a page brings a new maximum, what was summed so far is scaled down. Nothing of size
 * [n, n] is held, and since pages stand at absolute positions the order of every sum depends on the row alone.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <math.h>

#include "kernels/table.h"
#include "kernels/vec.h"

struct attn_job {
    const struct kv_layer *kv;
    const struct attn_row *rows;
    float *out; // [n_rows, n_heads * head_dim], stride ldo
    size_t ldo;
    const float *q; // [n_rows, n_heads * head_dim], stride ldq
    size_t ldq, group; // group: query heads of one KV head
    float scale, softcap;
    unsigned char *scratch; // a head's accumulator a thread
    size_t scratch_each;
};

/* Where the keys of a head lie in a page; its values lie n_kv_heads * KV_PAGE * head_dim elements further. */
static unsigned char *page_keys(const struct kv_layer *kv, uint32_t page, size_t head) {
    return kv->base + page * kv->page_stride + head * KV_PAGE * kv->head_dim * (kv->f32 ? 4u : 2u);
}
static size_t values_offset(const struct kv_layer *kv) {
    return kv->n_kv_heads * KV_PAGE * kv->head_dim * (kv->f32 ? 4u : 2u);
}

static float kv_value(const struct kv_layer *kv, const unsigned char *p, size_t i) {
    if (kv->f32)
        return ((const float *)(const void *)p)[i];
    return vec_f32_from_bf16(((const uint16_t *)(const void *)p)[i]);
}

static void kv_store_c(const struct kv_layer *kv, const struct attn_row *rows, size_t n_rows, const float *k,
                       size_t ldk, const float *v, size_t ldv) {
    size_t hd = kv->head_dim, size = kv->f32 ? 4 : 2;
    for (size_t r = 0; r < n_rows; r++)
        for (size_t h = 0; h < kv->n_kv_heads; h++) {
            uint32_t pos = rows[r].last;
            unsigned char *to = page_keys(kv, rows[r].pages[pos / KV_PAGE], h) + pos % KV_PAGE * hd * size;
            for (int is_v = 0; is_v < 2; is_v++, to += values_offset(kv)) {
                const float *from = (is_v ? v + r * ldv : k + r * ldk) + h * hd;
                if (kv->f32)
                    memcpy(to, from, hd * sizeof *from);
                else
                    for (size_t i = 0; i < hd; i++)
                        ((uint16_t *)(void *)to)[i] = vec_bf16_from_f32(from[i]);
            }
        }
}

static void attn_c(const struct attn_job *j, size_t r, size_t kv_head, void *scratch) {
    const struct kv_layer *kv = j->kv;
    const struct attn_row *row = &j->rows[r];
    size_t hd = kv->head_dim;
    float *acc = scratch, scores[KV_PAGE];
    for (size_t h = kv_head * j->group; h < (kv_head + 1) * j->group; h++) {
        const float *q = j->q + r * j->ldq + h * hd;
        float max = -INFINITY, sum = 0;
        memset(acc, 0, hd * sizeof *acc);
        for (size_t page = row->first / KV_PAGE; page <= row->last / KV_PAGE; page++) {
            const unsigned char *k = page_keys(kv, row->pages[page], kv_head), *v = k + values_offset(kv);
            size_t from = row->first > page * KV_PAGE ? row->first - page * KV_PAGE : 0;
            size_t to = row->last - page * KV_PAGE < KV_PAGE ? row->last - page * KV_PAGE + 1 : KV_PAGE;
            float page_max = max;
            for (size_t i = from; i < to; i++) {
                float s = 0;
                for (size_t d = 0; d < hd; d++)
                    s += q[d] * kv_value(kv, k, i * hd + d);
                s *= j->scale;
                scores[i] = j->softcap > 0 ? j->softcap * vec_tanh(s / j->softcap) : s;
                page_max = scores[i] > page_max ? scores[i] : page_max;
            }
            float shrink = max == -INFINITY ? 0 : vec_exp(max - page_max);
            max = page_max;
            sum *= shrink;
            for (size_t d = 0; d < hd; d++)
                acc[d] *= shrink;
            for (size_t i = from; i < to; i++) {
                float w = vec_exp(scores[i] - max);
                sum += w;
                for (size_t d = 0; d < hd; d++)
                    acc[d] += w * kv_value(kv, v, i * hd + d);
            }
        }
        for (size_t d = 0; d < hd; d++)
            j->out[r * j->ldo + h * hd + d] = acc[d] / sum;
    }
}

void attention_fill(struct kernel_table *t, enum isa isa) {
    if (isa == ISA_C) {
        t->attn = attn_c;
        t->kv_store = kv_store_c;
    }
}

void kv_store(const struct kv_layer *kv, const struct attn_row *rows, size_t n_rows, const float *k, size_t ldk,
              const float *v, size_t ldv) {
    kernel.kv_store(kv, rows, n_rows, k, ldk, v, ldv);
}

static void run_items(void *arg, size_t begin, size_t end, size_t thread) {
    const struct attn_job *j = arg;
    for (size_t i = begin; i < end; i++)
        kernel.attn(j, i / j->kv->n_kv_heads, i % j->kv->n_kv_heads, j->scratch + thread * j->scratch_each);
}

static size_t scratch_each(size_t head_dim) {
    return (head_dim * sizeof(float) + 63) / 64 * 64;
}

void attention(struct pool *p, const struct kv_layer *kv, const struct attn_row *rows, size_t n_rows, float *out,
               size_t ldo, const float *q, size_t ldq, size_t n_heads, float scale, float softcap, void *scratch) {
    struct attn_job j = {kv,    rows,    out,     ldo,                        q, ldq, n_heads / kv->n_kv_heads,
                         scale, softcap, scratch, scratch_each(kv->head_dim)};
    pool_run(p, run_items, &j, n_rows * kv->n_kv_heads, 1);
}

size_t attention_scratch(size_t n_threads, size_t n_rows, size_t n_heads, size_t head_dim) {
    (void)n_rows;
    (void)n_heads;
    return n_threads * scratch_each(head_dim);
}
