/* Fuzz entry: a model folder, opened and run. The input is config.json, a byte 0, and
 * model.safetensors; or after the byte 0 one byte, which chooses the weights of tests/data/models.
 * The same ids must give the same bits as one batch, one by one, and in a fork.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <math.h>

#include "../lib/fuzz.h"
#include "kernels/kernels.h"
#include "model/model.h"

enum { MOST_ROWS = 8, CONTEXT = 200, N_IDS = 5, MOST_VOCAB = 1 << 16 };

static const char *const folders[] = {
    "gemma2",        "gemma3",  "gpt2",    "granite",  "llama",     "llama-yarn",
    "llama3-rope",   "mistral", "mixtral", "olmo2",    "phi",       "phi3",
    "phi3-longrope", "qwen2",   "qwen3",   "stablelm", "starcoder2"};

static void place_weights(struct str bytes) {
    fuzz_unlink("model.safetensors");
    if (bytes.n != 1) {
        free(fuzz_file("model.safetensors", bytes));
        return;
    }
    char cwd[4096];
    if (!getcwd(cwd, sizeof cwd))
        abort();
    size_t i = (unsigned char)bytes.p[0] % (sizeof folders / sizeof *folders);
    char *to = xasprintf("%s/tests/data/models/%s/model.safetensors", cwd, folders[i]);
    char *from = path_join(fuzz_folder(), "model.safetensors");
    if (symlink(to, from) != 0)
        abort();
    free(to);
    free(from);
}

static bool same(const float *a, const float *b, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (memcmp(&a[i], &b[i], sizeof *a) != 0 && !(isnan(a[i]) && isnan(b[i])))
            return false;
    return true;
}

/* Runs ids [n] of a slot, `chunk` rows at a time, into logits [n, vocab_size]. */
static bool feed(struct model *m, size_t slot, const uint32_t *ids, size_t n, size_t chunk,
                 float *logits) {
    struct row rows[MOST_ROWS];
    struct err e = {0};
    model_seq_expect(m, slot, n);
    for (size_t at = model_seq_len(m, slot), k; at < n; at += k) {
        for (k = 0; k < chunk && at + k < n; k++)
            rows[k] = (struct row){(uint32_t)slot, (uint32_t)(at + k), ids[at + k], true};
        if (model_forward(m, rows, k, logits + at * model_spec(m)->vocab_size, NULL, &e) != 0) {
            assert((e.code == EXIT_DATA || e.code == EXIT_SYSTEM) && e.msg[0]);
            return false;
        }
    }
    return true;
}

static void run(struct model *m) {
    size_t vocab = model_spec(m)->vocab_size;
    uint32_t ids[N_IDS];
    if (model_context(m) < N_IDS || vocab > MOST_VOCAB)
        return;
    for (uint32_t i = 0; i < N_IDS; i++)
        ids[i] = (i * 7 + 3) % (uint32_t)vocab;
    float *whole = xcalloc(N_IDS * vocab, sizeof *whole),
          *parts = xcalloc(N_IDS * vocab, sizeof *parts);
    if (feed(m, 0, ids, N_IDS, N_IDS, whole) && feed(m, 1, ids, N_IDS, 1, parts)) {
        assert(same(whole, parts, N_IDS * vocab));
        model_seq_truncate(m, 0, 3);
        model_seq_clear(m, 1);
        model_seq_fork(m, 1, 0, 2);
        assert(model_seq_len(m, 1) <= 2);
        if (feed(m, 1, ids, N_IDS, 2, parts))
            assert(same(whole, parts, N_IDS * vocab));
    }
    free(whole);
    free(parts);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct fuzz_parts in = fuzz_split(data, size);
    struct model_options o = {
        .n_threads = 1, .context = CONTEXT, .max_sequences = 2, .max_rows = MOST_ROWS};
    struct model *m;
    struct err e = {0};
    warn_quiet(1);
    if (!in.split)
        return 0;
    free(fuzz_file("config.json", in.first));
    place_weights(in.rest);
    if (kernels_init(&e) != 0)
        die_err(&e);
    if (model_open(&m, fuzz_folder(), &o, &e) != 0) {
        fuzz_check_refusal(&e);
        return 0;
    }
    run(m);
    model_close(m);
    return 0;
}
