/* A fingerprint on a thread: see hash_thread.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/hash_thread.h"

#include "base/hash.h"
#include "base/thread.h"

static void *run(void *arg) {
    struct hash_thread *h = arg;
    h->fingerprint = hash_fingerprint(h->p, h->n);
    return NULL;
}

void hash_thread_start(struct hash_thread *h, const void *p, size_t n) {
    *h = (struct hash_thread){.p = p, .n = n};
    h->started = thread_start_apart(&h->thread, run, h) == 0;
}

uint64_t hash_thread_end(struct hash_thread *h) {
    if (h->started)
        pthread_join(h->thread, NULL);
    else
        run(h);
    h->started = false;
    return h->fingerprint;
}
