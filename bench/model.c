/* model: forward in one process, without pipes: tokens/s of prefill and of decode, and the bytes that a decode
 * step must read. What bench/run compares with the machine's limits, with the peers and with the pipe.
 *
 * usage: model DIR [-p N] [-n N] [-c N] [-s N] [-t N] [-r N] [--precise]
 *   -p  rows of the prompt (256)     -n  decode steps (32)      -c  context before decode begins (0)
 *   -s  sequences decoding together (1)     -t  threads (0: all)     -r  rounds (3)
 * Prints one line a round:  prefill TOKENS/S  decode TOKENS/S  bytes BYTES/STEP
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/num.h"
#include "base/progress.h"
#include "kernels/kernels.h"
#include "model/model.h"
#include "weights/safetensors.h"

enum { CHUNK = 512 };

struct plan {
    size_t prompt, steps, context, sequences, rounds;
};

/* Bytes of weights that one decode step reads: every tensor once, but of the token embedding, where it is not
 * the head too, one row a sequence. */
static double step_bytes(const struct model *m) {
    const struct weights *w = model_weights(m);
    double total = 0;
    for (size_t i = 0; i < w->n_tensors; i++)
        total += (double)w->tensors[i].n_bytes;
    const struct tensor *embed = weights_find(w, "model.embed_tokens.weight");
    if (embed && weights_find(w, "lm_head.weight"))
        total -= (double)embed->n_bytes;
    return total;
}

static void forward(struct model *m, const struct row *rows, size_t n, float *logits) {
    struct err e = {0};
    if (model_forward(m, rows, n, logits, NULL, &e) != 0)
        die_err(&e);
}

/* Appends n arbitrary ids to a slot; logits of the last only. */
static void prefill(struct model *m, size_t slot, size_t n, float *logits) {
    static struct row rows[CHUNK];
    size_t vocab = model_spec(m)->vocab_size;
    for (size_t done = 0; done < n;) {
        size_t k = n - done < CHUNK ? n - done : CHUNK, pos = model_seq_len(m, slot);
        for (size_t i = 0; i < k; i++)
            rows[i] = (struct row){(uint32_t)slot, (uint32_t)(pos + i), (uint32_t)((done + i) * 7919 % vocab), done + i + 1 == n};
        forward(m, rows, k, logits);
        done += k;
    }
}

static void round_once(struct model *m, const struct plan *p, float *logits, struct row *rows) {
    size_t vocab = model_spec(m)->vocab_size;
    double start = seconds_now();
    prefill(m, 0, p->prompt, logits);
    double prefill_seconds = seconds_now() - start;
    model_seq_clear(m, 0);
    for (size_t s = 0; s < p->sequences; s++)
        if (p->context)
            prefill(m, s, p->context, logits);
    start = seconds_now();
    for (size_t step = 0; step < p->steps; step++) {
        for (size_t s = 0; s < p->sequences; s++)
            rows[s] = (struct row){(uint32_t)s, (uint32_t)model_seq_len(m, s), (uint32_t)((step * 31 + s) % vocab), true};
        forward(m, rows, p->sequences, logits);
    }
    double decode_seconds = seconds_now() - start;
    for (size_t s = 0; s < p->sequences; s++)
        model_seq_clear(m, s);
    printf("prefill %.2f  decode %.2f  bytes %.0f\n", (double)p->prompt / prefill_seconds,
           (double)(p->steps * p->sequences) / decode_seconds, step_bytes(m));
    fflush(stdout);
}

int main(int argc, char **argv) {
    program_init(argv[0]);
    struct plan p = {.prompt = 256, .steps = 32, .sequences = 1, .rounds = 3};
    struct model_options o = {0};
    static const struct option longs[] = {{"precise", no_argument, NULL, 'P'}, {NULL, 0, NULL, 0}};
    int c;
    while ((c = getopt_long(argc, argv, "p:n:c:s:t:r:", longs, NULL)) != -1) {
        if (c == 'P')
            o.precise = true;
        else if (c == '?')
            die_usage("see the head of bench/model.c");
        else {
            size_t v = (size_t)opt_u64("a count", optarg, 0, 1u << 20);
            *(c == 'p' ? &p.prompt : c == 'n' ? &p.steps : c == 'c' ? &p.context : c == 's' ? &p.sequences : c == 't' ? &o.n_threads : &p.rounds) = v;
        }
    }
    if (optind + 1 != argc || p.sequences == 0 || p.prompt == 0)
        die_usage("usage: model DIR [options]: see the head of bench/model.c");
    o.max_sequences = p.sequences;
    o.max_rows = CHUNK > p.sequences ? CHUNK : p.sequences;
    struct model *m;
    struct err e = {0};
    if (kernels_init(&e) != 0 || model_open(&m, argv[optind], &o, &e) != 0)
        die_err(&e);
    size_t vocab = model_spec(m)->vocab_size;
    float *logits = xcalloc(p.sequences, vocab * sizeof *logits);
    struct row *rows = xcalloc(p.sequences, sizeof *rows);
    for (size_t i = 0; i < p.rounds; i++)
        round_once(m, &p, logits, rows);
    free(rows);
    free(logits);
    model_close(m);
    return EXIT_DONE;
}
