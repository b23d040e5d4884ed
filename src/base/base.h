/* base.h - internal counterpart of loam/base.h: assertions, files, maps, numbers. */
#ifndef LOAM_SRC_BASE_H
#define LOAM_SRC_BASE_H

#include <loam/base.h>
#include <stdlib.h>
#include <string.h>

/* A broken contract is a bug: name the place and abort, in release builds too. */
#define LOAM_ASSERT(x) ((x) ? (void)0 : loam_assert_failed(#x, __FILE__, __LINE__))
_Noreturn void loam_assert_failed(const char *what, const char *file, int line);

/* Checked size arithmetic: 1 when the result fits, and then *out holds it. */
static inline int loam_mul(size_t a, size_t b, size_t *out) {
    return !__builtin_mul_overflow(a, b, out);
}
static inline int loam_add(size_t a, size_t b, size_t *out) {
    return !__builtin_add_overflow(a, b, out);
}
/* calloc that checks; NULL on overflow or no memory; n == 0 gives a valid pointer. */
void *loam_alloc(size_t n, size_t size);
/* Grow an array to hold at least `need` items: 1 on success.  *cap in items. */
int loam_grow(void **items, size_t *cap, size_t need, size_t size);
char *loam_strdup(const char *s);
char *loam_strndup(const char *s, size_t n);
/* malloc'd printf; NULL when out of memory. */
char *loam_format(const char *fmt, ...) LOAM_PRINTF(1, 2);

/* Between the two this thread must not allocate: in debug builds (LOAM_DEBUG) the functions
 * above and loam_buf_* abort.  They nest. */
#ifdef LOAM_DEBUG
void loam_alloc_forbid(void);
void loam_alloc_allow(void);
void loam_alloc_check(void); /* for who calls malloc itself */
#else
static inline void loam_alloc_forbid(void) {}
static inline void loam_alloc_allow(void) {}
static inline void loam_alloc_check(void) {}
#endif

/* Little-endian unaligned reads. */
static inline uint16_t loam_read_u16(const void *p) {
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline uint32_t loam_read_u32(const void *p) {
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline uint64_t loam_read_u64(const void *p) {
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* The 128-bit product of a and b, its halves xored: a step of a hash. */
static inline uint64_t loam_fold(uint64_t a, uint64_t b) {
#ifdef __SIZEOF_INT128__
    __extension__ typedef unsigned __int128 wide;
    const wide m = (wide)a * b;
    return (uint64_t)m ^ (uint64_t)(m >> 64);
#else
    const uint64_t a0 = (uint32_t)a, a1 = a >> 32, b0 = (uint32_t)b, b1 = b >> 32;
    const uint64_t low = a0 * b0, mid = a1 * b0 + (low >> 32), more = a0 * b1 + (uint32_t)mid;
    const uint64_t high = a1 * b1 + (mid >> 32) + (more >> 32);
    return high ^ (more << 32 | (uint32_t)low);
#endif
}
static inline float loam_read_f32(const void *p) {
    float v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* Sixteen-bit floats; conversions to them round to nearest even, NaN stays NaN. */
float loam_f16_to_f32(uint16_t h);
uint16_t loam_f32_to_f16(float f);
static inline float loam_bf16_to_f32(uint16_t h) {
    uint32_t u = (uint32_t)h << 16;
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}
uint16_t loam_f32_to_bf16(float f);

/* A file mapped read-only.  Regular files only (a FIFO or folder is an error, never
 * a hang); an empty file has base NULL and size 0.  Installing a SIGBUS handler for
 * files truncated under us is the program's business (apps/cli). */
typedef struct loam_map {
    const unsigned char *base;
    size_t size;
} loam_map;
loam_status loam_map_open(loam_map *out, const char *path, loam_err *err);
void loam_map_close(loam_map *m); /* zeroed is allowed */
/* Read a whole regular file up to max_bytes into `out` (appended). */
loam_status loam_file_read(loam_buf *out, const char *path, size_t max_bytes, loam_err *err);
int loam_path_exists(const char *path);
int loam_path_is_folder(const char *path);
char *loam_path_join(const char *a, const char *b); /* malloc'd; NULL: memory */

/* SHA-256 (FIPS 180-4). */
typedef struct loam_sha256 {
    uint32_t state[8];
    uint64_t n;
    unsigned char block[64];
} loam_sha256;
void loam_sha256_init(loam_sha256 *h);
void loam_sha256_update(loam_sha256 *h, const void *bytes, size_t n);
void loam_sha256_hex(loam_sha256 *h, char out[65]); /* finishes */

/* 64-bit hash of bytes for tables (wyhash-like, not for hostile keys unless seeded). */
uint64_t loam_hash(const void *bytes, size_t n, uint64_t seed);

/* xoshiro256++ seeded by splitmix64: the one random stream of loam. */
typedef struct loam_rng {
    uint64_t s[4];
} loam_rng;
void loam_rng_seed(loam_rng *r, uint64_t seed);
uint64_t loam_rng_next(loam_rng *r);
double loam_rng_uniform(loam_rng *r);             /* [0, 1), 53 bits */
uint64_t loam_rng_below(loam_rng *r, uint64_t n); /* unbiased, n >= 1 */

#endif
