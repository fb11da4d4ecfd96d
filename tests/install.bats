#!/usr/bin/env bats
# make install and make uninstall under a DESTDIR, and make dist.
# SPDX-License-Identifier: AGPL-3.0-or-later
load lib/common

setup() { D=$BATS_TEST_TMPDIR/dest; }

# The programs are built already: `all` is taken as it is.
make_it() {
    local san=
    [ "${BUILD:-build}" != build-san ] || san=SAN=1
    make -s -C "$ROOT" -o all $san DESTDIR="$D" PREFIX=/usr "$@"
}

@test "install puts programs, pages, completions and examples in their standard folders" {
    make_it install
    for f in "$ROOT"/tools/*.c; do
        p=$(basename "$f" .c)
        "$D/usr/bin/$p" --version | grep -q "^$p (tokpipe)"
        [ -f "$D/usr/share/man/man1/$p.1" ]
        [ -f "$D/usr/share/bash-completion/completions/$p" ]
    done
    [ -f "$D/usr/share/man/man5/tokens.5" ]
    [ -f "$D/usr/share/man/man7/tokpipe.7" ]
    [ -f "$D/usr/share/zsh/site-functions/_tokpipe" ]
    [ -x "$D/usr/share/doc/tokpipe/examples/chat" ]
    [ -e "$D/usr/share/doc/tokpipe/examples/systemd/llm-forward@.socket" ]
    [ -e "$D/usr/share/doc/tokpipe/openapi.json" ]
}

@test "an installed example finds the installed programs" {
    make_it install
    cd "$BATS_TEST_TMPDIR"
    PATH=$D/usr/bin:/usr/bin:/bin LLM_MODEL=$DATA/tiny "$D/usr/share/doc/tokpipe/examples/record-and-replay" 'a prompt' run
    [ -s run ]
}

@test "a second install changes nothing, and uninstall leaves no file" {
    make_it install
    (cd "$D" && find . -exec stat -c '%n %s %a' {} + | sort) >"$BATS_TEST_TMPDIR/first"
    make_it install
    (cd "$D" && find . -exec stat -c '%n %s %a' {} + | sort) >"$BATS_TEST_TMPDIR/second"
    diff "$BATS_TEST_TMPDIR/first" "$BATS_TEST_TMPDIR/second"
    make_it uninstall
    run find "$D" ! -type d
    [ -z "$output" ]
    [ ! -e "$D/usr/share/doc/tokpipe" ]
}

@test "dist gives the same archive twice" {
    git -C "$ROOT" rev-parse HEAD >/dev/null 2>&1 || skip "not a git checkout"
    git clone -q --depth 1 "file://$ROOT" "$BATS_TEST_TMPDIR/clone"
    cd "$BATS_TEST_TMPDIR/clone"
    name=$(make -s dist)
    sum=$(sha256sum "$name")
    (umask 077 && make -s dist)
    [ "$sum" = "$(sha256sum "$name")" ]
    tar -tzf "$name" | grep -q '/README.md$'
}
