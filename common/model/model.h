/* A model folder, loaded and ready: config.json as a spec, weights as layers, sequences with their
 * state, and one forward function over a flat batch of rows.
 *
 * A row is one position of one sequence. Its result does not depend on the other rows of the batch,
 * on how a prompt is cut into batches, or on the number of threads, bit for bit. Not for several
 * threads at once.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef MODEL_MODEL_H
#define MODEL_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backend/ops.h"
#include "base/err.h"
#include "model/hidden.h"
#include "model/prefix_match.h"
#include "spec/spec.h"

struct model;
struct weights;

struct model_options {
    bool precise;         // f32 activations, keys and values
    bool kv_i8;           // keys and values of 8 bits
    bool embeds;          // for hidden states alone: no head is loaded. Encoders need it
    size_t n_threads;     // 0: one for each physical core
    size_t context;       // most positions of a sequence; 0: the model's own limit
    size_t limit;         // ... or this one, if it is less; 0: none
    size_t max_sequences; // most at once
    size_t max_rows;      // most rows of one model_forward; a bidirectional model may have more
    uint64_t keep_bytes;  // of state in the prefix cache; 0: no cache
    uint64_t kv_bytes;    // of all sequence state, the prefix cache included; 0: no limit
    const char *device;   // see backend/device.h; NULL: the CPU
};

/* Reads dir/config.json, generation_config.json (EOS ids) and the weights. All memory is taken
 * here, except for sequence state, which is taken in chunks as sequences grow. -1: the message
 * names the file, key or tensor. */
int model_open(struct model **m, const char *dir, const struct model_options *o, struct err *e);
void model_close(struct model *m);

const struct spec *model_spec(const struct model *m);
const struct weights *model_weights(const struct model *m);
size_t model_context(const struct model *m);
struct device *model_device(const struct model *m);
size_t model_kv_bytes(const struct model *m); // memory taken for sequence state so far
/* With kv_bytes: how much of it sequences do not hold, and how much one of len positions needs. */
size_t model_kv_room(const struct model *m);
size_t model_kv_needed(const struct model *m, size_t len);
uint64_t model_step_bytes(const struct model *m); // of the weights that a step of one row reads

/* One line for people: "avx512bf16 kernels, 2 threads". */
void model_device_text(const struct model *m, char *text, size_t size);

/* Whether activations, keys and values are f32: as `precise` says, and with `embeds` also where the
 * weights are not BF16. */
bool model_precise(const struct model *m);

/* Memory for count * each bytes, to which the device copies logits fastest; never NULL. Freed by
 * model_host_free, before the model is closed. */
void *model_host_alloc(struct model *m, size_t count, size_t each);
void model_host_free(struct model *m, void *p);

/* Sequences: slots 0 .. max_sequences - 1, all empty at first. */
size_t model_seq_len(const struct model *m, size_t slot);
const uint32_t *model_seq_ids(const struct model *m, size_t slot); // [model_seq_len]
void model_seq_clear(struct model *m, size_t slot);                // frees its state
void model_seq_truncate(struct model *m, size_t slot, size_t len); // forgets positions >= len
/* slot (empty) = from's first len positions, whose state they share. */
void model_seq_fork(struct model *m, size_t slot, size_t from, size_t len);

/* Says that slot will have len positions after the next calls of model_forward. Rotations that
 * depend on the length (dynamic, longrope) are then the same however the positions are cut into
 * calls. Without it, each call's last position counts as the end. Keys rotated for another length
 * are computed again, so a result is always that of one forward over the whole sequence.
 * model_seq_truncate cancels it. */
void model_seq_expect(struct model *m, size_t slot, size_t len);

/* The prefix cache has a part for each salt. The slot's is used from now on, also for what a fork
 * of it adds. */
void model_seq_set_salt(struct model *m, size_t slot, const struct prefix_salt *salt);
/* How far ids [n] and that part are the same, whether or not its state can be used. */
struct prefix_match model_seq_match(struct model *m, size_t slot, const uint32_t *ids, size_t n);

/* Adds slot's positions, in whole pages, to the prefix cache. The cache has at most keep_bytes, and
 * evicts what was used least recently. Keys are not added if another length would rotate them
 * differently. */
void model_seq_keep(struct model *m, size_t slot);
/* The same, and the last page, which is not whole. */
void model_seq_keep_all(struct model *m, size_t slot);

/* The slot's positions are the first of ids [n]. If the prefix cache has more of them, the slot
 * begins with those instead; later results are the same, bit for bit. model_seq_expect comes
 * before. Returns the slot's length. */
size_t model_seq_reuse(struct model *m, size_t slot, const uint32_t *ids, size_t n);
/* The same, and the beginning of one more page is reused too. The page is copied, so this is for
 * sequences that have only a few ids of their own. */
size_t model_seq_reuse_any(struct model *m, size_t slot, const uint32_t *ids, size_t n);

/* ---- kv(5) files: pages of the prefix cache that outlive the process ---- */

enum { MODEL_KV_FILES = 16 };

/* Opens a file whose pages model_seq_reuse may use, below those of the cache; at most
 * MODEL_KV_FILES. -1: EXIT_DATA, it is damaged, or was made with another model, instruction set or
 * precision, which the message names; EXIT_NO_INPUT; EXIT_USAGE, the device is not the CPU, or
 * there is no cache. */
int model_kv_load(struct model *m, const char *path, struct err *e);
/* Learns what a file has to say of the model: comes before model_kv_save, while files can be
 * opened. -1: EXIT_USAGE as above, or config.json cannot be read. */
int model_kv_prepare(struct model *m, struct err *e);
/* Writes the pages of the cache, beside path and then renamed. -1: EXIT_IO. */
int model_kv_save(const struct model *m, const char *path, struct err *e);
/* Positions that came from files so far. */
uint64_t model_kv_restored(const struct model *m);

/* The time of model_forward so far, in seconds of the calling thread, which works on every part
 * together with the other threads, and waits for them. */
const double *model_times(const struct model *m); // [MODEL_PARTS], by enum model_part

/* One row of the flat batch. Rows of one slot are in order of pos and continue its length without a
 * gap. Rows of different slots may alternate. A sequence of a bidirectional model is in one batch
 * as a whole, because each of its rows sees all others. */
struct row {
    uint32_t slot, pos, id;
    bool want; // its logits (and hidden state) are wanted
};

/* Chooses the hidden states that model_forward gives: a list of layers (hidden.h). Before it is
 * called, that is the last one. -1: EXIT_USAGE. */
int model_set_hidden(struct model *m, const char *list, struct err *e);
/* The same for layers that hidden_parse has read for this model; n is at least 1. */
void model_set_hidden_layers(struct model *m, const struct hidden_layers *layers);
const struct hidden_layers *model_hidden(const struct model *m); // one at least

/* logits [n_want, vocab_size] and hidden [model_hidden's n][n_want, hidden_dim] (either may be
 * NULL), in the order of the rows. -1: EXIT_DATA (bad id or position) or EXIT_SYSTEM (no memory for
 * sequence state, or the device failed). Then no slot has changed its length. */
int model_forward(struct model *m, const struct row *rows, size_t n_rows, float *logits,
                  float *hidden, struct err *e);
/* Whether the device has failed, so that every later call will fail as well. */
bool model_lost(const struct model *m);

#endif
