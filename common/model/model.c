/* A model and its sequences: see model.h.
 *
 * A slot remembers its ids. Where its keys are no longer there (a step back behind the window) or
 * no longer fit (the rotation depends on the length, and that has passed its limit), model_forward
 * computes them anew before it goes on, so a sequence's results are always those of one forward
 * over all of it.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "model/model.h"

#include <stdlib.h>

#include "backend/device.h"
#include "model/internal.h"

enum { MAX_KEPT = 1 << 20 }; // pages: each also takes some 300 bytes to be found by

/* ---- opening ---- */

/* Most positions of a sequence where the user does not say. Dynamic rotation has no end of its own.
 */
static size_t own_limit(const struct spec *s) {
    double limit = (double)s->max_pos;
    if (s->n_ropes > 0 && s->ropes[0].kind == ROPE_DYNAMIC)
        limit *= 4 * s->ropes[0].factor;
    return limit < SPEC_MAX_CONTEXT ? (size_t)limit : SPEC_MAX_CONTEXT;
}

/* How many times KV_PAGE positions of all layers the bytes hold. */
static size_t most_kept(const struct model *m, uint64_t bytes) {
    uint64_t n =
        bytes / kv_sequence_bytes(&m->spec, m->device->ops->kv_page_bytes(m->device), KV_PAGE);
    return n < MAX_KEPT ? (size_t)n : MAX_KEPT;
}

static int open_device(struct model *m, const struct model_options *o, struct err *e) {
    const struct spec *s = &m->spec;
    struct device_shape shape = {.n_layers = s->n_layers,
                                 .hidden_dim = s->hidden_dim,
                                 .n_heads = s->n_heads,
                                 .n_kv_heads = s->n_kv_heads,
                                 .head_dim = s->head_dim,
                                 .vocab_size = s->vocab_size,
                                 .ffn_dim = s->n_experts > 0 ? larger(s->ffn_dim, s->expert_ffn_dim)
                                                             : s->ffn_dim,
                                 .n_experts = s->n_experts,
                                 .n_experts_used = s->n_experts_used,
                                 .n_ropes = s->n_ropes,
                                 .max_rows = m->max_rows,
                                 .max_sequences = m->max_sequences,
                                 .context = m->context,
                                 .n_groups = kv_n_groups(s, m->context),
                                 .precise = m->precise};
    for (size_t r = 0; r < s->n_ropes; r++) {
        shape.rope_half[r] = m->ropes[r].half;
        shape.rope_scale[r] = m->ropes[r].scale;
    }
    if (device_open(&m->device, o->device, &shape, o->n_threads, e) != 0)
        return -1;
    return m->device->ops->load ? layers_send(&m->layers, s, m->device, e) : 0;
}

static void make_slots(struct model *m) {
    m->slots = xcalloc(m->max_sequences, sizeof *m->slots);
    for (size_t i = 0; i < m->max_sequences; i++) {
        struct slot *slot = &m->slots[i];
        kv_seq_init(&m->kv, &slot->kv);
        for (size_t r = 0; r < m->spec.n_ropes; r++) {
            const struct rope *rope = &m->ropes[r];
            slot->own_freq[r] = rope_needs_own(rope) ? xcalloc(rope->half, sizeof(float)) : NULL;
            slot->freq[r] = rope_freqs(rope, 0, slot->own_freq[r]);
        }
    }
}

static int open_parts(struct model *m, const char *dir, const struct model_options *o,
                      struct buf *warnings, struct err *e) {
    if (weights_open(&m->weights, dir, e) != 0)
        return -1;
    m->ahead = prefault_start(&m->weights);
    if (layers_load(&m->layers, &m->spec, &m->weights, warnings, e) != 0)
        return -1;
    m->context = o->context > 0 ? o->context : own_limit(&m->spec);
    if (m->context > SPEC_MAX_CONTEXT || (m->spec.learned_pos && m->context > m->spec.max_pos))
        return err_set(e, EXIT_USAGE, "a context of %zu is more than the model's %zu positions: %s",
                       m->context, m->spec.max_pos, dir);
    for (size_t r = 0; r < m->spec.n_ropes; r++)
        rope_init(&m->ropes[r], &m->spec.ropes[r], m->spec.max_pos);
    if (open_device(m, o, e) != 0)
        return -1;
    size_t n_kept = most_kept(m, o->keep_bytes);
    if (kv_init(&m->kv, m->device, &m->spec, m->precise, m->context, m->max_sequences, m->max_rows,
                n_kept, e) != 0)
        return -1;
    prefix_init(&m->prefix, &m->kv, n_kept);
    make_slots(m);
    m->replay = xcalloc(m->max_rows, sizeof *m->replay);
    m->step_rows = xcalloc(m->max_rows, sizeof *m->step_rows);
    for (size_t g = 0; g < m->kv.n_groups; g++)
        m->attn_rows[g] = xcalloc(m->max_rows, sizeof *m->attn_rows[g]);
    return 0;
}

