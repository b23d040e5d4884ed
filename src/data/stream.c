/* stream.c - samples, and the stages that change, drop or order them. */
#include "data/stream.h"
#include "base/base.h"
#include "base/threads.h"

loam_sample *loam_sample_new(const char *name) {
    loam_sample *s = calloc(1, sizeof *s);
    if (s) s->name = loam_strdup(name);
    if (s && s->name) return s;
    free(s);
    return NULL;
}

void loam_sample_free(loam_sample *s) {
    if (!s) return;
    free(s->name);
    loam_buf_deinit(&s->data);
    for (size_t i = 0; i < s->n_fields; i++) {
        free(s->fields[i].name);
        free(s->fields[i].value);
    }
    free(s->fields);
    for (size_t i = 0; i < s->n_items; i++) loam_sample_free(s->items[i]);
    free(s->items);
    if (s->release) s->release(s->value);
    free(s);
}

int sample_list_push(sample_list *list, loam_sample *sample) {
    void *grown = list->items;
    if (!loam_grow(&grown, &list->cap, list->n + 1, sizeof(loam_sample *))) {
        loam_sample_free(sample);
        return 0;
    }
    list->items = grown;
    list->items[list->n++] = sample;
    return 1;
}

void sample_list_deinit(sample_list *list) {
    for (size_t i = 0; i < list->n; i++) loam_sample_free(list->items[i]);
    free(list->items);
    memset(list, 0, sizeof *list);
}

loam_status sample_list_fill(sample_list *list, loam_stream *upstream, size_t n, int *ended,
                             loam_err *err) {
    while (list->n < n && !*ended) {
        loam_sample *sample;
        loam_status st = loam_stream_next(upstream, &sample, err);
        if (st) return st;
        if (!sample)
            *ended = 1;
        else if (!sample_list_push(list, sample))
            return loam_fail(err, LOAM_ERR_MEMORY, "samples of a stream");
    }
    return LOAM_OK;
}

void *stage_new(const stage_class *class, size_t bytes, loam_stream *upstream) {
    loam_stream *s = calloc(1, bytes);
    if (!s) {
        loam_stream_free(upstream);
        return NULL;
    }
    s->class = class;
    s->upstream = upstream;
    return s;
}

loam_status loam_stream_next(loam_stream *s, loam_sample **out, loam_err *err) {
    *out = NULL;
    if (!s) return loam_fail(err, LOAM_ERR_MEMORY, "stream");
    if (s->ended) return LOAM_OK;
    loam_status st = s->class->next(s, out, err);
    if (st || !*out) s->ended = 1;
    return st;
}

void loam_stream_free(loam_stream *s) {
    while (s) {
        loam_stream *upstream = s->upstream;
        if (s->class->deinit) s->class->deinit(s);
        free(s);
        s = upstream;
    }
}

/* ---- map ---- */

static void apply_map(const loam_stream *s, loam_sample *sample) {
    if (sample->err.status) return;
    loam_err err = {0};
    loam_status st = s->map(s->ctx, sample, &err);
    if (!st) return;
    sample->err = err;
    sample->err.status = st;
}

static loam_status next_mapped(loam_stream *s, loam_sample **out, loam_err *err) {
    loam_status st = loam_stream_next(s->upstream, out, err);
    if (!st && *out) apply_map(s, *out);
    return st;
}

static const stage_class MAP = {next_mapped, NULL};

loam_stream *loam_stream_map(loam_stream *upstream, loam_map_fn fn, void *ctx) {
    if (!upstream) return NULL;
    loam_stream *s = stage_new(&MAP, sizeof *s, upstream);
    if (!s) return NULL;
    s->map = fn;
    s->ctx = ctx;
    return s;
}

/* ---- filter ---- */

typedef struct filter_stage {
    loam_stream base;
    int (*keep)(void *ctx, const loam_sample *sample);
} filter_stage;

static loam_status next_kept(loam_stream *s, loam_sample **out, loam_err *err) {
    const filter_stage *f = (const filter_stage *)s;
    for (;;) {
        loam_status st = loam_stream_next(s->upstream, out, err);
        if (st || !*out || (*out)->err.status || f->keep(s->ctx, *out)) return st;
        loam_sample_free(*out);
    }
}

