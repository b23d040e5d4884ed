#!/bin/bash
# SmolLM2 and Qwen2.5-Coder against the goldens: prompt ids, greedy ids, logits, perplexity,
# streaming, stops, the context's end.
# usage: test_llm.sh (BIN: programs; LOAM_SMOLLM2, LOAM_QWEN: converted folders, each optional
# but not both)
set -u
export BIN=${BIN:-build/bin}
[ -n "${LOAM_SMOLLM2:-}${LOAM_QWEN:-}" ] || { echo "test_llm: set LOAM_SMOLLM2 or LOAM_QWEN"; exit 1; }
exec python3 - <<'PY'
import array, json, os, signal, subprocess, sys, time

LOAM = os.environ["BIN"] + "/loam"
GOLDEN = "tests/golden/llm/"
checks = failed = 0


def check(ok, *what):
    global checks, failed
    checks += 1
    if not ok:
        failed += 1
        print("test_llm:", *what)


def loam(*args, **kw):
    return subprocess.run([LOAM, *args], capture_output=True, timeout=1200, **kw)


def reply(*args, **kw):
    p = loam(*args, "--json", **kw)
    check(p.returncode == 0, args, p.stderr.decode())
    return json.loads(p.stdout) if p.returncode == 0 else None


def prompt_ids(model, row):
    """Text and single-turn messages must give the golden's ids through our tokenizer and template."""
    if row["kind"] == "plain":
        o = reply("generate", "-m", model, "--raw", "--prompt", row["prompt"], "-n", "1")
    elif row["kind"] == "chat" and [m["role"] for m in row["prompt"]] in (["user"], ["system", "user"]):
        text = row["prompt"][-1]["content"]
        system = ["--system", row["prompt"][0]["content"]] if len(row["prompt"]) == 2 else []
        o = reply("generate", "-m", model, *system, "-n", "1", "--prompt", text)
    else:
        return 0
    check(o and o["prompt_ids"] == row["ids"], row["name"], "prompt ids differ")
    return 1


def greedy(model, row, tolerance):
    n = len(row["greedy"])
    o = reply("generate", "-m", model, "--ids", json.dumps(row["ids"]), "-n", str(n), "--ignore-eos",
              "--logprobs", "10", "--precision", "exact")
    if not o:
        return 0
    check(len(o["ids"]) == n and o["stop"] == "length", row["name"], o["stop"], len(o["ids"]))
    same = 0
    for got, want, margin in zip(o["ids"], row["greedy"], row["margin"]):
        if margin < 20 * tolerance:
            break
        check(got == want, row["name"], "step", same, got, "not", want, "margin", margin)
        if got != want:
            break
        same += 1
    for step, top in list(zip(o["logprobs"], row["top"]))[:same + 1]:
        got = dict(step)
        shift = step[0][1] - top["logits"][0]      # log sum: the same for all ids of a step
        for i, logit in zip(top["ids"][:8], top["logits"]):
            check(i in got and abs(got[i] - shift - logit) <= tolerance, row["name"], "logit of", i)
    if same == n:
        check(o.get("text", row["text"]) == row["text"], row["name"], "text", o.get("text"))
    return same


def prompts(model, folder, tolerance):
    start, steps, texts = time.time(), 0, 0
    rows = [json.loads(line) for line in open(GOLDEN + folder + "/prompts.jsonl", encoding="utf-8")]
    for row in rows:
        texts += prompt_ids(model, row)
        steps += greedy(model, row, tolerance)
    print(f"{folder}: {len(rows)} prompts, {steps} greedy steps, {texts} prompts from text, "
          f"{time.time() - start:.0f} s")
    check(steps > 100, "few steps compared")


def perplexity(model):
    want = json.load(open(GOLDEN + "smollm2/ppl.json", encoding="utf-8"))
    raw = open(GOLDEN + "smollm2/ppl_logprobs.npy", "rb").read()
    logprobs = array.array("f", raw[10 + int.from_bytes(raw[8:10], "little"):])
    text = want["text"].encode()
    o = reply("perplexity", "-m", model, "--precision", "exact", "--tokens", input=text)
    if not o:
        return
    check(o["tokens"] == want["tokens"] == 1079, "tokens", o["tokens"])
    worst = max(abs(a + b) for a, b in zip(o["nll"], logprobs))
    check(len(o["nll"]) == len(logprobs) and worst <= 2e-3, "nll off by", worst)
    check(abs(o["mean_nll"] - want["mean_nll"]) <= 1e-4, "mean", o["mean_nll"])
    fast = reply("perplexity", "-m", model, input=text)
    ratio = fast["perplexity"] / o["perplexity"]
    check(0.995 < ratio < 1.005, "fast / exact perplexity", ratio)
    both = reply("perplexity", "-m", model, "--compare", input=text)
    check(both["mean_nll_exact"] == o["mean_nll"] and both["mean_nll_fast"] == fast["mean_nll"], "compared", both)
    check(both["agreement"] >= 0.985 and both["divergence"] < 0.0007, "fast against exact", both)
    ids = reply("perplexity", "-m", model, "--ids", json.dumps(want["ids"]))
    check(ids["mean_nll"] == fast["mean_nll"], "ids and text differ")
    cut = reply("perplexity", "-m", model, "--n-ctx", "256", input=text)
    check(cut["scored"] == 1078 and 1.0 < cut["perplexity"] / fast["perplexity"] < 1.3, "windows", cut["perplexity"])
    print(f"smollm2: nll of 1,079 tokens within {worst:.2g}; perplexity exact {o['perplexity']:.4f}, "
          f"fast {100 * (ratio - 1):+.2f} %, in windows of 256 {cut['perplexity']:.4f}")


