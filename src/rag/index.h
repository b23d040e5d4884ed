/* index.h - what reading and writing an index share: the layout of the two files.
 *
 *     PATH            npz: embeddings [n, dim], chunk_data, chunk_lengths, source_data, source_lengths
 *     PATH.meta.json  sidecar: the reference's keys, and "loam" with ours
 *
 * A sidecar names its index by a check over the index's size and last bytes.  Those
 * hold the zip directory, and so the CRC-32 of every member: a few microseconds
 * instead of a hash over gigabytes.  While the pair is replaced the new sidecar waits
 * as PATH.meta.json.new, so that at every moment one of the two belongs to PATH.
 */
#ifndef LOAM_SRC_RAG_INDEX_H
#define LOAM_SRC_RAG_INDEX_H

#include "base/base.h"
#include <loam/json.h>
#include <loam/rag.h>

enum { LOAM_INDEX_MAX_DIM = 65536, LOAM_INDEX_CHECK_BYTES = 4096 };

/* 64 hex digits that name the file's content. */
loam_status loam_index_check_file(const char *path, char out[65], loam_err *err);

/* The vectors of an index for the scans; its inside may change (copies made at first use). */
loam_flat *loam_index_flat(const loam_index *ix);

/* What the sidecar says of an index of n chunks. */
typedef struct loam_sidecar {
    loam_index_meta meta;
    loam_index_document *documents; /* paths allocated */
    size_t n_documents;
    int64_t *pages, *begins, *ends; /* [n_chunks], or NULL */
} loam_sidecar;

/* Fill `out` from the sidecar that belongs to the index; without one it stays empty.
 * Errors: MEMORY. */
loam_status loam_sidecar_read(loam_sidecar *out, const char *index_path, size_t n_chunks,
                              loam_err *err);
void loam_sidecar_deinit(loam_sidecar *s);
/* 1 when that sidecar file is sound JSON and names that index file. */
int loam_sidecar_belongs(const char *sidecar_path, const char *index_path);
/* The sidecar's text for content `c` of the index file with that check. */
loam_status loam_sidecar_format(loam_buf *out, const char *index_path, const char *check,
                                const loam_index_content *c, loam_err *err);

#endif
