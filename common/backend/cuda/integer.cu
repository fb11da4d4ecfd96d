/* Matrix products of our own quantised layouts (quant(5)): whole numbers, multiplied exactly.
 *
 * The bits are those of the CPU (kernels/matmul_int_tmpl.h). Over a superblock of 256 inputs, the
 * products of x's low and of its high parts are summed by mma.sync in 32 bits, block by block, and
 * multiplied by the blocks' m: 2^7 * 2^6 * 2^8 * 2^8 is below 2^31. 128 * high + low is rounded to
 * f32 once, multiplied by the scale of x and added to what the superblocks before gave, in order;
 * then come the row's scale and the bias.
 *
 * A lane reads its bytes of the panels as the file has them: rows g of 8 pairs are 32 bytes.
 *
 *   few rows: a block has 16 outputs and 8 * NT rows of x. Its warps share the superblocks, and
 *             what each gave is added in order, through shared memory.
 *   many:     a block has 8 tiles of 16 outputs and 32 rows of x, a warp a tile.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "backend/cuda/matmul.h"
#include "backend/cuda/quant.h"

enum {
    INT_X_BYTES = 64, // of x for 32 inputs
    INT_HIGH = 128,   // the value of 1 in a high part
    INT_MAX_CODE = 127 * INT_HIGH,
    INT_LD = 20 // floats from row to row of sums: 16 outputs
};

/* ---- x ---- */

/* The scale of a superblock whose largest magnitude has these bits, and what x is multiplied by. */
DEVICE float int_scale(uint32_t most, float *inverse) {
    *inverse = 0;
    if (most >= 0x7F800000u)
        return __uint_as_float(0x7FC00000u);
    if (most < (127u - 100u) << 23) // 2^-100
        return 0;
    *inverse = (float)INT_MAX_CODE / __uint_as_float(most);
    return __uint_as_float(most) / (float)INT_MAX_CODE;
}

/* The low and the high parts of 4 codes. */
DEVICE uint2 int_parts(float4 x, float inverse) {
    const float whole = 12582912.0f; // 1.5 * 2^23: floats near it are whole numbers
    float v[4] = {x.x, x.y, x.z, x.w};
    uint2 parts = make_uint2(0, 0);
    if (inverse == 0)
        return parts;
    UNROLL for (int i = 0; i < 4; i++) {
        float rounded = v[i] * inverse + whole;
        int32_t code = (int32_t)(rounded - whole), high = (code + INT_HIGH / 2) >> 7;
        parts.x |= ((uint32_t)(code - INT_HIGH * high) & 255) << 8 * i;
        parts.y |= ((uint32_t)high & 255) << 8 * i;
    }
    return parts;
}

DEVICE float4 int_load4(const float *x, uint32_t k, uint32_t dim) {
    float4 v;
    v.x = k < dim ? x[k] : 0;
    v.y = k + 1 < dim ? x[k + 1] : 0;
    v.z = k + 2 < dim ? x[k + 2] : 0;
    v.w = k + 3 < dim ? x[k + 3] : 0;
    return v;
}
DEVICE uint32_t int_magnitude(float4 x) {
    uint32_t a = max(__float_as_uint(x.x) & 0x7FFFFFFFu, __float_as_uint(x.y) & 0x7FFFFFFFu),
             b = max(__float_as_uint(x.z) & 0x7FFFFFFFu, __float_as_uint(x.w) & 0x7FFFFFFFu);
    return max(a, b);
}

/* Grid: rows. A warp has a superblock at a time, a lane 8 inputs of it. */
KERNEL(CU_THREADS, 4) k_int_x(PARAM(struct cu_x_args) a) {
    grid_launch_next();
    grid_wait();
    uint32_t n = quant_x_rows(&a), row = blockIdx.x, lane = threadIdx.x % 32,
             padded = (a.dim + 63) / 64 * 64;
    if (row >= n)
        return;
    const float *x = a.x + (size_t)row * a.ldx;
    uint32_t supers = (a.dim + QUANT_SUPER - 1) / QUANT_SUPER;
    for (uint32_t s = threadIdx.x / 32; s < supers; s += CU_THREADS / 32) {
        uint32_t k = s * QUANT_SUPER + lane * 8;
        float4 low = int_load4(x, k, a.dim), high = int_load4(x, k + 4, a.dim);
        uint32_t most = max(int_magnitude(low), int_magnitude(high));
        UNROLL for (int far = 16; far > 0; far /= 2) {
            uint32_t other = __shfl_xor_sync(ALL_LANES, most, far);
            most = max(most, other);
        }
        float inverse, scale = int_scale(most, &inverse);
        if (lane == 0)
            a.scales[(size_t)row * supers + s] = scale;
        if (k >= padded)
            continue;
        // Inputs 8 i to 8 i + 7 of 32: of the first half if i < 2, and words 2 (i % 2) and the
        // next.
        uint2 first = int_parts(low, inverse), second = int_parts(high, inverse);
        uint32_t i = k % 32 / 8;
        uint32_t *to =
            (uint32_t *)((unsigned char *)a.to + (size_t)row * a.ld_to + k / 32 * INT_X_BYTES) +
            i % 2 * 8 + i / 2;
        to[0] = first.x;
        to[2] = first.y;
        to[4] = second.x;
        to[6] = second.y;
    }
}

