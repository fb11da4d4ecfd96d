/* Which record has an id: see ids.h. Open addressing; the hash is keyed at random (SipHash), so
 * that a hostile file cannot make its ids collide.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "index/ids.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/io.h"
#include "base/keyed_hash.h"

/* The file has its blocks before it is mapped: a full disk is an error here, and no SIGBUS later.
 */
static int map_temp(struct ids *t, const char *folder, struct err *e) {
    int fd = io_temp(folder, e);
    if (fd < 0)
        return -1;
    int rc = posix_fallocate(fd, 0, (off_t)t->map_bytes);
    void *map = MAP_FAILED;
    if (rc == 0)
        map = mmap(NULL, t->map_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    else
        errno = rc;
    if (map == MAP_FAILED)
        err_errno(e, EXIT_IO, "cannot make a temporary file of %zu bytes in %s", t->map_bytes,
                  folder);
    else
        t->map = map;
    close(fd);
    return t->map ? 0 : -1;
}

int ids_open(struct ids *t, const char *folder, size_t most, ids_get_fn *get, void *ctx,
             struct err *e) {
    const size_t flags = (most + 7) / 8 * 8;
    *t = (struct ids){.get = get, .ctx = ctx, .n_slots = 16};
    while (t->n_slots / 2 < most) // at most half full
        t->n_slots *= 2;
    t->map_bytes = flags + t->n_slots * sizeof *t->slots;
    if (map_temp(t, folder, e) != 0)
        return -1;
    t->dropped = t->map;
    t->slots = (uint32_t *)(void *)((unsigned char *)t->map + flags);
    randombytes_buf(t->secret, sizeof t->secret);
    return 0;
}

void ids_close(struct ids *t) {
    if (t->map)
        munmap(t->map, t->map_bytes);
    *t = (struct ids){0};
}

uint32_t *ids_find(const struct ids *t, struct str id) {
    for (uint64_t at = keyed_hash(t->secret, id.p, id.n);; at++) {
        uint32_t *slot = &t->slots[at & (t->n_slots - 1)];
        if (*slot == 0 || str_same(t->get(t->ctx, *slot - 1), id))
            return slot;
    }
}
