#!/usr/bin/env bats
# completion/: the options of every program are those of --help, and what bash offers after a word.
# SPDX-License-Identifier: AGPL-3.0-or-later
load lib/common

programs() { for f in "$ROOT"/tools/*.c; do basename "$f" .c; done; }

# One a line: the options of --help, of the file for bash, and of the file for zsh.
of_help() {
    "$BIN/$1" --help | grep -E '^ +-' | sed 's/  [^ -].*//' | grep -oE '(^|[ ,])--?[A-Za-z0-9][A-Za-z0-9-]*' |
        tr -d ' ,' | sort -u
}
of_bash() { (. "$ROOT/completion/tokpipe.bash" && _tokpipe_options "$1") | tr ' ' '\n' | sort -u; }
of_zsh() { # the program's block, and the arrays that it names
    awk -v program="$1" '
        /^[a-z]+=\(/ { name = $0; sub(/=.*/, "", name) }
        name { text[name] = text[name] $0 "\n"; if (/\)$/ && !/^    /) name = "" }
        $0 == program ")" { on = 1 }
        on { block = block $0 "\n"; for (n in text) if (index($0, "$" n)) block = block text[n] }
        /^    ;;/ { on = 0 }
        END { printf "%s", block }' "$ROOT/completion/_tokpipe" |
        sed "s/_arguments -s -S//; s/'([^)]*)'//; s/\[.*//" | grep -oE "(['{, *])--?[A-Za-z0-9][A-Za-z0-9-]*" | sed 's/^[^-]//' | sort -u
}

@test "bash completes the options of --help, and no others" {
    for p in $(programs); do
        diff <(of_help "$p") <(of_bash "$p") || { echo "$p (< help, > completion/tokpipe.bash)"; false; }
    done
}

@test "zsh completes the options of --help, and no others" {
    for p in $(programs); do
        diff <(of_help "$p") <(of_zsh "$p") || { echo "$p (< help, > completion/_tokpipe)"; false; }
    done
}

@test "both files know every program" {
    for p in $(programs); do
        grep -qE "^complete .* $p( |\$)" "$ROOT/completion/tokpipe.bash"
        grep -qE "^#compdef .*\b$p( |\$)" "$ROOT/completion/_tokpipe"
    done
}

offers() { # WORD...: what bash offers for the last word, one a line
    (. "$ROOT/completion/tokpipe.bash" && COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) && _tokpipe 2>/dev/null &&
        printf '%s\n' "${COMPREPLY[@]}")
}

@test "bash offers options, devices, folders, cached models and files" {
    cd "$BATS_TEST_TMPDIR"
    mkdir -p model cache/models--org--name
    touch 'a file' model.list
    [ "$(offers llm-forward --pre)" = --precise ]
    [ "$(offers build/bin/llm-sample --top)" = $'--top-k\n--top-p' ]
    [ "$(offers llm-forward --device cu)" = cuda ]
    [ "$(offers llm-forward --device = cu)" = cuda ]
    [ "$(offers llm-forward -m mo)" = model ]
    [ "$(HF_HUB_CACHE=$PWD/cache offers llm-forward -m o)" = org/name ]
    [ "$(offers llm-forward --verify model.)" = model.list ]
    [ "$(offers tok-encode 'a f')" = 'a file' ]
}

@test "zsh reads its file" {
    command -v zsh >/dev/null || skip "zsh is not installed"
    zsh -n "$ROOT/completion/_tokpipe"
}
