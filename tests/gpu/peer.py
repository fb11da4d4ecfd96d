"""The peer of tests/gpu/window.sh: transformers on the same folder, on the same GPU, and torch's own matrix product and copy.

usage: peer.py DIR [--ready FILE] [--go FILE] [--device cuda] [--context 128] [--steps 200] [--seconds 90]

Loads, compiles and warms up, writes FILE of --ready, waits for FILE of --go, then measures; so what is slow can happen
beside other work. Prints "name value unit" a line; what fails says so in a line that begins with #, and the rest goes on.

Decode is a StaticCache and torch.compile(mode="reduce-overhead"), which is CUDA graphs of fused kernels; the token goes from
step to step on the GPU. Where that fails: the same without a graph, then without compiling; the names say which it was.
SPDX-License-Identifier: AGPL-3.0-or-later"""
import argparse
import os
import statistics
import sys
import time
import traceback

began = time.monotonic()
a = argparse.ArgumentParser()
a.add_argument("dir")
a.add_argument("--ready")
a.add_argument("--go")
a.add_argument("--device", default="cuda")
a.add_argument("--context", type=int, default=128)
a.add_argument("--steps", type=int, default=200)
a.add_argument("--seconds", type=float, default=90, help="of all, the wait aside")
a.add_argument("--modes", default="reduce-overhead,default,eager")
options = a.parse_args()
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch

waited = 0.0
cuda = options.device.startswith("cuda")


def left():
    return options.seconds - (time.monotonic() - began - waited)


def put(name, value, unit):
    print(f"peer.{name} {value:.6g} {unit}", flush=True)


def note(text):
    print(f"# {time.monotonic() - began:.1f} s: {text}", flush=True)


def attempt(what, function, *args):
    """The function's result, or None and a line that says why not."""
    try:
        return function(*args)
    except Exception as e:
        note(f"{what} failed: {type(e).__name__}: {' '.join(str(e).split())[:300]}")
        traceback.print_exc(limit=-3, file=sys.stderr)
        return None


def sync():
    if cuda:
        torch.cuda.synchronize()


def seconds_of(function, rounds):
    """The median of the rounds, in seconds."""
    times = []
    for _ in range(rounds):
        sync()
        start = time.perf_counter()
        function()
        sync()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def load():
    import transformers
    note(f"torch {torch.__version__}, transformers {transformers.__version__}")
    config = transformers.AutoConfig.from_pretrained(options.dir)
    model = transformers.LlamaForCausalLM.from_pretrained(options.dir, config=config, dtype=torch.bfloat16,
                                                          attn_implementation="sdpa")
    model = model.to(options.device).eval()
    note("loaded")
    return model


class Decode:
    """Greedy steps from a prompt. The cache's counters are set back for each round, so that all rounds are alike."""

    def __init__(self, model, rows, mode):
        from transformers import StaticCache
        self.rows, self.mode, self.model = rows, mode, model
        self.cache = StaticCache(config=model.config, max_cache_len=options.context + options.steps + 8)
        ids = torch.arange(rows * options.context, device=options.device).reshape(rows, options.context) * 7919
        with torch.no_grad():
            out = model(ids % model.config.vocab_size, past_key_values=self.cache, use_cache=True, logits_to_keep=1)
        self.first = out.logits[:, -1].argmax(-1, keepdim=True)
        self.function = self.one if mode == "eager" else torch.compile(self.one, mode=mode, fullgraph=True, dynamic=False)

    def one(self, ids, position):
        out = self.model(ids, position_ids=position, past_key_values=self.cache, use_cache=True)
        return out.logits[:, -1].argmax(-1, keepdim=True)

    def run(self, steps):
        for layer in self.cache.layers:
            layer.cumulative_length.fill_(options.context)
        ids = self.first.clone()
        position = torch.full((1, 1), options.context, device=options.device)
        with torch.no_grad():
            for _ in range(steps):
                if self.mode == "reduce-overhead":
                    torch.compiler.cudagraph_mark_step_begin()
                ids = self.function(ids, position).clone()
                position += 1
        return ids


def decoder(model, rows):
    for mode in options.modes.split(","):
        def warm():
            d = Decode(model, rows, mode)
            for _ in range(3):
                d.run(4)
            sync()
            return d
        if d := attempt(f"decode of {rows} rows, {mode}", warm):
            note(f"decode of {rows} rows is warm: {mode}")
            return d
    return None


def time_decode(d):
    name = f"decode.rows{d.rows}.context{options.context}.{d.mode.replace('-', '_')}"
    seconds = seconds_of(lambda: d.run(options.steps), 3) / options.steps
    put(name, d.rows / seconds, "tokens/s")
    put(name + ".step", seconds * 1e6, "us")


def time_prefill(model, n):
    ids = torch.arange(n, device=options.device).reshape(1, n) * 7919 % model.config.vocab_size
    def run():
        with torch.no_grad():
            model(ids, use_cache=True, logits_to_keep=1)
    run()
    seconds = seconds_of(run, 7)
    put(f"prefill{n}.eager", seconds * 1e3, "ms")
    put(f"prefill{n}.eager.rate", n / seconds, "tokens/s")


def time_matmul(m, n, k, name):
    x = torch.randn(m, k, device=options.device, dtype=torch.bfloat16)
    y = torch.randn(n, k, device=options.device, dtype=torch.bfloat16)
    def run():
        for _ in range(5):
            torch.mm(x, y.t())
    run()
    put(name, 5 * 2 * m * n * k / seconds_of(run, 5) * 1e-12, "TFLOP/s")


def time_copy(n_bytes):
    x = torch.randint(0, 1 << 30, (n_bytes // 4,), device=options.device, dtype=torch.int32)
    y = torch.empty_like(x)
    y.copy_(x)
    put("copy.read+write", 2 * n_bytes / seconds_of(lambda: y.copy_(x), 7) * 1e-9, "GB/s")


def wait():
    global waited
    if options.ready:
        open(options.ready, "w").close()
    start = time.monotonic()
    while options.go and not os.path.exists(options.go) and time.monotonic() - start < 600:
        time.sleep(0.05)
    waited = time.monotonic() - start
    note("measuring")


def main():
    model = attempt("load", load)
    decoders = []
    if model:
        for rows in (1, 8):
            if rows == 1 or left() > 0.55 * options.seconds: # the other shape is worth a second compilation only where that is quick
                decoders.append(decoder(model, rows))
    wait()
    size = 8192 if cuda else 256
    attempt("matmul", time_matmul, size, size, size, f"matmul{size}.bf16")
    attempt("matmul", time_matmul, 1024, 11264 if cuda else 64, 2048 if cuda else 64, "matmul1024.gate_up.bf16")
    attempt("copy", time_copy, 1 << (31 if cuda else 20))
    if model:
        attempt("prefill", time_prefill, model, 1024 if cuda else 64)
    for d in decoders:
        if d:
            attempt("decode", time_decode, d)
    put("wall", time.monotonic() - began - waited, "s")


main()
