#!/usr/bin/env python3
"""Runs programs on truncated and flipped copies of small valid inputs, and checks how they end.

usage: BUILD=build python3 tests/flips.py [--most N] [NAME ...]
--most N: N mutations of each input, evenly spaced (default 0: all). Each is a truncation, a flipped bit, or a byte that is set
to another value.

After each run the exit status must be 0, 1, 65 or 66, within 20 seconds, and:
- above 1: one message "program: ... " that names the input, the file or the key;
- 0 or 1: for outputs with a form (tokens(5), JSON), one that is whole.
The fuzz entries run all mutations in one process each (make flips). This is the same, as users meet it.
Exit 1 if one did not hold. SPDX-License-Identifier: AGPL-3.0-or-later"""
import argparse
import concurrent.futures
import json
import os
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BIN, DATA = os.path.join(ROOT, os.environ.get("BUILD", "build"), "bin"), os.path.join(ROOT, "tests", "data")
SEEDS = os.path.join(ROOT, "tests", "fuzz", "seeds")
BYTES = (0x00, 0x7f, 0x80, 0xff, ord(" "), ord('"'), ord("9"), ord("["), ord("{"))
SECONDS = 20
sys.path.insert(0, os.path.join(ROOT, "tests", "fuzz"))


def read(*path):
    with open(os.path.join(*path), "rb") as f:
        return f.read()


def whole_json(text):
    for line in text.splitlines():
        json.loads(line)


def whole_tokens(text):
    for line in text.decode().split("\n"):
        if line and line[0] not in "#!":
            [int(i) for i in line.split(" ") if i]


class Case:
    """files: what is in the folder; broken: which of them is mutated, or None for stdin."""

    def __init__(self, name, argv, files, broken, stdin=b"", form=None, places=()):
        self.name, self.argv, self.files, self.broken, self.stdin = name, argv, files, broken, stdin
        self.form, self.places = form, places


def vector_stream(dim=3):
    sys.path.insert(0, os.path.join(ROOT, "tests", "lib"))
    import make_vectors as vectors
    return vectors.header(dim) + vectors.record(0, [1.0, 0.5, -1.0][:dim], b"id=r0") + vectors.end(1)


def cases():
    import seeds
    config, weights = seeds.tiny_llama()
    model = {"config.json": config, "model.safetensors": weights}
    tokenizer = read(SEEDS, "tokenizer", "odd-01").split(b"\0")[0]
    chat = {"tokenizer.json": read(DATA, "tokenizers", "bpe-gpt2", "tokenizer.json"),
            "chat_template.jinja": read(SEEDS, "chat_template", "tools").split(b"\0")[0]}
    rows, stream, listing = seeds.all_positions(), read(SEEDS, "stage_sample", "whole"), read(SEEDS, "hashlist", "list")
    one = b"\x35\0\0\0\0\0\0\0" + b'{"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}}abc'
    requests = b'{"messages": [{"role": "user", "content": "Hi"}], "id": 7, "params": {"temperature": 0.5}}\n'
    forward = ["llm-forward", "-m", ".", "-q", "-t", "1", "--no-return"]
    sharded = {"model.safetensors.index.json": b'{"weight_map": {"a": "a.safetensors"}}', "a.safetensors": one}
    tokens = read(SEEDS, "tokens", "stream").replace(b" tokenizer=00000000000000ff", b"")
    tiny = ["tok-decode", "-j", "-m", os.path.join(DATA, "tiny")]
    return [
        Case("config", forward, model, "config.json", b"1 2\n"),
        Case("generation-config", forward, dict(model, **{"generation_config.json": b'{"eos_token_id": [2, 3]}'}),
             "generation_config.json", b"1 2\n"),
        Case("weights", forward, model, "model.safetensors", b"1 2\n"),
        Case("prompts", [a for a in forward if a != "-q"], model, None, b"# tokens vocab=8\n#@ id=7\n1 2 3\n\n4 5\n"),
        Case("safetensors", ["st-inspect", "f.safetensors"], {"f.safetensors": one}, "f.safetensors"),
        Case("index", ["st-inspect", "model.safetensors.index.json"], sharded, "model.safetensors.index.json",
             places=("model.safetensors.index.json", "a.safetensors", "'a'", "cannot open")),
        Case("hashes", ["st-inspect", "--check", "list", "f.safetensors"], {"f.safetensors": one, "list": listing}, "list"),
        Case("gguf", ["st-convert", "-fq", "m.gguf", "out"], {"m.gguf": read(SEEDS, "gguf", "bpe")}, "m.gguf"),
        Case("tokenizer", ["tok-encode", "-l", "-m", "."], {"tokenizer.json": tokenizer}, "tokenizer.json", b"ab a\nx\n",
             form=whole_tokens),
        Case("template", ["tok-encode", "-q", "-j", "--chat", "-m", "."], chat, "chat_template.jinja", requests, form=whole_tokens),
        Case("requests", ["tok-encode", "-q", "-j", "-m", "."], chat, None, requests, form=whole_tokens),
        Case("tokens", tiny, {}, None, tokens, form=whole_json),
        Case("embed", ["llm-embed", "-j", "-m", os.path.join(DATA, "embed", "bert")], {}, None,
             b"# tokens vocab=71\n#@ id=7\n1 2 3\n\n! no\n4 5\n", form=whole_json, places=("stdin", "sequence ")),
        Case("sample", ["llm-sample", "-n", "3", "-q"], {}, None, stream, form=whole_tokens),
        Case("inspect", ["llm-inspect", "-j", "-q"], {}, None, stream, form=whole_json, places=("stdin", "sequence ")),
        Case("score", ["llm-score", "-j", "-q"], {}, None, rows, form=whole_json, places=("stdin", "sequence ")),
        Case("vectors", ["vec-search", "-q", "-j", "-t", "1", "-i", "index"], {"index": read(SEEDS, "index", "f32")}, None, vector_stream(),
             form=whole_json),
        Case("index", ["vec-search", "-q", "-j", "--hybrid", "--records", "texts", "-t", "1", "-i", "index", "q"],
             {"index": read(SEEDS, "index", "f32"), "q": vector_stream(), "texts": b'{"id": "r0", "text": "one two"}\n'}, "index",
             form=whole_json, places=("index", "q")),
        Case("index-i8", ["vec-search", "-q", "-j", "-t", "1", "-i", "index", "q"],
             {"index": read(SEEDS, "index", "i8"), "q": vector_stream(3)}, "index", form=whole_json, places=("index", "q")),
        Case("index-add", ["vec-index", "-q", "-i", "index", "q"],
             {"index": read(SEEDS, "index", "bf16"), "q": vector_stream(2)}, "index", places=("index", "q")),
        Case("records", ["vec-index", "-q", "-i", "index", "--records", "texts", "q"],
             {"q": vector_stream(), "texts": b'{"id": "r0", "text": "one \\u00e9"}\n{"id": 7}\n'}, "texts"),
        Case("diff", ["llm-diff", "-j", "-q", "a", "b"], {"a": rows, "b": rows}, "b", places=("a", "b", "sequence ")),
    ]


