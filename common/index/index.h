/* index(5): a file with the vectors of records, their attributes, texts and words, which is mapped.
 *
 *     | header | scan [n, dim] bf16 | exact [n, dim] f32 | table [n] | blob |
 *     blob of a record: id | attributes | text | zeros to 8 bytes | words [n_words] u64
 *
 * A search reads `scan` whole and the best records' `exact` values. With INDEX_BF16 both are the
 * same values, stored once. With INDEX_I8 the scan is panels of 16 vectors (weights/panel_i8.h). A
 * file comes from a stranger: index_open checks that every part is inside it, and index_record
 * checks a record when it is read.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef INDEX_INDEX_H
#define INDEX_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/io.h"
#include "base/mem.h"

enum {
    INDEX_VERSION = 1,
    INDEX_HEADER_BYTES = 256,
    INDEX_ALIGN = 4096, // of the parts
    INDEX_ENTRY_BYTES = 32,
    INDEX_MAX_DIM = 1 << 20,
    INDEX_MAX_DIM_I8 = 1 << 17, // of what the kernels of panels multiply
    INDEX_MAX_RECORDS = 1 << 30,
    INDEX_MAX_PART = 1 << 24, // bytes of an id, of attributes, of a text; words
};

enum index_store {
    INDEX_F32 = 1,  // scan is bf16, exact is f32
    INDEX_BF16 = 2, // both are bf16, stored once
    INDEX_I8 = 3,   // scan is i8, exact is f32
};

const char *index_store_name(enum index_store s); // "bf16"
/* The one with that name; 0: none has it. */
enum index_store index_store_of(const char *name);

/* Vectors are compared by their dot product. For COSINE they are stored with length 1. */
enum index_metric { INDEX_COSINE = 1, INDEX_DOT = 2 };

struct index_info {
    size_t dim, n; // of a vector; records
    enum index_store store;
    enum index_metric metric;
    uint64_t model, tokenizer;   // fingerprints, as in vectors(5)
    float max_norm, max_error;   // bounds: the length of a vector, and of exact - scan
    uint64_t n_texts, all_words; // records with a text; the words of all texts
};

struct index_file {
    char *path;
    struct map map;
    struct index_info info;
    const unsigned char *scan, *exact, *table, *blob;
    uint64_t blob_bytes;
};

/* What is stored of a record. The views are into the mapping. */
struct index_record {
    struct str id;              // as in the attribute id: 7, or "7" with quotes, or a text
    struct str attrs;           // attributes, as in tokens(5)
    struct str text;            // n = 0: none is stored
    uint32_t length;            // words of the text
    const unsigned char *words; // [n_words] u64, ascending: index/words.h
    size_t n_words;
};

/* Opens and maps the file. -1: EXIT_NO_INPUT, or EXIT_DATA if it is no index, or another version,
 * or its parts do not fit the file. */
int index_open(struct index_file *ix, const char *path, struct err *e);
void index_close(struct index_file *ix);

/* Record i, which is below n. EXIT_DATA if its entry is out of bounds, or a text is not UTF-8. */
int index_record(const struct index_file *ix, size_t i, struct index_record *r, struct err *e);
/* Only its words and the length of its text. */
int index_words(const struct index_file *ix, size_t i, struct index_record *r, struct err *e);
/* Only its id. */
int index_id(const struct index_file *ix, size_t i, struct str *id, struct err *e);
/* Whether all records together have no more bytes than the file has for them. Callers that copy all
 * of them check this first: a file of 1 MB whose records share their bytes would become one of 8
 * GB. */
int index_check_records(const struct index_file *ix, struct err *e);

/* The exact values of record i -> out [dim]. */
void index_vector(const struct index_file *ix, size_t i, float *out);

/* ---- For the writer ---- */

/* Where the parts are, from dim, n and store. False if they do not fit 64 bits, or if no scan of
 * that store has the dimension. */
struct index_layout {
    uint64_t scan, scan_bytes, exact, exact_bytes, table, blob;
};
bool index_lay_out(const struct index_info *info, struct index_layout *l);
void index_write_header(const struct index_info *info, uint64_t blob_bytes,
                        uint8_t out[INDEX_HEADER_BYTES]);

struct index_entry {
    uint64_t at; // in the blob
    uint32_t n_id, n_attrs, n_text, n_words, length;
};
void index_write_entry(const struct index_entry *entry, uint8_t out[INDEX_ENTRY_BYTES]);
/* Bytes of a record in the blob. */
uint64_t index_entry_bytes(const struct index_entry *entry);

#endif
