/* config.json -> struct spec. The file is untrusted: sizes are bounded, numbers are finite and
 * positive, types are checked, and a refusal names the key, its value and the file.
 *
 * All members of the object are listed first. Then each key of the family's tables and of the
 * common table sets its field. Unused members are warned about. Both the form of transformers 4
 * (rope_theta, rope_scaling, torch_dtype) and that of transformers 5 (rope_parameters, dtype) are
 * read.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/io.h"
#include "spec/config_quant.h"
#include "spec/family.h"

enum { MAX_BYTES = 4 << 20 };

/* ---- layers ---- */

/* Reads layer_types, which says which layers are sliding. Families without types_by_layer ignore
 * it; then a value that differs from what they do is warned about. */
static int read_layer_types(struct keys_reader *r, struct spec_config *c,
                            const struct keys_object *o) {
    struct spec *s = &c->spec;
    struct keys_member *m = keys_member_take(o, "layer_types");
    if (!m)
        return 0;
    struct json j = keys_value(r, m);
    size_t i = 0;
    bool other = false;
    json_enter_array(&j);
    for (; json_item(&j); i++) {
        struct str type = json_str(&j);
        bool sliding = str_eq(type, "sliding_attention"),
             known = sliding || str_eq(type, "full_attention");
        if (!c->types_by_layer)
            other |= i < s->n_layers && (!known || sliding != s->layers[i].sliding);
        else if (!known)
            json_refuse(&j,
                        "layer_types[%zu] is %.*s, but only full_attention and sliding_attention "
                        "are supported",
                        i, str_shown(type), type.p);
        else if (i < s->n_layers)
            s->layers[i].sliding = sliding;
    }
    json_free(&j);
    if (json_failed(&j))
        return -1;
    if (other)
        keys_warn_member(r, m, NULL, "is not a key of this model type and is ignored");
    if (i != s->n_layers)
        return err_set(r->e, EXIT_DATA, "layer_types has %zu items, but there are %zu layers: %s",
                       i, s->n_layers, r->path);
    return 0;
}

/* Reads a list with an item for each layer, 0 or not (no_rope_layers), or a list of layer numbers
 * (mlp_only_layers). Items and numbers past the last layer are ignored. */
static int read_layer_list(struct keys_reader *r, struct spec_config *c,
                           const struct keys_object *o, const char *key, bool numbers) {
    struct spec *s = &c->spec;
    struct keys_member *m = keys_member_take(o, key);
    if (!m)
        return 0;
    struct json j = keys_value(r, m);
    size_t i = 0;
    json_enter_array(&j);
    for (; json_item(&j); i++) {
        uint64_t v = json_u64(&j);
        if (json_failed(&j))
            break;
        if (numbers && v < s->n_layers)
            s->layers[v].dense = true;
        else if (!numbers && i < s->n_layers)
            s->layers[i].no_rope = v == 0;
    }
    if (json_failed(&j))
        return -1;
    return numbers || i >= s->n_layers ? 0 : keys_refuse(r, m, "must have an item for each layer");
}

/* Whether one of the family's own tables has the key. */
static bool has_key_table(const struct family *f, const char *name) {
    bool found = false;
    for (size_t g = 0; f->keys[g]; g++)
        found |= keys_has(f->keys[g], str_of(name));
    return found;
}

static int read_layers(struct keys_reader *r, const struct family *f, struct spec_config *c,
                       const struct keys_object *o) {
    struct spec *s = &c->spec;
    s->layers = arena_alloc(&s->mem, s->n_layers * sizeof *s->layers);
    if (c->no_window)
        c->window = 0;
    else if (has_key_table(f, "use_sliding_window") &&
             keys_apply(r, family_used_window_keys, o, c, false) != 0)
        return -1;
    if (has_key_table(f, "sliding_window_pattern") && !keys_member_take(o, "layer_types") &&
        keys_apply(r, family_pattern_keys, o, c, false) != 0)
        return -1;
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
                     (c->window_pattern == 0 ||
                      (c->window_from_first ? i : i + 1) % c->window_pattern != 0) &&
                     (!c->has_max_window_layers || i >= c->max_window_layers) &&
                     (!c->window_unrotated || l->no_rope);
    }
    if (read_layer_types(r, c, o) != 0)
        return -1;
    size_t window = c->window_both_sides && s->bidirectional ? c->window / 2 + 1 : c->window;
    for (size_t i = 0; i < s->n_layers; i++)
        s->layers[i].window = s->layers[i].sliding ? (uint32_t)window : 0;
    return 0;
}

/* ---- sizes, ids, model_type ---- */

