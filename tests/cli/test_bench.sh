#!/bin/bash
# bench-cli: three forms of one report, limits measured first, and nothing left behind.
. tests/cli/lib.sh
export TMPDIR=$work/tmp XDG_CACHE_HOME=$work/cache
mkdir "$TMPDIR"
empty() { checks=$((checks + 1)); [ -z "$(ls -A "$TMPDIR")" ] || fail "$1: left in the temp folder: $(ls -A "$TMPDIR")"; }

llm=tests/golden/llm/families/llama/q4g64
run bench-cli llm --model "$llm" --pp 16,40 --tg 8 --first 300 --verify 1,7 -r 2 --json
expect 0 "--json"
silent "--json"
check python3 - "$work/out" <<'EOF'
import json, sys
d = json.load(open(sys.argv[1]))
rows = {r["metric"]: r for r in d["rows"]}
assert set(rows) == {"first token, 300", "first token, 300 from a file", "load", "pp16", "pp40", "tg8",
                     "pass of 1 behind 400", "pass of 7 behind 400"}, rows.keys()
assert all(r["median"] > 0 and r["deviation"] >= 0 and len(r["samples"]) == (1 if n == "load" else 2) for n, r in rows.items())
assert d["read_bandwidth"] > 1e8 and d["memory"]["resident"] > d["memory"]["cache"] > 0
assert rows["tg8"]["bytes_per_unit"] > 0 and rows["pp16"]["macs_per_unit"] > 0
if d["isa"] != "ref":
    # which is larger depends on what else runs meanwhile
    assert d["peak_int8"] > 1e8 and d["peak_f32"] > 1e8 and rows["pp40"]["share_of_peak"] > 0, d
EOF
empty "first token"
run bench-cli llm --model "$llm" --pp 16 -r 2 --csv
check [ "$(wc -l <"$work/out")" = 3 ]
run bench-cli llm --model "$llm" --pp 16 -r 1
prints "pp16" "table"
prints "resident:" "table"

for bad in 0 16, ,16 16,x 1000001 "$(seq -s, 33)"; do
    run bench-cli llm --model "$llm" --pp "$bad"
    expect 2 "--pp $bad"
    one_line "--pp $bad"
done
run bench-cli llm --model "$llm" --verify 65
expect 2 "a pass too long"
one_line "a pass too long"
# 17 positions of 3 layers, 2 heads, keys and values: 8 of f16, or 8 bytes with a scale of 2
for kv in f16:$((17 * 3 * 2 * 2 * 16)) int8:$((17 * 3 * 2 * 2 * 10)); do
    run bench-cli llm --model "$llm" --pp 16 -r 1 --kv "${kv%:*}" --json
    prints "\"cache\":${kv#*:}}" "memory of --kv $kv"
done
run bench-cli llm --model "$llm" --pp 16 -r 1 --kv int8 --precision exact
expect 2 "int8 in exact"; one_line "int8 in exact"

run bench-cli llm --shape no-such-shape
expect 2 "unknown shape"
one_line "unknown shape"
run bench-cli llm --shape smollm2-135m-4bit --pp 8 --tg 1 -r 1
expect 0 "a shape"
empty "a shape"
check [ ! -e "$XDG_CACHE_HOME" ]
run bench-cli llm --shape smollm2-135m-4bit --pp 8 --tg 1 -r 1 --keep
expect 0 "a kept shape"
empty "a kept shape"
kept=$XDG_CACHE_HOME/loam/shapes/smollm2-135m-4bit
check [ "$(stat -c %a "$kept")" = 700 ]
before=$(stat -c %Y.%i "$kept/model.safetensors")
run bench-cli llm --shape smollm2-135m-4bit --pp 8 --tg 1 -r 1 --keep
silent "a kept shape again"
check [ "$(stat -c %Y.%i "$kept/model.safetensors")" = "$before" ]
chmod 777 "$kept"
run bench-cli llm --shape smollm2-135m-4bit --pp 8 --tg 1 -r 1 --keep
expect 1 "a folder that others may write to"
# stopped: while it writes (at once) and while it measures
for wait in 0.1 1.5; do
    bench-cli llm --shape llama3.2-1b-4bit --pp 512 -r 64 >"$work/out" 2>"$work/err" &
    pid=$!
    sleep $wait
    kill -TERM $pid
    code=0
    wait $pid || code=$?
    expect 143 "stopped after $wait s"
    empty "stopped after $wait s"
done
finish
