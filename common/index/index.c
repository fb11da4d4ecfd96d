/* An index file, opened and read: see index.h and the page index(5).
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "index/index.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "base/utf8.h"
#include "weights/half.h"
#include "weights/panel_i8.h"
#include "wire/bytes.h"

static const char magic[8] = {'V', 'E', 'C', 'I', 'D', 'X', '\r', '\n'};

enum header_offset {
    H_MAGIC = 0,
    H_VERSION = 8,
    H_BYTES = 12, // of the header itself: 256
    H_DIM = 16,
    H_STORE = 20,
    H_METRIC = 24,
    H_MAX_NORM = 28,
    H_MAX_ERROR = 32,
    H_ZERO = 36,
    H_MODEL = 40,
    H_TOKENIZER = 48,
    H_RECORDS = 56,
    H_TEXTS = 64,
    H_WORDS = 72,
    H_BLOB = 80, // bytes
    H_RESERVED = 88,
};

enum entry_offset { E_AT = 0, E_ID = 8, E_ATTRS = 12, E_TEXT = 16, E_WORDS = 20, E_LENGTH = 24 };

static const char *const store_names[] = {
    [INDEX_F32] = "f32", [INDEX_BF16] = "bf16", [INDEX_I8] = "i8"};

const char *index_store_name(enum index_store s) {
    return store_names[s];
}

enum index_store index_store_of(const char *name) {
    for (enum index_store s = INDEX_F32; s <= INDEX_I8; s++)
        if (strcmp(name, store_names[s]) == 0)
            return s;
    return 0;
}

/* ---- Layout ---- */

static bool add_part(uint64_t *at, uint64_t n, uint64_t bytes, uint64_t *total) {
    return !__builtin_mul_overflow(n, bytes, total) && !__builtin_add_overflow(*at, *total, at) &&
           *at <= UINT64_MAX - INDEX_ALIGN;
}

bool index_lay_out(const struct index_info *info, struct index_layout *l) {
    const bool i8 = info->store == INDEX_I8;
    const uint64_t rows = i8 ? PANEL_ROWS : 1; // that are stored together
    uint64_t at = INDEX_ALIGN, table;
    if (i8 && info->dim > INDEX_MAX_DIM_I8)
        return false;
    l->scan = at;
    if (!add_part(&at, (info->n + rows - 1) / rows, i8 ? panel_i8_bytes(info->dim) : info->dim * 2,
                  &l->scan_bytes))
        return false;
    at = round_up_size(at, INDEX_ALIGN);
    l->exact = at;
    l->exact_bytes = 0;
    if (info->store == INDEX_BF16)
        l->exact = l->scan;
    else if (!add_part(&at, info->n, info->dim * 4, &l->exact_bytes))
        return false;
    l->table = at = round_up_size(at, INDEX_ALIGN);
    if (!add_part(&at, info->n, INDEX_ENTRY_BYTES, &table))
        return false;
    l->blob = round_up_size(at, INDEX_ALIGN);
    return true;
}

void index_write_header(const struct index_info *info, uint64_t blob_bytes,
                        uint8_t out[INDEX_HEADER_BYTES]) {
    memset(out, 0, INDEX_HEADER_BYTES);
    memcpy(out + H_MAGIC, magic, sizeof magic);
    put_u32(out + H_VERSION, INDEX_VERSION);
    put_u32(out + H_BYTES, INDEX_HEADER_BYTES);
    put_u32(out + H_DIM, (uint32_t)info->dim);
    put_u32(out + H_STORE, info->store);
    put_u32(out + H_METRIC, info->metric);
    put_u32(out + H_MAX_NORM, f32_bits(info->max_norm));
    put_u32(out + H_MAX_ERROR, f32_bits(info->max_error));
    put_u64(out + H_MODEL, info->model);
    put_u64(out + H_TOKENIZER, info->tokenizer);
    put_u64(out + H_RECORDS, info->n);
    put_u64(out + H_TEXTS, info->n_texts);
    put_u64(out + H_WORDS, info->all_words);
    put_u64(out + H_BLOB, blob_bytes);
}

void index_write_entry(const struct index_entry *entry, uint8_t out[INDEX_ENTRY_BYTES]) {
    memset(out, 0, INDEX_ENTRY_BYTES);
    put_u64(out + E_AT, entry->at);
    put_u32(out + E_ID, entry->n_id);
    put_u32(out + E_ATTRS, entry->n_attrs);
    put_u32(out + E_TEXT, entry->n_text);
    put_u32(out + E_WORDS, entry->n_words);
    put_u32(out + E_LENGTH, entry->length);
}

