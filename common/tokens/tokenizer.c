/* Loading tokenizer.json: see tokenizer.h.
 *
 * Each part of the file is loaded by its own source file. This one finds the parts, loads them in
 * the order in which they need each other, and numbers the added tokens. The parts may come in any
 * order in the file. The model is most of the file, so it is read in passing if the pre-tokenizer
 * came before it.
 *
 * Duplicate parts, unknown versions and unknown kinds of components are refused, with the line and
 * byte.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdlib.h>

#include "base/hash.h"
#include "base/hash_thread.h"
#include "base/utf8.h"
#include "tokens/component.h"
#include "tokens/tokenizer_parts.h"

enum {
    MAX_FILE = 1 << 30,
    // Bytes. Hashing a smaller file takes less time than starting a thread.
    MIN_HASHED = 1 << 18
};

/* Where each part begins in the file. Parts may come in any order, but must be loaded in a fixed
 * one. */
struct sections {
    struct json added, normalizer, pre_tokenizer, model, post_processor, decoder;
    bool has_added, has_normalizer, has_pre_tokenizer, has_model, has_post_processor, has_decoder;
};

/* Moves j to a part that find_sections has found. */
static void go_to(struct json *j, const struct json *section) {
    struct arena strings = j->strings;
    *j = *section;
    j->strings = strings;
}

/* Loads the model in passing if the pre-tokenizer came before it, as in all files that the
 * reference writes. Returns false if not: j is then still before the model. */
static bool load_model_early(struct tokenizer *t, struct json *j, const struct sections *s) {
    if (!s->has_pre_tokenizer || t->model.kind)
        return false;
    struct json here = *j;
    go_to(j, &s->pre_tokenizer);
    pres_load(&t->pres, j);
    if (json_failed(j))
        return true;
    go_to(j, &here);
    model_load(&t->model, j, t->pres.byte_level);
    t->pres.byte_level = t->model.byte_level; // some models need words in the byte alphabet
    return true;
}

static void load_truncation(struct tokenizer *t, struct json *j) {
    struct str key;
    if (json_peek(j) == JSON_NULL) {
        json_null(j);
        return;
    }
    json_enter_object(j);
    while (json_key(j, &key))
        if (str_eq(key, "max_length"))
            t->truncation = (size_t)json_u64(j);
        else if (str_eq(key, "direction"))
            t->truncate_left = str_eq(json_str(j), "Left");
        else
            json_skip(j);
}

static void find_sections(struct tokenizer *t, struct json *j, struct sections *s) {
    struct str key;
    json_enter_object(j);
    while (json_key(j, &key)) {
        struct {
            const char *name;
            struct json *at;
            bool *has;
        } known[] = {
            {"added_tokens", &s->added, &s->has_added},
            {"normalizer", &s->normalizer, &s->has_normalizer},
            {"pre_tokenizer", &s->pre_tokenizer, &s->has_pre_tokenizer},
            {"model", &s->model, &s->has_model},
            {"post_processor", &s->post_processor, &s->has_post_processor},
            {"decoder", &s->decoder, &s->has_decoder},
        };
        for (size_t i = 0; i < sizeof known / sizeof *known; i++)
            if (str_eq(key, known[i].name)) {
                if (*known[i].has)
                    json_refuse(j, "duplicate key \"%s\"", known[i].name);
                *known[i].at = *j;
                *known[i].has = true;
            }
        if (str_eq(key, "truncation")) {
            load_truncation(t, j);
            continue;
        }
        if (str_eq(key, "padding")) {
            t->pads = json_peek(j) != JSON_NULL;
            json_skip(j);
            continue;
        }
        if (str_eq(key, "version")) {
            struct str version = json_str(j);
            if (!json_failed(j) && !str_eq(version, "1.0"))
                json_refuse(j, "unknown version \"%.*s\"", (int)version.n, version.p);
        } else if (!str_eq(key, "model") || !load_model_early(t, j, s)) {
            json_skip(j);
        }
    }
    json_end(j);
}

static bool flag(struct json *j, struct str key, const char *name, bool *out) {
    if (!str_eq(key, name))
        return false;
    *out = json_bool(j);
    return true;
}

