/* The files beside a vocabulary: see config.h. A key that does not matter here is skipped; a key
 * that does must have the right type, or be null, which is "not given".
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "tokconv/config.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/io.h"
#include "base/json.h"
#include "base/num.h"
#include "base/strmap.h"
#include "tokconv/tokjson.h"

#define MAX_CONFIG_BYTES (1u << 28)

const char *const tokconv_role_keys[N_ROLES] = {
    "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token",
};

static struct str copy(struct tokconv_config *c, struct str s) {
    return arena_str(&c->arena, s.p, s.n);
}

static void append(struct tokconv_tokens *list, struct tokconv_token t) {
    if (list->n == list->cap) {
        list->cap = list->cap ? list->cap * 2 : 64;
        list->items = xreallocarray(list->items, list->cap, sizeof *list->items);
    }
    list->items[list->n++] = t;
}

static int read_flag(struct json *j) {
    return json_null(j) ? NOT_GIVEN : json_bool(j);
}

static struct str read_text(struct tokconv_config *c, struct json *j) {
    if (json_null(j))
        return (struct str){0};
    struct str s = json_str(j);
    return json_failed(j) ? (struct str){0} : copy(c, s);
}

/* A token is null, a string, or an object with "content" and flags. */
static struct tokconv_token read_token(struct tokconv_config *c, struct json *j) {
    struct tokconv_token t = {.given = true};
    if (json_peek(j) != JSON_OBJECT) {
        t.text = read_text(c, j);
        return t;
    }
    struct str key;
    t.has_flags = true;
    t.normalized = true; // the default of AddedToken
    json_enter_object(j);
    while (json_key(j, &key))
        if (str_eq(key, "content"))
            t.text = read_text(c, j);
        else if (str_eq(key, "single_word"))
            t.single_word = json_bool(j);
        else if (str_eq(key, "lstrip"))
            t.lstrip = json_bool(j);
        else if (str_eq(key, "rstrip"))
            t.rstrip = json_bool(j);
        else if (str_eq(key, "normalized"))
            t.normalized = json_bool(j);
        else if (str_eq(key, "special"))
            t.special = json_bool(j);
        else
            json_skip(j);
    return t;
}

static void read_extra(struct tokconv_config *c, struct json *j) {
    struct str key;
    if (json_peek(j) == JSON_OBJECT) { // name -> token
        json_enter_object(j);
        while (json_key(j, &key))
            append(&c->extra, read_token(c, j));
    } else if (!json_null(j)) {
        json_enter_array(j);
        while (json_item(j))
            append(&c->extra, read_token(c, j));
    }
}

