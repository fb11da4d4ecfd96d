/* The arguments of every GPU kernel, and the layouts of what kernels share. Plain C with one layout
 * under gcc, g++ and nvcc: the host fills these structs and hands them to a launch by value.
 *
 * Pointers are device addresses; the host never reads through them. Rows of weights and of
 * activations are padded with zeros to a multiple of CU_PAD elements, so that kernels read whole
 * vectors.
 *
 * Weights that mma multiplies are packed when they are loaded (pack.cu), as
 * [tiles of 16 outputs][steps of 16 k][lane][8 elements]. A tile's step is 512 bytes, in the order
 * in which a warp needs them, so a warp reads one piece of memory from end to end.
 *
 * Activations in BF16 and F16 are in blocks of CU_TILE rows by CU_PAD k, 16 KB. A block has the
 * order that wgmma reads from shared memory, so that one copy moves it: row r is 128 bytes, and its
 * 16-byte piece p is stored at p ^ (r % 8). See cu_x_at. Activations in F32 are plain rows.
 *
 * The shape of the weights alone fixes the order of every sum. So a row's bits do not depend on its
 * batch:
 *
 *   - n_in is cut into CU_CHAINS contiguous slices of whole tiles of CU_PAD.
 *   - A slice is summed from its first k to its last, 16 at a time (one mma.sync m16n8k16, or one
 *     wgmma step of k 16).
 *   - The slices' sums are added in order, from zero, then the bias.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BACKEND_CUDA_ARGS_H
#define BACKEND_CUDA_ARGS_H

#include <stdint.h>

enum {
    CU_PAD = 64,       // elements
    CU_CHAINS = 8,     // partial sums of an output, one for each warp where few rows are multiplied
    CU_KV_PAGE = 64,   // positions
    CU_SPAN_PAGES = 4, // pages that make one partial sum of attention, at absolute positions
    CU_QUERIES = 16,   // of one attention tile: (row, head of the KV head's group)
    CU_GROUPS = 2,     // of layers that see equally far (DEVICE_GROUPS)
    CU_ROPES = 2,      // SPEC_MAX_ROPES
    CU_TILE = 128,     // outputs, and rows, of a tile of k_tile_*
    CU_TILE_STAGES = 6,
    CU_TILE_SHARED = CU_TILE_STAGES * CU_TILE * CU_PAD * 2, // dynamic shared memory of k_tile_*
    CU_FINISH_BYTES = 32 * 20 * 4, // of shared memory, in which a warp of k_tile_* has its sums
    CU_FEW_STAGES = 4, // stages of x in flight in k_few8_*, k_few16_*, k_few32_*, if shared memory
                       // has no room for all of x
    CU_FEW_SUMS = CU_CHAINS * 16 * 8 * 4, // bytes of the chains' sums of 16 outputs and 8 rows
    CU_THREADS = 256                      // of a block, unless a kernel says otherwise
};

/* k_tile_wgmma_*: outputs of a tile, stages in flight, and the tiles of a cluster of blocks, by
 * rows and by outputs. */
#ifndef CU_WGMMA_OUTS
#define CU_WGMMA_OUTS   128
#define CU_WGMMA_STAGES 6
#endif
#ifndef CU_WGMMA_X
#define CU_WGMMA_X 2
#define CU_WGMMA_Y 1
#endif
#define CU_WGMMA_THREADS (CU_WGMMA_OUTS * 2 + 128)
#define CU_WGMMA_SHARED                                                                            \
    (CU_WGMMA_STAGES * (CU_TILE + CU_WGMMA_OUTS) * CU_PAD * 2 +                                    \
     CU_WGMMA_OUTS / 16 * CU_FINISH_BYTES + 16 * CU_WGMMA_STAGES)

/* Dynamic shared memory of k_few8_*, k_few16_*, k_few32_* (rows: 8, 16, 32) with N stages:
 * CU_FEW_STAGES, or with all_x those of a slice. And of k_few_norm_* for n rows of ld elements. */
#define CU_FEW_SHARED(rows, stages) (CU_CHAINS * 16 * (rows)*4 + CU_CHAINS * (stages) * (rows)*128)
#define CU_FEW_SLICE(ld)            (((ld) / CU_PAD + CU_CHAINS - 1) / CU_CHAINS)
#define CU_FEW_NORM_SHARED(n, ld)   (CU_FEW_SUMS + (n) * ((ld) + 8) * 2)
/* Dynamic shared memory of k_attend_many_*, by the pad that the kernel is for. */
#define CU_ATTEND_MANY_TILES(pad)  ((pad) == 64 ? 8u : (pad) == 96 ? 12u : (pad) == 256 ? 32u : 16u)
#define CU_ATTEND_MANY_SHARED(pad) ((4u * CU_ATTEND_MANY_TILES(pad) + 8 + (pad) / 4) * 512 + 512)

