/* A SentencePiece model as a tokenizer.json: see import.h.
 *
 * The steps around the model depend on the tokenizer class. For Llama, Gemma, T5 and XLM-RoBERTa
 * they are those of the published tokenizer.json files, which transformers' converters made
 * (convert_slow_tokenizer.py: LlamaConverter, GemmaConverter; models/t5, models/xlm_roberta). For
 * any other class they follow the model's own settings, so that the ids are those of
 * SentencePieceProcessor.encode (build_tokenizer_from_spm_proto of transformers 5).
 *
 *     class     vocabulary                     before the model
 *     Llama     as it is                       Prepend and Replace, or Metaspace if not "legacy"
 *     Gemma     as it is                       Replace, Split
 *     T5        <extra_id_99> ... appended     Precompiled, WhitespaceSplit, Metaspace
 *     XLM-R     <s> <pad> </s> <unk>, then     the same
 *               the pieces from 3 on, <mask>
 *     others    as it is                       from normalizer_spec
 *
 * Refused: T5 and XLM-RoBERTa with a BPE model, and what sp_model_read refuses.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdio.h>
#include <stdlib.h>

#include "base/base64.h"
#include "base/json.h"
#include "tokconv/import.h"
#include "tokconv/sp_model.h"

#define SPACE "▁" // U+2581, in place of a space
#define SPACE_REPLACE                                                                              \
    "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"" SPACE "\"}"
#define REGEX_REPLACE(regex, by)                                                                   \
    "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"" regex "\"},\"content\":\"" by "\"}"

enum { T5_EXTRA_IDS = 100, XLMR_FIRST_PIECE = 3 };
enum { MAX_REGEX_BYTES = 60000 }; // the loader takes 65536

struct import {
    struct tokbuild *b;
    struct sp_model *m;
    const struct tokconv_config *c;
    const struct tokconv_class *k;
    struct buf isolate;      // an expression of the user-defined pieces, of the plain class
    bool user_defined_added; // they are added tokens
};

static void metaspace(const char *scheme, bool split, struct buf *out) {
    buf_fmt(out,
            "{\"type\":\"Metaspace\",\"replacement\":\"" SPACE
            "\",\"prepend_scheme\":\"%s\",\"split\":%s}",
            scheme, split ? "true" : "false");
}

static void precompiled(struct str charsmap, struct buf *out) {
    buf_str(out, "{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"");
    base64_encode(charsmap.p, charsmap.n, out);
    buf_str(out, "\"}");
}

/* Spaces come back, then bytes, then the space that was put before the text goes. */
static void spaces_decoder(bool bytes, bool strip, struct buf *out) {
    buf_str(out, "{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\","
                 "\"pattern\":{\"String\":\"" SPACE "\"},\"content\":\" \"}");
    if (bytes)
        buf_str(out, ",{\"type\":\"ByteFallback\"}");
    if (bytes || strip)
        buf_str(out, ",{\"type\":\"Fuse\"}");
    if (strip)
        buf_str(out, ",{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}");
    buf_str(out, "]}");
}

static void llama_steps(const struct import *i) {
    struct tokjson *t = &i->b->json;
    bool prefix = i->c->prefix_space != 0, legacy = i->c->legacy != 0;
    if (legacy && prefix)
        buf_str(&t->normalizer, "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\","
                                "\"prepend\":\"" SPACE "\"}," SPACE_REPLACE "]}");
    else if (legacy)
        buf_str(&t->normalizer, SPACE_REPLACE);
    else
        metaspace(prefix ? "first" : "never", false, &t->pre_tokenizer);
    spaces_decoder(true, prefix, &t->decoder);
    t->byte_fallback = true;
}

static void gemma_steps(const struct import *i) {
    struct tokjson *t = &i->b->json;
    buf_str(&t->normalizer, SPACE_REPLACE);
    buf_str(&t->pre_tokenizer, "{\"type\":\"Split\",\"pattern\":{\"String\":\" \"},"
                               "\"behavior\":\"MergedWithPrevious\",\"invert\":false}");
    spaces_decoder(true, false, &t->decoder);
    t->byte_fallback = true;
}

