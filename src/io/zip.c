/* zip.c - zip archives by their central directory: see zip.h.
 *
 *     | prefix | local header, data | ... | directory | [zip64 end, locator] | end, comment |
 *
 * Local headers are only used to find where data starts: writers leave sizes and CRC
 * there open (streams), or put zip64 fields there that the directory does not need.
 */
#include "io/zip.h"
#include "io/json_value.h"

#include <limits.h>
#include <zlib.h>

enum {
    LOCAL_BYTES = 30,
    DIRECTORY_BYTES = 46,
    END_BYTES = 22,
    END64_BYTES = 56,
    LOCATOR_BYTES = 20,
    MAX_COMMENT = 65535,
    MAX_MEMBERS = 1000000,
    /* deflate cannot do better than 258 bytes for two bits */
    MAX_DEFLATE_RATIO = 1032
};

static const uint32_t LOCAL_MAGIC = 0x04034b50, DIRECTORY_MAGIC = 0x02014b50,
                      END_MAGIC = 0x06054b50, END64_MAGIC = 0x06064b50, LOCATOR_MAGIC = 0x07064b50;

/* What the end records say. */
typedef struct ends {
    uint64_t count, size, offset; /* of the directory; offset without the prefix */
    uint64_t directory_end;       /* where the records begin, in the file */
} ends;

/* The last end record whose comment reaches exactly to the end of the file; 0 when none. */
static int find_end(const unsigned char *p, size_t n, size_t *at) {
    if (n < END_BYTES) return 0;
    const size_t last = n - END_BYTES, first = last > MAX_COMMENT ? last - MAX_COMMENT : 0;
    for (size_t i = last + 1; i-- > first;)
        if (p[i] == 'P' && loam_read_u32(p + i) == END_MAGIC &&
            i + END_BYTES + loam_read_u16(p + i + 20) == n) {
            *at = i;
            return 1;
        }
    return 0;
}

int loam_zip_looks_like(const unsigned char *bytes, size_t n) {
    size_t at;
    return (n >= 4 && loam_read_u32(bytes) == LOCAL_MAGIC) || find_end(bytes, n, &at);
}

static loam_status fail_zip(const loam_zip *z, const char *why, loam_err *err) {
    return loam_fail(err, LOAM_ERR_FORMAT, "%s: damaged zip: %s", z->name, why);
}

/* The zip64 records before the end record at `end`, when there are any. */
static loam_status read_end64(const loam_zip *z, size_t end, ends *e, loam_err *err) {
    if (end < LOCATOR_BYTES || loam_read_u32(z->base + end - LOCATOR_BYTES) != LOCATOR_MAGIC)
        return LOAM_OK;
    const size_t locator = end - LOCATOR_BYTES;
    uint64_t at = loam_read_u64(z->base + locator + 8);
    if (locator < END64_BYTES || at > locator - END64_BYTES)
        return fail_zip(z, "zip64 end record outside the file", err);
    /* a prefix moves everything: then the record is right before the locator */
    if (loam_read_u32(z->base + at) != END64_MAGIC) at = locator - END64_BYTES;
    const unsigned char *p = z->base + at;
    if (loam_read_u32(p) != END64_MAGIC) return fail_zip(z, "no zip64 end record", err);
    if (loam_read_u64(p + 4) != locator - at - 12)
        return fail_zip(z, "zip64 end record of wrong size", err);
    if (loam_read_u32(p + 16) || loam_read_u32(p + 20))
        return fail_zip(z, "it spans several disks", err);
    *e = (ends){loam_read_u64(p + 32), loam_read_u64(p + 40), loam_read_u64(p + 48), at};
    return LOAM_OK;
}

static loam_status read_ends(const loam_zip *z, ends *e, loam_err *err) {
    size_t end;
    if (!find_end(z->base, z->size, &end))
        return fail_zip(z, "no end record (file cut short?)", err);
    const unsigned char *p = z->base + end;
    if (loam_read_u16(p + 4) || loam_read_u16(p + 6))
        if (loam_read_u16(p + 4) != 0xffff) return fail_zip(z, "it spans several disks", err);
    *e = (ends){loam_read_u16(p + 10), loam_read_u32(p + 12), loam_read_u32(p + 16), end};
    const loam_status st = read_end64(z, end, e, err);
    if (st) return st;
    if (e->size > e->directory_end || e->offset > e->directory_end - e->size)
        return fail_zip(z, "central directory outside the file", err);
    if (e->count > e->size / DIRECTORY_BYTES || e->count > MAX_MEMBERS)
        return fail_zip(z, "more entries than its directory can hold", err);
    return LOAM_OK;
}

