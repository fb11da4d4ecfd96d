/* Safetensors files and folders of them: see safetensors.h. Headers are read by st_header.c.
 *
 * Names are sorted once all files are read: that finds duplicates and serves weights_find. The work
 * is n log n in the number of tensors.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "weights/safetensors.h"

#include <stdlib.h>

#include "base/hash.h"
#include "base/io.h"
#include "weights/shard_index.h"
#include "weights/st_header.h"

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
            st_header_read(w, i, f->map.p, f->map.n, f->map.n, &cap, e) != 0)
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
    int rc = st_header_read(w, 0, p, n, file_bytes, &cap, e);
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
