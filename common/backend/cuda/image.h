/* The GPU kernels that this build holds.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BACKEND_CUDA_IMAGE_H
#define BACKEND_CUDA_IMAGE_H

#include "base/mem.h"

/* Fat binaries, one after the other, each for cuModuleLoadData. n is 0 if the build had no nvcc. */
struct str cu_image(void);

#endif
