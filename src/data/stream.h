/* stream.h - what a stage is made of. */
#ifndef LOAM_SRC_DATA_STREAM_H
#define LOAM_SRC_DATA_STREAM_H

#include <loam/data.h>

typedef struct stage_class {
    /* as loam_stream_next; `self` is the stage's own memory */
    loam_status (*next)(loam_stream *s, loam_sample **out, loam_err *err);
    void (*deinit)(loam_stream *s); /* what is not the upstream; may be NULL */
} stage_class;

struct loam_stream {
    const stage_class *class;
    loam_stream *upstream; /* owned; NULL at a source */
    loam_map_fn map;       /* of a map stage: prefetch runs it itself */
    void *ctx;
    int ended;
};

/* A stage of `bytes` bytes whose first member is the loam_stream, zeroed.  NULL, with
 * the upstream freed, when there is no memory or when `upstream` is needed and NULL. */
void *stage_new(const stage_class *class, size_t bytes, loam_stream *upstream);

/* A growable list of owned samples. */
typedef struct sample_list {
    loam_sample **items;
    size_t n, cap;
} sample_list;
int sample_list_push(sample_list *list, loam_sample *sample); /* takes it, also on failure (0) */
void sample_list_deinit(sample_list *list);
/* Read until `n` samples are in the list, or the upstream ends (then *ended is set). */
loam_status sample_list_fill(sample_list *list, loam_stream *upstream, size_t n, int *ended,
                             loam_err *err);

#endif
