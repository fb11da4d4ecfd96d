/* Sampling parameters from text: see params.h. A parameter is a row of a table: name, bounds and
 * field.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "sample/params.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>

#include "base/attrs.h"
#include "base/num.h"

const struct sample_params sample_defaults = {
    .top_p = 1,
    .repetition_penalty = 1,
    .max = UINT32_MAX,
    .end = -1,
};

enum param_kind { REAL, WHOLE, FLAG, IDS, BIASES };

static const struct param {
    const char *name;
    enum param_kind kind;
    double min, max; // of a REAL
    bool above_min;  // min itself is out of range
    size_t offset;   // of the field: double, uint64_t or bool
} params[] = {
    {"max", WHOLE, 0, 0, false, offsetof(struct sample_params, max)},
    {"temp", REAL, 0, 100, false, offsetof(struct sample_params, temp)},
    {"top_k", WHOLE, 0, 0, false, offsetof(struct sample_params, top_k)},
    {"top_p", REAL, 0, 1, true, offsetof(struct sample_params, top_p)},
    {"min_p", REAL, 0, 1, false, offsetof(struct sample_params, min_p)},
    {"repetition_penalty", REAL, 0, 100, true, offsetof(struct sample_params, repetition_penalty)},
    {"presence_penalty", REAL, -100, 100, false, offsetof(struct sample_params, presence_penalty)},
    {"frequency_penalty", REAL, -100, 100, false,
     offsetof(struct sample_params, frequency_penalty)},
    {"logit_bias", BIASES, -1000, 1000, false, 0},
    {"seed", WHOLE, 0, 0, false, offsetof(struct sample_params, seed)},
    {"ignore_eos", FLAG, 0, 0, false, offsetof(struct sample_params, ignore_eos)},
    {"stop_id", IDS, 0, 0, false, 0},
};

enum { N_PARAMS = sizeof params / sizeof *params };

static bool same_name(const char *ours, const char *name) {
    for (; *ours && *name; ours++, name++)
        if (*ours != (*name == '-' ? '_' : *name))
            return false;
    return *ours == *name;
}

static int bad(struct err *e, const char *name, struct str value, const char *want) {
    int n = value.n < 200 ? (int)value.n : 200;
    return err_set(e, EXIT_USAGE, "%s takes %s: '%.*s'", name, want, n, value.p);
}

static int set_real(double *field, const struct param *row, const char *name, struct str value,
                    struct err *e) {
    double v;
    if (parse_f64(value, row->min, row->max, &v) && !(row->above_min && v <= row->min)) {
        *field = v;
        return 1;
    }
    char want[96];
    const char *from = row->above_min ? "above" : "from", *to = row->above_min ? "up to" : "to";
    snprintf(want, sizeof want, "a number %s %g %s %g", from, row->min, to, row->max);
    return bad(e, name, value, want);
}

/* Removes the next part from a list with commas. */
static struct str next_part(struct str *list) {
    struct str part = {list->p, 0};
    while (part.n < list->n && part.p[part.n] != ',')
        part.n++;
    size_t used = part.n + (part.n < list->n);
    list->p += used;
    list->n -= used;
    return part;
}

static int add_stops(struct sample_params *p, const char *name, struct str list, struct err *e) {
    do {
        struct str part = next_part(&list);
        uint64_t id;
        if (!parse_u64(part, 0, SAMPLE_MAX_ID, &id))
            return bad(e, name, part, "token ids with commas between");
        if (p->n_stop == SAMPLE_MAX_STOP)
            return bad(e, name, part, "at most 32 ids");
        p->stop[p->n_stop++] = (uint32_t)id;
    } while (list.n);
    return 1;
}

