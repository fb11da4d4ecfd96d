/* Merging one word by rank.
 *
 *     l o w e r     rank of "lo" is lowest      ->  lo w e r
 *     lo w e r      then of "er"                ->  lo w er
 *     lo w er       then of "low"               ->  low er
 *
 * A short word searches all pairs for each merge. That is quadratic, and still faster than a queue.
 * A long word has a queue of runs: a run holds the places of one rank in ascending order, and a
 * heap orders the runs by rank and first place. The merges of one rank create places of other ranks
 * from left to right. So nearly every place is appended to the last run of its rank, and the heap
 * has about one run per rank in use. The cost is n log n at worst. It is linear for a word that
 * repeats one letter ten million times.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdlib.h>

#include "tokens/bpe.h"

enum { SHORT_WORD = 48 };

static uint32_t rank_at(const struct bpe_merges *m, const struct bpe_symbol *s, uint32_t i,
                        uint32_t *made) {
    const struct bpe_merge *found =
        s[i].next == NO_ID ? NULL : bpe_find(m, s[i].id, s[s[i].next].id);
    *made = found ? found->made : NO_ID;
    return found ? (uint32_t)(found - m->list) : NO_ID;
}

static void join(struct bpe_symbol *s, uint32_t i, uint32_t made) {
    struct bpe_symbol *right = &s[s[i].next];
    s[i].id = made;
    s[i].len += right->len;
    right->len = 0;
    s[i].next = right->next;
    if (right->next != NO_ID)
        s[right->next].prev = i;
}

static uint32_t rank_only(const struct bpe_merges *m, const struct bpe_symbol *s, uint32_t i) {
    uint32_t made;
    return rank_at(m, s, i, &made);
}

static void merge_short(const struct bpe_merges *m, const struct bpe_work *w) {
    uint32_t rank[SHORT_WORD], n = (uint32_t)w->n;
    struct bpe_symbol *s = w->symbols;
    for (uint32_t i = 0; i < n; i++)
        rank[i] = !w->bytes   ? rank_only(m, s, i)
                  : i + 1 < n ? w->byte_ranks[w->bytes[i] << 8 | w->bytes[i + 1]]
                              : NO_ID;
    for (;;) {
        uint32_t best = NO_ID, at = 0;
        for (uint32_t i = 0; i < n; i++)
            if (rank[i] < best) {
                best = rank[i];
                at = i;
            }
        if (best == NO_ID)
            return;
        rank[s[at].next] = NO_ID;
        join(s, at, m->list[best].made);
        rank[at] = rank_only(m, s, at);
        if (s[at].prev != NO_ID)
            rank[s[at].prev] = rank_only(m, s, s[at].prev);
    }
}

/* A place in a run: a symbol's number and the next place. */
struct place {
    uint32_t pos, next; // next: index of a place, NO_ID at the end
};

struct run {
    uint32_t rank, made; // made: the token that this rank's merge makes
    uint32_t head, tail; // indices of places
};

struct bpe_queue {
    struct place *places;
    size_t n_places, places_cap;
    struct run *runs;
    size_t n_runs, runs_cap;
    uint32_t *heap; // [n_heap] indices of the runs that are not empty
    size_t n_heap, heap_cap;
    uint32_t *last_run; // [merges.count] the last run of a rank, or NO_ID
    uint32_t n_ranks;
    uint32_t free_run, free_place; // lists of free ones, linked through head and next
};

static bool before(const struct bpe_queue *q, uint32_t a, uint32_t b) {
    const struct run *x = &q->runs[a], *y = &q->runs[b];
    if (x->rank != y->rank)
        return x->rank < y->rank;
    return q->places[x->head].pos < q->places[y->head].pos;
}

static void sift_up(struct bpe_queue *q, size_t i) {
    uint32_t run = q->heap[i];
    for (; i > 0 && before(q, run, q->heap[(i - 1) / 2]); i = (i - 1) / 2)
        q->heap[i] = q->heap[(i - 1) / 2];
    q->heap[i] = run;
}

static void sift_down(struct bpe_queue *q) {
    uint32_t run = q->heap[0];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < q->n_heap; i = child) {
        if (child + 1 < q->n_heap && before(q, q->heap[child + 1], q->heap[child]))
            child++;
        if (!before(q, q->heap[child], run))
            break;
        q->heap[i] = q->heap[child];
    }
    q->heap[i] = run;
}

