/* Fuzz entry: config.json, generation_config.json, and the look-up of the tensors that such a spec
 * needs. The input is config.json and, after a byte 0, generation_config.json.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "../lib/fuzz.h"
#include "model/layers.h"
#include "model/rope.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct st_file file = {.path = "weights"};
    struct weights none = {.files = &file, .n_files = 1};
    struct buf warnings = {0};
    struct err e = {0};
    struct spec s;
    const char *text = (const char *)data, *second = memchr(text, 0, size);
    size_t n = second ? (size_t)(second - text) : size;
    if (spec_parse(&s, "config.json", text, n, &warnings, &e) == 0) {
        if (second)
            spec_parse_generation(&s, "generation_config.json", second + 1, size - n - 1, &warnings,
                                  &e);
        for (size_t i = 0; i < s.n_ropes; i++) {
            struct rope r;
            float own[SPEC_MAX_HEAD_DIM];
            rope_init(&r, &s.ropes[i], s.max_pos);
            rope_freqs(&r, rope_variant(&r, 1000), own);
            rope_free(&r);
        }
        struct layers m;
        layers_load(&m, &s, &none, &warnings, &e);
        layers_free(&m);
    }
    spec_free(&s);
    buf_free(&warnings);
    return 0;
}
