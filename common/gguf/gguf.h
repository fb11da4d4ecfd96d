/* Reading GGUF: one file, mapped read-only and checked in full before anything of it is given out.
 *
 * The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3,
 * little-endian: magic, version, counts, the key-value pairs, the tensor infos, and from the next
 * multiple of general.alignment on the tensors' data. Refused, with the byte: a file that ends
 * early, counts that the file cannot hold, unknown value types, nested arrays, keys and names that
 * are not UTF-8 or come twice, rows that are no whole number of blocks, and data that overlaps or
 * passes the end. Strings are checked for UTF-8 when they are asked for.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef GGUF_GGUF_H
#define GGUF_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/io.h"
#include "base/mem.h"

enum gguf_type { // of a value (gguf.md, enum gguf_metadata_value_type)
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64,
    GGUF_TYPE_COUNT
};

struct gguf_kv {
    struct str key;
    enum gguf_type type; // of the value, or of an array's items
    bool is_array;
    uint64_t count;         // items; 1 where it is no array
    const unsigned char *p; // of the first item, in the mapping, unaligned
};

enum { GGUF_MAX_DIMS = 4 };

struct gguf_tensor {
    struct str name;
    uint32_t type; // enum ggml_type (gguf/dequant.h); its layout is known
    size_t n_dims;
    uint64_t ne[GGUF_MAX_DIMS]; // ne[0] is a row's length: the reverse of a safetensors shape; 1
                                // past n_dims
    uint64_t n_elements, n_bytes;
    const unsigned char *data; // in the mapping
};

struct gguf {
    char *path;
    struct map map;
    uint32_t version;
    uint64_t alignment; // of the data, bytes
    struct gguf_kv *kvs;
    size_t n_kvs;
    struct gguf_tensor *tensors; // in the file's order
    size_t n_tensors;
};

/* 0, or -1 with e set (EXIT_NO_INPUT, EXIT_DATA). The caller ends it with gguf_close. */
int gguf_open(struct gguf *g, const char *path, struct err *e);
void gguf_close(struct gguf *g);

const struct gguf_kv *gguf_find(const struct gguf *g, const char *key); // NULL: not there
const struct gguf_tensor *gguf_find_tensor(const struct gguf *g,
                                           const char *name); // NULL: not there

/* A value that must have a certain kind: 1 with *out set, 0 where the key is missing (*out
 * untouched), -1 with e set where it is something else. Numbers come from any integer or float type
 * that can hold them. */
int gguf_u64(const struct gguf *g, const char *key, uint64_t max, uint64_t *out, struct err *e);
int gguf_f64(const struct gguf *g, const char *key, double *out, struct err *e); // finite
int gguf_bool(const struct gguf *g, const char *key, bool *out, struct err *e);
int gguf_str(const struct gguf *g, const char *key, struct str *out, struct err *e);

/* Items of arrays whose type the caller has checked. Strings are read one behind the other: start
 * with *at = kv->p. */
struct str gguf_next_str(const unsigned char **at);
int64_t gguf_int_at(const struct gguf_kv *kv,
                    uint64_t i); // any integer type; a u64 past INT64_MAX gives INT64_MAX
double gguf_float_at(const struct gguf_kv *kv, uint64_t i); // F32 or F64
bool gguf_is_int(enum gguf_type t);

#endif