static const stage_class FILTER = {next_kept, NULL};

loam_stream *loam_stream_filter(loam_stream *upstream,
                                int (*fn)(void *ctx, const loam_sample *sample), void *ctx) {
    if (!upstream) return NULL;
    filter_stage *f = stage_new(&FILTER, sizeof *f, upstream);
    if (!f) return NULL;
    f->keep = fn;
    f->base.ctx = ctx;
    return &f->base;
}

/* ---- flat_map: one sample becomes any number ---- */

struct loam_emit {
    sample_list list;
};

typedef struct flat_map_stage {
    loam_stream base;
    loam_flat_map_fn fn;
    loam_emit ready; /* what the last sample became */
    size_t taken;    /* of ready */
    uint64_t index;
} flat_map_stage;

loam_status loam_emit_push(loam_emit *e, loam_sample *sample) {
    return sample && sample_list_push(&e->list, sample) ? LOAM_OK : LOAM_ERR_MEMORY;
}

static loam_status next_flat(loam_stream *s, loam_sample **out, loam_err *err) {
    flat_map_stage *f = (flat_map_stage *)s;
    while (f->taken == f->ready.list.n) {
        loam_sample *in = NULL;
        loam_status st = loam_stream_next(s->upstream, &in, err);
        if (st || !in) return st;
        f->taken = f->ready.list.n = 0;
        if (!in->err.status) {
            loam_err own = {0};
            st = f->fn(s->ctx, in, &f->ready, &own);
            if (st) {
                in->err = own;
                in->err.status = st;
            }
        }
        if (!in->err.status)
            loam_sample_free(in);
        else if (!sample_list_push(&f->ready.list, in)) /* what came before the error stays */
            return loam_fail(err, LOAM_ERR_MEMORY, "samples of a stream");
    }
    *out = f->ready.list.items[f->taken++];
    (*out)->index = f->index++;
    return LOAM_OK;
}

static void deinit_flat(loam_stream *s) {
    flat_map_stage *f = (flat_map_stage *)s;
    for (size_t i = f->taken; i < f->ready.list.n; i++) loam_sample_free(f->ready.list.items[i]);
    free(f->ready.list.items);
}

static const stage_class FLAT_MAP = {next_flat, deinit_flat};

loam_stream *loam_stream_flat_map(loam_stream *upstream, loam_flat_map_fn fn, void *ctx) {
    if (!upstream) return NULL;
    flat_map_stage *f = stage_new(&FLAT_MAP, sizeof *f, upstream);
    if (!f) return NULL;
    f->fn = fn;
    f->base.ctx = ctx;
    return &f->base;
}

/* ---- prefetch: the map stages above, on all workers, a window at a time ----
 *
 *     source -> map -> map -> prefetch        the chain above is kept, but only its source is pulled;
 *                                             each sample of a window goes through all maps on one worker
 */

typedef struct prefetch_stage {
    loam_stream base;
    loam_pool *pool;
    size_t window;
    loam_stream *source; /* borrowed: below the maps */
    const loam_stream **maps;
    size_t n_maps;
    sample_list ready;
    size_t taken;
    int source_ended;
} prefetch_stage;

static void map_range(void *ctx, size_t begin, size_t end, unsigned worker) {
    const prefetch_stage *p = ctx;
    (void)worker;
    for (size_t i = begin; i < end; i++)
        for (size_t k = p->n_maps; k > 0; k--) apply_map(p->maps[k - 1], p->ready.items[i]);
}

static loam_status next_prefetched(loam_stream *s, loam_sample **out, loam_err *err) {
    prefetch_stage *p = (prefetch_stage *)s;
    if (p->taken == p->ready.n) {
        p->taken = p->ready.n = 0;
        loam_status st = sample_list_fill(&p->ready, p->source, p->window, &p->source_ended, err);
        if (st) return st;
        if (p->ready.n == 0) return LOAM_OK;
        if (p->n_maps > 0) loam_pool_for(p->pool, p->ready.n, 1, map_range, p);
    }
    *out = p->ready.items[p->taken++];
    return LOAM_OK;
}

