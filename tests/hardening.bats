#!/usr/bin/env bats
# The programs are built with the compiler's and the linker's hardening.
# SPDX-License-Identifier: AGPL-3.0-or-later
load lib/common

setup() {
    grep -q __asan_init "$BIN/llm-forward" && skip "a build for tests is not hardened"
    cd "$BATS_TEST_TMPDIR"
}

@test "each program is position-independent, resolves its symbols at the start, and has no memory that is written and run" {
    for p in "$BIN"/*; do
        readelf -hldW "$p" >elf
        grep -q 'Type: *DYN' elf || { echo "$p is not PIE"; false; }
        grep -q 'FLAGS_1.*NOW.*PIE\|FLAGS_1.*PIE.*NOW' elf || { echo "$p binds late"; false; }
        grep -q GNU_RELRO elf || { echo "$p has no RELRO"; false; }
        grep -q 'GNU_STACK.* RW ' elf || { echo "$p has a stack that can be run"; false; }
        if grep -E 'LOAD .* RWE ' elf; then echo "$p has memory that is written and run"; false; fi
    done
}

@test "each program checks its stack and the sizes of copies" {
    for p in "$BIN"/*; do
        readelf -sW --dyn-syms "$p" >symbols
        grep -q __stack_chk_fail symbols || { echo "$p has no stack protector"; false; }
        grep -qE '__(memcpy|snprintf|vsnprintf|fprintf|read)_chk' symbols || { echo "$p has no FORTIFY_SOURCE"; false; }
    done
}

@test "on x86-64, functions that are called by address begin with endbr64" {
    [ "$(uname -m)" = x86_64 ] || skip "not x86-64"
    objdump -d --no-show-raw-insn "$BIN/llm-sample" >code
    grep -A1 '<main>:' code | grep -q endbr64
    grep -q endbr64 code
}
