/* Encoding one text: added tokens, normalizers, pre-tokenizers, model, post-processors. See
 * tokenizer.h.
 *
 * The steps call each other depth first, so no list of words is built:
 *
 *     tokenizer_encode    split_added(raw) cuts out tokens that match the text as written
 *       normalize         norms_apply, then split_added(normalized)
 *         pre_tokenize    pre_begin calls encode_word for each word
 *           encode_word   the model, or the cache of words seen before (word_cache.h)
 *
 * Ids and offsets go straight to the caller's token_ids. The post-processors run at the end.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdlib.h>

#include "tokens/bytechars.h"
#include "tokens/tokenizer_parts.h"
#include "unicode/regex.h"
#include "unicode/unicode.h"
#include "tokens/word_cache.h"

enum {
    MAX_TEXT = 0x7fffffff, // bytes of one text, because offsets have 32 bits
    MAX_IDS = 1 << 24,     // of one text; tokens(5) carries no more
};

struct encoder {
    const struct tokenizer *t;
    void *scratch; // the model's
    struct tok_text normalized;
    struct tok_text *work; // [pres.n]
    struct word_cache cache;
    struct regex_work *regex;
    struct buf trusted;          // trusted_bytes of the normalized text
    struct buf none;             // no_bytes
    struct tok_model no_control; // the model; in it `control` is set
    unsigned char *control;      // [t->n_added_ids] 1 for control tokens; NULL before make_control
    // Of the text that is being encoded:
    struct pre_run run;
    struct token_ids *out;
    const uint8_t *allowed; // encode_options.trusted
    bool split_special;
    bool track;
    struct err *e;
};

struct encoder *encoder_new(const struct tokenizer *t) {
    struct encoder *en = xcalloc(1, sizeof *en);
    en->t = t;
    if (t->model.kind->scratch_new)
        en->scratch = t->model.kind->scratch_new(&t->model);
    en->work = xcalloc(t->pres.n, sizeof *en->work);
    word_cache_begin(&en->cache);
    en->regex = regex_work_new();
    return en;
}

/* Only texts of conversations need it, so it is made with the first of them. */
static void make_control(struct encoder *en) {
    const struct tokenizer *t = en->t;
    en->control = xcalloc(t->n_added_ids, 1);
    for (size_t i = 0; i < t->added.n; i++)
        en->control[t->added.tokens[i].id] |= added_is_control(&t->added.tokens[i]);
    en->no_control = t->model;
    en->no_control.control = en->control;
    en->no_control.n_control = t->n_added_ids;
}

void encoder_free(struct encoder *en) {
    if (!en)
        return;
    if (en->t->model.kind->scratch_free)
        en->t->model.kind->scratch_free(en->scratch);
    for (size_t i = 0; i < en->t->pres.n; i++)
        text_free(&en->work[i]);
    text_free(&en->normalized);
    buf_free(&en->trusted);
    buf_free(&en->none);
    free(en->work);
    free(en->control);
    free(en->cache.memory);
    regex_work_free(en->regex);
    free(en);
}

/* Appends a word's ids. The model gives offsets in the word, which become offsets in the input. */
static int encode_tracked(struct encoder *en, const struct tok_model *m,
                          const struct tok_piece *word) {
    struct token_ids *out = en->out;
    size_t from = out->n;
    if (m->kind->encode(m, en->scratch, (struct str){word->p, word->n}, out, en->e) != 0)
        return -1;
    for (size_t i = from; out->want_offsets && i < out->n; i++) {
        uint32_t *o = out->offsets[i];
        if (o[0] < o[1] && o[1] <= word->n) {
            struct tok_span first = tok_piece_span(word, o[0]),
                            last = tok_piece_span(word, o[1] - 1);
            o[0] = first.start;
            o[1] = last.end;
        }
    }
    return 0;
}

/* The same from the cache, if the word is there. */
static int encode_cached(struct encoder *en, const struct tok_piece *word) {
    struct token_ids *out = en->out;
    if (out->want_offsets || word->n > WORD_CACHE_BYTES)
        return encode_tracked(en, &en->t->model, word);
    struct word_line *line = word_line(&en->cache, word->p, word->n);
    if (word_line_get(line, word->p, word->n, out))
        return 0;
    size_t from = out->n;
    if (encode_tracked(en, &en->t->model, word) != 0)
        return -1;
    const uint32_t *ids = out->ids ? out->ids + from : NULL; // NULL: the first word has no ids
    word_line_put(line, word->p, word->n, ids, out->n - from);
    return 0;
}

