/* BertProcessing and RobertaProcessing: one token before the text and one after it. Roberta's also
 * trims offsets. ByteLevel as a post-processor only trims offsets.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "tokens/component.h"
#include "tokens/post.h"

/* Reads ["</s>", 2] and returns the id. */
static uint64_t load_token(struct json *j) {
    uint64_t id = 0;
    json_enter_array(j);
    if (json_item(j))
        json_str(j);
    if (json_item(j))
        id = json_u64(j);
    if (json_item(j) || id > VOCAB_MAX_ID)
        json_refuse(j, "expected a token and its id");
    return id;
}

void posts_pair(struct posts *p, struct json *j, bool trim) {
    struct str key;
    bool sep = false, cls = false, trim_offsets = true, prefix = true;
    uint64_t ids[2] = {0};
    json_enter_object(j);
    while (json_key(j, &key))
        if (str_eq(key, "cls")) {
            ids[0] = load_token(j);
            cls = true;
        } else if (str_eq(key, "sep")) {
            ids[1] = load_token(j);
            sep = true;
        } else if (trim && str_eq(key, "trim_offsets")) {
            trim_offsets = json_bool(j);
        } else if (trim && str_eq(key, "add_prefix_space")) {
            prefix = json_bool(j);
        } else {
            json_skip(j);
        }
    component_need(j, sep, "a post-processor", "sep");
    component_need(j, cls, "a post-processor", "cls");
    if (trim && trim_offsets)
        posts_add(p, POST_TRIM)->add_prefix_space = prefix;
    struct post_step *s = posts_add(p, POST_IDS);
    s->joins = true;
    post_add_id(&s->before, &s->n_before, ids[0]);
    post_add_id(&s->after, &s->n_after, ids[1]);
}

void posts_byte_level(struct posts *p, struct json *j) {
    struct str key;
    bool trim = true, prefix = true;
    json_enter_object(j);
    while (json_key(j, &key))
        if (str_eq(key, "trim_offsets"))
            trim = json_bool(j);
        else if (str_eq(key, "add_prefix_space"))
            prefix = json_bool(j);
        else
            json_skip(j);
    if (trim)
        posts_add(p, POST_TRIM)->add_prefix_space = prefix;
}
