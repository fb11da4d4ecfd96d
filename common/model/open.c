/* Opening and closing a model: see model.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "model/model.h"

#include <stdlib.h>

#include "backend/device.h"
#include "base/opt.h"
#include "model/internal.h"
#include "model/mix.h"

enum { MAX_KEPT = 1 << 20 }; // nodes of the prefix cache, which take some 300 bytes each

/* Most positions of a sequence if the user does not say. Dynamic rotation has no end of its own: it
 * gets 4 times what it was scaled for. */
static size_t own_limit(const struct spec *s) {
    double limit = (double)s->max_pos;
    if (s->n_ropes > 0 && s->ropes[0].kind == ROPE_DYNAMIC)
        limit *= 4 * s->ropes[0].factor;
    return limit < SPEC_MAX_CONTEXT ? (size_t)limit : SPEC_MAX_CONTEXT;
}

/* ---- The device ---- */

static struct device_shape shape_of(const struct model *m, size_t n_groups) {
    const struct spec *s = &m->spec;
    struct device_shape shape = {.n_layers = s->n_layers,
                                 .hidden_dim = s->hidden_dim,
                                 .n_heads = s->n_heads,
                                 .n_kv_heads = s->n_kv_heads,
                                 .k_dim = s->head_dim,
                                 .v_dim = s->head_dim,
                                 .vocab_size = s->vocab_size,
                                 .ffn_dim = s->n_experts > 0 ? larger(s->ffn_dim, s->expert_ffn_dim)
                                                             : s->ffn_dim,
                                 .n_experts = s->n_experts,
                                 .n_experts_used = s->n_experts_used,
                                 .n_ropes = s->n_ropes,
                                 .max_rows = m->max_rows,
                                 .max_sequences = m->max_sequences,
                                 .context = m->context,
                                 .n_groups = n_groups,
                                 .precise = m->precise,
                                 .kv_i8 = m->kv_i8};
    for (size_t r = 0; r < s->n_ropes; r++) {
        shape.rope_half[r] = m->ropes[r].half;
        shape.rope_scale[r] = m->ropes[r].scale;
    }
    return shape;
}

/* states [n_layers]: filled in, with sizes of pages that only the device knows. */
static int open_device(struct model *m, const struct model_options *o, struct state_layer *states,
                       struct err *e) {
    const struct spec *s = &m->spec;
    mix_states(s, 0, m->context, states);
    size_t n_groups = state_count_groups(states, s->n_layers);
    if (n_groups > STATE_MAX_GROUPS)
        return err_set(e, EXIT_BUG,
                       "expected at most %d kinds of layers by state and window, found %zu",
                       (int)STATE_MAX_GROUPS, n_groups);
    const struct device_shape shape = shape_of(m, n_groups);
    if (device_open(&m->device, o->device, &shape, o->n_threads, e) != 0)
        return -1;
    mix_states(s, m->device->ops->kv_page_bytes(m->device), m->context, states);
    return m->device->ops->load ? layers_send(&m->layers, s, m->device, e) : 0;
}

/* ---- The model ---- */

/* Memory of sequences, the prefix cache and steps. */
static int open_sequences(struct model *m, const struct model_options *o,
                          const struct state_layer *states, struct err *e) {
    uint64_t node = state_sequence_bytes(states, m->spec.n_layers, STATE_REF_SPAN),
             n_kept = o->keep_bytes / node;
    const struct state_limits limits = {.context = m->context,
                                        .max_sequences = m->max_sequences,
                                        .max_rows = m->max_rows,
                                        .n_refs = n_kept < MAX_KEPT ? (size_t)n_kept : MAX_KEPT,
                                        .bytes = o->kv_bytes};
    if (state_init(&m->state, m->device, states, m->spec.n_layers, &limits, e) != 0)
        return -1;
    prefix_init(&m->prefix, &m->state, limits.n_refs);
    model_seqs_make(m);
    m->replay = xcalloc(m->max_rows, sizeof *m->replay);
    m->step_rows = xcalloc(m->max_rows, sizeof *m->step_rows);
    for (size_t g = 0; g < m->state.n_groups; g++)
        m->attn_rows[g] = xcalloc(m->max_rows, sizeof *m->attn_rows[g]);
    return 0;
}