/* One warn for each line. */
static void give_warnings(const struct buf *b) {
    for (size_t at = 0, n; at < b->n; at += n + 1) {
        const char *end = memchr(b->p + at, '\n', b->n - at);
        n = end ? (size_t)(end - (b->p + at)) : b->n - at;
        warn("%.*s", (int)n, b->p + at);
    }
}

int model_open_spec(struct model **out, struct spec *spec, const char *dir,
                    const struct model_options *o, struct err *e) {
    struct model *m = xcalloc(1, sizeof *m);
    struct buf warnings = {0};
    m->spec = *spec;
    m->precise = o->precise;
    m->max_sequences = o->max_sequences > 0 ? o->max_sequences : 1;
    m->max_rows = o->max_rows > 0 ? o->max_rows : 1;
    int rc = open_parts(m, dir, o, &warnings, e);
    give_warnings(&warnings);
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
    give_warnings(&warnings);
    buf_free(&warnings);
    if (rc != 0)
        spec_free(&spec);
    return rc != 0 ? -1 : model_open_spec(out, &spec, dir, o, e);
}

void model_close(struct model *m) {
    if (!m)
        return;
    for (size_t i = 0; m->slots && i < m->max_sequences; i++) {
        kv_seq_free(&m->slots[i].kv);
        free(m->slots[i].ids);
        for (size_t r = 0; r < SPEC_MAX_ROPES; r++)
            free(m->slots[i].own_freq[r]);
    }
    free(m->slots);
    free(m->replay);
    free(m->step_rows);
    for (size_t g = 0; g < KV_MAX_GROUPS; g++)
        free(m->attn_rows[g]);
    prefix_free(&m->prefix);
    kv_free(&m->kv);
    if (m->device)
        m->device->ops->close(m->device);
    for (size_t r = 0; r < SPEC_MAX_ROPES; r++)
        rope_free(&m->ropes[r]);
    layers_free(&m->layers);
    prefault_stop(m->ahead);
    weights_close(&m->weights);
    spec_free(&m->spec);
    free(m);
}

const struct spec *model_spec(const struct model *m) {
    return &m->spec;
}

const struct weights *model_weights(const struct model *m) {
    return &m->weights;
}

size_t model_context(const struct model *m) {
    return m->context;
}

struct device *model_device(const struct model *m) {
    return m->device;
}

void model_device_text(const struct model *m, char *text, size_t size) {
    m->device->ops->describe(m->device, text, size);
}

const double *model_times(const struct model *m) {
    return m->device->times;
}

void *model_host_alloc(struct model *m, size_t count, size_t each) {
    size_t n;
    void *p =
        mul_size(count, each, &n) ? m->device->ops->host_alloc(m->device, n > 0 ? n : 1) : NULL;
    if (!p)
        die(EXIT_SYSTEM, "out of memory: %zu times %zu bytes", count, each);
    return p;
}

void model_host_free(struct model *m, void *p) {
    if (p)
        m->device->ops->host_free(m->device, p);
}

size_t model_kv_bytes(const struct model *m) {
    return kv_bytes(&m->kv);
}

/* Every tensor but tables of which one row is read, and experts that are not chosen. */
uint64_t model_step_bytes(const struct model *m) {
    const struct layers *l = &m->layers;
    uint64_t n = 0;
    for (size_t i = 0; i < m->weights.n_tensors; i++)
        n += m->weights.tensors[i].n_bytes;
    n -= mat_bytes(&l->positions.w);
    if (l->embed.w.data != l->head.w.data)
        n -= mat_bytes(&l->embed.w);
    for (size_t i = 0; i < m->spec.n_layers; i++)
        for (size_t x = 3 * m->spec.n_experts_used;
             l->layers[i].experts && x < 3 * m->spec.n_experts; x++)
            n -= mat_bytes(&l->layers[i].experts[x].w);
    return n;
}

