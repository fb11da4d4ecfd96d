"""A client for tests of llm-serve: sends one request and prints what came.

    http_client.py WHERE METHOD PATH [BODY]     the status, then the body, on lines of their own
    http_client.py --events WHERE PATH BODY     the text of a stream, then its finish_reason, then its usage
    http_client.py --leave N WHERE PATH BODY    reads N events of a stream and leaves

A BODY of @FILE is that file's. WHERE is a port of 127.0.0.1, or the path of a Unix socket. $HEADERS has more headers, "Name: value" a line.

SPDX-License-Identifier: AGPL-3.0-or-later"""
import http.client, json, os, socket, sys


class Unix(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost")
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


def request(where, method, path, body=None):
    c = http.client.HTTPConnection("127.0.0.1", int(where), timeout=100) if where.isdigit() else Unix(where)
    headers = dict(line.split(": ", 1) for line in os.environ.get("HEADERS", "").splitlines())
    if body is not None:
        body = open(body[1:], "rb").read() if body[:1] == "@" else os.fsencode(body)
    c.request(method, path, body, headers)
    return c.getresponse()


def events(response):
    for line in response:
        if line.startswith(b"data: ") and line.strip() != b"data: [DONE]":
            yield json.loads(line[6:])


def main(argv):
    if argv[0] == "--events":
        text, finish, usage, done = "", None, None, False
        response = request(argv[1], "POST", argv[2], argv[3])
        assert response.getheader("Content-Type") == "text/event-stream", response.read()
        for e in events(response):
            if "error" in e:
                print("error:", e["error"]["message"])
            for choice in e.get("choices", []):
                text += choice.get("text", "") + choice.get("delta", {}).get("content", "")
                finish = choice["finish_reason"] or finish
            usage = e.get("usage") or usage
        print(json.dumps(text), finish, json.dumps(usage))
    elif argv[0] == "--leave":
        response = request(argv[2], "POST", argv[3], argv[4])
        for n, _ in enumerate(events(response), 1):
            if n == int(argv[1]):
                os._exit(0)
    else:
        response = request(*argv)
        print(response.status)
        print(response.read().decode())


main(sys.argv[1:])
