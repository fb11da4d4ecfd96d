/* The body of llm-forward: prompts from a descriptor and requests from the return path go to the
 * engine, and its events become frames of logits(5).
 *
 * One loop on one thread: it polls input, output and return path, hands what came to the engine,
 * and runs the engine's next step when that is due. Sequences join and leave at every step.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef STAGES_FORWARD_H
#define STAGES_FORWARD_H

#include <stdbool.h>

#include "base/err.h"
#include "engine/engine.h"
#include "model/model.h"
#include "wire/logits.h"
#include "wire/return.h"

/* Everything that it points to is the caller's, and outlives the run. */
struct forward_job {
    struct engine_options engine;
    bool all_logits;              // of every position of a prompt
    bool hidden_layers;           // frames of hidden states say their layer
    bool report;                  // says at the end how fast it was and where the time went
    double started;               // seconds_now() at the start of the program, for the report
    struct model *model;          // opened with engine_slots and engine_rows
    struct logits_header *header; // complete, but for what the input's header line may add
    struct return_server *ret;    // or NULL: sequences end with their prompts
    // Called when everything is open, before the first prompt is read; NULL: nothing is to be done.
    int (*opened)(struct err *e);
    int in_fd, out_fd;
    const char *in_name; // for messages
};

enum { FORWARD_READER_LEFT = 1 };

/* Runs until the input has ended and all sequences are closed. 0: *code is EXIT_DONE,
 * EXIT_SOME_FAILED where a sequence failed, or why the input ended early. FORWARD_READER_LEFT:
 * nobody reads the output or sends requests any more. -1 with e set: the stream to out_fd is cut.
 * SIGPIPE must be ignored. */
int stage_forward(const struct forward_job *job, int *code, struct err *e);

#endif
