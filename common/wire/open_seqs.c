/* The open sequences of a stream: see open_seqs.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "wire/open_seqs.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/mem.h"

static struct open_seq *find(const struct open_seqs *r, uint32_t number) {
    uint32_t i = u32_map_find(&r->by_number, number);
    return i == U32_MAP_NONE ? NULL : &r->seqs[i];
}

const struct open_seq *open_seqs_find(const struct open_seqs *r, uint32_t number) {
    return find(r, number);
}

bool open_seqs_id(const struct open_seq *s, size_t pos, uint32_t *id) {
    if (pos < s->start || pos - s->start >= s->n)
        return false;
    *id = s->ids[pos - s->start];
    return true;
}

/* Sets the sequence's ids from pos on; later ones are dropped. */
static void put_ids(struct open_seq *s, size_t pos, const uint32_t *ids, size_t n) {
    if (pos < s->start || pos > s->start + s->n) // a fork's first own ids
        s->start = pos;
    s->n = pos - s->start;
    if (s->n + n > s->cap) {
        s->cap = larger(s->n + n, s->cap + s->cap / 2);
        s->ids = xreallocarray(s->ids, s->cap, sizeof *s->ids);
    }
    if (n)
        memcpy(s->ids + s->n, ids, n * sizeof *ids);
    s->n += n;
}

static int open_seq(struct open_seqs *r, const struct frame *f, struct err *e) {
    if (find(r, f->seq))
        return err_set(e, EXIT_DATA, "sequence %" PRIu32 " is opened twice", f->seq);
    if (r->n == r->cap) {
        r->cap = 2 * r->cap + 16;
        r->seqs = xreallocarray(r->seqs, r->cap, sizeof *r->seqs);
    }
    r->seqs[r->n] = (struct open_seq){.number = f->seq};
    buf_add(&r->seqs[r->n].attrs, f->text.p, f->text.n);
    u32_map_set(&r->by_number, f->seq, (uint32_t)r->n);
    put_ids(&r->seqs[r->n++], 0, f->ids, f->n_ids);
    return 0;
}

static void seq_free(struct open_seq *s) {
    free(s->ids);
    buf_free(&s->attrs);
}

int open_seqs_take(struct open_seqs *r, const struct frame *f, struct err *e) {
    if (f->type == FRAME_OPEN)
        return open_seq(r, f, e);
    struct open_seq *s = find(r, f->seq);
    if ((f->type == FRAME_LOGITS || f->type == FRAME_HIDDEN) && !s)
        return err_set(e, EXIT_DATA, "rows of sequence %" PRIu32 ", which is not open", f->seq);
    if (f->type == FRAME_IDS && s)
        put_ids(s, f->pos, f->ids, f->n_ids);
    if ((f->type == FRAME_FAILED || f->type == FRAME_CLOSED) && s) {
        seq_free(s);
        *s = r->seqs[--r->n];
        u32_map_set(&r->by_number, s->number, (uint32_t)(s - r->seqs));
        u32_map_remove(&r->by_number, f->seq);
    }
    return 0;
}

void open_seqs_free(struct open_seqs *r) {
    for (size_t i = 0; i < r->n; i++)
        seq_free(&r->seqs[i]);
    free(r->seqs);
    u32_map_free(&r->by_number);
    *r = (struct open_seqs){0};
}
