#!/usr/bin/env bats
# The documents and the code agree: pages, --help, options, examples, warnings.
# SPDX-License-Identifier: AGPL-3.0-or-later
load lib/common

programs() { ls "$ROOT"/tools/*.c | sed 's|.*/||; s|\.c$||'; }

# The long options and letters that a text names, one a line: from --help, and from a page's ".It Fl" lines.
help_options() { "$BIN/$1" --help | grep -E '^ +-' | sed 's/  [^ -].*//' | grep -oE '(^|[ ,])--?[A-Za-z0-9][A-Za-z0-9-]*' | tr -d ' ,' | sort -u; }
page_options() { mandoc -T ascii -O width=200 "$ROOT/man/$1.1" | sed 's/.\x08//g' | awk '/^[A-Z]/ { on = 0 } /^(DESCRIPTION|OPTIONS)/ { on = 1 } on' |
    grep -E '^ +-' | grep -oE '(^|[ ,])--?[A-Za-z0-9][A-Za-z0-9-]*' | tr -d ' ,' | sort -u; }

@test "every program has a page, and every page is clean mdoc" {
    for p in $(programs); do [ -e "$ROOT/man/$p.1" ] || { echo "no man/$p.1"; false; }; done
    run mandoc -T lint -W warning "$ROOT"/man/*.[157]
    echo "$output"
    [ "$status" -eq 0 ]
}

@test "--help and the page name the same options" {
    bad=0
    for p in $(programs); do
        diff <(help_options "$p") <(page_options "$p") >"$BATS_TEST_TMPDIR/d" || { echo "$p (< help, > page):"; cat "$BATS_TEST_TMPDIR/d"; bad=1; }
    done
    [ "$bad" -eq 0 ]
}

@test "--help and --version go to stdout with exit 0, and a full disk is an error" {
    for p in $(programs); do
        "$p" --help 2>/dev/null | grep -qi usage
        "$p" -h 2>/dev/null | grep -qi usage
        [ "$("$p" --version 2>&1 >/dev/null)" = "" ]
        [ "$("$p" -V)" = "$p (tokpipe) $(sed -n 's/^## \([0-9][0-9.]*\).*/\1/p' "$ROOT/CHANGELOG.md" | head -n 1)" ]
        fails 74 "No space left" sh -c "$p --help >/dev/full"
        fails 2 "" "$p" --no-such-option
    done
}

@test "no warnings from the compilers that are here" {
    found=0
    for cc in gcc clang; do
        command -v $cc >/dev/null || continue
        found=$((found + 1))
        run make -s -C "$ROOT" syntax CC=$cc
        echo "$output"
        [ "$status" -eq 0 ]
        [ -z "$output" ]
    done
    [ "$found" -gt 0 ]
}
