/* flat_search.c - exact search: a full scan and bounded heaps.
 *
 * The scan is the design, not a first step: a million vectors of 384 numbers are one pass of
 * 1.5 GB at memory speed, exact, and nothing to tune or to keep up to date.  Up to PASS queries
 * share a pass; then arithmetic is the limit, and tiles of rows x queries keep it busy:
 *
 *     range of rows (a worker's) > block (scores of all queries in L2) > tile (rows in L1)
 *
 * Each worker has a heap for each query; they are joined at the end.
 */
#include "kernels/kernels.h"
#include "rag/flat.h"
#include "rag/hits.h"
#include <math.h>

enum {
    PASS = 64,            /* queries that share a pass */
    MAX_BLOCK = 4096,     /* rows between two looks at the heaps */
    BLOCK_SCORES = 16384, /* rows x queries of a block: 64 KB */
    CACHED = 8 << 20,     /* f16 numbers that a large cache may hold */
    KEPT_F16 = 16,        /* candidates of a scan in f16: k and so many, 2 k when that is more */
    KEPT_INT8 = 64,       /* in int8: so many, 4 k when that is more */
    AHEAD = 4,            /* candidates whose vectors are asked for in advance */
    ASKED = 4096,         /* bytes of each */
    HEAP_BYTES = 64 << 20 /* of all heaps of a pass: with a large k fewer queries share one */
};

/* One worker's. */
typedef struct scanner {
    float *scores;   /* [m, block] */
    float *wide;     /* [tile_rows, stride], zeros at the end of a row */
    loam_hits *best; /* [m] */
} scanner;

typedef struct pass {
    const loam_flat *f;
    loam_scan scan;
    size_t m, kept, block, tile_rows;
    const float *queries; /* [m, dim] */
    size_t stride;        /* of rows and queries of a tile, in floats */
    float *x;             /* [m, stride], zeros at the end */
    int8_t *bytes;        /* int8: [m, byte_cols] */
    int32_t *offsets;     /* [m] */
    scanner *scanners;
    size_t n_scanners;
    loam_hit *items; /* [n_scanners, m, kept] */
    loam_hit *hits;  /* the caller's: k of each query, hits_stride apart */
    size_t k, hits_stride;
    const loam_cancel *cancel;
} pass;

/* ---- scores of a block ---- */

/* Rows of a tile as f32, padded as the queries are, in a worker's own memory: copying costs one
 * part in a hundred of what 64 queries do with it, and the loads no longer cross lines. */
static void widen_tile(const pass *p, const scanner *s, size_t first, size_t n) {
    const loam_flat *f = p->f;
    for (size_t i = 0; i < n; i++) {
        float *row = s->wide + i * p->stride;
        if (p->scan == LOAM_SCAN_F16)
            loam_k.f16_to_f32(f->half + (first + i) * f->half_stride, f->half_stride, row);
        else
            memcpy(row, f->vectors + (first + i) * f->dim, f->dim * sizeof *row);
    }
}

static void score_floats(const pass *p, const scanner *s, size_t first, size_t n) {
    const loam_flat *f = p->f;
    if (p->m == 1) {
        if (p->scan == LOAM_SCAN_F16)
            loam_k.dot_rows_f16(f->half + first * f->half_stride, n, f->half_stride, p->x,
                                s->scores, f->count * f->half_stride < CACHED);
        else
            loam_k.dot_rows(f->vectors + first * f->dim, n, f->dim, p->queries, s->scores);
        return;
    }
    for (size_t i = 0; i < n; i += p->tile_rows) {
        const size_t some = n - i < p->tile_rows ? n - i : p->tile_rows;
        widen_tile(p, s, first + i, some);
        const loam_dot_tile t = {.rows = s->wide,
                                 .x = p->x,
                                 .n = some,
                                 .row_stride = p->stride,
                                 .m = p->m,
                                 .x_stride = p->stride,
                                 .dim = f->half_stride};
        loam_k.dot_tile(&t, s->scores + i, p->block);
    }
}

/* `first` starts a panel; scores are written up to the end of the last one. */
static void score_bytes(const pass *p, const scanner *s, size_t first, size_t n) {
    const loam_flat *f = p->f;
    n = (n + LOAM_PANEL - 1) / LOAM_PANEL * LOAM_PANEL;
    for (size_t i = 0; i < n; i += p->tile_rows) {
        const size_t some = n - i < p->tile_rows ? n - i : p->tile_rows;
        const loam_byte_tile t = {.rows = f->bytes + (first + i) * f->byte_cols,
                                  .scales = f->scales + first + i,
                                  .x = p->bytes,
                                  .offsets = p->offsets,
                                  .n = some,
                                  .m = p->m,
                                  .cols = f->byte_cols};
        loam_k.byte_tile(&t, s->scores + i, p->block);
    }
}

