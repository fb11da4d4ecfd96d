/* Fuzz entry: the bytes as a kv(5) file of a made-up model with two groups of layers. The hash of
 * header and table is made right first, so that mutations get past it. What is opened has only
 * blocks that are within the file, and records that are found by their ids.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <sys/mman.h>

#include "../lib/fuzz.h"
#include "base/big_pages.h"
#include "base/mem.h"
#include "model/kv_file.h"
#include "wire/bytes.h"

enum { LAYERS = 2, PART = KV_FILE_UNIT, H_RECORDS = 88, H_HASH = 224, MOST = 64 };

static void mend_hash(uint8_t *p, size_t n) {
    uint64_t records = n >= KV_FILE_HEADER ? get_u64(p + H_RECORDS) : UINT64_MAX;
    struct hash h;
    if (records > (n - KV_FILE_HEADER) / KV_FILE_RECORD)
        return;
    struct hash_state *s = hash_new();
    hash_update(s, p, H_HASH);
    hash_update(s, p + KV_FILE_HEADER, (size_t)records * KV_FILE_RECORD);
    hash_final(s, &h);
    memcpy(p + H_HASH, h.bytes, sizeof h.bytes);
}

static void read_blocks(struct kv_file *f, uint32_t record) {
    struct err e = {0};
    for (size_t g = 0; g < STATE_MAX_GROUPS; g++) {
        if (!kv_file_has(f, record, g))
            continue;
        assert(kv_file_offset(f, record, g) <= kv_file_bytes(f) - LAYERS * PART);
        if (kv_file_check(f, record, g, &e) != 0) {
            fuzz_check_refusal(&e);
            kv_file_forget_block(f, record, g);
            assert(!kv_file_has(f, record, g));
        }
    }
}

/* Looks for the ids that the bytes have where the first records' ids are. */
static void look(struct kv_file *f, const uint8_t *p) {
    const struct prefix_salt none = {{0, 0}};
    size_t n = kv_file_records(f) < MOST ? kv_file_records(f) : MOST;
    uint32_t *ids = xcalloc(n * STATE_REF_SPAN, sizeof *ids), *path = xcalloc(n, sizeof *path);
    for (size_t i = 0; i < n * STATE_REF_SPAN; i++)
        ids[i] = get_u32(p + KV_FILE_HEADER + i / STATE_REF_SPAN * KV_FILE_RECORD + 56 +
                         4 * (i % STATE_REF_SPAN));
    size_t depth = kv_file_descend(f, &none, ids, n, path);
    assert(depth <= n);
    for (size_t i = 0; i < depth; i++) {
        assert(path[i] < kv_file_records(f) && (i == 0 || path[i] > path[i - 1]));
        read_blocks(f, path[i]);
    }
    free(ids);
    free(path);
}

static void open_blocks(struct kv_file *f, const uint8_t *p) {
    struct err e = {0};
    size_t n = round_up_size(kv_file_bytes(f), BIG_PAGE);
    unsigned char *at = big_pages_reserve(n);
    assert(at && kv_file_map(f, at, &e) == 0);
    for (size_t i = 0; i < kv_file_records(f) && i < MOST; i++)
        read_blocks(f, (uint32_t)i);
    look(f, p);
    kv_file_close(f);
    munmap(at, n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct kv_origin o = {.way = "fuzz f32", .n_groups = 2};
    struct err e = {0};
    struct kv_file *f;
    for (size_t g = 0; g < o.n_groups; g++) {
        o.groups[g].kind = STATE_PAGES;
        o.groups[g].span = STATE_REF_SPAN;
        o.groups[g].n_layers = LAYERS;
        o.groups[g].layer_bytes = PART;
        o.groups[g].window = g * 100;
    }
    uint8_t *p = xmalloc(size > 0 ? size : 1);
    if (size > 0)
        memcpy(p, data, size);
    mend_hash(p, size);
    char *path = fuzz_file("kv", (struct str){(const char *)p, size});
    if (kv_file_open(&f, path, &o, &e) != 0) {
        fuzz_check_refusal(&e);
    } else {
        open_blocks(f, p);
    }
    free(path);
    free(p);
    return 0;
}
