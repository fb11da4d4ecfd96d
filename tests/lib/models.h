/* Shared by tests of the model: golden folders, the other form of their config.json, prompts fed in
 * chunks, greedy decoding.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TESTS_MODELS_H
#define TESTS_MODELS_H

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "kernels/kernels.h"
#include "model/model.h"
#include "weights/safetensors.h"

#define MODELS_DIR "tests/data/models"

/* A new folder, which models_remove removes. */
static inline char *models_temp(void) {
    const char *tmp = getenv("TMPDIR");
    char *dir = xasprintf("%s/tokpipe-test-XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(dir))
        die(EXIT_SYSTEM, "mkdtemp");
    return dir;
}

static inline void models_remove(char *dir) {
    DIR *d = opendir(dir);
    for (struct dirent *f; d && (f = readdir(d));) {
        char *path = path_join(dir, f->d_name);
        if (f->d_name[0] != '.')
            unlink(path);
        free(path);
    }
    closedir(d);
    rmdir(dir);
    free(dir);
}

/* Links the files of folder into a temporary one. Its config.json is config (a file of folder);
 * with NULL, it has none. */
static inline char *models_with_config(const char *folder, const char *config) {
    char cwd[4096];
    if (!getcwd(cwd, sizeof cwd))
        die(EXIT_SYSTEM, "getcwd");
    char *dir = models_temp(), *real = folder[0] == '/' ? xstrdup(folder) : path_join(cwd, folder);
    DIR *d = opendir(folder);
    for (struct dirent *f; d && (f = readdir(d));) {
        if (f->d_name[0] == '.' || strncmp(f->d_name, "config", 6) == 0)
            continue;
        char *from = path_join(real, f->d_name), *to = path_join(dir, f->d_name);
        if (symlink(from, to) != 0)
            die(EXIT_SYSTEM, "symlink");
        free(from);
        free(to);
    }
    closedir(d);
    if (config) {
        char *from = path_join(real, config), *to = path_join(dir, "config.json");
        if (symlink(from, to) != 0)
            die(EXIT_SYSTEM, "symlink");
        free(from);
        free(to);
    }
    free(real);
    return dir;
}

/* The device of all models opened by models_open; NULL: the CPU. */
static const char *models_device;

/* Takes --device NAME from the front of the arguments; the others move up to argv[1]. */
static inline void models_arguments(int *argc, char **argv) {
    if (*argc < 3 || strcmp(argv[1], "--device") != 0)
        return;
    models_device = argv[2];
    *argc -= 2;
    memmove(argv + 1, argv + 3, (size_t)*argc * sizeof *argv); // with the NULL
}

/* Calls check for models whose cached pages differ: in dtype, experts and rotation, or in windows.
 */
static inline void models_each_cache(void (*check)(const char *name, bool precise, bool windows),
                                     bool precise) {
    static const char *const full[] = {"llama",     "llama-q", "llama-f32", "llama-yarn",
                                       "qwen3-moe", "smollm3", "granite",   "phi"};
    static const char *const windows[] = {"mistral", "gemma2", "gemma3"};
    for (size_t i = 0; i < sizeof full / sizeof *full; i++)
        check(full[i], precise, false);
    for (size_t i = 0; i < sizeof windows / sizeof *windows; i++)
        check(windows[i], precise, true);
}

static inline bool models_on_cpu(void) {
    return !models_device || strcmp(models_device, "cpu") == 0;
}

static inline struct model *models_open(const char *dir, const struct model_options *options) {
    struct model_options o = *options;
    struct err e = {0};
    struct model *m;
    o.device = o.device ? o.device : models_device;
    if (model_open(&m, dir, &o, &e) != 0)
        die_err(&e);
    return m;
}

/* The golden tensor's data, of n elements. */
static inline const void *models_golden(const struct weights *g, const char *name, size_t *n) {
    const struct tensor *t = weights_find(g, name);
    *n = t ? (size_t)t->n_elements : 0;
    return t ? t->data : NULL;
}

/* Feeds ids[0..n) to a slot, `chunk` rows at a time, and wants all of them. logits [n, vocab],
 * hidden [n, hidden]; either may be NULL. */
static inline void models_feed(struct model *m, size_t slot, const int64_t *ids, size_t n,
                               size_t chunk, float *logits, float *hidden) {
    const struct spec *s = model_spec(m);
    size_t at = model_seq_len(m, slot);
    struct row *rows = xcalloc(chunk, sizeof *rows);
    struct err e = {0};
    model_seq_expect(m, slot, at + n);
    for (size_t i = 0, k; i < n; i += k) {
        for (k = 0; k < chunk && i + k < n; k++)
            rows[k] =
                (struct row){(uint32_t)slot, (uint32_t)(at + i + k), (uint32_t)ids[i + k], true};
        if (model_forward(m, rows, k, logits ? logits + i * s->vocab_size : NULL,
                          hidden ? hidden + i * s->hidden_dim : NULL, &e) != 0)
            die_err(&e);
    }
    free(rows);
}

/* Whether the first n greedy ids after a prompt are as expected. */
static inline bool models_greedy(struct model *m, size_t slot, const int64_t *prompt,
                                 size_t n_prompt, const int64_t *expected, size_t n, size_t chunk) {
    size_t vocab = model_spec(m)->vocab_size;
    float *logits = xcalloc(n_prompt * vocab, sizeof *logits),
          *last = logits + (n_prompt - 1) * vocab;
    bool same = true;
    models_feed(m, slot, prompt, n_prompt, chunk, logits, NULL);
    for (size_t i = 0; i < n && same; i++) {
        int64_t best = 0;
        for (size_t v = 1; v < vocab; v++)
            best = last[v] > last[best] ? (int64_t)v : best;
        same = best == expected[i];
        models_feed(m, slot, &best, 1, 1, logits, NULL);
        last = logits;
    }
    free(logits);
    return same;
}

/* The largest difference; NaN counts as infinite. */
static inline float models_difference(const float *a, const float *b, size_t n) {
    float max = 0;
    for (size_t i = 0; i < n; i++) {
        float d = fabsf(a[i] - b[i]);
        if (!(d <= max))
            max = isnan(d) ? INFINITY : d;
    }
    return max;
}

#endif
