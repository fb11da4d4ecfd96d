"""Writes RESULTS.md and the plots from measurements (see bench/run). A ratio is made within a round, of figures that were
taken one after the other; what is shown is the median of the rounds, and the lowest and the highest.

SPDX-License-Identifier: AGPL-3.0-or-later"""
import shutil, statistics, subprocess

PEERS = ("llama.cpp", "llama.cpp (F16)", "ik_llama.cpp", "ik_llama.cpp (F16)")


def best_peer(f, name="tokens/s"):
    rates = [f[f"{name}, {p}"] for p in PEERS if f"{name}, {p}" in f]
    return max(rates) if rates else None


def over(a, b):
    return None if a is None or b is None or b == 0 else a / b


def together(f, n):
    """Of the lesser of n sequences one after the other and the rate of a prompt."""
    return f[f"{n} together"] / min(n * f["1 together"], f["prefill"])


PERCENT, TIMES, MS, US, MB, RAW = "%", "x", "ms", "us", "MB", ""
SCALE = {PERCENT: 100, TIMES: 1, MS: 1e3, US: 1e6, MB: 1e-6, RAW: 1}

# key, part, what, target in words, bound (more than it is wanted, less where it is negative), unit, the figure of a round
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
    ("baseline", "isa", "LLM_ISA=baseline (no AVX): the same", 10, TIMES,
     lambda f: over(f.get("matmul, baseline"), f["matmul, first"])),
    ("batch-16", "batch", "16 sequences together: of the lesser of 16 times one and prefill", 0.75, PERCENT,
     lambda f: together(f, 16)),
    ("batch-64", "batch", "64 sequences together: of the lesser of 64 times one and prefill", 0.75, PERCENT,
     lambda f: together(f, 64)),
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
    ("attention-bound", "attention", "the same: of the longer of reading and multiply-adding", -1.15, PERCENT,
     lambda f: None if "peak" not in f else min(f["ratio"], f["peak"] / f["flops"])),
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
    ("top-1", "quality", "default path against --precise: the same best token", 0.99, PERCENT, lambda f: f["top-1"]),
]

