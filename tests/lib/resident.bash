# For tests of cached keys and values, after lib/common: the model llama, and an engine that ends with its test.
# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: AGPL-3.0-or-later

setup() {
    export LLM_MODEL=$DATA/models/llama # vocabulary 288, context 256
    export TMPDIR=$BATS_TEST_TMPDIR
    unset LLM_ENGINE LLM_RUN
    cd "$BATS_TEST_TMPDIR"
    chmod 700 .
    engine=
}

teardown() {
    [ -z "$engine" ] || kill -9 "$engine" 2>/dev/null || true
}

# Ids $1 .. $2, a line.
ids() { seq -s ' ' "$1" "$2"; }

# Starts a resident engine at ./sock.
listen() {
    llm-forward --listen "$PWD/sock" "$@" 2>engine.err 3>&- &
    engine=$!
    for ((i = 0; i < 500; i++)); do
        ! llm-forward --engine "$PWD/sock" --no-return </dev/null >/dev/null 2>&1 || return 0
        sleep 0.01
    done
    cat engine.err
    return 1
}
