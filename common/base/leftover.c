/* What is removed when the program ends early: see leftover.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/leftover.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"

struct leftover {
    const char *path;
    bool owned; // by the list
};

static struct leftover *list; // [n], in the order of leftover_add
static volatile size_t n;
static size_t cap;

static atomic_flag busy = ATOMIC_FLAG_INIT;  // a thread has the list
static _Thread_local volatile unsigned held; // how often this thread has taken it

/* No mutex, because the handler of a signal takes the list too. If the handler has interrupted the
 * thread that has it, the list is as that thread left it. */
static void take(void) {
    if (held++ == 0)
        while (atomic_flag_test_and_set(&busy))
            sched_yield();
}

static void give(void) {
    if (--held == 0)
        atomic_flag_clear(&busy);
}

static void reserve(void) {
    if (n < cap)
        return;
    if (!list)
        atexit(leftover_remove);
    cap = cap ? 2 * cap : 16;
    list = xreallocarray(list, cap, sizeof *list);
}

void leftover_hold(void) {
    take();
    reserve();
}

void leftover_release(void) {
    give();
}

static void add(const char *path, bool owned) {
    reserve();
    list[n] = (struct leftover){path, owned};
    n++;
}

void leftover_add(const char *path) {
    take();
    add(path, false);
    give();
}

static void drop_at(size_t i) {
    struct leftover gone = list[i];
    memmove(list + i, list + i + 1, (n - i - 1) * sizeof *list);
    n--;
    if (gone.owned)
        free((char *)gone.path);
}

void leftover_drop(const char *path) {
    take();
    for (size_t i = n; i-- > 0;)
        if (strcmp(list[i].path, path) == 0) {
            drop_at(i);
            break;
        }
    give();
}

/* Whether path is directly in the folder. */
static bool is_in(const char *path, const char *folder) {
    size_t len = strlen(folder);
    return strncmp(path, folder, len) == 0 && path[len] == '/' && !strchr(path + len + 1, '/');
}

void leftover_moving(const char *to) {
    take();
    for (size_t i = 0; i < n; i++)
        if (is_in(to, list[i].path)) {
            add(xstrdup(to), true);
            break;
        }
    give();
}

void leftover_drop_folder(const char *path) {
    take();
    for (size_t i = n; i-- > 0;)
        if (is_in(list[i].path, path))
            drop_at(i);
    leftover_drop(path);
    give();
}

void leftover_remove(void) {
    take(); // and never gives it back: no other thread makes a file from now on
    for (size_t i = n; i-- > 0;)
        if (unlink(list[i].path) != 0)
            rmdir(list[i].path);
    n = 0;
}