/* The key of a size in config.json, by its offset in struct spec_config. */
static const char *key_of(const struct family *f, size_t at) {
    for (size_t g = 0; f->keys[g]; g++)
        for (const struct key *k = f->keys[g]; k->name; k++)
            if (k->at == at && (k->kind == KEY_SIZE || k->kind == KEY_COUNT))
                return k->name;
    for (const struct key *k = family_common_keys; k->name; k++)
        if (k->at == at && (k->kind == KEY_SIZE || k->kind == KEY_COUNT))
            return k->name;
    return "?";
}

/* An ordinary FFN needs its size; a model whose layers all have experts does not. */
static int check_ffn_dim(struct keys_reader *r, const struct family *f,
                         const struct spec_config *c) {
    const struct spec *s = &c->spec;
    bool needed = s->n_experts == 0 || s->expert_ffn_dim == 0;
    for (size_t i = 0; i < s->n_layers; i++)
        needed |= s->layers[i].dense;
    if (s->ffn_dim > 0 || !needed)
        return 0;
    return err_set(r->e, EXIT_DATA, "%s is missing: %s",
                   key_of(f, offsetof(struct spec_config, spec.ffn_dim)), r->path);
}

/* Checks the sizes, and computes what follows from them. */
static int finish(struct keys_reader *r, const struct family *f, struct spec_config *c) {
    struct spec *s = &c->spec;
    const size_t needed[] = {
        offsetof(struct spec_config, spec.vocab_size),
        offsetof(struct spec_config, spec.hidden_dim),
        offsetof(struct spec_config, spec.n_layers),
        offsetof(struct spec_config, spec.n_heads),
        offsetof(struct spec_config, spec.max_pos),
    };
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
        if (*(size_t *)((char *)c + needed[i]) == 0)
            return err_set(r->e, EXIT_DATA, "%s is missing: %s", key_of(f, needed[i]), r->path);
    if (c->counts_from_pad)
        s->pos_offset = c->pad_id + 1;
    if (s->max_pos <= s->pos_offset)
        return err_set(r->e, EXIT_DATA,
                       "max_position_embeddings is %zu, but positions begin at %zu: %s", s->max_pos,
                       s->pos_offset, r->path);
    s->max_pos -= s->pos_offset;
    if (s->ffn_dim == 0 && s->learned_pos) // GPT-2: n_inner null or missing
        s->ffn_dim = 4 * s->hidden_dim;
    if (s->n_kv_heads == 0)
        s->n_kv_heads = s->n_heads;
    if (s->n_heads % s->n_kv_heads != 0)
        return err_set(r->e, EXIT_DATA, "%zu heads cannot share %zu KV heads evenly: %s",
                       s->n_heads, s->n_kv_heads, r->path);
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
    if (c->gelu_is_tanh && s->act == ACT_GELU_ERF)
        s->act = ACT_GELU_TANH;
    if (c->unscaled)
        s->attn_scale = 1;
    if (s->attn_scale <= 0)
        s->attn_scale =
            (float)(1 / sqrt(c->query_scalar > 0 ? c->query_scalar : (double)s->head_dim));
    if (s->n_experts_used > s->n_experts)
        return err_set(r->e, EXIT_DATA, "num_experts_per_tok is %zu, but there are %zu experts: %s",
                       s->n_experts_used, s->n_experts, r->path);
    if (s->expert_ffn_dim == 0)
        s->expert_ffn_dim = s->ffn_dim;
    return 0;
}

/* Reads a token id, a list of them, or null. Ids outside the vocabulary can never occur and are
 * skipped, as are repeated ones. */
static int read_ids(struct keys_reader *r, const struct keys_member *m, size_t vocab_size,
                    int32_t *ids, size_t max, size_t *n) {
    *n = 0;
    if (!m || keys_member_is(m, "null"))
        return 0;
    struct json j = keys_value(r, m);
    bool list = json_peek(&j) == JSON_ARRAY;
    if (list)
        json_enter_array(&j);
    while (!list || json_item(&j)) {
        int64_t id = json_i64(&j);
        if (json_failed(&j))
            break;
        bool again = false;
        for (size_t i = 0; i < *n; i++)
            again |= ids[i] == id;
        if (id < 0 || (uint64_t)id >= vocab_size)
            keys_warn_member(r, m, NULL, "is outside the vocabulary");
        else if (!again && *n == max)
            json_refuse(&j, "more than %zu ids", max);
        else if (!again)
            ids[(*n)++] = (int32_t)id;
        if (!list)
            break;
    }
    return json_failed(&j) ? err_where(r->e, "%.*s", (int)m->key.n, m->key.p) : 0;
}

/* Reads bos_token_id and eos_token_id. Where a key is missing, that of `whole` (or NULL) counts;
 * where both lack it, the family's id is used if the vocabulary has it. */
