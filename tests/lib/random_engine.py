"""Random clients of resident engines: each that is left alone must give the bytes that its pipe gives without an engine.

Engines come one after the other, each with a random budget of memory (--kv), cache (--keep), chunk and kv(5) files. Each has
random clients at once: recordings of all logits, and pipes with a sampler, with prompts that begin alike and random salts.
Some are killed, some are stopped for a while. Prints counts, and "N wrong" at the end.
SPDX-License-Identifier: AGPL-3.0-or-later"""
import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIN = os.path.join(ROOT, os.environ.get("BUILD", "build"), "bin")
MODELS = ["llama", "mistral", "gemma3"]  # the last two have windows
FRAMES = os.path.join(ROOT, "tests", "lib", "frames.py")
END_SECONDS = 120
wrong = []


def forward(*args):
    return [os.path.join(BIN, "llm-forward"), "-q", *args]


def prompt(rng):
    shared = rng.randrange(3) * 64 + rng.choice((0, 1, 40))
    ids = [4 + i * 7 % 250 for i in range(shared)] + [4 + rng.randrange(6) for _ in range(rng.randint(1, 40))]
    head = f"#@ seed={rng.randrange(2)}" + rng.choice(("", " salt=a", " salt=b", " cache=why"))
    return head + "\n" + " ".join(map(str, ids)) + "\n"


def task(rng):
    """What a client asks: ("rows", prompts) or ("text", prompts, n)."""
    text = "".join(prompt(rng) for _ in range(rng.randint(1, 4)))
    return ("rows", text, 0) if rng.random() < 0.4 else ("text", text, rng.choice((1, 5, 30)))


def start(what, env, out):
    """The processes of a client; the last writes to the file out."""
    kind, text, n = what
    source = tempfile.TemporaryFile()
    source.write(text.encode())
    source.seek(0)
    b = ["-b", "2"]
    if kind == "rows":
        ps = [subprocess.Popen(forward("--no-return", *b), stdin=source, stdout=out, stderr=subprocess.DEVNULL, env=env)]
    else:
        first = subprocess.Popen(forward(*b), stdin=source, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env)
        sample = [os.path.join(BIN, "llm-sample"), "-q", "-n", str(n), "-T", "0.8", "--ignore-eos"]
        ps = [first, subprocess.Popen(sample, stdin=first.stdout, stdout=out, stderr=subprocess.DEVNULL, env=env)]
        first.stdout.close()
    source.close()
    return ps


def digest(what, out):
    """What must be the same: the rows of logits, or the text without what was cached."""
    if what[0] == "rows":
        out.flush()
        got = subprocess.run([sys.executable, FRAMES, "--rows", out.name], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        return None if got.returncode else hashlib.md5(got.stdout).hexdigest()
    out.seek(0)
    return b"".join(line.split(b" cached=")[0].rstrip() + b"\n" for line in out.read().splitlines())


def wait(ps, seconds):
    until = time.monotonic() + seconds
    codes = []
    for p in ps:
        try:
            codes.append(p.wait(max(0.1, until - time.monotonic())))
        except subprocess.TimeoutExpired:
            wrong.append("a client does not end")
            print(wrong[-1], flush=True)
            p.kill()
            codes.append(p.wait())
    return codes


def alone(what, env, known):
    key = (env["LLM_MODEL"], what)
    if key not in known:
        with tempfile.NamedTemporaryFile() as out:
            plain = {k: v for k, v in env.items() if k != "LLM_ENGINE"}
            if any(wait(start(what, plain, out), END_SECONDS)):
                sys.exit("a pipe without an engine fails")
            known[key] = digest(what, out)
    return known[key]


def run_engine(rng, env, work, known, until, counts):
    sock = os.path.join(work, "sock")
    kv = os.path.join(work, os.path.basename(env["LLM_MODEL"]) + ".kv")
    args = ["--listen", sock, "--kv", str(rng.choice((1, 1, 2, 64))), "--keep", str(rng.choice((1, 2, 64)))]
    args += rng.choice(([], ["--chunk", "7"], ["--chunk", "64"])) + ["-t", str(rng.randint(1, 2))]
    args += ["--kv-load", kv] if os.path.exists(kv) and rng.random() < 0.7 else []
    args += ["--kv-save", kv] if rng.random() < 0.7 else []
    engine = subprocess.Popen(forward(*args), env={k: v for k, v in env.items() if k != "LLM_ENGINE"})
    while not os.path.exists(sock):
        if engine.poll() is not None:
            sys.exit(f"the engine ended with {engine.poll()}: {args}")
        time.sleep(0.01)
    clients = []
    for _ in range(rng.randint(3, 10)):
        what, out = task(rng), tempfile.NamedTemporaryFile()
        clients.append((what, start(what, env, out), out, []))
        time.sleep(rng.choice((0, 0, 0.01, 0.05)))
        if rng.random() < 0.4:
            hit = rng.choice(clients)
            victim = rng.choice(hit[1])
            if rng.random() < 0.5:
                victim.kill()
                hit[3].append("killed")
            elif victim.poll() is None:
                victim.send_signal(signal.SIGSTOP)
                hit[3].append("stopped")
                clients[-1][3].append(victim)
    for client in clients:  # those that were stopped go on
        for p in client[3]:
            if not isinstance(p, str) and p.poll() is None:
                p.send_signal(signal.SIGCONT)
    for what, ps, out, marks in clients:
        codes = wait(ps, END_SECONDS)
        kind = "killed" if "killed" in marks else "whole"
        counts[kind] = counts.get(kind, 0) + 1
        if kind == "whole" and (any(codes) or digest(what, out) != alone(what, env, known)):
            wrong.append(f"other bits or an exit of {codes}: engine {args}: {what}"[:600])
            print(wrong[-1], flush=True)
        out.close()
    if rng.random() < 0.2:
        engine.kill()
    else:
        engine.terminate()
    code = wait([engine], END_SECONDS)[0]
    if code not in (0, -signal.SIGKILL):
        wrong.append(f"the engine ended with {code}: {args}")
        print(wrong[-1], flush=True)
    gone = time.monotonic() + 5
    while os.path.exists(sock) and time.monotonic() < gone:
        time.sleep(0.01)
    if os.path.exists(sock):
        wrong.append("the socket is left")
        os.unlink(sock)
    counts["engines"] = counts.get("engines", 0) + 1


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--seconds", type=float, default=10)
    p.add_argument("--seed", type=int, default=1)
    args = p.parse_args()
    rng, known, counts = random.Random(args.seed), {}, {}
    with tempfile.TemporaryDirectory(prefix="tokpipe-random-") as work:
        os.mkdir(os.path.join(work, "tmp"))
        until = time.monotonic() + args.seconds
        while time.monotonic() < until:
            env = dict(os.environ, TMPDIR=os.path.join(work, "tmp"), XDG_RUNTIME_DIR="", LLM_ENGINE=os.path.join(work, "sock"),
                       LLM_MODEL=os.path.join(ROOT, "tests", "data", "models", rng.choice(MODELS)))
            run_engine(rng, env, work, known, until, counts)
        last = time.monotonic() + 10
        while os.listdir(os.path.join(work, "tmp")) and time.monotonic() < last:
            time.sleep(0.1)  # a killed client's cleaner
        wrong.extend(f"left: {name}" for name in os.listdir(os.path.join(work, "tmp")))
    print(", ".join(f"{n} {what}" for what, n in sorted(counts.items())) + f"; seed {args.seed}; {len(wrong)} wrong")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
