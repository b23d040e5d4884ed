#!/bin/bash
# Runs the kernels' tests and `loam --version` as an older CPU would, by qemu's user mode: the best set that is left must
# be picked, and nothing may use an instruction that is not there (SIGILL).  On Haswell only the choice is tested: qemu
# needs many minutes for the fma of all tests.
# usage: test-masked-cpu.sh [OBJDIR] [BINDIR]    Without qemu-x86_64-static it says so and ends with 77 ("not run").
set -u
cd "$(dirname "$0")/.." || exit 2
obj=${1:-build/release} bin=${2:-build/bin}
qemu=${QEMU:-qemu-x86_64-static}
command -v "$qemu" >/dev/null || { echo "test-masked-cpu: NOT RUN: $qemu is missing (package qemu-user-static)" >&2; exit 77; }
failed=0
try() { # CPU BEST-SET SET-TO-TEST
    local out best
    out=$("$qemu" -cpu "$1" "$bin/loam" --version 2>&1) || { echo "loam --version fails as $1: $out"; failed=1; }
    out=$(LOAM_TEST_SET=$3 "$qemu" -cpu "$1" "$obj/tests/test_kernels" 2>&1) || { echo "test_kernels fails as $1:"; tail -n 5 <<<"$out"; failed=1; }
    best=$(sed -n 's/^test_kernels: best here: //p' <<<"$out")
    [ "$best" = "$2" ] || { echo "as $1: the best set is '$best', not $2"; failed=1; }
    echo "$1: $2: $(tail -n 1 <<<"$out")"
}
try Nehalem ref ref      # SSE4.2, no AVX
try SandyBridge ref none # AVX, neither FMA nor AVX2
try Haswell avx2 none
[ $failed = 0 ] && echo "test-masked-cpu: passed"
exit $failed
