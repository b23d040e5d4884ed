/* attention.c - attention over a KV cache and over packed sequences.
 *
 * Work is cut into items: a KV head, up to LOAM_ATTENTION_ROWS query rows that share it, and
 * the keys these rows see.  Keys go in segments of LOAM_KEY_SEGMENT whose states are joined
 * in order, whoever computed them: a long context of one new token spreads over the pool by
 * segments (`split`), a prompt by query rows, and both give the same bits.
 */
#include "ops/split.h"
#include <math.h>
#include <stdatomic.h>

/* NOLINTBEGIN(readability-function-size, readability-non-const-parameter): ops.h's signatures */

typedef struct attention_job {
    loam_attention a; /* what all items share */
    size_t m, n_heads, n_kv_heads, head_dim;
    size_t n_rep, part; /* query heads of a KV head; of them in one item */
    size_t n_parts, tile, n_tiles;
    size_t pos;
    const float *q;
    float *y;
    size_t q_stride;
    size_t head_bytes; /* of k and v */
    const unsigned char *k, *v;
    unsigned char *scratch;
    size_t scratch_stride;
    /* packed */
    const size_t *starts;
    size_t n_seq;
    /* split: states of segments seg0 .. of this round, [segments][m * n_heads][head_dim + 2] */
    float *partial;
    size_t seg0, n_segments;
    atomic_size_t *next; /* item that nobody has taken */
} attention_job;

typedef struct state { /* of the rows of an item, in a worker's block */
    float max[LOAM_ATTENTION_ROWS], sum[LOAM_ATTENTION_ROWS];
    float *out; /* [rows, head_dim] */
} state;

static size_t min_size(size_t a, size_t b) {
    return a < b ? a : b;
}

/* The part of `a` that depends on KV head, head part and tile. */
static loam_attention item_of(const attention_job *j, size_t kv, size_t part, size_t tile) {
    loam_attention a = j->a;
    const size_t head = kv * j->n_rep + part * j->part, first = tile * j->tile;

    a.n_rep = min_size(j->part, j->n_rep - part * j->part);
    a.n_rows = min_size(j->tile, j->m - first) * a.n_rep;
    a.q = j->q + first * j->q_stride + head * j->head_dim;
    a.limit = j->pos + first + 1;
    a.k = j->k + kv * j->head_bytes;
    a.v = j->v + kv * j->head_bytes;
    return a;
}

/* First key that any row of the item sees, cut down to a segment's start. */
static size_t first_segment(const loam_attention *a) {
    const size_t first =
        a->causal && a->window > 0 && a->limit > a->window ? a->limit - a->window : 0;
    return first / LOAM_KEY_SEGMENT;
}

static size_t last_key(const loam_attention *a) {
    return a->causal ? a->limit + (a->n_rows - 1) / a->n_rep : a->last;
}

static float *output_row(const attention_job *j, const loam_attention *a, size_t t) {
    const size_t at = (size_t)(a->q - j->q);
    const size_t pos = at / j->q_stride + t / a->n_rep;
    const size_t in_row = at % j->q_stride + t % a->n_rep * j->head_dim;
    return j->y + pos * j->n_heads * j->head_dim + in_row;
}

/* All segments of one item, in order, into y. */
static void attend(const attention_job *j, loam_attention *a, unsigned worker) {
    unsigned char *scratch = j->scratch + worker * j->scratch_stride;
    float *block = (float *)(void *)(scratch + j->scratch_stride - LOAM_BLOCK_BYTES);
    state s = {.out = block},
          next = {.out = block + loam_attention_rows(j->head_dim) * j->head_dim};
    const size_t end = last_key(a), hd = j->head_dim;

    for (size_t seg = first_segment(a), n = 0; seg * LOAM_KEY_SEGMENT < end; seg++, n++) {
        state *to = n == 0 ? &s : &next;
        a->first = seg * LOAM_KEY_SEGMENT;
        a->last = min_size(a->first + LOAM_KEY_SEGMENT, end);
        a->again = n > 0;
        loam_k.attention(a, to->max, to->sum, to->out, scratch);
        for (size_t t = 0; n > 0 && t < a->n_rows; t++)
            loam_k.attention_merge(&s.max[t], &s.sum[t], s.out + t * hd, next.max[t], next.sum[t],
                                   next.out + t * hd, hd);
    }
    for (size_t t = 0; t < a->n_rows; t++)
        loam_k.attention_finish(s.out + t * hd, s.sum[t], hd, output_row(j, a, t));
}

