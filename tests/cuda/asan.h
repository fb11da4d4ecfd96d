/* ASAN: whether this is compiled under AddressSanitizer, by gcc or clang.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TESTS_CUDA_ASAN_H
#define TESTS_CUDA_ASAN_H

#if defined(__SANITIZE_ADDRESS__)
#define ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ASAN 1
#endif
#endif
#ifndef ASAN
#define ASAN 0
#endif

#endif
