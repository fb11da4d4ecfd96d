/* What forward asks of a device: the memory of a model, and some ten operations on a flat batch of
 * rows. None of them knows a family.
 *
 *     begin              x = embeddings, and what depends only on rows and positions
 *     for each layer:
 *       qkv, attend, project              attention
 *       gated, project, or experts        FFN
 *       norm, add                         before and after them
 *       fetch                             hidden states, on the host
 *     head               logits and hidden states, on the host
 *
 * x, h and y of struct device are [max_rows, hidden_dim]. Pointers to them are opaque: only the
 * device reads through them. Results of qkv, attend and gated stay inside the device until the next
 * operation reads them. A row's result does not depend on the other rows, bit for bit.
 *
 * A step takes no memory except for sequence state. An operation that fails leaves the reason in
 * the device, and head returns it.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BACKEND_OPS_H
#define BACKEND_OPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"
#include "kernels/kernels.h"
#include "spec/kinds.h"

enum {
    DEVICE_ROPES = 2,     // most rotations of a model
    DEVICE_GROUPS = 2,    // most groups of layers by state and window
    DEVICE_NO_ROPE = 255, // in place of a rotation's index: not rotated
};

struct linear { // y = x W^T + bias
    struct mat w;
    const float *bias; // [n_out] or NULL
};

struct norm { // weight NULL: no norm
    const float *weight, *bias;
    enum norm_kind kind;
    float eps, offset; // offset is added to each weight: 1 in Gemma
};

/* What a device needs to know of a model before it loads it. */
struct device_shape {
    size_t n_layers, hidden_dim, n_heads, n_kv_heads, vocab_size;
    size_t k_dim;   // of a head of queries and keys
    size_t v_dim;   // of a head of values; a GPU refuses one that is not k_dim
    size_t ffn_dim; // the largest, of experts too
    size_t n_experts, n_experts_used;
    size_t n_ropes, rope_half[DEVICE_ROPES];
    float rope_scale[DEVICE_ROPES]; // of cosines and sines
    size_t max_rows, max_sequences, context, n_groups;
    bool precise; // activations, keys and values in f32
    bool kv_i8;   // keys and values in i8
};
static inline enum kv_type device_kv_type(const struct device_shape *s) {
    return s->kv_i8 ? KV_I8 : s->precise ? KV_F32 : KV_BF16;
}

/* One row of the batch. Rows of one sequence are in order of pos. */
struct step_row {
    uint32_t id, pos;
    bool want;                       // its logits are computed
    const float *freq[DEVICE_ROPES]; // [rope_half] radians a position
};
struct step {
    size_t n_rows;
    const struct step_row *rows;                // [n_rows]
    const struct attn_row *attn[DEVICE_GROUPS]; // [n_rows] for each group of layers
    const struct linear *embed, *positions;     // tables of rows; positions may be NULL
    const struct linear *types;                 // row 0 of it is added to each embedding; or NULL
    float embed_scale;                          // factor of embeddings; 1: none
    bool fetches;                               // fetch will be called
};

struct qkv_op { // q, k, v of x; q and k normed and rotated; k and v stored in the row's pages
    const struct linear *qkv; // [3]: q, k, v; if `fused`, one for all
    bool fused;
    const struct norm *pre; // of x, or NULL
    enum qk_norm qk_norm;
    const struct norm *q_norm, *k_norm;
    size_t rope; // index of the rotation, or DEVICE_NO_ROPE
    const struct kv_layer *kv;
    size_t group; // of the layer: index into step.attn
};

struct attend_op { // softmax(scale q k^T) v over the positions that each row sees
    const struct kv_layer *kv;
    size_t group;
    float scale, softcap; // softcap 0: none
};

struct gated_op {            // act(gate(x)) * up(x), or act(up(x)) if `ungated`
    const struct linear *in; // gate and up, or both in one matrix [2 ffn_dim, n_in], or up alone
    size_t ffn_dim;
    bool ungated;
    enum activation act;
    const struct norm *pre; // of x, or NULL
};

struct experts_op {               // y = the chosen experts' weighted sum
    const struct linear *router;  // [n_experts, hidden_dim]
    const struct linear *experts; // [n_experts][3] gate, up, down
    size_t ffn_dim;
    enum activation act;
    bool renormalise; // the chosen experts' weights, so that they sum to 1
};

struct head_op {
    const struct norm *norm; // or NULL
    const struct linear *head;
    float divisor, softcap; // of logits; 0: none
};

/* Memory for the state of a group of layers. All zero: none yet. */
struct kv_memory {
    unsigned char *base; // [n]
    size_t n;
};

/* The input of project. */
enum device_source { FROM_ATTEND, FROM_GATED };

