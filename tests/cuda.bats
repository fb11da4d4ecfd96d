#!/usr/bin/env bats
# What the CUDA backend is built of: nothing that a machine without a GPU lacks, and kernels that fit.
# SPDX-License-Identifier: AGPL-3.0-or-later
bats_require_minimum_version 1.5.0
load lib/common

setup() {
    cd "$ROOT"
    nvcc=${NVCC:-$(command -v nvcc || ls /usr/local/cuda/bin/nvcc 2>/dev/null || true)}
}

@test "no program needs a CUDA library" {
    for p in "$BIN"/*; do
        run -0 ldd "$p"
        [[ ${output,,} != *cuda* ]] || { echo "$p: $output"; return 1; }
    done
}

@test "what we call of the driver is declared as in cuda.h" {
    include=$(dirname "$(dirname "$(readlink -f "${nvcc:-/}")")")/include
    [ -e "$include/cuda.h" ] || include=/usr/local/cuda/include
    [ -e "$include/cuda.h" ] || skip "no cuda.h"
    "${CXX:-g++}" -std=c++17 -fsyntax-only -Icommon -I"$include" tests/cuda/layout_check.cc
}

@test "no kernel spills, or needs more registers than it did" {
    [ "${CUDA-1}" != 0 ] || skip "built without GPU kernels"
    [ -n "$nvcc" ] || skip "no nvcc"
    NVCC=$nvcc tests/gpu/resources
}