static void load_added_tokens(struct tokenizer *t, struct json *j) {
    size_t cap = 0;
    json_enter_array(j);
    while (json_item(j)) {
        struct added_token a = {.normalized = true};
        struct str key;
        json_enter_object(j);
        while (json_key(j, &key)) {
            if (str_eq(key, "content"))
                a.content = json_str(j);
            // "id" is skipped too: the id comes from the vocabulary, or is the next free one.
            else if (!flag(j, key, "single_word", &a.single_word) &&
                     !flag(j, key, "lstrip", &a.lstrip) && !flag(j, key, "rstrip", &a.rstrip) &&
                     !flag(j, key, "normalized", &a.normalized) &&
                     !flag(j, key, "special", &a.special))
                json_skip(j);
        }
        component_need(j, a.content.p, "an added token", "content");
        if (json_failed(j))
            return;
        if (t->added.n == cap) {
            cap = cap ? cap * 2 : 64;
            t->added.tokens = xreallocarray(t->added.tokens, cap, sizeof *t->added.tokens);
        }
        t->added.tokens[t->added.n++] = a;
    }
}

/* Returns the text that a "normalized" token matches after normalization. */
static struct str normalize_content(struct tokenizer *t, struct str content, struct json *j) {
    struct tok_text text = {0};
    struct tok_piece p = {.p = content.p, .n = content.n};
    struct err e = {0};
    text_set(&text, &p, false);
    if (norms_apply(&t->norms, &text, &e) != 0)
        json_refuse(j, "the added token \"%.*s\": %s", (int)content.n, content.p, e.msg);
    struct str s =
        text.now.p == content.p ? content : arena_str(&j->strings, text.now.p, text.now.n);
    s.n = text.now.n;
    text_free(&text);
    return s;
}

/* Handles an id that two tokens get, which happens in a vocabulary with gaps. The later token takes
 * the id. If its pattern equals its content, it also takes the earlier token's normalized text, as
 * in the reference. owners [id] is the index of the token that has the id, or NO_ID. */
static void take_id(struct added *a, uint32_t *owners, struct added_token *token, uint32_t at) {
    uint32_t old = owners[token->id];
    if (old != NO_ID && old != at) {
        struct added_token *o = &a->tokens[old];
        o->gone = true;
        if (str_same(token->pattern, token->content) && !str_same(o->text, o->content)) {
            token->text = o->text;
            token->pattern = token->normalized ? o->text : token->pattern;
        }
    }
    owners[token->id] = at;
}

/* Gives the tokens their ids, as the reference does. A token of the vocabulary keeps its id; any
 * other gets the next id after the vocabulary's count of tokens. A later token with the same
 * content replaces the earlier one. */
static void number_added_tokens(struct tokenizer *t, struct json *j) {
    struct added *a = &t->added;
    struct vocab names = {0};
    uint32_t next = t->model.n_listed ? t->model.n_listed : t->model.vocab.count;
    size_t n = 0, n_ids = (size_t)t->model.vocab.size + a->n;
    uint32_t *owners =
        next < t->model.vocab.size ? xreallocarray(NULL, n_ids, sizeof *owners) : NULL;
    if (owners)
        memset(owners, 0xFF, n_ids * sizeof *owners);
    vocab_begin(&names, a->n, false);
    for (size_t i = 0; i < a->n && !json_failed(j); i++) {
        struct added_token token = a->tokens[i];
        if (token.content.n == 0)
            continue;
        uint32_t at = vocab_find_name(&names, token.content);
        token.id = at != NO_ID ? a->tokens[at].id : vocab_find_name(&t->model.vocab, token.content);
        if (token.id == NO_ID)
            token.id = next++;
        if (token.id > VOCAB_MAX_ID)
            json_refuse(j, "more than %d tokens", VOCAB_MAX_ID + 1);
        token.pattern = token.normalized ? normalize_content(t, token.content, j) : token.content;
        token.text = at != NO_ID && str_same(token.pattern, token.content) ? a->tokens[at].text
                                                                           : token.pattern;
        if (at == NO_ID) {
            at = (uint32_t)n++;
            vocab_add(&names, token.content, at);
        } else {
            token.special |= a->tokens[at].special; // once special, a text stays special
        }
        if (owners)
            take_id(a, owners, &token, at);
        a->tokens[at] = token;
    }
    a->n = n;
    free(owners);
    vocab_free(&names);
    if (!json_failed(j))
        added_build(a);
}