static void deinit_prefetch(loam_stream *s) {
    prefetch_stage *p = (prefetch_stage *)s;
    for (size_t i = p->taken; i < p->ready.n; i++) loam_sample_free(p->ready.items[i]);
    free(p->ready.items);
    free(p->maps);
}

static const stage_class PREFETCH = {next_prefetched, deinit_prefetch};

loam_stream *loam_stream_prefetch(loam_stream *upstream, loam_pool *pool, size_t window) {
    if (!upstream) return NULL;
    prefetch_stage *p = stage_new(&PREFETCH, sizeof *p, upstream);
    if (!p) return NULL;
    p->pool = pool;
    p->window = window > 0 ? window : 1;
    p->source = upstream;
    while (p->source->map) {
        p->source = p->source->upstream;
        p->n_maps++;
    }
    p->maps = loam_alloc(p->n_maps, sizeof(const loam_stream *));
    if (!p->maps) {
        loam_stream_free(&p->base);
        return NULL;
    }
    const loam_stream *stage = upstream;
    for (size_t i = 0; i < p->n_maps; i++, stage = stage->upstream) p->maps[i] = stage;
    return &p->base;
}

/* ---- shuffle, partition ---- */

typedef struct shuffle_stage {
    loam_stream base;
    uint64_t seed;
    int filled;
    sample_list list;
    size_t taken;
} shuffle_stage;

static loam_status next_shuffled(loam_stream *s, loam_sample **out, loam_err *err) {
    shuffle_stage *f = (shuffle_stage *)s;
    if (!f->filled) {
        int ended = 0;
        loam_status st = sample_list_fill(&f->list, s->upstream, SIZE_MAX, &ended, err);
        if (st) return st;
        loam_rng rng;
        loam_rng_seed(&rng, f->seed);
        for (size_t i = f->list.n; i > 1; i--) { /* Fisher and Yates */
            const size_t k = (size_t)loam_rng_below(&rng, i);
            loam_sample *other = f->list.items[i - 1];
            f->list.items[i - 1] = f->list.items[k];
            f->list.items[k] = other;
        }
        f->filled = 1;
    }
    if (f->taken < f->list.n) *out = f->list.items[f->taken++];
    return LOAM_OK;
}

static void deinit_shuffle(loam_stream *s) {
    shuffle_stage *f = (shuffle_stage *)s;
    for (size_t i = f->taken; i < f->list.n; i++) loam_sample_free(f->list.items[i]);
    free(f->list.items);
}

static const stage_class SHUFFLE = {next_shuffled, deinit_shuffle};

loam_stream *loam_stream_shuffle(loam_stream *upstream, uint64_t seed) {
    if (!upstream) return NULL;
    shuffle_stage *f = stage_new(&SHUFFLE, sizeof *f, upstream);
    if (!f) return NULL;
    f->seed = seed;
    return &f->base;
}

typedef struct partition_stage {
    loam_stream base;
    size_t n, i, at;
} partition_stage;

static loam_status next_of_partition(loam_stream *s, loam_sample **out, loam_err *err) {
    partition_stage *p = (partition_stage *)s;
    for (;;) {
        loam_status st = loam_stream_next(s->upstream, out, err);
        if (st || !*out) return st;
        const size_t at = p->at;
        p->at = at + 1 == p->n ? 0 : at + 1;
        if (at == p->i) return LOAM_OK;
        loam_sample_free(*out);
    }
}

static const stage_class PARTITION = {next_of_partition, NULL};

loam_stream *loam_stream_partition(loam_stream *upstream, size_t n, size_t i) {
    LOAM_ASSERT(n >= 1 && i < n);
    if (!upstream) return NULL;
    partition_stage *p = stage_new(&PARTITION, sizeof *p, upstream);
    if (!p) return NULL;
    p->n = n;
    p->i = i;
    return &p->base;
}
