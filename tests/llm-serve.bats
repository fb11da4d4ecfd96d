#!/usr/bin/env bats
# llm-serve: the answers of its paths, that they are those of the four programs, and what it refuses.
# SPDX-License-Identifier: AGPL-3.0-or-later
bats_require_minimum_version 1.5.0
load lib/common
load lib/serve

@test "health, models, metrics, and paths that are not there" {
    start --name small/one
    [ "$(get /health)" = $'200\n{"status": "ok"}' ]
    get /v1/models | tail -n 1 | jq -e '.data[0].id == "small/one" and (.data | length) == 1'
    get /v1/models/small/one | tail -n 1 | jq -e '.id == "small/one" and .object == "model"'
    [ "$(get /v1/models/other | head -n 1)" = 404 ]
    [ "$(get /nothing | head -n 1)" = 404 ]
    [ "$(get /v1/completions | head -n 1)" = 405 ]
    get /metrics >out
    grep -qx 'tokpipe:requests_total 7' out
    grep -qx 'tokpipe:requests_refused_total 3' out
}

@test "a completion is what the four programs give, also from ids, also as a stream" {
    start --record "$PWD"
    post /v1/completions '{"prompt": "Hello there", "max_tokens": 12, "temperature": 0}' >out
    [ "$(head -n 1 out)" = 200 ]
    tail -n +2 out | jq -j '.choices[0].text' >text
    printf 'Hello there' | tok-encode | llm-forward | llm-sample -n 12 | tok-decode >want
    cmp <(cat text; echo) <(cat want; [ -z "$(tail -c 1 want)" ] || echo)
    ids=$(printf 'Hello there' | tok-encode | tail -n 1 | tr ' ' ',')
    post /v1/completions "{\"prompt\": [$ids], \"max_tokens\": 12, \"temperature\": 0}" | tail -n +2 | jq -j '.choices[0].text' | cmp - text
    http --events "$port" /v1/completions '{"prompt": "Hello there", "max_tokens": 12, "temperature": 0, "stream": true,
        "stream_options": {"include_usage": true}}' >events
    n=$(tr ',' '\n' <<<"$ids" | wc -l)
    jq -Rrj 'split(" length ")[0] | fromjson' events | cmp - text
    grep -q " length {\"prompt_tokens\": $n, \"completion_tokens\": 12, \"total_tokens\": $((n + 12))[,}]" events
}

@test "sampled answers of many clients at once: each recorded line replays byte for byte" {
    start --record "$PWD"
    for i in $(seq 12); do
        (post /v1/completions "{\"prompt\": \"Text number $i\", \"max_tokens\": 20, \"temperature\": 1.2, \"top_k\": 50}" >"answer$i") &
        clients[i]=$!
    done
    wait "${clients[@]}"
    for i in $(seq 12); do
        [ "$(head -n 1 "answer$i")" = 200 ]
        id=$(tail -n +2 "answer$i" | jq -r .id)
        tail -n +2 "answer$i" | jq -j '.choices[0].text' | cmp - "$id.text"
    done
    [ "$("$ROOT/examples/replay" "$PWD")" = "12 equal, 0 differ, 0 unfinished" ]
    printf x >>"$id.text"
    fails 1 "11 equal, 1 differ" "$ROOT/examples/replay" "$PWD"
    [ "$(cat ./*.tokens | grep -o 'seed=[0-9]*' | sort -u | wc -l)" -eq 12 ]
}