enum cu_type { CU_F32, CU_BF16, CU_F16 }; // of weights and of rounded activations

/* Where element k of row r of activations in BF16 or F16 is, in elements; ld is the row's length, a
 * multiple of CU_PAD. */
#define cu_x_at(r, k, ld)                                                                          \
    (((size_t)((r) / CU_TILE) * ((ld) / CU_PAD) + (k) / CU_PAD) * CU_TILE * CU_PAD +               \
     (r) % CU_TILE * CU_PAD + (((k) / 8 ^ (r)) % 8) * 8 + (k) % 8)

enum cu_norm_kind { CU_NORM_NONE, CU_NORM_RMS, CU_NORM_LAYER };
struct cu_norm {
    const float *weight, *bias; // [n]; bias may be NULL
    float eps, offset;          // offset is added to each weight
    uint32_t kind;              // enum cu_norm_kind
};

/* What changes from step to step. In device memory: this header, then rows, tiles and words. */
struct cu_header {
    uint32_t n_rows, n_want, n_tiles, unused;
};
struct cu_row {
    uint32_t id, pos;
    uint32_t first[CU_GROUPS]; // it sees positions [first, last], and is stored at pos
    uint32_t last[CU_GROUPS];
    uint32_t table[CU_GROUPS]; // words[table + p / CU_KV_PAGE] is position p's page (modulo 2^32)
    uint32_t freq[CU_ROPES];   // words[freq ..] are its rope's frequencies, f32 [half]
    uint32_t want;             // in rows[i]: the number of the i-th row whose logits are wanted
    uint32_t unused;
};
struct cu_tile { // rows [row, row + n) of one sequence, consecutive positions, n <= CU_QUERIES /
                 // group or 1
    uint32_t row, n;
};
struct cu_step { // by value in the arguments of kernels that need it; addresses are fixed for a
                 // graph
    const struct cu_header *header;
    const struct cu_row *rows;
    const struct cu_tile *tiles;
    const uint32_t *words;
};

/* The KV pages of one layer: page p is at base + p * page_stride; in it, for each KV head, keys
 * [CU_KV_PAGE, pad] and then values [pad, CU_KV_PAGE] (transposed), where pad is head_dim rounded
 * up to a multiple of 16, and what pads is zero. */
struct cu_kv {
    unsigned char *base;
    uint64_t page_stride; // bytes
    uint32_t n_kv_heads, head_dim, pad;
    uint32_t f32;   // else bf16
    uint32_t group; // index of first[], last[] and table[]
    uint32_t unused;
};

/* x [n_rows, dim] = embed[id] * scale (+ positions[pos]). Also computes cosines and sines
 * [n_rows, half] of each rope. One block a row. */
struct cu_begin_args {
    struct cu_step step;
    const void *embed, *positions; // positions may be NULL
    uint32_t embed_type, positions_type, embed_ld, positions_ld;
    uint32_t embed_packed;                 // embed is a packed head of plain pairs
    uint32_t embed_quant, positions_quant; // it is a struct cu_quant
    uint32_t unused;
    float *x;
    uint32_t dim, ldx;
    float scale;
    uint32_t n_ropes;
    uint32_t half[CU_ROPES];
    float rope_scale[CU_ROPES];
    float *cosines[CU_ROPES], *sines[CU_ROPES];
};

/* y f32 [n, dim] and rounded [n, dim] (each may be NULL) = norm(x); with `wanted`, row i is x's row
 * rows[i].want, and n is n_want. The padding of rounded's rows, up to ld_rounded, is written as
 * zeros. x and y may be the same. One warp a row. */
struct cu_norm_args {
    struct cu_step step;
    const float *x;
    float *y;
    void *rounded;
    uint32_t rounded_type, dim, ldx, ldy, ld_rounded, wanted;
    struct cu_norm norm;
};

/* y [n_rows, dim] += scale * x, f32. One block a row. */
struct cu_add_args {
    struct cu_step step;
    float *y;
    const float *x;
    uint32_t dim, ldy, ldx;
    float scale;
};

