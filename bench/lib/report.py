"""Writes RESULTS.md and the plots from measurements (see bench/run). A ratio is computed within a round, from figures that
were taken one after the other. The report shows the median of the rounds, the lowest and the highest.

SPDX-License-Identifier: AGPL-3.0-or-later"""
import pathlib, re, shutil, statistics, subprocess

PEERS = ("llama.cpp", "llama.cpp (F16)", "ik_llama.cpp", "ik_llama.cpp (F16)")


def best_peer(f, name="tokens/s"):
    rates = [f[f"{name}, {p}"] for p in PEERS if f"{name}, {p}" in f]
    return max(rates) if rates else None


def over(a, b):
    return None if a is None or b is None or b == 0 else a / b


def together(f, n):
    """The rate of n sequences together, as a share of the lesser of n times one and the rate of a prompt."""
    return f[f"{n} together"] / min(n * f["1 together"], f["prefill"])


def serve_peer(f, n):
    return over(f[f"{n} streams, llm-serve: tokens/s"], f.get(f"{n} streams, llama-server: tokens/s"))


def quant_peer(f, kind, what):
    """The rate of a quantised type, of the best peer's at about as many bits."""
    rates = [rate for key, rate in f.items() if key.startswith(f"{kind}: {what}, ")]
    return over(f[f"{kind}: {what}"], max(rates, default=None))


def int_share(f, kind):
    """Of the time of a prompt, the share in which vpdpbusd would do its products at the peak: two for each, as x has two planes of
    8 bits."""
    return 2 * f[f"{kind}: flops"] / f[f"{kind}: peak"] if f"{kind}: peak" in f else None


def beyond_step(f, kind):
    """Seconds from exec to the first logits, beyond one decode step."""
    return f[f"{kind}: first logits"] - 1 / f[f"{kind}: decode"] if f"{kind}: first logits" in f else None


# Products of int8 for one product of a weight: x has two planes of 8 bits, and so have weights of i8 and i4.
AMX_PRODUCTS = {"bf16": 1, "i8": 4, "i4_16": 4, "i4_32": 4}


def amx_share(f, kind):
    """Of the time of a prompt, the share in which AMX would do its products at the peak."""
    return f[f"{kind}: flops"] * AMX_PRODUCTS[kind] / f[f"{kind}: peak"] if f else None


def amx_peer(f, kind):
    return quant_peer(f, kind, "prefill") if f else None


def quant_together(f, kind):
    return f[f"{kind}: 16 together"] / min(16 * f[f"{kind}: decode"], f[f"{kind}: prefill"])


PERCENT, TIMES, MS, US, MB, RAW = "%", "x", "ms", "us", "MB", ""
SCALE = {PERCENT: 100, TIMES: 1, MS: 1e3, US: 1e6, MB: 1e-6, RAW: 1}

