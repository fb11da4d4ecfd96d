/* Paged KV memory: see kv.h. Nothing here knows about threads: the owner of the model calls it
 * between forwards.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "model/kv.h"

#include <stdlib.h>

#include "base/big_pages.h"

enum { CHUNK_BYTES = 4 << 20 }; // taken at a time, at least

static size_t pages_for(size_t positions) {
    return (positions + KV_PAGE - 1) / KV_PAGE;
}

/* The runs that so many pages take, the last of which may be in part. */
static size_t runs_for(const struct kv_group *g, size_t n_pages) {
    return n_pages / g->run + (n_pages % g->run != 0);
}

static int group_init(struct kv_group *g, struct device *d, size_t max_pages, struct err *e) {
    size_t layer_bytes = d->ops->kv_page_bytes(d), run_bytes = d->ops->kv_run_bytes;
    g->layer_bytes = layer_bytes;
    g->max_pages = max_pages;
    g->run = layer_bytes < run_bytes ? run_bytes / layer_bytes : 1;
    g->run = g->run < max_pages || max_pages == 0 ? g->run : max_pages;
    if (!mul_size(layer_bytes, g->n_layers, &g->page_bytes) ||
        !mul_size(g->page_bytes, g->run, &g->reserved) ||
        !mul_size(g->reserved, runs_for(g, max_pages), &g->reserved) ||
        !add_size(g->reserved, BIG_PAGE, &g->reserved) || max_pages >= KV_NO_PAGE)
        return err_set(e, EXIT_SYSTEM,
                       "KV for %zu pages of %zu bytes is past what can be addressed", max_pages,
                       g->page_bytes);
    g->reserved -= g->reserved % BIG_PAGE;
    g->base = d->ops->kv_reserve(d, g->reserved, e);
    if (!g->base)
        return -1;
    g->refs = xcalloc(max_pages, sizeof *g->refs);
    g->free = xcalloc(max_pages, sizeof *g->free);
    return 0;
}

/* 0: all that there is. */
static size_t window_of(const struct spec *s, size_t layer, size_t context) {
    return s->layers[layer].window < context ? s->layers[layer].window : 0;
}

size_t kv_n_groups(const struct spec *s, size_t context) {
    for (size_t l = 1; l < s->n_layers; l++)
        if (window_of(s, l, context) != window_of(s, 0, context))
            return KV_MAX_GROUPS;
    return 1;
}

int kv_init(struct kv *kv, struct device *d, const struct spec *s, bool f32, size_t context,
            size_t max_sequences, size_t max_rows, size_t more_pages, struct err *e) {
    *kv = (struct kv){.device = d, .n_heads = s->n_kv_heads, .head_dim = s->head_dim, .f32 = f32};
    kv->table_size = pages_for(context);
    kv->group_of = xcalloc(s->n_layers, sizeof *kv->group_of);
    kv->index_of = xcalloc(s->n_layers, sizeof *kv->index_of);
    for (size_t l = 0; l < s->n_layers; l++) {
        size_t window = window_of(s, l, context), g = 0;
        while (g < kv->n_groups && kv->groups[g].window != window)
            g++;
        if (g == KV_MAX_GROUPS)
            return err_set(e, EXIT_BUG, "more than %d kinds of windows", KV_MAX_GROUPS);
        kv->n_groups = g == kv->n_groups ? g + 1 : kv->n_groups;
        kv->groups[g].window = window;
        kv->group_of[l] = (uint8_t)g;
        kv->index_of[l] = (uint32_t)kv->groups[g].n_layers++;
    }
    for (size_t i = 0; i < kv->n_groups; i++) {
        struct kv_group *g = &kv->groups[i];
        size_t seq_pages = kv->table_size, n;
        // The window, the page kept beside it, the rows of one forward, and both ends within a
        // page.
        if (g->window > 0 && pages_for(g->window) + pages_for(max_rows) + 3 < seq_pages)
            seq_pages = pages_for(g->window) + pages_for(max_rows) + 3;
        if (!mul_size(seq_pages, max_sequences, &n) || !add_size(n, more_pages, &n))
            n = SIZE_MAX;
        if (group_init(g, d, n, e) != 0)
            return -1;
    }
    return 0;
}

void kv_free(struct kv *kv) {
    for (size_t i = 0; i < kv->n_groups; i++) {
        struct kv_group *g = &kv->groups[i];
        if (g->base)
            kv->device->ops->kv_release(kv->device, g->base, g->reserved);
        free(g->refs);
        free(g->free);
    }
    free(kv->group_of);
    free(kv->index_of);
    *kv = (struct kv){0};
}

struct kv_layer kv_layer(const struct kv *kv, size_t layer) {
    const struct kv_group *g = &kv->groups[kv->group_of[layer]];
    return (struct kv_layer){.base = kv_page_part(g, 0, kv->index_of[layer]),
                             .run = g->run,
                             .run_stride = g->run * g->page_bytes,
                             .n_kv_heads = kv->n_heads,
                             .head_dim = kv->head_dim,
                             .f32 = kv->f32};
}

uint64_t kv_sequence_bytes(const struct spec *s, size_t page_bytes, size_t len) {
    uint64_t pages = 0;
    for (size_t l = 0; l < s->n_layers; l++) {
        size_t window = s->layers[l].window, n = pages_for(len);
        pages += window > 0 && pages_for(window) + 2 < n ? pages_for(window) + 2 : n;
    }
    return pages * page_bytes;
}

size_t kv_bytes(const struct kv *kv) {
    size_t sum = 0;
    for (size_t i = 0; i < kv->n_groups; i++)
        sum += kv->groups[i].n_pages * kv->groups[i].page_bytes;
    return sum;
}