/* ---- weights ---- */

/* An output's row in its panel. */
struct int_row {
    const unsigned char *panel;
    uint32_t r;
};
DEVICE struct int_row int_row_of(const struct cu_matmul_args *m, uint32_t o) {
    struct quant_row at = quant_row_of(m, o);
    struct int_row row = {at.q->data + at.row / QUANT_PANEL * at.q->panel_bytes,
                          at.row % QUANT_PANEL};
    return row;
}

/* A lane's words of a superblock, of the rows of its pair: 4 inputs each, or with 4 bits 8. */
template <int LAYOUT> struct int_weights {
    uint32_t a[8][LAYOUT == CU_I8 ? 2 : 1], b[8][LAYOUT == CU_I8 ? 2 : 1];
};
DEVICE uint32_t int_word(const unsigned char *p) {
    return __ldg((const uint32_t *)p);
}
template <int LAYOUT>
DEVICE void int_load(struct int_weights<LAYOUT> *w, struct quant_super s, struct int_row a,
                     struct int_row b, uint32_t t) {
    enum { BYTES = LAYOUT == CU_I8 ? 512 : 256 }; // of the panel, for 32 inputs
    const unsigned char *from_a = a.panel + s.codes + t * 64 + a.r * 4,
                        *from_b = b.panel + s.codes + t * 64 + b.r * 4;
    UNROLL for (uint32_t i = 0; i < 8; i++) {
        if (32 * i >= s.n)
            continue;
        w->a[i][0] = int_word(from_a + i * BYTES);
        w->b[i][0] = int_word(from_b + i * BYTES);
        if (LAYOUT == CU_I8) {
            w->a[i][LAYOUT == CU_I8] = int_word(from_a + i * BYTES + 256);
            w->b[i][LAYOUT == CU_I8] = int_word(from_b + i * BYTES + 256);
        }
    }
}

/* 4 bytes of a table as words hold them, plus 128. */
#define INT_TABLE(a, b, c, d)                                                                      \
    ((uint32_t)((a) + 128) | (uint32_t)((b) + 128) << 8 | (uint32_t)((c) + 128) << 16 |            \
     (uint32_t)((d) + 128) << 24)

/* Words i of the tables of panel_i4.c. */
template <int LAYOUT> DEVICE uint32_t int_table(int i) {
    if (LAYOUT == CU_I4_64)
        return i == 0   ? INT_TABLE(-112, -78, -59, -44)
               : i == 1 ? INT_TABLE(-32, -21, -10, 0)
               : i == 2 ? INT_TABLE(9, 18, 28, 38)
                        : INT_TABLE(49, 63, 81, 112);
    if (LAYOUT == CU_I4_32)
        return i == 0   ? INT_TABLE(-124, -99, -80, -64)
               : i == 1 ? INT_TABLE(-50, -37, -25, -14)
               : i == 2 ? INT_TABLE(-3, 8, 20, 33)
                        : INT_TABLE(46, 59, 75, 101);
    return i == 0   ? INT_TABLE(-124, -103, -84, -66)
           : i == 1 ? INT_TABLE(-50, -37, -25, -13)
           : i == 2 ? INT_TABLE(-3, 9, 20, 33)
                    : INT_TABLE(46, 60, 78, 107);
}
/* T[code] + c of the codes in the low 4 nibbles. add: c + 0 in every byte; no sum passes 255. */
template <int LAYOUT> DEVICE uint32_t int_look_up(uint32_t codes, uint32_t add) {
    const uint32_t t0 = int_table<LAYOUT>(0), t1 = int_table<LAYOUT>(1), t2 = int_table<LAYOUT>(2),
                   t3 = int_table<LAYOUT>(3);
    uint32_t low = codes & 0x7777u, upper = __byte_perm(0xFF00u, 0, codes >> 3 & 0x1111u);
    uint32_t v = (__byte_perm(t0, t1, low) & ~upper) | (__byte_perm(t2, t3, low) & upper);
    return (v + add) ^ 0x80808080u;
}
/* A lane's word of a 4-bit layout -> values of inputs 4t to 4t + 3, and of 16 later. */
template <int LAYOUT> DEVICE uint2 int_unpack(uint32_t word, uint32_t low, uint32_t high) {
    uint32_t shift_low = (low >> 6) * 4, shift_high = (high >> 6) * 4,
             add = (shift_low | shift_high << 8) * 0x00010001u;
    uint32_t v0 = int_look_up<LAYOUT>(word, add), v1 = int_look_up<LAYOUT>(word >> 16, add);
    return make_uint2(__byte_perm(v0, v1, 0x6420), __byte_perm(v0, v1, 0x7531));
}

