#!/usr/bin/env python3
"""Runs each program with one allocation or system call failing, for each call that it makes, and checks how it ends.
Runs it again killed before each of these calls.

usage: BUILD=build python3 tests/faults.py [--most N] [-v] [CASE ...]
--most N: of each case and kind only N calls, evenly spaced; of servers, which take longer, a quarter. -v: a line for each case that says which calls ended how.

tests/lib/faults.c makes the calls fail, makes reads and writes short, or kills the program. After each run:
- the exit status is a documented one, no signal, and it comes within 20 seconds;
- an exit status above 1 comes with a message "program: ...";
- the exit status of an undisturbed run comes with its output. After a short read or write no other end is right;
- a file or folder that was to be written is complete, or it is not there;
- no other file, folder or socket is left;
- an engine or a server gives each answer whole, or the client sees that it failed. If it goes on, only one answer has failed.
After a kill nothing is left but OUT.PID.tmp, and the output so far is the beginning of the right one.
Exit 1 if one did not hold. SPDX-License-Identifier: AGPL-3.0-or-later"""
import argparse
import concurrent.futures
import hashlib
import json
import mmap
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "tests", "lib"))
import fault_drivers as drivers

BUILD = os.path.join(ROOT, os.environ.get("BUILD", "build"))
BIN, SHIM, DATA = os.path.join(BUILD, "bin"), os.path.join(BUILD, "tests", "faults.so"), os.path.join(ROOT, "tests", "data")
BERT = os.path.join(DATA, "embed", "bert")
TINY, LLAMA3 = os.path.join(DATA, "tiny"), os.path.join(DATA, "tokenizers", "bpe-llama3")
DOCUMENTED = {0, 1, 65, 66, 71, 74}
SECONDS = 20
ERROR, SHORT, KILL = 0, 1, 2
WHAT = {ERROR: "fails", SHORT: "is short", KILL: "is killed"}


class Case:
    """stages: argument lists, joined by pipes; the fault is in stage `at`. `{out}` is a place to write to.
    engine: a program without faults that listens at `{engine}` during all runs. drive: one of fault_drivers.py, for a stage that stays.
    spawns: the program starts others."""

    def __init__(self, name, stages, stdin=b"", at=0, engine=None, drive=None, spawns=False):
        self.name, self.stages, self.stdin, self.at = name, stages, stdin, at
        self.engine, self.drive, self.spawns = engine, drive, spawns
        self.engine_path = None

    def argv(self, i, work):
        argv = [a.replace("{out}", os.path.join(work, "out", "it")).replace("{sock}", os.path.join(work, "out", "sock")) for a in self.stages[i]]
        return [os.path.join(BIN, argv[0]), *[a.replace("{engine}", self.engine_path or "") for a in argv[1:]]]


def b(program):
    return os.path.join(BIN, program)


