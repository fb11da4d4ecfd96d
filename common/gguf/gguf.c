/* Reading GGUF: see gguf.h. A cursor walks the header. It never passes the end of the mapping. The
 * first error stops it, and names the byte.
 *
 * A count is accepted only if the remaining bytes can hold that many items. This is checked before
 * memory is allocated.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "gguf/gguf.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/utf8.h"
#include "gguf/dequant.h"

#define MAX_KVS     (1u << 16)
#define MAX_TENSORS (1u << 17) // experts are stored together, so large models have thousands
#define MAX_STRING  (1u << 24) // bytes

/* Bytes of one value. Strings begin with their length, arrays with a type and a count; these have 0
 * here. */
static const unsigned char value_bytes[GGUF_TYPE_COUNT] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
static const char *const value_names[GGUF_TYPE_COUNT] = {
    "uint8", "int8",   "uint16", "int16",  "uint32", "int32",  "float32",
    "bool",  "string", "array",  "uint64", "int64",  "float64"};
enum { KV_MIN_BYTES = 8 + 4 + 1, TENSOR_MIN_BYTES = 8 + 4 + 4 + 8, STRING_MIN_BYTES = 8 };

struct cursor {
    const struct gguf *g;
    const unsigned char *p, *end;
    struct err *e;
    bool failed;
};

static uint64_t little(const unsigned char *p, size_t n) {
    uint64_t v = 0;
    for (size_t i = n; i-- > 0;)
        v = v << 8 | p[i];
    return v;
}

