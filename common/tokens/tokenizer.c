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
#include "tokens/missing.h"
#include "tokens/tokenizer_parts.h"
#include "unicode/regex.h"

enum {
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
    if (!json_enter_object_or_null(j))
        return;
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

static void append_added(struct tokenizer *t, struct added_token token) {
    if (t->added.n == t->added.cap) {
        t->added.cap = t->added.cap ? t->added.cap * 2 : 64;
        t->added.tokens = xreallocarray(t->added.tokens, t->added.cap, sizeof *t->added.tokens);
    }
    t->added.tokens[t->added.n++] = token;
}

static void load_added_tokens(struct tokenizer *t, struct json *j) {
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
        append_added(t, a);
    }
}

/* Returns the text that a "normalized" token matches after normalization. */
static struct str normalize_content(struct tokenizer *t, struct str content,
                                    struct regex_work *regex, struct json *j) {
    struct tok_text text = {.regex = regex};
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

static int compare_ids(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* Returns the ids of the first n added tokens, sorted. The caller frees them. */
static uint32_t *sorted_ids(const struct added *a, size_t n) {
    uint32_t *ids = xreallocarray(NULL, n, sizeof *ids);
    for (size_t i = 0; i < n; i++)
        ids[i] = a->tokens[i].id;
    if (n > 1)
        qsort(ids, n, sizeof *ids, compare_ids);
    return ids;
}

/* Appends the tokens of the files beside tokenizer.json. Those that count only if their text or id
 * is new are left to number_added_tokens. */
static void append_special(struct tokenizer *t) {
    for (size_t i = 0; i < t->special_tokens.n_added; i++) {
        const struct special_token *s = &t->special_tokens.added[i];
        append_added(t, (struct added_token){.content = s->content,
                                             .single_word = s->single_word,
                                             .lstrip = s->lstrip,
                                             .rstrip = s->rstrip,
                                             .normalized = s->normalized,
                                             .special = s->special});
    }
}

/* The state of number_added_tokens. */
struct numbering {
    struct vocab names;       // content to index in added.tokens
    uint32_t next;            // the next free id
    struct regex_work *regex; // one budget for all tokens
    uint32_t *owners;         // see take_id; NULL if no id can have two owners
    size_t n;                 // tokens so far
    size_t n_file;            // those that tokenizer.json lists
    size_t n_known;           // those before the first SPECIAL_IF_NEW_TEXT, else SIZE_MAX
    uint32_t *file_ids;       // [n_file_ids] the ids that they got, sorted
    size_t n_file_ids;
};

/* After the tokens of tokenizer.json: new ones get ids past all ids of added tokens. */
static void begin_special(struct numbering *m, const struct added *a) {
    m->n_file_ids = m->n;
    m->file_ids = sorted_ids(a, m->n);
    if (m->n && m->file_ids[m->n - 1] >= m->next)
        m->next = m->file_ids[m->n - 1] + 1;
}

/* Whether a token of the files beside tokenizer.json is not to be added: its text or id has an
 * added token already. at: the index of a token with its text, or NO_ID. */
static bool is_known(struct numbering *m, const struct special_token *s, uint32_t at) {
    uint32_t id = (uint32_t)s->id;
    if (s->when == SPECIAL_IF_NEW_TEXT) {
        m->n_known = m->n_known == SIZE_MAX ? m->n : m->n_known;
        return at < m->n_known;
    }
    return s->when == SPECIAL_IF_NEW_ID && s->id >= 0 && s->id <= VOCAB_MAX_ID &&
           bsearch(&id, m->file_ids, m->n_file_ids, sizeof id, compare_ids) != NULL;
}

/* Numbers token i, and moves it to its place. */
static void number_token(struct tokenizer *t, struct numbering *m, size_t i, struct json *j) {
    struct added *a = &t->added;
    struct added_token token = a->tokens[i];
    uint32_t at = vocab_find_name(&m->names, token.content);
    if (token.content.n == 0 ||
        (i >= m->n_file && is_known(m, &t->special_tokens.added[i - m->n_file], at)))
        return;
    token.id = at != NO_ID ? a->tokens[at].id : vocab_find_name(&t->model.vocab, token.content);
    if (token.id == NO_ID)
        token.id = m->next++;
    if (token.id > VOCAB_MAX_ID)
        json_refuse(j, "more than %d tokens", VOCAB_MAX_ID + 1);
    regex_work_add(m->regex, token.content.n);
    token.pattern =
        token.normalized ? normalize_content(t, token.content, m->regex, j) : token.content;
    token.text =
        at != NO_ID && str_same(token.pattern, token.content) ? a->tokens[at].text : token.pattern;
    if (at == NO_ID) {
        at = (uint32_t)m->n++;
        vocab_add(&m->names, token.content, at);
    } else {
        token.special |= a->tokens[at].special; // once special, a text stays special
    }
    if (m->owners && token.id <= VOCAB_MAX_ID)
        take_id(a, m->owners, &token, at);
    a->tokens[at] = token;
}

/* Without added_tokens_decoder, a token of tokenizer.json is special if another file names it. */
static void mark_named(struct tokenizer *t, const struct vocab *contents, size_t n_file) {
    const struct special_tokens *s = &t->special_tokens;
    for (size_t i = 0; i < s->n_names && !s->has_decoder; i++) {
        uint32_t at = vocab_find_name(contents, s->names[i].token.content);
        if (at < n_file)
            t->added.tokens[at].special = true;
    }
}

/* Gives the tokens their ids, as the reference does. A token of the vocabulary keeps its id; any
 * other gets the next id after the vocabulary's count of tokens. Those of the files beside
 * tokenizer.json come last. A later token with the same content replaces the earlier one. */
static void number_added_tokens(struct tokenizer *t, struct json *j) {
    struct added *a = &t->added;
    struct numbering m = {.next = t->model.n_listed ? t->model.n_listed : t->model.vocab.count,
                          .n_file = a->n,
                          .regex = regex_work_new(),
                          .n_known = SIZE_MAX};
    append_special(t);
    size_t n_ids = (size_t)t->model.vocab.size + a->n;
    if (m.next < t->model.vocab.size) {
        m.owners = xreallocarray(NULL, n_ids, sizeof *m.owners);
        memset(m.owners, 0xFF, n_ids * sizeof *m.owners);
    }
    regex_work_begin(m.regex, 0);
    vocab_begin(&m.names, a->n, false);
    for (size_t i = 0; i < a->n && !json_failed(j); i++) {
        if (i == m.n_file)
            begin_special(&m, a);
        number_token(t, &m, i, j);
    }
    a->n = m.n;
    mark_named(t, &m.names, m.n_file_ids);
    regex_work_free(m.regex);
    free(m.file_ids);
    free(m.owners);
    vocab_free(&m.names);
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

/* Loads a tokenizer.json. special has the tokens of the files beside it, and is all zero
 * afterwards. */
static struct tokenizer *load(const char *name, struct str bytes, struct special_tokens *special,
                              struct err *e) {
    struct tokenizer *t = xcalloc(1, sizeof *t);
    struct sections s = {0};
    t->special_tokens = *special;
    *special = (struct special_tokens){0};
    json_init(&t->json, name, bytes.p, bytes.n, e);
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
    t->bytes = bytes;
    return t;
}

struct tokenizer *tokenizer_load(const char *name, const char *p, size_t n, struct err *e) {
    struct special_tokens none = {0};
    return load(name, (struct str){p, n}, &none, e);
}

/* Loads the file and hashes it on another thread. */
static struct tokenizer *load_hashed(const char *file, struct str bytes,
                                     struct special_tokens *special, struct err *e) {
    struct hash_thread hash;
    if (bytes.n < MIN_HASHED)
        return load(file, bytes, special, e);
    hash_thread_start(&hash, bytes.p, bytes.n);
    struct tokenizer *t = load(file, bytes, special, e);
    uint64_t fingerprint = hash_thread_end(&hash);
    if (t) {
        t->hashed = true;
        t->fingerprint = fingerprint;
    }
    return t;
}

static struct tokenizer *open_bytes(const char *file, struct str bytes, bool hashed,
                                    struct special_tokens *special, struct err *e) {
    return hashed ? load_hashed(file, bytes, special, e) : load(file, bytes, special, e);
}

static struct tokenizer *open_file(const char *path, bool hashed, struct err *e) {
    char *file = is_dir(path) ? path_join(path, "tokenizer.json") : xstrdup(path);
    struct map map = {0};
    struct special_tokens special = {0};
    struct tokenizer *t = NULL;
    if (is_dir(path) && !is_there(file)) {
        tokenizer_missing(path, e);
    } else if (map_file_within(&map, file, TOKENIZER_MAX_FILE, e) == 0) {
        if (file_hint(map.p, map.n))
            err_set(e, EXIT_DATA, "%s: %s", file_hint(map.p, map.n), file);
        else if (!is_dir(path) || special_tokens_read(&special, path, e) == 0)
            t = open_bytes(file, (struct str){(const char *)map.p, map.n}, hashed, &special, e);
        if (t)
            t->file = map;
        else
            unmap_file(&map);
    }
    special_tokens_free(&special);
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
    special_tokens_free(&t->special_tokens);
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
    const struct special_tokens *s = &t->special_tokens;
    struct vocab control = {0}; // chat_control_tokens
    vocab_begin(&control, s->n_control, false);
    for (size_t i = 0; i < s->n_control; i++)
        vocab_add(&control, s->control[i], 0);
    for (size_t i = 0; i < t->added.n; i++) {
        struct added_token *a = &t->added.tokens[i];
        bool controls = s->has_control ? vocab_find_name(&control, a->content) != NO_ID
                                       : contains(sources, a->content);
        a->plain = !a->special && a->content.n && !controls;
    }
    vocab_free(&control);
}
