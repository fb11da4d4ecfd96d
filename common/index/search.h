/* Finds the records of an index that are nearest to a query, by its vector and by its words.
 *
 * A search is exact: it gives the k records with the largest dot products of the stored vectors,
 * whatever the instruction set, the threads and the queries that are searched together. Equal
 * scores are ordered by id.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef INDEX_SEARCH_H
#define INDEX_SEARCH_H

#include "index/index.h"
#include "kernels/pool.h"

enum {
    SEARCH_MOST_K = 1 << 20,
    SEARCH_BATCH = 64, // queries that are worth searching for together
};

struct index_hit {
    uint32_t record;
    double score;
};

/* hits [n]; the best first. Owned by the caller, who frees p. */
struct index_hits {
    struct index_hit *p;
    size_t n;
};

/* queries [n_queries, dim] f32, finite -> hits [n_queries], of k records each, or of all if the
 * index has fewer. With INDEX_COSINE the caller has scaled queries to length 1. kernels_init must
 * have been called. -1 with e set: EXIT_DATA if the index is damaged. */
int search_vectors(const struct index_file *ix, struct pool *pool, const float *queries,
                   size_t n_queries, size_t k, struct index_hits *hits, struct err *e);

/* BM25 of the texts (Robertson and Zaragoza 2009, with k1 = 1.2 and b = 0.75, and the logarithm of
 * Lucene, which is never negative). At most k records, and only those that have a word of the
 * query. */
int search_words(const struct index_file *ix, struct str query, size_t k, struct index_hits *hits,
                 struct err *e);

/* Joins two lists by reciprocal rank (Cormack, Clarke and Buettcher 2009): a record's score is the
 * sum of 1 / (60 + rank) over the lists that have it. At most k records. */
int search_fuse(const struct index_file *ix, const struct index_hits *a, const struct index_hits *b,
                size_t k, struct index_hits *hits, struct err *e);
/* How many records of each list to fuse for k. */
size_t search_fuse_depth(size_t k);

/* Scales v [n] to length 1; all zeros stay. */
void search_normalise(float *v, size_t n);

/* For the files that search: sorts by score, then by id, and keeps k. */
int search_order(const struct index_file *ix, struct index_hits *hits, size_t k, struct err *e);

#endif
