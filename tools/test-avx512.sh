#!/bin/sh
# Runs the kernels' tests over the AVX-512 files on any AVX2 machine, their intrinsics emulated.  (The machine code they
# become is tested by tools/test-emulated-cpu.sh.)
# Needs the package libsimde-dev and a built library (make lib); without it it says so and ends with 77 ("not run").
set -e
cd "$(dirname "$0")/.."
OUT=${1:-build/emulated}
mkdir -p "$OUT"
FLAGS="-std=gnu11 -D_GNU_SOURCE -DLOAM_AVX512_EMULATED -DLOAM_EMULATED_SET=loam_kernels_use_avx512vnni -Iinclude -Isrc -Iapps -ffp-contract=off -O1 -w -Wno-psabi -mavx2 -mfma -mf16c"
if ! echo '#include <simde/x86/avx512.h>' | ${CC:-cc} -mavx2 -w -fsyntax-only -xc - 2>/dev/null; then
    echo "test-avx512: NOT RUN: no simde/x86/avx512.h (package libsimde-dev)" >&2
    exit 77
fi
for f in src/kernels/avx512*.c; do
    ${CC:-cc} $FLAGS -include tests/avx512_emulated.h -c "$f" -o "$OUT/$(basename "$f" .c).o"
done
for t in test_kernels test_panels test_ops test_search; do
    ${CC:-cc} $FLAGS tests/$t.c "$OUT"/avx512*.o build/release/libloam.a -lpcre2-8 -lutf8proc -lz -lm -pthread -o "$OUT/$t"
    "$OUT/$t"
done
