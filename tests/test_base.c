/* test_base.c - numbers, hashes, buffers, files and the thread pool. */
#include "base/base.h"
#include "base/threads.h"
#include "base/utf8.h"
#include "test.h"

#include <sys/stat.h>
#include <unistd.h>

/* All 65,536 halves: widening is exact, so narrowing must give the same bits back. */
static void test_f16_round_trip(void) {
    for (uint32_t h = 0; h < 65536; h++) {
        const float f = loam_f16_to_f32((uint16_t)h);
        const uint16_t back = loam_f32_to_f16(f);
        const int nan = (h & 0x7C00u) == 0x7C00u && (h & 0x3FFu);
        CHECK(nan ? isnan(f) && (back & 0x7C00u) == 0x7C00u && (back & 0x3FFu) : back == h,
              "%04x -> %a -> %04x", h, (double)f, back);
    }
}

/* Halfway cases go to even; just above and below to the nearer one. */
static void test_f16_rounding(void) {
    for (uint32_t h = 0; h < 0x7BFF; h++) {
        const double lo = (double)loam_f16_to_f32((uint16_t)h),
                     hi = (double)loam_f16_to_f32((uint16_t)(h + 1));
        const float mid = (float)((lo + hi) / 2); /* exact: one more bit than a half has */
        const uint16_t even = (uint16_t)(h & 1 ? h + 1 : h);
        CHECK(loam_f32_to_f16(mid) == even, "middle above %04x", h);
        CHECK(loam_f32_to_f16(nextafterf(mid, 1e9f)) == h + 1, "above the middle of %04x", h);
        CHECK(loam_f32_to_f16(nextafterf(mid, 0.0f)) == h, "below the middle of %04x", h);
    }
    CHECK(loam_f32_to_f16(65519.996f) == 0x7BFF && loam_f32_to_f16(65520.0f) == 0x7C00,
          "overflow edge");
    CHECK(loam_f32_to_bf16(loam_bf16_to_f32(0x3F81)) == 0x3F81, "bf16");
    CHECK(loam_f32_to_bf16(1.00390625f) == 0x3F80, "bf16 tie to even");
    CHECK(loam_f32_to_bf16(1.01171875f) == 0x3F82, "bf16 tie to even, up");
}

