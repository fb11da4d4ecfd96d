/* The header of a safetensors file: see st_header.h.
 *
 * It is read in one pass over its JSON. Its tensors are then sorted by offset, and one walk checks
 * that they cover the data without overlap or hole. Every value is checked before it is used, and
 * the work is n log n in the size of the header, whatever it contains.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "weights/st_header.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/utf8.h"

#define LENGTH_BYTES 8u // the header's length, in front of it

/* One header as it is read. */
struct header {
    struct json json;
    struct weights *w;
    size_t file;
    uint64_t data_bytes; // after the header
    uint64_t end;        // data byte after the last tensor
    const char *last;    // that tensor's name
};

static int compare_str(const void *a, const void *b) {
    return str_compare(*(const struct str *)a, *(const struct str *)b);
}

/* "__metadata__": an object of strings, or null. */
static void read_metadata(struct header *h) {
    struct json *j = &h->json;
    struct st_file *file = &h->w->files[h->file];
    if (file->metadata_json) {
        json_refuse(j, "duplicate key '__metadata__'");
        return;
    }
    if (json_peek(j) == JSON_NULL) {
        json_null(j);
        return;
    }
    const char *from = j->p;
    struct str *keys = NULL, key;
    size_t n = 0, cap = 0;
    json_enter_object(j);
    while (json_key(j, &key)) {
        if (n == cap)
            keys = xreallocarray(keys, cap = cap ? 2 * cap : 16, sizeof *keys);
        keys[n++] = key;
        json_str(j);
    }
    if (!json_failed(j))
        file->metadata_json = xstrndup(from, (size_t)(j->p - from));
    if (n > 1)
        qsort(keys, n, sizeof *keys, compare_str);
    for (size_t i = 1; i < n; i++)
        if (str_same(keys[i - 1], keys[i]))
            json_refuse(j, "duplicate key '%.*s' in '__metadata__'", str_shown(keys[i]), keys[i].p);
    free(keys);
}

static void read_dtype(struct json *j, struct tensor *t) {
    struct str name = json_str(j);
    if (!json_failed(j) && !dtype_parse(name, &t->dtype))
        json_refuse(j, "tensor '%.200s' has the unknown dtype '%.*s'", t->name, str_shown(name),
                    name.p);
}

static void read_shape(struct json *j, struct tensor *t) {
    json_enter_array(j);
    while (json_item(j)) {
        if (t->n_dims < TENSOR_MAX_DIMS)
            t->shape[t->n_dims++] = json_u64(j);
        else
            json_refuse(j, "tensor '%.200s' has more than %d dimensions", t->name, TENSOR_MAX_DIMS);
    }
}

/* Reads [begin, end), relative to the first data byte, into t->offset and t->n_bytes. */
static void read_offsets(struct header *h, struct tensor *t) {
    struct json *j = &h->json;
    uint64_t at[2] = {0, 0};
    size_t n = 0;
    json_enter_array(j);
    while (json_item(j)) {
        if (n < 2)
            at[n] = json_u64(j);
        else
            json_skip(j);
        n++;
    }
    if (json_failed(j))
        return;
    if (n != 2)
        json_refuse(j, "tensor '%.200s': expected 2 data_offsets, found %zu", t->name, n);
    else if (at[0] > at[1])
        json_refuse(j,
                    "tensor '%.200s' ends at data byte %" PRIu64 ", before its start at %" PRIu64,
                    t->name, at[1], at[0]);
    if (at[1] > h->end || !h->last) {
        h->end = at[1];
        h->last = t->name;
    }
    t->offset = at[0];
    t->n_bytes = at[1] - at[0];
}

static void check_size(struct json *j, struct tensor *t) {
    char shape[200];
    uint64_t n_bytes;
    if (json_failed(j))
        return;
    if (!dtype_array_size(t->dtype, t->n_dims, t->shape, &t->n_elements, &n_bytes))
        json_refuse(j, "tensor '%.200s', %s %s: too large, or not whole bytes", t->name,
                    dtype_name(t->dtype), tensor_shape_text(t, shape));
    else if (n_bytes != t->n_bytes)
        json_refuse(
            j,
            "tensor '%.200s', %s %s, takes %" PRIu64 " bytes, but its data_offsets hold %" PRIu64,
            t->name, dtype_name(t->dtype), tensor_shape_text(t, shape), n_bytes, t->n_bytes);
}

