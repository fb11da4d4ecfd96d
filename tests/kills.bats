#!/usr/bin/env bats
# A pipeline fails as one: a stage that is killed ends all of them within seconds, and leaves nothing behind.
# SPDX-License-Identifier: AGPL-3.0-or-later
load lib/common

setup() {
    cd "$BATS_TEST_TMPDIR"
    export LLM_MODEL=$DATA/tiny TMPDIR=$BATS_TEST_TMPDIR/tmp
    unset XDG_RUNTIME_DIR
    mkdir tmp
}

# Starts the four programs on standard input, each as a process of its own: pids[0..3]. What they say goes to err.
start() {
    rm -f a b c out err
    mkfifo a b c
    set -m # else bash lets its children ignore SIGINT
    tok-encode -l >a 2>>err <&0 3>&- &
    pids=($!)
    llm-forward -b 4 <a >b 2>>err 3>&- &
    pids+=($!)
    llm-sample -n 12 --ignore-eos -T 0 <b >c 2>>err 3>&- &
    pids+=($!)
    tok-decode -l <c >out 2>>err 3>&- &
    pids+=($!)
    set +m
}

teardown() {
    kill -9 "${pids[@]}" 2>/dev/null || true
}

# Waits until a stage has ended, five seconds at most (a loaded machine; each ends within one when nothing else runs).
ended() { # STAGE
    for ((i = 0; i < 500; i++)); do
        kill -0 "${pids[$1]}" 2>/dev/null || return 0
        [ "$(ps -o stat= -p "${pids[$1]}")" != Z ] || return 0
        sleep 0.01
    done
    echo "stage $1 goes on"
    cat err
    return 1
}

# Until there is an answer.
answering() {
    for ((i = 0; i < 1000; i++)); do
        [ ! -s out ] || return 0
        sleep 0.01
    done
    return 1
}

# Prompts without end, no faster than they are answered, so that little waits in the pipes when a stage ends.
feed() {
    while echo 'a few words' && sleep 0.02; do :; done 2>/dev/null
}

# Until the four programs run, after their shells have opened the pipes.
running() {
    local names=(tok-encode llm-forward llm-sample tok-decode)
    for stage in 0 1 2 3; do
        for ((i = 0; i < 1000; i++)); do
            [ "$(cat "/proc/${pids[stage]}/comm" 2>/dev/null)" != "${names[stage]}" ] || continue 2
            sleep 0.005
        done
        return 1
    done
}

killed() { # SIGNAL STAGE MOMENT
    start < <(feed)
    if [ "$3" = start ]; then running; else answering; fi
    kill "-$1" "${pids[$2]}"
    for stage in 0 1 2 3; do ended "$stage" || { echo "$*"; return 1; }; done
    codes=()
    for stage in 0 1 2 3; do
        code=0
        wait "${pids[stage]}" || code=$?
        codes+=("$code")
    done
    # Between two answers an ended input is an end; else the sampler knows that something is missing.
    if [ "$2" = 1 ] && [ "$3" = answers ]; then
        [ "${codes[2]}" -ne 0 ] || { echo "$*: ${codes[*]}"; cat err; return 1; }
    fi
    # The cleaner removes the folder of the return path after the server is gone.
    for ((i = 0; i < 500; i++)); do
        [ -n "$(ls tmp)" ] || return 0
        sleep 0.01
    done
    echo "$*: left behind: $(ls tmp)"
    return 1
}

@test "any stage killed by any signal while answers come ends all of them, and leaves nothing" {
    for signal in KILL TERM INT SEGV HUP; do
        for stage in 0 1 2 3; do
            killed $signal $stage answers
        done
    done
}

@test "any stage killed at the start ends all of them, and leaves nothing" {
    for signal in KILL TERM HUP; do
        for stage in 0 2 3; do
            killed $signal $stage start
        done
    done
}

@test "a stage that is stopped and continued changes nothing" {
    for i in $(seq 40); do echo "word number $i"; done >in
    start <in
    for stage in 0 1 2 3; do wait "${pids[stage]}"; done
    sort out >want
    for stopped in 0 1 2 3; do
        start < <(head -n 20 in; sleep 0.5; tail -n 20 in) # no stage ends before it is stopped
        sleep 0.05
        kill -STOP "${pids[stopped]}" && sleep 0.3 && kill -CONT "${pids[stopped]}"
        for stage in 0 1 2 3; do wait "${pids[stage]}"; done
        sort out | cmp - want
    done
}
