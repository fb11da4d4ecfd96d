/* Groups of layers, and the blocks of sequences and references: see state.h. Everything here is the
 * same for both kinds of groups; state_rules has what differs.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "model/state.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/state_blocks.h"

enum { BUDGET_RUNS = 32 }; // a run takes at most this part of state_limits' bytes

/* ---- Groups ---- */

static const struct state_rules *rules_of(enum state_kind kind) {
    return kind == STATE_PAGES ? &state_pages_rules : &state_slots_rules;
}

static bool same_group(const struct state_layer *a, const struct state_layer *b) {
    return a->kind == b->kind && a->bytes == b->bytes && a->window == b->window;
}

size_t state_count_groups(const struct state_layer *layers, size_t n_layers) {
    size_t n = 0;
    for (size_t i = 0; i < n_layers; i++) {
        size_t k = 0;
        while (!same_group(&layers[k], &layers[i]))
            k++;
        n += k == i; // the first of its group
    }
    return n;
}

/* The layer's group, a new one if it is the first. */
static struct state_group *group_for(struct state *s, const struct state_layer *layer) {
    size_t i = 0;
    for (; i < s->n_groups; i++) {
        const struct state_group *g = &s->groups[i];
        const struct state_layer of = {g->kind, g->layer_bytes, g->window};
        if (same_group(&of, layer))
            break;
    }
    if (i == s->n_groups) {
        s->n_groups++;
        s->groups[i] = (struct state_group){.rules = rules_of(layer->kind),
                                            .kind = layer->kind,
                                            .window = layer->window,
                                            .layer_bytes = layer->bytes};
    }
    return &s->groups[i];
}

/* The blocks of one sequence in a step: what is held, the rows of the step, and a span that these
 * share with what is held. */
static size_t blocks_in_step(const struct state_group *g, const struct state_limits *l) {
    const struct state_rules *r = g->rules;
    size_t all = state_blocks_for(l->context, r->span);
    size_t n = r->held(g->window, l->context) + state_blocks_for(l->max_rows, r->span) + 1;
    return n < all ? n : all;
}

/* Most blocks that can be held at once. */
static size_t most_blocks(const struct state_group *g, const struct state_limits *l) {
    size_t of_refs = state_blocks_for(l->n_refs, g->rules->span / STATE_REF_SPAN), n;
    bool counted = mul_size(blocks_in_step(g, l), l->max_sequences, &n) && add_size(n, of_refs, &n);
    return counted && n < KV_MAPPED ? n : KV_MAPPED;
}

/* Divides limits->bytes. Groups do not give memory to each other, so each has some of its own: as
 * much as one sequence needs, or where that is too much, a part in proportion. */
static void divide_room(struct state *s, const struct state_limits *l) {
    double needed = 0;
    s->room = l->bytes < SIZE_MAX ? (size_t)l->bytes : SIZE_MAX;
    for (size_t i = 0; i < s->n_groups; i++)
        needed += (double)state_blocks_bytes(&s->groups[i], blocks_in_step(&s->groups[i], l));
    double part = needed > (double)s->room ? (double)s->room / needed : 1;
    for (size_t i = 0; i < s->n_groups; i++) {
        struct state_group *g = &s->groups[i];
        size_t run_bytes = g->run * g->block_bytes,
               bytes = state_blocks_bytes(g, blocks_in_step(g, l));
        if (part < 1)
            bytes = (size_t)(part * (double)bytes);
        g->own = bytes / run_bytes * run_bytes;
        g->own = g->own < s->room ? g->own : s->room;
        s->room -= g->own;
        g->room = &s->room;
    }
}

int state_init(struct state *s, struct device *d, const struct state_layer *layers, size_t n_layers,
               const struct state_limits *limits, struct err *e) {
    // Of a small budget, a run should be a small part.
    size_t run_bytes = limits->bytes > 0 && limits->bytes / BUDGET_RUNS < SIZE_MAX
                           ? (size_t)(limits->bytes / BUDGET_RUNS)
                           : SIZE_MAX;
    *s = (struct state){.device = d};
    if (state_count_groups(layers, n_layers) > STATE_MAX_GROUPS)
        return err_set(e, EXIT_BUG,
                       "expected at most %d kinds of layers by state and window, found %zu",
                       (int)STATE_MAX_GROUPS, state_count_groups(layers, n_layers));
    s->group_of = xcalloc(n_layers, sizeof *s->group_of);
    s->index_of = xcalloc(n_layers, sizeof *s->index_of);
    for (size_t l = 0; l < n_layers; l++) {
        struct state_group *g = group_for(s, &layers[l]);
        s->group_of[l] = (uint8_t)(g - s->groups);
        s->index_of[l] = (uint32_t)g->n_layers++;
    }
    for (size_t i = 0; i < s->n_groups; i++)
        if (state_blocks_init(&s->groups[i], d, most_blocks(&s->groups[i], limits), run_bytes, e) !=
            0)
            return -1;
    if (limits->bytes > 0)
        divide_room(s, limits);
    return 0;
}

