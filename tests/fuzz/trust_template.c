/* Fuzz entry: a chat template that tries to make a user's text its own. All texts of the request
 * consist of two private characters, and no byte of those may come out as trusted. Templates that
 * can write the characters themselves are passed over.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "../lib/fuzz.h"
#include "chat/chat.h"

#define P "\xee\x80\x81\xee\x80\x82" // U+E001 U+E002
static const char request[] =
    "{\"messages\":[{\"role\":\"" P "\",\"content\":\"" P " " P "\",\"name\":\"" P "\"},"
    "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"" P "\"}]},"
    "{\"role\":\"assistant\",\"content\":\"" P "\",\"reasoning\":\"" P "\",\"tool_calls\":"
    "[{\"id\":\"" P "\",\"function\":{\"name\":\"" P "\",\"arguments\":{\"" P "\":\"" P "\"}}}]}],"
    "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"" P "\",\"description\":\"" P
    "\",\"parameters\":{\"properties\":{\"" P "\":{\"type\":\"" P "\"}}}}}],"
    "\"chat_template_kwargs\":{\"k\":\"" P "\",\"" P "\":1},\"x\":\"" P "\",\"l\":[\"" P
    "\",1],\"d\":{\"" P "\":\"" P "\"}}";

static const struct chat_defaults defaults = {.generation = true};

static bool has(struct str s, const char *text) {
    for (size_t i = 0, n = strlen(text); i + n <= s.n; i++)
        if (memcmp(s.p + i, text, n) == 0)
            return true;
    return false;
}

/* Whether the template could spell the characters: as bytes, as an escape, or from a number. */
static bool could_spell(struct str template) {
    static const char *const ways[] = {"\xee", "\\u", "\\x", "\\U", "\\N", "\\3", "%c", ":c"};
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
        if (has(template, ways[i]))
            return true;
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct fuzz_parts in = fuzz_split(data, size);
    struct buf text = {0}, trust = {0};
    struct err e = {0};
    if (could_spell(in.first))
        return 0;
    free(fuzz_file("chat_template.jinja", in.first));
    struct chat *c = chat_open(fuzz_folder(), &(struct chat_options){0}, &e);
    if (!c)
        return 0;
    if (chat_render(c, "request", str_of(request), NULL, &defaults, &text, &trust, &e) == 0)
        for (size_t i = 0; i + 2 < text.n; i++)
            if (memcmp(text.p + i, "\xee\x80", 2) == 0)
                assert(!trust.p[i] && !trust.p[i + 1] && !trust.p[i + 2]);
    buf_free(&text);
    buf_free(&trust);
    chat_free(c);
    return 0;
}
