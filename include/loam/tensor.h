/* tensor.h - named arrays in files: safetensors, npy, npz, GGUF.
 *
 *     loam_arrays *a;
 *     if (loam_arrays_open(&a, "model.safetensors", &err)) die(err.msg);
 *     const loam_tensor *t = loam_arrays_find(a, "model.norm.weight");
 *     loam_arrays_close(a);
 *
 * Files are mapped; data is viewed in place where the format allows (stored, C
 * order, little endian) and copied where not (deflated, Fortran order, big
 * endian).  Data may stand at any byte address: read it with memcpy or unaligned
 * loads.  An open set is immutable and may be read by any number of threads.
 */
#ifndef LOAM_TENSOR_H
#define LOAM_TENSOR_H

#include <loam/base.h>
#include <loam/json.h>

typedef enum loam_dtype {
    LOAM_BOOL,
    LOAM_U8,
    LOAM_I8,
    LOAM_U16,
    LOAM_I16,
    LOAM_F16,
    LOAM_BF16,
    LOAM_U32,
    LOAM_I32,
    LOAM_F32,
    LOAM_U64,
    LOAM_I64,
    LOAM_F64,
    LOAM_C64, /* two f32 */
    LOAM_F8_E4M3,
    LOAM_F8_E5M2,
    LOAM_F8_E8M0,
    /* GGUF block formats: shape is in elements, bytes in blocks */
    LOAM_Q4_0,
    LOAM_Q4_1,
    LOAM_Q5_0,
    LOAM_Q5_1,
    LOAM_Q8_0,
    LOAM_Q2_K,
    LOAM_Q3_K,
    LOAM_Q4_K,
    LOAM_Q5_K,
    LOAM_Q6_K,
    LOAM_N_DTYPES
} loam_dtype;

enum { LOAM_MAX_RANK = 8 };

typedef struct loam_tensor {
    const char *name; /* NUL-terminated, owned by the set */
    loam_dtype dtype;
    int rank;
    uint64_t shape[LOAM_MAX_RANK]; /* outermost first (GGUF's order is reversed on reading) */
    const void *data; /* C order, little endian, any alignment; not NULL unless bytes == 0 */
    uint64_t bytes;
} loam_tensor;

LOAM_API const char *loam_dtype_name(loam_dtype d); /* "f32", "bf16", "q4_1", ... */
LOAM_API size_t loam_dtype_bytes(loam_dtype d);     /* per element; 0 for block formats */
LOAM_API uint64_t
loam_tensor_count(const loam_tensor *t); /* product of the shape (checked at open) */

typedef enum loam_container { LOAM_SAFETENSORS, LOAM_NPY, LOAM_NPZ, LOAM_GGUF } loam_container;

typedef struct loam_arrays loam_arrays;

/* Open one file, its kind found by content.  Everything is checked before it is
 * used: counts, offsets, sizes, overlaps, CRC (npz).
 * Errors: IO, NOT_FOUND, MEMORY, FORMAT, UNSUPPORTED, LIMIT. */
LOAM_API loam_status loam_arrays_open(loam_arrays **out, const char *path, loam_err *err);

/* Open the weights of a model folder: by model.safetensors.index.json (names
 * checked to stay inside the folder), else model*.safetensors, weights*.safetensors,
 * then *.npz.  Pickles (.bin, .pt) are refused by name. */
LOAM_API loam_status loam_arrays_open_folder(loam_arrays **out, const char *folder, loam_err *err);
LOAM_API void loam_arrays_close(loam_arrays *a); /* NULL is allowed */

LOAM_API loam_container loam_arrays_container(const loam_arrays *a);
LOAM_API size_t loam_arrays_count(const loam_arrays *a);
LOAM_API const loam_tensor *loam_arrays_at(const loam_arrays *a, size_t i); /* in name order */
LOAM_API const loam_tensor *loam_arrays_find(const loam_arrays *a,
                                             const char *name); /* NULL: none */
/* safetensors "__metadata__" or GGUF key-values as a JSON object; NULL: none.
 * (GGUF arrays longer than 1,000,000 entries are kept; strings must be UTF-8.) */
LOAM_API const loam_json_value *loam_arrays_metadata(const loam_arrays *a);
LOAM_API uint64_t loam_arrays_file_bytes(const loam_arrays *a);

/* Convert `n` elements starting at element `first` to f32 (bool, ints, floats and
 * GGUF blocks; for blocks `first` and `n` must be multiples of the block).
 * Errors: UNSUPPORTED (c64). */
LOAM_API loam_status loam_tensor_to_f32(const loam_tensor *t, uint64_t first, uint64_t n,
                                        float *out, loam_err *err);

/* SHA-256 of the tensor's bytes as 64 hex digits and a NUL. */
LOAM_API void loam_tensor_sha256(const loam_tensor *t, char out[65]);

/* Write arrays.  The file appears whole or not at all: temp file beside it,
 * fsync, rename, fsync of the folder; the temp is removed on failure.
 * safetensors: tensors in the order given, header keys sorted, `metadata` is a
 * JSON object text or NULL ({"format":"mlx"} is what mlx-lm writes).
 * npz: stored members NAME.npy in the order given, readable by numpy and MLX. */
LOAM_API loam_status loam_safetensors_write(const char *path, const loam_tensor *tensors, size_t n,
                                            const char *metadata, loam_err *err);
LOAM_API loam_status loam_npz_write(const char *path, const loam_tensor *tensors, size_t n,
                                    loam_err *err);
LOAM_API loam_status loam_npy_write(const char *path, const loam_tensor *tensor, loam_err *err);

/* A whole small file, the same crash-safe way.  mode as in open(2). */
LOAM_API loam_status loam_file_write(const char *path, const void *bytes, size_t n, unsigned mode,
                                     loam_err *err);

#endif
