"""The parts of bench/run, a function each. A function measures one round: it runs the programs that are compared one
after the other (ours, the other, ours again where that is short), and returns {name: figure} in base units. report.py
computes ratios later, within a round.

SPDX-License-Identifier: AGPL-3.0-or-later"""
import array, json, os, pathlib, re, statistics, struct, subprocess, tempfile, threading, time

import hub

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD = ROOT / os.environ.get("BUILD", "build")
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "tokpipe"
MODELS = pathlib.Path(os.environ.get("BENCH_MODELS", CACHE / "bench"))
THREADS = int(os.environ.get("THREADS", "0")) or len(os.sched_getaffinity(0))
TINY = MODELS / "tinyllama"
PEERS = {name: os.environ[key] for name, key in (("llama.cpp", "LLAMA_BENCH"), ("ik_llama.cpp", "IK_LLAMA_BENCH"))
         if os.environ.get(key)}


def output(*command, env=None, **more):
    """stdout of a command that must succeed."""
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          env={**os.environ, **(env or {})}, **more)
    if done.returncode != 0:
        raise SystemExit(f"bench/run: {' '.join(map(str, command))}: exit {done.returncode}\n{done.stderr}")
    return done.stdout


def tool(name):
    return BUILD / "bin" / name


def bench(name, *arguments, env=None):
    """The figures of a program that prints name=value."""
    text = output(BUILD / "bench" / name, *arguments, env=env)
    return {k: float(v) for k, v in re.findall(r"(\S+)=([0-9.]+)", text)}


def model(*arguments, folder=None, env=None):
    return bench("model", folder or TINY, "-t", THREADS, *arguments, env=env)


def smollm2(dtype="bf16"):
    return output("sh", ROOT / "tools/fetch-demo-model.sh", dtype, env={"BUILD": BUILD.name}).strip()


def prepare():
    """The synthetic model, with a tokenizer of single bytes so that the whole pipe can run on it."""
    MODELS.mkdir(parents=True, exist_ok=True)
    if not (TINY / "model.safetensors").exists():
        output(BUILD / "bench/mkmodel", "tinyllama", TINY)
    if not (TINY / "tokenizer.json").exists():
        shown = [chr(b) if 33 <= b <= 126 or 161 <= b <= 172 or b >= 174 else None for b in range(256)]
        spare = iter(range(256, 512))
        letters = [c or chr(next(spare)) for c in shown]  # GPT-2's letters for bytes
        vocab = {c: i for i, c in enumerate(letters + [f"{letters[32]}{i}" for i in range(256, 32000)])}
        bytelevel = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
        (TINY / "tokenizer.json").write_text(json.dumps(
            {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
             "pre_tokenizer": bytelevel, "post_processor": None, "decoder": bytelevel,
             "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                       "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                       "vocab": vocab, "merges": []}}))


HUB = ("gptq", "awq", "compressed-tensors", "bitsandbytes")  # forms of hub.py
QUANT = {"i8": ("q8_0",), "i4_16": ("q4_0", "q4_k"), "i4_32": ("iq4_ks",), "nf4": ()}  # ours: the peers' types of about as many bits


def quantised(kind):
    """The synthetic model in one of our types. How its scales are found makes no difference to its speed."""
    folder = MODELS / f"tinyllama-{kind}"
    if not (folder / "config.json").exists():
        output(tool("st-quantize"), "-q", "-f", "--no-search", "--type", kind, TINY, folder)
    return folder


def quant_peers(kind, prompt, steps):
    """Tokens a second of each llama-bench, of the best of the files tinyllama-TYPE.gguf that exist; bench/README.md makes them."""
    figures = {}
    for name, path in PEERS.items():
        rates = [json.loads(output(path, "-m", gguf, "-p", prompt, "-n", steps, "-t", THREADS, "-r", 1, "-o", "json"))[-1]["avg_ts"]
                 for t in QUANT[kind] if (gguf := MODELS / f"tinyllama-{t}.gguf").exists() and (t != "iq4_ks" or name == "ik_llama.cpp")]
        if rates:
            figures[name] = max(rates)
    return figures


