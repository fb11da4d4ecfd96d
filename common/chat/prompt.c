/* Records of tok-encode: see prompt.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "chat/prompt.h"

#include "base/attrs.h"
#include "base/utf8.h"
#include "chat/record.h"

static bool of_chat(struct str key) {
    static const char *const members[] = {"messages",
                                          "tools",
                                          "documents",
                                          "add_generation_prompt",
                                          "chat_template_kwargs",
                                          "continue_final_message",
                                          "chat_template"};
    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        if (str_eq(key, members[i]))
            return true;
    return false;
}

/* Files of JSON may begin with a BOM. */
static struct str without_bom(struct str s) {
    bool bom = s.n >= 3 && memcmp(s.p, "\xEF\xBB\xBF", 3) == 0;
    return bom ? (struct str){s.p + 3, s.n - 3} : s;
}

/* choice: NULL where the record has not been parsed. */
static int read_chat(struct chat_prompt *p, const struct prompt_options *o, struct str record,
                     const struct chat_choice *choice, struct err *e) {
    if (!o->chat) {
        *e = o->no_chat;
        return -1;
    }
    p->is_chat = true;
    record = without_bom(record);
    buf_clear(&p->rendered);
    buf_clear(&p->trust);
    int rc = chat_render(o->chat, o->form == PROMPT_CHAT ? o->input : NULL, record, choice,
                         &o->defaults, &p->rendered, &p->trust, e);
    p->text = buf_view(&p->rendered);
    return rc;
}

/* If the record is a line of OpenAI's batches, replaces it with its "body" and makes attributes of
 * the other members. completions: its url is that of text completions, where the text is called
 * "prompt". Any other record stays as it is. */
static int open_batch_line(struct chat_prompt *p, struct str *record, bool *completions,
                           struct err *e) {
    struct str key, body = {NULL, 0}, url = {NULL, 0};
    struct json j;
    bool id = false;
    struct err ignored = {0};
    json_init(&j, "record", record->p, record->n, &ignored);
    if (json_peek(&j) == JSON_OBJECT) {
        json_enter_object(&j);
        while (json_key(&j, &key)) {
            id |= str_eq(key, "custom_id");
            if (str_eq(key, "body") && json_peek(&j) == JSON_OBJECT)
                body = json_skip(&j);
            else if (str_eq(key, "url") && json_peek(&j) == JSON_STRING)
                url = json_str(&j);
            else
                json_skip(&j);
        }
    }
    bool batch = !json_failed(&j) && id && body.p;
    *completions = batch && url.p && str_eq(url, "/v1/completions");
    bool known = *completions || !url.p || str_eq(url, "/v1/chat/completions");
    json_free(&j);
    if (!batch)
        return 0;
    json_init(&j, NULL, record->p, record->n, e);
    json_enter_object(&j);
    while (json_key(&j, &key))
        if (str_eq(key, "body"))
            json_skip(&j);
        else
            record_member(&j, key, &p->attrs, &p->notes);
    if (!known)
        json_refuse(&j, "\"url\" is neither \"/v1/chat/completions\" nor \"/v1/completions\"");
    bool good = json_end(&j);
    json_free(&j);
    *record = body;
    return good ? 0 : -1;
}

/* Whether the record has "context" and "continuation", and neither "text" nor "messages", beside
 * which they are data. Few records have the word, so few are parsed twice. */
static bool has_pair(struct str record) {
    static const char word[] = "\"continuation\"";
    const char *at = record.p, *end = record.p + record.n;
    bool context = false, continuation = false, other = false;
    struct err ignored = {0};
    struct str key;
    struct json j;
    while (at && (size_t)(end - at) >= sizeof word - 1 && memcmp(at, word, sizeof word - 1) != 0)
        at = memchr(at + 1, '"', (size_t)(end - at - 1));
    if (!at || (size_t)(end - at) < sizeof word - 1)
        return false;
    json_init(&j, "record", record.p, record.n, &ignored);
    json_enter_object(&j);
    while (json_key(&j, &key)) {
        context |= str_eq(key, "context");
        continuation |= str_eq(key, "continuation");
        other |= str_eq(key, "text") || str_eq(key, "messages");
        json_skip(&j);
    }
    json_free(&j);
    return context && continuation && !other;
}

/* Reads one member of a JSON record into *text, or into the continuation of a pair. False if it is
 * another key. */
static bool read_text_member(struct chat_prompt *p, struct str key, const char *text_name,
                             bool *text) {
    bool continuation = p->is_pair && str_eq(key, "continuation");
    if (!continuation && !str_eq(key, p->is_pair ? "context" : text_name))
        return false;
    if (continuation ? p->continuation.p != NULL : *text)
        json_refuse(&p->json, "expected one text, found two");
    struct str value = json_str(&p->json);
    *(continuation ? &p->continuation : &p->text) = value;
    *text |= !continuation;
    return true;
}

