/* Lists of content hashes: see hashlist.h.
 *
 * BLAKE2b is sequential, so threads share the work by items. The whole file is one item and its
 * tensors are the others. On two cores that is an even split.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "weights/hashlist.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/jobs.h"
#include "base/progress.h"
#include "base/utf8.h"

enum {
    PIECE = 4 << 20,           // bytes between two steps of the progress line
    LIST_MAX = 1000000000,     // bytes of a list: ten times the largest header
    FOLDER_FILE_MAX = 1 << 30, // of another file of the folder: no program reads a larger one
};

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* ---- Computing ---- */

/* What programs read from a model's folder beside weights. */
static const char *const folder_files[] = {
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "additional_chat_templates/tool_use.jinja",
    "model.safetensors.index.json",
};
enum { N_FOLDER_FILES = sizeof folder_files / sizeof *folder_files };

static bool is_folder_file(const char *label) {
    for (size_t i = 0; i < N_FOLDER_FILES; i++)
        if (strcmp(label, folder_files[i]) == 0)
            return true;
    return false;
}

static struct str map_bytes(const struct map *m) {
    return (struct str){(const char *)m->p, m->n};
}

static int add_folder(struct hashlist_set *s, const char *folder, size_t group, struct err *e) {
    int rc = 0;
    s->maps = xcalloc(N_FOLDER_FILES, sizeof *s->maps);
    for (size_t i = 0; i < N_FOLDER_FILES && rc == 0; i++) {
        char *path = path_join(folder, folder_files[i]);
        struct map *m = &s->maps[s->n_maps];
        if (is_there(path) && (rc = map_file_within(m, path, FOLDER_FILE_MAX, e)) == 0) {
            s->n_maps++;
            s->items[s->n++] = (struct hashlist_item){
                .label = folder_files[i], .bytes = map_bytes(m), .file = group};
        }
        free(path);
    }
    return rc;
}

static void add_tensor(struct hashlist_set *s, const char *file, const struct tensor *t) {
    size_t n = strlen(file) + 1 + strlen(t->name);
    char *label = arena_alloc(&s->labels, n + 1);
    snprintf(label, n + 1, "%s:%s", file, t->name);
    s->items[s->n++] = (struct hashlist_item){
        .label = label, .bytes = {t->data, (size_t)t->n_bytes}, .file = t->file, .part = true};
}

int hashlist_set_new(struct hashlist_set *s, const struct weights *w, const char *folder,
                     struct err *e) {
    size_t most = w->n_files + w->n_tensors + N_FOLDER_FILES;
    *s = (struct hashlist_set){.items = xcalloc(most, sizeof *s->items)};
    if (folder && add_folder(s, folder, w->n_files, e) != 0)
        return -1;
    size_t t = 0;
    for (size_t f = 0; f < w->n_files; f++) {
        const char *name = base_name(w->files[f].path);
        if (utf8_valid(name, strlen(name)) != strlen(name) || utf8_has_control(str_of(name)))
            return err_set(e, EXIT_DATA, "a file with this name cannot be in a list of hashes: %s",
                           name);
        s->items[s->n++] =
            (struct hashlist_item){.label = name, .bytes = map_bytes(&w->files[f].map), .file = f};
        for (; t < w->n_tensors && w->tensors[t].file == f; t++)
            add_tensor(s, name, &w->tensors[t]);
    }
    return 0;
}

void hashlist_set_free(struct hashlist_set *s) {
    for (size_t i = 0; i < s->n_maps; i++)
        unmap_file(&s->maps[i]);
    free(s->maps);
    free(s->items);
    arena_free(&s->labels);
    *s = (struct hashlist_set){0};
}

/* Items that are hashed together. */
struct hashing {
    struct hashlist_item **items;
    hashlist_done *done;
    void *arg;
    atomic_ullong n_bytes; // done, of all threads
    unsigned long long shown;
    struct progress progress;
};

static void hash_one(void *arg, size_t i) {
    struct hashing *h = arg;
    struct str bytes = h->items[i]->bytes;
    struct hash_state *state = hash_new();
    for (size_t at = 0; at < bytes.n;) {
        size_t n = bytes.n - at < PIECE ? bytes.n - at : PIECE;
        hash_update(state, bytes.p + at, n);
        atomic_fetch_add_explicit(&h->n_bytes, n, memory_order_relaxed);
        at += n;
    }
    hash_final(state, &h->items[i]->hash);
}

static void show_progress(void *arg) {
    struct hashing *h = arg;
    unsigned long long now = atomic_load_explicit(&h->n_bytes, memory_order_relaxed);
    progress_add(&h->progress, now - h->shown);
    h->shown = now;
}

