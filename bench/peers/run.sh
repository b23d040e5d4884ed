#!/bin/bash
# Times loam and its peers in one run, alternating, and writes build/bench/peers.md and peers.tsv.
# usage: run.sh [--what llm,embed,search,tokenize] [--rounds N] [--threads N] [--count N] ...  (see run.py --help)
#   BENCH_LLM        "NAME=MLX_FOLDER:FILE.gguf ..." (FOLDER may be shape:NAME of bench-cli --shape)
#   BENCH_EMBED      folder of a BERT sentence encoder      BENCH_TOKENIZER  folder with a byte-level BPE tokenizer.json
#   BENCH_TEXT       English text (default: docs/*.md without lines that hold '<', repeated to 1 MB)
#   BIN (build/bin), PEERS_DIR (build/peers), LLAMA_BENCH ($PEERS_DIR/llama.cpp/bin/llama-bench)
# What is not installed or not given is named in the table, not skipped in silence.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
export PEERS_DIR=${PEERS_DIR:-build/peers}
python=$PEERS_DIR/venv/bin/python
[ -x "$python" ] || { echo "peers: no $python: bench/peers/setup.sh makes it; only loam and llama-bench can run" >&2; python=python3; }
exec "$python" "$here/run.py" "$@"
