#!/usr/bin/env bats
# A resident llm-forward and its clients: the same bytes, messages and exits as a pipeline of its own; clients that come, stall,
# lie and go; the socket, its limits and its end.
# SPDX-License-Identifier: AGPL-3.0-or-later
bats_require_minimum_version 1.5.0
load lib/common

setup() {
    export LLM_MODEL=$DATA/tiny
    export TMPDIR=$BATS_TEST_TMPDIR/tmp XDG_RUNTIME_DIR=
    cd "$BATS_TEST_TMPDIR"
    chmod 700 .
    mkdir tmp
    unset LLM_ENGINE
    SOCK=$PWD/sock
    engine=
}

teardown() {
    [ -z "$engine" ] || kill -9 "$engine" 2>/dev/null || true
    [ -z "$client" ] || kill -9 "$client" 2>/dev/null || true
}

# Starts an engine; its process is $engine, its messages go to engine.err.
start() {
    llm-forward --listen "$SOCK" "$@" 2>engine.err 3>&- &
    engine=$!
    for ((i = 0; i < 500; i++)); do
        ! llm-forward --engine "$SOCK" --group --no-return </dev/null >/dev/null 2>&1 || return 0
        sleep 0.01
    done
    cat engine.err
    return 1
}

# Until the process has ended, ten seconds at most.
ended() {
    for ((i = 0; i < 1000; i++)); do
        kill -0 "$1" 2>/dev/null || return 0
        [ "$(ps -o stat= -p "$1")" != Z ] || return 0
        sleep 0.01
    done
    echo "process $1 goes on"
    return 1
}

n_fds() { ls "/proc/$engine/fd" | wc -l; }

# Waits until the engine has as few descriptors as before.
forgotten() { # BEFORE
    for ((i = 0; i < 500; i++)); do
        [ "$(n_fds)" -gt "$1" ] || return 0
        sleep 0.01
    done
    ls -l "/proc/$engine/fd"
    return 1
}

texts() {
    for i in 1 2 3 4 5 6 7 8; do echo "text $i has words, and more words follow in number $i"; done
}

# Two streams say the same, however they are cut into frames: that depends on times.
same_stream() { # A B
    python3 "$ROOT/tests/lib/frames.py" --sorted "$1" >a.txt
    python3 "$ROOT/tests/lib/frames.py" --sorted "$2" >b.txt
    [ "$(wc -l <a.txt)" -gt 2 ]
    diff a.txt b.txt
}

# The same command with and without the engine: stdout, stderr and exit status are equal.
same() { # COMMAND, a shell's
    local a=0 b=0
    bash -o pipefail -c "$1" >plain.out 2>plain.err || a=$?
    LLM_ENGINE=$SOCK bash -o pipefail -c "$1" >resident.out 2>resident.err || b=$?
    if [ "$(head -c 6 plain.out)" = LOGITS ]; then
        same_stream plain.out resident.out
    else
        cmp plain.out resident.out
    fi
    diff plain.err resident.err
    [ "$a" -eq "$b" ] || { echo "exit $a alone, $b with the engine: $1"; return 1; }
}

@test "the same bytes as a pipeline of its own, whatever is asked for" {
    start
    texts | tok-encode -l >ids
    same 'llm-forward --no-return <ids | cat'
    same 'llm-forward --no-return -a <ids | cat'
    same 'llm-forward --no-return --hidden <ids | cat'
    same 'llm-forward --no-return -a --hidden=0,2-  ids | cat'
    same 'llm-forward --no-return -c 40 -b 1 ids | cat'
    same 'tok-encode -l <<<"a few words" | llm-forward --no-return'
    same 'echo 1 5 9 | llm-forward --no-return -a | cat'
    cmp plain.out resident.out
    same 'sed "s/^[0-9].*/#@ from=3\n&/" ids | llm-forward --no-return | cat'
    [ -s plain.out ]
}

@test "pipelines with samplers are unchanged: greedy, drawn, forked, batches, a chat" {
    start
    texts >texts
    local p='tok-encode -l <texts | llm-forward | llm-sample -n 24'
    same "$p -T 0 --ignore-eos | tok-decode -l"
    same "$p -T 0.9 --seed 3 | tok-decode -l"
    same "tok-encode -l <texts | llm-forward -b 2 | llm-sample -n 9 -T 1 --seed 4 | tok-decode -l"
    same 'echo "one text" | tok-encode | llm-forward | tee copy | llm-sample -n 12 -T 0 | tok-decode'
    same 'tok-encode -l <texts | llm-forward | llm-inspect --no-color' || same 'tok-encode -l <texts | llm-forward | llm-inspect'
    same 'tok-encode -l <texts | llm-forward -a --no-return | llm-score'
    [ "$(ls -A tmp)" = "" ] # no socket is left
}