# key (a heading of NOTES.md), part, what, bound (at least; where it is negative, at most its absolute value), unit, the figure
# of a round
ROWS = [
    ("decode", "decode", "decode, one sequence: weights read, of the streaming-read limit", 0.93, PERCENT,
     lambda f: f["read"] / f["limit"]),
    ("decode-peer", "decode", "decode, one sequence: tokens/s, of the best peer", 1.0, TIMES,
     lambda f: over(f["tokens/s"], best_peer(f))),
    ("head", "head", "LM head alone (1 x 2048 x 32000), of the limit", 0.92, PERCENT, lambda f: f["ratio"]),
    ("prefill-256", "prefill", "prefill, 256 tokens: of the multiply-add peak", 0.80, PERCENT,
     lambda f: f["flops of 256"] / f["peak of 256"]),
    ("prefill-1024", "prefill", "prefill, 1,024 tokens: of the multiply-add peak", 0.80, PERCENT,
     lambda f: f["flops of 1024"] / f["peak of 1024"]),
    ("prefill-peer", "prefill", "prefill, 256 tokens: tokens/s, of the best peer", 1.1, TIMES,
     lambda f: over(f["tokens/s of 256"], best_peer(f))),
    ("avx2", "isa", "LLM_ISA=avx2: decode, of the limit", 0.85, PERCENT, lambda f: f["avx2: read"] / f["avx2: limit"]),
    ("c", "isa", "LLM_ISA=c: matrices of 64 rows, of the first version's speed", 10, TIMES,
     lambda f: f["matmul, c"] / f["matmul, first"]),
    ("baseline", "isa", "LLM_ISA=baseline (no AVX): matrices of 64 rows, of the first version's speed", 10, TIMES,
     lambda f: over(f.get("matmul, baseline"), f["matmul, first"])),
    ("batch-16", "batch", "16 sequences together: of the lesser of 16 times one and prefill", 0.75, PERCENT,
     lambda f: together(f, 16)),
    ("batch-64", "batch", "64 sequences together: of the lesser of 64 times one and prefill", 0.75, PERCENT,
     lambda f: together(f, 64)),
    ("quant-i8", "quant", "i8, one sequence: weights read, of the streaming-read limit", 0.90, PERCENT,
     lambda f: f["i8: read"] / f["i8: limit"]),
    ("quant-i4", "quant", "i4_16, one sequence: weights read, of the streaming-read limit", 0.85, PERCENT,
     lambda f: f["i4_16: read"] / f["i4_16: limit"]),
    ("quant-i4-32", "quant", "i4_32, one sequence: weights read, of the streaming-read limit", 0.85, PERCENT,
     lambda f: f["i4_32: read"] / f["i4_32: limit"]),
    ("quant-nf4", "quant", "nf4, one sequence: weights read, of the streaming-read limit", 0.65, PERCENT,
     lambda f: over(f.get("nf4: read"), f.get("nf4: limit"))),
    ("quant-i8-peer", "quant", "i8, one sequence: tokens/s, of the best peer's Q8_0", 1.15, TIMES,
     lambda f: quant_peer(f, "i8", "decode")),
    ("quant-i4-peer", "quant", "i4_16, one sequence: tokens/s, of the best peer at 4.5 bits", 1.25, TIMES,
     lambda f: quant_peer(f, "i4_16", "decode")),
    ("quant-i8-prefill", "quant", "i8, prefill of 256 tokens: tokens/s, of the best peer's Q8_0", 1.3, TIMES,
     lambda f: quant_peer(f, "i8", "prefill")),
    ("quant-i4-prefill", "quant", "i4_16, prefill of 256 tokens: tokens/s, of the best peer at 4.5 bits", 1.3, TIMES,
     lambda f: quant_peer(f, "i4_16", "prefill")),
    ("quant-i4-32-peer", "quant", "i4_32, one sequence: tokens/s, of ik_llama.cpp's IQ4_KS", 1.25, TIMES,
     lambda f: quant_peer(f, "i4_32", "decode")),
    ("quant-i4-32-prefill", "quant", "i4_32, prefill of 256 tokens: tokens/s, of ik_llama.cpp's IQ4_KS", 1.3, TIMES,
     lambda f: quant_peer(f, "i4_32", "prefill")),
    ("quant-i8-peak", "quant", "i8, prefill of 256 tokens: two vpdpbusd for each product, of its peak", 0.6, PERCENT,
     lambda f: int_share(f, "i8")),
    ("quant-i4-peak", "quant", "i4_16, prefill of 256 tokens: two vpdpbusd for each product, of its peak", 0.6, PERCENT,
     lambda f: int_share(f, "i4_16")),
    ("quant-start-i8", "quant", "i8, exec to first logits with warm pages, beyond one decode step", -15e-3, MS,
     lambda f: beyond_step(f, "i8")),
    ("quant-start-i4", "quant", "i4_16, exec to first logits with warm pages, beyond one decode step", -15e-3, MS,
     lambda f: beyond_step(f, "i4_16")),
    ("hub-gptq", "hub", "GPTQ, 4 bits, one sequence: weights read, of the streaming-read limit", 0.75, PERCENT,
     lambda f: f["gptq: read"] / f["gptq: limit"]),
    ("hub-awq", "hub", "AWQ, one sequence: weights read, of the streaming-read limit", 0.75, PERCENT,
     lambda f: f["awq: read"] / f["awq: limit"]),
    ("hub-compressed", "hub", "compressed-tensors, int4, one sequence: weights read, of the streaming-read limit", 0.75, PERCENT,
     lambda f: f["compressed-tensors: read"] / f["compressed-tensors: limit"]),
    ("hub-nf4", "hub", "bitsandbytes NF4, one sequence: weights read, of the streaming-read limit", 0.65, PERCENT,
     lambda f: f["bitsandbytes: read"] / f["bitsandbytes: limit"]),
    ("quantise", "quantise", "st-quantize of 2.2 GB to i4, without a search: seconds", -15, RAW, lambda f: f["without a search"]),
    ("quantise-search", "quantise", "st-quantize of 2.2 GB to i4, with a search: seconds", -90, RAW, lambda f: f["with a search"]),
    ("quantise-memory", "quantise", "st-quantize of 2.2 GB: memory", -200e6, MB,
     lambda f: max(f["without a search: memory"], f["with a search: memory"])),
    ("loss-i8", "loss", "i8 beside BF16 (SmolLM2, 1,000 positions): mean KL, nats", -1e-3, RAW, lambda f: f["i8"]),
    ("loss-i4", "loss", "i4_16 with statistics beside BF16 (SmolLM2, 1,000 positions): mean KL, of Q4_K's", -1, TIMES,
     lambda f: over(f.get("i4_16, statistics"), f.get("Q4_K"))),
    ("rms-i4", "loss", "i4_16, weights of all-MiniLM-L6-v2: RMS error, of Q4_K's", -0.85, TIMES, lambda f: f["rms, i4_16 of Q4_K"]),
    ("rms-i4-32", "loss", "i4_32, weights of all-MiniLM-L6-v2: RMS error, of IQ4_KS's", -1, TIMES, lambda f: f["rms, i4_32 of IQ4_KS"]),
    ("quant-i4-batch", "quant", "i4_16, 16 sequences together: of the lesser of 16 times one and prefill", 0.75, PERCENT,
     lambda f: quant_together(f, "i4_16")),
    ("amx-bf16", "amx", "AMX, prefill of 512 tokens, BF16: of the unit's BF16 peak", 0.50, PERCENT, lambda f: amx_share(f, "bf16")),
    ("amx-i8", "amx", "AMX, prefill of 512 tokens, i8: four products of int8 for each, of the unit's int8 peak", 0.40, PERCENT,
     lambda f: amx_share(f, "i8")),
    ("amx-i4-16", "amx", "AMX, prefill of 512 tokens, i4_16: the same", 0.35, PERCENT, lambda f: amx_share(f, "i4_16")),
    ("amx-i4-32", "amx", "AMX, prefill of 512 tokens, i4_32: the same", 0.35, PERCENT, lambda f: amx_share(f, "i4_32")),
    ("amx-bf16-peer", "amx", "AMX, prefill of 512 tokens, BF16: tokens/s, of the best peer", 5, TIMES, lambda f: amx_peer(f, "bf16")),
    ("amx-i8-peer", "amx", "AMX, prefill of 512 tokens, i8: tokens/s, of the best peer's Q8_0", 5, TIMES, lambda f: amx_peer(f, "i8")),
    ("amx-i4-peer", "amx", "AMX, prefill of 512 tokens, i4_16: tokens/s, of the best peer at 4.5 bits", 5, TIMES,
     lambda f: amx_peer(f, "i4_16")),
    ("amx-batch-16", "amx", "AMX, 16 sequences together, BF16: of 16 times one", 0.85, PERCENT,
     lambda f: f["16 together"] / (16 * f["1 together"]) if f else None),
    ("long", "long", "prefill of 8,192 tokens, of the rate at 1,024 (SmolLM2)", 0.75, PERCENT,
     lambda f: f["tokens/s of 8192"] / f["tokens/s of 1024"]),
    ("stall", "stall", "a prompt of 1,024 enters (SmolLM2): longest wait of a decoding sequence, in steps beyond its own", -2, RAW,
     lambda f: f["longest"] / f["step"] - 1),
    ("pipe-tiny", "pipe", "four processes, of the same loop in one (TinyLlama)", 0.98, PERCENT,
     lambda f: f["TinyLlama: pipe"] / f["TinyLlama: one process"]),
    ("pipe-small", "pipe", "four processes, of the same loop in one (SmolLM2)", 0.92, PERCENT,
     lambda f: f["SmolLM2: pipe"] / f["SmolLM2: one process"]),
    ("prefix", "prefix", "512 ids seen before and 8 new: time, of the 8 new alone (SmolLM2)", -1.5, TIMES,
     lambda f: f["again"] / f["alone"]),
    ("attention", "attention", "attention at 8,192 positions: time, of reading keys and values", -1.15, PERCENT,
     lambda f: f["ratio"]),
    ("attention-bound", "attention", "attention at 8,192 positions: time, of the longer of reading and multiply-adding", -1.15, PERCENT,
     lambda f: None if "peak" not in f else min(f["ratio"], f["peak"] / f["flops"])),
    *[(f"serve-{n}", "serve", f"llm-serve, {n} at a time (SmolLM2): tokens/s, of llama-server", 1.0, TIMES,
       lambda f, n=n: serve_peer(f, n)) for n in (1, 8, 32)],
    *[(f"serve-pipe-{n}", "serve", f"llm-serve, {n} at a time (SmolLM2): tokens/s, of our own pipe", 0.95, TIMES,
       lambda f, n=n: f[f"{n} streams, llm-serve: tokens/s"] / f[f"{n} streams, pipe: tokens/s"]) for n in (1, 8, 32)],
    ("serve-stall", "latency", "a prompt of 4,000 words enters: p99 between tokens of four clients, of llama-server", -0.7, TIMES,
     lambda f: over(f["a prompt enters, llm-serve: p99"], f.get("a prompt enters, llama-server: p99"))),
    ("serve-switch", "latency", "three models in turn: time to the first token, of llama-server's router that holds one", -0.2, TIMES,
     lambda f: over(f["another model, llm-serve: first token"], f.get("another model, router that holds one: first token"))),
    ("serve-agent", "latency", "an agent's 20 growing turns: prompt tokens run less 63 a turn, of the new ones", -1.02, TIMES,
     lambda f: (f["agent: prompt tokens run"] - 20 * 63) / f["agent: new prompt tokens"]),
    ("kv-restore", "restore", "a KV file of 8,000 ids (SmolLM2) restored: time, of a plain read", -1.15, TIMES,
     lambda f: f["restored"] / f["read"]),
    ("header", "start", "header of 201 tensors parsed and checked", -100e-6, US, lambda f: f["header"]),
    ("first", "start", "exec to first logits with pages warm from an earlier start, beyond one decode step", -15e-3, MS,
     lambda f: f["warm"] - f["step"]),
    ("cold", "start", "cold start (SmolLM2): exec to first logits, of a plain read of the file", -1.15, PERCENT,
     lambda f: f["cold"] / f["cold read"]),
    ("memory", "memory", "private memory of llm-forward after 256 tokens, without KV, with activations", -48e6, MB,
     lambda f: f["own"] - f["kv"]),
    ("growth", "memory", "growth of private memory from 10,000 tokens to 100,000", -0.1e6, MB, lambda f: f["late"] - f["early"]),
    ("fork", "threads", "a fork-join of the pool", -2e-6, US, lambda f: f["fork-join"]),
    ("idle", "threads", "CPU time of waiting stages, of a second", -0.001, PERCENT, lambda f: f["idle"]),
    ("share", "threads", "prefill while another process wants one CPU: of the speed alone, less that process's share of the CPUs", 1.0, PERCENT,
     lambda f: f["beside another"] / f["alone"] / (1 - f["its share"])),
    ("hash", "files", "st-inspect --hash, of libsodium's BLAKE2b, by CPU time", 0.85, PERCENT,
     lambda f: f["st-inspect"] / f["libsodium"]),
    ("kl", "quality", "default path against --precise (SmolLM2, 2,000 tokens): mean KL, nats", -1e-3, RAW, lambda f: f["kl"]),
    ("embed-speed", "retrieval", "llm-embed, all-MiniLM-L6-v2: texts/s, of sentence-transformers", 1.5, TIMES,
     lambda f: over(f.get("texts/s"), f.get("texts/s: sentence-transformers"))),
    ("embed-one", "retrieval", "a single question to its vector, of sentence-transformers' time", -0.5, TIMES,
     lambda f: over(f.get("one question"), f.get("one question: sentence-transformers"))),
    *[(f"search-{n}", "retrieval", f"flat search, {n} together: of the speed of faiss-cpu's IndexFlatIP", 1.0, TIMES,
       lambda f, n=n: over(f.get(f"search, {n}, faiss: seconds"), f.get(f"search, {n}, f32: seconds"))) for n in (1, 64)],
    ("search-read", "retrieval", "flat search, one query, 400,000 vectors: the scan's 307 MB, of the read limit", 0.9, PERCENT,
     lambda f: f.get("search, 1, large: ratio")),
    ("search-read-cached", "retrieval", "flat search, one query, 100,000 vectors: the scan's 77 MB, of the read limit", 0.9, PERCENT,
     lambda f: f.get("search, 1, f32: ratio")),
    ("sts", "retrieval-quality", "STS benchmark: Spearman, difference to sentence-transformers", -1e-4, RAW,
     lambda f: abs(f["STS, Spearman"] - f["STS, Spearman: sentence-transformers"]) if f else None),
    ("cranfield", "retrieval-quality", "Cranfield: nDCG@10, difference to sentence-transformers", -1e-3, RAW,
     lambda f: abs(f["Cranfield, nDCG@10"] - f["Cranfield, nDCG@10: sentence-transformers"]) if f else None),
    ("hybrid", "retrieval-quality", "Cranfield: nDCG@10 of vectors and words together, of vectors alone", 1.0, TIMES,
     lambda f: f["Cranfield, nDCG@10 with gains of 1, hybrid"] / f["Cranfield, nDCG@10 with gains of 1, vectors"] if f else None),
    ("index-growth", "retrieval-quality", "vec-index, 100,000 vectors added: growth of its own memory", -1e6, MB,
     lambda f: f.get("vec-index: growth of own memory")),
    ("top-1", "quality", "default path against --precise: the same best token", 0.99, PERCENT, lambda f: f["top-1"]),
]

