/* Records of tok-encode: see prompt.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "tokens/prompt.h"

#include "base/utf8.h"
#include "tokens/record.h"

static bool of_chat(struct str key) {
    static const char *const members[] = {"messages", "tools", "documents", "add_generation_prompt",
                                          "chat_template_kwargs"};
    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        if (str_eq(key, members[i]))
            return true;
    return false;
}

static int read_chat(struct prompt *p, const struct prompt_options *o, struct str record, struct err *e) {
    if (!o->chat) {
        *e = o->no_chat;
        return -1;
    }
    p->is_chat = true;
    buf_clear(&p->rendered);
    buf_clear(&p->trust);
    int rc = chat_render(o->chat, "record", record, o->generation, &p->rendered, &p->trust, e);
    p->text = buf_view(&p->rendered);
    return rc;
}

/* {"text": "...", ...} or {"messages": [...], ...}: other members become attributes. */
static int read_json(struct prompt *p, const struct prompt_options *o, struct str record, struct err *e) {
    struct str key;
    bool text = false, messages = false;
    json_init(&p->json, "record", record.p, record.n, e);
    json_enter_object(&p->json);
    while (json_key(&p->json, &key)) {
        if (str_eq(key, "text") && !o->chat_only) {
            p->text = json_str(&p->json);
            text = true;
        } else if (of_chat(key)) {
            messages |= str_eq(key, "messages");
            json_skip(&p->json);
        } else {
            record_attr(&p->json, key, &p->attrs);
        }
    }
    json_end(&p->json);
    if (o->chat_only && !messages)
        json_refuse(&p->json, "no \"messages\"");
    else if (text == messages)
        json_refuse(&p->json, text ? "both \"text\" and \"messages\"" : "no \"text\"");
    if (json_failed(&p->json))
        return -1;
    return messages ? read_chat(p, o, record, e) : 0;
}

static int read_text(struct prompt *p, const struct prompt_options *o, struct str record, struct err *e) {
    if (o->form == PROMPT_WHOLE && record.n && record.p[record.n - 1] == '\n')
        record.n--;
    size_t good = utf8_valid(record.p, record.n);
    p->text = record;
    if (good == record.n)
        return 0;
    if (o->strict)
        return err_set(e, EXIT_DATA, "invalid UTF-8: byte 0x%02x at offset %zu", (unsigned char)record.p[good], good);
    buf_clear(&p->repaired);
    utf8_repair(&p->repaired, record.p, record.n);
    p->text = buf_view(&p->repaired);
    return 0;
}

int prompt_read(struct prompt *p, const struct prompt_options *o, struct str record, struct err *e) {
    buf_clear(&p->attrs);
    json_free(&p->json);
    p->json = (struct json){0};
    p->is_chat = false;
    if (o->form == PROMPT_JSON)
        return read_json(p, o, record, e);
    return o->form == PROMPT_CHAT ? read_chat(p, o, record, e) : read_text(p, o, record, e);
}

void prompt_free(struct prompt *p) {
    json_free(&p->json);
    buf_free(&p->attrs);
    buf_free(&p->repaired);
    buf_free(&p->rendered);
    buf_free(&p->trust);
    *p = (struct prompt){0};
}
