/* shards.h - writing a model's weights tensor by tensor, piece by piece.
 *
 *     loam_shards *s;
 *     loam_shards_new(&s, folder, &err);
 *     for each tensor:  loam_shards_add(s, name, dtype, rank, shape, &err);
 *     loam_shards_begin(s, 0, "{\"format\":\"mlx\"}", &err);
 *     loam_shards_write(s, i, offset, bytes, n, &err);        any order, any thread
 *     loam_shards_finish(s, total_parameters, &err);
 *     loam_shards_free(s);
 *
 * A safetensors header needs names and shapes only, so it is written before the
 * first weight and no tensor is ever held whole.  Files are split as mlx-lm
 * splits them (5 GiB, in the order added):
 *
 *     model.safetensors                      or model-00001-of-00002.safetensors ...
 *     model.safetensors.index.json
 *
 * The data begins at a multiple of 64 and stays aligned as long as every tensor
 * is a multiple of its element size, which it is.
 */
#ifndef LOAM_IO_SHARDS_H
#define LOAM_IO_SHARDS_H

#include <loam/tensor.h>

typedef struct loam_shards loam_shards;

/* `folder` exists and is the caller's; nothing is written yet. */
loam_status loam_shards_new(loam_shards **out, const char *folder, loam_err *err);

/* Plan a tensor; its number is how many were added before it. */
loam_status loam_shards_add(loam_shards *s, const char *name, loam_dtype dtype, int rank,
                            const uint64_t *shape, loam_err *err);

/* Create the files, reserve their space (a full disk shows here) and write their
 * headers.  max_bytes 0: 5 GiB. */
loam_status loam_shards_begin(loam_shards *s, uint64_t max_bytes, const char *metadata,
                              loam_err *err);

/* Bytes of tensor i from `offset` on.  Threads: any number at the same time. */
loam_status loam_shards_write(loam_shards *s, size_t i, uint64_t offset, const void *bytes,
                              size_t n, loam_err *err);

/* Write the index, sync everything to disk and close. */
loam_status loam_shards_finish(loam_shards *s, uint64_t total_parameters, loam_err *err);
void loam_shards_free(loam_shards *s); /* NULL is allowed; closes, removes nothing */

#endif