static void scan_rows(void *ctx, size_t begin, size_t end, unsigned worker) {
    const pass *p = ctx;
    const scanner *s = &p->scanners[worker];
    for (size_t at = begin; at < end; at += p->block) {
        const size_t n = end - at < p->block ? end - at : p->block;
        if (p->cancel && p->cancel->requested) return;
        if (p->scan == LOAM_SCAN_INT8)
            score_bytes(p, s, at, n);
        else
            score_floats(p, s, at, n);
        for (size_t j = 0; j < p->m; j++)
            loam_hits_add_scores(&s->best[j], s->scores + j * p->block, n, at);
    }
}

/* ---- results ---- */

/* The exact scores of candidates, whose vectors lie anywhere: ask for some in advance. */
static void rescore(const pass *p, const float *query, loam_hits *all) {
    const loam_flat *f = p->f;
    for (size_t i = 0; i < all->n + AHEAD; i++) {
        if (i < all->n) {
            const char *row = (const char *)(f->vectors + all->items[i].id * f->dim);
            const size_t bytes = f->dim * sizeof *query;
            for (size_t at = 0; at < bytes && at < ASKED; at += 64) __builtin_prefetch(row + at);
        }
        if (i >= AHEAD) {
            loam_hit *hit = &all->items[i - AHEAD];
            loam_k.dot_rows(f->vectors + hit->id * f->dim, 1, f->dim, query, &hit->score);
        }
    }
}

/* Join the workers' heaps of queries begin .. end and put their results into place. */
static void finish_queries(void *ctx, size_t begin, size_t end, unsigned worker) {
    const pass *p = ctx;
    (void)worker;
    for (size_t j = begin; j < end; j++) {
        loam_hits *all = &p->scanners[0].best[j];
        for (size_t w = 1; w < p->n_scanners; w++) {
            const loam_hits *more = &p->scanners[w].best[j];
            for (size_t i = 0; i < more->n; i++) loam_hits_add(all, more->items[i]);
        }
        loam_hits out = {p->hits + j * p->hits_stride, 0, p->k};
        if (p->scan != LOAM_SCAN_F32) {
            rescore(p, p->queries + j * p->f->dim, all);
            for (size_t i = 0; i < all->n; i++) loam_hits_add(&out, all->items[i]);
        } else {
            out.n = all->n; /* k at most, and a heap already */
            memcpy(out.items, all->items, all->n * sizeof *all->items);
        }
        loam_hits_sort(&out);
    }
}

/* ---- a pass ---- */

/* The queries in the form of the copy. */
static void convert_queries(pass *p) {
    const loam_flat *f = p->f;
    for (size_t j = 0; j < p->m; j++) {
        const float *query = p->queries + j * f->dim;
        if (p->scan != LOAM_SCAN_INT8) {
            memcpy(p->x + j * p->stride, query, f->dim * sizeof *query);
        } else {
            int8_t *x = p->bytes + j * f->byte_cols;
            int32_t sum = 0;
            float by = 0;
            loam_flat_scale(query, f->dim, LOAM_BYTE_QUERY_MAX, &by);
            memset(x, 0, f->byte_cols);
            for (size_t k = 0; k < f->dim && by > 0; k++) {
                x[k] = (int8_t)lrintf(query[k] * by);
                sum += x[k];
            }
            p->offsets[j] = LOAM_BYTE_ROW_ZERO * sum;
        }
    }
}

static void free_pass(pass *p) {
    for (size_t w = 0; p->scanners && w < p->n_scanners; w++) {
        free(p->scanners[w].scores);
        free(p->scanners[w].wide);
        free(p->scanners[w].best);
    }
    free(p->scanners);
    free(p->items);
    free(p->x);
    free(p->bytes);
    free(p->offsets);
}

/* Zeros at the start of a cache line. */
static float *alloc_floats(size_t rows, size_t stride) {
    void *p = NULL;
    if (posix_memalign(&p, 64, rows * stride * sizeof(float))) return NULL;
    memset(p, 0, rows * stride * sizeof(float));
    return p;
}

