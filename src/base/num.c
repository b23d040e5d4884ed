/* num.c - sixteen-bit floats, hashes, random numbers, the clock. */
#include "base/base.h"

#include <time.h>

/* IEEE 754 binary16 by bit fields; subnormals by scaling with an exact power of two. */
float loam_f16_to_f32(uint16_t h) {
    const uint32_t sign = (uint32_t)(h & 0x8000u) << 16, exponent = (h >> 10) & 0x1Fu;
    uint32_t bits, mantissa = h & 0x3FFu;
    float f;
    if (exponent == 0x1F) {
        bits = sign | 0x7F800000u | mantissa << 13 | (mantissa ? 0x400000u : 0);
    } else if (exponent != 0) {
        bits = sign | (exponent + 112) << 23 | mantissa << 13;
    } else {
        f = (float)mantissa * 0x1p-24f;
        memcpy(&bits, &f, sizeof bits);
        bits |= sign;
    }
    memcpy(&f, &bits, sizeof f);
    return f;
}

uint16_t loam_f32_to_f16(float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    const uint16_t sign = (uint16_t)(u >> 16 & 0x8000u);
    u &= 0x7FFFFFFFu;
    if (u > 0x7F800000u) return (uint16_t)(sign | 0x7E00u | (u >> 13 & 0x3FFu));
    if (u >= 0x47800000u) return (uint16_t)(sign | 0x7C00u); /* 65536 and more, infinity */
    if (u < 0x38800000u) {                                   /* below 2^-14: subnormal */
        /* adding 0.5 lines the 24-bit significand up so that the hardware rounds to 2^-24 */
        float a;
        memcpy(&a, &u, sizeof a);
        a += 0.5f;
        memcpy(&u, &a, sizeof u);
        return (uint16_t)(sign | (u - 0x3F000000u));
    }
    const uint32_t odd = u >> 13 & 1;
    u += 0xFFFu + odd; /* nearest even; a carry into the exponent is right, up to infinity */
    return (uint16_t)(sign | ((u >> 13) - (112u << 10)));
}

uint16_t loam_f32_to_bf16(float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    if ((u & 0x7FFFFFFFu) > 0x7F800000u) return (uint16_t)(u >> 16 | 0x40u);
    return (uint16_t)((u + 0x7FFFu + (u >> 16 & 1)) >> 16);
}

static inline uint32_t rotr(uint32_t x, int n) {
    return x >> n | x << (32 - n);
}

static const uint32_t SHA_K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

/* One of the 64 steps: the eight variables change places instead of their values.
 * NOLINTBEGIN(bugprone-macro-parentheses): all are names. */
#define SHA_STEP(a, b, c, d, e, f, g, h, i)                                                        \
    do {                                                                                           \
        const uint32_t t =                                                                         \
            h + (rotr(e, 6) ^ rotr(e, 11) ^ rotr(e, 25)) + (g ^ (e & (f ^ g))) + SHA_K[i] + w[i];  \
        d += t;                                                                                    \
        h = t + (rotr(a, 2) ^ rotr(a, 13) ^ rotr(a, 22)) + ((a & b) | (c & (a | b)));              \
    } while (0)
/* NOLINTEND(bugprone-macro-parentheses) */

static void sha_block(uint32_t s[8], const unsigned char *p) {
    uint32_t w[64];
    uint32_t a = s[0], b = s[1], c = s[2], d = s[3], e = s[4], f = s[5], g = s[6], h = s[7];
    for (size_t i = 0; i < 16; i++)
        w[i] = (uint32_t)p[4 * i] << 24 | (uint32_t)p[4 * i + 1] << 16 |
               (uint32_t)p[4 * i + 2] << 8 | p[4 * i + 3];
    for (int i = 16; i < 64; i++) {
        const uint32_t x = w[i - 15], y = w[i - 2];
        w[i] = w[i - 16] + (rotr(x, 7) ^ rotr(x, 18) ^ x >> 3) + w[i - 7] +
               (rotr(y, 17) ^ rotr(y, 19) ^ y >> 10);
    }
    for (int i = 0; i < 64; i += 8) {
        SHA_STEP(a, b, c, d, e, f, g, h, i);
        SHA_STEP(h, a, b, c, d, e, f, g, i + 1);
        SHA_STEP(g, h, a, b, c, d, e, f, i + 2);
        SHA_STEP(f, g, h, a, b, c, d, e, i + 3);
        SHA_STEP(e, f, g, h, a, b, c, d, i + 4);
        SHA_STEP(d, e, f, g, h, a, b, c, i + 5);
        SHA_STEP(c, d, e, f, g, h, a, b, i + 6);
        SHA_STEP(b, c, d, e, f, g, h, a, i + 7);
    }
    s[0] += a;
    s[1] += b;
    s[2] += c;
    s[3] += d;
    s[4] += e;
    s[5] += f;
    s[6] += g;
    s[7] += h;
}

