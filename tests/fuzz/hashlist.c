/* Fuzz entry: a list of hashes, compared with one small file of weights.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "../lib/fuzz.h"
#include "weights/hashlist.h"

static void count(void *arg, enum hashlist_verdict v, const char *label) {
    size_t *n = arg;
    *n += v != HASH_SAME && label[0];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char file[] =
        "\x35\0\0\0\0\0\0\0{\"a\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]}}abc";
    char *model = fuzz_file("f", (struct str){file, sizeof file - 1});
    char *list = fuzz_file("list", (struct str){(const char *)data, size});
    struct weights w;
    struct err e = {0};
    size_t n_bad = 0;
    if (weights_open(&w, model, &e) != 0)
        abort();
    int rc = hashlist_verify(&w, NULL, list, 1, count, &n_bad, &e);
    if (rc == 0 ? n_bad != 0 : !(e.code == EXIT_DATA || (e.code == EXIT_SOME_FAILED && n_bad > 0)))
        abort();
    weights_close(&w);
    free(model);
    free(list);
    return 0;
}
