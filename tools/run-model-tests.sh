#!/bin/bash
# Tests on real weights: fetches them first (1.2 GB), then runs tests/models/*.sh.
# usage: run-model-tests.sh OBJDIR BINDIR
set -u
export OBJ=$1 BIN=$2
models=${LOAM_MODELS:-${XDG_DATA_HOME:-$HOME/.local/share}/loam/models}
tools/get-models.sh "$BIN" minilm smollm2 qwen || exit 1
export LOAM_MINILM=${LOAM_MINILM:-$models/sentence-transformers/all-MiniLM-L6-v2}
export LOAM_SMOLLM2=${LOAM_SMOLLM2:-$models/smollm2-135m-instruct}
export LOAM_QWEN=${LOAM_QWEN:-$models/qwen2.5-coder-1.5b-instruct}
passed=0 failed=0
for s in tests/models/test_*.sh; do
    if bash "$s"; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAILED $s"; fi
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
