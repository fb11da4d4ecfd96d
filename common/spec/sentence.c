/* The files of sentence-transformers: see sentence.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "spec/sentence.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "spec/keys.h"

enum { MAX_BYTES = 4 << 20 };

static const struct {
    const char *name, *module; // on our command line; in "pooling_mode"
    enum pooling pool;
} poolings[] = {
    {"cls", "cls", POOL_CLS},
    {"max", "max", POOL_MAX},
    {"mean", "mean", POOL_MEAN},
    {"mean-sqrt", "mean_sqrt_len_tokens", POOL_MEAN_SQRT},
    {"weighted", "weightedmean", POOL_WEIGHTED},
    {"last", "lasttoken", POOL_LAST},
};

enum { N_POOLINGS = sizeof poolings / sizeof *poolings };

unsigned pooling_of(const char *name) {
    for (size_t i = 0; i < N_POOLINGS; i++)
        if (strcmp(poolings[i].name, name) == 0)
            return poolings[i].pool;
    return 0;
}

size_t pooling_count(unsigned pools) {
    size_t n = 0;
    for (size_t i = 0; i < N_POOLINGS; i++)
        n += (pools & poolings[i].pool) != 0;
    return n;
}

/* The text of a member that must be a string without escapes. */
static int string_of(struct keys_reader *r, const struct keys_member *m, struct str *out) {
    if (m->raw.n < 2 || m->raw.p[0] != '"' || memchr(m->raw.p, '\\', m->raw.n))
        return keys_refuse(r, m, "must be a plain string");
    *out = (struct str){m->raw.p + 1, m->raw.n - 2};
    return 0;
}

/* ---- Pooling ---- */

struct pooling_keys {
    bool on[N_POOLINGS]; // in the order of poolings
    size_t dim;
    bool no_prompt;
};

#define POOL_AT(i) (offsetof(struct pooling_keys, on) + (i) * sizeof(bool))

static const struct key pooling_keys[] = {
    {"pooling_mode_cls_token", KEY_TRUE, POOL_AT(0), 0},
    {"pooling_mode_max_tokens", KEY_TRUE, POOL_AT(1), 0},
    {"pooling_mode_mean_tokens", KEY_TRUE, POOL_AT(2), 0},
    {"pooling_mode_mean_sqrt_len_tokens", KEY_TRUE, POOL_AT(3), 0},
    {"pooling_mode_weightedmean_tokens", KEY_TRUE, POOL_AT(4), 0},
    {"pooling_mode_lasttoken", KEY_TRUE, POOL_AT(5), 0},
    {"word_embedding_dimension", KEY_SIZE, offsetof(struct pooling_keys, dim), SENTENCE_MAX_DIM},
    {"embedding_dimension", KEY_SIZE, offsetof(struct pooling_keys, dim), SENTENCE_MAX_DIM},
    {"include_prompt", KEY_ONLY_TRUE, 0, 0}, // else the prompt's positions are not pooled
    {NULL, KEY_OTHER, 0, 0},
};

/* "pooling_mode": a name, or a list of names. */
static int read_modes(struct keys_reader *r, const struct keys_member *m, struct pooling_keys *k) {
    struct json j = keys_value(r, m);
    bool list = json_peek(&j) == JSON_ARRAY;
    size_t next = 0;
    if (list)
        json_enter_array(&j);
    while (!list || json_item(&j)) {
        struct str name = json_str(&j);
        size_t i = 0;
        while (i < N_POOLINGS && !str_eq(name, poolings[i].module))
            i++;
        if (i < next)
            json_refuse(&j,
                        "pooling_mode has '%.*s' in another order than cls, max, mean, "
                        "mean_sqrt_len_tokens, weightedmean, lasttoken",
                        str_shown(name), name.p);
        next = i + 1;
        if (i < N_POOLINGS)
            k->on[i] = true;
        else if (!json_failed(&j))
            json_refuse(&j, "pooling_mode '%.*s' is not supported", str_shown(name), name.p);
        if (!list || json_failed(&j))
            break;
    }
    json_free(&j);
    return json_failed(&j) ? -1 : 0;
}

static int read_pooling(struct keys_reader *r, const struct keys_object *o,
                        struct sentence_spec *s) {
    struct pooling_keys k = {0};
    struct keys_member *modes = keys_member_take(o, "pooling_mode");
    if (keys_apply(r, pooling_keys, o, &k, false) != 0 || (modes && read_modes(r, modes, &k) != 0))
        return -1;
    for (size_t i = 0; i < o->n; i++) // a pooling that we do not know
        if (!o->members[i].used && str_begins_with(o->members[i].key, "pooling_mode_") &&
            !keys_member_false(&o->members[i]))
            return keys_refuse(r, &o->members[i], "that pooling is not supported");
    for (size_t i = 0; i < N_POOLINGS; i++)
        s->pools |= k.on[i] ? (unsigned)poolings[i].pool : 0;
    s->dim = k.dim;
    if (s->pools == 0) // as in the reference
        s->pools = POOL_MEAN;
    keys_warn_unused(r, o, NULL);
    return 0;
}

