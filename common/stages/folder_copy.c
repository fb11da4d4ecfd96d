/* Copying the small files of a model folder: see folder_copy.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "stages/folder_copy.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>

#include "base/io.h"
#include "base/opt.h"
#include "spec/sentence.h"

#define MAX_FILE (1u << 28) // bytes of a file that is copied as it is

static bool is_small_file(const char *name) {
    static const char *const ends[] = {".json", ".txt", ".model", ".jinja"};
    if (name[0] == '.')
        return false;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (str_ends_with(str_of(name), ends[i]))
            return true;
    return false;
}

static bool is_copied(const char *name) {
    return is_small_file(name) && strcmp(name, "config.json") != 0 &&
           strcmp(name, "model.safetensors.index.json") != 0;
}

/* Of a step of sentence-transformers: its weights too. */
static bool is_copied_of_step(const char *name) {
    return is_small_file(name) || (name[0] != '.' && str_ends_with(str_of(name), ".safetensors"));
}

int folder_copy_file(const char *folder, const char *name, const struct outdir *dir,
                     struct err *e) {
    char *path = path_join(folder, name);
    struct buf bytes = {0};
    bool copied = is_there(path) && !is_dir(path);
    int rc = copied ? model_file_check(folder, path, e) : 0;
    if (rc == 0 && copied)
        rc = read_file(path, MAX_FILE, &bytes, e);
    if (rc == 0 && copied)
        rc = outdir_file(dir, name, bytes.p, bytes.n, e);
    buf_free(&bytes);
    free(path);
    return rc;
}

/* Copies the files of folder/inner that `wanted` names; inner NULL: of the folder itself. */
static int copy_files(const char *folder, const char *inner, bool (*wanted)(const char *name),
                      const struct outdir *dir, struct err *e) {
    char *path = inner ? path_join(folder, inner) : xstrdup(folder);
    DIR *d = opendir(path);
    int rc = d ? 0 : err_errno(e, EXIT_NO_INPUT, "cannot read the folder %s", path);
    struct dirent *f;
    while (errno = 0, rc == 0 && (f = readdir(d))) {
        char *name = inner ? path_join(inner, f->d_name) : xstrdup(f->d_name);
        if (wanted(f->d_name))
            rc = folder_copy_file(folder, name, dir, e);
        free(name);
    }
    if (rc == 0 && errno != 0) // not the end of the folder
        rc = err_errno(e, EXIT_IO, "cannot read the folder %s", path);
    if (d)
        closedir(d);
    free(path);
    return rc;
}

static int copy_step(const char *folder, const char *step, struct outdir *dir, struct err *e) {
    char *path = path_join(folder, step);
    int rc = 0;
    if (is_dir(path)) {
        rc = outdir_folder(dir, step, e);
        if (rc == 0)
            rc = copy_files(folder, step, is_copied_of_step, dir, e);
    }
    free(path);
    return rc;
}

int folder_copy(const char *folder, struct outdir *dir, struct err *e) {
    struct sentence_folders steps;
    int rc = copy_files(folder, NULL, is_copied, dir, e);
    if (rc == 0) {
        rc = sentence_folders(&steps, folder, e);
        for (size_t i = 0; i < steps.n && rc == 0; i++)
            rc = copy_step(folder, steps.names[i], dir, e);
        sentence_folders_free(&steps);
    }
    return rc;
}
