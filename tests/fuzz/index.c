/* Fuzz entry of index/: the bytes as an index file, which is listed and searched by a vector and by
 * words. What is found is in order, and the same however many are asked for, unless the file lies
 * about how far its scanned vectors are from the exact ones.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <math.h>

#include "../lib/fuzz.h"
#include "index/index.h"
#include "index/search.h"
#include "kernels/kernels.h"
#include "weights/mat.h"

enum { MOST_VALUES = 1 << 20 };

/* Whether max_norm and max_error of the header hold. */
static bool is_honest(const struct index_file *ix) {
    const size_t dim = ix->info.dim;
    float *exact = xcalloc(dim, sizeof *exact), *scanned = xcalloc(dim, sizeof *scanned);
    const struct mat scan = ix->info.store == INDEX_I8
                                ? mat_panels(ix->scan, MAT_I8, ix->info.n, dim)
                                : mat_plain(ix->scan, DT_BF16, ix->info.n, dim);
    bool holds = true;
    for (size_t i = 0; i < ix->info.n && holds; i++) {
        double norm = 0, error = 0;
        index_vector(ix, i, exact);
        mat_row(&scan, i, scanned);
        for (size_t k = 0; k < dim; k++) {
            double v = (double)exact[k], d = v - (double)scanned[k];
            norm += v * v;
            error += d * d;
        }
        holds =
            sqrt(norm) <= (double)ix->info.max_norm && sqrt(error) <= (double)ix->info.max_error;
    }
    free(exact);
    free(scanned);
    return holds;
}

static void check_order(const struct index_hits *few, const struct index_hits *many, bool honest) {
    for (size_t i = 0; i < many->n; i++) {
        assert(i == 0 || many->p[i - 1].score >= many->p[i].score);
        assert(!honest || i >= few->n ||
               (few->p[i].record == many->p[i].record && !(few->p[i].score < many->p[i].score)));
    }
}

static void search(const struct index_file *ix, struct pool *pool) {
    struct index_hits few = {0}, many = {0};
    struct err e = {0};
    float *q = xcalloc(ix->info.dim, sizeof *q);
    for (size_t i = 0; i < ix->info.dim; i++)
        q[i] = (float)(i % 3) - 0.5f;
    if (search_vectors(ix, pool, q, 1, 2, &few, &e) != 0)
        fuzz_check_refusal(&e);
    else if (search_vectors(ix, pool, q, 1, ix->info.n, &many, &e) == 0)
        check_order(&few, &many, is_honest(ix));
    free(few.p);
    free(many.p);
    free(q);
    if (search_words(ix, str_of("one two \xc3\x89"), 2, &few, &e) != 0)
        fuzz_check_refusal(&e);
    else if (search_words(ix, str_of("one two \xc3\x89"), ix->info.n, &many, &e) != 0)
        abort();
    else
        check_order(&few, &many, true);
    free(few.p);
    free(many.p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct pool *pool;
    struct err e = {0};
    struct index_file ix;
    struct index_record r;
    if (!pool && (kernels_init(&e) != 0 || !(pool = pool_new(1, &e))))
        abort();
    char *path = fuzz_file("index", (struct str){(const char *)data, size});
    if (index_open(&ix, path, &e) != 0) {
        fuzz_check_refusal(&e);
        free(path);
        return 0;
    }
    for (size_t i = 0; i < ix.info.n; i++)
        if (index_record(&ix, i, &r, &e) == 0) {
            fuzz_check_utf8(r.attrs);
            fuzz_check_utf8(r.text);
        } else {
            fuzz_check_refusal(&e);
        }
    if (ix.info.n * ix.info.dim < MOST_VALUES)
        search(&ix, pool);
    index_close(&ix);
    free(path);
    return 0;
}