def cases(made):
    """made: a folder with the files that prepare() has written."""
    text = "Hello world, a longer line.\nsecond\n".encode()
    records = b'{"text": "Hello", "id": 7}\n{"text": "two", "max_tokens": 3}\n'
    chat = b'{"messages": [{"role": "user", "content": "Hi"}]}\n{"messages": [{"role": "user", "content": "Hello"}]}\n'
    ids = b"# tokens vocab=1007\n#@ id=7\n71 325 75 78\n\n! no\n65 66 67\n"
    forward = ["llm-forward", "-m", TINY, "-t", "2"]
    stream = os.path.join(made, "stream")
    prompts = b"71 325 75 78\n65 66\n"
    long = (" ".join(str(3 + i % 900) for i in range(150)) + "\n").encode()
    toy, questions = os.path.join(made, "embedder"), b'{"text": "cat"}\n{"text": "what is in the sea ?", "id": 2}\n'
    sample, embed_ids = ["llm-sample", "-n", "3"], b"#@ id=7\n3 4 5\n6 7\n"
    engine, embed_engine = [*forward, "--keep", "0", "--listen", "{engine}"], ["llm-embed", "-m", BERT, "--listen", "{engine}"]
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
        Case("forward-hidden", [forward + ["--no-return", "--hidden=0,2"]], prompts),
        Case("forward-kv-save", [forward + ["--no-return", "--kv-save", "{out}"]], long),
        Case("forward-kv-load", [forward + ["--no-return", "-v", "--kv-load", os.path.join(made, "kv")]], long),
        Case("forward-collect", [forward + ["--no-return", "--collect", "{out}"]], prompts),
        Case("forward-listen", [[*forward, "--listen", "{sock}"]], drive=drivers.clients(
            [[b("llm-forward"), "--engine", "{sock}"], [b("llm-sample"), "-n", "3"]], None, prompts)),
        Case("forward-listen-kv", [[*forward, "--listen", "{sock}", "--kv-load", os.path.join(made, "kv"), "--kv-save", "{out}"]],
             drive=drivers.clients([[b("llm-forward"), "--engine", "{sock}", "--no-return"]], None, long)),
        Case("forward-engine", [["llm-forward", "--engine", "{engine}"], sample], prompts, 0, engine),
        Case("forward-engine-no-return", [["llm-forward", "--engine", "{engine}", "--no-return", "-a"]], prompts, 0, engine),
        Case("sample-engine", [["llm-forward", "--engine", "{engine}"], sample], prompts, 1, engine),
        Case("embed-listen", [["llm-embed", "-m", BERT, "--listen", "{sock}"]], drive=drivers.clients(
            [[b("llm-embed"), "--engine", "{sock}"]], None, embed_ids)),
        Case("embed-engine", [["llm-embed", "--engine", "{engine}", "-j"]], embed_ids, 0, embed_engine),
        Case("serve", [["llm-serve", "-p", "0", "-m", TINY, "--engine", "{engine}"]], engine=engine, drive=drivers.requests([
            ("/v1/completions", {"prompt": "Hello", "max_tokens": 3, "temperature": 0, "logprobs": 2}),
            ("/v1/completions", {"prompt": ["a", "b c"], "max_tokens": 3, "temperature": 0, "stream": True})])),
        Case("serve-embed", [["llm-serve", "-p", "0", "--embed", toy]], drive=drivers.requests([
            ("/v1/embeddings", {"input": ["cat", "dog"]}), ("/v1/embeddings", {"input": [[3, 4], [5]]})])),
        Case("serve-socket", [["llm-serve", "--socket", "{sock}", "-m", TINY, "--engine", "{engine}"]], engine=engine, drive=drivers.requests([
            ("/v1/completions", {"prompt": "Hello", "max_tokens": 2, "temperature": 0})] * 2)),
        Case("serve-log-keys", [["llm-serve", "-p", "0", "-m", TINY, "--engine", "{engine}", "--log", "-", "--keys", os.path.join(made, "keys")]],
             engine=engine, drive=drivers.requests([("/v1/completions", {"prompt": "a", "max_tokens": 2, "temperature": 0})] * 2)),
        Case("quantize", [["st-quantize", "-q", "-t", "2", TINY, "{out}"]]),
        Case("quantize-stats", [["st-quantize", "-q", "--no-search", "--stats", os.path.join(made, "stats"), TINY, "{out}"]]),
        Case("chunk-man", [["doc-chunk", "-m", TINY, "-n", "16", os.path.join(made, "page.1")]], spawns=True),
        Case("chunk-several", [["doc-chunk", "-m", TINY, "-n", "16", "--with-head", os.path.join(made, "page.md"), os.path.join(made, "page.1")]],
             spawns=True),
        Case("index-add", [["vec-index", "-q", "-i", os.path.join(made, "index"), os.path.join(made, "records.vec")]]),
        Case("search-i8", [["vec-search", "-i", os.path.join(made, "index8"), "-k", "2", os.path.join(made, "records.vec")]]),
        Case("prefix", [["vec-prefix", "-i", os.path.join(made, "toy.index"), "-m", toy, "-k", "2"]], questions, spawns=True),
        Case("prefix-hybrid", [["vec-prefix", "-i", os.path.join(made, "toy.index"), "-m", toy, "-k", "2", "--hybrid"]], questions, spawns=True),
        Case("prefix-engine", [["vec-prefix", "-i", os.path.join(made, "toy.index"), "-m", toy, "--engine", "{engine}"]], questions, 0,
             ["llm-embed", "-m", toy, "--listen", "{engine}"], spawns=True),
        Case("convert-folder", [["st-convert", "-q", "--dtype", "f16", TINY, "{out}"]]),
    ]


