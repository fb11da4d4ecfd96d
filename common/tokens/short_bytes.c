/* The secret of this process's hashes: see short_bytes.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "tokens/short_bytes.h"

#include <pthread.h>
#include <sodium.h>

uint64_t bytes_secret[4];

static void draw_secret(void) {
    randombytes_buf(bytes_secret, sizeof bytes_secret);
    bytes_secret[3] |= 1;
}

void bytes_secret_make(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, draw_secret);
}
