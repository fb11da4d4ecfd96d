/* Fuzzes the Jinja interpreter. The input is a template, a NUL byte and the template's variables as
 * JSON. The trust must be as long as the text, and each refusal must have a message.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "../lib/fuzz.h"
#include "jinja/jinja.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char otherwise[] =
        "{\"x\": \"text\", \"l\": [1, \"a\", null], \"d\": {\"k\": [2.5, {}]}}";
    const uint8_t *nul = size ? memchr(data, 0, size) : NULL;
    struct str source = {(const char *)data, nul ? (size_t)(nul - data) : size};
    struct str vars =
        nul ? (struct str){(const char *)nul + 1, size - source.n - 1} : str_of(otherwise);
    struct err e = {0};
    struct jinja_template *t = jinja_parse("fuzz", source, &e);
    if (!t) {
        assert(e.code == EXIT_DATA && e.msg[0]);
        return 0;
    }
    struct jinja *in = jinja_begin(t, NULL);
    struct json j;
    struct str key;
    struct buf text = {0}, trust = {0};
    json_init(&j, "vars", vars.p, vars.n, &e);
    json_enter_object(&j);
    while (json_key(&j, &key))
        jinja_set_str(in, key, jinja_from_json(in, &j));
    if (!json_failed(&j) && jinja_render(in, &text, &trust, &e) < 0)
        assert(e.code == EXIT_DATA && e.msg[0] && text.n == 0);
    assert(text.n == trust.n);
    jinja_end(in);
    json_free(&j);
    buf_free(&text);
    buf_free(&trust);
    jinja_template_free(t);
    return 0;
}