@test "stop texts end an answer before them, and finish_reason says so" {
    start
    post /v1/completions '{"prompt": "Hello there", "max_tokens": 30, "temperature": 0}' | tail -n +2 | jq -j '.choices[0].text' >all
    python3 - >stop <<'EOF'
text = open("all", encoding="utf-8").read()
print(text[len(text) // 2:len(text) // 2 + 3], end="")
EOF
    post /v1/completions "$(jq -n --rawfile stop stop '{prompt: "Hello there", max_tokens: 30, temperature: 0, stop: [$stop]}')" |
        tail -n +2 >out
    python3 - <<'EOF'
import json
text, stop = open("all", encoding="utf-8").read(), open("stop", encoding="utf-8").read()
choice = json.load(open("out"))["choices"][0]
assert choice["text"] == text[:text.index(stop)], choice
assert choice["finish_reason"] == "stop", choice
EOF
}

@test "a request that is not understood is refused, with the field's path" {
    start --name one
    chat=/v1/chat/completions text=/v1/completions
    refused 400 prompt "line 1, byte" $text '{"prompt": '
    refused 400 "" "line 1, byte" $text ''
    refused 400 "" "expected" $text '[1]'
    refused 400 prompt "prompt is missing" $text '{}'
    refused 400 messages "messages is missing" $chat '{}'
    refused 400 prompt "comes twice" $text '{"prompt": "a", "prompt": "b"}'
    refused 400 prompt "must be a text or a list" $text '{"prompt": 7}'
    refused 400 prompt "must be a text or a list" $text '{"prompt": ["a", 7]}'
    refused 400 prompt "must be a text or a list" $text '{"prompt": [7, "a"]}'
    refused 400 prompt "must be a text or a list" $text '{"prompt": [[7], ["a"]]}'
    refused 400 prompt "has no token ids" $text '{"prompt": [[7], []]}'
    refused 400 prompt "too large" $text '{"prompt": [99999999999]}'
    refused 400 prompt "has no token ids" $text '{"prompt": []}'
    refused 400 prompt "past the vocabulary" $text '{"prompt": [999999]}'
    refused 400 top_logits "is not a field that this server knows" $text '{"prompt": "a", "top_logits": 1}'
    refused 400 tools "is not supported" $chat '{"messages": [], "tools": [{}]}'
    refused 400 response_format "is not supported" $chat '{"messages": [], "response_format": {"type": "json_object"}}'
    refused 400 n "from 1 to 128" $text '{"prompt": "a", "n": 0}'
    refused 400 n "from 1 to 128" $text '{"prompt": "a", "n": 1000000000000}'
    refused 400 n "more than 2048" $text "{\"prompt\": [$(seq -s, 100 | sed 's/[0-9]*/"&"/g')], \"n\": 128}"
    refused 400 best_of "is not supported" $text '{"prompt": "a", "best_of": 2}'
    refused 400 suffix "is not supported" $text '{"prompt": "a", "suffix": "b"}'
    refused 400 logprobs "from 0 to 20" $text '{"prompt": "a", "logprobs": 21}'
    refused 400 logprobs "from 0 to 20" $text '{"prompt": "a", "logprobs": true}'
    refused 400 logprobs "must be true or false" $chat '{"messages": [], "logprobs": 5}'
    refused 400 top_logprobs 'needs "logprobs": true' $chat '{"messages": [], "top_logprobs": 5}'
    refused 400 echo "must be true or false" $text '{"prompt": "a", "echo": 1}'
    refused 400 stream "must be true or false" $text '{"prompt": "a", "stream": "yes"}'
    refused 400 model "must be a text" $text '{"prompt": "a", "model": 7}'
    refused 400 stream_options.x "not a field" $text '{"prompt": "a", "stream_options": {"x": 1}}'
    refused 400 stream_options.include_usage "must be true" $text '{"prompt": "a", "stream_options": {"include_usage": 1}}'
    refused 400 stream_options "must be an object" $text '{"prompt": "a", "stream_options": true}'
    refused 400 temperature "temperature takes a number from 0 to 100" $text '{"prompt": "a", "temperature": -1}'
    refused 400 temperature "temperature takes a number" $text '{"prompt": "a", "temperature": "hot"}'
    refused 400 temperature "temperature" $text '{"prompt": "a", "temperature": [1, "a"]}'
    refused 400 temperature "another type" $text '{"prompt": "a", "temperature": "0.5"}'
    refused 400 temperature "another type" $text '{"prompt": "a", "temperature": false}'
    refused 400 top_p "another type" $text '{"prompt": "a", "top_p": {}}'
    refused 400 max_output_tokens "another type" /v1/responses '{"input": "a", "max_output_tokens": false}'
    refused 400 top_p "top_p takes a number above 0" $text '{"prompt": "a", "top_p": 0}'
    refused 400 top_k "top_k takes a whole number" $text '{"prompt": "a", "top_k": -1}'
    refused 400 max_tokens "max_tokens takes a whole number" $text '{"prompt": "a", "max_tokens": 1.5}'
    refused 400 max_completion_tokens "takes a whole number" $chat '{"messages": [], "max_completion_tokens": -1}'
    refused 400 presence_penalty "from -100 to 100" $text '{"prompt": "a", "presence_penalty": 1000}'
    refused 400 logit_bias "logit_bias takes ID=X" $text '{"prompt": "a", "logit_bias": {"7": 5000}}'
    refused 400 logit_bias "not in the vocabulary" $text '{"prompt": "a", "logit_bias": {"1000000": 5}}'
    refused 400 stop_token_ids "not in the vocabulary" $text '{"prompt": "a", "stop_token_ids": [1000000]}'
    refused 400 seed "64 bits" $text '{"prompt": "a", "seed": 1.5}'
    refused 400 stop "must be a text or a list of texts" $text '{"prompt": "a", "stop": 7}'
    refused 400 stop "must be a text or a list of texts" $text '{"prompt": "a", "stop": [""]}'
    refused 400 chat_template_kwargs "another type" $chat '{"messages": [], "chat_template_kwargs": 7}'
    refused 400 add_generation_prompt "another type" $chat '{"messages": [], "add_generation_prompt": 7}'
    refused 404 model "no model of this name" $text '{"prompt": "a", "model": "two"}'
    printf '{"prompt": "a\xff"}' >bad
    refused 400 prompt "UTF-8" $text "$(cat bad)"
    # What has no effect, or asks for what is done anyway, is taken.
    post $text '{"prompt": "a", "model": "one", "n": 1, "max_tokens": 1, "user": "me", "logprobs": null, "echo": false}' >out
    [ "$(head -n 1 out)" = 200 ]
}

@test "a chat needs a template, and an answer is that of tok-encode --chat" {
    cp -rL tiny talker
    rm tiny
    cp -rL "$DATA/tiny" tiny
    jq 'del(.chat_template)' talker/tokenizer_config.json >tiny/tokenizer_config.json
    echo "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}" >talker/chat_template.jinja
    start_engine
    llm-forward --listen "$PWD/talker.sock" -m talker 2>talker.err 3>&- &
    second=$!
    until_true test -S talker.sock
    llm-serve -m tiny --engine "$PWD/sock" -m talker --engine "$PWD/talker.sock" -p 0 2>server.err 3>&- &
    server="$! $second"
    until_true grep -q http:// server.err
    port=$(sed -n 's/.*127.0.0.1://p' server.err)
    get /v1/models | tail -n 1 | jq -e '[.data[].id] == ["tiny", "talker"]'
    messages='[{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Yes?"}, {"role": "user", "content": "So"}]'
    refused 400 messages "template" /v1/chat/completions "{\"messages\": $messages, \"model\": \"tiny\"}"
    post /v1/chat/completions "{\"messages\": $messages, \"model\": \"talker\", \"temperature\": 0, \"max_tokens\": 9}" >out
    tail -n +2 out | jq -j '.choices[0].message.content' >text
    tok-encode -m talker --chat <<<"$messages" | llm-forward -m talker | llm-sample -n 9 | tok-decode -m talker | cmp - text
    http --events "$port" /v1/chat/completions \
        "{\"messages\": $messages, \"model\": \"talker\", \"temperature\": 0, \"max_tokens\": 9, \"stream\": true}" |
        jq -Rrj 'split(" length ")[0] | fromjson' | cmp - text
}

@test "/v1/messages gives the text of the chat, whole and as events, and counts its tokens" {
    start
    body='{"system": "Be short.", "messages": [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}], "max_tokens": 9,
        "temperature": 0'
    post /v1/messages "$body}" | tail -n +2 >out
    jq -e '.type == "message" and .role == "assistant" and .stop_reason == "max_tokens" and .usage.output_tokens == 9' out
    jq -j '.content[0].text' out >text
    tok-encode --chat <<<'[{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hello"}]' >ids
    llm-forward ids | llm-sample -n 9 | tok-decode | cmp - text
    post /v1/messages "$body, \"stream\": true}" | tail -n +2 >events
    [ "$(grep ^event events | uniq | tr -d '\n')" = "event: message_startevent: content_block_startevent: content_block_deltaevent: \
content_block_stopevent: message_deltaevent: message_stop" ]
    sed -n 's/^data: //p' events | jq -js 'map(select(.type == "content_block_delta").delta.text) | add' | cmp - text
    n=$(tail -n 1 ids | wc -w)
    sed -n 's/^data: //p' events | jq -es --argjson n "$n" 'map(select(.type == "message_delta"))[0].usage | .input_tokens == $n and .output_tokens == 9'
    post /v1/messages/count_tokens "$body}" | tail -n +2 | jq -e --argjson n "$n" '.input_tokens == $n'
    post /v1/messages '{"messages": [], "tools": [{}]}' >out
    [ "$(head -n 1 out)" = 400 ]
    tail -n +2 out | jq -e '.type == "error" and .error.type == "invalid_request_error" and (.error.message | contains("tools"))'
}

@test "/tokenize and /detokenize" {
    start
    ids=$(printf 'Hello there' | tok-encode | tail -n 1 | jq -Rc 'split(" ") | map(tonumber)')
    post /tokenize '{"prompt": "Hello there"}' | tail -n +2 | jq -e --argjson ids "$ids" '.tokens == $ids and .count == ($ids | length)'
    post /detokenize "{\"tokens\": $ids}" | tail -n +2 | jq -e '.prompt | endswith("Hello there")'
    refused 400 x "is not a field" /tokenize '{"prompt": "a", "x": 1}'
    refused 400 prompt "string was expected" /tokenize '{"prompt": 7}'
    refused 400 tokens "is missing" /detokenize '{}'
    refused 400 tokens "past the vocabulary" /detokenize '{"tokens": [99999999]}'
}

@test "a client that leaves in the middle of a stream is forgotten" {
    start
    before=$(ls "/proc/$server/fd" | wc -l)
    for i in 1 2 3 4 5; do
        http --leave 2 "$port" /v1/completions '{"prompt": "Hello", "max_tokens": 100000, "ignore_eos": true, "stream": true}'
    done
    gone() { get /metrics | grep -qx 'tokpipe:num_requests_running 0'; }
    until_true gone
    fds_again() { [ "$(ls "/proc/$server/fd" | wc -l)" -le "$before" ]; }
    until_true fds_again
    post /v1/completions '{"prompt": "Hello", "max_tokens": 2}' | head -n 1 | grep -qx 200
}

@test "limits: the body, answers at once, requests of other sites" {
    start --max-body 1 -b 1
    python3 -c 'print("{\"prompt\": \"" + "a" * 1100000 + "\"}")' >long
    python3 - "$port" <<'EOF'
import http.client, sys
c = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
c.request("POST", "/v1/completions", open("long", "rb").read())
assert c.getresponse().status == 413
EOF
    HEADERS='Host: example.com' refused 403 "" "another site" /v1/completions '{"prompt": "a"}'
    HEADERS='Origin: http://example.com' refused 403 "" "another site" /v1/completions '{"prompt": "a"}'
    HEADERS="Origin: http://127.0.0.1:$port" post /v1/completions '{"prompt": "a", "max_tokens": 1}' | head -n 1 | grep -qx 200
    kill -STOP "$engine"
    post /v1/completions '{"prompt": "Hello", "max_tokens": 5}' >first 3>&- &
    client=$!
    one_runs() { get /metrics | grep -qx 'tokpipe:num_requests_running 1'; }
    until_true one_runs
    refused 429 "" "too many answers" /v1/completions '{"prompt": "a", "max_tokens": 1}'
    kill -CONT "$engine"
    wait "$client"
    [ "$(head -n 1 first)" = 200 ]
}

@test "no engine: 503; an engine that dies: an error, and the server goes on" {
    start
    kill -9 "$engine"
    rm -f sock
    post /v1/completions '{"prompt": "a", "max_tokens": 1}' | head -n 1 | grep -qx 503
    start_engine
    post /v1/completions '{"prompt": "a", "max_tokens": 1}' | head -n 1 | grep -qx 200
}

@test "an engine that dies while an answer runs: an error, not a shorter answer" {
    start
    long='{"prompt": "a", "n": 64, "max_tokens": 1500, "ignore_eos": true}'
    post /v1/completions "$long" >out 3>&- &
    client=$!
    until_true eval 'get /metrics | grep -q "num_requests_running 1"'
    kill -9 "$engine"
    wait $client
    [ "$(head -n 1 out)" = 503 ] || { head -c 1000 out; return 1; }
    rm -f sock
    start_engine
    python3 - "$port" "$engine" "${long%\}}, \"stream\": true}" <<'EOF'
import http.client, os, signal, sys
c = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=60)
c.request("POST", "/v1/completions", sys.argv[3])
r = c.getresponse()
assert r.readline().startswith(b"data: ")
os.kill(int(sys.argv[2]), signal.SIGKILL)
rest = r.read()
assert b'"error"' in rest[-1000:] and b"[DONE]" not in rest, rest[-1000:]
EOF
}

@test "SIGTERM: answers end, and the exit is 0; a Unix socket is removed" {
    start_engine
    llm-serve -m tiny --engine "$PWD/sock" --socket http.sock 2>server.err 3>&- &
    server=$!
    until_true test -S http.sock
    [ "$(stat -c %a http.sock)" = 600 ]
    http "$PWD/http.sock" POST /v1/completions '{"prompt": "Hello", "max_tokens": 200, "ignore_eos": true}' >answer 3>&- &
    client=$!
    running() { http "$PWD/http.sock" GET /metrics | grep -qx 'tokpipe:num_requests_running 1'; }
    until_true running || [ -s answer ]
    kill -TERM "$server"
    wait "$server"
    wait "$client"
    [ "$(head -n 1 answer)" = 200 ]
    [ ! -e http.sock ]
}

@test "a Unix socket of llm-serve: a kill leaves none, a stale one is replaced, a live one and other files are not" {
    start_engine
    listening() { http "$PWD/http.sock" GET /health 2>/dev/null | grep -qx 200; }
    python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("http.sock")'
    llm-serve -m tiny --engine "$PWD/sock" --socket http.sock 2>server.err 3>&- &
    server=$!
    until_true listening
    fails 71 'somebody listens there already' llm-serve -m tiny --engine "$PWD/sock" --socket http.sock
    listening
    kill -KILL "$server"
    wait "$server" || true
    until_true test ! -e http.sock
    fails 66 '' llm-serve -m nowhere --engine "$PWD/sock" --socket http.sock
    until_true test ! -e http.sock
    echo text >file
    fails 71 'found a file' llm-serve -m tiny --engine "$PWD/sock" --socket file
    [ "$(cat file)" = text ]
    mkdir -m 777 open
    fails 71 "others can write to the socket's folder" llm-serve -m tiny --engine "$PWD/sock" --socket open/s
}

@test "examples/serve starts both, and ends both" {
    "$ROOT/examples/serve" tiny -p 0 >said 2>server.err 3>&- &
    server=$!
    until_true grep -q http:// server.err
    port=$(sed -n 's/.*127.0.0.1://p' server.err)
    post /v1/completions '{"prompt": "a", "max_tokens": 1}' | head -n 1 | grep -qx 200
    pkill -TERM -P "$server" llm-serve
    wait "$server"
    none() { ! pgrep -f "listen $TMPDIR" >/dev/null; }
    until_true none
    [ -z "$(ls -A tmp)" ]
    : >server.err
    "$ROOT/examples/serve" tiny -p 0 >said 2>server.err 3>&- & # and by a signal to itself
    server=$!
    until_true grep -q http:// server.err
    kill "$server"
    wait "$server"
    until_true none
    [ -z "$(ls -A tmp)" ]
}

@test "requests that no client would send: refused, with one answer or none, and the server goes on" {
    start
    run python3 "$BATS_TEST_DIRNAME/lib/hostile_http.py" "$port"
    [ "$status" -eq 0 ] || { echo "$output"; cat server.err; return 1; }
    [[ $output == *" requests, 0 wrong" ]]
}

@test "bodies that wait take at most eight times the memory of the longest" {
    start --max-body 1 -b 2
    python3 - "$port" <<'EOF'
import socket, sys
def begin(n):
    s = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=20)
    s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % n + b" " * (n - 1))
    return s
