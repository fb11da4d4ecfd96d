/* kv(5): restored pages give the same bits as computed ones, in every kind of model, also with
 * windows, and are copied before they are written; a file of another model, precision or layout is
 * refused; a file that is cut or has any byte changed is refused, or its positions are computed;
 * pages of files need no memory, but a node of the cache each; many first pages do not make a
 * lookup slow.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <time.h>

#include "../lib/check.h"
#include "../lib/models.h"
#include "model/internal.h"

enum { MOST = 230, N_PROMPTS = 3, KEEP = 64 << 20 };

static char *folder, *file;

static struct model *open_model(const char *name, bool precise, uint64_t keep) {
    struct model_options o = {.precise = precise,
                              .n_threads = 2,
                              .context = 256,
                              .max_sequences = 3,
                              .max_rows = 64,
                              .keep_bytes = keep};
    char *path = path_join(MODELS_DIR, name);
    struct model *m = models_open(path, &o);
    free(path);
    return m;
}

/* Prompt k: its first 70 * k ids are those of all others. */
static void make_ids(int64_t ids[MOST], size_t k) {
    for (size_t i = 0; i < MOST; i++)
        ids[i] = (int64_t)(4 + (i < 70 * k ? i * 7 : i * (11 + 2 * k) + k) % 250);
}

static void keep(struct model *m, size_t k, const struct prefix_salt *salt) {
    int64_t ids[MOST];
    make_ids(ids, k);
    model_seq_set_salt(m, 0, salt);
    models_feed(m, 0, ids, MOST - 20 * k, 64, NULL, NULL);
    model_seq_keep(m, 0);
    model_seq_clear(m, 0);
}

/* What a new sequence of prompt k has to begin with. */
static size_t reuse(struct model *m, size_t k, const struct prefix_salt *salt) {
    int64_t ids[MOST];
    uint32_t ids32[MOST];
    make_ids(ids, k);
    for (size_t i = 0; i < MOST; i++)
        ids32[i] = (uint32_t)ids[i];
    model_seq_clear(m, 1);
    model_seq_set_salt(m, 1, salt);
    model_seq_expect(m, 1, MOST);
    return model_seq_reuse(m, 1, ids32, MOST - 1);
}

/* Goes on with slot 1, which has len positions, and compares with all computed. */
static void check_bits(struct model *m, size_t k, size_t len) {
    size_t vocab = model_spec(m)->vocab_size;
    int64_t ids[MOST];
    float *a = xcalloc(MOST * vocab, sizeof *a), *b = xcalloc(MOST * vocab, sizeof *b);
    make_ids(ids, k);
    model_seq_clear(m, 2);
    models_feed(m, 1, ids + len, MOST - len, 64, a + len * vocab, NULL);
    models_feed(m, 2, ids, MOST, 64, b, NULL);
    CHECK_MSG(memcmp(a + len * vocab, b + len * vocab, (MOST - len) * vocab * sizeof *a) == 0,
              "%s: other bits after %zu restored positions", model_spec(m)->model_type, len);
    free(a);
    free(b);
}

static void save(struct model *m) {
    struct err e = {0};
    CHECK_INT(model_kv_prepare(m, &e), 0);
    CHECK_MSG(model_kv_save(m, file, &e) == 0, "%s", e.msg);
}

static void load(struct model *m) {
    struct err e = {0};
    CHECK_MSG(model_kv_load(m, file, &e) == 0, "%s", e.msg);
}

static const struct prefix_salt none, some = {{5, 6}}, other = {{5, 7}};