static void read_tensor(struct header *h, struct tensor *t) {
    struct json *j = &h->json;
    bool have_dtype = false, have_shape = false, have_offsets = false;
    struct str key;
    json_enter_object(j);
    while (json_key(j, &key)) {
        bool *have = str_eq(key, "dtype")          ? &have_dtype
                     : str_eq(key, "shape")        ? &have_shape
                     : str_eq(key, "data_offsets") ? &have_offsets
                                                   : NULL;
        if (have && *have)
            json_refuse(j, "duplicate key '%.*s' in tensor '%.200s'", (int)key.n, key.p, t->name);
        else if (have == &have_dtype)
            read_dtype(j, t);
        else if (have == &have_shape)
            read_shape(j, t);
        else if (have == &have_offsets)
            read_offsets(h, t);
        else
            json_skip(j);
        if (have)
            *have = true;
    }
    if (!json_failed(j) && !(have_dtype && have_shape && have_offsets))
        json_refuse(j, "key '%s' of tensor '%.200s' is missing",
                    !have_dtype   ? "dtype"
                    : !have_shape ? "shape"
                                  : "data_offsets",
                    t->name);
    check_size(j, t);
}

const char *tensor_name_fault(struct str name) {
    return name.n == 0                ? "is empty"
           : name.n > TENSOR_MAX_NAME ? "is too long"
           : utf8_has_control(name)   ? "holds a control character"
                                      : NULL;
}

/* Reads the header's members. Appends to h->w->tensors, whose capacity is *cap. */
static void read_members(struct header *h, size_t *cap) {
    struct json *j = &h->json;
    struct weights *w = h->w;
    struct str name;
    json_enter_object(j);
    while (json_key(j, &name)) {
        if (str_eq(name, "__metadata__")) {
            read_metadata(h);
            continue;
        }
        const char *fault = tensor_name_fault(name);
        if (fault) {
            json_refuse(j, "tensor name of %zu bytes that %s", name.n, fault);
            return;
        }
        if (w->n_tensors == ST_MAX_TENSORS) {
            json_refuse(j, "more than %d tensors", ST_MAX_TENSORS);
            return;
        }
        if (w->n_tensors == *cap)
            w->tensors =
                xreallocarray(w->tensors, *cap = *cap ? 2 * *cap : 256, sizeof *w->tensors);
        struct tensor *t = &w->tensors[w->n_tensors++];
        *t = (struct tensor){.name = arena_str(&w->names, name.p, name.n).p, .file = h->file};
        read_tensor(h, t);
    }
    json_end(j);
}