static void take_one(void *arg, size_t i) {
    struct hashing *h = arg;
    if (h->done)
        h->done(h->arg, h->items[i]);
}

static int compute(struct hashlist_item **items, size_t n, size_t n_threads, hashlist_done *done,
                   void *arg, struct err *e) {
    struct hashing h = {.items = items, .done = done, .arg = arg};
    uint64_t total = 0;
    for (size_t i = 0; i < n; i++)
        total += items[i]->bytes.n;
    progress_start(&h.progress, "hashing", total);
    int rc = jobs_run(&(struct jobs_list){n, hash_one, take_one, show_progress, &h}, n_threads, e);
    progress_end(&h.progress);
    return rc;
}

int hashlist_set_compute(struct hashlist_set *s, size_t n_threads, hashlist_done *done, void *arg,
                         struct err *e) {
    struct hashlist_item **items = xcalloc(s->n, sizeof *items);
    for (size_t i = 0; i < s->n; i++)
        items[i] = &s->items[i];
    int rc = compute(items, s->n, n_threads, done, arg, e);
    free(items);
    return rc;
}

/* ---- A list ---- */

struct list_line {
    const char *label; // NUL-terminated, in the text
    struct hash hash;
    const struct hashlist_item *item; // the item of this name, or NULL
};

struct list {
    struct buf text;
    struct list_line *lines; // in the list's order
    struct list_line **by_label;
    size_t n;
};

static void list_free(struct list *l) {
    buf_free(&l->text);
    free(l->lines);
    free(l->by_label);
}

static int compare_label(const void *a, const void *b) {
    const struct list_line *const *x = a, *const *y = b;
    return strcmp((*x)->label, (*y)->label);
}

/* "HEX  LABEL" or "HEX *LABEL". */
static bool parse_line(struct list_line *line, struct str s) {
    enum { LABEL = HASH_HEX + 1 };
    if (s.n <= LABEL || s.p[LABEL - 2] != ' ' || (s.p[LABEL - 1] != ' ' && s.p[LABEL - 1] != '*'))
        return false;
    struct str label = {s.p + LABEL, s.n - LABEL};
    line->label = label.p;
    return hash_parse(&line->hash, (struct str){s.p, HASH_HEX - 1}) &&
           utf8_valid(label.p, label.n) == label.n && !utf8_has_control(label);
}

static int parse_lines(struct list *l, const char *path, struct err *e) {
    char *p = l->text.p, *end = l->text.p + l->text.n;
    size_t cap = 0;
    for (size_t number = 1; p < end; number++) {
        char *newline = memchr(p, '\n', (size_t)(end - p)), *stop = newline ? newline : end;
        struct list_line line = {0};
        struct str s = {p, (size_t)(stop - p)};
        p = newline ? newline + 1 : end;
        if (s.n == 0 || s.p[0] == '#')
            continue;
        if (!parse_line(&line, s))
            return err_set(e, EXIT_DATA,
                           "expected 64 hexadecimal digits, two spaces and a name: %s: line %zu",
                           path, number);
        *stop = '\0'; // replaces a newline, or the NUL after a buf
        if (l->n == cap)
            l->lines = xreallocarray(l->lines, cap = cap ? 2 * cap : 256, sizeof *l->lines);
        l->lines[l->n++] = line;
    }
    return 0;
}

static int list_read(struct list *l, const char *path, struct err *e) {
    *l = (struct list){0};
    if (read_operand(path, LIST_MAX, &l->text, e) != 0 || parse_lines(l, path, e) != 0)
        return -1;
    if (l->n == 0)
        return err_set(e, EXIT_DATA, "no hashes in the list: %s", path);
    l->by_label = xcalloc(l->n, sizeof *l->by_label);
    for (size_t i = 0; i < l->n; i++)
        l->by_label[i] = &l->lines[i];
    qsort(l->by_label, l->n, sizeof *l->by_label, compare_label);
    for (size_t i = 1; i < l->n; i++)
        if (strcmp(l->by_label[i - 1]->label, l->by_label[i]->label) == 0)
            return err_set(e, EXIT_DATA, "duplicate name '%.300s' in the list: %s",
                           l->by_label[i]->label, path);
    return 0;
}

static struct list_line *list_find(const struct list *l, const char *label) {
    struct list_line key = {.label = label}, *p = &key;
    struct list_line **found = bsearch(&p, l->by_label, l->n, sizeof p, compare_label);
    return found ? *found : NULL;
}

