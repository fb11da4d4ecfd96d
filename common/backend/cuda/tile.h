/* How the products of many rows finish: a warp has the totals of 16 outputs by 128 rows of x in the
 * registers that mma left them in, and stores them as the epilogue says.
 *
 * The totals go through the warp's own part of shared memory, 32 rows at a time, so that a lane has
 * neighbouring outputs of a row. Common epilogues read and write 16 bytes a lane. finish() does all
 * others, pair by pair, with the same arithmetic.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BACKEND_CUDA_TILE_H
#define BACKEND_CUDA_TILE_H

#include "backend/cuda/matmul.h"

enum { FINISH_ROWS = 32, FINISH_LD = 20 /* floats; rows begin in other banks */ };

/* What a warp has to store: rows from row0 on, of the tile of 16 outputs. */
struct tile_out {
    const struct cu_matmul_args *m;
    const struct cu_rows *r;
    float *mine; // CU_FINISH_BYTES of shared memory
    uint32_t row0, tile;
};

/* Totals of rows [32 c, 32 c + 32) -> shared memory. */
DEVICE void finish_put(const float total[64], uint32_t c, float *mine) {
    uint32_t g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    UNROLL for (uint32_t j = 0; j < 4; j++) UNROLL for (uint32_t i = 0; i < 2; i++) {
        float *to = mine + (8 * j + 2 * t + i) * FINISH_LD + g;
        to[0] = total[16 * c + 4 * j + i];
        to[8] = total[16 * c + 4 * j + 2 + i];
    }
}

DEVICE float4 finish_get(const float *mine, uint32_t row, uint32_t quad) {
    return *(const float4 *)(mine + row * FINISH_LD + 4 * quad);
}

/* ---- y = or += of plain outputs ---- */

/* Whether the tile's outputs are 16 neighbours in y, whose pieces of 16 bytes are aligned. */
DEVICE bool finish_is_plain(const struct tile_out *o) {
    const struct cu_matmul_args *m = o->m;
    return m->pairs.pairing == CU_PLAIN && (m->epilogue == CU_STORE || m->epilogue == CU_ADD) &&
           !(m->divisor > 0) && !(m->softcap > 0) && m->ldy % 4 == 0 &&
           outputs_of(&m->pairs) % 4 == 0 && ((uintptr_t)m->y & 15) == 0 && !o->r->pairs;
}

DEVICE float4 finish_bias4(const struct cu_matmul_args *m, uint32_t o) {
    if (!m->bias[0] && !m->bias[1] && !m->bias[2])
        return make_float4(0, 0, 0, 0);
    return make_float4(bias_of(m, o), bias_of(m, o + 1), bias_of(m, o + 2), bias_of(m, o + 3));
}

/* 64 rows: all loads of y are under way before the first is used. */
DEVICE void finish_plain(const struct tile_out *o, uint32_t half, const float *total, float4 bias) {
    const struct cu_matmul_args *m = o->m;
    uint32_t quad = threadIdx.x % 4, row = o->row0 + 64 * half + threadIdx.x % 32 / 4,
             first = 16 * o->tile + 4 * quad, n = first < outputs_of(&m->pairs) ? o->r->n : 0;
    bool add = m->epilogue == CU_ADD;
    float4 y[8];
    float *to = m->y + (size_t)row * m->ldy + first;
    UNROLL for (uint32_t i = 0; i < 8; i++) {
        y[i] = make_float4(0, 0, 0, 0);
        if (add && row + 8 * i < n)
            y[i] = *(const float4 *)(to + 8 * i * m->ldy);
    }
    UNROLL for (uint32_t c = 0; c < 2; c++) {
        __syncwarp();
        finish_put(total, 2 * half + c, o->mine);
        __syncwarp();
        UNROLL for (uint32_t i = 0; i < 4; i++) {
            float4 s = finish_get(o->mine, 8 * i + threadIdx.x % 32 / 4, quad), old = y[4 * c + i];
            s = make_float4(s.x + bias.x, s.y + bias.y, s.z + bias.z, s.w + bias.w);
            if (add)
                s = make_float4(old.x + m->scale * s.x, old.y + m->scale * s.y,
                                old.z + m->scale * s.z, old.w + m->scale * s.w);
            if (row + 32 * c + 8 * i < n)
                *(float4 *)(to + (32 * c + 8 * i) * m->ldy) = s;
        }
    }
}

