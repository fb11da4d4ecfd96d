/* A decode step of TinyLlama's shape as a graph, by its parts: the matrices alone, attention alone,
 * and both, in the order of a step. Prints microseconds, and a sum over the bits of the results:
 * kernels that differ in speed alone print the same sum.
 *
 *     nvcc -O3 -std=c++17 -fmad=false -Icommon -gencode arch=compute_90a,code=sm_90a \
 *         -o decode tests/gpu/decode.cu
 *     decode [ROWS [CONTEXT]]        1 row to 32; 128 positions
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#pragma nv_diag_suppress 1556 // both files name their dynamic shared memory `shared`
#include "backend/cuda/attention.cu"
#include "backend/cuda/few.cu"
#include "launch.h"

enum { LAYERS = 22, DIM = 2048, FFN = 5632, QKV = 2560, VOCAB = 32000, HEADS = 32, KV = 4 };
enum { HEAD_DIM = 64, MOST_ROWS = 32, BLOCKS_SM = 2, FEW_SHARED = 100 << 10 };

__global__ void sum_bits(const uint32_t *p, size_t n, unsigned long long *out) {
    unsigned long long s = 0;
    size_t step = (size_t)gridDim.x * blockDim.x;
    for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n; i += step)
        s += (p[i] ^ (uint32_t)i) * 2654435761ull;
    atomicAdd(out, s);
}

static uint32_t n_sms, rows, context;

static void *copy_of(const void *from, size_t bytes) {
    void *p = take(bytes);
    CHECK(cudaMemcpy(p, from, bytes, cudaMemcpyHostToDevice));
    return p;
}
static float *f32(size_t n, uint32_t seed, float scale, float offset) {
    float *p = (float *)take(4 * n);
    fill_f32<<<1024, 256>>>(p, n, scale, offset, seed);
    return p;
}

/* As common/backend/cuda/step.c launches a product of few rows. */
static void product(struct cu_matmul_args a) {
    uint32_t tiles = cu_tiles_of(&a.pairs), blocks = std::min(tiles, BLOCKS_SM * n_sms),
             slice = CU_FEW_SLICE(a.ld_w),
             most = rows <= 8    ? 8
                    : rows <= 16 ? 16
                                 : 32;
    if (a.norm.kind != CU_NORM_NONE) {
        launch(k_few_norm_bf16, dim3(blocks), CU_THREADS,
               (unsigned)CU_FEW_NORM_SHARED(rows, a.ld_w), a);
        return;
    }
    a.all_x = slice <= CU_FEW_STAGES || CU_FEW_SHARED(most, slice) <= FEW_SHARED;
    launch(most == 8    ? k_few8_bf16
           : most == 16 ? k_few16_bf16
                        : k_few32_bf16,
           dim3(blocks, (rows + most - 1) / most), CU_THREADS,
           (unsigned)CU_FEW_SHARED(most, a.all_x ? slice : CU_FEW_STAGES), a);
}

/* The model, and a step of `rows` sequences at position `context`. */
struct model {
    uint16_t *qkv[LAYERS], *o[LAYERS], *gate_up[LAYERS], *down[LAYERS], *head;
    float *x, *q, *logits, *norm, *turns, *partial;
    uint16_t *rounded, *ffn, *attended;
    uint32_t *counters, max_spans;
    unsigned char *kv;
    size_t page_bytes, kv_bytes;
    struct cu_step step;
};

static void make_step(struct model *m) {
    uint32_t pages = context / CU_KV_PAGE + 1;
    std::vector<struct cu_row> r(rows);
    std::vector<struct cu_tile> t(rows);
    std::vector<uint32_t> words;
    for (uint32_t i = 0; i < rows; i++) {
        memset(&r[i], 0, sizeof r[i]);
        r[i].pos = r[i].last[0] = context;
        r[i].table[0] = (uint32_t)words.size();
        t[i].row = i;
        t[i].n = 1;
        for (uint32_t p = 0; p < pages; p++)
            words.push_back(i * pages + p);
    }
    struct cu_header h = {rows, rows, rows, 0};
    m->step.header = (struct cu_header *)copy_of(&h, sizeof h);
    m->step.rows = (struct cu_row *)copy_of(r.data(), r.size() * sizeof r[0]);
    m->step.tiles = (struct cu_tile *)copy_of(t.data(), t.size() * sizeof t[0]);
    m->step.words = (uint32_t *)copy_of(words.data(), 4 * words.size());
    m->page_bytes = (size_t)KV * 2 * CU_KV_PAGE * HEAD_DIM * 2;
    m->kv_bytes = LAYERS * m->page_bytes * pages * rows;
    m->kv = (unsigned char *)weights(m->kv_bytes / 2, 55, 2);
    m->max_spans = std::max(8u, context / ATTEND_SPAN + 1); // 8: of TinyLlama's 2,048 positions
    size_t tiles = (size_t)rows * KV;
    m->partial = (float *)take(4 * tiles * m->max_spans * CU_QUERIES * (HEAD_DIM + 2));
    m->counters = (uint32_t *)take(4 * tiles);
}

