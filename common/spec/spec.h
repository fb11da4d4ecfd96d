/* What config.json means: every number that forward needs, in one struct, whatever the family.
 *
 * A family is a row of the table in family.c. A field that a row and config.json leave alone is
 * "off": zero, and costs nothing in forward; each such field names a model that has it.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef SPEC_SPEC_H
#define SPEC_SPEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"
#include "spec/kinds.h"
#include "spec/rope_spec.h"

/* Most of each that a config.json may ask for; SPEC_MAX_DIM of hidden and FFN. */
enum {
    SPEC_MAX_EOS = 1024,
    SPEC_MAX_LAYERS = 1024,
    SPEC_MAX_HEADS = 4096,
    SPEC_MAX_HEAD_DIM = 4096
};
enum { SPEC_MAX_EXPERTS = 4096, SPEC_MAX_DIM = 1 << 20, SPEC_MAX_VOCAB = 1 << 24 };
enum {
    SPEC_MAX_CONTEXT = 1 << 28,
    SPEC_MAX_ROPES = 2 /* Gemma 3: of full and of sliding layers */
};

enum mixer { MIXER_ATTENTION, MIXERS }; // what mixes the positions of a layer

struct layer_spec {
    enum mixer mixer;
    uint32_t window; // sees itself and window - 1 before it (Mistral 7B 0.1); 0: all
    bool sliding;    // turns by ropes[1] where there are two (Gemma 3)
    bool no_rope;    // not rotated at all (every fourth layer of SmolLM 3)
    bool dense;      // among experts, an ordinary FFN (Qwen 3 MoE: mlp_only_layers)
};

struct spec {
    const char *model_type;
    size_t vocab_size, hidden_dim, n_layers, n_heads, n_kv_heads, head_dim, ffn_dim;
    size_t max_pos; // max_position_embeddings
    int32_t bos;    // -1: none
    uint32_t n_eos;
    int32_t eos[SPEC_MAX_EOS]; // generation_config.json's where it has them, else config.json's,
                               // else the family's

    enum norm_kind norm;
    float norm_eps;
    float norm_offset; // added to every norm weight: 1 in Gemma
    bool no_pre_norm;  // attention and FFN read the residual as it is: OLMo 2
    bool post_norm;    // their outputs are normed before they are added: Gemma 2, OLMo 2
    bool parallel;     // the FFN reads what attention reads: Phi 1 and 2
    enum qk_norm qk_norm;

    bool qkv_bias, o_bias;    // Qwen 2 (qkv), Phi 2, GPT-2
    bool ffn_bias, head_bias; // StarCoder 2, Phi 2 (both)
    bool fused_qkv,
        fused_gate;  // one matrix for q, k, v, and for gate and up: Phi 3; q, k, v: GPT-2
    bool transposed; // matrices stored [n_in, n_out]: GPT-2's Conv1D
    bool ungated;    // down(act(up)) instead of down(act(gate) * up): Phi 2, StarCoder 2, GPT-2
    enum activation act;
    bool tied; // the head is the embedding: Gemma, SmolLM 2

    bool learned_pos; // a position embedding in place of rotation: GPT-2
    struct rope_spec ropes[SPEC_MAX_ROPES];
    size_t n_ropes;            // 0: none turns
    struct layer_spec *layers; // [n_layers]

    float embed_scale; // the embedding is multiplied by it: Gemma sqrt(hidden_dim), Granite; 0: off
    float attn_scale;  // of the scores: 1 / sqrt(head_dim), but for Gemma 2 and Granite
    bool
        attn_scale_by_layer; // ... and divided by the layer's number from 1: GPT-2 of stanford-crfm
    float attn_softcap;      // Gemma 2; 0: off
    float residual_scale;    // of what a block adds: Granite; 0: off
    float logit_divisor;     // Granite; 0: off
    float logit_softcap;     // Gemma 2; 0: off

    size_t n_experts;      // Mixtral, Qwen 3 MoE; 0: off
    size_t n_experts_used; // by each row
    size_t expert_ffn_dim; // moe_intermediate_size; 0: ffn_dim
    bool no_renormalise;   // the chosen experts' weights are left as softmax gave them:
                           // norm_topk_prob false

    struct arena mem; // holds layers and the factors
};

/* Reads dir/config.json and dir/generation_config.json (which may be missing). What it does not
 * know and what would change results is refused by name; keys never heard of add a line to
 * warnings. End with spec_free, also after -1. */
int spec_read(struct spec *s, const char *dir, struct buf *warnings, struct err *e);
void spec_free(struct spec *s);

/* The same from text in memory; path is for messages. */
int spec_parse(struct spec *s, const char *path, const char *text, size_t n, struct buf *warnings,
               struct err *e);
int spec_parse_generation(struct spec *s, const char *path, const char *text, size_t n,
                          struct buf *warnings, struct err *e);

/* The row of the table that s came from. */
const struct family *spec_family(const struct spec *s);

#endif
