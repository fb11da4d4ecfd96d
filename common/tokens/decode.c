/* Decoding ids, one at a time: see tokenizer.h.
 *
 * An id gives the token's text, which runs through the decoder's stages (dec.h). Unknown ids and,
 * unless the caller asks for them, special ids are skipped.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdlib.h>

#include "tokens/bytechars.h"
#include "tokens/tokenizer_parts.h"

void tokenizer_bytes(const struct tokenizer *t, uint32_t id, struct buf *out) {
    struct str piece = tokenizer_piece(t, id);
    bool added = id < t->n_added_ids && t->added_ids[id] != NO_ID;
    for (size_t i = 0; i < t->decs.n && !added; i++) {
        const struct dec_kind *kind = t->decs.stages[i].kind;
        int byte = kind == &dec_byte_fallback ? dec_fallback_byte(piece) : -1;
        if (byte >= 0) {
            buf_byte(out, byte);
            return;
        }
        buf_reserve(out, piece.n);
        long n = kind == &dec_byte_level ? bytechars_decode(piece, out->p + out->n) : -1;
        if (n >= 0) {
            out->n += (size_t)n;
            return;
        }
    }
    buf_add(out, piece.p, piece.n);
}

struct decoder {
    const struct tokenizer *t;
    bool keep_special;
    struct dec_run run;
};

struct decoder *decoder_new(const struct tokenizer *t, bool keep_special) {
    struct decoder *d = xcalloc(1, sizeof *d);
    d->t = t;
    d->keep_special = keep_special;
    dec_begin(&d->run, &t->decs);
    return d;
}

void decoder_continue(struct decoder *d) {
    dec_reset(&d->run, true);
}

int decoder_id(struct decoder *d, uint32_t id, struct buf *out, struct err *e) {
    struct str text = tokenizer_text(d->t, id);
    if (!text.p || (!d->keep_special && tokenizer_is_special(d->t, id)))
        return 0;
    d->run.out = out;
    return dec_token(&d->run, text) == 0 ? 0
                                         : err_set(e, d->run.failed.code, "%s", d->run.failed.msg);
}

int decoder_peek(const struct decoder *d, struct buf *out, struct err *e) {
    struct dec_run copy;
    dec_copy(&copy, &d->run);
    copy.out = out;
    int rc = dec_end(&copy);
    if (rc != 0)
        err_set(e, copy.failed.code, "%s", copy.failed.msg);
    dec_copy_free(&copy);
    return rc;
}

int decoder_end(struct decoder *d, struct buf *out, struct err *e) {
    d->run.out = out;
    int rc = dec_end(&d->run);
    if (rc != 0)
        err_set(e, d->run.failed.code, "%s", d->run.failed.msg);
    dec_reset(&d->run, false);
    return rc;
}

size_t decoder_bytes(const struct decoder *d) {
    return sizeof *d + dec_run_bytes(&d->run);
}

void decoder_free(struct decoder *d) {
    if (d)
        dec_run_free(&d->run);
    free(d);
}
