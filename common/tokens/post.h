/* Post-processors: the special tokens around a text's ids, such as BOS and EOS.
 *
 * Whatever its kind, a post-processor puts ids before and after one text: 9906 1917 becomes 1 9906
 * 1917 2. Some also trim the white space from the tokens' offsets. post.c knows the kinds. Pairs of
 * texts are not supported, so the templates for pairs are not read.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TOKENS_POST_H
#define TOKENS_POST_H

#include "base/json.h"
#include "tokens/model.h"

enum post_type { POST_IDS, POST_TRIM };

/* One step: adds ids around the text, or trims white space from each token's offsets. */
struct post_step {
    enum post_type type;
    uint32_t *before, *after; // POST_IDS: [n_before], [n_after]
    size_t n_before, n_after;
    size_t copies;         // POST_IDS: occurrences of the text in the template, nearly always 1
    bool add_prefix_space; // POST_TRIM: a first token's single space is not in the text
    bool joins;            // POST_IDS: the reference sees the ids and the text as one piece
};

struct posts {
    struct post_step *steps; // [n]
    size_t n;
    // A template made other than one piece. The reference then processes each piece alone.
    bool in_pieces;
};

// Reads the next value of j; null means no post-processor.
void posts_load(struct posts *p, struct json *j);
void posts_free(struct posts *p);

void posts_template(struct posts *p, struct json *j);        // TemplateProcessing
void posts_pair(struct posts *p, struct json *j, bool trim); // BertProcessing, RobertaProcessing
void posts_byte_level(struct posts *p, struct json *j);      // ByteLevel
struct post_step *posts_add(struct posts *p, enum post_type type);
void post_add_id(uint32_t **ids, size_t *n, uint64_t id);

/* Puts the ids around the text's ids, which are all of out. spaces [out->n][2] counts the white
 * space characters at both ends of each token, for POST_TRIM; NULL if offsets are not wanted.
 * special: add the special ids. */
void posts_apply(const struct posts *p, bool special, struct token_ids *out,
                 const uint16_t (*spaces)[2], struct str text);
/* Returns how many ids posts_apply makes of n; SIZE_MAX if that overflows. */
size_t posts_count(const struct posts *p, bool special, size_t n);
bool posts_trim(const struct posts *p); // whether a step needs `spaces`

#endif