static void check_family(const char *name, bool precise, bool windows) {
    struct model *from = open_model(name, precise, KEEP), *to = open_model(name, precise, KEEP);
    size_t restored = 0;
    keep(from, 2, &none);
    keep(from, 1, &none);
    keep(from, 1, &some);
    save(from);
    load(to);
    for (size_t k = 0; k < N_PROMPTS; k++) {
        size_t want = reuse(from, k, &none), len = reuse(to, k, &none);
        CHECK_MSG(len == want, "%s: prompt %zu: %zu positions restored, and the cache had %zu",
                  name, k, len, want);
        check_bits(to, k, len);
        restored += len;
        CHECK_INT(reuse(to, k, &none), want); // from the cache now
    }
    CHECK(restored >= (windows ? 128u : 256u));
    CHECK_INT(reuse(to, 1, &some), reuse(from, 1, &some));
    check_bits(to, 1, model_seq_len(to, 1));
    CHECK_INT(reuse(to, 1, &other), 0);
    model_close(from);
    model_close(to);
}

static void restored_pages_give_the_same_bits(void) {
    models_each_cache(check_family, false);
    models_each_cache(check_family, true);
}

/* Whether slot 1 has a page of a file. */
static bool has_mapped(const struct model *m) {
    const struct state_seq *q = &m->seqs[1].state;
    for (size_t g = 0; g < m->state.n_groups; g++)
        for (size_t p = q->first[g]; p < q->end[g]; p++)
            if (q->tables[g][p] >= KV_MAPPED && q->tables[g][p] != STATE_NONE)
                return true;
    return false;
}

/* A sequence that goes back into a page of a file writes into a copy of it. So does a fork, and one
 * that is the page's only holder because its node has been evicted. */
static void pages_of_files_are_copied_before_they_are_written(void) {
    struct model *from = open_model("llama", false, KEEP), *to = open_model("llama", false, KEEP);
    struct buf before = {0}, after = {0};
    struct err e = {0};
    keep(from, 2, &none);
    save(from);
    load(to);
    CHECK_INT(read_file(file, 1 << 30, &before, &e), 0);
    for (size_t back = 1; back < 128; back += 42) {
        CHECK_INT(reuse(to, 2, &none), 128);
        CHECK(has_mapped(to));
        CHECK_INT(model_kv_bytes(to) > 0, back > 1); // what was computed by check_bits
        if (back == 43)
            model_seq_fork(to, 0, 1, 128);
        if (back == 85)
            while (prefix_drop_oldest(&to->prefix))
                ;
        model_seq_truncate(to, 1, 128 - back);
        check_bits(to, 2, 128 - back);
    }
    model_seq_clear(to, 0);
    CHECK_INT(read_file(file, 1 << 30, &after, &e), 0);
    CHECK(before.n == after.n && memcmp(before.p, after.p, before.n) == 0);
    buf_free(&before);
    buf_free(&after);
    model_close(from);
    model_close(to);
}

/* What was loaded and what was computed is saved together. */
static void restored_pages_are_saved_again(void) {
    struct model *from = open_model("gemma3", false, KEEP), *to = open_model("gemma3", false, KEEP),
                 *last = open_model("gemma3", false, KEEP);
    keep(from, 2, &none);
    save(from);
    load(to);
    size_t len = reuse(to, 2, &none);
    CHECK(len > 0 && has_mapped(to));
    keep(to, 1, &some);
    save(to); // over the file that is mapped
    check_bits(to, 2, len);
    load(last);
    CHECK_INT(reuse(last, 2, &none), len);
    check_bits(last, 2, len);
    CHECK(reuse(last, 1, &some) > 0);
    model_close(from);
    model_close(to);
    model_close(last);
}

static void pages_of_files_need_nodes_and_no_memory(void) {
    struct model *from = open_model("llama", false, KEEP);
    size_t page = from->state.groups[0].block_bytes;
    keep(from, 2, &none);
    save(from);
    for (size_t n = 1; n < 4; n++) {
        struct model *to = open_model("llama", false, n * page);
        load(to);
        size_t len = reuse(to, 2, &none);
        CHECK_INT(len, n * KV_PAGE < 128 ? n * KV_PAGE : (MOST - 40) / KV_PAGE * KV_PAGE);
        check_bits(to, 2, len);
        CHECK(to->prefix.n_nodes <= n);
        model_close(to);
    }
    struct model *to = open_model("llama", false, KEEP);
    load(to);
    to->state.groups[0].max_blocks = 0;
    CHECK_INT(reuse(to, 2, &none), 2 * KV_PAGE);
    CHECK_INT(model_kv_bytes(to), 0);
    model_close(to);
    model_close(from);
}

