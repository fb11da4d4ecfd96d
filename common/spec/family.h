/* A model family: how the config keys and tensor names of one model_type map to struct spec.
 *
 * A family is one file, family_NAME.c, which defines one struct family. family_list.h lists them.
 * Parts that several families share are in family_parts.h. Keys of all families are in families.c.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef SPEC_FAMILY_H
#define SPEC_FAMILY_H

#include "spec/keys.h"
#include "spec/spec.h"

/* The spec, and what config.json says beside it. config.c turns the latter into layers, rotations
 * and scales once all keys are read. */
struct spec_config {
    struct spec spec;

    /* Windows. */
    size_t window;              // sliding_window, in positions; 0: none
    bool no_window;             // use_sliding_window is not true: Qwen, SmolLM 3
    bool has_max_window_layers; // layers before max_window_layers have no window: Qwen 2, Qwen 3
    size_t max_window_layers;
    size_t window_pattern;  // every n-th layer has no window: Gemma 2 (2), Gemma 3 (6); 0: off
    bool window_from_first; // the first of n, not the last of them: ModernBERT
    bool window_both_sides; // the key counts positions on both sides: ModernBERT, EmbeddingGemma
    bool window_unrotated;  // only layers without rotation have the window: SmolLM 3
    bool types_by_layer;    // layer_types says which layers have the window

    /* Rotations. */
    size_t no_rope_interval; // every n-th layer is not rotated, if no_rope_layers is missing:
                             // SmolLM 3; 0: off
    double theta;            // rope_theta at the top level
    double local_theta;      // theta of sliding layers with a rotation of their own: Gemma 3
    double partial;          // partial_rotary_factor at the top level, in families that have it
                             // (Phi); 0 in others
    double original_max_pos; // original_max_position_embeddings at the top level: Phi 3

    /* Scales, norms, activation, experts. */
    bool scale_embedding; // embeddings are multiplied by sqrt(hidden_dim): Gemma
    double query_scalar;  // attn_scale = query_scalar^-1/2: Gemma 2
    bool unscaled;        // attn_scale = 1: GPT-2 with scale_attn_weights false
    bool qk_layernorm;    // q and k are normed: Phi, StableLM
    bool gelu_is_tanh;    // hidden_act "gelu" means the tanh form: Gemma 1
    size_t sparse_step;   // every n-th layer has experts: Qwen 3 MoE; 0: all
    size_t pad_id;        // positions count from pad_id + 1 ...
    bool counts_from_pad; // ... in XLM-R
};

/* Tensor names without ".weight" and ".bias". '#' is replaced by the layer's number, '@' by the
 * expert's. NULL: the family has no such tensor. Names in a file begin with the prefix, or none of
 * them does; the head's never does. */
struct family_names {
    const char *prefix, *embed, *positions, *final_norm, *head;
    const char *token_types, *embed_norm;
    const char *attn_norm, *attn_post_norm, *ffn_norm, *ffn_post_norm, *q_norm, *k_norm;
    const char *q, *k, *v, *qkv, *o;
    const char *gate, *up, *gate_up, *down;
    const char *moe[3]; // the module of the experts, as the files of several releases call it;
                        // NULL after the last. The next four names are inside it
    const char *router, *expert_gate, *expert_up, *expert_down;
    const char *const *ignored; // endings of tensors that are not weights (GPT-2's masks),
                                // NULL-terminated
};

enum { FAMILY_KEYS = 9 }; // key tables of a family, with the NULL after the last

struct family {
    const char *model_type;
    const struct family_names *names;
    const struct key *keys[FAMILY_KEYS]; // tables, in order; they take precedence over
                                         // family_common_keys. NULL after the last
    struct {                             // where config.json lacks the key
        size_t vocab_size, hidden_dim, ffn_dim, n_layers, n_heads, max_pos;
    } sizes;
    struct { // where config.json lacks the key; -1: none
        int32_t bos, eos;
    } ends;
    struct spec_config base; // what the family fixes, and the defaults of all other keys
};

const struct family *family_find(struct str model_type); // NULL: not supported
const struct family *family_at(size_t i);                // NULL after the last

extern const struct key family_common_keys[];      // of every family
extern const struct key family_rope_keys[];        // inside rope_scaling and rope_parameters
extern const struct key family_used_window_keys[]; // if use_sliding_window is true
extern const struct key family_pattern_keys[];     // if there is no layer_types: Gemma 3
extern const char *const family_harmless_keys[];   // no effect on results; NULL-terminated
extern const char *const family_foreign_keys[];    // of models that are no family here; likewise

/* A model of several parts, of which the text model is a family here. Its part of config.json is
 * the member text_config. */
struct multimodal {
    const char *model_type; // of the whole
    const char *text_type;  // of the text model if text_config does not say
    bool tied;              // where config.json lacks tie_word_embeddings
    bool text_ties;         // tie_word_embeddings of text_config counts as well
};

const struct multimodal *multimodal_find(struct str model_type); // NULL: not supported

/* The members of text_config, which must be an object. */
int multimodal_text(struct keys_reader *r, const struct keys_object *whole,
                    struct keys_object *text);

/* Reads the keys of the whole model that matter for its text, once those of text_config are in c.
 */
int multimodal_keys(struct keys_reader *r, const struct multimodal *m,
                    const struct keys_object *whole, struct spec_config *c);

/* Whether a tensor belongs to another part than the text model. */
bool multimodal_other_part(const char *tensor);

extern const char *const multimodal_prefixes[]; // of the text model's tensors; NULL after the last
extern const char *const multimodal_head_prefixes[]; // of its head; likewise

/* Fills c's rotations from the members of config.json. */
int config_ropes(struct keys_reader *r, struct spec_config *c, const struct keys_object *o);

/* Fills c's spec.quant from quantization_config, and refuses what is not supported. */
int config_quant(struct keys_reader *r, struct spec_config *c, const struct keys_object *o);

#endif
