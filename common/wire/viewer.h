/* Opening a logits(5) stream for a program that only reads it: llm-inspect, llm-score, llm-diff.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef WIRE_VIEWER_H
#define WIRE_VIEWER_H

#include "base/err.h"
#include "wire/logits.h"

/* Opens path (NULL and "-" are stdin), reads the header into *h, and declines the return path, so
 * that llm-forward ends after the prompts. With option -v it prints the header on stderr. *name is
 * the input's, for messages. The descriptor stays open until the program ends. NULL with e set. */
struct logits_reader *viewer_open(const char *path, const char **name, struct logits_header *h,
                                  struct err *e);

#endif
