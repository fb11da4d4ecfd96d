/* A model in several GGUF files: see gguf_open.
 *
 * llama.cpp's gguf-split and its converter write NAME-00001-of-00003.gguf and so on. The first part
 * has the model's keys. Every part has split.no (counted from 0), split.count, and
 * split.tensors.count, the number of tensors in all parts (tools/gguf-split/gguf-split.cpp,
 * gguf-py/gguf/gguf_writer.py). Other keys of later parts are ignored with a warning, because
 * llama.cpp reads the first part's only.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <inttypes.h>
#include <stdlib.h>

#include "base/num.h"
#include "gguf/gguf.h"
#include "base/strmap.h"

enum { DIGITS = 5, MAX_PARTS = UINT16_MAX };
static const char of[] = "-of-", ending[] = ".gguf";
enum { SUFFIX = 1 + DIGITS + sizeof of - 1 + DIGITS + sizeof ending - 1 };

/* What a part says about its split. */
struct split {
    uint64_t no, count, tensors;
};

static int read_split(const struct gguf *g, struct split *s, struct err *e) {
    *s = (struct split){0};
    return gguf_u64(g, "split.no", MAX_PARTS, &s->no, e) < 0 ||
                   gguf_u64(g, "split.count", MAX_PARTS, &s->count, e) < 0 ||
                   gguf_u64(g, "split.tensors.count", INT32_MAX, &s->tensors, e) < 0
               ? -1
               : 0;
}

static bool five_digits(const char *p, uint64_t *out) {
    *out = 0;
    for (int i = 0; i < DIGITS; i++) {
        if (p[i] < '0' || p[i] > '9')
            return false;
        *out = *out * 10 + (uint64_t)(p[i] - '0');
    }
    return true;
}

/* Whether path ends in "-NNNNN-of-NNNNN.gguf" with this count. *stem: the bytes before that. */
static bool part_name(const char *path, uint64_t count, size_t *stem) {
    size_t n = strlen(path);
    uint64_t no, named;
    if (n < SUFFIX)
        return false;
    *stem = n - SUFFIX;
    const char *p = path + *stem;
    return p[0] == '-' && five_digits(p + 1, &no) &&
           memcmp(p + 1 + DIGITS, of, sizeof of - 1) == 0 &&
           five_digits(p + DIGITS + sizeof of, &named) &&
           strcmp(p + 2 * DIGITS + sizeof of, ending) == 0 && named == count && no >= 1 &&
           no <= count;
}

static void warn_keys(const struct gguf *part) {
    struct str first = {0};
    size_t n = 0;
    for (size_t i = 0; i < part->n_kvs; i++) {
        struct str key = part->kvs[i].key;
        if ((key.n > 6 && memcmp(key.p, "split.", 6) == 0) ||
            (key.n > 8 && memcmp(key.p, "general.", 8) == 0))
            continue;
        if (n++ == 0)
            first = key;
    }
    if (n)
        warn("%zu keys of a part after the first are ignored, '%.*s' is one: %s", n,
             str_shown(first), first.p, part->path);
}

/* Opens part no (from 0) into *part, and checks that it belongs to the split `want`. */
static int open_part(struct gguf *part, const char *path, const struct split *want, uint64_t no,
                     struct err *e) {
    struct split s;
    if (gguf_open_file(part, path, e) != 0)
        return err_where(e, "part %" PRIu64 " of %" PRIu64, no + 1, want->count);
    int rc = read_split(part, &s, e);
    if (rc == 0 && (s.no != no || s.count != want->count || s.tensors != want->tensors))
        rc = err_set(e, EXIT_DATA,
                     "expected part %" PRIu64 " of %" PRIu64 " with %" PRIu64
                     " tensors in all, found part %" PRIu64 " of %" PRIu64 " with %" PRIu64 ": %s",
                     no + 1, want->count, want->tensors, s.no + 1, s.count, s.tensors, path);
    if (rc != 0)
        gguf_close(part);
    else if (no > 0)
        warn_keys(part);
    return rc;
}

/* Moves the tensors of all parts into g, the first one. */
static int join(struct gguf *g, const struct split *s, struct err *e) {
    size_t n = g->n_tensors;
    for (size_t i = 0; i < g->n_rest; i++)
        n += g->rest[i].n_tensors;
    g->tensors = xreallocarray(g->tensors, n, sizeof *g->tensors);
    for (size_t i = 0; i < g->n_rest; i++) {
        const struct gguf *part = &g->rest[i];
        if (part->n_tensors)
            memcpy(g->tensors + g->n_tensors, part->tensors, part->n_tensors * sizeof *g->tensors);
        g->n_tensors += part->n_tensors;
    }
    struct strmap names;
    strmap_init(&names, n);
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++) {
        const struct gguf_tensor *t = &g->tensors[i];
        uint32_t other = 0;
        if (strmap_add(&names, t->name, (uint32_t)i))
            continue;
        strmap_find(&names, t->name, &other);
        rc = err_set(e, EXIT_DATA, "tensor '%.*s' is in two parts: %s and %s", str_shown(t->name),
                     t->name.p, gguf_path_of(g, &g->tensors[other]), gguf_path_of(g, t));
    }
    strmap_free(&names);
    if (rc == 0 && n != s->tensors)
        rc = err_set(e, EXIT_DATA,
                     "expected %" PRIu64 " tensors in %" PRIu64 " parts, found %zu: %s", s->tensors,
                     s->count, n, g->path);
    return rc;
}

static int open_parts(struct gguf *g, const char *path, size_t stem, const struct split *s,
                      struct err *e) {
    struct gguf *parts = NULL, first = {0};
    int rc = 0;
    size_t n = 0; // parts after the first
    for (uint64_t no = 0; no < s->count && rc == 0; no++) {
        struct gguf part;
        char *name = xasprintf("%.*s-%05" PRIu64 "%s%05" PRIu64 "%s", (int)stem, path, no + 1, of,
                               s->count, ending);
        rc = open_part(&part, name, s, no, e);
        free(name);
        if (rc == 0 && no == 0) {
            first = part;
        } else if (rc == 0) {
            parts = xreallocarray(parts, n + 1, sizeof *parts);
            parts[n++] = part;
        }
    }
    first.rest = parts;
    first.n_rest = n;
    if (rc == 0)
        rc = join(&first, s, e);
    if (rc == 0)
        *g = first;
    else
        gguf_close(&first);
    return rc;
}

int gguf_open(struct gguf *g, const char *path, struct err *e) {
    struct split s;
    size_t stem = 0;
    if (gguf_open_file(g, path, e) != 0)
        return -1;
    int rc = read_split(g, &s, e);
    if (rc == 0 && s.count <= 1)
        return 0;
    if (rc == 0 && !part_name(path, s.count, &stem))
        rc = err_set(e, EXIT_DATA,
                     "one of %" PRIu64 " parts, whose name does not end in \"-00001-of-%05" PRIu64
                     ".gguf\": %s",
                     s.count, s.count, path);
    gguf_close(g); // the part that was given is opened again in its turn
    return rc == 0 ? open_parts(g, path, stem, &s, e) : -1;
}
