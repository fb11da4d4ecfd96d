#!/usr/bin/env bash
# Puts into build-gpu what tests/gpu/window.sh runs on a GPU machine that has no development packages: our programs, tests and
# benches with libsodium, PCRE2, utf8proc and libseccomp linked statically; the programs of tests/gpu; what the stand-in driver gave for
# each kernel; and the four libraries with their headers, so that all can be compiled there where the programs do not start.
# usage: [BUILD=build] [CUDA_ARCHS="90 90a"] tests/gpu/carry.sh [DIR]       DIR: build-gpu
# Environment: CARRY_PROGRAMS=1: only our programs and tests, as they are built
# SPDX-License-Identifier: AGPL-3.0-or-later
set -eu
cd "$(dirname "$0")/../.."
from=${BUILD:-build}
static='-l:libpcre2-8.a -l:libutf8proc.a -l:libsodium.a -lm -ldl -pthread'
[ ! -f "$(${CC:-cc} -print-file-name=libseccomp.a)" ] || static="-l:libseccomp.a $static" # as in the Makefile
nvcc=${NVCC:-$(command -v nvcc || ls /usr/local/cuda/bin/nvcc 2>/dev/null || true)}

. tests/gpu/parts.sh
only=${CARRY_PROGRAMS:-}

targets=("${programs[@]/#/$from/bin/}" "${units[@]/#/$from/tests/}" "${benches[@]/#/$from/bench/}" "$from/tests/cuda/libcuda.so.1")
[ -n "$only" ] || nice make -s -j"${JOBS:-2}" B="$from" "${targets[@]}"

mkdir -p "${1:-build-gpu}"
out=$(cd "${1:-build-gpu}" && pwd)
rm -rf "${out:?}"/{bin,tests,bench,hashes,deps}
mkdir -p "$out/bin" "$out/tests/cuda" "$out/bench" "$out/hashes" "$out/deps/include" "$out/deps/lib"
link() { # PROGRAM OBJECT...
    local to=$1
    shift
    # shellcheck disable=SC2086 # a list of options
    ${CC:-cc} -s -pthread -o "$out/$to" "$@" "$out/image.o" "$from/libtokpipe.a" $static
}
# The kernels are carried once, beside the programs, which hold none: LLM_CUDA_IMAGE names them.
${CC:-cc} -std=c11 -O1 -Icommon -c -o "$out/image.o" common/backend/cuda/image.c
[ ! -s build/cuda/kernels.fatbin ] || cp build/cuda/kernels.fatbin "$out/"
for p in "${programs[@]}"; do link "bin/$p" "$from/obj/tools/$p.o"; done
for p in "${units[@]}"; do link "tests/$p" "$from/obj/tests/unit/$p.o"; done
[ -z "$only" ] || benches=() # make check does not build them
for p in ${benches[@]+"${benches[@]}"}; do link "bench/$p" "$from/obj/bench/$p.o" "$from"/obj/bench/lib/*.o; done
rm "$out/image.o"
cp "$from/tests/cuda/libcuda.so.1" "$out/tests/cuda/" # strip breaks it
[ -z "$only" ] || exit 0

# The results of the stand-in driver: the tests of kernels take longer here than they may there.
for p in "$out"/tests/cuda_*; do
    n=$(basename "$p")
    CUDA_TEST_HASHES=$out/hashes/$n nice "$p" >/dev/null 2>&1 || echo "carry: $n fails on the stand-in"
done

# The libraries, as on this machine.
include=$(echo '#include <sodium.h>' | ${CC:-cc} -E -x c - | sed -n 's|^# 1 "\(.*\)/sodium\.h".*|\1|p' | head -n 1)
cp -r "$include"/sodium.h "$include"/sodium "$include"/pcre2.h "$include"/utf8proc.h "$include"/seccomp*.h \
    "$out/deps/include/"
for l in sodium pcre2-8 utf8proc seccomp; do
    strip -S -o "$out/deps/lib/lib$l.a" "$(${CC:-cc} -print-file-name="lib$l.a")"
done

if command -v "$nvcc" >/dev/null; then
    for f in tests/gpu/*.cu; do
        p=$(basename "$f" .cu)
        nice "$nvcc" -O3 -std=c++17 -fmad=false -Icommon -gencode arch=compute_90a,code=sm_90a -o "$out/$p" "$f" \
            -Xcompiler -s || echo "carry: $p.cu does not compile"
    done
fi

needs=$(find "$out" -type f -perm -u+x -exec objdump -T {} + 2>/dev/null | grep -oE 'GLIBC_[0-9.]+' | sort -uV | tail -n 1)
echo "carry: $(du -sm "$out" | cut -f 1) MiB in $out, which needs $needs; run there: bash tests/gpu/window.sh $out"