@test "a file, a pipe, a socket and a device as stdin and stdout give the same" {
    start
    texts | tok-encode -l >ids
    llm-forward --no-return -a <ids >want
    llm-forward --engine "$SOCK" --no-return -a <ids >got
    same_stream want got
    llm-forward --engine "$SOCK" --no-return -a ids | cat >got
    same_stream want got
    llm-forward --engine "$SOCK" --no-return -a <ids >>more
    same_stream want more
    mkfifo in out
    llm-forward --engine "$SOCK" --no-return -a <in >out &
    client=$!
    cat ids >in &
    cat <out >got
    wait "$client"
    same_stream want got
    python3 - "$SOCK" >got <<'P'
import socket, subprocess, sys
a, b = socket.socketpair()
c, d = socket.socketpair()
p = subprocess.Popen(["llm-forward", "--engine", sys.argv[1], "--no-return", "-a"], stdin=b, stdout=d)
b.close(), d.close()
a.sendall(open("ids", "rb").read())
a.shutdown(socket.SHUT_WR)
while data := c.recv(65536):
    sys.stdout.buffer.write(data)
sys.exit(p.wait())
P
    same_stream want got
    llm-forward --engine "$SOCK" --no-return ids >/dev/null
}

@test "a terminal as stdin is read as it comes" {
    start
    echo 1 5 9 | llm-forward --no-return >want
    python3 - "$SOCK" >got <<'P'
import os, pty, subprocess, sys
master, slave = pty.openpty()
p = subprocess.Popen(["llm-forward", "--engine", sys.argv[1], "--no-return"], stdin=slave, stdout=subprocess.PIPE)
os.close(slave)
os.write(master, b"1 5 9\n\x04")
sys.stdout.buffer.write(p.communicate()[0])
P
    same_stream want got
}

@test "bad input fails with the same messages and exits" {
    start
    printf '1 5 9\n\n1 99999 3\n! upstream said no\n7 8' >bad
    same 'llm-forward --no-return bad | cat'
    same 'llm-forward --no-return -b 1 <bad | cat'
    same 'echo 1 2 x | llm-forward --no-return | cat'
    same 'printf "#@ from=x\n1 2 3\n#@ from=9\n1 2 3\n" | llm-forward --no-return | cat'
    same 'printf "# tokens vocab=9 tokenizer=0123456789abcdef\n1 2\n" | llm-forward --no-return | cat'
    same 'printf "# tokens vocab=90000\n1 2\n" | llm-forward --no-return | cat'
    same 'seq -s " " 1 70 | llm-forward -c 40 --no-return | cat'
    same 'llm-forward --no-return nowhere | cat'
    fails 2 "--hidden: expected layers from 0 to 2, found '99': " llm-forward --engine "$SOCK" --no-return --hidden=99 bad
    same 'echo 1 2 | llm-forward -q --no-return bad | cat'
    run bash -c "llm-forward --engine $SOCK --no-return -q bad >/dev/full"
    [ "$status" -eq 74 ]
    [ "$output" = "llm-forward: cannot write to stdout: No space left on device" ]
}

@test "a reader that has had enough ends the client by SIGPIPE" {
    start
    before=$(n_fds)
    for _ in 1 2 3; do texts; done | tok-encode -l >ids
    run bash -c "llm-forward --engine $SOCK --no-return -a ids | head -c 1000 >/dev/null; echo \${PIPESTATUS[0]}"
    [ "$output" = 141 ]
    run bash -c "llm-forward --engine $SOCK --no-return -a ids | true; echo \${PIPESTATUS[0]}"
    [ "$output" = 141 ]
    run bash -c "yes words | head -n 5000 | tok-encode -l | llm-forward --engine $SOCK 2>/dev/null | (llm-sample -n 90 --ignore-eos & sleep 0.2; kill -9 \$!) >/dev/null; echo \${PIPESTATUS[3]}"
    [[ $output == *141 ]]
    forgotten "$before"
    echo 1 2 | llm-forward --engine "$SOCK" --no-return >/dev/null
}

