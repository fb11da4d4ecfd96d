# For the bats files of llm-serve, after lib/common: an engine and a server of tests/data/tiny, and requests to them.
# SPDX-License-Identifier: AGPL-3.0-or-later

setup() {
    export LLM_MODEL=$DATA/tiny
    export TMPDIR=$BATS_TEST_TMPDIR/tmp XDG_RUNTIME_DIR=
    cd "$BATS_TEST_TMPDIR"
    chmod 700 .
    mkdir tmp
    ln -s "$DATA/tiny" tiny
    engine='' server=''
}

teardown() {
    for process in $server $engine; do
        kill "$process" 2>/dev/null || true
        wait "$process" 2>/dev/null || true
    done
}

# Until a command succeeds, twenty seconds at most.
until_true() {
    for ((end = SECONDS + 20; SECONDS < end;)); do
        ! "$@" || return 0
        sleep 0.02
    done
    echo "never true: $*; $(cat ./*.err)"
    return 1
}

start_engine() {
    llm-forward --listen "$PWD/sock" -m tiny 2>engine.err 3>&- &
    engine=$!
    until_true test -S sock
}

# Starts a server, in place of the one that runs. Its process is $server, its port $port.
serve() { # OPTIONS
    [ -z "$server" ] || { kill "$server" && wait "$server"; }
    : >server.err # a grep must not find the address of the one before
    llm-serve "$@" -p 0 >server.out 2>server.err 3>&- &
    server=$!
    until_true grep -q http:// server.err
    port=$(sed -n 's/.*127.0.0.1://p' server.err)
}

# An engine and a server of it.
start() { # OPTIONS
    start_engine
    serve -m tiny --engine "$PWD/sock" "$@"
}

http() { python3 "$BATS_TEST_DIRNAME/lib/http_client.py" "$@"; }
post() { http "$port" POST "$@"; }
get() { http "$port" GET "$@"; }

# A request is refused with a status, the path of its field and a text.
refused() { # STATUS FIELD TEXT PATH BODY
    post "$4" "$5" >out
    [ "$(head -n 1 out)" = "$1" ] || { cat out; return 1; }
    tail -n +2 out | jq -e --arg field "$2" --arg text "$3" \
        '(.error.param // "") == $field and (.error.message | contains($text))' >/dev/null || { cat out; return 1; }
}

# A request that must succeed; prints the body of the answer.
good() { # PATH BODY
    post "$1" "$2" >good.out
    [ "$(head -n 1 good.out)" = 200 ] || { cat good.out; return 1; }
    tail -n +2 good.out
}
