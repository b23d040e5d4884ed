/* npy.h - the parts of the npy reader that the npz reader needs: header, then data. */
#ifndef LOAM_IO_NPY_H
#define LOAM_IO_NPY_H

#include "io/arrays.h"

typedef struct loam_npy {
    loam_tensor tensor; /* dtype, shape, bytes */
    size_t n_header;    /* data starts here */
    int fortran, big_endian;
} loam_npy;

enum { LOAM_NPY_PREFIX = 12 }; /* bytes that tell how long the header is */

/* Length of magic and header from the first (at most) LOAM_NPY_PREFIX bytes. */
loam_status loam_npy_prefix(const unsigned char *p, size_t n, const char *name, size_t *n_header,
                            loam_err *err);
loam_status loam_npy_parse(loam_npy *out, const unsigned char *p, size_t n, const char *name,
                           loam_err *err);
/* Add the array, its data (h->tensor.bytes of it) viewed or, where it is not C order and
 * little endian, copied. */
loam_status loam_npy_place(loam_arrays *a, const loam_npy *h, const unsigned char *data,
                           const char *tensor_name, const char *name, loam_err *err);

#endif
