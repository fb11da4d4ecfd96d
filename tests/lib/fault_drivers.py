"""What tests/faults.py does with programs that stay: engines and servers, and clients of an engine.

A driver is a function (start, work) -> bytes. start() starts the program with the fault, and returns its process. The driver makes
requests as a client would, ends the program, and returns what the clients got. Of a client that failed it returns FAILED.

SPDX-License-Identifier: AGPL-3.0-or-later"""
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import time

FAILED, HANGS = b"(failed)", b"(hangs)"
SEPARATOR = b"\n--\n"  # between the answers
SECONDS = 20


def until(ready, process):
    """Whether ready() came true while the process ran."""
    end = time.monotonic() + SECONDS
    while process.poll() is None and time.monotonic() < end:
        if ready():
            return True
        time.sleep(0.005)
    return False


def finish(process):
    """Asks a server to end. It is killed only if it hangs, which its exit status then says."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def pipeline(stages, stdin, env=None):
    """The output of programs joined by pipes, or FAILED."""
    before, processes = stdin, []
    for i, argv in enumerate(stages):
        processes.append(subprocess.Popen(argv, stdin=before, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env))
        if i:
            before.close()
        before = processes[-1].stdout
    try:
        out, _ = processes[-1].communicate(timeout=SECONDS)
        status = [p.wait(SECONDS) for p in processes]
    except subprocess.TimeoutExpired:
        for p in processes:
            p.kill()
            p.wait()
        return HANGS
    return out if not any(status) else FAILED


def clients(stages, ready, stdin):
    """Two clients, one after the other, of a program that listens at {work}/sock."""
    def drive(start, work):
        process, got = start(), []
        path = os.path.join(work, "out", "sock")
        if until(lambda: engine_listens(path), process):
            if ready:
                until(lambda: pipeline([[a.replace("{sock}", path) for a in ready]], open(os.devnull, "rb")) != FAILED, process)
            for _ in range(2):
                with open(os.path.join(work, "client"), "wb") as f:
                    f.write(stdin)
                got.append(pipeline([[a.replace("{sock}", path) for a in argv] for argv in stages],
                                    open(os.path.join(work, "client"), "rb")))
        finish(process)
        return SEPARATOR.join(got)
    return drive


def texts(reply):
    """What of an answer of llm-serve is the same in each run."""
    if "data" in reply:
        return [d["embedding"] for d in reply["data"]]
    return [(c["text"], c.get("logprobs"), c["finish_reason"]) for c in reply["choices"]]


def streamed(data):
    """The text of a stream of events, which may be cut anywhere; FAILED where it was cut, or says that it failed."""
    events = [line[6:] for line in data.split(b"\n") if line.startswith(b"data: ")]
    if not events or events[-1] != b"[DONE]" or any(b'"error"' in e for e in events):
        return FAILED
    choices = {}
    for choice in (c for e in events[:-1] for c in json.loads(e)["choices"]):
        choices[choice["index"]] = choices.get(choice["index"], "") + choice["text"]
    return repr(sorted(choices.items())).encode()


def answer(where, path, body):
    """where: a port, or the path of a Unix socket."""
    c = http.client.HTTPConnection("127.0.0.1", 0 if isinstance(where, str) else where, timeout=SECONDS)
    try:
        if isinstance(where, str):
            c.sock = socket.socket(socket.AF_UNIX)
            c.sock.settimeout(SECONDS)
            c.sock.connect(where)
        c.request("POST", path, json.dumps(body), {"X-Api-Key": "k"})
        r = c.getresponse()
        data = r.read()
    except TimeoutError:
        return HANGS
    except (OSError, http.client.HTTPException):
        return FAILED
    finally:
        c.close()
    if r.status != 200:
        json.loads(data)["error"]  # a refusal has the form of one
        return FAILED
    return streamed(data) if body.get("stream") else repr(texts(json.loads(data))).encode()


def connects(path, kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_UNIX, kind) as s:
        return s.connect_ex(path) == 0


def engine_listens(path):
    """Its file is there a moment earlier. llm-forward's socket takes packets, llm-embed's takes bytes."""
    return connects(path, socket.SOCK_SEQPACKET) or connects(path)


def requests(asked):
    """Requests to llm-serve, [(path, body)], one after the other."""
    def drive(start, work):
        process, got, where = start(), [], []
        path = os.path.join(work, "out", "sock")

        def listens():
            with open(os.path.join(work, "stderr"), "rb") as f:
                where[:] = [int(port) for port in re.findall(rb"http://127\.0\.0\.1:(\d+)", f.read())] or [path][:connects(path)]
            return bool(where)
        if until(listens, process):
            got = [answer(where[0], url, body) for url, body in asked]
        finish(process)
        return SEPARATOR.join(got)
    return drive


def all_answered(got):
    """Whether each client got an answer."""
    return all(a and a not in (FAILED, HANGS) for a in got.split(SEPARATOR))


def wrong_answers(got, good, most):
    """What is wrong with the answers of a driver, of which at most `most` may have failed; None if nothing is."""
    got, good = got.split(SEPARATOR), good.split(SEPARATOR)
    if len(got) > len(good):
        return f"{len(got)} answers, not {len(good)}"
    other = [a for a, b in zip(got, good) if a != FAILED and a != b and a]
    if other:
        return f"another answer: {other[0][:200]!r}"
    failed = len(good) - len([a for a in got if a and a != FAILED])
    return f"{failed} answers failed" if failed > most else None
