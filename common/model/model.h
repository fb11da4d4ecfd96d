/* A model folder, loaded and ready: config.json as a spec, weights as layers, KV pages, and one
 * forward function over a flat batch of rows.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef MODEL_MODEL_H
#define MODEL_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backend/ops.h"
#include "base/err.h"
#include "spec/spec.h"

struct model;
struct weights;

struct model_options {
    bool precise;         // f32 activations and KV
    size_t n_threads;     // 0: as many as physical cores
    size_t context;       // most positions of a sequence; 0: the model's own limit
    size_t max_sequences; // open at once
    size_t max_rows;      // most rows of one model_forward call
    uint64_t keep_bytes;  // of KV that model_seq_keep may hold; 0: none
    const char *device;   // see backend/device.h; NULL: the CPU
};

/* Reads dir/config.json, generation_config.json (EOS ids) and the weights. Everything that forward
 * will need is taken here: it allocates nothing later but KV pages, in chunks, as sequences grow.
 * -1 with e set names the file, key or tensor. */
int model_open(struct model **m, const char *dir, const struct model_options *o, struct err *e);
void model_close(struct model *m);

const struct spec *model_spec(const struct model *m);
const struct weights *model_weights(const struct model *m);
size_t model_context(const struct model *m);
struct device *model_device(const struct model *m);
size_t model_kv_bytes(const struct model *m);     // memory taken for KV so far
uint64_t model_step_bytes(const struct model *m); // weights that a step of one row must read

/* One line for people: "avx512bf16 kernels, 2 threads". */
void model_device_text(const struct model *m, char *text, size_t size);

/* Memory for count * each bytes that logits are fetched to fastest; never NULL. To be freed before
 * the model is closed. */
void *model_host_alloc(struct model *m, size_t count, size_t each);
void model_host_free(struct model *m, void *p);

/* Sequences: slots 0 .. max_sequences - 1, all free at first. Their KV lives in pages that forks
 * share. */
void model_seq_clear(struct model *m, size_t slot);                // frees its pages
void model_seq_truncate(struct model *m, size_t slot, size_t len); // forgets positions >= len
void model_seq_fork(struct model *m, size_t slot, size_t from,
                    size_t len); // slot (free) = from's first len positions
size_t model_seq_len(const struct model *m, size_t slot);

/* Says that slot will have len positions once all of what is now asked for has been fed, in several
 * calls of model_forward. Rotations that depend on the length (dynamic, longrope) are then the same
 * however it is cut; without it, each call counts as all there is. Keys turned for another length
 * are computed anew, so that a result is always that of one forward over the whole sequence.
 * Truncating takes it back. */
void model_seq_expect(struct model *m, size_t slot, size_t len);

/* Keeps the whole pages of what slot has, so that later sequences may begin with them, up to
 * keep_bytes: what was used least recently goes first. Nothing is kept that another length would
 * turn otherwise. */
void model_seq_keep(struct model *m, size_t slot);

/* Where kept pages hold more of ids [n] than slot has (which are the first of ids), it takes them
 * over and has that much; what comes out of it then is the same to the bit. What it expects is said
 * before. Returns its length. */
size_t model_seq_reuse(struct model *m, size_t slot, const uint32_t *ids, size_t n);

/* Where model_forward has spent its time so far: seconds of the calling thread, which works on each
 * part beside the others and waits for them. */
const double *model_times(const struct model *m); // [MODEL_PARTS], by enum model_part

/* One row of the flat batch. Rows of one slot stand in order of pos and continue its length without
 * a gap; rows of different slots may mix. */
struct row {
    uint32_t slot, pos, id;
    bool want; // its logits (and hidden state) are wanted
};

/* logits [n_want, vocab_size] and hidden [n_want, hidden_dim] (or NULL), in the order of the rows.
 * The result of a row does not depend on what else is in the batch, bit for bit. -1: EXIT_DATA (bad
 * id or position), EXIT_SYSTEM (no memory for KV, or the device failed); then no slot has changed
 * its length. */
int model_forward(struct model *m, const struct row *rows, size_t n_rows, float *logits,
                  float *hidden, struct err *e);

#endif
