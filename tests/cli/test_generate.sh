#!/bin/bash
# loam generate, loam perplexity on a tiny random model: forms of prompts, limits, messages.
. tests/cli/lib.sh
source=tests/golden/llm/families/llama
model=$work/model
mkdir "$model"
cp $source/q4g64/config.json $source/q4g64/model.safetensors "$model"

# without a tokenizer: ids in, ids out
run loam generate -m "$model" --ids '[34]' -n 4 --precision exact --ignore-eos
expect 0 "ids"; silent "ids"; prints "140 10 188 188" "ids"
run loam generate -m "$model" --ids '[34]' -n 4 --precision exact --json --logprobs 3
expect 0 "json"; prints '"prompt_ids": [34], "ids": [140, 10, 188, 188], "logprobs": [[[140, ' "json"
prints '"stop": "length"' "json"; prints '"decode_tokens_per_second"' "json"
# guessing repeated text changes passes, nothing else
for more in "" "--precision exact" "--temp 0.3 --seed 4" "--repetition-penalty 1.1"; do
    ids='[1, 2, 1, 2, 1, 2, 1, 2]'
    run loam generate -m "$model" --ids "$ids" -n 120 --ignore-eos --json --logprobs 2 $more
    expect 0 "speculation $more"
    grep -o '"ids.*"speculation' "$work/out" >"$work/with"
    grep -o '"passes": [0-9]*' "$work/out" >"$work/passes"
    run loam generate -m "$model" --ids "$ids" -n 120 --ignore-eos --json --logprobs 2 --no-speculation $more
    prints '"passes": 119, "drafted": 0, "accepted": 0' "no speculation $more"
    check test "$(grep -o '"ids.*"speculation' "$work/out")" = "$(cat "$work/with")"
    [ -n "$more" ] || check test "$(sed 's/.* //' "$work/passes")" -lt 119
done
run loam generate -m "$model" --prompt hello -n 4
expect 3 "no tokenizer"; one_line "no tokenizer"
run loam perplexity -m "$model" --ids '[34, 140, 10, 188]' --json --tokens
expect 0 "perplexity"; prints '"tokens": 4, "scored": 3' "perplexity"; prints '"nll": [' "perplexity"
# compared: both means are those of the single runs, in windows too
value() { grep -o "\"$1\": [^,}]*" "$work/out" | sed 's/.*: //'; }
many=$(seq -s, 3 2 300)
for window in 2048 40; do
    for precision in exact fast; do
        run loam perplexity -m "$model" --ids "[$many]" --n-ctx $window --json --precision $precision
        eval "$precision=$(value mean_nll)"
    done
    run loam perplexity -m "$model" --ids "[$many]" --n-ctx $window --json --compare
    expect 0 "compare"
    check test "$(value mean_nll_exact)" = "$exact"
    check test "$(value mean_nll_fast)" = "$fast"
    run loam perplexity -m "$model" --ids "[$many]" --n-ctx $window --json --kv int8
    bytes=$(value mean_nll)
    run loam perplexity -m "$model" --ids "[$many]" --n-ctx $window --json --compare --kv int8
    check test "$(value mean_nll_exact)" = "$exact"
    check test "$(value mean_nll_fast)" = "$bytes"
    check test "$bytes" != "$fast"
    run loam perplexity -m "$model" --ids "[$many]" --n-ctx $window --json --compare --kv f16
    check test "$exact" != "$fast"
    check awk "BEGIN { exit !($(value divergence) > 0 && $(value divergence) < 0.1 && $(value agreement) > 0.7) }"
done
run loam perplexity -m "$model" --ids '[34, 140]' --compare --precision fast
expect 2 "compare in one precision"; one_line "compare in one precision"

# with one: text, template, standard input
cp $source/tokenizer/* "$model"
run loam generate -m "$model" --prompt hello -n 4 --json
expect 0 "prompt"; prints '"text": "' "prompt"
cp "$work/out" "$work/chat"
echo hello | loam generate -m "$model" -n 4 --json >"$work/out" 2>"$work/err"
check test "$(grep -o '"prompt_ids": [^]]*' "$work/out")" = "$(grep -o '"prompt_ids": [^]]*' "$work/chat")"
run loam generate -m "$model" --raw --prompt hello -n 4 --json
check test "$(grep -o '"prompt_ids": [^]]*' "$work/out")" != "$(grep -o '"prompt_ids": [^]]*' "$work/chat")"
run loam generate -m "$model" --system "Be brief." --prompt hello -n 4 --json
check test "$(grep -o '"prompt_ids": [^]]*' "$work/out")" != "$(grep -o '"prompt_ids": [^]]*' "$work/chat")"
printf 'hello\n' >"$work/text"
run loam perplexity -m "$model" "$work/text"
expect 0 "perplexity of a file"; prints "perplexity" "perplexity of a file"

# wrong usage
for bad in "--ids x" "--ids []" "--ids [-1]" "--ids [1] --prompt x" "--prompt x --top-p 2" "--prompt x --temp -1" \
    "--prompt x --logprobs 2" "--prompt x --precision half" "--prompt x --kv int4" "--prompt x --precision exact --kv int8" "--nonsense"; do
    run loam generate -m "$model" $bad
    expect 2 "$bad"; one_line "$bad"
done
run loam generate --prompt x
expect 2 "no model"; one_line "no model"; says "--model" "no model"
run loam perplexity -m "$model" "$work/nosuch"
expect 3 "no file"; one_line "no file"
run loam generate -m "$work/nosuch" --prompt x
expect 3 "no folder"; one_line "no folder"

# limits and damage
run loam generate -m "$model" --ids '[1, 2, 3, 4]' --n-ctx 3
says "prompt of 4 tokens is longer than the context of 3" "overflow"; one_line "overflow"
check test "$code" != 0
run loam generate -m "$model" --ids '[1, 600]'
says "outside the vocabulary of 512" "large id"; one_line "large id"
run loam generate -m "$model" --ids '[1, 2]' -n 50 --n-ctx 4 --ignore-eos
expect 0 "full context"; says "context of 4 tokens is full" "full context"
printf '\xff\xfe' >"$work/text"
run loam perplexity -m "$model" "$work/text"
one_line "not UTF-8"; check test "$code" != 0
truncate -s 1000 "$model/model.safetensors"
run loam generate -m "$model" --ids '[1]'
expect 4 "cut weights"; one_line "cut weights"
echo '{"model_type": "nosuch"}' >"$model/config.json"
run loam generate -m "$model" --ids '[1]'
says "it knows llama" "unknown family"; one_line "unknown family"
finish
