/* zip.h - zip archives in memory, read through their central directory.
 *
 *     loam_zip z;
 *     if (loam_zip_open(&z, bytes, n, "a.npz", err)) ...
 *     for (size_t i = 0; i < z.n; i++) loam_zip_member_bytes(&z, &z.members[i], ...)
 *     loam_zip_close(&z);
 *
 * Stored and deflated members; zip64; archives with a prefix or a comment.  Members that
 * overlap each other or the directory, and encrypted ones, are refused.
 */
#ifndef LOAM_IO_ZIP_H
#define LOAM_IO_ZIP_H

#include "base/base.h"

typedef struct loam_zip_member {
    const char *name;            /* NUL-terminated, no NUL inside */
    const unsigned char *packed; /* inside the archive */
    uint64_t packed_bytes, bytes;
    uint32_t crc;
    uint16_t method;    /* 0 stored, 8 deflate */
    uint64_t header_at; /* of the local header */
} loam_zip_member;

typedef struct loam_zip {
    const unsigned char *base;
    size_t size;
    const char *name;
    loam_zip_member *members; /* in directory order */
    size_t n;
    char *names;
} loam_zip;

int loam_zip_looks_like(const unsigned char *bytes, size_t n);
loam_status loam_zip_open(loam_zip *out, const unsigned char *bytes, size_t n, const char *name,
                          loam_err *err);
void loam_zip_close(loam_zip *z); /* zeroed is allowed */

/* The first min(limit, m->bytes) bytes of a member, unpacked into `out`; *got how many there
 * were.  When all of it was asked for, size and CRC are checked. */
loam_status loam_zip_unpack(const loam_zip *z, const loam_zip_member *m, unsigned char *out,
                            size_t limit, size_t *got, loam_err *err);
/* CRC-32 of zip and gzip, whole or continued. */
uint32_t loam_zip_crc(const unsigned char *p, uint64_t n);
uint32_t loam_zip_crc_more(uint32_t before, const unsigned char *p, uint64_t n);
/* CRC of a stored member against the directory. */
loam_status loam_zip_check_stored(const loam_zip *z, const loam_zip_member *m, loam_err *err);

#endif
