/* Sequence state, on a fake device: pages and slots have the contents that their sequence's ids
 * imply, in any order of growing, going back, forking, keeping and taking. Every block is freed in
 * the end. An error for lack of memory changes nothing.
 *
 * Pages store a hash of all ids up to each position, slots the hash of all ids so far. So a block
 * that another sequence wrote, or that is out of date, is noticed.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdlib.h>

#include "../lib/check.h"
#include "model/prefix.h"
#include "model/state_blocks.h"

enum { CONTEXT = 1400, MAX_ROWS = 300, N_SEQS = 4, N_REFS = 24, MAX_LAYERS = 6 };
enum { RUN_BYTES = 3 * KV_PAGE * 8 }; // three pages of a layer, which are 8 bytes a position
enum { PAGE_BYTES = KV_PAGE * 8, SLOT_BYTES = 24 };

/* ---- The device ---- */

struct fake {
    struct device device; // first
    size_t n_copied;
    size_t taken, most; // bytes; of all groups
};

static struct fake *fake_of(struct device *d) {
    return (struct fake *)(void *)d;
}

/* Memory moves each time, so that an address from before is noticed. */
static int fake_grow(struct device *d, struct kv_memory *m, size_t n, size_t most, struct err *e) {
    struct fake *f = fake_of(d);
    if (n <= m->n)
        return 0;
    CHECK(n <= most);
    if (f->taken - m->n + n > f->most)
        return err_set(e, EXIT_SYSTEM, "no memory");
    unsigned char *base = xmalloc(n);
    memset(base, 0xEE, n);
    if (m->n > 0)
        memcpy(base, m->base, m->n);
    free(m->base);
    f->taken += n - m->n;
    *m = (struct kv_memory){base, n};
    return 0;
}

static void fake_copy(struct device *d, unsigned char *to, const unsigned char *from, size_t n) {
    memcpy(to, from, n);
    fake_of(d)->n_copied++;
}

static void fake_free(struct device *d, struct kv_memory *m) {
    (void)d;
    free(m->base);
    *m = (struct kv_memory){0};
}

static const struct ops fake_ops = {
    .kv_run_bytes = RUN_BYTES, .kv_grow = fake_grow, .kv_copy = fake_copy, .kv_free = fake_free};

/* ---- A state, and sequences whose contents are known ---- */

struct seq {
    struct state_seq q;
    uint32_t ids[CONTEXT];
    uint64_t hash[CONTEXT + 1]; // of the first ids
};

struct world {
    struct fake fake;
    struct state s;
    struct state_layer layers[MAX_LAYERS];
    size_t n_layers;
    struct seq seqs[N_SEQS];
};

static const struct state_layer full = {STATE_PAGES, PAGE_BYTES, 0},
                                window = {STATE_PAGES, PAGE_BYTES, 100},
                                slots = {STATE_SLOTS, SLOT_BYTES, 0};

/* Six layers, alternately of a and b; three of a if b is NULL. */
static struct world *world_new(const struct state_layer *a, const struct state_layer *b) {
    struct world *w = xcalloc(1, sizeof *w);
    const struct state_limits limits = {CONTEXT, N_SEQS, MAX_ROWS, N_REFS, 0};
    struct err e = {0};
    w->fake.device.ops = &fake_ops;
    w->fake.most = SIZE_MAX / 2;
    for (size_t i = 0; i < 3; i++) {
        w->layers[w->n_layers++] = *a;
        if (b)
            w->layers[w->n_layers++] = *b;
    }
    CHECK_INT(state_init(&w->s, &w->fake.device, w->layers, w->n_layers, &limits, &e), 0);
    return w;
}

static void world_free(struct world *w) {
    for (size_t i = 0; i < N_SEQS; i++) {
        CHECK_INT(state_truncate(&w->s, &w->seqs[i].q, 0), 0);
        state_seq_free(&w->seqs[i].q);
    }
    for (size_t g = 0; g < w->s.n_groups; g++) {
        CHECK_INT(w->s.groups[g].n_free, w->s.groups[g].n_blocks); // all have been freed
        for (size_t i = 0; i < w->s.groups[g].n_blocks; i++)
            CHECK_INT(w->s.groups[g].refs[i], 0);
    }
    state_free(&w->s);
    free(w);
}

