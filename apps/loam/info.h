/* info.h - the parts of `loam info`: files of arrays (info.c), model folders (info_model.c),
 * indexes (info_index.c). */
#ifndef LOAM_INFO_H
#define LOAM_INFO_H

#include <loam/tensor.h>

typedef struct info_arguments {
    int json, arrays, sha256;
} info_arguments;

void info_put_bytes(loam_buf *b, uint64_t n); /* "1.2 GB" */
void info_put_count(loam_buf *b, uint64_t n); /* "1.54 billion" */
/* A line each, or the JSON member `, "arrays": [...]`. */
void info_put_arrays(loam_buf *b, const loam_arrays *arrays, const info_arguments *a);

/* These exit with the one-line message when the thing is damaged or missing. */
void info_model(loam_buf *b, const char *folder, const info_arguments *a);
void info_index(loam_buf *b, const char *path, const info_arguments *a);

#endif
