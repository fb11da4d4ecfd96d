#!/usr/bin/env bats
# The folders are what ARCHITECTURE.md says: who includes whom, public tags, self-contained headers.
# The documents name files and functions that exist.
# SPDX-License-Identifier: AGPL-3.0-or-later
load lib/common

check() { # WHAT [ROOT]
    run python3 "$ROOT/tests/lib/layers.py" "$1" "${2:-$ROOT}"
    echo "$output"
}

# A copy of what the checks read, to plant mistakes in.
copy() {
    mkdir -p "$BATS_TEST_TMPDIR/copy/docs"
    cp -r "$ROOT"/common "$ROOT"/tools "$ROOT"/*.md "$BATS_TEST_TMPDIR/copy"
    cp "$ROOT"/docs/*.md "$BATS_TEST_TMPDIR/copy/docs"
    cd "$BATS_TEST_TMPDIR/copy"
}

# Compiles an include of each header of the current folder's common/ alone: as C, or as CUDA over the stand-in.
headers() {
    local h bad=0
    while IFS= read -r h; do
        printf '#include "%s"\n' "${h#common/}" >alone.c
        gcc -std=c11 -D_POSIX_C_SOURCE=200809L -Icommon -Wall -Wextra -Werror -fsyntax-only -x c alone.c 2>alone.err && continue
        case $h in
        common/backend/cuda/*)
            g++ -std=c++17 -DCUDA_SHIM -Icommon -I"$ROOT/tests/cuda" -fsyntax-only -x c++ alone.c 2>>alone.err && continue
            ;;
        esac
        echo "$h does not compile alone, and is not called _tmpl.h:"
        head -n 3 alone.err
        bad=1
    done < <(find common -name '*.h' ! -name '*_tmpl.h' | sort)
    return $bad
}

@test "every #include is one that ARCHITECTURE.md's table allows" {
    check includes
    [ "$status" -eq 0 ]
}

@test "an #include that the table does not allow is found, with file and line" {
    copy
    printf '/* planted */\n\n#include "model/model.h"\n' >common/base/planted.c
    printf '#include "wire/tokens.h"\n' >>common/unicode/regex.h
    mkdir common/nowhere
    echo >common/nowhere/planted.c
    check includes .
    [ "$status" -eq 1 ]
    [[ $output == *"common/base/planted.c:3: base may not include model/model.h (it knows nothing)"* ]]
    [[ $output == *"common/unicode/regex.h:$(wc -l <common/unicode/regex.h): unicode may not include wire/tokens.h (it knows base)"* ]]
    [[ $output == *"common/nowhere/planted.c:1: nowhere is not in"* ]]
}

@test "no two public structs share a tag" {
    check tags
    [ "$status" -eq 0 ]
}

@test "a tag that two headers define, or two modules keep to themselves, is found" {
    copy
    printf 'struct err {\n    int code;\n};\nstruct reader;\n' >common/wire/planted.h
    printf '#include "wire/planted.h"\nstruct reader {\n    int fd;\n};\n' >common/wire/planted.c
    printf 'struct reader;\n' >common/weights/planted.h
    printf '#include "weights/planted.h"\nstruct reader {\n    int fd;\n};\n' >common/weights/planted.c
    check tags .
    [ "$status" -eq 1 ]
    [[ $output == *"common/wire/planted.h:1: the tag 'err' is also that of common/base/err.h:"* ]]
    [[ $output == *"common/wire/planted.c:2: the tag 'reader' is also that of common/weights/planted.c:2"* ]]
}

@test "every header compiles alone, or is a template whose name ends in _tmpl.h" {
    copy
    run headers
    echo "$output"
    [ "$status" -eq 0 ]
    printf 'struct err *planted(size_t n);\n' >common/base/planted.h
    run headers
    [ "$status" -eq 1 ]
    [[ $output == *"common/base/planted.h does not compile alone"* ]]
}

@test "the documents name files and functions that exist" {
    check paths
    [ "$status" -eq 0 ]
}

@test "a path, a link or a function that does not exist is found" {
    copy
    printf '\nSee common/base/gone.c, base/gone.h, [it](docs/GONE.md) and `gone_function`.\n' >>ARCHITECTURE.md
    check paths .
    [ "$status" -eq 1 ]
    n=$(wc -l <ARCHITECTURE.md)
    [[ $output == *"ARCHITECTURE.md:$n: no docs/GONE.md"* ]]
    [[ $output == *"ARCHITECTURE.md:$n: no common/base/gone.c"* ]]
    [[ $output == *"ARCHITECTURE.md:$n: no base/gone.h"* ]]
    [[ $output == *"ARCHITECTURE.md:$n: no 'gone_function' in the code"* ]]
}

@test "docs/READING.md names as many files as it says, and its number of lines is right within 10 %" {
    check reading
    [ "$status" -eq 0 ]
}
