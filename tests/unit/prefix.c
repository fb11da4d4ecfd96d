/* The prefix cache: a sequence that begins with cached pages gives the same bits as one that
 * computes everything, in every kind of model. The least recently used node is evicted first,
 * within the budget. In any order of adding and sharing, a page is only found by the ids that led
 * to it. --device NAME: on that device.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "../lib/check.h"
#include "../lib/models.h"
#include "model/internal.h"
#include "model/state_blocks.h"

enum { MOST = 200 };

static struct model *open_model(const char *name, bool precise, size_t context, size_t n_pages) {
    struct model_options o = {
        .precise = precise, .n_threads = 2, .context = context, .max_sequences = 3, .max_rows = 64};
    char *folder = path_join(MODELS_DIR, name);
    struct model *m = models_open(folder, &o);
    uint64_t page = 0; // of all layers
    for (size_t g = 0; g < m->state.n_groups; g++)
        page += m->state.groups[g].block_bytes;
    model_close(m);
    o.keep_bytes = n_pages * page + page - 1;
    m = models_open(folder, &o);
    CHECK_INT(m->prefix.max_nodes, n_pages);
    free(folder);
    return m;
}

/* n ids, of which the first `shared` are the same whatever the seed. */
static void make_ids(int64_t *ids, size_t shared, size_t n, size_t seed) {
    for (size_t i = 0; i < n; i++)
        ids[i] = (int64_t)(4 + (i < shared ? i * 7 : i * (11 + 2 * seed) + seed) % 250);
}

/* Feeds ids[0..n) to slot 0, adds it to the cache, and clears it. */
static void keep(struct model *m, const int64_t *ids, size_t n) {
    models_feed(m, 0, ids, n, 64, NULL, NULL);
    model_seq_keep(m, 0);
    model_seq_clear(m, 0);
}

static size_t reuse(struct model *m, size_t slot, const int64_t *ids, size_t n) {
    uint32_t ids32[MOST];
    for (size_t i = 0; i < n; i++)
        ids32[i] = (uint32_t)ids[i];
    model_seq_expect(m, slot, n);
    return model_seq_reuse(m, slot, ids32, n - 1);
}

/* ids[0..n) in slot 1, which shares what the cache has (`taken` positions), against slot 2, which
 * computes everything. */
static void check_reuse(struct model *m, const int64_t *ids, size_t n, size_t taken,
                        const char *what) {
    size_t vocab = model_spec(m)->vocab_size;
    float *a = xcalloc(n * vocab, sizeof *a), *b = xcalloc(n * vocab, sizeof *b);
    const char *type = model_spec(m)->model_type;
    model_seq_clear(m, 1);
    model_seq_clear(m, 2);
    size_t len = reuse(m, 1, ids, n);
    CHECK_MSG(len == taken, "%s: %s: %zu positions were shared, not %zu", type, what, len, taken);
    CHECK_INT(model_seq_len(m, 1), len);
    models_feed(m, 1, ids + len, n - len, 64, a + len * vocab, NULL);
    models_feed(m, 2, ids, n, 64, b, NULL);
    CHECK_MSG(memcmp(a + len * vocab, b + len * vocab, (n - len) * vocab * sizeof *a) == 0,
              "%s: %s: other bits", type, what);
    free(a);
    free(b);
}

/* The same with model_seq_reuse_any. */
static void check_reuse_any(struct model *m, const int64_t *ids, size_t n, size_t taken,
                            const char *what) {
    size_t vocab = model_spec(m)->vocab_size;
    float *a = xcalloc(n * vocab, sizeof *a), *b = xcalloc(n * vocab, sizeof *b);
    uint32_t ids32[MOST];
    for (size_t i = 0; i < n; i++)
        ids32[i] = (uint32_t)ids[i];
    model_seq_clear(m, 1);
    model_seq_clear(m, 2);
    model_seq_expect(m, 1, n);
    size_t len = model_seq_reuse_any(m, 1, ids32, n - 1);
    CHECK_MSG(len == taken, "%s: %s: %zu positions were shared, not %zu", model_spec(m)->model_type,
              what, len, taken);
    models_feed(m, 1, ids + len, n - len, 64, a + len * vocab, NULL);
    models_feed(m, 2, ids, n, 64, b, NULL);
    CHECK_MSG(memcmp(a + len * vocab, b + len * vocab, (n - len) * vocab * sizeof *a) == 0,
              "%s: %s: other bits", model_spec(m)->model_type, what);
    free(a);
    free(b);
}

