/* base.h - what every part of loam shares: status, error text, byte buffer, threads.
 *
 *     loam_err err = {0};
 *     loam_pool *pool = NULL;
 *     if (loam_pool_new(&pool, 0, &err)) die(err.msg);
 *     ...
 *     loam_pool_free(pool);
 *
 * The library never prints, exits or reads the environment (loam/hub.h says
 * where the one exception is).  Every function is safe to call from any thread
 * on different objects; what may be shared is said at each function.
 */
#ifndef LOAM_BASE_H
#define LOAM_BASE_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#define LOAM_VERSION "0.1.0"

#if defined(__GNUC__)
#define LOAM_API          __attribute__((visibility("default")))
#define LOAM_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define LOAM_API
#define LOAM_PRINTF(f, a)
#endif

typedef enum loam_status {
    LOAM_OK = 0,
    LOAM_ERR_IO,          /* a file or pipe could not be read or written */
    LOAM_ERR_MEMORY,      /* out of memory */
    LOAM_ERR_FORMAT,      /* input is damaged or hostile */
    LOAM_ERR_UNSUPPORTED, /* sound input that loam does not handle */
    LOAM_ERR_NOT_FOUND,   /* file, model or index missing or incomplete */
    LOAM_ERR_ARGUMENT,    /* the request makes no sense (ranges, empty text) */
    LOAM_ERR_LIMIT,       /* larger than a stated limit (context, size) */
    LOAM_ERR_BUSY,        /* locked by another process */
    LOAM_ERR_NETWORK,     /* a transfer failed */
    LOAM_ERR_NO_SPACE,    /* disk full */
    LOAM_ERR_CANCELLED    /* the caller's callback asked to stop */
} loam_status;

typedef struct loam_err {
    loam_status status;
    char msg[496]; /* one line, no newline: "what: why at where" */
} loam_err;

/* Fill `err` (when not NULL) and return `status`, so that a failing branch is
 * one statement: return loam_fail(err, LOAM_ERR_FORMAT, "%s: ...", path);
 * Control characters in the arguments are replaced by '?', cut at the size. */
LOAM_API loam_status loam_fail(loam_err *err, loam_status status, const char *fmt, ...)
    LOAM_PRINTF(3, 4);

/* As loam_fail, for a failed system call: picks NO_SPACE, MEMORY, NOT_FOUND or
 * IO by `error_number` (an errno) and ends the message with strerror's text. */
LOAM_API loam_status loam_fail_errno(loam_err *err, int error_number, const char *fmt, ...)
    LOAM_PRINTF(3, 4);

/* A growable byte buffer.  Zeroed is empty and valid.  A failed allocation sets
 * `failed` and makes later appends no-ops: check once, at the end.  `data` is
 * always NUL-terminated when not NULL; the NUL is not counted in `n`. */
typedef struct loam_buf {
    char *data;
    size_t n, cap;
    int failed;
} loam_buf;

LOAM_API void loam_buf_append(loam_buf *b, const void *bytes, size_t n);
LOAM_API void loam_buf_puts(loam_buf *b, const char *s);
LOAM_API void loam_buf_putc(loam_buf *b, char c);
LOAM_API void loam_buf_printf(loam_buf *b, const char *fmt, ...) LOAM_PRINTF(2, 3);
LOAM_API int loam_buf_reserve(loam_buf *b, size_t extra); /* 1 when there is room */
LOAM_API void loam_buf_clear(loam_buf *b);                /* n = 0, memory kept */
LOAM_API void loam_buf_deinit(loam_buf *b);               /* frees; zeroed after */

/* A text by pointer and length, UTF-8. */
typedef struct loam_text {
    const char *data;
    size_t n;
} loam_text;

/* Offset of the first byte that is not part of sound UTF-8 (no overlong forms, surrogates or
 * values above U+10FFFF), or n when the text is sound. */
LOAM_API size_t loam_utf8_check(const char *s, size_t n);

/* 1 when the string `s` ends with `end`. */
LOAM_API int loam_ends_with(const char *s, const char *end);

/* A pool of worker threads, made once by the program and lent to whatever
 * computes.  `n_threads` 0 means the CPUs this process may use (affinity mask
 * and cgroup quota).  The caller of a parallel function works as worker 0, so a
 * pool of 1 has no threads.  A pool runs one job at a time: calls from several
 * threads queue. */
typedef struct loam_pool loam_pool;
LOAM_API loam_status loam_pool_new(loam_pool **out, unsigned n_threads, loam_err *err);
LOAM_API void loam_pool_free(loam_pool *pool); /* NULL is allowed */
LOAM_API unsigned loam_pool_size(const loam_pool *pool);

/* Seconds of a clock that never goes back; only differences mean something. */
LOAM_API double loam_now(void);

/* Number of CPUs this process may use: affinity mask, then cgroup v1/v2 quota. */
LOAM_API unsigned loam_cpu_count(void);

/* Bytes per second that the pool's workers read together from a block of `bytes` (larger
 * than the caches to measure memory): best of five passes, in a plain summing loop.
 * 0 when the block cannot be had. */
LOAM_API double loam_measure_read_bandwidth(loam_pool *pool, size_t bytes);

/* Multiply-adds per second that the pool's workers reach together in registers, the limit of
 * any product: of f32, or of the fastest 8-bit integers that this machine has (*unit, when not
 * NULL, names the instruction).  Takes about a tenth of a second.  0: not known here. */
typedef enum loam_peak_kind { LOAM_PEAK_F32, LOAM_PEAK_INT8 } loam_peak_kind;
LOAM_API double loam_measure_peak(loam_pool *pool, loam_peak_kind kind, const char **unit);

/* Name of the kernel set in use: "ref", "avx2", "avx512vnni", ... */
LOAM_API const char *loam_cpu_isa(void);

/* Flag polled by long library calls (generate, ingest, embed): a non-zero value
 * makes them stop cleanly with LOAM_ERR_CANCELLED.  Async-signal-safe to set. */
typedef struct loam_cancel {
    volatile int requested;
} loam_cancel;

#endif
