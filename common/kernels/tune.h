/* Every block size and tuned constant of the CPU's kernels, with its unit and reason.
 *
 * Only two of them are part of the results' bits (ATTN_SPAN_PAGES, ATTN_GROUP_SPANS). "Half" and
 * "double" say what is lost with half or double the value, and on which machine. Where nothing is
 * said of that, it was not measured. Sizes follow the caches of x86-64 servers: 32 to 48 KB of L1
 * and 1 or 2 MB of L2 a core.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef KERNELS_TUNE_H
#define KERNELS_TUNE_H

/* ---- Matrix multiplication: blocks (matmul_tmpl.h) ---- */

enum {
    /* Bytes of a row of x that go through all tiles of a chunk of W at a time: the rows of one tile
     * then stay in L1. Longer rows are cut. */
    MATMUL_X_ROW_BYTES = 4096,
    /* The same where all rows are fewer than MATMUL_BLOCK_ROWS: then all of them stay in L1, and
     * only prefetches of W wait for memory. */
    MATMUL_X_FEW_BYTES = 2048,
    /* Rows of x in a block where rows are cut: the partial sums of a chunk for all of them fit L2.
     * A multiple of every tile's rows. */
    MATMUL_BLOCK_ROWS = 24,
    /* Rows of W in a chunk, which stays in L2 while all rows of x of a block use it. A multiple of
     * every tile's outputs. */
    MATMUL_CHUNK_OUTS = 48,
    /* Bytes of x in a block where rows are not cut: it stays in L2 beside a chunk of W. */
    MATMUL_BLOCK_BYTES = 3 << 17,
    /* A multiple of the rows and outputs of every tile: how pieces and blocks are rounded. */
    MATMUL_ALL_TILES = 12,
    /* One row of x: bytes of each row of W in turn, two cache lines. Double: slower or no different
     * with AVX2 (bench/RESULTS.md). Half, with three streams: 2 to 3 % faster where memory is fast,
     * slower elsewhere. */
    MATMUL_BURST_BYTES = 128,
    /* One row of x on Intel: bytes of each row of W that are prefetched ahead. Emerald Rapids: 13 %
     * faster than none; 1024 and 2048 are alike, 512 and 4096 4 % slower. */
    MATMUL_ROW_AHEAD = 1536,
    /* Steps of a tile between two prefetches where x is packed and there are many rows: the loop
     * between them is shorter. */
    MATMUL_PREFETCH_STEPS = 8,
};

/* ---- Matrix multiplication: f32, MATMUL_BLOCK_ROWS rows of x or more (matmul_f32_tmpl.h) ---- */

enum {
    /* Rows of W that are packed together: a multiple of every tile's outputs. They stay in L2.
     * Half: up to a quarter slower where outputs do not fit L2, because a cache line of y is then
     * filled in three turns. The three figures here are single runs of AVX-512 on a loaded
     * Emerald Rapids. */
    MATMUL_TILES_OUTS = 24,
    /* As MATMUL_X_ROW_BYTES. Half: 8 % slower with rows of 1536 or 2048 elements. */
    MATMUL_TILES_X_BYTES = 8192,
    /* As MATMUL_BLOCK_BYTES: each block packs W anew. Half: 5 % slower with rows of 1536 elements.
     */
    MATMUL_TILES_BLOCK_BYTES = 3 << 18,
};

/* ---- Matrix multiplication: bf16 panels (matmul_avx512bf16.c) ---- */

enum {
    /* Elements of each row of a panel that are stored side by side, so that the panel is one
     * stream of memory: one load of 64 bytes, which the instruction set dictates. */
    MATMUL_PANEL_SIDE = 32,
    /* Rows of a panel: those of the register tile. */
    MATMUL_PANEL_ROWS = 6,
    /* Rows of a panel where all rows are fewer than MATMUL_BLOCK_ROWS: W is read less often. */
    MATMUL_PANEL8_ROWS = 8,
    /* Rows of x up to which W is read as one stream, which memory delivers best: 10 % faster than
     * three. With more rows three are faster: 8 rows make 235 GFLOP/s on a core of Zen 5, and 180
     * as tiles of 6 and 2 whose W is prefetched a tile ahead. */
    MATMUL_ONE_STREAM_ROWS = 5,
    /* Single pass: bytes of x that stay in L1, and bytes of W that are prefetched ahead. Both
     * together fill 32 KB. */
    MATMUL_PASS_X_BYTES = 24 << 10,
    MATMUL_PASS_AHEAD = 6 << 10,
};

/* ---- Matrix multiplication: AMX (matmul_amx_tmpl.h) ---- */

enum {
    /* Bytes of packed x in a block: a quarter of an L2 of 2 MB, beside a piece of W. Not measured.
     */
    MATMUL_AMX_X_BYTES = 1 << 19,
    /* F16 and E4M3 (matmul_amx_parts_tmpl.h): the same, where each block unpacks W anew. x is read
     * from L2 beside a strip. Not measured. */
    MATMUL_AMX_PARTS_X_BYTES = 1 << 20,
    /* Most panels of a block there: their sums are kept from strip to strip, 4 KB a panel. */
    MATMUL_AMX_PARTS_PANELS = 32,
    /* Inputs of a strip of W that is unpacked before it is multiplied: 64 KB for two runs of
     * outputs in two parts, in L2. Not measured. */
    MATMUL_AMX_PARTS_STRIP = 512,
};

/* ---- Matrix multiplication: AMX, integer panels (matmul_int_amx_tmpl.h) ---- */

