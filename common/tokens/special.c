/* Special tokens of a model folder: see special.h.
 *
 * The files are read into lists (struct reading), which are then joined in the order in which
 * transformers adds tokens: added_tokens_decoder by id, the named tokens, extra_special_tokens. A
 * member of another type than expected is ignored, as far as transformers would not use it.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "tokens/special.h"

#include <stdlib.h>

#include "base/io.h"
#include "base/json.h"
#include "base/num.h"
#include "tokens/vocab.h"

enum {
    MAX_CONFIG = 64 << 20, // bytes of a file
    MAX_NAMES = 1024,      // named tokens of a file: each new name is compared with the others
    MAX_EXTRA = 1 << 17,   // tokens of a list: each is compared with the named ones
    N_STANDARD = 7
};

static const char *const standard[N_STANDARD] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                                 "pad_token", "cls_token", "mask_token"};

/* A growing list of named tokens. Lists of tokens alone have empty names. */
struct name_list {
    struct special_name *items; // [n]
    size_t n, cap;
};

struct reading {
    struct special_tokens *s;
    struct name_list standard,      // [N_STANDARD]
        mapped, specific,           // by name: special_tokens_map.json's, tokenizer_config.json's
        decoder, extra, deprecated; // without names; deprecated: additional_special_tokens
    bool is_map;
    bool has_extra, has_deprecated; // the lists were given
    bool extra_names;               // extra_special_tokens was an object, not empty
};

static void add(struct name_list *l, struct str name, struct special_token token) {
    for (size_t i = 0; name.n && i < l->n; i++)
        if (str_same(l->items[i].name, name)) {
            l->items[i].token = token;
            return;
        }
    if (l->n == l->cap) {
        l->cap = l->cap ? l->cap * 2 : 16;
        l->items = xreallocarray(l->items, l->cap, sizeof *l->items);
    }
    l->items[l->n++] = (struct special_name){name, token};
}

static void add_name(struct json *j, struct name_list *l, struct str name,
                     struct special_token token) {
    if (l->n >= MAX_NAMES)
        json_refuse(j, "more than %d named tokens", MAX_NAMES);
    else
        add(l, name, token);
}

static struct str copy(struct reading *r, struct str s) {
    return arena_str(&r->s->arena, s.p, s.n);
}

static void read_flag(struct json *j, bool *flag) {
    if (json_peek(j) == JSON_BOOL)
        *flag = json_bool(j);
    else
        json_skip(j);
}

/* Reads {"content": "<s>", "lstrip": false, ...}. `special` is the default of that member. As in
 * AddedToken, a token is "normalized" by default unless it is special. */
static struct special_token read_object(struct reading *r, struct json *j, bool special) {
    struct special_token t = {.special = special};
    struct str key;
    t.by_default = true;
    json_enter_object(j);
    while (json_key(j, &key))
        if (str_eq(key, "content") && json_peek(j) == JSON_STRING)
            t.content = copy(r, json_str(j));
        else if (str_eq(key, "single_word"))
            read_flag(j, &t.single_word);
        else if (str_eq(key, "lstrip"))
            read_flag(j, &t.lstrip);
        else if (str_eq(key, "rstrip"))
            read_flag(j, &t.rstrip);
        else if (str_eq(key, "special") && !r->is_map) // special_tokens_map.json has no others
            read_flag(j, &t.special);
        else if (str_eq(key, "normalized") && json_peek(j) == JSON_BOOL)
            t.normalized = json_bool(j), t.by_default = false;
        else
            json_skip(j);
    if (t.by_default)
        t.normalized = !t.special;
    return t;
}

/* Reads a token: a text or an object. Any other value gives none. */
static struct special_token read_token(struct reading *r, struct json *j) {
    struct special_token t = {.special = true};
    if (json_peek(j) == JSON_STRING)
        t.content = copy(r, json_str(j));
    else if (json_peek(j) == JSON_OBJECT)
        t = read_object(r, j, true);
    else
        json_skip(j);
    return t;
}

static void read_tokens(struct reading *r, struct json *j, struct name_list *l) {
    json_enter_array(j);
    while (json_item(j)) {
        struct special_token t = read_token(r, j);
        if (l->n >= MAX_EXTRA)
            json_refuse(j, "a list of more than %d tokens", MAX_EXTRA);
        else if (t.content.p)
            add(l, str_of(""), t);
    }
}

/* Reads {"image_token": "<img>", ...}. False if it is empty. */
static bool read_names(struct reading *r, struct json *j, struct name_list *l) {
    struct str key;
    bool some = false;
    json_enter_object(j);
    while (json_key(j, &key)) {
        some = true;
        struct str name = copy(r, key);
        struct special_token t = read_token(r, j);
        if (t.content.p)
            add_name(j, l, name, t);
    }
    return some;
}