static uint32_t new_place(struct bpe_queue *q, uint32_t pos) {
    uint32_t i = q->free_place;
    if (i != NO_ID) {
        q->free_place = q->places[i].next;
    } else {
        if (q->n_places == q->places_cap) {
            q->places_cap = q->places_cap ? q->places_cap * 2 : 1024;
            q->places = xreallocarray(q->places, q->places_cap, sizeof *q->places);
        }
        i = (uint32_t)q->n_places++;
    }
    q->places[i] = (struct place){pos, NO_ID};
    return i;
}

static void new_run(struct bpe_queue *q, uint32_t rank, uint32_t made, uint32_t place) {
    uint32_t i = q->free_run;
    if (i != NO_ID) {
        q->free_run = q->runs[i].head;
    } else {
        if (q->n_runs == q->runs_cap) {
            q->runs_cap = q->runs_cap ? q->runs_cap * 2 : 256;
            q->runs = xreallocarray(q->runs, q->runs_cap, sizeof *q->runs);
        }
        i = (uint32_t)q->n_runs++;
    }
    q->runs[i] = (struct run){rank, made, place, place};
    q->last_run[rank] = i;
    if (q->n_heap == q->heap_cap) {
        q->heap_cap = q->heap_cap ? q->heap_cap * 2 : 256;
        q->heap = xreallocarray(q->heap, q->heap_cap, sizeof *q->heap);
    }
    q->heap[q->n_heap++] = i;
    sift_up(q, q->n_heap - 1);
}

static void push(struct bpe_queue *q, const struct bpe_merges *m, const struct bpe_symbol *s,
                 uint32_t pos) {
    uint32_t made, rank = rank_at(m, s, pos, &made);
    if (rank == NO_ID)
        return;
    uint32_t place = new_place(q, pos), last = q->last_run[rank];
    if (last != NO_ID && q->places[q->runs[last].tail].pos <= pos) {
        q->places[q->runs[last].tail].next = place;
        q->runs[last].tail = place;
        return;
    }
    new_run(q, rank, made, place);
}

/* Removes the first place of the first run and returns its symbol. */
static uint32_t pop(struct bpe_queue *q, uint32_t *made) {
    uint32_t i = q->heap[0];
    struct run *run = &q->runs[i];
    uint32_t place = run->head, pos = q->places[place].pos;
    *made = run->made;
    run->head = q->places[place].next;
    q->places[place].next = q->free_place;
    q->free_place = place;
    if (run->head == NO_ID) {
        if (q->last_run[run->rank] == i)
            q->last_run[run->rank] = NO_ID;
        run->head = q->free_run;
        q->free_run = i;
        q->heap[0] = q->heap[--q->n_heap];
    }
    if (q->n_heap)
        sift_down(q);
    return pos;
}

static void merge_long(const struct bpe_merges *m, struct bpe_work *w) {
    struct bpe_queue *q = w->queue;
    if (!q) {
        q = w->queue = xcalloc(1, sizeof *q);
        q->n_ranks = m->count;
        q->last_run = xreallocarray(NULL, m->count, sizeof *q->last_run);
        memset(q->last_run, 0xFF, m->count * sizeof *q->last_run);
    }
    q->n_places = q->n_runs = q->n_heap = 0;
    q->free_run = q->free_place = NO_ID;
    struct bpe_symbol *s = w->symbols;
    for (uint32_t i = 0; i < w->n; i++)
        push(q, m, s, i);
    while (q->n_heap) {
        uint32_t made, now, at = pop(q, &made);
        // The place is out of date if its pair now makes another token, or none.
        if (s[at].len == 0 || rank_at(m, s, at, &now) == NO_ID || now != made)
            continue;
        join(s, at, made);
        if (s[at].prev != NO_ID)
            push(q, m, s, s[at].prev);
        push(q, m, s, at);
    }
}

void bpe_merge_word(const struct bpe_merges *m, struct bpe_work *w) {
    for (size_t i = 0; i < w->n; i++) {
        w->symbols[i].prev = i ? (uint32_t)i - 1 : NO_ID;
        w->symbols[i].next = i + 1 < w->n ? (uint32_t)i + 1 : NO_ID;
    }
    if (w->n > SHORT_WORD)
        merge_long(m, w);
    else if (w->n > 1)
        merge_short(m, w);
}

void bpe_work_free(struct bpe_work *w) {
    free(w->symbols);
    if (w->queue) {
        free(w->queue->places);
        free(w->queue->runs);
        free(w->queue->heap);
        free(w->queue->last_run);
        free(w->queue);
    }
    *w = (struct bpe_work){0};
}
