/* rope_theta, rope_scaling and rope_parameters -> struct rope_spec: the forms of transformers 4
 * (type or rope_type in rope_scaling, rope_theta beside it) and 5 (all in rope_parameters, for each
 * type of layer where they differ). Refused: kinds that model/rope.c does not compute, and
 * parameters that are missing or out of range.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdlib.h>

#include "spec/family.h"

static const struct {
    const char *name;
    enum rope_kind kind;
} rope_kinds[] = {
    {"\"default\"", ROPE_DEFAULT}, {"\"linear\"", ROPE_LINEAR}, {"\"dynamic\"", ROPE_DYNAMIC},
    {"\"llama3\"", ROPE_LLAMA3},   {"\"yarn\"", ROPE_YARN},     {"\"longrope\"", ROPE_LONGROPE},
    {"\"su\"", ROPE_LONGROPE}, // the name in Phi-3's first configs
};

enum {
    DEFAULT = 1 << ROPE_DEFAULT,
    LINEAR = 1 << ROPE_LINEAR,
    DYNAMIC = 1 << ROPE_DYNAMIC,
    LLAMA3 = 1 << ROPE_LLAMA3,
    YARN = 1 << ROPE_YARN,
    LONGROPE = 1 << ROPE_LONGROPE,
};

/* Which kinds read a parameter. For all others its value is ignored. */
static const struct {
    const char *name;
    int kinds;
    bool false_is_unset; // "x or 32", "if x" in the reference
} rope_reads[] = {
    {"factor", LINEAR | DYNAMIC | LLAMA3 | YARN | LONGROPE, false},
    {"attention_factor", YARN | LONGROPE, false},
    {"original_max_position_embeddings", LLAMA3 | YARN | LONGROPE, false},
    {"low_freq_factor", LLAMA3, false},
    {"high_freq_factor", LLAMA3, false},
    {"beta_fast", YARN, true},
    {"beta_slow", YARN, true},
    {"mscale", YARN, true},
    {"mscale_all_dim", YARN, true},
    {"truncate", YARN, false},
};

static void pass_over_unread(const struct keys_object *o, enum rope_kind kind) {
    for (size_t i = 0; i < sizeof rope_reads / sizeof *rope_reads; i++) {
        struct keys_member *m = keys_member_find(o, rope_reads[i].name);
        if (m && (!(rope_reads[i].kinds & 1 << kind) ||
                  (rope_reads[i].false_is_unset && keys_member_false(m))))
            m->used = true;
    }
}

