/* How many threads are worth starting.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef KERNELS_CORES_H
#define KERNELS_CORES_H

#include <stddef.h>

size_t physical_cores(void); // that this process may use, at least 1

#endif
