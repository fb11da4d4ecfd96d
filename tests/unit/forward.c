/* Forward passes: the same bits for any batch, chunk and number of threads; forks, steps back and
 * long streams; refusals that change nothing. goldens.c tests that the numbers are right. --device
 * NAME: on that device.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "../lib/check.h"
#include "../lib/models.h"
#include "backend/cpu.h"
#include "backend/device.h"
#include "model/internal.h"

enum { N_PROMPTS = 5, MAX_PROMPT = 80 };

struct prompt {
    int64_t ids[MAX_PROMPT];
    size_t n;
    float *logits; // [n, vocab] alone, in one chunk, with one thread
};

/* Five prompts of different lengths, from the golden's ids. */
static void make_prompts(const char *folder, struct prompt *p) {
    static const size_t lengths[N_PROMPTS] = {48, 1, 33, 5, 40};
    char *path = path_join(folder, "golden.safetensors");
    struct weights g;
    struct err e = {0};
    size_t n;
    if (weights_open(&g, path, &e) != 0)
        die_err(&e);
    const int64_t *ids = models_golden(&g, "ids", &n);
    for (size_t i = 0; i < N_PROMPTS; i++) {
        p[i].n = lengths[i];
        for (size_t k = 0; k < p[i].n; k++)
            p[i].ids[k] = ids[(k + 7 * i) % n];
    }
    weights_close(&g);
    free(path);
}

static struct model *open_model(const char *folder, enum kv_type type, size_t threads) {
    struct model_options o = {.precise = type == KV_F32,
                              .kv_i8 = type == KV_I8,
                              .n_threads = threads,
                              .max_sequences = N_PROMPTS + 1,
                              .max_rows = 64};
    return models_open(folder, &o);
}

/* All prompts together: in each call up to chunk rows, one of each prompt in turn. */
static void feed_together(struct model *m, const struct prompt *p, size_t chunk, float **logits) {
    size_t vocab = model_spec(m)->vocab_size, at[N_PROMPTS] = {0}, left = 0, who = 0;
    struct row rows[64];
    float *out = xcalloc(chunk * vocab, sizeof *out);
    struct err e = {0};
    for (size_t i = 0; i < N_PROMPTS; i++) {
        left += p[i].n;
        model_seq_clear(m, i);
        model_seq_expect(m, i, p[i].n);
    }
    while (left > 0) {
        size_t n = 0;
        for (; n < chunk && left > 0; who = (who + 1) % N_PROMPTS) {
            if (at[who] == p[who].n)
                continue;
            rows[n++] =
                (struct row){(uint32_t)who, (uint32_t)at[who], (uint32_t)p[who].ids[at[who]], true};
            at[who]++;
            left--;
        }
        if (model_forward(m, rows, n, out, NULL, &e) != 0)
            die_err(&e);
        for (size_t i = 0; i < n; i++)
            memcpy(logits[rows[i].slot] + rows[i].pos * vocab, out + i * vocab,
                   vocab * sizeof *out);
    }
    free(out);
}

static void check_same_bits(const char *models, const char *name, enum kv_type type) {
    char *folder = path_join(models, name);
    struct prompt p[N_PROMPTS];
    float *logits[N_PROMPTS];
    make_prompts(folder, p);
    struct model *m = open_model(folder, type, 1);
    size_t vocab = model_spec(m)->vocab_size;
    for (size_t i = 0; i < N_PROMPTS; i++) {
        p[i].logits = xcalloc(p[i].n * vocab, sizeof(float));
        logits[i] = xcalloc(p[i].n * vocab, sizeof(float));
        models_feed(m, i, p[i].ids, p[i].n, p[i].n, p[i].logits, NULL);
    }
    model_close(m);
    // A sanitizer sees each path with two threads and one size; the plain build compares the bits
    // of all.
    for (size_t threads = CHECK_SLOW ? 2 : 1; threads <= (CHECK_SLOW ? 2 : 3); threads++) {
        m = open_model(folder, type, threads);
        static const size_t chunks[] = {7, 1, 64};
        for (size_t c = 0; c < (CHECK_SLOW ? 1 : 3); c++) {
            feed_together(m, p, chunks[c], logits);
            for (size_t i = 0; i < N_PROMPTS; i++)
                CHECK_MSG(memcmp(p[i].logits, logits[i], p[i].n * vocab * sizeof(float)) == 0,
                          "%s: prompt %zu differs with %zu threads in chunks of %zu", name, i,
                          threads, chunks[c]);
        }
        model_close(m);
    }
    for (size_t i = 0; i < N_PROMPTS; i++) {
        free(p[i].logits);
        free(logits[i]);
    }
    free(folder);
}

