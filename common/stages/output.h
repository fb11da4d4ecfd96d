/* llm-forward's output: frames of logits(5), gathered and sent with few system calls.
 *
 * Where there is a return path, writing never waits while a request could be read: a peer that is
 * still sending a long request does not read our frames, and both would wait for each other for
 * ever.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef STAGES_OUTPUT_H
#define STAGES_OUTPUT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "wire/logits.h"
#include "wire/return.h"

struct output;

/* h (kept, not copied) is written by output_header. ret, or NULL, is served while a write would
 * have to wait. */
struct output *output_new(int fd, const struct logits_header *h, struct return_server *ret);
void output_free(struct output *o);

int output_header(struct output *o, struct err *e);

/* Puts a frame behind those that wait; what it points to must stand until output_flush. */
int output_add(struct output *o, const struct frame *f, struct err *e);
int output_flush(struct output *o, struct err *e);

/* For poll: raises POLLERR when the reader has left. */
int output_fd(const struct output *o);
/* The reader has left (a write said so, or output_set_left did): an end, not an error to speak of.
 */
bool output_left(const struct output *o);
int output_set_left(struct output *o, struct err *e); // returns -1

double output_seconds(const struct output *o); // spent writing
uint64_t output_bytes(const struct output *o);

#endif