def noted(key):
    """A link to what NOTES.md says about a target: it has a heading with the target's key, or nothing was written yet."""
    notes = pathlib.Path(__file__).resolve().parent.parent / "NOTES.md"
    if re.search(rf"^### {re.escape(key)}$", notes.read_text(), re.M):
        return f"What was tried: [NOTES.md](NOTES.md#{key})."
    return "Not looked into yet."


# Parts whose figures are CPU time, bytes or distances: other work on the machine does not change them.
STEADY = ("memory", "files", "quality", "loss", "retrieval-quality")


def busy(store, name):
    """Whether others used the machine while this part ran. The load counts everything that is ready to run, ours included.
    A priority holds other programs back, but neither the machine's other guests nor what is left in its caches."""
    part = store["parts"].get(name)
    return part is not None and name not in STEADY and statistics.median(part["load"]) > 1.5 * store["cpus"]


def load_note(store):
    loads = [l for name, part in store["parts"].items() if busy(store, name) for l in part["load"]]
    if not loads:
        return []
    return [f"**The machine was busy with other work**: the median load was {statistics.median(loads):.1f}, with {store['cpus']} CPUs. "
            "Work that needs all CPUs at once",
            "is then far slower than alone: every fork-join, and a peer's spinning threads most of all. Comparing it to limits and",
            "to peers says nothing. Rows measured at that time are marked busy; measure them again on a quiet machine.", ""]


