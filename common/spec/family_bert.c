/* BERT: an encoder with position embeddings and token types, whose embeddings are normed. Each
 * block is followed by a LayerNorm of the residual. It has biases everywhere, and an FFN with erf
 * GELU.
 *
 * MiniLM, BGE, GTE and the English E5 are BERTs. The pooler is not used: sentence-transformers
 * pools hidden states. Keys and defaults: transformers' models/bert/configuration_bert.py.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "spec/family_parts.h"

static const struct key own_keys[] = {
    {"position_embedding_type", KEY_ONLY_ABSOLUTE, 0, 0},
    {NULL, KEY_OTHER, 0, 0},
};

static const struct family_names names = {.prefix = "bert.", NAMES_BERT};

const struct family family_bert = {
    .model_type = "bert",
    .sizes = {.vocab_size = 30522,
              .hidden_dim = 768,
              .ffn_dim = 3072,
              .n_layers = 12,
              .n_heads = 12,
              .max_pos = 512},
    .ends = {.bos = -1, .eos = -1},
    .names = &names,
    .keys = {family_encoder_keys, family_encoder_other_keys, own_keys},
    .base = {.spec = {BASE_BERT}},
};
