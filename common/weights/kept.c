/* Matrices with the blocks of GGUF files: see kept.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "weights/kept.h"

#include "base/mem.h"

static const struct kept_kind kinds[KEPT_TYPES] = {
    [KEPT_Q4_0] = {"Q4_0", ".weight_q4_0", MAT_G4, 32, 32, 8, false},
    [KEPT_Q4_1] = {"Q4_1", ".weight_q4_1", MAT_G4, 32, 32, 0, true},
    [KEPT_Q8_0] = {"Q8_0", ".weight_q8_0", MAT_G8, 32, 32, 128, false},
    [KEPT_Q4_K] = {"Q4_K", ".weight_q4_k", MAT_K4, 256, 32, 0, true},
    [KEPT_Q6_K] = {"Q6_K", ".weight_q6_k", MAT_K8, 256, 16, 128, false},
};

const struct kept_kind *kept_kind(enum kept_type t) {
    return &kinds[t];
}

static bool has_steps(const struct kept_kind *k) {
    return k->layout == MAT_K4 || k->layout == MAT_K8;
}

bool kept_map(enum kept_type t, size_t n_out, size_t n_in, struct kept_map *map) {
    const struct kept_kind *k = &kinds[t];
    const size_t groups = n_in / k->group, blocks = n_in / k->block;
    *map = (struct kept_map){.panels = n_out / MAT_PANEL + (n_out % MAT_PANEL > 0)};
    if (n_in == 0 || n_in % k->block > 0 || n_in > SIZE_MAX / MAT_PANEL / 4)
        return false;
    map->panel[KEPT_CODES] = mat_panel_bytes(k->layout, n_in);
    map->panel[KEPT_D] = blocks * MAT_PANEL * sizeof(uint16_t);
    map->panel[KEPT_DMIN] = k->has_dmin ? map->panel[KEPT_D] : 0;
    map->panel[KEPT_STEPS] = has_steps(k) ? groups * MAT_PANEL : 0;
    map->panel[KEPT_LOWS] = has_steps(k) && k->has_dmin ? groups * MAT_PANEL : 0;
    for (size_t i = 0; i < KEPT_PARTS; i++) {
        size_t n;
        map->at[i] = map->all;
        if (!mul_size(map->panels, map->panel[i], &n) || !add_size(n, map->all, &map->all) ||
            !add_size(map->all, 64, &n))
            return false;
        map->all = round_up_size(map->all, 64);
    }
    return true;
}

void kept_open(enum kept_type t, const void *data, size_t n_out, size_t n_in, struct mat_quant *q,
               struct mat *m) {
    const struct kept_kind *k = &kinds[t];
    const unsigned char *p = data;
    struct kept_map map;
    kept_map(t, n_out, n_in, &map);
    *q = (struct mat_quant){.group = k->group,
                            .n_groups = n_in / k->group,
                            .scale_type = DT_F16,
                            .factor = 1,
                            .zero = mat_has_halves(k->layout) ? 0 : k->zero};
    for (int i = 0; i < 16; i++)
        q->table[i] = (int8_t)(i - (mat_has_halves(k->layout) ? k->zero : 0));
    if (has_steps(k)) {
        q->d = p + map.at[KEPT_D];
        q->dmin = k->has_dmin ? p + map.at[KEPT_DMIN] : NULL;
        q->steps = (const int8_t *)p + map.at[KEPT_STEPS];
        q->lows = k->has_dmin ? p + map.at[KEPT_LOWS] : NULL;
    } else {
        q->scales = p + map.at[KEPT_D];
        q->biases = k->has_dmin ? p + map.at[KEPT_DMIN] : NULL;
    }
    *m = (struct mat){.layout = k->layout,
                      .n_out = n_out,
                      .n_in = n_in,
                      .row_bytes = map.panel[KEPT_CODES] / MAT_PANEL,
                      .data = data,
                      .quant = q};
}