/* The zip64 field (id 1) of a directory entry replaces those values that are all ones. */
static int read_extra64(const unsigned char *p, size_t n, uint64_t *values[3], size_t n_values) {
    size_t k = 0;
    while (n >= 4) {
        const uint16_t id = loam_read_u16(p);
        const size_t size = loam_read_u16(p + 2);
        if (size > n - 4) return 0;
        if (id == 1) {
            if (size < 8 * n_values) return 0;
            for (; k < n_values; k++) *values[k] = loam_read_u64(p + 4 + 8 * k);
            return 1;
        }
        p += 4 + size;
        n -= 4 + size;
    }
    return n_values == 0;
}

/* Where the member's data starts, by its local header. */
static loam_status find_data(const loam_zip *z, loam_zip_member *m, uint64_t limit, loam_err *err) {
    const uint64_t at = m->header_at;
    if (at > limit || limit - at < LOCAL_BYTES)
        return fail_zip(z, "local header outside the file", err);
    const unsigned char *p = z->base + at;
    if (loam_read_u32(p) != LOCAL_MAGIC)
        return fail_zip(z, "no local header where one should be", err);
    const size_t n_name = loam_read_u16(p + 26), n_extra = loam_read_u16(p + 28);
    if (limit - at - LOCAL_BYTES < n_name + n_extra)
        return fail_zip(z, "local header outside the file", err);
    if (n_name != strlen(m->name) || memcmp(p + LOCAL_BYTES, m->name, n_name) != 0)
        return fail_zip(z, "local header and directory name different members", err);
    if (loam_read_u16(p + 8) != m->method)
        return fail_zip(z, "local header and directory name different methods", err);
    m->packed = p + LOCAL_BYTES + n_name + n_extra;
    if (m->packed_bytes > limit - at - LOCAL_BYTES - n_name - n_extra)
        return loam_fail(err, LOAM_ERR_FORMAT,
                         "%s: damaged zip: member '%s' does not fit in the file", z->name, m->name);
    return LOAM_OK;
}

static loam_status check_member(const loam_zip *z, const loam_zip_member *m, uint16_t flags,
                                loam_err *err) {
    if (flags & (1 | 1 << 6 | 1 << 13))
        return loam_fail(err, LOAM_ERR_UNSUPPORTED, "%s: member '%s' is encrypted", z->name,
                         m->name);
    if (m->method != 0 && m->method != 8)
        return loam_fail(err, LOAM_ERR_UNSUPPORTED, "%s: member '%s': compression method %u",
                         z->name, m->name, m->method);
    if (m->method == 0 && m->packed_bytes != m->bytes)
        return loam_fail(err, LOAM_ERR_FORMAT,
                         "%s: damaged zip: member '%s' is stored with two sizes", z->name, m->name);
    if (m->method == 8 && m->bytes / MAX_DEFLATE_RATIO > m->packed_bytes + 1)
        return loam_fail(err, LOAM_ERR_FORMAT,
                         "%s: damaged zip: member '%s' cannot unpack to %llu bytes", z->name,
                         m->name, (unsigned long long)m->bytes);
    return LOAM_OK;
}

/* NUL and bytes that are no UTF-8 are refused: names become keys and messages. */
static int is_sound_name(const unsigned char *p, size_t n) {
    return !memchr(p, 0, n) && loam_utf8_check((const char *)p, n) == n;
}

