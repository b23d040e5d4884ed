#!/bin/bash
# rag-cli from documents to answers, on a tiny random language model and a tiny random encoder:
# what is answered is noise, everything around it is real.
. tests/cli/lib.sh

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
finish
