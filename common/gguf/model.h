/* A GGUF file as a Hugging Face model: its architecture, its dimensions, and a plan. The plan says
 * for each tensor of model.safetensors which GGUF tensor it comes from, and the order of its rows.
 *
 * Keys and tensor names of GGUF: gguf-py/gguf/constants.py, gguf-py/gguf/tensor_mapping.py and the
 * converters (convert_hf_to_gguf.py, conversion/) of https://github.com/ggml-org/llama.cpp.
 * Everything is checked when the plan is made: every tensor that the model needs exists and has the
 * shape that the keys give, and no tensor is unused.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef GGUF_MODEL_H
#define GGUF_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"
#include "weights/dtype.h"
#include "gguf/gguf.h"

enum gguf_dim {
    GGUF_DIM_NONE,
    GGUF_DIM_HIDDEN,
    GGUF_DIM_Q,   // n_heads * head_dim
    GGUF_DIM_KV,  // n_kv_heads * head_dim
    GGUF_DIM_QKV, // Q + 2 * KV
    GGUF_DIM_HEAD,
    GGUF_DIM_HEADS,    // n_heads
    GGUF_DIM_KV_HEADS, // n_kv_heads
    GGUF_DIM_FFN,
    GGUF_DIM_2FFN,       // gate and up in one
    GGUF_DIM_EXPERT_FFN, // of each expert
    GGUF_DIM_EXPERTS,
    GGUF_DIM_MAX_POS,
    GGUF_DIM_VOCAB,
    GGUF_DIM_COUNT
};

enum gguf_need {
    GGUF_NEED,           // required
    GGUF_NEED_HEAD,      // output.weight: if missing, the embedding is the head
    GGUF_NEED_QKV_BIAS,  // all of them or none, in all layers
    GGUF_NEED_ATTN_BIAS, // likewise: q, k, v and o
    GGUF_NEED_MLP_BIAS,
    GGUF_NEED_QK_NORM,
    GGUF_NEED_FFN_NORM, // if missing, attention and FFN run in parallel: StableLM 2 12B
    GGUF_NEED_SPARSE,   // required in layers that have experts, not allowed in others
    GGUF_NEED_DENSE,    // the other way round
    GGUF_NEED_COUNT
};

/* How a tensor's rows become those of Hugging Face. llama.cpp rotates neighbours (2i, 2i + 1) where
 * Hugging Face rotates halves (i, i + head_dim / 2), so for some architectures its converter
 * reorders the rows of q and k within each head. It adds 1 to Gemma's norms. GPT-2's matrices are
 * stored [n_in, n_out] by Hugging Face. */
enum gguf_order {
    GGUF_AS_STORED,
    GGUF_UNPERMUTE_Q,
    GGUF_UNPERMUTE_K,
    GGUF_MINUS_ONE,
    GGUF_TRANSPOSE
};

struct gguf_rule {
    const char *gguf, *hf;    // '#' is the layer's number; a rule without it applies once
    enum gguf_dim rows, cols; // cols GGUF_DIM_NONE: a vector
    enum gguf_need need;
    enum gguf_order order;
    enum gguf_dim items; // GGUF stacks this many in one tensor; '@' in hf is the item's number
};

/* What an architecture's keys and config.json have beside those of all. */
enum gguf_has {
    GGUF_BIAS_KEYS = 1 << 0,      // attention_bias and mlp_bias
    GGUF_ATTN_BIAS_KEY = 1 << 1,  // only the first of them
    GGUF_LAYER_NORM = 1 << 2,     // attention.layer_norm_epsilon, not the RMS norm's
    GGUF_PARTIAL = 1 << 3,        // may rotate a part of each head
    GGUF_LEARNED_POS = 1 << 4,    // no rotation: GPT-2
    GGUF_WINDOW = 1 << 5,         // may have a sliding window
    GGUF_IF_WINDOW = 1 << 6,      // the row of its name for files with a window
    GGUF_MOE = 1 << 7,            // the row of its name for files with experts
    GGUF_LOCAL_ROPE = 1 << 8,     // sliding layers have a rotation of their own: Gemma 3
    GGUF_ATTN_SCALE = 1 << 9,     // attention.scale
    GGUF_SCALES = 1 << 10,        // logit, residual and embedding scales: Granite
    GGUF_ATTN_CAP = 1 << 11,      // attn_logit_softcapping: Gemma 2
    GGUF_LOGIT_CAP = 1 << 12,     // final_logit_softcapping: Gemma 2 and 3
    GGUF_PARALLEL_KEY = 1 << 13,  // use_parallel_residual: StableLM
    GGUF_EXPERT_NORM = 1 << 14,   // expert_weights_norm may be false: Qwen 3 MoE
    GGUF_COPIED_HEAD = 1 << 15,   // output.weight may be a copy of the embedding: GPT-2
    GGUF_OWN_EXPERT_FFN = 1 << 16 // expert_feed_forward_length: Qwen 3 MoE
};

struct gguf_model;

struct gguf_arch {
    const char *name;              // general.architecture
    const char *model_type;        // of config.json
    const char *class;             // architectures[0] of config.json
    const struct gguf_rule *rules; // ended by a NULL name
    unsigned has;                  // enum gguf_has
    const char *act;               // activation; NULL: silu
    const char *eps;               // member for the norms' epsilon; NULL: rms_norm_eps
    unsigned window_period;  // every n-th layer has no window if no key says which; 0: all have it
    unsigned window_default; // where the file has no key for the window
    void (*config)(const struct gguf_model *m,
                   struct buf *out); // writes members of its own; or NULL
};

