#!/usr/bin/env bats
# The programs are built with the compiler's and the linker's hardening.
# SPDX-License-Identifier: AGPL-3.0-or-later
load lib/common

setup() {
    ! sanitized || skip "a build for tests is not hardened"
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

# -fcf-protection marks where an indirect jump may go, -fstack-clash-protection touches each page of a large frame.
@test "on x86-64, main of each program begins with endbr64, and large frames are probed page by page" {
    [ "$(uname -m)" = x86_64 ] || skip "not x86-64"
    for p in "$BIN"/*; do
        objdump -d --no-show-raw-insn "$p" >code
        grep -A1 '<main>:' code | grep -q endbr64 || { echo "$p has no CET"; false; }
        [ "$(grep -c endbr64 code)" -gt 20 ]
        grep -q 'or[qlb]* *\$0x0,\(0x[0-9a-f]*\)\?(%rsp' code || { echo "$p does not probe its stack"; false; }
    done
}

# The tokenizer's patterns are compiled into such memory.
@test "no memory is both written and run once the sandbox is entered" {
    mkfifo in
    tok-encode -m "$DATA/tokenizers/unigram-xlmr" in >ids &
    exec 9>in
    for ((i = 0; i < 1000; i++)); do
        grep -q '^Seccomp:.*2' /proc/$!/status && break
        sleep 0.01
    done
    cat /proc/$!/maps >maps
    echo hi >&9
    exec 9>&-
    wait $!
    [ -s ids ]
    grep -q r-xp maps
    if grep rwx maps; then false; fi
    # without the sandbox there is such memory, so the test can fail
    mkfifo again
    tok-encode --no-sandbox -m "$DATA/tokenizers/unigram-xlmr" again >ids &
    exec 9>again
    for ((i = 0; i < 1000; i++)); do
        grep -q rwx /proc/$!/maps && break
        sleep 0.01
    done
    grep -q rwx /proc/$!/maps
    exec 9>&-
    wait $!
}