/* ---- gate and up ---- */

DEVICE bool finish_is_gated(const struct tile_out *o) {
    const struct cu_matmul_args *m = o->m;
    return m->pairs.pairing == CU_GATE_UP && m->epilogue == CU_GATED && m->out_type != CU_F32 &&
           m->act == CU_SILU && m->pairs.n_out[0] % 8 == 0 && !m->bias[0] && !m->bias[1] &&
           !o->r->pairs;
}

/* A lane has a row: 8 pairs, which are one piece of 16 bytes. */
DEVICE void finish_gated(const struct tile_out *o, uint32_t row0) {
    const struct cu_matmul_args *m = o->m;
    uint32_t lane = threadIdx.x % 32, row = row0 + lane, k = 8 * o->tile, words[4];
    if (row >= o->r->n || k >= m->pairs.n_out[0])
        return;
    UNROLL for (uint32_t h = 0; h < 2; h++) {
        float4 a = finish_get(o->mine, lane, h), b = finish_get(o->mine, lane, h + 2);
        float v[4] = {approx_silu(a.x + 0.0f) * (b.x + 0.0f), // + 0: the bias, for the sign of zero
                      approx_silu(a.y + 0.0f) * (b.y + 0.0f),
                      approx_silu(a.z + 0.0f) * (b.z + 0.0f),
                      approx_silu(a.w + 0.0f) * (b.w + 0.0f)};
        words[2 * h] = pack_as(m->out_type, v[0], v[1]);
        words[2 * h + 1] = pack_as(m->out_type, v[2], v[3]);
    }
    *(uint4 *)((uint16_t *)m->out + cu_x_at(row, k, m->ld_out)) =
        make_uint4(words[0], words[1], words[2], words[3]);
}

/* ---- q, k and v ---- */

/* Whether each tile has 8 neighbouring pairs of one head, which are all rotated or none. */
DEVICE bool finish_is_heads(const struct tile_out *o) {
    const struct cu_matmul_args *m = o->m;
    return m->pairs.pairing == CU_ROTATED && m->epilogue == CU_QKV && m->kv.head_dim % 16 == 0 &&
           m->rotary_half % 8 == 0 && m->pairs.half == m->rotary_half && !m->kv.f32 &&
           m->ldy % 4 == 0 && ((uintptr_t)m->y & 15) == 0 && !o->r->pairs;
}

/* 8 dimensions of a row's head, from output `out` on. */
DEVICE void finish_head(const struct cu_matmul_args *m, struct cu_place place, uint32_t row,
                        uint32_t out, const float f[8]) {
    uint32_t dim = m->kv.head_dim, head = out / dim, d = out % dim;
    if (head < m->n_heads) {
        float4 *to = (float4 *)(m->y + (size_t)row * m->ldy + out);
        to[0] = make_float4(f[0], f[1], f[2], f[3]);
        to[1] = make_float4(f[4], f[5], f[6], f[7]);
    } else if (head < m->n_heads + m->kv.n_kv_heads) {
        uint16_t *to = (uint16_t *)place.page +
                       (size_t)(head - m->n_heads) * 2 * CU_KV_PAGE * m->kv.pad +
                       place.at * m->kv.pad + d;
        *(uint4 *)to = make_uint4(pack_bf16(f[0], f[1]), pack_bf16(f[2], f[3]),
                                  pack_bf16(f[4], f[5]), pack_bf16(f[6], f[7]));
    } else {
        UNROLL for (uint32_t i = 0; i < 8; i++)
            store_value_at(&m->kv, place, head - m->n_heads - m->kv.n_kv_heads, d + i, f[i]);
    }
}

