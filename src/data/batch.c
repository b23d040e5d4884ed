/* batch.c - samples into groups: by count, or by size with length bucketing. */
#include "base/base.h"
#include "data/stream.h"

typedef struct batch_stage {
    loam_stream base;
    size_t n;            /* samples a group */
    loam_sample *failed; /* waits until the group before it is out */
} batch_stage;

/* A group takes the samples of the list over. */
static loam_sample *group(sample_list *list) {
    LOAM_ASSERT(list->items);
    loam_sample *g = loam_sample_new("batch");
    if (!g) return NULL;
    g->index = list->items[0]->index;
    g->items = list->items;
    g->n_items = list->n;
    memset(list, 0, sizeof *list);
    return g;
}

static loam_status next_group(loam_stream *s, loam_sample **out, loam_err *err) {
    batch_stage *b = (batch_stage *)s;
    sample_list list = {0};
    loam_status st = LOAM_OK;
    while (!b->failed && list.n < b->n) {
        loam_sample *sample;
        st = loam_stream_next(s->upstream, &sample, err);
        if (st || !sample) break;
        if (sample->err.status)
            b->failed = sample;
        else if (!sample_list_push(&list, sample))
            st = LOAM_ERR_MEMORY;
        if (st) break;
    }
    if (!st && list.n > 0) {
        *out = group(&list);
        if (!*out) st = LOAM_ERR_MEMORY;
    } else if (!st && b->failed) {
        *out = b->failed;
        b->failed = NULL;
    }
    sample_list_deinit(&list);
    return st == LOAM_ERR_MEMORY ? loam_fail(err, st, "batch of samples") : st;
}

static void deinit_batch(loam_stream *s) {
    loam_sample_free(((batch_stage *)s)->failed);
}

static const stage_class BATCH = {next_group, deinit_batch};

loam_stream *loam_stream_batch(loam_stream *upstream, size_t n) {
    if (!upstream) return NULL;
    batch_stage *b = stage_new(&BATCH, sizeof *b, upstream);
    if (!b) return NULL;
    b->n = n > 0 ? n : 1;
    return &b->base;
}

typedef struct bucket_stage {
    loam_stream base;
    size_t max_size, max_rows, window;
    sample_list waiting; /* sorted by size, smallest first, behind `taken` */
    size_t taken;
    int upstream_ended;
} bucket_stage;

static size_t size_of(const loam_sample *s) {
    return s->size ? s->size : s->data.n;
}

/* Failed samples first: they pass singly; then by size, then by position. */
static int compare_samples(const void *a, const void *b) {
    const loam_sample *x = *(loam_sample *const *)a, *y = *(loam_sample *const *)b;
    const int fx = x->err.status != LOAM_OK, fy = y->err.status != LOAM_OK;
    if (fx != fy) return fy - fx;
    if (size_of(x) != size_of(y)) return size_of(x) < size_of(y) ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

static loam_status refill(bucket_stage *b, loam_err *err) {
    b->taken = b->waiting.n = 0;
    loam_status st =
        sample_list_fill(&b->waiting, b->base.upstream, b->window, &b->upstream_ended, err);
    if (!st && b->waiting.n > 1)
        qsort(b->waiting.items, b->waiting.n, sizeof(loam_sample *), compare_samples);
    return st;
}

static loam_status next_bucket(loam_stream *s, loam_sample **out, loam_err *err) {
    bucket_stage *b = (bucket_stage *)s;
    if (b->taken == b->waiting.n) {
        loam_status st = refill(b, err);
        if (st || b->waiting.n == 0) return st;
    }
    if (b->waiting.items[b->taken]->err.status) {
        *out = b->waiting.items[b->taken++];
        return LOAM_OK;
    }
    sample_list list = {0};
    while (b->taken < b->waiting.n) {
        loam_sample *sample = b->waiting.items[b->taken];
        const size_t rows = list.n + 1, size = size_of(sample);
        if (list.n > 0 && ((b->max_rows && rows > b->max_rows) || size > b->max_size / rows)) break;
        b->taken++;
        if (!sample_list_push(&list, sample)) {
            sample_list_deinit(&list);
            return loam_fail(err, LOAM_ERR_MEMORY, "batch of samples");
        }
    }
    *out = group(&list);
    if (*out) return LOAM_OK;
    sample_list_deinit(&list);
    return loam_fail(err, LOAM_ERR_MEMORY, "batch of samples");
}

static void deinit_bucket(loam_stream *s) {
    bucket_stage *b = (bucket_stage *)s;
    for (size_t i = b->taken; i < b->waiting.n; i++) loam_sample_free(b->waiting.items[i]);
    free(b->waiting.items);
}

static const stage_class BUCKET = {next_bucket, deinit_bucket};

loam_stream *loam_stream_batch_size(loam_stream *upstream, size_t max_size, size_t max_rows,
                                    size_t window) {
    if (!upstream) return NULL;
    bucket_stage *b = stage_new(&BUCKET, sizeof *b, upstream);
    if (!b) return NULL;
    b->max_size = max_size > 0 ? max_size : SIZE_MAX;
    b->max_rows = max_rows;
    b->window = window > 0 ? window : 1;
    return &b->base;
}
