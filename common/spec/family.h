/* The table of model families: a row says how model_type's config keys and tensor names map to
 * struct spec.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef SPEC_FAMILY_H
#define SPEC_FAMILY_H

#include "spec/keys.h"
#include "spec/spec.h"

/* What config.json says beside the spec: turned into layers and rotations once all keys are read.
 */
struct spec_config {
    struct spec spec;
    size_t window;              // sliding_window
    bool no_window;             // ... is ignored unless use_sliding_window is true: Qwen, SmolLM 3
    bool has_max_window_layers; // layers before max_window_layers see everything: Qwen 2, Qwen 3
    size_t max_window_layers;
    size_t
        window_pattern; // every window_pattern-th layer sees everything: Gemma 2 (2), Gemma 3 (6)
    bool window_unrotated;   // only layers without rotation have the window: SmolLM 3
    bool types_by_layer;     // layer_types says which layers are sliding
    size_t no_rope_interval; // every n-th layer is not rotated, unless no_rope_layers says which:
                             // SmolLM 3
    double local_theta;      // of the sliding layers, which have a rotation of their own: Gemma 3
    bool scale_embedding;    // by sqrt(hidden_dim): Gemma
    bool qk_layernorm;       // Phi, StableLM: q and k are normed if the key says so
    double query_scalar;     // attn_scale = query_scalar^-1/2: Gemma 2
    double theta;            // top-level rope_theta
    double partial; // top-level partial_rotary_factor, in families that have it (phi); 0 in others
    bool unscaled;  // scores are not divided by sqrt(head_dim): GPT-2 with scale_attn_weights false
    bool gelu_is_tanh;       // hidden_act "gelu" means the tanh form: Gemma 1
    double original_max_pos; // top-level original_max_position_embeddings: Phi 3
    size_t sparse_step;      // every n-th layer has experts: Qwen 3 MoE
};

/* Tensor names without ".weight" and ".bias"; '#' stands for the layer, '@' for the expert. A NULL
 * is a tensor that the family does not have. Names but for the head's stand behind prefix, or
 * behind nothing. */
struct family_names {
    const char *prefix, *embed, *positions, *final_norm, *head;
    const char *attn_norm, *attn_post_norm, *ffn_norm, *ffn_post_norm, *q_norm, *k_norm;
    const char *q, *k, *v, *qkv, *o;
    const char *gate, *up, *gate_up, *down;
    const char *router, *expert_gate, *expert_up, *expert_down;
    const char *const
        *ignored; // endings of tensors that are no weights (GPT-2's masks), NULL-terminated
};

enum { FAMILY_KEYS = 9 };

struct family {
    const char *model_type;
    const struct family_names *names;
    const struct key
        *keys[FAMILY_KEYS]; // tables, NULL behind the last; they go before family_common_keys
    struct {
        size_t vocab_size, hidden_dim, ffn_dim, n_layers, n_heads, max_pos;
    } sizes; // where config.json lacks the key; ffn_dim 0: made of hidden_dim
    struct {
        int32_t bos, eos;
    } ends;                  // likewise; -1: none
    struct spec_config base; // what the family fixes, and the defaults of all other keys
};

const struct family *family_find(struct str model_type); // NULL: not supported
const struct family *family_at(size_t i);                // NULL behind the last
extern const struct key family_common_keys[], family_rope_keys[];
extern const struct key
    family_window_keys[]; // of families whose window counts only if use_sliding_window is true
extern const char *const family_harmless_keys[]; // NULL-terminated
extern const char *const
    family_foreign_keys[]; // of models that are no family here; the reference does not read them

/* The rotations of c, from the members of config.json. */
int config_ropes(struct keys_reader *r, struct spec_config *c, const struct keys_object *o);

#endif