/* Prompts that end within a page, and share the beginning of one. */
static void check_any_length(const char *name, bool precise, bool windows) {
    struct model *m = open_model(name, precise, 256, 8);
    int64_t a[MOST], b[MOST], c[MOST], d[MOST];
    make_ids(a, MOST, MOST, 0);
    make_ids(b, 140, MOST, 1);
    make_ids(c, 100, MOST, 2);
    make_ids(d, 30, MOST, 3);
    models_feed(m, 0, a, 150, 64, NULL, NULL);
    model_seq_keep_all(m, 0);
    CHECK_INT(m->prefix.n_nodes, 3);
    // Of windows the first page has been freed. The row at position 100 does not need it.
    check_reuse_any(m, b, 160, 140, "a tail in part");
    check_reuse_any(m, a, 151, 150, "a whole tail");
    check_reuse_any(m, a, 150, 149, "an id is always left to run");
    check_reuse_any(m, c, 170, 100, "a whole page in part");
    check_reuse_any(m, d, 170, windows ? 0 : 30, "the beginning of the first page");
    check_reuse(m, a, 151, 128, "whole pages only");
    models_feed(m, 0, a + 150, 20, 64, NULL, NULL); // writes into a page that the cache has
    check_reuse_any(m, b, 160, 140, "after the sequence went on");
    model_seq_keep_all(m, 0);
    CHECK_INT(m->prefix.n_nodes, 3); // the longer tail has replaced the shorter one
    check_reuse_any(m, a, 180, 170, "the longer tail");
    model_seq_clear(m, 0);
    models_feed(m, 0, b, 145, 64, NULL, NULL);
    model_seq_keep_all(m, 0);
    CHECK_INT(m->prefix.n_nodes, 4);
    check_reuse_any(m, b, 160, 145, "the closer of two tails");
    check_reuse_any(m, a, 180, 170, "the closer of two tails");
    while (prefix_drop_oldest(&m->prefix))
        ;
    CHECK_INT(m->prefix.n_nodes, 0);
    check_reuse_any(m, a, 180, 0, "gone");
    model_close(m);
}

static void any_length_can_be_shared(void) {
    models_each_cache(check_any_length, false);
}

/* Keys of a rotation that depends on the length can be shared up to this limit. */
static void limit_rotation(struct model *m, double limit) {
    for (size_t r = 0; r < m->spec.n_ropes; r++)
        m->ropes[r].max_pos = m->ropes[r].original_max_pos = limit;
}

static void check_family(const char *name, bool precise, bool windows) {
    struct model *m = open_model(name, precise, 256, 8);
    int64_t a[MOST], b[MOST], c[MOST];
    make_ids(a, MOST, MOST, 0);
    make_ids(b, 140, MOST, 1);
    make_ids(c, 100, MOST, 2);
    check_reuse(m, a, 150, 0, "while the cache is empty");
    keep(m, a, 150);
    check_reuse(m, a, 150, 128, "the same again");
    check_reuse(m, a, 129, 128, "all but the last id");
    check_reuse(m, b, 200, 128, "a next turn");
    check_reuse(m, c, 170, windows ? 0 : 64, "a prefix whose window was freed");
    check_reuse(m, a, 128, windows ? 0 : 64, "an id is always left to run");
    keep(m, a, 64);
    check_reuse(m, c, 170, 64, "a prefix that was added when it was the end");
    check_reuse(m, a, 64, 0, "less than a page");
    check_reuse(m, b + 1, 199, 0, "the same ids elsewhere");
    model_seq_clear(
        m, 1); // a sequence that shares pages is added, goes back and is written over as any other
    CHECK_INT(reuse(m, 1, b, 200), 128);
    models_feed(m, 1, b + 128, 72, 1, NULL, NULL);
    model_seq_keep(m, 1);
    model_seq_truncate(m, 1, 120);
    models_feed(m, 1, c, 30, 64, NULL, NULL);
    check_reuse(m, b, 200, 192, "decoded one by one");
    check_reuse(m, a, 150, 128, "after others went on differently");
    model_close(m);
}

