/* The text of an answer: see answer_decoder.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "stages/answer_decoder.h"

#include <stdlib.h>

#include "base/attrs.h"
#include "base/num.h"
#include "sample/stop_texts.h"
#include "wire/tokens.h"

struct answer_decoder {
    struct decoder *decoder;
    struct stop_texts stops;
    struct stop_search search; // in what follows the prompt's ids
    uint64_t prompt_left;      // of the prompt's ids
    bool cut;                  // a stop text was found: nothing after it is shown
    struct buf fresh;          // what the decoder has just given out
    struct buf maybe;          // what may be the beginning of a stop text
};

struct answer_decoder *answer_decoder_new(const struct tokenizer *t, bool special) {
    struct answer_decoder *d = xcalloc(1, sizeof *d);
    d->decoder = decoder_new(t, special);
    return d;
}

void answer_decoder_free(struct answer_decoder *d) {
    if (!d)
        return;
    decoder_free(d->decoder);
    stop_texts_free(&d->stops);
    buf_free(&d->fresh);
    buf_free(&d->maybe);
    free(d);
}

int answer_decoder_begin(struct answer_decoder *d, struct str attrs, bool continues,
                         struct err *e) {
    struct buf value = {0};
    int rc = 0;
    if (continues || (attrs_get(attrs, "continues", &value) && str_eq(buf_view(&value), "1")))
        decoder_continue(d->decoder);
    stop_texts_free(&d->stops);
    d->search = (struct stop_search){.texts = &d->stops};
    d->prompt_left = 0;
    d->cut = false;
    buf_clear(&d->maybe);
    if (attrs_get(attrs, "ends", &value) && value.n)
        rc = stop_texts_parse(&d->stops, buf_view(&value), e);
    if (attrs_get(attrs, "begins", &value) && value.n &&
        !parse_u64(buf_view(&value), 0, TOKENS_MAX_SEQUENCE, &d->prompt_left))
        rc = rc == 0 ? err_set(e, EXIT_DATA, "begins takes a number of ids")
                     : err_where(e, "begins takes a number of ids");
    buf_free(&value);
    return rc;
}

/* Moves what the decoder has given out to text, except for what may be the beginning of a stop
 * text. */
static void take_fresh(struct answer_decoder *d, struct buf *text) {
    size_t used, held;
    if (d->stops.n == 0 || d->prompt_left > 0) {
        buf_add(text, d->fresh.p, d->fresh.n);
    } else if (!d->cut) {
        d->cut = stop_search_take(&d->search, d->fresh.p, d->fresh.n, &used, &held);
        buf_add(&d->maybe, d->fresh.p, used);
        size_t sure = d->maybe.n - held;
        buf_add(text, d->maybe.p, sure);
        d->maybe.n = held;
        if (held && sure)
            memmove(d->maybe.p, d->maybe.p + sure, held);
    }
    buf_clear(&d->fresh);
}

int answer_decoder_id(struct answer_decoder *d, uint32_t id, struct buf *text, struct err *e) {
    int rc = decoder_id(d->decoder, id, &d->fresh, e);
    take_fresh(d, text);
    d->prompt_left -= d->prompt_left > 0;
    return rc;
}

bool answer_decoder_stopped(const struct answer_decoder *d, struct str *stop) {
    *stop = buf_view(&d->maybe); // what was held back when it was complete
    return d->cut;
}

int answer_decoder_end(struct answer_decoder *d, struct buf *text, struct err *e) {
    int rc = decoder_end(d->decoder, &d->fresh, e);
    take_fresh(d, text);
    if (!d->cut)
        buf_add(text, d->maybe.p, d->maybe.n);
    return rc;
}