/* Reads {"7": {"content": "<tool>", ...}, ...}. */
static void read_decoder(struct reading *r, struct json *j) {
    struct str key;
    r->s->has_decoder = true;
    json_enter_object(j);
    while (json_key(j, &key)) {
        int64_t id;
        if (!parse_i64(key, 0, INT32_MAX, &id)) {
            json_refuse(j, "added_tokens_decoder: \"%.*s\" is no token id", str_shown(key), key.p);
            return;
        }
        struct special_token t = read_object(r, j, false);
        t.id = id;
        if (t.content.p)
            add(&r->decoder, str_of(""), t);
    }
}

static void read_control(struct reading *r, struct json *j) {
    struct special_tokens *s = r->s;
    size_t cap = 0;
    s->has_control = true;
    json_enter_array(j);
    while (json_item(j)) {
        struct str text = copy(r, json_str(j));
        if (s->n_control == cap) {
            cap = cap ? cap * 2 : 16;
            s->control = xreallocarray(s->control, cap, sizeof *s->control);
        }
        s->control[s->n_control++] = text;
    }
}

/* Reads extra_special_tokens: an object of named tokens, which replaces an earlier list, or a list,
 * which is appended to it. */
static void read_extra(struct reading *r, struct json *j, enum json_type type) {
    r->has_extra = type == JSON_ARRAY;
    if (type == JSON_ARRAY) {
        read_tokens(r, j, &r->extra);
        return;
    }
    r->extra.n = 0;
    r->extra_names = read_names(r, j, &r->specific);
}

static void read_member(struct reading *r, struct json *j, struct str key) {
    enum json_type type = json_peek(j);
    size_t i = 0;
    while (i < N_STANDARD && !str_eq(key, standard[i]))
        i++;
    if (i < N_STANDARD)
        r->standard.items[i].token = read_token(r, j);
    else if (str_eq(key, "extra_special_tokens") && (type == JSON_OBJECT || type == JSON_ARRAY))
        read_extra(r, j, type);
    else if (str_eq(key, "additional_special_tokens") && type == JSON_ARRAY) {
        r->deprecated.n = 0;
        r->has_deprecated = true;
        read_tokens(r, j, &r->deprecated);
    } else if (str_ends_with(key, "_token") && (type == JSON_STRING || type == JSON_OBJECT)) {
        struct str name = copy(r, key);
        struct special_token t = read_token(r, j);
        if (t.content.p)
            add_name(j, r->is_map || type == JSON_OBJECT ? &r->mapped : &r->specific, name, t);
    } else if (!r->is_map && str_eq(key, "added_tokens_decoder") && type == JSON_OBJECT)
        read_decoder(r, j);
    else if (!r->is_map && str_eq(key, "chat_control_tokens") && type == JSON_ARRAY)
        read_control(r, j);
    else
        json_skip(j);
}

/* Reads one of the first two files. extra_special_tokens wins over a member of the same name, so it
 * is read last. */
static void read_members(struct reading *r, struct json *j) {
    struct str key;
    struct json extra;
    bool has_extra = false;
    json_enter_object(j);
    while (json_key(j, &key))
        if (str_eq(key, "extra_special_tokens")) {
            extra = *j;
            has_extra = true;
            json_skip(j);
        } else {
            read_member(r, j, key);
        }
    if (!json_end(j) || !has_extra)
        return;
    struct arena strings = j->strings;
    *j = extra;
    j->strings = strings;
    read_member(r, j, str_of("extra_special_tokens"));
}

static void put_contents(struct vocab *v, const struct name_list *l) {
    for (size_t i = 0; i < l->n; i++)
        if (l->items[i].token.content.p)
            vocab_add(v, l->items[i].token.content, 1);
}

/* Reads added_tokens.json: {"<tool>": 50}. A token is special if another file names it. */
static void read_added(struct reading *r, struct json *j) {
    struct vocab named = {0};
    struct str key;
    vocab_begin(&named, r->standard.n + r->extra.n, false);
    put_contents(&named, &r->standard);
    put_contents(&named, &r->extra);
    json_enter_object(j);
    while (json_key(j, &key)) {
        struct special_token t = {.content = copy(r, key), .when = SPECIAL_IF_NEW_ID};
        t.id = json_i64(j);
        t.special = vocab_find_name(&named, t.content) != NO_ID;
        t.normalized = !t.special;
        add(&r->decoder, str_of(""), t);
    }
    json_end(j);
    vocab_free(&named);
}

static int read_file_with(struct reading *r, const char *dir, const char *file,
                          void (*members)(struct reading *, struct json *), struct err *e) {
    char *path = path_join(dir, file);
    struct buf text = {0};
    struct json j;
    int rc = 0;
    if (is_there(path)) {
        rc = read_file(path, MAX_CONFIG, &text, e);
        if (rc == 0 && file_hint(text.p, text.n))
            rc = err_set(e, EXIT_DATA, "%s: %s", file_hint(text.p, text.n), path);
        if (rc == 0) {
            json_init(&j, path, text.p, text.n, e);
            j.python = true;
            members(r, &j);
            rc = json_failed(&j) ? -1 : 0;
            json_free(&j);
        }
    }
    buf_free(&text);
    free(path);
    return rc;
}

static int by_id(const void *a, const void *b) {
    const struct special_name *x = a, *y = b;
    int64_t i = x->token.id, k = y->token.id;
    return i < k ? -1 : i > k;
}

