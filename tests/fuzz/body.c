/* Fuzz entry: the body of a request to llm-serve. What it is turned into are members of a JSON
 * object, and the error of a refused one has a text.
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

static void must_be_bounded(const struct body *b) {
    if (b->n_prompts == 0 || b->n_choices == 0 || b->n_prompts * b->n_choices > BODY_MAX_ANSWERS ||
        b->top < -1 || b->top > BODY_MAX_TOP)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    for (int kind = BODY_CHAT; kind < BODY_KINDS; kind++) {
        struct body b;
        struct err e = {0};
        char field[BODY_MAX_FIELD];
        int rc =
            body_read(&b, (enum body_kind)kind, (struct str){(const char *)data, size}, field, &e);
        if (rc != 0 && !e.msg[0])
            abort();
        if (rc == 0) {
            must_be_bounded(&b);
            must_be_members(buf_view(&b.record));
            must_be_members(buf_view(&b.params));
        }
        body_free(&b);
    }
    return 0;
}
