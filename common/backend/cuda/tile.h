/* How the products of many rows finish: a warp writes its totals, of 16 outputs by 128 rows of x,
 * to shared memory; then this warp or another one stores them as the epilogue says.
 *
 * From shared memory a lane takes neighbouring outputs of a row. Common epilogues read and write 8
 * or 16 bytes a lane, and have many loads under way. finish() does all others, pair by pair, with
 * the same arithmetic.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BACKEND_CUDA_TILE_H
#define BACKEND_CUDA_TILE_H

#include "backend/cuda/matmul.h"

enum { FINISH_ROWS = 32, FINISH_LD = 20 /* floats; rows begin in other banks */ };

/* What to store: rows from row0 on, of the tile of 16 outputs. */
struct tile_out {
    const struct cu_matmul_args *m;
    const struct cu_rows *r;
    float *sums; // shared memory [CU_TILE][FINISH_LD]
    uint32_t row0, tile;
};

/* A warp's totals -> sums. */
DEVICE void tile_put(const float total[64], float *sums) {
    uint32_t g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    UNROLL for (uint32_t j = 0; j < CU_TILE / 8; j++) UNROLL for (uint32_t i = 0; i < 2; i++) {
        float *to = sums + (8 * j + 2 * t + i) * FINISH_LD + g;
        to[0] = total[4 * j + i];
        to[8] = total[4 * j + 2 + i];
    }
}

