/* The Jinja interpreter (common/jinja): its output against what jinja2 3.1.6 renders in
 * transformers' settings (recorded in tests/data/jinja), the origin of each byte, and the limits.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdio.h>
#include <stdlib.h>

#include "../lib/check.h"
#include "base/io.h"
#include "base/json.h"
#include "jinja/jinja.h"

/* Renders source. The members of vars, a JSON object, are its variables. */
static int render(struct str source, struct str vars, struct buf *text, struct buf *trust,
                  struct err *e) {
    struct jinja_template *t = jinja_parse("t", source, e);
    struct json j;
    struct str key;
    if (!t)
        return -1;
    struct jinja *in = jinja_begin(t, NULL);
    json_init(&j, "vars", vars.p, vars.n, e);
    json_enter_object(&j);
    while (json_key(&j, &key))
        jinja_set_str(in, key, jinja_from_json(in, &j));
    int rc = json_failed(&j) ? -1 : jinja_render(in, text, trust, e);
    jinja_end(in);
    json_free(&j);
    jinja_template_free(t);
    return rc;
}

static void check_recorded(struct str vars, struct str object) {
    struct json j;
    struct err e = {0};
    struct str key, source = {"", 0}, want = {NULL, 0};
    struct buf text = {0};
    json_init(&j, "case", object.p, object.n, &e);
    json_enter_object(&j);
    while (json_key(&j, &key)) {
        struct str s = json_str(&j);
        if (str_eq(key, "template"))
            source = s;
        else if (str_eq(key, "rendered"))
            want = s;
    }
    int rc = render(source, vars, &text, NULL, &e);
    if (want.p)
        CHECK_MSG(rc == 0 && str_same(want, buf_view(&text)), "%.*s gives '%s' %s, not '%.*s'",
                  (int)source.n, source.p, text.p ? text.p : "", e.msg, (int)want.n, want.p);
    else
        CHECK_MSG(rc < 0, "%.*s is rendered, where jinja2 refuses", (int)source.n, source.p);
    json_free(&j);
    buf_free(&text);
}

static void language(void) {
    struct buf file = {0};
    struct err e = {0};
    struct json j;
    struct str key, vars = {"{}", 2};
    int n = 0;
    CHECK(read_file("tests/data/jinja/language.json", 16 << 20, &file, &e) == 0);
    json_init(&j, "language.json", file.p, file.n, &e);
    json_enter_object(&j);
    while (json_key(&j, &key)) {
        if (str_eq(key, "vars")) {
            vars = json_skip(&j);
            continue;
        }
        json_enter_array(&j);
        for (; json_item(&j); n++)
            check_recorded(vars, json_skip(&j));
    }
    CHECK(!json_failed(&j) && n > 700);
    json_free(&j);
    buf_free(&file);
}

/* Checks the rendered text, with foreign bytes in angle brackets. */
static void whose(const char *source, const char *want) {
    static const char vars[] = "{\"u\": \"foreign\", \"l\": [\"a\", \"b\"], \"d\": {\"k\": \"v\"}, "
                               "\"n\": 12, \"s\": \" x  y \", \"q\": \"\\\"\"}";
    struct buf text = {0}, trust = {0}, shown = {0};
    struct err e = {0};
    if (render(str_of(source), str_of(vars), &text, &trust, &e) < 0)
        buf_str(&shown, e.msg);
    for (size_t i = 0; i < text.n; i++) {
        bool foreign = !trust.p[i], before = i > 0 && !trust.p[i - 1];
        if (foreign != before)
            buf_byte(&shown, foreign ? '<' : '>');
        buf_byte(&shown, text.p[i]);
        if (foreign && i + 1 == text.n)
            buf_byte(&shown, '>');
    }
    CHECK_STR(shown.p ? shown.p : "", want);
    buf_free(&text);
    buf_free(&trust);
    buf_free(&shown);
}

