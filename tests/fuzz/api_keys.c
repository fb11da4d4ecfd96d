/* Fuzz entry: the file of keys of llm-serve. Keys that were read are not found by a wrong one.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdlib.h>

#include "serve/api_keys.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct err e = {0};
    struct api_keys *k = api_keys_read((struct str){(const char *)data, size}, "keys", &e);
    if (!k && !e.msg[0])
        abort();
    if (k && (api_keys_count(k) == 0 || api_keys_find(k, str_of("no key at all"))))
        abort();
    api_keys_free(k);
    return 0;
}
