/* Fuzz entry: generation_config.json.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdlib.h>
#include <unistd.h>

#include "../lib/fuzzfd.h"
#include "sample/generation.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct sample_params p = sample_defaults;
    struct stop_texts stops = {0};
    struct buf said = {0};
    struct err e = {0};
    char path[32];
    snprintf(path, sizeof path, "/dev/fd/%d", fuzz_fd(data, size));
    int rc = sample_generation(&p, &stops, path, &said, &e);
    if (rc != 0 && (e.code != EXIT_DATA || !e.msg[0]))
        abort();
    if (rc == 0 && (!(p.temp >= 0 && p.temp <= 100) || !(p.top_p > 0 && p.top_p <= 1)))
        abort();
    stop_texts_free(&stops);
    buf_free(&said);
    return 0;
}