static uint64_t text_bytes(const struct index_entry *entry) {
    return round_up_size((uint64_t)entry->n_id + entry->n_attrs + entry->n_text, 8);
}

uint64_t index_entry_bytes(const struct index_entry *entry) {
    return text_bytes(entry) + (uint64_t)entry->n_words * 8;
}

/* ---- Opening ---- */

static int refuse(const struct index_file *ix, size_t byte, const char *what, struct err *e) {
    return err_set(e, EXIT_DATA, "%s: %s: byte %zu", what, ix->path, byte);
}

static bool good_bound(float v) {
    return isfinite(v) && v >= 0;
}

static int read_header(struct index_file *ix, const unsigned char *b, struct err *e) {
    struct index_info *info = &ix->info;
    uint32_t store = get_u32(b + H_STORE), metric = get_u32(b + H_METRIC);
    *info = (struct index_info){
        .dim = get_u32(b + H_DIM),
        .store = (enum index_store)store, // checked below
        .metric = metric == INDEX_DOT ? INDEX_DOT : INDEX_COSINE,
        .max_norm = f32_from_bits(get_u32(b + H_MAX_NORM)),
        .max_error = f32_from_bits(get_u32(b + H_MAX_ERROR)),
        .model = get_u64(b + H_MODEL),
        .tokenizer = get_u64(b + H_TOKENIZER),
        .n_texts = get_u64(b + H_TEXTS),
        .all_words = get_u64(b + H_WORDS),
    };
    uint64_t n = get_u64(b + H_RECORDS);
    if (get_u32(b + H_VERSION) != INDEX_VERSION)
        return refuse(ix, H_VERSION, "an index(5) of a version other than 1", e);
    if (get_u32(b + H_BYTES) != INDEX_HEADER_BYTES)
        return refuse(ix, H_BYTES, "the header's length is not 256", e);
    if (info->dim == 0 || info->dim > INDEX_MAX_DIM)
        return refuse(ix, H_DIM, "the dimension is not in 1 .. 1048576", e);
    if (store < INDEX_F32 || store > INDEX_I8)
        return refuse(ix, H_STORE, "the type of the vectors is not f32 (1), bf16 (2) or i8 (3)", e);
    if (store == INDEX_I8 && info->dim > INDEX_MAX_DIM_I8)
        return refuse(ix, H_DIM, "the dimension of i8 vectors is not in 1 .. 131072", e);
    if (metric < INDEX_COSINE || metric > INDEX_DOT)
        return refuse(ix, H_METRIC, "the metric is not cosine (1) or dot (2)", e);
    if (!good_bound(info->max_norm) || !good_bound(info->max_error))
        return refuse(ix, H_MAX_NORM, "a bound is not a number, or is negative", e);
    if (n > INDEX_MAX_RECORDS)
        return refuse(ix, H_RECORDS, "more than 1073741824 records", e);
    if (info->n_texts > n || info->all_words > n * INDEX_MAX_PART)
        return refuse(ix, H_TEXTS, "more texts than records, or more words than texts have", e);
    info->n = (size_t)n;
    for (size_t i = H_RESERVED; i < INDEX_HEADER_BYTES; i++)
        if (b[i])
            return refuse(ix, i, "reserved bytes are not zero", e);
    return get_u32(b + H_ZERO) ? refuse(ix, H_ZERO, "reserved bytes are not zero", e) : 0;
}

static int check_parts(struct index_file *ix, struct err *e) {
    struct index_layout l;
    ix->blob_bytes = get_u64(ix->map.p + H_BLOB);
    if (!index_lay_out(&ix->info, &l) || l.blob > ix->map.n || ix->blob_bytes != ix->map.n - l.blob)
        return err_set(e, EXIT_DATA,
                       "%zu records of dimension %zu do not fit the file of %zu bytes: %s",
                       ix->info.n, ix->info.dim, ix->map.n, ix->path);
    ix->scan = ix->map.p + l.scan;
    ix->exact = ix->map.p + l.exact;
    ix->table = ix->map.p + l.table;
    ix->blob = ix->map.p + l.blob;
    return 0;
}

