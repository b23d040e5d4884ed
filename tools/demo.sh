#!/bin/bash
# The whole way once: models, documents, index, a question, its answer.
# usage: demo.sh BINDIR        DEMO_MODEL=qwen (default, 1.15 GB to fetch) or smollm2 (0.18 GB: a smoke test,
# too small to answer well)
set -euo pipefail
bin=$1
export LOAM_MODELS=${LOAM_MODELS:-${XDG_DATA_HOME:-$HOME/.local/share}/loam/models}
case ${DEMO_MODEL:-qwen} in
qwen) model=qwen2.5-coder-1.5b-instruct size="1.15 GB" ;;
smollm2)
    model=smollm2-135m-instruct size="0.18 GB"
    echo "SmolLM2-135M is a smoke test: the programs run, but the model is too small to answer from documents."
    ;;
*) echo "demo: DEMO_MODEL=$DEMO_MODEL: qwen or smollm2" >&2; exit 2 ;;
esac
echo "== models: $size to fetch the first time, kept in $LOAM_MODELS"
tools/get-models.sh "$bin" minilm "${DEMO_MODEL:-qwen}"
ln -sfn "$model" "$LOAM_MODELS/default"

echo "== documents: loam's own pages, and the Debian FAQ in HTML and PDF"
fetch_faq() { (cd "$1" && apt-get download -q debian-faq >/dev/null 2>&1); }
if [ ! -d demo/debian-faq ]; then
    mkdir -p demo
    tmp=$(mktemp -d demo/part.XXXXXX)
    fetch_faq "$tmp" || { ${SUDO:-} apt-get update -q >/dev/null 2>&1 && fetch_faq "$tmp"; } ||
        { echo "demo: the package debian-faq cannot be fetched (apt-get download debian-faq)" >&2; rm -rf "$tmp"; exit 5; }
    (cd "$tmp" && dpkg-deb -x debian-faq_*.deb x)
    mkdir "$tmp/out"
    cp "$tmp"/x/usr/share/doc/debian/FAQ/*.en.html "$tmp/out/"
    for pdf in "$tmp"/x/usr/share/doc/debian/FAQ/debian-faq.en.pdf*; do
        case $pdf in *.gz) gzip -dc "$pdf" >"$tmp/out/debian-faq.pdf" ;; *) cp "$pdf" "$tmp/out/debian-faq.pdf" ;; esac
    done
    mv "$tmp/out" demo/debian-faq
    rm -rf "$tmp"
fi
mkdir -p models/indexes
"$bin/loam" ingest docs README.md demo/debian-faq --vdb-path models/indexes/combined_vdb.npz

echo "== question"
echo "What is MLX?"
echo "What is MLX?" | "$bin/rag-cli" --vdb-path models/indexes/combined_vdb.npz --no-reranker --max-tokens 100