static int add_biases(struct sample_params *p, const struct param *row, const char *name,
                      struct str list, struct err *e) {
    do {
        struct str part = next_part(&list);
        const char *equals = part.n ? memchr(part.p, '=', part.n) : NULL;
        size_t n = equals ? (size_t)(equals - part.p) : part.n;
        uint64_t id;
        double value;
        if (!equals || !parse_u64((struct str){part.p, n}, 0, SAMPLE_MAX_ID, &id) ||
            !parse_f64((struct str){equals + 1, part.n - n - 1}, row->min, row->max, &value))
            return bad(e, name, part, "ID=X with X from -1000 to 1000, with commas between");
        if (p->n_bias == SAMPLE_MAX_BIAS)
            return bad(e, name, part, "at most 300 ids");
        p->bias[p->n_bias++] = (struct logit_bias){(uint32_t)id, value};
    } while (list.n);
    return 1;
}

static int set_param(struct sample_params *p, const struct param *row, const char *name,
                     struct str value, struct err *e) {
    void *field = (char *)p + row->offset;
    uint64_t flag;
    switch (row->kind) {
    case REAL:
        return set_real(field, row, name, value, e);
    case WHOLE:
        if (!parse_u64(value, 0, UINT64_MAX, field))
            return bad(e, name, value, "a whole number from 0 to 18446744073709551615");
        return 1;
    case FLAG:
        if (!parse_u64(value, 0, 1, &flag))
            return bad(e, name, value, "0 or 1");
        *(bool *)field = flag == 1;
        return 1;
    case IDS:
        return add_stops(p, name, value, e);
    case BIASES:
        return add_biases(p, row, name, value, e);
    }
    return 0;
}

int sample_param(struct sample_params *p, const char *name, struct str value, struct err *e) {
    for (size_t i = 0; i < N_PARAMS; i++)
        if (same_name(params[i].name, name))
            return set_param(p, &params[i], name, value, e);
    return 0;
}

int sample_attributes(struct sample_params *p, struct str attrs, struct err *e) {
    struct buf value = {0};
    int rc = 0;
    for (size_t i = 0; i < N_PARAMS && rc >= 0; i++) {
        if (!attrs_get(attrs, params[i].name, &value))
            continue;
        if (params[i].kind == IDS)
            p->n_stop = 0;
        if (params[i].kind == BIASES)
            p->n_bias = 0;
        if (strcmp(params[i].name, "seed") == 0)
            p->own_seed = true;
        rc = set_param(p, &params[i], params[i].name, buf_view(&value), e);
    }
    uint64_t end;
    if (rc >= 0 && attrs_get(attrs, "end_id", &value)) {
        if (parse_u64(buf_view(&value), 0, SAMPLE_MAX_ID, &end))
            p->end = (int64_t)end;
        else
            rc = bad(e, "end_id", buf_view(&value), "a token id");
    }
    buf_free(&value);
    return rc < 0 ? -1 : 0;
}

const struct sample_params *sample_params_copy(const struct sample_params *p, size_t *bytes) {
    *bytes = offsetof(struct sample_params, bias) + p->n_bias * sizeof *p->bias;
    void *copy = xmalloc(*bytes);
    memcpy(copy, p, *bytes);
    return copy;
}

int sample_check_ids(const struct sample_params *p, uint32_t vocab_size, struct err *e) {
    for (size_t i = 0; i < p->n_bias; i++)
        if (p->bias[i].id >= vocab_size)
            return err_set(e, EXIT_USAGE,
                           "logit-bias: token id %" PRIu32 " is not in the vocabulary of %" PRIu32,
                           p->bias[i].id, vocab_size);
    for (size_t i = 0; i < p->n_stop; i++)
        if (p->stop[i] >= vocab_size)
            return err_set(e, EXIT_USAGE,
                           "stop-id: token id %" PRIu32 " is not in the vocabulary of %" PRIu32,
                           p->stop[i], vocab_size);
    return 0;
}

bool sample_stops(const struct sample_params *p, uint32_t id) {
    for (size_t i = 0; i < p->n_stop; i++)
        if (p->stop[i] == id)
            return true;
    return false;
}

const char *sample_param_name(size_t i) {
    return i < N_PARAMS ? params[i].name : NULL;
}
