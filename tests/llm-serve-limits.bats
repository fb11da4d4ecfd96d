#!/usr/bin/env bats
# llm-serve: keys, limits, the log, methods, other sites, hostile requests, and the end.
# SPDX-License-Identifier: AGPL-3.0-or-later
bats_require_minimum_version 1.5.0
load lib/common
load lib/serve

text=/v1/completions
body='{"prompt": "Hello", "max_tokens": 2}'

hash_of() { printf %s "$1" | b2sum -l 256 | cut -d ' ' -f 1; }

# Everything of an answer: the status, the headers in lower case, an empty line, the body.
raw() { # METHOD PATH [BODY]
    python3 - "$port" "$@" <<'EOF'
import http.client, os, sys
c = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=100)
c.request(sys.argv[2], sys.argv[3], sys.argv[4] if len(sys.argv) > 4 else None,
          dict(line.split(": ", 1) for line in os.environ.get("HEADERS", "").splitlines()))
r = c.getresponse()
print(r.status)
for name, value in r.getheaders():
    print(f"{name.lower()}: {value}")
print()
print(r.read().decode())
EOF
}

@test "keys: 401 without one, by both headers, and what needs none" {
    { echo "# two keys"; echo; echo "alice  $(hash_of secret-a)  requests=2"; echo "bob $(hash_of 'secret b') tokens=1000"; } >keys
    start --keys keys
    raw POST $text "$body" >out
    [ "$(head -n 1 out)" = 401 ]
    grep -qx 'www-authenticate: Bearer' out
    tail -n 1 out | jq -e '.error.type == "authentication_error" and .error.code == "invalid_api_key"'
    [ "$(HEADERS='Authorization: Bearer secret-x' post $text "$body" | head -n 1)" = 401 ]
    [ "$(HEADERS='Authorization: Basic secret-a' post $text "$body" | head -n 1)" = 401 ]
    [ "$(HEADERS="Authorization: Bearer $(hash_of secret-a)" post $text "$body" | head -n 1)" = 401 ]
    [ "$(HEADERS='Authorization: Bearer secret-a' post $text "$body" | head -n 1)" = 200 ]
    [ "$(HEADERS='authorization: bearer secret b' post $text "$body" | head -n 1)" = 200 ]
    [ "$(HEADERS='x-api-key: secret-a' post /v1/messages '{"messages": [{"role": "user", "content": "a"}], "max_tokens": 1}' | head -n 1)" = 200 ]
    post /v1/messages '{}' | tail -n +2 | jq -e '.type == "error" and .error.type == "authentication_error"'
    for path in / /health /openapi.json; do [ "$(get $path | head -n 1)" = 200 ]; done
    for path in /v1/models /metrics /tokenizer_info; do [ "$(get $path | head -n 1)" = 401 ]; done
    [ "$(HEADERS='x-api-key: secret-a' get /v1/models | head -n 1)" = 200 ]
}

@test "a key's requests at the same time, and its tokens a minute: 429 with Retry-After" {
    { echo "one $(hash_of a) requests=1"; echo "few $(hash_of b) tokens=30"; echo "free $(hash_of c)"; } >keys
    start --keys keys
    kill -STOP "$engine"
    HEADERS='x-api-key: a' post $text "$body" >first 3>&- &
    client=$!
    one_runs() { HEADERS='x-api-key: c' get /metrics | grep -qx 'tokpipe:num_requests_running 1'; }
    until_true one_runs
    HEADERS='x-api-key: a' raw POST $text "$body" >out
    [ "$(head -n 1 out)" = 429 ]
    grep -qx 'retry-after: 1' out
    tail -n 1 out | jq -e '.error.type == "rate_limit_error" and (.error.message | contains("at the same time"))'
    kill -CONT "$engine"
    wait "$client"
    [ "$(head -n 1 first)" = 200 ]
    [ "$(HEADERS='x-api-key: a' post $text "$body" | head -n 1)" = 200 ]
    # 40 tokens of 30 a minute: the next request waits some 20 seconds, that of another key does not.
    HEADERS='x-api-key: b' post $text '{"prompt": "Hello", "max_tokens": 40, "ignore_eos": true}' | head -n 1 | grep -qx 200
    HEADERS='x-api-key: b' raw POST $text "$body" >out
    [ "$(head -n 1 out)" = 429 ]
    wait=$(sed -n 's/^retry-after: //p' out)
    [ "$wait" -ge 15 ] && [ "$wait" -le 30 ]
    [ "$(HEADERS='x-api-key: c' post $text "$body" | head -n 1)" = 200 ]
    # A sequence of requests on one key never meets its own end.
    for _ in 1 2 3 4 5 6 7 8; do [ "$(HEADERS='x-api-key: a' post $text "$body" | head -n 1)" = 200 ]; done
}