/* Workers take items one at a time, the longest first: the last tile sees the most keys. */
static void attend_items(void *ctx, size_t begin, size_t end, unsigned worker) {
    const attention_job *j = ctx;
    const size_t per_tile = j->n_kv_heads * j->n_parts, n = per_tile * j->n_tiles;
    (void)begin;
    (void)end;
    for (;;) {
        const size_t i = atomic_fetch_add_explicit(j->next, 1, memory_order_relaxed);
        if (i >= n) return;
        const size_t tile = j->n_tiles - 1 - i / per_tile, rest = i % per_tile;
        loam_attention a = item_of(j, rest / j->n_parts, rest % j->n_parts, tile);
        attend(j, &a, worker);
    }
}

/* One item and one segment into the partial states. */
static void segment_range(void *ctx, size_t begin, size_t end, unsigned worker) {
    const attention_job *j = ctx;
    unsigned char *scratch = j->scratch + worker * j->scratch_stride;
    const size_t hd = j->head_dim;

    for (size_t i = begin; i < end; i++) {
        const size_t seg = i % j->n_segments, item = i / j->n_segments, tile = item % j->n_tiles;
        const size_t rest = item / j->n_tiles, kv = rest / j->n_parts, part = rest % j->n_parts;
        loam_attention a = item_of(j, kv, part, tile);
        state s = {.out = (float *)(void *)(scratch + j->scratch_stride - LOAM_BLOCK_BYTES)};
        a.first = (j->seg0 + seg) * LOAM_KEY_SEGMENT;
        a.last = min_size(a.first + LOAM_KEY_SEGMENT, last_key(&a));
        if (a.last < a.first) a.last = a.first; /* the row's window has left it */
        loam_k.attention(&a, s.max, s.sum, s.out, scratch);
        for (size_t t = 0; t < a.n_rows; t++) {
            const size_t row = (size_t)(output_row(j, &a, t) - j->y) / hd;
            float *to = j->partial + (seg * j->m * j->n_heads + row) * (hd + 2);
            to[0] = s.max[t];
            to[1] = s.sum[t];
            memcpy(to + 2, s.out + t * hd, hd * sizeof *to);
        }
    }
}

/* Few rows, many keys: rounds of segments over the pool, joined in order. */
static void attend_split(loam_compute *c, attention_job *j, size_t n_keys) {
    const size_t rows = j->m * j->n_heads, hd = j->head_dim, row_floats = hd + 2;
    const size_t items = j->n_kv_heads * j->n_parts * j->n_tiles;
    LOAM_ASSERT(rows > 0 && rows * row_floats > 0);
    /* the first row of states is the running one */
    const size_t room = LOAM_PARTIAL_BYTES / sizeof(float) / (rows * row_floats) - 1;
    float *running = c->scratch;
    j->partial = running + rows * row_floats;
    for (size_t r = 0; r < rows; r++) {
        float *to = running + r * row_floats;
        memset(to, 0, row_floats * sizeof *to);
        to[0] = -INFINITY;
    }
    size_t seg = j->a.window > 0 && j->pos + 1 > j->a.window
                     ? (j->pos + 1 - j->a.window) / LOAM_KEY_SEGMENT
                     : 0;
    const size_t end = (n_keys + LOAM_KEY_SEGMENT - 1) / LOAM_KEY_SEGMENT;
    for (; seg < end; seg += j->n_segments) {
        j->seg0 = seg;
        j->n_segments = min_size(room, end - seg);
        loam_split(c->pool, items * j->n_segments, 1, LOAM_SMALL_WORK, segment_range, j);
        const float *from = j->partial;
        for (size_t i = 0; i < j->n_segments; i++) {
            float *to = running;
            for (size_t r = 0; r < rows; r++, to += row_floats, from += row_floats)
                loam_k.attention_merge(&to[0], &to[1], to + 2, from[0], from[1], from + 2, hd);
        }
    }
    for (size_t r = 0; r < rows; r++)
        loam_k.attention_finish(running + r * row_floats + 2, running[r * row_floats + 1], hd,
                                j->y + r * hd);
}

/* Positions of an item: as many as a call takes, fewer to get `want` items of m positions. */
static size_t tile_of(size_t m, size_t most, size_t want) {
    const size_t even = (m + want - 1) / want, least = most / 4 > 0 ? most / 4 : 1;
    size_t tile = even < least ? least : even < most ? even : most;
    return min_size(tile, m);
}

