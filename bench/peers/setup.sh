#!/bin/bash
# Installs the programs that loam is timed against into $PEERS_DIR (default build/peers); what is there is kept.
# usage: setup.sh [PART...]    parts: python llama (default: both); needs python3 with venv and pip, cmake, a C++ compiler
# python: numpy, faiss, usearch, onnxruntime, tokenizers, tiktoken as wheels; llama: llama-bench, compiled (10 minutes).
set -eu
P=${PEERS_DIR:-build/peers}
JOBS=${JOBS:-2}
LLAMA=0.3.36 # of llama-cpp-python, whose source distribution carries llama.cpp
mkdir -p "$P"
P=$(cd "$P" && pwd)

part_python() {
    [ -x "$P/venv/bin/python" ] || python3 -m venv "$P/venv"
    "$P/venv/bin/pip" install -q numpy onnxruntime==1.31.1 onnx==1.23.2 safetensors tokenizers==0.23.3 tiktoken==0.14.0 faiss-cpu==1.15.1 usearch==2.26.6
}
part_llama() {
    local src=$P/llama_cpp_python-$LLAMA out=$P/llama.cpp
    [ -x "$out/bin/llama-bench" ] && return
    if [ ! -d "$src" ]; then
        python3 -m pip download -q --no-deps --no-binary :all: -d "$P" "llama-cpp-python==$LLAMA"
        tar xzf "$P/llama_cpp_python-$LLAMA.tar.gz" -C "$P"
    fi
    # gcc 12.2 takes _tile_loadconfig to read 8 of its 64 bytes and drops the other stores; the empty
    # statement makes it write them all, without which llama.cpp faults on a machine with AMX
    local mmq=$src/vendor/llama.cpp/ggml/src/ggml-cpu/amx/mmq.cpp
    grep -q '"+m"(tc)' "$mmq" || sed -i 's/^\( *\)_tile_loadconfig(&tc);/\1__asm__ volatile("" : "+m"(tc));\n&/' "$mmq"
    cmake -S "$src/vendor/llama.cpp" -B "$out" -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON -DBUILD_SHARED_LIBS=OFF \
        -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_BUILD_APP=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF >"$out.log" 2>&1
    nice cmake --build "$out" -j "$JOBS" --target llama-bench >>"$out.log" 2>&1 || { tail -n 20 "$out.log" >&2; return 1; }
}
for part in ${*:-python llama}; do
    echo "peers: $part into $P" >&2
    "part_$part"
done
