/* config.json -> struct spec. The file is a stranger's: sizes are bounded, numbers finite and positive,
 * types checked, and what is refused is named by its key, its value and the file.
 *
 * All members of the object are noted first; then each key of the family's table and of the common one
 * takes its value, and what nobody took is warned about. The forms that transformers 4 (rope_theta,
 * rope_scaling, torch_dtype) and transformers 5 (rope_parameters, dtype) write are both read.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "base/io.h"
#include "base/json.h"
#include "model/family.h"

enum { MAX_BYTES = 4 << 20, MAX_KEYS = 512 };

struct member {
    struct str key, raw; // raw: the value's bytes, in the file
    bool used;
};

struct object {
    struct member *members;
    size_t n;
};

struct reader {
    const char *path;
    struct buf text;
    struct arena strings; // keys
    struct buf *warnings;
    struct err *e;
};

static int refuse(struct reader *r, struct str key, struct str raw, const char *expected) {
    int n = (int)(raw.n < 80 ? raw.n : 80);
    return err_set(r->e, EXIT_DATA, "%.*s is %.*s, but %s: %s", (int)(key.n < 80 ? key.n : 80), key.p, n,
                   raw.p, expected, r->path);
}

static void warning(struct reader *r, struct str key, const char *what) {
    buf_fmt(r->warnings, "%.*s %s: %s\n", (int)(key.n < 80 ? key.n : 80), key.p, what, r->path);
}

/* A parser that stands before a value; its messages count lines from the file's start. */
static struct json at_value(struct reader *r, struct str raw) {
    struct json j;
    json_init(&j, r->path, r->text.p, 0, r->e);
    j.p = raw.p;
    j.end = raw.p + raw.n;
    return j;
}

/* Notes the members of the object at j. */
static int read_object(struct reader *r, struct json *j, struct object *o) {
    struct str key;
    *o = (struct object){0};
    json_enter_object(j);
    while (json_key(j, &key)) {
        for (size_t i = 0; i < o->n; i++)
            if (str_same(o->members[i].key, key))
                json_refuse(j, "%.*s stands twice", (int)(key.n < 80 ? key.n : 80), key.p);
        if (o->n == MAX_KEYS)
            json_refuse(j, "more than %d keys", MAX_KEYS);
        if (json_failed(j))
            break;
        o->members = o->members ? o->members : xcalloc(MAX_KEYS, sizeof *o->members);
        o->members[o->n].key = arena_str(&r->strings, key.p, key.n);
        o->members[o->n++].raw = json_skip(j);
    }
    return json_failed(j) ? -1 : 0;
}

static struct member *find(struct object *o, const char *key) {
    for (size_t i = 0; i < o->n; i++)
        if (str_eq(o->members[i].key, key))
            return &o->members[i];
    return NULL;
}

static bool is_null(const struct member *m) {
    return !m || str_eq(m->raw, "null");
}

/* The member marked as used, or NULL where it is missing or null. */
static struct member *take(struct object *o, const char *key) {
    struct member *m = find(o, key);
    if (m)
        m->used = true;
    return is_null(m) ? NULL : m;
}

static const struct {
    const char *name;
    enum activation act;
} activations[] = {
    {"silu", ACT_SILU},
    {"swish", ACT_SILU},
    {"gelu", ACT_GELU_ERF},
    {"gelu_python", ACT_GELU_ERF},
    {"gelu_new", ACT_GELU_TANH},
    {"gelu_fast", ACT_GELU_TANH},
    {"gelu_pytorch_tanh", ACT_GELU_TANH},
    {"relu", ACT_RELU},
};

static int read_act(struct reader *r, const struct member *m, enum activation *out) {
    for (size_t i = 0; i < sizeof activations / sizeof *activations; i++) {
        size_t n = strlen(activations[i].name);
        if (m->raw.n == n + 2 && m->raw.p[0] == '"' && memcmp(m->raw.p + 1, activations[i].name, n) == 0) {
            *out = activations[i].act;
            return 0;
        }
    }
    return refuse(r, m->key, m->raw, "only silu, gelu, gelu_new, gelu_pytorch_tanh and relu are supported");
}