static void index_ids(struct tokenizer *t) {
    t->vocab_size = t->model.vocab.size;
    for (size_t i = 0; i < t->added.n; i++)
        if (t->added.tokens[i].id >= t->n_added_ids)
            t->n_added_ids = t->added.tokens[i].id + 1;
    if (t->n_added_ids > t->vocab_size)
        t->vocab_size = t->n_added_ids;
    t->added_ids = xreallocarray(NULL, t->n_added_ids, sizeof *t->added_ids);
    memset(t->added_ids, 0xFF, t->n_added_ids * sizeof *t->added_ids);
    t->special = xcalloc(t->vocab_size, 1);
    struct vocab specials = {0};
    vocab_begin(&specials, t->added.n, false);
    for (size_t i = 0; i < t->added.n; i++) {
        if (!t->added.tokens[i].gone)
            t->added_ids[t->added.tokens[i].id] = (uint32_t)i;
        if (t->added.tokens[i].special)
            vocab_add(&specials, t->added.tokens[i].content, (uint32_t)i);
    }
    // Decoding skips an id whose text is a special token's, even if the id got that text otherwise.
    for (size_t i = 0; i < t->added.n; i++) {
        uint32_t id = t->added.tokens[i].id;
        t->special[id] = vocab_find_name(&specials, tokenizer_text(t, id)) != NO_ID;
    }
    // In a list that repeats texts, a text has several ids.
    for (uint32_t id = 0; t->model.n_listed > t->model.vocab.count && id < t->vocab_size; id++)
        t->special[id] = vocab_find_name(&specials, tokenizer_text(t, id)) != NO_ID;
    vocab_free(&specials);
}

static void load_sections(struct tokenizer *t, struct json *j, const struct sections *s) {
    if (s->has_normalizer) {
        go_to(j, &s->normalizer);
        norms_load(&t->norms, j);
    }
    if (s->has_pre_tokenizer && !t->model.kind && !json_failed(j)) {
        go_to(j, &s->pre_tokenizer);
        pres_load(&t->pres, j);
    }
    if (json_failed(j))
        return;
    if (!t->model.kind) {
        go_to(j, &s->model);
        model_load(&t->model, j, t->pres.byte_level);
        t->pres.byte_level = t->model.byte_level; // some models need words in the byte alphabet
    }
    if (s->has_post_processor && !json_failed(j)) {
        go_to(j, &s->post_processor);
        posts_load(&t->posts, j);
    }
    if (s->has_decoder && !json_failed(j)) {
        go_to(j, &s->decoder);
        decs_load(&t->decs, j);
    } else {
        decs_default(&t->decs);
    }
    if (s->has_added && !json_failed(j)) {
        go_to(j, &s->added);
        load_added_tokens(t, j);
    }
    number_added_tokens(t, j);
}

/* Whether Metaspace needs tracking to know if a piece begins at the input's beginning. It does if
 * characters were inserted before it: by a normalizer, by ByteLevel's space or by another
 * Metaspace. */
static bool asks_where(const struct tokenizer *t) {
    size_t asking = 0, inserting = t->norms.n;
    for (size_t i = 0; i < t->pres.n; i++) {
        bool metaspace = t->pres.steps[i].kind == &pre_metaspace;
        inserting += t->pres.steps[i].kind == &pre_byte_level || (metaspace && asking > 0);
        asking += metaspace;
    }
    return asking > 0 && inserting > 0;
}

struct tokenizer *tokenizer_load(const char *name, const char *p, size_t n, struct err *e) {
    struct tokenizer *t = xcalloc(1, sizeof *t);
    struct sections s = {0};
    json_init(&t->json, name, p, n, e);
    find_sections(t, &t->json, &s);
    if (!s.has_model)
        json_refuse(&t->json, "\"model\" is missing");
    if (!json_failed(&t->json))
        load_sections(t, &t->json, &s);
    if (json_failed(&t->json)) {
        tokenizer_free(t);
        return NULL;
    }
    index_ids(t);
    t->needs_track = asks_where(t);
    t->bytes = (struct str){p, n};
    return t;
}

/* Loads the file and hashes it on another thread. */
static struct tokenizer *load_hashed(const char *file, const struct map *map, struct err *e) {
    struct hash_thread hash;
    if (map->n < MIN_HASHED)
        return tokenizer_load(file, (const char *)map->p, map->n, e);
    hash_thread_start(&hash, map->p, map->n);
    struct tokenizer *t = tokenizer_load(file, (const char *)map->p, map->n, e);
    uint64_t fingerprint = hash_thread_end(&hash);
    if (t) {
        t->hashed = true;
        t->fingerprint = fingerprint;
    }
    return t;
}

