/* utf8.c - checking a whole text: eight ASCII bytes at a time, others one by one. */
#include "base/utf8.h"
#include "base/base.h"

size_t loam_utf8_check(const char *s, size_t n) {
    size_t i = 0;
    while (i < n) {
        while (n - i >= 8 && !(loam_read_u64(s + i) & 0x8080808080808080u)) i += 8;
        if (i >= n) break;
        const size_t length = loam_utf8_length(s + i, n - i);
        if (!length) return i;
        i += length;
    }
    return n;
}