def peers(prompt, steps):
    """Tokens a second of each llama-bench on the same shapes and bits, and in F16 where that file exists: llama.cpp is faster
    with F16 on CPUs without BF16 instructions."""
    figures = {}
    for name, path in PEERS.items():
        for gguf, suffix in ((TINY.with_suffix(".gguf"), ""), (MODELS / "tinyllama-f16.gguf", " (F16)")):
            if gguf.exists():
                text = output(path, "-m", gguf, "-p", prompt, "-n", steps, "-t", THREADS, "-r", 1, "-o", "json")
                figures[f"tokens/s, {name}{suffix}"] = json.loads(text)[-1]["avg_ts"]
            elif not suffix:
                raise SystemExit(f"bench/run: no {gguf}: bench/README.md says how to make it")
    return figures


def limits():
    text = output(BUILD / "bench/limits", "-t", THREADS, "-r", 3, "-s", 512)
    rows = (line.split("\t") for line in text.splitlines())
    return {r[0]: float(r[1]) * 1e9 for r in rows if len(r) > 2}


def decode():
    first = model("-n", 16, "-l")
    figures = peers(0, 16)
    second = model("-n", 16, "-l")
    figures.update({k: (first[k] + second[k]) / 2 for k in ("read", "limit")})
    return {**figures, "tokens/s": (first["decode"] + second["decode"]) / 2}


def quant():
    """Quantised weights: one sequence beside reads of the mapping, a prompt of 256, and 16 sequences together."""
    figures = {}
    for kind in QUANT:
        folder = quantised(kind)
        one = model("-n", 16, "-l", folder=folder)
        figures.update({f"{kind}: {k}": one[k] for k in ("decode", "read", "limit")})
        figures[f"{kind}: first logits"] = min(first_logits(folder, b"1\n")[0] for _ in range(2))
        one = model("-p", 256, folder=folder)
        figures.update({f"{kind}: prefill": one["prefill"], f"{kind}: flops": one["prefill"] * prompt_flops(256) / 256})
        if "int_peak" in one:
            figures[f"{kind}: peak"] = one["int_peak"]
        figures[f"{kind}: 16 together"] = model("-s", 16, "-n", 8, folder=folder)["decode"]
        for what, prompt, steps in (("decode", 0, 16), ("prefill", 256, 0)):
            figures.update({f"{kind}: {what}, {n}": rate for n, rate in quant_peers(kind, prompt, steps).items()})
    return figures


def hub_folder(form):
    """The synthetic model's shapes, quantised to 4 bits in a form that the hub has."""
    folder = MODELS / f"tinyllama-{form}"
    if not (folder / "config.json").exists():
        hub.make(TINY, folder, form)
    return folder


def hub_forms():
    """Published forms with 4 bits: one sequence, beside reads of the mapping."""
    figures = {}
    for form in HUB:
        one = model("-n", 16, "-l", folder=hub_folder(form))
        figures.update({f"{form}: {k}": one[k] for k in ("decode", "read", "limit")})
    return figures


def quantising():
    """st-quantize of the synthetic model to i4: seconds to the last byte of the folder, and the most memory that was resident."""
    figures = {}
    for name, options in (("without a search", ["--no-search"]), ("with a search", [])):
        with tempfile.TemporaryDirectory(dir=MODELS) as folder:
            start = time.monotonic()
            p = subprocess.Popen([str(tool("st-quantize")), "-q", "-t", str(THREADS), *options, str(TINY), f"{folder}/out"],
                                 stdout=subprocess.DEVNULL)
            _, status, usage = os.wait4(p.pid, 0)
            if status:
                raise SystemExit(f"bench/run: st-quantize: status {status}")
            figures |= {name: time.monotonic() - start, f"{name}: memory": usage.ru_maxrss * 1024}
    return figures


