/* fuzz_arrays.h - open a file of arrays from memory and read all of it. */
#ifndef LOAM_FUZZ_ARRAYS_H
#define LOAM_FUZZ_ARRAYS_H

#include "io/arrays.h"

static int fuzz_arrays(const uint8_t *bytes, size_t n) {
    loam_arrays *a;
    if (loam_arrays_open_memory(&a, (loam_bytes){bytes, n, "fuzz"}, NULL)) return 0;
    for (size_t i = 0; i < loam_arrays_count(a); i++) {
        const loam_tensor *t = loam_arrays_at(a, i);
        LOAM_ASSERT(loam_arrays_find(a, t->name) == t);
        const unsigned char *p = t->data;
        unsigned sum = 0;
        for (uint64_t k = 0; k < t->bytes; k++) sum += p[k];
        __asm__ volatile("" : : "r"(sum)); /* keeps the reads */
        float out[256];
        const uint64_t count = loam_tensor_count(t), part = count < 256 ? count : 256;
        (void)loam_tensor_to_f32(t, 0, part, out, NULL);
    }
    loam_arrays_close(a);
    return 0;
}

#endif
