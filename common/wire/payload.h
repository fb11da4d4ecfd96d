/* What the binary streams share: a payload's buffer, zeros, and a reason as one line.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef WIRE_PAYLOAD_H
#define WIRE_PAYLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"

/* A buffer that grows as bytes come, so that a false length takes no memory. All zero is an empty
 * one; free its p. */
struct payload {
    uint8_t *p; // [cap]
    size_t cap;
};

/* Reads n bytes into it. *have is less than n where the input ends before. -1: EXIT_IO. */
int payload_read(struct payload *b, int fd, size_t n, size_t *have, struct err *e);

bool payload_all_zero(const uint8_t *p, size_t n);

/* The beginning of s that is one line of UTF-8 of at most `most` bytes. */
struct str payload_one_line(struct str s, size_t most);

#endif
