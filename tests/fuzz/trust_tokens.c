/* Fuzz entry: text of which a user wrote a part must give no control token there. The input is a
 * byte that chooses a tokenizer of tests/data, and a text. A byte 1 in the text is left out; what
 * follows it is the template's, up to the next byte 1.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "../lib/fuzz.h"
#include "tokens/tokenizer.h"

static const char *const names[] = {"bpe-gemma",  "bpe-gpt2",     "bpe-gpt2-prefix", "bpe-llama2",
                                    "bpe-llama3", "bpe-qwen2",    "bpe-smollm2",     "bpe-tekken",
                                    "unigram-t5", "unigram-xlmr", "wordpiece-bert"};
enum { N_NAMES = sizeof names / sizeof *names };

struct loaded {
    struct tokenizer *t;
    struct encoder *en;
};

static const struct loaded *load(size_t i) {
    static struct loaded all[N_NAMES];
    char path[100];
    struct err e = {0};
    snprintf(path, sizeof path, "tests/data/tokenizers/%s", names[i]);
    if (!all[i].t && !(all[i].t = tokenizer_open(path, &e)))
        die_err(&e);
    if (!all[i].en)
        all[i].en = encoder_new(all[i].t);
    return &all[i];
}

/* The id of characters that the vocabulary lacks may come from any text. */
static bool is_unknown(const struct loaded *l, uint32_t id) {
    struct token_ids ids = {0};
    struct encode_options o = {.no_special = true};
    struct err e = {0};
    bool found = false;
    if (tokenizer_encode(l->en, str_of("\xf4\x8f\xbf\xbd \xe1\x9a\xa0"), &o, &ids, &e) == 0)
        for (size_t i = 0; i < ids.n; i++)
            found = found || ids.ids[i] == id;
    token_ids_free(&ids);
    return found;
}

/* Whether all of [from, to) is trusted, or the token's own text occurs in it with all of its bytes
 * trusted. The range of a token that strips also has white space around it, which anyone may have
 * written. Where a normalizer has dropped a character, the range has it and the token's text not.
 */
static bool has_trusted(struct str piece, struct str text, const uint8_t *trusted, size_t from,
                        size_t to) {
    bool whole = true;
    for (size_t k = from; k < to; k++)
        whole = whole && trusted[k];
    for (size_t at = from; at + piece.n <= to; at++) {
        bool all = memcmp(text.p + at, piece.p, piece.n) == 0;
        for (size_t k = 0; k < piece.n; k++)
            all = all && trusted[at + k];
        if (all)
            return true;
    }
    return whole;
}

static void check(const struct loaded *l, const struct token_ids *ids, struct str text,
                  const uint8_t *trusted) {
    for (size_t i = 0; i < ids->n; i++) {
        struct str piece = tokenizer_piece(l->t, ids->ids[i]);
        if (!tokenizer_is_special(l->t, ids->ids[i]) || is_unknown(l, ids->ids[i]) ||
            has_trusted(piece, text, trusted, ids->offsets[i][0], ids->offsets[i][1]))
            continue;
        fprintf(stderr, "control token '%.*s'\n", (int)piece.n, piece.p);
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct buf raw = {0}, text = {0}, trust = {0};
    if (size < 2)
        return 0;
    const struct loaded *l = load(data[0] % N_NAMES);
    utf8_repair(&raw, (const char *)data + 1, size - 1);
    bool trusted = false;
    for (size_t i = 0; i < raw.n; i++)
        if (raw.p[i] == 1) {
            trusted = !trusted;
        } else {
            buf_byte(&text, raw.p[i]);
            buf_byte(&trust, trusted);
        }
    struct token_ids ids = {.want_offsets = true};
    struct encode_options o = {.no_special = true, .trusted = (const uint8_t *)trust.p};
    struct err e = {0};
    if (text.n == 0 || tokenizer_encode(l->en, buf_view(&text), &o, &ids, &e) != 0)
        assert(text.n == 0 || e.code == EXIT_DATA);
    else
        check(l, &ids, buf_view(&text), (const uint8_t *)trust.p);
    token_ids_free(&ids);
    buf_free(&raw);
    buf_free(&text);
    buf_free(&trust);
    return 0;
}