/* T5 and XLM-RoBERTa. */
static void words_steps(const struct import *i, bool prefix) {
    struct tokjson *t = &i->b->json;
    const char *scheme = prefix ? "always" : "never";
    if (i->m->charsmap.n)
        precompiled(i->m->charsmap, &t->normalizer);
    buf_str(&t->pre_tokenizer,
            "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"WhitespaceSplit\"},");
    metaspace(scheme, true, &t->pre_tokenizer);
    buf_str(&t->pre_tokenizer, "]}");
    metaspace(scheme, true, &t->decoder);
}

/* Normalizes as normalizer_spec says. Extra spaces are those at the ends, and all but one between
 * words. */
static void plain_normalizer(const struct import *i) {
    const struct sp_model *m = i->m;
    struct buf *out = &i->b->json.normalizer;
    buf_str(out, "{\"type\":\"Sequence\",\"normalizers\":[");
    size_t start = out->n;
    if (m->charsmap.n) {
        precompiled(m->charsmap, out);
        buf_byte(out, ',');
    }
    if (m->remove_extra_spaces)
        buf_str(out, REGEX_REPLACE("\\\\A +| +\\\\z", "") "," REGEX_REPLACE(" {2,}", " ") ",");
    if (m->escape_spaces)
        buf_str(out, SPACE_REPLACE ",");
    // Metaspace adds no space before a text that begins with one; SentencePiece does.
    if (m->dummy_prefix && i->c->legacy != 0)
        buf_str(out, REGEX_REPLACE("\\\\A" SPACE, SPACE SPACE) ",");
    if (out->n == start) {
        buf_clear(out);
        return;
    }
    out->n--; // the last comma
    buf_str(out, "]}");
}

static void regex_literal(struct str s, struct buf *out) {
    for (size_t k = 0; k < s.n; k++) {
        if (memchr(".^$*+?()[]{}|\\-&~#", s.p[k], 18))
            buf_byte(out, '\\');
        buf_byte(out, s.p[k]);
    }
}

static int longer_text(const void *a, const void *b) {
    const struct str *x = a, *y = b;
    if (x->n != y->n)
        return x->n > y->n ? -1 : 1;
    return memcmp(x->p, y->p, x->n);
}

/* SentencePiece never joins a user-defined piece with its neighbours, so the plain class isolates
 * it by an expression, with the longest first. Where the expression would be too long, as with the
 * thousands of unused pieces of some models, the pieces become added tokens instead. */
static void user_defined_regex(struct import *i) {
    const struct sp_vocab *v = &i->m->v;
    struct str *texts = xcalloc(v->n, sizeof *texts);
    size_t n = 0;
    for (size_t k = 0; k < v->n; k++)
        if (v->types[k] == SP_USER_DEFINED)
            texts[n++] = v->texts[k];
    if (n)
        qsort(texts, n, sizeof *texts, longer_text);
    for (size_t k = 0; k < n; k++) {
        if (k)
            buf_byte(&i->isolate, '|');
        regex_literal(texts[k], &i->isolate);
    }
    free(texts);
    if (i->isolate.n > MAX_REGEX_BYTES) {
        warn("the %zu user-defined pieces become added tokens, because there are too many for an "
             "expression: %s",
             n, i->b->name);
        buf_clear(&i->isolate);
        i->user_defined_added = true;
    }
}

