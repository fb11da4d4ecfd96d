/* The body of llm-sample: logits(5) to tokens(5).
 *
 * It chooses the next token of every sequence and requests the logits after it over the return
 * path. Without a return path (a recorded stream) it goes on only as far as the recording has the
 * rows for its own choices; such a sequence ends with finish=cut.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef STAGES_SAMPLE_H
#define STAGES_SAMPLE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"
#include "sample/params.h"
#include "sample/stop_texts.h"
#include "tokens/tokenizer.h"

/* Logits of a sequence. Row i scores the id at pos + i + 1, where ids has it. */
struct sample_rows {
    uint32_t seq, pos, rows, vocab_size;
    const float *values; // [rows, vocab_size]
    const uint32_t *ids; // [n_ids] of the sequence so far, the prompt's first
    size_t n_ids;
};

struct sample_job {
    struct sample_params params;       // a sequence's attributes override them
    struct stop_texts stops;           // a sequence's attribute replaces them
    const char *model;                 // whose tokenizer stop texts need; NULL: $LLM_MODEL
    const struct tokenizer *tokenizer; // the model's, if the caller has it
    uint64_t limit;                    // most new tokens, whatever the params and attributes say
    bool echo;                         // write the prompt's ids before the new ones
    bool has_peer; // peer is the connected return path, and the stage's; else the stream's header
    int peer;      // has its address
    // Called when everything is open, the return path too; NULL: nothing is to be done then.
    int (*opened)(struct err *e);
    // Called with all logits that come, after an id was chosen from the last of them and before it
    // is written; NULL: nobody wants them.
    void (*saw)(void *ctx, const struct sample_rows *rows);
    void *ctx;
};

/* Reads logits(5) from fd; name is the input's, for messages. *n_chosen is the number of new
 * tokens.
 *
 * Returns EXIT_DONE; or EXIT_SOME_FAILED if a sequence failed or was cut, which its line and a
 * warning say; or -1 with e set: EXIT_USAGE if the params name an id outside the vocabulary;
 * EXIT_DATA if the stream is bad or was cut, after every open line has been ended; EXIT_IO. */
int stage_sample(const struct sample_job *o, int fd, const char *name, FILE *out,
                 uint64_t *n_chosen, struct err *e);

#endif