enum {
    /* Rows of x that use an unpacked superblock of two panels. Unpacking i4 takes some 900 cycles;
     * 256 rows with it take 16 * 16 * 32 in the matrix unit. Not measured. */
    MATMUL_AMX_INT_ROWS = 256,
    /* Panels that go through a superblock of x in turns: 128 KB of x and as much of sums stay in
     * L2. Not measured. */
    MATMUL_AMX_INT_PANELS = 8,
    /* Rows of x from which tiles are used. From counts of instructions at their measured rates: a
     * superblock of a panel of i8 or i4 takes some 500 cycles with 6 rows, as much as with
     * vpdpbusd; one of a layout of groups gains from 2 to 4 rows on, by the size of the groups. */
    MATMUL_AMX_FOLD_LEAST = 6,
    MATMUL_AMX_GROUP_LEAST = 4,
};

/* ---- Matrix multiplication: integer panels (matmul_int_tmpl.h) ---- */

enum {
    /* Rows of x that use a strip of 256 inputs before the next is unpacked: their sums for a tile's
     * outputs, 16 KB, and their codes of the strip, 64 KB, stay in L2. Half and double: not
     * measured. */
    MATMUL_INT_ROWS = 128,
};

/* ---- Matrix multiplication: sharing out (matmul.c) ---- */

enum {
    /* Bytes of W in a piece, of which there are MATMUL_PIECES a thread, or more. */
    MATMUL_PIECE_BYTES = 1 << 19,
    /* The same where several rows of x are one block: the longer the piece, the more is prefetched.
     */
    MATMUL_PIECE_BYTES_FEW = 1 << 22,
    /* Pieces of a thread: bounds the idle tail to a quarter of its share. */
    MATMUL_PIECES = 4,
    /* Outputs of the last pieces where there are several rows of x, and bytes of W where there is
     * one: a piece is long enough to prefetch and small enough to end with the others. */
    MATMUL_LEAST_OUTS = 24,
    MATMUL_LEAST_BYTES = 1 << 16,
    /* Rows of x from which W is widened to f32 once, instead of in each tile: with C's kernels, and
     * with those of AVX2 and AVX-512 on Intel. AVX-512 on Emerald Rapids, rows of 2048 elements: 16
     * rows lose 26 % by it, 32 rows 12 %; 64 rows gain 4 %, 128 rows 13 %. */
    MATMUL_WIDEN_ROWS_C = 9,
    MATMUL_WIDEN_ROWS = 64,
    /* Elements of a row up to which W is widened: one row fits the scratch; with AVX2 and AVX-512,
     * MATMUL_WIDEN_OUTS rows do. Rows of 5632, widened by 12: 256 rows of x lose up to 7 %
     * (AVX-512, Emerald Rapids). */
    MATMUL_WIDEN_N_IN_C = 1 << 17,
    MATMUL_WIDEN_N_IN = 5461,
    /* Outputs widened at a time, or fewer if they do not fit their half of POOL_SCRATCH. Half and
     * double: within 5 % either way (AVX-512, Emerald Rapids, a loaded machine). */
    MATMUL_WIDEN_OUTS = 24,
    /* Elements of x that a thread packs at a time, at least one panel: 32 KB to read. */
    MATMUL_PACK_FLOATS = 8192,
};

/* ---- Attention (attention.c, attend.c) ---- */

enum {
    /* The borders of sums are absolute positions, so these two are part of the results' bits: sums
     * of 16 pages, and of 4 such spans. Do not change them. */
    ATTN_SPAN_PAGES = 16,
    ATTN_GROUP_SPANS = 4,
    /* Queries of a prompt in a block: a multiple of the tiles' 6 rows. */
    ATTN_BLOCK_QUERIES = 48,
    /* Floats that a decoding row's queries sum up together: they stay in L1 (8 KB). */
    ATTN_ROW_FLOATS = 2048,
    /* Spans that pieces are cut into: 262,144 positions of one row. A bound of scratch memory. */
    ATTN_MAX_SPANS = 256,
    /* Pieces of spans a thread should find: they seldom end together. */
    ATTN_PIECES = 4,
    /* One part of a page in 16 is prefetched during the softmax, which takes 1/16 of the time. */
    ATTN_SOFTMAX_SHARE = 16,
};

/* ---- Threads (pool.c) ---- */

enum {
    /* The longest spin of a waiting thread, in ns: longer than the serial stretches of a decode
     * step between two jobs, shorter than a sampler's answer. */
    POOL_SPIN_NS = 50000,
    /* The shortest: what is left after spins that met no work. */
    POOL_SPIN_MIN_NS = 1000,
    /* A worker leaves the caller's CPU at most once in this time, in ns. */
    POOL_MOVE_NS = 1000000,
    /* A waiting thread watches another for this time, in ns, before it lends it its CPU: a thread
     * that runs is seen to, and the wait is short beside a time slice. */
    POOL_WATCH_NS = 20000,
};

/* ---- Row operations and the KV cache of a step (backend/cpu*.c) ---- */

enum {
    /* Floats read and written by a job of rows below which one thread does it: 128 KB. */
    ROWS_SPREAD_FLOATS = 1 << 15,
    /* Floats of a piece where threads share. */
    ROWS_PIECE_FLOATS = 1 << 13,
    /* The cost of storing a float of k or v, in floats read once: keys are transposed, so each is
     * written to a line of its own. Not measured. */
    ROWS_STORE_COST = 8,
    /* Bytes of a layer's pages side by side. An eighth: attention is 7 % slower. */
    KV_RUN_BYTES = 512 << 10,
};

#endif