static const char *refusal(const char *name, bool precise, uint64_t cache, const char *path) {
    static struct err e;
    struct model *m = open_model(name, precise, cache);
    e = (struct err){0};
    if (model_kv_load(m, path, &e) == 0)
        e.msg[0] = '\0';
    model_close(m);
    return e.msg;
}

static void other_models_are_refused(void) {
    struct model *from = open_model("llama", false, KEEP);
    keep(from, 2, &none);
    save(from);
    model_close(from);
    CHECK_STR(refusal("llama", false, KEEP, file), "");
    CHECK(strstr(refusal("llama-tied-f32", false, KEEP, file), "another model"));
    CHECK(strstr(refusal("mistral", false, KEEP, file), "another model"));
    CHECK(strstr(refusal("llama", true, KEEP, file), "bf16', and this run computes with '"));
    CHECK(strstr(refusal("llama", false, 0, file), "need a cache"));
    CHECK(strstr(refusal("llama", false, KEEP, "/nowhere"), "cannot open"));
    CHECK(strstr(refusal("llama", false, KEEP, folder), "not a regular file"));
    if (kernels_isas()[1]) {
        const char *own = kernels_isa();
        kernels_use(strcmp(own, kernels_isas()[0]) == 0 ? kernels_isas()[1] : kernels_isas()[0]);
        CHECK(strstr(refusal("llama", false, KEEP, file), "this run computes with"));
        kernels_use(own);
    }
}

/* ---- Damage ---- */

static void write_bytes(const void *p, size_t n) {
    FILE *f = fopen(file, "wb"); // an outfile would sync
    CHECK(f && fwrite(p, 1, n, f) == n && fclose(f) == 0);
}

/* Opens the bytes. True: they are refused. Else what they give has the right bits. */
static bool refuses(struct model *m, const void *p, size_t n) {
    struct err e = {0};
    write_bytes(p, n);
    if (model_kv_load(m, file, &e) != 0) {
        CHECK_MSG(e.code == EXIT_DATA && strstr(e.msg, "byte"), "%d: %s", e.code, e.msg);
        return true;
    }
    while (prefix_drop_oldest(&m->prefix))
        ;
    check_bits(m, 2, reuse(m, 2, &none));
    kv_file_close(m->kv_files[--m->n_kv_files]);
    return false;
}

static void damage_is_found(void) {
    struct model *m = open_model("gemma3", false, KEEP);
    struct buf good = {0};
    struct err e = {0};
    keep(m, 2, &none);
    save(m);
    CHECK(read_file(file, 1 << 30, &good, &e) == 0);
    struct kv_file *f;
    CHECK(kv_file_open(&f, file, m->kv_origin, &e) == 0);
    size_t table = KV_FILE_HEADER + kv_file_records(f) * KV_FILE_RECORD;
    kv_file_close(f);
    CHECK(!refuses(m, good.p, good.n));
    for (size_t i = 0; i < table; i++) { // nothing is accepted that is not as it was written
        good.p[i] ^= (char)(1 << i % 8);
        CHECK_MSG(refuses(m, good.p, good.n), "byte %zu was changed, and nobody noticed", i);
        good.p[i] ^= (char)(1 << i % 8);
    }
    warn_quiet(1);
    for (size_t i = table; i < good.n; i += 1009) { // the bits are right
        good.p[i] ^= (char)(1 << i % 8);
        refuses(m, good.p, good.n);
        good.p[i] ^= (char)(1 << i % 8);
    }
    for (size_t n = 0; n < good.n; n += n < 4096 ? 37 : 2017)
        refuses(m, good.p, n);
    warn_quiet(0);
    buf_free(&good);
    model_close(m);
}

