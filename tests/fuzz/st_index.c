/* Fuzz entry: the index of a sharded model, beside two small shards called a and b.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "weights/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write_file(const char *dir, const char *name, const void *p, size_t n) {
    char *path = path_join(dir, name);
    FILE *f = fopen(path, "wb");
    if (!f || (n && fwrite(p, 1, n, f) != n) || fclose(f) != 0)
        abort();
    free(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char a[] =
        "\x35\0\0\0\0\0\0\0{\"a\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]}}abc";
    static const char b[] =
        "\x35\0\0\0\0\0\0\0{\"b\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]}}abc";
    char dir[64];
    struct weights w;
    struct err e = {0};
    snprintf(dir, sizeof dir, "/tmp/fuzz-st-index.%ld", (long)getpid());
    if (mkdir(dir, 0700) == 0) {
        write_file(dir, "a", a, sizeof a - 1);
        write_file(dir, "b", b, sizeof b - 1);
    }
    write_file(dir, "i.json", data, size);
    char *path = path_join(dir, "i.json");
    if (weights_open(&w, path, &e) == 0) {
        if (w.n_tensors < 1 || w.n_tensors > 2)
            abort();
        weights_close(&w);
    } else if (e.code != EXIT_DATA && e.code != EXIT_NO_INPUT) {
        abort();
    }
    free(path);
    return 0;
}