static void make_model(struct model *m) {
    for (uint32_t l = 0; l < LAYERS; l++) {
        m->qkv[l] = weights((size_t)QKV * DIM, 10 * l + 1);
        m->o[l] = weights((size_t)DIM * DIM, 10 * l + 2);
        m->gate_up[l] = weights(2ul * FFN * DIM, 10 * l + 3);
        m->down[l] = weights((size_t)DIM * FFN, 10 * l + 5);
    }
    m->head = weights((size_t)VOCAB * DIM, 999);
    m->x = f32((size_t)CU_TILE * DIM, 3, 2, 0);
    m->q = f32((size_t)CU_TILE * QKV, 6, 4, 0);
    m->norm = f32(DIM, 4, 0.1f, 1);
    m->turns = f32(2 * CU_TILE * HEAD_DIM, 5, 1.4f, 0);
    m->logits = (float *)take(4ul * CU_TILE * VOCAB);
    m->rounded = weights((size_t)CU_TILE * DIM, 7, 2);
    m->ffn = weights((size_t)CU_TILE * FFN, 8, 1);
    m->attended = weights((size_t)CU_TILE * DIM, 9, 1);
    make_step(m);
}

static struct cu_kv kv_of(const struct model *m, uint32_t layer) {
    struct cu_kv kv;
    memset(&kv, 0, sizeof kv);
    kv.base = m->kv + layer * m->page_bytes;
    kv.page_stride = LAYERS * m->page_bytes;
    kv.n_kv_heads = KV;
    kv.head_dim = kv.pad = HEAD_DIM;
    return kv;
}

static struct cu_matmul_args args_of(const struct model *m, const uint16_t *packed, uint32_t n_out,
                                     uint32_t n_in, const void *x, uint32_t epilogue) {
    struct cu_matmul_args a;
    memset(&a, 0, sizeof a);
    a.step = m->step;
    a.packed = packed;
    a.pairs.n_out[0] = n_out;
    a.pairs.n_mats = 1;
    a.n_in = a.ld_w = a.ldx = n_in;
    a.x = x;
    a.epilogue = epilogue;
    a.y = epilogue == CU_ADD ? m->x : m->logits;
    a.ldy = n_out;
    a.scale = 1e-3f;
    return a;
}

static void run_qkv(const struct model *m, uint32_t l, const void *x, struct cu_norm norm) {
    struct cu_matmul_args a = args_of(m, m->qkv[l], QKV, DIM, x, CU_QKV);
    a.norm = norm;
    a.pairs.pairing = CU_ROTATED;
    a.pairs.head_dim = HEAD_DIM;
    a.pairs.half = a.rotary_half = HEAD_DIM / 2;
    a.y = m->q;
    a.n_heads = HEADS;
    a.kv = kv_of(m, l);
    a.cosines = m->turns;
    a.sines = m->turns + CU_TILE * HEAD_DIM;
    product(a);
}

static void run_attention(const struct model *m, uint32_t l) {
    struct cu_attend_args a;
    memset(&a, 0, sizeof a);
    a.step = m->step;
    a.q = m->q;
    a.ldq = QKV;
    a.n_heads = HEADS;
    a.scale = 0.125f;
    a.kv = kv_of(m, l);
    a.out = m->attended;
    a.out_type = CU_BF16;
    a.ld_out = DIM;
    a.partial = m->partial;
    a.counters = m->counters;
    a.max_spans = m->max_spans;
    uint32_t wanted = std::max(1u, 4 * n_sms / (rows * KV));
    launch(k_attend_few_64, dim3(rows, KV, std::min(wanted, m->max_spans)), ATTEND_THREADS, 0, a);
}

static void run_ffn(const struct model *m, uint32_t l, const void *x, struct cu_norm norm) {
    struct cu_matmul_args a = args_of(m, m->gate_up[l], FFN, DIM, x, CU_GATED);
    a.norm = norm;
    a.pairs.pairing = CU_GATE_UP;
    a.pairs.n_out[1] = FFN;
    a.pairs.n_mats = 2;
    a.out = m->ffn;
    a.out_type = CU_BF16;
    a.ld_out = FFN;
    a.act = CU_SILU;
    product(a);
    product(args_of(m, m->down[l], DIM, FFN, m->ffn, CU_ADD));
}