/* Where the time of steps goes; see model_times. */
enum model_part {
    PART_MATMUL,    // of the layers, with the activations
    PART_ATTENTION, // over keys and values
    PART_STORE,     // of new keys and values
    PART_NORMS,     // of the inputs and outputs of blocks
    PART_ROWS,      // other work row by row: embedding, q and k, sums, choice of experts
    PART_HEAD,      // the last norm, and the logits
    MODEL_PARTS
};

/* Sees each product of a step: w reads x [n_rows, n_in], on the host. `first` is a matrix that was
 * seen with the same x just before, or NULL. Only the CPU calls it. see NULL: nobody watches. */
struct device_watch {
    void (*see)(void *ctx, const struct mat *w, const struct mat *first, const float *x,
                size_t n_rows);
    void *ctx;
};

struct device {
    const struct ops *ops;
    float *x, *h, *y; // the residual, a block's input, its output: [max_rows, hidden_dim]
    double times[MODEL_PARTS];
    bool lost; // an operation has failed, and all later ones will
    struct device_watch watch;
};

struct ops {
    void (*close)(struct device *d);
    /* One line for people: "avx512bf16 kernels, 2 threads". */
    void (*describe)(const struct device *d, char *text, size_t size);

    /* Weights. load names a matrix, which the device may copy at load_end or at its first use.
     * load_vector names *v [n], which load_end replaces by the device's address; v must be valid
     * until then. load_end comes after the last of them; -1 if they do not fit, with the sums, and
     * nothing has been copied. load NULL: the device reads the host's weights, as a CPU does,
     * and none of the three is called. */
    int (*load)(struct device *d, const struct mat *w, struct err *e);
    int (*load_vector)(struct device *d, const float **v, size_t n, struct err *e);
    int (*load_end)(struct device *d, struct err *e);

    /* Memory of sequence state (model/state.h). kv_page_bytes: of one layer's part of a page of
     * keys and values. kv_run_bytes: how many bytes of a layer should be stored together. kv_grow:
     * m has at least n bytes afterwards, and those that it had are unchanged. It may move, but not
     * within a step. `most` bytes will ever be asked for. -1: m is as it was, or larger. kv_copy:
     * copies within it. */
    size_t (*kv_page_bytes)(const struct device *d);
    size_t kv_run_bytes;
    int (*kv_grow)(struct device *d, struct kv_memory *m, size_t n, size_t most, struct err *e);
    void (*kv_copy)(struct device *d, unsigned char *to, const unsigned char *from, size_t n);
    void (*kv_free)(struct device *d, struct kv_memory *m); // leaves m all zero

    /* Memory of the host that the device copies rows of logits to fastest. */
    void *(*host_alloc)(struct device *d, size_t n);
    void (*host_free)(struct device *d, void *p);

    /* A step. */
    void (*begin)(struct device *d, const struct step *s);
    void (*norm)(struct device *d, float *y, const float *x, const struct norm *n);
    void (*qkv)(struct device *d, const struct qkv_op *o, const float *x);
    void (*attend)(struct device *d, const struct attend_op *o);
    void (*gated)(struct device *d, const struct gated_op *o, const float *x);
    /* y = W source + bias; with `add`: y += scale * (W source + bias). */
    void (*project)(struct device *d, float *y, enum device_source from, const struct linear *l,
                    bool add, float scale);
    void (*experts)(struct device *d, float *y, const struct experts_op *o, const float *x);
    void (*add)(struct device *d, float *y, const float *x, float scale); // y += scale * x
    /* host [n_want, hidden_dim] = the rows of x that want logits. host may be read after head. */
    void (*fetch)(struct device *d, float *host, const float *x);
    /* logits [n_want, vocab_size] and hidden [n_want, hidden_dim] (either may be NULL) of the rows
     * that want them. -1 if anything has failed, in this step or before. */
    int (*head)(struct device *d, const struct head_op *o, float *logits, float *hidden,
                struct err *e);
};

/* The CPU: kernels over a pool of threads. n_threads 0: one for each physical core. */
int cpu_open(struct device **d, const struct device_shape *s, size_t n_threads, struct err *e);
struct pool *cpu_pool(const struct device *d);

/* Most rows of prompts that a step should take if the user does not say. */
enum { CPU_PROMPT_ROWS = 256, CUDA_PROMPT_ROWS = 2048 };

/* An NVIDIA GPU, by number. -1 (EXIT_SYSTEM): no driver, no such device, or no kernels in this
 * build. */
int cuda_open(struct device **d, const struct device_shape *s, unsigned index, struct err *e);
/* Prints a line "cuda:N  name, memory" for each GPU. -1: none can be used, and e says why. */
int cuda_list(FILE *out, struct err *e);

#endif