def number(x, unit):
    x *= SCALE[unit]
    digits = 0 if abs(x) >= 1000 else 1 if abs(x) >= 10 else 2
    text = f"{x:.1e}" if 0 < abs(x) < 0.005 else f"{x:,.{digits}f}"
    return text + (" " + unit if unit else "")


def measured(store, row):
    """The figures of a row, one a round; none where it was not measured."""
    rounds = store["parts"].get(row[1], {"rounds": []})["rounds"]
    return [x for x in (row[5](f) for f in rounds) if x is not None]


def met(row, x):
    return x >= row[3] if row[3] > 0 else x <= -row[3]


def lacks_amx(store, row):
    """Whether a row's part was run, on a CPU that lacks AMX or may not use it."""
    return row[1] == "amx" and "amx" in store["parts"] and not any(store["parts"]["amx"]["rounds"])


def target_table(store):
    lines = ["| what | target | median | lowest to highest | rounds | |", "| --- | --- | --- | --- | --- | --- |"]
    for row in ROWS:
        _, _, what, bound, unit, _ = row
        target = ("at least " if bound > 0 else "at most ") + number(abs(bound), unit)
        if not (x := measured(store, row)):
            none = "no AMX here" if lacks_amx(store, row) else "not measured"
            lines.append(f"| {what} | {target} | {none} | | | |")
            continue
        m = statistics.median(x)
        lines.append(f"| {what} | {target} | **{number(m, unit)}** | {number(min(x), unit)} to {number(max(x), unit)} | {len(x)} | "
                     f"{'busy' if busy(store, row[1]) else 'met' if met(row, m) else 'short'} |")
    return lines