static int compare_offset(const void *a, const void *b) {
    const struct tensor *x = a, *y = b;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    if (x->n_bytes != y->n_bytes)
        return x->n_bytes < y->n_bytes ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* Sorts t[0..n) by offset, and checks that they cover the data exactly. */
static int check_cover(struct tensor *t, size_t n, uint64_t data_bytes, const char *path,
                       struct err *e) {
    bool ordered = true;
    for (size_t i = 1; i < n && ordered; i++)
        ordered = compare_offset(&t[i - 1], &t[i]) <= 0;
    if (!ordered)
        qsort(t, n, sizeof *t, compare_offset);
    uint64_t at = 0;
    for (size_t i = 0; i < n; i++) {
        if (t[i].offset < at)
            return err_set(e, EXIT_DATA,
                           "tensors '%.200s' and '%.200s' overlap at data byte %" PRIu64 ": %s",
                           t[i - 1].name, t[i].name, t[i].offset, path);
        if (t[i].offset > at)
            return err_set(e, EXIT_DATA,
                           "data bytes %" PRIu64 " to %" PRIu64 ", before tensor '%.200s', belong "
                           "to no tensor: %s",
                           at, t[i].offset, t[i].name, path);
        at += t[i].n_bytes;
    }
    if (at != data_bytes)
        return err_set(e, EXIT_DATA,
                       "the last %" PRIu64 " of %" PRIu64 " data bytes belong to no tensor: %s",
                       data_bytes - at, data_bytes, path);
    return 0;
}

/* Refuses a file that ends before its last tensor does. */
static int check_end(const struct header *h, uint64_t header_bytes, uint64_t file_bytes,
                     const char *path, struct err *e) {
    if (h->end <= h->data_bytes)
        return 0;
    uint64_t needed = h->end < UINT64_MAX - header_bytes ? header_bytes + h->end : UINT64_MAX;
    return err_set(e, EXIT_DATA,
                   "the file is cut short: expected %" PRIu64 " bytes, found %" PRIu64
                   " (tensor '%.200s' ends at data byte %" PRIu64 ", but the file has %" PRIu64
                   " bytes of data): %s",
                   needed, file_bytes, h->last, h->end, h->data_bytes, path);
}

/* Refuses a header with too many tensors, before they take memory. A shorter header has fewer. */
static int check_count(const char *path, const char *text, size_t length, struct err *e) {
    enum { LEAST_BYTES = 32 }; // of a tensor
    struct json j;
    struct str name;
    size_t n = 0;
    if (length <= (size_t)ST_MAX_TENSORS * LEAST_BYTES)
        return 0;
    json_init(&j, path, text, length, e);
    json_enter_object(&j);
    while (n <= ST_MAX_TENSORS && json_key(&j, &name)) {
        json_skip(&j);
        n++;
    }
    bool failed = json_failed(&j);
    json_free(&j);
    if (!failed && n > ST_MAX_TENSORS)
        return err_set(e, EXIT_DATA, "more than %d tensors: %s", ST_MAX_TENSORS, path);
    return failed ? -1 : 0;
}

int st_header_read(struct weights *w, size_t file, const unsigned char *p, size_t n,
                   uint64_t file_bytes, size_t *cap, struct err *e) {
    const char *path = w->files[file].path;
    uint64_t length = 0;
    if (file_hint(p, n))
        return err_set(e, EXIT_DATA, "%s: %s", file_hint(p, n), path);
    if (n < LENGTH_BYTES)
        return err_set(
            e, EXIT_DATA,
            "file of %zu bytes: a safetensors file begins with 8 bytes of header length: %s", n,
            path);
    for (unsigned i = 0; i < LENGTH_BYTES; i++)
        length |= (uint64_t)p[i] << (8 * i);
    if (length > ST_MAX_HEADER)
        return err_set(e, EXIT_DATA,
                       "header of %" PRIu64
                       " bytes, the format's limit is %d (not a safetensors file?): %s",
                       length, ST_MAX_HEADER, path);
    if (length > n - LENGTH_BYTES)
        return err_set(e, EXIT_DATA,
                       "header of %" PRIu64 " bytes, but the file has %" PRIu64
                       " after its length: expected at least %" PRIu64 " bytes, found %" PRIu64
                       ": %s",
                       length, file_bytes - LENGTH_BYTES, LENGTH_BYTES + length, file_bytes, path);
    if (length == 0 || p[LENGTH_BYTES] != '{')
        return err_set(e, EXIT_DATA, "the header does not begin with '{': %s", path);
    w->files[file].header_bytes = LENGTH_BYTES + (size_t)length;

    if (check_count(path, (const char *)p + LENGTH_BYTES, (size_t)length, e) != 0)
        return -1;
    struct header h = {.w = w, .file = file, .data_bytes = file_bytes - LENGTH_BYTES - length};
    size_t first = w->n_tensors;
    json_init(&h.json, path, (const char *)p + LENGTH_BYTES, (size_t)length, e);
    read_members(&h, cap);
    bool failed = json_failed(&h.json);
    json_free(&h.json);
    struct tensor *new = w->tensors ? w->tensors + first : NULL; // NULL: no tensors yet
    if (failed || check_end(&h, LENGTH_BYTES + length, file_bytes, path, e) != 0 ||
        check_cover(new, w->n_tensors - first, h.data_bytes, path, e) != 0)
        return -1;
    for (size_t i = first; i < w->n_tensors; i++) {
        w->tensors[i].offset += w->files[file].header_bytes;
        w->tensors[i].data = n == file_bytes ? p + w->tensors[i].offset : NULL;
    }
    return 0;
}

char *tensor_shape_text(const struct tensor *t, char out[static 200]) {
    size_t used = 0;
    out[used++] = '[';
    for (size_t i = 0; i < t->n_dims; i++)
        used += (size_t)snprintf(out + used, 200 - used, "%s%" PRIu64, i ? ", " : "", t->shape[i]);
    out[used++] = ']';
    out[used] = '\0';
    return out;
}
