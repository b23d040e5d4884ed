#!/bin/bash
# A process holds the weights' file, keys and values, and little else: its peak, mapped pages with it,
# as the system counts it.  The promise is 100 MB of all else; on 84 MB of weights a second copy of them
# would pass that, so the limit here is 60 MB; 100 MB where a sanitizer keeps its own memory beside.
. tests/cli/lib.sh
export XDG_CACHE_HOME=$work/cache
export ASAN_OPTIONS=quarantine_size_mb=1
mkdir "$work/cache"
run bench-cli llm --shape smollm2-135m-4bit --pp 8 --tg 1 -r 1 --keep
expect 0 "a kept shape"
model=$XDG_CACHE_HOME/loam/shapes/smollm2-135m-4bit
cp tests/golden/tokenizers/small/bytes_plain.json "$model/tokenizer.json"
check python3 - "$model" "$BIN/loam" <<'EOF'
import json, os, random, subprocess, sys
folder, loam = sys.argv[1:]
config = json.load(open(folder + "/config.json"))
weights = os.path.getsize(folder + "/model.safetensors")
n = 512
ids = json.dumps([random.Random(1).randrange(config["vocab_size"]) for _ in range(n)])
head_dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
limit = 100e6 if b"__asan_init" in open(loam, "rb").read() else 60e6
values = 2 * n * config["num_hidden_layers"] * config["num_key_value_heads"] * head_dim
for precision, size in ("fast", 2), ("exact", 4):
    p = subprocess.Popen([loam, "perplexity", "-m", folder, "--ids", ids, "--precision", precision,
                          "-t", "2", "--json"], stdout=subprocess.PIPE)
    reply = json.loads(p.stdout.read())
    _, status, usage = os.wait4(p.pid, 0)
    peak, cache = usage.ru_maxrss * 1024, values * size
    rest = peak - weights - cache
    print(f"{precision}: {peak / 1e6:.0f} MB: {weights / 1e6:.0f} of weights, {cache / 1e6:.0f} of keys and values")
    assert status == 0 and reply["scored"] == n - 1, (status, reply)
    assert peak > weights, "not all of the weights were read, or mapped pages not counted"
    assert rest <= limit, f"{precision}: {rest / 1e6:.0f} MB of all else"
EOF
finish