/* ---- sequences ---- */

static void grow_ids(struct slot *s, size_t len, size_t context) {
    if (len > s->ids_cap) {
        size_t cap = larger(len, s->ids_cap * 2);
        s->ids_cap = larger(len, cap < context ? cap : context);
        s->ids = xreallocarray(s->ids, s->ids_cap, sizeof *s->ids);
    }
}

/* Keys are turned by this variant from now on. */
static void set_variant(const struct model *m, struct slot *s, size_t r, uint32_t variant) {
    if (variant == s->variant[r])
        return;
    s->variant[r] = variant;
    s->freq[r] = rope_freqs(&m->ropes[r], variant, s->own_freq[r]);
}

void model_seq_clear(struct model *m, size_t slot) {
    model_seq_truncate(m, slot, 0);
}

void model_seq_truncate(struct model *m, size_t slot, size_t len) {
    struct slot *s = &m->slots[slot];
    s->expected = 0;
    if (len >= s->len && len > 0)
        return;
    s->len = len;
    if (len < s->kv_len || len == 0)
        s->kv_len = kv_truncate(&m->kv, &s->kv, len) ? len : 0;
}

void model_seq_fork(struct model *m, size_t slot, size_t from, size_t len) {
    struct slot *to = &m->slots[slot];
    const struct slot *s = &m->slots[from];
    len = len < s->len ? len : s->len;
    model_seq_clear(m, slot);
    if (len > to->ids_cap) {
        to->ids = xreallocarray(to->ids, len, sizeof *to->ids);
        to->ids_cap = len;
    }
    if (len > 0)
        memcpy(to->ids, s->ids, len * sizeof *to->ids);
    to->len = len;
    for (size_t r = 0; r < m->spec.n_ropes; r++)
        set_variant(m, to, r, s->variant[r]);
    size_t kv_len = len < s->kv_len ? len : s->kv_len;
    to->kv_len = kv_fork(&m->kv, &to->kv, &s->kv, kv_len) ? kv_len : 0;
}

size_t model_seq_len(const struct model *m, size_t slot) {
    return m->slots[slot].len;
}

void model_seq_expect(struct model *m, size_t slot, size_t len) {
    m->slots[slot].expected = len;
}

/* Whether keys of a sequence of len positions are turned as those of every shorter one are. */
static bool turns_plainly(const struct model *m, size_t len) {
    for (size_t r = 0; r < m->spec.n_ropes; r++)
        if (rope_variant(&m->ropes[r], (uint32_t)len) != 0)
            return false;
    return true;
}

void model_seq_keep(struct model *m, size_t slot) {
    const struct slot *s = &m->slots[slot];
    for (size_t r = 0; r < m->spec.n_ropes; r++)
        if (s->variant[r] != 0)
            return;
    prefix_add(&m->prefix, &s->kv, s->ids, s->kv_len);
}

size_t model_seq_reuse(struct model *m, size_t slot, const uint32_t *ids, size_t n) {
    struct slot *s = &m->slots[slot];
    size_t len, expected = larger(s->expected, n);
    if (!turns_plainly(m, expected))
        return s->len;
    uint32_t node = prefix_find(&m->prefix, ids, n, &len);
    if (len <= s->len)
        return s->len;
    model_seq_clear(m, slot);
    prefix_share(&m->prefix, node, len, &s->kv);
    grow_ids(s, len, m->context);
    memcpy(s->ids, ids, len * sizeof *ids);
    s->len = s->kv_len = len;
    s->expected = expected;
    for (size_t r = 0; r < m->spec.n_ropes; r++)
        set_variant(m, s, r, 0);
    return len;
}

/* ---- forward ---- */