def prompt_flops(n):
    """What bench/model counts for a prompt of n rows, of the synthetic model: its quantised tensors do not show their shapes."""
    c = json.loads((TINY / "config.json").read_text())
    dim, ffn, layers, heads = (c[k] for k in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"))
    kv = dim // heads * c["num_key_value_heads"]
    return 2 * n * layers * (2 * dim * dim + 2 * dim * kv + 3 * dim * ffn) + 2 * c["vocab_size"] * dim + 2 * n * (n + 1) * dim * layers


def amx():
    """Prompts of 512 by AMX, beside its peaks, and 16 sequences together. No figures where there is no AMX."""
    if "tdpbusd, AMX" not in output(BUILD / "bench/limits", "-t", THREADS, "-r", 1, "-s", 64):
        return {}
    one = model("-p", 512)
    figures = {"bf16: prefill": one["prefill"], "bf16: flops": one["prefill_flops"], "bf16: peak": one["peak"]}
    figures.update({k.replace("tokens/s", "bf16: prefill"): rate for k, rate in peers(512, 0).items()})
    for kind in QUANT:
        one = model("-p", 512, folder=quantised(kind))
        figures.update({f"{kind}: prefill": one["prefill"], f"{kind}: flops": one["prefill"] * prompt_flops(512) / 512,
                        f"{kind}: peak": one["int_peak"]})
        figures.update({f"{kind}: prefill, {n}": rate for n, rate in quant_peers(kind, 512, 0).items()})
    for n in (1, 16):
        figures[f"{n} together"] = model("-s", n, "-n", 8)["decode"]
    return figures


def long():
    """A long prompt beside a shorter one (SmolLM2)."""
    return {f"tokens/s of {n}": model("-p", n, folder=smollm2())["prefill"] for n in (1024, 8192)}


def head():
    text = output(BUILD / "bench/kernels", "-t", THREADS, "-r", 3, "-o", "LM head")
    speed, percent = re.search(r"([0-9.]+) GB/s +([0-9.]+) %", text).groups()
    return {"read": float(speed) * 1e9, "ratio": float(percent) / 100}


def prefill():
    figures = {}
    for n in (256, 1024):
        one = model("-p", n)
        figures.update({f"tokens/s of {n}": one["prefill"], f"flops of {n}": one["prefill_flops"], f"peak of {n}": one["peak"]})
    return {**figures, **peers(256, 0)}


def isa():
    """The kernels of slower instruction sets, each beside the same limits."""
    figures = {}
    for name in ("avx2", "c"):
        one = model("-n", 6, "-l", "-p", 32, env={"LLM_ISA": name})
        figures.update({f"{name}: {k}": one[k] for k in ("decode", "read", "limit", "prefill")})
    return {**figures, **{f"matmul, {k}": v for k, v in bench("first", THREADS).items()}}


def batch():
    """Sequences decoding together, beside one alone and a prompt of 256."""
    one = model("-s", 1, "-n", 8, "-l")
    figures = {"prefill": model("-p", 256)["prefill"], "limit": one["limit"], "1 together": one["decode"]}
    for n in (4, 16, 64):
        figures[f"{n} together"] = model("-s", n, "-n", 8 if n < 64 else 3)["decode"]
    return figures


def piped(folder, steps):
    """Tokens a second of the four programs, which llm-forward -v counts from step to step."""
    pipe = (f"printf 'The capital of France is' | tok-encode | llm-forward -t {THREADS} -v | "
            f"llm-sample -n {steps} --ignore-eos | tok-decode >/dev/null")
    env = {**os.environ, "PATH": f"{BUILD / 'bin'}:{os.environ['PATH']}", "LLM_MODEL": str(folder)}
    text = subprocess.run(["sh", "-c", pipe], env=env, stderr=subprocess.PIPE, text=True, check=True).stderr
    return float(re.search(r"decode with pipe and sampler: ([0-9.]+) tokens/s", text).group(1))


def pipe():
    figures = {}
    for name, folder, steps in (("TinyLlama", TINY, 16), ("SmolLM2", smollm2(), 120)):
        alone = [model("-c", 8, "-n", steps, folder=folder)["decode"]]
        figures[f"{name}: pipe"] = piped(folder, steps)
        alone.append(model("-c", 8, "-n", steps, folder=folder)["decode"])
        figures[f"{name}: one process"] = sum(alone) / 2
    return figures


def attention():
    return bench("attention", "-t", THREADS, "-r", 7)


def frames(stream):
    """(type, sequence) of each frame of a logits(5) stream once it has been read."""
    assert stream.read(256)[:6] == b"LOGITS"
    while head := stream.read(32):
        tag, seq, _, _, _, _, n = struct.unpack("<4s5IQ", head)
        stream.read(n + -n % 8)
        yield tag.decode(), seq


def forward(folder, *options, **more):
    return subprocess.Popen([str(tool("llm-forward")), "-m", str(folder), "-t", str(THREADS), *options],
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, **more)


def first_logits(folder, lines):
    """Seconds from exec to the logits of each line's last id."""
    start, times = time.monotonic(), []
    with forward(folder, "--no-return", "-b", "1") as p:
        p.stdin.write(lines)
        p.stdin.close()
        times = [time.monotonic() - start for tag, _ in frames(p.stdout) if tag == "LOGI"]
    return times


FOUND = {}
STARTS = 5


def drop_cache(path):
    with open(path, "rb") as f:
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def start():
    """Opening; exec to first logits with warm and with cold pages; a plain cold read of the same file. Warm pages are those
    that an earlier start read: pages from a writer may be 4 KB each, which are half a million faults. "warm as found" is the
    time with the pages as they were. The rate of a shared disk varies: medians of several starts, in turns with reads."""
    if not FOUND:
        FOUND["warm as found"] = first_logits(TINY, b"1\n")[0]
        drop_cache(TINY / "model.safetensors")
        first_logits(TINY, b"1\n")
    header = output(BUILD / "bench/weights", "open", TINY)
    step = 1 / model("-n", 4)["decode"]
    small = smollm2()
    file = pathlib.Path(small) / "model.safetensors"
    warm, cold, read = [], [], []
    for _ in range(STARTS):
        warm.append(first_logits(TINY, b"1\n")[0])
        drop_cache(file)
        cold.append(first_logits(small, b"1\n")[0])
        drop_cache(file)
        begin = time.monotonic()
        with open(file, "rb", buffering=0) as f:
            while f.read(1 << 20):
                pass
        read.append(time.monotonic() - begin)
    return {**FOUND, "header": float(re.search(r"([0-9]+) us,", header).group(1)) * 1e-6, "step": step, "warm": statistics.median(warm),
            "cold": statistics.median(cold), "cold read": statistics.median(read), "bytes": file.stat().st_size}


def prefix():
    """A prompt of 512 ids, the same with 8 more, and the 8 alone."""
    small, ids = smollm2(), [str(i * 7919 % 49000) for i in range(520)]
    line = lambda some: " ".join(some).encode() + b"\n"
    again = first_logits(small, line(ids[:512]) + line(ids))
    alone = first_logits(small, line(ids[:1]) + line(ids[512:]))
    return {"again": again[1] - again[0], "alone": alone[1] - alone[0], "whole": again[0]}


def stall():
    """Sequence 0 is decoding when a prompt of 1,024 ids enters: the time between its tokens before and then."""
    p = forward(smollm2(), stderr=subprocess.DEVNULL)
    s = subprocess.Popen([str(tool("llm-sample")), "-n", "64", "--ignore-eos"], stdin=p.stdout, stdout=subprocess.PIPE)
    p.stdin.write(b"504 3575 282 4649 314\n")
    p.stdin.flush()
    times, text = [], b""
    while len(times) < 40:
        text = os.read(s.stdout.fileno(), 4096)
        times += [time.monotonic()] * text.count(b" ")
        if len(times) == 20:
            p.stdin.write(" ".join(str(i * 7919 % 49000) for i in range(1024)).encode() + b"\n")
            p.stdin.flush()
    for q in (s, p):
        q.terminate()
        q.wait()
    gaps = [b - a for a, b in zip(times, times[1:]) if b > a]
    return {"step": sorted(gaps[:18])[9], "longest": max(gaps[19:])}


def own_memory(pid):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"RssAnon:\s+(\d+)", text).group(1)) * 1024


