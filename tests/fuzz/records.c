/* Fuzz entry: records of tok-encode, each turned into the text and attributes of a prompt. The
 * first byte chooses the options. Attributes must be one line, and JSON again when they are
 * written.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "../lib/fuzz.h"
#include "../lib/fuzzfd.h"
#include "base/records.h"
#include "chat/prompt.h"
#include "chat/record.h"

static void check_prompt(const struct chat_prompt *p) {
    struct buf json = {0};
    struct str attrs = {p->attrs.n ? p->attrs.p : "", p->attrs.n};
    fuzz_check_utf8(p->text);
    assert(!p->is_chat || p->trust.n == p->text.n);
    assert(attrs.n == 0 || !memchr(attrs.p, '\n', attrs.n));
    buf_str(&json, "{\"text\": \"\"");
    record_write_attrs(&json, attrs);
    record_write_result(&json, attrs, str_of("finish=eos"), str_of("reason"));
    buf_byte(&json, '}');
    fuzz_check_json(buf_view(&json));
    buf_free(&json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct chat *chat;
    struct err e = {0};
    if (!chat &&
        !(chat = chat_open("tests/data/tokenizers/bpe-llama3", &(struct chat_options){0}, &e)))
        die_err(&e);
    if (size == 0)
        return 0;
    unsigned bits = data[0];
    struct records *r = records_new(fuzz_fd(data + 1, size - 1), "fuzz",
                                    (enum records_kind)(bits % 3), SIZE_MAX / 2);
    struct chat_prompt p = {0};
    struct prompt_options o = {.form = (enum prompt_form)(bits >> 2 & 3),
                               .strict = bits >> 4 & 1,
                               .chat_only = bits >> 5 & 1,
                               .defaults = {.generation = bits >> 6 & 1},
                               .chat = bits >> 7 & 1 ? NULL : chat};
    err_set(&o.no_chat, EXIT_DATA, "no chat");
    struct str record;
    int rc;
    while ((rc = records_next(r, &record, &e)) == 1) {
        struct str exact = fuzz_exact(record);
        if (prompt_read(&p, &o, exact, &e) == 0)
            check_prompt(&p);
        else
            fuzz_check_refusal(&e);
        free((char *)exact.p);
    }
    assert(rc == 0);
    prompt_free(&p);
    records_free(r);
    return 0;
}
