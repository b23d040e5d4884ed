/* digest.c - the header says what goes in. */
#include "io/digest.h"

#include <stdarg.h>
#include <stdio.h>

typedef struct sampling {
    size_t whole, pieces, piece; /* up to `whole` bytes: all; else `pieces` of `piece` bytes */
} sampling;

static const sampling FILE_SAMPLING = {1 << 20, 256, 4096};
static const sampling ARRAY_SAMPLING = {1024, 16, 64};

void loam_digest_line(loam_sha256 *h, const char *fmt, ...) {
    char line[512];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    if (n < 0) n = 0;
    loam_sha256_update(h, line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1);
    loam_sha256_update(h, "\n", 1);
}

static void hash_bytes(loam_sha256 *h, const void *bytes, size_t n, const sampling *s) {
    if (n <= s->whole) {
        if (n) loam_sha256_update(h, bytes, n);
        return;
    }
    const size_t last = n - s->piece; /* n > whole >= pieces * piece */
    for (size_t i = 0; i < s->pieces; i++) {
        const size_t at = last / (s->pieces - 1) * i + last % (s->pieces - 1) * i / (s->pieces - 1);
        loam_sha256_update(h, (const char *)bytes + at, s->piece);
    }
}

void loam_digest_file(loam_sha256 *h, const void *bytes, size_t n) {
    hash_bytes(h, bytes, n, &FILE_SAMPLING);
}

void loam_digest_arrays(loam_sha256 *h, const loam_arrays *a) {
    for (size_t i = 0; i < loam_arrays_count(a); i++) {
        const loam_tensor *t = loam_arrays_at(a, i);
        char shape[LOAM_MAX_RANK * 21 + 1] = "";
        size_t used = 0;
        for (int k = 0; k < t->rank; k++)
            used += (size_t)snprintf(shape + used, sizeof shape - used, "%s%llu", k ? "x" : "",
                                     (unsigned long long)t->shape[k]);
        loam_digest_line(h, "array %s %s %s", t->name, loam_dtype_name(t->dtype), shape);
        hash_bytes(h, t->data, (size_t)t->bytes, &ARRAY_SAMPLING);
    }
}