static uint64_t next_hash(uint64_t hash, uint32_t id) {
    return (hash ^ (id + 1)) * 0x9e3779b97f4a7c15u + 1;
}

/* Where layer `index` of a group has the hash of pos. */
static unsigned char *bytes_at(const struct state_group *g, const struct state_seq *q, size_t group,
                               size_t index, size_t pos) {
    size_t span = g->rules->span, within = g->kind == STATE_PAGES ? pos % span * 8 : 0;
    uint32_t block = q->tables[group][pos / span];
    CHECK(block != STATE_NONE && block < g->n_blocks);
    return block == STATE_NONE ? NULL : state_part(g, block, index) + within;
}

static void check_at(const struct world *w, const struct seq *x, size_t group, size_t pos) {
    const struct state_group *g = &w->s.groups[group];
    for (size_t l = 0; l < g->n_layers; l++) {
        uint64_t is = 0, want = x->hash[pos + 1] + l;
        const unsigned char *p = bytes_at(g, &x->q, group, l, pos);
        if (p)
            memcpy(&is, p, sizeof is);
        CHECK_MSG(is == want, "group %zu, layer %zu: position %zu has other bytes", group, l, pos);
    }
}

/* What a row at q's length reads is right. */
static void check_seen(const struct world *w, const struct seq *x) {
    size_t len = x->q.len;
    for (size_t i = 0; i < w->s.n_groups; i++) {
        const struct state_group *g = &w->s.groups[i];
        size_t seen = g->window > 0 && len >= g->window ? len - g->window + 1 : 0;
        if (g->kind == STATE_SLOTS)
            seen = len > 0 ? len - 1 : 0;
        for (size_t pos = seen; pos < len; pos++)
            check_at(w, x, i, pos);
    }
}

/* Grows x by ids that the caller has put there. -1: memory is out. */
static int grow(struct world *w, struct seq *x, size_t n) {
    size_t from = x->q.len;
    struct err e = {0};
    if (state_extend(&w->s, &x->q, from, from + n, &e) != 0)
        return -1;
    check_seen(w, x);
    for (size_t pos = from; pos < from + n; pos++) {
        x->hash[pos + 1] = next_hash(x->hash[pos], x->ids[pos]);
        for (size_t i = 0; i < w->s.n_groups; i++)
            for (size_t l = 0; l < w->s.groups[i].n_layers; l++) {
                uint64_t is = x->hash[pos + 1] + l;
                unsigned char *p = bytes_at(&w->s.groups[i], &x->q, i, l, pos);
                if (p)
                    memcpy(p, &is, sizeof is);
            }
    }
    state_advance(&w->s, &x->q, from + n);
    return 0;
}

/* Ids that differ from those of other seeds from position `shared` on. */
static void set_ids(struct seq *x, size_t shared, uint32_t seed) {
    for (size_t i = 0; i < CONTEXT; i++)
        x->ids[i] = i < shared ? 7 : 100 + seed;
}

static void grow_to(struct world *w, struct seq *x, size_t len) {
    while (x->q.len < len) {
        size_t n = len - x->q.len;
        CHECK_INT(grow(w, x, n < MAX_ROWS ? n : MAX_ROWS), 0);
    }
}

static size_t in_use(const struct world *w, size_t group) {
    return w->s.groups[group].n_blocks - w->s.groups[group].n_free;
}

/* to = the first len positions of from; returns how many are there. */
static size_t fork(struct world *w, struct seq *to, const struct seq *from, size_t len) {
    state_truncate(&w->s, &to->q, 0);
    memcpy(to->ids, from->ids, sizeof to->ids);
    memcpy(to->hash, from->hash, sizeof to->hash);
    return state_fork(&w->s, &to->q, &from->q, len);
}

/* ---- Pages ---- */

