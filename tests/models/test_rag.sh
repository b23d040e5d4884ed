#!/bin/bash
# MiniLM against the goldens: hidden states, 301 vectors, through the library and the program.
# usage: test_rag.sh (BIN: programs, OBJ: build folder, LOAM_MODELS: model directory)
set -u
models=${LOAM_MODELS:-${XDG_DATA_HOME:-$HOME/.local/share}/loam/models}
export LOAM_MINILM=${LOAM_MINILM:-$models/minilm}
obj=${OBJ:-build/release}
[ -e "$LOAM_MINILM/model.safetensors" ] || { echo "test_rag: no MiniLM in $LOAM_MINILM"; exit 1; }
"$obj/tests/test_encoder" || exit 1
"$obj/tests/test_embedder" || exit 1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
# the texts as JSON strings, a line each
sed -n 's/^.*"text": \("\(\\.\|[^"\\]\)*"\)\(}\|, .*\)$/\1/p' tests/golden/minilm/texts.jsonl >"$dir/texts"
[ "$(wc -l <"$dir/texts")" = 301 ] || { echo "test_rag: texts.jsonl: $(wc -l <"$dir/texts") texts"; exit 1; }
for precision in exact fast; do
    "$BIN/loam" embed --model "$LOAM_MINILM" --precision $precision --output "$dir/x.npy" <"$dir/texts" || exit 1
    tail -c $((301 * 384 * 4)) "$dir/x.npy" | od -An -v -t f4 -w4 >"$dir/got"
    tail -c $((301 * 384 * 4)) tests/golden/minilm/embeddings_f32.npy | od -An -v -t f4 -w4 >"$dir/want"
    paste "$dir/got" "$dir/want" | awk -v p=$precision '
        { d = $1 - $2; if (d < 0) d = -d; if (!(d <= worst)) worst = d; n++ }
        END { printf "loam embed --precision %s: %d numbers within %g\n", p, n, worst; exit !(n == 301 * 384 && worst <= 1e-5) }' || exit 1
done
echo "test_rag: ok"
