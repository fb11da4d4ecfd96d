/* The table of model families: a row says how model_type's config keys and tensor names map to struct spec.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef MODEL_FAMILY_H
#define MODEL_FAMILY_H

#include "model/spec.h"

/* What config.json says beside the spec: turned into layers and rotations once all keys are read. */
struct config {
    struct spec spec;
    size_t window;              // sliding_window
    bool no_window;             // ... is ignored unless use_sliding_window is true: Qwen, SmolLM 3
    bool has_max_window_layers; // layers before max_window_layers see everything: Qwen 2, Qwen 3
    size_t max_window_layers;
    size_t window_pattern;   // every window_pattern-th layer sees everything: Gemma 2 (2), Gemma 3 (6)
    bool window_unrotated;   // only layers without rotation have the window: SmolLM 3
    bool types_by_layer;     // layer_types says which layers are sliding
    size_t no_rope_interval; // every n-th layer is not rotated, unless no_rope_layers says which: SmolLM 3
    double local_theta;      // of the sliding layers, which have a rotation of their own: Gemma 3
    bool scale_embedding;    // by sqrt(hidden_dim): Gemma
    bool qk_layernorm;       // Phi, StableLM: q and k are normed if the key says so
    double query_scalar;     // attn_scale = query_scalar^-1/2: Gemma 2
    double theta;            // top-level rope_theta
    double partial;          // top-level partial_rotary_factor, in families that have it (phi); 0 in others
    double original_max_pos; // top-level original_max_position_embeddings: Phi 3
    size_t sparse_step;      // every n-th layer has experts: Qwen 3 MoE
};

enum key_kind {
    KEY_END,
    KEY_HARMLESS, // does not change what forward computes
    KEY_SIZE,     // size_t, a whole number in [min, max]; null is 0
    KEY_REAL,     // double, finite, > 0; null is 0
    KEY_FLOAT,    // float, finite, > 0; null is 0
    KEY_EPS,      // float, 0 <= value < 1
    KEY_TRUE,     // bool: field = value; null is false
    KEY_FALSE,    // bool: field = !value; null is false
    KEY_ACT,      // enum activation by its name; null leaves the field alone
    KEY_OTHER,    // read by config.c itself
    ONLY_TRUE,    // any other value is refused
    ONLY_FALSE,   // false or null
    ONLY_NULL,
    ONLY_ONE, // the number 1
};

struct key {
    const char *name;
    enum key_kind kind;
    size_t at;       // offset into struct config (struct rope_spec for rope_keys)
    size_t min, max; // KEY_SIZE
};

/* Tensor names without ".weight" and ".bias"; '#' stands for the layer, '@' for the expert. A NULL is a
 * tensor that the family does not have. Names but for the head's stand behind prefix, or behind nothing. */
struct names {
    const char *prefix, *embed, *positions, *final_norm, *head;
    const char *attn_norm, *attn_post_norm, *ffn_norm, *ffn_post_norm, *q_norm, *k_norm;
    const char *q, *k, *v, *qkv, *o;
    const char *gate, *up, *gate_up, *down;
    const char *router, *expert_gate, *expert_up, *expert_down;
    const char *const *ignored; // endings of tensors that are no weights (GPT-2's masks), NULL-terminated
};

struct family {
    const char *model_type;
    const struct names *names;
    const struct key *keys; // beside common_keys; a key that stands twice sets two fields
    struct config base;     // what the family fixes, and the defaults of keys that config.json may lack
};

const struct family *family_find(struct str model_type); // NULL: not supported
const struct family *family_at(size_t i);                // NULL behind the last
extern const struct key common_keys[], rope_keys[];

#endif
