/* The architectures that can be converted, one a row: see model.h. A new architecture is a new row
 * and, if its tensors differ, a new table of rules.
 *
 * Sources: gguf-py/gguf/tensor_mapping.py for names, conversion/NAME.py for what the converter does
 * to tensors. Rows of q and k are permuted by class LlamaModel (conversion/llama.py) and those that
 * inherit from it: Mistral, Mixtral, Granite and SmolLM 3. class GemmaModel (conversion/gemma.py)
 * adds 1 to norms.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "gguf/model.h"

#define ITEMS(gguf, hf, rows, cols, need, order, items)                                            \
    { gguf, hf, GGUF_DIM_##rows, GGUF_DIM_##cols, need, order, GGUF_DIM_##items }
#define RULE(gguf, hf, rows, cols, need, order) ITEMS(gguf, hf, rows, cols, need, order, NONE)

/* Rules for a layer's matrices, norms and biases. */
#define LAYER "model.layers.#."
#define MATRIX(gguf, hf, rows, cols, need, order)                                                  \
    RULE("blk.#." gguf ".weight", hf ".weight", rows, cols, need, order)
#define NORM(gguf, hf, n, need, order)                                                             \
    RULE("blk.#." gguf ".weight", hf ".weight", n, NONE, need, order)
#define BIAS(gguf, hf, n, need, order) RULE("blk.#." gguf ".bias", hf ".bias", n, NONE, need, order)

/* Groups of rules that several architectures share. q and k are the orders of their rows, norm is
 * that of the norms. */
#define OUTER(norm)                                                                                \
    RULE("token_embd.weight", "model.embed_tokens.weight", VOCAB, HIDDEN, GGUF_NEED,               \
         GGUF_AS_STORED),                                                                          \
        RULE("output_norm.weight", "model.norm.weight", HIDDEN, NONE, GGUF_NEED, norm), OUTER_HEAD
#define OUTER_HEAD                                                                                 \
    RULE("output.weight", "lm_head.weight", VOCAB, HIDDEN, GGUF_NEED_HEAD, GGUF_AS_STORED)
#define NORMS(norm)                                                                                \
    NORM("attn_norm", LAYER "input_layernorm", HIDDEN, GGUF_NEED, norm),                           \
        NORM("ffn_norm", LAYER "post_attention_layernorm", HIDDEN, GGUF_NEED, norm)
#define QKV(q, k)                                                                                  \
    MATRIX("attn_q", LAYER "self_attn.q_proj", Q, HIDDEN, GGUF_NEED, q),                           \
        MATRIX("attn_k", LAYER "self_attn.k_proj", KV, HIDDEN, GGUF_NEED, k),                      \
        MATRIX("attn_v", LAYER "self_attn.v_proj", KV, HIDDEN, GGUF_NEED, GGUF_AS_STORED)
#define ATTENTION(q, k)                                                                            \
    QKV(q, k), MATRIX("attn_output", LAYER "self_attn.o_proj", HIDDEN, Q, GGUF_NEED, GGUF_AS_STORED)
#define QKV_BIAS(need, q, k)                                                                       \
    BIAS("attn_q", LAYER "self_attn.q_proj", Q, need, q),                                          \
        BIAS("attn_k", LAYER "self_attn.k_proj", KV, need, k),                                     \
        BIAS("attn_v", LAYER "self_attn.v_proj", KV, need, GGUF_AS_STORED)
#define O_BIAS(need) BIAS("attn_output", LAYER "self_attn.o_proj", HIDDEN, need, GGUF_AS_STORED)
#define QK_NORM(q, k, norm)                                                                        \
    NORM("attn_q_norm", LAYER "self_attn.q_norm", q, GGUF_NEED, norm),                             \
        NORM("attn_k_norm", LAYER "self_attn.k_norm", k, GGUF_NEED, norm)
#define POST_NORMS(norm)                                                                           \
    NORM("post_attention_norm", LAYER "post_attention_layernorm", HIDDEN, GGUF_NEED, norm),        \
        NORM("post_ffw_norm", LAYER "post_feedforward_layernorm", HIDDEN, GGUF_NEED, norm)
