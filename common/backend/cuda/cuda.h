/* The GPU as a device of backend/ops.h: what cuda.c (opening), kernels.c, memory.c, weights.c and
 * step.c (a step) share. Private to this folder.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BACKEND_CUDA_CUDA_H
#define BACKEND_CUDA_CUDA_H

#include "backend/carve.h"
#include "backend/cuda/args.h"
#include "backend/cuda/driver.h"
#include "backend/ops.h"

enum {
    CUDA_GRAPH_ROWS = 32, // most rows of a step that is recorded as a graph, for 1, 2, 4 ... rows
    CUDA_GRAPHS = 6,
    CUDA_TABLE_PAGES = 64 // the room of a page table is a multiple of this
};

/* A matrix that forward named: its address in the file, and on the device once it was used. */
struct cuda_mat {
    const void *data; // NULL: a free place of the table
    enum mat_layout layout;
    size_t n_out, n_in;
    size_t bytes;  // of a quantised matrix, with its scales
    unsigned uses; // 2: the embedding, which is also the head, was named twice
    void *device;  // with `packed`: also of the matrices that are packed with it
    bool packed;
};

/* A norm's weights or a bias: *at [n] is the host's until load_end, and then the device's. */
struct cuda_vector {
    const float **at;
    size_t n;
};

/* The weights of an operation: up to three matrices whose outputs follow each other. */
struct cuda_group {
    struct cu_pairs pairs;
    const void *data[3];
    const struct mat *w[3]; // quantised: the whole matrices
    enum mat_layout layout;
    size_t n_in;
    bool both; // the two are one matrix in the file
};

/* How a matrix is multiplied: product.c. */
enum cuda_way { CUDA_EXACT, CUDA_MMA, CUDA_INT, CUDA_QUANT, CUDA_EXACT_QUANT };

/* x of a product: rows * times rows, f32, stride ldx. */
struct cuda_x {
    const float *x;
    size_t ldx, times, rows;
};

struct cuda_launch {
    const struct cu_kernel *kernel;
    struct cu_shape shape;
    void *args; // a copy, owned
    enum model_part part;
};
/* The launches of a step of `rows` rows or fewer, which are the same at every step. */
struct cuda_record {
    struct cuda_launch *launches; // [n]
    size_t n, cap;
    struct cu_graph
        *graph; // NULL: not made, or the driver failed; then launches are queued one by one
    bool done;
    unsigned replays;
};

/* Where the time of steps goes, with -v. A step that is measured has a mark on the device wherever
 * another part begins; a graph is measured every CUDA_MEASURE_EVERY steps, in which its launches
 * are queued one by one. Other steps have the shares of the last one that was. */
enum { CUDA_MEASURE_EVERY = 32, CUDA_MARKS = 4096 };
struct cuda_clock {
    bool wanted, measures; // this step
    double began;
    enum model_part part;              // of what is queued now
    enum model_part parts[CUDA_MARKS]; // [n]: after mark i comes a launch of parts[i]
    size_t n;
    double shares[CUDA_GRAPHS + 1][MODEL_PARTS]; // of the last step that was measured; the last:
                                                 // of steps without a graph
};

struct cuda_kernels {
    const struct cu_kernel *begin, *norm, *add, *qk, *pack, *route, *route_sort, *combine;
    const struct cu_kernel *few8[3], *few16[3], *few32[3], *few_norm[3], *tile[3],
        *tile_wgmma[3]; // by enum cu_type; tile_wgmma is NULL if the GPU or the build has none
    const struct cu_kernel *exact[3];
    const struct cu_kernel *round, *int_x, *exact_quant;
    const struct cu_kernel *int8[4], *int32[4], *int_many[4]; // by mat_layout, from MAT_I8 on
    const struct cu_kernel *quant8[6], *quant32[6];           // from MAT_G4 on
    const struct cu_kernel *attend_few, *attend_many, *attend_f32;
};

struct cuda_device {
    struct device base; // first
    struct device_shape shape;
    struct cu *c;
    unsigned index;
    struct cuda_kernels k;
    struct err failed; // the first failure; code 0: none

    // Weights: one piece of memory, of which matrices take parts as they are first used.
    struct cuda_mat *mats; // [mats_cap] by hash of data
    size_t n_mats, mats_cap;
    unsigned char *weights;
    size_t weights_bytes, weights_used, largest; // largest: of a matrix, in the file
    bool uploads;                                // weights, since the last time that all was done
    void *raw;                                   // [raw_bytes] rows that are to be packed
    size_t raw_bytes;
    struct cuda_vector *vectors; // [n_vectors] that are to be uploaded
    size_t n_vectors, vectors_cap;
    unsigned plain, quantised; // bits: enum cu_type, enum mat_layout of the matrices
    size_t quantised_bytes;    // of weights_bytes
    enum cu_type type;         // of activations; not CU_F32: of all matrices, too
    enum cu_type quant_type;   // to which CUDA_QUANT rounds

