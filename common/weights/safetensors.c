/* Reading safetensors: see safetensors.h.
 *
 * A header is read in one pass over its JSON. Its tensors are then sorted by offset, and one walk
 * checks that they cover the data without overlap or hole. Names are sorted once all files are
 * read: that finds duplicates and serves weights_find. Every value is checked before it is used,
 * and the work is n log n in the size of the headers, whatever they contain.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "weights/safetensors.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/io.h"
#include "base/json.h"
#include "base/utf8.h"
#include "weights/shard_index.h"

#define LENGTH_BYTES 8u // the header's length, in front of it

/* ---- One header ---- */

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

/* Reads the header of a file of file_bytes bytes, of which the first n are at p. Appends its
 * tensors to w. */
static int read_header(struct weights *w, size_t file, const unsigned char *p, size_t n,
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

/* ---- All files ---- */

/* By name; copies of one name by their place in the list, and so by file. */
static int compare_name(const void *a, const void *b) {
    const struct tensor *x = *(const struct tensor *const *)a,
                        *y = *(const struct tensor *const *)b;
    int order = strcmp(x->name, y->name);
    return order ? order : (x > y) - (x < y);
}

static const char *file_name(const struct weights *w, const struct tensor *t) {
    const char *path = w->files[t->file].path, *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static void sort_names(struct weights *w) {
    bool ordered = true;
    w->by_name = xreallocarray(w->by_name, w->n_tensors, sizeof *w->by_name);
    for (size_t i = 0; i < w->n_tensors; i++) {
        w->by_name[i] = &w->tensors[i];
        ordered = ordered && (i == 0 || strcmp(w->tensors[i - 1].name, w->tensors[i].name) <= 0);
    }
    if (!ordered)
        qsort(w->by_name, w->n_tensors, sizeof *w->by_name, compare_name);
}

/* Marks by_name[from .. end), which have one name, as dropped, but for the copy in the file that
 * the index gives. */
static int choose_copy(const struct weights *w, const struct shard_index *x, size_t from,
                       size_t end, bool *dropped, struct err *e) {
    const struct tensor *first = w->by_name[from];
    struct str file = x ? shard_index_file(x, first->name) : str_of("");
    bool chosen = false;
    for (size_t i = from; i < end; i++) {
        const struct tensor *t = w->by_name[i];
        if (i > from && t->file == w->by_name[i - 1]->file)
            return err_set(e, EXIT_DATA, "duplicate tensor '%.200s': %s", t->name,
                           w->files[t->file].path);
        bool given = str_eq(file, file_name(w, t));
        dropped[t - w->tensors] = !given;
        chosen |= given;
    }
    if (chosen)
        return 0;
    return err_set(e, EXIT_DATA, "duplicate tensor '%.200s' in two files%s: %s: %s", first->name,
                   file.n ? ", and the index gives neither" : "", w->files[first->file].path,
                   w->files[w->by_name[from + 1]->file].path);
}

/* Removes the copies of tensors that the index does not give. */
static void drop_copies(struct weights *w, const bool *dropped) {
    size_t n = 0;
    for (size_t i = 0; i < w->n_tensors; i++)
        if (!dropped[i])
            w->tensors[n++] = w->tensors[i];
    w->n_tensors = n;
    sort_names(w);
}

/* Sorts the names. Of a tensor that several files have, the index (or NULL) chooses the copy;
 * other duplicates are refused. */
static int index_names(struct weights *w, const struct shard_index *x, struct err *e) {
    bool *dropped = NULL;
    int rc = 0;
    sort_names(w);
    for (size_t i = 0, end; i < w->n_tensors && rc == 0; i = end) {
        for (end = i + 1;
             end < w->n_tensors && strcmp(w->by_name[i]->name, w->by_name[end]->name) == 0;)
            end++;
        if (end == i + 1)
            continue;
        if (!dropped)
            dropped = xcalloc(w->n_tensors, sizeof *dropped);
        rc = choose_copy(w, x, i, end, dropped, e);
    }
    if (rc == 0 && dropped)
        drop_copies(w, dropped);
    free(dropped);
    return rc;
}

static uint64_t header_fingerprint(const struct weights *w) {
    struct hash_state *state = hash_new();
    struct hash h;
    for (size_t i = 0; i < w->n_files; i++)
        hash_update(state, w->files[i].map.p, w->files[i].header_bytes);
    hash_final(state, &h);
    return hash_prefix(&h);
}

/* Maps and reads the files whose paths are set, then finishes w. x: their index, or NULL. */
static int read_files(struct weights *w, const struct shard_index *x, struct err *e) {
    size_t cap = 0;
    for (size_t i = 0; i < w->n_files; i++) {
        struct st_file *f = &w->files[i];
        if (map_file(&f->map, f->path, e) != 0 ||
            read_header(w, i, f->map.p, f->map.n, f->map.n, &cap, e) != 0)
            return -1;
    }
    if (index_names(w, x, e) != 0)
        return -1;
    w->fingerprint = header_fingerprint(w);
    return 0;
}

static void one_file(struct weights *w, const char *path) {
    w->files = xcalloc(1, sizeof *w->files);
    w->files[0].path = xstrdup(path);
    w->n_files = 1;
}

int weights_from_bytes(struct weights *w, const char *name, const void *p, size_t n,
                       uint64_t file_bytes, struct err *e) {
    *w = (struct weights){0};
    one_file(w, name);
    size_t cap = 0;
    int rc = read_header(w, 0, p, n, file_bytes, &cap, e);
    if (rc == 0)
        rc = index_names(w, NULL, e);
    if (rc == 0)
        w->fingerprint = hash_fingerprint(p, w->files[0].header_bytes);
    if (rc != 0)
        weights_close(w);
    return rc;
}

/* ---- A sharded folder ---- */

static void list_shards(struct weights *w, const struct shard_index *x, const char *path) {
    const char *slash = strrchr(path, '/');
    struct str *names = shard_index_files(x, &w->n_files);
    w->files = xcalloc(w->n_files, sizeof *w->files);
    for (size_t i = 0; i < w->n_files; i++)
        w->files[i].path = xasprintf("%.*s%.*s", slash ? (int)(slash + 1 - path) : 0, path,
                                     (int)names[i].n, names[i].p);
    free(names);
}

/* Warns about tensors that are not in the file that the index gives for them. The reference loads
 * all tensors of all files, so this matters only where the model needs one that is missing. */
static void compare_index(struct weights *w, const struct shard_index *x, const char *path) {
    enum { MAX_NAMED = 8 };
    size_t n = 0;
    for (size_t i = 0; i < x->n; i++) {
        const struct shard_entry *entry = &x->entries[i];
        char *name = str_dup(entry->tensor);
        const struct tensor *t = weights_find(w, name);
        if ((!t || !str_eq(entry->file, file_name(w, t))) && ++n <= MAX_NAMED)
            buf_fmt(&w->warnings,
                    "the index puts tensor '%.200s' in '%.*s', but it is in %s%s: %s\n", name,
                    (int)entry->file.n, entry->file.p, t ? "" : "no file", t ? file_name(w, t) : "",
                    path);
        free(name);
    }
    if (n > MAX_NAMED)
        buf_fmt(&w->warnings, "%zu more tensors are not where the index puts them: %s\n",
                n - MAX_NAMED, path);
}

static int open_sharded(struct weights *w, const char *path, struct err *e) {
    struct shard_index x;
    int rc = shard_index_read(&x, path, e);
    if (rc == 0) {
        list_shards(w, &x, path);
        rc = read_files(w, &x, e);
    }
    if (rc == 0)
        compare_index(w, &x, path);
    shard_index_free(&x);
    return rc;
}

/* ---- Opening and closing ---- */

/* Refuses a folder without safetensors, and says what it has instead. */
static int no_weights(const char *dir, struct err *e) {
    static const struct {
        const char *file, *hint;
    } others[] = {
        {"adapter_model.safetensors", "a LoRA adapter, not a model: merge it into its base first"},
        {"adapter_config.json", "a LoRA adapter, not a model: merge it into its base first"},
        {"pytorch_model.bin",
         "its weights are pytorch_model.bin, and only safetensors files are read"},
        {"pytorch_model.bin.index.json",
         "its weights are pytorch_model-*.bin, and only safetensors files are read"},
        {"consolidated.safetensors",
         "its weights are consolidated.safetensors, in Mistral's own names: the folder in "
         "transformers' form is needed"},
        {"tf_model.h5", "its weights are tf_model.h5, and only safetensors files are read"},
    };
    static const struct {
        const char *end, *hint;
    } ends[] = {
        {".safetensors", "is the download whole?"},
        {".gguf", "st-convert makes a model folder of a GGUF file"},
        {".bin", "only safetensors files are read"},
        {".pth", "only safetensors files are read"},
        {".pt", "only safetensors files are read"},
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        char *path = path_join(dir, others[i].file);
        bool there = is_file(path);
        free(path);
        if (there)
            return err_set(e, EXIT_NO_INPUT,
                           "neither model.safetensors nor model.safetensors.index.json (%s): %s",
                           others[i].hint, dir);
    }
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        char *file = dir_find(dir, ends[i].end);
        if (!file)
            continue;
        err_set(e, EXIT_NO_INPUT,
                "neither model.safetensors nor model.safetensors.index.json, but %.200s (%s): %s",
                file, ends[i].hint, dir);
        free(file);
        return -1;
    }
    return err_set(e, EXIT_NO_INPUT,
                   "neither model.safetensors nor model.safetensors.index.json: %s", dir);
}

/* One file is preferred to shards, as in transformers. NULL if the folder has neither. */
static char *find_in_folder(const char *dir) {
    static const char *const names[] = {"model.safetensors", "model.safetensors.index.json"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *path = path_join(dir, names[i]);
        if (is_there(path))
            return path;
        free(path);
    }
    return NULL;
}

int weights_open(struct weights *w, const char *path, struct err *e) {
    *w = (struct weights){0};
    char *file = is_dir(path) ? find_in_folder(path) : xstrdup(path);
    if (!file)
        return no_weights(path, e);
    int rc;
    if (str_ends_with(str_of(file), ".json")) {
        rc = open_sharded(w, file, e);
    } else {
        one_file(w, file);
        rc = read_files(w, NULL, e);
    }
    free(file);
    if (rc != 0)
        weights_close(w);
    return rc;
}

void weights_close(struct weights *w) {
    for (size_t i = 0; i < w->n_files; i++) {
        unmap_file(&w->files[i].map);
        free(w->files[i].path);
        free(w->files[i].metadata_json);
    }
    free(w->files);
    free(w->tensors);
    free(w->by_name);
    arena_free(&w->names);
    buf_free(&w->warnings);
    *w = (struct weights){0};
}

const struct tensor *weights_find(const struct weights *w, const char *name) {
    size_t low = 0, high = w->n_tensors;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(name, w->by_name[middle]->name);
        if (order == 0)
            return w->by_name[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
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