#define GATED_FFN(need)                                                                            \
    MATRIX("ffn_gate", LAYER "mlp.gate_proj", FFN, HIDDEN, need, GGUF_AS_STORED),                  \
        MATRIX("ffn_up", LAYER "mlp.up_proj", FFN, HIDDEN, need, GGUF_AS_STORED),                  \
        MATRIX("ffn_down", LAYER "mlp.down_proj", HIDDEN, FFN, need, GGUF_AS_STORED)
#define GATED_FFN_BIAS                                                                             \
    BIAS("ffn_gate", LAYER "mlp.gate_proj", FFN, GGUF_NEED_MLP_BIAS, GGUF_AS_STORED),              \
        BIAS("ffn_up", LAYER "mlp.up_proj", FFN, GGUF_NEED_MLP_BIAS, GGUF_AS_STORED),              \
        BIAS("ffn_down", LAYER "mlp.down_proj", HIDDEN, GGUF_NEED_MLP_BIAS, GGUF_AS_STORED)
#define EXPERT(gguf, hf, rows, cols, need)                                                         \
    ITEMS("blk.#." gguf ".weight", LAYER hf ".weight", rows, cols, need, GGUF_AS_STORED, EXPERTS)
#define EXPERTS(router, experts, gate, up, down, need)                                             \
    MATRIX("ffn_gate_inp", LAYER router, EXPERTS, HIDDEN, need, GGUF_AS_STORED),                   \
        EXPERT("ffn_gate_exps", experts gate, EXPERT_FFN, HIDDEN, need),                           \
        EXPERT("ffn_up_exps", experts up, EXPERT_FFN, HIDDEN, need),                               \
        EXPERT("ffn_down_exps", experts down, HIDDEN, EXPERT_FFN, need)
/* LayerNorm's biases. */
#define OUTER_BIAS                RULE("output_norm.bias", "model.norm.bias", HIDDEN, NONE, GGUF_NEED, 0)
#define NORM_BIAS(gguf, hf, need) BIAS(gguf, LAYER hf, HIDDEN, need, GGUF_AS_STORED)
#define LAST                                                                                       \
    { NULL, NULL, 0, 0, 0, 0, 0 }

static const struct gguf_rule llama_rules[] = {
    OUTER(GGUF_AS_STORED),
    NORMS(GGUF_AS_STORED),
    ATTENTION(GGUF_UNPERMUTE_Q, GGUF_UNPERMUTE_K),
    QKV_BIAS(GGUF_NEED_ATTN_BIAS, GGUF_UNPERMUTE_Q, GGUF_UNPERMUTE_K),
    O_BIAS(GGUF_NEED_ATTN_BIAS),
    GATED_FFN(GGUF_NEED),
    GATED_FFN_BIAS,
    LAST,
};
static const struct gguf_rule mistral_rules[] = {
    OUTER(GGUF_AS_STORED),
    NORMS(GGUF_AS_STORED),
    ATTENTION(GGUF_UNPERMUTE_Q, GGUF_UNPERMUTE_K),
    GATED_FFN(GGUF_NEED),
    LAST,
};
static const struct gguf_rule mixtral_rules[] = {
    OUTER(GGUF_AS_STORED),
    NORMS(GGUF_AS_STORED),
    ATTENTION(GGUF_UNPERMUTE_Q, GGUF_UNPERMUTE_K),
    EXPERTS("block_sparse_moe.gate", "block_sparse_moe.experts.@.", "w1", "w3", "w2", GGUF_NEED),
    LAST,
};
static const struct gguf_rule qwen2_rules[] = {
    OUTER(GGUF_AS_STORED),
    NORMS(GGUF_AS_STORED),
    ATTENTION(GGUF_AS_STORED, GGUF_AS_STORED),
    QKV_BIAS(GGUF_NEED, GGUF_AS_STORED, GGUF_AS_STORED),
    GATED_FFN(GGUF_NEED),
    LAST,
};
#define QWEN3(need_ffn)                                                                            \
    OUTER(GGUF_AS_STORED), NORMS(GGUF_AS_STORED), ATTENTION(GGUF_AS_STORED, GGUF_AS_STORED),       \
        QK_NORM(HEAD, HEAD, GGUF_AS_STORED),                                                       \
        QKV_BIAS(GGUF_NEED_ATTN_BIAS, GGUF_AS_STORED, GGUF_AS_STORED),                             \
        O_BIAS(GGUF_NEED_ATTN_BIAS), GATED_FFN(need_ffn)
