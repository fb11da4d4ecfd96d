/* The architectures that can be converted, one a row: see model.h. A new architecture is a new row
 * and, if its tensors differ, a new table of rules.
 *
 * Source for the permutation of q and k: convert_hf_to_gguf.py, class LlamaModel (modify_tensors,
 * for weight and bias of q_proj and k_proj) and its subclasses; the Qwen classes keep the rows.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "gguf/model.h"

#define LAYER "model.layers.#."
#define OUTER                                                                                      \
    {"token_embd.weight", "model.embed_tokens.weight", DIM_VOCAB, DIM_HIDDEN, NEED, 0},            \
        {"output_norm.weight", "model.norm.weight", DIM_HIDDEN, DIM_NONE, NEED, 0}, {              \
        "output.weight", "lm_head.weight", DIM_VOCAB, DIM_HIDDEN, HEAD, 0                          \
    }
#define NORMS                                                                                      \
    {"blk.#.attn_norm.weight", LAYER "input_layernorm.weight", DIM_HIDDEN, DIM_NONE, NEED, 0}, {   \
        "blk.#.ffn_norm.weight", LAYER "post_attention_layernorm.weight", DIM_HIDDEN, DIM_NONE,    \
            NEED, 0                                                                                \
    }
#define ATTENTION(q, k)                                                                            \
    {"blk.#.attn_q.weight", LAYER "self_attn.q_proj.weight", DIM_Q, DIM_HIDDEN, NEED, q},          \
        {"blk.#.attn_k.weight", LAYER "self_attn.k_proj.weight", DIM_KV, DIM_HIDDEN, NEED, k},     \
        {"blk.#.attn_v.weight", LAYER "self_attn.v_proj.weight", DIM_KV, DIM_HIDDEN, NEED, 0}, {   \
        "blk.#.attn_output.weight", LAYER "self_attn.o_proj.weight", DIM_HIDDEN, DIM_Q, NEED, 0    \
    }
#define QKV_BIAS(need, q, k)                                                                       \
    {"blk.#.attn_q.bias", LAYER "self_attn.q_proj.bias", DIM_Q, DIM_NONE, need, q},                \
        {"blk.#.attn_k.bias", LAYER "self_attn.k_proj.bias", DIM_KV, DIM_NONE, need, k}, {         \
        "blk.#.attn_v.bias", LAYER "self_attn.v_proj.bias", DIM_KV, DIM_NONE, need, 0              \
    }
#define O_BIAS                                                                                     \
    { "blk.#.attn_output.bias", LAYER "self_attn.o_proj.bias", DIM_HIDDEN, DIM_NONE, ATTN_BIAS, 0 }
#define QK_NORM                                                                                    \
    {"blk.#.attn_q_norm.weight", LAYER "self_attn.q_norm.weight", DIM_HEAD, DIM_NONE, NEED, 0}, {  \
        "blk.#.attn_k_norm.weight", LAYER "self_attn.k_norm.weight", DIM_HEAD, DIM_NONE, NEED, 0   \
    }
#define GATED_FFN                                                                                  \
    {"blk.#.ffn_gate.weight", LAYER "mlp.gate_proj.weight", DIM_FFN, DIM_HIDDEN, NEED, 0},         \
        {"blk.#.ffn_up.weight", LAYER "mlp.up_proj.weight", DIM_FFN, DIM_HIDDEN, NEED, 0}, {       \
        "blk.#.ffn_down.weight", LAYER "mlp.down_proj.weight", DIM_HIDDEN, DIM_FFN, NEED, 0        \
    }
#define GATED_FFN_BIAS                                                                             \
    {"blk.#.ffn_gate.bias", LAYER "mlp.gate_proj.bias", DIM_FFN, DIM_NONE, MLP_BIAS, 0},           \
        {"blk.#.ffn_up.bias", LAYER "mlp.up_proj.bias", DIM_FFN, DIM_NONE, MLP_BIAS, 0}, {         \
        "blk.#.ffn_down.bias", LAYER "mlp.down_proj.bias", DIM_HIDDEN, DIM_NONE, MLP_BIAS, 0       \
    }
#define LAST                                                                                       \
    { NULL, NULL, 0, 0, 0, 0 }

static const struct gguf_rule llama_rules[] = {
    OUTER,
    NORMS,
    ATTENTION(UNPERMUTE_Q, UNPERMUTE_K),
    QKV_BIAS(ATTN_BIAS, UNPERMUTE_Q, UNPERMUTE_K),
    O_BIAS,
    GATED_FFN,
    GATED_FFN_BIAS,
    LAST,
};
static const struct gguf_rule mistral_rules[] = {
    OUTER, NORMS, ATTENTION(UNPERMUTE_Q, UNPERMUTE_K), GATED_FFN, LAST,
};
static const struct gguf_rule qwen2_rules[] = {
    OUTER, NORMS, ATTENTION(0, 0), QKV_BIAS(NEED, 0, 0), GATED_FFN, LAST,
};
static const struct gguf_rule qwen3_rules[] = {
    OUTER, NORMS, ATTENTION(0, 0), QK_NORM, QKV_BIAS(ATTN_BIAS, 0, 0), O_BIAS, GATED_FFN, LAST,
};

static const struct gguf_arch table[] = {
    {"llama", "llama", "LlamaForCausalLM", llama_rules, .bias_keys = true},
    // Mistral's files also say "llama". Only those with a sliding window differ from Llama's.
    {"llama", "mistral", "MistralForCausalLM", mistral_rules, .window = true},
    {"qwen2", "qwen2", "Qwen2ForCausalLM", qwen2_rules, .window = false},
    {"qwen3", "qwen3", "Qwen3ForCausalLM", qwen3_rules, .attention_bias_key = true},
};
enum { N_ARCHS = sizeof table / sizeof *table };

const struct gguf_arch *gguf_arch_find(struct str name) {
    for (size_t i = 0; i < N_ARCHS; i++)
        if (str_eq(name, table[i].name))
            return &table[i];
    return NULL;
}

const struct gguf_arch *gguf_arch_windowed(const struct gguf_arch *a) {
    for (size_t i = 0; i < N_ARCHS; i++)
        if (table[i].window && strcmp(table[i].name, a->name) == 0)
            return &table[i];
    return NULL;
}

const char *gguf_arch_names(struct buf *out) {
    for (size_t i = 0; i < N_ARCHS; i++)
        if (!table[i].window)
            buf_fmt(out, "%s%s", out->n ? " " : "", table[i].name);
    return out->p;
}
