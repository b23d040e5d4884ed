/* err.c - error messages and assertions: one line, whatever the input held. */
#include "base/base.h"

#include <errno.h>
#include <stdio.h>

void loam_assert_failed(const char *what, const char *file, int line) {
    fprintf(stderr, "loam: bug: %s at %s:%d\n", what, file, line);
    abort();
}

/* Names from hostile files end up in messages: keep them on one line and free of
 * terminal escapes.  Bytes above 0x7f pass (UTF-8 names are common). */
static void make_printable(char *s) {
    for (; *s; s++) {
        const unsigned char c = (unsigned char)*s;
        if (c < 0x20 || c == 0x7f) *s = '?';
    }
}

/* vsnprintf may have cut inside a UTF-8 sequence: drop the broken tail. */
static void drop_partial_utf8(char *s) {
    size_t n = strlen(s), back = 0;
    while (back < n && back < 4 && ((unsigned char)s[n - 1 - back] & 0xC0) == 0x80) back++;
    if (back == n || n == 0) return;
    const unsigned char lead = (unsigned char)s[n - 1 - back];
    const size_t want = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : lead >= 0xC0 ? 1 : 0;
    if (want > back) s[n - 1 - back] = 0;
}

LOAM_PRINTF(3, 0)
static void set_message(loam_err *err, loam_status status, const char *fmt, va_list args) {
    err->status = status;
    const int n = vsnprintf(err->msg, sizeof err->msg, fmt, args);
    if (n >= (int)sizeof err->msg) drop_partial_utf8(err->msg);
    make_printable(err->msg);
}

loam_status loam_fail(loam_err *err, loam_status status, const char *fmt, ...) {
    if (!err) return status;
    va_list args;
    va_start(args, fmt);
    set_message(err, status, fmt, args);
    va_end(args);
    return status;
}

static loam_status status_of_errno(int e) {
    switch (e) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG: return LOAM_ERR_NO_SPACE;
    case ENOMEM: return LOAM_ERR_MEMORY;
    case ENOENT:
    case ENOTDIR: return LOAM_ERR_NOT_FOUND;
    default: return LOAM_ERR_IO;
    }
}

loam_status loam_fail_errno(loam_err *err, int error_number, const char *fmt, ...) {
    const loam_status status = status_of_errno(error_number);
    if (!err) return status;
    va_list args;
    va_start(args, fmt);
    set_message(err, status, fmt, args);
    va_end(args);
    const size_t n = strlen(err->msg);
    char reason[96] = "";
    const char *text = strerror_r(error_number, reason, sizeof reason);
    snprintf(err->msg + n, sizeof err->msg - n, ": %s", text);
    return status;
}