def prepare(made):
    def run(*argv, stdin=b"", to):
        with open(os.path.join(made, to), "wb") as f:
            subprocess.run([os.path.join(BIN, argv[0]), *argv[1:]], input=stdin, stdout=f, check=True)

    run("llm-forward", "-m", TINY, "-a", "--no-return", stdin=b"71 325 75 78\n65 66\n", to="stream")
    shutil.copy(os.path.join(made, "stream"), os.path.join(made, "stream2"))
    run("st-inspect", "--hash", "-m", TINY, to="hashes")
    import gguf_tiny
    import make_vectors as vectors
    with open(os.path.join(made, "records.vec"), "wb") as f:
        f.write(vectors.header(3))
        f.write(b"".join(vectors.record(i, [1.0, i, 2.0], b"id=r%d" % i) for i in range(5)) + vectors.end(5))
    with open(os.path.join(made, "texts"), "w") as f:
        f.write("".join(f'{{"id": "r{i}", "text": "some words {i}"}}\n' for i in range(5)))
    subprocess.run([os.path.join(BIN, "vec-index"), "-i", os.path.join(made, "index"), "--records", os.path.join(made, "texts"),
                    os.path.join(made, "records.vec")], check=True)
    with open(os.path.join(made, "keys"), "w") as f:
        f.write("a " + hashlib.blake2b(b"k", digest_size=32).hexdigest() + " requests=4 cache=own\n")
    with open(os.path.join(made, "page.1"), "w") as f:
        f.write(".TH A 1\n.SH NAME\na \\- b\n.SH MORE\nSome text.\n")
    with open(os.path.join(made, "page.md"), "w") as f:
        f.write("# A\n\ntext of it\n\n## B\n\nand more text of it, of more than a few tokens, to be cut.\n")
    long = (" ".join(str(3 + i % 900) for i in range(150)) + "\n").encode()
    run("llm-forward", "-m", TINY, "--no-return", "--kv-save", os.path.join(made, "kv"), stdin=long, to="unused")
    run("llm-forward", "-m", TINY, "--no-return", "--collect", os.path.join(made, "stats"), stdin=b"65 66 67\n", to="unused")
    run("vec-index", "-i", os.path.join(made, "index8"), "--store", "i8", os.path.join(made, "records.vec"), to="unused")
    subprocess.run([os.path.join(ROOT, "tests", "lib", "toy-embedder"), ROOT, os.path.join(made, "embedder")], check=True)
    with open(os.path.join(made, "notes.txt"), "w") as f:
        f.write("The cat is red.\n\nThe dog is blue.\n\nA fish swim in the sea.\n\nA bird fly.\n")
    toy = os.path.join(made, "embedder")
    run("doc-chunk", "-m", toy, "-n", "8", os.path.join(made, "notes.txt"), to="chunks")
    run("tok-encode", "-m", toy, "-j", os.path.join(made, "chunks"), to="chunk-ids")
    run("llm-embed", "-m", toy, os.path.join(made, "chunk-ids"), to="chunk-vectors")
    run("vec-index", "-i", os.path.join(made, "toy.index"), "--records", os.path.join(made, "chunks"), os.path.join(made, "chunk-vectors"),
        to="unused")
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
        env = dict(os.environ, PATH=BIN + ":" + os.environ["PATH"], TMPDIR=os.path.join(work, "tmp"), XDG_RUNTIME_DIR=os.path.join(work, "run"), LC_ALL="C")
        with open(os.path.join(work, "in"), "wb") as f:
            f.write(case.stdin)
        stages, before, answers = [], open(os.path.join(work, "in"), "rb"), None
        out, messages = open(os.path.join(work, "stdout"), "w+b"), open(os.path.join(work, "stderr"), "w+b")

        def start(i=0):
            nonlocal before
            last = i == len(case.stages) - 1
            stages.append(subprocess.Popen(
                case.argv(i, work), stdin=before, stdout=out if last else subprocess.PIPE,
                stderr=messages if i == case.at else subprocess.DEVNULL,
                env=dict(env, LD_PRELOAD=SHIM, FAULTS=page, FAULTS_PROGRAM=case.stages[i][0],
                         **{"FAULTS_SPAWNS": "1"} if case.spawns else {}) if i == case.at else env))
            before.close()
            before = stages[-1].stdout
            return stages[-1]
        if case.drive:
            answers = case.drive(start, work)
        else:
            for i in range(len(case.stages)):
                start(i)
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
        until = time.monotonic() + (SECONDS if kind != KILL else 3)
        while (tree(os.path.join(work, "run")) or tree(os.path.join(work, "tmp")) or
               os.path.exists(os.path.join(work, "out", "sock"))) and time.monotonic() < until:
            time.sleep(0.02)  # a cleaner, or a child that removes its folder, ends after its program
        return Result("hung" if hung else stages[case.at].returncode, stages[-1].returncode,
                      out.read() if answers is None else answers, messages.read(),
                      tree(os.path.join(work, "out")), [*tree(os.path.join(work, "tmp")), *tree(os.path.join(work, "run"))],
                      count, f"{name.rstrip(bytes(1)).decode()}({fd})")


