/* Hashes of lists: see resident_list.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "stages/resident_list.h"

#include <string.h>

#include "base/hash.h"
#include "base/io.h"

int resident_list_hash(uint8_t hash[CONTROL_LIST_HASH], const char *path, struct err *e) {
    struct map map;
    struct hash h;
    if (map_file(&map, path, e) != 0)
        return -1;
    hash_bytes(&h, map.p, map.n);
    memcpy(hash, h.bytes, CONTROL_LIST_HASH);
    unmap_file(&map);
    return 0;
}
