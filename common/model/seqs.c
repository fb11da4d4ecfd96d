/* Sequences: their ids, their rotation, and how their state is made complete. See model.h.
 *
 * A sequence retains its ids. Its state may be shorter: after a step back past what is still there,
 * or when its length passes a limit of the rotation. Then model_seq_ready computes what is missing
 * before the sequence goes on. So a result is always that of one forward over the whole sequence.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdlib.h>

#include "model/internal.h"

void model_seqs_make(struct model *m) {
    m->seqs = xcalloc(m->max_sequences, sizeof *m->seqs);
    for (size_t i = 0; i < m->max_sequences; i++) {
        struct model_seq *q = &m->seqs[i];
        for (size_t r = 0; r < m->spec.n_ropes; r++) {
            const struct rope *rope = &m->ropes[r];
            q->own_freq[r] = rope_needs_own(rope) ? xcalloc(rope->half, sizeof(float)) : NULL;
            q->freq[r] = rope_freqs(rope, 0, q->own_freq[r]);
        }
    }
}

void model_seqs_free(struct model *m) {
    for (size_t i = 0; m->seqs && i < m->max_sequences; i++) {
        struct model_seq *q = &m->seqs[i];
        state_seq_free(&q->state);
        free(q->ids);
        for (size_t r = 0; r < SPEC_MAX_ROPES; r++)
            free(q->own_freq[r]);
    }
    free(m->seqs);
    m->seqs = NULL;
}

static void grow_ids(struct model_seq *q, size_t len, size_t context) {
    if (len > q->ids_cap) {
        size_t cap = larger(len, q->ids_cap * 2);
        q->ids_cap = larger(len, cap < context ? cap : context);
        q->ids = xreallocarray(q->ids, q->ids_cap, sizeof *q->ids);
    }
}

/* Keys are rotated by this variant from now on. */
static void set_variant(const struct model *m, struct model_seq *q, size_t r, uint32_t variant) {
    if (variant == q->variant[r])
        return;
    q->variant[r] = variant;
    q->freq[r] = rope_freqs(&m->ropes[r], variant, q->own_freq[r]);
}

/* ---- Length ---- */

size_t model_seq_len(const struct model *m, size_t slot) {
    return m->seqs[slot].len;
}

const uint32_t *model_seq_ids(const struct model *m, size_t slot) {
    return m->seqs[slot].ids;
}

void model_seq_expect(struct model *m, size_t slot, size_t len) {
    m->seqs[slot].expected = len;
}

void model_seq_clear(struct model *m, size_t slot) {
    model_seq_truncate(m, slot, 0);
}

void model_seq_truncate(struct model *m, size_t slot, size_t len) {
    struct model_seq *q = &m->seqs[slot];
    q->expected = 0;
    if (len >= q->len && len > 0)
        return;
    q->len = len;
    if (len < q->state.len || len == 0)
        state_truncate(&m->state, &q->state, len);
}

void model_seq_fork(struct model *m, size_t slot, size_t from, size_t len) {
    struct model_seq *to = &m->seqs[slot];
    const struct model_seq *q = &m->seqs[from];
    len = len < q->len ? len : q->len;
    model_seq_clear(m, slot);
    if (len > to->ids_cap) {
        to->ids = xreallocarray(to->ids, len, sizeof *to->ids);
        to->ids_cap = len;
    }
    if (len > 0)
        memcpy(to->ids, q->ids, len * sizeof *to->ids);
    to->len = len;
    to->salt = q->salt;
    for (size_t r = 0; r < m->spec.n_ropes; r++)
        set_variant(m, to, r, q->variant[r]);
    state_fork(&m->state, &to->state, &q->state, len);
}

/* ---- The prefix cache ---- */

/* Whether keys of a sequence of len positions are rotated as those of every shorter one are. */
static bool rotates_plainly(const struct model *m, size_t len) {
    for (size_t r = 0; r < m->spec.n_ropes; r++)
        if (rope_variant(&m->ropes[r], (uint32_t)len) != 0)
            return false;
    return true;
}

static bool is_rotated_plainly(const struct model *m, const struct model_seq *q) {
    for (size_t r = 0; r < m->spec.n_ropes; r++)
        if (q->variant[r] != 0)
            return false;
    return true;
}

