/* Fuzz entry: one quantised matrix, opened and read. The input is "N_OUT N_IN", a newline and a
 * quantization_config, a byte 0, and a safetensors file whose tensors are those of module "m". A
 * matrix that opens has rows that can be read, in every view, and copies of the counted size.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <math.h>

#include "../lib/fuzz.h"
#include "quant/format.h"
#include "spec/config_quant.h"

enum { MOST = 4096, MOST_ELEMENTS = 1 << 16 };

static bool same(const float *a, const float *b, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (memcmp(&a[i], &b[i], sizeof *a) != 0 && !(isnan(a[i]) && isnan(b[i])))
            return false;
    return true;
}

/* Every row, in the matrix and in a view that begins at another row. */
static void read_rows(const struct mat *m) {
    float *row = xcalloc(m->n_in, sizeof *row), *again = xcalloc(m->n_in, sizeof *again);
    for (size_t i = 0; i < m->n_out; i++) {
        const size_t first = i / 2;
        const struct mat view = mat_rows(m, first, m->n_out - first);
        mat_row(m, i, row);
        mat_row(&view, i - first, again);
        assert(same(row, again, m->n_in));
    }
    free(row);
    free(again);
}

/* Opens the matrix twice: once to read it, once only to count. Both say the same. */
static void open_matrix(const struct weights *w, const struct spec_quant *q, size_t n_out,
                        size_t n_in) {
    struct mat m[2];
    struct err e[2] = {{0}, {0}};
    struct mat_memory memory[2] = {{0}, {0}};
    int rc[2];
    bool *used = xcalloc(w->n_tensors + 1, sizeof *used);
    for (size_t i = 0; i < 2; i++) {
        struct mat_report report = {0};
        struct buf warnings = {0};
        const struct mat_source s = {.weights = w,
                                     .used = used,
                                     .memory = &memory[i],
                                     .config = q,
                                     .measure = i == 1,
                                     .report = &report,
                                     .warnings = &warnings};
        rc[i] = mat_open(&s, "m", n_out, n_in, &m[i], &e[i]);
        if (rc[i] != 0)
            fuzz_check_refusal(&e[i]);
        buf_free(&warnings);
    }
    assert(rc[0] == rc[1] && strcmp(e[0].msg, e[1].msg) == 0);
    if (rc[0] == 0) {
        assert(m[0].n_out == n_out && m[0].n_in == n_in && m[0].layout == m[1].layout);
        assert(memory[0].bytes == memory[1].bytes);
        read_rows(&m[0]);
    }
    for (size_t i = 0; i < 2; i++)
        mat_memory_free(&memory[i]);
    free(used);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const struct quant_file file = {"q.json", "mlx", NULL};
    struct fuzz_parts in = fuzz_split(data, size);
    struct spec s = {0};
    struct weights w;
    struct err e = {0};
    struct buf warnings = {0};
    unsigned n_out = 0, n_in = 0;
    int skip = 0;
    if (!in.split || sscanf(in.first.p, "%4u %4u%n", &n_out, &n_in, &skip) != 2 || n_out == 0 ||
        n_in == 0 || n_out > MOST || n_in > MOST || n_out * n_in > MOST_ELEMENTS)
        return 0;
    char *json = str_dup((struct str){in.first.p + skip, in.first.n - (size_t)skip});
    if (config_quant_file(&s, &file, "q.json", json, strlen(json), &warnings, &e) != 0) {
        fuzz_check_refusal(&e);
    } else if (weights_from_bytes(&w, "w", in.rest.p, in.rest.n, in.rest.n, &e) == 0) {
        open_matrix(&w, &s.quant, n_out, n_in);
        weights_close(&w);
    }
    free(json);
    buf_free(&warnings);
    spec_free(&s);
    return 0;
}
