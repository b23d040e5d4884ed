#include "io/arrays.h"
#include "io/zip.h"
int loam_zip_looks_like(const unsigned char *p, size_t n) {
    return n > 4 && !memcmp(p, "PK\3\4", 4);
}
loam_status loam_npy_read(loam_arrays *a, loam_bytes f, const char *t, loam_err *err) {
    (void)a;
    (void)t;
    return loam_fail(err, LOAM_ERR_UNSUPPORTED, "%s: npy", f.name);
}
loam_status loam_npz_read(loam_arrays *a, loam_bytes f, loam_err *err) {
    (void)a;
    return loam_fail(err, LOAM_ERR_UNSUPPORTED, "%s: npz", f.name);
}
loam_status loam_gguf_read(loam_arrays *a, loam_bytes f, loam_err *err) {
    (void)a;
    return loam_fail(err, LOAM_ERR_UNSUPPORTED, "%s: gguf", f.name);
}