static int open_parts(struct model *m, const char *dir, const struct model_options *o,
                      struct buf *warnings, struct err *e) {
    if (weights_open(&m->weights, dir, e) != 0)
        return -1;
    buf_add(warnings, m->weights.warnings.p, m->weights.warnings.n);
    m->prefault = prefault_start(&m->weights);
    if (layers_load(&m->layers, &m->spec, &m->weights, warnings, e) != 0)
        return -1;
    m->precise |= o->embeds && m->layers.embed.w.layout != MAT_BF16;
    if (m->layers.n_other > 0 && opt_verbose())
        print_note("the text part of model type %s: %zu tensors of other parts are not used: %s",
                   m->spec.part_of, m->layers.n_other, dir);
    char line[300];
    for (size_t i = 0; opt_verbose() && layers_quantised_text(&m->layers, i, line, sizeof line);
         i++)
        print_note("%s", line);
    m->hidden = (struct hidden_layers){1, {(uint32_t)m->spec.n_layers}};
    m->context = o->context > 0 ? o->context : own_limit(&m->spec);
    if (o->context == 0 && o->limit > 0 && o->limit < m->context)
        m->context = o->limit;
    if (m->context > SPEC_MAX_CONTEXT || (m->spec.learned_pos && m->context > m->spec.max_pos))
        return err_set(e, EXIT_USAGE, "a context of %zu is more than the model's %zu positions: %s",
                       m->context, m->spec.max_pos, dir);
    if (m->spec.bidirectional)
        m->max_rows = larger(m->max_rows, m->context);
    for (size_t r = 0; r < m->spec.n_ropes; r++)
        rope_init(&m->ropes[r], &m->spec.ropes[r], m->spec.max_pos);
    struct state_layer *states = xcalloc(m->spec.n_layers, sizeof *states);
    int rc = open_device(m, o, states, e);
    if (rc == 0)
        rc = open_sequences(m, o, states, e);
    free(states);
    return rc;
}

/* Encoders give no logits, and run on the CPU. */
static int check_use(const struct spec *s, const char *dir, const struct model_options *o,
                     struct err *e) {
    if (s->bidirectional && !o->embeds)
        return err_set(
            e, EXIT_DATA,
            "model type %s is an encoder, which gives no logits: llm-embed makes vectors "
            "with it: %s",
            s->model_type, dir);
    if (s->bidirectional && o->device && strcmp(o->device, "cpu") != 0)
        return err_set(e, EXIT_USAGE, "model type %s is an encoder, which runs on the CPU only: %s",
                       s->model_type, dir);
    return 0;
}

int model_open_spec(struct model **out, struct spec *spec, const char *dir,
                    const struct model_options *o, struct err *e) {
    struct model *m = xcalloc(1, sizeof *m);
    struct buf warnings = {0};
    m->spec = *spec;
    m->dir = xstrdup(dir);
    m->spec.no_head |= o->embeds;
    m->precise = o->precise;
    m->kv_i8 = o->kv_i8;
    m->max_sequences = o->max_sequences > 0 ? o->max_sequences : 1;
    m->max_rows = o->max_rows > 0 ? o->max_rows : 1;
    int rc = check_use(&m->spec, dir, o, e);
    if (rc == 0)
        rc = open_parts(m, dir, o, &warnings, e);
    warn_lines(warnings.p);
    buf_free(&warnings);
    if (rc != 0) {
        model_close(m);
        m = NULL;
    }
    *out = m;
    return rc;
}

int model_open(struct model **out, const char *dir, const struct model_options *o, struct err *e) {
    struct spec spec;
    struct buf warnings = {0};
    *out = NULL;
    int rc = spec_read(&spec, dir, &warnings, e);
    warn_lines(warnings.p);
    buf_free(&warnings);
    if (rc != 0)
        spec_free(&spec);
    return rc != 0 ? -1 : model_open_spec(out, &spec, dir, o, e);
}

void model_close(struct model *m) {
    if (!m)
        return;
    model_seqs_free(m);
    free(m->replay);
    free(m->step_rows);
    for (size_t g = 0; g < STATE_MAX_GROUPS; g++)
        free(m->attn_rows[g]);
    model_kv_free(m);
    prefix_free(&m->prefix);
    state_free(&m->state);
    if (m->device)
        m->device->ops->close(m->device);
    for (size_t r = 0; r < SPEC_MAX_ROPES; r++)
        rope_free(&m->ropes[r]);
    layers_free(&m->layers);
    prefault_stop(m->prefault);
    weights_close(&m->weights);
    spec_free(&m->spec);
    free(m->dir);
    free(m);
}
