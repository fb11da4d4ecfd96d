/* The tokenizer's part of a folder that st-convert writes: see tokenizer_out.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "stages/tokenizer_out.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>

#include "base/io.h"
#include "base/opt.h"

#define MAX_SMALL_FILE (1u << 28) // bytes of a file that is copied as it is

int tokenizer_out_find(const char *folder, struct tokconv_source *s, struct err *e) {
    char *path = path_join(folder, "tokenizer.json");
    int rc = is_file(path) ? 0 : tokconv_find(folder, s, e);
    free(path);
    return rc;
}

int tokenizer_out_write(const struct tokconv_result *r, const struct outdir *dir, struct err *e) {
    if (opt_verbose())
        print_note("a %s vocabulary: %zu tokens, %zu merges", r->kind, r->n_tokens, r->n_merges);
    int rc = outdir_file(dir, "tokenizer.json", r->tokenizer.p, r->tokenizer.n, e);
    if (rc == 0 && !r->has_config)
        rc = outdir_file(dir, "tokenizer_config.json", r->config.p, r->config.n, e);
    return rc;
}

static bool is_small_file(const char *name) {
    static const char *const ends[] = {".json", ".txt", ".model", ".jinja"};
    if (strcmp(name, "config.json") == 0 || strcmp(name, "model.safetensors.index.json") == 0 ||
        name[0] == '.')
        return false;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (str_ends_with(str_of(name), ends[i]))
            return true;
    return false;
}

static int copy_file(const char *from, const char *name, const struct outdir *dir, struct err *e) {
    char *path = path_join(from, name);
    struct buf bytes = {0};
    bool copied = is_there(path) && !is_dir(path);
    int rc = copied ? model_file_check(from, path, e) : 0;
    if (rc == 0 && copied)
        rc = read_file(path, MAX_SMALL_FILE, &bytes, e);
    if (rc == 0 && copied)
        rc = outdir_file(dir, name, bytes.p, bytes.n, e);
    buf_free(&bytes);
    free(path);
    return rc;
}

int tokenizer_out_copy(const char *folder, const struct outdir *dir, struct err *e) {
    DIR *d = opendir(folder);
    if (!d)
        return err_errno(e, EXIT_NO_INPUT, "cannot read the folder %s", folder);
    int rc = 0;
    struct dirent *f;
    while (errno = 0, rc == 0 && (f = readdir(d)))
        if (is_small_file(f->d_name))
            rc = copy_file(folder, f->d_name, dir, e);
    if (rc == 0 && errno != 0) // not the end of the folder
        rc = err_errno(e, EXIT_IO, "cannot read the folder %s", folder);
    closedir(d);
    return rc;
}

static int copy_some(const char *folder, const struct outdir *dir, struct err *e) {
    static const char *const names[] = {"tokenizer_config.json", "special_tokens_map.json",
                                        "added_tokens.json", "chat_template.jinja",
                                        "chat_template.json"};
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < sizeof names / sizeof *names; i++)
        rc = copy_file(folder, names[i], dir, e);
    return rc;
}

int tokenizer_out_folder(const struct tokconv_source *s, const char *pre, bool whole,
                         const char *target, bool replace, struct err *e) {
    struct tokconv_result r;
    struct outdir dir;
    if (whole)
        warn("the folder has no weights, so only a tokenizer is made: %s", s->folder);
    int rc = tokconv_convert(s, pre, &r, e);
    if (rc == 0)
        rc = outdir_open(&dir, target, replace, e);
    if (rc == 0) {
        rc = whole ? tokenizer_out_copy(s->folder, &dir, e) : copy_some(s->folder, &dir, e);
        if (rc == 0 && whole)
            rc = copy_file(s->folder, "config.json", &dir, e);
        if (rc == 0)
            rc = tokenizer_out_write(&r, &dir, e);
        if (rc == 0)
            rc = outdir_commit(&dir, e);
        else
            outdir_abort(&dir);
    }
    tokconv_result_free(&r);
    return rc;
}