static const struct gguf_rule qwen3_rules[] = {QWEN3(GGUF_NEED), LAST};
static const struct gguf_rule qwen3_moe_rules[] = {
    QWEN3(GGUF_NEED_DENSE),
    EXPERTS("mlp.gate", "mlp.experts.@.", "gate_proj", "up_proj", "down_proj", GGUF_NEED_SPARSE),
    LAST,
};
static const struct gguf_rule gemma_rules[] = {
    OUTER(GGUF_MINUS_ONE),
    NORMS(GGUF_MINUS_ONE),
    ATTENTION(GGUF_AS_STORED, GGUF_AS_STORED),
    GATED_FFN(GGUF_NEED),
    LAST,
};
#define GEMMA2                                                                                     \
    OUTER(GGUF_MINUS_ONE),                                                                         \
        NORM("attn_norm", LAYER "input_layernorm", HIDDEN, GGUF_NEED, GGUF_MINUS_ONE),             \
        NORM("ffn_norm", LAYER "pre_feedforward_layernorm", HIDDEN, GGUF_NEED, GGUF_MINUS_ONE),    \
        POST_NORMS(GGUF_MINUS_ONE), ATTENTION(GGUF_AS_STORED, GGUF_AS_STORED),                     \
        GATED_FFN(GGUF_NEED)