@test "what the engine cannot do is refused by name, and what it need not is said" {
    start
    cp -r "$DATA/tiny" other
    echo 1 2 >ids
    fails 65 '-m: the engine has another model: ' llm-forward --engine "$SOCK" --no-return -m other ids
    LLM_MODEL=other fails 65 '-m: the engine has another model' llm-forward --engine "$SOCK" --no-return ids
    fails 65 '--precise: the engine was started without it' llm-forward --engine "$SOCK" --no-return --precise ids
    fails 65 "-c: the engine's context is " llm-forward --engine "$SOCK" --no-return -c 99999 ids
    st-inspect --hash "$DATA/tiny" >list
    fails 65 '--verify: the engine has not compared' llm-forward --engine "$SOCK" --no-return --verify list ids
    fails 2 'exclude each other' llm-forward --engine "$SOCK" --listen x
    fails 2 '--idle is for --listen' llm-forward --idle 3
    fails 2 '--group is for' llm-forward --group
    fails 2 '-a, --hidden and --no-return are for each client' llm-forward --listen x -a
    run --separate-stderr llm-forward --engine "$SOCK" --no-return -t 1 --chunk 3 --keep 4 ids
    [ "$status" -eq 0 ]
    [ "${#stderr_lines[@]}" -eq 3 ]
    [[ $stderr == *"-t is of no use with a resident engine"* ]]
    env -u LLM_MODEL llm-forward --engine "$SOCK" --no-return ids >/dev/null
}

@test "an engine that has compared its weights serves clients with the same list" {
    st-inspect --hash "$DATA/tiny" >list
    start --verify list
    echo 1 2 >ids
    llm-forward --engine "$SOCK" --no-return --verify list ids >/dev/null
    echo >>list
    fails 65 '--verify: the engine has not compared' llm-forward --engine "$SOCK" --no-return --verify list ids
}

@test "many clients at once get what each gets alone" {
    start -b 4
    for i in 1 2 3 4 5 6 7 8; do
        texts | tail -n "$i" | tok-encode -l >"ids$i"
        llm-forward --no-return $([ $((i % 2)) = 0 ] || echo -a --hidden=$((i % 3))) "ids$i" >"want$i"
        tok-encode -l <<<"begin $i" | llm-forward | llm-sample -n 30 -T 0.8 --seed "$i" --ignore-eos >"text$i"
    done
    export LLM_ENGINE=$SOCK
    for i in 1 2 3 4 5 6 7 8; do
        (
            llm-forward --no-return $([ $((i % 2)) = 0 ] || echo -a --hidden=$((i % 3))) "ids$i" >"got$i"
            tok-encode -l <<<"begin $i" | llm-forward | llm-sample -n 30 -T 0.8 --seed "$i" --ignore-eos >"said$i"
        ) &
        pids+=($!)
    done
    for p in "${pids[@]}"; do wait "$p"; done
    for i in 1 2 3 4 5 6 7 8; do
        same_stream "want$i" "got$i"
        cmp "text$i" "said$i"
    done
}

@test "a client that is killed is forgotten, and the others get their bytes" {
    start
    echo 1 2 | llm-forward --engine "$SOCK" --no-return >/dev/null
    before=$(n_fds)
    texts | tok-encode -l >ids
    llm-forward --no-return -a ids >want
    for i in $(seq 20); do
        # shellcheck disable=SC2216 # a reader that takes nothing
        (for _ in $(seq 50); do cat ids; done) | llm-forward --engine "$SOCK" -a 2>/dev/null | sleep 2 &
        client=$(pgrep -n -f "llm-forward --engine $SOCK -a" || true)
        sleep "0.0$((RANDOM % 10))"
        [ -z "$client" ] || kill -9 "$client" 2>/dev/null || true
    done
    llm-forward --engine "$SOCK" --no-return -a ids >got
    same_stream want got
    forgotten "$before"
    kill -0 "$engine"
}

@test "a reader that stalls costs the others nothing, and gets its bytes in the end" {
    start
    for _ in $(seq 40); do texts; done | tok-encode -l >ids
    llm-forward --no-return -a ids >want
    [ "$(stat -c %s want)" -gt 3000000 ] # more than the pipe holds
    mkfifo out
    llm-forward --engine "$SOCK" --no-return -a ids >out &
    client=$!
    exec 7<out
    sleep 0.3
    for _ in 1 2 3; do
        echo 1 5 9 | timeout 5 llm-forward --engine "$SOCK" --no-return >/dev/null
    done
    kill -0 "$client"
    cat <&7 >got
    exec 7<&-
    wait "$client"
    client=
    same_stream want got
}