static void provenance(void) {
    whose("a{{ u }}b", "a<foreign>b");
    whose("{{ 'x' + u + 'y' }}{{ 'x' ~ u }}", "x<foreign>yx<foreign>");
    whose("{{ (u + 'yy')[5:9] }}", "<gn>yy");
    whose("{{ s|trim }}|{{ (' ' ~ s ~ 'z ').strip() }}", "<x  y>|<x  y >z");
    whose("{{ ('a-' ~ u ~ '-b').split('-')|join('+') }}", "a+<foreign>+b");
    whose("{{ ('a' ~ u)|upper }} {{ u|capitalize }}{{ 'ß'|upper }}", "A<FOREIGN> <Foreign>SS");
    whose("{{ 'a_b'.replace('_', u) }}{{ u.replace('o', '0') }}", "a<foreign>b<f>0<reign>");
    whose("{{ l|tojson }}{{ [1, u]|tojson }}{{ q|tojson }}",
          "<[\"a\", \"b\"]>[1, <\"foreign\">]<\"\\\"\">");
    whose("{{ d }} {{ [u] }} {{ d.items()|list }}", "<{'k': 'v'}> [<'foreign'>] [<('k', 'v')>]");
    whose("{{ n }} {{ n + 1 }} {{ 3 }} {{ n|string ~ '!' }} {{ u|length }}", "<12> <13> 3 <12>! 7");
    whose("{{ '%s=%d' % (u, 5) }} {{ '{}:{:>4}'.format('k', n) }} {{ '%5s'|format('a') }}",
          "<foreign>=5 k:  <12>     a");
    whose("{% for c in 'ab' ~ l[0] %}{{ c }}{% endfor %}", "ab<a>");
    whose("{% macro m(x) %}[{{ x }}]{% endmacro %}{{ m(u) }}{{ m('t') }}", "[<foreign>][t]");
    whose("{% set x %}({{ u }}){% endset %}{{ x|reverse }}", ")<ngierof>(");
    whose("{% filter upper %}a{{ u }}{% endfilter %}", "A<FOREIGN>");
    whose("{{ u|indent(2, true) }}{{ u|e }}{{ u|replace('f', '<') }}",
          "  <foreignforeign><<oreign>");
    whose("{{ u.center(11, '*') }}{{ u|truncate(4, true, '..', 0) }}", "**<foreign>**<fo>..");
    whose("{{ 'user' if u == 'foreign' else 'x' }}{{ u in ['foreign'] }}", "userTrue");
    whose("{{ [u, 'a']|sort|join }}{{ l|map('upper')|join('-') }}{{ l|first }}",
          "a<foreignA>-<Ba>");
    whose("{{ {'a': u}|tojson(indent=1) }}", "{\n \"a\": <\"foreign\">\n}");
}

static void refused(const char *source, const char *message) {
    struct buf text = {0};
    struct err e = {0};
    CHECK_MSG(render(str_of(source), str_of("{\"x\": 1}"), &text, NULL, &e) < 0, "%s is rendered",
              source);
    CHECK_MSG(strstr(e.msg, message) != NULL, "%s: '%s' does not hold '%s'", source, e.msg,
              message);
    buf_free(&text);
}

static void errors_name_the_line(void) {
    refused("a\nb\n{{ x.y.z }}", "UndefinedError: 'int object' has no attribute 'y': t: line 3");
    refused("{% if x %}\n\n{{ x", "line 3");
    refused("{{ x\n|nosuch }}", "No filter named 'nosuch': t: line 2");
    refused("\n{% macro m() %}\n{{ 1/0 }}{% endmacro %}\n\n{{ m() }}",
            "ZeroDivisionError: division by zero: t: line 3");
    refused("\n\n{# open", "Missing end of comment tag: t: line 3");
    refused("{{ [].append(1) }}",
            "SecurityError: access to attribute 'append' of 'list' object is unsafe.");
    refused("{{ x.__class__.__mro__ }}", "SecurityError");
}

static void limits(void) {
    refused("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "nests deeper");
    refused("{{ 'a' * 9999999999 }}", "bytes");
    refused("{{ [1] * 9999999999 }}", "memory");
    refused("{{ '%999999999d' % 1 }}", "bytes");
    refused("{{ range(100001) }}", "Range too big");
    refused("{{ 9223372036854775807 + 1 }}", "64 bits");
    refused("{{ 99999999999999999999 }}", "64 bits");
    refused("{% set n = namespace(s='ab') %}{% for i in range(99) %}{% set n.s = n.s * 2 %}{% "
            "endfor %}",
            "bytes");
    refused("{% set n = namespace(l=[]) %}{% for i in range(9999) %}{% set n.l = [n.l] %}{% endfor "
            "%}{{ n.l }}",
            "deeper");
    struct buf deep = {0};
    for (int i = 0; i < 5000; i++)
        buf_str(&deep, i == 0 ? "{{ " : "(");
    refused(deep.p, "nested");
    buf_clear(&deep);
    for (int i = 0; i < 5000; i++)
        buf_str(&deep, i == 0 ? "{{ 1" : " + 1");
    buf_str(&deep, " }}");
    refused(deep.p, "parts");
    buf_free(&deep);
}

int main(void) {
    RUN(language);
    RUN(provenance);
    RUN(errors_name_the_line);
    RUN(limits);
    return check_done();
}
