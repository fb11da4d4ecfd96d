"""Requests to llm-serve that no client would send: sends each on a connection of its own and checks the status that comes.

    hostile_http.py PORT

A status of 0 means that the connection may also be closed without an answer, WAITS that the server may wait for the rest. After
each the server must be well. libmicrohttpd 0.9.75 sends the header of a refusal of its own twice, and closes the connection.

SPDX-License-Identifier: AGPL-3.0-or-later"""
import http.client, json, socket, sys

PORT = int(sys.argv[1])
BODY = b'{"prompt": "a", "max_tokens": 1}'
HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"


def post(*headers, body=BODY, host=b"Host: localhost", length=True):
    lines = [b"POST /v1/completions HTTP/1.1", *([host] if host else []), *headers]
    if length:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def chunked(*chunks):
    return post(b"Transfer-Encoding: chunked", body=b"".join(chunks), length=False)


def exchange(data, seconds=20):
    """All that comes until the server closes, or until a whole answer has come and nothing follows for half a second."""
    with socket.create_connection(("127.0.0.1", PORT), timeout=seconds) as s:
        try:
            s.sendall(data)
        except OSError:
            pass
        got = b""
        try:
            while part := s.recv(65536):
                got += part
                s.settimeout(0.5)
            return got, True
        except socket.timeout:
            return got, False
        except OSError:
            return got, True


def statuses(got):
    return [int(line.split()[1]) for line in got.split(b"\r\n") if line.startswith(b"HTTP/1.")]


def depth(n, left=b"[", right=b"]"):
    return b'{"prompt": ' + left * n + right * n + b"}"


WAITS = -1

CASES = [
    # what could be two requests, or one, for a proxy before the server
    ("two lengths", post(b"Content-Length: 5"), {400}),
    ("a length and chunks", post(b"Transfer-Encoding: chunked"), {400}),
    ("chunks and another encoding", post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity", body=b"0\r\n\r\n", length=False), {400}),
    ("a second request in the body", post(b"Content-Length: 0", body=HEALTH), {400}),
    ("two hosts", post(b"Host: localhost"), {400}),
    ("no host", post(host=b""), {400}),
    # lengths
    ("a negative length", post(b"Content-Length: -1", length=False), {400, 413, 0}),
    ("a length that is no number", post(b"Content-Length: 1e3", length=False), {400, 413, 0}),
    ("a length of 2^64 + 1", post(b"Content-Length: 18446744073709551617", length=False), {400, 413, 0}),
    ("a chunk of 2^64 - 1", chunked(b"ffffffffffffffff\r\n" + BODY), {400, 413, 0, WAITS}),
    ("a chunk of 2^64", chunked(b"10000000000000000\r\n" + BODY), {400, 413, 0}),
    ("a chunk whose size is no number", chunked(b"xyz\r\n" + BODY), {400, 0}),
    # lines
    ("a header of 64 KiB", post(b"X: " + b"a" * 65536), {400, 413, 431, 0}),
    ("ten thousand headers", post(*[b"X-%d: 1" % i for i in range(10000)]), {400, 413, 431, 0}),
    ("a path of 64 KiB", b"GET /" + b"a" * 65536 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", {400, 404, 414, 431, 0}),
    ("no HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200) + b"\r\n\r\n", {400, 0}),
    ("a line of spaces", b" " * 1000 + b"\r\n\r\n", {400, 0}),
    ("an unknown method", b"BREW /health HTTP/1.1\r\nHost: localhost\r\n\r\n", {400, 405, 501, 0}),
    ("HTTP/9", b"GET /health HTTP/9.9\r\nHost: localhost\r\n\r\n", {400, 505, 0, 200}),
    ("a NUL in a header", post(b"X: a\0b"), {400, 200, 0}),
    ("a path out of the folder", b"GET /v1/models/../../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n", {404}),
    # pages of other sites, and names that lead here
    *[("host " + h, post(host=b"Host: " + h.encode()), {403}) for h in
      ("example.com", "localhost.example.com", "127.0.0.1.example.com", "example.com:8080", "localhost@example.com", "[::2]", "")],
    *[("origin " + o, post(b"Origin: " + o.encode()), {403}) for o in
      ("null", "http://example.com", "https://localhost.example.com", "http://localhost:1", "file://")],
    # JSON
    ("JSON of depth 10,000", post(body=depth(10000)), {400}),
    ("objects of depth 10,000", post(body=depth(10000, b'{"a":', b"}")), {400}),
    ("a number of a million digits", post(body=b'{"prompt": "a", "seed": ' + b"1" * 1000000 + b"}"), {400}),
    ("a body of zeros", post(body=bytes(1000)), {400}),
    ("half a surrogate", post(body=b'{"prompt": "\\ud800"}'), {400}),
]


def well():
    c = http.client.HTTPConnection("127.0.0.1", PORT, timeout=20)
    c.request("GET", "/health")
    r = c.getresponse()
    return r.status == 200 and json.loads(r.read())["status"] == "ok"


bad = 0
for what, data, want in CASES:
    got, closed = exchange(data)
    seen = statuses(got)
    problem = None
    if len(seen) > 1 and not (closed and len(set(seen)) == 1 and seen[0] >= 400):
        problem = f"answers to {len(seen)} requests: {seen}"
    elif (seen[0] if seen else 0) not in want:
        problem = f"status {seen}, not of {sorted(want)}"
    elif not seen and not closed and WAITS not in want:
        problem = "no answer, and the connection stays"
    elif not well():
        problem = "the server is not well"
    if problem:
        bad += 1
        print(f"{what}: {problem}: {got[:300]!r}")
print(f"{len(CASES)} requests, {bad} wrong")
sys.exit(bad > 0)
