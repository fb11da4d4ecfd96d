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

# ---- the whole backend, on a stand-in for the driver that runs the kernels on the CPU

standin() {
    export LD_LIBRARY_PATH=$ROOT/$BUILD/tests/cuda LLM_CUDA_IMAGE=$ROOT/Makefile # any file: the stand-in has kernels of its own
}
forward() { # ARGUMENT...: llama's logits of a few ids
    printf '5 6 7 8 9 10 11\n20 21 22\n' | llm-forward -m "$DATA/models/llama" -a --no-return "$@"
}

@test "every golden model gives the reference's logits on the stand-in" {
    standin
    names=$(cd "$DATA/models" && ls)
    [ "$BUILD" != build-san ] || names='llama mixtral' # under the sanitizers, a few
    set -- $names
    half=$((($# + 1) / 2))
    "$BUILD/tests/goldens" --device cuda "${@:1:half}" >"$BATS_TEST_TMPDIR/first" 2>&1 &
    run "$BUILD/tests/goldens" --device cuda "${@:half+1}"
    wait $!
    cat "$BATS_TEST_TMPDIR/first" - <<<"$output"
    [ "$(cat "$BATS_TEST_TMPDIR/first" - <<<"$output" | grep -c '^ok')" -eq $# ]
}

@test "a GPU's logits are near the CPU's, and the same in any batch and chunk" {
    standin
    forward >"$BATS_TEST_TMPDIR/cpu"
    forward --device cuda >"$BATS_TEST_TMPDIR/gpu"
    forward --device cuda -b 1 --chunk 2 >"$BATS_TEST_TMPDIR/one"
    run -0 llm-diff "$BATS_TEST_TMPDIR/cpu" "$BATS_TEST_TMPDIR/gpu"
    [[ $output == *"top-1 agreement  10 of 10"* ]]
    run ! cmp -s "$BATS_TEST_TMPDIR/cpu" "$BATS_TEST_TMPDIR/gpu" # else this ran on the CPU
    run -0 llm-diff "$BATS_TEST_TMPDIR/one" "$BATS_TEST_TMPDIR/gpu"
    [[ $output == *"max difference   0"$'\n'* ]]
}

@test "hidden states of layers: the reference's, and the logits beside them do not change" {
    standin
    cd "$BATS_TEST_TMPDIR"
    for model in gemma3 phi; do
        m=$DATA/models/$model
        python3 "$ROOT/tests/lib/golden.py" ids "$m/hidden.safetensors" ids >ids
        llm-forward -m "$m" --device cuda --precise -a --no-return --hidden=all ids | llm-inspect --hidden --npy h.npy
        python3 "$ROOT/tests/lib/golden.py" close "$m/hidden.safetensors" hidden h.npy 1e-4
    done
    forward --device cuda | python3 "$ROOT/tests/lib/frames.py" --rows /dev/stdin >plain
    forward --device cuda --hidden=0,1 --chunk 3 | tee both | python3 "$ROOT/tests/lib/frames.py" --rows /dev/stdin | cmp plain -
    forward --device cuda --hidden=0,1 | llm-inspect --hidden --npy one.npy
    llm-inspect --hidden --npy two.npy both
    cmp one.npy two.npy
}

@test "what can't be opened is refused with the reason" {
    LD_LIBRARY_PATH='' fails 71 'no CUDA driver: libcuda.so.1' forward --device cuda
    fails 2 "no device 'gpu' (cpu, cuda, cuda:N)" forward --device gpu
    standin
    fails 71 'no GPU 3: this machine has 1' forward --device cuda:3
    CUDA_STANDIN_DEVICES=0 fails 71 'no CUDA device' forward --device cuda
    CUDA_STANDIN_SM=75 fails 71 '8.0 is needed' forward --device cuda
    CUDA_STANDIN_NO_IMAGE=1 fails 71 'CUDA_ERROR_NO_BINARY_FOR_GPU' forward --device cuda
    # before anything is copied
    CUDA_STANDIN_MEMORY=3000000 fails 71 'the model does not fit: weights 0.2 MB' forward --device cuda
    CUDA_STANDIN_MEMORY=3000000 CUDA_STANDIN_COPIES=9 run -71 forward --device cuda 9>"$BATS_TEST_TMPDIR/copies"
    [ ! -s "$BATS_TEST_TMPDIR/copies" ]
    LLM_CUDA_IMAGE=/nowhere fails 66 '/nowhere' forward --device cuda
}

@test "a GPU that is lost ends the program with one message, and nothing is sent as if it were right" {
    standin
    for at in 1 5 40; do # also in a step after the first
        CUDA_STANDIN_LOST=$at run -71 --separate-stderr forward --device cuda --chunk 2
        [[ ${#stderr_lines[@]} -eq 1 && $stderr == "llm-forward: CUDA_ERROR_LAUNCH_FAILED"* ]]
    done
}

@test "-v has shares of time on a GPU; the steps that are measured have the same bits" {
    standin
    printf '5 6 7\n' >"$BATS_TEST_TMPDIR/ids"
    decode() { # ARGUMENT...: 40 steps of one row, of which two are measured
        llm-forward -m "$DATA/models/llama" --device cuda "$@" "$BATS_TEST_TMPDIR/ids" | llm-sample -n 40 --ignore-eos -T 0
    }
    decode -v >"$BATS_TEST_TMPDIR/measured" 2>"$BATS_TEST_TMPDIR/said"
    decode >"$BATS_TEST_TMPDIR/plain"
    cmp "$BATS_TEST_TMPDIR/measured" "$BATS_TEST_TMPDIR/plain"
    for part in matmul attention head; do
        grep -qE "time: +[0-9.]+ s +[0-9.]+ %  $part" "$BATS_TEST_TMPDIR/said"
    done
}

@test "a step sends what changed of its rows and page tables" {
    standin
    cd "$BATS_TEST_TMPDIR"
    for i in $(seq 24); do seq -s ' ' 3 $((i + 5)); done >ids # a table of 256 bytes for each
    CUDA_STANDIN_COPIES=9 llm-forward -m "$DATA/models/llama" --device cuda -b 24 ids 9>copies |
        llm-sample -n 9 --ignore-eos -T 0 >many
    llm-forward -m "$DATA/models/llama" --device cuda -b 1 ids | llm-sample -n 9 --ignore-eos -T 0 >one
    cmp many one
    [ "$(tail -n 1 copies)" -lt 4096 ] # the header and 24 rows; 9 KB with tables
}

@test "every quantised golden gives the reference's logits on the stand-in" {
    standin
    names=$(cd "$DATA/quant" && ls)
    [ "$BUILD" != build-san ] || names='gptq-asym-actorder bnb-nf4'
    read -ra names <<<"$(tr '\n' ' ' <<<"$names")"
    names=("${names[@]/#/$DATA/quant/}")
    half=$(((${#names[@]} + 1) / 2))
    "$BUILD/tests/goldens" --device cuda "${names[@]:0:half}" >"$BATS_TEST_TMPDIR/first" 2>&1 &
    run "$BUILD/tests/goldens" --device cuda "${names[@]:half}"
    wait $!
    cat "$BATS_TEST_TMPDIR/first" - <<<"$output"
    [ "$(cat "$BATS_TEST_TMPDIR/first" - <<<"$output" | grep -c '^ok')" -eq ${#names[@]} ]
}

@test "quantised weights on a GPU: --precise has the bits of F32, and batches and chunks change none" {
    standin
    cd "$BATS_TEST_TMPDIR"
    for i in 3 40 9 17; do seq $((i * 3)) $((i * 3 + i)) | tr '\n' ' '; echo; done >ids
    run_model() { llm-forward --no-return -a -q "$@" ids; }
    for model in llama qwen3-moe; do # each matrix another layout, in one product and among experts
        rm -rf q plain
        python3 "$ROOT/tests/lib/quantise.py" mixed "$DATA/models/$model" q plain
        run_model -m plain --device cuda --precise >want
        run_model -m q --device cuda --precise | llm-diff -q --max 0 want -
        run_model -m q >cpu
        run_model -m q --device cuda >gpu
        llm-diff -q --kl 1e-3 cpu gpu
        run ! llm-diff -q --max 0 want gpu # x was rounded
        run_model -m q --device cuda -b 1 --chunk 3 | llm-diff -q --max 0 gpu -
    done
    fails 71 'keys and values in i8 are not supported on a GPU' run_model -m plain --device cuda --kv-type i8
    for model in awq fp8-block; do
        run_model -m "$DATA/quant/$model" --device cuda >gpu
        run_model -m "$DATA/quant/$model" --device cuda -b 1 --chunk 3 | llm-diff -q --max 0 gpu -
        run_model -m "$DATA/quant/$model" | llm-diff -q --kl 1e-3 - gpu
    done
}

@test "quantised weights take their own size on a GPU, and -v says it" {
    standin
    run --separate-stderr sh -c 'echo 1 | llm-forward -v --no-return --device cuda -m "$0" >/dev/null' "$DATA/quant/awq"
    mb=$(sed -n 's/.*, of which \([0-9.]*\) MB are quantised, .*/\1/p' <<<"$stderr")
    copied=$(sed -n 's/.* \([0-9]*\) bytes of copies$/\1/p' <<<"$stderr")
    # 256 bytes for each part and its alignment, and a struct cu_quant
    awk -v mb="$mb" -v n="$copied" 'BEGIN { exit !(mb * 1e6 > n * 0.8 && mb * 1e6 < n + 14 * 2200 + 1e5) }'
    CUDA_STANDIN_MEMORY=3000000 fails 71 'the model does not fit: weights' llm-forward --device cuda -m "$DATA/quant/awq" /dev/null
}

@test "steps take no memory once the weights are on the GPU, and the buffers of the upload are freed" {
    standin
    cd "$BATS_TEST_TMPDIR"
    printf '5 6 7\n9 10 11 12 13\n' >ids
    for n in 2 30; do # all in one page of keys and values
        CUDA_STANDIN_MEMORY_LOG=9 llm-forward -m "$DATA/models/mixtral" --device cuda -b 2 ids 9>"log$n" |
            llm-sample -n $n --ignore-eos -T 0 >ids$n
    done
    diff log2 log30
    grep -q '^device [1-9]' log2
    begun=$(grep -n '^pinned 33554432$' log2 | head -n 1 | cut -d : -f 1) # norms are uploaded before the first step
    run ! grep -q '^device [1-9]' <(tail -n +"$begun" log2)               # and all weights have their memory
    first=$(grep -n '^pinned -33554432$' log2 | head -n 1 | cut -d : -f 1)
    [ "$(grep -c '^pinned 33554432$' log2)" -eq "$(grep -c '^pinned -33554432$' log2)" ]
    run ! grep -q '^device -' <(head -n "$first" log2) # the device is still open
    run ! grep -qE '^[a-z]+ [1-9]' <(tail -n +"$((first + 2))" log2) # after both are freed, nothing is taken
}

@test "weights are uploaded without waiting for the GPU, and what reads them begins after that" {
    standin
    cd "$BATS_TEST_TMPDIR"
    CUDA_STANDIN_WAITS=9 forward --device cuda 9>waits >/dev/null # 15 matrices and tables, one step
    [ "$(wc -l <waits)" -le 4 ]
    for model in llama mixtral; do # the first step has the uploads, and those of the second line have none
        printf '5 6\n5 6\n' | llm-forward -m "$DATA/models/$model" --device cuda -b 1 --keep 0 -a --no-return |
            python3 "$ROOT/tests/lib/frames.py" --rows /dev/stdin >rows
        n=$(($(stat -c %s rows) / 2))
        cmp <(head -c $n rows) <(tail -c $n rows)
    done
}

@test "--device list names the CPU and every GPU" {
    standin
    CUDA_STANDIN_DEVICES=2 run -0 llm-forward --device list
    [[ ${lines[0]} == cpu* && ${lines[1]} == cuda:0* && ${lines[2]} == cuda:1* ]]
}

@test "tests/gpu/window.sh runs every part that needs no GPU on the stand-in" {
    [ "$BUILD" != build-san ] || skip "the build without sanitizers runs it"
    [ -e "$ROOT/${BUILD:-build}/tests/cuda/libcuda.so.1" ] || skip "no stand-in driver in this build"
    cd "$BATS_TEST_TMPDIR"
    OUT=$PWD/out WINDOW_S=120 WINDOW_STANDIN=1 run bash "$ROOT/tests/gpu/window.sh" "$ROOT/${BUILD:-build}" \
        starts kernels goldens invariance bits quantised pipe
    echo "$output"
    [ "$status" -eq 0 ]
    [ "$(grep -cE '^(starts|kernels|goldens|invariance|quantised|pipe) +ok ' out/summary)" -eq 6 ]
    grep -qE '^kernels +ok .* [1-9][0-9]* same, 0 differ, 0 and 0 on one alone' out/summary
    grep -qE '^bits +skipped .* stand-in' out/summary
}
@test "tests/gpu/carry.sh carries what window.sh runs" {
    [ "$BUILD" != build-san ] || skip "the build without sanitizers runs it"
    for l in pcre2-8 utf8proc sodium; do
        [ -f "$("${CC:-cc}" -print-file-name="lib$l.a")" ] || skip "no lib$l.a"
    done
    CARRY_PROGRAMS=1 bash "$ROOT/tests/gpu/carry.sh" "$BATS_TEST_TMPDIR/carried"
    cd "$BATS_TEST_TMPDIR/carried"
    run -0 ldd bin/llm-forward
    [[ $output != *sodium* && $output != *pcre2* && $output != *utf8proc* ]]
    # shellcheck disable=SC2013 # the names have no spaces
    for p in $(grep -oE '\$B/(bin|tests)/[a-z_-]+' "$ROOT/tests/gpu/window.sh" | sort -u | sed 's|^\$B/||'); do
        [ "$p" = tests/cuda_ ] || [ -e "$p" ] || { echo "window.sh runs $p, which is not carried"; false; }
    done
    [ "$(ls tests/cuda_* | wc -l)" -eq "$(ls "$ROOT"/tests/unit/cuda_*.c | wc -l)" ]
    [ -x tests/forward ]
    OUT=$BATS_TEST_TMPDIR/out WINDOW_S=60 WINDOW_STANDIN=1 run bash "$ROOT/tests/gpu/window.sh" "$PWD" starts
    echo "$output"
    grep -qE '^starts +ok ' "$BATS_TEST_TMPDIR/out/summary"
}
@test "tests/gpu/window.sh skips what it has no time for, and says so" {
    [ "$BUILD" != build-san ] || skip "the build without sanitizers runs it"
    [ -e "$ROOT/${BUILD:-build}/tests/cuda/libcuda.so.1" ] || skip "no stand-in driver in this build"
    OUT=$BATS_TEST_TMPDIR WINDOW_S=1 WINDOW_STANDIN=1 run bash "$ROOT/tests/gpu/window.sh" "$ROOT/${BUILD:-build}" goldens pipe
    [ "$status" -eq 0 ]
    [ "$(grep -c ' skipped .* are left of 1' "$BATS_TEST_TMPDIR/summary")" -eq 2 ]
}
@test "compare-hashes.sh finds what differs, and what one side alone has" {
    cd "$BATS_TEST_TMPDIR"
    printf 'a s1 1\na s2 2\nb s1 3\n' >one
    printf 'a s1 1\na s2 9\nc s1 3\n' >two
    run sh "$ROOT/tests/gpu/compare-hashes.sh" one one.missing
    [ "$status" -ne 0 ]
    run sh "$ROOT/tests/gpu/compare-hashes.sh" one two
    [ "$status" -eq 1 ]
    [[ $output == *"= 1 same, 1 differ, 1 and 1 on one alone" ]]
    cp one three
    sh "$ROOT/tests/gpu/compare-hashes.sh" one three
}