static void cached_pages_give_the_same_bits(void) {
    models_each_cache(check_family, false);
    models_each_cache(check_family, true);
}

static void rotation_by_length_is_cached_within_its_limit_only(void) {
    static const char *const names[] = {"llama-dynamic-ntk", "phi3-longrope"};
    int64_t a[MOST], b[MOST];
    make_ids(a, MOST, MOST, 0);
    make_ids(b, 140, MOST, 1);
    for (size_t i = 0; i < 2; i++) {
        struct model *m = open_model(names[i], true, 256, 8);
        limit_rotation(m, 150);
        keep(m, a, 151);
        CHECK_INT(m->prefix.n_nodes, 0);
        keep(m, a, 150);
        check_reuse(m, b, 150, 128, "within the limit");
        check_reuse(m, b, 151, 0, "past the limit");
        CHECK_INT(reuse(m, 0, a, 150), 128);
        models_feed(m, 0, a + 128, 22, 64, NULL, NULL);
        models_feed(m, 0, a + 150, 20, 1, NULL,
                    NULL); // grows past it: its own keys are computed again
        model_seq_keep(m, 0);
        CHECK_INT(m->prefix.n_nodes, 2);
        check_reuse(m, b, 150, 128, "after one that took it over has passed the limit");
        model_close(m);
    }
}

static void a_sequence_that_has_more_is_unchanged(void) {
    struct model *m = open_model("llama", true, 256, 8);
    int64_t a[MOST];
    make_ids(a, MOST, MOST, 0);
    keep(m, a, 70);
    models_feed(m, 1, a, 30, 64, NULL, NULL);
    CHECK_INT(reuse(m, 1, a, 150), 64); // more than it has computed
    models_feed(m, 1, a + 64, 10, 64, NULL, NULL);
    CHECK_INT(reuse(m, 1, a, 150), 74);
    models_feed(m, 1, a + 74, 76, 64, NULL, NULL);
    models_feed(m, 2, a, 150, 64, NULL, NULL);
    float x[288], y[288];
    models_feed(m, 1, a + 150, 1, 1, x, NULL);
    models_feed(m, 2, a + 150, 1, 1, y, NULL);
    CHECK(memcmp(x, y, sizeof x) == 0);
    model_close(m);
}

static void the_oldest_is_evicted_first_within_the_budget(void) {
    struct model *m = open_model("llama", false, 256, 3);
    int64_t a[MOST], b[MOST], c[MOST];
    make_ids(a, MOST, MOST, 0);
    make_ids(b, 0, MOST, 1);
    make_ids(c, 0, MOST, 2);
    keep(m, a, 130);
    keep(m, b, 64);
    CHECK_INT(m->prefix.n_nodes, 3);
    CHECK_INT(reuse(m, 1, a, 70), 64); // now only a's second page is older than b
    keep(m, c, 64);
    check_reuse(m, c, 80, 64, "the newest");
    check_reuse(m, a, 140, 64, "its end has gone");
    check_reuse(m, b, 80, 64, "older than what was used, newer than what was not");
    keep(m, a, 199); // 3 pages fill the cache
    CHECK_INT(m->prefix.n_nodes, 3);
    check_reuse(m, b, 80, 0, "gone");
    check_reuse(m, c, 80, 0, "gone");
    check_reuse(m, a, 199, 192, "all three");
    for (size_t i = 0; i < 3; i++)
        model_seq_clear(m, i);
    CHECK_INT(m->state.groups[0].n_blocks - m->state.groups[0].n_free, 3);
    model_close(m);

    m = open_model("llama", false, 256, 0);
    keep(m, a, 150);
    check_reuse(m, a, 150, 0, "nothing is cached");
    model_close(m);
}