static int read_number(struct reader *r, const struct member *m, double *out) {
    struct json j = at_value(r, m->raw);
    if (json_peek(&j) != JSON_NUMBER)
        return refuse(r, m->key, m->raw, "must be a number");
    *out = json_f64(&j);
    return json_failed(&j) ? err_where(r->e, "%.*s", (int)m->key.n, m->key.p) : 0;
}

static int read_size(struct reader *r, const struct member *m, const struct key *k, size_t *out) {
    struct json j = at_value(r, m->raw);
    char expected[80];
    snprintf(expected, sizeof expected, "must be a whole number from %zu to %zu", k->min, k->max);
    for (size_t i = 0; i < m->raw.n; i++) // 1e3, 2.0, -1, "7": not spelt as a size
        if (m->raw.p[i] < '0' || m->raw.p[i] > '9')
            return refuse(r, m->key, m->raw, expected);
    uint64_t v = json_u64(&j);
    if (json_failed(&j) || v < k->min || v > k->max)
        return refuse(r, m->key, m->raw, expected);
    *out = (size_t)v;
    return 0;
}

/* Gives m's value to the field that k names, in the struct at base. */
static int apply(struct reader *r, const struct key *k, const struct member *m, void *base) {
    void *field = (char *)base + k->at;
    bool null = is_null(m), yes = str_eq(m->raw, "true"), no = null || str_eq(m->raw, "false");
    double v = 0;

    switch (k->kind) {
    case KEY_SIZE:
        *(size_t *)field = 0;
        return null ? 0 : read_size(r, m, k, field);
    case KEY_REAL:
    case KEY_FLOAT:
        if (!null && read_number(r, m, &v) != 0)
            return -1;
        if (!null && !(v > 1e-30 && v < 1e30))
            return refuse(r, m->key, m->raw, "must be positive and finite");
        if (k->kind == KEY_REAL)
            *(double *)field = v;
        else
            *(float *)field = (float)v;
        return 0;
    case KEY_EPS:
        if (read_number(r, m, &v) != 0)
            return -1;
        *(float *)field = (float)v;
        return v >= 0 && v < 1 ? 0 : refuse(r, m->key, m->raw, "must be at least 0 and less than 1");
    case KEY_TRUE:
    case KEY_FALSE:
        *(bool *)field = yes == (k->kind == KEY_TRUE);
        return yes || no ? 0 : refuse(r, m->key, m->raw, "must be true or false");
    case KEY_ACT:
        return null ? 0 : read_act(r, m, field);
    case ONLY_TRUE:
        return yes ? 0 : refuse(r, m->key, m->raw, "only true is supported");
    case ONLY_FALSE:
        return no ? 0 : refuse(r, m->key, m->raw, "only false is supported");
    case ONLY_NULL:
        return null ? 0 : refuse(r, m->key, m->raw, "only null is supported");
    case ONLY_ONE:
        if (!null && read_number(r, m, &v) != 0)
            return -1;
        return null || (v >= 1 && v <= 1) ? 0 : refuse(r, m->key, m->raw, "only 1 is supported");
    case KEY_END:
    case KEY_HARMLESS:
    case KEY_OTHER:
        break;
    }
    return 0;
}

static bool has_key(const struct key *keys, struct str name) {
    for (; keys->name; keys++)
        if (str_eq(name, keys->name))
            return true;
    return false;
}

/* Every key of the table that the object has takes its value; `first` is a table that goes before this one.
 */
static int apply_keys(struct reader *r, const struct key *keys, const struct key *first, struct object *o,
                      void *base) {
    for (; keys->name; keys++) {
        struct member *m = find(o, keys->name);
        if (!m || (first && has_key(first, m->key)))
            continue;
        m->used = true;
        if (apply(r, keys, m, base) != 0)
            return -1;
    }
    return 0;
}

