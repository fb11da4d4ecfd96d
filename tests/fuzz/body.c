/* Fuzz entry: the body of a request to llm-serve. What it is turned into is a JSON object, and the
 * errors of a refused one name a field that the body has, or none.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdlib.h>

#include "base/json.h"
#include "serve/body.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must_be_members(struct str members) {
    struct buf object = {0};
    struct err e = {0};
    struct json j;
    buf_fmt(&object, "{");
    buf_add(&object, members.p, members.n);
    buf_fmt(&object, "}");
    json_init(&j, "", object.p, object.n, &e);
    json_skip(&j);
    if (!json_end(&j))
        abort();
    json_free(&j);
    buf_free(&object);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    for (int kind = BODY_CHAT; kind < BODY_KINDS; kind++) {
        struct body b;
        struct err e = {0};
        char field[16];
        int rc = body_read(&b, (enum body_kind)kind, (struct str){(const char *)data, size}, field,
                           sizeof field, &e);
        if (rc != 0 && !e.msg[0])
            abort();
        if (rc == 0) {
            must_be_members(buf_view(&b.record));
            must_be_members(buf_view(&b.params));
        }
        body_free(&b);
    }
    return 0;
}