static void cached_pages_are_evicted_if_memory_is_short(void) {
    struct model *m = open_model("llama", false, 256, 8);
    int64_t a[MOST], b[MOST];
    make_ids(a, MOST, MOST, 0);
    make_ids(b, 0, MOST, 1);
    keep(m, a, 199);
    m->state.groups[0].max_blocks = m->state.groups[0].n_blocks;
    for (struct state_group *g = &m->state.groups[0]; g->n_free > 3;)
        g->n_free--; // as if other sequences had them
    models_feed(m, 1, b, 150, 64, NULL, NULL);
    CHECK_INT(m->prefix.n_nodes, 3);
    models_feed(m, 2, b, 90, 64, NULL, NULL);
    CHECK_INT(m->prefix.n_nodes, 1);
    CHECK_INT(reuse(m, 0, a, 199), 64);
    model_close(m);
}

/* ---- Where a prompt and the cache part ---- */

static void check_match(struct model *m, const int64_t *ids, size_t n, size_t len, int64_t theirs) {
    uint32_t ids32[MOST];
    for (size_t i = 0; i < n; i++)
        ids32[i] = (uint32_t)ids[i];
    struct prefix_match got = model_seq_match(m, 1, ids32, n);
    CHECK_INT(got.len, len);
    CHECK_INT(got.differs ? (int64_t)got.theirs : -1, theirs);
}

static void a_match_is_known_to_the_id(void) {
    struct model *m = open_model("llama", false, 256, 8);
    const struct prefix_salt salt = {{1, 1}};
    int64_t a[MOST], b[MOST], c[MOST];
    make_ids(a, MOST, MOST, 0);
    make_ids(b, 140, MOST, 1);
    make_ids(c, 100, MOST, 2);
    check_match(m, a, 150, 0, -1);
    keep(m, a, 192);
    check_match(m, a, 150, 150, -1); // the prompt ends first
    check_match(m, a, 199, 192, -1); // the cache does
    check_match(m, b, 199, 140, a[140]);
    check_match(m, c, 199, 100, a[100]);
    keep(m, b, 192);
    check_match(m, b, 199, 192, -1);
    check_match(m, c, 199, 100, a[100]); // both others have this id
    c[0] = 3;
    check_match(m, c, 199, 0, a[0]);
    model_seq_set_salt(m, 1, &salt);
    check_match(m, a, 199, 0, -1);
    CHECK_INT(reuse(m, 1, a, 199), 0);
    model_seq_set_salt(m, 0, &salt);
    keep(m, c, 70);
    check_match(m, c, 199, 64, -1);
    check_match(m, a, 199, 0, 3);
    CHECK_INT(reuse(m, 1, c, 199), 64);
    model_seq_fork(m, 2, 1, 64); // a fork has its source's salt
    model_seq_keep(m, 2);
    CHECK_INT(m->prefix.n_nodes, 5); // of 3 pages of a, one of b, one of c
    model_close(m);
}

/* ---- Any order, with pages that name their ids ---- */

enum { N_STEPS = 20000, MAX_PAGES = 6, MAX_NODES = 9, N_SLOTS = 3, CONTEXT = MAX_PAGES * KV_PAGE };

static uint32_t next_random(uint32_t *state, uint32_t below) {
    *state = *state * 1664525u + 1013904223u;
    return (*state >> 8) % below;
}

enum { SALTED = 1 << 2 * MAX_PAGES }; // in a path: it has a salt

/* The content of a page: the salt and the ids that led to it. A path is 2 bits a page. */
static uint64_t mark(uint32_t path, size_t page) {
    return ((uint64_t)(page + 1) << 32) | (path & ((1u << 2 * (page + 1)) - 1)) | (path & SALTED);
}