static int read_factors(struct keys_reader *r, struct spec_config *c, const struct keys_member *m,
                        float **out, size_t *n) {
    if (!m)
        return 0;
    struct json j = keys_value(r, m);
    *out = arena_alloc(&c->spec.mem, SPEC_MAX_HEAD_DIM * sizeof **out);
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

/* Reads one rotation from the object of rope_scaling or rope_parameters. m NULL: the default
 * one. */
static int read_rope(struct keys_reader *r, struct spec_config *c, const struct keys_member *m,
                     struct rope_spec *rope) {
    rope->kind = ROPE_DEFAULT;
    if (!m)
        return 0;
    struct keys_object o = {0};
    int bad = keys_read_object(r, m, &o) != 0;
    struct keys_member *type = keys_member_take(&o, "rope_type");
    type = type ? type : keys_member_take(&o, "type");
    if (!bad && type) {
        rope->kind = ROPE_NONE;
        for (size_t i = 0; i < sizeof rope_kinds / sizeof *rope_kinds; i++)
            if (str_eq(type->raw, rope_kinds[i].name))
                rope->kind = rope_kinds[i].kind;
        if (rope->kind == ROPE_NONE)
            bad =
                keys_refuse(
                    r, type,
                    "only default, linear, dynamic, llama3, yarn and longrope are supported") != 0;
    }
    struct keys_member *short_factor = keys_member_take(&o, "short_factor"),
                       *long_factor = keys_member_take(&o, "long_factor");
    if (rope->kind == ROPE_YARN && short_factor) // some of Phi-3's first configs say "yarn"
        rope->kind = ROPE_LONGROPE;
    if (!bad && rope->kind == ROPE_LONGROPE)
        bad = read_factors(r, c, short_factor, &rope->short_factor, &rope->n_short) != 0 ||
              read_factors(r, c, long_factor, &rope->long_factor, &rope->n_long) != 0;
    if (!bad) {
        pass_over_unread(&o, rope->kind);
        bad = keys_apply(r, family_rope_keys, &o, rope, true) != 0;
    }
    if (!bad)
        keys_warn_unused(r, &o, m->key.p);
    free(o.members);
    return bad ? -1 : 0;
}

/* Reads all rotations. rope_parameters may have an object for each type of layer (Gemma 3 in the
 * form of transformers 5). */
static int read_ropes(struct keys_reader *r, struct spec_config *c, const struct keys_object *o) {
    struct spec *s = &c->spec;
    struct keys_member *scaling = keys_member_take(o, "rope_scaling"),
                       *parameters = keys_member_take(o, "rope_parameters");
    if (scaling && keys_member_false(scaling)) // "rope_scaling or rope_parameters"
        scaling = NULL;
    struct keys_member *m = scaling ? scaling : parameters, *full = m, *local = NULL;
    struct keys_object nested = {0};
    int bad = m && keys_read_object(r, m, &nested) != 0;
    if (m && !bad) {
        if (keys_member_find(&nested, "full_attention") ||
            keys_member_find(&nested, "sliding_attention")) {
            full = keys_member_take(&nested, "full_attention");
            local = keys_member_take(&nested, "sliding_attention");
            keys_warn_unused(r, &nested, "rope_parameters");
        }
    }
    if (!bad && full != m && c->local_theta <= 0)
        bad = keys_refuse(
                  r, m,
                  "one rotation for each type of layer is not supported for this model type") != 0;
    s->n_ropes = c->local_theta > 0 ? 2 : 1;
    bad = bad || read_rope(r, c, full, &s->ropes[0]) != 0 ||
          read_rope(r, c, local, &s->ropes[1]) != 0;
    if (s->ropes[0].theta <= 0)
        s->ropes[0].theta = c->theta;
    if (s->ropes[1].theta <= 0)
        s->ropes[1].theta = c->local_theta;
    free(nested.members);
    return bad ? -1 : 0;
}

/* Checks what only some kinds need. */
static int check_kind(struct keys_reader *r, const struct rope_spec *rope) {
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
        return err_set(
            r->e, EXIT_DATA,
            "short_factor and long_factor have %zu and %zu values, but %zu are needed: %s",
            rope->n_short, rope->n_long, rope->rotary_dim / 2, r->path);
    if (rope->kind == ROPE_LONGROPE && rope->original_max_pos < 2)
        return err_set(r->e, EXIT_DATA, "original_max_position_embeddings is %g: %s",
                       rope->original_max_pos, r->path);
    return 0;
}

/* Fills in the defaults of a rotation, and checks it. */
static int finish_rope(struct keys_reader *r, const struct spec_config *c,
                       const struct keys_object *o, struct rope_spec *rope) {
    const struct spec *s = &c->spec;
    double partial = rope->partial > 0 ? rope->partial : c->partial > 0 ? c->partial : 1;
    struct keys_member *top = keys_member_find(o, "partial_rotary_factor");
    if (c->partial <= 0 &&
        rope->kind == ROPE_DEFAULT) // the reference does not read the factor for this kind
        partial = 1;
    else if (c->partial <= 0 && top && !keys_member_false(top) && !keys_member_one(top))
        return keys_refuse(r, top, "only 1 is supported");
    if (c->partial <= 0 && (partial < 1 || partial > 1))
        return err_set(r->e, EXIT_DATA,
                       "partial_rotary_factor is %g, but only 1 is supported for %s: %s", partial,
                       s->model_type, r->path);
    rope->partial = partial;
    rope->rotary_dim = partial <= 1 ? (size_t)((double)s->head_dim * partial) : 0;
    if (rope->rotary_dim < 2 || rope->rotary_dim % 2 != 0)
        return err_set(r->e, EXIT_DATA,
                       "rotation needs an even number of dimensions, not %zu (of head_dim %zu): %s",
                       rope->rotary_dim, s->head_dim, r->path);
    if (rope->theta <= 1)
        return err_set(r->e, EXIT_DATA, "rope_theta is %g, but must be more than 1: %s",
                       rope->theta, r->path);
    if (c->original_max_pos > 0) // the top-level key takes precedence: Phi 3
        rope->original_max_pos = c->original_max_pos;
    if (rope->original_max_pos <= 0)
        rope->original_max_pos = (double)s->max_pos;
    if (rope->factor <= 0 && (rope->kind == ROPE_YARN || rope->kind == ROPE_LONGROPE))
        rope->factor = (double)s->max_pos / rope->original_max_pos;
    return check_kind(r, rope);
}

int config_ropes(struct keys_reader *r, struct spec_config *c, const struct keys_object *o) {
    if (read_ropes(r, c, o) != 0)
        return -1;
    for (size_t i = 0; i < c->spec.n_ropes; i++)
        if (finish_rope(r, c, o, &c->spec.ropes[i]) != 0)
            return -1;
    return 0;
}