static void plain_steps(const struct import *i) {
    struct tokjson *t = &i->b->json;
    struct buf *out = &t->pre_tokenizer;
    bool user_defined = i->isolate.n > 0;
    plain_normalizer(i);
    if (i->m->dummy_prefix || user_defined) {
        buf_str(out, "{\"type\":\"Sequence\",\"pretokenizers\":[");
        if (i->m->dummy_prefix)
            metaspace(i->c->legacy != 0 ? "always" : "first", false, out);
        if (i->m->dummy_prefix && user_defined)
            buf_byte(out, ',');
        if (user_defined)
            tokjson_split(buf_view(&i->isolate), out);
        buf_str(out, "]}");
    }
    spaces_decoder(i->m->byte_fallback, i->m->dummy_prefix, &t->decoder);
    t->byte_fallback = i->m->byte_fallback;
    t->ignore_merges = user_defined && i->m->kind == SP_BPE;
}

/* tokenizer_config.json may give the pieces of some ids other texts: the placeholders that a model
 * keeps for tokens of fine-tunes. A text that is a piece already is left alone. */
static void rename_pieces(struct sp_vocab *v, const struct tokconv_config *c) {
    for (size_t k = 0; k < c->added.n; k++) {
        const struct tokconv_token *t = &c->added.items[k];
        uint32_t at;
        if (t->id < v->n && !strmap_find(&v->ids, t->text, &at))
            v->texts[t->id] = t->text;
    }
    strmap_free(&v->ids);
    strmap_init(&v->ids, v->n);
    for (size_t i = 0; i < v->n; i++)
        strmap_add(&v->ids, v->texts[i], (uint32_t)i);
}

static int pieces(const struct import *i, size_t first, uint32_t first_id, struct err *e) {
    const struct sp_vocab *v = &i->m->v;
    for (size_t k = first; k < v->n; k++)
        if (tokbuild_token(i->b, v->texts[k], (uint32_t)(k - first) + first_id, v->scores[k], e))
            return -1;
    return 0;
}

static int t5_vocab(const struct import *i, size_t n_extra, struct err *e) {
    if (pieces(i, 0, 0, e) != 0)
        return -1;
    for (size_t k = n_extra; k-- > 0;) {
        char name[32];
        int n = snprintf(name, sizeof name, "<extra_id_%zu>", k);
        struct str text = arena_str(&i->b->arena, name, (size_t)n);
        if (tokbuild_token(i->b, text, i->b->next_id, 0, e) != 0)
            return -1;
        tokbuild_special(i->b, text, true);
    }
    return 0;
}

static struct str role_text(const struct import *i, int role) {
    const struct tokconv_token *t = &i->c->named[role];
    return t->text.n ? t->text : str_of(i->k->defaults[role]);
}

/* fairseq's order of the first ids. */
static int xlmr_vocab(const struct import *i, struct err *e) {
    static const int roles[] = {ROLE_BOS, ROLE_PAD, ROLE_EOS, ROLE_UNK};
    for (uint32_t k = 0; k < 4; k++)
        if (tokbuild_token(i->b, role_text(i, roles[k]), k, 0, e) != 0)
            return -1;
    if (pieces(i, XLMR_FIRST_PIECE, 4, e) != 0)
        return -1;
    return tokbuild_token(i->b, role_text(i, ROLE_MASK), i->b->next_id, 0, e);
}

static void control_pieces(const struct import *i) {
    const struct sp_vocab *v = &i->m->v;
    bool gemma = i->k->family == FAMILY_GEMMA;
    uint32_t at;
    for (size_t k = 0; k < v->n; k++) {
        bool turn = gemma && (str_eq(v->texts[k], "<start_of_turn>") ||
                              str_eq(v->texts[k], "<end_of_turn>"));
        if ((v->types[k] == SP_CONTROL ||
             (v->types[k] == SP_USER_DEFINED && i->user_defined_added)) &&
            strmap_find(&i->b->ids, v->texts[k], &at))
            tokbuild_special(i->b, v->texts[k], v->types[k] == SP_CONTROL || turn);
    }
}

