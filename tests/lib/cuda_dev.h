/* Buffers and launches for tests of single GPU kernels, over common/backend/cuda/driver.h.
 *
 * The device is the stand-in, libcuda.so.1 in the folder cuda beside the test's program, unless the
 * environment has TEST_GPU=1: then it is this machine's GPU, and the tests are the same. A buffer
 * is followed by guard bytes, which dev_read checks; under ASan, which knows where it ends, by
 * none.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TESTS_CUDA_DEV_H
#define TESTS_CUDA_DEV_H

#include <stdlib.h>
#include <unistd.h>

#include "backend/cuda/args.h"
#include "backend/cuda/driver.h"
#include "base/mem.h"
#include "check.h"
#include "cuda_hash.h"

#if defined(__SANITIZE_ADDRESS__)
enum { DEV_GUARD = 0 }; // bytes
#else
enum { DEV_GUARD = 256 };
#endif

static struct cu *dev;
static const char *dev_last = "none"; // the kernel of the last launch, and its grid
static unsigned dev_x, dev_y;

static void dev_must(int result, const struct err *e) {
    if (result == 0)
        return;
    printf("Bail out! %s\n", e->msg);
    exit(1);
}

/* First in main. The loader reads LD_LIBRARY_PATH when a program starts, so this may start it once
 * more. */
static void dev_open(char **argv) {
    struct err e = {0};
    const char *real = getenv("TEST_GPU"), *slash = strrchr(argv[0], '/');
    if (!(real && *real == '1') && !getenv("TEST_STANDIN")) {
        char *folder = xasprintf("%.*scuda", slash ? (int)(slash - argv[0] + 1) : 0, argv[0]);
        setenv("TEST_STANDIN", "1", 1);
        setenv("LD_LIBRARY_PATH", folder, 1);
        setenv("LLM_CUDA_IMAGE", argv[0], 1); // any file that is not empty
        free(folder);
        execv(argv[0], argv);
        printf("Bail out! %s cannot be started again\n", argv[0]);
        exit(1);
    }
    dev_must(cu_open(&dev, 0, &e), &e);
}

struct dev_buf {
    void *p;
    size_t n;
};

/* n bytes with what is at data; data NULL: all 0xFF, which is NaN in every type. */
static struct dev_buf dev_new(const void *data, size_t n) {
    struct err e = {0};
    struct dev_buf b = {.n = n};
    unsigned char *bytes = xmalloc(n + DEV_GUARD);
    memset(bytes, 0xFF, n);
    if (data && n)
        memcpy(bytes, data, n);
    memset(bytes + n, 0xA5, DEV_GUARD);
    dev_must(cu_alloc(dev, n + DEV_GUARD ? n + DEV_GUARD : 1, "a test", &b.p, &e), &e);
    dev_must(cu_upload(dev, b.p, bytes, n + DEV_GUARD, &e), &e);
    free(bytes);
    return b;
}
static void dev_free(struct dev_buf *b) {
    cu_free(dev, b->p);
    b->p = NULL;
}

static void *dev_fetch(const struct dev_buf *b) {
    struct err e = {0};
    void *pinned;
    dev_must(cu_pinned_alloc(dev, b->n + DEV_GUARD ? b->n + DEV_GUARD : 1, "a test", &pinned, &e),
             &e);
    cu_to_host(dev, pinned, b->p, b->n + DEV_GUARD);
    dev_must(cu_sync(dev, &e), &e);
    unsigned char *out = xmalloc(b->n);
    memcpy(out, pinned, b->n);
    for (size_t i = 0, n = DEV_GUARD; i < n; i++)
        if (((unsigned char *)pinned)[b->n + i] != 0xA5) {
            CHECK_MSG(0, "byte %zu after the end of a buffer was written", i);
            break;
        }
    cu_pinned_free(dev, pinned);
    return out;
}
/* What is in b, to be freed. */
static void *dev_read(const struct dev_buf *b) {
    void *out = dev_fetch(b);
    cuda_hash(dev_last, dev_x, dev_y, out, b->n);
    return out;
}
/* The same of floats, some of which may be NaN: a CPU and a GPU give a new NaN other bits, and
 * IEEE 754 does not say which. All have one hash. */
static inline float *dev_read_floats(const struct dev_buf *b) {
    float *out = dev_fetch(b), *plain = xmalloc(b->n);
    memcpy(plain, out, b->n);
    for (size_t i = 0; i < b->n / sizeof *plain; i++)
        if (plain[i] != plain[i])
            memset(&plain[i], 0xFF, sizeof *plain);
    cuda_hash(dev_last, dev_x, dev_y, plain, b->n);
    free(plain);
    return out;
}

static inline void dev_launch(const char *kernel, unsigned x, unsigned y, unsigned threads,
                              const void *args) {
    struct err e = {0};
    const struct cu_kernel *k = cu_kernel(dev, kernel, 0, &e);
    dev_must(k ? 0 : -1, &e);
    dev_last = kernel, dev_x = x, dev_y = y;
    cu_launch(dev, k, (struct cu_shape){.x = x, .y = y, .threads = threads, .early = true}, args);
}

/* A step of rows, in three buffers. */
struct dev_step {
    struct dev_buf header, rows, words;
    struct cu_step step;
};
static struct dev_step dev_step(const struct cu_row *rows, uint32_t n_rows, uint32_t n_want,
                                const uint32_t *words, size_t n_words) {
    struct cu_header h = {.n_rows = n_rows, .n_want = n_want};
    struct dev_step s = {.header = dev_new(&h, sizeof h),
                         .rows = dev_new(rows, n_rows * sizeof *rows),
                         .words = dev_new(words, n_words * sizeof *words)};
    s.step = (struct cu_step){.header = s.header.p, .rows = s.rows.p, .words = s.words.p};
    return s;
}
static void dev_step_free(struct dev_step *s) {
    dev_free(&s->header);
    dev_free(&s->rows);
    dev_free(&s->words);
}

#endif
