/* Fuzz entry: statistics of activations, as st-quantize --stats reads them. Weights that come out
 * are positive and finite.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "../lib/fuzz.h"
#include "quantize/stats.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    enum { MOST = 4096 }; // inputs of a module that is asked for
    struct str bytes = fuzz_exact((struct str){(const char *)data, size});
    struct quantize_stats s;
    struct err e = {0};
    if (quantize_stats_from_bytes(&s, "stats", bytes.p, bytes.n, &e) != 0) {
        fuzz_check_refusal(&e);
        free((char *)(uintptr_t)bytes.p);
        return 0;
    }
    static const char ending[] = ".sum_squares";
    for (size_t i = 0; i < s.file.n_tensors; i++) {
        const struct tensor *t = &s.file.tensors[i];
        struct str name = str_of(t->name);
        if (!str_ends_with(name, ending) || t->n_elements > MOST)
            continue;
        char *module = xstrndup(name.p, name.n - (sizeof ending - 1));
        float w[MOST];
        size_t n = (size_t)t->n_elements;
        int rc = quantize_stats_weights(&s, module, n, w, &e);
        assert(rc >= 0);
        for (size_t k = 0; k < n && rc == 1; k++)
            assert(w[k] > 0 && w[k] <= 1e6f);
        assert(quantize_stats_weights(&s, module, n + 1, w, &e) < 0);
        fuzz_check_refusal(&e);
        free(module);
    }
    quantize_stats_close(&s);
    free((char *)(uintptr_t)bytes.p);
    return 0;
}
