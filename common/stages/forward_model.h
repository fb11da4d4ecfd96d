/* llm-forward's model, with what its streams' headers say of it.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef STAGES_FORWARD_MODEL_H
#define STAGES_FORWARD_MODEL_H

#include <stdbool.h>

#include "base/err.h"
#include "model/model.h"
#include "wire/logits.h"

struct forward_model_options {
    struct model_options model;
    const char *verify;         // path of a list that the weights are compared with; NULL: none
    const char *layers;         // of hidden states; NULL: the last
    bool hidden;                // the header announces hidden states
    const char *const *kv_load; // [n_kv_load] paths of kv(5) files
    size_t n_kv_load;
    bool kv_save; // model_kv_save will be called
};

/* Opens the model in folder dir and kv(5) files, compares its weights, and fills h, except for its
 * address and nonce. Warns of a context past what the model was made for. -1 with e set. */
int forward_model_open(struct model **m, struct logits_header *h, const char *dir,
                       const struct forward_model_options *o, struct err *e);

#endif
