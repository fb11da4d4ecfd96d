/* quantization_config -> struct spec_quant: how a checkpoint stores its matrices.
 *
 * GPTQ, AWQ, FP8, bitsandbytes and compressed-tensors each have keys of their own. The few that
 * most of them share are read here; the whole object is stored as text for the rest.
 *
 * Refused: every object that says that something is quantised, but by tokpipe. bitsandbytes leaves
 * an object with both of its switches off in models that were trained without it; that one is
 * accepted.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdlib.h>

#include "base/num.h"
#include "spec/family.h"

/* The whole number of key, or of other where key is missing, if it is in [min, 65536]; else 0. */
static int32_t number(const struct keys_object *o, int64_t min, const char *key,
                      const char *other) {
    const struct keys_member *m = keys_member_find(o, key);
    m = m ? m : keys_member_find(o, other);
    int64_t v = 0;
    return m && parse_i64(m->raw, min, 65536, &v) ? (int32_t)v : 0;
}

static bool is_true(const struct keys_object *o, const char *key) {
    const struct keys_member *m = keys_member_find(o, key);
    return m && keys_member_is(m, "true");
}

static bool is_on(const struct keys_object *o, const char *key) {
    const struct keys_member *m = keys_member_find(o, key);
    return m && !keys_member_false(m);
}

static void read_object(struct spec *s, const struct keys_object *o, struct str raw) {
    const struct keys_member *method = keys_member_find(o, "quant_method");
    struct spec_quant *q = &s->quant;
    q->raw = arena_str(&s->mem, raw.p, raw.n);
    q->method = "";
    if (method && method->raw.p[0] == '"')
        q->method = arena_str(&s->mem, method->raw.p + 1, method->raw.n - 2).p;
    q->bits = number(o, 0, "bits", "w_bit");
    q->group_size = number(o, -1, "group_size", "q_group_size");
    q->sym = is_true(o, "sym");
    q->desc_act = is_true(o, "desc_act");
}

int config_quant(struct keys_reader *r, struct spec_config *c, const struct keys_object *o) {
    struct keys_member *m = keys_member_take(o, "quantization_config");
    if (!m || keys_member_false(m))
        return 0;
    struct keys_object q = {0};
    bool off = false, ours = false;
    if (m->raw.p[0] == '{' && keys_read_object(r, m, &q) == 0) {
        const struct keys_member *method = keys_member_find(&q, "quant_method");
        off = method && keys_member_is(method, "\"bitsandbytes\"") && !is_on(&q, "load_in_4bit") &&
              !is_on(&q, "load_in_8bit");
        ours = method && keys_member_is(method, "\"tokpipe\"");
        if (!off)
            read_object(&c->spec, &q, m->raw);
    }
    free(q.members);
    return off || ours ? 0 : keys_refuse(r, m, "only null is supported");
}