/* Names every member that nobody took. Null and false say nothing where another family has the key. */
static void warn_unused(struct reader *r, const struct object *o, const char *inside) {
    for (size_t i = 0; i < o->n; i++) {
        const struct member *m = &o->members[i];
        bool elsewhere = false;
        for (size_t f = 0; family_at(f); f++)
            elsewhere |= !inside && has_key(family_at(f)->keys, m->key);
        if (m->used || (elsewhere && (is_null(m) || str_eq(m->raw, "false"))))
            continue;
        if (inside)
            buf_fmt(r->warnings, "%s.", inside);
        warning(r, m->key,
                elsewhere ? "is not a key of this model type and is ignored"
                          : "is not known and is ignored");
    }
}

/* ---- rotations ---- */

static const struct {
    const char *name;
    enum rope_kind kind;
} rope_kinds[] = {
    {"\"default\"", ROPE_DEFAULT}, {"\"linear\"", ROPE_LINEAR}, {"\"dynamic\"", ROPE_DYNAMIC},
    {"\"llama3\"", ROPE_LLAMA3},   {"\"yarn\"", ROPE_YARN},     {"\"longrope\"", ROPE_LONGROPE},
    {"\"su\"", ROPE_LONGROPE}, // the name in Phi-3's first configs
};

static int read_factors(struct reader *r, struct arena *mem, const struct member *m, float **out,
                        size_t *n) {
    if (!m)
        return 0;
    struct json j = at_value(r, m->raw);
    *out = arena_alloc(mem, SPEC_MAX_HEAD_DIM * sizeof **out);
    json_enter_array(&j);
    for (*n = 0; json_item(&j); ++*n) {
        double v = json_f64(&j);
        if (*n == SPEC_MAX_HEAD_DIM || !(v > 1e-30 && v < 1e30))
            json_refuse(&j, "not a positive number, or too many of them");
        if (!json_failed(&j))
            (*out)[*n] = (float)v;
        else
            break;
    }
    return json_failed(&j) ? err_where(r->e, "%.*s", (int)m->key.n, m->key.p) : 0;
}

/* One rotation from the object of rope_scaling or rope_parameters; m NULL: the default one. */
static int read_rope(struct reader *r, struct config *c, const struct member *m, struct rope_spec *rope) {
    rope->kind = ROPE_DEFAULT;
    if (!m)
        return 0;
    struct object o = {0};
    struct json j = at_value(r, m->raw);
    int bad = read_object(r, &j, &o) != 0 || apply_keys(r, rope_keys, NULL, &o, rope) != 0;
    struct member *type = take(&o, "rope_type");
    type = type ? type : take(&o, "type");
    if (!bad && type) {
        rope->kind = ROPE_NONE;
        for (size_t i = 0; i < sizeof rope_kinds / sizeof *rope_kinds; i++)
            if (str_eq(type->raw, rope_kinds[i].name))
                rope->kind = rope_kinds[i].kind;
        if (rope->kind == ROPE_NONE)
            bad = refuse(r, type->key, type->raw,
                         "only default, linear, dynamic, llama3, yarn and longrope are supported") != 0;
    }
    bad =
        bad ||
        read_factors(r, &c->spec.mem, take(&o, "short_factor"), &rope->short_factor, &rope->n_short) != 0 ||
        read_factors(r, &c->spec.mem, take(&o, "long_factor"), &rope->long_factor, &rope->n_long) != 0;
    if (!bad) {
        char inside[96];
        snprintf(inside, sizeof inside, "%.*s", (int)m->key.n, m->key.p);
        warn_unused(r, &o, inside);
    }
    free(o.members);
    return bad ? -1 : 0;
}

