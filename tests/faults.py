#!/usr/bin/env python3
"""Runs each program with one allocation or system call failing, for each call that it makes, and checks how it ends.
Runs it again killed before each of these calls.

usage: BUILD=build python3 tests/faults.py [--most N] [-v] [CASE ...]
--most N: of each case and kind only N calls, evenly spaced. -v: a line for each case that says which calls ended how.

tests/lib/faults.c makes the calls fail, makes reads and writes short, or kills the program. After each run:
- the exit status is a documented one, no signal, and it comes within 20 seconds;
- an exit status above 1 comes with a message "program: ...";
- the exit status of an undisturbed run comes with its output. After a short read or write no other end is right;
- a file or folder that was to be written is complete, or it is not there;
- no other file, folder or socket is left.
After a kill nothing is left but OUT.PID.tmp, and the output so far is the beginning of the right one.
Exit 1 if one did not hold. SPDX-License-Identifier: AGPL-3.0-or-later"""
import argparse
import concurrent.futures
import json
import mmap
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(ROOT, os.environ.get("BUILD", "build"))
BIN, SHIM, DATA = os.path.join(BUILD, "bin"), os.path.join(BUILD, "tests", "faults.so"), os.path.join(ROOT, "tests", "data")
BERT = os.path.join(DATA, "embed", "bert")
TINY, LLAMA3 = os.path.join(DATA, "tiny"), os.path.join(DATA, "tokenizers", "bpe-llama3")
DOCUMENTED = {0, 1, 65, 66, 71, 74}
SECONDS = 20
ERROR, SHORT, KILL = 0, 1, 2
WHAT = {ERROR: "fails", SHORT: "is short", KILL: "is killed"}


class Case:
    """stages: argument lists, joined by pipes; the fault is in stage `at`. `{out}` is a place to write to."""

    def __init__(self, name, stages, stdin=b"", at=0):
        self.name, self.stages, self.stdin, self.at = name, stages, stdin, at


def cases(made):
    """made: a folder with the files that prepare() has written."""
    text = "Hello world, a longer line.\nsecond\n".encode()
    records = b'{"text": "Hello", "id": 7}\n{"text": "two", "max_tokens": 3}\n'
    chat = b'{"messages": [{"role": "user", "content": "Hi"}]}\n{"messages": [{"role": "user", "content": "Hello"}]}\n'
    ids = b"# tokens vocab=1007\n#@ id=7\n71 325 75 78\n\n! no\n65 66 67\n"
    forward = ["llm-forward", "-m", TINY, "-t", "2"]
    stream = os.path.join(made, "stream")
    prompts = b"71 325 75 78\n65 66\n"
    return [
        Case("encode", ["tok-encode -l -m".split() + [TINY]], text),
        Case("encode-whole", ["tok-encode -m".split() + [TINY]], text),
        Case("encode-json-threads", ["tok-encode -j -t 2 -m".split() + [TINY]], records),
        Case("encode-chat", ["tok-encode -j --chat -m".split() + [LLAMA3]], chat),
        Case("encode-render", ["tok-encode -j --chat --render -m".split() + [LLAMA3]], chat),
        Case("encode-offsets", ["tok-encode --offsets -m".split() + [TINY]], text),
        Case("decode", ["tok-decode -m".split() + [TINY]], ids),
        Case("decode-json", ["tok-decode -j -m".split() + [TINY]], ids),
        Case("decode-pieces", ["tok-decode --pieces -m".split() + [TINY]], ids),
        Case("forward", [forward + ["--no-return", "-a"]], prompts),
        Case("forward-verify", [forward + ["--no-return", "--verify", os.path.join(made, "hashes")]], prompts),
        Case("forward-return", [forward, ["llm-sample", "-n", "3"]], prompts, 0),
        Case("sample-return", [forward, ["llm-sample", "-n", "3"]], prompts, 1),
        Case("embed", [["llm-embed", "-m", BERT, "-t", "2"]], b"#@ id=7\n3 4 5\n\n6 7\n"),
        Case("embed-json", [["llm-embed", "-m", BERT, "-j"]], b"#@ id=7\n3 4 5\n6 7\n"),
        Case("embed-npy", [["llm-embed", "-m", BERT, "--npy", "{out}"]], b"3 4 5\n6 7\n"),
        Case("sample-recorded", [["llm-sample", "-n", "3", stream]]),
        Case("inspect", [["llm-inspect", "-m", TINY, stream]]),
        Case("inspect-json", [["llm-inspect", "-j", stream]]),
        Case("inspect-npy", [["llm-inspect", "--npy", "{out}", stream]]),
        Case("score", [["llm-score", "--tokens", stream]]),
        Case("diff", [["llm-diff", stream, os.path.join(made, "stream2")]]),
        Case("st-inspect", [["st-inspect", "-m", TINY]]),
        Case("st-inspect-spec", [["st-inspect", "--spec", "-m", TINY]]),
        Case("st-inspect-stats", [["st-inspect", "--stats", "-j", "-t", "2", "-m", TINY]]),
        Case("st-inspect-hash", [["st-inspect", "--hash", "-t", "2", "-m", TINY]]),
        Case("st-inspect-check", [["st-inspect", "--check", os.path.join(made, "hashes"), "-m", TINY]]),
        Case("convert-gguf", [["st-convert", "-q", os.path.join(made, "model.gguf"), "{out}"]]),
        Case("chunk", [["doc-chunk", "-m", TINY, "-n", "16", os.path.join(made, "page.md")]]),
        Case("index", [["vec-index", "-q", "-i", "{out}", "--records", os.path.join(made, "texts"), os.path.join(made, "records.vec")]]),
        Case("index-i8", [["vec-index", "-q", "--store", "i8", "-i", "{out}", os.path.join(made, "records.vec")]]),
        Case("index-missing", [["vec-index", "-i", os.path.join(made, "index"), "--missing"]], b'{"id": "r1"}\n{"id": 9}\n'),
        Case("search", [["vec-search", "-i", os.path.join(made, "index"), "-k", "2", "-t", "2", os.path.join(made, "records.vec")]]),
        Case("search-hybrid", [["vec-search", "-j", "--hybrid", "-i", os.path.join(made, "index"), "--records", os.path.join(made, "texts"),
                                os.path.join(made, "records.vec")]]),
        Case("convert-folder", [["st-convert", "-q", "--dtype", "f16", TINY, "{out}"]]),
    ]