static const struct prefix_salt *salt_of(uint32_t path) {
    static const struct prefix_salt salts[2] = {{{0}}, {{1, 2}}};
    return &salts[(path & SALTED) != 0];
}

static void path_ids(uint32_t path, uint32_t ids[CONTEXT]) {
    for (size_t i = 0; i < CONTEXT; i++)
        ids[i] = i % KV_PAGE == KV_PAGE - 1 ? path >> 2 * (i / KV_PAGE) & 3 : 7;
}

/* Writes pages [from, n), and checks those before that a query after them sees. */
static void fill(struct state *s, struct state_seq *q, uint32_t path, size_t from, size_t n) {
    struct err e = {0};
    for (size_t i = 0; i < s->n_groups; i++) {
        const struct state_group *g = &s->groups[i];
        for (size_t p = g->rules->first(g, from * KV_PAGE); p < from; p++) {
            uint64_t is;
            memcpy(&is, state_part(g, q->tables[i][p], 0), sizeof is);
            CHECK_INT(is, mark(path, p));
        }
    }
    for (size_t p = from; p < n; p++) {
        CHECK(state_extend(s, q, p * KV_PAGE, (p + 1) * KV_PAGE, &e) == 0);
        for (size_t g = 0; g < s->n_groups; g++) {
            uint64_t is = mark(path, p);
            memcpy(state_part(&s->groups[g], q->tables[g][p], 0), &is, sizeof is);
        }
        state_advance(s, q, (p + 1) * KV_PAGE);
    }
}

static void check_order(const struct prefix_cache *k) {
    size_t n = 0;
    for (size_t g = 0; g < k->state->n_groups; g++)
        n += k->state->groups[g].n_blocks - k->state->groups[g].n_free;
    CHECK(k->n_nodes <= MAX_NODES && n <= k->state->n_groups * (MAX_NODES + N_SLOTS * MAX_PAGES));
}

/* A sequence begins with what the cache has, goes on, and is perhaps added. Returns the pages that
 * it shared. */
static size_t random_sequence(struct prefix_cache *k, struct state_seq *q, uint32_t *random) {
    uint32_t path = next_random(random, 2 * SALTED), n = next_random(random, MAX_PAGES + 1),
             ids[CONTEXT];
    size_t found;
    state_truncate(k->state, q, 0);
    path_ids(path, ids);
    uint32_t node = prefix_find(k, salt_of(path), ids, CONTEXT, &found);
    if (found > 0)
        prefix_share(k, node, found, q);
    n = n > found / KV_PAGE ? n : (uint32_t)(found / KV_PAGE);
    fill(k->state, q, path, found / KV_PAGE, n);
    if (next_random(random, 3) > 0)
        prefix_add(k, salt_of(path), q, ids,
                   n * KV_PAGE + (n < MAX_PAGES ? next_random(random, KV_PAGE) : 0));
    return found / KV_PAGE;
}

static void any_order(size_t window, size_t n_buckets) {
    const struct state_limits limits = {CONTEXT, N_SLOTS, KV_PAGE, MAX_NODES, 0};
    struct state s;
    struct prefix_cache k;
    struct state_seq slots[N_SLOTS] = {0};
    struct err e = {0};
    uint32_t random = 7;
    size_t taken = 0;
    struct device *device;
    struct device_shape shape = {.n_kv_heads = 1, .k_dim = 1, .v_dim = 1, .precise = true};
    CHECK(cpu_open(&device, &shape, 1, &e) == 0);
    size_t page_bytes = device->ops->kv_page_bytes(device);
    const struct state_layer layers[] = {{STATE_PAGES, page_bytes, 0},
                                         {STATE_PAGES, page_bytes, window}};
    CHECK(state_init(&s, device, layers, 2, &limits, &e) == 0);
    prefix_init(&k, &s, MAX_NODES);
    k.n_buckets = n_buckets ? n_buckets : k.n_buckets; // 1: all hashes collide
    for (size_t i = 0; i < N_STEPS; i++) {
        struct state_seq *q = &slots[next_random(&random, N_SLOTS)];
        taken += random_sequence(&k, q, &random);
        if (next_random(&random, 50) == 0)
            prefix_drop_oldest(&k);
        check_order(&k);
    }
    CHECK(taken > N_STEPS / 8);
    for (size_t i = 0; i < N_SLOTS; i++) {
        state_truncate(&s, &slots[i], 0);
        state_seq_free(&slots[i]);
    }
    while (prefix_drop_oldest(&k))
        ;
    CHECK_INT(k.n_nodes, 0);
    for (size_t g = 0; g < s.n_groups; g++)
        CHECK_INT(s.groups[g].n_free, s.groups[g].n_blocks); // each count is right
    prefix_free(&k);
    state_free(&s);
    device->ops->close(device);
}

