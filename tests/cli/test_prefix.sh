#!/bin/bash
# Prompts kept on disk, under hostile conditions: whatever is in the folder, whoever else uses it and whenever a process
# dies, the answer is the one without a cache, with one line of warning at most.  (test_saved has every cut and every
# changed byte of a file, and other weights; test_rag_cli the usual ways.)
. tests/cli/lib.sh
export XDG_CACHE_HOME=$work/cache
cache=$work/cache/loam/prefix
llm=$work/llm emb=$PWD/tests/golden/rerank/tiny-bert-ce
mkdir "$llm"
cp tests/golden/llm/families/llama/q4g64/{config.json,model.safetensors} tests/golden/llm/tokenizer/* "$llm/"
printf 'The harbour keeps an amber lantern. It burns every night. Two keepers mind it in turns.\n' >"$work/lamps.txt"
run loam ingest "$work/lamps.txt" --vdb-path "$work/ix.npz" --embed-model "$emb"
expect 0 "ingest"
question="Who keeps the lantern? $(printf 'word%s ' $(seq 60))"
ask() { rag-cli --vdb-path "$work/ix.npz" --model-id "$llm" --no-reranker --max-tokens 8 --json "$@"; }
answer_of() { sed -n 's/.*"answer":\("\(\\.\|[^"\\]\)*"\).*/\1/p' "$1"; }
field() { sed -n "s/.*\"$1\":\([0-9]*\).*/\1/p" "$work/out"; }
# cached NAME [LINES]: asks with the cache; the answer must be that of the first time, with so many lines of warning at most
cached() {
    code=0
    printf '%s\n' "$question" | ask --prefix-cache on >"$work/out" 2>"$work/err" || code=$?
    expect 0 "$1"
    checks=$((checks + 2))
    [ "$(answer_of "$work/out")" = "$answer" ] || fail "$1: another answer"
    [ "$(wc -l <"$work/err")" -le "${2:-0}" ] || fail "$1: $(head -c 300 "$work/err")"
}
printf '%s\n' "$question" | ask >"$work/plain" 2>"$work/err"
answer=$(answer_of "$work/plain")
check [ -n "$answer" ]
cached "first"
cached "second"
check [ "$(field reused_tokens)" = "$(field prompt_tokens)" ]
file=$(echo "$cache"/*.kv)
cp "$file" "$work/good"
size=$(stat -c %s "$file")

# a changed bit in each region: magic, version, precision, shape, count, bytes, kernels, fingerprint, ids, first and last
# keys and values, hash; cuts between the regions
for at in 0 8 12 16 28 32 40 48 64 128 600 4000 $((size / 2)) $((size - 9)) $((size - 1)); do
    cp "$work/good" "$file"
    byte=$(od -An -tu1 -j "$at" -N1 "$file")
    printf "$(printf '\\%03o' $((byte ^ 1 << at % 8)))" | dd of="$file" bs=1 seek="$at" conv=notrunc status=none
    cached "a bit changed at $at" 1
    check cmp -s "$file" "$work/good" # written anew, as it was
done
for at in 64 128 192 1024 $((size / 64 * 32)) $((size - 64)); do
    head -c "$at" "$work/good" >"$file"
    cached "cut to $at" 1
    check cmp -s "$file" "$work/good"
done
# of other weights, under this model's name
cp -r "$llm" "$work/other"
cp tests/golden/llm/families/llama/q8g32/{config.json,model.safetensors} "$work/other/"
mv "$cache" "$work/kept"
printf '%s\n' "$question" | rag-cli --vdb-path "$work/ix.npz" --model-id "$work/other" --no-reranker --max-tokens 8 --json --prefix-cache on >"$work/out" 2>"$work/err"
check [ "$(ls "$cache" | wc -l)" = 1 ]
rm -rf "$work/foreign"
mv "$cache" "$work/foreign"
mv "$work/kept" "$cache"
cp "$work/foreign"/*.kv "$file"
cached "of other weights" 1
check cmp -s "$file" "$work/good"
# with keys and values in int8: a file of its own; under this one's name it is not taken
printf '%s\n' "$question" | ask --prefix-cache on --kv int8 >"$work/out" 2>"$work/err"
check [ ! -s "$work/err" ]
check [ "$(ls "$cache" | wc -l)" = 2 ]
check cmp -s "$file" "$work/good"
bytes=$(echo "$cache"/*-fast-int8-*.kv)
printf '%s\n' "$question" | ask --prefix-cache on --kv int8 >"$work/out" 2>"$work/err"
check [ "$(field reused_tokens)" = "$(field prompt_tokens)" ]
check [ "$(stat -c %s "$bytes")" -lt "$size" ]
mv "$bytes" "$file"
cached "of int8" 1
check cmp -s "$file" "$work/good"

# a folder that cannot be written, a disk that is full, a file that may not grow
if [ "$(id -u)" = 0 ] && setpriv --reuid 65534 --clear-groups true 2>/dev/null; then
    chmod 755 "$work" "$work/cache" "$work/cache/loam"
    chown -R 65534 "$cache" && chmod 755 "$cache"
    as_nobody() { (cp "$BIN/rag-cli" "$work/rag-cli"; printf '%s\n' "$question" | HOME=/ setpriv --reuid 65534 --clear-groups "$work/rag-cli" --vdb-path "$work/ix.npz" --model-id "$llm" \
        --embed-model "$work/emb" --no-reranker --max-tokens 8 --json --prefix-cache on >"$work/out" 2>"$work/err"); }
    cp -r "$emb" "$work/emb"
    chmod -R a+rX "$work"
    chmod 500 "$cache"
    as_nobody
    check [ "$(answer_of "$work/out")" = "$answer" ]
    check [ "$(field reused_tokens)" = "$(field prompt_tokens)" ]
    chmod 700 "$cache"
    rm -f "$cache"/*.kv
    chmod 500 "$cache"
    as_nobody
    check [ "$(answer_of "$work/out")" = "$answer" ]
    check [ ! -s "$work/err" ]
    check [ -z "$(ls "$cache")" ]
else
    echo "another user cannot be had here: a read-only cache was NOT tested"
fi
rm -rf "$cache"
mkdir -m 700 -p "$cache"
for blocks in 0 1 40; do # of 1024 bytes: the first write, or one amid the file, fails
    (ulimit -f $blocks; printf '%s\n' "$question" | ask --prefix-cache on 2>/dev/null | head -c 100000 | cat >/dev/null; exit "${PIPESTATUS[1]}") && code=0 || code=$?
    expect 0 "a file may have $blocks KB"
    check [ -z "$(ls "$cache")" ]
done
if mount -t tmpfs -o size=64k,mode=700 none "$cache" 2>/dev/null; then
    cached "full disk" 1
    check [ -z "$(ls "$cache")" ]
    umount "$cache"
else
    echo "no file system can be mounted here: a full disk was tested by the limit of a file alone"
fi

# killed at any moment, while others read and write the same folder
rm -rf "$cache"
for i in $(seq 24); do
    printf '%s\n' "$question" | ask --prefix-cache on >/dev/null 2>&1 &
    other=$!
    printf '%s\n' "Another one, number $((i % 5)): $question" | ask --prefix-cache on >/dev/null 2>&1 &
    victim=$!
    sleep "0.$((RANDOM % 2))$((RANDOM % 10))"
    kill -9 $victim 2>/dev/null
    [ $((i % 3)) = 0 ] && kill -9 $other 2>/dev/null
    wait $victim $other 2>/dev/null
done 2>/dev/null
cached "after the killing"
cached "after the killing, again"
check [ "$(field reused_tokens)" = "$(field prompt_tokens)" ]
for f in "$cache"/*.tmp-*; do [ -e "$f" ] && touch -d '2 hours ago' "$f"; done
rm -f "$cache"/*.kv
cached "a later day"
checks=$((checks + 1)); ls "$cache" | grep -q 'tmp-' && fail "temp files pile up: $(ls "$cache")"
finish
