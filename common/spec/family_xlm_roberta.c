/* XLM-RoBERTa is BERT with positions that count from pad_token_id + 1. BGE-M3 and the multilingual
 * E5 are XLM-RoBERTas.
 *
 * The reference gives padding the position pad_token_id, and does not count it. A sequence here has
 * no padding; llm-embed refuses one with that id.
 *
 * Keys and defaults: transformers' models/xlm_roberta/configuration_xlm_roberta.py.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "spec/family_parts.h"

static const struct key own_keys[] = {
    {"position_embedding_type", KEY_ONLY_ABSOLUTE, 0, 0},
    {"pad_token_id", KEY_COUNT, CONFIG_AT(pad_id), SPEC_MAX_VOCAB},
    {NULL, KEY_OTHER, 0, 0},
};

static const struct family_names names = {.prefix = "roberta.", NAMES_BERT};

const struct family family_xlm_roberta = {
    .model_type = "xlm-roberta",
    .sizes = {.vocab_size = 30522,
              .hidden_dim = 768,
              .ffn_dim = 3072,
              .n_layers = 12,
              .n_heads = 12,
              .max_pos = 512},
    .ends = {.bos = 0, .eos = 2},
    .names = &names,
    .keys = {family_encoder_keys, family_encoder_other_keys, own_keys},
    .base = {.spec = {BASE_BERT}, .pad_id = 1, .counts_from_pad = true},
};
