/* The index of a sharded folder: see shard_index.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "weights/shard_index.h"

#include <stdlib.h>

#include "base/io.h"
#include "base/utf8.h"
#include "weights/safetensors.h"

static int compare_tensor(const void *a, const void *b) {
    const struct shard_entry *x = a, *y = b;
    return str_compare(x->tensor, y->tensor);
}

static int compare_str(const void *a, const void *b) {
    return str_compare(*(const struct str *)a, *(const struct str *)b);
}

/* A shard must be in the index's own folder. Links are followed, because the Hugging Face cache
 * consists of them. */
static bool is_plain_file_name(struct str s) {
    return s.n > 0 && s.n <= 255 && !utf8_has_control(s) && !memchr(s.p, '/', s.n) &&
           !str_eq(s, ".") && !str_eq(s, "..");
}

static void read_weight_map(struct shard_index *x) {
    struct json *j = &x->json;
    size_t cap = 0;
    struct str tensor;
    json_enter_object(j);
    while (json_key(j, &tensor)) {
        struct str file = json_str(j);
        if (!json_failed(j) && !is_plain_file_name(file))
            json_refuse(j, "shard '%.*s' is not the name of a file in the index's folder",
                        str_shown(file), file.p);
        const char *fault = tensor_name_fault(tensor);
        if (fault)
            json_refuse(j, "tensor name of %zu bytes that %s", tensor.n, fault);
        if (x->n == ST_MAX_TENSORS)
            json_refuse(j, "more than %d tensors", ST_MAX_TENSORS);
        if (json_failed(j))
            return;
        if (x->n == cap)
            x->entries = xreallocarray(x->entries, cap = cap ? 2 * cap : 256, sizeof *x->entries);
        x->entries[x->n++] = (struct shard_entry){tensor, file};
    }
}

/* Sorts the entries, and refuses a tensor that comes twice. */
static int sort_entries(struct shard_index *x, const char *path, struct err *e) {
    qsort(x->entries, x->n, sizeof *x->entries, compare_tensor);
    for (size_t i = 1; i < x->n; i++)
        if (str_same(x->entries[i].tensor, x->entries[i - 1].tensor))
            return err_set(e, EXIT_DATA, "duplicate tensor '%.*s' in the index: %s",
                           str_shown(x->entries[i].tensor), x->entries[i].tensor.p, path);
    return 0;
}

int shard_index_read(struct shard_index *x, const char *path, struct err *e) {
    *x = (struct shard_index){0};
    if (read_file(path, ST_MAX_HEADER, &x->text, e) != 0)
        return -1;
    struct str key;
    bool have_map = false;
    json_init(&x->json, path, x->text.p, x->text.n, e);
    json_enter_object(&x->json);
    while (json_key(&x->json, &key)) {
        if (!str_eq(key, "weight_map")) {
            json_skip(&x->json);
        } else if (have_map) {
            json_refuse(&x->json, "duplicate key 'weight_map'");
        } else {
            have_map = true;
            read_weight_map(x);
        }
    }
    if (!json_end(&x->json))
        return -1;
    if (x->n == 0)
        return err_set(e, EXIT_DATA, "the index has no 'weight_map', or an empty one: %s", path);
    return sort_entries(x, path, e);
}

void shard_index_free(struct shard_index *x) {
    free(x->entries);
    json_free(&x->json);
    buf_free(&x->text);
}

struct str shard_index_file(const struct shard_index *x, const char *tensor) {
    const struct shard_entry key = {.tensor = str_of(tensor)},
                             *found = bsearch(&key, x->entries, x->n, sizeof key, compare_tensor);
    return found ? found->file : (struct str){NULL, 0};
}

struct str *shard_index_files(const struct shard_index *x, size_t *n) {
    struct str *names = xreallocarray(NULL, x->n, sizeof *names);
    for (size_t i = 0; i < x->n; i++)
        names[i] = x->entries[i].file;
    qsort(names, x->n, sizeof *names, compare_str);
    *n = 1;
    for (size_t i = 1; i < x->n; i++)
        if (!str_same(names[i], names[*n - 1]))
            names[(*n)++] = names[i];
    return names;
}
