"""The parts of bench/run that measure llm-serve, its engine and kv(5) files: each runs a script of bench/ for one round, and
returns {name: figure} in base units. LLAMA_SERVER and GGUF name the peer and its weights; without them the figures are ours
alone.

SPDX-License-Identifier: AGPL-3.0-or-later"""
import os, re, sys

from parts import ROOT, output, smollm2


def pairs(line):
    """The figures of a line of name=value."""
    return {k: float(v) for k, v in re.findall(r"(\S+)=([0-9.]+)", line)}


def serve():
    """Tokens a second at several numbers of streams: over HTTP, of the peer, and of the four programs in a pipe."""
    figures = {}
    for line in output(ROOT / "bench/serve", smollm2(), 1, env={"REQUESTS": os.environ.get("REQUESTS", "1")}).splitlines():
        of = re.match(r"round=1 streams=(\d+) (\S+) ", line)
        found, where = pairs(line), f"{of[1]} streams, {of[2]}"
        figures[f"{where}: tokens/s"] = found["tokens_s"]
        if "between_p99" in found:
            figures[f"{where}: first token, median"] = found["first_p50"] / 1e3
            figures[f"{where}: between tokens, p99"] = found["between_p99"] / 1e3
    return figures


def latency():
    """Waits while a long prompt enters, after a switch of the model, and prompt tokens of an agent's turns."""
    text = output(sys.executable, ROOT / "bench/serve-latency", smollm2(), "-r", 1)
    stall, switch, agent = (pairs(re.search(rf"^.*\b{name} .*=.*$", text, re.M)[0]) for name in ("stall", "switch", "agent"))
    figures = {"a prompt enters, llm-serve: p99": stall["p99_ms"] / 1e3}
    if "llama-server" in stall:
        figures["a prompt enters, llama-server: p99"] = stall["llama-server"] / 1e3
    for name, key in (("llm-serve", "llm-serve_ms"), ("router that holds one", "router-1_ms"), ("router that holds three", "router-3_ms")):
        if key in switch:
            figures[f"another model, {name}: first token"] = switch[key] / 1e3
    return {**figures, "agent: prompt tokens run": agent["ran"], "agent: new prompt tokens": agent["new"]}


def restore():
    """A kv(5) file of 8,000 ids restored, beside a plain read of it."""
    text = output(sys.executable, ROOT / "bench/restore", "-m", smollm2(), "-r", 9)
    read, restored, computed = re.search(r"read in ([\d.]+) ms, restored in ([\d.]+) ms .*; computed in (\d+) ms", text).groups()
    return {"read": float(read) / 1e3, "restored": float(restored) / 1e3, "computed": float(computed) / 1e3}


PARTS = {"serve": (serve, 3), "latency": (latency, 3), "restore": (restore, 1)}
