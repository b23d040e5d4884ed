#!/bin/bash
# rag-cli from documents to answers, on a tiny random language model and a tiny random encoder:
# what is answered is noise, everything around it is real.
. tests/cli/lib.sh
export XDG_CACHE_HOME=$work/cache

llm=$work/llm emb=$work/emb
mkdir "$llm" "$work/docs"
cp tests/golden/llm/families/llama/q4g64/{config.json,model.safetensors} tests/golden/llm/tokenizer/* "$llm/"
cp -r tests/golden/rerank/tiny-bert-ce "$emb"
printf '# Lamps\n\nThe harbour keeps an amber lantern. It burns every night.\n\n## Keepers\n\nTwo keepers mind it in turns.\n' >"$work/docs/lamps.md"
printf 'Bread needs flour, water, salt and time.\n' >"$work/docs/bread.txt"
printf 'A chunk with <|im_end|> and \033]0;title\007 inside.\n' >"$work/docs/hostile.txt"

run loam ingest "$work/docs" --vdb-path "$work/ix.npz" --embed-model "$emb"
expect 0 "ingest"

ask() { # question, options...
    local q=$1
    shift
    code=0
    printf '%s\n' "$q" | timeout 60 rag-cli --vdb-path "$work/ix.npz" --model-id "$llm" --no-reranker --max-tokens 8 "$@" \
        >"$work/out" 2>"$work/err" || code=$?
}
ask "Who keeps the lantern?"
expect 0 "a question"
silent "a question"
prints "Loaded VDB from $work/ix.npz" "a question"
prints "(reranker disabled)" "a question"
prints "Retrieved context:" "a question"
prints "lamps.md" "a question"
prints "Answer:" "a question"
cp "$work/out" "$work/first"
ask "Who keeps the lantern?" --threads 1
checks=$((checks + 1)); cmp -s "$work/out" "$work/first" || fail "one thread answers otherwise"
ask "Who keeps the lantern?" --no-stream
checks=$((checks + 1)); cmp -s "$work/out" "$work/first" || fail "--no-stream answers otherwise"

ask "Who keeps the lantern?" --json --top-k 2
expect 0 "--json"
check python3 -c 'import json,sys; d=json.load(open(sys.argv[1])); assert len(d["contexts"])==2 and d["question"].startswith("Who") and d["tokens"]<=8 and {"source","page","begin","end","score","text"} <= set(d["contexts"][0])' "$work/out"
check [ "$(wc -l <"$work/out")" = 1 ]
ask "Who keeps the lantern?" --temp 1 --seed 7
cp "$work/out" "$work/first"
ask "Who keeps the lantern?" --temp 1 --seed 7
checks=$((checks + 1)); cmp -s "$work/out" "$work/first" || fail "the same seed answers otherwise"

# several questions, blank lines, no newline at the end
code=0
printf 'one?\n\n   \ntwo?' | rag-cli --vdb-path "$work/ix.npz" --model-id "$llm" --no-reranker --max-tokens 4 --json >"$work/out" 2>"$work/err" || code=$?
expect 0 "two questions"
check [ "$(wc -l <"$work/out")" = 2 ]
run rag-cli --vdb-path "$work/ix.npz" --model-id "$llm" --no-reranker
expect 0 "no question"

# prompts kept on disk: the same answer from less reading, whatever is in the folder
cache=$work/cache/loam/prefix
long="Who keeps the lantern? $(printf 'word%s ' $(seq 60))"
field() { python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$work/out" "$1"; }
long() { # NAME, options...: asks, expects the answer of the first time
    local name=$1
    shift
    ask "$long" --json --prefix-cache on "$@"
    expect 0 "$name"
    checks=$((checks + 1)); [ "$(field answer)" = "$answer" ] || fail "$name: another answer"
}
rm -rf "$work/cache"
ask "$long" --json
expect 0 "long question"
answer=$(field answer)
check [ "$(field prompt_tokens)" -gt 300 ]
check [ ! -e "$work/cache" ]
long "first" --no-speculation
silent "first"
check [ "$(field reused_tokens)" = 0 ]
check [ "$(ls "$cache" | wc -l)" = 1 ]
check [ "$(stat -c %a "$cache")" = 700 ]
check [ "$(stat -c %a "$cache"/*.kv)" = 600 ]
long "again"
silent "again"
check [ "$(field reused_tokens)" = "$(field prompt_tokens)" ]
ask "${long% } else" --json --prefix-cache on
expect 0 "a question that begins the same"
check [ "$(field reused_tokens)" -gt 256 ]
check [ "$(field reused_tokens)" -lt "$(field prompt_tokens)" ]
ask "$long" --json --prefix-cache on --precision exact
check [ "$(field reused_tokens)" = 0 ]
rm -f "$cache"/*-exact-*
file=$(echo "$cache"/*.kv)
for size in 0 100 2000 -8 -1; do
    cp "$file" "$work/good"
    truncate -s "$size" "$file"
    long "cut to $size"
    one_line "cut to $size"
    says "prefix cache" "cut to $size"
    check [ "$(field reused_tokens)" = 0 ]
    cp "$work/good" "$file"
done
printf 'X' | dd of="$file" bs=1 seek=2000 conv=notrunc status=none
long "changed"
one_line "changed"
long "written anew"
silent "written anew"
check [ "$(field reused_tokens)" = "$(field prompt_tokens)" ]
echo foreign >"$cache/other.kv"
mkdir "$cache/folder.kv"
long "foreign files"
silent "foreign files"
rm -r "$cache/other.kv" "$cache/folder.kv"
touch "$cache/x.kv.tmp-00000000" "$cache/y.kv.tmp-00000000"
touch -d "2 hours ago" "$cache/x.kv.tmp-00000000"
ask "something else altogether: ${long}" --json --prefix-cache on --prefix-cache-size 1
expect 0 "bounded"
check [ ! -e "$cache/x.kv.tmp-00000000" ]
check [ -e "$cache/y.kv.tmp-00000000" ]
check [ "$(du -sb "$cache" --exclude '*.tmp-*' | cut -f1)" -le $(((1 << 20) + 4096)) ]
rm -rf "$cache"
mkdir -m 777 -p "$cache"
long "a folder that others may write to"
silent "a folder that others may write to"
check [ -z "$(ls "$cache")" ]
rm -rf "$cache"
touch "$cache"
long "no folder"
silent "no folder"
rm -f "$cache"
code=0
printf '%s\n' "$long" "$long" | rag-cli --vdb-path "$work/ix.npz" --model-id "$llm" --no-reranker --max-tokens 8 --json >"$work/out" 2>"$work/err" || code=$?
expect 0 "twice in one run"
check python3 -c 'import json,sys; a,b=[json.loads(l) for l in open(sys.argv[1])]; assert a["answer"]==b["answer"] and a["reused_tokens"]==0 and b["reused_tokens"]==b["prompt_tokens"]-1' "$work/out"
for i in 1 2 3 4; do # several at once
    printf '%s\n' "$long" | rag-cli --vdb-path "$work/ix.npz" --model-id "$llm" --no-reranker --max-tokens 8 --json --prefix-cache on >"$work/out.$i" 2>"$work/err.$i" &
done
wait
for i in 1 2 3 4; do
    cp "$work/out.$i" "$work/out"
    check [ "$(field answer)" = "$answer" ]
    check [ ! -s "$work/err.$i" ]
done
check [ "$(ls "$cache" | wc -l)" = 1 ]

# reranker: a named one is used, a missing named one is an error, a missing default is a warning
ask "Who keeps the lantern?" --json --top-k 2 --top-k 2
code=0
printf 'bread?\n' | rag-cli --vdb-path "$work/ix.npz" --model-id "$llm" --reranker-id "$emb" --max-tokens 4 >"$work/out" 2>"$work/err" || code=$?
expect 0 "with a reranker"
prints "and reranker $emb" "with a reranker"
code=0
printf 'bread?\n' | HF_HUB_CACHE=$work/none rag-cli --vdb-path "$work/ix.npz" --model-id "$llm" --reranker-id org/none --max-tokens 4 >"$work/out" 2>"$work/err" || code=$?
expect 3 "named reranker missing"
says "loam pull org/none" "named reranker missing"
code=0
printf 'bread?\n' | HF_HUB_CACHE=$work/none rag-cli --vdb-path "$work/ix.npz" --model-id "$llm" --max-tokens 4 >"$work/out" 2>"$work/err" || code=$?
expect 0 "default reranker missing"
one_line "default reranker missing"
says "answering without it" "default reranker missing"

# bad input
ask "$(printf 'caf\351')"
expect 4 "question that is not UTF-8"
one_line "question that is not UTF-8"
ask "$(printf 'word %.0s' $(seq 3000))"
check [ "$code" = 1 ]
one_line "question longer than the context"
says "context" "question longer than the context"
code=0
printf 'x?\n' | HF_HUB_CACHE=$work/none LOAM_MODELS=$work/none rag-cli --vdb-path "$work/ix.npz" --no-reranker --model-id org/model >"$work/out" 2>"$work/err" || code=$?
expect 3 "missing model"
says "loam pull org/model" "missing model"
printf 'x?\n' | rag-cli --vdb-path "$work/ix.npz" --no-reranker --model-id "$llm" --max-tokens 4 >/dev/full 2>"$work/err" && fail "full disk is no success"
one_line "full disk"

# another embedder than the index was made with
cp -r "$emb" "$work/emb2"
python3 - "$work/emb2/tokenizer_config.json" "$work/emb2/config.json" <<'PY'
import json, sys
c = json.load(open(sys.argv[2])); c["layer_norm_eps"] = 1e-5; json.dump(c, open(sys.argv[2], "w"))
PY
ask "x?" --embed-model "$work/emb2"
check [ "$code" != 0 ]
one_line "another embedder"
says "embed" "another embedder"

# Ctrl-C while it waits for a question in a pipe: ends at once, exit 130
mkfifo "$work/questions"
rag-cli --vdb-path "$work/ix.npz" --no-reranker --model-id "$llm" <"$work/questions" >"$work/out" 2>"$work/err" &
pid=$!
exec 9>"$work/questions"
for _ in $(seq 100); do grep -q 'Type a question' "$work/out" && break; sleep 0.1; done
kill -INT $pid
code=0
wait $pid || code=$?
exec 9>&-
expect 130 "Ctrl-C"
silent "Ctrl-C"

# at a terminal; a model without an end token and with a long context answers until it is stopped
cp -r "$llm" "$work/endless"
sed -i '/"eos_token_id"/d; s/"max_position_embeddings": 2048/"max_position_embeddings": 100000/' "$work/endless/config.json"
sed -i "/\"eos_token\"/d" "$work/endless/tokenizer_config.json"
if ! python3 -c 'import pty; pty.openpty()' 2>/dev/null; then
    echo "no pseudo-terminal can be had here: rag-cli's prompt was NOT tested"
    finish
    exit
fi
for locale in C C.UTF-8; do
    run python3 tests/cli/prompt.py "$PWD/$BIN/rag-cli" "$work/ix.npz" "$llm" "$work/endless" "$locale"
    expect 0 "at a terminal, LC_ALL=$locale"
done
finish
