/* mem.c - checked allocation, growable buffers. */
#include "base/base.h"

#include <stdio.h>

#ifdef LOAM_DEBUG
static _Thread_local int forbidden;

void loam_alloc_forbid(void) {
    forbidden++;
}

void loam_alloc_allow(void) {
    LOAM_ASSERT(forbidden > 0);
    forbidden--;
}

void loam_alloc_check(void) {
    LOAM_ASSERT(forbidden == 0);
}
#endif

void *loam_alloc(size_t n, size_t size) {
    size_t bytes;
    loam_alloc_check();
    if (!loam_mul(n, size, &bytes)) return NULL;
    return calloc(1, bytes ? bytes : 1);
}

int loam_grow(void **items, size_t *cap, size_t need, size_t size) {
    if (need <= *cap) return 1;
    loam_alloc_check();
    size_t want = *cap < 8 ? 8 : *cap, bytes;
    while (want < need) {
        if (!loam_mul(want, 2, &want)) return 0;
    }
    if (!loam_mul(want, size, &bytes)) return 0;
    void *grown = realloc(*items, bytes);
    if (!grown) return 0;
    *items = grown;
    *cap = want;
    return 1;
}

char *loam_strndup(const char *s, size_t n) {
    if (n == SIZE_MAX) return NULL;
    loam_alloc_check();
    char *copy = malloc(n + 1);
    if (!copy) return NULL;
    if (n) memcpy(copy, s, n);
    copy[n] = 0;
    return copy;
}

char *loam_strdup(const char *s) {
    return loam_strndup(s, strlen(s));
}

char *loam_format(const char *fmt, ...) {
    char *out = NULL;
    va_list args;
    loam_alloc_check();
    va_start(args, fmt);
    const int n = vasprintf(&out, fmt, args);
    va_end(args);
    return n < 0 ? NULL : out;
}

int loam_buf_reserve(loam_buf *b, size_t extra) {
    size_t need;
    if (b->failed) return 0;
    if (!loam_add(b->n, extra, &need) || !loam_add(need, 1, &need)) {
        b->failed = 1;
        return 0;
    }
    if (need <= b->cap) return 1;
    loam_alloc_check();
    size_t want = b->cap < 64 ? 64 : b->cap;
    while (want < need) want = want > SIZE_MAX / 2 ? need : want * 2;
    char *grown = realloc(b->data, want);
    if (!grown) {
        b->failed = 1;
        return 0;
    }
    b->data = grown;
    b->cap = want;
    return 1;
}

void loam_buf_append(loam_buf *b, const void *bytes, size_t n) {
    if (!loam_buf_reserve(b, n)) return;
    if (n) memcpy(b->data + b->n, bytes, n);
    b->n += n;
    b->data[b->n] = 0;
}

void loam_buf_puts(loam_buf *b, const char *s) {
    loam_buf_append(b, s, strlen(s));
}

void loam_buf_putc(loam_buf *b, char c) {
    loam_buf_append(b, &c, 1);
}

void loam_buf_printf(loam_buf *b, const char *fmt, ...) {
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    const int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (n < 0) b->failed = 1;
    if (n >= 0 && loam_buf_reserve(b, (size_t)n)) {
        vsnprintf(b->data + b->n, (size_t)n + 1, fmt, again);
        b->n += (size_t)n;
    }
    va_end(again);
}

void loam_buf_clear(loam_buf *b) {
    b->n = 0;
    if (b->data) b->data[0] = 0;
}

void loam_buf_deinit(loam_buf *b) {
    free(b->data);
    *b = (loam_buf){0};
}

int loam_ends_with(const char *s, const char *end) {
    const size_t n = strlen(s), n_end = strlen(end);
    return n >= n_end && memcmp(s + n - n_end, end, n_end) == 0;
}