/* How long the slot is after the rows: in order of pos, without a gap. 0 rows of it: its length. */
static int check_rows(const struct model *m, const struct row *rows, size_t n_rows, struct err *e) {
    if (n_rows > m->max_rows)
        return err_set(e, EXIT_BUG, "%zu rows at once, of at most %zu", n_rows, m->max_rows);
    for (size_t i = 0; i < n_rows; i++) {
        const struct row *r = &rows[i];
        if (r->slot >= m->max_sequences)
            return err_set(e, EXIT_BUG, "slot %u of %zu", r->slot, m->max_sequences);
        size_t len = m->slots[r->slot].len;
        for (size_t k = i; k-- > 0;) // rows of one slot stand together or near
            if (rows[k].slot == r->slot) {
                len = rows[k].pos + (size_t)1;
                break;
            }
        if (r->id >= m->spec.vocab_size)
            return err_set(e, EXIT_DATA, "id %u is outside the vocabulary of %zu", r->id,
                           m->spec.vocab_size);
        if (r->pos != len)
            return err_set(e, EXIT_DATA, "position %u does not follow the sequence's %zu", r->pos,
                           len);
        if (r->pos >= m->context)
            return err_set(e, EXIT_DATA, "position %u is past the context of %zu", r->pos,
                           m->context);
    }
    return 0;
}

/* Pages for positions [from, to): kept ones give way where there is no more memory. */
static int extend(struct model *m, struct slot *s, size_t from, size_t to, struct err *e) {
    while (kv_extend(&m->kv, &s->kv, from, to, e) != 0)
        if (!prefix_drop_oldest(&m->prefix))
            return -1;
    return 0;
}

/* Computes the keys of the ids that the slot has, but whose keys are not there. */
static int replay(struct model *m, size_t slot, struct err *e) {
    struct slot *s = &m->slots[slot];
    while (s->kv_len < s->len) {
        size_t n = s->len - s->kv_len < m->max_rows ? s->len - s->kv_len : m->max_rows;
        if (extend(m, s, s->kv_len, s->kv_len + n, e) != 0)
            return -1;
        for (size_t i = 0; i < n; i++) {
            uint32_t pos = (uint32_t)(s->kv_len + i);
            m->replay[i] = (struct row){.slot = (uint32_t)slot, .pos = pos, .id = s->ids[pos]};
        }
        if (forward(m, m->replay, n, NULL, NULL, e) != 0)
            return -1;
        s->kv_len += n;
        kv_retire(&m->kv, &s->kv, s->kv_len);
    }
    return 0;
}

/* Makes the slot ready to take positions up to len: the rotation that this length asks for, keys,
 * pages. */
static int ready(struct model *m, size_t slot, size_t len, struct err *e) {
    struct slot *s = &m->slots[slot];
    size_t whole = larger(len, s->expected);
    for (size_t r = 0; r < m->spec.n_ropes; r++) {
        uint32_t variant = rope_variant(&m->ropes[r], (uint32_t)whole);
        if (variant != s->variant[r] && s->kv_len > 0) {
            kv_clear(&m->kv, &s->kv);
            s->kv_len = 0;
        }
        set_variant(m, s, r, variant);
    }
    grow_ids(s, len, m->context);
    if (replay(m, slot, e) != 0)
        return -1;
    return extend(m, s, s->len, len, e);
}

int model_forward(struct model *m, const struct row *rows, size_t n_rows, float *logits,
                  float *hidden, struct err *e) {
    if (check_rows(m, rows, n_rows, e) != 0)
        return -1;
    for (size_t i = n_rows; i-- > 0;) { // the last row of a slot says its length
        bool last = true;
        for (size_t k = i + 1; k < n_rows && last; k++)
            last = rows[k].slot != rows[i].slot;
        if (last && ready(m, rows[i].slot, rows[i].pos + (size_t)1, e) != 0)
            return -1;
    }
    if (forward(m, rows, n_rows, logits, hidden, e) != 0)
        return -1;
    for (size_t i = 0; i < n_rows; i++) {
        struct slot *s = &m->slots[rows[i].slot];
        s->ids[rows[i].pos] = rows[i].id;
        s->len = s->kv_len = rows[i].pos + (size_t)1;
    }
    for (size_t i = 0; i < n_rows; i++)
        kv_retire(&m->kv, &m->slots[rows[i].slot].kv, m->slots[rows[i].slot].len);
    return 0;
}