@test "--kv: sequences wait for memory, are paused and go on, and their bytes are the same" {
    export LLM_MODEL=$DATA/models/llama # vocabulary 288, context 256
    for i in $(seq 12); do seq -s ' ' "$i" $((i + 150)); done >ids
    llm-forward --no-return -a ids >want
    p='llm-forward <ids | llm-sample -n 90 -T 0.8 --seed 5 --ignore-eos'
    bash -c "$p" >text
    start --kv 1 -v
    export LLM_ENGINE=$SOCK
    for i in 1 2 3 4; do
        llm-forward --no-return -a ids >"got$i" &
        pids+=($!)
        bash -c "$p" >"text$i" &
        pids+=($!)
    done
    for p in "${pids[@]}"; do wait "$p"; done
    for i in 1 2 3 4; do
        same_stream want "got$i"
        cmp text "text$i"
    done
    kill "$engine"
    wait "$engine"
    engine=
    cat engine.err
    grep -q 'sequences were paused' engine.err
    [ "$(sed -n 's/.*, \([0-9]*\)\.[0-9] MB of KV/\1/p' engine.err)" -le 1 ]
}

@test "--kv: layers with windows have memory of their own, so a sequence that fits always ends" {
    export LLM_MODEL=$DATA/models/gemma3 # two kinds of layers
    for i in $(seq 6); do seq -s ' ' "$i" $((i + 150)); done >ids
    llm-forward --no-return ids >want
    start --kv 1 --chunk 64
    llm-forward --engine "$SOCK" --no-return ids >got
    same_stream want got
}

@test "when the engine is killed, clients say so and streams are cut" {
    start
    (echo 1 5 9; sleep 5) | llm-forward --engine "$SOCK" --no-return 2>err | cat >out &
    sleep 0.3
    kill -9 "$engine"
    for ((i = 0; i < 300; i++)); do [ -s err ] && break || sleep 0.01; done
    grep -q '^llm-forward: the engine has ended before it had answered$' err
    for ((i = 0; i < 300; i++)); do [ -e "$SOCK" ] && sleep 0.01 || break; done
    [ ! -e "$SOCK" ] # its cleaner has removed it
    fails 66 "no engine listens at $SOCK" llm-forward --engine "$SOCK" /dev/null
    run bash -c "python3 '$ROOT/tests/lib/frames.py' out"
    [ "$status" -ne 0 ] || [[ $output != *END* ]]
    engine=
}

@test "the exit status of a client whose engine is killed is 74" {
    start
    mkfifo in
    llm-forward --engine "$SOCK" --no-return <in >out 2>err &
    client=$!
    exec 7>in
    echo 1 5 9 >&7
    sleep 0.3
    kill -9 "$engine"
    status=0
    wait "$client" || status=$?
    exec 7>&-
    [ "$status" -eq 74 ]
    engine=
    client=
}

@test "hostile clients are refused by name, and the engine goes on" {
    start
    before=$(n_fds)
    hostile() { timeout 30 python3 "$ROOT/tests/lib/hostile_client.py" "$SOCK" "$@"; }
    expect() { # CASE TEXT
        run hostile "$1"
        [[ $output == *"$2"* ]] || { echo "$1: $output"; return 1; }
    }
    expect silent dropped
    expect no-descriptors '65 expected the descriptors of stdin and stdout, found 0'
    expect one-descriptor 'found 1'
    expect many-descriptors 'too many descriptors'
    expect file '65 stdin: expected a pipe or a socket'
    expect device '65 stdout: expected a pipe or a socket'
    expect datagram '65 stdin: expected a pipe or a socket'
    expect listener '65 stdin: expected a pipe or a socket'
    expect wrong-ends '65 stdin: expected a pipe or a socket'
    expect garbage '65 not a control message'
    expect long '65 control message: too long'
    expect cut '65 control message: a field does not fit'
    expect empty '65 not a control message'
    expect flags '65 control message: unknown flags'
    expect batch '65 control message: no sequence in flight'
    expect context '65 '
    expect address '65 control message: a bad address'
    expect layers '2 '
    expect twice '65 control message: not expected now'
    expect taken-unasked '65 control message: no return path was to come'
    expect taken-pipe '65 return path: expected a socket'
    expect bad-request '65 '
    expect engine-message '65 control message: not expected now'
    expect blocking waits
    expect_flood() { run hostile flood 2000; [ "$output" = flooded ]; }
    expect_flood
    forgotten "$before"
    echo 1 5 9 | llm-forward --engine "$SOCK" --no-return >/dev/null
    [ ! -s engine.err ]
}

