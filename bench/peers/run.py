"""Times loam and its peers in one run, alternating round by round; writes a table as Markdown and as TSV.

Every round measures loam, then each peer, so that a change of the machine's mood meets both. A figure is the median of
the rounds. The environment says where models are: see run.sh.
"""
import argparse
import collections
import json
import os
import platform
import statistics
import subprocess
import sys
import time

here = os.path.dirname(os.path.abspath(__file__))
parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--what", default="llm,embed,search,tokenize", help="kinds, by commas")
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--count", type=int, default=1000000, help="vectors of the search")
parser.add_argument("--dim", type=int, default=384)
parser.add_argument("--prompt", type=int, default=512, help="tokens read by a language model")
parser.add_argument("--write", type=int, default=64, help="tokens written by it")
parser.add_argument("--out", default="build/bench", help="folder of peers.md and peers.tsv")
a = parser.parse_args()
BIN = os.path.join(os.environ.get("BIN", "build/bin"), "bench-cli")
PEERS = os.environ.get("PEERS_DIR", "build/peers")
LLAMA = os.environ.get("LLAMA_BENCH", os.path.join(PEERS, "llama.cpp/bin/llama-bench"))

samples = collections.defaultdict(list)  # (work, metric, who) -> values
units = {}
missing = []  # in order, once each
bandwidth = []
isa = ["?"]


def note(text):
    if text not in missing:
        missing.append(text)
        print("peers:", text, file=sys.stderr)


def take(work, metric, who, value, unit):
    samples[work, metric, who].append(value)
    units[work, metric] = unit