def mutation(data, k):
    """Mutation k of data, and what it is. The truncations come first."""
    if k < len(data):
        return data[:k], f"truncated to {k}"
    how, at = divmod(k - len(data), len(data))
    value = data[at] ^ 1 << how if how < 8 else BYTES[how - 8]
    return data[:at] + bytes([value]) + data[at + 1:], f"byte {at} is 0x{value:02x}"


def wrong(case, status, out, message):
    if status not in (0, 1, 65, 66):
        return f"ends with {status}"
    place = case.places or (case.broken or "stdin",)
    if status > 1 and (not message.startswith(case.argv[0].encode() + b": ") or not any(p.encode() in message for p in place)):
        return f"exit {status} without a message that names {' or '.join(place)}"
    try:
        if case.form and status <= 1:
            case.form(out)
    except ValueError as e:
        return f"exit {status} with a broken output: {e}"
    return None


def run(case, k):
    broken = case.files[case.broken] if case.broken else case.stdin
    data, what = mutation(broken, k)
    with tempfile.TemporaryDirectory(prefix="tokpipe-flips-") as work:
        for name, file in case.files.items():
            with open(os.path.join(work, name), "wb") as f:
                f.write(data if name == case.broken else file)
        argv = [os.path.join(BIN, case.argv[0]), *case.argv[1:]]
        try:
            p = subprocess.run(argv, input=case.stdin if case.broken else data, capture_output=True, cwd=work, timeout=SECONDS)
        except subprocess.TimeoutExpired:
            return f"{case.name}: {what}: hangs"
        problem = wrong(case, p.returncode, p.stdout, p.stderr)
    return problem and f"{case.name}: {what}: {problem}: {p.stderr.decode(errors='replace').strip()[:300]}"


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--most", type=int, default=0)
    p.add_argument("names", nargs="*")
    args = p.parse_args()
    n_runs, bad = 0, 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for case in cases():
            if args.names and case.name not in args.names:
                continue
            n = len(case.files[case.broken] if case.broken else case.stdin) * (1 + 8 + len(BYTES))
            most = args.most if args.most and args.most < n else n
            for problem in pool.map(lambda i: run(case, i * n // most), range(most)):
                n_runs += 1
                bad += problem is not None
                if problem:
                    print(problem, flush=True)
    print(f"{n_runs} runs, {bad} wrong")
    return bad != 0


if __name__ == "__main__":
    sys.exit(main())
