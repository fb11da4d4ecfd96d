/* struct model, shared by model.c (opening, sequences) and forward.c.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef MODEL_INTERNAL_H
#define MODEL_INTERNAL_H

#include "backend/ops.h"
#include "model/prefix.h"
#include "model/kv.h"
#include "model/layers.h"
#include "model/model.h"
#include "model/rope.h"
#include "weights/prefault.h"

struct slot {
    struct kv_seq kv;
    uint32_t *ids; // [ids_cap], of which len count: kept so that keys can be computed anew
    size_t len, ids_cap;
    size_t kv_len; // positions whose keys are there; less than len after a step back or a change of
                   // rotation
    size_t expected;                   // see model_seq_expect
    uint32_t variant[SPEC_MAX_ROPES];  // the rotation of the keys (rope_variant)
    const float *freq[SPEC_MAX_ROPES]; // [half] of that rotation
    float *own_freq[SPEC_MAX_ROPES];   // [half] memory for it, or NULL (rope_needs_own)
};

struct model {
    struct spec spec;
    struct weights weights;
    struct prefault *ahead;
    struct layers layers;
    struct rope ropes[SPEC_MAX_ROPES];
    struct kv kv;
    struct prefix_cache prefix;
    struct device *device;
    struct slot *slots;                        // [max_sequences]
    struct row *replay;                        // [max_rows]
    struct step_row *step_rows;                // [max_rows]
    struct attn_row *attn_rows[KV_MAX_GROUPS]; // [max_rows]
    size_t context, max_sequences, max_rows;
    bool precise;
};
_Static_assert(SPEC_MAX_ROPES <= (int)DEVICE_ROPES,
               "a device has no room for the ropes of a model");

/* model_open behind config.json: takes spec over, also where it fails. */
int model_open_spec(struct model **m, struct spec *spec, const char *dir,
                    const struct model_options *o, struct err *e);

/* Keys, values and outputs of rows whose pages are there and whose slots' variants are set; out as
 * for model_forward. -1 where the device fails. */
int forward(struct model *m, const struct row *rows, size_t n_rows, float *logits, float *hidden,
            struct err *e);

#endif
