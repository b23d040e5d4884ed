#!/bin/bash
# loam convert of real weights against what mlx-lm wrote, tensor by tensor.
# usage: test_convert.sh   (BIN: programs; LOAM_SMOLLM2_GGUF, LOAM_QWEN_GGUF: the GGUF files, else
# LOAM_SMOLLM2: the folder already made.  What is not given is left out and said so.  Needs 4 GB of
# disk for Qwen.)
set -u
BIN=${BIN:-build/bin}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
passed=0 failed=0

# compare FOLDER KEY: every digest that the golden has for KEY
compare() {
    local of what want got
    python3 tests/models/tensors.py "$1" >"$dir/got" || { failed=$((failed + 1)); return; }
    while IFS=$'\t' read -r of what want; do
        [ "$of" = "$2" ] || continue
        got=$(awk -v w="$what" '$1 == w { print $2 }' "$dir/got")
        if [ "$got" = "$want" ]; then passed=$((passed + 1)); else
            failed=$((failed + 1))
            echo "FAILED: $2: $what differs"
        fi
    done <tests/golden/convert/digests.tsv
}
# convert KEY SRC DST OPTIONS...
convert() {
    local key=$1 start=$SECONDS
    shift
    if "$BIN/loam" convert "$@" >/dev/null; then compare "$2" "$key"; else
        failed=$((failed + 1))
        echo "FAILED: $key: loam convert $*"
    fi
    echo "$key: $((SECONDS - start)) s"
}

if [ -e "${LOAM_SMOLLM2_GGUF:-}" ]; then
    convert smollm2-mlx4 "$LOAM_SMOLLM2_GGUF" "$dir/mlx4"
    convert smollm2-hf-f16 "$LOAM_SMOLLM2_GGUF" "$dir/hf" --dequantize --dtype float16
    while read -r key options; do
        # shellcheck disable=SC2086
        convert "$key" "$dir/hf" "$dir/x" $options
        rm -rf "$dir/x"
    done <<'SETTINGS'
q4g64 --bits 4 --group-size 64
q8g64 --bits 8 --group-size 64
q4g32bf16 --bits 4 --group-size 32 --dtype bfloat16
q6g64f32 --bits 6 --group-size 64 --dtype float32
mixed_3_6 --group-size 64 --recipe mixed_3_6
mxfp4 --mode mxfp4
mxfp8 --mode mxfp8
nvfp4 --mode nvfp4
f16
SETTINGS
    rm -rf "$dir/hf" "$dir/mlx4"
elif [ -e "${LOAM_SMOLLM2:-}/model.safetensors" ]; then
    compare "$LOAM_SMOLLM2" smollm2-mlx4
    echo "test_convert: LOAM_SMOLLM2_GGUF is not given: only the folder made from it was compared"
fi
if [ -e "${LOAM_QWEN_GGUF:-}" ]; then
    convert qwen-hf "$LOAM_QWEN_GGUF" "$dir/qhf" --dequantize --dtype bfloat16
    convert qwen-mlx4 "$dir/qhf" "$dir/q4" --bits 4 --group-size 64
    rm -rf "$dir/qhf"
    "$BIN/loam" convert "$LOAM_QWEN_GGUF" "$dir/one" --bits 4 --group-size 64 --dtype bfloat16 >/dev/null
    if [ "$(python3 tests/models/tensors.py -l "$dir/one")" = "$(python3 tests/models/tensors.py -l "$dir/q4")" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED: qwen in one step differs from two"
    fi
else
    echo "test_convert: LOAM_QWEN_GGUF is not given: Qwen left out"
fi
echo "test_convert: $passed passed, $failed failed"
[ $failed = 0 ] && [ $passed -gt 0 ]