/* Memory of one worker, for m queries. */
static int make_scanner(const pass *p, scanner *s, size_t m) {
    s->scores = loam_alloc(m * p->block, sizeof *s->scores);
    s->best = loam_alloc(m, sizeof *s->best);
    s->wide = m > 1 && p->scan != LOAM_SCAN_INT8 ? alloc_floats(p->tile_rows, p->stride) : NULL;
    return s->scores && s->best && (m == 1 || p->scan == LOAM_SCAN_INT8 || s->wide);
}

static int make_pass(pass *p, size_t m) {
    const loam_flat *f = p->f;
    int made = 1;
    p->block = BLOCK_SCORES / m < MAX_BLOCK ? BLOCK_SCORES / m : MAX_BLOCK;
    p->block = p->block / LOAM_PANEL * LOAM_PANEL;
    /* rows and queries at multiples of 4 KB would share few lines of the first-level cache */
    p->stride = f->half_stride + (f->half_stride % 256 == 0 ? LOAM_LANES : 0);
    const int coarse = p->scan == LOAM_SCAN_INT8;
    const size_t unit = coarse ? LOAM_PANEL : loam_k.dot_tile_rows;
    const size_t width = coarse ? (f->byte_cols + 3) / 4 : f->dim; /* a row in floats */
    p->tile_rows = LOAM_DOT_TILE / width / unit * unit;
    if (p->tile_rows < unit) p->tile_rows = unit;
    p->items = loam_alloc(p->n_scanners * m * p->kept, sizeof *p->items);
    p->scanners = loam_alloc(p->n_scanners, sizeof *p->scanners);
    for (size_t w = 0; p->scanners && w < p->n_scanners; w++)
        made = made && make_scanner(p, &p->scanners[w], m);
    if (p->scan != LOAM_SCAN_INT8) {
        p->x = alloc_floats(m, p->stride);
        made = made && p->x;
    } else {
        p->bytes = loam_alloc(m, f->byte_cols);
        p->offsets = loam_alloc(m, sizeof *p->offsets);
        made = made && p->bytes && p->offsets;
    }
    return made && p->items && p->scanners;
}

static void run_pass(pass *p, loam_pool *pool) {
    for (size_t w = 0; w < p->n_scanners; w++)
        for (size_t j = 0; j < p->m; j++)
            p->scanners[w].best[j] = (loam_hits){p->items + (w * p->m + j) * p->kept, 0, p->kept};
    convert_queries(p);
    loam_flat_for(pool, p->f->count, 256, scan_rows, p);
    loam_flat_for(pool, p->m, 1, finish_queries, p);
}

/* Candidates of a scan for k results. */
static size_t count_kept(loam_scan scan, size_t k) {
    if (scan == LOAM_SCAN_F16) return k < KEPT_F16 ? k + KEPT_F16 : 2 * k;
    if (scan == LOAM_SCAN_INT8) return k < KEPT_INT8 / 4 ? KEPT_INT8 : 4 * k;
    return k;
}

loam_status loam_flat_search(loam_flat *f, loam_pool *pool, loam_scan scan, const float *queries,
                             size_t n_queries, loam_hit *hits, size_t k, const loam_cancel *cancel,
                             loam_err *err) {
    const size_t n_kept = count_kept(scan, k < f->count ? k : f->count);
    /* scoring a quarter of all vectors a second time costs more than scoring all of them once */
    if (n_kept >= f->count / 4) scan = LOAM_SCAN_F32;
    loam_status st = loam_flat_prepare(f, pool, scan, err);
    pass p = {
        .f = f, .scan = scan, .cancel = cancel, .n_scanners = pool ? loam_pool_size(pool) : 1};
    if (st || k == 0 || n_queries == 0 || f->count == 0) return st;
    p.k = k < f->count ? k : f->count;
    p.kept = scan == LOAM_SCAN_F32 ? p.k : n_kept;
    size_t most = HEAP_BYTES / sizeof *hits / p.n_scanners / p.kept;
    most = most < 1 ? 1 : most > PASS ? PASS : most;
    if (most > n_queries) most = n_queries;
    if (!make_pass(&p, most))
        st = loam_fail(err, LOAM_ERR_MEMORY, "search: %zu queries, %zu results each", n_queries, k);
    for (size_t at = 0; !st && at < n_queries; at += most) {
        p.m = n_queries - at < most ? n_queries - at : most;
        p.queries = queries + at * f->dim;
        p.hits = hits + at * k;
        p.hits_stride = k;
        run_pass(&p, pool);
        if (cancel && cancel->requested)
            st = loam_fail(err, LOAM_ERR_CANCELLED, "search: cancelled");
    }
    free_pass(&p);
    return st;
}
