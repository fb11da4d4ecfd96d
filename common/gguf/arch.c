/* The architectures that can be converted, one a row: see model.h. A new architecture is a new row
 * and, if its tensors differ, a new table of rules.
 *
 * Source for the permutation of q and k: convert_hf_to_gguf.py, class LlamaModel (modify_tensors,
 * for weight and bias of q_proj and k_proj) and its subclasses; the Qwen classes keep the rows.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "gguf/model.h"

#define RULE(gguf, hf, rows, cols, need, order)                                                    \
    { gguf, hf, GGUF_DIM_##rows, GGUF_DIM_##cols, need, order }

/* Rules for a layer's matrices, norms and biases. */
#define LAYER "model.layers.#."
#define MATRIX(gguf, hf, rows, cols, order)                                                        \
    RULE("blk.#." gguf ".weight", LAYER hf ".weight", rows, cols, GGUF_NEED, order)
#define NORM(gguf, hf, n)                                                                          \
    RULE("blk.#." gguf ".weight", LAYER hf ".weight", n, NONE, GGUF_NEED, GGUF_AS_STORED)
#define BIAS(gguf, hf, n, need, order)                                                             \
    RULE("blk.#." gguf ".bias", LAYER hf ".bias", n, NONE, need, order)

/* Groups of rules that several architectures share. q and k are the orders of their rows. */
#define OUTER                                                                                      \
    RULE("token_embd.weight", "model.embed_tokens.weight", VOCAB, HIDDEN, GGUF_NEED,               \
         GGUF_AS_STORED),                                                                          \
        RULE("output_norm.weight", "model.norm.weight", HIDDEN, NONE, GGUF_NEED, GGUF_AS_STORED),  \
        RULE("output.weight", "lm_head.weight", VOCAB, HIDDEN, GGUF_NEED_HEAD, GGUF_AS_STORED)
#define NORMS                                                                                      \
    NORM("attn_norm", "input_layernorm", HIDDEN),                                                  \
        NORM("ffn_norm", "post_attention_layernorm", HIDDEN)
#define ATTENTION(q, k)                                                                            \
    MATRIX("attn_q", "self_attn.q_proj", Q, HIDDEN, q),                                            \
        MATRIX("attn_k", "self_attn.k_proj", KV, HIDDEN, k),                                       \
        MATRIX("attn_v", "self_attn.v_proj", KV, HIDDEN, GGUF_AS_STORED),                          \
        MATRIX("attn_output", "self_attn.o_proj", HIDDEN, Q, GGUF_AS_STORED)
#define QKV_BIAS(need, q, k)                                                                       \
    BIAS("attn_q", "self_attn.q_proj", Q, need, q),                                                \
        BIAS("attn_k", "self_attn.k_proj", KV, need, k),                                           \
        BIAS("attn_v", "self_attn.v_proj", KV, need, GGUF_AS_STORED)
#define O_BIAS BIAS("attn_output", "self_attn.o_proj", HIDDEN, GGUF_NEED_ATTN_BIAS, GGUF_AS_STORED)
#define QK_NORM                                                                                    \
    NORM("attn_q_norm", "self_attn.q_norm", HEAD), NORM("attn_k_norm", "self_attn.k_norm", HEAD)
#define GATED_FFN                                                                                  \
    MATRIX("ffn_gate", "mlp.gate_proj", FFN, HIDDEN, GGUF_AS_STORED),                              \
        MATRIX("ffn_up", "mlp.up_proj", FFN, HIDDEN, GGUF_AS_STORED),                              \
        MATRIX("ffn_down", "mlp.down_proj", HIDDEN, FFN, GGUF_AS_STORED)
#define GATED_FFN_BIAS                                                                             \
    BIAS("ffn_gate", "mlp.gate_proj", FFN, GGUF_NEED_MLP_BIAS, GGUF_AS_STORED),                    \
        BIAS("ffn_up", "mlp.up_proj", FFN, GGUF_NEED_MLP_BIAS, GGUF_AS_STORED),                    \
        BIAS("ffn_down", "mlp.down_proj", HIDDEN, GGUF_NEED_MLP_BIAS, GGUF_AS_STORED)
#define LAST                                                                                       \
    { NULL, NULL, 0, 0, 0, 0 }

static const struct gguf_rule llama_rules[] = {
    OUTER,
    NORMS,
    ATTENTION(GGUF_UNPERMUTE_Q, GGUF_UNPERMUTE_K),
    QKV_BIAS(GGUF_NEED_ATTN_BIAS, GGUF_UNPERMUTE_Q, GGUF_UNPERMUTE_K),
    O_BIAS,
    GATED_FFN,
    GATED_FFN_BIAS,
    LAST,
};
static const struct gguf_rule mistral_rules[] = {
    OUTER, NORMS, ATTENTION(GGUF_UNPERMUTE_Q, GGUF_UNPERMUTE_K), GATED_FFN, LAST,
};
static const struct gguf_rule qwen2_rules[] = {
    OUTER,
    NORMS,
    ATTENTION(GGUF_AS_STORED, GGUF_AS_STORED),
    QKV_BIAS(GGUF_NEED, GGUF_AS_STORED, GGUF_AS_STORED),
    GATED_FFN,
    LAST,
};
static const struct gguf_rule qwen3_rules[] = {
    OUTER,
    NORMS,
    ATTENTION(GGUF_AS_STORED, GGUF_AS_STORED),
    QK_NORM,
    QKV_BIAS(GGUF_NEED_ATTN_BIAS, GGUF_AS_STORED, GGUF_AS_STORED),
    O_BIAS,
    GATED_FFN,
    LAST,
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
