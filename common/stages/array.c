/* Rows of a stream as an array: see array.h.
 *
 * Hidden states come in frames, one for each layer, of the same rows. They are gathered until a
 * frame comes that does not continue them. Then the rows of all layers are written side by side:
 *
 *     frames of layers 0 and 6      0: r0 r1 | 6: r0 r1
 *     in the array                  r0 of 0, r0 of 6 | r1 of 0, r1 of 6
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "stages/array.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/io.h"
#include "base/json.h"
#include "chat/record.h"
#include "wire/in_order.h"
#include "wire/npy.h"

#define NO_LAYER UINT32_MAX // of a frame that does not say its layer

/* Frames of hidden states of the same rows. */
struct group {
    uint32_t seq, pos, rows;
    uint32_t layers[HIDDEN_MAX_LAYERS + 1]; // [n], ascending
    size_t n;
    struct buf values; // [n][rows, hidden_dim] f32
};

struct array {
    const struct array_options *o;
    const struct logits_header *header;
    struct npy *npy;
    struct outfile index;
    struct in_order *index_lines; // NULL: no index
    struct group group;
    uint32_t layers[HIDDEN_MAX_LAYERS + 1]; // [n_layers]: of each row, once the first has come
    size_t n_layers;
    struct buf row, line;
};

static void array_free(struct array *a) {
    in_order_free(a->index_lines);
    buf_free(&a->group.values);
    buf_free(&a->row);
    buf_free(&a->line);
    free(a);
}

void array_abort(struct array *a) {
    if (!a)
        return;
    npy_abort(a->npy);
    if (a->index_lines)
        outfile_abort(&a->index);
    array_free(a);
}

static int open_index(struct array *a, struct err *e) {
    if (!a->o->index_path)
        return 0;
    if (outfile_open(&a->index, a->o->index_path, e) != 0)
        return -1;
    a->index_lines = in_order_new(a->index.f, NULL);
    return 0;
}

struct array *array_open(const struct array_options *o, const struct logits_header *h,
                         struct err *e) {
    struct array *a = xcalloc(1, sizeof *a);
    a->o = o;
    a->header = h;
    a->npy = npy_open(o->npy_path, o->hidden ? h->hidden_dim : h->vocab_size, e);
    if (!a->npy || open_index(a, e) != 0) {
        array_abort(a);
        return NULL;
    }
    return a;
}

/* ---- The index ---- */

static void add_layers(struct array *a) {
    struct buf *b = &a->line;
    if (a->n_layers == 0 || a->layers[0] == NO_LAYER)
        return;
    for (size_t i = 0; i < a->n_layers; i++)
        buf_fmt(b, "%s%" PRIu32, i ? ", " : ", \"layers\": [", a->layers[i]);
    buf_byte(b, ']');
}

static void add_attrs(struct array *a, const struct open_seq *s) {
    struct buf members = {0};
    record_write_attrs(&members, buf_view(&s->attrs));
    buf_str(&a->line, ", \"attrs\": {");
    if (members.n) // without the comma and the space before the first
        buf_add(&a->line, members.p + 2, members.n - 2);
    buf_byte(&a->line, '}');
    buf_free(&members);
}

/* The lines of rows pos .. pos + n - 1 of a sequence. */
static int write_lines(struct array *a, const struct open_seq *s, uint32_t pos, uint32_t n,
                       struct err *e) {
    if (!a->index_lines)
        return 0;
    buf_clear(&a->line);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t after;
        buf_fmt(&a->line, "{\"seq\": %" PRIu32 ", \"pos\": %" PRIu32, s->number, pos + i);
        if (open_seqs_id(s, (size_t)pos + i, &after))
            buf_fmt(&a->line, ", \"after\": %" PRIu32, after);
        add_layers(a);
        add_attrs(a, s);
        buf_str(&a->line, "}\n");
    }
    return in_order_write(a->index_lines, s->number, a->line.p, a->line.n, e);
}

/* ---- Hidden states ---- */

/* Whether the array has this layer. */
static bool is_chosen(const struct array *a, uint32_t layer) {
    const struct hidden_layers *h = &a->o->layers;
    for (size_t i = 0; i < h->n; i++)
        if (h->layers[i] == layer)
            return true;
    return h->n == 0;
}

