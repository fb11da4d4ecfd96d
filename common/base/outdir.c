/* A folder written under a temporary name and renamed: see outdir.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/outdir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/leftover.h"
#include "base/mem.h"

static bool exists(const char *path) {
    struct stat st;
    return lstat(path, &st) == 0;
}

static bool is_dots(const char *name) {
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* Calls each for all that is in the folder: its path, and whether it is a folder. Stops at -1. */
static int walk(const char *path, int (*each)(void *arg, const char *path, bool folder), void *arg,
                struct err *e) {
    DIR *d = opendir(path);
    if (!d)
        return err_errno(e, EXIT_IO, "cannot read the folder %s", path);
    int rc = 0;
    for (struct dirent *f; rc == 0 && (f = readdir(d));) {
        if (is_dots(f->d_name))
            continue;
        struct stat st;
        char *name = path_join(path, f->d_name);
        rc = each(arg, name, lstat(name, &st) != 0 || S_ISDIR(st.st_mode));
        free(name);
    }
    closedir(d);
    return rc;
}

/* What a folder may have, and has. */
struct contents {
    bool modules; // may: folders of steps
    bool any, config;
    struct err *e;
};

static int check_inner(void *arg, const char *path, bool folder) {
    struct contents *c = arg;
    c->any = true;
    c->config |= str_ends_with(str_of(path), "/config.json");
    return folder ? -1 : 0;
}

static int check_entry(void *arg, const char *path, bool folder) {
    struct contents *c = arg, inner = {0};
    struct err ignored;
    if (!folder || (c->modules && walk(path, check_inner, &inner, &ignored) == 0 &&
                    (inner.config || !inner.any)))
        return 0;
    return err_set(c->e, EXIT_IO, "not replaced, because the model's folder has a subfolder: %s",
                   path);
}

/* Whether the folder is a model that may be removed. */
static int check_replaceable(const char *path, struct err *e) {
    struct stat st;
    char *config = path_join(path, "config.json"), *tokens = path_join(path, "tokenizer.json"),
         *modules = path_join(path, "modules.json");
    bool is_model =
        lstat(path, &st) == 0 && S_ISDIR(st.st_mode) && (is_file(config) || is_file(tokens));
    struct contents c = {.modules = is_file(modules), .e = e};
    free(config);
    free(tokens);
    free(modules);
    if (!is_model)
        return err_set(
            e, EXIT_IO,
            "not replaced, because it is not a folder with a config.json or tokenizer.json: %s",
            path);
    return walk(path, check_entry, &c, e);
}

static int remove_file(void *arg, const char *path, bool folder) {
    (void)arg;
    (void)folder;
    unlink(path);
    return 0;
}

static int remove_entry(void *arg, const char *path, bool folder) {
    struct err ignored;
    if (!folder)
        return remove_file(arg, path, false);
    walk(path, remove_file, NULL, &ignored);
    rmdir(path);
    return 0;
}

/* Removes a folder, its files and those of its subfolders, as far as it can. */
static void remove_folder(const char *path) {
    struct err ignored;
    walk(path, remove_entry, NULL, &ignored);
    rmdir(path);
}

static void release(struct outdir *o) {
    for (size_t i = 0; i < o->n_folders; i++) {
        leftover_drop_folder(o->folders[i]);
        free(o->folders[i]);
    }
    free(o->folders);
    if (o->temp)
        leftover_drop_folder(o->temp);
    free(o->path);
    free(o->temp);
    *o = (struct outdir){0};
}

/* Makes a folder that a program which ends early removes; path stays the caller's until it is
 * dropped. */
static int make_folder(const char *path, struct err *e) {
    int rc = 0;
    leftover_hold();
    if (mkdir(path, 0777) != 0)
        rc = err_errno(e, EXIT_IO, "cannot make the folder %s", path);
    else
        leftover_add(path);
    leftover_release();
    return rc;
}

int outdir_open(struct outdir *o, const char *path, bool replace, struct err *e) {
    *o = (struct outdir){0};
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    char *plain = xstrndup(path, n);
    bool taken = exists(plain);
    int rc = 0;
    if (taken && !replace)
        rc = err_set(e, EXIT_IO, "already exists (--force replaces it): %s", plain);
    else if (taken)
        rc = check_replaceable(plain, e);
    *o = (struct outdir){
        .path = plain, .temp = xasprintf("%s.%ld.tmp", plain, (long)getpid()), .replace = taken};
    if (rc == 0)
        rc = make_folder(o->temp, e);
    if (rc != 0)
        release(o);
    return rc;
}

int outdir_folder(struct outdir *o, const char *name, struct err *e) {
    char *path = path_join(o->temp, name);
    o->folders = xreallocarray(o->folders, o->n_folders + 1, sizeof *o->folders);
    o->folders[o->n_folders++] = path;
    return make_folder(path, e);
}

int outdir_file(const struct outdir *o, const char *name, const void *p, size_t n, struct err *e) {
    struct outfile f;
    char *path = path_join(o->temp, name);
    int rc = outfile_open(&f, path, e);
    free(path);
    if (rc != 0)
        return -1;
    if (outfile_write(&f, p, n, e) != 0) {
        outfile_abort(&f);
        return -1;
    }
    return outfile_commit(&f, e);
}

/* Syncs the folder, so that the names are on the disk too, not only the files. */
static int sync_folder(const char *path, struct err *e) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(e, EXIT_IO, "cannot open the folder %s", path);
    int rc = io_sync(fd) == 0 || errno == EINVAL
                 ? 0
                 : err_errno(e, EXIT_IO, "cannot write the folder %s", path);
    close(fd);
    return rc;
}

int outdir_commit(struct outdir *o, struct err *e) {
    char *old = xasprintf("%s.%ld.old", o->path, (long)getpid());
    int rc = 0;
    for (size_t i = 0; i < o->n_folders && rc == 0; i++)
        rc = sync_folder(o->folders[i], e);
    if (rc == 0)
        rc = sync_folder(o->temp, e);
    if (rc == 0 && o->replace && rename(o->path, old) != 0)
        rc = err_errno(e, EXIT_IO, "cannot rename %s to %s", o->path, old);
    if (rc == 0 && rename(o->temp, o->path) != 0) {
        rc = err_errno(e, EXIT_IO, "cannot rename %s to %s", o->temp, o->path);
        if (o->replace)
            rename(old, o->path);
    } else if (rc == 0 && o->replace) {
        remove_folder(old);
    }
    free(old);
    if (rc != 0)
        outdir_abort(o);
    else
        release(o);
    return rc;
}

void outdir_abort(struct outdir *o) {
    if (o->temp)
        remove_folder(o->temp);
    release(o);
}