LIMIT = {"decode": "limit", "avx2": "avx2: limit", "attention": "limit", "attention-bound": "limit", "batch-16": "limit"}  # figures of rows bound by memory


def by_rate(store):
    """On a shared machine memory may have two rates by turns. Returns the border between them (None: there is one rate), and for
    each row that memory bounds, by its key, the rounds at the slower and at the faster one."""
    rounds = {row[0]: [(f[LIMIT[row[0]]], row[5](f)) for f in store["parts"][row[1]]["rounds"]] for row in ROWS
              if row[0] in LIMIT and row[1] in store["parts"]}
    rates = sorted(rate for some in rounds.values() for rate, _ in some)
    gap, middle = max(((b / a, (a + b) / 2) for a, b in zip(rates, rates[1:])), default=(1, 0))
    if gap < 1.15:
        return None, {}
    return middle, {name: [[x for rate, x in some if (rate > middle) == faster and x is not None] for faster in (False, True)]
                    for name, some in rounds.items()}


def short_list(store):
    lines = []
    _, sides = by_rate(store)
    for row in ROWS:
        why = noted(row[0])
        if busy(store, row[1]):
            why = "The machine was busy." + (f" {why}" if "NOTES.md" in why else "")
        cases = [("", measured(store, row))] + list(zip((" at memory's slower rate", " at memory's faster rate"), sides.get(row[0], [])))
        if short := [f"{number(statistics.median(x), row[4])}{where}" for where, x in cases if x and not met(row, statistics.median(x))]:
            lines.append(f"- **{row[2]}**: {', '.join(short)}, not {number(abs(row[3]), row[4])}. {why}")
    return lines or ["Nothing."]


