/* model: times forward in one process, without pipes, beside the machine's own limits.
 *
 *     model DIR [-p N] [-n N] [-c N] [-s N] [-t N] [-b PID] [-l] [-v] [--precise] [--device NAME]
 *
 *     -p N           rows of a prompt to time (0: none)
 *     -n N           decode steps to time (0: none)
 *     -c N           context before decode begins (1)
 *     -s N           sequences that decode together (1)
 *     -t N           threads (0: all)
 *     -l             between the steps, read as many bytes of the same mapping, as fast as possible
 *     -b PID         another process that wants CPUs at the same time (Linux)
 *     -v             seconds of each part of all forwards, the unmeasured ones too
 *     --device NAME  see llm-forward(1); on a GPU there are no -l, -b, peak and isa
 *
 * Prints one line of name=value for what was asked:
 *     prefill        tokens/s
 *     prefill_flops  multiply-adds of matrices and attention, per second
 *     peak           the same of the instruction alone, measured between the chunks
 *     int_peak       and of the instruction for products of integers
 *     beside         the other process's share of the threads' CPUs
 *     decode         tokens/s of all sequences; the best token of every row is the next one that is
 *                    fed (several rows of a GPU are fed arbitrary ids)
 *     read           bytes/s of weights, keys and values that the steps had to read
 *     limit          bytes/s of the plain reads
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/io.h"
#include "base/num.h"
#include "kernels/kernels.h"
#include "lib/limits.h"
#include "model/model.h"
#include "weights/safetensors.h"

enum { CHUNK = 512, GPU_CHUNK = 2048, PEAK_PASSES = 40, LIMIT_BYTES = 1 << 28 };

struct plan {
    size_t prompt, steps, context, sequences;
    uint64_t beside; // a process, 0: none
    bool limits, parts;
};

/* Seconds, and the amount that was done in them. */
struct meter {
    double seconds, done;
};

static void forward(struct model *m, const struct row *rows, size_t n, float *logits) {
    struct err e = {0};
    if (model_forward(m, rows, n, logits, NULL, &e) != 0)
        die_err(&e);
}

static struct pool *pool_of(const struct model *m) { // NULL: not the CPU
    return cpu_pool(model_device(m));
}

static size_t chunk_of(const struct model *m) {
    return pool_of(m) ? CHUNK : GPU_CHUNK;
}

/* One chunk of arbitrary ids for a slot; logits of its last row where `last`. */
static void feed(struct model *m, size_t slot, size_t n, bool last, float *logits) {
    static struct row rows[GPU_CHUNK];
    size_t vocab = model_spec(m)->vocab_size, pos = model_seq_len(m, slot);
    for (size_t i = 0; i < n; i++)
        rows[i] = (struct row){(uint32_t)slot, (uint32_t)(pos + i),
                               (uint32_t)((pos + i) * 7919 % vocab), last && i + 1 == n};
    forward(m, rows, n, logits);
}

/* The least operations of a prompt of n rows: two for each weight of a matrix and each row (of the
 * head: one row), and four for each pair of positions, each head and each of its dimensions. */
static double prompt_flops(const struct model *m, size_t n) {
    const struct spec *s = model_spec(m);
    const struct weights *w = model_weights(m);
    double layers = 0, head = (double)s->vocab_size * (double)s->hidden_dim;
    for (size_t i = 0; i < w->n_tensors; i++)
        if (w->tensors[i].n_dims == 2 && strncmp(w->tensors[i].name, "model.layers.", 13) == 0)
            layers += (double)w->tensors[i].n_elements;
    double pairs = (double)n * ((double)n + 1) / 2;
    double attention = 4 * pairs * (double)(s->n_heads * s->head_dim) * (double)s->n_layers;
    return 2 * layers * (double)n + 2 * head + attention;
}

static void time_peak(struct model *m, enum peak k, struct meter *peak) {
    if (!pool_of(m))
        return;
    for (size_t i = 0; i < PEAK_PASSES && peak_here(k); i++) {
        peak->seconds += 1;
        peak->done += peak_rate(pool_of(m), k);
    }
}