def run(command, who):
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as e:
        return note(f"{who}: {e.strerror}: {command[0]}")
    if done.returncode:
        return note(f"{who}: exit {done.returncode}: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    return done.stdout


def loam(work, who, kind, *arguments):
    """The rows of a bench-cli command: metric -> (median, unit)."""
    out = run([BIN, kind, "--json", "--threads", str(a.threads), *arguments], f"{work}: {who}")
    if not out:
        return {}
    report = json.loads(out)
    isa[0] = report["isa"]
    if report["read_bandwidth"]:
        bandwidth.append(report["read_bandwidth"])
    return {r["metric"]: (r["median"], r["unit"], r["bytes_per_unit"]) for r in report["rows"]}


def peers(work, kind, *arguments):
    out = run([sys.executable, os.path.join(here, "peer.py"), kind, *map(str, arguments)], f"{work}: peers") or ""
    for line in out.splitlines():
        if line.startswith("# "):
            note(f"{work}: {line[2:]}")
        else:
            metric, who, value, unit = line.split("\t")
            take(work, metric, who, float(value), unit)


# ---- the kinds ----

def llm():
    entries = os.environ.get("BENCH_LLM", "").split()
    if not entries:
        note("llm: not measured: BENCH_LLM is not set (NAME=MLX_FOLDER:FILE.gguf ...)")
    for entry in entries:
        name, _, rest = entry.partition("=")
        folder, _, gguf = rest.rpartition(":")
        work = f"llm, {name}"
        model = ["--shape", folder[6:]] if folder.startswith("shape:") else ["--model", folder]
        rows = loam(work, "loam fast", "llm", *model, "--pp", str(a.prompt), "--tg", str(a.write), "--repeat", "1")
        for metric, (value, unit, _) in rows.items():
            if metric[:2] in ("pp", "tg"):
                take(work, metric, "loam fast", value, unit)
        out = run([LLAMA, "-m", gguf, "-p", str(a.prompt), "-n", str(a.write), "-t", str(a.threads), "-r", "1", "-fa", "1",
                   "-o", "json"], f"{work}: llama.cpp")
        for row in json.loads(out[out.index("[") :]) if out else []:
            metric = f"pp{row['n_prompt']}" if row["n_prompt"] else f"tg{row['n_gen']}"
            take(work, metric, f"llama.cpp {row['model_type'].split()[-1]}", row["avg_ts"], "tokens/s")


def embed():
    folder = os.environ.get("BENCH_EMBED")
    if not folder:
        return note("embed: not measured: BENCH_EMBED is not set (folder of a BERT sentence encoder)")
    for precision in ("fast", "exact"):
        rows = loam("embed", f"loam {precision}", "embed", "--model", folder, "--precision", precision, "--repeat", "2")
        for metric, (value, unit, _) in rows.items():
            take("embed", metric, f"loam {precision}", value, unit)
    os.makedirs(PEERS, exist_ok=True)
    peers("embed", "embed", folder, PEERS, a.threads)


def search():
    work = f"search, {a.count} x {a.dim}"
    for metric, (value, unit, size) in loam(work, "loam", "search", "--count", str(a.count), "--dim", str(a.dim), "--repeat", "2").items():
        scan, _, what = metric.partition(", ")
        if what == "one query":
            take(work, "share of the bandwidth", f"loam {scan}", 100 * value * size / bandwidth[-1], "%")
        take(work, "recall" if what.startswith("recall") else what, f"loam {scan}", value, unit)
    peers(work, "search", a.count, a.dim, a.threads)


def tokenize():
    folder, text = os.environ.get("BENCH_TOKENIZER"), os.environ.get("BENCH_TEXT")
    if not folder:
        return note("tokenize: not measured: BENCH_TOKENIZER is not set (folder with a byte-level BPE tokenizer.json)")
    if not text:
        text = os.path.join(a.out, "text.txt")
        docs = os.path.join(here, "../../docs")
        pages = "".join(open(os.path.join(docs, n), encoding="utf-8").read() for n in sorted(os.listdir(docs)) if n.endswith(".md"))
        pages = "".join(line for line in pages.splitlines(True) if "<" not in line)  # no special tokens: tiktoken knows none
        open(text, "w", encoding="utf-8").write((pages * (1000000 // len(pages) + 1))[:1000000])
    for metric, (value, unit, _) in loam("tokenize", "loam", "tokenize", "--model", folder, "--input", text, "--repeat", "3").items():
        if metric.startswith("encode"):
            take("tokenize", "encode", "loam", value, unit)
    peers("tokenize", "tokenize", folder, text, 1)


# ---- goals: loam's variant, the peers it is held against, the ratio (issue 4; VNNI's where AMX differs) ----

def starts(*names):
    return lambda who: who.startswith(names)


def goals(work, metric):
    """(loam's name, choice of peers, goal) for the lines of the table."""
    if work.startswith("llm"):
        small = "smollm" in work.lower()
        goal = (2.0 if small else 1.8) if metric.startswith("pp") else (1.6 if small else 1.35 if "qwen" in work.lower() else 1.07)
        return [("loam fast", starts("llama.cpp"), goal)]
    if work == "embed":
        if metric.startswith("batch"):
            return [("loam fast", starts("onnx"), 2.0), ("loam exact", starts("onnxruntime f32"), 1.5)]
        return [("loam fast", starts("onnx"), None)]
    if work.startswith("search"):
        if metric == "one query":
            return [(f"loam {s}", lambda who, s=s: who.endswith(s) and not who.startswith("numpy") or (s, who) == ("f32", "numpy f32"), 1.0)
                    for s in ("f32", "f16", "int8")]
        if metric == "batch 64":
            return [("loam f32", starts("numpy"), 1.5), ("loam f16", starts("numpy"), None), ("loam int8", starts("numpy"), 4.0)]
    if work == "tokenize":
        return [("loam", starts("tiktoken"), 1.5)]
    return []


def table():
    value = {key: statistics.median(v) for key, v in samples.items()}
    lines = ["| work | loam | peer | loam / peer | goal |", "| --- | --- | --- | --- | --- |"]
    for work, metric in units:
        unit = units[work, metric]
        better = min if unit == "ms" else max
        for ours, chosen, goal in goals(work, metric):
            mine = value.get((work, metric, ours))
            theirs = {who: v for (w, m, who), v in value.items() if (w, m) == (work, metric) and not who.startswith("loam") and chosen(who)}
            name = better(theirs, key=theirs.get) if theirs else None
            ratio = "open" if mine is None or name is None else theirs[name] / mine if unit == "ms" else mine / theirs[name]
            shown = ratio if isinstance(ratio, str) else f"{ratio:.2f}" + ("" if goal is None or ratio >= goal else " (below)")
            aim = "at most 0.5 ms" if work == "embed" and unit == "ms" else "" if goal is None else f"{goal:g}"
            lines.append(f"| {work}, {metric} ({ours[5:] or 'ids equal'}) | {'open' if mine is None else f'{mine:.4g} {unit}'} "
                         f"| {'open' if name is None else f'{theirs[name]:.4g} ({name})'} | {shown} | {aim} |")
    return lines


def others():
    """Every figure, for who wants another pair."""
    value = {key: statistics.median(v) for key, v in samples.items()}
    lines = ["", "| work | figure | unit | who: median (least to most) |", "| --- | --- | --- | --- |"]
    for work, metric in units:
        who = [f"{n}: {value[w, m, n]:.4g} ({min(v):.4g}-{max(v):.4g})" for (w, m, n), v in samples.items() if (w, m) == (work, metric)]
        lines.append(f"| {work} | {metric} | {units[work, metric]} | {'; '.join(who)} |")
    return lines


def head():
    model = next((line.split(": ", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    commit = subprocess.run(["git", "-C", here, "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    lines = [f"{time.strftime('%Y-%m-%d')}, {model}, {os.cpu_count()} CPUs, kernels {isa[0]}, {a.threads} threads, commit {commit or 'unknown'}, "
             f"{a.rounds} rounds, medians; load average {' '.join(open('/proc/loadavg').read().split()[:3])} at the end."]
    if bandwidth:
        lines.append(f"Memory read by bench-cli itself: {statistics.median(bandwidth) / 1e9:.1f} GB/s.")
    return lines + [""]


def main():
    os.makedirs(a.out, exist_ok=True)
    kinds = {"llm": llm, "embed": embed, "search": search, "tokenize": tokenize}
    for kind in a.what.split(","):
        if kind not in kinds:
            sys.exit(f"peers: unknown kind '{kind}': {', '.join(kinds)}")
        for r in range(a.rounds):
            print(f"peers: {kind}, round {r + 1} of {a.rounds}", file=sys.stderr)
            kinds[kind]()
    text = head() + table() + others()
    if missing:
        text += ["", "Left out:", ""] + [f"- {m}" for m in missing]
    with open(os.path.join(a.out, "peers.md"), "w", encoding="utf-8") as f:
        f.write("\n".join(text) + "\n")
    with open(os.path.join(a.out, "peers.tsv"), "w", encoding="utf-8") as f:
        f.write("work\tfigure\twho\tmedian\tunit\tsamples\n")
        for (work, metric, who), v in samples.items():
            f.write(f"{work}\t{metric}\t{who}\t{statistics.median(v):.6g}\t{units[work, metric]}\t{' '.join(f'{x:.6g}' for x in v)}\n")
    print("\n".join(text))


main()