/* The row for a file of that name that has experts, a sliding window, or neither. NULL: not known.
 */
const struct gguf_arch *gguf_arch_find(struct str name, bool experts, bool window);
const char *gguf_arch_names(struct buf *out); // separated by spaces

struct gguf_panel; // a part of a transposed matrix

struct gguf_hf_tensor {
    const char *name; // in the plan's arena
    const struct gguf_tensor *from;
    const unsigned char *data; // of its first row, in the mapping
    size_t n_dims;
    uint64_t shape[2];
    uint64_t n_rows, n_cols; // as read: a vector is one row, a permuted vector rows of one element
    uint64_t row_bytes;      // of GGUF's rows
    uint64_t permuted_heads; // 0: rows as they are
    bool minus_one;
    struct gguf_panel *panel; // transposed: GGUF has [n_cols] rows of n_rows; else NULL
};

struct gguf_model {
    const struct gguf *g;
    const struct gguf_arch *arch;
    uint64_t n_layers, hidden_dim, n_heads, n_kv_heads, head_dim, rope_dim, ffn_dim, vocab_size,
        max_pos, window, n_experts, n_experts_used, expert_ffn_dim;
    double norm_eps, rope_theta, local_theta;
    double attn_scale, logit_scale, residual_scale, embed_scale, attn_cap,
        logit_cap;             // 0: not given
    uint64_t window_period;    // every n-th layer has no window; 0: an array says which have
    uint64_t original_max_pos; // rope.scaling.original_context_length; 0: not given
    struct buf rope_scaling;   // a JSON object, or empty
    bool tied, qkv_bias, attn_bias, mlp_bias, qk_norm, parallel, experts_sum_to_1;
    bool *sliding, *dense; // [n_layers] has a window; has no experts where others have
    struct gguf_hf_tensor *tensors;
    size_t n_tensors, tensors_cap;
    struct arena names;
};

/* 0, or -1 with e set; warns about unknown keys. g must outlive m; the caller frees m with
 * gguf_model_free. */
int gguf_model_open(struct gguf_model *m, const struct gguf *g, struct err *e);
void gguf_model_free(struct gguf_model *m);

/* "llama.block_count" for "block_count": the caller frees it. */
char *gguf_model_key(const struct gguf_model *m, const char *suffix);

/* The plan (gguf/plan.c), for the dimensions and the architecture that are set; called by
 * gguf_model_open. */
int gguf_plan(struct gguf_model *m, struct err *e);

/* Row i of t in Hugging Face order: out [n_cols] f32. Rows of a transposed matrix are read fastest
 * in order; that caches a part of it in t->panel, so one thread at a time may do so. */
void gguf_hf_tensor_row(const struct gguf_hf_tensor *t, uint64_t i, float *out);

/* The blocks of row i of t in Hugging Face order, in the mapping. t is not transposed. */
const unsigned char *gguf_hf_tensor_blocks(const struct gguf_hf_tensor *t, uint64_t i);

enum { GGUF_MAX_EOS = 32 };

/* Ids for the two files; -1: none. eos [n_eos]. */
struct gguf_ids {
    int64_t bos, pad, eos[GGUF_MAX_EOS];
    size_t n_eos;
};
/* `kept`: some matrices have the file's blocks. */
void gguf_config_json(const struct gguf_model *m, enum dtype t, bool kept,
                      const struct gguf_ids *ids, struct buf *out);
void gguf_generation_config_json(const struct gguf_ids *ids, struct buf *out);

/* Members of config.json: ",\n  KEY: VALUE". */
void gguf_config_flag(struct buf *out, const char *key, bool on);
void gguf_config_count(struct buf *out, const char *key, uint64_t n);
void gguf_config_real(struct buf *out, const char *key, double f); // as gguf_write_f32

/* The own members of the families (gguf/config_family.c), for struct gguf_arch. */
void gguf_config_gemma(const struct gguf_model *m, struct buf *out);
void gguf_config_gemma2(const struct gguf_model *m, struct buf *out);
void gguf_config_gemma3(const struct gguf_model *m, struct buf *out);
void gguf_config_gpt2(const struct gguf_model *m, struct buf *out);
void gguf_config_granite(const struct gguf_model *m, struct buf *out);
void gguf_config_mixtral(const struct gguf_model *m, struct buf *out);
void gguf_config_olmo3(const struct gguf_model *m, struct buf *out);
void gguf_config_phi(const struct gguf_model *m, struct buf *out);
void gguf_config_phi3(const struct gguf_model *m, struct buf *out);
void gguf_config_qwen3_moe(const struct gguf_model *m, struct buf *out);
void gguf_config_smollm3(const struct gguf_model *m, struct buf *out);
void gguf_config_stablelm(const struct gguf_model *m, struct buf *out);
void gguf_config_starcoder2(const struct gguf_model *m, struct buf *out);

/* Sets rope_scaling from the keys, and from rope_freqs.weight or rope_factors_*.weight (rope.c);
 * called by gguf_model_open. */
int gguf_rope_scaling(struct gguf_model *m, struct err *e);

/* The shortest decimal that gives the nearest f32, always with '.' or 'e'. */
void gguf_write_f32(struct buf *out, double f);

#endif
