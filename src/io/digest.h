/* digest.h - SHA-256 over what identifies a model, at a cost that does not grow with it.
 *
 * Lines are printf text that ends with a newline.  Bytes are taken whole up to a limit (files
 * 1 MiB, arrays 1 KiB), above it as samples at even distances from the first to the last byte
 * (files 256 of 4 KiB, arrays 16 of 64 bytes): a few milliseconds for any model.
 */
#ifndef LOAM_IO_DIGEST_H
#define LOAM_IO_DIGEST_H

#include "base/base.h"
#include <loam/tensor.h>

void loam_digest_line(loam_sha256 *h, const char *fmt, ...) LOAM_PRINTF(2, 3);
void loam_digest_file(loam_sha256 *h, const void *bytes, size_t n);
/* For each array by name: "array NAME DTYPE AxBxC" and its bytes. */
void loam_digest_arrays(loam_sha256 *h, const loam_arrays *a);

#endif