def memory_rates(store):
    middle, sides = by_rate(store)
    if middle is None:
        return []
    lines = [f"Memory had two rates by turns, below and above {si(middle)}B/s. The rounds at each:", "", "| what | target | slower | faster |",
             "| --- | --- | --- | --- |"]
    for row in ROWS:
        if row[0] in sides:
            cells = [f"{number(statistics.median(x), row[4])} ({len(x)})" if x else "" for x in sides[row[0]]]
            lines.append(f"| {row[2]} | {number(abs(row[3]), row[4])} | {cells[0]} | {cells[1]} |")
    return lines + [""]


def si(x):
    for size, letter in ((1e9, " G"), (1e6, " M"), (1e3, " k"), (1, " "), (1e-3, " m"), (1e-6, " u")):
        if abs(x) >= size:
            return f"{x / size:.4g}{letter}".rstrip()
    return f"{x:.3g}"


def figure_tables(store):
    lines = []
    for name, part in store["parts"].items():
        held = ", other work held back by priority" if part.get("real-time") else ""
        lines += [f"#### {name}", "", f"{part['when']}, {len(part['rounds'])} rounds, {part['seconds']:.0f} s, load of the machine "
                  f"{min(part['load']):.1f} to {max(part['load']):.1f}{held}", "", "| figure | median | lowest | highest |", "| --- | --- | --- | --- |"]
        for key in part["rounds"][0]:
            x = [f[key] for f in part["rounds"] if key in f]
            lines.append(f"| {key} | {si(statistics.median(x))} | {si(min(x))} | {si(max(x))} |")
        lines.append("")
    return lines


