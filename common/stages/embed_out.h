/* What llm-embed writes: vectors(5), JSON lines or a .npy file.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef STAGES_EMBED_OUT_H
#define STAGES_EMBED_OUT_H

#include <stdbool.h>
#include <stdio.h>

#include "base/progress.h"
#include "stages/embed_batch.h"
#include "wire/npy.h"

/* The form of the output; all zero: vectors(5). */
struct embed_form {
    bool json;       // JSON lines
    struct npy *npy; // this file, and nothing on out; NULL: none
};

struct embed_out {
    struct embed_form form;
    struct vectors_header header;
    FILE *out;
    void *packed;  // a vector in the header's dtype
    float *no_row; // [dim] of NaN
    struct buf line;
    uint64_t n_written;
    bool terminal;            // out is one: control characters are escaped
    int status;               // EXIT_DONE, or EXIT_SOME_FAILED
    struct progress progress; // off, unless the caller starts it after embed_out_begin
};

/* Writes the header of vectors(5). embed_out_free is needed after -1 too. */
int embed_out_begin(struct embed_out *o, const struct embed_form *form,
                    const struct vectors_header *header, FILE *out, struct err *e);
/* Writes a record; of one that failed, a warning says why. ctx: struct embed_out. This is an
 * embed_done_fn. */
int embed_out_record(void *ctx, const struct embed_record *r, const float *vector, struct err *e);
/* The end of vectors(5). */
void embed_out_end(struct embed_out *o);
void embed_out_free(struct embed_out *o);

#endif
