/* arrays.h - a set of arrays while its readers fill it.
 *
 * Each reader gets all bytes of a file (usually a mapping) and adds what it finds:
 *
 *     loam_tensor *t = loam_arrays_add(a, name, err);
 *     t->dtype = ...;                       then shape, data, bytes
 *
 * A reader may fail half-way: the set is then thrown away.  What a reader allocates
 * for its tensors it hands over with loam_arrays_own().
 */
#ifndef LOAM_IO_ARRAYS_H
#define LOAM_IO_ARRAYS_H

#include "base/base.h"
#include "tensor/blocks.h"
#include <loam/tensor.h>

enum { LOAM_MAX_TENSORS = 1000000 };

struct loam_arrays {
    loam_container container;
    loam_tensor *tensors; /* by name, once finished */
    size_t n, cap;
    loam_map *maps;
    size_t n_maps, cap_maps;
    loam_json **docs; /* own names and metadata */
    size_t n_docs, cap_docs;
    void **blocks; /* other memory that tensors point to */
    size_t n_blocks, cap_blocks;
    const loam_json_value *metadata;
    uint64_t file_bytes;
};

/* A file's bytes and the name that stands in messages. */
typedef struct loam_bytes {
    const unsigned char *p;
    size_t n;
    const char *name;
} loam_bytes;

/* A zeroed tensor of that name (borrowed); NULL and *err set: too many, or no memory. */
loam_tensor *loam_arrays_add(loam_arrays *a, const char *name, loam_err *err);
/* The set frees `block` (from malloc) when it closes; on failure it is freed at once. */
loam_status loam_arrays_own(loam_arrays *a, void *block, loam_err *err);
loam_status loam_arrays_own_json(loam_arrays *a, loam_json *doc, loam_err *err);

loam_status loam_safetensors_read(loam_arrays *a, loam_bytes file, loam_err *err);
loam_status loam_npy_read(loam_arrays *a, loam_bytes file, const char *tensor_name, loam_err *err);
loam_status loam_npz_read(loam_arrays *a, loam_bytes file, loam_err *err);
loam_status loam_gguf_read(loam_arrays *a, loam_bytes file, loam_err *err);

/* Map one file and read it into `a`. */
loam_status loam_arrays_read_file(loam_arrays *a, const char *path, loam_err *err);
/* Sort by name; a name that occurs twice is an error. */
loam_status loam_arrays_finish(loam_arrays *a, const char *what, loam_err *err);
/* As loam_arrays_open, of bytes that outlive the set. */
loam_status loam_arrays_open_memory(loam_arrays **out, loam_bytes file, loam_err *err);

/* The header of a .npy file whose data is `t` (C order), padded so that data starts at a
 * multiple of 64. */
loam_status loam_npy_header(loam_buf *out, const loam_tensor *t, loam_err *err);

#endif
