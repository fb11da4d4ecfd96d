/* Dicts: pairs in the order of insertion, with a hash index once there are more than a few.
 *
 * The hash is SipHash under a random key, so nobody can choose keys that make it slow.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/keyed_hash.h"
#include "jinja/run.h"

enum { DICT_SCAN = 12 }; // pairs; up to here a scan is faster

static uint64_t hash_raw(const struct jinja *in, const void *p, size_t n) {
    return keyed_hash(in->hash_key, p, n);
}

/* Returns a hash that is equal for equal values: 1, 1.0 and true are one key, as in Python. */
static uint64_t hash_value(struct jinja *in, struct jvalue v) {
    double f;
    uint64_t h = v.kind;
    switch (v.kind) {
    case V_STR:
        return hash_raw(in, v.s->p, v.s->n);
    case V_BOOL:
    case V_INT:
    case V_BIG:
    case V_FLOAT:
        jv_float_of(v, &f);
        f += 0.0; // -0.0 is 0.0
        return hash_raw(in, &f, sizeof f);
    case V_TUPLE:
        if (!jinja_deeper(in))
            return h;
        for (size_t i = 0; i < v.l->n; i++) {
            uint64_t both[2] = {h, hash_value(in, v.l->v[i])};
            h = hash_raw(in, both, sizeof both);
        }
        in->depth--;
        return h;
    case V_NONE:
    case V_UNDEF:
        return h;
    case V_RANGE:
        return (uint64_t)v.range->n;
    default:
        return hash_raw(in, &v.l, sizeof v.l);
    }
}

struct jvalue jv_dict(struct jinja *in) {
    return (struct jvalue){.kind = V_DICT, .d = jinja_alloc(in, sizeof(struct jdict))};
}

/* Returns the slot of the key, or the empty one where it belongs. */
static size_t slot_of(struct jinja *in, const struct jdict *d, struct jvalue key) {
    size_t i = (size_t)hash_value(in, key) & (d->slots - 1);
    while (d->index[i] && !jv_equal(in, d->pairs[d->index[i] - 1].key, key) && !in->failed)
        i = (i + 1) & (d->slots - 1);
    return i;
}

static void rebuild(struct jinja *in, struct jdict *d) {
    size_t slots = d->slots ? d->slots * 2 : 64;
    if (!jinja_room(in, slots * sizeof *d->index))
        return;
    d->index = jinja_alloc(in, slots * sizeof *d->index);
    d->slots = slots;
    for (size_t i = 0; i < d->n && !in->failed; i++)
        d->index[slot_of(in, d, d->pairs[i].key)] = (uint32_t)i + 1;
}

struct jvalue *jv_get(struct jinja *in, const struct jdict *d, struct jvalue key) {
    if (d->index) {
        uint32_t at = d->index[slot_of(in, d, key)];
        return at && !in->failed ? &d->pairs[at - 1].value : NULL;
    }
    for (size_t i = 0; i < d->n; i++)
        if (jv_equal(in, d->pairs[i].key, key))
            return &d->pairs[i].value;
    return NULL;
}

struct jvalue *jv_get_str(struct jinja *in, const struct jdict *d, struct str key) {
    struct jtext t = {.p = key.p, .n = key.n};
    return jv_get(in, d, (struct jvalue){.kind = V_STR, .s = &t});
}

void jv_put(struct jinja *in, struct jdict *d, struct jvalue key, struct jvalue v) {
    struct jvalue *old = jv_get(in, d, key);
    if (in->failed)
        return;
    if (old) {
        *old = v;
        return;
    }
    if (d->n == d->cap) {
        size_t cap = d->cap ? d->cap * 2 : 4;
        if (cap >= UINT32_MAX || !jinja_room(in, cap * sizeof *d->pairs))
            return;
        struct jpair *more = jinja_alloc(in, cap * sizeof *d->pairs);
        if (d->n)
            memcpy(more, d->pairs, d->n * sizeof *d->pairs);
        d->pairs = more;
        d->cap = cap;
    }
    d->pairs[d->n++] = (struct jpair){key, v};
    if (d->n > DICT_SCAN && d->n * 2 > d->slots)
        rebuild(in, d);
    else if (d->index)
        d->index[slot_of(in, d, key)] = (uint32_t)d->n;
}