int sentence_parse_pooling(struct sentence_spec *s, const char *path, struct str text,
                           struct buf *warnings, struct err *e) {
    struct keys_reader r = {.warnings = warnings, .e = e};
    struct keys_object o = {0};
    int rc = keys_open(&r, path, text.p, text.n, &o);
    if (rc == 0)
        rc = read_pooling(&r, &o, s);
    keys_close(&r, &o);
    return rc;
}

/* ---- Dense ---- */

static const struct key dense_keys[] = {
    {"in_features", KEY_SIZE, offsetof(struct sentence_step, n_in), SENTENCE_MAX_DIM},
    {"out_features", KEY_SIZE, offsetof(struct sentence_step, n_out), SENTENCE_MAX_DIM},
    {"bias", KEY_TRUE, offsetof(struct sentence_step, bias), 0},
    {"activation_function", KEY_OTHER, 0, 0},
    {"module_input_name", KEY_OTHER, 0, 0},
    {"module_output_name", KEY_OTHER, 0, 0},
    {NULL, KEY_OTHER, 0, 0},
};

/* A key that names which of a text's values the matrix reads or replaces. */
static int check_dense_name(struct keys_reader *r, const struct keys_object *o, const char *key) {
    struct keys_member *m = keys_member_take(o, key);
    if (!m || keys_member_is(m, "\"sentence_embedding\""))
        return 0;
    return keys_refuse(r, m, "only sentence_embedding is supported");
}

static int read_dense(struct keys_reader *r, const struct keys_object *o, struct sentence_step *d) {
    struct str act = str_of("");
    *d = (struct sentence_step){
        .kind = SENTENCE_DENSE, .folder = d->folder, .bias = true, .act = SENTENCE_TANH};
    if (keys_apply(r, dense_keys, o, d, false) != 0 ||
        check_dense_name(r, o, "module_input_name") != 0 ||
        check_dense_name(r, o, "module_output_name") != 0)
        return -1;
    struct keys_member *m = keys_member_take(o, "activation_function");
    if (m && string_of(r, m, &act) != 0)
        return -1;
    if (m && str_ends_with(act, ".Identity"))
        d->act = SENTENCE_IDENTITY;
    else if (m && !str_ends_with(act, ".Tanh"))
        return keys_refuse(r, m, "only Identity and Tanh are supported");
    if (d->n_in == 0 || d->n_out == 0)
        return err_set(r->e, EXIT_DATA, "%s is missing: %s",
                       d->n_in == 0 ? "in_features" : "out_features", r->path);
    keys_warn_unused(r, o, NULL);
    return 0;
}

int sentence_parse_dense(struct sentence_step *d, const char *path, struct str text,
                         struct buf *warnings, struct err *e) {
    struct keys_reader r = {.warnings = warnings, .e = e};
    struct keys_object o = {0};
    int rc = keys_open(&r, path, text.p, text.n, &o);
    if (rc == 0)
        rc = read_dense(&r, &o, d);
    keys_close(&r, &o);
    return rc;
}

/* ---- modules.json ---- */

struct module {
    struct str path, whole, type; // whole: "sentence_transformers.models.Pooling"; type: its last
                                  // word
};

/* A folder of the model's: one name, which leads nowhere else. */
static bool good_folder(struct str path) {
    bool plain = path.n > 0 && path.n < 256 && path.p[0] != '.';
    for (size_t i = 0; i < path.n; i++)
        plain &= path.p[i] != '/' && path.p[i] != '\0';
    return plain;
}

static int read_module(struct json *j, struct module *m) {
    struct str key, type = str_of("");
    *m = (struct module){.path = str_of("")};
    json_enter_object(j);
    while (json_key(j, &key))
        if (str_eq(key, "path"))
            m->path = json_str(j);
        else if (str_eq(key, "type"))
            type = json_str(j);
        else
            json_skip(j);
    m->type = m->whole = type;
    for (size_t i = 0; i < type.n; i++)
        if (type.p[i] == '.')
            m->type = (struct str){type.p + i + 1, type.n - i - 1};
    return json_failed(j) ? -1 : 0;
}

/* Reads dir/folder/config.json. */
static int read_config(const char *dir, const char *folder, char **path, struct buf *text,
                       struct err *e) {
    char *in = path_join(dir, folder);
    *path = path_join(in, "config.json");
    free(in);
    return read_file(*path, MAX_BYTES, text, e);
}