/* ---- a superblock ---- */

template <int NT> struct int_sums { int32_t low[NT][4], high[NT][4]; };
DEVICE void int_add(int32_t sums[4], const int32_t products[4], int32_t ma, int32_t mb) {
    sums[0] += products[0] * ma;
    sums[1] += products[1] * ma;
    sums[2] += products[2] * mb;
    sums[3] += products[3] * mb;
}

/* 32 inputs. x: this lane's words of each row. */
template <int LAYOUT, int NT>
DEVICE void int_block(struct int_sums<NT> *sums, const struct int_weights<LAYOUT> *w, uint32_t i,
                      const unsigned char *da, const unsigned char *db,
                      const unsigned char *const x[NT]) {
    enum { EACH = LAYOUT == CU_I4_16 ? 2 : 1 }; // descriptors of 32 inputs
    uint32_t a0, a1, a2, a3, at = LAYOUT == CU_I4_64 ? i / 2 : i * EACH;
    uint32_t low_a = da[at * QUANT_PANEL], low_b = db[at * QUANT_PANEL],
             high_a = da[(at + EACH - 1) * QUANT_PANEL], high_b = db[(at + EACH - 1) * QUANT_PANEL];
    if (LAYOUT == CU_I8) {
        a0 = w->a[i][0] ^ 0x80808080u, a2 = w->a[i][LAYOUT == CU_I8] ^ 0x80808080u;
        a1 = w->b[i][0] ^ 0x80808080u, a3 = w->b[i][LAYOUT == CU_I8] ^ 0x80808080u;
    } else {
        uint2 a = int_unpack<LAYOUT>(w->a[i][0], low_a, high_a),
              b = int_unpack<LAYOUT>(w->b[i][0], low_b, high_b);
        a0 = a.x, a2 = a.y, a1 = b.x, a3 = b.y;
    }
    UNROLL for (uint32_t j = 0; j < NT; j++) {
        uint4 v = *(const uint4 *)(x[j] + i * INT_X_BYTES);
        int32_t low[4] = {}, high[4] = {};
        if (EACH == 1) {
            mma_s8(low, a0, a1, a2, a3, v.x, v.y);
            mma_s8(high, a0, a1, a2, a3, v.z, v.w);
            int_add(sums->low[j], low, quant_m(LAYOUT, low_a), quant_m(LAYOUT, low_b));
            int_add(sums->high[j], high, quant_m(LAYOUT, low_a), quant_m(LAYOUT, low_b));
        } else {
            int32_t low2[4] = {}, high2[4] = {};
            mma_s8_half(low, a0, a1, v.x);
            mma_s8_half(high, a0, a1, v.z);
            mma_s8_half(low2, a2, a3, v.y);
            mma_s8_half(high2, a2, a3, v.w);
            int_add(sums->low[j], low, quant_m(LAYOUT, low_a), quant_m(LAYOUT, low_b));
            int_add(sums->high[j], high, quant_m(LAYOUT, low_a), quant_m(LAYOUT, low_b));
            int_add(sums->low[j], low2, quant_m(LAYOUT, high_a), quant_m(LAYOUT, high_b));
            int_add(sums->high[j], high2, quant_m(LAYOUT, high_a), quant_m(LAYOUT, high_b));
        }
    }
}

/* The rows of x of a tile: for the products, row g of 8; for what a lane's sums are, 2t and 2t + 1.
 */
