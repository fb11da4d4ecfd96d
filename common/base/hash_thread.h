/* A fingerprint computed on a thread of its own, while the caller does something else: a file of
 * some MB takes as many milliseconds.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BASE_HASH_THREAD_H
#define BASE_HASH_THREAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hash_thread {
    const void *p; // [n] bytes, not copied
    size_t n;
    uint64_t fingerprint;
    pthread_t thread;
    bool started;
};

/* Starts to hash p[0 .. n). If no thread can be started, hash_thread_end hashes. */
void hash_thread_start(struct hash_thread *h, const void *p, size_t n);
uint64_t hash_thread_end(struct hash_thread *h); // waits; as hash_fingerprint. Call it once

#endif
