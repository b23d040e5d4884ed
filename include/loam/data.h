/* data.h - documents through threads: a small stream library, readers and chunkers.
 *
 *     loam_stream *s = loam_stream_from_paths(paths, n, &err);
 *     s = loam_stream_map(s, read_document, ctx);
 *     s = loam_stream_prefetch(s, pool, 8);
 *     while (loam_stream_next(s, &sample, &err) == LOAM_OK && sample) ...
 *     loam_stream_free(s);
 *
 * The counterpart of mlx-data for text.  Order is that of the source, whatever the
 * number of threads; shuffle and partition take a seed and depend on nothing else.
 * A sample that failed carries its error; the stream goes on.
 */
#ifndef LOAM_DATA_H
#define LOAM_DATA_H

#include <loam/base.h>
#include <loam/rag.h>

/* Declared by src/data (stream, documents, chunkers); see that part's owner. */

#endif
