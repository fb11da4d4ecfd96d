/* struct model, shared by model.c (opening, sequences) and forward.c.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef MODEL_INTERNAL_H
#define MODEL_INTERNAL_H

#include "model/kept.h"
#include "model/kv.h"
#include "model/layers.h"
#include "model/model.h"
#include "model/rope.h"
#include "weights/ahead.h"

struct slot {
    struct kv_seq kv;
    uint32_t *ids; // [ids_cap], of which len count: kept so that keys can be computed anew
    size_t len, ids_cap;
    size_t
        kv_len; // positions whose keys are there; less than len after a step back or a change of rotation
    size_t expected;                  // see model_seq_expect
    uint32_t variant[SPEC_MAX_ROPES]; // the rotation of the keys (rope_variant)
};

/* Memory of one forward, for max_rows rows; f32 but for the last two groups. */
struct workspace {
    float *x;                      // [max_rows, hidden_dim] the residual
    float *h;                      // [max_rows, hidden_dim] what a block reads
    float *y;                      // [max_rows, hidden_dim] what a block adds
    float *qkv;                    // [max_rows, qkv_dim]
    float *attn;                   // [max_rows, n_heads * head_dim]
    float *ffn;                    // [max_rows, ffn_dim] what down reads
    float *router;                 // [max_rows, n_experts]
    float *expert_in, *expert_out; // [max_rows, hidden_dim]
    float *expert_weight;          // [max_rows, n_experts_used]
    uint32_t *expert_of;           // [max_rows, n_experts_used]
    uint32_t *expert_row;          // [max_rows] rows of one expert
    float *cosines[SPEC_MAX_ROPES], *sines[SPEC_MAX_ROPES]; // [max_rows, rotary_dim / 2]
    struct attn_row *attn_rows[KV_MAX_GROUPS];              // [max_rows]
    void *scratch;                                          // of the kernels
};

struct model {
    struct spec spec;
    struct weights weights;
    struct ahead *ahead;
    struct layers layers;
    struct rope ropes[SPEC_MAX_ROPES];
    struct kv kv;
    struct kept kept;
    struct pool *pool;
    struct slot *slots; // [max_sequences]
    struct row *replay; // [max_rows]
    struct workspace ws;
    void *ws_memory;
    size_t context, max_sequences, max_rows;
    bool precise;
    double times[MODEL_PARTS], lap; // lap: when the last part ended
};

/* model_open behind config.json: takes spec over, also where it fails. */
int model_open_spec(struct model **m, struct spec *spec, const char *dir, const struct model_options *o,
                    struct err *e);

/* Keys, values and outputs of rows whose pages are there and whose slots' variants are set; out as for
 * model_forward. */
void forward(struct model *m, const struct row *rows, size_t n_rows, float *logits, float *hidden);

#endif