# What is known about rows that fell short where we measured, and what was tried; shown beside a row that falls short.
TRIED = {
    "decode": "Where memory gives two rates by turns (the figures of limits show it), a round in which they change compares one with the "
              "other; in the faster one alone it is 92 to 97 %: the sums of a row are one chain of multiply-adds, which leaves little to catch up with, and "
              "a fortieth of the time is between the matrices. One long stream a thread, small last pieces, and one job for q, k, v and for gate, up are in; "
              "two and four streams, two rows side by side, loads in bursts, and fetching ahead were slower; rounded x half a page from w, by their places in a page, is "
              "in: one cache line ahead of it, it cost a seventh.",
    "prefill-256": "Matrices take 93 % of the time, and come to 83 to 89 % alone where a CPU does two vdpbf16ps a cycle (build/bench/kernels): adding up the lanes "
                   "of a tile's sums takes 6 %, and the rows of x come from L2 once for 48 rows of W, which every other strip takes backwards. Attention, norms and sums take the rest: llm-forward -v "
                   "shows them. Activations of a piece while gate and up are in L2, and a pause of eight steps between fetches (together 1 to 2 %), are in. Fetching the next rows of x into L1, tiles of 4 x 6 and 8 x 3, parts of 2 KB or 6 KB, other blocks of x, more rows of W at a time, and blocks of 24 to 96 queries were slower or no different; summing up "
                   "the parts of long rows, instead of keeping their sums in vectors, made 24 to 96 rows of 5,632 faster (6 to 11 %), 256 by 1 %, and one row slower (1 to 4 %).",
    "prefill-1024": "As for 256 tokens; attention takes three times the share.",
    "avx2": "Where memory gives its slower rate it is 93 to 96 %. Four rows of weights are four chains of multiply-adds of 4 cycles: 64 GB/s a core from L1, too near "
            "the 41 that a core reads at the faster rate to wait for memory and catch up, and rows of 5,632 find their x in L2 rather than L1: 76 to 82 %. More chains are more streams, which "
            "memory reads slower (six rows: 3 % less, eight: 9 to 20 %); two sums a row would halve the tiles of many rows, whose order of additions is the same. Pairs of weights made f32 by "
            "a shift and a mask, two rows at a time, bursts of 256 bytes, and fetching "
            "512 bytes to 4 KB ahead, into L1, L2 or beside them, were slower or no different; three streams of 64 bytes were 2 to 3 % faster there, and slower elsewhere.",
    "batch-16": "Weights are fetched while tiles are multiplied. What a core can have asked for at a time is bounded, and what is asked for faster "
                "than memory gives it is dropped (a loop of fetches alone comes to 110 GB/s where memory has 41). An even pace, L1 as the aim, the next matrix rows across pieces, "
                "parts of 2 KB, of which all 16 rows stay in L1 (12 %), x as one stream of strips, whose two are 8 rows high, each in a function of its own (10 to 13 %: GCC had "
                "spilled six pointers), and chunks of 48 rows of W (4 %) are in; strips of 6, all tiles of a row of W before the next, long rows in contiguous chunks, a stream for each row of W, "
                "every other line, bursts of 2 to 8 steps, loads in place of fetches, L2 as the aim, and the bypassing hint were slower. One core alone makes 16 rows at 380 to 390 GFLOP/s from "
                "memory and 410 from L2, of a peak of 530; where two cores share a link to memory, they read at four fifths of its rate meanwhile, which decides there.",
    "attention": "Where memory gives its slower rate it is 107 to 110 %. Eight query heads share a key here: a page of one head, 16 KB, takes 2,048 vdpbf16ps "
                 "and 512 exponentials. From a cache that comes to some 46 GB/s on two cores of a Zen 4 and 98 of a Zen 5, not far from its "
                 "faster rate of memory, 78 to 84 GB/s. That is where two cores have neither a link to memory nor a cache together: what one wrote, the other waits for, three times as long. "
                 "Whole pages for a thread (two threads within a page: 12 % slower), "
                 "half a megabyte of a layer in one piece (7 %), system pages of 2 MB (12 to 15 %), pairs of rows in "
                 "a lane, the next part fetched evenly into L1 meanwhile (L2: 6 %) and in the softmax at the same pace (5 %), tiles of about as many rows, a softmax by hand, "
                 "and spans added up in fours by the thread that has them (3 % at the faster rate) are in; fetching less "
                 "than 8 KB ahead, more than 16 KB ahead, every other line, or faster in the softmax, panels of 32 columns that are read once, tiles of 8 x 2, a "
                 "softmax that lags a page behind, fetching twice, fetching sums before they are joined, and heads taken singly towards the end "
                 "made no difference or made it slower.",
    "attention-bound": "As above; the exponentials count as neither reading nor multiply-adding.",
    "baseline": "SSE2 has four lanes, no fused multiply-add, and multiplies onto an operand, which has to be copied before: that, in registers "
                "alone and without a single load, made 82 to 89 GFLOP/s on a CPU whose first version made 9.4. LLM_ISA=c is the same C compiled for AVX.",
    "stall": "A step that takes rows of a prompt is sized to twice a step without, from measured times; what is seen beyond that is a "
             "single step that the machine made longer.",
    "first": "What is left beside the step is the faults of the mapping: one for 2 MB where the pages are that large, as a cold start "
             "brings them, but one for 64 KB where a writer left pages of 4 KB, half a million of which take 100 ms of CPU.",
    "cold": "A thread brings the weights in the order of use, 2 MB at a time, and the first step ends with it: what is left is the rate of the disk "
            "at that moment, of which the plain read takes another sample.",
    "share": "A worker leaves the caller's CPU, pieces are taken, not dealt, and become smaller towards the end of a job; and who waits for a "
             "thread that lost its CPU within a piece lends it its own. What is left is what that takes: main waits 2 % of the time; pieces half as small were no different.",
}


# Parts whose figures are CPU time, bytes or distances: other work on the machine does not change them.
STEADY = ("memory", "files", "quality")


def busy(store, name):
    """Did others use the machine while this part ran? The load counts what is ready to run, ours included."""
    part = store["parts"].get(name)
    return part is not None and name not in STEADY and statistics.median(part["load"]) > 1.5 * store["cpus"]


def load_note(store):
    loads = [l for part in store["parts"].values() for l in part["load"]]
    if not any(busy(store, name) for name in store["parts"]):
        return []
    return [f"**The machine was busy with other work**: its load was {statistics.median(loads):.1f} in the median, with {store['cpus']} CPUs. What "
            "needs all CPUs at once (every",
            "fork-join, and a peer's spinning threads most of all) is then far slower than alone, and comparing it to limits and to peers",
            "says nothing. Rows measured so are marked busy; measure them again on a quiet machine.", ""]


def number(x, unit):
    x *= SCALE[unit]
    digits = 0 if abs(x) >= 1000 else 1 if abs(x) >= 10 else 2
    text = f"{x:.1e}" if 0 < abs(x) < 0.005 else f"{x:,.{digits}f}"
    return text + (" " + unit if unit else "")


def measured(store, row):
    """Of a row: the rounds' figures; none where it was not measured."""
    rounds = store["parts"].get(row[1], {"rounds": []})["rounds"]
    return [x for x in (row[5](f) for f in rounds) if x is not None]


def met(row, x):
    return x >= row[3] if row[3] > 0 else x <= -row[3]


