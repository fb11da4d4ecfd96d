/* How checkpoints store a matrix: a format turns tensors of a file into a struct mat.
 *
 * A module is a tensor's name without its ending: "model.layers.0.mlp.up_proj". The plain format
 * has one tensor a matrix, MODULE.weight. Others have several, such as MODULE.qweight and
 * MODULE.scales. mat_open asks each format of the list whether it claims the module, and the first
 * one that does opens it.
 *
 * To add a format: write quant/NAME.c with one struct mat_format, and add its line to mat_formats
 * in format.c. A format that needs a new layout adds it to weights/mat.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef QUANT_FORMAT_H
#define QUANT_FORMAT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "spec/quant_spec.h"
#include "weights/mat.h"
#include "weights/safetensors.h"

struct mat_format;

/* Matrices that are not read from the mapping. All zero is empty. */
struct mat_memory {
    void **parts; // [n]
    size_t n;
    uint64_t bytes; // taken, or counted
};

/* The quantised matrices of one format, layout and group size. */
struct mat_report_line {
    const char *format;
    enum mat_layout layout;
    size_t group; // as mat_quant's
    bool whole;   // one group is a whole row
    size_t n;
    uint64_t mapped, copied; // bytes that are read from the mapping; bytes of copies
};

enum { MAT_REPORT_LINES = 32 };
struct mat_report {
    struct mat_report_line lines[MAT_REPORT_LINES]; // more than these are not listed
    size_t n;
    bool odd_zeros;     // a warning about zero points is among the warnings
    bool static_inputs; // one about a scale of activations is
};

struct mat_source {
    const struct weights *weights;
    bool *used;                              // [n_tensors]: set for each tensor asked for
    struct mat_memory *memory;               // of copies; it outlives the matrices
    const struct spec_quant *config;         // quantization_config; NULL: none
    const struct mat_format *const *formats; // NULL: mat_formats
    bool transposed;                         // the plain format stores [n_in, n_out]: GPT-2
    bool measure;   // quantised matrices are checked and counted, but not copied: rows of them
                    // cannot be read
    size_t n_stack; // matrices [n_stack, ...] of a stack of experts, of which this is number
    size_t stack;   // `stack`; 0: no stack
    struct mat_report *report; // of quantised matrices; or NULL
    struct buf *warnings;      // a line each, and report is not NULL; or NULL
};

struct mat_format {
    const char *name; // "gptq"
    /* Whether the module's tensors are in this format. */
    bool (*claims)(const struct mat_source *s, const char *module);
    /* Opens W [n_out, n_in]. -1 (EXIT_DATA): a tensor is missing, or has another shape or type
     * than expected; the message names it, and m is not changed. */
    int (*open)(const struct mat_source *s, const char *module, size_t n_out, size_t n_in,
                struct mat *m, struct err *e);
};

extern const struct mat_format *const mat_formats[]; // ends with NULL; plain is the last
extern const struct mat_format mat_plain_format, mat_compressed_format, mat_gptq_format,
    mat_awq_format, mat_fp8_format, mat_modelopt_format, mat_mlx_format, mat_bnb_format,
    mat_unknown_format, mat_tokpipe_format, mat_kept_format;

/* The format that claims the module; NULL if none does. */
const struct mat_format *mat_format_of(const struct mat_source *s, const char *module);

/* Opens W [n_out, n_in] of a module. m points into the mapping, or into the source's memory. If no
 * format claims the module, the last one says what is missing. Errors are those of open. */
int mat_open(const struct mat_source *s, const char *module, size_t n_out, size_t n_in,
             struct mat *m, struct err *e);

/* Opens the tensor of that name, [n, n_out, n_in] of type F32, F16 or BF16, as one matrix of
 * n * n_out rows in the mapping. Errors are those of open. */
int mat_open_stack(const struct mat_source *s, const char *name, size_t n, size_t n_out,
                   size_t n_in, struct mat *m, struct err *e);

/* ---- For formats, and for loading vectors ---- */

/* The tensor called module + ending; NULL if the file has none. */
const struct tensor *mat_source_peek(const struct mat_source *s, const char *module,
                                     const char *ending);

/* The same, marked as used. */
const struct tensor *mat_source_find(const struct mat_source *s, const char *module,
                                     const char *ending);

/* The tensor called module + ending, of shape [n0, n1] (n1 0: [n0]), marked as used. NULL
 * (EXIT_DATA) if it is missing or has another shape. */
const struct tensor *mat_source_shaped(const struct mat_source *s, const char *module,
                                       const char *ending, size_t n0, size_t n1, struct err *e);

/* The same for a shape of n_dims dimensions, and of type F32, F16 or BF16. */
const struct tensor *mat_source_array(const struct mat_source *s, const char *module,
                                      const char *ending, const size_t *shape, size_t n_dims,
                                      struct err *e);

/* mat_source_shaped, of type F32, F16 or BF16. */
const struct tensor *mat_source_floats(const struct mat_source *s, const char *module,
                                       const char *ending, size_t n0, size_t n1, struct err *e);

/* mat_source_shaped, of type t. */
const struct tensor *mat_source_typed(const struct mat_source *s, const char *module,
                                      const char *ending, enum dtype t, size_t n0, size_t n1,
                                      struct err *e);

/* n zeroed bytes, aligned for vectors (64), owned by the memory. */
void *mat_memory_take(struct mat_memory *m, size_t n);
void mat_memory_free(struct mat_memory *m);

#endif