/* 4 outputs of the row-th row. */
DEVICE float4 finish_get(const struct tile_out *o, uint32_t row, uint32_t quad) {
    return *(const float4 *)(o->sums + row * FINISH_LD + 4 * quad);
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
DEVICE void finish_plain(const struct tile_out *o, uint32_t half) {
    const struct cu_matmul_args *m = o->m;
    uint32_t quad = threadIdx.x % 4, at = 64 * half + threadIdx.x % 32 / 4, row = o->row0 + at,
             first = 16 * o->tile + 4 * quad, n = first < outputs_of(&m->pairs) ? o->r->n : 0;
    bool add = m->epilogue == CU_ADD;
    float4 y[8], bias = make_float4(0, 0, 0, 0);
    float *to = m->y + (size_t)row * m->ldy + first;
    UNROLL for (uint32_t i = 0; i < 8; i++) {
        y[i] = make_float4(0, 0, 0, 0);
        if (add && row + 8 * i < n)
            y[i] = *(const float4 *)(to + 8 * i * m->ldy);
    }
    if (n > 0)
        bias = finish_bias4(m, first);
    UNROLL for (uint32_t i = 0; i < 8; i++) {
        float4 s = finish_get(o, at + 8 * i, quad);
        s = make_float4(s.x + bias.x, s.y + bias.y, s.z + bias.z, s.w + bias.w);
        if (add)
            s = make_float4(y[i].x + m->scale * s.x, y[i].y + m->scale * s.y,
                            y[i].z + m->scale * s.z, y[i].w + m->scale * s.w);
        if (row + 8 * i < n)
            *(float4 *)(to + 8 * i * m->ldy) = s;
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
DEVICE void finish_gated(const struct tile_out *o, uint32_t chunk) {
    const struct cu_matmul_args *m = o->m;
    uint32_t at = chunk * FINISH_ROWS + threadIdx.x % 32, row = o->row0 + at, k = 8 * o->tile,
             words[4];
    if (row >= o->r->n || k >= m->pairs.n_out[0])
        return;
    UNROLL for (uint32_t h = 0; h < 2; h++) {
        float4 a = finish_get(o, at, h), b = finish_get(o, at, h + 2);
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

/* A tile's 8 pairs. */
struct finish_pairs8 {
    struct cu_pair p; // the first
    uint32_t head, d; // of p.a
    bool turns;
};
DEVICE struct finish_pairs8 pairs8_of(const struct tile_out *o) {
    const struct cu_matmul_args *m = o->m;
    struct finish_pairs8 s = {pair_of(&m->pairs, 8 * o->tile), 0, 0, false};
    s.head = s.p.a / m->kv.head_dim;
    s.d = s.p.a % m->kv.head_dim;
    s.turns = s.d < m->rotary_half && s.head < m->n_heads + m->kv.n_kv_heads;
    return s;
}

/* A pair, turned. */
DEVICE float2 finish_turn(const struct finish_pairs8 *s, float a, float b, float c, float sine) {
    return s->turns ? make_float2(a * c - b * sine, b * c + a * sine) : make_float2(a, b);
}

/* Adds the tile's biases to the sums. */
DEVICE void finish_bias(const struct tile_out *o, const struct finish_pairs8 *s) {
    const struct cu_matmul_args *m = o->m;
    uint32_t k = threadIdx.x % 8, first = threadIdx.x % 32 / 8;
    float a = bias_of(m, s->p.a + k), b = bias_of(m, s->p.b + k);
    __syncwarp();
    ROLLED for (uint32_t row = first; row < CU_TILE; row += 4) {
        o->sums[row * FINISH_LD + k] += a;
        o->sums[row * FINISH_LD + k + 8] += b;
    }
    __syncwarp();
}

/* 64 rows of q: 4 lanes a row, 2 pairs each. All loads are under way before the first is used. */
DEVICE void finish_query(const struct tile_out *o, const struct finish_pairs8 *s, uint32_t half) {
    const struct cu_matmul_args *m = o->m;
    uint32_t k = threadIdx.x % 4 * 2, at = 64 * half + threadIdx.x % 32 / 4, row = o->row0 + at;
    float2 c[8], sine[8];
    UNROLL for (uint32_t i = 0; i < 8; i++) {
        size_t from = (size_t)(row + 8 * i) * m->rotary_half + s->d + k;
        c[i] = sine[i] = make_float2(0, 0);
        if (s->turns && row + 8 * i < o->r->n) {
            c[i] = *(const float2 *)(m->cosines + from);
            sine[i] = *(const float2 *)(m->sines + from);
        }
    }
    UNROLL for (uint32_t i = 0; i < 8; i++) {
        const float *sums = o->sums + (at + 8 * i) * FINISH_LD + k;
        float *to = m->y + (size_t)(row + 8 * i) * m->ldy + k;
        float2 a = *(const float2 *)sums, b = *(const float2 *)(sums + 8);
        float2 u = finish_turn(s, a.x, b.x, c[i].x, sine[i].x),
               v = finish_turn(s, a.y, b.y, c[i].y, sine[i].y);
        if (row + 8 * i < o->r->n) {
            *(float2 *)(to + s->p.a) = make_float2(u.x, v.x);
            *(float2 *)(to + s->p.b) = make_float2(u.y, v.y);
        }
    }
}

/* 8 neighbouring dimensions, from d on, of a key or a value. */
DEVICE void finish_stored(const struct cu_matmul_args *m, struct cu_place place, uint32_t head,
                          uint32_t d, const float f[8]) {
    if (head < m->n_heads + m->kv.n_kv_heads) {
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

/* 32 rows of k or v, a lane each. */
DEVICE void finish_kept(const struct tile_out *o, const struct finish_pairs8 *s, uint32_t chunk,
                        struct cu_place place) {
    const struct cu_matmul_args *m = o->m;
    uint32_t at = chunk * FINISH_ROWS + threadIdx.x % 32, row = o->row0 + at;
    float a[8], b[8];
    if (row >= o->r->n)
        return;
    UNROLL for (uint32_t h = 0; h < 2; h++) {
        size_t from = (size_t)row * m->rotary_half + s->d + 4 * h;
        float4 c = make_float4(0, 0, 0, 0), sine = c;
        if (s->turns) {
            c = *(const float4 *)(m->cosines + from);
            sine = *(const float4 *)(m->sines + from);
        }
        float4 u = finish_get(o, at, h), v = finish_get(o, at, h + 2);
        float us[4] = {u.x, u.y, u.z, u.w}, vs[4] = {v.x, v.y, v.z, v.w};
        float cs[4] = {c.x, c.y, c.z, c.w}, ss[4] = {sine.x, sine.y, sine.z, sine.w};
        UNROLL for (uint32_t k = 0; k < 4; k++) {
            float2 turned = finish_turn(s, us[k], vs[k], cs[k], ss[k]);
            a[4 * h + k] = turned.x;
            b[4 * h + k] = turned.y;
        }
    }
    finish_stored(m, place, s->head, s->d, a);
    finish_stored(m, place, s->head, s->d + (s->p.b - s->p.a), b);
}

DEVICE void finish_heads(const struct tile_out *o) {
    const struct cu_matmul_args *m = o->m;
    struct finish_pairs8 s = pairs8_of(o);
    if (s.p.b >= outputs_of(&m->pairs))
        return;
    finish_bias(o, &s);
    if (s.head < m->n_heads) {
        ROLLED for (uint32_t half = 0; half < 2; half++) finish_query(o, &s, half);
        return;
    }
    struct cu_place places[4];
    UNROLL for (uint32_t c = 0; c < 4; c++) {
        uint32_t row = o->row0 + c * FINISH_ROWS + threadIdx.x % 32;
        places[c].page = NULL;
        places[c].at = 0;
        if (row < o->r->n)
            places[c] = store_place(&m->kv, &m->step, row);
    }
    ROLLED for (uint32_t c = 0; c < 4; c++) {
        struct cu_place place = places[0];
        UNROLL for (uint32_t i = 1; i < 4; i++) if (i == c) place = places[i];
        finish_kept(o, &s, c, place);
    }
}

/* ---- all ---- */

/* Any epilogue, pair by pair. */
DEVICE void finish_pairs(const struct tile_out *o) {
    ROLLED for (uint32_t i = threadIdx.x % 32; i < 8 * CU_TILE; i += 32) {
        const float *from = o->sums + i / 8 * FINISH_LD + i % 8;
        if (o->row0 + i / 8 < o->r->n)
            finish(o->m, o->r, o->row0 + i / 8, pair_of(&o->m->pairs, 8 * o->tile + i % 8), from[0],
                   from[8]);
    }
}

/* A whole warp calls it, and all see the sums. A tile past the last one stores nothing. */
DEVICE void tile_store(const struct tile_out *o) {
    if (o->tile >= cu_tiles_of(&o->m->pairs))
        return;
    if (finish_is_plain(o))
        ROLLED for (uint32_t half = 0; half < 2; half++) finish_plain(o, half);
    else if (finish_is_gated(o))
        ROLLED for (uint32_t chunk = 0; chunk < 4; chunk++) finish_gated(o, chunk);
    else if (finish_is_heads(o))
        finish_heads(o);
    else
        finish_pairs(o);
}

#endif
