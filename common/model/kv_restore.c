/* Pages of the prefix cache, from kv(5) files and into one: see model.h and kv_file.h.
 *
 * A file is a lower tier of the cache. Where a prompt has more in common with a file than with the
 * cache, the nodes of that path are made, and get the blocks that a sequence needs to begin there.
 * These stay in the file, which is mapped: nothing is copied, and programs that load the same file
 * share its memory. A block's sum is checked before its first use, by all threads of the pool. A
 * block that is damaged is missing in its node, so its positions are computed.
 *
 * With windows, a file has the blocks that the saved sequences still had. So as with the cache, a
 * prompt can begin only where all blocks that its next row sees are there.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/big_pages.h"
#include "base/io.h"
#include "base/mem.h"
#include "model/internal.h"
#include "model/state_blocks.h"

enum { SAMPLE_BYTES = 1024, MAX_CONFIG = 64 << 20 };

/* ---- The origin ---- */

/* Of each tensor, its first bytes and those in its middle. Weights that were trained further differ
 * there; to read them all would take longer than to compute the pages. */
static void hash_samples(struct hash_state *h, const struct weights *w) {
    for (size_t i = 0; i < w->n_tensors; i++) {
        const unsigned char *p = w->tensors[i].data;
        size_t n = (size_t)w->tensors[i].n_bytes, some = n < SAMPLE_BYTES ? n : SAMPLE_BYTES;
        hash_update(h, p, some);
        hash_update(h, p + (n - some) / 2, some);
    }
}

static int hash_model(const struct model *m, struct hash *out, struct err *e) {
    struct buf config = {0};
    char *path = path_join(m->dir, "config.json");
    int rc = read_file(path, MAX_CONFIG, &config, e);
    free(path);
    if (rc == 0) {
        struct hash_state *h = hash_new();
        hash_update(h, config.p, config.n);
        for (size_t i = 0; i < m->weights.n_files; i++) {
            const struct st_file *f = &m->weights.files[i];
            uint64_t bytes = f->map.n;
            hash_update(h, &bytes, sizeof bytes);
            hash_update(h, f->map.p, f->header_bytes);
        }
        hash_samples(h, &m->weights);
        hash_final(h, out);
    }
    buf_free(&config);
    return rc;
}

static int origin_of(const struct model *m, struct kv_origin *o, struct err *e) {
    *o = (struct kv_origin){.n_groups = m->state.n_groups};
    char device[200]; // "avx512 kernels, 2 threads"
    m->device->ops->describe(m->device, device, sizeof device);
    snprintf(o->way, sizeof o->way, "%.*s %s", (int)strcspn(device, " "), device,
             m->kv_i8     ? "i8"
             : m->precise ? "f32"
                          : "bf16");
    for (size_t g = 0; g < o->n_groups; g++) {
        const struct state_group *group = &m->state.groups[g];
        if (group->layer_bytes % KV_FILE_UNIT != 0)
            return err_set(e, EXIT_USAGE, "kv files: a page of %zu bytes a layer cannot be stored",
                           group->layer_bytes);
        o->groups[g].kind = group->kind;
        o->groups[g].span = group->rules->span;
        o->groups[g].n_layers = group->n_layers;
        o->groups[g].layer_bytes = group->layer_bytes;
        o->groups[g].window = group->window;
    }
    return hash_model(m, &o->model, e);
}

/* Once, when the first file is named: later the sandbox lets no file be opened. */
int model_kv_prepare(struct model *m, struct err *e) {
    if (m->kv_origin)
        return 0;
    if (!cpu_pool(m->device))
        return err_set(e, EXIT_USAGE, "kv files are for the CPU");
    if (m->prefix.max_nodes == 0)
        return err_set(e, EXIT_USAGE, "kv files need a cache (--keep)");
    struct kv_origin *o = xcalloc(1, sizeof *o);
    if (origin_of(m, o, e) != 0) {
        free(o);
        return -1;
    }
    m->kv_origin = o;
    return 0;
}

void model_kv_free(struct model *m) {
    for (size_t i = 0; i < m->n_kv_files; i++)
        kv_file_close(m->kv_files[i]);
    if (m->kv_region.p)
        munmap(m->kv_region.p, m->kv_region.n);
    free(m->kv_origin);
}

uint64_t model_kv_restored(const struct model *m) {
    return m->kv_restored;
}