/* One directory entry at p of n bytes; *used how many it took. */
static loam_status read_entry(loam_zip *z, const unsigned char *p, size_t n, uint64_t prefix,
                              size_t *used, loam_err *err) {
    if (n < DIRECTORY_BYTES || loam_read_u32(p) != DIRECTORY_MAGIC)
        return fail_zip(z, "central directory entry missing", err);
    const size_t n_name = loam_read_u16(p + 28), n_extra = loam_read_u16(p + 30);
    const size_t n_comment = loam_read_u16(p + 32);
    if (n - DIRECTORY_BYTES < n_name + n_extra + n_comment)
        return fail_zip(z, "central directory entry longer than the directory", err);
    if (!is_sound_name(p + DIRECTORY_BYTES, n_name))
        return fail_zip(z, "member name holds a NUL or is not UTF-8", err);

    loam_zip_member *m = &z->members[z->n];
    *m = (loam_zip_member){.method = loam_read_u16(p + 10),
                           .crc = loam_read_u32(p + 16),
                           .packed_bytes = loam_read_u32(p + 20),
                           .bytes = loam_read_u32(p + 24),
                           .header_at = loam_read_u32(p + 42)};
    uint64_t *large[3];
    size_t n_large = 0;
    if (m->bytes == UINT32_MAX) large[n_large++] = &m->bytes;
    if (m->packed_bytes == UINT32_MAX) large[n_large++] = &m->packed_bytes;
    if (m->header_at == UINT32_MAX) large[n_large++] = &m->header_at;
    if (!read_extra64(p + DIRECTORY_BYTES + n_name, n_extra, large, n_large))
        return fail_zip(z, "bad extra field in the directory", err);
    if (m->header_at > UINT64_MAX - prefix)
        return fail_zip(z, "local header outside the file", err);
    m->header_at += prefix;
    *used = DIRECTORY_BYTES + n_name + n_extra + n_comment;
    return LOAM_OK;
}

/* What a member takes of the archive, its local header included. */
typedef struct span {
    uint64_t begin, end;
    const char *name;
} span;

static int compare_spans(const void *x, const void *y) {
    const span *a = x, *b = y;
    return (a->begin > b->begin) - (a->begin < b->begin);
}

/* Overlapping members are how small archives unpack to far more than they hold. */
static loam_status check_overlap(const loam_zip *z, loam_err *err) {
    span *spans = loam_alloc(z->n, sizeof *spans);
    loam_status st = LOAM_OK;
    if (!spans) return loam_fail(err, LOAM_ERR_MEMORY, "%s: out of memory", z->name);
    for (size_t i = 0; i < z->n; i++) {
        const loam_zip_member *m = &z->members[i];
        spans[i] = (span){m->header_at, (uint64_t)(m->packed - z->base) + m->packed_bytes, m->name};
    }
    if (z->n) qsort(spans, z->n, sizeof *spans, compare_spans);
    for (size_t i = 1; i < z->n && !st; i++)
        if (spans[i - 1].end > spans[i].begin)
            st = loam_fail(err, LOAM_ERR_FORMAT, "%s: damaged zip: members '%s' and '%s' overlap",
                           z->name, spans[i - 1].name, spans[i].name);
    free(spans);
    return st;
}

static loam_status read_directory(loam_zip *z, const ends *e, loam_err *err) {
    const uint64_t start = e->directory_end - e->size, prefix = start - e->offset;
    const unsigned char *p = z->base + start;
    size_t rest = (size_t)e->size, used = 0, n_names = 0;
    loam_status st = LOAM_OK;
    for (uint64_t i = 0; i < e->count; i++, p += used, rest -= used) {
        const unsigned char *entry = p;
        st = read_entry(z, p, rest, prefix, &used, err);
        if (st) return st;
        loam_zip_member *m = &z->members[z->n];
        const size_t n_name = loam_read_u16(entry + 28);
        char *name = z->names + n_names; /* an entry is longer than its name and a NUL */
        memcpy(name, entry + DIRECTORY_BYTES, n_name);
        name[n_name] = '\0';
        n_names += n_name + 1;
        m->name = name;
        st = check_member(z, m, loam_read_u16(entry + 8), err);
        if (!st) st = find_data(z, m, start, err);
        if (st) return st;
        z->n++;
    }
    if (rest) return fail_zip(z, "fewer entries than its directory holds", err);
    return check_overlap(z, err);
}

loam_status loam_zip_open(loam_zip *out, const unsigned char *bytes, size_t n, const char *name,
                          loam_err *err) {
    ends e = {0};
    *out = (loam_zip){.base = bytes, .size = n, .name = name};
    loam_status st = read_ends(out, &e, err);
    if (st) return st;
    out->members = loam_alloc((size_t)e.count, sizeof *out->members);
    out->names = malloc((size_t)e.size + 1);
    if (!out->members || !out->names) {
        loam_zip_close(out);
        return loam_fail(err, LOAM_ERR_MEMORY, "%s: out of memory for %llu members", name,
                         (unsigned long long)e.count);
    }
    st = read_directory(out, &e, err);
    if (st) loam_zip_close(out);
    return st;
}

