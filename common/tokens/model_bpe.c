/* BPE: a word is split into characters or bytes, and pairs are merged by rank (Sennrich et al.
 * 2016).
 *
 * Both byte-level vocabularies (GPT-2) and SentencePiece's BPE are read here. These members of the
 * model change how a word is encoded:
 *
 * - byte_fallback: a character outside the vocabulary becomes the <0xNN> tokens of its bytes.
 * - unk_token: replaces the characters that are left; with fuse_unk, one replaces a run of them.
 * - ignore_merges: a word that is a token as a whole becomes that token.
 *
 * dropout is for training and is ignored. A long word is cut where no merge can cross (bpe_cuts.h).
 * Long parts of it are merged in windows (bpe_windows.h), and short parts are cached like words.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdio.h>
#include <stdlib.h>

#include "tokens/bpe.h"
#include "tokens/bpe_cuts.h"
#include "tokens/bpe_windows.h"
#include "tokens/bytechars.h"
#include "tokens/component.h"
#include "tokens/model.h"
#include "unicode/unicode.h"
#include "tokens/word_cache.h"

struct bpe {
    struct bpe_merges merges;
    struct str unk_token, prefix, suffix; // n = 0: not set
    uint32_t unk;                         // id of unk_token, or NO_ID
    uint32_t byte_ids[256];               // byte-level: the token of each byte
    uint32_t fallback_ids[256];           // byte_fallback: the token <0xNN> of each byte
    bool fuse_unk, byte_fallback, ignore_merges, has_unk;
    bool all_bytes; // byte-level, and each byte has a token
};

static struct str optional_str(struct json *j) {
    return json_peek(j) == JSON_NULL && json_null(j) ? (struct str){0} : json_str(j);
}

static bool optional_bool(struct json *j) {
    return json_peek(j) == JSON_NULL && json_null(j) ? false : json_bool(j);
}

/* Looks up the tokens of single bytes. */
static void name_bytes(struct bpe *b, const struct tok_model *m) {
    b->all_bytes = m->byte_level;
    for (int byte = 0; byte < 256; byte++) {
        char c = (char)byte, name[8];
        snprintf(name, sizeof name, "<0x%02X>", (unsigned)byte);
        b->fallback_ids[byte] = vocab_find_name(&m->vocab, str_of(name));
        b->byte_ids[byte] = m->byte_level ? vocab_find(&m->vocab, &c, 1) : NO_ID;
        b->all_bytes &= b->byte_ids[byte] != NO_ID;
    }
}

/* Reads the merges at `merges`, which j has passed. False with j refused. */
static bool load_merges_again(struct tok_model *m, struct json *j, const struct json *merges) {
    struct bpe *b = m->data;
    struct json end = *j;
    *j = *merges;
    j->strings = end.strings;
    bpe_merges_load(&b->merges, &m->vocab, b->prefix, j, &m->mem);
    if (json_failed(j))
        return false;
    end.strings = j->strings;
    *j = end;
    return true;
}

/* Reads the model. Members may come in any order, but merges need the vocabulary and the prefix.
 * `done` is true once the merges have been read with both. */
