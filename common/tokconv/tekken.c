/* Mistral's tekken.json as a tokenizer.json: see import.h.
 *
 *     {"config": {"pattern": ..., "default_vocab_size": 131072, "default_num_special_tokens":
 * 1000}, "vocab": [{"rank": 0, "token_bytes": "AA=="}, ...], "special_tokens": [{"rank": 0,
 * "token_str": "<unk>"}, ...]}
 *
 * The special tokens come first: names from special_tokens, then "<SPECIAL_20>" and so on. The
 * vocabulary follows, cut to default_vocab_size. Sources: mistral-common's tekken.py, and
 * MistralConverter of transformers (integrations/mistral).
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "tokconv/import.h"
#include "tokconv/ranks.h"

/* Files of versions up to v7 may leave special_tokens out. */
static const char *const old_specials[] = {
    "<unk>",
    "<s>",
    "</s>",
    "[INST]",
    "[/INST]",
    "[AVAILABLE_TOOLS]",
    "[/AVAILABLE_TOOLS]",
    "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]",
    "[TOOL_CALLS]",
    "[IMG]",
    "<pad>",
    "[IMG_BREAK]",
    "[IMG_END]",
    "[PREFIX]",
    "[MIDDLE]",
    "[SUFFIX]",
    "[SYSTEM_PROMPT]",
    "[/SYSTEM_PROMPT]",
    "[TOOL_CONTENT]",
};
enum { N_OLD_SPECIALS = sizeof old_specials / sizeof *old_specials };

/* The special tokens that MistralConverter names (_MAP_SPECIALS). */
static const struct tokconv_class tekken_class = {
    .name = "",
    .defaults = {
        [ROLE_BOS] = "<s>", [ROLE_EOS] = "</s>", [ROLE_UNK] = "<unk>", [ROLE_PAD] = "<pad>"}};

struct tekken_special {
    struct str text;
    uint64_t rank;
};

struct tekken {
    struct str pattern;
    int64_t vocab_size, n_special; // -1: not given
    struct tekken_special *specials;
    size_t n_listed, cap;
    bool has_specials;
    struct ranks ranks;
};

static int64_t count_or_none(struct json *j) {
    if (json_null(j))
        return -1;
    uint64_t n = json_u64(j);
    if (n > TOKJSON_MAX_TOKENS)
        json_refuse(j, "%" PRIu64 " tokens are more than %u", n, TOKJSON_MAX_TOKENS);
    return (int64_t)n;
}

static void read_settings(struct tekken *t, struct json *j) {
    struct str key;
    json_enter_object(j);
    while (json_key(j, &key))
        if (str_eq(key, "pattern"))
            t->pattern = json_str(j);
        else if (str_eq(key, "default_vocab_size"))
            t->vocab_size = count_or_none(j);
        else if (str_eq(key, "default_num_special_tokens"))
            t->n_special = count_or_none(j);
        else
            json_skip(j);
}

static void read_vocab(struct tekken *t, struct json *j) {
    struct str key;
    json_enter_array(j);
    for (size_t i = 0; json_item(j); i++) {
        struct str base64 = {0};
        uint64_t rank = i;
        json_enter_object(j);
        while (json_key(j, &key))
            if (str_eq(key, "token_bytes"))
                base64 = json_str(j);
            else if (str_eq(key, "rank"))
                rank = json_u64(j);
            else
                json_skip(j);
        char where[48];
        snprintf(where, sizeof where, "token %zu of 'vocab'", i);
        struct err bad = {0};
        if (json_failed(j))
            return;
        if (rank != i)
            json_refuse(j, "token %zu of 'vocab' has the rank %" PRIu64, i, rank);
        else if (ranks_add(&t->ranks, base64, rank, where, &bad) != 0)
            *j->e = bad, j->failed = true;
    }
}

static void read_specials(struct tekken *t, struct json *j) {
    struct str key;
    if (json_null(j))
        return;
    t->has_specials = true;
    json_enter_array(j);
    while (json_item(j)) {
        struct tekken_special s = {0};
        json_enter_object(j);
        while (json_key(j, &key))
            if (str_eq(key, "token_str"))
                s.text = json_str(j);
            else if (str_eq(key, "rank"))
                s.rank = json_u64(j);
            else
                json_skip(j);
        if (!json_failed(j) && s.text.n == 0)
            json_refuse(j, "special token %zu has no text", t->n_listed);
        if (json_failed(j))
            return;
        if (t->n_listed == t->cap) {
            t->cap = t->cap ? t->cap * 2 : 64;
            t->specials = xreallocarray(t->specials, t->cap, sizeof *t->specials);
        }
        t->specials[t->n_listed++] = s;
    }
}

