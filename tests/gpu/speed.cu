/* The matrix kernels alone on a GPU: their bits beside each other, and their speed in TinyLlama's
 * shapes beside the card's limits.
 *
 *     nvcc -O3 -std=c++17 -fmad=false -Icommon -gencode arch=compute_90a,code=sm_90a \
 *         -o speed tests/gpu/speed.cu
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <vector>

#include "backend/cuda/few.cu"
#include "backend/cuda/tile_wgmma.cu"
#include "launch.h"

static uint32_t n_sms;

struct run { // a product's launch by number of rows
    static void tile(struct cu_matmul_args a, uint32_t rows, uint32_t tiles) { // as step.c
        uint32_t outs = (tiles + MMA_TILES - 1) / MMA_TILES;
        a.row_tiles = (rows + CU_TILE - 1) / CU_TILE;
        uint32_t all =
            (a.row_tiles + CLUSTER_X - 1) / CLUSTER_X * ((outs + CLUSTER_Y - 1) / CLUSTER_Y);
        launch(k_tile_wgmma_bf16, dim3(std::min(all, n_sms / CLUSTER) * CLUSTER), CU_WGMMA_THREADS,
               CU_WGMMA_SHARED, a);
    }
    static void go(int kind, struct cu_matmul_args a, uint32_t rows) {
        uint32_t n = a.pairs.n_out[0] + (a.pairs.n_mats > 1 ? a.pairs.n_out[1] : 0),
                 tiles = (n + 15) / 16, blocks = std::min(tiles, 264u);
        uint32_t slice = CU_FEW_SLICE(a.ld_w);
        a.all_x = slice <= CU_FEW_STAGES || CU_FEW_SHARED(std::max(kind, 8), slice) <= 100 << 10;
        uint32_t stages = a.all_x ? slice : CU_FEW_STAGES;
        if (kind == 0)
            launch(k_few_norm_bf16, dim3(blocks, (rows + 7) / 8), CU_THREADS,
                   (unsigned)CU_FEW_NORM_SHARED(std::min(rows, 8u), a.ld_w), a);
        if (kind == 8)
            launch(k_few8_bf16, dim3(blocks, (rows + 7) / 8), CU_THREADS,
                   (unsigned)CU_FEW_SHARED(8, stages), a);
        if (kind == 16)
            launch(k_few16_bf16, dim3(blocks, (rows + 15) / 16), CU_THREADS,
                   (unsigned)CU_FEW_SHARED(16, stages), a);
        if (kind == 32)
            launch(k_few32_bf16, dim3(blocks, (rows + 31) / 32), CU_THREADS,
                   (unsigned)CU_FEW_SHARED(32, stages), a);
        if (kind == 128)
            tile(a, rows, tiles);
    }
};

template <class F> static float median_us(F f, int n = 15) {
    cudaEvent_t a, b;
    cudaEventCreate(&a);
    cudaEventCreate(&b);
    std::vector<float> t;
    for (int i = 0; i < n + 3; i++) {
        CHECK(cudaEventRecord(a, stream));
        f();
        CHECK(cudaEventRecord(b, stream));
        CHECK(cudaEventSynchronize(b));
        float ms;
        cudaEventElapsedTime(&ms, a, b);
        if (i >= 3)
            t.push_back(ms * 1000);
    }
    std::sort(t.begin(), t.end());
    return t[t.size() / 2];
}

int main() {
    enum { LAYERS = 22, DIM = 2048, FFN = 5632, QKV = 2560, VOCAB = 32000, ROWS = 1024 };
    CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    CHECK(cudaFuncSetAttribute(k_few_norm_bf16, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               200 * 1024));
    CHECK(
        cudaFuncSetAttribute(k_few8_bf16, cudaFuncAttributeMaxDynamicSharedMemorySize, 220 * 1024));
    CHECK(cudaFuncSetAttribute(k_few16_bf16, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               220 * 1024));
    CHECK(cudaFuncSetAttribute(k_few32_bf16, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               220 * 1024));
    CHECK(cudaFuncSetAttribute(k_tile_wgmma_bf16, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               CU_WGMMA_SHARED));
    int sms;
    CHECK(cudaDeviceGetAttribute(&sms, cudaDevAttrMultiProcessorCount, 0));
    n_sms = (uint32_t)sms;
    uint16_t *wq[LAYERS], *wo[LAYERS], *wg[LAYERS], *wu[LAYERS], *wd[LAYERS], *wh;
    for (int l = 0; l < LAYERS; l++) {
        wq[l] = weights((size_t)QKV * DIM, 10 * l + 1);
        wo[l] = weights((size_t)DIM * DIM, 10 * l + 2);
        wg[l] = weights(2ul * FFN * DIM, 10 * l + 3);
        wu[l] = wg[l] + (size_t)FFN * DIM;
        wd[l] = weights((size_t)DIM * FFN, 10 * l + 5);
    }
    wh = weights((size_t)VOCAB * DIM, 999);
    float *x = (float *)take(4ul * ROWS * DIM), *y = (float *)take(4ul * ROWS * VOCAB),
          *nw = (float *)take(4 * DIM);
    uint16_t *xb = weights((size_t)ROWS * FFN, 7, 2.0f), *ffn = (uint16_t *)take(2ul * ROWS * FFN);
    fill_f32<<<1024, 256>>>(x, (size_t)ROWS * DIM, 2, 0, 3);
    fill_f32<<<8, 256>>>(nw, DIM, 0.1f, 1, 4);
    struct cu_header *header = (struct cu_header *)take(sizeof *header);
    auto rows_are = [&](uint32_t n) {
        struct cu_header h = {n, n, n, 0};
        CHECK(cudaMemcpy(header, &h, sizeof h, cudaMemcpyHostToDevice));
    };
    auto args = [&](const uint16_t *w0, const uint16_t *w1, uint32_t n, uint32_t n_in,
                    const void *from, uint32_t epilogue) {
        struct cu_matmul_args a;
        memset(&a, 0, sizeof a);
        a.step.header = header;
        a.packed = w0; // of two matrices: both, one after the other
        a.pairs.pairing = w1 ? CU_GATE_UP : CU_PLAIN;
        a.pairs.n_out[0] = n;
        a.pairs.n_out[1] = w1 ? n : 0;
        a.pairs.n_mats = w1 ? 2 : 1;
        a.n_in = a.ld_w = a.ldx = n_in;
        a.x = from;
        a.epilogue = epilogue;
        a.y = y;
        a.ldy = n;
        a.scale = 1e-3f;
        a.out = ffn;
        a.out_type = CU_BF16;
        a.ld_out = FFN;
        return a;
    };
    CHECK(cudaDeviceSynchronize());

    // Bits: every kernel against the first, over the shapes.
    struct {
        const char *name;
        const uint16_t *w;
        uint32_t n, k;
    } shapes[] = {{"2560x2048", wq[0], QKV, DIM},
                  {"2048x5632", wd[0], DIM, FFN},
                  {"32000x2048", wh, VOCAB, DIM}};
    for (auto &s : shapes) {
        std::vector<float> first, other;
        for (int kind : {8, 16, 32, 128}) {
            uint32_t rows = 128;
            rows_are(rows);
            CHECK(cudaMemset(y, 0xFF, 4ul * rows * s.n));
            struct cu_matmul_args a = args(s.w, NULL, s.n, s.k, xb, CU_STORE);
            run::go(kind, a, rows);
            CHECK(cudaStreamSynchronize(stream));
            other.resize((size_t)rows * s.n);
            CHECK(cudaMemcpy(other.data(), y, 4 * other.size(), cudaMemcpyDeviceToHost));
            if (kind == 8)
                first = other;
            size_t differ = 0;
            double worst = 0, nan = 0;
            for (size_t i = 0; i < other.size(); i++) {
                differ += memcmp(&other[i], &first[i], 4) != 0;
                worst = std::max(worst, (double)fabsf(other[i] - first[i]));
                nan += other[i] != other[i];
            }
            printf(
                "bits %s kernel %d: %zu of %zu differ from few8, by at most %g, NaN %g, first %g\n",
                s.name, kind, differ, other.size(), worst, nan, other[5]);
        }
    }

    double layer_bytes = 2.0 * ((double)QKV * DIM + (double)DIM * DIM + 3.0 * FFN * DIM),
           all_bytes = LAYERS * layer_bytes + 2.0 * VOCAB * DIM;
    auto step = [&](uint32_t rows) {
        int norm = rows <= 2    ? 0
                   : rows <= 8  ? 8
                   : rows <= 16 ? 16
                   : rows <= 32 ? 32
                                : 128,
            plain = rows <= 8 ? 8 : norm;
        for (int l = 0; l < LAYERS; l++) {
            struct cu_matmul_args a = args(wq[l], NULL, QKV, DIM, norm ? (void *)xb : x, CU_STORE);
            a.norm = cu_norm{nw, NULL, 1e-5f, 0, (uint32_t)(norm ? CU_NORM_NONE : CU_NORM_RMS)};
            run::go(norm, a, rows);
            a = args(wo[l], NULL, DIM, DIM, xb, CU_ADD);
            a.y = x;
            run::go(plain, a, rows);
            a = args(wg[l], wu[l], FFN, DIM, norm ? (void *)xb : x, CU_GATED);
            a.norm = cu_norm{nw, NULL, 1e-5f, 0, (uint32_t)(norm ? CU_NORM_NONE : CU_NORM_RMS)};
            run::go(norm, a, rows);
            a = args(wd[l], NULL, DIM, FFN, ffn, CU_ADD);
            a.y = x;
            run::go(plain, a, rows);
        }
        struct cu_matmul_args a = args(wh, NULL, VOCAB, DIM, xb, CU_STORE);
        if (rows <= 32)
            run::go(plain, a, rows);
    };
    for (int with : {0, 1})
        for (uint32_t rows : {1u, 8u, 16u, 32u}) {
            early_launches = with;
            rows_are(rows);
            cudaGraph_t g;
            cudaGraphExec_t exec;
            CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
            step(rows);
            CHECK(cudaStreamEndCapture(stream, &g));
            CHECK(cudaGraphInstantiate(&exec, g, 0));
            float us = median_us([&] { CHECK(cudaGraphLaunch(exec, stream)); });
            printf("step rows %u pdl %d graph: %.1f us, %.0f GB/s\n", rows, with, us,
                   all_bytes / us / 1e3);
            float plain = median_us([&] { step(rows); });
            printf("step rows %u pdl %d plain: %.1f us\n", rows, with, plain);
        }
    // Single products over all layers, back to back: bandwidth of each shape.
    early_launches = true;
    for (uint32_t rows : {1u, 32u}) {
        rows_are(rows);
        struct {
            const char *name;
            uint16_t **w, **w1;
            uint32_t n, k;
        } each[] = {{"qkv", wq, NULL, QKV, DIM},
                    {"o", wo, NULL, DIM, DIM},
                    {"gate_up", wg, wu, FFN, DIM},
                    {"down", wd, NULL, DIM, FFN}};
        for (auto &s : each) {
            float us = median_us([&] {
                for (int l = 0; l < LAYERS; l++)
                    run::go(rows == 1 ? 8 : 32,
                            args(s.w[l], s.w1 ? s.w1[l] : NULL, s.n, s.k, xb,
                                 s.w1 ? CU_GATED : CU_STORE),
                            rows);
            });
            double bytes = 2.0 * s.n * s.k * (s.w1 ? 2 : 1) * LAYERS;
            printf("%s rows %u: %.2f us each, %.0f GB/s\n", s.name, rows, us / LAYERS,
                   bytes / us / 1e3);
        }
        float us = median_us(
            [&] { run::go(rows == 1 ? 8 : 32, args(wh, NULL, VOCAB, DIM, xb, CU_STORE), rows); });
        printf("head rows %u: %.2f us, %.0f GB/s\n", rows, us, 2.0 * VOCAB * DIM / us / 1e3);
    }
    for (uint32_t rows : {64u, 96u, 128u, 256u, 512u, 1024u}) {
        rows_are(rows);
        for (int kind : {32, 128}) {
            if (kind == 32 && rows > 256)
                continue;
            struct {
                const char *name;
                uint16_t **w, **w1;
                uint32_t n, k;
            } each[] = {{"qkv", wq, NULL, QKV, DIM},
                        {"o", wo, NULL, DIM, DIM},
                        {"gate_up", wg, wu, FFN, DIM},
                        {"down", wd, NULL, DIM, FFN}};
            double all = 0, flops = 0;
            for (auto &s : each) {
                float us = median_us(
                    [&] {
                        for (int l = 0; l < LAYERS; l++)
                            run::go(kind,
                                    args(s.w[l], s.w1 ? s.w1[l] : NULL, s.n, s.k, xb,
                                         s.w1 ? CU_GATED : CU_STORE),
                                    rows);
                    },
                    7);
                double f = 2.0 * s.n * s.k * (s.w1 ? 2 : 1) * LAYERS * rows;
                all += us;
                flops += f;
                printf("rows %u kernel %d %s: %.2f us each, %.0f TFLOP/s\n", rows, kind, s.name,
                       us / LAYERS, f / us / 1e6);
            }
            printf("rows %u kernel %d all: %.1f us, %.0f TFLOP/s\n", rows, kind, all,
                   flops / all / 1e6);
        }
    }
    { // one large product
        uint16_t *big = weights(8192ul * 8192, 5), *bx = weights(8192ul * 8192, 6, 2);
        float *by = (float *)take(8192ul * 8192 * 4);
        rows_are(8192);
        struct cu_matmul_args a = args(big, NULL, 8192, 8192, bx, CU_STORE);
        a.y = by;
        float us = median_us([&] { run::go(128, a, 8192); }, 7);
        printf("8192^3: %.0f us, %.0f TFLOP/s\n", us, 2.0 * 8192 * 8192 * 8192 / us / 1e6);
    }
    CHECK(cudaDeviceSynchronize());
    return 0;
}