/* A lane has a row. */
DEVICE void finish_heads(const struct tile_out *o, uint32_t row0) {
    const struct cu_matmul_args *m = o->m;
    uint32_t lane = threadIdx.x % 32, row = row0 + lane, dim = m->kv.head_dim;
    struct cu_pair p = pair_of(&m->pairs, 8 * o->tile);
    struct cu_place place = {NULL, 0};
    uint32_t head = p.a / dim, i = p.a % dim;
    if (row >= o->r->n || p.b >= outputs_of(&m->pairs))
        return;
    if (head >= m->n_heads)
        place = store_place(&m->kv, &m->step, row);
    bool biased = m->bias[0] || m->bias[1] || m->bias[2],
         turns = i < m->rotary_half && head < m->n_heads + m->kv.n_kv_heads;
    float a[8], b[8];
    UNROLL for (uint32_t h = 0; h < 2; h++) {
        size_t at = (size_t)row * m->rotary_half + i + 4 * h;
        float4 c = make_float4(1, 1, 1, 1), s = make_float4(0, 0, 0, 0);
        if (turns) {
            c = *(const float4 *)(m->cosines + at);
            s = *(const float4 *)(m->sines + at);
        }
        float4 u = finish_get(o->mine, lane, h), v = finish_get(o->mine, lane, h + 2);
        float us[4] = {u.x, u.y, u.z, u.w}, vs[4] = {v.x, v.y, v.z, v.w};
        float cs[4] = {c.x, c.y, c.z, c.w}, ss[4] = {s.x, s.y, s.z, s.w};
        UNROLL for (uint32_t k = 0; k < 4; k++) {
            float x = us[k] + (biased ? bias_of(m, p.a + 4 * h + k) : 0.0f),
                  y = vs[k] + (biased ? bias_of(m, p.b + 4 * h + k) : 0.0f);
            a[4 * h + k] = turns ? x * cs[k] - y * ss[k] : x;
            b[4 * h + k] = turns ? y * cs[k] + x * ss[k] : y;
        }
    }
    finish_head(m, place, row, p.a, a);
    finish_head(m, place, row, p.b, b);
}

/* ---- all ---- */

/* Any epilogue, pair by pair. */
DEVICE void finish_pairs(const struct tile_out *o, uint32_t row0) {
    ROLLED for (uint32_t i = threadIdx.x % 32; i < 8 * FINISH_ROWS; i += 32) {
        const float *from = o->mine + i / 8 * FINISH_LD + i % 8;
        if (row0 + i / 8 < o->r->n)
            finish(o->m, o->r, row0 + i / 8, pair_of(&o->m->pairs, 8 * o->tile + i % 8), from[0],
                   from[8]);
    }
}

/* The whole warp calls it. A tile past the last one stores nothing. */
DEVICE void tile_finish(const struct tile_out *o, const float total[64]) {
    bool gated = finish_is_gated(o), heads = finish_is_heads(o);
    if (o->tile >= cu_tiles_of(&o->m->pairs))
        return;
    if (finish_is_plain(o)) {
        float4 bias = finish_bias4(o->m, 16 * o->tile + threadIdx.x % 4 * 4);
        UNROLL for (uint32_t half = 0; half < 2; half++) finish_plain(o, half, total, bias);
        return;
    }
    ROLLED for (uint32_t chunk = 0; chunk < 4; chunk++) { // unrolled, its code would be read anew
        uint32_t row0 = o->row0 + chunk * FINISH_ROWS;
        __syncwarp();
        UNROLL for (uint32_t c = 0; c < 4; c++) if (c == chunk) finish_put(total, c, o->mine);
        __syncwarp();
        if (gated)
            finish_gated(o, row0);
        else if (heads)
            finish_heads(o, row0);
        else
            finish_pairs(o, row0);
    }
}

#endif