static void load(struct tok_model *m, struct json *j) {
    struct bpe *b = xcalloc(1, sizeof *b);
    m->data = b;
    struct json merges = *j;
    struct str key;
    bool vocab = false, has_merges = false, done = false;
    json_enter_object(j);
    while (json_key(j, &key)) {
        if (str_eq(key, "vocab")) {
            vocab_free(&m->vocab);
            vocab_load(&m->vocab, j, m->byte_level, &m->mem);
            vocab = true;
            done = false;
        } else if (str_eq(key, "merges")) {
            merges = *j;
            has_merges = done = true;
            if (vocab)
                bpe_merges_load(&b->merges, &m->vocab, b->prefix, j, &m->mem);
            else
                json_skip(j);
        } else if (str_eq(key, "unk_token")) {
            b->unk_token = optional_str(j);
            b->has_unk = b->unk_token.p != NULL;
        } else if (str_eq(key, "continuing_subword_prefix")) {
            b->prefix = optional_str(j);
            done = false;
        } else if (str_eq(key, "end_of_word_suffix")) {
            b->suffix = optional_str(j);
        } else if (str_eq(key, "fuse_unk")) {
            b->fuse_unk = optional_bool(j);
        } else if (str_eq(key, "byte_fallback")) {
            b->byte_fallback = optional_bool(j);
        } else if (str_eq(key, "ignore_merges")) {
            b->ignore_merges = optional_bool(j);
        } else {
            json_skip(j);
        }
    }
    component_need(j, vocab, "BPE", "vocab");
    component_need(j, has_merges, "BPE", "merges");
    if (json_failed(j))
        return;
    if (!done && !load_merges_again(m, j, &merges))
        return;
    b->unk = b->has_unk ? vocab_find_name(&m->vocab, b->unk_token) : NO_ID;
    name_bytes(b, m);
}

static void unload(void *data) {
    free(data);
}

enum {
    LONG_WORD = 64,   // bytes; longer words are cut where no merge can cross
    MAX_UNCACHED = 3, // bytes; merging so short a part is as fast as finding it in the cache
};

struct scratch {
    struct bpe_work work[3]; // for the word, and two for its windows
    // NULL before the first long word, and if some byte has no token.
    uint32_t *byte_ranks;
    struct buf text; // a character with its prefix or suffix
    struct bpe_cuts cuts;
    struct word_cache cache; // of the parts of long words
};

static void *scratch_new(const struct tok_model *m) {
    (void)m;
    return xcalloc(1, sizeof(struct scratch));
}

static void scratch_free(void *scratch) {
    struct scratch *s = scratch;
    for (int i = 0; i < 3; i++)
        bpe_work_free(&s->work[i]);
    free(s->byte_ranks);
    bpe_cuts_free(&s->cuts);
    free(s->cache.memory);
    buf_free(&s->text);
    free(s);
}

/* Returns the token of the character or byte word[i .. i+len), with the prefix or suffix that its
 * place requires. *text is that text. */
static uint32_t unit_id(const struct tok_model *m, struct scratch *s, struct str word, size_t i,
                        size_t len, struct str *text) {
    const struct bpe *b = m->data;
    bool prefix = b->prefix.n && i > 0, suffix = b->suffix.n && i + len == word.n;
    *text = (struct str){word.p + i, len};
    if (!prefix && !suffix) {
        uint32_t id =
            m->byte_level ? b->byte_ids[(unsigned char)word.p[i]] : model_find(m, word.p + i, len);
        if (id != NO_ID || !m->byte_level || !b->byte_fallback)
            return id;
    }
    buf_clear(&s->text);
    if (prefix)
        buf_add(&s->text, b->prefix.p, b->prefix.n);
    if (m->byte_level)
        for (size_t k = 0; k < len; k++) {
            uint32_t cp = bytechar((unsigned char)word.p[i + k]);
            if (cp >= 0x80)
                buf_byte(&s->text, (int)(0xC0 | cp >> 6));
            buf_byte(&s->text, (int)(cp >= 0x80 ? 0x80 | (cp & 0x3F) : cp));
        }
    else
        buf_add(&s->text, word.p + i, len);
    if (suffix)
        buf_add(&s->text, b->suffix.p, b->suffix.n);
    *text = buf_view(&s->text);
    uint32_t id = vocab_find_name(&m->vocab, *text);
    return model_is_control(m, id) ? NO_ID : id;
}

/* Adds the byte tokens of a character without a token. False if one is missing. */
static bool fall_back(const struct bpe *b, struct bpe_work *w, struct str text) {
    for (size_t k = 0; k < text.n; k++)
        if (b->fallback_ids[(unsigned char)text.p[k]] == NO_ID)
            return false;
    for (size_t k = 0; k < text.n; k++)
        bpe_add(w, b->fallback_ids[(unsigned char)text.p[k]], 1);
    return true;
}

