/* vnni_bytes.h - tiles of bytes (loam_byte_tile) by VPDPBUSD, for AVX-512 VNNI and AVX-VNNI (vnni.h):
 * rows are unsigned and queries signed, which is what it multiplies, and its sums cannot overflow.
 * A panel is one register of 512 bits or two of 256. */
#ifdef LOAM_VNNI

/* P registers of rows x Q queries, from row i and query j on. */
#define DEFINE_BYTES(P, Q)                                                                         \
    static void bytes_##P##_##Q(const loam_byte_tile *t, size_t i, size_t j, float *y,             \
                                size_t y_stride) {                                                 \
        const uint8_t *rows = t->rows + i * t->cols;                                               \
        const int8_t *x = t->x + j * t->cols;                                                      \
        const size_t step = LANES == LOAM_PANEL ? LOAM_PANEL * t->cols : 4 * LANES;                \
        ints s[Q][P];                                                                              \
        _Pragma("GCC unroll 6") for (size_t q = 0; q < Q; q++)                                     \
            _Pragma("GCC unroll 2") for (size_t p = 0; p < P; p++) s[q][p] =                       \
                SET_INTS(-t->offsets[j + q]);                                                      \
        for (size_t k = 0; k < t->cols; k += 4, rows += 4 * LOAM_PANEL) {                          \
            ints v[P];                                                                             \
            _Pragma("GCC unroll 2") for (size_t p = 0; p < P; p++) {                               \
                v[p] = LOAD_INTS(rows + p * step);                                                 \
                if (Q == 1 && p * step % 64 == 0)                                                  \
                    _mm_prefetch((const char *)rows + p * step + AHEAD, _MM_HINT_T0);              \
            }                                                                                      \
            _Pragma("GCC unroll 6") for (size_t q = 0; q < Q; q++) {                               \
                int32_t four;                                                                      \
                memcpy(&four, x + q * t->cols + k, 4);                                             \
                const ints xv = SET_INTS(four);                                                    \
                _Pragma("GCC unroll 2") for (size_t p = 0; p < P; p++) s[q][p] =                   \
                    dot4(s[q][p], v[p], xv);                                                       \
            }                                                                                      \
        }                                                                                          \
        _Pragma("GCC unroll 6") for (size_t q = 0; q < Q; q++)                                     \
            _Pragma("GCC unroll 2") for (size_t p = 0; p < P; p++)                                 \
                STORE_FLOATS(y + (j + q) * y_stride + i + LANES * p,                               \
                             MUL(LOAD_FLOATS(t->scales + i + LANES * p), TO_FLOATS(s[q][p])));     \
    }

#endif