def prepare(made):
    def run(*argv, stdin=b"", to):
        with open(os.path.join(made, to), "wb") as f:
            subprocess.run([os.path.join(BIN, argv[0]), *argv[1:]], input=stdin, stdout=f, check=True)

    run("llm-forward", "-m", TINY, "-a", "--no-return", stdin=b"71 325 75 78\n65 66\n", to="stream")
    shutil.copy(os.path.join(made, "stream"), os.path.join(made, "stream2"))
    run("st-inspect", "--hash", "-m", TINY, to="hashes")
    sys.path.insert(0, os.path.join(ROOT, "tests", "lib"))
    import gguf_tiny
    import make_vectors as vectors
    with open(os.path.join(made, "records.vec"), "wb") as f:
        f.write(vectors.header(3))
        f.write(b"".join(vectors.record(i, [1.0, i, 2.0], b"id=r%d" % i) for i in range(5)) + vectors.end(5))
    with open(os.path.join(made, "texts"), "w") as f:
        f.write("".join(f'{{"id": "r{i}", "text": "some words {i}"}}\n' for i in range(5)))
    subprocess.run([os.path.join(BIN, "vec-index"), "-i", os.path.join(made, "index"), "--records", os.path.join(made, "texts"),
                    os.path.join(made, "records.vec")], check=True)
    with open(os.path.join(made, "page.1"), "w") as f:
        f.write(".TH A 1\n.SH NAME\na \\- b\n.SH MORE\nSome text.\n")
    with open(os.path.join(made, "page.md"), "w") as f:
        f.write("# A\n\ntext of it\n\n## B\n\nand more text of it, of more than a few tokens, to be cut.\n")
    with open(os.path.join(made, "model.gguf"), "wb") as f:
        f.write(gguf_tiny.make(gguf_tiny.KINDS["spm"]()))


class Result:
    def __init__(self, status, last, stdout, stderr, files, left, count, what):
        self.status, self.last = status, last  # of the stage with the fault, of the last stage
        self.stdout, self.stderr, self.files, self.left = stdout, stderr, files, left
        self.count, self.what = count, what


def tree(folder):
    """Every path below folder, with the bytes of files."""
    found = {}
    for base, folders, files in os.walk(folder):
        for name in folders:
            found[os.path.relpath(os.path.join(base, name), folder)] = None
        for name in files:
            path = os.path.join(base, name)
            found[os.path.relpath(path, folder)] = open(path, "rb").read() if os.path.isfile(path) else "special"
    return found


