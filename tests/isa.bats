#!/usr/bin/env bats
# Instructions that a CPU may lack are in the functions for CPUs that have them, and nowhere else.
# SPDX-License-Identifier: AGPL-3.0-or-later
load lib/common

setup() {
    [ "$(uname -m)" = x86_64 ] || skip "not x86-64"
    ! sanitized || skip "the compiler of a sanitizer adds calls"
    cd "$BATS_TEST_TMPDIR"
}

# Reads objdump's text. Prints "FILE FUNCTION" for each function with instructions of AVX and later (v...), or of AVX-512 and AMX
# (zmm, mask and tile registers), outside files and functions that are named after an instruction set that has them.
# The files of C are compiled for AVX. Functions that fill the table run on every CPU.
strays() {
    awk '
        /file format/ { file = $1; sub(/:$/, "", file); sub(/.*\//, "", file) }
        /^[0-9a-f]+ <.*>:$/ { name = $2; gsub(/[<>:]/, "", name); sub(/\.(part|cold|constprop|isra).*/, "", name); next }
        !/^ *[0-9a-f]+:/ { next }
        {
            wide = /%[zt]mm[0-9]|%k[0-7]|%[xy]mm(1[6-9]|2[0-9]|3[01])|\t(tile|ldtilecfg|sttilecfg|tdp)/
            vex = $2 ~ /^v/ && $2 !~ /^ver[rw]$/
        }
        wide && file !~ /_avx512|_amx/ && name !~ /_avx512$/ { found[file " " name] = 1 }
        vex && file !~ /_avx|_amx|^(matmul|attention)_c\.o/ && name !~ /_avx(2|512)$/ { found[file " " name] = 1 }
        vex && name ~ /_fill$/ { found[file " " name] = 1 }
        wide || vex { n++ }
        END { for (f in found) print f; print n + 0, "wide instructions" }'
}

@test "AVX, AVX-512 and AMX instructions are in the files and functions of those sets alone" {
    # A build folder may have objects of files that are gone.
    for source in $(cd "$ROOT" && find common tools -name '*.c' ! -path '*/cuda/*'); do
        object=$ROOT/$BUILD/obj/${source%.c}.o
        [ ! -e "$object" ] || echo "$object"
    done >objects
    [ "$(wc -l <objects)" -gt 200 ]
    xargs objdump -d --no-show-raw-insn <objects | strays >found
    tail -n 1 found
    [ "$(tail -n 1 found | cut -d ' ' -f 1)" -gt 10000 ]
    # asked for by what runs after AMX has been allowed only
    sed '$d' found | grep -vxE 'amx\.o (attempt_tiles|amx_shape|amx_release)' | tee wrong
    [ ! -s wrong ]
}

@test "the check finds such instructions where they do not belong" {
    printf 'float sum(const float *p) { float s = 0; for (int i = 0; i < 64; i++) s += p[i]; return s; }\n' >plain.c
    for flags in -mavx512f -mavx2; do
        cc -O3 -ffast-math -mprefer-vector-width=512 $flags -c plain.c
        objdump -d --no-show-raw-insn plain.o | strays >found
        grep -qx 'plain.o sum' found
    done
    cc -O3 -ffast-math -c plain.c
    objdump -d --no-show-raw-insn plain.o | strays >found
    [ "$(cat found)" = "0 wide instructions" ]
    printf 'void f(void) { __asm__("tilezero %%tmm1"); }\nvoid g(void) { __asm__("tilerelease"); }\n' >tiles.c
    cc -O1 -c tiles.c
    objdump -d --no-show-raw-insn tiles.o | strays >found
    [ "$(grep -c '^tiles.o [fg]$' found)" -eq 2 ]
}

# QEMU ends a program at an instruction that the CPU it emulates lacks. It has no AVX-512 and no AMX.
@test "CPUs without AVX, and without AVX-512, run every step and give the bits of LLM_ISA" {
    command -v qemu-x86_64 >/dev/null || skip "qemu-user is not installed"
    export LLM_MODEL="$DATA/models/llama"
    o=(--no-return -q -t 1)
    printf '1 2 3 4 5 6 7 8 9 10 11 12\n' >ids
    while read -r cpu same default; do # without AVX, the files of c leave baseline's functions in the table
        LLM_ISA=$same llm-forward "${o[@]}" --precise -a ids >want
        QEMU_CPU=$cpu qemu-x86_64 "$BIN/llm-forward" --no-sandbox "${o[@]}" --precise -a ids >got
        cmp want got
        if QEMU_CPU=$cpu LLM_ISA=amx qemu-x86_64 "$BIN/llm-forward" "${o[@]}" ids 2>message; then false; fi
        grep -q "LLM_ISA is 'amx', which this CPU lacks (its default is $default)" message
    done <<END
Nehalem baseline c
Haswell avx2 avx2
END
}
