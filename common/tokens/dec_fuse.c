/* Fuse joins all tokens into one. dec_join, for files without a decoder, puts a space between
 * tokens, as the reference does.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "tokens/dec.h"

static void fuse(const void *data, struct dec_run *run, size_t stage, struct str token, bool more) {
    (void)data;
    (void)more;
    dec_next(run, stage, token, true);
}

static void fuse_end(const void *data, struct dec_run *run, size_t stage) {
    (void)data;
    dec_next(run, stage, (struct str){"", 0}, false);
}

const struct dec_kind dec_fuse = {"Fuse", NULL, NULL, true, fuse, fuse_end};

static void join(const void *data, struct dec_run *run, size_t stage, struct str token, bool more) {
    (void)data;
    if (run->states[stage].count)
        dec_next(run, stage, str_of(" "), true);
    dec_next(run, stage, token, more);
}

const struct dec_kind dec_join = {"none", NULL, NULL, false, join, NULL};