static int add_step(struct sentence_spec *s, const char *dir, const struct module *m,
                    struct buf *warnings, struct err *e) {
    struct sentence_step *d = &s->steps[s->n_steps];
    struct buf text = {0};
    char *path = NULL;
    int rc = 0;
    if (str_eq(m->type, "Normalize")) {
        d->kind = SENTENCE_NORMALIZE;
        s->n_steps++;
        return 0;
    }
    const char *folder = arena_str(&s->mem, m->path.p, m->path.n).p;
    rc = read_config(dir, folder, &path, &text, e);
    if (rc == 0 && str_eq(m->type, "Pooling")) {
        rc = sentence_parse_pooling(s, path, buf_view(&text), warnings, e);
    } else if (rc == 0) {
        d->folder = folder;
        rc = sentence_parse_dense(d, path, buf_view(&text), warnings, e);
        s->n_steps++;
    }
    buf_free(&text);
    free(path);
    return rc;
}

/* One module; n counts those before it. */
static void take_module(struct json *j, size_t n, struct sentence_spec *s, const char *dir,
                        struct buf *warnings) {
    struct module m;
    if (read_module(j, &m) != 0)
        return;
    bool first = str_eq(m.type, "Transformer"), pooling = str_eq(m.type, "Pooling"),
         dense = str_eq(m.type, "Dense"), known = dense || str_eq(m.type, "Normalize");
    if (!str_begins_with(m.whole, "sentence_transformers."))
        json_refuse(j, "module type '%.*s' is not supported", str_shown(m.whole), m.whole.p);
    else if (!first && !pooling && !known)
        json_refuse(j, "module type '%.*s' is not supported", str_shown(m.type), m.type.p);
    else if (first != (n == 0) || pooling != (n == 1))
        json_refuse(j,
                    "expected a Transformer, a Pooling, then Dense and Normalize, found '%.*s' "
                    "as module %zu",
                    str_shown(m.type), m.type.p, n);
    else if (first && m.path.n > 0)
        json_refuse(j, "the Transformer's folder is '%.*s', but only the model's own is supported",
                    str_shown(m.path), m.path.p);
    else if ((pooling || dense) && !good_folder(m.path))
        json_refuse(j, "path '%.*s' is not the name of a folder", str_shown(m.path), m.path.p);
    else if (s->n_steps == SENTENCE_MAX_STEPS)
        json_refuse(j, "more than %d steps", (int)SENTENCE_MAX_STEPS);
    else if (!first && add_step(s, dir, &m, warnings, j->e) != 0)
        j->failed = true;
}

int sentence_parse_modules(struct sentence_spec *s, const char *dir, const char *path,
                           struct str text, struct buf *warnings, struct err *e) {
    struct json j;
    size_t n = 0;
    json_init(&j, path, text.p, text.n, e);
    json_enter_array(&j);
    for (; json_item(&j) && !json_failed(&j); n++)
        take_module(&j, n, s, dir, warnings);
    bool bad = !json_end(&j);
    json_free(&j);
    if (bad)
        return -1;
    if (n < 2)
        return err_set(e, EXIT_DATA, "there is no Pooling: %s", path);
    s->present = true;
    return 0;
}

/* ---- Settings ---- */

static const struct key settings_keys[] = {
    {"max_seq_length", KEY_SIZE, offsetof(struct sentence_spec, max_ids), SENTENCE_MAX_IDS},
    {"do_lower_case", KEY_ONLY_FALSE, 0, 0}, // the tokenizer's own lower case is another thing
    {NULL, KEY_OTHER, 0, 0},
};

static int read_metric(struct keys_reader *r, const struct keys_object *o,
                       struct sentence_spec *s) {
    static const char *const names[] = {"\"cosine\"", "\"dot\"", "\"euclidean\""};
    struct keys_member *m = keys_member_take(o, "similarity_fn_name");
    if (!m)
        return 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (keys_member_is(m, names[i])) {
            s->metric = (enum sentence_metric)i;
            return 0;
        }
    if (keys_member_is(m, "\"dot_score\"") || keys_member_is(m, "\"cos_sim\"")) {
        s->metric = keys_member_is(m, "\"dot_score\"") ? SENTENCE_DOT : SENTENCE_COSINE;
        return 0;
    }
    return keys_refuse(r, m, "only cosine, dot and euclidean are supported");
}

/* sentence_bert_config.json and config_sentence_transformers.json: they have no key in common. */
int sentence_parse_settings(struct sentence_spec *s, const char *path, struct str text,
                            struct err *e) {
    struct keys_reader r = {.e = e};
    struct keys_object o = {0};
    int rc = keys_open(&r, path, text.p, text.n, &o);
    if (rc == 0)
        rc = keys_apply(&r, settings_keys, &o, s, false);
    if (rc == 0)
        rc = read_metric(&r, &o, s);
    struct keys_member *prompt = rc == 0 ? keys_member_take(&o, "default_prompt_name") : NULL;
    if (prompt && prompt->raw.p[0] == '"' && prompt->raw.n > 2)
        s->default_prompt = arena_str(&s->mem, prompt->raw.p + 1, prompt->raw.n - 2).p;
    keys_close(&r, &o);
    return rc;
}