enum cu_epilogue {
    CU_STORE, // y = (x W^T + bias) / divisor, then softcap
    CU_ADD,   // y += scale * (x W^T + bias)
    CU_GATED, // out = act(x w[0]^T + bias[0]) * (x w[1]^T + bias[1])
    CU_ACT,   // out = act(x w[0]^T + bias[0])
    CU_TIMES, // y = act(y) * (x W^T + bias)
    CU_QKV    // q rotated to y; k rotated, and v, to their pages
};
enum cu_act { CU_NO_ACT, CU_SILU, CU_GELU_TANH, CU_GELU_ERF, CU_RELU }; // as enum activation

/* How outputs are paired. 8 pairs make an mma tile of 16 outputs: pair 8 * tile + g has rows g and
 * g + 8 of it. The pairing is fixed when weights are packed. */
enum cu_pairing {
    CU_PLAIN,   // pair p: outputs 16 * (p / 8) + p % 8, and 8 more
    CU_GATE_UP, // output p of the first matrix, and of the second
    CU_ROTATED  // dimensions i and i + half of a head, then halves of the dimensions that are not
                // rotated
};
struct cu_pairs {
    uint32_t pairing, n_out[3],
        n_mats;              // up to three matrices; outputs are counted through all of them
    uint32_t head_dim, half; // CU_ROTATED
};

/* Tiles of 16 outputs that the pairs make. */
#define cu_tiles_of(p)                                                                             \
    ((p)->pairing == CU_GATE_UP ? ((p)->n_out[0] + 7) / 8                                          \
                                : ((p)->n_out[0] + ((p)->n_mats > 1 ? (p)->n_out[1] : 0) +         \
                                   ((p)->n_mats > 2 ? (p)->n_out[2] : 0) + 15) /                   \
                                      16)

/* Packs rows [first, end) of one of the matrices, [.., n_in] of 2 bytes as in the file. Grid:
 * (tiles, steps / 8), a warp a step. */
struct cu_pack_args {
    struct cu_pairs pairs;
    uint32_t mat, first, end;
    uint32_t n_in, steps; // of 16 k: n_in rounded up to CU_PAD
    const void *w;        // row `first`
    void *packed;         // [tiles, steps, 32, 8]
};

/* A quantised matrix in device memory. Its bytes, scales and zero points are those of
 * weights/mat.h, which also says how a code becomes a value. */
enum cu_quant_layout { // as mat_layout
    CU_G4,
    CU_G8,
    CU_F8,
    CU_NF4,
    CU_K4,
    CU_K8,
    CU_I8, // from here on, our own
    CU_I4_32,
    CU_I4_16,
    CU_I4_64,
    CU_QUANT_LAYOUTS
};
struct cu_quant {
    const unsigned char *data;
    const void *scales, *biases; // of scale_type; biases may be NULL. CU_K4, CU_K8: d and dmin
    const uint8_t *zeros;        // or NULL: all are `zero`
    const int8_t *steps;         // CU_K4, CU_K8; others: NULL
    const uint8_t *lows;         // where they have dmin
    const uint32_t *place;       // [n_in] input k is number place[k] of the panels; NULL: number k
    uint64_t panel_bytes;        // of 16 rows; CU_F8, CU_NF4: of a row
    uint32_t layout, n_in, group, n_groups, block_rows, scale_type;
    int32_t zero;
    float factor;
    int8_t table[16]; // of CU_G4, and of our own 4-bit layouts
    float values[16]; // of CU_NF4
};

/* x [n, dim] f32 -> what a product reads. n is `times` for each row of the step, or n_want.
 *
 * k_round: of `type`, in blocks, as cu_x_at says. Grid: (n, ld_to / 2,048, rounded up).
 * k_int_x: codes of 15 bits, as kernels/matmul_int.h defines them, and a scale for 256 inputs.
 * A row is ld_to bytes, 64 for 32 inputs: for t = 0 to 3, the low parts of inputs 4t to 4t + 3, of
 * 16 + 4t to 16 + 4t + 3, and then the high parts of both. Grid: n. */
struct cu_x_args {
    struct cu_step step;
    const float *x;
    void *to;
    float *scales; // k_int_x: [n, (dim + 255) / 256]
    uint32_t dim, ldx, ld_to, type, times;
    uint32_t wanted, wanted_first, most; // as in cu_matmul_args
};

