/* gzip.c - inflate with two caps, on size and on ratio, so that a bomb costs little. */
#include "base/base.h"

#include <limits.h>
#include <loam/data.h>
#include <zlib.h>

enum {
    PIECE_BYTES = 1 << 16,
    MAX_RATIO = 1000,      /* deflate itself cannot pass 1032 : 1; text stays below 20 */
    RATIO_FLOOR = 16 << 20 /* smaller outputs are never judged by ratio */
};

int loam_is_gzip(const void *bytes, size_t n) {
    const unsigned char *p = bytes;
    return n >= 3 && p[0] == 0x1F && p[1] == 0x8B && p[2] == 8;
}

static loam_status inflate_all(z_stream *z, const unsigned char *in, size_t n, size_t max_bytes,
                               loam_buf *out, loam_err *err) {
    static const char what[] = "gzip data";
    const size_t from = out->n;
    unsigned char piece[PIECE_BYTES];
    size_t used = 0;
    for (;;) {
        if (z->avail_in == 0 && used < n) {
            const size_t take = n - used < INT_MAX ? n - used : INT_MAX;
            union {
                const unsigned char *in;
                unsigned char *out;
            } next = {
                .in = in + used}; /* zlib does not write there; its field is not const by default */
            z->next_in = next.out;
            z->avail_in = (unsigned)take;
            used += take;
        }
        z->next_out = piece;
        z->avail_out = PIECE_BYTES;
        const int r = inflate(z, Z_NO_FLUSH);
        loam_buf_append(out, piece, PIECE_BYTES - z->avail_out);
        if (out->failed) return loam_fail(err, LOAM_ERR_MEMORY, "%s: inflated text", what);
        const size_t total = out->n - from;
        if (total > max_bytes)
            return loam_fail(err, LOAM_ERR_LIMIT, "%s: more than %zu bytes inflated", what,
                             max_bytes);
        if (total > RATIO_FLOOR && total / MAX_RATIO > n)
            return loam_fail(err, LOAM_ERR_LIMIT,
                             "%s: inflates more than %d times: refused as a bomb", what,
                             (int)MAX_RATIO);
        if (r == Z_STREAM_END) {
            const size_t rest = n - used + z->avail_in;
            if (rest < 18 || !loam_is_gzip(in + (n - rest), rest))
                return LOAM_OK; /* trailing bytes are padding */
            if (inflateReset(z) != Z_OK)
                return loam_fail(err, LOAM_ERR_MEMORY, "%s: next member", what);
        } else if (r == Z_BUF_ERROR ||
                   (r == Z_OK && z->avail_in == 0 && used == n && z->avail_out > 0)) {
            return loam_fail(err, LOAM_ERR_FORMAT, "%s: cut short after %zu bytes", what, n);
        } else if (r != Z_OK) {
            return loam_fail(err, LOAM_ERR_FORMAT, "%s: damaged near byte %zu", what,
                             used - z->avail_in);
        }
    }
}

loam_status loam_gunzip(const void *bytes, size_t n, size_t max_bytes, loam_buf *out,
                        loam_err *err) {
    z_stream z = {0};
    if (inflateInit2(&z, 15 + 16) != Z_OK)
        return loam_fail(err, LOAM_ERR_MEMORY, "gzip data: inflate state");
    const loam_status st = inflate_all(&z, bytes, n, max_bytes, out, err);
    inflateEnd(&z);
    return st;
}