static void pages_go_back_to_any_length(void) {
    struct world *w = world_new(&full, NULL);
    struct seq *x = &w->seqs[0];
    set_ids(x, 0, 0);
    grow_to(w, x, 700);
    CHECK_INT(in_use(w, 0), 11);
    CHECK_INT(state_truncate(&w->s, &x->q, 900), 700); // no further than it has come
    CHECK_INT(state_truncate(&w->s, &x->q, 333), 333);
    CHECK_INT(in_use(w, 0), 6);
    check_seen(w, x);
    set_ids(x, 0, 1);
    grow_to(w, x, 400);
    check_seen(w, x);
    world_free(w);
}

static void windows_free_pages_that_no_row_sees(void) {
    struct world *w = world_new(&window, NULL);
    struct seq *x = &w->seqs[0];
    set_ids(x, 0, 0);
    for (size_t len = 0; len < CONTEXT - 50; len += 50) {
        grow_to(w, x, len + 50);
        CHECK(in_use(w, 0) <= 4); // 100 positions, anywhere in a page, and one page to go back
    }
    size_t len = x->q.len;
    CHECK_INT(state_truncate(&w->s, &x->q, len - 20), len - 20); // a few positions
    grow_to(w, x, len);
    CHECK_INT(state_truncate(&w->s, &x->q, len - 300), 0); // its window is gone
    CHECK_INT(in_use(w, 0), 0);
    world_free(w);
}

/* ---- Slots ---- */

static void slots_go_back_to_snapshots(void) {
    struct world *w = world_new(&slots, NULL);
    struct seq *x = &w->seqs[0];
    set_ids(x, 0, 0);
    grow_to(w, x, 600);
    CHECK_INT(in_use(w, 0), 2); // the state, and one snapshot
    CHECK_INT(state_truncate(&w->s, &x->q, 600), 600);
    CHECK_INT(state_truncate(&w->s, &x->q, 599), 512);
    check_seen(w, x);
    grow_to(w, x, 513);
    grow_to(w, x, 520);
    CHECK_INT(state_truncate(&w->s, &x->q, 513), 512);
    CHECK_INT(state_truncate(&w->s, &x->q, 511), 0); // that snapshot is gone
    CHECK_INT(in_use(w, 0), 0);
    grow_to(w, x, 200);
    CHECK_INT(state_truncate(&w->s, &x->q, 199), 0); // before the first
    world_free(w);
}

static void a_complete_slot_is_not_written_again(void) {
    struct world *w = world_new(&slots, NULL);
    struct seq *x = &w->seqs[0], *y = &w->seqs[1];
    set_ids(x, 0, 0);
    grow_to(w, x, 512);
    CHECK_INT(fork(w, y, x, 512), 512);
    set_ids(y, 512, 1);
    memcpy(y->ids, x->ids, 512 * sizeof *y->ids);
    w->fake.n_copied = 0;
    grow_to(w, y, 600);
    CHECK_INT(w->fake.n_copied, 0); // the snapshot is shared
    check_seen(w, x);
    grow_to(w, x, 600);
    CHECK_INT(w->fake.n_copied, 0);
    struct seq *z = &w->seqs[2];
    CHECK_INT(fork(w, z, y, 600), 600);
    grow_to(w, z, 601);
    CHECK_INT(w->fake.n_copied, 3); // of each layer: the state is copied before it changes
    check_seen(w, y);
    grow_to(w, y, 610);
    CHECK_INT(w->fake.n_copied, 3); // the only holder now
    CHECK_INT(fork(w, z, y, 555), 512);
    world_free(w);
}

static void groups_go_back_together(void) {
    struct world *w = world_new(&full, &slots);
    struct seq *x = &w->seqs[0];
    set_ids(x, 0, 0);
    grow_to(w, x, 600);
    CHECK_INT(state_truncate(&w->s, &x->q, 590), 512);
    CHECK_INT(in_use(w, 0), 8); // pages too
    grow_to(w, x, 700);
    check_seen(w, x);
    world_free(w);

    w = world_new(&window, &slots);
    x = &w->seqs[0];
    grow_to(w, x, 600);
    CHECK_INT(state_truncate(&w->s, &x->q, 590), 512); // its window of 100 is there
    grow_to(w, x, 766);
    CHECK_INT(state_truncate(&w->s, &x->q, 765), 0); // the snapshot is, but not its window
    CHECK_INT(in_use(w, 0) + in_use(w, 1), 0);
    world_free(w);
}

