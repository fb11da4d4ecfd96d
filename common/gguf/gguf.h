/* Reads a GGUF file, which is mapped read-only and checked in full before any of it is used. A
 * model may be split into several files: see gguf_open.
 *
 * The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3,
 * little-endian: magic, version, counts, the key-value pairs, the tensor infos, and, from the next
 * multiple of general.alignment on, the tensors' data. Refused, with the byte: a file that ends
 * early, counts that the file cannot hold, unknown value types, nested arrays, keys and names that
 * are duplicate or not UTF-8, rows that are not a whole number of blocks, and data that overlaps or
 * passes the end. Other strings are checked for UTF-8 when they are read.
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
    uint64_t count;         // items; 1 if it is not an array
    const unsigned char *p; // the first item, in the mapping, unaligned
};

enum { GGUF_MAX_DIMS = 4 };

struct gguf_tensor {
    struct str name;
    uint32_t type; // enum ggml_type (gguf/dequant.h); its layout is known
    size_t n_dims;
    uint64_t
        ne[GGUF_MAX_DIMS]; // ne[0] is a row's length, the reverse of safetensors; 1 past n_dims
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
    struct gguf_tensor *tensors; // in the file's order; of all parts, one after the other
    size_t n_tensors;
    struct gguf
        *rest; // [n_rest] the parts after the first, whose mappings hold their tensors' data
    size_t n_rest;
};

/* Opens a model (gguf/split.c). If the file says that it is one part of N, all parts are opened:
 * path ends in "-00002-of-00003.gguf", the others are beside it, and any of them may be given. g
 * has the keys of the first part and the tensors of all. Refused: parts that are missing or of
 * another split, and a tensor that two parts have. 0, or -1 with e set (EXIT_NO_INPUT, EXIT_DATA).
 * The caller closes it with gguf_close. */
int gguf_open(struct gguf *g, const char *path, struct err *e);
/* Opens one file, whether or not it is a part. Else as gguf_open. */
int gguf_open_file(struct gguf *g, const char *path, struct err *e);
void gguf_close(struct gguf *g);

/* The path of the file that holds a tensor of g, for messages. */
const char *gguf_path_of(const struct gguf *g, const struct gguf_tensor *t);

const struct gguf_kv *gguf_find(const struct gguf *g, const char *key); // NULL: not there
const struct gguf_tensor *gguf_find_tensor(const struct gguf *g, const char *name); // likewise

/* Reads a value of a certain kind. 1 with *out set; 0 if the key is missing, with *out unchanged;
 * -1 with e set if the value is of another kind. Numbers may have any integer or float type. */
int gguf_u64(const struct gguf *g, const char *key, uint64_t max, uint64_t *out, struct err *e);
int gguf_f64(const struct gguf *g, const char *key, double *out, struct err *e); // finite
int gguf_bool(const struct gguf *g, const char *key, bool *out, struct err *e);
int gguf_str(const struct gguf *g, const char *key, struct str *out, struct err *e);

/* Items of arrays whose type the caller has checked. Strings are read one after the other: start
 * with *at = kv->p. */
struct str gguf_next_str(const unsigned char **at);
/* Any integer type; a u64 past INT64_MAX gives INT64_MAX. */
int64_t gguf_int_at(const struct gguf_kv *kv, uint64_t i);
double gguf_float_at(const struct gguf_kv *kv, uint64_t i); // F32 or F64
bool gguf_is_int(enum gguf_type t);

#endif