static void test_sha256(void) {
    static const struct {
        const char *text, *hex;
    } cases[] = {/* FIPS 180-4 examples */
                 {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
                 {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
                 {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                  "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"}};
    char hex[65];
    loam_sha256 h;
    for (size_t i = 0; i < 3; i++) {
        loam_sha256_init(&h);
        loam_sha256_update(&h, cases[i].text, strlen(cases[i].text));
        loam_sha256_hex(&h, hex);
        CHECK(!strcmp(hex, cases[i].hex), "%s: %s", cases[i].text, hex);
    }
    loam_sha256_init(&h);
    for (int i = 0; i < 1000000; i++) loam_sha256_update(&h, "a", 1);
    loam_sha256_hex(&h, hex);
    CHECK(!strcmp(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"), "%s",
          hex);
}

static void test_errors(void) {
    loam_err err = {0};
    CHECK(loam_fail(&err, LOAM_ERR_FORMAT, "a\nb\x1b[31m") == LOAM_ERR_FORMAT, "status");
    CHECK(!strcmp(err.msg, "a?b?[31m"), "%s", err.msg);
    char big[1000];
    memset(big, 0xC3, sizeof big); /* only lead bytes: a cut must not leave half a character */
    big[999] = 0;
    for (size_t i = 1; i < 999; i += 2) big[i] = (char)0xA4;
    loam_fail(&err, LOAM_ERR_IO, "%s", big);
    CHECK(strlen(err.msg) % 2 == 0 && strlen(err.msg) > 490, "%zu", strlen(err.msg));
    CHECK(loam_fail(NULL, LOAM_ERR_IO, "x") == LOAM_ERR_IO, "NULL err");
}

static void test_files(void) {
    char path[] = "build/test_base.XXXXXX";
    mkdir("build", 0777);
    const int fd = mkstemp(path);
    CHECK(fd >= 0 && write(fd, "hello", 5) == 5, "temp file");
    close(fd);
    loam_buf b = {0};
    loam_err err = {0};
    loam_map m;
    CHECK(loam_file_read(&b, path, 5, &err) == LOAM_OK && b.n == 5 && !strcmp(b.data, "hello"),
          "%s", err.msg);
    CHECK(loam_file_read(&b, path, 4, &err) == LOAM_ERR_LIMIT, "limit");
    CHECK(loam_map_open(&m, path, &err) == LOAM_OK && m.size == 5 && !memcmp(m.base, "hello", 5),
          "map");
    loam_map_close(&m);
    CHECK(loam_map_open(&m, "build", &err) == LOAM_ERR_IO && !m.base, "folder: %s", err.msg);
    CHECK(loam_map_open(&m, "build/none", &err) == LOAM_ERR_NOT_FOUND, "missing: %s", err.msg);
    unlink(path);
    CHECK(mkfifo(path, 0600) == 0 && loam_map_open(&m, path, &err) == LOAM_ERR_IO,
          "fifo must not hang");
    unlink(path);
    loam_buf_deinit(&b);
}

static void test_rng(void) {
    loam_rng r;
    loam_rng_seed(&r, 7);
    size_t count[7] = {0};
    for (int i = 0; i < 70000; i++) count[loam_rng_below(&r, 7)]++;
    for (int i = 0; i < 7; i++) /* mean 10,000, deviation 93: ten deviations */
        CHECK(count[i] > 9000 && count[i] < 11000, "%d: %zu", i, count[i]);
    CHECK(loam_rng_uniform(&r) < 1.0, "uniform");
}

typedef struct sum_job {
    unsigned char *seen;
    _Atomic size_t calls;
    loam_pool *pool;
    size_t phase_ok;
    _Atomic size_t arrived;
} sum_job;

static void mark(void *ctx, size_t begin, size_t end, unsigned worker) {
    sum_job *j = ctx;
    (void)worker;
    for (size_t i = begin; i < end; i++) j->seen[i]++;
    j->calls++;
}

static void meet(void *ctx, unsigned worker, unsigned n) {
    sum_job *j = ctx;
    for (size_t round = 1; round <= 50; round++) {
        j->arrived++;
        loam_pool_barrier(j->pool);
        if (worker == 0 && j->arrived == round * n) j->phase_ok++;
        loam_pool_barrier(j->pool);
    }
}

static void test_pool(void) {
    for (unsigned n = 1; n <= 5; n++) {
        loam_err err = {0};
        loam_pool *pool = NULL;
        CHECK(loam_pool_new(&pool, n, &err) == LOAM_OK && loam_pool_size(pool) == n, "%s", err.msg);
        for (size_t size = 0; size < 3000; size = size * 2 + 1) {
            sum_job j = {.seen = calloc(size + 1, 1), .pool = pool};
            loam_pool_for(pool, size, 3, mark, &j);
            size_t bad = 0;
            for (size_t i = 0; i < size; i++) bad += j.seen[i] != 1;
            CHECK(bad == 0 && j.seen[size] == 0, "n %u size %zu: %zu wrong", n, size, bad);
            free(j.seen);
        }
        sum_job j = {.pool = pool};
        loam_pool_run(pool, meet, &j);
        CHECK(j.phase_ok == 50, "barrier: %zu of 50", j.phase_ok);
        loam_pool_free(pool);
    }
    CHECK(loam_cpu_count() >= 1, "cpus");
}

/* Every code point there and back; every broken pair of lead and second byte refused. */
static void test_utf8(void) {
    char s[8] = "", big[40];
    size_t n_good = 0;
    for (uint32_t c = 0; c < 0x110000; c++) {
        const size_t n = loam_utf8_put(s, c), length = loam_utf8_length(s, n);
        const int surrogate = c >= 0xd800 && c < 0xe000;
        n_good += length == n && loam_utf8_code(s, n) == c;
        CHECK(surrogate ? length == 0 : length == n, "U+%04X: %zu of %zu", c, length, n);
        CHECK(loam_utf8_check(s, n) == (surrogate ? 0 : n), "U+%04X", c);
        CHECK(n == 1 || loam_utf8_length(s, n - 1) == 0, "U+%04X cut", c);
    }
    CHECK(n_good == 0x110000 - 0x800, "%zu code points", n_good);
    static const char *const BAD[] = {"\x80",
                                      "\xc0\x80",
                                      "\xc1\xbf",
                                      "\xe0\x9f\xbf",
                                      "\xf0\x8f\xbf\xbf",
                                      "\xf4\x90\x80\x80",
                                      "\xf5\x80\x80\x80",
                                      "\xff",
                                      "\xc3("};
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++)
        for (size_t at = 0; at < 20; at++) { /* before, at and behind the steps of eight */
            memset(big, 'a', sizeof big);
            memcpy(big + at, BAD[i], strlen(BAD[i]));
            CHECK(loam_utf8_check(big, sizeof big) == at, "case %zu at %zu", i, at);
        }
    CHECK(loam_utf8_check("", 0) == 0, "empty");
}

int main(void) {
    test_utf8();
    test_f16_round_trip();
    test_f16_rounding();
    test_sha256();
    test_errors();
    test_files();
    test_rng();
    test_pool();
    return TEST_END("test_base");
}