template <int NT> struct int_x {
    const unsigned char *codes[NT];
    uint32_t scales[NT][2]; // where those of the row begin in x_scales
};
template <int NT>
DEVICE struct int_x<NT> int_x_of(const struct cu_matmul_args *m, const struct cu_rows *r,
                                 uint32_t row0) {
    uint32_t g = threadIdx.x % 32 / 4, t = threadIdx.x % 4,
             supers = (m->n_in + QUANT_SUPER - 1) / QUANT_SUPER;
    struct int_x<NT> x;
    UNROLL for (uint32_t j = 0; j < NT; j++) { // a row that does not exist: the first one
        uint32_t row = row0 + 8 * j + g;
        x.codes[j] = (const unsigned char *)m->x +
                     (size_t)x_row(m, r, row < r->n ? row : row0) * m->ldx + t * 16;
        UNROLL for (uint32_t i = 0; i < 2; i++) {
            row = row0 + 8 * j + 2 * t + i;
            x.scales[j][i] = x_row(m, r, row < r->n ? row : row0) * supers;
        }
    }
    return x;
}

/* Superblock `number` of a pair and 8 NT rows of x -> y [NT][4], as mma has them. */
template <int LAYOUT, int NT>
DEVICE void int_superblock(float y[NT][4], const struct int_weights<LAYOUT> *w,
                           struct quant_super s, struct int_row a, struct int_row b,
                           const struct int_x<NT> *x, const float *x_scales, uint32_t number) {
    struct int_sums<NT> sums = {};
    const unsigned char *da = a.panel + s.at + a.r, *db = b.panel + s.at + b.r, *codes[NT];
    UNROLL for (uint32_t j = 0; j < NT; j++) codes[j] =
        x->codes[j] + (size_t)number * (QUANT_SUPER / 32 * INT_X_BYTES);
    UNROLL for (uint32_t i = 0; i < 8; i++) if (32 * i < s.n)
        int_block<LAYOUT, NT>(&sums, w, i, da, db, codes);
    UNROLL for (uint32_t j = 0; j < NT; j++) UNROLL for (uint32_t i = 0; i < 4; i++) y[j][i] =
        (float)((int64_t)sums.high[j][i] * INT_HIGH + sums.low[j][i]) *
        x_scales[x->scales[j][i % 2] + number];
}

/* ---- outputs ---- */

/* [8 NT rows][INT_LD] floats, of which a lane has those of its pair. */
template <int NT> DEVICE void int_store(float *to, const float y[NT][4]) {
    uint32_t g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    UNROLL for (uint32_t j = 0; j < NT; j++) {
        float *at = to + (8 * j + 2 * t) * INT_LD + g;
        at[0] = y[j][0];
        at[INT_LD] = y[j][1];
        at[8] = y[j][2];
        at[INT_LD + 8] = y[j][3];
    }
}

/* Sums of a pair, times the scales of its rows. */
DEVICE void int_finish(const struct cu_matmul_args *m, const struct cu_rows *r, uint32_t row,
                       uint32_t pair, float a, float b) {
    struct cu_pair o = pair_of(&m->pairs, pair);
    struct int_row of_a = int_row_of(m, o.a), of_b = int_row_of(m, o.b);
    a *= ((const float *)of_a.panel)[of_a.r];
    b *= ((const float *)of_b.panel)[of_b.r];
    finish(m, r, row, o, a, b);
}

