/* Which record has an id: a table of record numbers in a mapped file without a name. So a writer's
 * own memory does not grow with the index: the system may write the pages out. A record takes 9 to
 * 17 bytes of the file.
 *
 * The ids themselves are where the records are: the caller says how to get one.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef INDEX_IDS_H
#define INDEX_IDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"

/* The id of a record that was added. The view holds until the next call. */
typedef struct str ids_get_fn(void *ctx, uint32_t record);

struct ids {
    ids_get_fn *get;
    void *ctx;
    void *map; // dropped [most], padded; slots [n_slots]. NULL: not open
    size_t map_bytes, n_slots;
    uint32_t *slots; // a record's number plus one; 0: free
    bool *dropped;   // [most]: for the caller, false at first
    unsigned char secret[16];
};

/* Room for the records 0 to most - 1, at most 2^30, in a file in `folder`. -1 with e set: EXIT_IO,
 * where the disk is full, too. ids_close frees it. */
int ids_open(struct ids *t, const char *folder, size_t most, ids_get_fn *get, void *ctx,
             struct err *e);
void ids_close(struct ids *t);

/* Where the number of the record with this id is, plus one. 0 is there if no record has it: then
 * the caller may store one. */
uint32_t *ids_find(const struct ids *t, struct str id);

#endif