/* Whether the input bytes that byte i of p came from are all trusted. */
static bool is_trusted(const struct encoder *en, const struct tok_piece *p, size_t i) {
    struct tok_span s = tok_piece_span(p, i);
    bool good = true;
    for (uint32_t k = s.start; k < s.end && good; k++)
        good = en->allowed[k];
    return good;
}

/* Whether input bytes that are not trusted are in the word. */
static bool has_foreign(const struct encoder *en, const struct tok_piece *word) {
    for (size_t i = 0; i < word->n; i++)
        if (!is_trusted(en, word, i))
            return true;
    return false;
}

/* Text of a conversation is no control token, although the model's vocabulary has the same text. */
static int encode_word(void *ctx, const struct tok_piece *word) {
    struct encoder *en = ctx;
    struct token_ids *out = en->out;
    size_t from = out->n;
    if (encode_cached(en, word) != 0)
        return -1;
    bool control = false;
    for (size_t i = from; en->allowed && i < out->n && !control; i++)
        control = model_is_control(&en->no_control, out->ids[i]);
    if (!control || !has_foreign(en, word))
        return 0;
    out->n = from;
    return encode_tracked(en, &en->no_control, word);
}

static void add_token(struct encoder *en, const struct tok_piece *p, const struct added_match *m) {
    struct tok_span s = {0, 0};
    if (en->out->want_offsets && m->start < m->end)
        s = (struct tok_span){tok_piece_span(p, m->start).start, tok_piece_span(p, m->end - 1).end};
    token_ids_add(en->out, m->token->id, s.start, s.end);
}

/* Finds the added tokens of one set in p, and passes the text between them to `rest`. */
static int split_added(struct encoder *en, const struct tok_piece *p, bool normalized,
                       const uint8_t *allowed,
                       int (*rest)(struct encoder *, const struct tok_piece *)) {
    struct added_iter it =
        added_begin(&en->t->added, normalized, (struct str){p->p, p->n}, allowed);
    struct added_match m;
    it.split_special = en->split_special;
    while (added_next(&it, &m)) {
        if (m.from < m.start) {
            struct tok_piece between = tok_piece_cut(p, m.from, m.start);
            if (rest(en, &between) != 0)
                return -1;
        }
        if (m.start < m.end)
            add_token(en, p, &m);
    }
    if (it.too_slow)
        return err_set(
            en->e, EXIT_DATA,
            "the search for added tokens takes more than %d steps a byte: long ones often "
            "begin but do not end",
            ADDED_STEPS);
    if (it.covered >= p->n)
        return 0;
    struct tok_piece left = tok_piece_cut(p, it.covered, p->n);
    return rest(en, &left);
}

static int pre_tokenize(struct encoder *en, const struct tok_piece *p) {
    return pre_begin(&en->run, p);
}

/* Returns a byte for each byte of normalized text: whether all input bytes that it came from are
 * trusted. */
static const uint8_t *trusted_bytes(struct encoder *en, const struct tok_piece *p) {
    buf_clear(&en->trusted);
    for (size_t i = 0; i < p->n; i++)
        buf_byte(&en->trusted, is_trusted(en, p, i));
    return (const uint8_t *)en->trusted.p;
}

static int normalize(struct encoder *en, const struct tok_piece *p) {
    text_set(&en->normalized, p, en->track);
    if (norms_apply(&en->t->norms, &en->normalized, en->e) != 0)
        return -1;
    if (en->normalized.now.n == 0)
        return 0;
    struct tok_piece now = en->normalized.now;
    bool ask =
        en->allowed && (en->t->added.normalized.nodes || en->t->added.normalized.empty != NO_ID);
    return split_added(en, &now, true, ask ? trusted_bytes(en, &now) : NULL, pre_tokenize);
}

/* Counts the characters at one end of s that are white space, or a space in the byte alphabet. */
static uint16_t count_end(struct str s, bool at_end) {
    uint16_t n = 0;
    for (size_t len; s.n && n < UINT16_MAX; n++) {
        size_t i = at_end ? uni_before(s.p, s.n) : 0;
        uint32_t cp = uni_next(s.p + i, &len);
        if (cp != bytechar(' ') && !(uni_bits(cp) & UNI_SPACE))
            break;
        s.p += at_end ? 0 : len;
        s.n -= len;
    }
    return n;
}

