/* A GGUF file as a Hugging Face model: its architecture, its dimensions, and a plan. The plan says
 * for each tensor of model.safetensors which GGUF tensor it comes from, and the order of its rows.
 *
 * Keys and tensor names of GGUF: gguf-py/gguf/constants.py and convert_hf_to_gguf.py of
 * https://github.com/ggml-org/llama.cpp. Everything is checked when the plan is made: every tensor
 * that the model needs exists and has the shape that the keys give, and no tensor is unused.
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
    GGUF_DIM_Q,  // n_heads * head_dim
    GGUF_DIM_KV, // n_kv_heads * head_dim
    GGUF_DIM_HEAD,
    GGUF_DIM_FFN,
    GGUF_DIM_VOCAB,
    GGUF_DIM_COUNT
};

enum gguf_need {
    GGUF_NEED,           // required
    GGUF_NEED_HEAD,      // output.weight: if missing, the embedding is the head
    GGUF_NEED_ATTN_BIAS, // all of them or none, in all layers
    GGUF_NEED_MLP_BIAS,
};

/* llama.cpp rotates neighbours (2i, 2i + 1) where Hugging Face rotates halves (i, i + head_dim /
 * 2), so for some architectures its converter reorders the rows of q and k within each head. */
enum gguf_order { GGUF_AS_STORED, GGUF_UNPERMUTE_Q, GGUF_UNPERMUTE_K };

struct gguf_rule {
    const char *gguf, *hf;    // '#' is the layer's number; a rule without it applies once
    enum gguf_dim rows, cols; // cols GGUF_DIM_NONE: a vector
    enum gguf_need need;
    enum gguf_order order;
};

struct gguf_arch {
    const char *name;              // general.architecture
    const char *model_type;        // of config.json
    const char *class;             // architectures[0] of config.json
    const struct gguf_rule *rules; // ended by a NULL name
    bool bias_keys;                // config.json has attention_bias and mlp_bias
    bool attention_bias_key;       // only the first of them
    bool window;                   // this model_type has a sliding window
};

const struct gguf_arch *gguf_arch_find(struct str name); // NULL: not known
/* The row of the same name for a model with a sliding window, or NULL. */
const struct gguf_arch *gguf_arch_windowed(const struct gguf_arch *a);
const char *gguf_arch_names(struct buf *out); // separated by spaces

struct gguf_hf_tensor {
    const char *name; // in the plan's arena
    const struct gguf_tensor *from;
    size_t n_dims;
    uint64_t shape[2];
    uint64_t n_rows, n_cols; // as read: a vector is one row, a permuted vector rows of one element
    uint64_t permuted_heads; // 0: rows as they are
};

struct gguf_model {
    const struct gguf *g;
    const struct gguf_arch *arch;
    uint64_t n_layers, hidden_dim, n_heads, n_kv_heads, head_dim, ffn_dim, vocab_size, max_pos,
        window;
    double norm_eps, rope_theta;
    struct buf rope_scaling; // a JSON object, or empty
    bool tied, attn_bias, mlp_bias;
    struct gguf_hf_tensor *tensors;
    size_t n_tensors;
    struct arena names;
};

/* 0, or -1 with e set; warns about unknown keys. g must outlive m; the caller frees m with
 * gguf_model_free. */
int gguf_model_open(struct gguf_model *m, const struct gguf *g, struct err *e);
void gguf_model_free(struct gguf_model *m);

/* Row i of t in Hugging Face order: out [n_cols] f32. */
void gguf_hf_tensor_row(const struct gguf_hf_tensor *t, uint64_t i, float *out);

enum { GGUF_MAX_EOS = 32 };

/* Ids for the two files; -1: none. eos [n_eos]. */
struct gguf_ids {
    int64_t bos, pad, eos[GGUF_MAX_EOS];
    size_t n_eos;
};
void gguf_config_json(const struct gguf_model *m, enum dtype t, const struct gguf_ids *ids,
                      struct buf *out);
void gguf_generation_config_json(const struct gguf_ids *ids, struct buf *out);

/* Sets rope_scaling from the keys and from rope_freqs.weight (rope.c); called by
 * gguf_model_open. */
int gguf_rope_scaling(struct gguf_model *m, struct err *e);

/* The shortest decimal that gives the nearest f32, always with '.' or 'e'. */
void gguf_write_f32(struct buf *out, double f);

#endif