    // Activations; ld of each: its length rounded up to CU_PAD.
    void *memory; // all of them
    float *normed, *qkv, *router, *expert_out, *hidden, *logits, *expert_weights;
    void *rounded, *attn, *ffn, *expert_ffn; // of `type`; where that is CU_F32, rounded is what a
                                             // product's x is made into,
    float *x_scales;                         // and these are the scales of its codes
    float *cosines[DEVICE_ROPES], *sines[DEVICE_ROPES], *partial;
    uint32_t *counters, *experts, *offsets, *pairs;
    size_t ld_hidden, ld_q, ld_ffn, ld_router, logit_rows, max_spans, few_tiles, rows_padded;

    struct cu_region kv[DEVICE_GROUPS];
    uint32_t kv_pad;

    // The step.
    struct cu_step step;
    unsigned char *step_device, *step_host; // [step_bytes]
    size_t step_bytes, words_cap;
    size_t n_rows, n_want, n_tiles; // of the batch
    size_t rows, tiles;             // that grids are made for: a graph's, or those
    struct cuda_record records[CUDA_GRAPHS];
    struct cuda_record *recording, *replaying; // or NULL
    struct cuda_record *recorded;              // in this step
    bool queued;                               // something that uses step_host
    unsigned char *step_sent;                  // [sent_bytes] what step_device has
    size_t sent_bytes;
    struct cuda_clock clock;
    bool fetches;          // the step copies hidden states between layers
    struct cuda_seq *seqs; // [max_sequences or max_rows] of launch.c
};

static inline size_t cuda_padded(size_t n) {
    return (n + CU_PAD - 1) / CU_PAD * CU_PAD;
}
static inline enum cu_type cuda_type(enum mat_layout t) {
    return t == MAT_BF16 ? CU_BF16 : t == MAT_F16 ? CU_F16 : CU_F32;
}
static inline size_t cuda_size(enum cu_type t) {
    return t == CU_F32 ? 4 : 2;
}
static inline struct cuda_device *cuda_of(struct device *d) {
    return (struct cuda_device *)(void *)d;
}
/* Whether an operation queues nothing: a recorded graph has its launches, or the device has failed.
 */
static inline bool cuda_skips(const struct cuda_device *d) {
    return d->replaying || d->failed.code != 0;
}
/* Blocks for n items, `each` a block. */
static inline unsigned cuda_over(size_t n, size_t each) {
    return (unsigned)((n + each - 1) / each);
}
enum { CUDA_EXPERT_BLOCKS = 8 }; // that share the rows of an expert's outputs

/* Remembers the first failure; head returns it. */
void cuda_fail(struct cuda_device *d, const struct err *e);

/* kernels.c: fills d->k. -1: the build has no kernel of that name for this GPU. */
int cuda_find_kernels(struct cuda_device *d, struct err *e);

/* memory.c: see ops.h. */
int cuda_load_end(struct device *d, struct err *e);
size_t cuda_page_bytes(const struct device *d);
int cuda_kv_grow(struct device *d, struct kv_memory *m, size_t n, size_t most, struct err *e);
void cuda_kv_copy(struct device *d, unsigned char *to, const unsigned char *from, size_t n);
void cuda_kv_free(struct device *d, struct kv_memory *m);
void *cuda_host_alloc(struct device *d, size_t n);
void cuda_host_free(struct device *d, void *p);

/* weights.c: see ops.h. */
int cuda_load(struct device *d, const struct mat *w, struct err *e);
int cuda_load_vector(struct device *d, const float **v, size_t n, struct err *e);
/* For load_end: counts the tables of experts as weights, before these are allocated; and uploads
 * the vectors, after that. */
int cuda_plan_tables(struct cuda_device *d, struct err *e);
int cuda_upload_vectors(struct cuda_device *d, struct err *e);
void cuda_weights_free(struct cuda_device *d);
/* The group's packed weights, uploaded and packed at their first use. NULL if that failed. */
void *cuda_packed(struct cuda_device *d, const struct cuda_group *g);
/* A matrix [n_out, n_in padded] as in the file. */
void *cuda_plain(struct cuda_device *d, const void *data, enum mat_layout layout, size_t n_out,
                 size_t n_in);