/* Counts the white space at both ends of each token, [n]. The caller frees the result. An added
 * token is measured in the text that it matched. */
static uint16_t (*count_spaces(const struct tokenizer *t, struct str text,
                               const struct token_ids *out))[2] {
    uint16_t(*spaces)[2] = xcalloc(out->n, sizeof *spaces);
    for (size_t i = 0; i < out->n; i++) {
        uint32_t id = out->ids[i];
        bool added = id < t->n_added_ids && t->added_ids[id] != NO_ID;
        struct str s = added ? (struct str){text.p + out->offsets[i][0],
                                            out->offsets[i][1] - out->offsets[i][0]}
                             : tokenizer_piece(t, id);
        spaces[i][0] = count_end(s, false);
        spaces[i][1] = count_end(s, true);
    }
    return spaces;
}

/* Truncates the ids, with room for those that the post-processor adds. */
static void truncate_ids(const struct tokenizer *t, const struct encode_options *o,
                         struct token_ids *out) {
    size_t special = 0;
    for (size_t i = 0; i < t->posts.n && !o->no_special; i++)
        special += t->posts.steps[i].n_before + t->posts.steps[i].n_after;
    size_t to = o->truncate_to ? o->truncate_to : t->truncation,
           most = to > special ? to - special : 0;
    if (out->n <= most)
        return;
    bool left = o->side == TRUNCATE_AS_FILE ? t->truncate_left : o->side == TRUNCATE_LEFT;
    size_t from = left ? out->n - most : 0;
    memmove(out->ids, out->ids + from, most * sizeof *out->ids);
    if (out->want_offsets)
        memmove(out->offsets, out->offsets + from, most * sizeof *out->offsets);
    out->n = most;
}

/* encode_options.trusted of a text that nobody trusts, [n]. */
static const uint8_t *no_bytes(struct encoder *en, size_t n) {
    buf_clear(&en->none);
    buf_reserve(&en->none, n);
    memset(en->none.p, 0, n);
    return (const uint8_t *)en->none.p;
}

int tokenizer_encode(struct encoder *en, struct str text, const struct encode_options *o,
                     struct token_ids *out, struct err *e) {
    const struct tokenizer *t = en->t;
    if (text.n > MAX_TEXT)
        return err_set(e, EXIT_DATA, "the text has %zu bytes, more than %d", text.n, MAX_TEXT);
    out->n = 0;
    en->out = out;
    en->e = e;
    en->allowed = o && o->split_special ? no_bytes(en, text.n) : o ? o->trusted : NULL;
    en->split_special = o && o->split_special;
    if (en->allowed && !en->control)
        make_control(en);
    en->track = out->want_offsets || t->needs_track || en->allowed;
    en->run = (struct pre_run){&t->pres, en->work, en->track, encode_word, en, e, en->regex};
    en->normalized.regex = en->regex;
    regex_work_begin(en->regex, text.n);
    struct tok_piece whole = {text.p, text.n, NULL, {0, (uint32_t)text.n}};
    if (text.n && split_added(en, &whole, false, en->allowed, normalize) != 0)
        return -1;
    if (o && o->truncate && (o->truncate_to || t->truncation))
        truncate_ids(t, o, out);
    size_t n = posts_count(&t->posts, !(o && o->no_special), out->n);
    if (n > MAX_IDS)
        return err_set(e, EXIT_DATA, "%zu tokens, more than %d", n, MAX_IDS);
    uint16_t(*spaces)[2] =
        out->want_offsets && posts_trim(&t->posts) ? count_spaces(t, text, out) : NULL;
    posts_apply(&t->posts, !(o && o->no_special), out, (const uint16_t(*)[2])spaces, text);
    free(spaces);
    return 0;
}

struct token_ids tokenizer_ids(const struct tokenizer *t, struct str text, bool special) {
    struct encoder *en = encoder_new(t);
    struct encode_options o = {.no_special = !special};
    struct token_ids ids = {0};
    struct err ignored = {0};
    if (tokenizer_encode(en, text, &o, &ids, &ignored) != 0)
        ids.n = 0;
    encoder_free(en);
    return ids;
}
