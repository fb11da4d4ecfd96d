/* A model: what it is, and its steps. See model.h; opening is in open.c, sequences in seqs.c.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "model/model.h"

#include "model/internal.h"

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

bool model_precise(const struct model *m) {
    return m->precise;
}

bool model_lost(const struct model *m) {
    return m->device->lost;
}

const double *model_times(const struct model *m) {
    return m->device->times;
}

void *model_host_alloc(struct model *m, size_t count, size_t each) {
    size_t n;
    void *p =
        mul_size(count, each, &n) ? m->device->ops->host_alloc(m->device, n > 0 ? n : 1) : NULL;
    if (!p)
        mem_die_product(count, each);
    return p;
}

void model_host_free(struct model *m, void *p) {
    if (p)
        m->device->ops->host_free(m->device, p);
}

size_t model_kv_bytes(const struct model *m) {
    return state_bytes(&m->state);
}

/* Bytes of a matrix in its file, about: copies have padding that no file has. */
static uint64_t of_file(const struct mat *w) {
    const size_t bits = w->layout == MAT_G4 ? 4 : 8;
    return w->quant ? (uint64_t)w->n_out * w->n_in * bits / 8 : mat_bytes(w);
}

/* All tensors, except the tables of which one row is read, and the experts that are not chosen. */
uint64_t model_step_bytes(const struct model *m) {
    const struct layers *l = &m->layers;
    uint64_t n = 0;
    for (size_t i = 0; i < m->weights.n_tensors; i++)
        n += m->weights.tensors[i].n_bytes;
    n -= of_file(&l->positions.w);
    if (l->embed.w.data != l->head.w.data)
        n -= of_file(&l->embed.w);
    for (size_t i = 0; i < m->spec.n_layers; i++)
        for (size_t x = 3 * m->spec.n_experts_used;
             l->layers[i].experts && x < 3 * m->spec.n_experts; x++)
            n -= of_file(&l->layers[i].experts[x].w);
    return n;
}

/* ---- Hidden states ---- */

int model_set_hidden(struct model *m, const char *list, struct err *e) {
    return hidden_parse(&m->hidden, list, m->spec.n_layers, e);
}

size_t model_kv_room(const struct model *m) {
    return state_free_bytes(&m->state) + prefix_bytes(&m->prefix);
}

size_t model_kv_needed(const struct model *m, size_t len) {
    return state_needed_bytes(&m->state, len);
}

void model_set_hidden_layers(struct model *m, const struct hidden_layers *layers) {
    m->hidden = *layers;
}

const struct hidden_layers *model_hidden(const struct model *m) {
    return &m->hidden;
}

/* ---- Steps ---- */

/* Rows of a sequence must be in order of pos, and continue it without a gap. */
static int check_rows(const struct model *m, const struct row *rows, size_t n_rows, struct err *e) {
    if (n_rows > m->max_rows)
        return err_set(e, EXIT_BUG, "expected at most %zu rows, found %zu", m->max_rows, n_rows);
    for (size_t i = 0; i < n_rows; i++) {
        const struct row *r = &rows[i];
        if (r->slot >= m->max_sequences)
            return err_set(e, EXIT_BUG, "slot %u of %zu", r->slot, m->max_sequences);
        size_t len = m->seqs[r->slot].len;
        for (size_t k = i; k-- > 0;) // rows of a sequence are most often next to each other
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
        if (m->spec.bidirectional && r->pos > 0 && len == m->seqs[r->slot].len)
            return err_set(e, EXIT_BUG, "a sequence of an encoder is not in one batch");
        if (r->pos >= m->context)
            return err_set(e, EXIT_DATA, "position %u is past the context of %zu", r->pos,
                           m->context);
    }
    return 0;
}

int model_forward(struct model *m, const struct row *rows, size_t n_rows, float *logits,
                  float *hidden, struct err *e) {
    if (check_rows(m, rows, n_rows, e) != 0)
        return -1;
    for (size_t i = n_rows; i-- > 0;) { // a sequence's last row has its new length
        bool last = true;
        for (size_t k = i + 1; k < n_rows && last; k++)
            last = rows[k].slot != rows[i].slot;
        if (last && model_seq_ready(m, rows[i].slot, rows[i].pos + (size_t)1, e) != 0)
            return -1;
    }
    if (model_run(m, rows, n_rows, logits, hidden, e) != 0)
        return -1;
    for (size_t i = 0; i < n_rows; i++) {
        struct model_seq *q = &m->seqs[rows[i].slot];
        q->ids[rows[i].pos] = rows[i].id;
        q->len = rows[i].pos + (size_t)1;
    }
    for (size_t i = 0; i < n_rows; i++)
        state_advance(&m->state, &m->seqs[rows[i].slot].state, m->seqs[rows[i].slot].len);
    return 0;
}