void state_free(struct state *s) {
    for (size_t i = 0; i < s->n_groups; i++)
        state_blocks_free(&s->groups[i]);
    free(s->group_of);
    free(s->index_of);
    *s = (struct state){0};
}

size_t state_bytes(const struct state *s) {
    size_t sum = 0;
    for (size_t i = 0; i < s->n_groups; i++)
        sum += s->groups[i].n_blocks * s->groups[i].block_bytes;
    return sum;
}

size_t state_free_bytes(const struct state *s) {
    size_t sum = s->n_groups > 0 && s->groups[0].room ? s->room : 0;
    for (size_t i = 0; i < s->n_groups; i++)
        sum += s->groups[i].own + s->groups[i].n_free * s->groups[i].block_bytes;
    return sum;
}

size_t state_ref_bytes(const struct state *s, const struct state_ref *r) {
    size_t sum = 0;
    for (size_t i = 0; i < s->n_groups; i++)
        if (r->blocks[i] < KV_MAPPED && s->groups[i].refs[r->blocks[i]] == 1)
            sum += s->groups[i].block_bytes;
    return sum;
}

size_t state_needed_bytes(const struct state *s, size_t len) {
    size_t sum = 0;
    for (size_t i = 0; i < s->n_groups; i++)
        sum += s->groups[i].rules->held(s->groups[i].window, len) * s->groups[i].block_bytes;
    return sum;
}

uint64_t state_sequence_bytes(const struct state_layer *layers, size_t n_layers, size_t len) {
    uint64_t sum = 0;
    for (size_t l = 0; l < n_layers; l++)
        sum += (uint64_t)rules_of(layers[l].kind)->held(layers[l].window, len) * layers[l].bytes;
    return sum;
}

struct state_place state_place(const struct state *s, size_t layer) {
    const struct state_group *g = &s->groups[s->group_of[layer]];
    return (struct state_place){
        .group = s->group_of[layer],
        .base = state_part(g, 0, s->index_of[layer]),
        .run = g->run,
        .run_stride = g->run * g->block_bytes,
        .mapped = g->mapped ? g->mapped + s->index_of[layer] * g->layer_bytes : NULL};
}

void state_map(struct state *s, unsigned char *p) {
    for (size_t i = 0; i < s->n_groups; i++)
        s->groups[i].mapped = p;
}

/* ---- Sequences ---- */

/* Gives a table room for n entries. */
static void grow_table(struct state_seq *q, size_t group, size_t n) {
    size_t cap = q->cap[group];
    if (n <= cap)
        return;
    q->cap[group] = larger(n, 2 * cap);
    uint32_t *table = xreallocarray(q->tables[group], q->cap[group], sizeof *table);
    memset(table + cap, 0xff, (q->cap[group] - cap) * sizeof *table); // STATE_NONE
    q->tables[group] = table;
}

void state_seq_free(struct state_seq *q) {
    for (size_t i = 0; i < STATE_MAX_GROUPS; i++)
        free(q->tables[i]);
    *q = (struct state_seq){0};
}

int state_extend(struct state *s, struct state_seq *q, size_t from, size_t to, struct err *e) {
    for (size_t i = 0; i < s->n_groups; i++) {
        struct state_group *g = &s->groups[i];
        size_t span = g->rules->span;
        grow_table(q, i, state_blocks_for(to, span));
        for (size_t p = from / span; p < state_blocks_for(to, span); p++) {
            uint32_t *entry = &q->tables[i][p];
            if (*entry != STATE_NONE) {
                if (state_block_own(g, entry, e) != 0)
                    return -1;
                continue;
            }
            if (state_block_new(g, entry, e) != 0)
                return -1;
            q->end[i] = p + 1 > q->end[i] ? p + 1 : q->end[i];
        }
    }
    return 0;
}

