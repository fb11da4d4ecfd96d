#!/usr/bin/env bats
# llm-serve: what was cached of a prompt, and why not more, but nothing of another key's prompt; models in a folder, $LLM_RUN.
# SPDX-License-Identifier: AGPL-3.0-or-later
bats_require_minimum_version 1.5.0
load lib/common
load lib/serve

# A prompt of the ids 300 .. 300 + $1 - 1, then those of $2, and what it may ask besides.
ask() { # N IDS
    printf '{"prompt": [%s], "max_tokens": 1, "temperature": 0}' "$(echo $(seq 300 $((299 + $1))) $2 | tr ' ' ,)"
}

cached() { jq .usage.prompt_tokens_details.cached_tokens; }

@test "usage says how much of a prompt was cached, and on request why not more, in words" {
    start
    [ "$(good /v1/completions "$(ask 140 '')" | cached)" = 0 ]
    [ "$(good /v1/completions "$(ask 140 '')" | cached)" = 128 ]
    [ "$(good /v1/completions "$(ask 100 '7 8 9')" | cached)" = 64 ]
    export HEADERS='X-Tokpipe-Cache: explain'
    good /v1/completions "$(ask 100 '7 8 9')" >out
    jq -e '.usage.prompt_tokens_details.cached_tokens == 64' out
    [ "$(jq -r '.. | .cache_why? // empty' out)" = \
        'the first 100 tokens are in the cache; then the prompt has "(" where the cache has " eye"' ]
}

@test "with keys, only one that has a cache of its own learns where prompts differ" {
    hash() { printf %s "$1" | b2sum -l 256 | cut -d' ' -f1; }
    printf 'a %s\nb %s\nc %s cache=own\n' "$(hash ka)" "$(hash kb)" "$(hash kc)" >keys
    start --keys keys
    as() { HEADERS="Authorization: Bearer $1"$'\nX-Tokpipe-Cache: explain' good /v1/completions "$2"; }
    as ka "$(ask 140 '')" >/dev/null
    as kb "$(ask 100 '7 8')" >out
    jq -e '.usage.prompt_tokens_details.cached_tokens == 64' out # which time says, too
    [ "$(grep -c cache_why out)" -eq 0 ]
    as kc "$(ask 140 '')" >out
    jq -e '.usage.prompt_tokens_details.cached_tokens == 0' out
    as kc "$(ask 100 '7 8')" >out
    jq -e '.usage.prompt_tokens_details.cached_tokens == 64' out
    grep -q cache_why out
}

# The names of the models: "one two".
names() { get /v1/models | tail -n 1 | jq -r '[.data[].id] | join(" ")'; }
are() { [ "$(names)" = "$1" ]; }

@test "engines come and go while the server runs" {
    mkdir -m 700 run
    unset LLM_MODEL
    LLM_RUN=$PWD/run llm-serve -p 0 2>server.err 3>&- &
    server=$!
    until_true grep -q http:// server.err
    port=$(sed -n 's/.*127.0.0.1://p' server.err)
    are ''
    post /v1/completions '{"prompt": "a"}' >out
    [ "$(head -n 1 out)" = 404 ] && grep -q 'no model for this path' out
    for name in two one; do
        cp -rL tiny "$name"
        ln -s "$PWD/$name" "run/$name"
    done
    llm-forward --listen run/two.sock -m run/two -q 2>engine.err 3>&- &
    engine=$!
    until_true are two
    good /v1/completions '{"model": "two", "prompt": "Hello", "max_tokens": 3, "temperature": 0}' | jq -j '.choices[0].text' >first
    llm-forward --listen run/one.sock -m run/one -q 2>>engine.err 3>&- &
    other=$!
    until_true test -S run/one.sock
    good /v1/completions '{"model": "one", "prompt": "Hello", "max_tokens": 3, "temperature": 0}' | jq -j '.choices[0].text' | cmp - first
    are 'one two'
    # A folder that is no model is left out, and said once.
    mkdir run/broken
    python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("run/broken.sock")'
    sleep 0.2
    for k in 1 2 3; do are 'one two' && sleep 0.2; done
    [ "$(grep -c 'model broken is left out: ' server.err)" = 1 ]
    # Another folder under the same name.
    cp -rL one other
    echo '{"temperature": 0.25, "do_sample": true}' >other/generation_config.json
    ln -sfn "$PWD/other" run/one
    sleep 0.2
    get /v1/models/one | tail -n 1 | jq -e '.sampling.temp == 0.25'
    # One that ends.
    kill "$other" && wait "$other"
    until_true are two
    [ "$(post /v1/completions '{"model": "one", "prompt": "a"}' | head -n 1)" = 404 ]
    good /v1/completions '{"prompt": "Hello", "max_tokens": 3, "temperature": 0}' | jq -e '.model == "two"'
    rm -r run
    until_true are ''
}

@test "with --models an engine whose model is elsewhere is left out, and the others are read" {
    mkdir -m 700 run models
    unset LLM_MODEL
    fails 2 "--models is for the engines of" llm-serve -p 0 --models models
    LLM_RUN=$PWD/run fails 2 "no such folder: nowhere" llm-serve -p 0 --models nowhere
    LLM_RUN=$PWD/run llm-serve -v -p 0 --models models 2>server.err 3>&- &
    server=$!
    until_true grep -q http:// server.err
    port=$(sed -n 's/.*127.0.0.1://p' server.err)
    cp -rL tiny models/in
    cp -rL tiny out
    ln -s "$PWD/models/in" run/in
    ln -s "$PWD/out" run/out
    llm-forward --listen run/in.sock -m run/in -q 2>engine.err 3>&- &
    engine=$!
    until_true are in
    good /v1/completions '{"prompt": "Hello", "max_tokens": 3, "temperature": 0}' | jq -e '.model == "in"'
    llm-forward --listen run/out.sock -m run/out -q 2>engine2.err 3>&- &
    engines=$!
    until_true test -S run/out.sock
    if grep -q "sandbox: seccomp, Landlock" server.err; then
        left_out() { are in && grep -q 'model out is left out: .*Permission denied' server.err; }
        until_true left_out
    fi
    kill "$engines"
    wait "$engines" || true
}

@test "the engines of a folder are the models: three, each started by its first request" {
    mkdir -m 700 run
    export LLM_RUN=$PWD/run
    unset LLM_MODEL
    LLM_RUN=nowhere fails 66 'cannot read the folder of engines nowhere' llm-serve -p 0
    command -v systemd-socket-activate >/dev/null || skip "systemd-socket-activate is not installed"
    for name in one two three; do
        cp -rL tiny "$name"
        ln -s "$PWD/$name" "run/$name"
    done
    IDLE=1 "$ROOT/examples/activate" -q 2>activate.err 3>&- &
    engine=$!
    for name in one two three; do until_true test -S "run/$name.sock"; done
    llm-serve -p 0 2>server.err 3>&- &
    server=$!
    until_true grep -q http:// server.err
    port=$(sed -n 's/.*127.0.0.1://p' server.err)
    [ "$(get /v1/models | tail -n 1 | jq -c '[.data[].id]')" = '["one","three","two"]' ]
    for round in 1 2; do
        for name in one two three two; do
            good /v1/completions "{\"model\": \"$name\", \"prompt\": \"Hello\", \"max_tokens\": 3, \"temperature\": 0}" | jq -j '.choices[0].text' >text
            [ "$round$name" = 1one ] || cmp text first
            cp text first
        done
        sleep 2.2 # all have idled out
    done
}