def status(s):
    return int(s.makefile("rb").readline().split()[1])
held = [begin(900000) for _ in range(9)] # of 8 MiB
import time
until = time.monotonic() + 20
while True:  # the server reads them while we wait
    late = begin(900000)
    late.sendall(b" ")
    if (got := status(late)) == 503 or time.monotonic() > until:
        break
assert got == 503, got
held[0].close()
for s in held[1:]:
    s.sendall(b" ")
    assert status(s) in (400, 503)  # the late ones may have been read first
EOF
    post /v1/completions '{"prompt": "a", "max_tokens": 1}' | head -n 1 | grep -qx 200
}

@test "the model and the engine of the environment" {
    start_engine
    LLM_ENGINE=$PWD/sock llm-serve -p 0 2>server.err 3>&- &
    server=$!
    until_true grep -q http:// server.err
    port=$(sed -n 's/.*127.0.0.1://p' server.err)
    get /v1/models | tail -n 1 | jq -e '[.data[].id] == ["tiny"]'
}

@test "a stream of events is lines of JSON, whatever the text has" {
    start
    python3 - "$port" <<'EOF'
import http.client, json, sys
c = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=60)
prompt = "a\r\n\r\ndata: {\"x\": 1}\n\nevent: y\u2028\u0085"
c.request("POST", "/v1/completions", json.dumps({"prompt": prompt, "max_tokens": 60, "ignore_eos": True, "temperature": 3, "stream": True}))
lines = c.getresponse().read().split(b"\n")
events = [line for line in lines if line]
assert len(events) > 10 and all(line.startswith(b"data: ") for line in events), events
assert events[-1] == b"data: [DONE]" and b"\r" not in b"".join(lines)
for line in events[:-1]:
    json.loads(line[6:])
EOF
}

@test "usage errors" {
    fails 2 "no engine" llm-serve -m tiny
    fails 2 "takes no operand" llm-serve -m tiny --engine s operand
    fails 2 "two models are called tiny" llm-serve -m tiny --engine a -m "$DATA/tiny" --engine b
    fails 2 "no such folder" llm-serve -m tiny --engine a --record nowhere
    fails 66 "nowhere" llm-serve -m nowhere --engine a
}
