/* TemplateProcessing: the template "single" lists special tokens and the place of the text.
 *
 *     "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}]
 *
 * A special token's ids are in "special_tokens", not in the vocabulary. Without special tokens, a
 * template that has the text once changes nothing. A template that has the text twice with tokens
 * between is refused.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdlib.h>

#include "tokens/component.h"
#include "tokens/post.h"

/* Published templates have up to ten of each. */
enum { MAX_ITEMS = 256, MAX_IDS = 4096 };

/* Appends the ids that "special_tokens", the next value of j, gives to the token `name`. */
static void find_special(struct json *j, struct str name, uint32_t **ids, size_t *n) {
    struct str key, member;
    bool found = false;
    json_enter_object(j);
    while (json_key(j, &key)) {
        if (!str_same(key, name)) {
            json_skip(j);
            continue;
        }
        found = true;
        json_enter_object(j);
        while (json_key(j, &member))
            if (str_eq(member, "ids")) {
                json_enter_array(j);
                while (json_item(j)) {
                    uint64_t id = json_u64(j);
                    if (id > VOCAB_MAX_ID)
                        json_refuse(j, "special token id %llu is more than %d",
                                    (unsigned long long)id, VOCAB_MAX_ID);
                    if (*n == MAX_IDS)
                        json_refuse(j, "the template adds more than %d ids", MAX_IDS);
                    if (!json_failed(j))
                        post_add_id(ids, n, id);
                }
            } else {
                json_skip(j);
            }
    }
    if (!found)
        json_refuse(j, "the template's special token \"%.*s\" is missing from special_tokens",
                    (int)name.n, name.p);
}

/* Reads {"SpecialToken": {"id": ...}} or {"Sequence": {"id": "A"}}. Returns the id and whether it
 * is the text's. */
static struct str load_item(struct json *j, bool *is_text) {
    struct str key, member, name = {0};
    json_enter_object(j);
    while (json_key(j, &key)) {
        *is_text = str_eq(key, "Sequence");
        if (!*is_text && !str_eq(key, "SpecialToken"))
            json_refuse(j, "unknown template item \"%.*s\"", (int)key.n, key.p);
        json_enter_object(j);
        while (json_key(j, &member))
            if (str_eq(member, "id"))
                name = json_str(j);
            else
                json_skip(j);
    }
    component_need(j, name.p, "a template item", "id");
    return name;
}

/* Reads one item of the template "single" into step s. special: "special_tokens". */
static void add_item(struct post_step *s, struct json *single, const struct json *special) {
    bool is_text = false;
    struct str name = load_item(single, &is_text);
    if (is_text && !str_eq(name, "A"))
        json_refuse(single, "the template for one text has a second text, \"%.*s\"", (int)name.n,
                    name.p);
    else if (is_text && s->n_after)
        json_refuse(single, "the template has the text twice, with tokens between");
    else if (is_text)
        s->copies++;
    if (is_text || single->failed)
        return;
    struct json look = *special;
    look.strings = (struct arena){0};
    if (s->copies)
        find_special(&look, name, &s->after, &s->n_after);
    else
        find_special(&look, name, &s->before, &s->n_before);
    single->failed |= look.failed;
    arena_free(&look.strings);
}

void posts_template(struct posts *p, struct json *j) {
    struct json single = *j, special = *j;
    struct str key;
    bool has_single = false, has_special = false;
    json_enter_object(j);
    while (json_key(j, &key)) {
        if (str_eq(key, "single")) {
            single = *j;
            has_single = true;
        } else if (str_eq(key, "special_tokens")) {
            special = *j;
            has_special = true;
        }
        json_skip(j);
    }
    component_need(j, has_single, "TemplateProcessing", "single");
    component_need(j, has_special, "TemplateProcessing", "special_tokens");
    if (json_failed(j))
        return;
    struct post_step *s = posts_add(p, POST_IDS);
    s->copies = 0;
    size_t n_pieces = 0;
    single.strings = (struct arena){0};
    json_enter_array(&single);
    for (; json_item(&single); n_pieces++) {
        if (n_pieces == MAX_ITEMS)
            json_refuse(&single, "the template has more than %d items", MAX_ITEMS);
        add_item(s, &single, &special);
    }
    p->in_pieces = n_pieces != 1;
    if (single.failed)
        j->failed = true;
    arena_free(&single.strings);
}
