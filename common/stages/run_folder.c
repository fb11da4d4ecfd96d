/* Resident engines by name: see run_folder.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "stages/run_folder.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/mem.h"

static const char ending[] = ".sock";

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct run_engine *)a)->name, ((const struct run_engine *)b)->name);
}

static bool is_control(const char *s) {
    for (; *s; s++)
        if ((unsigned char)*s < ' ' || *s == 0x7f)
            return true;
    return false;
}

int run_folder_list(struct run_folder *r, const char *folder, struct err *e) {
    DIR *dir = opendir(folder);
    int rc = 0;
    *r = (struct run_folder){0};
    if (!dir)
        return err_errno(e, EXIT_NO_INPUT, "cannot read the folder of engines %s", folder);
    for (const struct dirent *d; rc == 0 && (d = readdir(dir));) {
        size_t n = strlen(d->d_name);
        if (n < sizeof ending || strcmp(d->d_name + n - strlen(ending), ending) != 0)
            continue;
        if (is_control(d->d_name)) {
            rc = err_set(e, EXIT_DATA, "a socket's name has a control character: %s", folder);
            continue;
        }
        r->engines = xreallocarray(r->engines, r->n + 1, sizeof *r->engines);
        char *name = str_dup((struct str){d->d_name, n - strlen(ending)});
        r->engines[r->n++] =
            (struct run_engine){name, path_join(folder, d->d_name), path_join(folder, name)};
    }
    closedir(dir);
    if (r->n > 0)
        qsort(r->engines, r->n, sizeof *r->engines, by_name);
    if (rc != 0)
        run_folder_free(r);
    return rc;
}

void run_folder_free(struct run_folder *r) {
    for (size_t i = 0; i < r->n; i++) {
        free(r->engines[i].name);
        free(r->engines[i].socket);
        free(r->engines[i].model);
    }
    free(r->engines);
    *r = (struct run_folder){0};
}

static const char *folder_name(void) {
    const char *folder = getenv("LLM_RUN");
    return folder && *folder ? folder : NULL;
}

char *run_folder_socket(const char *name) {
    const char *folder = folder_name();
    return folder && !strchr(name, '/') ? xasprintf("%s/%s%s", folder, name, ending)
                                        : xstrdup(name);
}

bool run_folder_has(const char *path) {
    const char *folder = folder_name();
    size_t n = folder ? strlen(folder) : 0;
    while (n > 1 && folder[n - 1] == '/')
        n--;
    return folder && strncmp(path, folder, n) == 0 && path[n] == '/';
}
