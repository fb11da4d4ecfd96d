/* Keys and values of sequences, in pages of KV_PAGE positions that are counted, shared and given
 * back.
 *
 * Layers that see equally far form a group: one page of a group holds KV_PAGE positions of all its
 * layers, and each sequence has a table of pages for each group, indexed by position / KV_PAGE.
 * Pages are counted, so a fork shares them; a page that is shared is copied before it is written.
 * In a group with a window, pages that no later position can see are given back, so a long sequence
 * does not grow there.
 *
 * Addresses for all pages that could ever be needed are reserved at the start, without memory;
 * memory is taken in chunks as pages are first used, and kept for the next sequence. A step walks
 * through all of a context, layer by layer: so the system is asked for big pages, and of some pages
 * in a row, which a sequence most often has in order, each layer has its part in one piece.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef MODEL_KV_H
#define MODEL_KV_H

#include "backend/ops.h"
#include "base/err.h"
#include "spec/spec.h"

enum { KV_MAX_GROUPS = DEVICE_GROUPS };
#define KV_NO_PAGE UINT32_MAX

struct kv_group {
    size_t window; // positions seen; 0: all
    size_t n_layers;
    size_t layer_bytes; // of one layer's part of a page
    size_t page_bytes;
    size_t run; // pages whose parts of a layer lie side by side: [runs, n_layers, run, layer_bytes]
    unsigned char *base; // [reserved], bytes: the device's
    size_t reserved;
    size_t n_pages, max_pages; // in use or free; most there can be
    uint32_t *refs;            // [max_pages]
    uint32_t *free;            // [max_pages] a stack
    size_t n_free;
};

struct kv {
    struct device *device; // whose memory it is; the owner's
    struct kv_group groups[KV_MAX_GROUPS];
    size_t n_groups;
    size_t n_heads, head_dim;
    bool f32;
    size_t table_size;  // entries of a sequence's table
    uint8_t *group_of;  // [n_layers]
    uint32_t *index_of; // [n_layers] within its group
};

struct kv_seq {                      // all zero: empty
    uint32_t *tables[KV_MAX_GROUPS]; // [table_size], KV_NO_PAGE where there is no page
    size_t first[KV_MAX_GROUPS], end[KV_MAX_GROUPS]; // table entries that hold pages
};

/* more_pages: of each group, that are held beside those of sequences. */
int kv_init(struct kv *kv, struct device *d, const struct spec *s, bool f32, size_t context,
            size_t max_sequences, size_t max_rows, size_t more_pages, struct err *e);
size_t kv_n_groups(const struct spec *s, size_t context); // that kv_init makes
void kv_free(struct kv *kv);
struct kv_layer kv_layer(const struct kv *kv, size_t layer); // for the device
/* Of a sequence of len positions, where a layer's part of a page takes page_bytes. */
uint64_t kv_sequence_bytes(const struct spec *s, size_t page_bytes, size_t len);
size_t kv_bytes(const struct kv *kv); // memory taken so far

void kv_seq_init(const struct kv *kv, struct kv_seq *q);
void kv_seq_free(struct kv_seq *q); // after kv_clear

/* Makes positions [from, to) writable. -1 (EXIT_SYSTEM) where memory is out: what was there before
 * still stands. */
int kv_extend(struct kv *kv, struct kv_seq *q, size_t from, size_t to, struct err *e);

/* Gives back the pages that a query at position len or later cannot see, but for a page more, so
 * that a few positions can be forgotten again. */
void kv_retire(struct kv *kv, struct kv_seq *q, size_t len);

/* Forgets positions >= len. False where pages that a query at len needs were given back: then all
 * is forgotten. */
bool kv_truncate(struct kv *kv, struct kv_seq *q, size_t len);

/* to (empty) shares the first len positions of from; false as for kv_truncate, and to stays empty.
 */
bool kv_fork(struct kv *kv, struct kv_seq *to, const struct kv_seq *from, size_t len);

void kv_clear(struct kv *kv, struct kv_seq *q);

/* The first entry of a table that a query at position pos reads. */
size_t kv_first_seen(const struct kv_group *g, size_t pos);

/* Where a page has what belongs to a layer of its group: layer_bytes. */
unsigned char *kv_page_part(const struct kv_group *g, uint32_t page, size_t index);

/* One more, or one less, who holds a page; KV_NO_PAGE is nobody's. The entry that is dropped
 * becomes that.
 */
uint32_t kv_page_share(struct kv_group *g, uint32_t page);
void kv_page_drop(struct kv_group *g, uint32_t *entry);

#endif
