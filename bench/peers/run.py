"""Times loam and its peers in one run, alternating round by round; writes a table as Markdown and as TSV, and a chart.

Every round measures loam, then each peer, so that a change of the machine's mood meets both. A figure is the median of
the rounds. The environment says where models are: see run.sh.
"""
import argparse
import collections
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, here)
from report import chart, goals_met, lines_of  # noqa: E402

KINDS = "llm,first,lookup,embed,search,tokenize"
parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--what", default=KINDS, help=f"kinds, by commas (default: {KINDS})")
parser.add_argument("--rounds", type=int, default=3, help="of llm, embed, search, tokenize")
parser.add_argument("--slow-rounds", type=int, default=1, help="of first, lookup, and of prompts of 2048")
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--count", type=int, default=1000000, help="vectors of the search")
parser.add_argument("--dim", type=int, default=384)
parser.add_argument("--prompts", default="64,512", help="tokens read by a language model, every round")
parser.add_argument("--long-prompts", default="2048", help="the same, in the slow rounds; empty: none")
parser.add_argument("--write", type=int, default=64, help="tokens written by it")
parser.add_argument("--first", type=int, default=700, help="tokens of the prompt before a first token")
parser.add_argument("--models", default="", help="of BENCH_LLM only these names, by commas")
parser.add_argument("--out", default="build/bench", help="folder of peers.md, peers.tsv and peers.svg")
parser.add_argument("--add", action="store_true", help="keep what peers.tsv has of other figures: a table made in several runs")
a = parser.parse_args()
BIN = os.environ.get("BIN", "build/bin")
PEERS = os.path.abspath(os.environ.get("PEERS_DIR", "build/peers"))
CACHE = os.path.abspath(os.path.join(a.out, "cache"))  # weights of shapes, prefixes of prompts

samples = collections.defaultdict(list)  # (work, metric, who) -> values
units = {}
missing = []  # in order, once each
limits = collections.defaultdict(list)  # name -> values
isa = ["?"]


def note(text):
    if text not in missing:
        missing.append(text)
        print("peers:", text, file=sys.stderr)


def take(work, metric, who, value, unit):
    samples[work, metric, who].append(value)
    units[work, metric] = unit


