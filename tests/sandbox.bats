#!/usr/bin/env bats
# What each program can still do once its sandbox is entered. tests/lib/probe.c, preloaded, tries: to read /etc/passwd
# (read), to make a file elsewhere (write), in $TMPDIR (temp) and where the program writes (own), a socket of the network
# (tcp) and of this machine (unix), a process (fork), another program (exec), executable memory (code), a signal to its
# parent (signal), a thread (thread). tests/unit/sandbox.c has the sandbox itself.
# SPDX-License-Identifier: AGPL-3.0-or-later
load lib/common
bats_require_minimum_version 1.5.0

setup() {
    [ -e "$ROOT/${BUILD:-build}/tests/probe.so" ] || skip "this build has no sandbox"
    cd "$BATS_TEST_TMPDIR"
    chmod 700 .
    mkdir elsewhere own tmp
    export LLM_MODEL=$DATA/tiny TMPDIR=$PWD/tmp PROBE=$PWD/probe PROBE_ELSEWHERE=$PWD/elsewhere PROBE_OWN=$PWD/own
    : >probe
    printf '1 2 3\n' >ids
    python3 -c "import sys; sys.path.insert(0, '$ROOT/tests/lib'); import make_vectors as v
sys.stdout.buffer.write(v.header(3) + v.record(0, [1.0, 0.5, -1.0], b'id=r0') + v.end(1))" >vectors
    vec-index -q -i index vectors
    llm-forward --no-return -a ids >rows
    engine='' server=''
}

teardown() {
    for process in $server $engine; do
        kill "$process" 2>/dev/null || true
        wait "$process" 2>/dev/null || true
    done
}

probed() { LD_PRELOAD=$ROOT/${BUILD:-build}/tests/probe.so "$@"; }

# A command's program may do just these things:  may "thread temp" tok-encode ...
may() {
    local want=$1 name=$2
    shift
    : >probe
    probed "$@" >/dev/null 2>err </dev/null || true
    echo "$name:${want:+ $want}" >want
    grep "^$name:" probe | cmp want - || { echo "$*: $(cat probe err)"; return 1; }
}

@test "the attempts go on where there is no sandbox, so the others mean something" {
    cat >all.c <<'C'
#include <seccomp.h>
int main(void) {
    scmp_filter_ctx f = seccomp_init(SCMP_ACT_ALLOW);
    return seccomp_load(f);
}
C
    cc -o all all.c -lseccomp
    probed ./all || true
    [ ! -s probe ] # another program took its place
    cat >most.c <<'C'
#include <errno.h>
#include <seccomp.h>
int main(void) {
    scmp_filter_ctx f = seccomp_init(SCMP_ACT_ALLOW);
    seccomp_rule_add(f, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(execve), 0);
    return seccomp_load(f);
}
C
    cc -o most most.c -lseccomp
    probed ./most
    [ "$(cat probe)" = "most: read write temp own tcp unix fork code signal thread" ]
}

@test "filters can do nothing but read, compute and write" {
    may thread tok-encode -m "$DATA/tiny" ids
    may '' tok-decode ids
    may '' llm-forward --no-return ids
    may '' llm-sample -n 1 rows
    may '' llm-diff rows rows
    may '' llm-embed -m "$DATA/embed/bert" ids
    may '' doc-chunk -m "$DATA/tiny" ids
    may '' vec-search -i index vectors
    "$ROOT/tests/lib/toy-embedder" "$ROOT" embedder
    echo '{"text": "the cat", "id": 1}' >records
    tok-encode -j -m embedder records | llm-embed -m embedder | vec-index -q -i chunks --records records
    may '' vec-prefix -i chunks -m embedder records
    grep -qx 'llm-embed:' probe # which it has started
    grep -qx 'tok-encode: thread' probe
}

@test "programs that write files can do so in the folder of their target" {
    may 'temp' llm-inspect rows
    may 'temp own' llm-inspect --npy own/rows rows
    may 'temp' llm-score rows
    may 'temp own' llm-embed -m "$DATA/embed/bert" --npy own/vectors ids
    may 'own' vec-index -i own/index vectors
    may 'own' llm-forward --no-return --collect own/stats ids
}

@test "programs that read folders can read files, and write in the folder of their target" {
    may 'read thread' st-inspect "$DATA/tiny"
    may 'read own thread' st-convert --dtype f16 "$DATA/tiny" own/model
    may 'read own thread' st-quantize "$DATA/tiny" own/small
    may 'read thread' st-quantize --dry-run "$DATA/tiny" own/small
}

# Waits for the program's line, twenty seconds at most.
line_of() {
    for ((end = SECONDS + 20; SECONDS < end;)); do
        grep "^$1:" probe && return
        sleep 0.02
    done
    cat ./*.err
    return 1
}

@test "a resident engine opens nothing; a server has threads, Unix sockets, and the folder of --record" {
    probed llm-forward --listen "$PWD/sock" 2>engine.err 3>&- &
    engine=$!
    [ "$(line_of llm-forward)" = "llm-forward:" ]
    probed llm-serve --engine "$PWD/sock" -p 0 --record own 2>server.err 3>&- &
    server=$!
    got=$(line_of llm-serve)
    : >probe
    probed llm-forward --engine "$PWD/sock" --no-return ids >/dev/null
    client=$(cat probe)
    kill "$server" "$engine"
    wait "$server" "$engine" || true
    [ "$got" = "llm-serve: temp own unix thread" ]
    [ "$client" = "llm-forward:" ]
}

@test "a server with engines of a folder reads any file, or with --models only those of the models" {
    mkdir -m 700 run models
    unset LLM_MODEL LLM_ENGINE
    served() { # EXPECTED OPTION...
        : >probe
        LLM_RUN=$PWD/run probed llm-serve -p 0 "${@:2}" 2>server.err 3>&- &
        server=$!
        got=$(line_of llm-serve)
        kill "$server"
        wait "$server" || true
        [ "$got" = "llm-serve: $1" ]
    }
    served 'read temp unix thread'
    served 'temp unix thread' --models models
}

@test "each program has a line above" {
    for program in "$BIN"/*; do
        grep -qE "(may|probed).* ${program##*/} " "$BATS_TEST_DIRNAME/sandbox.bats" || { echo "$program"; return 1; }
    done
}