/* Of a layer's experts, the table of struct cu_matmul_args for matrices [first, first + n_mats) of
 * each expert; NULL for those whose layout is another. */
void *cuda_expert_table(struct cuda_device *d, const struct experts_op *o, unsigned first,
                        unsigned n_mats, enum mat_layout layout);
/* A part of the weights' memory. NULL: the plan was wrong, which is a bug, and the device fails. */
void *cuda_weights_take(struct cuda_device *d, size_t bytes);

/* quant.c: what a quantised matrix takes on the device; SIZE_MAX: more than can be counted. */
size_t cuda_quant_bytes(const struct mat *w);
/* The struct cu_quant of w, a whole matrix, which is uploaded at its first use. NULL if that
 * failed.
 */
void *cuda_quant(struct cuda_device *d, const struct mat *w);

/* product.c */
enum cuda_way cuda_way_of(const struct cuda_device *d, enum mat_layout layout);
/* The weights of the group, in a's form for its kernels. False where they could not be uploaded. */
bool cuda_set_weights(struct cuda_device *d, struct cu_matmul_args *a, const struct cuda_group *g);
/* Runs a product whose x is in f32. */
void cuda_product(struct cuda_device *d, struct cu_matmul_args *a, enum mat_layout layout,
                  const struct cuda_x *x);
/* expert_out = the experts' results for x, where activations are in f32. False: as above. */
bool cuda_experts_f32(struct cuda_device *d, const struct experts_op *o, const float *x);

/* multiply.c: n, or no norm where n is NULL. */
struct cu_norm cuda_norm_of(const struct norm *n);
/* rounded (of `type`) and y (either may be NULL) = norm(x), for all rows or for the
 * wanted ones. */
void cuda_run_norm(struct cuda_device *d, void *rounded, enum cu_type type, float *y,
                   const float *x, const struct norm *n, bool wanted);
struct cuda_group cuda_group_of(const struct linear *const *l, size_t n);
/* The launch of a product whose x is rounded to W's type, BF16 or F16. */
void cuda_multiply(struct cuda_device *d, struct cu_matmul_args *a, enum mat_layout layout,
                   size_t rows);
/* The same with the experts' rows: pairs of a row and an expert. */
void cuda_multiply_experts(struct cuda_device *d, struct cu_matmul_args *a, enum mat_layout layout);
/* A product of x [rows, hidden_dim] f32, normed by `pre` unless it is NULL: inside the product, or
 * before it. */
void cuda_multiply_hidden(struct cuda_device *d, struct cu_matmul_args *a, enum mat_layout layout,
                          const float *x, const struct norm *pre);

/* The matrix that was named with this data. */
struct cuda_mat *cuda_mat_of(const struct cuda_device *d, const void *data);

/* step.c: see ops.h. */
void cuda_begin(struct device *d, const struct step *s);
void cuda_norm(struct device *d, float *y, const float *x, const struct norm *n);
void cuda_qkv(struct device *d, const struct qkv_op *o, const float *x);
void cuda_attend(struct device *d, const struct attend_op *o);
void cuda_gated(struct device *d, const struct gated_op *o, const float *x);
void cuda_project(struct device *d, float *y, enum device_source from, const struct linear *l,
                  bool add, float scale);
void cuda_add(struct device *d, float *y, const float *x, float scale);
int cuda_head(struct device *d, const struct head_op *o, float *logits, float *hidden,
              struct err *e);
void cuda_records_free(struct cuda_device *d);

/* experts.c: see ops.h. */
void cuda_experts(struct device *d, float *y, const struct experts_op *o, const float *x);

/* launch.c: see ops.h. */
void cuda_fetch(struct device *d, float *host, const float *x);
/* launch.c: room for the sequences of a step; freed with free. */
struct cuda_seq *cuda_seqs_new(size_t n);
/* Queues a launch, and records it where the step is being recorded. args: size bytes. */
void cuda_run(struct cuda_device *d, const struct cu_kernel *k, struct cu_shape shape,
              const void *args, size_t size);
/* Writes the batch to step_host and sends it; chooses the rows and tiles of the step's grids. */
void cuda_send_step(struct cuda_device *d, const struct step *s);
/* Sets the part of what is queued next; returns the one before. */
enum model_part cuda_part(struct cuda_device *d, enum model_part part);
/* Before and after the last cu_sync of a step. */
void cuda_step_queued(struct cuda_device *d);
void cuda_step_ended(struct cuda_device *d);
/* The end of a step: runs the recorded graph, or makes a graph of the launches just recorded. */
void cuda_end_step(struct cuda_device *d);

#endif