/* ---- From files ---- */

/* Takes the addresses that blocks' numbers reach, or fewer where the system gives fewer. They use
 * no memory. */
static int reserve_region(struct model *m, struct err *e) {
    size_t n = (size_t)(STATE_NONE - KV_MAPPED) * KV_MAPPED_UNIT / BIG_PAGE * BIG_PAGE;
    if (m->kv_region.p)
        return 0;
    for (; n >= BIG_PAGE; n = n / 2 / BIG_PAGE * BIG_PAGE)
        if ((m->kv_region.p = big_pages_reserve(n)) != NULL) {
            m->kv_region.n = n;
            state_map(&m->state, m->kv_region.p);
            return 0;
        }
    return err_errno(e, EXIT_SYSTEM, "no addresses to map kv files");
}

/* Where the file after those that are loaded begins in the region. */
static size_t next_place(const struct model *m) {
    size_t at = 0;
    for (size_t i = 0; i < m->n_kv_files; i++)
        at += round_up_size(kv_file_bytes(m->kv_files[i]), BIG_PAGE);
    return at;
}

int model_kv_load(struct model *m, const char *path, struct err *e) {
    struct kv_file *f;
    if (m->n_kv_files == MODEL_KV_FILES)
        return err_set(e, EXIT_USAGE, "more than %d kv files", (int)MODEL_KV_FILES);
    if (model_kv_prepare(m, e) != 0 || reserve_region(m, e) != 0 ||
        kv_file_open(&f, path, m->kv_origin, e) != 0)
        return -1;
    size_t at = next_place(m);
    int rc = kv_file_bytes(f) <= m->kv_region.n - at
                 ? kv_file_map(f, m->kv_region.p + at, e)
                 : err_set(e, EXIT_SYSTEM, "kv files of more than %zu bytes together: %s",
                           m->kv_region.n, path);
    if (rc != 0) {
        kv_file_close(f);
        return -1;
    }
    m->kv_files[m->n_kv_files++] = f;
    return 0;
}

/* Whether the path has the block of group g that ends at position `end`. */
static bool has_block(const struct kv_file *f, const uint32_t *path, size_t g, size_t end) {
    return kv_file_has(f, path[end / STATE_REF_SPAN - 1], g);
}

/* Whether a sequence can begin with the first depth spans of path: see state_usable. */
static bool is_usable(const struct model *m, const struct kv_file *f, const uint32_t *path,
                      size_t depth) {
    size_t len = depth * STATE_REF_SPAN;
    for (size_t g = 0; g < m->state.n_groups; g++) {
        const struct state_group *group = &m->state.groups[g];
        size_t span = group->rules->span, first = group->rules->first(group, len) * span;
        if (len % span != 0)
            return false;
        for (size_t end = len; end > first; end -= span)
            if (!has_block(f, path, g, end))
                return false;
    }
    return true;
}

/* A block that is to become a node's. */
struct wanted {
    struct kv_file *f;
    uint32_t record;
    size_t group;
    uint32_t *block; // of the node
    struct err *e;   // NULL: it is as it was written
};

static void check_blocks(void *arg, size_t begin, size_t end, size_t thread) {
    struct wanted *all = arg;
    (void)thread;
    for (size_t i = begin; i < end; i++) {
        struct err e = {0};
        if (kv_file_check(all[i].f, all[i].record, all[i].group, &e) == 0)
            continue;
        all[i].e = xmalloc(sizeof e);
        *all[i].e = e;
    }
}

/* Blocks that a sequence of depth spans needs, and that the nodes of path do not have, into wanted.
 * Returns how many these are. */
static size_t list_blocks(struct model *m, struct kv_file *f, const uint32_t *path,
                          struct state_ref **refs, size_t depth, struct wanted *wanted) {
    size_t n = 0, len = depth * STATE_REF_SPAN;
    for (size_t i = 0; i < depth; i++)
        for (size_t g = 0; g < m->state.n_groups; g++) {
            const struct state_group *group = &m->state.groups[g];
            size_t end = (i + 1) * STATE_REF_SPAN;
            if (end % group->rules->span == 0 && refs[i]->blocks[g] == STATE_NONE &&
                end > group->rules->first(group, len) * group->rules->span)
                wanted[n++] = (struct wanted){f, path[i], g, &refs[i]->blocks[g], NULL};
        }
    return n;
}

