/* Search by words: see search.h.
 *
 * One pass over all records looks up the query's words, and counts the records that have each. The
 * matches are scored afterwards. Each record's score is a sum over the query's words in the order
 * of their hashes.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <math.h>
#include <stdlib.h>

#include "index/search.h"
#include "index/words.h"

enum { QUERY_WORDS = 1024 }; // different ones of a query; more are not looked at

static const double k1 = 1.2, b = 0.75;

struct match {
    uint32_t record, count;
    uint32_t length; // of the record's text
    uint32_t word;   // of the query
};

struct matches {
    struct match *p;
    size_t n, cap;
};

static void add_match(struct matches *m, struct match match) {
    if (m->n == m->cap) {
        m->cap = 2 * m->cap + 1024;
        m->p = xreallocarray(m->p, m->cap, sizeof *m->p);
    }
    m->p[m->n++] = match;
}

/* Finds every word of the query in every record. records [n_words]: how many have the word. */
static int find_matches(const struct index_file *ix, const struct words *q, size_t n_words,
                        struct matches *m, size_t *records, struct err *e) {
    for (size_t i = 0; i < ix->info.n; i++) {
        struct index_record r;
        if (index_words(ix, i, &r, e) != 0)
            return -1;
        for (size_t w = 0; w < n_words && r.n_words; w++) {
            uint32_t count = words_count(r.words, r.n_words, q->at[w] & ~UINT64_C(0xFFFF));
            if (count == 0)
                continue;
            add_match(m, (struct match){(uint32_t)i, count, r.length, (uint32_t)w});
            records[w]++;
        }
    }
    return 0;
}

int search_words(const struct index_file *ix, struct str query, size_t k, struct index_hits *hits,
                 struct err *e) {
    struct words q = {0};
    struct matches m = {0};
    words_read(&q, query);
    const size_t n_words = q.n < QUERY_WORDS ? q.n : QUERY_WORDS;
    size_t *records = xcalloc(n_words, sizeof *records);
    const double n = (double)ix->info.n_texts, average = n > 0 ? (double)ix->info.all_words / n : 1;
    int rc = n_words ? find_matches(ix, &q, n_words, &m, records, e) : 0;
    *hits = (struct index_hits){rc == 0 ? xcalloc(m.n, sizeof *hits->p) : NULL, 0};
    for (size_t i = 0; i < m.n && rc == 0; i++) {
        const struct match *x = &m.p[i];
        const double with = (double)records[x->word], count = (double)x->count,
                     norm = k1 * (1 - b + b * (double)x->length / (average > 0 ? average : 1)),
                     idf = log(1 + fmax(n - with, 0) / (with + 0.5) + 0.5 / (with + 0.5));
        if (hits->n == 0 || hits->p[hits->n - 1].record != x->record)
            hits->p[hits->n++] = (struct index_hit){x->record, 0};
        hits->p[hits->n - 1].score += idf * count * (k1 + 1) / (count + norm);
    }
    free(records);
    free(m.p);
    words_free(&q);
    if (rc == 0)
        rc = search_order(ix, hits, k, e);
    if (rc != 0) {
        free(hits->p);
        *hits = (struct index_hits){0};
    }
    return rc;
}
