/* The tokenizer's part of a folder that st-convert writes: see tokenizer_out.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "stages/tokenizer_out.h"

#include <stdlib.h>

#include "base/io.h"
#include "base/opt.h"
#include "stages/folder_copy.h"

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

static int copy_some(const char *folder, const struct outdir *dir, struct err *e) {
    static const char *const names[] = {"tokenizer_config.json", "special_tokens_map.json",
                                        "added_tokens.json", "chat_template.jinja",
                                        "chat_template.json"};
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < sizeof names / sizeof *names; i++)
        rc = folder_copy_file(folder, names[i], dir, e);
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
        rc = whole ? folder_copy(s->folder, &dir, e) : copy_some(s->folder, &dir, e);
        if (rc == 0 && whole)
            rc = folder_copy_file(s->folder, "config.json", &dir, e);
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
