/* Fuzz entry: a chat template, a byte 0 and a request. The template is chat_template.jinja, or a
 * whole tokenizer_config.json if it begins with {". The text must be UTF-8, and the trust must be
 * as long as the text.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "../lib/fuzz.h"
#include "chat/chat.h"

static const struct chat_defaults defaults = {.generation = true};

static void render(const struct chat *c, struct str request) {
    struct buf text = {0}, trust = {0};
    struct err e = {0};
    struct str exact = fuzz_exact(request);
    if (chat_render(c, "request", exact, NULL, &defaults, &text, &trust, &e) != 0)
        assert(e.code == EXIT_DATA && e.msg[0] && text.n == 0);
    assert(text.n == trust.n);
    fuzz_check_utf8(buf_view(&text));
    buf_clear(&text);
    chat_turn_end(c, &text);
    fuzz_check_utf8(buf_view(&text));
    free((char *)exact.p);
    buf_free(&text);
    buf_free(&trust);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct fuzz_parts in = fuzz_split(data, size);
    bool config = in.first.n > 1 && in.first.p[0] == '{' && in.first.p[1] == '"';
    struct err e = {0};
    fuzz_unlink("chat_template.jinja");
    fuzz_unlink("tokenizer_config.json");
    free(fuzz_file(config ? "tokenizer_config.json" : "chat_template.jinja", in.first));
    struct chat *c = chat_open(fuzz_folder(), &(struct chat_options){0}, &e);
    if (!c) {
        assert((e.code == EXIT_DATA || e.code == EXIT_NO_INPUT) && e.msg[0]);
        return 0;
    }
    render(c, in.split ? in.rest : str_of("[{\"role\":\"user\",\"content\":\"x\"}]"));
    chat_free(c);
    return 0;
}