void loam_attention_causal(loam_compute *c, const loam_kv *kv, const loam_attention_params *p,
                           const float *q, size_t m, size_t pos, float *y) {
    const size_t hd = kv->head_dim, rows = loam_attention_rows(hd);
    LOAM_ASSERT(hd > 0 && hd <= LOAM_HEAD_DIM_MAX && kv->n_kv_heads > 0);
    LOAM_ASSERT(p->n_heads % kv->n_kv_heads == 0 && pos + m <= kv->stride);
    if (m == 0) return;
    loam_kernels_ready();
    atomic_size_t next = 0;
    attention_job j = {.m = m,
                       .next = &next,
                       .n_heads = p->n_heads,
                       .n_kv_heads = kv->n_kv_heads,
                       .head_dim = hd,
                       .pos = pos,
                       .q = q,
                       .y = y,
                       .q_stride = p->n_heads * hd,
                       .head_bytes = kv->stride * loam_kv_row_bytes(kv->format, hd),
                       .k = kv->k,
                       .v = kv->v,
                       .a = {.q_stride = p->n_heads * hd,
                             .kv_stride = loam_kv_row_bytes(kv->format, hd),
                             .head_dim = hd,
                             .format = kv->format,
                             .causal = 1,
                             .window = p->window,
                             .scale = p->scale,
                             .softcap = p->softcap}};
    j.n_rep = p->n_heads / kv->n_kv_heads;
    j.part = min_size(j.n_rep, rows);
    j.n_parts = (j.n_rep + j.part - 1) / j.part;
    const size_t workers = c->pool ? loam_pool_size(c->pool) : 1;
    j.tile = tile_of(m, rows / j.part, (4 * workers - 1) / (kv->n_kv_heads * j.n_parts) + 1);
    j.n_tiles = (m + j.tile - 1) / j.tile;
    j.scratch = loam_scratch_workers(c, LOAM_PARTIAL_BYTES, 0);
    j.scratch_stride = loam_scratch_worker_bytes(0);

    const size_t items = kv->n_kv_heads * j.n_parts * j.n_tiles;
    const size_t state_bytes = m * p->n_heads * (hd + 2) * sizeof(float);
    const size_t keys = p->window > 0 ? min_size(pos + m, p->window + m) : pos + m;
    if (workers > 1 && items < 4 * workers && keys > LOAM_KEY_SEGMENT &&
        state_bytes * 4 <= LOAM_PARTIAL_BYTES)
        attend_split(c, &j, pos + m);
    else
        loam_split(c->pool, min_size(items, workers), 1, m * p->n_heads * hd * keys * 2,
                   attend_items, &j);
}

/* Short enough for the kernel that has a whole head's keys and scores in the scratch. */
static int fits_whole(size_t n, size_t head_dim) {
    return loam_attend_scratch(n, head_dim) * sizeof(float) <= loam_scratch_worker_bytes(0);
}

/* Of a head of a sequence, if it is long. */
static size_t tiles_of(size_t n, size_t head_dim) {
    const size_t rows = loam_attention_rows(head_dim);
    return fits_whole(n, head_dim) ? 0 : (n + rows - 1) / rows;
}

/* A head of a sequence, if it is short. */
static void whole_range(void *ctx, size_t begin, size_t end, unsigned worker) {
    const attention_job *j = ctx;
    float *scratch = (float *)(void *)(j->scratch + worker * j->scratch_stride);
    for (size_t i = begin; i < end; i++) {
        const size_t s = i / j->n_heads, at = i % j->n_heads * j->head_dim;
        const size_t start = j->starts[s], n = j->starts[s + 1] - start;
        if (n == 0 || !fits_whole(n, j->head_dim)) continue;
        const loam_attend a = {.q = j->q + start * j->q_stride + at,
                               .k = (const float *)(const void *)j->k + start * j->q_stride + at,
                               .v = (const float *)(const void *)j->v + start * j->q_stride + at,
                               .stride = j->q_stride,
                               .n = n,
                               .head_dim = j->head_dim,
                               .scale = j->a.scale,
                               .y = j->y + start * j->n_heads * j->head_dim + at,
                               .y_stride = j->n_heads * j->head_dim};
        loam_k.attend(&a, scratch);
    }
}

