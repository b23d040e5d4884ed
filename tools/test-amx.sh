#!/bin/sh
# Runs test_kernels, test_panels and test_ops over the AMX files on any AVX2 machine, tiles and 512-bit intrinsics emulated.
# Needs a built library (make lib) and the package libsimde-dev; without it it says so and ends with 77 ("not run").
set -e
cd "$(dirname "$0")/.."
OUT=${1:-build/emulated-amx}
mkdir -p "$OUT"
FLAGS="-std=gnu11 -D_GNU_SOURCE -DLOAM_AVX512_EMULATED -DLOAM_AMX_EMULATED -DLOAM_EMULATED_SET=loam_kernels_use_amx -Iinclude -Isrc -Iapps -ffp-contract=off -O2 -w -Wno-psabi -mavx2 -mfma -mf16c"
EMULATED="-include tests/amx_emulated.h"
if ! echo '#include <simde/x86/avx512.h>' | ${CC:-cc} -mavx2 -w -fsyntax-only -xc - 2>/dev/null; then
    echo "test-amx: NOT RUN: no simde/x86/avx512.h (package libsimde-dev)" >&2
    exit 77
fi
for f in src/kernels/amx*.c; do
    ${CC:-cc} $FLAGS $EMULATED -c "$f" -o "$OUT/$(basename "$f" .c).o"
done
for t in test_kernels test_panels test_ops; do
    ${CC:-cc} $FLAGS tests/$t.c "$OUT"/amx*.o build/release/libloam.a -lpcre2-8 -lutf8proc -lz -lm -pthread -o "$OUT/$t"
    "$OUT/$t"
done
