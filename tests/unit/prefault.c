/* weights/prefault: the order of use; one or several files are read into memory; stopping at once.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#define _GNU_SOURCE // mincore
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "../lib/check.h"
#include "base/mem.h"
#include "weights/prefault.h"
#include "weights/st_write.h"

static void layers_come_in_the_order_of_their_numbers(void) {
    static const char *const names[] = {"lm_head.weight",
                                        "model.embed_tokens.weight",
                                        "model.layers.0.a.weight",
                                        "model.layers.10.a.weight",
                                        "model.layers.10.b2.weight",
                                        "model.layers.2.a.weight",
                                        "model.layers.2.mlp.experts.1.w",
                                        "model.layers.2.mlp.experts.down_proj",
                                        "model.norm.weight"};
    static const size_t expected[] = {2, 5, 3, 4, 0, 1, 8, 6, 7};
    struct tensor tensors[9] = {0};
    size_t order[9];
    for (size_t i = 0; i < 9; i++)
        tensors[i].name = names[i];
    prefault_order(&(struct weights){.tensors = tensors, .n_tensors = 9}, order);
    for (size_t i = 0; i < 9; i++)
        CHECK_INT(order[i], expected[i]);
    prefault_order(&(struct weights){.tensors = tensors, .n_tensors = 0}, order);
}

enum { LAYERS = 6, LAYER_BYTES = 3 << 20 };

static char *new_folder(void) {
    const char *base = getenv("TMPDIR");
    char *folder = xasprintf("%s/ahead-XXXXXX", base ? base : "/tmp");
    CHECK(mkdtemp(folder) != NULL);
    return folder;
}

static void write_model(const char *path) {
    struct err e = {0};
    struct st_writer *w = st_writer_new(NULL);
    char name[64];
    unsigned char *data = xcalloc(1, LAYER_BYTES);
    for (int i = 0; i < LAYERS; i++) {
        snprintf(name, sizeof name, "layers.%d.w", i);
        st_writer_add(w, name, DT_U8, 1, (uint64_t[]){LAYER_BYTES});
    }
    CHECK_MSG(st_writer_begin(w, path, &e) == 0, "%s", e.msg);
    for (int i = 0; i < LAYERS; i++) {
        memset(data, i + 1, LAYER_BYTES);
        CHECK(st_writer_data(w, data, LAYER_BYTES, &e) == 0);
    }
    CHECK(st_writer_commit(w, &e) == 0);
    free(data);
}

static void drop(const char *path) {
    int fd = open(path, O_RDONLY);
    CHECK(fd >= 0 && fsync(fd) == 0);
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    close(fd);
}

/* The part of a mapping that is in memory. */
static double resident(const struct map *m) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), n = (m->n + page - 1) / page, there = 0;
    unsigned char *in = xcalloc(n, 1);
    CHECK(mincore((void *)(uintptr_t)m->p, m->n, in) == 0);
    for (size_t i = 0; i < n; i++)
        there += in[i] & 1;
    free(in);
    return (double)there / (double)n;
}

static void what_is_not_in_memory_is_brought(void) {
    char *folder = new_folder(), *path = path_join(folder, "model.safetensors");
    struct err e = {0};
    struct weights w;
    write_model(path);
    drop(path);
    CHECK_MSG(weights_open(&w, path, &e) == 0, "%s", e.msg);
    if (resident(&w.files[0].map) < 0.5) { // not if the file system is in memory
        struct prefault *a = prefault_start(&w);
#if defined(MADV_POPULATE_READ)
        for (int i = 0; i < 1000 && resident(&w.files[0].map) < 1; i++)
            nanosleep(&(struct timespec){0, 10000000}, NULL);
        CHECK(a && resident(&w.files[0].map) == 1);
#endif
        prefault_stop(a);
    }
    for (size_t i = 0; i < w.n_tensors; i++)
        CHECK(((const unsigned char *)w.tensors[i].data)[LAYER_BYTES - 1] == i + 1);
    struct prefault *again = prefault_start(&w);
    CHECK(again == NULL ||
          resident(&w.files[0].map) == 1); // NULL if the file system supports RWF_NOWAIT
    prefault_stop(again);
    weights_close(&w);
    for (int i = 0; i < 20; i++) { // stopped at any point, while the file is truncated
        drop(path);
        CHECK(weights_open(&w, path, &e) == 0);
        struct prefault *a = prefault_start(&w);
        nanosleep(&(struct timespec){0, i * 300000}, NULL);
        if (i == 19)
            CHECK(truncate(path, LAYER_BYTES) == 0);
        prefault_stop(a);
        weights_close(&w);
    }
    unlink(path);
    rmdir(folder);
    free(path);
    free(folder);
}

int main(void) {
    RUN(layers_come_in_the_order_of_their_numbers);
    RUN(what_is_not_in_memory_is_brought);
    return check_done();
}
