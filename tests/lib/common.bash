# For every bats file:  load lib/common
# SPDX-License-Identifier: AGPL-3.0-or-later
ROOT=${ROOT:-$(cd "$BATS_TEST_DIRNAME/.." && pwd)}
BIN=$ROOT/${BUILD:-build}/bin
DATA=$ROOT/tests/data
SHARED=$ROOT/../shared
PATH=$BIN:$PATH
unset LLM_MODEL LLM_ISA

# Goldens that are not ours are read from beside the checkout, or the test is skipped with a plain word.
need_shared() { [ -e "$SHARED/goldens/$1" ] || skip "$1 is not beside this checkout"; }

# run, and check exit status and that stderr+stdout hold a text:  fails 65 'not a number' prog args...
fails() {
    local want=$1 text=$2
    shift 2
    run "$@"
    [ "$status" -eq "$want" ] || { echo "exit $status, not $want: $output"; return 1; }
    [[ $output == *"$text"* ]] || { echo "no '$text' in: $output"; return 1; }
}

# Whether the programs are built with a sanitizer, which reserves terabytes of addresses: any, or the named one.
#     sanitized asan && skip "..."
sanitized() { grep -qE "__${1:-[atm]san}_init" "$BIN/llm-forward"; }

# All names, or under a sanitizer the first N: it has to see each path, and the plain build compares the bits of all.
#     for m in $(some 3 $families); do ...
some() { # N NAME...
    local n=$1
    shift
    ! sanitized || set -- "${@:1:n}"
    echo "$@"
}

# Runs a command with at most KB of address space; under ASan, which reserves terabytes, of resident memory.
#     within_memory 400000 tok-encode -l big
within_memory() {
    local kb=$1
    shift
    if sanitized asan; then
        ASAN_OPTIONS="$ASAN_OPTIONS:quarantine_size_mb=16:hard_rss_limit_mb=$((kb / 1024))" "$@"
    elif sanitized; then
        "$@" # their shadows are several times the memory
    else
        (ulimit -v "$kb" && exec "$@")
    fi
}