static int read_ends(struct keys_reader *r, const struct family *f, const struct keys_object *o,
                     const struct keys_object *whole, struct spec *s) {
    const struct keys_member *bos = keys_member_find(o, "bos_token_id"),
                             *eos = keys_member_find(o, "eos_token_id");
    size_t n_bos = 0, n_eos = 0;
    if (whole && keys_member_find(whole, "bos_token_id"))
        bos = keys_member_find(whole, "bos_token_id");
    if (whole && keys_member_find(whole, "eos_token_id"))
        eos = keys_member_find(whole, "eos_token_id");
    if (read_ids(r, bos, s->vocab_size, &s->bos, 1, &n_bos) != 0 ||
        read_ids(r, eos, s->vocab_size, s->eos, SPEC_MAX_EOS, &n_eos) != 0)
        return -1;
    if (!bos && f->ends.bos >= 0 && (size_t)f->ends.bos < s->vocab_size)
        s->bos = f->ends.bos;
    if (!eos && f->ends.eos >= 0 && (size_t)f->ends.eos < s->vocab_size)
        s->eos[n_eos++] = f->ends.eos;
    s->n_eos = (uint32_t)n_eos;
    return 0;
}

/* The text between the quotes of a member that is a string; "" if it is none. */
static struct str string_of(const struct keys_member *m) {
    bool quoted = m && m->raw.n >= 2 && m->raw.p[0] == '"';
    return quoted ? (struct str){m->raw.p + 1, m->raw.n - 2} : str_of("");
}

static const struct family *read_model_type(struct keys_reader *r, const struct keys_object *o) {
    struct keys_member *m = keys_member_take(o, "model_type");
    if (!m) {
        err_set(r->e, EXIT_DATA, "model_type is missing: %s", r->path);
        return NULL;
    }
    const struct family *f = family_find(string_of(m));
    if (!f)
        keys_refuse(r, m,
                    keys_member_find(o, "text_config")
                        ? "that multimodal model is not supported, and neither is its text part"
                        : "that family is not supported");
    return f;
}

/* Marks as used the harmless keys, and the keys of other families. The latter are warned about
 * unless their value is neutral: null, false, a factor of 1. */
static void pass_over(struct keys_reader *r, const struct keys_object *o) {
    for (const char *const *k = family_harmless_keys; *k; k++)
        keys_member_take(o, *k);
    for (size_t i = 0; i < o->n; i++) {
        struct keys_member *m = &o->members[i];
        bool elsewhere = false;
        for (size_t f = 0; family_at(f); f++)
            for (size_t g = 0; family_at(f)->keys[g]; g++)
                elsewhere |= keys_has(family_at(f)->keys[g], m->key);
        for (const char *const *k = family_foreign_keys; *k; k++)
            elsewhere |= str_eq(m->key, *k);
        if (m->used || !elsewhere)
            continue;
        m->used = true;
        if (!keys_member_false(m) && !keys_member_one(m))
            keys_warn_member(r, m, NULL, "is not a key of this model type and is ignored");
    }
}

/* o: the members of config.json, or of the text_config of `whole`. */
static int read_text_model(struct keys_reader *r, const struct family *f,
                           const struct keys_object *o, const struct keys_object *whole,
                           struct spec_config *c) {
    *c = f->base;
    struct spec *s = &c->spec;
    s->vocab_size = f->sizes.vocab_size;
    s->hidden_dim = f->sizes.hidden_dim;
    s->ffn_dim = f->sizes.ffn_dim;
    s->n_layers = f->sizes.n_layers;
    s->n_heads = f->sizes.n_heads;
    s->max_pos = f->sizes.max_pos;
    s->model_type = f->model_type;
    s->bos = -1;
    for (size_t g = 0; f->keys[g]; g++)
        if (keys_apply(r, f->keys[g], o, c, false) != 0)
            return -1;
    if (keys_apply(r, family_common_keys, o, c, true) != 0 || finish(r, f, c) != 0 ||
        read_layers(r, f, c, o) != 0 || check_ffn_dim(r, f, c) != 0)
        return -1;
    if (config_quant(r, c, o) != 0 || read_ends(r, f, o, whole, s) != 0)
        return -1;
    if (!s->learned_pos && config_ropes(r, c, o) != 0)
        return -1;
    pass_over(r, o);
    keys_warn_unused(r, o, whole ? "text_config" : NULL);
    return 0;
}

/* The text model of a multimodal one: its keys are in text_config, a few others beside it. */
static int read_multimodal(struct keys_reader *r, const struct multimodal *m,
                           const struct keys_object *whole, struct spec_config *c) {
    struct keys_object text = {0};
    int rc = multimodal_text(r, whole, &text);
    if (rc == 0) {
        const struct family *f = keys_member_find(&text, "model_type")
                                     ? read_model_type(r, &text)
                                     : family_find(str_of(m->text_type));
        rc = f ? read_text_model(r, f, &text, whole, c) : err_where(r->e, "text_config");
    }
    if (rc == 0)
        rc = multimodal_keys(r, m, whole, c);
    free(text.members);
    if (rc != 0)
        return -1;
    pass_over(r, whole);
    keys_warn_unused(r, whole, NULL);
    return 0;
}