/* An item of packed attention: tile t of all long sequences' tiles, and a head. */
static void packed_range(void *ctx, size_t begin, size_t end, unsigned worker) {
    attention_job j = *(const attention_job *)ctx; /* position fields change per item */
    const size_t n_tiles = j.n_tiles, rows = loam_attention_rows(j.head_dim);

    for (size_t i = begin; i < end; i++) {
        const size_t head = i % j.n_heads;
        size_t tile = i / j.n_heads, s = 0;
        for (; s < j.n_seq; s++) {
            const size_t n = j.starts[s + 1] - j.starts[s];
            const size_t tiles = tiles_of(n, j.head_dim);
            if (tile < tiles) break;
            tile -= tiles;
        }
        LOAM_ASSERT(s < j.n_seq && i / j.n_heads < n_tiles);
        const size_t start = j.starts[s], n = j.starts[s + 1] - start;
        loam_attention a = j.a;
        a.n_rep = 1;
        a.n_rows = min_size(n - tile * rows, rows);
        a.q = j.q + (start + tile * rows) * j.q_stride + head * j.head_dim;
        a.k = j.k + start * a.kv_stride + head * j.head_dim * sizeof(float);
        a.v = j.v + start * a.kv_stride + head * j.head_dim * sizeof(float);
        a.last = n;
        attend(&j, &a, worker);
    }
}

void loam_attention_packed(loam_compute *c, const float *q, const float *k, const float *v,
                           size_t stride, const size_t *starts, size_t n_seq, size_t n_heads,
                           size_t head_dim, float scale, float *y) {
    LOAM_ASSERT(head_dim > 0 && head_dim <= LOAM_HEAD_DIM_MAX && n_heads * head_dim <= stride);
    size_t tiles = 0, work = 0;

    loam_kernels_ready();
    for (size_t s = 0; s < n_seq; s++) {
        const size_t n = starts[s + 1] - starts[s];
        tiles += tiles_of(n, head_dim);
        work += 2 * n * n * n_heads * head_dim;
    }
    attention_job j = {.n_heads = n_heads,
                       .head_dim = head_dim,
                       .q = q,
                       .y = y,
                       .q_stride = stride,
                       .k = (const unsigned char *)k,
                       .v = (const unsigned char *)v,
                       .starts = starts,
                       .n_seq = n_seq,
                       .n_tiles = tiles,
                       .a = {.q_stride = stride,
                             .kv_stride = stride * sizeof(float),
                             .head_dim = head_dim,
                             .scale = scale}};
    j.scratch = loam_scratch_workers(c, LOAM_PARTIAL_BYTES, 0);
    j.scratch_stride = loam_scratch_worker_bytes(0);
    loam_split(c->pool, n_seq * n_heads, 1, work, whole_range, &j);
    if (tiles) loam_split(c->pool, tiles * n_heads, n_heads, work, packed_range, &j);
}

typedef struct store_job {
    const loam_kv *kv;
    const float *k, *v;
    size_t m, pos;
} store_job;

static void store_row(const loam_kv *kv, const float *x, void *base, size_t at) {
    unsigned char *row = (unsigned char *)base + at * loam_kv_row_bytes(kv->format, kv->head_dim);
    switch (kv->format) {
    case LOAM_KV_ROWS_F32: memcpy(row, x, kv->head_dim * sizeof *x); return;
    case LOAM_KV_ROWS_F16: loam_k.f32_to_f16(x, kv->head_dim, (uint16_t *)(void *)row); return;
    case LOAM_KV_ROWS_INT8: loam_k.kv_quantize(x, kv->head_dim, row); return;
    }
}

static void store_range(void *ctx, size_t begin, size_t end, unsigned worker) {
    const store_job *j = ctx;
    const loam_kv *kv = j->kv;
    (void)worker;
    for (size_t i = begin; i < end; i++) {
        for (size_t h = 0; h < kv->n_kv_heads; h++) {
            const size_t from = (i * kv->n_kv_heads + h) * kv->head_dim;
            const size_t at = h * kv->stride + j->pos + i;
            store_row(kv, j->k + from, kv->k, at);
            store_row(kv, j->v + from, kv->v, at);
        }
    }
}

void loam_kv_store(loam_compute *c, const loam_kv *kv, const float *k, const float *v, size_t m,
                   size_t pos) {
    LOAM_ASSERT(pos + m <= kv->stride);
    loam_kernels_ready();
    store_job j = {kv, k, v, m, pos};
    loam_split(c->pool, m, 8, m * kv->n_kv_heads * kv->head_dim * 2, store_range, &j);
}

/* NOLINTEND(readability-function-size, readability-non-const-parameter) */