/* rope_parameters may hold an object for each type of layer (Gemma 3 in the v5 form). */
static int read_ropes(struct reader *r, struct config *c, struct object *o) {
    struct spec *s = &c->spec;
    struct member *scaling = take(o, "rope_scaling"), *parameters = take(o, "rope_parameters");
    struct member *m = scaling ? scaling : parameters, *full = m, *local = NULL;
    struct object nested = {0};
    if (m) {
        struct json j = at_value(r, m->raw);
        if (json_peek(&j) != JSON_OBJECT)
            return refuse(r, m->key, m->raw, "must be an object or null");
        if (read_object(r, &j, &nested) != 0) {
            free(nested.members);
            return -1;
        }
        if (find(&nested, "full_attention") || find(&nested, "sliding_attention")) {
            full = take(&nested, "full_attention");
            local = take(&nested, "sliding_attention");
            warn_unused(r, &nested, "rope_parameters");
        }
    }
    int bad = 0;
    if (full != m && c->local_theta <= 0)
        bad = refuse(r, m->key, m->raw,
                     "one rotation for each type of layer is not supported for this model type");
    s->n_ropes = c->local_theta > 0 ? 2 : 1;
    bad = bad || read_rope(r, c, full, &s->ropes[0]) != 0 || read_rope(r, c, local, &s->ropes[1]) != 0;
    if (s->ropes[0].theta <= 0)
        s->ropes[0].theta = c->theta;
    if (s->ropes[1].theta <= 0)
        s->ropes[1].theta = c->local_theta;
    free(nested.members);
    return bad ? -1 : 0;
}

/* Fills in what a rotation's kind needs and checks it against the heads. */
static int finish_rope(struct reader *r, const struct config *c, struct rope_spec *rope) {
    const struct spec *s = &c->spec;
    double partial = rope->partial > 0 ? rope->partial : c->partial > 0 ? c->partial : 1;
    if (c->partial <= 0 && (partial < 1 || partial > 1))
        return err_set(r->e, EXIT_DATA, "partial_rotary_factor is %g, but only 1 is supported for %s: %s",
                       partial, s->model_type, r->path);
    rope->partial = partial;
    rope->rotary_dim = partial <= 1 ? (size_t)((double)s->head_dim * partial) : 0;
    if (rope->rotary_dim < 2 || rope->rotary_dim % 2 != 0)
        return err_set(r->e, EXIT_DATA,
                       "rotation needs an even number of dimensions, not %zu (of head_dim %zu): %s",
                       rope->rotary_dim, s->head_dim, r->path);
    if (rope->theta <= 1)
        return err_set(r->e, EXIT_DATA, "rope_theta is %g, but must be more than 1: %s", rope->theta,
                       r->path);
    if (c->original_max_pos > 0) // at the top level it goes before the one inside: Phi 3
        rope->original_max_pos = c->original_max_pos;
    if (rope->original_max_pos <= 0)
        rope->original_max_pos = (double)s->max_pos;
    if (rope->factor <= 0 && (rope->kind == ROPE_YARN || rope->kind == ROPE_LONGROPE))
        rope->factor = (double)s->max_pos / rope->original_max_pos;
    if (rope->kind != ROPE_DEFAULT && rope->factor <= 0)
        return err_set(r->e, EXIT_DATA, "rope_scaling has no factor: %s", r->path);
    if (rope->kind == ROPE_DYNAMIC && (rope->rotary_dim < 4 || rope->factor < 1))
        return err_set(r->e, EXIT_DATA,
                       "dynamic rotation needs 4 dimensions and a factor of 1 or more, not %zu and "
                       "%g: %s",
                       rope->rotary_dim, rope->factor, r->path);
    if (rope->kind == ROPE_LLAMA3 &&
        !(rope->low_freq_factor > 0 && rope->high_freq_factor > rope->low_freq_factor))
        return err_set(r->e, EXIT_DATA,
                       "low_freq_factor %g and high_freq_factor %g are missing or out of order: %s",
                       rope->low_freq_factor, rope->high_freq_factor, r->path);
    if (rope->kind == ROPE_LONGROPE &&
        (rope->n_short != rope->rotary_dim / 2 || rope->n_long != rope->n_short))
        return err_set(r->e, EXIT_DATA,
                       "short_factor and long_factor have %zu and %zu values, but %zu are needed: %s",
                       rope->n_short, rope->n_long, rope->rotary_dim / 2, r->path);
    if (rope->kind == ROPE_LONGROPE && rope->original_max_pos < 2)
        return err_set(r->e, EXIT_DATA, "original_max_position_embeddings is %g: %s",
                       rope->original_max_pos, r->path);
    return 0;
}

