/* Orders hits, and joins two lists by reciprocal rank: see search.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdlib.h>

#include "index/search.h"

enum { FUSE_RANK = 60, FUSE_LEAST = 100 };

/* A hit with what it is ordered by. */
struct ranked {
    struct index_hit hit;
    struct str id;
};

static int by_rank(const void *x, const void *y) {
    const struct ranked *a = x, *b = y;
    if (a->hit.score < b->hit.score || a->hit.score > b->hit.score)
        return a->hit.score > b->hit.score ? -1 : 1;
    return str_compare(a->id, b->id);
}

int search_order(const struct index_file *ix, struct index_hits *hits, size_t k, struct err *e) {
    struct ranked *all = xcalloc(hits->n, sizeof *all);
    int rc = 0;
    for (size_t i = 0; i < hits->n && rc == 0; i++) {
        all[i].hit = hits->p[i];
        rc = index_id(ix, hits->p[i].record, &all[i].id, e);
    }
    if (rc == 0 && hits->n)
        qsort(all, hits->n, sizeof *all, by_rank);
    hits->n = hits->n < k ? hits->n : k;
    for (size_t i = 0; i < hits->n && rc == 0; i++)
        hits->p[i] = all[i].hit;
    if (hits->n)
        hits->p = xreallocarray(hits->p, hits->n, sizeof *hits->p);
    free(all);
    return rc;
}

size_t search_fuse_depth(size_t k) {
    return larger(4 * k, FUSE_LEAST);
}

static int by_record(const void *x, const void *y) {
    const struct index_hit *a = x, *b = y;
    return (a->record > b->record) - (a->record < b->record);
}

int search_fuse(const struct index_file *ix, const struct index_hits *a, const struct index_hits *b,
                size_t k, struct index_hits *hits, struct err *e) {
    const struct index_hits *lists[] = {a, b};
    struct index_hit *all = xcalloc(a->n + b->n, sizeof *all);
    size_t n = 0, out = 0;
    for (size_t l = 0; l < 2; l++)
        for (size_t i = 0; i < lists[l]->n; i++)
            all[n++] =
                (struct index_hit){lists[l]->p[i].record, 1.0 / (FUSE_RANK + 1.0 + (double)i)};
    if (n)
        qsort(all, n, sizeof *all, by_record);
    for (size_t i = 0; i < n; out++) { // a record is in each list at most once
        bool twice = i + 1 < n && all[i].record == all[i + 1].record;
        all[out] = (struct index_hit){all[i].record, all[i].score + (twice ? all[i + 1].score : 0)};
        i += twice ? 2 : 1;
    }
    *hits = (struct index_hits){all, out};
    if (search_order(ix, hits, k, e) == 0)
        return 0;
    free(all);
    *hits = (struct index_hits){0};
    return -1;
}