static void same_bits_precise(void) {
    size_t n = 0;
    DIR *d = opendir(MODELS_DIR);
    for (struct dirent *f; d && (f = readdir(d));)
        if (f->d_name[0] != '.') {
            check_same_bits(MODELS_DIR, f->d_name, KV_F32);
            n++;
        }
    if (d)
        closedir(d);
    CHECK(n >= 32);
}

static void same_bits_default(void) {
    static const char *const names[] = {"llama", "llama-q",  "gemma2",
                                        "qwen2", "stablelm", "qwen3-moe"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        check_same_bits(MODELS_DIR, names[i], KV_BF16);
}

/* With windows, groups of heads, rotations that depend on the length, and experts. */
static void same_bits_i8(void) {
    static const char *const names[] = {"llama",  "mistral",       "gemma2",   "gemma3",
                                        "qwen2",  "phi3-longrope", "stablelm", "llama-dynamic-ntk",
                                        "mixtral"};
    if (models_device)
        return; // a GPU refuses it
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        check_same_bits(MODELS_DIR, names[i], KV_I8);
}

/* Each layout of quantised matrices, on each instruction set of this CPU; under a sanitizer on the
 * chosen one. */
static void same_bits_quantised(void) {
    static const char *const names[] = {
        "bnb-nf4", "ct-int8", "ct-w4-asym", "fp8-block", "gptq-asym-actorder", "mlx-4", "nvfp4"};
    const char *own = kernels_isa();
    if (models_device)
        return; // a GPU refuses them
    for (const char *const *isa = kernels_isas(); *isa; isa++) {
        if (CHECK_SLOW && strcmp(*isa, own) != 0)
            continue;
        kernels_use(*isa);
        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
            check_same_bits("tests/data/quant", names[i], KV_F32);
            if (i % 3 == 0)
                check_same_bits("tests/data/quant", names[i], KV_BF16);
        }
    }
    kernels_use(own);
}

/* A slot has the first `from` of ids[0..n). Its logits for the others have the same bits as those
 * of an empty slot that gets all of them. */
static void check_continues(struct model *m, size_t slot, size_t fresh, const int64_t *ids,
                            size_t from, size_t n, const char *what) {
    size_t vocab = model_spec(m)->vocab_size;
    float *a = xcalloc(n * vocab, sizeof *a), *b = xcalloc(n * vocab, sizeof *b);
    models_feed(m, slot, ids + from, n - from, 64, a + from * vocab, NULL);
    model_seq_clear(m, fresh);
    models_feed(m, fresh, ids, n, 64, b, NULL);
    CHECK_MSG(memcmp(a + from * vocab, b + from * vocab, (n - from) * vocab * sizeof *a) == 0,
              "%s: %s", model_spec(m)->model_type, what);
    CHECK_INT(model_seq_len(m, slot), n);
    free(a);
    free(b);
}

/* 300 ids: over several pages, and past every window. */
static void forks_and_steps_back(void) {
    static const char *const names[] = {"llama", "mistral", "gemma3", "llama-dynamic-ntk",
                                        "phi3-longrope"};
    int64_t ids[300], other[300];
    for (size_t i = 0; i < 300; i++) {
        ids[i] = (int64_t)(4 + i * 7 % 250);
        other[i] = i < 150 ? ids[i] : (int64_t)(4 + i * 11 % 250);
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *folder = path_join(MODELS_DIR, names[i]);
        struct model_options o = {
            .precise = true, .n_threads = 2, .context = 512, .max_sequences = 4, .max_rows = 64};
        struct model *m = models_open(folder, &o);
        models_feed(m, 0, ids, 150, 64, NULL, NULL);
        model_seq_fork(m, 1, 0, 150);
        model_seq_fork(m, 2, 0, 100);
        check_continues(m, 1, 3, other, 150, 220, "a fork goes its own way");
        check_continues(m, 0, 3, ids, 150, 300, "the sequence that was forked goes on");
        check_continues(m, 2, 3, ids, 100, 170, "a shorter fork");
        model_seq_truncate(m, 0, 295);
        check_continues(m, 0, 3, ids, 295, 300, "a few positions back");
        model_seq_truncate(m, 0, 130);
        check_continues(m, 0, 3, ids, 130, 135, "back past the window");
        model_seq_truncate(m, 0, 20);
        check_continues(m, 0, 3, ids, 20, 31, "back past the limit of the rotation");
        model_seq_truncate(m, 0, 31);
        CHECK_INT(model_seq_len(m, 0), 31);
        model_close(m);
        free(folder);
    }
}