/* Refuses a folder without tokenizer.json. A tokenizer in another format is named, with a way to
 * convert it. */
static void no_tokenizer(const char *dir, struct err *e) {
    static const char *const others[] = {"tekken.json", "tokenizer.model", "spiece.model",
                                         "vocab.json",  "vocab.txt",       "adapter_config.json"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        char *path = path_join(dir, others[i]);
        bool there = is_file(path);
        free(path);
        if (there) {
            err_set(e, EXIT_NO_INPUT,
                    "no tokenizer.json; %s is there, but tokpipe does not read it: transformers "
                    "writes a tokenizer.json "
                    "(AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)): %s",
                    others[i], dir);
            return;
        }
    }
    err_set(e, EXIT_NO_INPUT, "no tokenizer.json: %s", dir);
}

static struct tokenizer *open_file(const char *path, bool hashed, struct err *e) {
    char *file = is_dir(path) ? path_join(path, "tokenizer.json") : xstrdup(path);
    struct map map = {0};
    struct tokenizer *t = NULL;
    if (is_dir(path) && !is_file(file)) {
        no_tokenizer(path, e);
    } else if (map_file_within(&map, file, MAX_FILE, e) == 0) {
        if (file_hint(map.p, map.n))
            err_set(e, EXIT_DATA, "%s: %s", file_hint(map.p, map.n), file);
        else
            t = hashed ? load_hashed(file, &map, e)
                       : tokenizer_load(file, (const char *)map.p, map.n, e);
        if (t)
            t->file = map;
        else
            unmap_file(&map);
    }
    free(file);
    return t;
}

struct tokenizer *tokenizer_open(const char *path, struct err *e) {
    return open_file(path, false, e);
}

struct tokenizer *tokenizer_open_hashed(const char *path, struct err *e) {
    return open_file(path, true, e);
}

void tokenizer_free(struct tokenizer *t) {
    if (!t)
        return;
    norms_free(&t->norms);
    pres_free(&t->pres);
    model_free(&t->model);
    posts_free(&t->posts);
    decs_free(&t->decs);
    added_free(&t->added);
    free(t->added_ids);
    free(t->special);
    json_free(&t->json);
    unmap_file(&t->file);
    free(t);
}

uint64_t tokenizer_fingerprint(const struct tokenizer *t) {
    return t->hashed ? t->fingerprint : hash_fingerprint(t->bytes.p, t->bytes.n);
}

size_t tokenizer_truncation(const struct tokenizer *t) {
    return t->truncation;
}

bool tokenizer_pads(const struct tokenizer *t) {
    return t->pads;
}

uint32_t tokenizer_vocab(const struct tokenizer *t) {
    return t->vocab_size;
}

static const struct added_token *added_token(const struct tokenizer *t, uint32_t id) {
    return id < t->n_added_ids && t->added_ids[id] != NO_ID ? &t->added.tokens[t->added_ids[id]]
                                                            : NULL;
}

struct str tokenizer_piece(const struct tokenizer *t, uint32_t id) {
    const struct added_token *a = added_token(t, id);
    return a ? a->content : vocab_piece(&t->model.vocab, id);
}

struct str tokenizer_text(const struct tokenizer *t, uint32_t id) {
    const struct added_token *a = added_token(t, id);
    return a ? a->text : vocab_piece(&t->model.vocab, id);
}

bool tokenizer_is_special(const struct tokenizer *t, uint32_t id) {
    return id < t->vocab_size && t->special[id];
}

static bool contains(struct str text, struct str part) {
    for (size_t i = 0; part.n && i + part.n <= text.n; i++) {
        const char *at = memchr(text.p + i, part.p[0], text.n - part.n - i + 1);
        if (!at)
            return false;
        i = (size_t)(at - text.p);
        if (memcmp(at, part.p, part.n) == 0)
            return true;
    }
    return false;
}

void tokenizer_find_plain(struct tokenizer *t, struct str sources) {
    for (size_t i = 0; i < t->added.n; i++) {
        struct added_token *a = &t->added.tokens[i];
        a->plain = !a->special && a->content.n && !contains(sources, a->content);
    }
}
