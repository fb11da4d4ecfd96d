/* Looks up the kernels of a device, by name, when it is opened.
 *
 * A kernel exists for each type of W, and some for each pad of a head's dimensions. The limit of
 * shared memory is raised here for kernels that may use more than 48 KB.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdio.h>

#include "backend/cuda/cuda.h"

static const struct cu_kernel *find(struct cuda_device *d, const char *name, size_t shared,
                                    struct err *e) {
    return e->code ? NULL : cu_kernel(d->c, name, shared, e);
}

static int find_attention(struct cuda_device *d, struct err *e) {
    static const unsigned pads[] = {64, 96, 128, 256};
    char few[40] = "k_attend_few_any", many[40] = "k_attend_many_any";
    for (size_t i = 0; i < sizeof pads / sizeof *pads; i++)
        if (d->kv_pad == pads[i]) {
            snprintf(few, sizeof few, "k_attend_few_%u", pads[i]);
            snprintf(many, sizeof many, "k_attend_many_%u", pads[i]);
        }
    if (d->shape.precise) {
        d->k.attend_f32 = find(d, "k_attend_f32", 0, e);
        return e->code ? -1 : 0;
    }
    d->k.attend_few = find(d, few, 0, e);
    d->k.attend_many = find(d, many, CU_ATTEND_MANY_SHARED(d->kv_pad), e);
    return e->code ? -1 : 0;
}

/* On Hopper, the kernels for it, if the build has them. */
static void find_wgmma(struct cuda_device *d) {
    struct err none = {0};
    if (cu_info(d->c)->sm != 90)
        return;
    d->k.tile_wgmma[CU_BF16] = cu_kernel(d->c, "k_tile_wgmma_bf16", CU_WGMMA_SHARED, &none);
    d->k.tile_wgmma[CU_F16] = cu_kernel(d->c, "k_tile_wgmma_f16", CU_WGMMA_SHARED, &none);
}

static void find_quantised(struct cuda_device *d, struct err *e) {
    static const char *const own[] = {"i8", "i4_32", "i4_16", "i4_64"}, *const others[] = {
                                                                            "g4",  "g8", "f8",
                                                                            "nf4", "k4", "k8"};
    struct cuda_kernels *k = &d->k;
    char name[40];
    k->round = find(d, "k_round", 0, e);
    k->int_x = find(d, "k_int_x", 0, e);
    k->exact_quant = find(d, "k_exact_quant", 0, e);
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        snprintf(name, sizeof name, "k_int8_%s", own[i]);
        k->int8[i] = find(d, name, 0, e);
        snprintf(name, sizeof name, "k_int32_%s", own[i]);
        k->int32[i] = find(d, name, 0, e);
        snprintf(name, sizeof name, "k_int_many_%s", own[i]);
        k->int_many[i] = find(d, name, 0, e);
    }
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        snprintf(name, sizeof name, "k_quant8_%s", others[i]);
        k->quant8[i] = find(d, name, 0, e);
        snprintf(name, sizeof name, "k_quant32_%s", others[i]);
        k->quant32[i] = find(d, name, 0, e);
    }
}

int cuda_find_kernels(struct cuda_device *d, struct err *e) {
    struct cuda_kernels *k = &d->k;
    size_t shared = cu_info(d->c)->shared_bytes - 4096; // the most that any launch asks for
    k->begin = find(d, "k_begin", 0, e);
    k->norm = find(d, "k_norm", 0, e);
    k->add = find(d, "k_add", 0, e);
    k->qk = find(d, "k_qk", 0, e);
    k->pack = find(d, "k_pack", 0, e);
    k->route = find(d, "k_route", 0, e);
    k->route_sort = find(d, "k_route_sort", 0, e);
    k->combine = find(d, "k_combine", 0, e);
    k->exact[CU_F32] = find(d, "k_exact_f32", 0, e);
    k->exact[CU_BF16] = find(d, "k_exact_bf16", 0, e);
    k->exact[CU_F16] = find(d, "k_exact_f16", 0, e);
    for (int t = CU_BF16; t <= CU_F16; t++) {
        const char *type = t == CU_BF16 ? "bf16" : "f16";
        const struct {
            const struct cu_kernel **to;
            const char *name;
            size_t shared;
        } each[] = {{&k->few8[t], "k_few8", shared},
                    {&k->few16[t], "k_few16", shared},
                    {&k->few32[t], "k_few32", shared},
                    {&k->few_norm[t], "k_few_norm", shared},
                    {&k->tile[t], "k_tile", CU_TILE_SHARED}};
        for (size_t i = 0; i < sizeof each / sizeof *each; i++) {
            char name[40];
            snprintf(name, sizeof name, "%s_%s", each[i].name, type);
            *each[i].to = find(d, name, each[i].shared, e);
        }
    }
    find_wgmma(d);
    find_quantised(d, e);
    return e->code ? -1 : find_attention(d, e);
}
