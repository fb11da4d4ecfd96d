"""Many clients of one llm-serve at once: answers that replay, clients that are killed, connections that are slow.

    serve_storm.py replay [--n 500]     sampled requests, some of which leave early. Each recorded answer, and the part that each client
                                        got, must be what the four programs give for the recorded line alone
    serve_storm.py kills [--n 1000]     processes killed at a random byte: of their request, in the prompt, in the answer. After each
                                        round neither server nor engine may have one left. Descriptors stay, and memory after the first half
    serve_storm.py slow [--n 1000]      connections that drip headers, drip bodies, or read nothing. A client that is quick is served,
                                        connections and memory are bounded

Starts its own engine and server, with a small model of tests/data. Prints what it counted, and "N wrong" at the end. --seed N: another
order. --model DIR: another model. SPDX-License-Identifier: AGPL-3.0-or-later"""
import argparse
import asyncio
import json
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIN = os.path.join(ROOT, os.environ.get("BUILD", "build"), "bin")
WORDS = "the a cat sat on mat and then it said hello to every one of them, who was there? 你好 ünï 42\n".split(" ")
wrong = []


def check(good, what):
    if not good:
        wrong.append(what)
        print("wrong:", what, flush=True)


def until(what, condition, seconds=60):
    """The seconds that it took."""
    begin = time.monotonic()
    while not condition():
        if time.monotonic() - begin > seconds:
            check(False, f"not within {seconds} s: {what}")
            break
        time.sleep(0.002)
    return time.monotonic() - begin


class Servers:
    """An engine and a server of it, in a folder of their own."""

    def __init__(self, model, engine=(), server=()):
        self.folder = tempfile.TemporaryDirectory(prefix="tokpipe-storm-")
        self.dir = self.folder.name
        self.model = model
        path = os.path.join(self.dir, "engine")
        self.errors = open(os.path.join(self.dir, "errors"), "w+")
        self.engine = subprocess.Popen([os.path.join(BIN, "llm-forward"), "-q", "--listen", path, "-m", model, *engine], stderr=self.errors)
        self.record = os.path.join(self.dir, "record")
        os.mkdir(self.record)
        self.server = subprocess.Popen([os.path.join(BIN, "llm-serve"), "-m", model, "--engine", path, "-p", "0", "--grace", "0", *server],
                                       stderr=self.errors)
        until("the server starts", lambda: "http://127.0.0.1:" in self.said() and os.path.exists(path))
        self.port = int(self.said().split("http://127.0.0.1:")[1].split()[0])

    def said(self):
        with open(os.path.join(self.dir, "errors")) as f:
            return f.read()

    def get(self, path):
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as s:
            s.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            got = b""
            while part := s.recv(65536):
                got += part
        return got.split(b"\r\n\r\n", 1)[1].decode()

    def running(self):
        return int(self.get("/metrics").split("\ntokpipe:num_requests_running ")[1].split()[0])

    def end(self):
        """Both end, without a word of a sanitizer."""
        for name, p in (("llm-serve", self.server), ("llm-forward", self.engine)):
            check(p.poll() is None, f"{name} has ended: {p.poll()}")
            p.terminate()
            code = p.wait()
            check(code == 0, f"{name} ended with {code}")
        lines = [line for line in self.said().splitlines() if "http://" not in line]
        check(not lines, "messages: " + "\n".join(lines[:40]))
        self.folder.cleanup()


def sanitized():
    """A sanitizer retains what is freed, so memory says nothing; leaks are messages, and fail at the end."""
    with open(os.path.join(BIN, "llm-serve"), "rb") as f:
        return b"__asan_init" in f.read()


def n_fds(process):
    return len(os.listdir(f"/proc/{process.pid}/fd"))


def memory(process):
    with open(f"/proc/{process.pid}/smaps_rollup") as f:  # RssAnon of status is an estimate
        return next(int(line.split()[1]) for line in f if line.startswith("Anonymous:")) * 1024


def request(path, body):
    data = json.dumps(body).encode()
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data


def words(rng, n):
    return " ".join(rng.choice(WORDS) for _ in range(n))


# ---- replay ----