static void a_file_that_is_cut_while_it_is_open(void) {
    struct model *m = open_model("llama", false, KEEP);
    keep(m, 2, &none);
    save(m);
    load(m);
    while (prefix_drop_oldest(&m->prefix))
        ;
    CHECK(truncate(file, KV_FILE_ALIGN + 10) == 0);
    warn_quiet(1);
    CHECK_INT(reuse(m, 2, &none), 0);
    warn_quiet(0);
    check_bits(m, 2, 0);
    model_close(m);
}

/* ---- Many first pages ---- */

enum { ROOTS = 1 << 16, CHILDREN = 100, AGAIN = 10, LOOKUP_SECONDS = 3 };

/* Records: roots, then children of root 7, then root 3 again some times. */
static uint32_t many_parent(const void *ctx, size_t i) {
    (void)ctx;
    return i >= ROOTS && i < ROOTS + CHILDREN ? 7 : KV_FILE_NONE;
}

static const struct prefix_salt *many_salt(const void *ctx, size_t i) {
    (void)ctx;
    (void)i;
    return &none;
}

static const uint32_t *many_ids(const void *ctx, size_t i) {
    static uint32_t ids[STATE_REF_SPAN];
    (void)ctx;
    ids[STATE_REF_SPAN - 1] = (uint32_t)(i >= ROOTS + CHILDREN ? 3 : i);
    return ids;
}

static const unsigned char *many_part(const void *ctx, size_t i, size_t g, size_t layer) {
    (void)ctx;
    (void)i;
    (void)g;
    (void)layer;
    return NULL;
}

/* Each record is found, in time that does not grow with the number of its siblings. */
static void many_first_pages(void) {
    struct model *m = open_model("llama", false, KEEP);
    struct err e = {0};
    const size_t n = ROOTS + CHILDREN + AGAIN;
    const struct kv_source source = {NULL, n, many_parent, many_salt, many_ids, many_part};
    uint32_t ids[2 * STATE_REF_SPAN], path[2];
    struct kv_file *f;
    CHECK(model_kv_prepare(m, &e) == 0 && kv_file_write(file, m->kv_origin, &source, &e) == 0);
    CHECK_MSG(kv_file_open(&f, file, m->kv_origin, &e) == 0, "%s", e.msg);
    memcpy(ids + STATE_REF_SPAN, many_ids(NULL, ROOTS + 5), sizeof ids / 2);
    clock_t began = clock();
    for (size_t i = 0; i < ROOTS; i++) {
        memcpy(ids, many_ids(NULL, i), sizeof ids / 2);
        CHECK_INT(kv_file_descend(f, &none, ids, 2, path), i == 7 ? 2 : 1);
        CHECK_INT(path[0], i == 3 ? n - 1 : i);
        CHECK(i != 7 || path[1] == ROOTS + 5);
    }
    CHECK((clock() - began) / CLOCKS_PER_SEC < LOOKUP_SECONDS);
    memcpy(ids, many_ids(NULL, ROOTS), sizeof ids / 2);
    CHECK_INT(kv_file_descend(f, &none, ids, 1, path), 0);
    memcpy(ids, many_ids(NULL, 1), sizeof ids / 2);
    CHECK_INT(kv_file_descend(f, &some, ids, 1, path), 0);
    kv_file_close(f);
    model_close(m);
}

int main(int argc, char **argv) {
    struct err e = {0};
    (void)argc;
    program_init(argv[0]);
    if (kernels_init(&e) != 0)
        die_err(&e);
    folder = models_temp();
    file = path_join(folder, "kv");
    RUN(restored_pages_give_the_same_bits);
    RUN(pages_of_files_are_copied_before_they_are_written);
    RUN(restored_pages_are_saved_again);
    RUN(pages_of_files_need_nodes_and_no_memory);
    RUN(other_models_are_refused);
    RUN(damage_is_found);
    RUN(a_file_that_is_cut_while_it_is_open);
    RUN(many_first_pages);
    models_remove(folder);
    free(file);
    return check_done();
}
