/* Log-probabilities in answers: see reply_logprobs.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "serve/reply_logprobs.h"

#include <math.h>

#include "base/json.h"
#include "base/utf8.h"

struct writer {
    const struct tokenizer *t;
    struct decoder *piece;
    struct buf bytes, text, key; // of one token
};

/* w->bytes = the token's bytes: its text inside a sentence, or what it spells. True if they are
 * whole characters. */
static bool find_bytes(struct writer *w, uint32_t id) {
    struct err ignored = {0};
    buf_clear(&w->bytes);
    buf_clear(&w->text);
    tokenizer_bytes(w->t, id, &w->bytes);
    if (utf8_valid(w->bytes.p ? w->bytes.p : "", w->bytes.n) != w->bytes.n)
        return false;
    decoder_continue(w->piece);
    if (decoder_id(w->piece, id, &w->text, &ignored) == 0 &&
        decoder_end(w->piece, &w->text, &ignored) == 0 && w->text.n > 0) {
        buf_clear(&w->bytes);
        buf_add(&w->bytes, w->text.p, w->text.n);
    }
    return true;
}

/* w->key = the token as a JSON string. */
static void find_key(struct writer *w, uint32_t id, bool completion) {
    bool whole = find_bytes(w, id);
    buf_clear(&w->key);
    buf_clear(&w->text);
    if (whole) {
        buf_add(&w->text, w->bytes.p, w->bytes.n);
    } else if (!completion) {
        utf8_repair(&w->text, w->bytes.p, w->bytes.n);
    } else {
        buf_str(&w->text, "bytes:");
        for (size_t i = 0; i < w->bytes.n; i++)
            buf_fmt(&w->text, "\\x%02x", (unsigned char)w->bytes.p[i]);
    }
    json_write_str(&w->key, w->text.p ? buf_view(&w->text) : str_of(""));
}

/* JSON has no infinity; OpenAI writes -9999 for what is as good as impossible. */
static void write_logprob(struct buf *out, double v) {
    json_write_f64(out, isfinite(v) ? v : -9999.0);
}

/* `"token": " a", "logprob": -0.1, "bytes": [32, 97]` */
static void write_token(struct writer *w, uint32_t id, double logprob, struct buf *out) {
    find_key(w, id, false);
    buf_fmt(out, "\"token\": %s, \"logprob\": ", w->key.p);
    write_logprob(out, logprob);
    buf_str(out, ", \"bytes\": [");
    for (size_t i = 0; i < w->bytes.n; i++)
        buf_fmt(out, "%s%u", i ? ", " : "", (unsigned)(unsigned char)w->bytes.p[i]);
    buf_byte(out, ']');
}

static void add_chat(struct writer *w, struct reply_logprobs *l, const struct generate_token *t) {
    buf_str(&l->items, l->items.n ? ", {" : "{");
    write_token(w, t->id, t->score.logprob, &l->items);
    buf_str(&l->items, ", \"top_logprobs\": [");
    for (uint32_t i = 0; t->scored && i < t->score.n_top; i++) {
        buf_str(&l->items, i ? ", {" : "{");
        write_token(w, t->score.top[i].id, t->score.top[i].logprob, &l->items);
        buf_byte(&l->items, '}');
    }
    buf_str(&l->items, "]}");
}

/* One entry of "top_logprobs": the alternatives, and the token itself. Tokens that are written
 * alike have one member, the likeliest. */
static void write_tops(struct writer *w, const struct generate_token *t, struct buf *out) {
    struct buf keys[BODY_MAX_TOP + 1] = {{0}};
    uint32_t n = 0;
    buf_byte(out, '{');
    for (uint32_t i = 0; i <= t->score.n_top; i++) {
        bool own = i == t->score.n_top, twice = false;
        find_key(w, own ? t->id : t->score.top[i].id, true);
        for (uint32_t k = 0; k < n; k++)
            twice |= str_same(buf_view(&keys[k]), buf_view(&w->key));
        if (twice)
            continue;
        buf_add(&keys[n], w->key.p, w->key.n);
        buf_fmt(out, "%s%s: ", n++ ? ", " : "", w->key.p);
        write_logprob(out, own ? t->score.logprob : t->score.top[i].logprob);
    }
    buf_byte(out, '}');
    for (uint32_t k = 0; k < n; k++)
        buf_free(&keys[k]);
}

static void add_completion(struct writer *w, struct reply_logprobs *l,
                           const struct generate_token *t) {
    const char *comma = l->items.n ? ", " : "";
    find_key(w, t->id, true);
    buf_fmt(&l->items, "%s%s", comma, w->key.p);
    buf_str(&l->values, comma);
    buf_str(&l->tops, comma);
    if (t->scored) {
        write_logprob(&l->values, t->score.logprob);
        write_tops(w, t, &l->tops);
    } else { // the first of a prompt
        buf_str(&l->values, "null");
        buf_str(&l->tops, "null");
    }
    buf_fmt(&l->offsets, "%s%zu", comma, t->offset);
}

void reply_logprobs_add(struct reply_logprobs *l, enum body_kind kind, const struct tokenizer *t,
                        struct decoder *piece, const struct generate_part *p) {
    struct writer w = {.t = t, .piece = piece};
    for (size_t i = 0; i < p->n_tokens; i++)
        (kind == BODY_COMPLETION ? add_completion : add_chat)(&w, l, &p->tokens[i]);
    buf_free(&w.bytes);
    buf_free(&w.text);
    buf_free(&w.key);
}

static const char *text_of(const struct buf *b) {
    return b->n ? b->p : "";
}

void reply_logprobs_write(const struct reply_logprobs *l, enum body_kind kind, struct buf *out) {
    if (kind == BODY_RESPONSES)
        buf_fmt(out, "[%s]", text_of(&l->items));
    else if (kind == BODY_CHAT)
        buf_fmt(out, "{\"content\": [%s], \"refusal\": null}", text_of(&l->items));
    else
        buf_fmt(out,
                "{\"tokens\": [%s], \"token_logprobs\": [%s], \"top_logprobs\": [%s], "
                "\"text_offset\": [%s]}",
                text_of(&l->items), text_of(&l->values), text_of(&l->tops), text_of(&l->offsets));
}

void reply_logprobs_free(struct reply_logprobs *l) {
    buf_free(&l->items);
    buf_free(&l->values);
    buf_free(&l->tops);
    buf_free(&l->offsets);
}
