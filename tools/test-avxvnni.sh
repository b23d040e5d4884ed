#!/bin/sh
# Runs the kernels' tests over the AVX-VNNI files on any AVX2 machine, the set's two instructions emulated.  (The machine
# code they become is tested by tools/test-emulated-cpu.sh.)  Needs a built library (make lib).
set -e
cd "$(dirname "$0")/.."
OUT=${1:-build/emulated-avxvnni}
mkdir -p "$OUT"
FLAGS="-std=gnu11 -D_GNU_SOURCE -DLOAM_AVXVNNI_EMULATED -Iinclude -Isrc -Iapps -ffp-contract=off -O2 -mavx2 -mfma -mf16c"
for f in src/kernels/avxvnni*.c; do
    ${CC:-cc} $FLAGS -include tests/avxvnni_emulated.h -c "$f" -o "$OUT/$(basename "$f" .c).o"
done
for t in test_kernels test_panels test_ops test_search; do
    ${CC:-cc} $FLAGS -DLOAM_EMULATED_SET=loam_kernels_use_avxvnni tests/$t.c "$OUT"/avxvnni*.o build/release/libloam.a \
        -lpcre2-8 -lutf8proc -lz -lm -pthread -o "$OUT/$t"
    "$OUT/$t"
done