void loam_sha256_init(loam_sha256 *h) {
    static const uint32_t start[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    *h = (loam_sha256){0};
    memcpy(h->state, start, sizeof start);
}

void loam_sha256_update(loam_sha256 *h, const void *bytes, size_t n) {
    const unsigned char *p = bytes;
    size_t fill = (size_t)(h->n % 64);
    h->n += n;
    if (fill) {
        const size_t take = n < 64 - fill ? n : 64 - fill;
        memcpy(h->block + fill, p, take);
        p += take;
        n -= take;
        if (fill + take < 64) return;
        sha_block(h->state, h->block);
    }
    for (; n >= 64; p += 64, n -= 64) sha_block(h->state, p);
    if (n) memcpy(h->block, p, n);
}

void loam_sha256_hex(loam_sha256 *h, char out[65]) {
    static const char hex[] = "0123456789abcdef";
    const uint64_t bits = h->n * 8;
    unsigned char tail[72] = {0x80};
    const size_t fill = (size_t)(h->n % 64), pad = (fill < 56 ? 56 : 120) - fill;
    for (int i = 0; i < 8; i++) tail[pad + (size_t)i] = (unsigned char)(bits >> (56 - 8 * i));
    loam_sha256_update(h, tail, pad + 8);
    for (size_t i = 0; i < 32; i++) {
        const unsigned char b = (unsigned char)(h->state[i / 4] >> (24 - 8 * (i % 4)));
        out[2 * i] = hex[b >> 4];
        out[2 * i + 1] = hex[b & 15];
    }
    out[64] = 0;
}

/* Multiply-and-fold over 8-byte words (the construction of wyhash, public domain). */
uint64_t loam_hash(const void *bytes, size_t n, uint64_t seed) {
    const unsigned char *p = bytes;
    uint64_t h = seed ^ 0x9e3779b97f4a7c15u ^ n;
    for (; n >= 8; p += 8, n -= 8) h = loam_fold(h ^ loam_read_u64(p), 0xa0761d6478bd642fu);
    uint64_t tail = 0;
    if (n) memcpy(&tail, p, n);
    return loam_fold(loam_fold(h ^ tail, 0xe7037ed1a0b428dbu), 0x8ebc6af09c88c6e3u);
}

void loam_rng_seed(loam_rng *r, uint64_t seed) {
    for (int i = 0; i < 4; i++) { /* splitmix64 */
        uint64_t z = seed += 0x9e3779b97f4a7c15u;
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
        z = (z ^ z >> 27) * 0x94d049bb133111ebu;
        r->s[i] = z ^ z >> 31;
    }
}

uint64_t loam_rng_next(loam_rng *r) { /* xoshiro256++ 1.0, Blackman and Vigna */
    uint64_t *s = r->s;
    const uint64_t sum = s[0] + s[3], out = (sum << 23 | sum >> 41) + s[0], t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = s[3] << 45 | s[3] >> 19;
    return out;
}

double loam_rng_uniform(loam_rng *r) {
    return (double)(loam_rng_next(r) >> 11) * 0x1p-53;
}

uint64_t loam_rng_below(loam_rng *r, uint64_t n) {
    LOAM_ASSERT(n > 0);
    const uint64_t reject = (0 - n) % n; /* 2^64 mod n values at the low end would be too many */
    for (;;) {
        const uint64_t x = loam_rng_next(r);
        if (x >= reject) return x % n;
    }
}

double loam_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}