/* Seconds of CPU that a process (0: none) has used: /proc/PID/schedstat, which counts ns. */
static double cpu_seconds(uint64_t pid) {
    char path[64];
    unsigned long long ns = 0;
    if (pid == 0)
        return 0;
    snprintf(path, sizeof path, "/proc/%" PRIu64 "/schedstat", pid);
    FILE *f = fopen(path, "r");
    if (!f || fscanf(f, "%llu", &ns) != 1)
        die(EXIT_DATA, "no CPU time of process %" PRIu64 ": %s", pid, path);
    fclose(f);
    return (double)ns * 1e-9;
}

static void time_prefill(struct model *m, const struct plan *p, float *logits) {
    struct meter run = {0}, peak = {0}, integers = {0}, beside = {0}; // beside: seconds of CPU
    const enum peak k = peak_of_isa(kernels_isa()), k_int = peak_of_integers(kernels_isa());
    feed(m, 0, 16, true, logits); // touches all pages once
    model_seq_clear(m, 0);
    if (!pool_of(m)) { // a GPU's first pages, and its clocks
        feed(m, 0, p->prompt < GPU_CHUNK ? p->prompt : GPU_CHUNK, true, logits);
        model_seq_clear(m, 0);
    }
    time_peak(m, k, &peak);
    time_peak(m, k_int, &integers);
    for (size_t done = 0; done < p->prompt;) {
        size_t n = p->prompt - done < chunk_of(m) ? p->prompt - done : chunk_of(m);
        double used = cpu_seconds(p->beside), start = seconds();
        done += n;
        feed(m, 0, n, done == p->prompt, logits);
        run.seconds += seconds() - start;
        beside.done += cpu_seconds(p->beside) - used;
        time_peak(m, k, &peak);
        time_peak(m, k_int, &integers);
    }
    model_seq_clear(m, 0);
    printf("prefill=%.3f prefill_flops=%.0f ", (double)p->prompt / run.seconds,
           prompt_flops(m, p->prompt) / run.seconds);
    if (peak.done > 0)
        printf("peak=%.0f ", peak.done / peak.seconds);
    if (integers.done > 0)
        printf("int_peak=%.0f ", integers.done / integers.seconds);
    if (p->beside)
        printf("beside=%.4f ", beside.done / run.seconds / (double)pool_threads(pool_of(m)));
}

static uint32_t best_id(const float *logits, size_t n) {
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (logits[i] > logits[best])
            best = i;
    return (uint32_t)best;
}

/* Passes over the mapping of the weights, each at another place. */
static void time_limit(struct model *m, const struct read_pattern *how, size_t step,
                       struct meter *limit) {
    const struct map *file = &model_weights(m)->files[0].map;
    size_t n = file->n < LIMIT_BYTES ? file->n : LIMIT_BYTES, places = file->n / n;
    limit->done += (double)n;
    limit->seconds += (double)n / read_rate(pool_of(m), how, file->p + step % places * n, n);
}