def run(command, who, **options):
    """Standard output of a command that succeeds; else None, and who and why are noted."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", **options)
    except OSError as e:
        return note(f"{who}: not installed (bench/peers/setup.sh): {command[0]}: {e.strerror}")
    if done.returncode:
        return note(f"{who}: exit {done.returncode}: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    return done.stdout


def program(name):
    return os.path.join(BIN, name)


def loam(work, who, kind, *arguments):
    """The rows of a bench-cli command: metric -> row."""
    out = run([program("bench-cli"), kind, "--json", "--threads", str(a.threads), *arguments], f"{work}: {who}",
              env=dict(os.environ, XDG_CACHE_HOME=CACHE))
    if not out:
        return {}
    report = json.loads(out)
    isa[0] = report["isa"]
    for key in ("read_bandwidth", "peak_f32", "peak_int8"):
        if report[key]:
            limits[key].append(report[key])
    for key in ("peak_f32_unit", "peak_int8_unit"):
        if report[key]:
            limits[key] = [report[key]]
    if "memory" in report:
        m = report["memory"]
        take(work, "memory beside weights and cache", who, max(0, m["resident"] - m["weights"] - m["cache"]) / 1e6, "MB")
    for r in report["rows"]:
        if r["share_of_bandwidth"]:
            take(work, f"{r['metric']}, share of the bandwidth", who, r["share_of_bandwidth"], "%")
        if r["share_of_peak"]:
            take(work, f"{r['metric']}, share of the peak", who, r["share_of_peak"], "%")
    return {r["metric"]: r for r in report["rows"]}


def peers(work, kind, *arguments):
    out = run([sys.executable, os.path.join(here, "peer.py"), kind, *map(str, arguments)], f"{work}: peers") or ""
    for line in out.splitlines():
        if line.startswith("# "):
            note(f"{work}: {line[2:]}")
        elif line.count("\t") == 3:
            metric, who, value, unit = line.split("\t")
            take(work, metric, who, float(value), unit)


# ---- language models ----

LLAMA = {  # name -> (folder of its programs, flags that serve llama-bench best, program and flags for a first token)
    "llama.cpp": ("llama.cpp/bin", ["-fa", "1", "--no-warmup"], "llama-completion", ["-no-cnv", "-fa", "on", "--no-warmup"]),
    "ik_llama.cpp": ("ik_llama.cpp/bin", ["-rtr", "1", "-fa", "1", "-w", "0"], "llama-cli", ["-fa", "on", "--no-warmup"]),
}


def entries(kind):
    """(name, folder or shape:NAME, GGUF file) of BENCH_LLM."""
    text = os.environ.get("BENCH_LLM", "").split()
    if not text:
        note(f"{kind}: not measured: BENCH_LLM is not set (NAME=MLX_FOLDER:FILE.gguf ...)")
    for entry in text:
        name, _, rest = entry.partition("=")
        folder, _, gguf = rest.rpartition(":")
        if a.models and name not in a.models.split(","):
            continue
        if folder.startswith("shape:") and not os.path.exists(gguf):
            os.makedirs(os.path.dirname(gguf) or ".", exist_ok=True)
            run([sys.executable, os.path.join(here, "shape_gguf.py"), folder[6:], gguf], f"{name}: random weights for the peers")
        yield name, folder, gguf


def model_arguments(folder):
    return ["--shape", folder[6:], "--keep"] if folder.startswith("shape:") else ["--model", folder]


def llm(turn):
    lengths = [n for n in (a.prompts + (f",{a.long_prompts}" if turn < a.slow_rounds else "")).split(",") if n]
    for name, folder, gguf in entries("llm"):
        work = f"llm, {name}"
        reads = [word for n in lengths for word in ("--pp", n)]
        rows = loam(work, "loam fast", "llm", *model_arguments(folder), *reads, "--tg", str(a.write), "--repeat", "1")
        for metric, r in rows.items():
            if metric[:2] in ("pp", "tg"):
                take(work, metric, "loam fast", r["median"], r["unit"])
        for peer, (bin_, flags, _, _) in LLAMA.items():
            # a prompt of 16 first, to touch the weights, as bench-cli does
            out = run([os.path.join(PEERS, bin_, "llama-bench"), "-m", gguf, "-p", ",".join(["16", *lengths]), "-n", str(a.write),
                       "-t", str(a.threads), "-r", "1", "-o", "json", *flags], f"{work}: {peer}")
            for row in json.loads(out[out.index("[") :]) if out else []:
                metric = f"pp{row['n_prompt']}" if row["n_prompt"] else f"tg{row['n_gen']}"
                if metric != "pp16":
                    take(work, metric, f"{peer} {row['model_type'].split(' ', 2)[-1].removesuffix(' - Medium')}", row["avg_ts"], "tokens/s")


WORDS = "the store keeps every page of the book in order so that a reader can find what was written about the weather of the north coast"


def prompt_text(folder):
    """About --first tokens: words that are one each; for a random vocabulary bytes."""
    if folder.startswith("shape:"):
        return "loam" * (a.first // 4)
    words = WORDS.split()
    return " ".join(words[(i * 7 + i // 23) % len(words)] for i in range(a.first))


def wall(command, who, **options):
    start = time.perf_counter()
    out = run(command, who, **options)
    return out and 1e3 * (time.perf_counter() - start)


def first(_turn):
    """From the start of a process to its end after one token; the files are in the page cache."""
    metric = f"first token, prompt of {a.first}"
    text = os.path.abspath(os.path.join(a.out, "prompt.txt"))
    for name, folder, gguf in entries("first"):
        work = f"llm, {name}"
        with open(text, "w", encoding="utf-8") as f:
            f.write(prompt_text(folder))
        ask = ["--raw", "--prompt", prompt_text(folder)]
        path = folder
        if folder.startswith("shape:"):
            path = os.path.join(CACHE, "loam/shapes", folder[6:])
            ask = ["--ids", str([i * 7919 % 250 for i in range(a.first)])]
        rows = loam(work, "loam fast", "llm", *model_arguments(folder), "--first", str(a.first), "--repeat", "1")
        ms = wall([program("loam"), "generate", "--model", path, *ask, "-n", "1", "--ignore-eos", "-t", str(a.threads), "--json"], f"{work}: loam generate")
        if ms:
            take(work, metric, "loam generate", ms, "ms")
        for key, r in rows.items():
            if key.endswith("from a file"):
                take(work, metric, "loam, prefix from a file", r["median"], "ms")
        if os.path.exists(gguf):
            with open(gguf, "rb") as f:  # into the page cache
                while f.read(1 << 24):
                    pass
        for peer, (bin_, _, exe, flags) in LLAMA.items():
            ms = wall([os.path.join(PEERS, bin_, exe), "-m", os.path.abspath(gguf), "-f", text, "-n", "1", "-t", str(a.threads), "-c", "2048", "--temp", "0", *flags],
                      f"{work}: {peer}", stdin=subprocess.DEVNULL, cwd=a.out)  # one leaves a log where it runs
            if ms:
                take(work, metric, peer, ms, "ms")


ROOT = os.path.join(here, "../..")


def demo_index(embedder):
    """The index of `make demo`: loam's own pages and the Debian FAQ."""
    if os.environ.get("BENCH_INDEX"):
        return os.environ["BENCH_INDEX"]
    pages = [os.path.join(ROOT, name) for name in ("docs", "README.md", "demo/debian-faq")]
    index = os.path.join(CACHE, "demo.npz")
    if not os.path.isdir(pages[-1]):
        return note("lookup: not measured: demo/debian-faq is missing (make demo fetches it), or set BENCH_INDEX")
    os.makedirs(CACHE, exist_ok=True)
    made = run([program("loam"), "ingest", *pages, "--vdb-path", index, "--embed-model", embedder], "index of the demo")
    return None if made is None else index