/* Splits word into symbols. A run of unknown characters is held back until it ends, as in the
 * reference. Byte tokens inside such a run come before its <unk>. */
static int split_word(const struct tok_model *m, struct scratch *s, struct str word,
                      struct err *e) {
    const struct bpe *b = m->data;
    struct bpe_work *w = &s->work[0];
    size_t unknown = 0; // bytes of the run of unknown characters
    w->n = 0;
    for (size_t i = 0, len; i < word.n; i += len) {
        len = m->byte_level ? 1 : uni_len(word.p[i]);
        struct str text;
        uint32_t id = unit_id(m, s, word, i, len, &text);
        if (id != NO_ID) {
            if (unknown)
                bpe_add(w, b->unk, unknown);
            unknown = 0;
            bpe_add(w, id, len);
            continue;
        }
        if (b->byte_fallback && fall_back(b, w, text))
            continue;
        if (!b->has_unk)
            continue;
        if (b->unk == NO_ID)
            return err_set(e, EXIT_DATA, "the unknown token \"%.*s\" is not in the vocabulary",
                           (int)b->unk_token.n, b->unk_token.p);
        if (unknown && !b->fuse_unk) {
            bpe_add(w, b->unk, unknown);
            unknown = 0;
        }
        unknown += len;
    }
    if (unknown)
        bpe_add(w, b->unk, unknown);
    return 0;
}

/* Appends the ids of a merged word that begins at byte `base`. */
static void add_symbols(const struct bpe_work *w, size_t base, struct token_ids *out) {
    for (uint32_t i = w->n ? 0 : NO_ID; i != NO_ID; i = w->symbols[i].next) {
        token_ids_add(out, w->symbols[i].id, base, base + w->symbols[i].len);
        base += w->symbols[i].len;
    }
}

/* Encodes a part of a word. No merge crosses its ends. */
static int encode_part(const struct tok_model *m, struct scratch *s, struct str word, size_t base,
                       struct token_ids *out, struct err *e) {
    const struct bpe *b = m->data;
    struct bpe_work *w = &s->work[0];
    bool whole = b->prefix.n || b->suffix.n, bytes = b->all_bytes && !whole;
    struct bpe_units units = {(const unsigned char *)word.p, b->byte_ids, s->byte_ranks, NULL,
                              word.n};
    if (bytes && word.n > LONG_WORD && bpe_windows(&b->merges, &units, s->work + 1, base, out))
        return 0;
    if (split_word(m, s, word, e) != 0)
        return -1;
    units = (struct bpe_units){.symbols = w->symbols, .n = w->n};
    if (!bytes && !whole && w->n > LONG_WORD &&
        bpe_windows(&b->merges, &units, s->work + 1, base, out))
        return 0;
    w->bytes = bytes && s->byte_ranks ? (const unsigned char *)word.p : NULL;
    w->byte_ranks = s->byte_ranks;
    bpe_merge_word(&b->merges, w);
    add_symbols(w, base, out);
    return 0;
}

/* Returns the ranks of all pairs of bytes. Merging a long word starts with them. */
static uint32_t *byte_ranks(const struct bpe *b) {
    uint32_t *ranks = xreallocarray(NULL, 1 << 16, sizeof *ranks);
    for (size_t pair = 0; pair < 1 << 16; pair++) {
        const struct bpe_merge *found =
            bpe_find(&b->merges, b->byte_ids[pair >> 8], b->byte_ids[pair & 0xFF]);
        ranks[pair] = found ? (uint32_t)(found - b->merges.list) : NO_ID;
    }
    return ranks;
}

/* A part of a long word, and its cache line (NULL: it is not cached). */
struct part {
    size_t from, end;
    struct word_line *line;
};

