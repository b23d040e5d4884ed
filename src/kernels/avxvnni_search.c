/* avxvnni_search.c - scans of an index in bytes by VPDPBUSD: 16 rows, a panel, x 6 queries.  Rows of
 * f32 and f16 are scanned as AVX2 does. */
#include "vnni.h"

#ifdef LOAM_AVXVNNI

enum { AHEAD = 1024 /* bytes of a scan that are asked for in advance */ };

#include "vnni_bytes.h"

/* cppcheck-suppress unknownMacro; of vnni_bytes.h */
DEFINE_BYTES(2, 6)
DEFINE_BYTES(2, 3)
DEFINE_BYTES(2, 1)

static void byte_tile_avxvnni(const loam_byte_tile *t, float *y, size_t y_stride) {
    for (size_t j = 0, m; j < t->m; j += m) {
        m = t->m - j >= 6 ? 6 : t->m - j >= 3 ? 3 : 1;
        for (size_t i = 0; i < t->n; i += LOAM_PANEL)
            (m == 6 ? bytes_2_6 : m == 3 ? bytes_2_3 : bytes_2_1)(t, i, j, y, y_stride);
    }
}

void loam_avxvnni_use_search(loam_kernels *k) {
    k->byte_tile = byte_tile_avxvnni;
}

#endif
