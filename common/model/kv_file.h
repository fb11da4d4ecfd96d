/* kv(5): pages of keys and values in a file, found by the ids that led to them. This file knows the
 * format alone; kv_restore.c moves pages between a file and the prefix cache.
 *
 *     header | table: a record a node | blocks, each where its record says
 *
 * A record is a node of the prefix cache: its parent's record, its ids, and for each group of
 * layers where its block is. A file is opened only by a model that computes the same bits
 * (kv_origin), and its header and table are checked in full then.
 *
 * Blocks are used where they are: the file is mapped. A block is checked by its sum before its
 * first use. If the file has become shorter by then, it is an error of this block. If it becomes
 * shorter later, the program ends as mapped.h says.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef MODEL_KV_FILE_H
#define MODEL_KV_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/err.h"
#include "base/hash.h"
#include "model/prefix_match.h"
#include "model/state.h"

enum {
    KV_FILE_VERSION = 2, // raise it, too, when the bits of keys or values change
    KV_FILE_HEADER = 256,
    KV_FILE_RECORD = 312,
    KV_FILE_ALIGN = 4096,          // of the first block
    KV_FILE_UNIT = KV_MAPPED_UNIT, // a layer's part of a block is a multiple of it
    KV_FILE_MAX_RECORDS = 1 << 20,
    KV_FILE_WAY = 32, // bytes of kv_origin.way
};
#define KV_FILE_NONE UINT32_MAX // no record

/* What the bits of a page depend on, and their layout. */
struct kv_origin {
    struct hash model;     // of the configuration and the weights
    char way[KV_FILE_WAY]; // instruction set and precision, "avx512 bf16"
    size_t n_groups;
    struct {
        enum state_kind kind;
        size_t span, n_layers, layer_bytes, window;
    } groups[STATE_MAX_GROUPS];
};

struct kv_file;

/* -1 with e set: EXIT_NO_INPUT, EXIT_DATA (damaged, or of another origin), EXIT_USAGE never. */
int kv_file_open(struct kv_file **f, const char *path, const struct kv_origin *o, struct err *e);
void kv_file_close(struct kv_file *f);
const char *kv_file_path(const struct kv_file *f);
size_t kv_file_records(const struct kv_file *f);

/* The records of the first spans of ids [n * STATE_REF_SPAN], into path [n]; returns how many. */
size_t kv_file_descend(const struct kv_file *f, const struct prefix_salt *salt, const uint32_t *ids,
                       size_t n, uint32_t *path);

/* Whether a record has the block of that group; one that was forgotten, it has not. */
bool kv_file_has(const struct kv_file *f, uint32_t record, size_t group);

size_t kv_file_bytes(const struct kv_file *f); // when it was opened; not 0

/* Maps the file, read-only, at p: whole pages that the caller has mapped, and unmaps after
 * kv_file_close. -1: EXIT_SYSTEM. */
int kv_file_map(struct kv_file *f, unsigned char *p, struct err *e);

const unsigned char *kv_file_map_of(const struct kv_file *f);

/* Where a block that the file has begins in it: a multiple of KV_FILE_UNIT. Its layers' parts
 * follow each other. */
uint64_t kv_file_offset(const struct kv_file *f, uint32_t record, size_t group);

/* Checks a block of a mapped file by its sum, the first time; for several threads at once, with
 * different blocks. -1 with e set: EXIT_IO, it cannot be read; EXIT_DATA, its sum is wrong, or the
 * file has become shorter. kv_file_forget_block then makes the file have no such block. */
int kv_file_check(struct kv_file *f, uint32_t record, size_t group, struct err *e);
void kv_file_forget_block(struct kv_file *f, uint32_t record, size_t group);

/* What is to be written, in the order in which parents come before children. */
struct kv_source {
    const void *ctx;
    size_t n;                                           // records
    uint32_t (*parent)(const void *ctx, size_t record); // KV_FILE_NONE: it is the first span
    const struct prefix_salt *(*salt)(const void *ctx, size_t record);
    const uint32_t *(*ids)(const void *ctx, size_t record); // [STATE_REF_SPAN]
    /* A layer's part of a block; NULL: the record has no block of this group. */
    const unsigned char *(*part)(const void *ctx, size_t record, size_t group, size_t layer);
};

/* Writes beside path and renames. -1: EXIT_IO. */
int kv_file_write(const char *path, const struct kv_origin *o, const struct kv_source *s,
                  struct err *e);

#endif