/* Reads {"text": "...", ...}, {"messages": [...], ...} or {"context": "...", "continuation": "...",
 * ...}. Other members become attributes. chat_render parses a chat's members again. */
static int read_json(struct chat_prompt *p, const struct prompt_options *o, struct str record,
                     struct err *e) {
    struct str key;
    bool text = false, messages = false, completions = false;
    struct chat_choice choice = {0};
    record = without_bom(record);
    size_t blank = 0;
    while (blank < record.n && strchr(" \t\r", record.p[blank]) && record.p[blank])
        blank++;
    if (blank == record.n)
        return err_set(e, EXIT_DATA, "the line is blank");
    if (record.p[blank] == '[')
        return err_set(e, EXIT_DATA,
                       "an array, not an object: messages are {\"messages\": [...]}, or read by "
                       "--chat without -j");
    if (memchr(record.p, 'y', record.n) && open_batch_line(p, &record, &completions, e) != 0)
        return -1;
    p->is_pair = !completions && has_pair(record);
    json_init(&p->json, NULL, record.p, record.n, e);
    json_enter_object(&p->json);
    while (json_key(&p->json, &key)) {
        if (read_text_member(p, key, "text", &text) ||
            (completions && read_text_member(p, key, "prompt", &text))) {
            continue;
        }
        if (of_chat(key)) {
            messages |= str_eq(key, "messages");
            chat_choice_member(&choice, &p->json, key);
        } else {
            record_member(&p->json, key, &p->attrs, &p->notes);
        }
    }
    json_end(&p->json);
    if (o->chat_only && !messages)
        json_refuse(&p->json, "no \"messages\"");
    else if (text == messages)
        json_refuse(&p->json, text ? "both \"text\" and \"messages\"" : "no \"text\"");
    if (json_failed(&p->json))
        return -1;
    return messages ? read_chat(p, o, record, &choice, e) : 0;
}

static int read_text(struct chat_prompt *p, const struct prompt_options *o, struct str record,
                     struct err *e) {
    if (o->form == PROMPT_WHOLE && record.n && record.p[record.n - 1] == '\n')
        record.n--;
    size_t good = utf8_valid(record.p, record.n);
    p->text = record;
    if (good == record.n)
        return 0;
    if (o->strict)
        return err_set(e, EXIT_DATA, "invalid UTF-8: byte 0x%02x at offset %zu",
                       (unsigned char)record.p[good], good);
    buf_clear(&p->repaired);
    utf8_repair(&p->repaired, record.p, record.n);
    p->text = buf_view(&p->repaired);
    return 0;
}

/* Adds "id" and "custom_id" of a record that has failed, so that its line in the output can be told
 * from others. Those that were read before the error are in attrs already. */
static void salvage_ids(struct buf *attrs, struct str record) {
    struct str key;
    struct json j;
    struct err ignored = {0};
    struct buf value = {0};
    uint32_t notes = 0;
    json_init(&j, "record", record.p, record.n, &ignored);
    if (record.n && json_peek(&j) == JSON_OBJECT) {
        json_enter_object(&j);
        while (json_key(&j, &key))
            if ((str_eq(key, "id") && !attrs_get(buf_view(attrs), "id", &value)) ||
                (str_eq(key, "custom_id") && !attrs_get(buf_view(attrs), "custom_id", &value)))
                record_member(&j, key, attrs, &notes);
            else
                json_skip(&j);
    }
    json_free(&j);
    buf_free(&value);
}

int prompt_read(struct chat_prompt *p, const struct prompt_options *o, struct str record,
                struct err *e) {
    buf_clear(&p->attrs);
    json_free(&p->json);
    p->json = (struct json){0};
    p->is_chat = p->is_pair = false;
    p->continuation = (struct str){NULL, 0};
    p->notes = 0;
    if (o->form == PROMPT_JSON) {
        int rc = read_json(p, o, record, e);
        if (rc != 0)
            salvage_ids(&p->attrs, record);
        return rc;
    }
    return o->form == PROMPT_CHAT ? read_chat(p, o, record, NULL, e) : read_text(p, o, record, e);
}

void prompt_free(struct chat_prompt *p) {
    json_free(&p->json);
    buf_free(&p->attrs);
    buf_free(&p->repaired);
    buf_free(&p->rendered);
    buf_free(&p->trust);
    *p = (struct chat_prompt){0};
}