def sampled(rng, n_tokens):
    """A request with random parameters: its path and body."""
    body = {"max_tokens": rng.randint(1, n_tokens), "temperature": rng.choice((0.3, 0.8, 1, 1.5)), "stream": rng.random() < 0.6}
    for name, values in (("top_k", (1, 20, 50)), ("top_p", (0.5, 0.9)), ("min_p", (0.02,)), ("repetition_penalty", (1.1,)), ("seed", (1, 2, -3)),
                         ("presence_penalty", (0.5,)), ("ignore_eos", (True,)), ("stop", ("e", ["th", " a"])), ("n", (2, 3))):
        if rng.random() < 0.25:
            body[name] = rng.choice(values)
    if rng.random() < 0.5:
        return "/v1/completions", {**body, "prompt": words(rng, rng.choice((1, 8, 40)))}
    return "/v1/chat/completions", {**body, "messages": [{"role": "user", "content": words(rng, rng.randint(1, 20))}]}


def texts_of(got, streams):
    """The answer's id, and the text of each choice as far as it came."""
    head, _, body = got.partition(b"\r\n\r\n")
    if b" 200 " not in head.split(b"\r\n")[0]:
        return None, {}
    if b"chunked" in head.lower():
        whole, rest = b"", body
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            if not size or int(size, 16) == 0:
                break
            whole, rest = whole + rest[:int(size, 16)], rest[int(size, 16) + 2:]
        body = whole
    if not streams:
        try:
            answer = json.loads(body)
        except ValueError:
            return None, {}
        return answer["id"], {c["index"]: c["text"] if "text" in c else c["message"]["content"] for c in answer["choices"]}
    name, texts = None, {}
    for event in body.split(b"\n\n")[:-1]:
        if event.startswith(b"data: {"):
            answer = json.loads(event[6:])
            name = answer["id"]
            for c in answer["choices"]:
                texts[c["index"]] = texts.get(c["index"], "") + (c["text"] if "text" in c else c["delta"].get("content", ""))
    return name, texts


async def one(servers, rng, n_tokens):
    """A client: what it got, and whether it left early."""
    path, body = sampled(rng, n_tokens)
    leaves = rng.random() < 0.3
    most = rng.randint(0, 6000) if leaves else None
    got = b""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", servers.port)
        writer.write(request(path, body))
        await writer.drain()
        while part := await reader.read(65536 if most is None else max(1, min(65536, most - len(got)))):
            got += part
            if most is not None and len(got) >= most:
                break
        writer.close()
    except OSError:
        pass
    return got, body, leaves


async def all_of(servers, rng, n, n_tokens):
    return await asyncio.gather(*(one(servers, random.Random(rng.random()), n_tokens) for _ in range(n)))


def pipe(model, line):
    """What the programs give for a recorded line, alone."""
    command = 'llm-forward -q -m "$M" "$L" | llm-sample -q -m "$M" | tok-decode -m "$M"'
    env = {**os.environ, "PATH": BIN + ":" + os.environ["PATH"], "M": model, "L": line}
    return subprocess.run(["sh", "-c", command], env=env, stdout=subprocess.PIPE, check=True).stdout


def mode_replay(args):
    rng = random.Random(args.seed)
    model = args.model or os.path.join(ROOT, "tests", "data", "tiny")
    folder = tempfile.TemporaryDirectory(prefix="tokpipe-record-")
    s = Servers(model, server=["-b", str(args.n + 8), "--record", folder.name])
    results = asyncio.run(all_of(s, rng, args.n, 60))
    until("no answer runs", lambda: s.running() == 0)
    expected = {}
    n_whole = n_cut = n_left = 0
    for name in sorted(os.listdir(folder.name)):
        if name.endswith(".tokens"):
            at = os.path.join(folder.name, name)
            expected[name[:-7]] = want = pipe(model, at)
            if os.path.exists(at[:-7] + ".text"):
                n_whole += 1
                with open(at[:-7] + ".text", "rb") as f:
                    check(f.read() == want, f"the record differs: {name}")
            else:
                n_left += 1
    for got, body, leaves in results:
        name, texts = texts_of(got, body["stream"])
        if name is None:
            check(leaves, f"no answer: {got[:300]!r}")
            continue
        for index, text in texts.items():
            want = expected.get(name + (f"-{index}" if index else ""))
            if want is None:
                check(False, f"{name}: choice {index} is not recorded")
            elif leaves:
                n_cut += 1
                check(want.decode(errors="replace").startswith(text), f"{name}: choice {index}: the part that came is not the beginning")
            else:
                check(want.decode(errors="replace") == text, f"{name}: choice {index}: {text!r} is not {want!r}")
    check(n_whole >= args.n / 2, f"only {n_whole} whole answers")
    s.end()
    folder.cleanup()
    print(f"{args.n} requests at once: {n_whole} whole choices replayed, {n_cut} parts of choices compared, {n_left} choices unfinished")


