/* What is removed when the program ends early: see leftover.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/leftover.h"

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

void leftover_reserve(void) {
    if (n < cap)
        return;
    if (!list)
        atexit(leftover_remove);
    cap = cap ? 2 * cap : 16;
    list = xreallocarray(list, cap, sizeof *list);
}

static void add(const char *path, bool owned) {
    leftover_reserve();
    list[n] = (struct leftover){path, owned};
    n++;
}

void leftover_add(const char *path) {
    add(path, false);
}

static void drop_at(size_t i) {
    struct leftover gone = list[i];
    memmove(list + i, list + i + 1, (n - i - 1) * sizeof *list);
    n--;
    if (gone.owned)
        free((char *)gone.path);
}

void leftover_drop(const char *path) {
    for (size_t i = n; i-- > 0;)
        if (strcmp(list[i].path, path) == 0) {
            drop_at(i);
            return;
        }
}

/* Whether path is directly in the folder. */
static bool is_in(const char *path, const char *folder) {
    size_t len = strlen(folder);
    return strncmp(path, folder, len) == 0 && path[len] == '/' && !strchr(path + len + 1, '/');
}

void leftover_moving(const char *to) {
    for (size_t i = 0; i < n; i++)
        if (is_in(to, list[i].path)) {
            add(xstrdup(to), true);
            return;
        }
}

void leftover_drop_folder(const char *path) {
    for (size_t i = n; i-- > 0;)
        if (is_in(list[i].path, path))
            drop_at(i);
    leftover_drop(path);
}

void leftover_remove(void) {
    for (size_t i = n; i-- > 0;)
        if (unlink(list[i].path) != 0)
            rmdir(list[i].path);
    n = 0;
}
