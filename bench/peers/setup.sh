#!/bin/bash
# Installs the programs that loam is timed against into $PEERS_DIR (default build/peers); what is there is kept.
# usage: setup.sh [PART...]    parts: python llama ik (default: all); needs python3 with venv and pip, cmake, a C++ compiler
# python: numpy, faiss, usearch, onnxruntime, OpenVINO, tokenizers, tiktoken as wheels; llama, ik: llama.cpp and
# ik_llama.cpp, compiled (5 to 15 minutes each on two idle CPUs).
set -eu
P=${PEERS_DIR:-build/peers}
JOBS=${JOBS:-2}
mkdir -p "$P"
P=$(cd "$P" && pwd)

part_python() {
    [ -x "$P/venv/bin/python" ] || python3 -m venv "$P/venv"
    "$P/venv/bin/pip" install -q numpy onnxruntime==1.31.1 onnx==1.23.2 openvino==2026.4.1 safetensors tokenizers==0.23.3 \
        tiktoken==0.14.0 faiss-cpu==1.15.1 usearch==2.26.6
}
fetch() { # NAME VERSION: a source distribution, unpacked; prints its folder
    local dir=$P/${1//-/_}-$2
    if [ ! -d "$dir" ]; then
        python3 -m pip download -q --no-deps --no-binary :all: -d "$P" "$1==$2" >&2
        tar xzf "$dir.tar.gz" -C "$P"
    fi
    echo "$dir"
}
compile() { # SOURCE OUT "TARGETS" FLAGS...
    local src=$1 out=$2 targets
    read -ra targets <<<"$3"
    shift 3
    {
        cmake -S "$src" -B "$out" -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON -DGGML_CCACHE=OFF -DBUILD_SHARED_LIBS=OFF "$@" &&
            nice cmake --build "$out" -j "$JOBS" --target "${targets[@]}"
    } >"$out.log" 2>&1 || { tail -n 20 "$out.log" >&2; return 1; }
}
part_llama() {
    [ -x "$P/llama.cpp/bin/llama-bench" ] && [ -x "$P/llama.cpp/bin/llama-completion" ] && return
    local src mmq
    src=$(fetch llama-cpp-python 0.3.36)/vendor/llama.cpp
    # gcc 12.2 takes _tile_loadconfig to read 8 of its 64 bytes and drops the other stores; the empty
    # statement makes it write them all, without which llama.cpp faults on a machine with AMX
    mmq=$src/ggml/src/ggml-cpu/amx/mmq.cpp
    grep -q '"+m"(tc)' "$mmq" || sed -i 's/^\( *\)_tile_loadconfig(&tc);/\1__asm__ volatile("" : "+m"(tc));\n&/' "$mmq"
    compile "$src" "$P/llama.cpp" "llama-bench llama-completion" -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF \
        -DLLAMA_BUILD_APP=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF
}
part_ik() {
    [ -x "$P/ik_llama.cpp/bin/llama-bench" ] && [ -x "$P/ik_llama.cpp/bin/llama-cli" ] && return
    local src
    src=$(fetch ik-llama-cpp-python 0.1.5)/vendor/ik_llama.cpp
    # attention for head sizes that no model here has takes most of the time: it is left unoptimised
    if ! grep -q 'COMPILE_OPTIONS -O0' "$src/ggml/src/CMakeLists.txt"; then
        for size in 192_128 192_192 320_256 512_512 576_512; do
            echo "set_source_files_properties(iqk/fa/iqk_fa_$size.cpp PROPERTIES COMPILE_OPTIONS -O0)"
        done >>"$src/ggml/src/CMakeLists.txt"
    fi
    # its source distribution lacks the script that writes the file with its version
    mkdir -p "$src/common/cmake"
    printf '%s\n' 'file(WRITE "${CMAKE_CURRENT_SOURCE_DIR}/common/build-info.cpp" "int LLAMA_BUILD_NUMBER = 0; char const *LLAMA_COMMIT = \"\", *LLAMA_COMPILER = \"\", *LLAMA_BUILD_TARGET = \"\";\n")' \
        >"$src/common/cmake/build-info-gen-cpp.cmake"
    compile "$src" "$P/ik_llama.cpp" "llama-bench llama-cli" -DLLAMA_CURL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_SERVER=OFF -DGGML_IQK_FA_ALL_QUANTS=OFF
}
for part in ${*:-python llama ik}; do
    echo "peers: $part into $P" >&2
    "part_$part"
done