static inline struct part next_part(const struct tok_model *m, const struct scratch *s,
                                    struct str word, size_t from, bool cached) {
    struct part x = {from, from, NULL};
    if (from < word.n)
        x.end = bpe_cuts_next(&s->cuts, &m->vocab, word, from);
    size_t n = x.end - from;
    if (cached && n > MAX_UNCACHED && n <= WORD_CACHE_BYTES) {
        x.line = word_line(&s->cache, word.p + from, n);
        __builtin_prefetch(x.line, 1);
    }
    return x;
}

/* Encodes a long word, for example a whole text if there is no pre-tokenizer. It is cut where no
 * merge can cross, and the parts are cached like words. */
static int encode_long(const struct tok_model *m, struct scratch *s, struct str word,
                       struct token_ids *out, struct err *e) {
    const struct bpe *b = m->data;
    if (!s->cuts.bits) {
        bpe_cuts_build(&s->cuts, &m->vocab);
        word_cache_begin(&s->cache);
        s->byte_ranks = b->all_bytes ? byte_ranks(b) : NULL;
    }
    struct part x = next_part(m, s, word, 0, !out->want_offsets), next;
    for (; x.from < word.n; x = next) {
        const char *p = word.p + x.from;
        size_t n = x.end - x.from, first = out->n;
        next = next_part(m, s, word, x.end, !out->want_offsets);
        if (b->all_bytes && n == 1) {
            token_ids_add(out, b->byte_ids[(unsigned char)*p], x.from, x.end);
            continue;
        }
        if (x.line && word_line_get(x.line, p, n, out))
            continue;
        if (encode_part(m, s, (struct str){p, n}, x.from, out, e) != 0)
            return -1;
        if (x.line)
            word_line_put(x.line, p, n, out->ids + first, out->n - first);
    }
    return 0;
}

/* A place inside the token text[0 .. n) at which a character begins; 0 where there is none. */
static size_t middle(const struct tok_model *m, const char *text, size_t n) {
    size_t at = n / 2;
    while (!m->byte_level && at && uni_inside(text[at]))
        at--;
    return at;
}

/* Encodes without control tokens: a word whose merges end in one is cut inside it, and both parts
 * are encoded alone. Nothing is remembered, since the same words may become control tokens
 * elsewhere. */
static int encode_text(const struct tok_model *m, struct scratch *s, struct str word, size_t base,
                       struct token_ids *out, struct err *e) {
    const struct bpe *b = m->data;
    struct bpe_work *w = &s->work[0];
    if (split_word(m, s, word, e) != 0)
        return -1;
    w->bytes = NULL;
    bpe_merge_word(&b->merges, w);
    size_t at = 0, cut = 0;
    for (uint32_t i = w->n ? 0 : NO_ID; i != NO_ID && !cut; i = w->symbols[i].next) {
        if (w->symbols[i].id != b->unk && model_is_control(m, w->symbols[i].id)) {
            cut = middle(m, word.p + at, w->symbols[i].len);
            cut += cut ? at : 0;
        }
        at += w->symbols[i].len;
    }
    if (cut) {
        struct str left = {word.p, cut}, right = {word.p + cut, word.n - cut};
        return encode_text(m, s, left, base, out, e) == 0
                   ? encode_text(m, s, right, base + cut, out, e)
                   : -1;
    }
    add_symbols(w, base, out);
    return 0;
}

static int encode(const struct tok_model *m, void *scratch, struct str word, struct token_ids *out,
                  struct err *e) {
    const struct bpe *b = m->data;
    if (b->ignore_merges) {
        uint32_t id = model_find(m, word.p, word.n);
        if (id != NO_ID) {
            token_ids_add(out, id, 0, word.n);
            return 0;
        }
    }
    if (m->control)
        return encode_text(m, scratch, word, 0, out, e);
    if (word.n > LONG_WORD && !b->prefix.n && !b->suffix.n)
        return encode_long(m, scratch, word, out, e);
    return encode_part(m, scratch, word, 0, out, e);
}

const struct tok_model_kind model_bpe = {"BPE", load, unload, scratch_new, scratch_free, encode};