static void refuse(struct cursor *c, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void refuse(struct cursor *c, const char *fmt, ...) {
    if (c->failed)
        return;
    char msg[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    err_set(c->e, EXIT_DATA, "%s: %s: byte %zu", msg, c->g->path, (size_t)(c->p - c->g->map.p));
    c->failed = true;
}

static size_t left(const struct cursor *c) {
    return (size_t)(c->end - c->p);
}

static uint64_t number(struct cursor *c, size_t n, const char *what) {
    if (c->failed)
        return 0;
    if (left(c) < n) {
        refuse(c, "the file ends inside %s", what);
        return 0;
    }
    uint64_t v = little(c->p, n);
    c->p += n;
    return v;
}

static struct str string(struct cursor *c, const char *what) {
    uint64_t n = number(c, 8, what);
    struct str s = {(const char *)c->p, 0};
    if (c->failed)
        return s;
    if (n > left(c)) {
        refuse(c, "%s of %" PRIu64 " bytes where the file has %zu left", what, n, left(c));
        return s;
    }
    if (n > MAX_STRING) {
        refuse(c, "%s of %" PRIu64 " bytes, more than %u", what, n, MAX_STRING);
        return s;
    }
    s.n = (size_t)n;
    c->p += n;
    return s;
}

static void read_array(struct cursor *c, struct gguf_kv *kv) {
    uint64_t item = number(c, 4, "an array's type");
    kv->count = number(c, 8, "an array's length");
    if (c->failed)
        return;
    if (item >= GGUF_TYPE_COUNT || item == GGUF_ARRAY) {
        refuse(c, "array '%.*s' of type %" PRIu64 ", which is not supported", str_shown(kv->key),
               kv->key.p, item);
        return;
    }
    kv->is_array = true;
    kv->type = (enum gguf_type)item;
    kv->p = c->p;
    size_t least = kv->type == GGUF_STRING ? STRING_MIN_BYTES : value_bytes[kv->type];
    if (kv->count > left(c) / least) {
        refuse(c, "array '%.*s' of %" PRIu64 " items where the file has %zu bytes left",
               str_shown(kv->key), kv->key.p, kv->count, left(c));
        return;
    }
    if (kv->type == GGUF_STRING)
        for (uint64_t i = 0; i < kv->count && !c->failed; i++)
            string(c, "an array's string");
    else
        c->p += kv->count * least;
}

static void read_kv(struct cursor *c, struct gguf_kv *kv) {
    kv->key = string(c, "a key");
    if (!c->failed && (kv->key.n == 0 || utf8_valid(kv->key.p, kv->key.n) != kv->key.n))
        refuse(c, "a key is empty or not valid UTF-8");
    uint64_t type = number(c, 4, "a value's type");
    if (c->failed)
        return;
    if (type >= GGUF_TYPE_COUNT) {
        refuse(c, "key '%.*s' has a value of unknown type %" PRIu64, str_shown(kv->key), kv->key.p,
               type);
        return;
    }
    kv->type = (enum gguf_type)type;
    kv->count = 1;
    kv->p = c->p;
    if (kv->type == GGUF_ARRAY)
        read_array(c, kv);
    else if (kv->type == GGUF_STRING)
        string(c, "a string");
    else
        number(c, value_bytes[kv->type], "a value");
}

static int by_key(const void *a, const void *b) {
    const struct str *x = *(const struct str *const *)a, *y = *(const struct str *const *)b;
    size_t n = x->n < y->n ? x->n : y->n;
    int d = n ? memcmp(x->p, y->p, n) : 0;
    return d ? d : (x->n > y->n) - (x->n < y->n);
}

/* Refuses duplicates among n names, which are stored `stride` bytes apart. */
static void unique(struct cursor *c, const struct str *first, size_t n, size_t stride,
                   const char *what) {
    const struct str **sorted = xreallocarray(NULL, n, sizeof *sorted);
    for (size_t i = 0; i < n; i++)
        sorted[i] = (const struct str *)(const void *)((const char *)first + i * stride);
    qsort(sorted, n, sizeof *sorted, by_key);
    for (size_t i = 1; i < n; i++)
        if (str_same(*sorted[i - 1], *sorted[i]))
            refuse(c, "duplicate %s '%.*s'", what, str_shown(*sorted[i]), sorted[i]->p);
    free(sorted);
}

/* Reads name, dimensions, type and offset. n_bytes has the offset until place_tensor. */
static void read_tensor(struct cursor *c, struct gguf_tensor *t) {
    t->name = string(c, "a tensor's name");
    if (!c->failed &&
        (t->name.n == 0 || t->name.n > 1024 || utf8_valid(t->name.p, t->name.n) != t->name.n))
        refuse(c, "a tensor's name is empty, longer than 1024 bytes or not valid UTF-8");
    uint64_t dims = number(c, 4, "a tensor's dimensions");
    if (!c->failed && (dims == 0 || dims > GGUF_MAX_DIMS))
        refuse(c, "tensor '%.*s' has %" PRIu64 " dimensions, not 1 to %d", str_shown(t->name),
               t->name.p, dims, GGUF_MAX_DIMS);
    if (c->failed)
        return;
    t->n_dims = (size_t)dims;
    t->n_elements = 1;
    for (size_t i = 0; i < GGUF_MAX_DIMS; i++) {
        t->ne[i] = i < t->n_dims ? number(c, 8, "a tensor's shape") : 1;
        if (!c->failed && (t->ne[i] == 0 || t->ne[i] > INT64_MAX / t->n_elements))
            refuse(c, "tensor '%.*s' has an impossible dimension %" PRIu64, str_shown(t->name),
                   t->name.p, t->ne[i]);
        if (c->failed)
            return;
        t->n_elements *= t->ne[i];
    }
    t->type = (uint32_t)number(c, 4, "a tensor's type");
    t->n_bytes = number(c, 8, "a tensor's offset");
}

/* Sets t->data and n_bytes. The data must be inside the file, aligned, and a whole number of
 * blocks. */
static void place_tensor(struct cursor *c, struct gguf_tensor *t, const unsigned char *data) {
    uint64_t offset = t->n_bytes, room = (uint64_t)(c->end - data);
    struct gguf_layout l;
    int n = str_shown(t->name);
    if (!gguf_layout(t->type, &l)) {
        refuse(c, "tensor '%.*s' has the unknown type %" PRIu32, n, t->name.p, t->type);
        return;
    }
    if (t->ne[0] % l.block)
        refuse(c,
               "tensor '%.*s' has rows of %" PRIu64
               " elements, not a multiple of %s's blocks of %" PRIu32,
               n, t->name.p, t->ne[0], l.name, l.block);
    if (offset % c->g->alignment)
        refuse(c, "tensor '%.*s' is at offset %" PRIu64 ", not a multiple of %" PRIu64, n,
               t->name.p, offset, c->g->alignment);
    if (t->n_elements / l.block > room / l.n_bytes ||
        offset > room - t->n_elements / l.block * l.n_bytes)
        refuse(c,
               "tensor '%.*s' (%s, %" PRIu64 " elements) at offset %" PRIu64
               " passes the end of the data, %" PRIu64 " bytes",
               n, t->name.p, l.name, t->n_elements, offset, room);
    if (c->failed)
        return;
    t->n_bytes = t->n_elements / l.block * l.n_bytes;
    t->data = data + offset;
}

static int by_data(const void *a, const void *b) {
    const struct gguf_tensor *x = *(const struct gguf_tensor *const *)a,
                             *y = *(const struct gguf_tensor *const *)b;
    return (x->data > y->data) - (x->data < y->data);
}

static void no_overlap(struct cursor *c, const struct gguf *g) {
    const struct gguf_tensor **sorted = xreallocarray(NULL, g->n_tensors, sizeof *sorted);
    for (size_t i = 0; i < g->n_tensors; i++)
        sorted[i] = &g->tensors[i];
    qsort(sorted, g->n_tensors, sizeof *sorted, by_data);
    for (size_t i = 1; i < g->n_tensors; i++) {
        const struct gguf_tensor *a = sorted[i - 1], *b = sorted[i];
        if (a->data + a->n_bytes > b->data)
            refuse(c, "the data of tensors '%.*s' and '%.*s' overlap", str_shown(a->name),
                   a->name.p, str_shown(b->name), b->name.p);
    }
    free(sorted);
}

static void read_tensors(struct cursor *c, struct gguf *g) {
    for (size_t i = 0; i < g->n_tensors && !c->failed; i++)
        read_tensor(c, &g->tensors[i]);
    if (c->failed)
        return;
    if (g->n_tensors)
        unique(c, &g->tensors[0].name, g->n_tensors, sizeof *g->tensors, "tensor");
    size_t header = (size_t)(c->p - g->map.p),
           gap = (size_t)(g->alignment - header % g->alignment) % (size_t)g->alignment;
    if (gap > left(c))
        gap = left(c); // a file without tensors may end here
    const unsigned char *data = c->p + gap;
    for (size_t i = 0; i < g->n_tensors && !c->failed; i++)
        place_tensor(c, &g->tensors[i], data);
    if (!c->failed)
        no_overlap(c, g);
}

static void read_header(struct cursor *c, struct gguf *g) {
    if (left(c) < 4 || memcmp(c->p, "GGUF", 4) != 0) {
        refuse(c, "not a GGUF file");
        return;
    }
    c->p += 4;
    g->version = (uint32_t)number(c, 4, "the version");
    if (!c->failed && g->version >= 0x10000 && (g->version & 0xffff) == 0)
        refuse(c, "a big-endian GGUF file");
    else if (!c->failed && g->version != 2 && g->version != 3)
        refuse(c, "expected GGUF version 2 or 3, found %" PRIu32, g->version);
    uint64_t n_tensors = number(c, 8, "the count of tensors"),
             n_kvs = number(c, 8, "the count of keys");
    if (!c->failed && (n_tensors > MAX_TENSORS || n_tensors > left(c) / TENSOR_MIN_BYTES))
        refuse(c, "a count of %" PRIu64 " tensors, more than the file can hold", n_tensors);
    if (!c->failed && (n_kvs > MAX_KVS || n_kvs > left(c) / KV_MIN_BYTES))
        refuse(c, "a count of %" PRIu64 " keys, more than the file can hold", n_kvs);
    if (c->failed)
        return;
    g->n_kvs = (size_t)n_kvs;
    g->n_tensors = (size_t)n_tensors;
    g->kvs = xcalloc(g->n_kvs, sizeof *g->kvs);
    g->tensors = xcalloc(g->n_tensors, sizeof *g->tensors);
    for (size_t i = 0; i < g->n_kvs && !c->failed; i++)
        read_kv(c, &g->kvs[i]);
    if (!c->failed && g->n_kvs)
        unique(c, &g->kvs[0].key, g->n_kvs, sizeof *g->kvs, "key");
}

int gguf_open_file(struct gguf *g, const char *path, struct err *e) {
    *g = (struct gguf){.alignment = 32}; // gguf.md: if general.alignment is missing
    if (map_file(&g->map, path, e) != 0)
        return -1;
    if (g->map.n == 0) // then map.p is NULL
        return err_set(e, EXIT_DATA, "not a GGUF file: %s: byte 0 of 0", path);
    g->path = xstrdup(path);
    struct cursor c = {.g = g, .p = g->map.p, .end = g->map.p + g->map.n, .e = e};
    read_header(&c, g);
    if (!c.failed && gguf_u64(g, "general.alignment", 1u << 20, &g->alignment, e) < 0)
        c.failed = true;
    if (!c.failed && (g->alignment == 0 || g->alignment % 8))
        refuse(&c, "general.alignment is %" PRIu64 ", not a multiple of 8", g->alignment);
    if (!c.failed)
        read_tensors(&c, g);
    if (c.failed) {
        gguf_close(g);
        return -1;
    }
    return 0;
}

void gguf_close(struct gguf *g) {
    for (size_t i = 0; i < g->n_rest; i++)
        gguf_close(&g->rest[i]);
    free(g->rest);
    free(g->kvs);
    free(g->tensors);
    free(g->path);
    unmap_file(&g->map);
    *g = (struct gguf){0};
}

static bool has_data(const struct gguf *g, const struct gguf_tensor *t) {
    uintptr_t at = (uintptr_t)t->data, map = (uintptr_t)g->map.p;
    return at >= map && at - map < g->map.n;
}

const char *gguf_path_of(const struct gguf *g, const struct gguf_tensor *t) {
    for (size_t i = 0; i < g->n_rest; i++)
        if (has_data(&g->rest[i], t))
            return g->rest[i].path;
    return g->path;
}

const struct gguf_kv *gguf_find(const struct gguf *g, const char *key) {
    for (size_t i = 0; i < g->n_kvs; i++)
        if (str_eq(g->kvs[i].key, key))
            return &g->kvs[i];
    return NULL;
}

const struct gguf_tensor *gguf_find_tensor(const struct gguf *g, const char *name) {
    for (size_t i = 0; i < g->n_tensors; i++)
        if (str_eq(g->tensors[i].name, name))
            return &g->tensors[i];
    return NULL;
}

bool gguf_is_int(enum gguf_type t) {
    return t != GGUF_F32 && t != GGUF_F64 && t != GGUF_BOOL && t != GGUF_STRING &&
           t < GGUF_TYPE_COUNT && t != GGUF_ARRAY;
}

int64_t gguf_int_at(const struct gguf_kv *kv, uint64_t i) {
    size_t n = value_bytes[kv->type];
    uint64_t v = little(kv->p + i * n, n);
    bool is_signed =
        kv->type == GGUF_I8 || kv->type == GGUF_I16 || kv->type == GGUF_I32 || kv->type == GGUF_I64;
    uint64_t sign = (uint64_t)1 << (n * 8 - 1);
    if (is_signed && v & sign)
        return (int64_t)(v | ~(sign - 1));
    return v > INT64_MAX ? INT64_MAX : (int64_t)v;
}

double gguf_float_at(const struct gguf_kv *kv, uint64_t i) {
    size_t n = value_bytes[kv->type];
    uint64_t bits = little(kv->p + i * n, n);
    uint32_t low = (uint32_t)bits;
    float f;
    double d;
    memcpy(&f, &low, sizeof f);
    memcpy(&d, &bits, sizeof d);
    return n == 4 ? (double)f : d;
}

struct str gguf_next_str(const unsigned char **at) {
    struct str s = {(const char *)*at + 8, (size_t)little(*at, 8)};
    *at += 8 + s.n;
    return s;
}

static int wrong(const struct gguf *g, const struct gguf_kv *kv, const char *expected,
                 struct err *e) {
    return err_set(e, EXIT_DATA, "key '%.*s' is %s%s, not %s: %s: byte %zu", str_shown(kv->key),
                   kv->key.p, kv->is_array ? "an array of " : "", value_names[kv->type], expected,
                   g->path, (size_t)(kv->p - g->map.p));
}

int gguf_u64(const struct gguf *g, const char *key, uint64_t max, uint64_t *out, struct err *e) {
    const struct gguf_kv *kv = gguf_find(g, key);
    if (!kv)
        return 0;
    if (kv->is_array || !gguf_is_int(kv->type))
        return wrong(g, kv, "one whole number", e);
    int64_t v = gguf_int_at(kv, 0);
    if (v < 0 || (uint64_t)v > max)
        return err_set(e, EXIT_DATA, "key '%s' is %" PRId64 ", not 0 to %" PRIu64 ": %s: byte %zu",
                       key, v, max, g->path, (size_t)(kv->p - g->map.p));
    *out = (uint64_t)v;
    return 1;
}

int gguf_f64(const struct gguf *g, const char *key, double *out, struct err *e) {
    const struct gguf_kv *kv = gguf_find(g, key);
    if (!kv)
        return 0;
    if (kv->is_array || (!gguf_is_int(kv->type) && kv->type != GGUF_F32 && kv->type != GGUF_F64))
        return wrong(g, kv, "one number", e);
    double v = gguf_is_int(kv->type) ? (double)gguf_int_at(kv, 0) : gguf_float_at(kv, 0);
    if (!isfinite(v))
        return err_set(e, EXIT_DATA, "key '%s' is not a finite number: %s: byte %zu", key, g->path,
                       (size_t)(kv->p - g->map.p));
    *out = v;
    return 1;
}

int gguf_bool(const struct gguf *g, const char *key, bool *out, struct err *e) {
    const struct gguf_kv *kv = gguf_find(g, key);
    if (!kv)
        return 0;
    if (kv->is_array || kv->type != GGUF_BOOL || kv->p[0] > 1)
        return wrong(g, kv, "a bool of 0 or 1", e);
    *out = kv->p[0] == 1;
    return 1;
}

int gguf_str(const struct gguf *g, const char *key, struct str *out, struct err *e) {
    const struct gguf_kv *kv = gguf_find(g, key);
    if (!kv)
        return 0;
    if (kv->is_array || kv->type != GGUF_STRING)
        return wrong(g, kv, "a string", e);
    const unsigned char *at = kv->p;
    struct str s = gguf_next_str(&at);
    if (utf8_valid(s.p, s.n) != s.n)
        return err_set(e, EXIT_DATA, "key '%s' is not valid UTF-8: %s: byte %zu", key, g->path,
                       (size_t)(kv->p - g->map.p));
    *out = s;
    return 1;
}
