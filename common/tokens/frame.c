/* The ids around a text: see frame.h. They are what an empty text is encoded to, cut where a text
 * with a word goes on otherwise.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "tokens/frame.h"

int token_frame_find(struct token_frame *f, struct encoder *en, struct err *e) {
    const struct encode_options options = {0};
    struct token_ids some = {0};
    *f = (struct token_frame){0};
    int rc = tokenizer_encode(en, str_of(""), &options, &f->both, e);
    if (rc == 0)
        rc = tokenizer_encode(en, str_of("a"), &options, &some, e);
    while (rc == 0 && f->n_begin < f->both.n && f->n_begin < some.n &&
           f->both.ids[f->n_begin] == some.ids[f->n_begin])
        f->n_begin++;
    token_ids_free(&some);
    f->n_end = f->both.n - f->n_begin;
    f->begin = f->both.ids;
    f->end = f->both.n ? f->both.ids + f->n_begin : NULL;
    return rc;
}