/* ---- References ---- */

static void references_outlive_their_sequence(void) {
    struct world *w = world_new(&full, &slots);
    struct seq *x = &w->seqs[0];
    struct state_ref refs[8];
    bool all[8];
    set_ids(x, 0, 0);
    grow_to(w, x, 512);
    for (size_t i = 0; i < 8; i++) {
        state_ref_init(&refs[i], i > 0 ? &refs[i - 1] : NULL);
        all[i] = state_keep(&w->s, &x->q, (i + 1) * STATE_REF_SPAN, &refs[i]);
        CHECK_INT(all[i], i % 4 == 3); // snapshots are every fourth
        CHECK_INT(state_usable(&w->s, &refs[i], (i + 1) * STATE_REF_SPAN), all[i]);
    }
    CHECK_INT(state_truncate(&w->s, &x->q, 0), 0);
    CHECK_INT(in_use(w, 0), 8);
    CHECK_INT(in_use(w, 1), 2);
    struct seq *y = &w->seqs[1];
    memcpy(y->ids, x->ids, sizeof y->ids);
    memcpy(y->hash, x->hash, sizeof y->hash);
    state_take(&w->s, &y->q, &refs[7], 512);
    CHECK_INT(y->q.len, 512);
    grow_to(w, y, 700);
    state_truncate(&w->s, &y->q, 0);
    state_take(&w->s, &y->q, &refs[3], 256);
    set_ids(y, 0, 9);
    memcpy(y->ids, x->ids, 256 * sizeof *y->ids);
    grow_to(w, y, 400);
    state_truncate(&w->s, &y->q, 0);
    state_drop(&w->s, &refs[5]); // a page in the middle
    CHECK(!state_usable(&w->s, &refs[7], 512));
    CHECK(state_usable(&w->s, &refs[3], 256));
    for (size_t i = 0; i < 8; i++)
        state_drop(&w->s, &refs[i]);
    world_free(w);
}

/* ---- Memory ---- */

/* Takes all blocks of a group but `left`; returns how many. held [max_blocks]. */
static size_t hold_blocks(struct state_group *g, size_t left, uint32_t *held) {
    size_t n = 0;
    struct err e = {0};
    g->max_blocks = g->n_blocks; // all that there will be
    while (g->n_free > left)
        CHECK_INT(state_block_new(g, &held[n++], &e), 0);
    return n;
}

/* The second group has no block left when the first has got its own. */
static void lack_of_memory_changes_nothing(void) {
    struct world *w = world_new(&full, &slots);
    struct seq *x = &w->seqs[0];
    struct err e = {0};
    set_ids(x, 0, 0);
    grow_to(w, x, 500);
    struct state_group *g = &w->s.groups[1];
    uint32_t *held = xcalloc(g->n_blocks, sizeof *held);
    size_t n = hold_blocks(g, 0, held);
    CHECK_INT(grow(w, x, 12), 0); // within its last block
    CHECK_INT(grow(w, x, 1), -1);
    CHECK_INT(x->q.len, 512);
    check_seen(w, x);
    CHECK_INT(state_extend(&w->s, &x->q, 512, 700, &e), -1);
    CHECK_INT(e.code, EXIT_SYSTEM);
    CHECK(strstr(e.msg, "blocks of sequence state are in use"));
    while (n > 0)
        state_block_drop(g, &held[--n]);
    grow_to(w, x, 700);
    check_seen(w, x);
    free(held);

    struct seq *y = &w->seqs[1];
    w->fake.most = w->fake.taken; // now the device has no more
    g->max_blocks = SIZE_MAX / 2;
    CHECK_INT(fork(w, y, x, 700), 700);
    n = 0;
    held = xcalloc(g->n_blocks, sizeof *held);
    while (g->n_free > 0)
        CHECK_INT(state_block_new(g, &held[n++], &e), 0);
    CHECK_INT(state_extend(&w->s, &y->q, 700, 701, &e), -1); // no block for its own copy
    CHECK_STR(e.msg, "no memory");
    check_seen(w, y);
    check_seen(w, x);
    while (n > 0)
        state_block_drop(g, &held[--n]);
    free(held);
    world_free(w);
}