def lookup(_turn):
    """Answers of rag-cli with and without prompt lookup, and its first token with and without a prefix on disk."""
    embedder = os.environ.get("BENCH_EMBED")
    if not embedder:
        return note("lookup: not measured: BENCH_EMBED is not set")
    index = demo_index(embedder)
    if not index:
        return
    with open(os.path.join(ROOT, "tools/demo-questions.txt"), encoding="utf-8") as f:
        questions = f.read().splitlines()
    for name, folder, _ in entries("lookup"):
        if folder.startswith("shape:"):
            continue
        work = f"answers, {name}"
        ask = [program("rag-cli"), "--vdb-path", index, "--embed-model", embedder, "--model-id", folder, "--no-reranker", "--json",
               "--max-tokens", "100", "--threads", str(a.threads), "--prefix-cache", "on"]

        def answers(questions, *options):
            out = run(ask + list(options), work, input="\n".join(questions) + "\n", env=dict(os.environ, XDG_CACHE_HOME=CACHE))
            return [json.loads(line) for line in (out or "").splitlines()]

        shutil.rmtree(os.path.join(CACHE, "loam/prefix"), ignore_errors=True)
        read = answers(questions[:1])
        answers(questions, "--max-tokens", "1")  # from here on prompts come from files, and both ways only write
        from_file = answers(questions[:1])
        plain, guessed = answers(questions, "--no-speculation"), answers(questions)
        if not plain or len(plain) != len(guessed):
            continue
        if [x["answer"] for x in plain] != [x["answer"] for x in guessed]:
            note(f"{work}: with prompt lookup an ANSWER DIFFERS")
        for who, got in (("loam, prompt lookup", guessed), ("loam, plain", plain)):
            written = sum(x["tokens"] - 1 for x in got)  # the first comes with the prompt
            take(work, "decode", who, written / sum(x["timings"]["decode"] for x in got), "tokens/s")
            take(work, "tokens a pass", who, written / sum(x["speculation"]["passes"] for x in got), "tokens")
        for who, got in (("loam, read", read), ("loam, prefix from a file", from_file)):
            if got:
                take(work, "first token of an answer", who, 1e3 * got[0]["timings"]["first_token"], "ms")


# ---- the rest ----

def embed(_turn):
    folder = os.environ.get("BENCH_EMBED")
    if not folder:
        return note("embed: not measured: BENCH_EMBED is not set (folder of a BERT sentence encoder)")
    for precision in ("fast", "exact"):
        rows = loam("embed", f"loam {precision}", "embed", "--model", folder, "--precision", precision, "--repeat", "2")
        for metric, r in rows.items():
            take("embed", metric, f"loam {precision}", r["median"], r["unit"])
    os.makedirs(PEERS, exist_ok=True)
    peers("embed", "embed", folder, PEERS, a.threads)


def search(_turn):
    work = f"search, {a.count} x {a.dim}"
    for metric, r in loam(work, "loam", "search", "--count", str(a.count), "--dim", str(a.dim), "--repeat", "2").items():
        scan, _, what = metric.partition(", ")
        take(work, "recall" if what.startswith("recall") else what, f"loam {scan}", r["median"], r["unit"])
    peers(work, "search", a.count, a.dim, a.threads)