def middle(store, part, key):
    x = [f[key] for f in store["parts"].get(part, {"rounds": []})["rounds"] if key in f]
    return (statistics.median(x), min(x), max(x)) if x else None


def plot_bars(file, title, unit, bars):
    """bars: (label, (median, lowest, highest)), in `unit`."""
    data = "\n".join(f'{i} {m:.6g} {low:.6g} {high:.6g} "{label}"' for i, (label, (m, low, high)) in enumerate(bars))
    gnuplot(file, f"""set title "{title}"
set ylabel "{unit}"
set yrange [0:*]
set xrange [-0.6:{len(bars) - 0.4}]
set boxwidth 0.6
set style fill solid 0.6
unset key
$data << EOD
{data}
EOD
plot $data using 1:2:xtic(5) with boxes lc rgb "#4477aa", $data using 1:2:3:4 with yerrorbars lc rgb "#222222" pt 0 lw 1.5
""")


def plot_batch(file, store, counts, note):
    data = "\n".join(f"{n} {m:.6g} {low:.6g} {high:.6g}" for n in counts for m, low, high in [middle(store, "batch", f"{n} together")])
    one, top = middle(store, "batch", "1 together")[0], middle(store, "batch", "prefill")[0]
    gnuplot(file, f"""set title "decoding together, TinyLlama shape, BF16{note}"
set xlabel "sequences"
set ylabel "tokens/s of all"
set logscale xy 2
set key left top
$data << EOD
{data}
EOD
plot {one:.6g} * x with lines dt 2 lc rgb "#888888" title "n times one", {top:.6g} with lines lc rgb "#bb5566" title "prefill of 256", \\
  $data using 1:2:3:4 with yerrorlines pt 7 lw 1.5 lc rgb "#4477aa" title "measured"
""")


def gnuplot(file, script):
    font = "set terminal png size 640,360 font 'DejaVuSans,9'\nset grid ytics\n"
    subprocess.run(["gnuplot"], input=f"{font}set output '{file}'\n{script}", text=True, check=True)


