/* test_memory.c - a token takes no memory: all of it was taken when the session was made.
 *
 * The allocator's entries are counted while tokens are decoded, in all threads; in debug builds
 * the library's own assertion is put to the test as well. */
#include "base/base.h"
#include "llm/session.h"
#include "test.h"

#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define COUNTED 0 /* the sanitizers have an allocator of their own */
#else
#define COUNTED 1
#endif

static _Atomic int counting;
static _Atomic size_t n_calls;

#if COUNTED
extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t n);
extern void *__libc_memalign(size_t align, size_t n);

static void count(void) {
    if (counting) atomic_fetch_add(&n_calls, 1);
}

/* NOLINTBEGIN(readability-identifier-naming): the allocator's names */
void *malloc(size_t n) {
    count();
    return __libc_malloc(n);
}
void *calloc(size_t n, size_t size) {
    count();
    return __libc_calloc(n, size);
}
void *realloc(void *p, size_t n) {
    count();
    return __libc_realloc(p, n);
}
int posix_memalign(void **out, size_t align, size_t n) {
    count();
    *out = __libc_memalign(align, n);
    return *out ? 0 : 12;
}
/* NOLINTEND(readability-identifier-naming) */
#endif

enum { PROMPT = 20, WARM = 2, TOKENS = 24 };

static int stop_never(void *ctx, const loam_step *step) {
    size_t *n = ctx;
    (void)step;
    /* the first tokens warm up; the last one leaves room for what ends a call */
    counting = ++*n > WARM && *n < TOKENS;
    return 0;
}

static void check_decode(const char *folder, loam_pool *pool, loam_precision precision,
                         loam_kv_type kv) {
    loam_err err = {0};
    loam_model *m = NULL;
    loam_session *s = NULL;
    int32_t ids[PROMPT];
    size_t n = 0;

    for (size_t i = 0; i < PROMPT; i++) ids[i] = (int32_t)(i * 7 % 50 + 3);
    CHECK(!loam_model_open(&m, folder, &(loam_model_options){pool, precision, kv}, &err), "%s",
          err.msg);
    CHECK(m && !loam_session_new(&s, m, 2 * (PROMPT + TOKENS), &err), "%s", err.msg);
    if (!s) return;
    const loam_generate_options o = {.max_tokens = TOKENS, .ignore_eos = 1};
    n_calls = 0;
    CHECK(!loam_generate(s, ids, PROMPT, &o, stop_never, &n, NULL, &err), "%s", err.msg);
    counting = 0;
    CHECK(n == TOKENS, "%zu tokens", n);
    CHECK(n_calls == 0, "%s: %zu allocations in %d tokens", folder, (size_t)n_calls, TOKENS - WARM);
    loam_session_free(s);
    loam_model_close(m);
}

static void check_counter(void) {
#if COUNTED
    n_calls = 0;
    counting = 1;
    free(loam_alloc(3, 5));
    counting = 0;
    CHECK(n_calls == 1, "an allocation was counted %zu times", (size_t)n_calls);
#endif
}

/* A debug build aborts on an allocation where there must be none, another does not. */
static void check_assertion(void) {
    int status = 0;
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        if (!freopen("/dev/null", "w", stderr)) _exit(3);
        loam_alloc_forbid();
        loam_alloc_forbid();
        loam_alloc_allow();
        free(loam_alloc(1, 1));
        _exit(0);
    }
    CHECK(child > 0 && waitpid(child, &status, 0) == child, "no child");
#ifdef LOAM_DEBUG
    CHECK(WIFSIGNALED(status) || WEXITSTATUS(status) != 0, "the allocation went through");
#else
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %d", status);
#endif
    loam_alloc_forbid();
    loam_alloc_allow();
    free(loam_alloc(1, 1)); /* allowed again */
}

int main(void) {
    static const char *const FOLDERS[] = {"llama/q4g64", "llama/q8g32",  "qwen2/q4g64",
                                          "phi3/q4g64",  "gemma2/q4g64", "starcoder2/f32"};
    loam_err err = {0};
    loam_pool *pool = NULL;

    check_counter();
    check_assertion();
    for (unsigned threads = 1; threads <= 3; threads += 2) {
        CHECK(!loam_pool_new(&pool, threads, &err), "%s", err.msg);
        for (size_t i = 0; i < sizeof FOLDERS / sizeof *FOLDERS; i++) {
            char folder[128];
            snprintf(folder, sizeof folder, "tests/golden/llm/families/%s", FOLDERS[i]);
            check_decode(folder, pool, LOAM_FAST, LOAM_KV_F16);
            check_decode(folder, pool, LOAM_FAST, LOAM_KV_INT8);
            check_decode(folder, pool, LOAM_EXACT, LOAM_KV_F32);
        }
        loam_pool_free(pool);
    }
    return TEST_END("test_memory");
}
