/* llm-forward's output: frames of logits(5), gathered and sent with few system calls.
 *
 * With a return path, a write that would have to wait reads requests at the same time. A peer that
 * is sending a long request does not read frames, so without this both would wait for ever.
 *
 * An output of the resident engine never waits. What cannot be written yet is copied, and written
 * by later calls of output_flush. Until then its owner should add no more than is unavoidable.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef STAGES_OUTPUT_H
#define STAGES_OUTPUT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "wire/logits.h"
#include "wire/passing.h"
#include "wire/return.h"

struct output;

/* h, which must outlive o, is for output_header. ret, or NULL, is served while a write would have
 * to wait. */
struct output *output_new(int fd, const struct logits_header *h, struct return_server *ret);
/* For the resident engine: writes to what a client has passed, and never waits. */
struct output *output_new_passed(const struct passed *to, const struct logits_header *h);
void output_free(struct output *o);

int output_header(struct output *o, struct err *e);

/* Adds a frame to those that are to be sent. Its pointers must stay valid until output_flush. */
int output_add(struct output *o, const struct frame *f, struct err *e);
int output_flush(struct output *o, struct err *e);

/* Bytes wait until the descriptor can be written. Only where output_new_passed made o. */
bool output_waits(const struct output *o);

/* For poll, which reports POLLERR when the reader has left. */
int output_fd(const struct output *o);
/* The reader has left: a write failed with EPIPE, or output_set_left was called. The program then
 * ends without a message. */
bool output_left(const struct output *o);
int output_set_left(struct output *o, struct err *e); // returns -1

double output_seconds(const struct output *o); // spent writing
uint64_t output_bytes(const struct output *o);

#endif