def wrong_killed(case, r, good):
    if r.status not in (-9, good.status):
        return f"ends with {r.status}"
    if r.left:
        return f"leaves {r.left}"
    if case.drive:
        r.files.pop("sock", None)  # the next engine replaces it
        wrong_answer = drivers.wrong_answers(r.stdout, good.stdout, len(good.stdout))
        if wrong_answer:
            return wrong_answer
    elif len(case.stages) == 1 and not good.stdout.startswith(r.stdout):
        return "another output"
    if r.stdout != good.stdout and r.last == 0 and not case.drive:
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
    if r.status not in DOCUMENTED | {good.status}:
        return f"ends with {r.status}"
    if r.left:
        return f"exit {r.status} leaves {r.left}"
    if r.status > 1 and program + b": " not in r.stderr:
        return f"exit {r.status} without a message"
    if case.drive:
        most = len(good.stdout) if r.status != good.status else kind == ERROR
        wrong_answer = drivers.wrong_answers(r.stdout, good.stdout, most)
        if wrong_answer:
            return f"exit {r.status}: {wrong_answer}"
    elif r.status == good.status and (r.stdout != good.stdout or r.files != good.files):
        return f"exit {r.status} with another output"
    if r.files and r.files != good.files:
        return f"exit {r.status} with half of its files: {sorted(r.files)}"
    if kind == SHORT and r.status != good.status:
        return f"a short read or write is an error: exit {r.status}"
    return None


def engine_of(case, made):
    """Starts the engine of a case; None: it has none."""
    if not case.engine:
        return None
    case.engine_path = os.path.join(made, case.name + ".sock")
    argv = [os.path.join(BIN, case.engine[0]), *[a.replace("{engine}", case.engine_path) for a in case.engine[1:]]]
    engine = subprocess.Popen(argv, stdin=subprocess.DEVNULL)
    if not drivers.until(lambda: drivers.engine_listens(case.engine_path), engine):
        sys.exit(f"{case.name}: the engine does not start")
    return engine


def check(case, kind, most, pool, verbose):
    good = run(case, kind, 0)
    if good.status not in ((0, 1, -signal.SIGTERM) if case.drive else (0, 1)) or good.left:
        return 0, [f"undisturbed: exit {good.status}, {good.stderr.decode()}, left {good.left}"]
    if case.drive and not drivers.all_answered(good.stdout):
        return 0, [f"undisturbed: {good.stdout[:200]!r}, {good.stderr.decode()}"]
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
            engine = engine_of(case, made)
            for kind in (ERROR, SHORT, KILL):
                n, bad = check(case, kind, (args.most + 3) // 4 if case.drive else args.most, pool, args.v)
                runs += n
                n_bad += len(bad)
                for line in bad:
                    print(f"{case.name}: {line}", flush=True)
            if engine:
                went_on = engine.poll() is None
                drivers.finish(engine)
                if not went_on or engine.returncode not in (0, -signal.SIGTERM):
                    n_bad += 1
                    print(f"{case.name}: its engine ended with {engine.returncode}", flush=True)
    print(f"{runs} faults, {n_bad} wrong")
    return n_bad != 0


if __name__ == "__main__":
    sys.exit(main())