/* The layers of the first rows are those of the array. Later rows must have the same. */
static int check_layers(struct array *a, struct err *e) {
    const struct group *g = &a->group;
    const struct hidden_layers *wanted = &a->o->layers;
    for (size_t i = 0; i < wanted->n; i++)
        if (i >= g->n || g->layers[i] != wanted->layers[i])
            return err_set(e, EXIT_DATA,
                           "the stream has no hidden states of layer %" PRIu32
                           " (llm-forward --hidden=%" PRIu32 " makes them)",
                           wanted->layers[i], wanted->layers[i]);
    if (a->n_layers == 0) {
        a->n_layers = g->n;
        memcpy(a->layers, g->layers, g->n * sizeof *g->layers);
        npy_per_row(a->npy, g->n);
    }
    if (a->n_layers != g->n || memcmp(a->layers, g->layers, g->n * sizeof *g->layers) != 0)
        return err_set(e, EXIT_DATA,
                       "sequence %" PRIu32 ", position %" PRIu32
                       ": hidden states of other layers than before",
                       g->seq, g->pos);
    return 0;
}

/* Writes the gathered rows, if there are any. */
static int end_group(struct array *a, const struct open_seqs *seqs, struct err *e) {
    struct group *g = &a->group;
    size_t each = a->header->hidden_dim * sizeof(float);
    if (g->rows == 0)
        return 0;
    if (check_layers(a, e) != 0)
        return -1;
    const struct open_seq *s = open_seqs_find(seqs, g->seq);
    buf_clear(&a->row);
    for (size_t i = 0; i < g->rows; i++)
        for (size_t l = 0; l < g->n; l++)
            buf_add(&a->row, g->values.p + (l * g->rows + i) * each, each);
    int rc = npy_rows(a->npy, g->seq, a->row.p, g->rows, e);
    if (rc == 0 && s)
        rc = write_lines(a, s, g->pos, g->rows, e);
    g->rows = 0;
    return rc;
}

static int take_hidden(struct array *a, const struct frame *f, const struct open_seqs *seqs,
                       struct err *e) {
    struct group *g = &a->group;
    uint32_t layer = NO_LAYER;
    logits_layer(f, &layer);
    bool same = g->rows == f->rows && g->seq == f->seq && g->pos == f->pos;
    if (!same || (g->n > 0 && layer <= g->layers[g->n - 1]) || g->n > HIDDEN_MAX_LAYERS) {
        if (end_group(a, seqs, e) != 0)
            return -1;
        g->seq = f->seq;
        g->pos = f->pos;
        g->rows = f->rows;
        g->n = 0;
        buf_clear(&g->values);
    }
    if (!is_chosen(a, layer))
        return 0;
    g->layers[g->n++] = layer;
    buf_add(&g->values, f->values, f->rows * a->header->hidden_dim * sizeof *f->values);
    return 0;
}

/* ---- Frames ---- */

int array_take(struct array *a, const struct frame *f, const struct open_seqs *seqs,
               struct err *e) {
    if (f->type == FRAME_HIDDEN)
        return a->o->hidden ? take_hidden(a, f, seqs, e) : 0;
    if (end_group(a, seqs, e) != 0)
        return -1;
    if (f->type == FRAME_LOGITS && !a->o->hidden) {
        if (npy_rows(a->npy, f->seq, f->values, f->rows, e) != 0)
            return -1;
        return write_lines(a, open_seqs_find(seqs, f->seq), f->pos, f->rows, e);
    }
    if (f->type != FRAME_FAILED && f->type != FRAME_CLOSED)
        return 0;
    if (npy_end(a->npy, f->seq, e) != 0)
        return -1;
    return a->index_lines ? in_order_end(a->index_lines, f->seq, e) : 0;
}

int array_commit(struct array *a, const struct open_seqs *seqs, struct err *e) {
    if (end_group(a, seqs, e) != 0 || (a->index_lines && in_order_finish(a->index_lines, e) != 0)) {
        array_abort(a);
        return -1;
    }
    int rc = npy_commit(a->npy, e);
    a->npy = NULL;
    if (rc == 0 && a->index_lines)
        rc = outfile_commit(&a->index, e);
    else if (a->index_lines)
        outfile_abort(&a->index);
    array_free(a);
    return rc;
}
