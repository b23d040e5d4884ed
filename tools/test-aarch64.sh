#!/bin/sh
# Builds base, kernels, tensor and ops for 64-bit ARM and runs their tests under qemu's user mode.
# Needs gcc-aarch64-linux-gnu, libc6-dev-arm64-cross and qemu-user-static; without them it says so and
# ends with 77 ("not run"), which is not a pass.
set -e
cd "$(dirname "$0")/.."
CC=${AARCH64_CC:-aarch64-linux-gnu-gcc}
RUN=${AARCH64_RUN:-qemu-aarch64-static}
SYSROOT=${AARCH64_SYSROOT:-/usr/aarch64-linux-gnu}
OUT=${1:-build/aarch64}
for tool in "$CC" "$RUN"; do
    command -v "$tool" >/dev/null || {
        echo "test-aarch64: NOT RUN: $tool is missing (packages gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static)" >&2
        exit 77
    }
done
FLAGS="-std=c11 -D_GNU_SOURCE -Iinclude -Isrc -Iapps -ffp-contract=off -fno-math-errno -pthread -O2 -g -DNDEBUG"
FLAGS="$FLAGS -Wall -Wextra -Wshadow -Wconversion -Wundef -Wcast-align -Werror"
mkdir -p "$OUT"
OBJ=
for f in src/base/*.c src/kernels/*.c src/tensor/*.c src/ops/*.c; do
    o=$OUT/$(echo "${f%.c}" | tr / _).o
    case $f in
    */ref*) ISA=-fno-tree-vectorize ;;
    *) ISA= ;;
    esac
    "$CC" $FLAGS $ISA -c "$f" -o "$o"
    OBJ="$OBJ $o"
done
for t in test_kernels test_dispatch test_ops test_base; do
    "$CC" $FLAGS "tests/$t.c" $OBJ -lm -o "$OUT/$t"
    "$RUN" -L "$SYSROOT" "$OUT/$t"
done
echo "test-aarch64: passed"
