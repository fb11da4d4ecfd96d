#!/usr/bin/env bats
# llm-forward --kv-type i8: keys and values of 8 bits. The same bits alone, together, in chunks, from the cache, from kv(5) files,
# after forks and pauses, and of a resident engine; how far they are from bf16; the memory; what is refused.
# SPDX-License-Identifier: AGPL-3.0-or-later
bats_require_minimum_version 1.5.0
load lib/common
load lib/resident

i8() { llm-forward --kv-type i8 --no-return "$@"; }

# The rows of logits of a stream, by sequence: frames of other batches have another order.
rows() { python3 "$ROOT/tests/lib/frames.py" --rows "$1"; }

@test "other logits than bf16's, and near them" {
    for model in llama gemma3 qwen2; do # of experts, a rounding may choose others
        export LLM_MODEL=$DATA/models/$model
        for i in 1 5 60; do ids $i $((i + 120)); done >p
        llm-forward --precise --no-return -a p >want
        i8 -a p >got
        llm-forward --kv-type bf16 --no-return -a p | llm-diff -q --max 0 - <(llm-forward --no-return -a p)
        llm-diff -q --kl 2.5e-3 want got # weights are random: 1.0e-3 to 1.8e-3, and bf16 1.5e-4 to 2.1e-4
        run llm-diff -q --max 0 got <(llm-forward --no-return -a p)
        [ "$status" -eq 1 ]
    done
}

@test "the same bits in any batch, chunk and number of threads, on each instruction set" {
    for i in 1 5 60 61; do ids $i $((i + 150)); done >p
    for isa in baseline avx2 avx512 amx-emulated; do
        LLM_ISA=$isa i8 -a -b 1 -t 1 p >want 2>err || { grep -q 'lacks' err; continue; }
        for options in "-b 4" "-b 1 --chunk 3" "-b 3 --chunk 7 -t 3"; do
            # shellcheck disable=SC2086
            LLM_ISA=$isa i8 -a $options p | llm-diff -q --max 0 want -
        done
    done
}

@test "from the cache, from a kv(5) file and of a resident engine: the same bits" {
    for i in 1 2 3; do echo "$(ids 1 100) $(ids $i $((i + 99)))"; done >p
    for model in llama mistral gemma3; do # the last two have windows
        export LLM_MODEL=$DATA/models/$model
        rm -f kv
        i8 -b 1 --keep 0 p >want
        i8 -b 1 --kv-save kv p >first
        i8 -b 1 -v --kv-load kv p >again 2>err
        grep -q 'restored: ' err
        cmp <(rows want) <(rows first)
        cmp <(rows want) <(rows again)
    done
    export LLM_MODEL=$DATA/models/llama
    i8 -b 1 --kv-save kv p >want
    listen --kv-type i8 --kv 1 --kv-load kv
    llm-forward --engine "$PWD/sock" --no-return p >got
    cmp <(rows want) <(rows got)
    kill "$engine"
    wait "$engine"
    engine=
    fails 65 "i8', and this run computes with '" llm-forward --kv-load kv p
    llm-forward --no-return --kv-save other p >/dev/null
    fails 65 "bf16', and this run computes with '" llm-forward --kv-type i8 --kv-load other p
}

@test "samplers: one answer alone, and beside others that are forked, drawn and paused" {
    for i in $(seq 12); do ids "$i" $((i + 150)); done >p
    llm-forward --kv-type i8 -b 1 p | llm-sample -n 90 -T 0.8 --seed 5 --ignore-eos >want
    llm-forward --kv-type i8 -b 12 p | llm-sample -n 90 -T 0.8 --seed 5 --ignore-eos >together
    llm-forward --kv-type i8 -b 12 --kv 1 --keep 0 p | llm-sample -n 90 -T 0.8 --seed 5 --ignore-eos >paused
    cmp want together
    cmp want paused
}

@test "--kv has room for almost twice the positions of bf16" {
    model=$(BUILD=${BUILD:-build} sh "$ROOT/tools/fetch-demo-model.sh" bf16) || skip "SmolLM2 cannot be fetched here"
    export LLM_MODEL=$model # 23040 bytes a position in bf16: 8 pages of 64 in 12 MiB, and 16 in i8
    ids 1000 1511 >fits
    ids 1000 1575 >more
    ids 1000 1959 >most
    ids 1000 2087 >past
    llm-forward --no-return --kv 12 fits >/dev/null
    fails 1 'the memory for keys and values is used up' llm-forward --no-return --kv 12 more
    i8 --kv 12 most >/dev/null
    fails 1 'the memory for keys and values is used up' i8 --kv 12 past
}

@test "refused: other types, --precise, clients of an engine, a GPU" {
    fails 2 "--kv-type 'q8_0' is not bf16 or i8" llm-forward --kv-type q8_0 /dev/null
    fails 2 "--kv-type '' is not bf16 or i8" llm-forward --kv-type '' /dev/null
    fails 2 '--kv-type and --precise' llm-forward --kv-type i8 --precise /dev/null
    fails 2 '--kv-type is for the engine' llm-forward --kv-type i8 --engine sock /dev/null
    fails 71 'keys and values in i8 are not supported on a GPU' llm-forward --kv-type i8 --device cuda /dev/null
}
