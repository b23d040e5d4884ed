/* tidy.h - what the analyzer of clang-tidy cannot see from one file: loam_fail returns its status,
 * never LOAM_OK, so no path goes on after it.  Included before each file by tools/check.sh only. */
#include <loam/base.h>

#define loam_fail(err, status, ...) ((void)loam_fail(err, status, __VA_ARGS__), (status))
#define loam_fail_errno(err, number, ...)                                                          \
    ((void)loam_fail_errno(err, number, __VA_ARGS__), LOAM_ERR_IO)