/* Every page is freed, and its count is 0, after forks that shared it. */
static void pages_come_back(void) {
    struct model_options o = {
        .precise = true, .n_threads = 1, .context = 320, .max_sequences = 3, .max_rows = 64};
    struct model *m = models_open(MODELS_DIR "/gemma3", &o);
    int64_t ids[300] = {0};
    for (size_t round = 0; round < 3; round++) {
        models_feed(m, 0, ids, 300, 64, NULL, NULL);
        model_seq_fork(m, 1, 0, 250);
        model_seq_fork(m, 2, 1, 200);
        models_feed(m, 1, ids, 50, 64, NULL, NULL);
        models_feed(m, 2, ids, 5, 64, NULL, NULL);
        for (size_t i = 0; i < 3; i++)
            model_seq_clear(m, i);
        for (size_t g = 0; g < m->state.n_groups; g++) {
            CHECK_INT(m->state.groups[g].n_free, m->state.groups[g].n_blocks);
            for (size_t i = 0; i < m->state.groups[g].n_blocks; i++)
                CHECK_INT(m->state.groups[g].refs[i], 0);
        }
    }
    model_close(m);
}

/* A layer with a window holds only the window's pages. Feeds n positions to a model of which every
 * layer (mistral), or all but one (gemma3), has a window. */
static void check_stream(const char *folder, size_t n, size_t context) {
    struct model_options o = {
        .n_threads = 1, .context = context, .max_sequences = 1, .max_rows = 64};
    struct model *m = models_open(folder, &o);
    struct err e = {0};
    struct row rows[64];
    size_t most = 0;
    for (size_t pos = 0; pos < n; pos += 64) {
        for (size_t i = 0; i < 64; i++)
            rows[i] = (struct row){0, (uint32_t)(pos + i), (uint32_t)(4 + (pos + i) % 200), false};
        if (model_forward(m, rows, 64, NULL, NULL, &e) != 0)
            die_err(&e);
        for (size_t g = 0; g < m->state.n_groups; g++) {
            size_t used = m->state.groups[g].n_blocks - m->state.groups[g].n_free;
            if (m->state.groups[g].window > 0 && used > most)
                most = used;
        }
    }
    CHECK_MSG(most <= 4, "%s: %zu pages for a window of one", folder, most);
    model_close(m);
}

static void windows_do_not_grow(void) {
    check_stream(MODELS_DIR "/mistral", 100032, 100032);
    check_stream(MODELS_DIR "/gemma3", 4096, 4096);
}

/* Experts that no row has chosen are not read: those of the last layer have no weights here. */
static void only_chosen_experts_are_read(void) {
    if (!models_on_cpu()) // whose experts are seen from here
        return;
    struct model *m = open_model(MODELS_DIR "/qwen3-moe", KV_F32, 2);
    const struct spec *s = model_spec(m);
    struct linear *experts = m->layers.layers[s->n_layers - 1].experts;
    float before[288], after[288];
    int64_t id = 77;
    models_feed(m, 0, &id, 1, 1, before, NULL);
    const uint32_t *chosen = ((const struct cpu *)model_device(m))->ws.expert_of;
    size_t n_gone = 0;
    for (uint32_t x = 0; x < s->n_experts; x++)
        if (chosen[0] != x && chosen[1] != x) {
            for (size_t i = 0; i < 3; i++)
                experts[3 * x + i].w.data = NULL;
            n_gone++;
        }
    CHECK_INT(n_gone, s->n_experts - 2);
    model_seq_clear(m, 0);
    models_feed(m, 0, &id, 1, 1, after, NULL);
    CHECK(memcmp(before, after, sizeof before) == 0);
    model_close(m);
}

static void refusals(void) {
    struct model_options o = {
        .precise = true, .n_threads = 1, .context = 10, .max_sequences = 2, .max_rows = 4};
    struct model *m = models_open(MODELS_DIR "/llama", &o);
    struct err e = {0};
    float logits[288];
    struct row good = {0, 0, 5, true};
    CHECK_INT(model_forward(m, &good, 1, logits, NULL, &e), 0);

    struct row bad_id[2] = {{0, 1, 6, false}, {0, 2, 288, true}};
    CHECK_INT(model_forward(m, bad_id, 2, logits, NULL, &e), -1);
    CHECK_INT(e.code, EXIT_DATA);
    CHECK_STR(e.msg, "id 288 is outside the vocabulary of 288");
    struct row gap[1] = {{0, 2, 6, true}};
    CHECK_INT(model_forward(m, gap, 1, logits, NULL, &e), -1);
    CHECK_STR(e.msg, "position 2 does not follow the sequence's 1");
    struct row again[2] = {{0, 1, 6, true}, {0, 1, 6, true}};
    CHECK_INT(model_forward(m, again, 2, logits, NULL, &e), -1);
    CHECK_INT(model_seq_len(m, 0), 1);
    CHECK_INT(model_seq_len(m, 1), 0);

    int64_t ids[10] = {4, 5, 6, 7, 8, 9, 10, 11, 12, 13};
    models_feed(m, 1, ids, 10, 4, NULL, NULL);
    struct row past[1] = {{1, 10, 6, true}};
    CHECK_INT(model_forward(m, past, 1, logits, NULL, &e), -1);
    CHECK_STR(e.msg, "position 10 is past the context of 10");
    CHECK_INT(model_seq_len(m, 1), 10);
    model_close(m);
}