/* ---- layers ---- */

/* layer_types: which layers are sliding. Families that do not go by it must agree with it. */
static int read_layer_types(struct reader *r, struct config *c, struct object *o) {
    struct spec *s = &c->spec;
    struct member *m = take(o, "layer_types");
    if (!m)
        return 0;
    struct json j = at_value(r, m->raw);
    size_t i = 0;
    json_enter_array(&j);
    for (; json_item(&j); i++) {
        struct str type = json_str(&j);
        bool sliding = str_eq(type, "sliding_attention");
        if (!sliding && !str_eq(type, "full_attention"))
            json_refuse(
                &j, "layer_types[%zu] is %.*s, but only full_attention and sliding_attention are supported",
                i, (int)(type.n < 80 ? type.n : 80), type.p);
        else if (i < s->n_layers && c->types_by_layer)
            s->layers[i].sliding = sliding;
        else if (i < s->n_layers && sliding != s->layers[i].sliding)
            json_refuse(&j, "layer_types[%zu] is %.*s, which is not so for model type %s", i, (int)type.n,
                        type.p, s->model_type);
    }
    json_free(&j);
    if (json_failed(&j))
        return -1;
    if (i != s->n_layers)
        return err_set(r->e, EXIT_DATA, "layer_types has %zu items, but there are %zu layers: %s", i,
                       s->n_layers, r->path);
    return 0;
}

/* A list of 0 and 1 for each layer (no_rope_layers), or of layer numbers (mlp_only_layers). */
static int read_layer_list(struct reader *r, struct config *c, struct object *o, const char *key,
                           bool numbers) {
    struct spec *s = &c->spec;
    struct member *m = take(o, key);
    if (!m)
        return 0;
    struct json j = at_value(r, m->raw);
    size_t i = 0;
    json_enter_array(&j);
    for (; json_item(&j); i++) {
        uint64_t v = json_u64(&j);
        if (json_failed(&j) || i >= s->n_layers || v >= (numbers ? s->n_layers : 2))
            json_refuse(&j, "%s[%zu] is out of range", key, i);
        else if (numbers)
            s->layers[v].dense = true;
        else
            s->layers[i].no_rope = v == 0;
    }
    if (json_failed(&j))
        return -1;
    return numbers || i == s->n_layers ? 0 : refuse(r, m->key, m->raw, "must have an item for each layer");
}

static int read_layers(struct reader *r, struct config *c, struct object *o) {
    struct spec *s = &c->spec;
    s->layers = arena_alloc(&s->mem, s->n_layers * sizeof *s->layers);
    if (c->no_window)
        c->window = 0;
    for (size_t i = 0; i < s->n_layers; i++) {
        struct layer_spec *l = &s->layers[i];
        l->no_rope = c->no_rope_interval > 0 && (i + 1) % c->no_rope_interval == 0;
        l->dense = c->sparse_step > 0 && (i + 1) % c->sparse_step != 0;
    }
    if (read_layer_list(r, c, o, "no_rope_layers", false) != 0 ||
        read_layer_list(r, c, o, "mlp_only_layers", true) != 0)
        return -1;
    for (size_t i = 0; i < s->n_layers; i++) {
        struct layer_spec *l = &s->layers[i];
        l->sliding = (c->window > 0 || c->local_theta > 0) &&
                     (c->window_pattern == 0 || (i + 1) % c->window_pattern != 0) &&
                     (!c->has_max_window_layers || i >= c->max_window_layers) &&
                     (!c->window_unrotated || l->no_rope);
    }
    if (read_layer_types(r, c, o) != 0)
        return -1;
    for (size_t i = 0; i < s->n_layers; i++)
        s->layers[i].window = s->layers[i].sliding ? (uint32_t)c->window : 0;
    return 0;
}

/* ---- the rest ---- */