@test "during a flood of connections a client is served" {
    start
    timeout 60 python3 "$ROOT/tests/lib/hostile_client.py" "$SOCK" flood 10000 >/dev/null 3>&- &
    client=$!
    for _ in 1 2 3; do
        echo 1 5 9 | timeout 20 llm-forward --engine "$SOCK" --no-return >/dev/null
    done
    kill -9 "$client" 2>/dev/null || true
}

@test "clients that come all at once are all served, also those that ask a little later" {
    start
    for case in together slowly; do
        kill -STOP "$engine"
        [ "$(timeout 60 python3 "$ROOT/tests/lib/hostile_client.py" "$SOCK" "$case" "$engine")" = "100 of 100 answered" ]
    done
}

@test "--idle ends the engine when nobody is left, not before" {
    start --idle 1
    (echo 1 5 9; sleep 1.5; echo 1 5 9) | llm-forward --engine "$SOCK" --no-return >/dev/null
    kill -0 "$engine"
    wait "$engine"
    engine=
    [ ! -e "$SOCK" ]
}

@test "SIGTERM lets clients finish and refuses new ones; a second one ends" {
    start
    mkfifo in
    llm-forward --engine "$SOCK" --no-return <in >out 2>err &
    client=$!
    exec 7>in
    echo 1 5 9 >&7
    sleep 0.3
    kill "$engine"
    for ((i = 0; i < 300; i++)); do [ -e "$SOCK" ] && sleep 0.01 || break; done
    fails 66 'no engine listens' llm-forward --engine "$SOCK" /dev/null
    echo 1 5 8 >&7
    exec 7>&-
    wait "$client"
    client=
    [ ! -s err ]
    printf '1 5 9\n1 5 8\n' | llm-forward --no-return >want
    same_stream want out
    wait "$engine"
    start
    llm-forward --engine "$SOCK" --no-return <in >out 2>err &
    client=$!
    exec 7>in
    sleep 0.3
    kill "$engine"
    sleep 0.2
    kill "$engine"
    status=0
    wait "$engine" || status=$?
    [ "$status" -eq 71 ]
    engine=
    status=0
    wait "$client" || status=$?
    [ "$status" -eq 71 ]
    client=
    grep -q 'the engine was stopped' err
    exec 7>&-
}

@test "a stale socket is replaced, a live one and other files are not, and the folder must be safe" {
    start
    [ "$(stat -c %a "$SOCK")" = 600 ]
    fails 71 'somebody listens there already' llm-forward --listen "$SOCK"
    kill -9 "$engine"
    ended "$engine"
    for ((i = 0; i < 300; i++)); do [ -e "$SOCK" ] && sleep 0.01 || break; done
    python3 -c 'import socket,sys; s=socket.socket(socket.AF_UNIX,socket.SOCK_SEQPACKET); s.bind(sys.argv[1])' "$SOCK"
    [ -S "$SOCK" ]
    start --group
    for ((i = 0; i < 300; i++)); do [ "$(stat -c %a "$SOCK")" = 660 ] && break || sleep 0.01; done
    [ "$(stat -c %a "$SOCK")" = 660 ]
    echo 1 5 9 | llm-forward --engine "$SOCK" --no-return >/dev/null
    echo text >file
    fails 71 'found a file' llm-forward --listen file
    mkdir -m 777 open
    fails 71 "others can write to the socket's folder" llm-forward --listen open/s
    fails 71 'cannot open the socket' llm-forward --listen nowhere/s
    fails 2 'more than' llm-forward --listen "$(printf 'x%.0s' $(seq 200))"
    fails 2 'give a path, or pass a socket' llm-forward --listen
    fails 71 "no engine listens" llm-forward --engine file
}