static int by_id(const void *a, const void *b) {
    const struct tokconv_token *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

static void sort_added(struct tokconv_config *c) {
    if (c->added.n)
        qsort(c->added.items, c->added.n, sizeof *c->added.items, by_id);
}

static void read_added(struct tokconv_config *c, struct json *j) {
    struct str key;
    json_enter_object(j);
    while (json_key(j, &key)) {
        uint64_t id;
        if (!parse_u64(key, 0, TOKJSON_MAX_TOKENS, &id)) {
            json_refuse(j, "'%.*s' in added_tokens_decoder is not an id", str_shown(key), key.p);
            return;
        }
        struct tokconv_token t = read_token(c, j);
        t.id = (uint32_t)id;
        t.has_flags = true;
        if (t.text.n)
            append(&c->added, t);
    }
    sort_added(c);
}

/* Reads the token of a role, or of a model's own key that ends in "_token". */
static bool read_named(struct tokconv_config *c, struct json *j, struct str key) {
    for (int r = 0; r < N_ROLES; r++)
        if (str_eq(key, tokconv_role_keys[r])) {
            c->named[r] = read_token(c, j);
            return true;
        }
    enum json_type type = json_peek(j);
    if (!str_ends_with(key, "_token") || (type != JSON_STRING && type != JSON_OBJECT))
        return false;
    append(&c->extra, read_token(c, j));
    return true;
}

static bool is_extra_key(struct str key) {
    return str_eq(key, "additional_special_tokens") || str_eq(key, "extra_special_tokens");
}

/* Whether the file decides about added tokens, so that the older files are not read: see config.h.
 */
static int tokenizer_config(struct tokconv_config *c, const char *name, struct str text,
                            bool *decides, struct err *e) {
    struct json j;
    struct str key;
    json_init(&j, name, text.p, text.n, e);
    j.python = true;
    json_enter_object(&j);
    while (json_key(&j, &key))
        if (str_eq(key, "tokenizer_class"))
            c->class_name = read_text(c, &j);
        else if (str_eq(key, "legacy"))
            c->legacy = read_flag(&j);
        else if (str_eq(key, "add_bos_token"))
            c->add_bos = read_flag(&j);
        else if (str_eq(key, "add_eos_token"))
            c->add_eos = read_flag(&j);
        else if (str_eq(key, "add_prefix_space"))
            c->prefix_space = read_flag(&j);
        else if (str_eq(key, "extra_ids"))
            c->extra_ids = json_null(&j) ? NOT_GIVEN : json_i64(&j);
        else if (str_eq(key, "added_tokens_decoder") && (*decides = true) && !json_null(&j))
            read_added(c, &j);
        else if (is_extra_key(key))
            read_extra(c, &j);
        else if (!str_eq(key, "added_tokens_decoder") && !read_named(c, &j, key))
            json_skip(&j);
    json_end(&j);
    bool failed = json_failed(&j);
    json_free(&j);
    if (!failed && c->extra_ids > 100000)
        return err_set(e, EXIT_DATA, "extra_ids is %" PRId64 ", more than 100000: %s", c->extra_ids,
                       name);
    return failed ? -1 : 0;
}

int tokconv_config_json(struct tokconv_config *c, const char *name, struct str text,
                        struct err *e) {
    bool decides = false;
    return tokenizer_config(c, name, text, &decides, e);
}

int tokconv_special_json(struct tokconv_config *c, const char *name, struct str text,
                         struct err *e) {
    struct json j;
    struct str key;
    json_init(&j, name, text.p, text.n, e);
    json_enter_object(&j);
    while (json_key(&j, &key))
        if (is_extra_key(key))
            read_extra(c, &j);
        else if (!read_named(c, &j, key))
            json_skip(&j);
    json_end(&j);
    bool failed = json_failed(&j);
    json_free(&j);
    return failed ? -1 : 0;
}

/* The texts of the special tokens that were read so far. */
static void special_texts(const struct tokconv_config *c, struct strmap *set) {
    strmap_init(set, N_ROLES + c->extra.n);
    for (int r = 0; r < N_ROLES; r++)
        if (c->named[r].text.n)
            strmap_add(set, c->named[r].text, 0);
    for (size_t i = 0; i < c->extra.n; i++)
        if (c->extra.items[i].text.n)
            strmap_add(set, c->extra.items[i].text, 0);
}

int tokconv_added_json(struct tokconv_config *c, const char *name, struct str text, struct err *e) {
    struct json j;
    struct str key;
    struct strmap specials;
    special_texts(c, &specials);
    json_init(&j, name, text.p, text.n, e);
    json_enter_object(&j);
    while (json_key(&j, &key)) {
        uint32_t found;
        struct tokconv_token t = {.text = copy(c, key), .given = true, .has_flags = true};
        uint64_t id = json_u64(&j);
        if (id > TOKJSON_MAX_TOKENS)
            json_refuse(&j, "id %" PRIu64 " is too large", id);
        t.id = (uint32_t)id;
        t.special = t.text.n && strmap_find(&specials, t.text, &found);
        t.normalized = !t.special;
        if (t.text.n)
            append(&c->added, t);
    }
    json_end(&j);
    bool failed = json_failed(&j);
    json_free(&j);
    strmap_free(&specials);
    sort_added(c);
    return failed ? -1 : 0;
}

static int model_config(struct tokconv_config *c, const char *name, struct str text,
                        struct err *e) {
    struct json j;
    struct str key;
    json_init(&j, name, text.p, text.n, e);
    j.python = true;
    json_enter_object(&j);
    while (json_key(&j, &key))
        if (str_eq(key, "model_type"))
            c->model_type = read_text(c, &j);
        else if (str_eq(key, "tokenizer_class") && c->class_name.n == 0)
            c->class_name = read_text(c, &j);
        else
            json_skip(&j);
    json_end(&j);
    bool failed = json_failed(&j);
    json_free(&j);
    return failed ? -1 : 0;
}

enum file { TOKENIZER_CONFIG, SPECIAL_TOKENS_MAP, ADDED_TOKENS, CONFIG };

/* Reads one of the files. 1, or 0 if there is none, or -1. */
static int read_one(struct tokconv_config *c, enum file which, const char *folder, bool *decides,
                    struct err *e) {
    static const char *const names[] = {"tokenizer_config.json", "special_tokens_map.json",
                                        "added_tokens.json", "config.json"};
    char *path = path_join(folder, names[which]);
    struct buf bytes = {0};
    int rc = 0;
    if (is_there(path)) {
        rc = read_file(path, MAX_CONFIG_BYTES, &bytes, e);
        struct str text = buf_view(&bytes);
        if (rc == 0)
            rc = which == TOKENIZER_CONFIG     ? tokenizer_config(c, path, text, decides, e)
                 : which == SPECIAL_TOKENS_MAP ? tokconv_special_json(c, path, text, e)
                 : which == ADDED_TOKENS       ? tokconv_added_json(c, path, text, e)
                                               : model_config(c, path, text, e);
        rc = rc == 0 ? 1 : -1;
    }
    buf_free(&bytes);
    free(path);
    return rc;
}

int tokconv_config_read(struct tokconv_config *c, const char *folder, struct err *e) {
    *c = (struct tokconv_config){.legacy = NOT_GIVEN,
                                 .add_bos = NOT_GIVEN,
                                 .add_eos = NOT_GIVEN,
                                 .prefix_space = NOT_GIVEN,
                                 .extra_ids = NOT_GIVEN};
    bool decides = false;
    int found = read_one(c, TOKENIZER_CONFIG, folder, &decides, e);
    c->exists = found > 0;
    if (found < 0)
        return -1;
    if (!decides && (read_one(c, SPECIAL_TOKENS_MAP, folder, &decides, e) < 0 ||
                     read_one(c, ADDED_TOKENS, folder, &decides, e) < 0))
        return -1;
    if (read_one(c, CONFIG, folder, &decides, e) < 0)
        return -1;
    if (str_ends_with(c->class_name, "Fast"))
        c->class_name.n -= 4;
    return 0;
}

void tokconv_config_free(struct tokconv_config *c) {
    free(c->extra.items);
    free(c->added.items);
    arena_free(&c->arena);
    *c = (struct tokconv_config){0};
}
