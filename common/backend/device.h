/* A device by its name: cpu, cuda (the first GPU), cuda:N.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BACKEND_DEVICE_H
#define BACKEND_DEVICE_H

#include <stddef.h>
#include <stdio.h>

#include "base/err.h"

struct device;
struct device_shape;

/* name NULL: cpu. EXIT_USAGE where there is no such name; EXIT_SYSTEM where there is no such GPU.
 * n_threads: of the CPU, 0: as many as physical cores. */
int device_open(struct device **d, const char *name, const struct device_shape *s, size_t n_threads,
                struct err *e);

/* Whether the name is one of them, whatever this machine has. */
int device_check(const char *name, struct err *e);

/* Most rows of prompts that a step on it should take where nobody names a number. */
size_t device_prompt_rows(const char *name);

/* A line for each device of this machine, the CPU first, and a warning that says why there is no
 * GPU. */
void device_list(FILE *out);

#endif
