/* What config.json means: see model_open. (The full struct comes with the loader.)
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef MODEL_SPEC_H
#define MODEL_SPEC_H

#include <stddef.h>
#include <stdint.h>

enum { SPEC_MAX_EOS = 8 };

struct spec {
    size_t vocab_size, hidden_dim, n_layers;
    size_t max_pos;             // max_position_embeddings
    int32_t bos;                // -1: none
    uint32_t n_eos;
    int32_t eos[SPEC_MAX_EOS];  // generation_config.json's where it has them, else config.json's
};

#endif
