/* struct model, shared by open.c (opening), model.c (steps), seqs.c (sequences), forward.c and the
 * mixers. Private to common/model, and to tests.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef MODEL_INTERNAL_H
#define MODEL_INTERNAL_H

#include "backend/ops.h"
#include "model/hidden.h"
#include "model/kv_file.h"
#include "model/layers.h"
#include "model/model.h"
#include "model/prefix.h"
#include "model/rope.h"
#include "model/state.h"
#include "weights/prefault.h"

/* A sequence. state.len is less than len after a step back or a change of rotation. The ids are
 * retained so that what is missing can be computed again. */
struct model_seq {
    struct state_seq state;
    uint32_t *ids; // [ids_cap], of which the first len count
    size_t len, ids_cap;
    size_t end;                        // its length after this step
    size_t expected;                   // see model_seq_expect
    struct prefix_salt salt;           // of the prefix cache
    uint32_t variant[SPEC_MAX_ROPES];  // the keys' rotation (rope_variant)
    const float *freq[SPEC_MAX_ROPES]; // [half] of that rotation
    float *own_freq[SPEC_MAX_ROPES];   // [half] memory for it, or NULL (rope_needs_own)
};

struct model {
    struct spec spec;
    char *dir; // its folder
    struct weights weights;
    struct prefault *prefault;
    struct layers layers;
    struct rope ropes[SPEC_MAX_ROPES];
    struct state state;
    struct prefix_cache prefix;
    struct kv_file *kv_files[MODEL_KV_FILES]; // [n_kv_files]
    size_t n_kv_files;
    struct {
        unsigned char *p;
        size_t n;
    } kv_region;                 // addresses, in which the files are mapped one after the other
    struct kv_origin *kv_origin; // NULL: no file was named
    uint64_t kv_restored;        // positions from files
    struct device *device;
    struct model_seq *seqs;                       // [max_sequences]
    struct row *replay;                           // [max_rows]
    struct step_row *step_rows;                   // [max_rows]
    struct attn_row *attn_rows[STATE_MAX_GROUPS]; // [max_rows] each
    size_t context, max_sequences, max_rows;
    bool precise, kv_i8;
    struct hidden_layers hidden;
};
_Static_assert(SPEC_MAX_ROPES <= (int)DEVICE_ROPES,
               "a device has no room for the rotations of a model");

/* model_open after config.json: takes over spec, also if it fails. */
int model_open_spec(struct model **m, struct spec *spec, const char *dir,
                    const struct model_options *o, struct err *e);

/* seqs.c: makes a sequence ready to take positions up to len: the rotation that this length asks
 * for, state of all positions before, blocks for those to come. -1: EXIT_SYSTEM, or the device
 * failed. */
int model_seq_ready(struct model *m, size_t slot, size_t len, struct err *e);
/* Empty sequences, and their end. */
void model_seqs_make(struct model *m);
void model_seqs_free(struct model *m);

/* kv_restore.c: closes the files. */
void model_kv_free(struct model *m);
/* Where a kv(5) file has more than len of the first n of ids, its pages go into the
 * prefix cache. True: there is more in the cache now. */
bool model_kv_restore(struct model *m, const struct prefix_salt *salt, const uint32_t *ids,
                      size_t n, size_t len);

/* forward.c: computes rows whose sequences are ready; out as for model_forward. -1: the device
 * failed. */
int model_run(struct model *m, const struct row *rows, size_t n_rows, float *logits, float *hidden,
              struct err *e);
/* x += scale * (W source + bias), or if post has a weight, x += scale * post(W source + bias);
 * where the spec has residual_norm, x = post(x + scale * (W source + bias)) */
void model_add_block(struct model *m, enum device_source from, const struct linear *l,
                     const struct norm *post, float scale);

#endif