static void parts_of_blocks_do_not_overlap(void) {
    struct world *w = world_new(&full, &slots);
    grow_to(w, &w->seqs[0], 20 * KV_PAGE);
    for (size_t g = 0; g < 2; g++) {
        const struct state_group *group = &w->s.groups[g];
        size_t n = group->n_blocks < 20 ? group->n_blocks : 20;
        unsigned char *hit = xcalloc(1, group->memory.n);
        CHECK(n > 0);
        for (uint32_t b = 0; b < n; b++)
            for (size_t l = 0; l < group->n_layers; l++) {
                size_t at = (size_t)(state_part(group, b, l) - group->memory.base);
                CHECK(at + group->layer_bytes <= group->memory.n);
                for (size_t i = 0; i < group->layer_bytes; i++)
                    CHECK(!hit[at + i]++);
            }
        free(hit);
    }
    CHECK_INT(w->s.groups[0].run, 3);
    struct state_place p = state_place(&w->s, 3); // the second layer of slots
    CHECK_INT(p.group, 1);
    CHECK(p.base == state_part(&w->s.groups[1], 0, 1));
    CHECK(p.base + kv_page_offset(p.run, p.run_stride, SLOT_BYTES, 7) ==
          state_part(&w->s.groups[1], 7, 1));
    world_free(w);
}

static void sizes_and_limits(void) {
    const struct state_layer three[] = {full, window, full, slots, window};
    struct fake f = {.device.ops = &fake_ops, .most = SIZE_MAX / 2};
    const struct state_limits limits = {CONTEXT, N_SEQS, MAX_ROWS, N_REFS, 0};
    struct state s;
    struct err e = {0};
    CHECK_INT(state_count_groups(three, 0), 0);
    CHECK_INT(state_count_groups(three, 2), 2);
    CHECK_INT(state_count_groups(three, 5), 3);
    CHECK_INT(state_init(&s, &f.device, three, 5, &limits, &e), -1);
    CHECK_INT(e.code, EXIT_BUG);
    CHECK_STR(e.msg, "expected at most 2 kinds of layers by state and window, found 3");
    state_free(&s);

    CHECK_INT(state_sequence_bytes(&full, 1, 65), 2 * PAGE_BYTES);
    CHECK_INT(state_sequence_bytes(&window, 1, 65), 2 * PAGE_BYTES);
    CHECK_INT(state_sequence_bytes(&window, 1, 100000), 4 * PAGE_BYTES);
    CHECK_INT(state_sequence_bytes(&slots, 1, 1), SLOT_BYTES);
    CHECK_INT(state_sequence_bytes(&slots, 1, 100000), 2 * SLOT_BYTES);
    CHECK_INT(state_sequence_bytes(three, 5, 64), 4 * PAGE_BYTES + SLOT_BYTES);

    const struct state_layer huge = {STATE_PAGES, SIZE_MAX / 64, 0};
    CHECK_INT(state_init(&s, &f.device, &huge, 1, &limits, &e), -1);
    CHECK(strstr(e.msg, "more than can be addressed"));
    state_free(&s);
}

/* Limits that are larger than any memory cost nothing: what sequences hold does. */
static void limits_cost_nothing(void) {
    struct fake f = {.device.ops = &fake_ops, .most = 64 << 20};
    const struct state_limits limits[] = {{UINT32_MAX, SIZE_MAX / 2, MAX_ROWS, SIZE_MAX, 0},
                                          {SIZE_MAX, SIZE_MAX, SIZE_MAX, SIZE_MAX, 0}};
    for (size_t i = 0; i < 2; i++) {
        struct state s;
        struct state_seq q = {0};
        struct err e = {0};
        CHECK_INT(state_init(&s, &f.device, &full, 1, &limits[i], &e), 0);
        CHECK_INT(f.taken, 0);
        CHECK_INT(s.groups[0].cap, 0);
        CHECK_INT(state_extend(&s, &q, 0, 100, &e), 0);
        CHECK_INT(q.end[0], 2);
        CHECK(q.cap[0] < 8 && s.groups[0].cap * sizeof(uint32_t) <= (4 << 20));
        state_advance(&s, &q, 100);
        CHECK_INT(state_truncate(&s, &q, 0), 0);
        state_seq_free(&q);
        f.taken -= s.groups[0].memory.n;
        state_free(&s);
    }
}