def conduct(model):
    raw = ("generate", "-m", model, "--raw", "--prompt", "The capital of France is")
    p = loam(*raw, "-n", "20")
    whole = p.stdout.decode()
    check(p.returncode == 0 and " Paris" in whole and whole.endswith("\n") and not p.stderr, p.stdout, p.stderr)
    o = reply(*raw, "-n", "20")
    check(o["text"].rstrip("\n") == whole.rstrip("\n"), "streamed text differs from --json's")
    o = reply(*raw, "-n", "20", "--stop", "nowhere", "--stop", ".")
    check(o["stop"] == "stop" and "." not in o["text"] and whole.startswith(o["text"]), o["text"])
    a = reply(*raw, "-n", "12", "--temp", "1.2", "--top-p", "0.95", "--seed", "5")
    b = reply(*raw, "-n", "12", "--temp", "1.2", "--top-p", "0.95", "--seed", "5", "--threads", "1")
    c = reply(*raw, "-n", "12", "--temp", "1.2", "--top-p", "0.95", "--seed", "6")
    check(a["ids"] == b["ids"] and a["ids"] != c["ids"], "seeds", a["ids"], b["ids"], c["ids"])
    a = reply(*raw, "-n", "40", "--repetition-penalty", "1.5")
    plain = reply(*raw, "-n", "40")
    check(len(set(a["ids"])) > len(set(plain["ids"])), "repetition penalty", a["ids"], plain["ids"])
    o = reply(*raw, "-n", "50", "--n-ctx", "10")
    check(o["stop"] == "context" and len(o["prompt_ids"]) + len(o["ids"]) == 11, "context", o["stop"], len(o["ids"]))
    check(o["timings"]["load"] <= 0.1, "load took", o["timings"]["load"])
    p = loam(*raw, "--n-ctx", "3")
    check(p.returncode not in (0, 2) and b"longer than the context of 3" in p.stderr and p.stderr.count(b"\n") == 1,
          p.returncode, p.stderr)
    p = loam("generate", "-m", model, "--ids", "[1, 99999999]")
    check(p.returncode != 0 and b"vocabulary" in p.stderr, p.stderr)
    for bad in (["--ids", "[]"], ["--ids", "x"], ["--ids", "[1.5]"], ["--ids", "[1]", "--prompt", "x"],
                ["--prompt", ""], ["--prompt", "x", "--temp", "nan"], ["--prompt", "x", "--top-p", "2"]):
        p = loam("generate", "-m", model, *bad)
        check(p.returncode == 2 and p.stderr.count(b"\n") == 1 and not p.stdout, bad, p.returncode, p.stderr)
    p = loam("generate", "-m", model, input=b"caf\xe9")
    check(p.returncode not in (0, 2) and p.stderr.count(b"\n") == 1, "not UTF-8:", p.returncode, p.stderr)
    p = subprocess.Popen([LOAM, *raw, "-n", "100000", "--ignore-eos"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    p.stdout.read(5)
    p.send_signal(signal.SIGINT)
    rest, err = p.communicate(timeout=60)
    check(p.returncode == 130 and rest.endswith(b"\n") and not err, "Ctrl-C:", p.returncode, err)
    print("smollm2: streaming, stops, sampling, limits, Ctrl-C")


smollm2, qwen = os.environ.get("LOAM_SMOLLM2"), os.environ.get("LOAM_QWEN")
if smollm2:
    conduct(smollm2)
    perplexity(smollm2)
    prompts(smollm2, "smollm2", 2e-3)
if qwen:
    prompts(qwen, "qwen2.5-coder-1.5b", 5e-3)
print(f"test_llm: {checks} checks, {failed} failed")
sys.exit(failed != 0 or checks == 0)
PY