/* The name that config.json has for a field of struct config. */
static const char *key_of(const struct family *f, size_t at) {
    for (const struct key *k = f->keys; k->name; k++)
        if (k->at == at && k->kind == KEY_SIZE)
            return k->name;
    for (const struct key *k = common_keys; k->name; k++)
        if (k->at == at && k->kind == KEY_SIZE)
            return k->name;
    return "?";
}

static int finish(struct reader *r, const struct family *f, struct config *c) {
    struct spec *s = &c->spec;
    const size_t needed[] = {
        offsetof(struct config, spec.vocab_size), offsetof(struct config, spec.hidden_dim),
        offsetof(struct config, spec.n_layers),   offsetof(struct config, spec.n_heads),
        offsetof(struct config, spec.max_pos),
    };
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
        if (*(size_t *)((char *)c + needed[i]) == 0)
            return err_set(r->e, EXIT_DATA, "%s is missing: %s", key_of(f, needed[i]), r->path);
    if (s->ffn_dim == 0 && s->learned_pos) // GPT-2: n_inner null
        s->ffn_dim = 4 * s->hidden_dim;
    if (s->ffn_dim == 0)
        return err_set(r->e, EXIT_DATA, "%s is missing: %s",
                       key_of(f, offsetof(struct config, spec.ffn_dim)), r->path);
    if (s->n_kv_heads == 0)
        s->n_kv_heads = s->n_heads;
    if (s->n_heads % s->n_kv_heads != 0)
        return err_set(r->e, EXIT_DATA, "%zu heads cannot share %zu KV heads evenly: %s", s->n_heads,
                       s->n_kv_heads, r->path);
    if (s->head_dim == 0 && s->hidden_dim % s->n_heads != 0)
        return err_set(r->e, EXIT_DATA,
                       "%s %zu is not a multiple of %zu heads, and head_dim is not given: %s",
                       key_of(f, needed[1]), s->hidden_dim, s->n_heads, r->path);
    if (s->head_dim == 0)
        s->head_dim = s->hidden_dim / s->n_heads;
    if (s->head_dim > SPEC_MAX_HEAD_DIM)
        return err_set(r->e, EXIT_DATA, "head_dim is %zu, but must be at most %d: %s", s->head_dim,
                       SPEC_MAX_HEAD_DIM, r->path);
    if (c->qk_layernorm)
        s->qk_norm = strchr(f->names->q_norm, '@') ? QK_NORM_EACH : QK_NORM_HEAD;
    if (c->scale_embedding)
        s->embed_scale = (float)sqrt((double)s->hidden_dim);
    if (s->attn_scale <= 0)
        s->attn_scale = (float)(1 / sqrt(c->query_scalar > 0 ? c->query_scalar : (double)s->head_dim));
    if (s->n_experts_used > s->n_experts)
        return err_set(r->e, EXIT_DATA, "num_experts_per_tok is %zu, but there are %zu experts: %s",
                       s->n_experts_used, s->n_experts, r->path);
    if (s->expert_ffn_dim == 0)
        s->expert_ffn_dim = s->ffn_dim;
    return 0;
}

/* A token id, a list of them, or null. Ids outside the vocabulary can never be met and are left out. */
static int read_ids(struct reader *r, const struct member *m, size_t vocab_size, int32_t *ids, size_t max,
                    size_t *n) {
    *n = 0;
    if (is_null(m))
        return 0;
    struct json j = at_value(r, m->raw);
    bool list = json_peek(&j) == JSON_ARRAY;
    if (list)
        json_enter_array(&j);
    while (!list || json_item(&j)) {
        int64_t id = json_i64(&j);
        if (json_failed(&j))
            break;
        if (id < 0 || (uint64_t)id >= vocab_size)
            warning(r, m->key, "is outside the vocabulary");
        else if (*n == max)
            json_refuse(&j, "more than %zu ids", max);
        else
            ids[(*n)++] = (int32_t)id;
        if (!list)
            break;
    }
    return json_failed(&j) ? err_where(r->e, "%.*s", (int)m->key.n, m->key.p) : 0;
}

