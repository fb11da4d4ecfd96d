/* Fuzz entry: a list of hashes, compared with one small file of weights.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "weights/hashlist.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write_file(const char *path, const void *p, size_t n) {
    FILE *f = fopen(path, "wb");
    if (!f || (n && fwrite(p, 1, n, f) != n) || fclose(f) != 0)
        abort();
}

static void count(void *arg, enum hashlist_verdict v, const char *label) {
    size_t *n = arg;
    *n += v != HASH_SAME && label[0];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char file[] =
        "\x35\0\0\0\0\0\0\0{\"a\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]}}abc";
    char model[64], list[64];
    struct weights w;
    struct err e = {0};
    size_t n_bad = 0;
    snprintf(model, sizeof model, "/tmp/fuzz-hashlist.%ld.f", (long)getpid());
    snprintf(list, sizeof list, "/tmp/fuzz-hashlist.%ld.list", (long)getpid());
    write_file(model, file, sizeof file - 1);
    write_file(list, data, size);
    if (weights_open(&w, model, &e) != 0)
        abort();
    int rc = hashlist_verify(&w, NULL, list, 1, count, &n_bad, &e);
    if (rc == 0 ? n_bad != 0 : !(e.code == EXIT_DATA || (e.code == EXIT_SOME_FAILED && n_bad > 0)))
        abort();
    weights_close(&w);
    unlink(model);
    unlink(list);
    return 0;
}
