#!/bin/bash
# Builds loam's library for 64-bit ARM and runs its tests under qemu's user mode, on processors with and
# without dot products and integer matrices: none may meet an instruction that it lacks.
# Needs gcc-aarch64-linux-gnu, libc6-dev-arm64-cross and qemu-user-static; without them it says so and ends
# with 77 ("not run"), which is not a pass.  Tests of text and models need ARM builds of the libraries, too,
# which tools/get-aarch64-libs.sh fetches from Debian: without those the kernels' tests alone are run, or,
# where AARCH64_LIBS_NEEDED is set, it fails.
# usage: test-aarch64.sh          build, run all, count
#        test-aarch64.sh build    77, or build
#        test-aarch64.sh list     names of the tests, TEST.CPU a line
#        test-aarch64.sh run TEST.CPU
set -eu
cd "$(dirname "$0")/.."
CC=${AARCH64_CC:-aarch64-linux-gnu-gcc}
QEMU=${AARCH64_RUN:-qemu-aarch64-static}
SYSROOT=${AARCH64_SYSROOT:-/usr/aarch64-linux-gnu}
OUT=${AARCH64_OUT:-build/aarch64}
LIBS=${AARCH64_LIBS:-build/aarch64-libs}
# cortex-a72 has neither sdot nor usmmla, cortex-a76 has sdot, max has all that qemu knows
sets="kernels.cortex-a72 kernels.cortex-a76 kernels.max dispatch.cortex-a72 dispatch.cortex-a76 dispatch.max"
plain="panels.max ops.max base.max"
full="qmm.max search.max tokenizer.max encoder.max decoder.max saved.max template.max json.max quantize.max"

has_libs() { [ -e "$LIBS/complete" ]; }
names() {
    # shellcheck disable=SC2086
    if has_libs; then printf '%s\n' $sets $plain $full; else printf '%s\n' $sets $plain; fi
}
build() {
    local tool
    for tool in "$CC" "$QEMU"; do
        command -v "$tool" >/dev/null || {
            echo "test-aarch64: NOT RUN: $tool is missing (packages gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static)" >&2
            exit 77
        }
    done
    local at make_args
    make_args=(-s -j"$(nproc)" CC="$CC" AR="${CC%gcc}ar" CONFIG=release O="$OUT" BIN="$OUT/bin")
    if ! tools/get-aarch64-libs.sh "$LIBS" 2>/dev/null; then
        [ -z "${AARCH64_LIBS_NEEDED:-}" ] || { echo "test-aarch64: no ARM libraries" >&2; exit 1; }
        echo "test-aarch64: no ARM libraries: the kernels' tests alone"
        local objects=()
        for at in src/base/*.c src/kernels/*.c src/tensor/*.c src/ops/*.c; do objects+=("$OUT/${at%.c}.o"); done
        make "${make_args[@]}" "${objects[@]}"
        rm -f "$OUT/libloam.a"
        "${CC%gcc}ar" rcs "$OUT/libkernels.a" "${objects[@]}"
        for at in $(names | sed 's/\..*//' | sort -u); do
            make "${make_args[@]}" "$OUT/tests/test_$at.o"
            "$CC" -pie -pthread "$OUT/tests/test_$at.o" "$OUT/libkernels.a" -lm -o "$OUT/tests/test_$at"
        done
        return
    fi
    local root
    root=$(cd "$LIBS" && pwd)/usr
    # shellcheck disable=SC2046
    make "${make_args[@]}" CFLAGS="-isystem $root/include" LDFLAGS="-L$root/lib/aarch64-linux-gnu" lib \
        $(names | sed "s|\..*||; s|^|$OUT/tests/test_|" | sort -u)
    local objects=() # the programs compile, too; rag-cli's editline is not among the libraries
    for at in apps/{loam,rag_cli,bench_cli}.c apps/{cli,loam,rag,bench}/*.c; do objects+=("$OUT/${at%.c}.o"); done
    make "${make_args[@]}" CFLAGS="-isystem $root/include" "${objects[@]}"
}
run() {
    local few=
    [ "${1%%.*}" = decoder ] && few=tests/golden/llm/families/qwen2 # emulated, all families take too long
    # shellcheck disable=SC2086
    "$QEMU" -cpu "${1#*.}" -L "$SYSROOT" "$OUT/tests/test_${1%%.*}" $few </dev/null
}

case ${1:-all} in
build) build ;;
list) names ;;
run) run "$2" ;;
all)
    build
    passed=0 failed=0
    for test in $(names); do
        if out=$(run "$test" 2>&1); then
            passed=$((passed + 1))
            echo "ok     $test: $(tail -n 1 <<<"$out")"
        else
            failed=$((failed + 1))
            echo "FAILED $test"
            tail -n 20 <<<"$out"
        fi
    done
    echo "test-aarch64: $passed passed, $failed failed"
    [ $failed = 0 ]
    ;;
esac
