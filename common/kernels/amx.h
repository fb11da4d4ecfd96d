/* Intel's AMX on this machine: whether it may be used, and the shape of a thread's tiles.
 *
 * Linux gives tiles to a process that asks for them. The permission is inherited over fork and ends
 * at exec. Asking fails where a signal stack is too small for the tiles' 8 KiB, where a filter of
 * system calls stops it, on older kernels, and in virtual machines that show the CPU's flag only.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef KERNELS_AMX_H
#define KERNELS_AMX_H

#include <stdbool.h>
#include <stddef.h>

/* Asks for permission, and tries the instructions. NULL: tiles can be used; else why not, in
 * static memory. The first call decides. Call it while the process has one thread. */
const char *amx_refused(void);

/* The same, each time anew. */
const char *amx_ask(void);

/* Runs attempt(). False if it ended in SIGILL, SIGSEGV or SIGBUS. */
bool amx_survives(void (*attempt)(void));

/* The calling thread's tiles get the shape of tile_config_of(rows, cols), unless they have it. */
void amx_shape(size_t rows, size_t cols);

/* The calling thread does not use tiles for a while: a switch to another then has less to save. */
void amx_release(void);

#endif
