/* WordPiece: the longest token that begins the word, then the longest that continues it, and so on
 * (Schuster and Nakajima 2012; Devlin et al. 2019).
 *
 * "unable" becomes "un", "##able". A token that continues a word has a prefix, "##" here. A word
 * becomes unk_token if it is too long or some part of it has no token.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdlib.h>

#include "tokens/component.h"
#include "tokens/model.h"
#include "unicode/unicode.h"

struct wordpiece {
    struct str unk, prefix;
    uint64_t max_chars; // of a word
};

static void load(struct tok_model *m, struct json *j) {
    struct wordpiece *w = xcalloc(1, sizeof *w);
    struct str key;
    bool vocab = false, max = false;
    m->data = w;
    m->byte_level = false;
    json_enter_object(j);
    while (json_key(j, &key))
        if (str_eq(key, "vocab")) {
            vocab_free(&m->vocab);
            vocab_load(&m->vocab, j, false, &m->mem);
            vocab = true;
        } else if (str_eq(key, "unk_token")) {
            w->unk = json_str(j);
        } else if (str_eq(key, "continuing_subword_prefix")) {
            w->prefix = json_str(j);
        } else if (str_eq(key, "max_input_chars_per_word")) {
            w->max_chars = json_u64(j);
            max = true;
        } else {
            json_skip(j);
        }
    component_need(j, vocab, "WordPiece", "vocab");
    component_need(j, w->unk.p, "WordPiece", "unk_token");
    component_need(j, w->prefix.p, "WordPiece", "continuing_subword_prefix");
    component_need(j, max, "WordPiece", "max_input_chars_per_word");
}

static void *scratch_new(const struct tok_model *m) {
    (void)m;
    return xcalloc(1, sizeof(struct buf));
}

static void scratch_free(void *scratch) {
    buf_free(scratch);
    free(scratch);
}

static int unknown(const struct tok_model *m, struct str word, struct token_ids *out,
                   struct err *e) {
    const struct wordpiece *w = m->data;
    uint32_t id = vocab_find_name(&m->vocab, w->unk);
    if (id == NO_ID)
        return err_set(e, EXIT_DATA, "the unknown token \"%.*s\" is not in the vocabulary",
                       (int)w->unk.n, w->unk.p);
    token_ids_add(out, id, 0, word.n);
    return 0;
}

/* Returns the longest token for the bytes from `start`. Its end goes to *end. */
static uint32_t longest(const struct tok_model *m, struct buf *room, struct str word, size_t start,
                        size_t *end) {
    const struct wordpiece *w = m->data;
    size_t prefix = start ? w->prefix.n : 0, most = word.n - start;
    if (m->vocab.longest < prefix)
        return NO_ID;
    if (most > m->vocab.longest - prefix)
        most = m->vocab.longest - prefix;
    while (most && start + most < word.n && uni_inside(word.p[start + most]))
        most--;
    buf_clear(room);
    buf_add(room, w->prefix.p, prefix);
    buf_add(room, word.p + start, most);
    while (most) {
        uint32_t id = model_find(m, room->p, prefix + most);
        if (id != NO_ID) {
            *end = start + most;
            return id;
        }
        most = uni_before(word.p + start, most);
    }
    return NO_ID;
}

static int encode(const struct tok_model *m, void *scratch, struct str word, struct token_ids *out,
                  struct err *e) {
    const struct wordpiece *w = m->data;
    uint64_t chars = 0;
    for (size_t i = 0; i < word.n; i++)
        chars += !uni_inside(word.p[i]);
    if (chars > w->max_chars)
        return unknown(m, word, out, e);
    size_t from = out->n;
    for (size_t start = 0, end = 0; start < word.n; start = end) {
        uint32_t id = longest(m, scratch, word, start, &end);
        if (id == NO_ID) {
            out->n = from;
            return unknown(m, word, out, e);
        }
        token_ids_add(out, id, start, end);
    }
    return 0;
}

const struct tok_model_kind model_wordpiece = {"WordPiece", load,         free,
                                               scratch_new, scratch_free, encode};