def memory():
    """Private memory after a prompt of 256; and while a tiny model makes 100,000 tokens."""
    p = forward(TINY, "--no-return", "-v", stderr=subprocess.PIPE)
    text = p.communicate(" ".join(str(i) for i in range(1, 257)).encode() + b"\n")[1].decode()
    kv, own = (float(re.search(r"([0-9.]+) MB of " + what, text).group(1)) * 1e6 for what in ("KV", "it our own"))
    p = forward(ROOT / "tests/data/models/llama", "-q")
    s = subprocess.Popen([str(tool("llm-sample")), "-n", "250", "--ignore-eos"], stdin=p.stdout, stdout=subprocess.PIPE)
    threading.Thread(target=lambda: (p.stdin.write(b"5 6 7\n" * 400), p.stdin.close())).start()
    seen, done = [], 0
    for line in s.stdout:
        done += line.count(b" ") + 1 if line[:1].isdigit() else 0
        if p.poll() is None:
            try:
                seen.append((done, own_memory(p.pid) + own_memory(s.pid)))
            except (FileNotFoundError, AttributeError):
                break  # ended
    s.wait(), p.wait()
    early = max(m for n, m in seen if n <= max(10000, seen[0][0]))
    return {"own": own, "kv": kv, "tokens": seen[-1][0], "early": early, "late": seen[-1][1]}