@test "a key with cache=own has a salt in its lines, and another key another one" {
    { echo "a $(hash_of a) cache=own"; echo "b $(hash_of b) cache=own"; echo "c $(hash_of c)"; } >keys
    start --keys keys --record "$PWD"
    for k in a a b c; do
        id=$(HEADERS="x-api-key: $k" good $text "$body" | jq -r .id)
        sed -n 's/.* salt=\([0-9a-f]*\).*/\1/p' "$id.tokens" >>salts
    done
    [ "$(wc -l <salts)" -eq 3 ]
    [ "$(sed -n 1p salts)" = "$(sed -n 2p salts)" ] && [ "$(sed -n 1p salts)" != "$(sed -n 3p salts)" ]
    run ! grep -q "$(hash_of a)" ./*.tokens
    [ "$("$ROOT/examples/replay" "$PWD")" = "4 equal, 0 differ, 0 unfinished" ]
}

@test "a bad file of keys is refused, with the line" {
    h=$(hash_of a)
    bad() { printf "$1" >keys; fails 65 "$2" llm-serve -m tiny --engine s -p 0 --keys keys; }
    bad '' "the file has no key"
    bad '# nothing\n' "the file has no key"
    bad "alice\n" "64 hexadecimal digits after the name: keys: line 1"
    bad "# x\nalice $h\nbob 12\n" "line 3"
    bad "alice ${h}00\n" "64 hexadecimal"
    bad "alice ${h%??}zz\n" "64 hexadecimal"
    bad "a\"b $h\n" "expected a name"
    bad "alice $h request=4\n" "expected requests=N, tokens=N or cache=own"
    bad "alice $h requests=0\n" "expected requests=N"
    bad "alice $h requests=99999999999\n" "expected requests=N"
    bad "alice $h requests=1 requests=2\n" "each once"
    bad "alice $h cache=shared\n" "cache=own"
    bad "alice $h cache=own cache=own\n" "each once"
    bad "alice $h\nalice $(hash_of b)\n" "comes twice: keys: line 2"
    bad "alice $h\nbob $h\n" "comes twice"
    fails 66 "nowhere" llm-serve -m tiny --engine s -p 0 --keys nowhere
    fails 66 "" llm-serve -m tiny --engine s -p 0 --keys /dev/zero
}

@test "SIGHUP reads the keys again; a broken file changes nothing; requests that run go on" {
    { echo "a $(hash_of a) requests=1"; echo "b $(hash_of b)"; } >keys
    start --keys keys
    has() { [ "$(HEADERS="x-api-key: $1" get /v1/models | head -n 1)" = "$2" ]; }
    has a 200 && has b 200 && has c 401
    kill -STOP "$engine"
    HEADERS='x-api-key: b' post $text "$body" >running 3>&- &
    client=$!
    HEADERS='x-api-key: a' post $text "$body" >limited 3>&- &
    other=$!
    both_run() { HEADERS='x-api-key: a' get /metrics | grep -qx 'tokpipe:num_requests_running 2'; }
    until_true both_run
    { echo "a $(hash_of a) requests=1"; echo "c $(hash_of c)"; } >new
    mv new keys
    kill -HUP "$server"
    until_true has c 200
    has b 401 && has a 200
    [ "$(HEADERS='x-api-key: a' post $text "$body" | head -n 1)" = 429 ] # its request still counts
    for broken in 'c' "c $(hash_of c) requests=0" ''; do
        : >server.err
        echo "$broken" >keys
        kill -HUP "$server"
        until_true grep -q 'SIGHUP: the keys stay as they were: .*: keys' server.err
        has c 200 && has a 200 && has b 401
    done
    rm keys
    : >server.err
    kill -HUP "$server"
    until_true grep -q 'stay as they were: .*keys' server.err
    kill -CONT "$engine"
    wait "$client" "$other"
    [ "$(head -n 1 running)" = 200 ] && [ "$(head -n 1 limited)" = 200 ]
    echo "a $(hash_of a) requests=2" >keys
    kill -HUP "$server"
    until_true has c 401
    [ "$(HEADERS='x-api-key: a' post $text "$body" | head -n 1)" = 200 ]
}

@test "without --keys, SIGHUP ends the server" {
    start
    kill -HUP "$server"
    run wait "$server"
    server=''
    if curl -s "http://127.0.0.1:$port/health"; then return 1; fi
}

@test "the log: a line of JSON a request, without texts unless they are asked for" {
    echo "alice $(hash_of secret-a)" >keys
    start --keys keys --log log
    [ "$(stat -c %a log)" = 600 ]
    HEADERS='x-api-key: secret-a' good $text '{"prompt": "a-private-word", "max_tokens": 3}' >out
    post $text '{"prompt": "a-private-word"}' >/dev/null
    get '/nothing/a"b%00%ff' >/dev/null
    kill -STOP "$engine"
    HEADERS='x-api-key: secret-a' post $text "$body" >left 3>&- &
    client=$!
    runs() { HEADERS='x-api-key: secret-a' get /metrics | grep -qx 'tokpipe:num_requests_running 1'; }
    until_true runs
    kill -9 "$(pgrep -P "$client" || echo "$client")"
    sleep 1 # a tenth of a second is enough to see that the client has left
    kill -CONT "$engine"
    until_true grep -q "left.: true" log || { cat log; return 1; }
    jq -es --arg id "$(jq -r .id out)" '.[0] | .id == $id and .key == "alice" and .model == "tiny" and .status == 200 and .completion_tokens == 3
        and .finish == "length" and .path == "/v1/completions" and .method == "POST" and .seconds > 0 and (.time | endswith("Z"))' log
    jq -es '.[1].status == 401 and .[1].key == null and .[2].status == 404 and (map(select(.left)) | length == 1)' log
    run ! grep -q private log
    run ! grep -q secret log
    serve -m tiny --engine "$PWD/sock" --log - --log-prompts
    good $text '{"prompt": "a-private-word", "max_tokens": 3}'
    until_true test -s server.out
    jq -e '.body | contains("a-private-word")' server.out
    fails 2 "needs --log" llm-serve -m tiny --engine s --log-prompts
    fails 74 "cannot write" llm-serve -m tiny --engine s --log /nowhere/log
}

@test "a full disk: the log is warned about once, a request that cannot be recorded is refused" {
    start --log /dev/full
    good $text "$body"
    good $text "$body"
    [ "$(grep -c 'log of requests' server.err)" -eq 1 ]
    mkdir record
    serve -m tiny --engine "$PWD/sock" --record record
    rmdir record
    [ "$(post $text "$body" | head -n 1)" = 500 ]
    get /health
    get /metrics | grep -qx "tokpipe:num_requests_running 0"
}

@test "methods: HEAD, OPTIONS, 405 with Allow, and JSON for every error" {
    start
    raw HEAD /v1/models >out
    [ "$(head -n 1 out)" = 200 ]
    [ -z "$(sed -n '/^$/,$p' out | tr -d '\n')" ]
    raw OPTIONS /v1/models >out
    [ "$(head -n 1 out)" = 204 ]
    grep -qx 'allow: GET, HEAD, OPTIONS' out
    raw OPTIONS $text >out
    grep -qx 'allow: POST, OPTIONS' out
    for method in GET PUT DELETE PATCH HEAD; do
        raw $method $text >out
        [ "$(head -n 1 out)" = 405 ]
        grep -qx 'allow: POST, OPTIONS' out
    done
    raw POST /v1/models '{}' >out
    [ "$(head -n 1 out)" = 405 ]
    for path in /nothing /v1 /v1/ /v1/completions/ /V1/models '//' '/v1/models/a/b?c=d' '/%2e%2e/etc/passwd'; do
        raw GET "$path" >out
        [ "$(head -n 1 out)" = 404 ]
        grep -qx 'content-type: application/json' out
        tail -n 1 out | jq -e .error.message
    done
    raw FROBNICATE /nothing >out
    [ "$(head -n 1 out)" = 404 ]
}

@test "other sites: refused; --origin lets one ask" {
    start
    HEADERS='Origin: https://chat.example' raw OPTIONS $text >out
    [ "$(head -n 1 out)" = 403 ]
    run ! grep -qi access-control out
    serve -m tiny --engine "$PWD/sock" --origin https://chat.example
    HEADERS='Origin: https://chat.example' raw OPTIONS $text >out
    [ "$(head -n 1 out)" = 204 ]
    grep -qx 'access-control-allow-origin: https://chat.example' out
    grep -qx 'access-control-allow-methods: POST, OPTIONS' out
    grep -q 'access-control-allow-headers: .*authorization' out
    HEADERS='Origin: https://chat.example' raw POST $text "$body" >out
    [ "$(head -n 1 out)" = 200 ]
    grep -qx 'access-control-allow-origin: https://chat.example' out
    grep -qx 'vary: Origin' out
    for origin in https://other.example https://chat.example.evil.example null https://chat.exampl; do
        HEADERS="Origin: $origin" raw POST $text "$body" >out
        [ "$(head -n 1 out)" = 403 ]
    done
}

@test "an idle connection takes at most 16 KiB, which are given back" {
    ! sanitized || skip "a sanitizer has memory of its own"
    start --connections 1100
    python3 - "$port" "$server" <<'EOF'
import resource, socket, sys, time
port, pid, n = int(sys.argv[1]), sys.argv[2], 1000
resource.setrlimit(resource.RLIMIT_NOFILE, (2 * n, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
def memory():
    with open(f"/proc/{pid}/smaps_rollup") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("Anonymous:")) * 1024
def connect():
    s = socket.create_connection(("127.0.0.1", port))
    s.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Long: " + 13000 * b"a" + b"\r\n\r\n")
    got = b""
    while b"\r\n\r\n" not in got:
        got += s.recv(4096)
    assert got.startswith(b"HTTP/1.1 200"), got
    return s
connect().close()
before = memory()
held = [connect() for _ in range(n)]
of_each = (memory() - before) / n
for s in held:
    s.close()
deadline = time.time() + 20
while memory() - before > n * 16384 / 8 and time.time() < deadline:
    time.sleep(0.05)
left = memory() - before
print(f"{of_each:.0f} bytes each, {left} bytes left")
assert 1000 < of_each <= 16384 and left < n * 16384 / 8, (of_each, left)
EOF
}

@test "limits: headers, depth, all bodies together, connections" {
    start --max-body 1 --connections 5 --idle 2
    HEADERS="X-Long: $(head -c 60000 /dev/zero | tr '\0' a)" raw GET /health >out
    [[ "$(head -n 1 out)" == 4[13]? ]]
    deep=$(printf '[%.0s' $(seq 300))
    refused 400 metadata "deep" $text "{\"prompt\": \"a\", \"metadata\": $deep"
    python3 - "$port" <<'EOF'
import http.client, socket, sys, time
port = int(sys.argv[1])
def ask(sock=None):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    c.request("GET", "/health")
    return c.getresponse().status
# As many silent connections as are allowed: the next one waits until one of them is closed for its silence.
silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(5)]
for s in silent:
    s.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
begin = time.time()
assert ask() == 200
assert 1 < time.time() - begin < 20, time.time() - begin
# A body that comes in drops, one that is shorter than said, and one that never ends.
s = socket.create_connection(("127.0.0.1", port))
text = b'{"prompt": "Hello", "max_tokens": 1}'
s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(text))
for byte in text:
    s.sendall(bytes([byte]))
    time.sleep(0.002)
assert s.recv(100).startswith(b"HTTP/1.1 200"), "drops"
s = socket.create_connection(("127.0.0.1", port))
s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n" + text)
s.shutdown(socket.SHUT_WR)
s.settimeout(20)
assert b" 200" not in s.recv(1000)
# Bodies that wait for their rest are counted: eight megabytes at most.
waiting = []
for _ in range(4):
    s = socket.create_connection(("127.0.0.1", port))
    s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1048576\r\n\r\n" + b" " * 1048000)
    waiting.append(s)
assert ask() == 200
EOF
    good $text "$body"
}

@test "limits: an answer that nobody reads, and one that is too long to be sent as a whole" {
    start --max-body 1 --idle 600
    many='{"prompt": ["a", "b", "c", "d", "e", "f", "g", "h"], "n": 4, "max_tokens": 400, "ignore_eos": true, "logprobs": 20'
    post $text "$many}" >out
    [ "$(head -n 1 out)" = 400 ]
    tail -n +2 out | jq -e '.error.message == "more than 4 MiB of the answer wait to be sent"'
    python3 - "$port" "$many, \"stream\": true}" <<'EOF'
import http.client, socket, sys, time
port, body = int(sys.argv[1]), sys.argv[2].encode()
def running():
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    c.request("GET", "/metrics")
    return b"tokpipe:num_requests_running 0" not in c.getresponse().read()
while running(): # the request before this one
    time.sleep(0.02)
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
s.connect(("127.0.0.1", port))
s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
while not running():
    time.sleep(0.02)
while running():
    time.sleep(0.02)
s.settimeout(20)
got = b""
while b"wait to be sent" not in got[-1000:] and b"[DONE]" not in got[-1000:] and (part := s.recv(1 << 20)):
    got += part
assert b'"error"' in got[-1000:] and b"[DONE]" not in got, got[-1000:]
assert 4 << 20 < len(got) < 32 << 20, len(got)
EOF
    python3 -c "print('{\"tokens\": [885' + ', 885' * 200000 + ']}')" >ids # 51 bytes each
    refused 400 tokens 'more than 4 MiB of the answer wait to be sent' /detokenize @ids
    for _ in $(seq 12); do good $text '{"prompt": "a", "max_tokens": 1}' >/dev/null; done # nothing is counted any more
}

@test "few descriptors: an answer is whole or an error, and the server goes on" {
    start_engine
    ulimit -n 48
    serve -m tiny --engine "$PWD/sock"
    want=$(good $text '{"prompt": "a", "max_tokens": 3, "temperature": 0}' | jq -r '.choices[0].text')
    for i in 1 2 3 4 5 6; do
        post $text '{"prompt": "a", "max_tokens": 3, "temperature": 0, "n": 16}' >"many$i" 3>&- &
        clients[i]=$!
    done
    wait "${clients[@]}"
    for i in 1 2 3 4 5 6; do
        case $(head -n 1 "many$i") in
        200) tail -n +2 "many$i" | jq -e --arg want "$want" '(.choices | length) == 16 and all(.choices[]; .text == $want)' ;;
        503) tail -n +2 "many$i" | jq -e .error.message ;;
        *) cat "many$i"; return 1 ;;
        esac
    done
    grep -l 503 many?
    [ "$(good $text '{"prompt": "a", "max_tokens": 3, "temperature": 0}' | jq -r '.choices[0].text')" = "$want" ]
}

@test "chunked bodies, pipelined requests, an unknown length, and lines that are no HTTP" {
    start
    python3 - "$port" <<'EOF'
import json, re, socket, sys
def talk(data):
    s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
    s.settimeout(30)
    s.sendall(data)
    got = b""
    try:
        while chunk := s.recv(65536):
            got += chunk
    except (socket.timeout, ConnectionError):
        pass
    return got
text = b'{"prompt": "Hello", "max_tokens": 1}'
head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
chunked = b"".join(b"%x\r\n%s\r\n" % (1, text[i:i + 1]) for i in range(len(text))) + b"0\r\n\r\n"
assert talk(head + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked).startswith(b"HTTP/1.1 200")
one = head + b"Content-Length: %d\r\n\r\n" % len(text) + text
got = talk(one * 3 + b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
assert len(re.findall(rb"HTTP/1\.1 200", got)) == 4, got
for bad in (b"hello\r\n\r\n", b"\0" * 100 + b"\r\n\r\n", b"GET\r\n\r\n", b"POST / HTTP/9.9\r\n\r\n",
            head + b"Content-Length: -5\r\nConnection: close\r\n\r\n", head + b"Content-Length: 99999999999999999999999\r\n\r\n",
            head + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\nzzzz\r\n"):
    got = talk(bad)
    assert b" 200 " not in got.split(b"\r\n")[0], (bad, got)
assert talk(b"GET /health HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.")
EOF
    good $text "$body"
}

@test "every event of a stream is a line of data, and an empty line" {
    start
    events() { # PATH BODY
        HEADERS='Connection: close' raw POST "$1" "$2" >out
        grep -qx 'content-type: text/event-stream' out
        sed '1,/^$/d' out >events
        python3 - <<'EOF'
import json
data = open("events", encoding="utf-8", newline="").read().rstrip("\n") + "\n\n"
blocks = data.split("\n\n")
assert blocks[-1] == "" and blocks[-2] == "data: [DONE]"
for block in blocks[:-2]:
    assert block.startswith("data: {") and "\n" not in block and "\r" not in block, block
    json.loads(block[6:])
EOF
    }
    events $text '{"prompt": "Hello", "max_tokens": 50, "seed": 5, "stream": true, "logprobs": 2}'
    events /v1/chat/completions '{"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 50, "seed": 5, "stream": true, "logprobs": true}'
}

@test "clients that leave: with several choices, before the prompt, while it runs" {
    start
    python3 - "$port" <<'EOF'
import random, socket, sys
random.seed(1)
port = int(sys.argv[1])
bodies = [b'{"prompt": "Hello", "max_tokens": 2000, "ignore_eos": true, "n": 3, "stream": true, "logprobs": 3}',
          b'{"prompt": "%s", "max_tokens": 2000, "ignore_eos": true}' % (b"word " * 400)]
for i in range(40):
    body = bodies[i % 2]
    data = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    s = socket.create_connection(("127.0.0.1", port))
    s.sendall(data[:random.choice([random.randrange(len(data)), len(data), len(data)])])
    if i % 3:
        s.settimeout(0.05)
        try:
            s.recv(random.choice([1, 500, 5000]))
        except socket.timeout:
            pass
    s.close()
EOF
    gone() { get /metrics | grep -qx 'tokpipe:num_requests_running 0'; }
    until_true gone
    good $text "$body"
    kill -0 "$server"
}

@test "SIGTERM: a connection that is open gets 503 for a new request, and the running answer ends" {
    start --grace 20
    python3 - "$port" "$server" "$engine" <<'EOF'
import http.client, json, os, signal, sys, time
port, server, engine = map(int, sys.argv[1:])
def ask(c, n):
    c.request("POST", "/v1/completions", json.dumps({"prompt": "Hello", "max_tokens": n, "ignore_eos": True}))
a, b = (http.client.HTTPConnection("127.0.0.1", port, timeout=60) for _ in range(2))
ask(b, 1)
assert b.getresponse().read()
os.kill(engine, signal.SIGSTOP)
ask(a, 20)
time.sleep(0.3)
os.kill(server, signal.SIGTERM)
time.sleep(0.3)
ask(b, 1)
r = b.getresponse()
assert r.status == 503 and r.getheader("Retry-After"), r.status
os.kill(engine, signal.SIGCONT)
r = a.getresponse()
assert r.status == 200 and json.load(r)["usage"]["completion_tokens"] == 20
EOF
    wait "$server"
    server=
}