def plots(store, folder, prefix):
    """Lines of Markdown that show the plots, whose files' names begin with prefix; none without gnuplot."""
    if not shutil.which("gnuplot"):
        return []
    folder.mkdir(exist_ok=True)
    shown = []
    note = lambda part: " (busy machine)" if busy(store, part) else ""
    scaled = lambda triple, s: tuple(x * s for x in triple)
    if "decode" in store["parts"]:
        bars = [("read limit", scaled(middle(store, "decode", "limit"), 1e-9)), ("tokpipe", scaled(middle(store, "decode", "read"), 1e-9))]
        per_token = middle(store, "decode", "read")[0] / middle(store, "decode", "tokens/s")[0] * 1e-9
        bars += [(p, scaled(rate, per_token)) for p in PEERS if (rate := middle(store, "decode", f"tokens/s, {p}"))]
        plot_bars(folder / f"{prefix}-decode.png", "decode, TinyLlama shape, BF16" + note("decode"), "GB/s of weights", bars)
        shown.append("decode")
    if "prefill" in store["parts"]:
        bars = [("peak", scaled(middle(store, "prefill", "peak of 256"), 1e-9))]
        bars += [(f"tokpipe, {n}", scaled(middle(store, "prefill", f"flops of {n}"), 1e-9)) for n in (256, 1024)]
        per_token = middle(store, "prefill", "flops of 256")[0] / middle(store, "prefill", "tokens/s of 256")[0] * 1e-9
        bars += [(p, scaled(rate, per_token)) for p in PEERS if (rate := middle(store, "prefill", f"tokens/s, {p}"))]
        plot_bars(folder / f"{prefix}-prefill.png", "prefill, TinyLlama shape, BF16" + note("prefill"), "GFLOP/s", bars)
        shown.append("prefill")
    if "batch" in store["parts"]:
        plot_batch(folder / f"{prefix}-batch.png", store, (1, 4, 16, 64), note("batch"))
        shown.append("batch")
    return [f"![{name}](plots/{prefix}-{name}.png)" for name in shown]


def slug(cpu):
    """The name of a CPU as part of a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", cpu.lower()).strip("-")


def part_of(store, folder):
    """The page's part of one CPU: lines, the first of which is its heading."""
    cpu = store["machine"]["CPU"]
    lines = [f"## {cpu}", "", *load_note(store), "| | |", "| --- | --- |"]
    lines += [f"| {k} | {v} |" for k, v in store["machine"].items()]
    lines += ["", "### Targets", "", *target_table(store), "", *memory_rates(store), "### What falls short", "", *short_list(store), ""]
    lines += plots(store, folder / "plots", slug(cpu))
    lines += ["", "### Figures", "", "Median, lowest and highest of the rounds. Rates are in bytes/s, FLOP/s and tokens/s, times in seconds.", "",
              *figure_tables(store)]
    return "\n".join(lines).rstrip() + "\n"


def parts_of(page):
    """The parts of a page as written before, by their headings."""
    parts = re.split(r"^## ", page, flags=re.M)[1:]
    return {part.splitlines()[0]: "## " + part.rstrip() + "\n" for part in parts}


def write(store, folder):
    """Replaces the part of the store's CPU; those of other CPUs stay as they are."""
    file = folder / "RESULTS.md"
    parts = parts_of(file.read_text()) if file.exists() else {}
    parts[store["machine"]["CPU"]] = part_of(store, folder)
    head = ["# Results", "", "bench/run writes this page from its measurements; [README.md](README.md) says how. A ratio is the median of the",
            "rounds' own ratios, each of figures taken one after the other. Absolute figures vary with the other load of the",
            "machine. The model is TinyLlama-1.1B's shape in BF16 where no other is named. Each CPU that was measured has a",
            "part of its own, and keeps it when another one is measured.", ""]
    file.write_text("\n".join(head) + "\n" + "\n".join(parts[cpu] for cpu in sorted(parts)))