# ---- kills ----

def victim(port, data, most_sent, most_read, ready):
    """A client process: sends, reads, says so, and waits for its end."""
    try:
        c = socket.create_connection(("127.0.0.1", port))
        c.sendall(data[:most_sent])
        got = 0
        os.write(ready, b"s")
        while got < most_read and (part := c.recv(most_read - got)):
            got += len(part)
        os.write(ready, b"r")
        while True:
            time.sleep(100)
    finally:
        os._exit(0)


def kill_some(s, rng, n, long_prompt):
    """n clients at once, each killed at a byte of its own."""
    children = []
    for _ in range(n):
        phase = rng.choice(("request", "prompt", "answer"))
        prompt = words(rng, long_prompt if phase == "prompt" else 5)
        body = {"prompt": prompt, "max_tokens": 100000, "ignore_eos": True, "stream": phase == "answer" or rng.random() < 0.5,
                "n": rng.choice((1, 1, 2))}
        data = request("/v1/completions", body)
        sent = rng.randrange(len(data)) if phase == "request" else len(data)
        read = rng.randint(1, 20000) if phase == "answer" else 0
        r, w = os.pipe()
        pid = os.fork()
        if pid == 0:
            victim(s.port, data, sent, read, w)
        os.close(w)
        children.append((pid, r, phase))
    for pid, r, phase in children:
        want = b"sr" if phase == "answer" else b"s"
        got = b""
        while len(got) < len(want) and (part := os.read(r, len(want) - len(got))):
            got += part
        check(got == want, f"a client did not come so far: {phase}")
        if phase == "prompt":
            time.sleep(rng.random() * 0.02)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(r)


def mode_kills(args):
    rng = random.Random(args.seed)
    folder = tempfile.TemporaryDirectory(prefix="tokpipe-model-")
    model = args.model or os.path.join(folder.name, "model")
    if not args.model:
        subprocess.run([sys.executable, os.path.join(ROOT, "tests", "lib", "random_model.py"),
                        os.path.join(ROOT, "tests", "data", "tokenizers", "bpe-smollm2"), model], check=True)
    s = Servers(model, engine=["--keep", "1", "--chunk", "64"])
    gaps, times = [], []
    quick_client(s, 0.5, gaps)
    together, done, first = 8, 0, (0, 0)
    while done < args.n:
        kill_some(s, rng, together, args.words)
        done += together
        times.append(until("all killed clients are forgotten", lambda: s.running() == 0, 20))
        if done == together:
            settled = n_fds(s.server), n_fds(s.engine)
        # The last engine's descriptors close a moment after the server's own.
        until("descriptors are closed", lambda: n_fds(s.server) <= settled[0] + 1 and n_fds(s.engine) <= settled[1], 20)
        if os.environ.get("STORM_TRACE"):
            print(done, memory(s.server), memory(s.engine), flush=True)
        # What the first half needs at most is retained: the prefix cache, and what malloc has for the longest prompts.
        if done <= args.n / 2:
            first = max(first[0], memory(s.server)), max(first[1], memory(s.engine))
    grown = memory(s.server) - first[0], memory(s.engine) - first[1]
    for name, n, most in zip(("llm-serve", "llm-forward"), grown, args.growth):
        check(n <= most or sanitized(), f"{name} has grown by {n} bytes")
    left = int(s.get("/metrics").split("\ntokpipe:requests_left_total ")[1].split()[0])
    body = json.loads(texts_whole(s))
    check(body["usage"]["completion_tokens"] == 3, f"a request afterwards: {body}")
    s.end()
    step, times = sum(gaps) / len(gaps), sorted(times)
    print(f"{done} clients killed, {left} of them while an answer was made; {together} together are forgotten after "
          f"{times[len(times) // 2] * 1e3:.1f} ms in the median, {times[-1] * 1e3:.1f} ms at most, where a step takes {step * 1e3:.2f} ms; "
          f"own memory in the end, less the most of the first half: {grown[0]} bytes (llm-serve), {grown[1]} (llm-forward)")


def texts_whole(s):
    with socket.create_connection(("127.0.0.1", s.port), timeout=60) as c:
        c.sendall(request("/v1/completions", {"prompt": "Hello", "max_tokens": 3, "ignore_eos": True}))
        got = b""
        while part := c.recv(65536):
            got += part
    return got.split(b"\r\n\r\n", 1)[1]


# ---- slow ----

