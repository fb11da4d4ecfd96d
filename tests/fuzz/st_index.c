/* Fuzz entry: the index of a sharded model, beside two small shards called a and b.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "../lib/fuzz.h"
#include "weights/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char a[] =
        "\x35\0\0\0\0\0\0\0{\"a\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]}}abc";
    static const char b[] =
        "\x35\0\0\0\0\0\0\0{\"b\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]}}abc";
    struct weights w;
    struct err e = {0};
    free(fuzz_file("a", (struct str){a, sizeof a - 1}));
    free(fuzz_file("b", (struct str){b, sizeof b - 1}));
    char *path = fuzz_file("i.json", (struct str){(const char *)data, size});
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