@test "a client waits a moment for a socket that is there and does not listen yet, and not for ever" {
    cat >late.py <<'EOF'
import socket, subprocess, sys, time
kind = {"llm-forward": socket.SOCK_SEQPACKET, "llm-embed": socket.SOCK_STREAM}[sys.argv[1]]
s = socket.socket(socket.AF_UNIX, kind)
s.bind("late.sock")
began = time.monotonic()
r = subprocess.run([sys.argv[1], "--engine", "late.sock", "/dev/null"], stderr=subprocess.PIPE, timeout=10)
seconds = time.monotonic() - began
assert r.returncode == 71 and b"engine listens at late.sock" in r.stderr and 0.05 < seconds < 5, (r, seconds)
EOF
    python3 late.py llm-forward
    rm late.sock
    python3 late.py llm-embed
}

@test "an engine that cannot open its model leaves no socket" {
    mkdir empty
    fails 66 '' llm-forward --listen "$SOCK" -m empty
    for ((i = 0; i < 300; i++)); do [ -e "$SOCK" ] && sleep 0.01 || break; done
    [ ! -e "$SOCK" ]
}

@test "a socket that systemd passes: the first client starts the engine, --idle ends it, the next starts it again" {
    command -v systemd-socket-activate >/dev/null || skip "systemd-socket-activate is not installed"
    echo 1 5 9 | llm-forward --no-return >want
    for _ in 1 2; do
        rm -f "$SOCK"
        systemd-socket-activate --seqpacket -l "$SOCK" -E LLM_MODEL="$LLM_MODEL" "$BIN/llm-forward" --listen --idle 3 2>activate.err 3>&- &
        engine=$!
        for ((i = 0; i < 500; i++)); do [ -S "$SOCK" ] && break || sleep 0.01; done
        for ((i = 0; i < 500; i++)); do grep -q " 00010000 .*$SOCK" /proc/net/unix && break || sleep 0.01; done
        for _ in 1 2; do
            echo 1 5 9 | llm-forward --engine "$SOCK" --no-return >got
            same_stream want got
        done
        wait "$engine"
    done
    engine=
}