int index_open(struct index_file *ix, const char *path, struct err *e) {
    *ix = (struct index_file){0};
    if (map_file(&ix->map, path, e) != 0)
        return -1;
    ix->path = xstrdup(path);
    size_t n = ix->map.n, shown = n < sizeof magic ? n : sizeof magic;
    int rc;
    if (n < sizeof magic || memcmp(ix->map.p, magic, shown) != 0)
        rc = err_set(e, EXIT_DATA, "not an index(5), as vec-index writes it: %s", path);
    else if (n < INDEX_ALIGN)
        rc = err_set(e, EXIT_DATA, "the index was cut: it has %zu bytes: %s", n, path);
    else
        rc = read_header(ix, ix->map.p, e) == 0 ? check_parts(ix, e) : -1;
    if (rc != 0)
        index_close(ix);
    return rc;
}

void index_close(struct index_file *ix) {
    unmap_file(&ix->map);
    free(ix->path);
    *ix = (struct index_file){0};
}

/* ---- Records ---- */

static int read_entry(const struct index_file *ix, size_t i, struct index_entry *entry,
                      struct err *e) {
    const unsigned char *b = ix->table + i * INDEX_ENTRY_BYTES;
    *entry = (struct index_entry){.at = get_u64(b + E_AT),
                                  .n_id = get_u32(b + E_ID),
                                  .n_attrs = get_u32(b + E_ATTRS),
                                  .n_text = get_u32(b + E_TEXT),
                                  .n_words = get_u32(b + E_WORDS),
                                  .length = get_u32(b + E_LENGTH)};
    if (entry->n_id > INDEX_MAX_PART || entry->n_attrs > INDEX_MAX_PART ||
        entry->n_text > INDEX_MAX_PART || entry->n_words > INDEX_MAX_PART ||
        entry->length > INDEX_MAX_PART || entry->at % 8 != 0 || entry->at > ix->blob_bytes ||
        index_entry_bytes(entry) > ix->blob_bytes - entry->at)
        return err_set(e, EXIT_DATA, "record %zu is not inside the file: %s", i, ix->path);
    return 0;
}

int index_id(const struct index_file *ix, size_t i, struct str *id, struct err *e) {
    struct index_entry entry;
    if (read_entry(ix, i, &entry, e) != 0)
        return -1;
    *id = (struct str){(const char *)ix->blob + entry.at, entry.n_id};
    return 0;
}

int index_check_records(const struct index_file *ix, struct err *e) {
    uint64_t left = ix->blob_bytes;
    for (size_t i = 0; i < ix->info.n; i++) {
        struct index_entry entry;
        if (read_entry(ix, i, &entry, e) != 0)
            return -1;
        if (index_entry_bytes(&entry) > left)
            return err_set(e, EXIT_DATA, "record %zu shares bytes with another one: %s", i,
                           ix->path);
        left -= index_entry_bytes(&entry);
    }
    return 0;
}

int index_words(const struct index_file *ix, size_t i, struct index_record *r, struct err *e) {
    struct index_entry entry;
    if (read_entry(ix, i, &entry, e) != 0)
        return -1;
    *r = (struct index_record){.length = entry.length,
                               .words = ix->blob + entry.at + text_bytes(&entry),
                               .n_words = entry.n_words};
    return 0;
}

int index_record(const struct index_file *ix, size_t i, struct index_record *r, struct err *e) {
    struct index_entry entry;
    if (read_entry(ix, i, &entry, e) != 0)
        return -1;
    const char *p = (const char *)ix->blob + entry.at;
    size_t n = (size_t)entry.n_id + entry.n_attrs + entry.n_text;
    *r = (struct index_record){.id = {p, entry.n_id},
                               .attrs = {p + entry.n_id, entry.n_attrs},
                               .text = {p + entry.n_id + entry.n_attrs, entry.n_text},
                               .length = entry.length,
                               .words = ix->blob + entry.at + text_bytes(&entry),
                               .n_words = entry.n_words};
    if (utf8_valid(r->id.p, r->id.n) != r->id.n ||
        utf8_valid(r->attrs.p, r->attrs.n) != r->attrs.n ||
        utf8_valid(r->text.p, r->text.n) != r->text.n || memchr(p, '\n', n - entry.n_text))
        return err_set(e, EXIT_DATA, "record %zu has text that is not UTF-8, or a newline: %s", i,
                       ix->path);
    return 0;
}

void index_vector(const struct index_file *ix, size_t i, float *out) {
    const size_t dim = ix->info.dim;
    if (ix->info.store != INDEX_BF16) {
        memcpy(out, ix->exact + i * dim * 4, dim * 4);
        return;
    }
    for (size_t k = 0; k < dim; k++) {
        uint16_t h;
        memcpy(&h, ix->exact + (i * dim + k) * 2, sizeof h);
        out[k] = f32_from_bf16(h);
    }
}