/* Fills the nodes of the first depth spans with what a sequence of that length needs. If a block is
 * damaged, what comes before is of use. */
static void fill(struct model *m, struct kv_file *f, const uint32_t *path, struct state_ref **refs,
                 size_t depth) {
    struct wanted *wanted = xcalloc(depth * m->state.n_groups, sizeof *wanted);
    size_t n = list_blocks(m, f, path, refs, depth, wanted), good = 0;
    size_t file_at = (size_t)(kv_file_map_of(f) - m->kv_region.p);
    pool_run(cpu_pool(m->device), check_blocks, wanted, n, 1);
    for (; good < n && !wanted[good].e; good++) {
        size_t at = file_at + (size_t)kv_file_offset(f, wanted[good].record, wanted[good].group);
        *wanted[good].block = KV_MAPPED + (uint32_t)(at / KV_MAPPED_UNIT);
    }
    if (good < n)
        warn("%s; its positions are computed", wanted[good].e->msg);
    for (size_t i = good; i < n; i++)
        if (wanted[i].e) {
            kv_file_forget_block(f, wanted[i].record, wanted[i].group);
            free(wanted[i].e);
        }
    free(wanted);
}

bool model_kv_restore(struct model *m, const struct prefix_salt *salt, const uint32_t *ids,
                      size_t n, size_t len) {
    size_t spans = n / STATE_REF_SPAN, best = len / STATE_REF_SPAN;
    bool more = false;
    if (m->n_kv_files == 0 || spans <= best)
        return false;
    spans = spans < m->prefix.max_nodes ? spans : m->prefix.max_nodes;
    uint32_t *path = xcalloc(spans, sizeof *path);
    struct state_ref **refs = xcalloc(spans, sizeof *refs);
    for (size_t i = 0; i < m->n_kv_files; i++) {
        size_t depth = kv_file_descend(m->kv_files[i], salt, ids, spans, path);
        while (depth > best && !is_usable(m, m->kv_files[i], path, depth))
            depth--;
        if (depth <= best)
            continue;
        depth = prefix_path(&m->prefix, salt, ids, depth, refs);
        fill(m, m->kv_files[i], path, refs, depth);
        m->kv_restored += (depth - best) * STATE_REF_SPAN;
        best = depth;
        more = true;
    }
    free(path);
    free(refs);
    return more;
}

/* ---- Into a file ---- */

struct saving {
    const struct model *m;
    const uint32_t *nodes;  // [n] of the cache, parents first
    const uint32_t *record; // [n_made + 1] of a node
};

static struct prefix_view view_of(const void *ctx, size_t i) {
    const struct saving *s = ctx;
    return prefix_view(&s->m->prefix, s->nodes[i]);
}

static uint32_t parent_of(const void *ctx, size_t i) {
    const struct saving *s = ctx;
    uint32_t parent = view_of(ctx, i).parent;
    return parent == 0 ? KV_FILE_NONE : s->record[parent];
}

static const struct prefix_salt *salt_of(const void *ctx, size_t i) {
    return view_of(ctx, i).salt;
}

static const uint32_t *ids_of(const void *ctx, size_t i) {
    return view_of(ctx, i).ids;
}

static const unsigned char *part_of(const void *ctx, size_t i, size_t g, size_t layer) {
    const struct saving *s = ctx;
    uint32_t block = view_of(ctx, i).ref->blocks[g];
    return block == STATE_NONE ? NULL : state_part(&s->m->state.groups[g], block, layer);
}

int model_kv_save(const struct model *m, const char *path, struct err *e) {
    const struct prefix_cache *k = &m->prefix;
    uint32_t *nodes = xcalloc(k->n_nodes, sizeof *nodes),
             *record = xcalloc(k->n_made + 1, sizeof *record);
    size_t n = 0;
    for (uint32_t i = prefix_next(k, 0); i != 0; i = prefix_next(k, i))
        if (prefix_view(k, i).n == STATE_REF_SPAN) {
            record[i] = (uint32_t)n;
            nodes[n++] = i;
        }
    const struct saving s = {m, nodes, record};
    const struct kv_source source = {&s, n, parent_of, salt_of, ids_of, part_of};
    int rc = kv_file_write(path, m->kv_origin, &source, e);
    free(nodes);
    free(record);
    return rc;
}