static void pages_are_only_found_by_the_ids_that_made_them(void) {
    any_order(0, 0);
    any_order(0, 1);
    any_order(100, 0);
    any_order(16, 1);
}

/* ---- The closest of many siblings ---- */

enum { N_TAILS = 4000, TAIL = 6, N_SALTS = 2 };

/* The most ids that a node without a parent has in common with ids [TAIL], all of them compared. */
static size_t most_in_common(const struct prefix_cache *k, const struct prefix_salt *salt,
                             const uint32_t *ids) {
    size_t most = 0;
    for (uint32_t i = prefix_next(k, 0); i != 0; i = prefix_next(k, i)) {
        struct prefix_view v = prefix_view(k, i);
        size_t same = 0;
        while (same < v.n && same < TAIL && v.ids[same] == ids[same])
            same++;
        if (memcmp(v.salt, salt, sizeof *salt) == 0 && same > most)
            most = same;
    }
    return most;
}

static void random_ids(uint32_t ids[TAIL], uint32_t *random) {
    for (size_t i = 0; i < TAIL; i++)
        ids[i] = next_random(random, 4);
}

/* Tails of few ids, so that many begin alike. The cache is full nearly always, and they are also
 * dropped, so nodes go into the order and out of it in every way. */
static void the_closest_sibling_is_found(void) {
    struct model *m = open_model("llama", false, 256, 150);
    const int64_t some[TAIL] = {5, 6, 7, 8, 9, 10};
    struct prefix_cache *k = &m->prefix;
    struct prefix_match got;
    uint32_t random = 3, ids[TAIL];
    size_t parted = 0;
    models_feed(m, 0, some, TAIL, 64, NULL, NULL);
    for (size_t i = 0; i < N_TAILS; i++) {
        const struct prefix_salt salt = {{next_random(&random, N_SALTS), 0}};
        random_ids(ids, &random);
        prefix_add_all(k, &salt, &m->seqs[0].state, ids, 1 + next_random(&random, TAIL));
        for (size_t drop = next_random(&random, 40); drop > 36; drop--)
            prefix_drop_oldest(k);
        random_ids(ids, &random);
        got = prefix_match(k, &salt, ids, TAIL);
        CHECK_INT(got.len, most_in_common(k, &salt, ids));
        parted += got.differs;
    }
    CHECK(parted > N_TAILS / 4);
    CHECK(k->n_nodes > 100);
    while (prefix_drop_oldest(k))
        ;
    CHECK_INT(k->order, 0);
    model_close(m);
}

int main(int argc, char **argv) {
    struct err e = {0};
    program_init(argv[0]);
    models_arguments(&argc, argv);
    if (kernels_init(&e) != 0)
        die_err(&e);
    RUN(cached_pages_give_the_same_bits);
    RUN(any_length_can_be_shared);
    RUN(rotation_by_length_is_cached_within_its_limit_only);
    RUN(a_sequence_that_has_more_is_unchanged);
    RUN(the_oldest_is_evicted_first_within_the_budget);
    RUN(cached_pages_are_evicted_if_memory_is_short);
    RUN(a_match_is_known_to_the_id);
    RUN(the_closest_sibling_is_found);
    RUN(pages_are_only_found_by_the_ids_that_made_them);
    return check_done();
}
