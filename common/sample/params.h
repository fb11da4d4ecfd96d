/* Sampling parameters: how to choose the next token, and when to stop.
 *
 * A parameter has the same name as an option of llm-sample and, with '_' for '-', as an attribute
 * of a sequence in tokens(5). Attributes override options.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef SAMPLE_PARAMS_H
#define SAMPLE_PARAMS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"

enum { SAMPLE_MAX_BIAS = 300, SAMPLE_MAX_STOP = 32 };
enum { SAMPLE_MAX_ID = 0x7fffffff }; // largest token id that tokens(5) can carry

struct logit_bias {
    uint32_t id;
    double value;
};

struct sample_params {
    double temp;               // 0: greedy
    uint64_t top_k;            // 0: all
    double top_p;              // 1: all
    double min_p;              // 0: all
    double repetition_penalty; // 1: none
    double presence_penalty;   // 0: none
    double frequency_penalty;  // 0: none
    uint64_t seed;
    bool own_seed; // the seed is this sequence's alone: its number is not used
    uint64_t max;  // most new tokens
    bool ignore_eos;
    int64_t end; // an id that ends this sequence as the model's EOS ids do; -1: none
    size_t n_bias, n_stop;
    uint32_t stop[SAMPLE_MAX_STOP];
    struct logit_bias bias[SAMPLE_MAX_BIAS]; // last: see sample_params_copy
};

extern const struct sample_params sample_defaults;

/* Sets one parameter from text. name is "top-p" or "top_p". A list ("2,7", "5=-1,9=2.5") is added
 * to the list that p has. 1: done; 0: no such parameter; -1 with e set (EXIT_USAGE): a bad value.
 */
int sample_param(struct sample_params *p, const char *name, struct str value, struct err *e);

/* Sets all parameters that an attribute text names; its lists replace those of p. -1 with e set
 * (EXIT_USAGE). */
int sample_attributes(struct sample_params *p, struct str attrs, struct err *e);

/* A copy that has memory for the n_bias biases that p has, and no more; for reading only. Freed
 * with free. *bytes: its size. */
const struct sample_params *sample_params_copy(const struct sample_params *p, size_t *bytes);

/* 0 if every id that p names is below vocab_size, or -1 with e set (EXIT_USAGE). */
int sample_check_ids(const struct sample_params *p, uint32_t vocab_size, struct err *e);

const char *sample_param_name(size_t i); // of parameter i as an attribute; NULL after the last
bool sample_stops(const struct sample_params *p, uint32_t id); // id is among p->stop

#endif
