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

/* Whether the folder is a model that may be removed. */
static int check_replaceable(const char *path, struct err *e) {
    struct stat st;
    char *config = path_join(path, "config.json"), *tokens = path_join(path, "tokenizer.json");
    bool is_model =
        lstat(path, &st) == 0 && S_ISDIR(st.st_mode) && (is_file(config) || is_file(tokens));
    free(config);
    free(tokens);
    if (!is_model)
        return err_set(
            e, EXIT_IO,
            "not replaced, because it is not a folder with a config.json or tokenizer.json: %s",
            path);
    DIR *d = opendir(path);
    if (!d)
        return err_errno(e, EXIT_IO, "cannot read the folder %s", path);
    int rc = 0;
    for (struct dirent *f; rc == 0 && (f = readdir(d));) {
        if (is_dots(f->d_name))
            continue;
        char *name = path_join(path, f->d_name);
        if (lstat(name, &st) != 0 || S_ISDIR(st.st_mode))
            rc = err_set(e, EXIT_IO, "not replaced, because the model's folder has a subfolder: %s",
                         name);
        free(name);
    }
    closedir(d);
    return rc;
}

/* Removes a folder of plain files, as far as it can. */
static void remove_flat(const char *path) {
    DIR *d = opendir(path);
    if (d) {
        for (struct dirent *f; (f = readdir(d));) {
            if (is_dots(f->d_name))
                continue;
            char *name = path_join(path, f->d_name);
            unlink(name);
            free(name);
        }
        closedir(d);
    }
    rmdir(path);
}

static void release(struct outdir *o) {
    if (o->temp)
        leftover_drop_folder(o->temp);
    free(o->path);
    free(o->temp);
    *o = (struct outdir){0};
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
    leftover_hold();
    if (rc == 0 && mkdir(o->temp, 0777) != 0)
        rc = err_errno(e, EXIT_IO, "cannot make the folder %s", o->temp);
    if (rc == 0)
        leftover_add(o->temp);
    leftover_release();
    if (rc != 0)
        release(o);
    return rc;
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
    int rc = sync_folder(o->temp, e);
    if (rc == 0 && o->replace && rename(o->path, old) != 0)
        rc = err_errno(e, EXIT_IO, "cannot rename %s to %s", o->path, old);
    if (rc == 0 && rename(o->temp, o->path) != 0) {
        rc = err_errno(e, EXIT_IO, "cannot rename %s to %s", o->temp, o->path);
        if (o->replace)
            rename(old, o->path);
    } else if (rc == 0 && o->replace) {
        remove_flat(old);
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
        remove_flat(o->temp);
    release(o);
}
