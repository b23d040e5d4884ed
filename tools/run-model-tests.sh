#!/bin/bash
# Tests on real weights: fetches them first (1.23 GB, kept for the next run), converts them as the
# goldens were, then runs tests/models/test_*.sh.
# usage: run-model-tests.sh OBJDIR BINDIR
set -u
export OBJ=$1 BIN=$2
export LOAM_MODELS=${LOAM_MODELS:-${XDG_DATA_HOME:-$HOME/.local/share}/loam/models}
tools/get-models.sh "$BIN" minilm smollm2_gguf qwen_gguf || exit 1
export LOAM_MINILM=${LOAM_MINILM:-$LOAM_MODELS/sentence-transformers/all-MiniLM-L6-v2}
export LOAM_SMOLLM2_GGUF=${LOAM_SMOLLM2_GGUF:-$LOAM_MODELS/gguf/SmolLM2-135M-Instruct.Q4_1.gguf}
export LOAM_QWEN_GGUF=${LOAM_QWEN_GGUF:-$LOAM_MODELS/gguf/qwen2.5-coder-1.5b-instruct-q4_k_m.gguf}
made=build/models
mkdir -p "$made"
[ -e "$made/smollm2-mlx4/config.json" ] || "$BIN/loam" convert "$LOAM_SMOLLM2_GGUF" "$made/smollm2-mlx4" || exit 1
[ -e "$made/qwen-mlx4/config.json" ] ||
    "$BIN/loam" convert "$LOAM_QWEN_GGUF" "$made/qwen-mlx4" --bits 4 --group-size 64 --dtype bfloat16 || exit 1
export LOAM_SMOLLM2=${LOAM_SMOLLM2:-$made/smollm2-mlx4} LOAM_QWEN=${LOAM_QWEN:-$made/qwen-mlx4}
passed=0 failed=0
for s in tests/models/test_*.sh; do
    if bash "$s"; then passed=$((passed + 1)); else
        failed=$((failed + 1))
        echo "FAILED $s"
    fi
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
