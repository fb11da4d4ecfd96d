/* Quantised matrices on the GPU: their bytes, scales and zero points as the host has them, and a
 * struct cu_quant that points to them. Nothing is widened.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/cuda.h"
#include "base/mem.h"
#include "weights/panel_i4.h"

#define SAME(name) ((int)MAT_##name - MAT_G4 == (int)CU_##name)
_Static_assert(SAME(G8) && SAME(F8) && SAME(NF4) && SAME(K4) && SAME(K8) && SAME(I8) &&
                   SAME(I4_32) && SAME(I4_16) && SAME(I4_64) &&
                   (int)MAT_LAYOUTS - MAT_G4 == CU_QUANT_LAYOUTS,
               "the layouts of mat.h and args.h are in one order, and the GPU has all of them");

enum { DATA, SCALES, BIASES, ZEROS, STEPS, LOWS, PLACE, PARTS, ALIGN = 256 };

struct part {
    const void *from;
    size_t n; // bytes
};

/* As groups of panels have. */
static bool has_panels(enum mat_layout layout) {
    return layout == MAT_G4 || layout == MAT_G8 || layout == MAT_K4 || layout == MAT_K8;
}

/* Scales of two levels: of `supers` cells each of d and dmin, and of `cells` steps and lows. */
static bool steps_of(const struct mat *w, size_t rows, size_t cells, struct part parts[PARTS]) {
    const struct mat_quant *q = w->quant;
    size_t n = w->n_in / MAT_SUPER + (w->n_in % MAT_SUPER > 0);
    if (!mul_size(rows, n, &n) || !mul_size(n, sizeof(uint16_t), &n))
        return false;
    parts[SCALES] = (struct part){q->d, n};
    parts[STEPS] = (struct part){q->steps, cells};
    if (q->dmin) {
        parts[BIASES] = (struct part){q->dmin, n};
        parts[LOWS] = (struct part){q->lows, cells};
    }
    return true;
}

/* The parts of w, whose view is not cut. False where a size_t cannot count them. PLACE is made from
 * what `from` names. */
static bool parts_of(const struct mat *w, struct part parts[PARTS]) {
    const struct mat_quant *q = w->quant;
    size_t n_out = w->first + w->n_out, rows = 0, cells = 0, bytes = 0;
    memset(parts, 0, PARTS * sizeof *parts);
    if (!q) {
        parts[DATA] = (struct part){w->data, mat_bytes(w)};
        return parts[DATA].n != SIZE_MAX;
    }
    const bool panels = has_panels(w->layout);
    const size_t size = !panels || q->scale_type == DT_F32 ? 4 : 2;
    if (!add_size(n_out, MAT_PANEL - 1, &rows))
        return false;
    rows = panels ? rows - rows % MAT_PANEL : n_out;
    if (!mul_size(rows, w->row_bytes, &parts[DATA].n))
        return false;
    if (w->layout == MAT_NF4) {
        if (!mul_size(n_out, w->n_in, &cells) || !add_size(cells, q->group - 1, &cells))
            return false;
        cells /= q->group;
    } else if (!mul_size(panels ? rows : (n_out + q->block_rows - 1) / q->block_rows, q->n_groups,
                         &cells)) {
        return false;
    }
    if (!mul_size(cells, size, &bytes))
        return false;
    parts[DATA].from = w->data;
    if (q->steps)
        return steps_of(w, rows, cells, parts);
    parts[SCALES] = (struct part){q->scales, bytes};
    if (panels && q->biases)
        parts[BIASES] = (struct part){q->biases, bytes};
    if (panels && q->zeros)
        parts[ZEROS] = (struct part){q->zeros, cells};
    if (panels && q->order)
        parts[PLACE] = (struct part){q->order, w->n_in * sizeof(uint32_t)};
    return true;
}

size_t cuda_quant_bytes(const struct mat *w) {
    struct part parts[PARTS];
    size_t n = sizeof(struct cu_quant) + ALIGN;
    if (!parts_of(w, parts))
        return SIZE_MAX;
    for (size_t i = 0; i < PARTS; i++)
        if (!add_size(n, parts[i].n, &n) || !add_size(n, ALIGN, &n))
            return SIZE_MAX;
    return n;
}

/* Input k is number place[k] of the panels. */
static uint32_t *places_of(const uint32_t *order, size_t n) {
    uint32_t *place = xcalloc(n, sizeof *place);
    for (size_t i = 0; i < n; i++)
        place[order[i]] = (uint32_t)i;
    return place;
}

static int send_part(struct cuda_device *d, const struct part *p, bool place, void **to,
                     struct err *e) {
    *to = NULL;
    if (p->n == 0)
        return 0;
    *to = cuda_weights_take(d, p->n);
    if (!*to)
        return err_set(e, EXIT_BUG, "no room for a quantised matrix");
    uint32_t *places = place ? places_of(p->from, p->n / sizeof *places) : NULL;
    int rc = cu_upload(d->c, *to, places ? (void *)places : p->from, p->n, e);
    free(places);
    return rc;
}

static void describe(struct cu_quant *q, const struct mat *w) {
    const struct mat_quant *of = w->quant;
    q->layout = (uint32_t)(w->layout - MAT_G4);
    q->n_in = (uint32_t)w->n_in;
    q->panel_bytes = w->row_bytes * (w->layout == MAT_F8 || w->layout == MAT_NF4 ? 1 : MAT_PANEL);
    if (!of) {
        if (w->layout != MAT_I8)
            memcpy(q->table, panel_i4_table(mat_i4_block(w->layout)), sizeof q->table);
        return;
    }
    q->group = (uint32_t)of->group;
    q->n_groups = (uint32_t)of->n_groups;
    q->block_rows = (uint32_t)of->block_rows;
    q->scale_type = of->scale_type == DT_F32    ? CU_F32
                    : of->scale_type == DT_BF16 ? CU_BF16
                                                : CU_F16;
    q->zero = of->zero;
    q->factor = of->factor;
    memcpy(q->table, of->table, sizeof q->table);
    memcpy(q->values, of->values, sizeof q->values);
}

static void *send(struct cuda_device *d, const struct mat *w, struct err *e) {
    struct part parts[PARTS];
    void *to[PARTS];
    struct cu_quant q = {0};
    if (!parts_of(w, parts)) {
        err_set(e, EXIT_BUG, "a quantised matrix is past what memory can hold");
        return NULL;
    }
    for (size_t i = 0; i < PARTS; i++)
        if (send_part(d, &parts[i], i == PLACE, &to[i], e) != 0)
            return NULL;
    describe(&q, w);
    q.data = to[DATA];
    q.scales = to[SCALES];
    q.biases = to[BIASES];
    q.zeros = to[ZEROS];
    q.steps = to[STEPS];
    q.lows = to[LOWS];
    q.place = to[PLACE];
    void *on_device = cuda_weights_take(d, sizeof q);
    if (!on_device || cu_upload(d->c, on_device, &q, sizeof q, e) != 0)
        return NULL;
    return on_device;
}

void *cuda_quant(struct cuda_device *d, const struct mat *w) {
    struct cuda_mat *m = cuda_mat_of(d, w->data);
    struct err e = {0};
    if (m && m->device)
        return m->device;
    void *on_device = send(d, w, &e);
    if (!on_device) {
        cuda_fail(d, &e);
        return NULL;
    }
    if (m)
        m->device = on_device;
    return on_device;
}
