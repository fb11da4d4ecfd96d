/* Fuzz entry of base/json: arbitrary bytes are skipped as one value. If they are accepted, they are
 * read again value by value.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "../lib/fuzz.h"

/* Visits a value through the typed calls; depth is bounded by the parser. */
static void visit(struct json *j) {
    struct str key;
    struct buf out = {0};
    switch (json_peek(j)) {
    case JSON_OBJECT:
        json_enter_object(j);
        while (json_key(j, &key))
            visit(j);
        break;
    case JSON_ARRAY:
        json_enter_array(j);
        while (json_item(j))
            visit(j);
        break;
    case JSON_STRING:
        json_write_str(&out, json_str(j));
        buf_free(&out);
        break;
    case JSON_NUMBER:
        json_f64(j);
        break;
    default:
        json_skip(j);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct err e = {0};
    struct json j;
    json_init(&j, "fuzz", (const char *)data, size, &e);
    json_skip(&j);
    bool whole = json_end(&j);
    json_free(&j);
    json_init(&j, "fuzz", (const char *)data, size, &e);
    visit(&j);
    if (whole && json_failed(&j) &&
        !strstr(e.msg, "more than")) // only a number's length limit may differ
        abort();
    json_free(&j);
    return 0;
}