def tokenize(_turn):
    folder, given = os.environ.get("BENCH_TOKENIZER"), os.environ.get("BENCH_TEXT")
    if not folder:
        return note("tokenize: not measured: BENCH_TOKENIZER is not set (folder with a byte-level BPE tokenizer.json)")
    docs = os.path.join(here, "../../docs")
    pages = "".join(open(os.path.join(docs, n), encoding="utf-8").read() for n in sorted(os.listdir(docs)) if n.endswith(".md"))
    pages = open(given, encoding="utf-8").read() if given else pages
    pages = "".join(line for line in pages.splitlines(True) if "<" not in line)  # no special tokens: tiktoken knows none
    for size in (1000000, 10000000):
        text = os.path.join(a.out, f"text-{size // 1000000}.txt")
        with open(text, "w", encoding="utf-8") as f:
            f.write((pages * (size // len(pages) + 1))[:size])
        for metric, r in loam("tokenize", "loam", "tokenize", "--model", folder, "--input", text, "--repeat", "3").items():
            if metric.startswith("encode"):
                take("tokenize", f"encode {size // 1000000} MB", "loam", r["median"], r["unit"])
        peers("tokenize", "tokenize", folder, text, 1)


def head():
    model = next((line.split(": ", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    commit = subprocess.run(["git", "-C", here, "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    lines = [f"{time.strftime('%Y-%m-%d')}, {model}, {os.cpu_count()} CPUs, kernels {isa[0]}, {a.threads} threads, commit {commit or 'unknown'}, "
             f"{a.rounds} rounds ({a.slow_rounds} of the slow kinds), medians; load average {' '.join(open('/proc/loadavg').read().split()[:3])} at the end."]
    if limits["read_bandwidth"]:
        peak = {k: statistics.median(limits[k]) / 1e9 for k in ("read_bandwidth", "peak_f32", "peak_int8") if limits[k]}
        lines.append(f"bench-cli measured on it: memory read {peak['read_bandwidth']:.1f} GB/s"
                     + "".join(f"; {k[5:]} {peak[k]:.0f} GMAC/s ({limits[k + '_unit'][0]})" for k in ("peak_f32", "peak_int8") if k in peak) + ".")
    return lines + [""]


def read_earlier(path):
    """What an earlier run measured and this one did not."""
    have = {(w, m) for w, m, _ in samples}
    try:
        with open(path, encoding="utf-8") as f:
            for line in list(f)[1:]:
                work, metric, who, _, unit, values = line.rstrip("\n").split("\t")
                if (work, metric) not in have:
                    samples[work, metric, who] = [float(v) for v in values.split()]
                    units[work, metric] = unit
    except OSError:
        pass


def main():
    os.makedirs(a.out, exist_ok=True)
    kinds = {"llm": llm, "first": first, "lookup": lookup, "embed": embed, "search": search, "tokenize": tokenize}
    for kind in a.what.split(","):
        if kind not in kinds:
            sys.exit(f"peers: unknown kind '{kind}': {', '.join(kinds)}")
    for kind in a.what.split(","):
        rounds = a.slow_rounds if kind in ("first", "lookup") else a.rounds
        for turn in range(rounds):
            start = time.time()
            kinds[kind](turn)
            print(f"peers: {kind}, round {turn + 1} of {rounds}: {time.time() - start:.0f} s", file=sys.stderr)
    tsv = os.path.join(a.out, "peers.tsv")
    if a.add:
        read_earlier(tsv)
    order = ["llm", "answers", "embed", "search", "tokenize"]  # of a table made in several runs as of one
    for key in sorted(units, key=lambda k: (order.index(k[0].split(",")[0]), "first token" in k[1])):
        units[key] = units.pop(key)
    value = {key: statistics.median(v) for key, v in samples.items()}
    rows = goals_met(value, units, "amx" in isa[0])
    text = head() + lines_of(rows, samples, value, units)
    if missing:
        text += ["", "Left out:", ""] + [f"- {m}" for m in missing]
    with open(os.path.join(a.out, "peers.md"), "w", encoding="utf-8") as f:
        f.write("\n".join(text) + "\n")
    with open(tsv, "w", encoding="utf-8") as f:
        f.write("work\tfigure\twho\tmedian\tunit\tsamples\n")
        for (work, metric, who), v in samples.items():
            f.write(f"{work}\t{metric}\t{who}\t{statistics.median(v):.6g}\t{units[work, metric]}\t{' '.join(f'{x:.6g}' for x in v)}\n")
    with open(os.path.join(a.out, "peers.svg"), "w", encoding="utf-8") as f:
        f.write(chart(rows, head()[0]))
    print("\n".join(text))


main()
