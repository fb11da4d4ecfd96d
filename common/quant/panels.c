/* Repacking codes into panels, and what else formats share: see panels.h.
 *
 * A matrix is repacked panel by panel: the format writes the codes of MAT_PANEL rows side by side,
 * inputs are put in the order of their groups where g_idx has another one, and mat_panel_store
 * lays them out. Large matrices are repacked by all CPUs; a panel does not depend on the others.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "quant/panels.h"

#include <stdlib.h>
#include <string.h>

#include "base/jobs.h"

enum {
    JOB_PANELS = 16,      // of one job: some 100 us
    FEW_CODES = 1 << 20,  // below which starting threads takes longer than the work
    MOST_GROUP = 1 << 16, // of the sizes that are tried
    LEAST_GROUP = 8,
};

void *quant_take(const struct mat_source *s, size_t n) {
    if (!s->measure)
        return mat_memory_take(s->memory, n);
    s->memory->bytes += n;
    return NULL;
}

const float *quant_floats(const struct mat_source *s, const struct tensor *t, enum dtype type,
                          size_t n) {
    float *to = quant_take(s, n * sizeof *to);
    for (size_t i = 0; to && i < n; i++)
        to[i] = (float)dtype_value(type, t->data, i);
    return to;
}

/* ---- Scales ---- */

static bool is_scale_type(enum dtype t) {
    return t == DT_F32 || t == DT_F16 || t == DT_BF16 || t == DT_F8_E4M3 || t == DT_F8_E8M0;
}

bool quant_grid_of(const struct tensor *t, size_t n_out, size_t n_groups, struct quant_grid *grid,
                   struct err *e) {
    char found[200];
    const size_t n = t->n_dims;
    const bool by_row = n > 0 && t->shape[0] == n_out && (n == 1 || (n == 2 && t->shape[1] == 1)),
               all = n == 2 && t->shape[0] == n_out && t->shape[1] == n_groups,
               one = t->n_elements == 1 && n <= 2;
    if (!is_scale_type(t->dtype)) {
        err_set(e, EXIT_DATA, "tensor '%s': expected scales, found %s", t->name,
                dtype_name(t->dtype));
        return false;
    }
    if (!all && !(n_groups == 1 && by_row) && !one) {
        err_set(e, EXIT_DATA, "tensor '%s': expected scales of [%zu, %zu], found %s", t->name,
                n_out, n_groups, tensor_shape_text(t, found));
        return false;
    }
    *grid = (struct quant_grid){.data = t->data, .type = t->dtype};
    if (!one || (all && n_out * n_groups > 1))
        *grid = (struct quant_grid){t->data, t->dtype, all ? n_groups : 1, all ? 1 : 0};
    return true;
}

/* The type of repacked scales: it has every value of the file's. */
static enum dtype scale_type(enum dtype t) {
    return t == DT_F8_E4M3 ? DT_F16 : t == DT_F8_E8M0 ? DT_BF16 : t;
}

static void store_scale(void *to, enum dtype type, size_t i, const struct quant_grid *from,
                        size_t at) {
    const float v = (float)dtype_value(from->type, from->data, at);
    const uint16_t half = type == DT_BF16 ? bf16_from_f32(v) : f16_from_f32(v);
    if (type == DT_F32)
        ((float *)to)[i] = v;
    else
        ((uint16_t *)to)[i] = half;
}

/* [n_out, n_groups] of the file -> [panel][group][MAT_PANEL]. NULL with s->measure. */
static const void *repack_grid(const struct mat_source *s, const struct quant_grid *from,
                               size_t n_out, size_t n_groups) {
    const enum dtype type = scale_type(from->type);
    const size_t n = round_up_size(n_out, MAT_PANEL) * n_groups;
    void *to = quant_take(s, n * (type == DT_F32 ? 4 : 2));
    for (size_t o = 0; to && o < n_out; o++)
        for (size_t g = 0; g < n_groups; g++)
            store_scale(to, type, (o / MAT_PANEL * n_groups + g) * MAT_PANEL + o % MAT_PANEL, from,
                        o * from->row_step + g * from->group_step);
    return to;
}

/* ---- Codes ---- */

void quant_spaced_codes(const struct quant_panels *p, size_t row, size_t n, uint8_t *to) {
    const size_t each = 32 / p->bits;
    for (size_t r = 0; r < n; r++)
        for (size_t k = 0, w = (row + r) * p->stride; k < p->n_in; k += each, w++)
            quant_expand(quant_word(p->data, w), p->bits, to + r * p->n_in + k,
                         p->n_in - k < each ? p->n_in - k : each);
}

void quant_stream_codes(const struct quant_panels *p, size_t row, size_t n, uint8_t *to) {
    if (32 % p->bits == 0) {
        quant_spaced_codes(p, row, n, to); // no code spans two words
        return;
    }
    for (size_t r = 0; r < n; r++)
        for (size_t k = 0; k < p->n_in; k++)
            to[r * p->n_in + k] =
                (uint8_t)quant_code(p->data + 4 * (row + r) * p->stride, k, p->bits);
}

