/* Fuzz entry: a request with a conversation. Its first byte chooses the defaults. The template
 * uses what messages can have. The text must be valid UTF-8, with a trust byte for each byte.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "../lib/fuzz.h"

#include "chat/chat.h"

static const char source[] =
    "{% for m in messages %}<{{ m.role }}>{% if m.role == 'user' %}{% for p in m.content %}"
    "{{ p.text }}{% endfor %}{% else %}{{ m.content }}{{ m.content | trim }}{% endif %}"
    "{% for c in m.tool_calls %}{{ c.function.arguments }}{{ c.function.arguments | tojson }}"
    "{% endfor %}{{ m.reasoning_content }}</>{% endfor %}{{ x }}{{ tools | tojson }}";

static struct chat *open_chat(bool parts) {
    struct err e = {0};
    struct chat_options options = {.limits = {.memory = 1 << 20, .steps = 100000}};
    const char *template = parts ? source : "{{ messages[0].content }}{{ x }}";
    char *path = fuzz_file("chat_template.jinja", str_of(template));
    struct chat *c = chat_open(fuzz_folder(), &options, &e);
    if (!c)
        abort();
    fuzz_unlink("chat_template.jinja");
    free(path);
    return c;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct chat *chats[2];
    struct chat_defaults d = {0};
    struct buf text = {0}, trust = {0};
    struct err e = {0};
    unsigned flags = size ? data[0] : 0;
    if (!chats[0]) {
        chats[0] = open_chat(false);
        chats[1] = open_chat(true);
    }
    d.continue_final = flags & 1;
    d.generation = flags & 2;
    d.system = flags & 4 ? "S" : NULL;
    if (flags & 8)
        chat_set(&d.variables, "x=[1]", &e);
    struct str request = {size ? (const char *)data + 1 : "", size ? size - 1 : 0};
    if (chat_render(chats[flags >> 4 & 1], "fuzz", request, NULL, &d, &text, &trust, &e) == 0) {
        if (text.n != trust.n || utf8_valid(text.p ? text.p : "", text.n) != text.n)
            abort();
    } else if (e.code != EXIT_DATA || text.n || trust.n) {
        abort();
    }
    buf_free(&text);
    buf_free(&trust);
    buf_free(&d.variables);
    return 0;
}
