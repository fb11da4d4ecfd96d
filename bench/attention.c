/* attention: times one decode step's attention over a long context, beside plain reads of the same
 * keys and values.
 *
 *     attention [-c CONTEXT] [-t THREADS] [-r ROUNDS] [--precise | --i8]
 *
 * The shape is that of TinyLlama-1.1B: 22 layers, 32 heads over 4 key-value heads of 64
 * dimensions. Keys and values are bf16 (--precise: f32; --i8: i8), in the pages and the
 * memory that llm-forward uses. Several sequences take turns, so that no page is in a cache when it
 * is read again; in a model, the weights are read in between.
 *
 * Prints medians of the rounds:
 *     attention=BYTES/S
 *     limit=BYTES/S      of plain reads, before and after it
 *     ratio=LIMIT/ATTENTION
 *     bytes=BYTES        of a step
 *     flops=FLOP/S, peak=FLOP/S    of its multiply-adds: where heads share keys, arithmetic is the
 *                                  limit of a CPU with narrow vectors
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/num.h"
#include "kernels/kernels.h"
#include "lib/limits.h"
#include "model/state.h"

enum { LAYERS = 22, HEADS = 32, KV_HEADS = 4, HEAD_DIM = 64, MAX_ROUNDS = 101 };
enum {
    ALL_BYTES = 512 << 20
}; // of all sequences: more than the caches (two L3 of 32 MB held a sixth of one sequence)

struct bench {
    struct pool *pool;
    struct kv_layer kv[LAYERS];
    struct attn_row *rows; // the last row of each sequence
    float q[HEADS * HEAD_DIM], out[HEADS * HEAD_DIM];
    void *scratch;
};

static double step_seconds(struct bench *b, size_t sequence) {
    struct attn_call call = {.rows = &b->rows[sequence],
                             .n_rows = 1,
                             .out = b->out,
                             .ldo = HEADS * HEAD_DIM,
                             .q = b->q,
                             .ldq = HEADS * HEAD_DIM,
                             .n_heads = HEADS,
                             .scale = 0.125f,
                             .scratch = b->scratch};
    double start = seconds();
    for (size_t l = 0; l < LAYERS; l++) {
        call.kv = &b->kv[l];
        attention(b->pool, &call);
    }
    return seconds() - start;
}

int main(int argc, char **argv) {
    static const struct option longs[] = {
        {"precise", no_argument, NULL, 'P'}, {"i8", no_argument, NULL, '8'}, {NULL, 0, NULL, 0}};
    static double rate[MAX_ROUNDS], limit[MAX_ROUNDS], ratio[MAX_ROUNDS], peak[MAX_ROUNDS];
    static struct bench b;
    size_t context = 8192, threads = 0, rounds = 31;
    enum kv_type type = KV_BF16;
    program_init(argv[0]);
    for (int c; (c = getopt_long(argc, argv, "c:t:r:", longs, NULL)) != -1;)
        switch (c) {
        case 'c':
            context = opt_u64("-c", optarg, 1, 1 << 20);
            break;
        case 't':
            threads = opt_u64("-t", optarg, 1, 1024);
            break;
        case 'r':
            rounds = opt_u64("-r", optarg, 1, MAX_ROUNDS);
            break;
        case 'P':
            type = KV_F32;
            break;
        case '8':
            type = KV_I8;
            break;
        default:
            die_usage("attention [-c CONTEXT] [-t THREADS] [-r ROUNDS] [--precise | --i8]");
        }
    struct err e = {0};
    struct device *device;
    struct device_shape shape = {.n_kv_heads = KV_HEADS,
                                 .k_dim = HEAD_DIM,
                                 .v_dim = HEAD_DIM,
                                 .precise = type == KV_F32,
                                 .kv_i8 = type == KV_I8};
    if (kernels_init(&e) != 0 || cpu_open(&device, &shape, threads, &e) != 0)
        die_err(&e);
    b.pool = cpu_pool(device);
    struct state_layer layers[LAYERS];
    for (size_t l = 0; l < LAYERS; l++)
        layers[l] = (struct state_layer){STATE_PAGES, device->ops->kv_page_bytes(device), 0};
    struct state state;
    size_t bytes = (size_t)state_sequence_bytes(layers, LAYERS, context),
           n_seqs = 1 + ALL_BYTES / bytes, all = n_seqs * bytes;
    struct state_seq *seqs = xcalloc(n_seqs, sizeof *seqs);
    const struct state_limits limits = {
        .context = context, .max_sequences = n_seqs, .max_rows = context};
    if (state_init(&state, device, layers, LAYERS, &limits, &e) != 0)
        die_err(&e);
    b.rows = xcalloc(n_seqs, sizeof *b.rows);
    for (size_t i = 0; i < n_seqs; i++) {
        if (state_extend(&state, &seqs[i], 0, context, &e) != 0)
            die_err(&e);
        b.rows[i] =
            (struct attn_row){seqs[i].tables[0], 0, (uint32_t)context - 1, (uint32_t)context - 1};
    }
    unsigned char *memory = state.groups[0].memory.base;
    fill_bf16(memory, all); // these bytes are valid in the other types too
    for (size_t l = 0; l < LAYERS; l++) {
        struct state_place p = state_place(&state, l);
        b.kv[l] = (struct kv_layer){.base = p.base,
                                    .run = p.run,
                                    .run_stride = p.run_stride,
                                    .n_kv_heads = KV_HEADS,
                                    .k_dim = HEAD_DIM,
                                    .v_dim = HEAD_DIM,
                                    .type = type};
    }
    for (size_t i = 0; i < HEADS * HEAD_DIM; i++)
        b.q[i] = (float)(i % 13) / 13 - 0.5f;
    b.scratch = xaligned(64, attention_scratch(pool_threads(b.pool), 1, HEADS, HEAD_DIM, HEAD_DIM));
    const struct read_pattern *how = best_read(b.pool, memory, all);
    enum peak k = peak_of_isa(kernels_isa());
    if (type != KV_BF16 && (k == PEAK_DPBF16 || k == PEAK_AMX_BF16))
        k = PEAK_FMA_AVX512;
    for (size_t r = 0; r < rounds; r++) {
        peak[r] = peak_here(k) ? peak_rate(b.pool, k) : 0;
        limit[r] = read_rate(b.pool, how, memory, all) / 2;
        double step = 0;
        for (size_t i = 0; i < n_seqs; i++)
            step += step_seconds(&b, i) / (double)n_seqs;
        rate[r] = (double)bytes / step;
        limit[r] += read_rate(b.pool, how, memory, all) / 2;
        ratio[r] = limit[r] / rate[r];
    }
    double speed = median(rate, rounds), flops = 4.0 * HEADS * HEAD_DIM * LAYERS * (double)context;
    printf("attention=%.0f limit=%.0f ratio=%.4f bytes=%zu flops=%.0f peak=%.0f\n", speed,
           median(limit, rounds), median(ratio, rounds), bytes, flops * speed / (double)bytes,
           median(peak, rounds));
    free(b.scratch);
    for (size_t i = 0; i < n_seqs; i++) {
        state_truncate(&state, &seqs[i], 0);
        state_seq_free(&seqs[i]);
    }
    free(seqs);
    free(b.rows);
    state_free(&state);
    device->ops->close(device);
    close_stdout();
    return EXIT_DONE;
}