static void time_decode(struct model *m, const struct plan *p, float *logits, struct row *rows) {
    size_t vocab = model_spec(m)->vocab_size;
    const struct map *file = &model_weights(m)->files[0].map;
    const struct read_pattern *how =
        p->limits ? best_read(pool_of(m), file->p, file->n < LIMIT_BYTES ? file->n : LIMIT_BYTES)
                  : NULL;
    for (size_t s = 0; s < p->sequences; s++) {
        for (size_t done = 0, n; done < p->context; done += n) {
            n = p->context - done < chunk_of(m) ? p->context - done : chunk_of(m);
            feed(m, s, n, done + n == p->context, logits + s * vocab);
        }
        rows[s] = (struct row){(uint32_t)s, 0, best_id(logits + s * vocab, vocab), true};
    }
    struct meter run = {0}, limit = {0};
    double bytes = 0;
    for (size_t step = 0; step < p->steps; step++) {
        if (how)
            time_limit(m, how, step, &limit);
        double start = seconds();
        for (size_t s = 0; s < p->sequences; s++)
            rows[s].pos = (uint32_t)model_seq_len(m, s);
        forward(m, rows, p->sequences, logits);
        for (size_t s = 0; s < p->sequences;
             s++) // with a GPU's many rows, the search would be half of the time
            rows[s].id = pool_of(m) || p->sequences == 1 ? best_id(logits + s * vocab, vocab)
                                                         : (uint32_t)((step + s) * 7919 % vocab);
        run.seconds += seconds() - start;
        bytes += (double)model_step_bytes(m);
    }
    printf("decode=%.3f read=%.0f ", (double)(p->steps * p->sequences) / run.seconds,
           bytes / run.seconds);
    if (how)
        printf("limit=%.0f ", limit.done / limit.seconds);
}

static void parse(int argc, char **argv, struct plan *p, struct model_options *o) {
    static const struct option longs[] = {{"precise", no_argument, NULL, 'P'},
                                          {"device", required_argument, NULL, 'D'},
                                          {NULL, 0, NULL, 0}};
    for (int c; (c = getopt_long(argc, argv, "p:n:c:s:t:b:lv", longs, NULL)) != -1;)
        switch (c) {
        case 'p':
            p->prompt = opt_u64("-p", optarg, 0, 1 << 20);
            break;
        case 'n':
            p->steps = opt_u64("-n", optarg, 0, 1 << 20);
            break;
        case 'c':
            p->context = opt_u64("-c", optarg, 1, 1 << 20);
            break;
        case 's':
            p->sequences = opt_u64("-s", optarg, 1, 1 << 12);
            break;
        case 't':
            o->n_threads = opt_u64("-t", optarg, 1, 1024);
            break;
        case 'b':
            p->beside = opt_u64("-b", optarg, 1, INT32_MAX);
            break;
        case 'l':
            p->limits = true;
            break;
        case 'v':
            p->parts = true;
            break;
        case 'P':
            o->precise = true;
            break;
        case 'D':
            o->device = optarg;
            break;
        default:
            die_usage("see the head of bench/model.c");
        }
    if (optind + 1 != argc)
        die_usage("usage: model DIR [options]: see the head of bench/model.c");
    o->max_sequences = p->sequences;
    size_t chunk = o->device ? GPU_CHUNK : CHUNK;
    o->max_rows = chunk > p->sequences ? chunk : p->sequences;
}

int main(int argc, char **argv) {
    program_init(argv[0]);
    struct plan p = {.context = 1, .sequences = 1};
    struct model_options o = {0};
    parse(argc, argv, &p, &o);
    struct model *m;
    struct err e = {0};
    if (kernels_init(&e) != 0 || model_open(&m, argv[optind], &o, &e) != 0)
        die_err(&e);
    if (!pool_of(m) && (p.limits || p.beside))
        die_usage("-l and -b are for the CPU");
    float *logits = model_host_alloc(m, p.sequences, model_spec(m)->vocab_size * sizeof *logits);
    struct row *rows = xcalloc(p.sequences, sizeof *rows);
    if (p.prompt)
        time_prefill(m, &p, logits);
    if (p.steps)
        time_decode(m, &p, logits, rows);
    static const char *const parts[MODEL_PARTS] = {"matmul", "attention", "store",
                                                   "norms",  "rows",      "head"};
    for (size_t i = 0; i < MODEL_PARTS && p.parts; i++)
        printf("%s=%.4f ", parts[i], model_times(m)[i]);
    if (pool_of(m))
        printf("threads=%zu isa=%s\n", pool_threads(pool_of(m)), kernels_isa());
    else
        printf("device=%s\n", o.device);
    free(rows);
    model_host_free(m, logits);
    model_close(m);
    close_stdout();
    return EXIT_DONE;
}
