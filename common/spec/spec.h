/* config.json's meaning: every number that forward needs, in one struct, whatever the family.
 *
 * The family (family.h) gives the defaults, and config.json replaces them. A field that both leave
 * alone is zero, which means "off" and costs nothing in forward. Each such field's comment names a
 * model that has it.
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
#include "spec/quant_spec.h"
#include "spec/rope_spec.h"

/* The largest values that a config.json may have. */
enum {
    SPEC_MAX_EOS = 1024,
    SPEC_MAX_LAYERS = 1024,
    SPEC_MAX_HEADS = 4096,
    SPEC_MAX_HEAD_DIM = 4096,
    SPEC_MAX_EXPERTS = 4096,
    SPEC_MAX_DIM = 1 << 20, // hidden_dim, ffn_dim, expert_ffn_dim
    SPEC_MAX_VOCAB = 1 << 24,
    SPEC_MAX_CONTEXT = 1 << 28, // positions
    SPEC_MAX_ROPES = 2,         // Gemma 3: of layers without and with a window
    SPEC_MAX_TOKEN_TYPES = 1 << 16,
};

enum mixer { MIXER_ATTENTION, MIXERS }; // what mixes the positions of a layer

struct layer_spec {
    enum mixer mixer;
    uint32_t window; // a position sees itself and window - 1 before it (Mistral 7B 0.1), and as
                     // many after it in an encoder (ModernBERT); 0: all
    bool sliding;    // rotated by ropes[1] where there are two (Gemma 3)
    bool no_rope;    // not rotated at all (every fourth layer of SmolLM 3)
    bool dense; // an ordinary FFN where other layers have experts (Qwen 3 MoE: mlp_only_layers)
};

struct spec {
    const char *model_type;
    const char *part_of; // model_type of the multimodal model whose text model this is; NULL: none
    size_t vocab_size, hidden_dim, n_layers, n_heads, n_kv_heads, head_dim, ffn_dim;
    size_t max_pos; // max_position_embeddings, less pos_offset
    int32_t bos;    // -1: none
    uint32_t n_eos;
    int32_t eos[SPEC_MAX_EOS]; // of generation_config.json if it has them, else of config.json,
                               // else of the family

    bool bidirectional; // a position sees all others of its sequence: BERT, EmbeddingGemma
    bool no_head;       // an encoder, which gives no logits: BERT
    size_t token_types; // of their table, whose row 0 is added to all positions: BERT; 0: off
    bool embed_norm;    // embeddings are normed: BERT, ModernBERT
    bool residual_norm; // x = norm(x + block(x)) in place of x + block(norm(x)): BERT
    bool no_first_norm; // layer 0 has no norm before attention: ModernBERT
    bool no_final_norm; // BERT

    enum norm_kind norm;
    float norm_eps;
    float norm_offset; // added to every norm weight: 1 in Gemma
    bool no_norm_bias; // a LayerNorm without biases: ModernBERT
    bool no_pre_norm;  // attention and FFN read the residual without a norm: OLMo 2
    bool post_norm;    // their outputs are normed before they are added: Gemma 2, OLMo 2
    bool parallel;     // the FFN has the same input as attention: Phi 1 and 2
    enum qk_norm qk_norm;

    bool qkv_bias, o_bias;    // Qwen 2 (qkv), Phi 2, GPT-2
    bool ffn_bias, head_bias; // StarCoder 2, Phi 2 (both)
    bool fused_qkv;           // one matrix for q, k, v: Phi 3, GPT-2
    bool fused_gate;          // one matrix for gate and up: Phi 3
    bool transposed;          // matrices stored [n_in, n_out]: GPT-2's Conv1D
    bool ungated; // down(act(up)) instead of down(act(gate) * up): Phi 2, StarCoder 2, GPT-2
    enum activation act;
    bool tied; // the head is the embedding: Gemma, SmolLM 2

    bool learned_pos;  // a position embedding in place of rotation: GPT-2, BERT
    size_t pos_offset; // position p has row p + pos_offset of the table: XLM-R
    struct rope_spec ropes[SPEC_MAX_ROPES];
    size_t n_ropes;            // 0: no layer is rotated
    struct layer_spec *layers; // [n_layers]

    float embed_scale; // factor of the embedding: Gemma sqrt(hidden_dim), Granite; 0: off
    float attn_scale;  // factor of the scores: 1 / sqrt(head_dim), except in Gemma 2 and Granite
    bool attn_scale_by_layer; // divided by the layer's number from 1: stanford-crfm's GPT-2
    float attn_softcap;       // Gemma 2; 0: off
    float residual_scale;     // factor of the outputs of attention and FFN: Granite; 0: off
    float logit_divisor;      // Granite; 0: off
    float logit_softcap;      // Gemma 2; 0: off

    size_t n_experts;      // Mixtral, Qwen 3 MoE; 0: off
    size_t n_experts_used; // by each row (token)
    size_t expert_ffn_dim; // moe_intermediate_size; 0: ffn_dim
    bool no_renormalise;   // the chosen experts' softmax weights need not add up to 1:
                           // norm_topk_prob false

    struct spec_quant quant; // how the files store matrices

    struct arena mem; // holds layers, the ropes' factors and quant's text
};

/* Reads dir/config.json and dir/generation_config.json (which may be missing). A value that would
 * change results and is not supported is refused by its key. Unknown keys add a line to warnings.
 * End with spec_free, also after -1. */
int spec_read(struct spec *s, const char *dir, struct buf *warnings, struct err *e);
void spec_free(struct spec *s);

/* The same from text in memory; path is for messages. */
int spec_parse(struct spec *s, const char *path, const char *text, size_t n, struct buf *warnings,
               struct err *e);
int spec_parse_generation(struct spec *s, const char *path, const char *text, size_t n,
                          struct buf *warnings, struct err *e);

/* The family of s->model_type. */
const struct family *spec_family(const struct spec *s);

#endif
