/* What the readers of quantization_config share. Private to common/spec.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef SPEC_CONFIG_QUANT_H
#define SPEC_CONFIG_QUANT_H

#include "spec/family.h"

/* A file beside config.json that has the object where config.json has none. */
struct quant_file {
    const char *name;
    const char *method; // where the object has no quant_method
    const char *member; // that holds the object; NULL: it is the file
};
extern const struct quant_file config_quant_files[]; // ends with a NULL name

/* Reads one of those files into s->quant. -1: as config_quant. */
int config_quant_file(struct spec *s, const struct quant_file *file, const char *path,
                      const char *text, size_t n, struct buf *warnings, struct err *e);

/* The object of compressed-tensors. */
int quant_read_compressed(struct keys_reader *r, struct spec *s, const struct keys_object *o);

/* The whole number of key, or of other where key is missing, if it is in [min, 65536]; else 0. */
int32_t quant_number(const struct keys_object *o, int64_t min, const char *key, const char *other);
bool quant_is_true(const struct keys_object *o, const char *key);
bool quant_is_on(const struct keys_object *o, const char *key); // not false in Python

/* Whether key is a string, one of texts (which end with NULL). */
bool quant_is_text(const struct keys_object *o, const char *key, const char *const *texts);

/* Refuses a value of key that is neither null nor one of texts; or one that is not false in Python.
 * "KEY is VALUE, but EXPECTED". */
int quant_only(struct keys_reader *r, const struct keys_object *o, const char *key,
               const char *const *texts, const char *expected);
int quant_never(struct keys_reader *r, const struct keys_object *o, const char *key,
                const char *expected);

extern const char quant_no_static[]; // "static scales of activations are not supported"

/* Adds a to what quantised matrices may be; m is for messages. */
int quant_add_args(struct keys_reader *r, struct spec_quant *q, struct quant_args a,
                   const struct keys_member *m);

#endif