def run(case, kind, k):
    """One run in which call k fails. k 0: undisturbed; then Result.count says how many calls could fail."""
    with tempfile.TemporaryDirectory(prefix="tokpipe-faults-") as work:
        for name in ("tmp", "run", "out"):
            os.mkdir(os.path.join(work, name), 0o700)
        page = os.path.join(work, "page")
        with open(page, "wb") as f:
            f.write(struct.pack("<QQ", k, kind).ljust(4096, b"\0"))
        env = dict(os.environ, TMPDIR=os.path.join(work, "tmp"), XDG_RUNTIME_DIR=os.path.join(work, "run"), LC_ALL="C")
        with open(os.path.join(work, "in"), "wb") as f:
            f.write(case.stdin)
        stages, before = [], open(os.path.join(work, "in"), "rb")
        out, messages = open(os.path.join(work, "stdout"), "w+b"), open(os.path.join(work, "stderr"), "w+b")
        for i, argv in enumerate(case.stages):
            argv = [a.replace("{out}", os.path.join(work, "out", "it")) for a in argv]
            last = i == len(case.stages) - 1
            stages.append(subprocess.Popen(
                [os.path.join(BIN, argv[0]), *argv[1:]], stdin=before, stdout=out if last else subprocess.PIPE,
                stderr=messages if i == case.at else subprocess.DEVNULL,
                env=dict(env, LD_PRELOAD=SHIM, FAULTS=page) if i == case.at else env))
            before.close()
            before = stages[-1].stdout
        hung = False
        for p in stages:
            try:
                p.wait(SECONDS)
            except subprocess.TimeoutExpired:
                hung = True
                p.kill()
                p.wait()
        with open(page, "r+b") as f, mmap.mmap(f.fileno(), 4096) as m:
            _, _, count, name, fd = struct.unpack_from("<QQQ32sq", m)
        for f in (out, messages):
            f.seek(0)
        until = time.monotonic() + SECONDS
        while tree(os.path.join(work, "run")) and time.monotonic() < until:
            time.sleep(0.02)  # llm-forward's cleaner ends after it
        return Result("hung" if hung else stages[case.at].returncode, stages[-1].returncode, out.read(), messages.read(),
                      tree(os.path.join(work, "out")), [*tree(os.path.join(work, "tmp")), *tree(os.path.join(work, "run"))],
                      count, f"{name.rstrip(bytes(1)).decode()}({fd})")


def wrong_killed(case, r, good):
    if r.status not in (-9, good.status):
        return f"ends with {r.status}"
    if r.left:
        return f"leaves {r.left}"
    if len(case.stages) == 1 and not good.stdout.startswith(r.stdout):
        return "another output"
    if r.stdout != good.stdout and r.last == 0:
        return "the last stage ends with 0 and with another output"
    files = {name: data for name, data in r.files.items() if not name.split(os.sep)[0].endswith(".tmp")}
    if files and any(data != good.files.get(name) for name, data in files.items() if data is not None):
        return f"half of a file: {sorted(files)}"
    return None


def wrong(case, kind, r, good):
    """What did not hold; None if all did."""
    program = case.stages[case.at][0].encode()
    if kind == KILL:
        return wrong_killed(case, r, good)
    if r.status not in DOCUMENTED:
        return f"ends with {r.status}"
    if r.left:
        return f"exit {r.status} leaves {r.left}"
    if r.status > 1 and program + b": " not in r.stderr:
        return f"exit {r.status} without a message"
    if r.status == good.status and (r.stdout != good.stdout or r.files != good.files):
        return f"exit {r.status} with another output"
    if r.files and r.files != good.files:
        return f"exit {r.status} with half of its files: {sorted(r.files)}"
    if kind == SHORT and r.status != good.status:
        return f"a short read or write is an error: exit {r.status}"
    return None


def check(case, kind, most, pool, verbose):
    good = run(case, kind, 0)
    if good.status not in (0, 1) or good.left:
        return 0, [f"undisturbed: exit {good.status}, {good.stderr.decode()}, left {good.left}"]
    every = range(1, good.count + 1)
    some = every if not most or most >= len(every) else sorted({1 + i * len(every) // most for i in range(most)})
    bad, ends = [], {}
    for k, r in zip(some, pool.map(lambda k: run(case, kind, k), some)):
        ends[r.status] = ends.get(r.status, 0) + 1
        problem = wrong(case, kind, r, good)
        if problem:
            message = r.stderr.decode(errors="replace").strip().splitlines()[-1:] or [""]
            bad.append(f"call {k} {WHAT[kind]}, {r.what}: {problem}: {message[0]}")
    if verbose:
        print(f"# {case.name}: {len(some)} of {good.count}, ends {json.dumps({str(k): n for k, n in sorted(ends.items(), key=str)})}",
              flush=True)
    return len(some), bad


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--most", type=int, default=0)
    p.add_argument("-v", action="store_true")
    p.add_argument("names", nargs="*")
    args = p.parse_args()
    runs, n_bad = 0, 0
    with tempfile.TemporaryDirectory(prefix="tokpipe-faults-") as made, \
            concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        prepare(made)
        for case in cases(made):
            if args.names and case.name not in args.names:
                continue
            for kind in (ERROR, SHORT, KILL):
                n, bad = check(case, kind, args.most, pool, args.v)
                runs += n
                n_bad += len(bad)
                for line in bad:
                    print(f"{case.name}: {line}", flush=True)
    print(f"{runs} faults, {n_bad} wrong")
    return n_bad != 0


if __name__ == "__main__":
    sys.exit(main())
