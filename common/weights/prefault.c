/* Reads weights from the disk before they are used: see prefault.h.
 *
 * The order comes from the names, which number layers in every family. Tensors with one number come
 * first: layer by layer, each in the order of the file. Tensors without a number follow, the
 * largest of which is the head. Experts, whose names have two numbers or ".experts.", come last,
 * because a single step uses few of them.
 *
 * If a mapping is marked for huge pages, populating it makes Linux read 2 MB at a time into pages
 * of that size, where it can. They are mapped at once, also by the next process.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#if defined(__linux__)
#define _GNU_SOURCE // madvise, preadv2
#endif
#include "weights/prefault.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/thread.h"

enum {
    PIECE_BYTES = 4 << 20,
    LOOK_BYTES = 8 << 20, // bytes between the pages that are sampled to see if a file is in memory
    MAX_LOOKS = 1024,     // most samples
};

struct prefault {
    const struct weights *w;
    size_t *order; // [n_tensors]
    atomic_bool stop;
    pthread_t thread;
};

struct place {
    size_t index, n_numbers;
    unsigned long number; // the first
};

static struct place place_of(const struct weights *w, size_t index) {
    struct place p = {.index = index};
    for (const char *s = w->tensors[index].name; *s;) {
        if (*s < '0' || *s > '9') {
            s++;
            continue;
        }
        char *end;
        unsigned long number = strtoul(s, &end, 10);
        bool whole = (s == w->tensors[index].name || s[-1] == '.') && (*end == '.' || *end == '\0');
        if (whole && p.n_numbers++ == 0)
            p.number = number;
        s = end;
    }
    if (strstr(w->tensors[index].name, ".experts.")) // in one tensor: a number, as experts have two
        p.n_numbers = 2;
    return p;
}

static int compare(const void *a, const void *b) {
    static const int turn[] = {1, 0, 2}; // by the number of numbers
    const struct place *x = a, *y = b;
    int turn_x = turn[x->n_numbers > 2 ? 2 : x->n_numbers],
        turn_y = turn[y->n_numbers > 2 ? 2 : y->n_numbers];
    if (turn_x != turn_y)
        return turn_x - turn_y;
    if (x->number != y->number)
        return x->number < y->number ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

void prefault_order(const struct weights *w, size_t *order) {
    struct place *places = xcalloc(w->n_tensors + 1, sizeof *places);
    for (size_t i = 0; i < w->n_tensors; i++)
        places[i] = place_of(w, i);
    if (w->n_tensors > 1)
        qsort(places, w->n_tensors, sizeof *places, compare);
    for (size_t i = 0; i < w->n_tensors; i++)
        order[i] = places[i].index;
    free(places);
}

#if defined(MADV_POPULATE_READ) && defined(RWF_NOWAIT)

/* Whether the file is in memory, judged by samples. (mincore answers only for files that the user
 * owns or may write.) */
static bool in_memory(const struct st_file *f) {
    int fd = open(f->path, O_RDONLY | O_CLOEXEC);
    size_t step = f->map.n / MAX_LOOKS > LOOK_BYTES ? f->map.n / MAX_LOOKS : LOOK_BYTES;
    bool there = true;
    for (size_t at = 0; fd >= 0 && at < f->map.n && there; at += step) {
        char byte;
        there = preadv2(fd, &(struct iovec){&byte, 1}, 1, (off_t)at, RWF_NOWAIT) == 1;
    }
    if (fd >= 0)
        close(fd);
    return there;
}

static void *bring(void *arg) {
    struct prefault *a = arg;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (size_t i = 0; i < a->w->n_tensors; i++) {
        const struct tensor *t = &a->w->tensors[a->order[i]];
        uintptr_t at = (uintptr_t)t->data / page * page, end = (uintptr_t)t->data + t->n_bytes;
        for (; at < end && !atomic_load(&a->stop); at += PIECE_BYTES)
            if (madvise((void *)at, end - at < PIECE_BYTES ? end - at : PIECE_BYTES,
                        MADV_POPULATE_READ) != 0)
                return NULL; // an old kernel, or the file was truncated: faults take over
    }
    return NULL;
}

struct prefault *prefault_start(const struct weights *w) {
    bool there = true;
    for (size_t i = 0; i < w->n_files && there; i++)
        there = in_memory(&w->files[i]);
    if (there)
        return NULL;
    for (size_t i = 0; i < w->n_files; i++)
        if (w->files[i].map.p)
            madvise((void *)(uintptr_t)w->files[i].map.p, w->files[i].map.n, MADV_HUGEPAGE);
    struct prefault *a = xcalloc(1, sizeof *a);
    a->w = w;
    a->order = xcalloc(w->n_tensors + 1, sizeof *a->order);
    prefault_order(w, a->order);
    if (thread_start(&a->thread, bring, a) != 0) {
        free(a->order);
        free(a);
        return NULL;
    }
    return a;
}

#else

struct prefault *prefault_start(const struct weights *w) {
    for (size_t i = 0; i < w->n_files; i++)
        if (w->files[i].map.p)
            posix_madvise((void *)(uintptr_t)w->files[i].map.p, w->files[i].map.n,
                          POSIX_MADV_WILLNEED);
    return NULL;
}

#endif

void prefault_stop(struct prefault *a) {
    if (!a)
        return;
    atomic_store(&a->stop, true);
    pthread_join(a->thread, NULL);
    free(a->order);
    free(a);
}