/* A matrix product. */
struct cu_matmul_args {
    struct cu_step step;
    struct cu_pairs pairs;
    const void *packed;   // k_few*, k_tile*; with experts: see expert_w
    const void *w[3];     // k_exact_*: [n_out, ld_w], as in the file. k_quant*, k_int*,
                          // k_exact_quant: struct cu_quant
    const float *bias[3]; // of each matrix, or NULL
    uint32_t n_in, ld_w;  // ld_w is n_in rounded up to CU_PAD
    const void
        *x; // [n, ldx] of the kernel's x type; k_few_norm*: f32, normed and rounded on the way
    uint32_t ldx;
    struct cu_norm norm;
    uint32_t epilogue;
    uint32_t wanted; // n is n_want, not n_rows. Rows from wanted_first on are used, at most `most`
                     // of them; x and y begin there
    uint32_t wanted_first, most;
    uint32_t row_tiles; // k_tile*: blocks of CU_TILE rows of x that the grid is for
    uint32_t all_x;     // k_few8_*, k_few16_*, k_few32_*: there is shared memory for a slice of x
    float *y;           // f32
    uint32_t ldy;
    float scale, divisor, softcap; // divisor, softcap: 0: none
    void *out; // activations of out_type, ld_out; its padding is zero from the start
    uint32_t out_type, ld_out, act;
    // CU_QKV
    struct cu_kv kv;
    uint32_t n_heads, rotary_half;
    const float *cosines, *sines; // [n_rows, rotary_half]
    // experts (not k_tile*): blockIdx.z is the expert; row i of expert e is pair pairs[offsets[e] +
    // i]
    const void *const *expert_w; // [n_experts, 3] packed gate and up, unused, packed down;
                                 // others: gate, up, down, where NULL is an expert that
                                 // another launch multiplies. NULL: no experts
    const uint32_t *offsets;     // [n_experts + 1]
    const uint32_t
        *expert_pairs; // [n_rows * n_used] row * n_used + k, sorted by expert, then by row
    uint32_t
        n_used; // x's row is pair / n_used. 0: x's row is offsets[e] + i, and y's row is the pair
    uint32_t expert_first; // the first of an expert's three matrices that this product reads
    // quantised matrices
    uint32_t first_row[3]; // row of w[i] that is its first output
    uint32_t x_type;       // k_quant*
    const float *x_scales; // k_int*: of x
};

/* Norms and rotates q and k in place in qkv [n_rows, ld] f32 (q, k, v side by side), and stores k
 * and v in their pages. One block a row. */
enum cu_qk_norm { CU_QK_NONE, CU_QK_HEAD, CU_QK_EACH, CU_QK_ALL }; // as enum qk_norm
struct cu_qk_args {
    struct cu_step step;
    float *qkv;
    uint32_t ld, n_heads, qk_norm;
    struct cu_norm q_norm, k_norm;
    uint32_t rotary_half; // 0: not rotated
    const float *cosines, *sines;
    struct cu_kv kv;
};

/* out [n_rows, n_heads * head_dim] = attention of q (f32, stride ldq) over the pages.
 * attend_few: grid (tiles, KV heads, slots): slot z takes spans z, z + slots...; each span's sums
 * go to `partial`, and the block that is done last (counters, zero before and after) joins them in
 * order. attend_many: grid (tiles / 4, KV heads), a warp a tile. */
struct cu_attend_args {
    struct cu_step step;
    const float *q;
    uint32_t ldq, n_heads;
    float scale, softcap; // softcap 0: none
    struct cu_kv kv;
    void *out; // of out_type
    uint32_t out_type, ld_out;
    float *partial;     // [tiles, KV heads, max_spans, CU_QUERIES, pad + 2]
    uint32_t *counters; // [tiles, KV heads]
    uint32_t max_spans;
    uint32_t unused;
};

/* For each row, the n_used experts of largest logit (ties: the smaller number), their weights, and
 * the pairs sorted by expert. Grid: 1 for few rows, else two kernels (experts.cu). */
struct cu_route_args {
    struct cu_step step;
    const float *logits; // [n_rows, ld]
    uint32_t ld, n_experts, n_used, renormalise;
    float *weights;    // [n_rows * n_used]
    uint32_t *experts; // [n_rows * n_used]
    uint32_t *offsets; // [n_experts + 1]
    uint32_t *pairs;   // [n_rows * n_used]
};

/* y [n_rows, dim] = the sum over a row's pairs, by number of expert, of weight * x[pair]. One block
 * a row. */
struct cu_combine_args {
    struct cu_step step;
    float *y;
    const float *x; // [n_rows * n_used, ldx]
    const float *weights;
    const uint32_t *experts;
    uint32_t dim, ldy, ldx, n_used;
};

#endif