static const struct gguf_rule gemma2_rules[] = {GEMMA2, LAST};
static const struct gguf_rule gemma3_rules[] = {
    GEMMA2,
    QK_NORM(HEAD, HEAD, GGUF_MINUS_ONE),
    LAST,
};
static const struct gguf_rule olmo2_rules[] = {
    OUTER(GGUF_AS_STORED),
    POST_NORMS(GGUF_AS_STORED),
    ATTENTION(GGUF_AS_STORED, GGUF_AS_STORED),
    QK_NORM(Q, KV, GGUF_AS_STORED),
    GATED_FFN(GGUF_NEED),
    LAST,
};
static const struct gguf_rule phi3_rules[] = {
    OUTER(GGUF_AS_STORED),
    NORMS(GGUF_AS_STORED),
    MATRIX("attn_qkv", LAYER "self_attn.qkv_proj", QKV, HIDDEN, GGUF_NEED, GGUF_AS_STORED),
    MATRIX("attn_output", LAYER "self_attn.o_proj", HIDDEN, Q, GGUF_NEED, GGUF_AS_STORED),
    MATRIX("ffn_up", LAYER "mlp.gate_up_proj", 2FFN, HIDDEN, GGUF_NEED, GGUF_AS_STORED),
    MATRIX("ffn_down", LAYER "mlp.down_proj", HIDDEN, FFN, GGUF_NEED, GGUF_AS_STORED),
    LAST,
};
static const struct gguf_rule phi_rules[] = {
    RULE("token_embd.weight", "model.embed_tokens.weight", VOCAB, HIDDEN, GGUF_NEED, 0),
    RULE("output_norm.weight", "model.final_layernorm.weight", HIDDEN, NONE, GGUF_NEED, 0),
    RULE("output_norm.bias", "model.final_layernorm.bias", HIDDEN, NONE, GGUF_NEED, 0),
    OUTER_HEAD,
    RULE("output.bias", "lm_head.bias", VOCAB, NONE, GGUF_NEED, GGUF_AS_STORED),
    NORM("attn_norm", LAYER "input_layernorm", HIDDEN, GGUF_NEED, GGUF_AS_STORED),
    NORM_BIAS("attn_norm", "input_layernorm", GGUF_NEED),
    QKV(GGUF_AS_STORED, GGUF_AS_STORED),
    QKV_BIAS(GGUF_NEED, GGUF_AS_STORED, GGUF_AS_STORED),
    NORM("attn_q_norm", LAYER "self_attn.q_layernorm", HEAD, GGUF_NEED_QK_NORM, GGUF_AS_STORED),
    BIAS("attn_q_norm", LAYER "self_attn.q_layernorm", HEAD, GGUF_NEED_QK_NORM, GGUF_AS_STORED),
    NORM("attn_k_norm", LAYER "self_attn.k_layernorm", HEAD, GGUF_NEED_QK_NORM, GGUF_AS_STORED),
    BIAS("attn_k_norm", LAYER "self_attn.k_layernorm", HEAD, GGUF_NEED_QK_NORM, GGUF_AS_STORED),
    MATRIX("attn_output", LAYER "self_attn.dense", HIDDEN, Q, GGUF_NEED, GGUF_AS_STORED),
    BIAS("attn_output", LAYER "self_attn.dense", HIDDEN, GGUF_NEED, GGUF_AS_STORED),
    MATRIX("ffn_up", LAYER "mlp.fc1", FFN, HIDDEN, GGUF_NEED, GGUF_AS_STORED),
    BIAS("ffn_up", LAYER "mlp.fc1", FFN, GGUF_NEED, GGUF_AS_STORED),
    MATRIX("ffn_down", LAYER "mlp.fc2", HIDDEN, FFN, GGUF_NEED, GGUF_AS_STORED),
    BIAS("ffn_down", LAYER "mlp.fc2", HIDDEN, GGUF_NEED, GGUF_AS_STORED),
    LAST,
};
/* q's and k's norms have weights for each head, which GGUF stacks. */
static const struct gguf_rule stablelm_rules[] = {
    OUTER(GGUF_AS_STORED),
    OUTER_BIAS,
    NORM("attn_norm", LAYER "input_layernorm", HIDDEN, GGUF_NEED, GGUF_AS_STORED),
    NORM_BIAS("attn_norm", "input_layernorm", GGUF_NEED),
    NORM("ffn_norm", LAYER "post_attention_layernorm", HIDDEN, GGUF_NEED_FFN_NORM, GGUF_AS_STORED),
    NORM_BIAS("ffn_norm", "post_attention_layernorm", GGUF_NEED_FFN_NORM),
    ATTENTION(GGUF_AS_STORED, GGUF_AS_STORED),
    QKV_BIAS(GGUF_NEED_QKV_BIAS, GGUF_AS_STORED, GGUF_AS_STORED),
    ITEMS("blk.#.attn_q_norm.weight", LAYER "self_attn.q_layernorm.norms.@.weight", HEAD, NONE,
          GGUF_NEED_QK_NORM, GGUF_AS_STORED, HEADS),
    ITEMS("blk.#.attn_k_norm.weight", LAYER "self_attn.k_layernorm.norms.@.weight", HEAD, NONE,
          GGUF_NEED_QK_NORM, GGUF_AS_STORED, KV_HEADS),
    GATED_FFN(GGUF_NEED),
    LAST,
};
static const struct gguf_rule starcoder2_rules[] = {
    OUTER(GGUF_AS_STORED),
    OUTER_BIAS,
    NORMS(GGUF_AS_STORED),
    NORM_BIAS("attn_norm", "input_layernorm", GGUF_NEED),
    NORM_BIAS("ffn_norm", "post_attention_layernorm", GGUF_NEED),
    ATTENTION(GGUF_AS_STORED, GGUF_AS_STORED),
    QKV_BIAS(GGUF_NEED_ATTN_BIAS, GGUF_AS_STORED, GGUF_AS_STORED),
    O_BIAS(GGUF_NEED_ATTN_BIAS),
    MATRIX("ffn_up", LAYER "mlp.c_fc", FFN, HIDDEN, GGUF_NEED, GGUF_AS_STORED),
    MATRIX("ffn_down", LAYER "mlp.c_proj", HIDDEN, FFN, GGUF_NEED, GGUF_AS_STORED),
    BIAS("ffn_up", LAYER "mlp.c_fc", FFN, GGUF_NEED_ATTN_BIAS, GGUF_AS_STORED),
    BIAS("ffn_down", LAYER "mlp.c_proj", HIDDEN, GGUF_NEED_ATTN_BIAS, GGUF_AS_STORED),
    LAST,
};
#define GPT2 "transformer.h.#."
static const struct gguf_rule gpt2_rules[] = {
    RULE("token_embd.weight", "transformer.wte.weight", VOCAB, HIDDEN, GGUF_NEED, 0),
    RULE("position_embd.weight", "transformer.wpe.weight", MAX_POS, HIDDEN, GGUF_NEED, 0),
    RULE("output_norm.weight", "transformer.ln_f.weight", HIDDEN, NONE, GGUF_NEED, 0),
    RULE("output_norm.bias", "transformer.ln_f.bias", HIDDEN, NONE, GGUF_NEED, 0),
    OUTER_HEAD,
    NORM("attn_norm", GPT2 "ln_1", HIDDEN, GGUF_NEED, GGUF_AS_STORED),
    BIAS("attn_norm", GPT2 "ln_1", HIDDEN, GGUF_NEED, GGUF_AS_STORED),
    NORM("ffn_norm", GPT2 "ln_2", HIDDEN, GGUF_NEED, GGUF_AS_STORED),
    BIAS("ffn_norm", GPT2 "ln_2", HIDDEN, GGUF_NEED, GGUF_AS_STORED),
    MATRIX("attn_qkv", GPT2 "attn.c_attn", QKV, HIDDEN, GGUF_NEED, GGUF_TRANSPOSE),
    BIAS("attn_qkv", GPT2 "attn.c_attn", QKV, GGUF_NEED, GGUF_AS_STORED),
    MATRIX("attn_output", GPT2 "attn.c_proj", HIDDEN, Q, GGUF_NEED, GGUF_TRANSPOSE),
    BIAS("attn_output", GPT2 "attn.c_proj", HIDDEN, GGUF_NEED, GGUF_AS_STORED),
    MATRIX("ffn_up", GPT2 "mlp.c_fc", FFN, HIDDEN, GGUF_NEED, GGUF_TRANSPOSE),
    BIAS("ffn_up", GPT2 "mlp.c_fc", FFN, GGUF_NEED, GGUF_AS_STORED),
    MATRIX("ffn_down", GPT2 "mlp.c_proj", HIDDEN, FFN, GGUF_NEED, GGUF_TRANSPOSE),
    BIAS("ffn_down", GPT2 "mlp.c_proj", HIDDEN, GGUF_NEED, GGUF_AS_STORED),
    LAST,
};

