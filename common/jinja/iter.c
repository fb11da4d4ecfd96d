/* Iteration over containers, and generators, which filters return.
 *
 * A generator calls its function for each item. So an item that the template never needs is never
 * computed, and one pass uses the generator up, as in Python. Sorting is here too.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdlib.h>

#include "jinja/run.h"

bool jinja_iterable(struct jvalue v) {
    switch (v.kind) {
    case V_UNDEF:
    case V_STR:
    case V_LIST:
    case V_TUPLE:
    case V_DICT:
    case V_RANGE:
    case V_VIEW:
    case V_GEN:
    case V_LOOP:
        return true;
    default:
        return false;
    }
}

bool jinja_iter(struct jinja *in, struct jvalue v, struct jiter *it) {
    *it = (struct jiter){.src = v};
    if (v.kind == V_GEN)
        it->gen = v.gen;
    if (!jinja_iterable(v) || v.kind == V_LOOP) {
        jinja_fail(in, "TypeError: '%s' object is not iterable", jv_type(v));
        it->src = (struct jvalue){.kind = V_UNDEF}; // an error: there is nothing to visit
        return false;
    }
    return true;
}

static bool next_pair(struct jinja *in, struct jiter *it, struct jvalue *v) {
    const struct jdict *d = it->src.d;
    if (it->pos >= d->n)
        return false;
    const struct jpair *p = &d->pairs[it->pos++];
    if (it->src.kind == V_DICT || it->src.sub == VIEW_KEYS)
        *v = p->key;
    else
        *v = it->src.sub == VIEW_VALUES ? p->value : jv_pair(in, p->key, p->value);
    if (it->src.sub == VIEW_ITEMS && it->src.kind == V_VIEW)
        v->foreign = it->src.foreign;
    return true;
}

bool jinja_next(struct jinja *in, struct jiter *it, struct jvalue *v) {
    size_t len;
    if (!jinja_steps(in, 1))
        return false;
    switch (it->src.kind) {
    case V_LIST:
    case V_TUPLE:
        if (it->pos >= it->src.l->n)
            return false;
        *v = it->src.l->v[it->pos++];
        return true;
    case V_STR:
        if (it->pos >= it->src.s->n)
            return false;
        jt_decode(it->src.s, it->pos, &len);
        *v = jv_text(jt_slice(in, it->src.s, it->pos, it->pos + len));
        v->s->markup = false;
        it->pos += len;
        return true;
    case V_RANGE:
        if ((int64_t)it->pos >= it->src.range->n)
            return false;
        *v = jv_int(it->src.range->start + (int64_t)it->pos++ * it->src.range->step);
        return true;
    case V_DICT:
    case V_VIEW:
        return next_pair(in, it, v);
    case V_GEN:
        if (it->gen->ended || !jinja_deeper(in))
            return false;
        it->gen->ended = !it->gen->next(in, it->gen, v) || in->failed;
        in->depth--;
        return !it->gen->ended;
    default:
        return false;
    }
}

struct jvalue jinja_gen(struct jinja *in, const char *type,
                        bool (*next)(struct jinja *, struct jgen *, struct jvalue *),
                        struct jvalue src) {
    struct jgen *g = jinja_alloc(in, sizeof *g);
    *g = (struct jgen){.next = next, .type = type, .src.src = src};
    return (struct jvalue){.kind = V_GEN, .gen = g};
}

struct jvalue jinja_to_list(struct jinja *in, struct jvalue v, enum jkind kind) {
    struct jiter it;
    struct jvalue item, list = jv_list(in, kind, 0);
    if (jinja_iter(in, v, &it))
        while (jinja_next(in, &it, &item))
            jv_push(in, list.l, item);
    return list;
}

static bool next_reversed(struct jinja *in, struct jgen *g, struct jvalue *v) {
    (void)in;
    const struct jlist *l = g->state[0].l;
    if ((size_t)g->count >= l->n)
        return false;
    *v = l->v[l->n - 1 - (size_t)g->count++];
    return true;
}

struct jvalue jinja_reversed(struct jinja *in, struct jvalue v) {
    struct jvalue list = v.kind == V_LIST || v.kind == V_TUPLE ? v : jinja_to_list(in, v, V_LIST);
    struct jvalue gen =
        jinja_gen(in, v.kind == V_LIST ? "list_reverseiterator" : "reversed", next_reversed, v);
    gen.gen->state[0] = list;
    return gen;
}

/* Merges the sorted halves [from, mid) and [mid, to) of order by their keys. spare is working
 * memory. */
static void merge(struct jinja *in, uint32_t *order, uint32_t *spare, const struct jvalue *keys,
                  size_t from, size_t mid, size_t to, bool reverse) {
    size_t a = from, b = mid, k = from;
    while (a < mid && b < to) {
        // Python sorts with < alone; reversed, equal items keep their order too.
        struct jvalue x = keys[order[a]], y = keys[order[b]];
        int c = reverse ? jv_order(in, x, y, "<") : jv_order(in, y, x, "<");
        spare[k++] = c < 0 ? order[b++] : order[a++];
        if (in->failed)
            return;
    }
    while (a < mid)
        spare[k++] = order[a++];
    while (b < to)
        spare[k++] = order[b++];
    memcpy(order + from, spare + from, (to - from) * sizeof *order);
}

void jinja_sort(struct jinja *in, struct jvalue *v, struct jvalue *keys, size_t n, bool reverse) {
    if (n < 2 || n > UINT32_MAX || !jinja_room(in, n * (2 * sizeof(uint32_t) + sizeof *v)))
        return;
    uint32_t *order = jinja_alloc(in, n * sizeof *order),
             *spare = jinja_alloc(in, n * sizeof *spare);
    struct jvalue *sorted = jinja_alloc(in, n * sizeof *sorted);
    for (size_t i = 0; i < n; i++)
        order[i] = (uint32_t)i;
    for (size_t width = 1; width < n && !in->failed; width *= 2)
        for (size_t from = 0; from + width < n && !in->failed; from += 2 * width)
            merge(in, order, spare, keys, from, from + width,
                  from + 2 * width < n ? from + 2 * width : n, reverse);
    if (in->failed)
        return;
    for (size_t i = 0; i < n; i++)
        sorted[i] = v[order[i]];
    memcpy(v, sorted, n * sizeof *v);
}