/* ---- Panels ---- */

struct repack_job {
    const struct quant_panels *p;
    unsigned char *to;
    size_t n_panels, panel_bytes;
    uint8_t pad;
};

static void put_in_order(const struct quant_panels *p, size_t n, uint8_t *to, const uint8_t *from) {
    for (size_t r = 0; r < n; r++)
        for (size_t k = 0; k < p->n_in; k++)
            to[r * p->n_in + k] = from[r * p->n_in + p->order[k]];
}

static void repack_panels(void *arg, size_t job) {
    const struct repack_job *j = arg;
    const struct quant_panels *p = j->p;
    uint8_t *codes = xcalloc(2 * MAT_PANEL, p->n_in), *ordered = codes + MAT_PANEL * p->n_in;
    for (size_t i = job * JOB_PANELS; i < (job + 1) * JOB_PANELS && i < j->n_panels; i++) {
        const size_t row = i * MAT_PANEL, left = p->n_out - row,
                     n = left < MAT_PANEL ? left : MAT_PANEL;
        p->codes(p, row, n, codes);
        if (p->order)
            put_in_order(p, n, ordered, codes);
        mat_panel_store(p->layout, j->to + i * j->panel_bytes, p->order ? ordered : codes, p->n_in,
                        n, p->n_in, j->pad);
    }
    free(codes);
}

static int repack_codes(const struct quant_panels *p, unsigned char *to, uint8_t pad,
                        struct err *e) {
    const size_t n_panels = quant_groups(p->n_out, MAT_PANEL);
    struct repack_job j = {p, to, n_panels, mat_panel_bytes(p->layout, p->n_in), pad};
    const struct jobs_list list = {
        .n = quant_groups(n_panels, JOB_PANELS), .work = repack_panels, .arg = &j};
    if (p->n_out > FEW_CODES / p->n_in && list.n > 1)
        return jobs_run(&list, jobs_cpus_online(), e);
    for (size_t i = 0; i < list.n; i++)
        repack_panels(&j, i);
    return 0;
}

static int repack_zeros(const struct mat_source *s, const struct quant_panels *p, size_t n_groups,
                        struct mat_quant *q, struct err *e) {
    uint8_t *zeros = quant_take(s, round_up_size(p->n_out, MAT_PANEL) * n_groups);
    for (size_t o = 0; o < p->n_out; o++)
        for (size_t g = 0; g < n_groups; g++) {
            const unsigned zero = p->zero_of(p, o, g);
            if (zero > UINT8_MAX)
                return err_set(e, EXIT_DATA, "the zero point of output %zu and group %zu is %u", o,
                               g, zero);
            if (zeros)
                zeros[(o / MAT_PANEL * n_groups + g) * MAT_PANEL + o % MAT_PANEL] = (uint8_t)zero;
        }
    q->zeros = zeros;
    return 0;
}

/* Values of codes. A zero point that is the same for all is part of MAT_G4's table. */
static void fill_table(const struct quant_panels *p, struct mat_quant *q) {
    for (int i = 0; i < 16; i++)
        q->table[i] = (int8_t)(p->table ? p->table[i] : i);
    q->zero = p->zero_of ? 0 : p->zero;
    for (int i = 0; i < 16 && p->layout == MAT_G4; i++)
        q->table[i] = (int8_t)(q->table[i] - q->zero);
    if (p->layout == MAT_G4)
        q->zero = 0;
}

/* A code whose value is 0, or the nearest there is; it is never multiplied by an input. */
static uint8_t pad_of(const struct quant_panels *p, const struct mat_quant *q) {
    uint8_t pad = 0;
    if (p->layout == MAT_G8)
        return (uint8_t)q->zero;
    for (uint8_t i = 0; i < 16; i++)
        pad = abs(q->table[i]) < abs(q->table[pad]) ? i : pad;
    return pad;
}

int quant_repack(const struct mat_source *s, const struct quant_panels *p, struct mat *m,
                 struct err *e) {
    const size_t n_groups = quant_groups(p->n_in, p->group);
    struct mat y = {.layout = p->layout, .n_out = p->n_out, .n_in = p->n_in};
    size_t n_bytes, n_scales;
    y.row_bytes = mat_panel_bytes(p->layout, p->n_in) / MAT_PANEL;
    if (!mul_size(round_up_size(p->n_out, MAT_PANEL), y.row_bytes, &n_bytes) ||
        !mul_size(round_up_size(p->n_out, MAT_PANEL), n_groups * sizeof(float), &n_scales))
        return err_set(e, EXIT_DATA, "a matrix of [%zu, %zu] is too large", p->n_out, p->n_in);
    struct mat_quant *q = mat_memory_take(s->memory, sizeof *q);
    *q = (struct mat_quant){.group = p->group,
                            .n_groups = n_groups,
                            .scale_type = scale_type(p->scales.type),
                            .factor = p->factor != 0 ? p->factor : 1};
    fill_table(p, q);
    if (p->zero_of && repack_zeros(s, p, n_groups, q, e) != 0)
        return -1;
    q->scales = repack_grid(s, &p->scales, p->n_out, n_groups);
    if (p->biases.data)
        q->biases = repack_grid(s, &p->biases, p->n_out, n_groups);
    q->order = p->order;
    unsigned char *to = quant_take(s, n_bytes);
    y.data = to ? to : p->data;
    y.quant = q;
    if (to && repack_codes(p, to, pad_of(p, q), e) != 0)
        return -1;
    *m = y;
    return 0;
}

