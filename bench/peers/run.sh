#!/bin/bash
# Times loam and its peers in one run, alternating, and writes build/bench/peers.md, peers.tsv and peers.svg.
# usage: run.sh [--what llm,first,lookup,embed,search,tokenize] [--rounds N] [--threads N] ...  (see run.py --help)
#   BENCH_LLM        "NAME=MLX_FOLDER:FILE.gguf ..." (shape:NAME of bench-cli --shape instead of a folder: FILE is made when missing)
#   BENCH_EMBED      folder of a BERT sentence encoder      BENCH_TOKENIZER  folder with a byte-level BPE tokenizer.json
#   BENCH_INDEX      index for the answers (default: made from the pages of `make demo`, which fetches them)
#   BENCH_TEXT       English text (default: docs/*.md), repeated to 1 and 10 MB without lines that hold '<'
#   BIN (build/bin), PEERS_DIR (build/peers), which setup.sh fills
# What is not installed or not given is named under the table, not skipped in silence.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
export PEERS_DIR=${PEERS_DIR:-build/peers}
python=$PEERS_DIR/venv/bin/python
[ -x "$python" ] || { echo "peers: no $python: bench/peers/setup.sh makes it; without it only loam and the programs of llama.cpp run" >&2; python=python3; }
exec "$python" "$here/run.py" "$@"