/* Sorts the tokens that have ids. A named one is special, whatever its flag. */
static int sort_decoder(struct reading *r, const char *dir, struct err *e) {
    struct name_list *l = &r->decoder;
    struct vocab named = {0};
    int rc = 0;
    if (l->n > 1)
        qsort(l->items, l->n, sizeof *l->items, by_id);
    vocab_begin(&named, N_STANDARD, false);
    put_contents(&named, &r->standard);
    put_contents(&named, &r->mapped);
    for (size_t i = 0; i < l->n; i++) {
        struct special_token *t = &l->items[i].token;
        t->special |= vocab_find_name(&named, t->content) != NO_ID;
        t->normalized = t->by_default ? !t->special : t->normalized;
        if (rc == 0 && i && l->items[i - 1].token.id == t->id)
            rc = err_set(e, EXIT_DATA, "two added tokens have the id %lld: %s", (long long)t->id,
                         dir);
    }
    vocab_free(&named);
    return rc;
}

static bool same_token(const struct special_token *a, const struct special_token *b) {
    return str_same(a->content, b->content) && a->single_word == b->single_word &&
           a->lstrip == b->lstrip && a->rstrip == b->rstrip && a->normalized == b->normalized;
}

/* Whether a named token, from number `from` on, is the same. */
static bool is_repeated(const struct special_tokens *s, size_t from,
                        const struct special_token *t) {
    for (size_t i = from; i < s->n_added && i < from + 2 * MAX_NAMES; i++)
        if (same_token(&s->added[i], t))
            return true;
    return false;
}

/* Appends a list to the tokens that are added. first: number of the first named token. */
static void append(struct special_tokens *s, const struct name_list *l, enum special_when when,
                   size_t first) {
    for (size_t i = 0; i < l->n; i++) {
        struct special_token *t = &s->added[s->n_added];
        *t = l->items[i].token;
        if (!t->content.p || (when != SPECIAL_ALWAYS && is_repeated(s, first, t)))
            continue;
        if (when != SPECIAL_ALWAYS)
            t->when = when;
        s->n_added++;
    }
}

/* additional_special_tokens, if given, takes the place of a missing extra_special_tokens. */
static void use_deprecated(struct reading *r) {
    if (!r->has_deprecated)
        return;
    free(r->extra.items);
    r->extra = r->deprecated;
    r->deprecated = (struct name_list){0};
    r->has_extra = true;
    r->has_deprecated = false;
}

/* Joins the lists. Where both files name a token that is not a standard one,
 * tokenizer_config.json's counts. */
static int join(struct reading *r, const char *dir, struct err *e) {
    struct special_tokens *s = r->s;
    if (!r->has_extra)
        use_deprecated(r);
    for (size_t i = 0; i < r->specific.n; i++)
        add(&r->mapped, r->specific.items[i].name, r->specific.items[i].token);
    if (sort_decoder(r, dir, e) != 0)
        return -1;
    size_t most = r->decoder.n + r->standard.n + r->mapped.n + r->extra.n;
    s->added = xcalloc(most, sizeof *s->added);
    append(s, &r->decoder, SPECIAL_ALWAYS, 0);
    size_t first = s->n_added;
    append(s, &r->standard, SPECIAL_IF_NEW_TEXT, first);
    append(s, &r->mapped, SPECIAL_IF_NEW_TEXT, first);
    append(s, &r->extra, SPECIAL_IF_NEW_TEXT, first);
    s->names = xcalloc(r->standard.n + r->mapped.n, sizeof *s->names);
    for (size_t i = 0; i < r->standard.n; i++)
        if (r->standard.items[i].token.content.p)
            s->names[s->n_names++] = r->standard.items[i];
    for (size_t i = 0; i < r->mapped.n; i++)
        s->names[s->n_names++] = r->mapped.items[i];
    return 0;
}

int special_tokens_read(struct special_tokens *s, const char *dir, struct err *e) {
    struct reading r = {.s = s};
    for (size_t i = 0; i < N_STANDARD; i++)
        add(&r.standard, str_of(standard[i]), (struct special_token){0});
    int rc = read_file_with(&r, dir, "tokenizer_config.json", read_members, e);
    if (r.extra.n == 0 && !r.extra_names)
        use_deprecated(&r);
    if (rc == 0 && !s->has_decoder) {
        r.is_map = true;
        rc = read_file_with(&r, dir, "special_tokens_map.json", read_members, e);
        if (rc == 0)
            rc = read_file_with(&r, dir, "added_tokens.json", read_added, e);
    }
    if (rc == 0)
        rc = join(&r, dir, e);
    free(r.standard.items);
    free(r.mapped.items);
    free(r.specific.items);
    free(r.decoder.items);
    free(r.extra.items);
    free(r.deprecated.items);
    return rc;
}

void special_tokens_free(struct special_tokens *s) {
    free(s->names);
    free(s->added);
    free(s->control);
    arena_free(&s->arena);
    *s = (struct special_tokens){0};
}