/* Reads the file's object. 1: there is no such file. */
static int open_object(struct reader *r, const char *dir, const char *name, bool optional,
                       struct object *o) {
    char *path = path_join(dir, name);
    r->path = path;
    if (optional && !is_file(path))
        return 1;
    if (read_file(path, MAX_BYTES, &r->text, r->e) != 0)
        return -1;
    struct json j;
    json_init(&j, path, r->text.p, r->text.n, r->e);
    int bad = read_object(r, &j, o) != 0 || !json_end(&j);
    json_free(&j);
    return bad ? -1 : 0;
}

static void close_object(struct reader *r, struct object *o) {
    free(o->members);
    arena_free(&r->strings);
    buf_free(&r->text);
    free((char *)r->path);
}

/* The ids that end a text: generation_config.json's go before config.json's. */
static int read_generation(struct spec *s, const char *dir, struct buf *warnings, struct err *e) {
    struct reader r = {.warnings = warnings, .e = e};
    struct object o = {0};
    int32_t ids[SPEC_MAX_EOS];
    size_t n = 0;
    int rc = open_object(&r, dir, "generation_config.json", true, &o);
    if (rc == 0)
        rc = read_ids(&r, find(&o, "eos_token_id"), s->vocab_size, ids, SPEC_MAX_EOS, &n);
    if (rc == 0 && n > 0) {
        memcpy(s->eos, ids, n * sizeof *ids);
        s->n_eos = (uint32_t)n;
    }
    close_object(&r, &o);
    return rc < 0 ? -1 : 0;
}

static const struct family *read_model_type(struct reader *r, struct object *o) {
    struct member *m = take(o, "model_type");
    if (!m) {
        err_set(r->e, EXIT_DATA, "model_type is missing: %s", r->path);
        return NULL;
    }
    struct str name = m->raw.n >= 2 ? (struct str){m->raw.p + 1, m->raw.n - 2} : m->raw;
    const struct family *f = m->raw.p[0] == '"' ? family_find(name) : NULL;
    if (!f)
        refuse(r, m->key, m->raw, "that family is not supported");
    return f;
}

static int read_config(struct reader *r, struct object *o, struct config *c) {
    const struct family *f = read_model_type(r, o);
    if (!f)
        return -1;
    struct arena mem = c->spec.mem;
    *c = f->base;
    struct spec *s = &c->spec;
    s->mem = mem;
    s->model_type = f->model_type;
    s->bos = -1;
    size_t n_bos = 0, n_eos = 0;
    if (apply_keys(r, common_keys, f->keys, o, c) != 0 || apply_keys(r, f->keys, NULL, o, c) != 0 ||
        finish(r, f, c) != 0 || read_layers(r, c, o) != 0)
        return -1;
    if (read_ids(r, find(o, "bos_token_id"), s->vocab_size, &s->bos, 1, &n_bos) != 0 ||
        read_ids(r, find(o, "eos_token_id"), s->vocab_size, s->eos, SPEC_MAX_EOS, &n_eos) != 0)
        return -1;
    s->n_eos = (uint32_t)n_eos;
    if (!s->learned_pos && read_ropes(r, c, o) != 0)
        return -1;
    for (size_t i = 0; i < s->n_ropes; i++)
        if (finish_rope(r, c, &s->ropes[i]) != 0)
            return -1;
    warn_unused(r, o, NULL);
    return 0;
}

int spec_read(struct spec *s, const char *dir, struct buf *warnings, struct err *e) {
    struct reader r = {.warnings = warnings, .e = e};
    struct object o = {0};
    struct config c = {0};
    int rc = open_object(&r, dir, "config.json", false, &o);
    if (rc == 0)
        rc = read_config(&r, &o, &c);
    close_object(&r, &o);
    *s = c.spec;
    return rc == 0 ? read_generation(s, dir, warnings, e) : -1;
}

void spec_free(struct spec *s) {
    arena_free(&s->mem);
    *s = (struct spec){0};
}

const struct family *spec_family(const struct spec *s) {
    return family_find(str_of(s->model_type));
}