/* ---- Checks ---- */

size_t quant_group(const struct spec_quant *q, size_t n_in, size_t n_groups) {
    if (n_groups == 1)
        return n_in;
    for (size_t i = 0; q && i < q->n_args; i++) {
        const int32_t group = q->args[i].group_size;
        if (group > 0 && quant_groups(n_in, (size_t)group) == n_groups)
            return (size_t)group;
    }
    for (size_t group = LEAST_GROUP; group <= MOST_GROUP; group *= 2)
        if (quant_groups(n_in, group) == n_groups)
            return group;
    return n_groups > 0 && n_in % n_groups == 0 ? n_in / n_groups : 0;
}

const struct tensor *quant_group_scales(const struct quant_module *w, size_t *n_groups,
                                        size_t *group, struct err *e) {
    const struct tensor *t = mat_source_peek(w->s, w->name, ".scales");
    *n_groups = t && t->n_dims == 2 && t->shape[0] > 0 ? (size_t)t->shape[0] : 1;
    *group = quant_group(w->s->config, w->n_in, *n_groups);
    t = mat_source_floats(w->s, w->name, ".scales", *n_groups, w->n_out, e);
    if (t && *group == 0) {
        err_set(e, EXIT_DATA, "tensor '%s': %zu inputs cannot have %zu groups", t->name, w->n_in,
                *n_groups);
        return NULL;
    }
    return t;
}

int quant_check(const struct quant_module *w, unsigned bits, size_t group, struct err *e) {
    const struct spec_quant *q = w->s->config;
    const size_t n_in = w->n_in;
    for (size_t i = 0; q && i < q->n_args; i++) {
        const struct quant_args *a = &q->args[i];
        const bool same_group =
            a->group_size == 0 || (a->group_size < 0 ? group >= n_in
                                                     : quant_groups(n_in, (size_t)a->group_size) ==
                                                           quant_groups(n_in, group));
        if ((a->bits == 0 || (unsigned)a->bits == bits) && same_group)
            return 0;
    }
    if (!q || q->n_args == 0)
        return 0;
    return err_set(e, EXIT_DATA,
                   "module '%s' has %u-bit codes in groups of %zu; quantization_config has %d-bit "
                   "codes in groups of %d",
                   w->name, bits, group, (int)q->args[0].bits, (int)q->args[0].group_size);
}

/* A scale of activations, where quantization_config does not say that they are computed. The files
 * of ModelOpt have them in any case, for products of FP8 and FP4. */
static int check_static(const struct quant_module *w, const struct tensor *t, struct err *e) {
    const struct mat_source *s = w->s;
    if (!t || s->config->dynamic)
        return 0;
    if (s->config->store != QUANT_MODELOPT)
        return err_set(e, EXIT_DATA, "tensor '%s': static scales of activations are not supported",
                       t->name);
    if (mat_source_peek(s, w->name, ".weight_scale_2") || !s->warnings || s->report->static_inputs)
        return 0; // NVFP4: the scale of scales that are computed
    s->report->static_inputs = true;
    buf_fmt(s->warnings, "tensor '%s' is not applied: activations are not rounded to FP8\n",
            t->name);
    return 0;
}

int quant_skip(const struct quant_module *w, struct err *e) {
    static const char *const skipped[] = {".input_global_scale", ".input_scale_ub", ".k_scale",
                                          ".v_scale", ".q_scale"};
    static const char *const fixed[] = {".input_scale", ".activation_scale", ".input_zero_point",
                                        ".output_scale", ".output_zero_point"};
    static const char *const refused[] = {".pre_quant_scale", ".act_pre_scale", ".input_smooth"};
    // Scales of keys and values belong to the projection, or to the module that it is part of.
    const char *last = strrchr(w->name, '.');
    char *outer = xstrndup(w->name, last ? (size_t)(last - w->name) : 0);
    for (size_t i = 0; i < sizeof skipped / sizeof *skipped; i++) {
        mat_source_find(w->s, w->name, skipped[i]);
        mat_source_find(w->s, outer, skipped[i]);
    }
    free(outer);
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        if (check_static(w, mat_source_find(w->s, w->name, fixed[i]), e) != 0)
            return -1;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        const struct tensor *t = mat_source_peek(w->s, w->name, refused[i]);
        if (t)
            return err_set(e, EXIT_DATA, "tensor '%s': scaled inputs are not supported", t->name);
    }
    return 0;
}
