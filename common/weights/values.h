/* A tensor's values as text: single elements, and slices in numpy's notation.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef WEIGHTS_VALUES_H
#define WEIGHTS_VALUES_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"
#include "weights/safetensors.h"

/* One axis of a slice: count elements first, first + step, ... An index selects one element and
 * drops the axis. */
struct values_axis {
    uint64_t first, step, count;
    bool dropped;
};
struct values_slice {
    struct values_axis axes[TENSOR_MAX_DIMS]; // [t->n_dims]
    uint64_t n_elements;
};

/* text: as in numpy, comma-separated indices "3" or "-1" and ranges "2:9", "::2", ":". Axes after
 * the last one given are whole. Steps are positive. Refused (EXIT_USAGE): indices outside the
 * shape, and more axes than it has. */
int values_slice_parse(struct values_slice *s, struct str text, const struct tensor *t,
                       struct err *e);

/* The shortest decimal number that reads back as the element (as a float32 where the type is no
 * wider); integers exactly; "true", "false", "nan", "inf", "-inf"; C64 as "1+2j". Returns out. */
char *values_text(const struct tensor *t, uint64_t i, char out[static 64]);

/* Writes rows of the last axis as lines, with single spaces between numbers and an empty line
 * between matrices. */
void values_print(FILE *out, const struct tensor *t, const struct values_slice *s);

/* Writes nested JSON arrays, with NaN and infinities as strings and C64 as [re, im]. */
void values_print_json(FILE *out, const struct tensor *t, const struct values_slice *s);

#endif