/* ---- Comparing ---- */

struct verdicts {
    hashlist_report *report;
    void *arg;
    size_t n_bad;
    char first[400]; // what is wrong first
};

static void give(struct verdicts *v, enum hashlist_verdict verdict, const char *label) {
    static const char *const words[] = {"", "differs", "is missing", "is not in the list"};
    if (verdict != HASH_SAME && v->n_bad++ == 0)
        snprintf(v->first, sizeof v->first, "'%.300s' %s", label, words[verdict]);
    if (v->report)
        v->report(v->arg, verdict, label);
}

/* The items of s that the list names go to `listed`, and those that it should name to `fresh`:
 * every file, and the tensors of a file if it names any of them. */
struct matched {
    struct hashlist_item **listed, **fresh; // [s->n]
    size_t n_listed, n_fresh;
};

static void match(struct matched *m, struct hashlist_set *s, const struct list *l, size_t n_files) {
    struct list_line **lines = xcalloc(s->n, sizeof *lines);
    bool *has_tensors = xcalloc(n_files + 1, sizeof *has_tensors);
    for (size_t i = 0; i < s->n; i++) {
        lines[i] = list_find(l, s->items[i].label);
        has_tensors[s->items[i].file] |= lines[i] && s->items[i].part;
    }
    for (size_t i = 0; i < s->n; i++) {
        struct hashlist_item *item = &s->items[i];
        if (lines[i]) {
            lines[i]->item = item;
            m->listed[m->n_listed++] = item;
        } else if (!item->part || has_tensors[item->file]) {
            m->fresh[m->n_fresh++] = item;
        }
    }
    free(has_tensors);
    free(lines);
}

/* Lines that name nothing of s are missing files, unless `only_folder` is set and they are of
 * weights. */
static int compare(struct hashlist_set *s, const struct list *l, const struct weights *w,
                   bool only_folder, size_t n_threads, struct verdicts *v, struct err *e) {
    struct matched m = {.listed = xcalloc(s->n, sizeof *m.listed),
                        .fresh = xcalloc(s->n, sizeof *m.fresh)};
    match(&m, s, l, w->n_files);
    int rc = compute(m.listed, m.n_listed, n_threads, NULL, NULL, e);
    for (size_t i = 0; i < l->n && rc == 0; i++) {
        const struct list_line *line = &l->lines[i];
        if (only_folder && !line->item && !is_folder_file(line->label))
            continue;
        bool same = line->item && hash_same(&line->item->hash, &line->hash);
        give(v, same ? HASH_SAME : line->item ? HASH_DIFFERS : HASH_MISSING, line->label);
    }
    for (size_t i = 0; i < m.n_fresh && rc == 0; i++)
        give(v, HASH_NEW, m.fresh[i]->label);
    free(m.listed);
    free(m.fresh);
    return rc;
}

static bool names_folder_files(const struct list *l) {
    for (size_t i = 0; i < l->n; i++)
        if (is_folder_file(l->lines[i].label))
            return true;
    return false;
}

static int verify(const struct weights *w, const char *folder, const char *list_path,
                  bool only_folder, size_t n_threads, struct verdicts *v, struct err *e) {
    struct list l;
    struct hashlist_set s = {0};
    int rc = list_read(&l, list_path, e);
    bool named = rc == 0 && names_folder_files(&l);
    if (rc == 0 && only_folder && !named)
        rc =
            err_set(e, EXIT_DATA,
                    "the list has no tokenizer.json or configuration (st-inspect --hash --all): %s",
                    list_path);
    if (rc == 0)
        rc = hashlist_set_new(&s, w, named ? folder : NULL, e);
    if (rc == 0)
        rc = compare(&s, &l, w, only_folder, n_threads, v, e);
    if (rc == 0 && v->n_bad > 0)
        rc = err_set(e, EXIT_SOME_FAILED,
                     "%zu of the model's hashes do not match, the first: %s: %s", v->n_bad,
                     v->first, list_path);
    hashlist_set_free(&s);
    list_free(&l);
    return rc;
}

int hashlist_verify(const struct weights *w, const char *folder, const char *list_path,
                    size_t n_threads, hashlist_report *report, void *arg, struct err *e) {
    struct verdicts v = {.report = report, .arg = arg};
    return verify(w, folder, list_path, false, n_threads, &v, e);
}

int hashlist_verify_folder(const char *folder, const char *list_path, struct err *e) {
    static const struct weights none = {0};
    struct verdicts v = {0};
    return verify(&none, folder, list_path, true, 1, &v, e);
}