@test "NOTIFY_SOCKET is told when the engine is ready and when it stops" {
    python3 - >told 3>&- <<'P' &
import socket
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind("notify")
s.settimeout(20)
print(s.recv(100).decode(), flush=True)
print(s.recv(100).decode(), flush=True)
P
    client=$!
    for ((i = 0; i < 500; i++)); do [ -S notify ] && break || sleep 0.01; done
    NOTIFY_SOCKET=$PWD/notify start
    for ((i = 0; i < 500; i++)); do [ -s told ] && break || sleep 0.01; done
    kill "$engine"
    wait "$client"
    client=
    [ "$(cat told)" = "READY=1
STOPPING=1" ]
}

@test "--stall drops a client that reads nothing, and no other" {
    fails 2 '--stall is for --listen' llm-forward --stall 3
    start --stall 1
    before=$(n_fds)
    for _ in $(seq 40); do texts; done | tok-encode -l >ids # more logits than the pipe holds
    mkfifo out
    llm-forward --engine "$SOCK" --no-return -a ids >out 2>err &
    client=$!
    exec 7<out # opened, and not read
    (for _ in $(seq 8); do echo 1 5 9; sleep 0.3; done) | llm-forward --engine "$SOCK" --no-return | (sleep 2.5; cat) >slow # waits, but its pipe has room
    status=0
    wait "$client" || status=$?
    client=
    exec 7<&-
    [ "$status" -eq 74 ]
    [ "$(cat err)" = "llm-forward: stdout was not read for 1 seconds (the engine's --stall)" ]
    for _ in $(seq 8); do echo 1 5 9; done | llm-forward --no-return >want
    same_stream want slow
    forgotten "$before"
}

@test "a stalled client's memory is bounded while it stalls" {
    start
    for _ in $(seq 40); do texts; done | tok-encode -l >ids
    mkfifo out
    llm-forward --engine "$SOCK" --no-return -a ids >out &
    client=$!
    exec 7<out
    sleep 0.5
    memory() { awk '/RssAnon/{print $2}' "/proc/$engine/status"; }
    first=$(memory)
    sleep 1
    [ "$(memory)" -le "$((first + 64))" ]
    [ "$(memory)" -lt 400000 ]
    exec 7<&-
    wait "$client" || true
    client=
}

@test "an engine with nothing to do does not wake up, with a silent client neither" {
    ! sanitized tsan || skip "ThreadSanitizer has a thread that wakes up"
    start
    mkfifo in
    llm-forward --engine "$SOCK" --no-return <in >out &
    client=$!
    exec 7>in
    echo 1 5 9 >&7
    sleep 2
    switches() { cat "/proc/$engine"/task/*/status | awk '/ctxt_switches/{n += $2} END{print n}'; }
    cpu() { sed 's/.*) //' "/proc/$engine/stat" | cut -d' ' -f12,13; }
    n=$(switches) used=$(cpu)
    sleep 1.5
    [ "$(switches)" = "$n" ]
    [ "$(cpu)" = "$used" ]
    exec 7>&-
    wait "$client"
    client=
}

@test "another user is served with --group on both sides, and not else" {
    [ "$(id -u)" -eq 0 ] || skip "only root can act as two users"
    command -v setpriv >/dev/null || skip "setpriv is not installed"
    user() { echo "setpriv --reuid=$1 --regid=23456 --clear-groups env PATH=$PATH LLM_MODEL=$LLM_MODEL"; }
    as() { $(user "$1") "${@:2}"; }
    as 12345 test -x "$BIN/llm-forward" -a -r "$LLM_MODEL/config.json" || skip "another user cannot read this checkout"
    place=$(mktemp -d /tmp/tokpipe-group-XXXXXX)
    chown 12345:23456 "$place"
    chmod 750 "$place"
    SOCK=$place/sock
    echo 1 5 9 | llm-forward --no-return >want
    for group in "" --group; do
        $(user 12345) llm-forward --listen "$SOCK" $group 2>engine.err 3>&- &
        engine=$!
        for ((i = 0; i < 500; i++)); do
            ! as 12345 llm-forward --engine "$SOCK" --no-return </dev/null >/dev/null 2>&1 || break
            sleep 0.01
        done
        # another user of the group, without and with the option
        run as 12346 bash -c "echo 1 5 9 | llm-forward --engine $SOCK --no-return 2>&1 >/dev/null"
        [ "$status" -eq 71 ]
        status=0
        echo 1 5 9 | as 12346 llm-forward --engine "$SOCK" --group --no-return >got 2>err || status=$?
        if [ "$group" ]; then
            [ "$status" -eq 0 ]
            same_stream want got
        else
            [ "$status" -eq 71 ] # the socket's mode
            chmod 666 "$SOCK"    # and who asks is looked at, too
            status=0
            echo 1 5 9 | as 12346 llm-forward --engine "$SOCK" --group --no-return >got 2>err || status=$?
            [ "$status" -eq 74 ]
        fi
        kill "$engine"
        wait "$engine" || true
    done
    engine=
    rm -rf "$place"
}

@test "engines by name: a folder of sockets, which one that is not there does not hang" {
    mkdir -m 700 run
    export LLM_RUN=$PWD/run
    SOCK=$LLM_RUN/tiny.sock start
    echo 1 5 9 | llm-forward --no-return >want
    echo 1 5 9 | llm-forward --engine tiny --no-return >got
    same_stream want got
    echo 1 5 9 | LLM_ENGINE=tiny llm-forward --no-return >got
    same_stream want got
    fails 66 "no engine listens at $LLM_RUN/other.sock" timeout 20 llm-forward --engine other /dev/null
}

@test "examples/activate: three models, each started by its first client, ended by idling, started again" {
    command -v systemd-socket-activate >/dev/null || skip "systemd-socket-activate is not installed"
    mkdir -m 700 run
    export LLM_RUN=$PWD/run
    unset LLM_MODEL
    for name in llama mistral gemma3; do
        ln -s "$DATA/models/$name" "run/$name"
        echo 1 5 9 | llm-forward -m "run/$name" --no-return >"want-$name"
    done
    IDLE=1 "$ROOT/examples/activate" -q 2>activate.err 3>&- &
    engine=$!
    for round in 1 2 3; do
        for name in llama mistral gemma3; do
            for ((i = 0; i < 500; i++)); do [ -S "run/$name.sock" ] && break || sleep 0.01; done
            echo 1 5 9 | timeout 20 llm-forward --engine "$name" -m "run/$name" --no-return >got
            same_stream "want-$name" got
        done
        [ "$round" != 2 ] || sleep 2.5 # all have idled out by then
    done
    kill "$engine"
    wait "$engine" || true
    ended "$engine"
    engine=
    [ "$(ls run)" = "$(printf '%s\n' gemma3 llama mistral)" ]
}