/* ---- Anything in any order ---- */

enum { N_STEPS = 6000 };

static uint32_t random_state;

static uint32_t below(uint32_t n) {
    random_state = random_state * 1664525u + 1013904223u;
    return (random_state >> 8) % n;
}

/* New ids from `from` on. Few are different, so that sequences often share a prefix. */
static void random_ids(struct seq *x, size_t from) {
    for (size_t i = from; i < CONTEXT; i++)
        x->ids[i] = i % 250 == 0 ? below(2) : 7;
}

/* The most that x can go back to. */
static void check_truncate(struct world *w, struct seq *x, size_t len) {
    size_t had = x->q.len, n = state_truncate(&w->s, &x->q, len);
    bool plain =
        w->s.n_groups == 1 && w->s.groups[0].kind == STATE_PAGES && w->s.groups[0].window == 0;
    CHECK(n <= len && n <= had && n == x->q.len);
    if (plain || len >= had)
        CHECK_INT(n, len < had ? len : had);
    check_seen(w, x);
}

static void any_order(const struct state_layer *a, const struct state_layer *b) {
    struct world *w = world_new(a, b);
    const struct prefix_salt no_salt = {{0}};
    struct prefix_cache k;
    size_t found, n_taken = 0;
    random_state = 1;
    prefix_init(&k, &w->s, N_REFS);
    for (size_t i = 0; i < N_SEQS; i++)
        random_ids(&w->seqs[i], 0);
    for (size_t step = 0; step < N_STEPS; step++) {
        struct seq *x = &w->seqs[below(N_SEQS)], *y = &w->seqs[below(N_SEQS)];
        uint32_t what = below(10);
        if (what < 5) {
            uint32_t n = 1 + below(below(2) ? MAX_ROWS : 9);
            if (x->q.len + n <= CONTEXT)
                CHECK_INT(grow(w, x, n), 0);
        } else if (what == 5) {
            check_truncate(w, x, below(CONTEXT));
            random_ids(x, x->q.len);
        } else if (what == 6 && x != y) {
            CHECK(fork(w, x, y, below(CONTEXT)) <= y->q.len);
            check_seen(w, x);
            random_ids(x, x->q.len);
        } else if (what == 7) {
            prefix_add(&k, &no_salt, &x->q, x->ids, x->q.len);
        } else if (what == 8) {
            check_truncate(w, x, 0);
            random_ids(x, 0);
            uint32_t node = prefix_find(&k, &no_salt, x->ids, CONTEXT, &found);
            for (size_t pos = 0; pos < found; pos++)
                x->hash[pos + 1] = next_hash(x->hash[pos], x->ids[pos]);
            if (found > 0)
                prefix_share(&k, node, found, &x->q);
            check_seen(w, x);
            n_taken += found > 0;
        } else if (below(10) == 0) {
            prefix_drop_oldest(&k);
        }
    }
    CHECK(n_taken > 50);
    while (prefix_drop_oldest(&k))
        ;
    prefix_free(&k);
    world_free(w);
}

static void blocks_have_the_contents_of_their_ids_in_any_order(void) {
    any_order(&full, NULL);
    any_order(&window, NULL);
    any_order(&slots, NULL);
    any_order(&full, &window);
    any_order(&full, &slots);
    any_order(&slots, &window);
}

int main(void) {
    RUN(pages_go_back_to_any_length);
    RUN(windows_free_pages_that_no_row_sees);
    RUN(slots_go_back_to_snapshots);
    RUN(a_complete_slot_is_not_written_again);
    RUN(groups_go_back_together);
    RUN(references_outlive_their_sequence);
    RUN(lack_of_memory_changes_nothing);
    RUN(parts_of_blocks_do_not_overlap);
    RUN(sizes_and_limits);
    RUN(limits_cost_nothing);
    RUN(blocks_have_the_contents_of_their_ids_in_any_order);
    return check_done();
}
