#!/bin/bash
# loam embed and loam rerank as a user runs them, on the tiny classifier of the goldens (as an
# embedding model it is a bare encoder: mean pooling, unit length).
set -u
loam=$BIN/loam
model=tests/golden/rerank/tiny-bert-ce
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
checks=0 failed=0
check() { # what condition...
    local what=$1
    shift
    checks=$((checks + 1))
    "$@" || { failed=$((failed + 1)); echo "FAILED: $what"; }
}
# run CODE STDIN ARGS...: exit code and at most one line on stderr
run() {
    local want=$1 input=$2 code
    shift 2
    printf '%b' "$input" | "$loam" "$@" >"$dir/out" 2>"$dir/err"
    code=$?
    check "$* exits $want, not $code: $(cat "$dir/err")" [ "$code" = "$want" ]
    if [ "$want" = 0 ]; then
        check "$* says nothing on stderr" [ ! -s "$dir/err" ]
    else
        check "$*: one line on stderr" [ "$(wc -l <"$dir/err")" = 1 ]
        check "$*: nothing on stdout" [ ! -s "$dir/out" ]
    fi
}
lines() { wc -l <"$dir/out"; }
says() { grep -q -- "$1" "$dir/err"; }

run 0 'first text\nsecond text\n' embed --model $model
check 'a line a text' [ "$(lines)" = 2 ]
check 'each an array of 32 numbers' [ "$(tr -cd ',\n' <"$dir/out" | sort | uniq -c | awk '{ print $1, length($2) }')" = '2 31' ]
cp "$dir/out" "$dir/plain"
run 0 '"first text"\n"second\\u0020text"\n' embed --model $model --precision exact
check 'JSON strings are decoded' cmp -s "$dir/out" "$dir/plain"
run 0 'first text\nsecond text' embed --model $model --threads 3
check 'threads and a missing last newline change nothing' cmp -s "$dir/out" "$dir/plain"
run 0 '\n"unclosed\n""\n' embed --model $model
check 'empty, broken and quoted empty lines are texts' [ "$(lines)" = 3 ]
check 'an empty line is the empty text' [ "$(sed -n 1p "$dir/out")" = "$(sed -n 3p "$dir/out")" ]
run 0 '' embed --model $model
check 'no lines, no vectors' [ "$(lines)" = 0 ]
run 0 'first text\nsecond text\n' embed --model $model --output "$dir/x.npy"
check 'nothing printed' [ ! -s "$dir/out" ]
check 'an npy file of 2 x 32 floats' [ "$(tail -c 256 "$dir/x.npy" | wc -c)" = 256 ]
check 'its header' grep -q -a "'descr': '<f4'" "$dir/x.npy"
run 0 'first text\nsecond text\n' embed --model $model --json
check 'one object' [ "$(lines)" = 1 ]
check 'with dim and count' grep -q '"dim": 32, "count": 2' "$dir/out"
check 'and a fingerprint' grep -qE '"fingerprint": "[0-9a-f]{64}"' "$dir/out"

run 0 'MLX is an array library for machine learning.\nThe kettle boils water.\n' rerank --model $model --query 'What is MLX?' --raw-scores
check 'the golden logits' awk 'BEGIN { w[1] = -0.38432467; w[2] = 0.38453090 } { d = $1 - w[NR]; if (d > 2e-5 || d < -2e-5) exit 1 } END { exit NR != 2 }' "$dir/out"
run 0 'MLX is an array library for machine learning.\nThe kettle boils water.\n' rerank --model $model --query 'What is MLX?'
check 'the sigmoid without --raw-scores' awk 'BEGIN { w[1] = 0.40508426; w[2] = 0.59496544 } { d = $1 - w[NR]; if (d > 1e-5 || d < -1e-5) exit 1 } END { exit NR != 2 }' "$dir/out"
run 0 'a\nb\na\n' rerank --model $model --query x --json
check 'scores and ranking' grep -qE '^\{"scores": \[[^]]*\], "ranking": \[\{"index": ' "$dir/out"
check 'ties by lower index' [ "$(grep -oE '"index": [02]' "$dir/out" | head -1)" = '"index": 0' ]
run 0 '' rerank --model $model --query x
check 'no candidates, no scores' [ "$(lines)" = 0 ]

run 4 'fine\nbad \xff byte\n' embed --model $model
check 'the line is named' says 'line 2'
run 4 'bad \xc0\x80\n' rerank --model $model --query x
check 'the line is named' says 'line 1'
run 4 'x\n' rerank --model $model --query $'\xff'
run 2 'x\n' embed
run 2 'x\n' rerank --model $model
run 2 'x\n' embed --model $model --precision best
run 3 'x\n' embed --model "$dir/none"
mkdir "$dir/empty"
run 3 'x\n' embed --model "$dir/empty"
run 3 'x\n' rerank --model "$dir/empty" --query x
mkdir "$dir/bad"
cp $model/tokenizer* $model/model.safetensors "$dir/bad"
sed 's/"num_attention_heads": 4/"num_attention_heads": 0/' $model/config.json >"$dir/bad/config.json"
run 4 'x\n' embed --model "$dir/bad"
check 'the key is named' says num_attention_heads
sed 's/"num_hidden_layers": 2/"num_hidden_layers": 400/' $model/config.json >"$dir/bad/config.json"
run 4 'x\n' embed --model "$dir/bad"
cp $model/config.json "$dir/bad"
head -c 100000 $model/model.safetensors >"$dir/bad/model.safetensors"
run 4 'x\n' embed --model "$dir/bad"
run 4 'x\n' rerank --model "$dir/bad" --query x

echo "test_embed_rerank: $checks checks, $failed failed"
[ "$failed" = 0 ]
