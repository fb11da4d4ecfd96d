/* Three decoders for tokens that are parts of words.
 *
 * - WordPiece: "un" "##able" "." is "unable .". A token with the prefix continues a word; any other
 * gets a space before it. Cleanup removes the space before punctuation and English contractions, in
 * each token alone.
 * - CTC: equal tokens in a row count once, and the pad token is removed. It has the same cleanup.
 * - BPEDecoder: a suffix ends a word and becomes a space.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdlib.h>

#include "tokens/component.h"
#include "tokens/dec.h"
#include "unicode/unicode.h"

/* Puts `to` before, between and after all characters of b. The reference does this if `from` is
 * empty. */
static void put_between(struct buf *b, struct str to) {
    struct buf out = {0};
    buf_add(&out, to.p, to.n);
    for (size_t i = 0, len; i < b->n; i += len) {
        len = uni_len(b->p[i]);
        buf_add(&out, b->p + i, len);
        buf_add(&out, to.p, to.n);
    }
    buf_free(b);
    *b = out;
}

/* Replaces every `from` in b by `to`. */
static void replace_all(struct buf *b, const char *from, struct str to) {
    size_t n = strlen(from);
    struct buf out = {0};
    size_t i = 0, copied = 0;
    if (n == 0) {
        put_between(b, to);
        return;
    }
    for (; b->n >= n && i <= b->n - n; i++)
        if (memcmp(b->p + i, from, n) == 0) {
            buf_add(&out, b->p + copied, i - copied);
            buf_add(&out, to.p, to.n);
            copied = i + n;
            i = copied - 1;
        }
    if (copied == 0)
        return;
    buf_add(&out, b->p + copied, b->n - copied);
    buf_free(b);
    *b = out;
}

static void clean_up(struct buf *b) {
    static const char *const rules[][2] = {{" .", "."},     {" ?", "?"},           {" !", "!"},
                                           {" ,", ","},     {" ' ", "'"},          {" n't", "n't"},
                                           {" 'm", "'m"},   {" do not", " don't"}, {" 's", "'s"},
                                           {" 've", "'ve"}, {" 're", "'re"}};
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        replace_all(b, rules[i][0], str_of(rules[i][1]));
}

struct wordpiece {
    struct str prefix;
    bool cleanup;
};

static void *load(struct json *j) {
    struct wordpiece *w = xcalloc(1, sizeof *w);
    struct str key;
    bool cleanup = false;
    json_enter_object(j);
    while (json_key(j, &key))
        if (str_eq(key, "prefix")) {
            w->prefix = json_str(j);
        } else if (str_eq(key, "cleanup")) {
            w->cleanup = json_bool(j);
            cleanup = true;
        } else {
            json_skip(j);
        }
    component_need(j, w->prefix.p, "WordPiece", "prefix");
    component_need(j, cleanup, "WordPiece", "cleanup");
    return w;
}

static void token(const void *data, struct dec_run *run, size_t stage, struct str token,
                  bool more) {
    const struct wordpiece *w = data;
    struct dec_state *s = &run->states[stage];
    buf_clear(&s->work);
    if (s->count) {
        if (token.n >= w->prefix.n &&
            (w->prefix.n == 0 || memcmp(token.p, w->prefix.p, w->prefix.n) == 0)) {
            token.p += w->prefix.n;
            token.n -= w->prefix.n;
        } else {
            buf_byte(&s->work, ' ');
        }
    }
    buf_add(&s->work, token.p, token.n);
    if (w->cleanup)
        clean_up(&s->work);
    dec_next(run, stage, buf_view(&s->work), more);
}

const struct dec_kind dec_wordpiece = {"WordPiece", load, free, false, token, NULL};

struct ctc {
    struct str pad, delimiter; // NUL-terminated
    bool cleanup;
};

static struct str terminated(struct json *j) {
    struct str s = json_str(j);
    return arena_str(&j->strings, s.p, s.n);
}

static void *load_ctc(struct json *j) {
    struct ctc *c = xcalloc(1, sizeof *c);
    struct str key;
    bool cleanup = false;
    json_enter_object(j);
    while (json_key(j, &key))
        if (str_eq(key, "pad_token")) {
            c->pad = terminated(j);
        } else if (str_eq(key, "word_delimiter_token")) {
            c->delimiter = terminated(j);
        } else if (str_eq(key, "cleanup")) {
            c->cleanup = json_bool(j);
            cleanup = true;
        } else {
            json_skip(j);
        }
    component_need(j, c->pad.p, "CTC", "pad_token");
    component_need(j, c->delimiter.p, "CTC", "word_delimiter_token");
    component_need(j, cleanup, "CTC", "cleanup");
    return c;
}

/* Equal tokens in a row count once, and the pad token is removed from each. state.bytes is the last
 * token. */
static void ctc_token(const void *data, struct dec_run *run, size_t stage, struct str token,
                      bool more) {
    const struct ctc *c = data;
    struct dec_state *s = &run->states[stage];
    if (s->own && str_same(token, buf_view(&s->bytes)))
        return;
    s->own = 1;
    buf_clear(&s->bytes);
    buf_add(&s->bytes, token.p, token.n);
    buf_clear(&s->work);
    buf_add(&s->work, token.p, token.n);
    replace_all(&s->work, c->pad.p, (struct str){"", 0});
    if (c->cleanup) {
        clean_up(&s->work);
        replace_all(&s->work, c->delimiter.p, str_of(" "));
    }
    if (s->work.n)
        dec_next(run, stage, buf_view(&s->work), more);
}

const struct dec_kind dec_ctc = {"CTC", load_ctc, free, false, ctc_token, NULL};

static void *load_bpe(struct json *j) {
    struct str *suffix = xcalloc(1, sizeof *suffix);
    struct str key;
    json_enter_object(j);
    while (json_key(j, &key))
        if (str_eq(key, "suffix"))
            *suffix = terminated(j);
        else
            json_skip(j);
    component_need(j, suffix->p, "BPEDecoder", "suffix");
    return suffix;
}

/* Suffixes become spaces, but in the last token they are dropped. So one token is held back, in
 * state.bytes. */
static void bpe_flush(const struct str *suffix, struct dec_run *run, size_t stage, struct str to) {
    struct dec_state *s = &run->states[stage];
    if (!s->own)
        return;
    replace_all(&s->bytes, suffix->p, to);
    dec_next(run, stage, buf_view(&s->bytes), false);
}

static void bpe_token(const void *data, struct dec_run *run, size_t stage, struct str token,
                      bool more) {
    struct dec_state *s = &run->states[stage];
    (void)more;
    bpe_flush(data, run, stage, str_of(" "));
    s->own = 1;
    buf_clear(&s->bytes);
    buf_add(&s->bytes, token.p, token.n);
}

static void bpe_end(const void *data, struct dec_run *run, size_t stage) {
    bpe_flush(data, run, stage, (struct str){"", 0});
}

const struct dec_kind dec_bpe = {"BPEDecoder", load_bpe, free, false, bpe_token, bpe_end};