void state_advance(struct state *s, struct state_seq *q, size_t len) {
    q->len = len;
    for (size_t i = 0; i < s->n_groups; i++) {
        struct state_group *g = &s->groups[i];
        size_t needed = g->rules->first(g, len);
        for (; q->first[i] + 1 < needed; q->first[i]++)
            state_block_drop(g, &q->tables[i][q->first[i]]);
    }
}

/* The most positions, at most len, that all groups can go back to. */
static size_t reach(const struct state *s, const struct state_seq *q, size_t len) {
    size_t at = len < q->len ? len : q->len;
    for (size_t i = 0; i < s->n_groups;) {
        const struct state_group *g = &s->groups[i];
        size_t n = g->rules->reach(g, q->first[i], q->len, at);
        i = n < at ? 0 : i + 1; // a shorter length is asked of every group again
        at = n;
    }
    return at;
}

size_t state_truncate(struct state *s, struct state_seq *q, size_t len) {
    len = reach(s, q, len);
    for (size_t i = 0; i < s->n_groups; i++) {
        struct state_group *g = &s->groups[i];
        while (q->end[i] > state_blocks_for(len, g->rules->span))
            state_block_drop(g, &q->tables[i][--q->end[i]]);
        if (len == 0)
            q->first[i] = 0;
    }
    return q->len = len;
}

size_t state_fork(struct state *s, struct state_seq *to, const struct state_seq *from, size_t len) {
    len = reach(s, from, len);
    if (len == 0)
        return 0;
    for (size_t i = 0; i < s->n_groups; i++) {
        struct state_group *g = &s->groups[i];
        to->first[i] = from->first[i];
        to->end[i] = state_blocks_for(len, g->rules->span);
        grow_table(to, i, to->end[i]);
        for (size_t p = to->first[i]; p < to->end[i]; p++)
            to->tables[i][p] = state_block_share(g, from->tables[i][p]);
    }
    return to->len = len;
}

/* ---- References ---- */

void state_ref_init(struct state_ref *r, const struct state_ref *before) {
    r->before = before;
    memset(r->blocks, 0xff, sizeof r->blocks); // STATE_NONE
}

/* Positions of the refs that hold the first len. */
static size_t ref_end(size_t len) {
    return state_blocks_for(len, STATE_REF_SPAN) * STATE_REF_SPAN;
}

bool state_keep(struct state *s, const struct state_seq *q, size_t len, struct state_ref *r) {
    bool all = true;
    for (size_t i = 0; i < s->n_groups; i++) {
        struct state_group *g = &s->groups[i];
        size_t span = g->rules->span;
        if ((span == STATE_REF_SPAN || len % span == 0) && r->blocks[i] == STATE_NONE)
            r->blocks[i] = state_block_share(g, q->tables[i][state_blocks_for(len, span) - 1]);
        all &= r->blocks[i] != STATE_NONE;
    }
    return all;
}

void state_drop(struct state *s, struct state_ref *r) {
    for (size_t i = 0; i < s->n_groups; i++)
        state_block_drop(&s->groups[i], &r->blocks[i]);
}

bool state_usable(const struct state *s, const struct state_ref *r, size_t len) {
    for (size_t i = 0; i < s->n_groups; i++) {
        const struct state_group *g = &s->groups[i];
        size_t span = g->rules->span, end = g->rules->first(g, len) * span;
        const struct state_ref *at = r;
        if (span != STATE_REF_SPAN && len % span != 0)
            return false;
        for (size_t pos = ref_end(len); pos > end; pos -= STATE_REF_SPAN, at = at->before)
            if (pos % span == 0 && at->blocks[i] == STATE_NONE)
                return false;
    }
    return true;
}

void state_take(struct state *s, struct state_seq *q, const struct state_ref *r, size_t len) {
    for (size_t i = 0; i < s->n_groups; i++) {
        struct state_group *g = &s->groups[i];
        size_t span = g->rules->span;
        const struct state_ref *at = r;
        q->first[i] = g->rules->first(g, len);
        q->end[i] = state_blocks_for(len, span);
        grow_table(q, i, q->end[i]);
        for (size_t pos = ref_end(len); pos > q->first[i] * span;
             pos -= STATE_REF_SPAN, at = at->before)
            if (pos % span == 0)
                q->tables[i][pos / span - 1] = state_block_share(g, at->blocks[i]);
    }
    q->len = len;
}
