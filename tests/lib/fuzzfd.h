/* Bytes as a descriptor, for readers that take one.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TESTS_FUZZFD_H
#define TESTS_FUZZFD_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* One temporary file, used again and again; it stays open. */
static inline int fuzz_fd(const uint8_t *data, size_t size) {
    static FILE *f;
    if (!f && !(f = tmpfile()))
        abort();
    int fd = fileno(f);
    if (ftruncate(fd, 0) != 0 || pwrite(fd, data, size, 0) != (ssize_t)size ||
        lseek(fd, 0, SEEK_SET) != 0)
        abort();
    return fd;
}

#endif
