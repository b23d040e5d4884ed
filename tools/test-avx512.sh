#!/bin/sh
# Runs test_kernels and test_search over the AVX-512 files on any AVX2 machine, their intrinsics emulated.
# Needs the package libsimde-dev and a built library (make lib).
set -e
cd "$(dirname "$0")/.."
OUT=${1:-build/emulated}
mkdir -p "$OUT"
FLAGS="-std=gnu11 -D_GNU_SOURCE -DLOAM_AVX512_EMULATED -Iinclude -Isrc -ffp-contract=off -O2 -w -Wno-psabi -mavx2 -mfma -mf16c"
for f in src/kernels/avx512*.c; do
    ${CC:-cc} $FLAGS -include tests/avx512_emulated.h -c "$f" -o "$OUT/$(basename "$f" .c).o"
done
for t in test_kernels test_search; do
    ${CC:-cc} $FLAGS tests/$t.c "$OUT"/avx512*.o build/release/libloam.a -lpcre2-8 -lutf8proc -lz -lm -pthread -o "$OUT/$t"
    "$OUT/$t"
done