static int read_config(struct keys_reader *r, const struct keys_object *o, struct spec_config *c) {
    const struct multimodal *m = multimodal_find(string_of(keys_member_find(o, "model_type")));
    if (m) {
        keys_member_take(o, "model_type");
        return read_multimodal(r, m, o, c);
    }
    const struct family *f = read_model_type(r, o);
    return f ? read_text_model(r, f, o, NULL, c) : -1;
}

int spec_parse(struct spec *s, const char *path, const char *text, size_t n, struct buf *warnings,
               struct err *e) {
    struct keys_reader r = {.warnings = warnings, .e = e};
    struct keys_object o = {0};
    struct spec_config c = {0};
    int rc = keys_open(&r, path, text, n, &o);
    if (rc == 0)
        rc = read_config(&r, &o, &c);
    keys_close(&r, &o);
    *s = c.spec;
    return rc;
}

/* The ids that end a text: those of generation_config.json replace those of config.json. */
int spec_parse_generation(struct spec *s, const char *path, const char *text, size_t n,
                          struct buf *warnings, struct err *e) {
    struct keys_reader r = {.warnings = warnings, .e = e};
    struct keys_object o = {0};
    int32_t ids[SPEC_MAX_EOS];
    size_t n_ids = 0;
    int rc = keys_open(&r, path, text, n, &o);
    if (rc == 0)
        rc = read_ids(&r, keys_member_find(&o, "eos_token_id"), s->vocab_size, ids, SPEC_MAX_EOS,
                      &n_ids);
    if (rc == 0 && n_ids > 0) {
        memcpy(s->eos, ids, n_ids * sizeof *ids);
        s->n_eos = (uint32_t)n_ids;
    }
    keys_close(&r, &o);
    return rc;
}

/* Refuses a folder without config.json, and says what it may be instead. */
static int no_config(const char *dir, const char *path, struct err *e) {
    static const struct {
        const char *end, *hint;
    } others[] = {
        {"adapter_config.json", "a LoRA adapter, not a model: merge it into its base first"},
        {".gguf", "no config.json, but a GGUF file: st-convert makes a model folder of it"},
        {"params.json", "no config.json, but params.json: the folder in transformers' form is "
                        "needed"},
        {"model_index.json", "model_index.json is there: an image pipeline, not a language model"},
        {"snapshots", "a folder of the Hugging Face cache: give org/name, or snapshots/COMMIT in "
                      "it"},
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        char *file = dir_find(dir, others[i].end);
        bool there = file != NULL;
        free(file);
        if (there)
            return err_set(e, EXIT_NO_INPUT, "%s: %s", others[i].hint, dir);
    }
    return read_file(path, MAX_BYTES, &(struct buf){0}, e); // says why it cannot be opened
}

/* quantization_config from a file of its own, where config.json has none. */
static int read_quant_file(struct spec *s, const char *dir, struct buf *warnings, struct err *e) {
    int rc = 0;
    for (const struct quant_file *f = config_quant_files; f->name && rc == 0; f++) {
        char *path = path_join(dir, f->name);
        struct buf text = {0};
        if (!s->quant.method && is_there(path)) {
            rc = read_file(path, MAX_BYTES, &text, e);
            if (rc == 0)
                rc = config_quant_file(s, f, path, text.p, text.n, warnings, e);
        }
        buf_free(&text);
        free(path);
    }
    return rc;
}

int spec_read(struct spec *s, const char *dir, struct buf *warnings, struct err *e) {
    char *path = path_join(dir, "config.json"), *second = path_join(dir, "generation_config.json");
    struct buf text = {0};
    *s = (struct spec){0};
    int rc = is_there(path) ? read_file(path, MAX_BYTES, &text, e) : no_config(dir, path, e);
    if (rc == 0 && file_hint(text.p, text.n))
        rc = err_set(e, EXIT_DATA, "%s: %s", file_hint(text.p, text.n), path);
    if (rc == 0)
        rc = spec_parse(s, path, text.p, text.n, warnings, e);
    if (rc == 0)
        rc = read_quant_file(s, dir, warnings, e);
    buf_clear(&text);
    if (rc == 0 && is_there(second)) {
        rc = read_file(second, MAX_BYTES, &text, e);
        if (rc == 0)
            rc = spec_parse_generation(s, second, text.p, text.n, warnings, e);
    }
    buf_free(&text);
    free(path);
    free(second);
    return rc;
}

void spec_free(struct spec *s) {
    arena_free(&s->mem);
    *s = (struct spec){0};
}

const struct family *spec_family(const struct spec *s) {
    return family_find(str_of(s->model_type));
}
