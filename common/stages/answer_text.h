/* The text of answers as they grow, for llm-sample: whether a stop text is complete.
 *
 * llm-sample has the ids, and the model's tokenizer gives their text, as tok-decode will show it.
 * tokenizer.json is mapped before the program enters its sandbox, where no file can be opened. It
 * is parsed when the first sequence has a stop text, because most runs have none.
 *
 * An answer with stop texts gets the attribute `ends`, a JSON array of them, by which tok-decode
 * cuts exactly before the first one. With the prompt's ids before it, `begins` is their number.
 *
 * A stop text that is the whole text of a special token is also a stop id, because special tokens
 * are no part of the text.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef STAGES_ANSWER_TEXT_H
#define STAGES_ANSWER_TEXT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/io.h"
#include "sample/stop_texts.h"
#include "stages/answers.h"

struct answer_text; // of one answer

/* What they share. All zero but for the first three members, and the tokenizer if the
 * caller has it, is a beginning. */
struct answer_texts {
    const char *model;              // a folder or its tokenizer.json; NULL: $LLM_MODEL
    const struct stop_texts *stops; // of all answers that name none themselves
    uint64_t fingerprint;           // that the tokenizer must have; 0: any
    char *path;                     // of the mapped file
    struct map map;                 // p is NULL: there is none, and no_map is the reason
    struct err no_map;
    const struct tokenizer *tokenizer; // NULL: not loaded
    struct tokenizer *own;             // the same, where it is not the caller's
};

/* Maps the model's tokenizer.json, if there is one; without it answer_texts_open says why. */
void answer_texts_map(struct answer_texts *all);

/* Loads the mapped tokenizer, if it is not loaded. -1 with e set: there is none, or it is another
 * one than the stream's. */
int answer_texts_open(struct answer_texts *all, struct err *e);
void answer_texts_free(struct answer_texts *all);

/* Sets s->text where the answer, which has no new id yet, has stop texts. echo: the prompt's ids
 * are written before it. -1 with e set: the attribute `stop` is wrong, or there is no tokenizer. */
int answer_text_begin(struct answer_texts *all, struct answer *s, bool echo, struct err *e);
size_t answer_text_bytes(const struct answer_text *t); // of its memory; t may be NULL
void answer_text_free(struct answer_text *t);

/* The answer got a new id. Returns whether it ends with it. t may be NULL. */
bool answer_text_stops(struct answer_text *t, uint32_t id);

#endif