/* llama.cpp has no model type for Mistral and Mixtral (their files say "llama") nor for OLMo 3. A
 * window or experts tell them from Llama and OLMo 2. */
static const struct gguf_arch table[] = {
    {"llama", "llama", "LlamaForCausalLM", llama_rules, .has = GGUF_BIAS_KEYS},
    {"llama", "mistral", "MistralForCausalLM", mistral_rules, .has = GGUF_IF_WINDOW},
    {"llama", "mixtral", "MixtralForCausalLM", mixtral_rules, .has = GGUF_MOE | GGUF_WINDOW,
     .config = gguf_config_mixtral},
    {"qwen2", "qwen2", "Qwen2ForCausalLM", qwen2_rules, .has = 0},
    {"qwen3", "qwen3", "Qwen3ForCausalLM", qwen3_rules, .has = GGUF_ATTN_BIAS_KEY},
    {"qwen3moe", "qwen3_moe", "Qwen3MoeForCausalLM", qwen3_moe_rules,
     .has = GGUF_ATTN_BIAS_KEY | GGUF_MOE | GGUF_EXPERT_NORM | GGUF_OWN_EXPERT_FFN,
     .config = gguf_config_qwen3_moe},
    {"gemma", "gemma", "GemmaForCausalLM", gemma_rules, .act = "gelu_pytorch_tanh",
     .config = gguf_config_gemma},
    {"gemma2", "gemma2", "Gemma2ForCausalLM", gemma2_rules,
     .has = GGUF_WINDOW | GGUF_ATTN_SCALE | GGUF_ATTN_CAP | GGUF_LOGIT_CAP, .window_period = 2,
     .window_default = 4096, .act = "gelu_pytorch_tanh", .config = gguf_config_gemma2},
    {"gemma3", "gemma3_text", "Gemma3ForCausalLM", gemma3_rules,
     .has = GGUF_WINDOW | GGUF_ATTN_SCALE | GGUF_LOGIT_CAP | GGUF_LOCAL_ROPE, .window_period = 6,
     .act = "gelu_pytorch_tanh", .config = gguf_config_gemma3},
    {"phi2", "phi", "PhiForCausalLM", phi_rules, .has = GGUF_LAYER_NORM | GGUF_PARTIAL,
     .act = "gelu_new", .eps = "layer_norm_eps", .config = gguf_config_phi},
    {"phi3", "phi3", "Phi3ForCausalLM", phi3_rules, .has = GGUF_WINDOW | GGUF_PARTIAL,
     .config = gguf_config_phi3},
    {"smollm3", "smollm3", "SmolLM3ForCausalLM", llama_rules, .has = GGUF_BIAS_KEYS,
     .config = gguf_config_smollm3},
    {"olmo2", "olmo2", "Olmo2ForCausalLM", olmo2_rules, .has = 0},
    {"olmo2", "olmo3", "Olmo3ForCausalLM", olmo2_rules, .has = GGUF_IF_WINDOW, .window_period = 4,
     .config = gguf_config_olmo3},
    {"granite", "granite", "GraniteForCausalLM", llama_rules,
     .has = GGUF_BIAS_KEYS | GGUF_ATTN_SCALE | GGUF_SCALES, .config = gguf_config_granite},
    {"starcoder2", "starcoder2", "Starcoder2ForCausalLM", starcoder2_rules,
     .has = GGUF_LAYER_NORM | GGUF_WINDOW, .act = "gelu_pytorch_tanh", .eps = "norm_epsilon",
     .config = gguf_config_starcoder2},
    {"stablelm", "stablelm", "StableLmForCausalLM", stablelm_rules,
     .has = GGUF_LAYER_NORM | GGUF_PARTIAL | GGUF_PARALLEL_KEY, .eps = "layer_norm_eps",
     .config = gguf_config_stablelm},
    {"gpt2", "gpt2", "GPT2LMHeadModel", gpt2_rules,
     .has = GGUF_LAYER_NORM | GGUF_LEARNED_POS | GGUF_COPIED_HEAD, .act = "gelu_new",
     .eps = "layer_norm_epsilon", .config = gguf_config_gpt2},
};
enum { N_ARCHS = sizeof table / sizeof *table };

const struct gguf_arch *gguf_arch_find(struct str name, bool experts, bool window) {
    const struct gguf_arch *plain = NULL, *windowed = NULL, *moe = NULL;
    for (size_t i = N_ARCHS; i-- > 0;) {
        const struct gguf_arch *a = &table[i];
        if (!str_eq(name, a->name))
            continue;
        if (a->has & GGUF_MOE)
            moe = a;
        else if (a->has & GGUF_IF_WINDOW)
            windowed = a;
        else
            plain = a;
    }
    if (moe && (experts || !plain))
        return moe;
    return windowed && window ? windowed : plain;
}

const char *gguf_arch_names(struct buf *out) {
    for (size_t i = 0; i < N_ARCHS; i++)
        if (i == 0 || strcmp(table[i].name, table[i - 1].name) != 0)
            buf_fmt(out, "%s%s", out->n ? " " : "", table[i].name);
    return out->p;
}
