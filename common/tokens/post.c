/* The kinds of post-processors and how they are applied: see post.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "tokens/post.h"

#include <stdlib.h>

#include "tokens/component.h"
#include "unicode/unicode.h"

struct post_step *posts_add(struct posts *p, enum post_type type) {
    p->steps = xreallocarray(p->steps, p->n + 1, sizeof *p->steps);
    p->steps[p->n] = (struct post_step){.type = type, .copies = 1};
    return &p->steps[p->n++];
}

void post_add_id(uint32_t **ids, size_t *n, uint64_t id) {
    *ids = xreallocarray(*ids, *n + 1, sizeof **ids);
    (*ids)[(*n)++] = (uint32_t)id;
}

static void load_sequence(struct posts *p, struct json *j) {
    struct str key;
    bool found = false;
    json_enter_object(j);
    while (json_key(j, &key))
        if (str_eq(key, "processors")) {
            found = true;
            json_enter_array(j);
            while (json_item(j))
                posts_load(p, j);
        } else {
            json_skip(j);
        }
    component_need(j, found, "Sequence", "processors");
}

void posts_load(struct posts *p, struct json *j) {
    if (json_peek(j) == JSON_NULL) {
        json_null(j);
        return;
    }
    struct str type = component_type(j);
    component_limit(j, p->n);
    if (p->in_pieces && (str_eq(type, "TemplateProcessing") || str_eq(type, "BertProcessing") ||
                         str_eq(type, "RobertaProcessing")))
        json_refuse(j, "the post-processor \"%.*s\" after a TemplateProcessing is not supported",
                    (int)type.n, type.p);
    else if (str_eq(type, "Sequence"))
        load_sequence(p, j);
    else if (str_eq(type, "TemplateProcessing"))
        posts_template(p, j);
    else if (str_eq(type, "BertProcessing"))
        posts_pair(p, j, false);
    else if (str_eq(type, "RobertaProcessing"))
        posts_pair(p, j, true);
    else if (str_eq(type, "ByteLevel"))
        posts_byte_level(p, j);
    else
        json_refuse(j, "unknown post-processor \"%.*s\"", (int)type.n, type.p);
}

void posts_free(struct posts *p) {
    for (size_t i = 0; i < p->n; i++) {
        free(p->steps[i].before);
        free(p->steps[i].after);
    }
    free(p->steps);
}

/* Inserts n ids before the others. Their offsets are 0: special tokens have no text. */
static void put_in_front(struct token_ids *out, const uint32_t *ids, size_t n) {
    size_t had = out->n;
    for (size_t i = 0; i < n; i++)
        token_ids_add(out, 0, 0, 0);
    memmove(out->ids + n, out->ids, had * sizeof *out->ids);
    memcpy(out->ids, ids, n * sizeof *ids);
    if (out->want_offsets) {
        memmove(out->offsets + n, out->offsets, had * sizeof *out->offsets);
        memset(out->offsets, 0, n * sizeof *out->offsets);
    }
}

static void repeat(struct token_ids *out, size_t copies) {
    size_t n = out->n;
    if (copies == 0)
        out->n = 0;
    for (size_t k = 1; k < copies; k++)
        for (size_t i = 0; i < n; i++)
            token_ids_add(out, out->ids[i], out->want_offsets ? out->offsets[i][0] : 0,
                          out->want_offsets ? out->offsets[i][1] : 0);
}

/* Trims the white space from a token's offsets, one character of text for each (the reference's
 * process_offsets). */
static void trim(uint32_t o[2], bool first, const uint16_t spaces[2], bool prefix,
                 struct str text) {
    unsigned leading = spaces[0], trailing = spaces[1];
    if (leading == 1 && prefix && (first || o[0] == 0))
        leading = 0; // that space was added and is not in the text
    for (; leading > 0 && o[0] < o[1]; leading--)
        o[0] += (uint32_t)uni_len(text.p[o[0]]);
    for (; trailing > 0 && o[1] > o[0]; trailing--)
        o[1] = (uint32_t)uni_before(text.p, o[1]);
}

size_t posts_count(const struct posts *p, bool special, size_t n) {
    for (size_t k = 0; k < p->n; k++) {
        const struct post_step *s = &p->steps[k];
        size_t more = special ? s->n_before + s->n_after : 0;
        if (s->type != POST_IDS)
            continue;
        if (!mul_size(n, s->copies, &n) || !add_size(n, more, &n))
            return SIZE_MAX;
    }
    return n;
}

void posts_apply(const struct posts *p, bool special, struct token_ids *out,
                 const uint16_t (*spaces)[2], struct str text) {
    size_t one = out->n, n = out->n; // ids of the text, and of all its copies
    size_t in_front = 0;             // special ids before them
    bool joined = false;
    for (size_t k = 0; k < p->n; k++) {
        const struct post_step *s = &p->steps[k];
        for (size_t i = 0; s->type == POST_TRIM && spaces && i < n; i++)
            trim(out->offsets[in_front + i], i % one == 0 && !joined, spaces[i % one],
                 s->add_prefix_space, text);
        if (s->type != POST_IDS)
            continue;
        repeat(out, s->copies);
        n = s->copies ? n * s->copies : 0;
        if (!special)
            continue;
        if (s->n_before)
            put_in_front(out, s->before, s->n_before);
        in_front += s->n_before;
        joined |= s->joins;
        for (size_t i = 0; i < s->n_after; i++)
            token_ids_add(out, s->after[i], 0, 0);
    }
}

bool posts_trim(const struct posts *p) {
    for (size_t k = 0; k < p->n; k++)
        if (p->steps[k].type == POST_TRIM)
            return true;
    return false;
}
