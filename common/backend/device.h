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

/* name NULL: the CPU. n_threads: of the CPU; 0: one for each physical core. -1: EXIT_USAGE, there
 * is no such name; EXIT_SYSTEM, there is no such GPU, or it does not support the shape. */
int device_open(struct device **d, const char *name, const struct device_shape *s, size_t n_threads,
                struct err *e);

/* -1 (EXIT_USAGE) if the name is none of them. Does not look at what this machine has. */
int device_check(const char *name, struct err *e);

/* Most rows of prompts that a step on it should take if the user does not say. */
size_t device_prompt_rows(const char *name);

/* Prints a line for each device of this machine, the CPU first. Warns if no GPU can be used, and
 * says why. */
void device_list(FILE *out);

#endif
