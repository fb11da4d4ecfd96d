/* Post-processors: the special tokens around a text's ids. post.c knows their names.
 *
 * Whatever their kind, what they do to one text is the same: ids before it and ids behind it. Pairs
 * of texts are not encoded here, so their templates are not read.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TOKENS_POST_H
#define TOKENS_POST_H

#include "base/json.h"
#include "tokens/model.h"

enum post_type { POST_IDS, POST_TRIM };

/* One step: puts ids around, or takes the space off the offsets of every token. */
struct post_step {
    enum post_type type;
    uint32_t *before, *behind; // POST_IDS: [n_before], [n_behind]
    size_t n_before, n_behind;
    size_t copies;         // POST_IDS: how often the template has the text itself, nearly always 1
    bool add_prefix_space; // POST_TRIM: the first token's single space was not in the text
    bool joins;            // POST_IDS: to the reference the ids and the text are one piece then
};

struct posts {
    struct post_step *steps; // [n]
    size_t n;
    bool in_pieces; // a template has made other than one piece, which the reference treats each by
                    // itself
};

void posts_load(struct posts *p, struct json *j); // the value that j stands before; null is none
void posts_free(struct posts *p);

void posts_template(struct posts *p, struct json *j);        // TemplateProcessing
void posts_pair(struct posts *p, struct json *j, bool trim); // BertProcessing, RobertaProcessing
void posts_byte_level(struct posts *p, struct json *j);      // ByteLevel
struct post_step *posts_add(struct posts *p, enum post_type type);
void post_add_id(uint32_t **ids, size_t *n, uint64_t id);

/* The ids before a text go in front of out->ids[from], those behind it at the end. spaces [n][2]
 * are the space characters at each token's ends, for POST_TRIM; NULL where offsets are not wanted.
 */
void posts_apply(const struct posts *p, bool special, struct token_ids *out,
                 const uint16_t (*spaces)[2], struct str text);
bool posts_trim(const struct posts *p); // whether a step wants `spaces`

#endif
