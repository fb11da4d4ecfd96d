#!/usr/bin/env bats
# examples/systemd: systemd takes the units, and a socket of its kind starts an engine that a server asks.
# SPDX-License-Identifier: AGPL-3.0-or-later
bats_require_minimum_version 1.5.0
load lib/common
load lib/serve

# The units, with the programs of this build, and what systemd says of them.
verify() {
    rm -rf units
    mkdir units
    for unit in "$ROOT"/examples/systemd/*.*; do sed "s|/usr/local/bin/|$BIN/|" "$unit" >"units/${unit##*/}"; done
    [ -z "${1:-}" ] || sed -i "$1" units/*
    XDG_RUNTIME_DIR=$PWD systemd-analyze verify --user --man=no units/* 2>&1
}

@test "the units are well-formed, and a broken one is found" {
    command -v systemd-analyze >/dev/null || skip "systemd-analyze is not installed"
    run verify
    [ "$status" -eq 0 ] || { echo "$output"; return 1; }
    run ! grep units/ <<<"$output"
    run verify 's|--idle|--no-such-option&|; s/^ProtectClock=yes/ProtectClok=yes/'
    grep -q 'ProtectClok' <<<"$output"
    # A program's options: those of the units are known to it.
    for unit in "$ROOT"/examples/systemd/*.service; do
        sed -n 's|^ExecStart=/usr/local/bin/||p' "$unit" | while read -r program options; do
            for option in $options; do
                [[ $option != --* ]] || "$program" --help | grep -q -- "$option" || { echo "$program has no $option"; exit 1; }
            done
        done
    done
}

# A socket of systemd's kind; the engine that it starts becomes that process.
listen_once() {
    rm -f sock
    systemd-socket-activate --seqpacket -l "$PWD/sock" -E LLM_MODEL="$PWD/tiny" "$BIN/llm-forward" --listen --idle 1 -q 2>activate.err 3>&- &
    engine=$!
    until_true test -S sock
}

@test "a request starts the engine, --idle ends it, the next request starts it again" {
    command -v systemd-socket-activate >/dev/null || skip "systemd-socket-activate is not installed"
    listen_once
    serve -m tiny --engine "$PWD/sock"
    for round in 1 2; do
        for k in 1 2 3; do
            good /v1/completions '{"prompt": "Hello", "max_tokens": 3, "temperature": 0}' | jq -j '.choices[0].text' >"text-$round-$k" 3>&- &
            clients[k]=$!
        done
        wait "${clients[@]}" # good: each had status 200
        for k in 1 2 3; do cmp text-1-1 "text-$round-$k"; done
        until_true eval '! kill -0 "$engine" 2>/dev/null' # it has idled out
        wait "$engine"
        [ -s text-1-1 ]
        [ "$round" = 2 ] || listen_once
    done
    engine=''
}