/* Where products norm x themselves, they do; the others read one x that is rounded already. */
static void run_step(const struct model *m, bool matrices, bool attention) {
    struct cu_norm none = {NULL, NULL, 0, 0, CU_NORM_NONE},
                   rms = {m->norm, NULL, 1e-5f, 0, CU_NORM_RMS};
    bool norms = rows <= 2;
    const void *x = norms ? (const void *)m->x : m->rounded;
    for (uint32_t l = 0; l < LAYERS; l++) {
        if (matrices)
            run_qkv(m, l, x, norms ? rms : none);
        if (attention)
            run_attention(m, l);
        if (matrices) {
            product(args_of(m, m->o[l], DIM, DIM, m->attended, CU_ADD));
            run_ffn(m, l, x, norms ? rms : none);
        }
    }
    if (matrices)
        product(args_of(m, m->head, VOCAB, DIM, m->rounded, CU_STORE));
}

/* The sum of one step's results: logits, x, attention, keys and values. */
static unsigned long long bits_of(const struct model *m) {
    unsigned long long *sum = (unsigned long long *)take(sizeof *sum), out;
    run_step(m, true, true);
    sum_bits<<<256, 256, 0, stream>>>((uint32_t *)m->logits, (size_t)rows * VOCAB, sum);
    sum_bits<<<256, 256, 0, stream>>>((uint32_t *)m->x, (size_t)rows * DIM, sum);
    sum_bits<<<256, 256, 0, stream>>>((uint32_t *)m->attended, (size_t)CU_TILE * DIM / 2, sum);
    sum_bits<<<256, 256, 0, stream>>>((uint32_t *)m->kv, m->kv_bytes / 4, sum);
    CHECK(cudaStreamSynchronize(stream));
    CHECK(cudaMemcpy(&out, sum, sizeof out, cudaMemcpyDeviceToHost));
    return out;
}

/* Microseconds of the step as a graph: the median. */
static float graph_us(const struct model *m, bool matrices, bool attention) {
    enum { WARM = 3, RUNS = 21 };
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    cudaEvent_t begin, end;
    std::vector<float> us;
    CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    run_step(m, matrices, attention);
    CHECK(cudaStreamEndCapture(stream, &graph));
    CHECK(cudaGraphInstantiate(&exec, graph, 0));
    CHECK(cudaEventCreate(&begin));
    CHECK(cudaEventCreate(&end));
    for (int i = 0; i < WARM + RUNS; i++) {
        float ms;
        CHECK(cudaEventRecord(begin, stream));
        CHECK(cudaGraphLaunch(exec, stream));
        CHECK(cudaEventRecord(end, stream));
        CHECK(cudaEventSynchronize(end));
        CHECK(cudaEventElapsedTime(&ms, begin, end));
        if (i >= WARM)
            us.push_back(1000 * ms);
    }
    std::sort(us.begin(), us.end());
    return us[RUNS / 2];
}

int main(int argc, char **argv) {
    static struct model m;
    struct cudaDeviceProp p;
    rows = argc > 1 ? (uint32_t)atoi(argv[1]) : 1;
    context = argc > 2 ? (uint32_t)atoi(argv[2]) : 128;
    if (rows < 1 || rows > MOST_ROWS || context < 1 || context > 1 << 20) {
        fprintf(stderr, "usage: decode [ROWS [CONTEXT]], 1 to %d rows\n", MOST_ROWS);
        return 64;
    }
    CHECK(cudaGetDeviceProperties(&p, 0));
    n_sms = (uint32_t)p.multiProcessorCount;
    CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    for (auto k : {k_few_norm_bf16, k_few8_bf16, k_few16_bf16, k_few32_bf16})
        CHECK(cudaFuncSetAttribute(k, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                   (int)p.sharedMemPerBlockOptin - 4096));
    make_model(&m);
    CHECK(cudaDeviceSynchronize());
    unsigned long long bits = bits_of(&m);
    double bytes = 2.0 * LAYERS * ((double)QKV * DIM + (double)DIM * DIM + 3.0 * FFN * DIM) +
                   2.0 * VOCAB * DIM;
    float both = graph_us(&m, true, true), matrices = graph_us(&m, true, false),
          attention = graph_us(&m, false, true);
    printf("rows %u context %u: step %.1f us, matrices %.1f us (%.0f GB/s), attention %.2f us a "
           "layer, bits %016llx\n",
           rows, context, both, matrices, bytes / matrices / 1e3, attention / LAYERS, bits);
    return 0;
}
