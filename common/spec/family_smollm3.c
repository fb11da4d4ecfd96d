/* SmolLM 3 is Llama with a tied head, where every fourth layer is not rotated.
 * Where use_sliding_window is true, only the layers without rotation have the window.
 *
 * Keys and defaults: transformers' models/smollm3/configuration_smollm3.py.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "spec/family_parts.h"

static const struct key layer_keys[] = {
    {"no_rope_layers", KEY_OTHER, 0, 0},
    {"no_rope_layer_interval", KEY_SIZE, CONFIG_AT(no_rope_interval), SPEC_MAX_LAYERS},
    {NULL, KEY_OTHER, 0, 0},
};

const struct family family_smollm3 = {
    .model_type = "smollm3",
    .sizes = {.vocab_size = 128256,
              .hidden_dim = 2048,
              .ffn_dim = 11008,
              .n_layers = 36,
              .n_heads = 16,
              .max_pos = 32768},
    .ends = {.bos = 128000, .eos = 128001},
    .names = &family_llama_names,
    .keys = {family_rotary_keys, family_rms_norm_keys, family_attention_bias_keys,
             family_mlp_bias_keys, family_optional_window_keys, layer_keys},
    .base = {.spec = {.norm_eps = 1e-6f, .act = ACT_SILU, .n_kv_heads = 4, .tied = true},
             .theta = 2e6,
             .no_rope_interval = 4,
             .no_window = true,
             .window_unrotated = true,
             .types_by_layer = true},
};