async def drip(port, kind, interval, counts):
    """A slow connection, opened again whenever the server has closed it."""
    while True:
        writer = None
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
            counts.append(kind)
            if kind == "read":
                writer.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
                writer.transport.pause_reading()
                writer.write(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 4)
                await asyncio.sleep(30)
            elif kind == "headers":
                writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n")
            else:
                writer.write(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n")
            while kind != "read" and not reader.at_eof():
                writer.write(b"X-A: b\r\n" if kind == "headers" else b" ")
                await writer.drain()
                await asyncio.sleep(interval)
        except OSError:
            pass
        if writer:
            writer.close()
        await asyncio.sleep(0.01)


async def drip_all(port, n, said):
    counts = []
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: (os.write(said, b"%d" % len(counts)), os._exit(0)))
    await asyncio.gather(*(drip(port, ("headers", "body", "read")[i % 3], max(1, n / 200), counts) for i in range(n)))


class Drips:
    """n slow connections, of a process of their own."""

    def __init__(self, port, n):
        self.said, w = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                asyncio.run(drip_all(port, n, w))
            finally:
                os._exit(1)
        os.close(w)

    def end(self):
        """How often one was opened."""
        os.kill(self.pid, signal.SIGTERM)
        os.waitpid(self.pid, 0)
        n = int(os.read(self.said, 100) or b"0")
        os.close(self.said)
        return n


def quick_client(s, seconds, gaps):
    """Streams one answer after the other, and looks at the server; gaps gets the seconds between tokens. Returns the answers, and the
    most memory and descriptors of the server."""
    n, most, end = 0, [0, 0], time.monotonic() + seconds
    while time.monotonic() < end:
        with socket.create_connection(("127.0.0.1", s.port), timeout=60) as c:
            c.sendall(request("/v1/completions", {"prompt": "Hello", "max_tokens": 50, "ignore_eos": True, "stream": True, "seed": n}))
            last, done = None, False
            for line in c.makefile("rb"):
                if line.startswith(b"data: {"):
                    now = time.monotonic()
                    if last is not None:
                        gaps.append(now - last)
                    last = now
                done |= line.startswith(b"data: [DONE]")
        check(done, "the quick client's answer was cut")
        n += done
        most = [max(most[0], memory(s.server)), max(most[1], n_fds(s.server))]
    return n, most


def p99(values):
    return sorted(values)[int(len(values) * 0.99)] if values else 0


def mode_slow(args):
    limit = args.n + 100
    s = Servers(args.model or os.path.join(ROOT, "tests", "data", "tiny"), server=["--connections", str(limit), "--idle", "60"])
    alone, among = [], []
    quick_client(s, args.seconds, alone)
    base = memory(s.server), n_fds(s.server)
    drips = Drips(s.port, args.n)
    until("all slow connections are there", lambda: n_fds(s.server) - base[1] >= args.n * 0.9)
    served, most = quick_client(s, args.seconds, among)
    opened = drips.end()
    before, during = p99(alone), p99(among)
    check(served >= 1, "the quick client got no answer")
    check(opened >= args.n, f"only {opened} connections were opened")
    check(most[1] - base[1] <= 2 * limit, f"{most[1] - base[1]} descriptors")
    each = (most[0] - base[0]) / args.n
    check(each <= 80 << 10 or sanitized(), f"{each:.0f} bytes a connection")
    until("the connections are closed", lambda: n_fds(s.server) <= base[1] + 2)
    s.end()
    print(f"{args.n} slow connections: {served} answers for a quick client; {most[1] - base[1]} descriptors and {each:.0f} bytes a "
          f"connection at most; p99 between its tokens {before * 1e3:.3f} ms alone, {during * 1e3:.3f} ms among them: {during / before:.3f} times")


def main():
    p = argparse.ArgumentParser(formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__.split("\n\n")[0])
    p.add_argument("mode", choices=("replay", "kills", "slow"))
    p.add_argument("--n", type=int)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--model")
    p.add_argument("--words", type=int, default=3000, help="kills: of a long prompt")
    # The server's memory is flat but for steps of 4.3 MB: one more long prompt is encoded at the same time than ever before.
    p.add_argument("--growth", type=int, nargs=2, default=(5 << 20, 1 << 18), help="kills: the most bytes by which server and engine may grow")
    p.add_argument("--seconds", type=int, default=5, help="slow: of each measurement")
    args = p.parse_args()
    args.n = args.n or {"replay": 500, "kills": 1000, "slow": 1000}[args.mode]
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    {"replay": mode_replay, "kills": mode_kills, "slow": mode_slow}[args.mode](args)
    print(f"{len(wrong)} wrong")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