static int model(const struct import *i, size_t n_extra, struct err *e) {
    struct tokbuild *b = i->b;
    const struct sp_model *m = i->m;
    enum tokconv_family family = i->k->family;
    bool words = family == FAMILY_T5 || family == FAMILY_XLMR;
    if (words && m->kind != SP_UNIGRAM)
        return err_set(e, EXIT_DATA, "a %s must have a unigram model: %s", i->k->name, b->name);
    if ((family == FAMILY_T5     ? t5_vocab(i, n_extra, e)
         : family == FAMILY_XLMR ? xlmr_vocab(i, e)
                                 : pieces(i, 0, 0, e)) != 0)
        return -1;
    b->json.unigram = m->kind == SP_UNIGRAM;
    b->json.fuse_unk = true;
    b->json.unk = family == FAMILY_XLMR ? 3 : m->unk;
    if (b->json.unigram)
        return 0;
    enum sp_order order = i->user_defined_added ? SP_LONGER_FIRST : SP_TEXT_ORDER;
    int rc = sp_merges(&m->v, order, &b->merges, &b->json.n_merges, e);
    b->json.merges = b->merges;
    return rc;
}

static void steps(const struct import *i) {
    struct tokbuild *b = i->b;
    switch (i->k->family) {
    case FAMILY_LLAMA:
        llama_steps(i);
        break;
    case FAMILY_GEMMA:
        gemma_steps(i);
        break;
    case FAMILY_T5:
        words_steps(i, true);
        if (b->has_role[ROLE_EOS])
            tokjson_template("A0e0", "A0e0B0e0", b->roles[ROLE_BOS], b->roles[ROLE_EOS],
                             &b->json.post_processor);
        return;
    case FAMILY_XLMR:
        words_steps(i, i->c->prefix_space != 0);
        if (b->has_role[ROLE_BOS] && b->has_role[ROLE_EOS])
            tokjson_template("b0A0e0", "b0A0e0e0B0e0", b->roles[ROLE_BOS], b->roles[ROLE_EOS],
                             &b->json.post_processor);
        return;
    case FAMILY_PLAIN:
        plain_steps(i);
        break;
    }
    tokbuild_template(b);
}

/* The plain class takes its special tokens from the model. */
static struct tokconv_class with_model_tokens(const struct tokconv_class *k, struct sp_model *m,
                                              struct arena *a) {
    struct tokconv_class own = *k;
    if (k->family != FAMILY_PLAIN)
        return own;
    if (m->bos >= 0)
        own.defaults[ROLE_BOS] = arena_str(a, m->bos_piece.p, m->bos_piece.n).p;
    if (m->eos >= 0)
        own.defaults[ROLE_EOS] = arena_str(a, m->eos_piece.p, m->eos_piece.n).p;
    if (m->unk >= 0)
        own.defaults[ROLE_UNK] = arena_str(a, m->unk_piece.p, m->unk_piece.n).p;
    return own;
}

int tokconv_import_sp(struct tokbuild *b, const char *name, struct str file,
                      const struct tokconv_config *c, const struct tokconv_class *k,
                      struct err *e) {
    struct sp_model m;
    size_t n_extra = k->family != FAMILY_T5 ? 0
                     : c->extra_ids < 0     ? T5_EXTRA_IDS
                                            : (size_t)c->extra_ids;
    int rc = sp_model_read(&m, name, file, e);
    tokbuild_init(b, name, m.v.n + n_extra + 5, m.v.n + n_extra, c);
    struct tokconv_class own = with_model_tokens(k, &m, &b->arena);
    struct import i = {b, &m, c, &own, {0}, k->family != FAMILY_PLAIN};
    if (rc == 0 && k->family != FAMILY_XLMR)
        rename_pieces(&m.v, c);
    if (rc == 0 && k->family == FAMILY_PLAIN)
        user_defined_regex(&i);
    if (rc == 0)
        rc = model(&i, n_extra, e);
    if (rc == 0) {
        control_pieces(&i);
        rc = tokbuild_config(b, c, &own, e);
    }
    if (rc == 0) {
        steps(&i);
        if (m.has_denormalizer)
            warn("the model's denormalizer is left out; decoded text may differ: %s", name);
    }
    buf_free(&i.isolate);
    sp_model_free(&m);
    return rc;
}