static int by_rank(const void *a, const void *b) {
    const struct tekken_special *x = a, *y = b;
    return (x->rank > y->rank) - (x->rank < y->rank);
}

/* Puts the listed special tokens in order, and decides how many ids are special. */
static int order_specials(struct tekken *t, struct err *e) {
    const char *name = t->ranks.name;
    if (!t->has_specials) {
        t->n_listed = N_OLD_SPECIALS;
        t->specials = xreallocarray(t->specials, N_OLD_SPECIALS, sizeof *t->specials);
        for (size_t i = 0; i < N_OLD_SPECIALS; i++)
            t->specials[i] = (struct tekken_special){str_of(old_specials[i]), i};
    }
    if (t->n_listed)
        qsort(t->specials, t->n_listed, sizeof *t->specials, by_rank);
    for (size_t i = 0; i < t->n_listed; i++)
        if (t->specials[i].rank != i)
            return err_set(e, EXIT_DATA,
                           "special token '%.*s' has the rank %" PRIu64 ", not %zu: %s",
                           str_shown(t->specials[i].text), t->specials[i].text.p,
                           t->specials[i].rank, i, name);
    if (t->n_special < 0)
        t->n_special = (int64_t)t->n_listed;
    if ((size_t)t->n_special < t->n_listed)
        return err_set(e, EXIT_DATA,
                       "default_num_special_tokens is %" PRId64 ", but special_tokens has %zu: %s",
                       t->n_special, t->n_listed, name);
    if (t->vocab_size >= 0 && t->vocab_size < t->n_special)
        return err_set(e, EXIT_DATA,
                       "default_vocab_size is %" PRId64 ", less than the %" PRId64
                       " special tokens: %s",
                       t->vocab_size, t->n_special, name);
    return 0;
}

static int add_specials(struct tokbuild *b, const struct tekken *t, struct err *e) {
    for (uint32_t i = 0; i < t->n_special; i++) {
        char filler[32];
        int n = snprintf(filler, sizeof filler, "<SPECIAL_%" PRIu32 ">", i);
        struct str text = i < t->n_listed ? t->specials[i].text : (struct str){filler, (size_t)n};
        text = arena_str(&b->arena, text.p, text.n); // the parser's texts do not outlive it
        if (tokbuild_token(b, text, i, 0, e) != 0)
            return -1;
        tokbuild_special(b, text, true);
    }
    return 0;
}

static int build(struct tokbuild *b, struct tekken *t, const struct tokconv_config *c,
                 struct err *e) {
    const char *name = t->ranks.name;
    if (!t->pattern.p)
        return err_set(e, EXIT_DATA, "key 'pattern' of 'config' is missing: %s", name);
    if (t->ranks.n == 0)
        return err_set(e, EXIT_DATA, "key 'vocab' is missing or empty: %s", name);
    if (order_specials(t, e) != 0)
        return -1;
    size_t n = t->ranks.n;
    if (t->vocab_size >= 0 && n > (size_t)(t->vocab_size - t->n_special))
        n = (size_t)(t->vocab_size - t->n_special);
    tokbuild_init(b, name, n + (size_t)t->n_special, (size_t)t->n_special, c);
    if (add_specials(b, t, e) != 0 ||
        ranks_build(&t->ranks, n, (uint32_t)t->n_special, b, e) != 0 ||
        tokbuild_config(b, c, &tekken_class, e) != 0)
        return -1;
    struct buf *out = &b->json.pre_tokenizer;
    buf_str(out, "{\"type\":\"Sequence\",\"pretokenizers\":[");
    tokjson_split(t->pattern, out);
    buf_byte(out, ',');
    tokjson_byte_level(false, false, out);
    buf_str(out, "]}");
    tokjson_byte_level_decoder(&b->json.decoder);
    tokbuild_template(b);
    return 0;
}

int tokconv_import_tekken(struct tokbuild *b, const char *name, struct str file,
                          const struct tokconv_config *c, struct err *e) {
    struct tekken t = {.vocab_size = -1, .n_special = -1, .ranks.name = name};
    struct json j;
    struct str key;
    *b = (struct tokbuild){0};
    json_init(&j, name, file.p, file.n, e);
    json_enter_object(&j);
    while (json_key(&j, &key))
        if (str_eq(key, "config"))
            read_settings(&t, &j);
        else if (str_eq(key, "vocab"))
            read_vocab(&t, &j);
        else if (str_eq(key, "special_tokens"))
            read_specials(&t, &j);
        else
            json_skip(&j);
    json_end(&j);
    int rc = json_failed(&j) ? -1 : build(b, &t, c, e);
    free(t.specials);
    ranks_free(&t.ranks);
    json_free(&j);
    return rc;
}
