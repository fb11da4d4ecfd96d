/* A model that only remembers, in place of common/model: its logits are a digest of the ids that a
 * sequence holds, so each mistake in batching, truncating, forking or cutting shows as another
 * number. A test that includes this file is linked with these functions instead of model.c's.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TESTS_FAKE_MODEL_H
#define TESTS_FAKE_MODEL_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "check.h"
#include "model/model.h"

enum { VOCAB = 100, CONTEXT = 64, COLUMNS = VOCAB, FAKE_SLOTS = 1024 };

struct model {
    uint32_t ids[FAKE_SLOTS][CONTEXT];
    size_t len[FAKE_SLOTS];
    uint32_t kept[8][CONTEXT]; // the last 8, whole
    size_t kept_len[8], n_kept;
    bool keeps;
    size_t n_rows, refuse_rows;             // run so far, and how many may be; 0: any
    size_t n_steps, most_rows, refuse_past; // rows in all slots; 0: never
    size_t lost_at;                         // the step at which the device is lost; 0: never
};

void model_seq_clear(struct model *m, size_t slot) {
    m->len[slot] = 0;
}

void model_seq_truncate(struct model *m, size_t slot, size_t len) {
    m->len[slot] = len;
}

void model_seq_fork(struct model *m, size_t slot, size_t from, size_t len) {
    memcpy(m->ids[slot], m->ids[from], len * sizeof m->ids[0][0]);
    m->len[slot] = len;
}

const uint32_t *model_seq_ids(const struct model *m, size_t slot) {
    return m->ids[slot];
}

size_t model_kv_room(const struct model *m) {
    size_t held = 0;
    for (size_t slot = 0; slot < FAKE_SLOTS; slot++)
        held += m->len[slot];
    return m->refuse_past > held ? m->refuse_past - held : 0;
}

size_t model_kv_needed(const struct model *m, size_t len) {
    (void)m;
    return len;
}

size_t model_seq_len(const struct model *m, size_t slot) {
    return m->len[slot];
}

void model_seq_expect(struct model *m, size_t slot, size_t len) {
    CHECK(len >= m->len[slot] && len <= CONTEXT);
}

void model_seq_keep(struct model *m, size_t slot) {
    size_t at = m->n_kept++ % 8;
    memcpy(m->kept[at], m->ids[slot], sizeof m->kept[at]);
    m->kept_len[at] = m->keeps ? m->len[slot] : 0;
}

size_t model_seq_reuse(struct model *m, size_t slot, const uint32_t *ids, size_t n) {
    CHECK(memcmp(m->ids[slot], ids, m->len[slot] * sizeof *ids) == 0);
    for (size_t k = 0, same; k < 8; k++) {
        for (same = 0; same < n && same < m->kept_len[k] && m->kept[k][same] == ids[same];)
            same++;
        m->len[slot] = same > m->len[slot] ? same : m->len[slot];
    }
    memcpy(m->ids[slot], ids, m->len[slot] * sizeof *ids);
    return m->len[slot];
}

void model_seq_set_salt(struct model *m, size_t slot, const struct prefix_salt *salt) {
    (void)m;
    (void)slot;
    (void)salt;
}

struct prefix_match model_seq_match(struct model *m, size_t slot, const uint32_t *ids, size_t n) {
    struct prefix_match best = {0};
    (void)slot;
    for (size_t k = 0, same; k < 8; k++) {
        for (same = 0; same < n && same < m->kept_len[k] && m->kept[k][same] == ids[same];)
            same++;
        if (same > best.len)
            best = (struct prefix_match){same, same < m->kept_len[k] && same < n, 0};
        if (same == best.len && best.differs)
            best.theirs = m->kept[k][same];
    }
    return best;
}

void model_seq_keep_all(struct model *m, size_t slot) {
    model_seq_keep(m, slot);
}

size_t model_seq_reuse_any(struct model *m, size_t slot, const uint32_t *ids, size_t n) {
    return model_seq_reuse(m, slot, ids, n);
}

const struct spec *model_spec(const struct model *m) {
    static const struct spec spec = {.vocab_size = VOCAB, .hidden_dim = 1};
    (void)m;
    return &spec;
}

const struct hidden_layers *model_hidden(const struct model *m) {
    static const struct hidden_layers two = {2, {0, 1}};
    (void)m;
    return &two;
}

void model_set_hidden_layers(struct model *m, const struct hidden_layers *layers) {
    (void)m;
    CHECK(layers->n > 0);
}

size_t model_context(const struct model *m) {
    (void)m;
    return CONTEXT;
}

void model_device_text(const struct model *m, char *text, size_t size) {
    (void)m;
    snprintf(text, size, "fake");
}

size_t model_kv_bytes(const struct model *m) {
    (void)m;
    return 0;
}

uint64_t model_step_bytes(const struct model *m) {
    (void)m;
    return 0;
}

void *model_host_alloc(struct model *m, size_t count, size_t each) {
    (void)m;
    return xreallocarray(NULL, count, each);
}

void model_host_free(struct model *m, void *p) {
    (void)m;
    free(p);
}

uint64_t model_kv_restored(const struct model *m) {
    (void)m;
    return 0;
}

const double *model_times(const struct model *m) {
    static const double none[MODEL_PARTS];
    (void)m;
    return none;
}

bool model_lost(const struct model *m) {
    return m->lost_at > 0 && m->n_steps + 1 >= m->lost_at;
}

/* What the logits of a sequence begin with: exact in a float. */
static float digest(const uint32_t *ids, size_t n) {
    uint32_t h = 1;
    for (size_t i = 0; i < n; i++)
        h = (h * 31 + ids[i] + 7) & 0xfffff;
    return (float)h;
}

int model_forward(struct model *m, const struct row *rows, size_t n_rows, float *logits,
                  float *hidden, struct err *e) {
    size_t held = n_rows, n_want = 0;
    for (size_t i = 0; i < n_rows; i++)
        n_want += rows[i].want;
    for (size_t slot = 0; slot < FAKE_SLOTS; slot++)
        held += m->len[slot];
    m->n_rows += n_rows;
    if (model_lost(m))
        return err_set(e, EXIT_SYSTEM, "the device is lost");
    if (m->refuse_rows && m->n_rows > m->refuse_rows)
        return err_set(e, EXIT_SYSTEM, "more rows than are new");
    if (m->refuse_past && held > m->refuse_past)
        return err_set(e, EXIT_SYSTEM, "no memory for KV");
    for (size_t i = 0; i < n_rows; i++) {
        const struct row *r = &rows[i];
        if (r->pos != m->len[r->slot])
            return err_set(e, EXIT_DATA, "row at %u of a sequence of %zu", r->pos, m->len[r->slot]);
        m->ids[r->slot][m->len[r->slot]++] = r->id;
        if (!r->want)
            continue;
        memset(logits, 0, COLUMNS * sizeof *logits);
        logits[0] = digest(m->ids[r->slot], m->len[r->slot]);
        logits[1] = (float)m->len[r->slot];
        logits += COLUMNS;
        if (hidden) {
            hidden[n_want] = (float)r->id + 0.5f; // the second layer
            *hidden++ = (float)r->id;
        }
    }
    m->n_steps++;
    m->most_rows = n_rows > m->most_rows ? n_rows : m->most_rows;
    return 0;
}

static const uint32_t some_ids[] = {1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14,
                                    15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28,
                                    29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40};

#endif
