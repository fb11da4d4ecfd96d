/* Fuzz entry: a JSON record of tok-encode. What tok-decode and llm-score write of its keys is JSON,
 * and reading that gives the same attributes.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdlib.h>

#include "chat/prompt.h"
#include "chat/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The line that tok-decode -j writes of a text with these attributes. */
static void write_line(struct buf *line, struct str attrs) {
    buf_str(line, "{\"text\": \"\"");
    record_write_attrs(line, attrs);
    buf_str(line, "}");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct prompt_options o = {.form = PROMPT_JSON,
                               .no_chat = {.code = EXIT_NO_INPUT, .msg = "no"}};
    struct chat_prompt p = {0};
    struct err e = {0};
    struct buf line = {0}, again = {0};
    int rc = prompt_read(&p, &o, (struct str){(const char *)data, size}, &e);
    if (rc != 0 && !e.msg[0])
        abort();
    write_line(&line, p.attrs.n ? buf_view(&p.attrs) : str_of(""));
    if (rc == 0) {
        if (prompt_read(&p, &o, buf_view(&line), &e) != 0)
            abort();
        write_line(&again, p.attrs.n ? buf_view(&p.attrs) : str_of(""));
        if (line.n != again.n || memcmp(line.p, again.p, line.n) != 0)
            abort();
    }
    struct json j;
    json_init(&j, "", line.p, line.n, &e);
    json_skip(&j);
    if (!json_end(&j))
        abort();
    json_free(&j);
    buf_free(&line);
    buf_free(&again);
    prompt_free(&p);
    return 0;
}