/* ---- pages ---- */

unsigned char *kv_page_part(const struct kv_group *g, uint32_t page, size_t index) {
    return g->base + index * g->run * g->layer_bytes +
           kv_page_offset(g->run, g->run * g->page_bytes, g->layer_bytes, page);
}

/* Makes a chunk of reserved addresses usable. */
static int grow(struct device *d, struct kv_group *g, struct err *e) {
    size_t runs = CHUNK_BYTES / g->page_bytes / g->run, more = (runs > 0 ? runs : 1) * g->run;
    more = more < g->max_pages - g->n_pages ? more : g->max_pages - g->n_pages;
    if (more == 0)
        return err_set(e, EXIT_SYSTEM, "all %zu KV pages are in use", g->max_pages);
    size_t end = runs_for(g, g->n_pages + more) * g->run * g->page_bytes;
    if (d->ops->kv_commit(d, g->base, (end + BIG_PAGE - 1) / BIG_PAGE * BIG_PAGE, e) != 0)
        return -1;
    for (size_t i = more; i-- > 0;)
        g->free[g->n_free++] = (uint32_t)(g->n_pages + i);
    g->n_pages += more;
    return 0;
}

static int page_new(struct device *d, struct kv_group *g, uint32_t *page, struct err *e) {
    if (g->n_free == 0 && grow(d, g, e) != 0)
        return -1;
    *page = g->free[--g->n_free];
    g->refs[*page] = 1;
    return 0;
}

uint32_t kv_page_share(struct kv_group *g, uint32_t page) {
    if (page != KV_NO_PAGE)
        g->refs[page]++;
    return page;
}

void kv_page_drop(struct kv_group *g, uint32_t *entry) {
    if (*entry != KV_NO_PAGE && --g->refs[*entry] == 0)
        g->free[g->n_free++] = *entry;
    *entry = KV_NO_PAGE;
}

/* ---- sequences ---- */

void kv_seq_init(const struct kv *kv, struct kv_seq *q) {
    *q = (struct kv_seq){0};
    for (size_t i = 0; i < kv->n_groups; i++) {
        q->tables[i] = xreallocarray(NULL, kv->table_size, sizeof *q->tables[i]);
        memset(q->tables[i], 0xff, kv->table_size * sizeof *q->tables[i]); // KV_NO_PAGE
    }
}

void kv_seq_free(struct kv_seq *q) {
    for (size_t i = 0; i < KV_MAX_GROUPS; i++)
        free(q->tables[i]);
    *q = (struct kv_seq){0};
}

/* A page of our own in place of a shared one. */
static int unshare(struct device *d, struct kv_group *g, uint32_t *entry, struct err *e) {
    uint32_t mine;
    if (g->refs[*entry] == 1)
        return 0;
    if (page_new(d, g, &mine, e) != 0)
        return -1;
    for (size_t l = 0; l < g->n_layers; l++)
        d->ops->kv_copy(d, kv_page_part(g, mine, l), kv_page_part(g, *entry, l), g->layer_bytes);
    kv_page_drop(g, entry);
    *entry = mine;
    return 0;
}

int kv_extend(struct kv *kv, struct kv_seq *q, size_t from, size_t to, struct err *e) {
    for (size_t i = 0; i < kv->n_groups; i++) {
        struct kv_group *g = &kv->groups[i];
        for (size_t p = from / KV_PAGE; p < pages_for(to); p++) {
            uint32_t *entry = &q->tables[i][p];
            if (*entry != KV_NO_PAGE) {
                if (unshare(kv->device, g, entry, e) != 0)
                    return -1;
                continue;
            }
            if (page_new(kv->device, g, entry, e) != 0)
                return -1;
            q->end[i] = p + 1 > q->end[i] ? p + 1 : q->end[i];
        }
    }
    return 0;
}

size_t kv_first_seen(const struct kv_group *g, size_t pos) {
    return g->window > 0 && pos >= g->window ? (pos - g->window + 1) / KV_PAGE : 0;
}

void kv_retire(struct kv *kv, struct kv_seq *q, size_t len) {
    for (size_t i = 0; i < kv->n_groups; i++) {
        size_t keep = kv_first_seen(&kv->groups[i], len);
        for (; q->first[i] + 1 < keep; q->first[i]++)
            kv_page_drop(&kv->groups[i], &q->tables[i][q->first[i]]);
    }
}

static bool still_there(const struct kv *kv, const struct kv_seq *q, size_t len) {
    for (size_t i = 0; i < kv->n_groups; i++)
        if (kv_first_seen(&kv->groups[i], len) < q->first[i])
            return false;
    return true;
}

bool kv_truncate(struct kv *kv, struct kv_seq *q, size_t len) {
    bool there = still_there(kv, q, len);
    if (!there)
        len = 0;
    for (size_t i = 0; i < kv->n_groups; i++) {
        while (q->end[i] > pages_for(len))
            kv_page_drop(&kv->groups[i], &q->tables[i][--q->end[i]]);
        if (len == 0)
            q->first[i] = 0;
    }
    return there;
}

bool kv_fork(struct kv *kv, struct kv_seq *to, const struct kv_seq *from, size_t len) {
    if (!still_there(kv, from, len))
        return false;
    for (size_t i = 0; i < kv->n_groups; i++) {
        to->first[i] = from->first[i];
        to->end[i] = pages_for(len);
        for (size_t p = to->first[i]; p < to->end[i]; p++)
            to->tables[i][p] = kv_page_share(&kv->groups[i], from->tables[i][p]);
    }
    return true;
}

void kv_clear(struct kv *kv, struct kv_seq *q) {
    kv_truncate(kv, q, 0);
}
