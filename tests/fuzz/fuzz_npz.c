/* fuzz_npz.c - the npz and npy readers: whatever it accepts, all promised bytes are there. */
#include "fuzz_arrays.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    return fuzz_arrays(bytes, n);
}