/* ---- A folder ---- */

/* Reads dir/name into text if it is there: then *path is its path, owned by the caller. */
static int read_optional(const char *dir, const char *name, char **path, struct buf *text,
                         struct err *e) {
    buf_clear(text);
    *path = path_join(dir, name);
    if (is_there(*path))
        return read_file(*path, MAX_BYTES, text, e);
    free(*path);
    *path = NULL;
    return 0;
}

int sentence_read(struct sentence_spec *s, const char *dir, struct buf *warnings, struct err *e) {
    static const char *const settings[] = {"sentence_bert_config.json",
                                           "config_sentence_transformers.json"};
    struct buf text = {0};
    char *path;
    *s = (struct sentence_spec){0};
    int rc = read_optional(dir, "modules.json", &path, &text, e);
    if (rc == 0 && path)
        rc = sentence_parse_modules(s, dir, path, buf_view(&text), warnings, e);
    free(path);
    for (size_t i = 0; i < sizeof settings / sizeof *settings && rc == 0; i++) {
        rc = read_optional(dir, settings[i], &path, &text, e);
        if (rc == 0 && path)
            rc = sentence_parse_settings(s, path, buf_view(&text), e);
        free(path);
    }
    buf_free(&text);
    return rc;
}

static void list_folder(struct json *j, struct sentence_folders *l) {
    struct module m;
    if (read_module(j, &m) != 0 || str_eq(m.type, "Transformer") || !good_folder(m.path))
        return;
    const char *name = arena_str(&l->mem, m.path.p, m.path.n).p;
    for (size_t i = 0; i < l->n; i++)
        if (strcmp(l->names[i], name) == 0)
            return;
    if (l->n == SENTENCE_MAX_STEPS)
        json_refuse(j, "more than %d steps", (int)SENTENCE_MAX_STEPS);
    else
        l->names[l->n++] = name;
}

int sentence_folders(struct sentence_folders *l, const char *dir, struct err *e) {
    struct buf text = {0};
    struct json j;
    char *path;
    *l = (struct sentence_folders){0};
    int rc = read_optional(dir, "modules.json", &path, &text, e);
    if (rc == 0 && path) {
        json_init(&j, path, text.p, text.n, e);
        json_enter_array(&j);
        while (json_item(&j) && !json_failed(&j))
            list_folder(&j, l);
        rc = json_end(&j) ? 0 : -1;
        json_free(&j);
    }
    buf_free(&text);
    free(path);
    return rc;
}

void sentence_folders_free(struct sentence_folders *l) {
    arena_free(&l->mem);
    *l = (struct sentence_folders){0};
}

void sentence_free(struct sentence_spec *s) {
    arena_free(&s->mem);
    *s = (struct sentence_spec){0};
}

/* ---- Prompts ---- */

/* Finds the prompt, and lists the names of all. */
static bool find_prompt(struct json *j, const char *name, struct buf *out, struct buf *names) {
    struct str key, member;
    bool found = false;
    json_enter_object(j);
    while (json_key(j, &key)) {
        if (!str_eq(key, "prompts") || json_peek(j) != JSON_OBJECT) {
            json_skip(j);
            continue;
        }
        json_enter_object(j);
        while (json_key(j, &member)) {
            struct str text = json_str(j);
            bool this_one = str_eq(member, name);
            buf_fmt(names, "%s%.*s", names->n ? ", " : "", str_shown(member), member.p);
            if (this_one && !json_failed(j))
                buf_add(out, text.p, text.n);
            found |= this_one;
        }
    }
    return found;
}

int sentence_prompt(const char *dir, const char *name, struct buf *out, struct err *e) {
    static const char file[] = "config_sentence_transformers.json";
    struct buf text = {0}, names = {0};
    struct json j;
    char *path;
    int rc = read_optional(dir, file, &path, &text, e);
    if (rc == 0 && !path)
        rc = err_set(e, EXIT_USAGE, "no prompt '%s': there is no %s: %s", name, file, dir);
    if (rc == 0) {
        json_init(&j, path, text.p, text.n, e);
        bool found = find_prompt(&j, name, out, &names);
        rc = json_end(&j) ? 0 : -1;
        json_free(&j);
        if (rc == 0 && !found)
            rc = err_set(e, EXIT_USAGE, "no prompt '%s', there are: %s: %s", name,
                         names.n ? names.p : "none", path);
    }
    buf_free(&text);
    buf_free(&names);
    free(path);
    return rc;
}
