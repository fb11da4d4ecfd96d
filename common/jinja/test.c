/* Tests, the names after `is` in `x is defined`, as jinja2/tests.py defines them.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "jinja/run.h"

#define TEST(name) static bool name(struct jinja *in, struct jvalue v, const struct jvalue *a)
#define KIND(name, condition)                                                                      \
    TEST(name) {                                                                                   \
        (void)in, (void)a;                                                                         \
        return condition;                                                                          \
    }
#define COMPARES(name, op)                                                                         \
    TEST(name) {                                                                                   \
        return jinja_compare(in, op, v, a[0]);                                                     \
    }

KIND(is_defined, v.kind != V_UNDEF)
KIND(is_undefined, v.kind == V_UNDEF)
KIND(is_none, v.kind == V_NONE)
KIND(is_boolean, v.kind == V_BOOL)
KIND(is_false, v.kind == V_BOOL && !v.b)
KIND(is_true, v.kind == V_BOOL && v.b)
KIND(is_integer, v.kind == V_INT || v.kind == V_BIG)
KIND(is_float, v.kind == V_FLOAT)
KIND(is_number, jv_is_number(v))
KIND(is_string, v.kind == V_STR)
KIND(is_mapping, v.kind == V_DICT)
KIND(is_iterable, jinja_iterable(v))
KIND(is_callable, v.kind == V_MACRO || v.kind == V_FUNCTION || v.kind == V_METHOD ||
                      v.kind == V_LOOP || v.kind == V_JOINER || v.kind == V_UNDEF)
KIND(is_escaped, v.kind == V_STR && v.s->markup)
KIND(is_sequence, v.kind == V_UNDEF || v.kind == V_STR || v.kind == V_LIST || v.kind == V_TUPLE ||
                      v.kind == V_DICT || v.kind == V_RANGE)
KIND(is_sameas, jv_same(v, a[0]))
KIND(is_filter, jv_hashable(in, v) && v.kind == V_STR && jinja_filter(jt_view(v.s)) != NULL)
KIND(is_test, jv_hashable(in, v) && v.kind == V_STR && jinja_test_exists(jt_view(v.s)))
COMPARES(is_eq, T_EQ)
COMPARES(is_ne, T_NE)
COMPARES(is_gt, T_GT)
COMPARES(is_ge, T_GE)
COMPARES(is_lt, T_LT)
COMPARES(is_le, T_LE)
COMPARES(is_in, T_IN)

TEST(is_lower) {
    (void)a;
    return jinja_is_cased(in, jv_to_str(in, v), false);
}

TEST(is_upper) {
    (void)a;
    return jinja_is_cased(in, jv_to_str(in, v), true);
}

static bool remainder_is(struct jinja *in, struct jvalue v, struct jvalue divisor, int64_t want) {
    return jv_equal(in, jinja_binary(in, T_MOD, v, divisor), jv_int(want));
}

TEST(is_odd) {
    (void)a;
    return remainder_is(in, v, jv_int(2), 1);
}

TEST(is_even) {
    (void)a;
    return remainder_is(in, v, jv_int(2), 0);
}

TEST(is_divisibleby) {
    return remainder_is(in, v, a[0], 0);
}

static const struct {
    const char *name;
    size_t n_args;
    bool (*test)(struct jinja *in, struct jvalue v, const struct jvalue *a);
} tests[] = {
    {"defined", 0, is_defined},
    {"undefined", 0, is_undefined},
    {"none", 0, is_none},
    {"string", 0, is_string},
    {"mapping", 0, is_mapping},
    {"iterable", 0, is_iterable},
    {"sequence", 0, is_sequence},
    {"number", 0, is_number},
    {"boolean", 0, is_boolean},
    {"true", 0, is_true},
    {"false", 0, is_false},
    {"integer", 0, is_integer},
    {"float", 0, is_float},
    {"callable", 0, is_callable},
    {"escaped", 0, is_escaped},
    {"lower", 0, is_lower},
    {"upper", 0, is_upper},
    {"odd", 0, is_odd},
    {"even", 0, is_even},
    {"divisibleby", 1, is_divisibleby},
    {"sameas", 1, is_sameas},
    {"filter", 0, is_filter},
    {"test", 0, is_test},
    {"in", 1, is_in},
    {"==", 1, is_eq},
    {"eq", 1, is_eq},
    {"equalto", 1, is_eq},
    {"!=", 1, is_ne},
    {"ne", 1, is_ne},
    {">", 1, is_gt},
    {"gt", 1, is_gt},
    {"greaterthan", 1, is_gt},
    {">=", 1, is_ge},
    {"ge", 1, is_ge},
    {"<", 1, is_lt},
    {"lt", 1, is_lt},
    {"lessthan", 1, is_lt},
    {"<=", 1, is_le},
    {"le", 1, is_le},
};
enum { N_TESTS = sizeof tests / sizeof *tests };

bool jinja_test_exists(struct str name) {
    for (int i = 0; i < N_TESTS; i++)
        if (str_eq(name, tests[i].name))
            return true;
    return false;
}

bool jinja_call_test(struct jinja *in, struct str name, struct jvalue self, const struct jargs *a) {
    struct jvalue v[JINJA_MAX_PARAMS];
    int i = 0;
    while (i < N_TESTS && !str_eq(name, tests[i].name))
        i++;
    if (i == N_TESTS)
        jinja_fail(in, "TemplateRuntimeError: No test named '%.*s' found.",
                   name.n > 60 ? 60 : (int)name.n, name.p);
    else if (jinja_bind(in, tests[i].name, tests[i].n_args ? "other" : "", tests[i].n_args, a, v))
        return tests[i].test(in, self, v) && !in->failed;
    return false;
}