def target_table(store):
    lines = ["| what | target | median | lowest to highest | rounds | |", "| --- | --- | --- | --- | --- | --- |"]
    for row in ROWS:
        _, _, what, bound, unit, _ = row
        target = ("at least " if bound > 0 else "at most ") + number(abs(bound), unit)
        if not (x := measured(store, row)):
            lines.append(f"| {what} | {target} | not measured | | | |")
            continue
        m = statistics.median(x)
        lines.append(f"| {what} | {target} | **{number(m, unit)}** | {number(min(x), unit)} to {number(max(x), unit)} | {len(x)} | "
                     f"{'busy' if busy(store, row[1]) else 'met' if met(row, m) else 'short'} |")
    return lines


LIMIT = {"decode": "limit", "avx2": "avx2: limit", "attention": "limit", "attention-bound": "limit", "batch-16": "limit"}  # figures of rows bound by memory


def by_rate(store):
    """On a shared machine memory may give two rates by turns: what lies between them (None: there is one rate), and of the rows that
    memory bounds, by their name, the rounds at either."""
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
        rest = "The machine was busy." if busy(store, row[1]) else "Not looked into yet."
        cases = [("", measured(store, row))] + list(zip((" at memory's slower rate", " at memory's faster rate"), sides.get(row[0], [])))
        if short := [f"{number(statistics.median(x), row[4])}{where}" for where, x in cases if x and not met(row, statistics.median(x))]:
            lines.append(f"- **{row[2]}**: {', '.join(short)}, not {number(abs(row[3]), row[4])}. {TRIED.get(row[0], rest)}")
    return lines or ["Nothing."]


def memory_rates(store):
    middle, sides = by_rate(store)
    if middle is None:
        return []
    lines = [f"Memory gave two rates by turns, below and above {si(middle)}B/s. Within each:", "", "| what | target | slower | faster |",
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
        lines += [f"### {name}", "", f"{part['when']}, {len(part['rounds'])} rounds, {part['seconds']:.0f} s, load of the machine "
                  f"{min(part['load']):.1f} to {max(part['load']):.1f}", "", "| figure | median | lowest | highest |", "| --- | --- | --- | --- |"]
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
plot {one:.6g} * x with lines dt 2 lc rgb "#888888" title "as many times one", {top:.6g} with lines lc rgb "#bb5566" title "prefill of 256", \\
  $data using 1:2:3:4 with yerrorlines pt 7 lw 1.5 lc rgb "#4477aa" title "measured"
""")


def gnuplot(file, script):
    font = "set terminal png size 640,360 font 'DejaVuSans,9'\nset grid ytics\n"
    subprocess.run(["gnuplot"], input=f"{font}set output '{file}'\n{script}", text=True, check=True)


def plots(store, folder):
    """Lines of Markdown that show them; none without gnuplot."""
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
        plot_bars(folder / "decode.png", "decode, TinyLlama shape, BF16" + note("decode"), "GB/s of weights", bars)
        shown.append("decode")
    if "prefill" in store["parts"]:
        bars = [("peak", scaled(middle(store, "prefill", "peak of 256"), 1e-9))]
        bars += [(f"tokpipe, {n}", scaled(middle(store, "prefill", f"flops of {n}"), 1e-9)) for n in (256, 1024)]
        per_token = middle(store, "prefill", "flops of 256")[0] / middle(store, "prefill", "tokens/s of 256")[0] * 1e-9
        bars += [(p, scaled(rate, per_token)) for p in PEERS if (rate := middle(store, "prefill", f"tokens/s, {p}"))]
        plot_bars(folder / "prefill.png", "prefill, TinyLlama shape, BF16" + note("prefill"), "GFLOP/s", bars)
        shown.append("prefill")
    if "batch" in store["parts"]:
        plot_batch(folder / "batch.png", store, (1, 4, 16, 64), note("batch"))
        shown.append("batch")
    return [f"![{name}](plots/{name}.png)" for name in shown]


def write(store, folder):
    lines = ["# Results", "", "Written by bench/run from what it measured; [README.md](README.md) says how. A ratio is the median of the",
             "rounds' own ratios, of figures taken one after the other; the figures themselves wander with what else the machine",
             "does. The model is TinyLlama-1.1B's shape in BF16 where nothing else is said.", "", *load_note(store), "## The machine", "", "| | |", "| --- | --- |"]
    lines += [f"| {k} | {v} |" for k, v in store["machine"].items()]
    lines += ["", "## Targets", "", *target_table(store), "", *memory_rates(store), "## What falls short, and what was tried", "", *short_list(store), ""]
    lines += plots(store, folder / "plots")
    lines += ["", "## Figures", "", "Medians, lowest and highest of the rounds; rates in bytes/s, FLOP/s and tokens/s, times in seconds.", "",
              *figure_tables(store)]
    (folder / "RESULTS.md").write_text("\n".join(lines).rstrip() + "\n")
