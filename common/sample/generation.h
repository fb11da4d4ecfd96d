/* The sampling values that a model's authors recommend: generation_config.json, as transformers
 * writes it.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef SAMPLE_GENERATION_H
#define SAMPLE_GENERATION_H

#include "base/err.h"
#include "sample/params.h"
#include "sample/stop_texts.h"

/* Sets in p, and adds to stops, what the file at path gives: temperature, top_k, top_p, min_p,
 * repetition_penalty, max_new_tokens and stop_strings. null is "not given". Where do_sample is
 * false the choice is greedy. Otherwise a value that only shapes a draw, or do_sample, without a
 * temperature means temperature 1. Appends to said what was set, as "temp=0.6 top_p=0.9".
 *
 * -1 with e set: EXIT_NO_INPUT; EXIT_DATA if the file is not JSON, has a value that is out of
 * range, or asks for something that would change results and is not supported, such as beams. */
int sample_generation(struct sample_params *p, struct stop_texts *stops, const char *path,
                      struct buf *said, struct err *e);

#endif