void model_seq_keep(struct model *m, size_t slot) {
    const struct model_seq *q = &m->seqs[slot];
    if (is_rotated_plainly(m, q))
        prefix_add(&m->prefix, &q->salt, &q->state, q->ids, q->state.len);
}

void model_seq_keep_all(struct model *m, size_t slot) {
    const struct model_seq *q = &m->seqs[slot];
    if (is_rotated_plainly(m, q))
        prefix_add_all(&m->prefix, &q->salt, &q->state, q->ids, q->state.len);
}

void model_seq_set_salt(struct model *m, size_t slot, const struct prefix_salt *salt) {
    m->seqs[slot].salt = *salt;
}

struct prefix_match model_seq_match(struct model *m, size_t slot, const uint32_t *ids, size_t n) {
    return prefix_match(&m->prefix, &m->seqs[slot].salt, ids, n);
}

typedef uint32_t find_fn(struct prefix_cache *k, const struct prefix_salt *salt,
                         const uint32_t *ids, size_t most, size_t *len);

static size_t reuse(struct model *m, size_t slot, const uint32_t *ids, size_t n, find_fn *find) {
    struct model_seq *q = &m->seqs[slot];
    size_t len, expected = larger(q->expected, n);
    if (!rotates_plainly(m, expected))
        return q->len;
    uint32_t node = find(&m->prefix, &q->salt, ids, n, &len);
    if (q->len == 0 && model_kv_restore(m, &q->salt, ids, n, len))
        node = find(&m->prefix, &q->salt, ids, n, &len);
    if (len <= q->len)
        return q->len;
    model_seq_clear(m, slot);
    prefix_share(&m->prefix, node, len, &q->state);
    grow_ids(q, len, m->context);
    memcpy(q->ids, ids, len * sizeof *ids);
    q->len = len;
    q->expected = expected;
    for (size_t r = 0; r < m->spec.n_ropes; r++)
        set_variant(m, q, r, 0);
    return len;
}

size_t model_seq_reuse(struct model *m, size_t slot, const uint32_t *ids, size_t n) {
    return reuse(m, slot, ids, n, prefix_find);
}

size_t model_seq_reuse_any(struct model *m, size_t slot, const uint32_t *ids, size_t n) {
    return reuse(m, slot, ids, n, prefix_find_any);
}

/* ---- Before a step ---- */

/* Blocks for positions [from, to). Nodes of the prefix cache are evicted if memory is short. */
static int extend(struct model *m, struct model_seq *q, size_t from, size_t to, struct err *e) {
    while (state_extend(&m->state, &q->state, from, to, e) != 0)
        if (!prefix_drop_oldest(&m->prefix))
            return -1;
    return 0;
}

/* Computes the state of those of the sequence's ids that have none. */
static int replay(struct model *m, size_t slot, struct err *e) {
    struct model_seq *q = &m->seqs[slot];
    while (q->state.len < q->len) {
        size_t from = q->state.len, n = q->len - from < m->max_rows ? q->len - from : m->max_rows;
        if (extend(m, q, from, from + n, e) != 0)
            return -1;
        for (size_t i = 0; i < n; i++) {
            uint32_t pos = (uint32_t)(from + i);
            m->replay[i] = (struct row){.slot = (uint32_t)slot, .pos = pos, .id = q->ids[pos]};
        }
        if (model_run(m, m->replay, n, NULL, NULL, e) != 0)
            return -1;
        state_advance(&m->state, &q->state, from + n);
    }
    return 0;
}

int model_seq_ready(struct model *m, size_t slot, size_t len, struct err *e) {
    struct model_seq *q = &m->seqs[slot];
    size_t whole = larger(len, q->expected);
    q->end = len;
    for (size_t r = 0; r < m->spec.n_ropes; r++) {
        uint32_t variant = rope_variant(&m->ropes[r], (uint32_t)whole);
        if (variant != q->variant[r] && q->state.len > 0)
            state_truncate(&m->state, &q->state, 0);
        set_variant(m, q, r, variant);
    }
    grow_ids(q, len, m->context);
    if (replay(m, slot, e) != 0)
        return -1;
    return extend(m, q, q->len, len, e);
}