/* Few rows. Grid: (tiles, rows / (8 NT), experts). */
template <int LAYOUT, int NT> DEVICE void int_few(const struct cu_matmul_args *m) {
    enum { ROUND = 32 / NT, OF_SUPER = 8 * NT * INT_LD }; // superblocks in shared memory; floats
    SHARED float sums[ROUND * OF_SUPER];
    uint32_t g = threadIdx.x % 32 / 4, t = threadIdx.x % 4, warp = threadIdx.x / 32,
             supers = (m->n_in + QUANT_SUPER - 1) / QUANT_SUPER;
    uint32_t row = threadIdx.x / 8, pair = threadIdx.x % 8; // whose sums this thread adds
    grid_launch_next();
    grid_wait();
    struct cu_rows r = rows_of(m);
    if (r.n == 0)
        return;
    struct cu_pair o = pair_of(&m->pairs, blockIdx.x * 8 + g);
    struct int_row a = int_row_of(m, o.a), b = int_row_of(m, o.b);
    for (uint32_t row0 = blockIdx.y * 8 * NT; row0 < r.n; row0 += gridDim.y * 8 * NT) {
        struct int_x<NT> x = int_x_of<NT>(m, &r, row0);
        float ya = 0, yb = 0;
        for (uint32_t first = 0; first < supers; first += ROUND) {
            uint32_t end = first + ROUND < supers ? first + ROUND : supers;
            for (uint32_t n = first + warp; n < end; n += CU_THREADS / 32) {
                struct quant_super s = quant_super_of(LAYOUT, n, m->n_in);
                struct int_weights<LAYOUT> w;
                float y[NT][4];
                int_load<LAYOUT>(&w, s, a, b, t);
                int_superblock<LAYOUT, NT>(y, &w, s, a, b, &x, m->x_scales, n);
                int_store<NT>(sums + (n - first) * OF_SUPER, y);
            }
            __syncthreads();
            for (uint32_t n = 0; n < end - first && row < 8 * NT; n++) {
                ya += sums[n * OF_SUPER + row * INT_LD + pair];
                yb += sums[n * OF_SUPER + row * INT_LD + pair + 8];
            }
            __syncthreads();
        }
        if (row < 8 * NT && row0 + row < r.n)
            int_finish(m, &r, row0 + row, blockIdx.x * 8 + pair, ya, yb);
    }
}

/* Many rows. Grid: (rows / 32, tiles / 8, experts). */
template <int LAYOUT> DEVICE void int_many(const struct cu_matmul_args *m) {
    enum { NT = 4, OF_WARP = 8 * NT * INT_LD };
    SHARED float sums[CU_THREADS / 32 * OF_WARP];
    uint32_t lane = threadIdx.x % 32, g = lane / 4, t = lane % 4, warp = threadIdx.x / 32,
             supers = (m->n_in + QUANT_SUPER - 1) / QUANT_SUPER,
             tile = blockIdx.y * (CU_THREADS / 32) + warp;
    float *mine = sums + warp * OF_WARP;
    grid_launch_next();
    grid_wait();
    struct cu_rows r = rows_of(m);
    if (r.n == 0 || tile >= cu_tiles_of(&m->pairs))
        return;
    struct cu_pair o = pair_of(&m->pairs, tile * 8 + g);
    struct int_row a = int_row_of(m, o.a), b = int_row_of(m, o.b);
    for (uint32_t row0 = blockIdx.x * 8 * NT; row0 < r.n; row0 += gridDim.x * 8 * NT) {
        struct int_x<NT> x = int_x_of<NT>(m, &r, row0);
        float total[NT][4] = {};
        for (uint32_t n = 0; n < supers; n++) {
            struct quant_super s = quant_super_of(LAYOUT, n, m->n_in);
            struct int_weights<LAYOUT> w;
            float y[NT][4];
            int_load<LAYOUT>(&w, s, a, b, t);
            int_superblock<LAYOUT, NT>(y, &w, s, a, b, &x, m->x_scales, n);
            UNROLL for (uint32_t j = 0; j < NT; j++) UNROLL for (uint32_t i = 0; i < 4; i++)
                total[j][i] += y[j][i];
        }
        int_store<NT>(mine, total);
        __syncwarp();
        ROLLED for (uint32_t i = lane; i < 64 * NT; i += 32) {
            uint32_t row = i / 8, pair = i % 8;
            if (row0 + row < r.n)
                int_finish(m, &r, row0 + row, tile * 8 + pair, mine[row * INT_LD + pair],
                           mine[row * INT_LD + pair + 8]);
        }
        __syncwarp();
    }
}

#define INT_KERNELS(name, layout, blocks)                                                          \
    KERNEL(CU_THREADS, blocks) k_int8_##name(PARAM(struct cu_matmul_args) m) {                     \
        int_few<layout, 1>(&m);                                                                    \
    }                                                                                              \
    KERNEL(CU_THREADS, 1) k_int32_##name(PARAM(struct cu_matmul_args) m) {                         \
        int_few<layout, 4>(&m);                                                                    \
    }                                                                                              \
    KERNEL(CU_THREADS, 1) k_int_many_##name(PARAM(struct cu_matmul_args) m) {                      \
        int_many<layout>(&m);                                                                      \
    }
INT_KERNELS(i8, CU_I8, 1) // with 128 registers it would spill
INT_KERNELS(i4_32, CU_I4_32, 2)
INT_KERNELS(i4_16, CU_I4_16, 2)
INT_KERNELS(i4_64, CU_I4_64, 2)