void loam_zip_close(loam_zip *z) {
    free(z->members);
    free(z->names);
    *z = (loam_zip){0};
}

/* ---- data ---- */

uint32_t loam_zip_crc_more(uint32_t before, const unsigned char *p, uint64_t n) {
    uLong crc = before;
    while (n) {
        const uInt part = n < UINT_MAX ? (uInt)n : UINT_MAX;
        crc = crc32(crc, p, part);
        p += part;
        n -= part;
    }
    return (uint32_t)crc;
}

uint32_t loam_zip_crc(const unsigned char *p, uint64_t n) {
    return loam_zip_crc_more(0, p, n);
}

static loam_status check_crc(const loam_zip *z, const loam_zip_member *m, const unsigned char *p,
                             loam_err *err) {
    if (loam_zip_crc(p, m->bytes) == m->crc) return LOAM_OK;
    return loam_fail(err, LOAM_ERR_FORMAT, "%s: damaged: CRC of member '%s' differs", z->name,
                     m->name);
}

loam_status loam_zip_check_stored(const loam_zip *z, const loam_zip_member *m, loam_err *err) {
    LOAM_ASSERT(m->method == 0);
    return check_crc(z, m, m->packed, err);
}

/* Inflate into out[0 .. want): *got bytes came, *ended when the stream says so.
 * One byte more room is never given: output cannot pass what was promised. */
static int inflate_some(const loam_zip_member *m, unsigned char *out, size_t want, size_t *got,
                        int *ended) {
    z_stream s = {0};
    uint64_t in_left = m->packed_bytes;
    const unsigned char *in = m->packed;
    size_t out_left = want;
    int code = inflateInit2(&s, -15);
    if (code != Z_OK) return code;
    while (code == Z_OK) {
        if (s.avail_in == 0 && in_left) {
            const uInt part = in_left < UINT_MAX ? (uInt)in_left : UINT_MAX;
            s.next_in = (z_const Bytef *)(uintptr_t)in; /* NOLINT: zlib does not write to it */
            s.avail_in = part;
            in += part;
            in_left -= part;
        }
        if (s.avail_out == 0 && out_left) {
            const uInt part = out_left < UINT_MAX ? (uInt)out_left : UINT_MAX;
            s.next_out = out + (want - out_left);
            s.avail_out = part;
            out_left -= part;
        }
        code = inflate(&s, Z_NO_FLUSH);
        if (code == Z_BUF_ERROR) break; /* no room left, or no input left */
    }
    *got = want - out_left - s.avail_out;
    *ended = code == Z_STREAM_END && s.avail_in == 0 && in_left == 0;
    inflateEnd(&s);
    return code == Z_STREAM_END || code == Z_BUF_ERROR ? Z_OK : code;
}

loam_status loam_zip_unpack(const loam_zip *z, const loam_zip_member *m, unsigned char *out,
                            size_t limit, size_t *got, loam_err *err) {
    const int whole = limit >= m->bytes;
    const size_t want = whole ? (size_t)m->bytes : limit;
    int ended = 1;
    if (m->method == 0) {
        if (want) memcpy(out, m->packed, want);
        *got = want;
    } else {
        unsigned char none[1];
        const int code = inflate_some(m, want ? out : none, want, got, &ended);
        if (code == Z_MEM_ERROR)
            return loam_fail(err, LOAM_ERR_MEMORY, "%s: out of memory to unpack", z->name);
        if (code != Z_OK)
            return loam_fail(err, LOAM_ERR_FORMAT, "%s: damaged: member '%s' cannot be unpacked",
                             z->name, m->name);
    }
    if (!whole) return LOAM_OK;
    if (*got != want || !ended)
        return loam_fail(err, LOAM_ERR_FORMAT,
                         "%s: damaged: member '%s' does not unpack to the %llu bytes it promises",
                         z->name, m->name, (unsigned long long)m->bytes);
    return check_crc(z, m, out, err);
}