/* Only learned positions limit the context; else the user may ask for any. */
static void contexts(void) {
    struct model_options o = {.n_threads = 1, .max_sequences = 1, .max_rows = 4};
    struct err e = {0};
    struct model *m = models_open(MODELS_DIR "/gpt2", &o);
    CHECK_INT(model_context(m), 96);
    model_close(m);
    o.context = 97;
    CHECK_INT(model_open(&m, MODELS_DIR "/gpt2", &o, &e), -1);
    CHECK_STR(e.msg, "a context of 97 is more than the model's 96 positions: " MODELS_DIR "/gpt2");
    CHECK(m == NULL);
    o.context = 1000;
    m = models_open(MODELS_DIR "/llama", &o);
    CHECK_INT(model_context(m), 1000);
    model_close(m);
}

/* The kernels for GPUs have one size of head for keys and values. */
static void a_gpu_refuses_keys_and_values_of_two_sizes(void) {
    const struct device_shape shape = {.n_heads = 1, .n_kv_heads = 1, .k_dim = 192, .v_dim = 128};
    struct device *d;
    struct err e = {0};
    CHECK_INT(device_open(&d, "cuda", &shape, 1, &e), -1);
    CHECK_STR(e.msg,
              "heads with 192 dimensions of keys and 128 of values are not supported on a GPU");
    CHECK(!d);
}

/* Rows of an encoder: each is stored at its own position, and sees all of them. Equal queries then
 * give equal bits, those of a row at the end that sees what is before it. */
static void a_row_sees_positions_after_its_own(void) {
    enum { N = 150, DIM = 16 };
    const uint32_t pages[] = {2, 0, 1};
    static float k[N * DIM], v[N * DIM], q[N * DIM], out[N * DIM], last[DIM];
    struct attn_row rows[N];
    struct err e = {0};
    struct pool *p = pool_new(2, &e);
    size_t page_bytes = kv_page_bytes(1, DIM, DIM, KV_F32);
    struct kv_layer kv = {.base = xaligned(64, 3 * page_bytes),
                          .run = 1,
                          .run_stride = page_bytes,
                          .n_kv_heads = 1,
                          .k_dim = DIM,
                          .v_dim = DIM,
                          .type = KV_F32};
    for (uint32_t i = 0; i < N * DIM; i++) {
        k[i] = (float)(i * 7919 % 127) / 64 - 1;
        v[i] = (float)(i * 104729 % 251) / 128 - 1;
        q[i] = (float)(i % DIM) / 8 - 1;
    }
    for (uint32_t i = 0; i < N; i++)
        rows[i] = (struct attn_row){.pages = pages, .first = 0, .last = N - 1, .pos = i};
    kv_store(&kv, rows, N, k, DIM, v, DIM);
    void *scratch = xaligned(64, attention_scratch(2, N, 1, DIM, DIM));
    struct attn_call call = {.kv = &kv,
                             .rows = rows,
                             .n_rows = N,
                             .out = out,
                             .ldo = DIM,
                             .q = q,
                             .ldq = DIM,
                             .n_heads = 1,
                             .scale = 0.25f,
                             .scratch = scratch};
    attention(p, &call);
    call.rows = &rows[N - 1];
    call.n_rows = 1;
    call.out = last;
    attention(p, &call);
    double want = 0, sum = 0; // of the first dimension, in double
    for (size_t i = 0; i < N; i++) {
        double score = 0;
        for (size_t d = 0; d < DIM; d++)
            score += (double)q[d] * (double)k[i * DIM + d];
        sum += exp(score / 4);
        want += exp(score / 4) * (double)v[i * DIM];
    }
    CHECK(fabs((double)last[0] - want / sum) < 1e-5);
    for (size_t i = 0; i < N; i++)
        CHECK(memcmp(out + i * DIM, last, sizeof last) == 0);
    free(scratch);
    free(kv.base);
    pool_free(p);
}

int main(int argc, char **argv) {
    struct err e = {0};
    program_init(argv[0]);
    models_arguments(&argc, argv);
    if (kernels_init(&e) != 0)
        die_err(&e);
    RUN(same_bits_precise);
    RUN(same_bits_default);
    RUN(same_bits_i8);
    RUN(same_bits_quantised);
    RUN(forks_and_steps_back);
    RUN(pages_come_back);
    RUN(windows_do_not_grow);
    RUN(only_chosen_experts_are_read);
    RUN(refusals);
    RUN(contexts);
    RUN(a_row_sees_positions_after_its_own);
    RUN(a_gpu_refuses_keys_and_values_of_two_sizes);
    return check_done();
}