def cpu_seconds(pid):
    return sum(int(f.read_text().split()[0]) for f in pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat")) * 1e-9


def threads():
    """A fork-join; CPU time of stages that wait; the speed while another process uses a CPU."""
    figures = {"fork-join": bench("pool", THREADS)["fork_join"] * 1e-6}
    p = forward(smollm2(), "-q")
    s = subprocess.Popen([str(tool("llm-sample")), "-n", "8", "--ignore-eos"], stdin=p.stdout, stdout=subprocess.PIPE)
    p.stdin.write(b"504 3575 282\n")
    p.stdin.flush()
    while s.stdout.readline()[:2] != b"#=":
        pass
    time.sleep(0.2)
    before = cpu_seconds(p.pid) + cpu_seconds(s.pid)
    time.sleep(1)
    figures["idle"] = cpu_seconds(p.pid) + cpu_seconds(s.pid) - before
    p.stdin.close()
    s.wait(), p.wait()
    alone = [model("-p", 512)["prefill"]]
    hog = subprocess.Popen(["sh", "-c", "while :; do :; done"])
    try:
        os.sched_setaffinity(hog.pid, {min(os.sched_getaffinity(0))})
        beside = model("-p", 512, "-b", hog.pid)
        figures |= {"beside another": beside["prefill"], "its share": beside["beside"]}
    finally:
        hog.kill()
        hog.wait()
    alone.append(model("-p", 512)["prefill"])
    return {**figures, "alone": sum(alone) / 2}


def logits(folder, line, to, *options):
    """The logits of all positions of a line of ids, as a file."""
    with open(to, "wb") as f:
        subprocess.run([str(tool("llm-forward")), "-m", str(folder), "-a", "--no-return", "-q", *options], input=line, stdout=f, check=True)
    return to


def vectors(model, text):
    """Those of a text's lines, of a BERT, at length 1."""
    ids = subprocess.run([str(tool("tok-encode")), "-q", "-m", str(minilm()), "-l", "--truncate"], input=text, stdout=subprocess.PIPE, check=True).stdout
    with tempfile.NamedTemporaryFile() as f:
        subprocess.run([str(tool("llm-embed")), "-q", "-m", str(model), "--pool", "mean", "--normalize", "--precise", "--npy", f.name],
                       input=ids, check=True)
        raw = pathlib.Path(f.name).read_bytes()
    return array.array("f", raw[10 + int.from_bytes(raw[8:10], "little"):])


def minilm():
    return pathlib.Path(output("sh", ROOT / "tools/fetch-embed-model.sh", env={"BUILD": BUILD.name}).strip())


def embedding_loss(temp):
    """all-MiniLM-L6-v2, whose weights are F32 and not of a file that was quantised once: 1 - cosine of the vectors of a text's lines
    to the source's, for i4_16 and for Q4_K, which llama.cpp's own library (GGML_BASE) encodes. The embeddings stay."""
    folder, text, figures = minilm(), b"".join(l + b"\n" for l in (ROOT / "SECURITY.md").read_bytes().splitlines() if l.strip()), {}
    output(tool("st-quantize"), "-q", "--keep", "embeddings.*", folder, f"{temp}/minilm-i4")
    models = {"i4_16": f"{temp}/minilm-i4"}
    if os.environ.get("GGML_BASE"):
        models["Q4_K"] = pathlib.Path(temp) / "minilm-q4_k"
        hub.round_trip(folder, models["Q4_K"], os.environ["GGML_BASE"])
    source = vectors(folder, text)
    for name, model in models.items():
        pathlib.Path(model, "modules.json").unlink(missing_ok=True)  # names folders, which are not copied
        these = vectors(model, text)
        figures[f"1 - cosine, {name}"] = 1 - sum(a * b for a, b in zip(source, these)) / (len(source) // 384)
    return figures


def loss():
    """SmolLM2 in BF16 beside itself quantised: the mean KL divergence of 1,000 positions of SECURITY.md. Statistics are of other
    texts, and the embedding stays in BF16 beside i4_16. Q4_K: llama.cpp's own library (GGML_BASE). Then MiniLM's vectors, and the
    error of its weights from bench/quant-error."""
    folder = pathlib.Path(smollm2())
    encode = lambda *files: [i for f in files for i in output(tool("tok-encode"), "-m", folder, ROOT / f).split() if i.isdigit()]
    line = lambda some: " ".join(some).encode() + b"\n"
    ids = line(encode("SECURITY.md")[:1000])
    figures = {}
    with tempfile.TemporaryDirectory() as temp:
        source = logits(folder, ids, f"{temp}/source")
        seen = encode("README.md", "ARCHITECTURE.md")[:4000]
        logits(folder, b"".join(line(seen[i:i + 500]) for i in range(0, len(seen), 500)), f"{temp}/seen", "--collect", f"{temp}/stats")

        def kl(name, model, *options):
            figures[name] = json.loads(output(tool("llm-diff"), "-j", source, logits(model, ids, f"{temp}/these", *options)))["mean_kl"]

        kl("keys and values in i8", folder, "--kv-type", "i8")
        for name, options in (("i8", ["--type", "i8"]), ("i8, statistics", ["--type", "i8", "--stats", f"{temp}/stats"]),
                              ("i4_16", ["--keep", "*embed_tokens"]),
                              ("i4_16, statistics", ["--keep", "*embed_tokens", "--stats", f"{temp}/stats"])):
            output(tool("st-quantize"), "-q", "-f", *options, folder, f"{temp}/model")
            kl(name, f"{temp}/model")
        if os.environ.get("GGML_BASE"):
            hub.round_trip(pathlib.Path(smollm2("f32")), pathlib.Path(temp) / "q4_k", os.environ["GGML_BASE"])
            kl("Q4_K", f"{temp}/q4_k")
        figures |= embedding_loss(temp)
    text = output(ROOT / "bench/quant-error")
    found = re.search(r"i4_16 is ([0-9.]+) of Q4_K .*; i4_32 is ([0-9.]+) of IQ4_KS", text)
    return figures | {"rms, i4_16 of Q4_K": float(found[1]), "rms, i4_32 of IQ4_KS": float(found[2])}


def timed(*command):
    """Seconds, and seconds of CPU."""
    start = time.monotonic()
    p = subprocess.Popen([str(c) for c in command], stdout=subprocess.DEVNULL)
    usage = os.wait4(p.pid, 0)[2]
    return time.monotonic() - start, usage.ru_utime + usage.ru_stime


def files():
    """st-inspect hashes every byte twice, in its file and in its tensor. libsodium hashes it once, from the same mapping."""
    folder = smollm2()
    file = pathlib.Path(folder) / "model.safetensors"
    size = file.stat().st_size
    plain = float(output(BUILD / "bench/weights", "hash", file).split()[1])
    one, one_cpu = timed(tool("st-inspect"), "--hash", "-t", 1, folder)
    whole, _ = timed(tool("st-inspect"), "--hash", "-t", THREADS, folder)
    return {"libsodium": size / plain, "st-inspect": 2 * size / one_cpu, "one thread": one, "all threads": whole}


def quality():
    """The default path against --precise, over 2,000 tokens of English (the licence)."""
    folder = smollm2()
    text = (ROOT / "LICENSE").read_bytes()
    ids = subprocess.run([str(tool("tok-encode")), "-m", folder], input=text, stdout=subprocess.PIPE, check=True).stdout
    line = b" ".join([l for l in ids.splitlines() if l[:1].isdigit()][0].split()[:2000]) + b"\n"
    with tempfile.NamedTemporaryFile() as precise:
        command = [str(tool("llm-forward")), "-m", folder, "-a", "--no-return"]
        subprocess.run([*command, "--precise"], input=line, stdout=precise, check=True)
        p = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        d = subprocess.Popen([str(tool("llm-diff")), "-j", precise.name, "-"], stdin=p.stdout, stdout=subprocess.PIPE)
        p.stdin.write(line)
        p.stdin.close()
        found = json.loads(d.communicate()[0])
        p.wait()
    return {"kl": found["mean_kl"], "top-1": found["top1"] if found["top1"] <= 1 else found["top1"] / found["rows"], "rows": found["rows"]}


def has_peers():
    """Whether bench/retrieval has made its environment, of 6 GB, or PYTHON names one."""
    return "PYTHON" in os.environ or any((CACHE / "bench").glob("retrieval-*/done"))


def retrieval():
    """llm-embed and vec-search beside sentence-transformers and faiss. No figures where those are not installed."""
    if not has_peers():
        return {}
    text = output(ROOT / "bench/retrieval", "-t", THREADS, "-r", 1, "--json", "speed", "search", env={"BUILD": BUILD.name})
    return json.loads(text.splitlines()[-1])


def retrieval_quality():
    """Quality beside sentence-transformers; Cranfield by vectors and by both; the memory of adding 100,000 vectors."""
    if not has_peers():
        return {}
    text = output(ROOT / "bench/retrieval", "-t", THREADS, "--json", "sts", "cranfield", "texts", "memory", env={"BUILD": BUILD.name})
    data = os.environ.get("RETRIEVAL_DATA", ROOT / "../shared/data/retrieval")
    table = output(ROOT / "bench/retrieval-quality", "cranfield", pathlib.Path(data) / "cranfield", env={"BUILD": BUILD.name})
    found = dict(re.findall(r"\| (\w+) \| ([0-9.]+) \|", table))
    return {**json.loads(text.splitlines()[-1]), **{f"Cranfield, nDCG@10 with gains of 1, {k}": float(v) for k, v in found.items()}}


# name: (function, rounds at most)
PARTS = {"limits": (limits, 5), "decode": (decode, 9), "head": (head, 5), "prefill": (prefill, 9), "isa": (isa, 9),
         "quant": (quant, 5), "hub": (hub_forms, 5), "quantise": (quantising, 2), "loss": (loss, 1), "amx": (amx, 5), "long": (long, 2),
         "batch": (batch, 5), "pipe": (pipe, 9), "attention": (attention, 5), "start": (start, 5), "prefix": (prefix, 5),
         "stall": (stall, 9), "memory": (memory, 1), "threads": (threads, 5), "files": (files, 3), "quality": (quality, 1),
         "retrieval": (retrieval, 3), "retrieval-quality": (retrieval_quality, 1)}
