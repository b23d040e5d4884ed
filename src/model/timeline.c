/* timeline.c - one sequence through a decoder: scratch, KV cache, the forward pass.
 *
 * A prompt is read in chunks of LOAM_FEED_CHUNK positions, so scratch does not grow
 * with its length; ops give the same bits however a prompt is cut.  Of the last
 * layer only what somebody will read is computed: keys and values of every position,
 * the rest of the layer for the positions whose hidden state is wanted.
 *
 *     x     [m, dim]      residual, f32
 *     h     [m, dim]      what a half reads (normed x)
 *     q k v [m, heads * head_dim]
 *     att   [m, n_heads * head_dim]
 *     f     [m, ffn_dim]
 *     y     [m, dim]      what a half adds to x;  y2: the second of a parallel layer
 */
#include "model/outliers.h"
#include <math.h>
#include <unistd.h>

struct loam_timeline {
    const loam_decoder *d;
    loam_outliers *observer; /* of inputs, or NULL */
    loam_compute compute;
    size_t n_ctx, chunk, position;
    size_t rope_filled;          /* positions whose tables are computed */
    float *rope[LOAM_MAX_ROPES]; /* [n_ctx, n_rot / 2, 2] */
    loam_kv_type kv_type;
    loam_kv *kv; /* [n_layers] */
    void *kv_memory;
    float *scratch;
    float *x, *h, *q, *k, *v, *att, *f, *y, *y2;
    float *up;     /* only where some layer's gate and up differ in their groups */
    float *hidden; /* [dim] of the last position, after the final norm */
    int has_hidden;
};

static size_t max_size(size_t a, size_t b) {
    return a > b ? a : b;
}

loam_kv_type loam_kv_type_of(loam_precision precision, loam_kv_type type) {
    if (type != LOAM_KV_DEFAULT) return type;
    return precision == LOAM_EXACT ? LOAM_KV_F32 : LOAM_KV_F16;
}

static loam_kv_format format_of(loam_kv_type type) {
    switch (type) {
    case LOAM_KV_F32: return LOAM_KV_ROWS_F32;
    case LOAM_KV_INT8: return LOAM_KV_ROWS_INT8;
    default: return LOAM_KV_ROWS_F16;
    }
}

size_t loam_kv_type_row_bytes(loam_kv_type type, size_t head_dim) {
    return loam_kv_row_bytes(format_of(type), head_dim);
}

/* Bytes of a position in one head's keys or values. */
static size_t kv_row_bytes(const loam_timeline *t) {
    return loam_kv_type_row_bytes(t->kv_type, t->d->config.head_dim);
}

/* Every product below is bounded by the ranges of families.c except with n_ctx: checked. */
static int size_kv(const loam_timeline *t, size_t *layer_bytes, size_t *total) {
    const loam_decoder_config *c = &t->d->config;
    size_t n;
    return loam_mul(c->n_kv_heads * kv_row_bytes(t), t->n_ctx, &n) && loam_add(n, 63, &n) &&
           (*layer_bytes = n / 64 * 64, 1) && loam_mul(*layer_bytes, 2 * c->n_layers, total);
}

static loam_status check_memory(const loam_timeline *t, size_t bytes, loam_err *err) {
    const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    if (pages <= 0 || page <= 0 || bytes / (size_t)page < (size_t)pages) return LOAM_OK;
    return loam_fail(err, LOAM_ERR_LIMIT,
                     "%s: a context of %zu positions needs %.1f GB of memory, this machine has "
                     "%.1f: ask for a smaller one",
                     t->d->folder, t->n_ctx, (double)bytes / 1e9,
                     (double)pages * (double)page / 1e9);
}

static loam_status make_kv(loam_timeline *t, loam_err *err) {
    const loam_decoder_config *c = &t->d->config;
    size_t layer_bytes = 0, total = 0;
    loam_status st;

    if (!size_kv(t, &layer_bytes, &total))
        return loam_fail(err, LOAM_ERR_LIMIT, "%s: a context of %zu positions is too large",
                         t->d->folder, t->n_ctx);
    st = check_memory(t, total, err);
    if (st) return st;
    t->kv = loam_alloc(c->n_layers, sizeof *t->kv);
    t->kv_memory = loam_alloc(total + 64, 1); /* calloc: pages come as positions are used */
    if (!t->kv || !t->kv_memory)
        return loam_fail(err, LOAM_ERR_MEMORY,
                         "%s: no memory for a context of %zu positions (%zu MB)", t->d->folder,
                         t->n_ctx, total >> 20);
    char *p = (char *)t->kv_memory + (64 - (uintptr_t)t->kv_memory % 64) % 64;
    for (size_t i = 0; i < c->n_layers; i++, p += 2 * layer_bytes)
        t->kv[i] = (loam_kv){.format = format_of(t->kv_type),
                             .n_kv_heads = c->n_kv_heads,
                             .head_dim = c->head_dim,
                             .stride = t->n_ctx,
                             .k = p,
                             .v = p + layer_bytes};
    return LOAM_OK;
}

/* One allocation for all activations, cut at multiples of 16 floats. */
/* One product for both needs activations quantised alike. */
static int groups_differ(const loam_layer *l) {
    return l->gate.data && l->gate.format == LOAM_FORMAT_AFFINE &&
           l->up.format == LOAM_FORMAT_AFFINE && l->gate.group != l->up.group;
}

static int any_groups_differ(const loam_decoder *d) {
    for (size_t i = 0; i < d->config.n_layers; i++)
        if (groups_differ(&d->layers[i])) return 1;
    return 0;
}

static loam_status make_scratch(loam_timeline *t, loam_err *err) {
    const loam_decoder_config *c = &t->d->config;
    const size_t m = t->chunk, q_dim = c->n_heads * c->head_dim,
                 kv_dim = c->n_kv_heads * c->head_dim;
    const struct {
        float **p;
        size_t n;
    } parts[] = {{&t->x, m * c->dim},
                 {&t->h, m * c->dim},
                 {&t->q, m * q_dim},
                 {&t->k, m * kv_dim},
                 {&t->v, m * kv_dim},
                 {&t->att, m * q_dim},
                 {&t->f, m * c->ffn_dim},
                 {&t->y, m * c->dim},
                 {&t->y2, c->parallel ? m * c->dim : 0},
                 {&t->up, any_groups_differ(t->d) ? m * c->ffn_dim : 0},
                 {&t->hidden, c->dim}};
    const size_t n_parts = sizeof parts / sizeof *parts;
    size_t total = 16;

    for (size_t i = 0; i < n_parts; i++) total += (parts[i].n + 15) / 16 * 16;
    t->scratch = loam_alloc(total, sizeof *t->scratch);
    if (!t->scratch)
        return loam_fail(err, LOAM_ERR_MEMORY, "%s: no memory for a session", t->d->folder);
    float *p = t->scratch + (64 - (uintptr_t)t->scratch % 64) % 64 / sizeof *p;
    for (size_t i = 0; i < n_parts; i++) {
        *parts[i].p = p;
        p += (parts[i].n + 15) / 16 * 16;
    }
    for (size_t i = 0; i < c->n_ropes; i++) {
        size_t n;
        t->rope[i] = loam_mul(t->n_ctx, c->rope[i].n_rot, &n) ? loam_alloc(n, sizeof(float)) : NULL;
        if (!t->rope[i])
            return loam_fail(err, LOAM_ERR_MEMORY, "%s: no memory for a session", t->d->folder);
    }
    return loam_compute_reserve(&t->compute, m, max_size(max_size(c->dim, q_dim), c->ffn_dim), err);
}

static loam_status new_timeline(loam_timeline **out, const loam_decoder *d, loam_pool *pool,
                                loam_precision precision, loam_kv_type kv, size_t n_ctx,
                                loam_err *err) {
    loam_status st;

    *out = NULL;
    LOAM_ASSERT(n_ctx >= 1);
    loam_timeline *t = loam_alloc(1, sizeof *t);
    if (!t) return loam_fail(err, LOAM_ERR_MEMORY, "%s: out of memory", d->folder);
    t->d = d;
    t->compute.pool = pool;
    t->compute.precision = precision;
    t->kv_type = loam_kv_type_of(precision, kv);
    t->n_ctx = n_ctx;
    t->chunk = n_ctx < LOAM_FEED_CHUNK ? n_ctx : LOAM_FEED_CHUNK;
    st = make_kv(t, err);
    if (!st) st = make_scratch(t, err);
    if (st) goto done;
    *out = t;
    t = NULL;
done:
    loam_timeline_free(t);
    return st;
}

loam_status loam_timeline_new(loam_timeline **out, const loam_decoder *d, loam_pool *pool,
                              loam_precision precision, loam_kv_type kv, size_t n_ctx,
                              loam_err *err) {
    *out = NULL;
    if (precision == LOAM_FAST) {
        const loam_status st = loam_outliers_find(d, pool, err);
        if (st) return st;
    }
    return new_timeline(out, d, pool, precision, kv, n_ctx, err);
}

loam_status loam_timeline_new_observed(loam_timeline **out, const loam_decoder *d, loam_pool *pool,
                                       size_t n_ctx, loam_outliers *o, loam_err *err) {
    const loam_status st = new_timeline(out, d, pool, LOAM_FAST, LOAM_KV_F16, n_ctx, err);
    if (!st) (*out)->observer = o;
    return st;
}

void loam_timeline_free(loam_timeline *t) {
    if (!t) return;
    loam_compute_deinit(&t->compute);
    for (size_t i = 0; i < LOAM_MAX_ROPES; i++) free(t->rope[i]);
    free(t->scratch);
    free(t->kv_memory);
    free(t->kv);
    free(t);
}

size_t loam_timeline_position(const loam_timeline *t) {
    return t->position;
}
size_t loam_timeline_n_ctx(const loam_timeline *t) {
    return t->n_ctx;
}
size_t loam_timeline_chunk(const loam_timeline *t) {
    return t->chunk;
}

void loam_timeline_truncate(loam_timeline *t, size_t n) {
    if (n >= t->position) return;
    t->position = n;
    t->has_hidden = 0; /* the hidden state was of a position that is gone */
}

loam_kv_shape loam_timeline_kv_shape(const loam_timeline *t) {
    const loam_decoder_config *c = &t->d->config;
    return (loam_kv_shape){c->n_layers, c->n_kv_heads, c->head_dim, t->kv_type, kv_row_bytes(t)};
}

void loam_timeline_kv_get(const loam_timeline *t, size_t layer, size_t first, size_t n, void *out) {
    const loam_kv *kv = &t->kv[layer];
    const size_t row = kv_row_bytes(t);
    char *p = out;
    LOAM_ASSERT(first + n <= t->position);
    for (int value = 0; value < 2; value++)
        for (size_t head = 0; head < kv->n_kv_heads; head++, p += n * row)
            memcpy(p, (const char *)(value ? kv->v : kv->k) + (head * kv->stride + first) * row,
                   n * row);
}

void loam_timeline_kv_put(loam_timeline *t, size_t layer, size_t n, size_t n_in, const void *in) {
    const loam_kv *kv = &t->kv[layer];
    const size_t row = kv_row_bytes(t);
    const char *p = in;
    LOAM_ASSERT(t->position == 0 && n <= n_in && n <= t->n_ctx);
    for (int value = 0; value < 2; value++)
        for (size_t head = 0; head < kv->n_kv_heads; head++, p += n_in * row)
            memcpy((char *)(value ? kv->v : kv->k) + head * kv->stride * row, p, n * row);
}

static const float *norm(loam_timeline *t, const loam_norm *n, const float *x, size_t m, float *y) {
    const loam_decoder_config *c = &t->d->config;
    if (!n->weight) return x;
    if (c->family->layer_norm)
        loam_layer_norm(&t->compute, x, n->weight, n->bias, c->eps, m, c->dim, y);
    else
        loam_rms_norm(&t->compute, x, n->weight, c->eps, m, c->dim, y);
    return y;
}

static void scale(float *x, size_t n, float factor) {
    if (factor == 1.0f) return;
    for (size_t i = 0; i < n; i++) x[i] *= factor;
}

/* y = the half's output: norm on it where the family has one, then the residual multiplier. */
static void finish_half(loam_timeline *t, const loam_norm *out_norm, size_t m, float *y) {
    const loam_decoder_config *c = &t->d->config;
    norm(t, out_norm, y, m, y);
    scale(y, m * c->dim, c->residual_scale);
}

static void normalise_heads(loam_timeline *t, const float *weight, size_t m, size_t n_heads,
                            float *x) {
    const loam_decoder_config *c = &t->d->config;
    if (c->family->qk_norm == LOAM_QK_NORM_HEAD)
        loam_rms_norm(&t->compute, x, weight, c->eps, m * n_heads, c->head_dim, x);
    else if (c->family->qk_norm == LOAM_QK_NORM_ALL)
        loam_rms_norm(&t->compute, x, weight, c->eps, m, n_heads * c->head_dim, x);
}

static void rotate(loam_timeline *t, size_t layer, size_t m, size_t n_heads, size_t pos, float *x) {
    const loam_decoder_config *c = &t->d->config;
    const unsigned kind = c->layer_rope[layer];
    if (kind == LOAM_NO_ROPE) return;
    loam_rope(&t->compute, x, m, n_heads, c->head_dim, c->rope[kind].n_rot, c->rope_traditional,
              t->rope[kind], pos);
}

static void observe(const loam_timeline *t, const loam_layer *l, loam_site site, const float *x,
                    size_t m) {
    if (t->observer) loam_outliers_observe(t->observer, (size_t)(l - t->d->layers), site, x, m);
}

/* Attention of the last `need` of m positions into y [need, dim]; h [m, dim]. */
static void attend(loam_timeline *t, size_t layer, const float *h, size_t m, size_t need,
                   float *y) {
    const loam_decoder_config *c = &t->d->config;
    const loam_layer *l = &t->d->layers[layer];
    loam_compute *compute = &t->compute;
    const size_t pos = t->position, first = m - need;

    observe(t, l, LOAM_SITE_QKV, h, m);
    if (need == m) {
        loam_linear(compute, (const loam_weight *const[]){&l->q, &l->k, &l->v}, 3, h, m,
                    (float *const[]){t->q, t->k, t->v});
    } else {
        loam_linear(compute, (const loam_weight *const[]){&l->k, &l->v}, 2, h, m,
                    (float *const[]){t->k, t->v});
        if (need)
            loam_linear(compute, (const loam_weight *const[]){&l->q}, 1, h + first * c->dim, need,
                        (float *const[]){t->q});
    }
    normalise_heads(t, l->k_norm, m, c->n_kv_heads, t->k);
    rotate(t, layer, m, c->n_kv_heads, pos, t->k);
    loam_kv_store(compute, &t->kv[layer], t->k, t->v, m, pos);
    if (!need) return;

    normalise_heads(t, l->q_norm, need, c->n_heads, t->q);
    rotate(t, layer, need, c->n_heads, pos + first, t->q);
    const loam_attention_params p = {.n_heads = c->n_heads,
                                     .scale = c->attn_scale,
                                     .softcap = c->attn_softcap,
                                     .window = c->layer_window[layer]};
    loam_attention_causal(compute, &t->kv[layer], &p, t->q, need, pos + first, t->att);
    observe(t, l, LOAM_SITE_O, t->att, need);
    loam_linear(compute, (const loam_weight *const[]){&l->o}, 1, t->att, need, (float *const[]){y});
}

/* The feed-forward half of h [m, dim] into y. */
static void feed_forward(loam_timeline *t, const loam_layer *l, const float *h, size_t m,
                         float *y) {
    const loam_decoder_config *c = &t->d->config;
    const loam_activation act = c->family->activation;
    observe(t, l, LOAM_SITE_GATE_UP, h, m);
    if (groups_differ(l)) {
        loam_linear(&t->compute, (const loam_weight *const[]){&l->gate, &l->up}, 2, h, m,
                    (float *const[]){t->f, t->up});
        loam_gate(&t->compute, act, t->f, t->up, m, c->ffn_dim, c->ffn_dim, t->f);
    } else if (l->gate.data) {
        loam_linear_gated(&t->compute, &l->gate, &l->up, act, h, m, t->f);
    } else {
        loam_linear(&t->compute, (const loam_weight *const[]){&l->up}, 1, h, m,
                    (float *const[]){t->f});
        loam_activate(&t->compute, act, t->f, m * c->ffn_dim);
    }
    observe(t, l, LOAM_SITE_DOWN, t->f, m);
    loam_linear(&t->compute, (const loam_weight *const[]){&l->down}, 1, t->f, m,
                (float *const[]){y});
}

/* One layer over m positions at t->x; on return the last `need` rows of x are its output. */
static void run_layer(loam_timeline *t, size_t layer, size_t m, size_t need) {
    const size_t dim = t->d->config.dim;
    const loam_layer *l = &t->d->layers[layer];
    const float *h = norm(t, &l->attn_in, t->x, m, t->h);

    attend(t, layer, h, m, need, t->y);
    if (!need) return;
    float *x = t->x + (m - need) * dim;
    h += (m - need) * dim;
    finish_half(t, &l->attn_out, need, t->y);
    if (t->d->config.parallel) {
        feed_forward(t, l, h, need, t->y2);
        finish_half(t, &l->ffn_out, need, t->y2);
        loam_residual(&t->compute, t->y, need * dim, x);
        loam_residual(&t->compute, t->y2, need * dim, x);
        return;
    }
    loam_residual(&t->compute, t->y, need * dim, x);
    feed_forward(t, l, norm(t, &l->ffn_in, x, need, t->h), need, t->y);
    finish_half(t, &l->ffn_out, need, t->y);
    loam_residual(&t->compute, t->y, need * dim, x);
}

/* x * 0 is 0 unless x is infinite or NaN.  Eight sums: one would wait for itself. */
static int all_finite(const float *x, size_t n) {
    float sum[8] = {0};
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (size_t k = 0; k < 8; k++) sum[k] += x[i + k] * 0.0f;
    for (; i < n; i++) sum[0] += x[i] * 0.0f;
    for (size_t k = 1; k < 8; k++) sum[0] += sum[k];
    return sum[0] == 0.0f;
}

/* m <= chunk ids through all layers.  A NaN anywhere reaches the last position by the
 * next layer's attention, so one row is enough to find the layer. */
static loam_status run_chunk(loam_timeline *t, const int32_t *ids, size_t m, size_t need,
                             const loam_cancel *cancel, loam_err *err) {
    const loam_decoder_config *c = &t->d->config;

    for (size_t i = 0; i < m; i++) loam_weight_row(&t->d->embed, (size_t)ids[i], t->x + i * c->dim);
    scale(t->x, m * c->dim, c->embed_scale);
    for (size_t layer = 0; layer < c->n_layers; layer++) {
        if (cancel && cancel->requested) return loam_fail(err, LOAM_ERR_CANCELLED, "cancelled");
        const int last = layer + 1 == c->n_layers;
        run_layer(t, layer, m, last ? need : m);
        if (last && !need) break;
        if (!all_finite(t->x + (m - 1) * c->dim, c->dim))
            return loam_fail(
                err, LOAM_ERR_FORMAT,
                "%s: layer %zu gives NaN or infinity at position %zu: the weights are damaged",
                t->d->folder, layer, t->position + m - 1);
    }
    return LOAM_OK;
}

static loam_status check_feed(const loam_timeline *t, const int32_t *ids, size_t n, loam_err *err) {
    if (n == 0) return loam_fail(err, LOAM_ERR_ARGUMENT, "no token ids to read");
    if (n > t->n_ctx - t->position) {
        if (t->position == 0)
            return loam_fail(err, LOAM_ERR_LIMIT,
                             "prompt of %zu tokens is longer than the context of %zu", n, t->n_ctx);
        return loam_fail(err, LOAM_ERR_LIMIT,
                         "%zu more tokens after %zu do not fit in the context of %zu", n,
                         t->position, t->n_ctx);
    }
    for (size_t i = 0; i < n; i++)
        if (ids[i] < 0 || (size_t)ids[i] >= t->d->config.vocab)
            return loam_fail(err, LOAM_ERR_ARGUMENT,
                             "token id %d at index %zu is outside the vocabulary of %zu", ids[i], i,
                             t->d->config.vocab);
    return LOAM_OK;
}

static void fill_ropes(loam_timeline *t, size_t end) {
    const loam_decoder_config *c = &t->d->config;
    if (end <= t->rope_filled) return;
    for (size_t i = 0; i < c->n_ropes; i++)
        loam_rotary_fill(&c->rope[i], t->rope_filled, end - t->rope_filled,
                         t->rope[i] + t->rope_filled * c->rope[i].n_rot);
    t->rope_filled = end;
}

void loam_timeline_restore(loam_timeline *t, size_t n) {
    LOAM_ASSERT(t->position == 0 && n <= t->n_ctx);
    fill_ropes(t, n);
    t->position = n;
}

loam_status loam_timeline_feed_each(loam_timeline *t, const int32_t *ids, size_t n,
                                    void (*each)(void *ctx, size_t first, size_t m,
                                                 const float *hidden),
                                    void *ctx, const loam_cancel *cancel, loam_err *err) {
    const loam_decoder *d = t->d;
    const size_t start = t->position, dim = d->config.dim;
    loam_status st = check_feed(t, ids, n, err);

    if (st) return st;
    fill_ropes(t, start + n);
    for (size_t done = 0; done < n;) {
        const size_t m = n - done < t->chunk ? n - done : t->chunk;
        const int last = done + m == n;
        /* all memory was taken when the timeline was made; an observer keeps what it finds */
        if (!t->observer) loam_alloc_forbid();
        st = run_chunk(t, ids + done, m, each ? m : last ? 1 : 0, cancel, err);
        if (!t->observer) loam_alloc_allow();
        if (st) {
            t->position = start;
            t->has_hidden = t->has_hidden && done == 0; /* still of position start - 1 */
            return st;
        }
        if (each) each(ctx, done, m, norm(t, &d->final_norm, t->x, m, t->h));
        if (last) norm(t, &d->final_norm, t->x + (m - 1) * dim, 1, t->hidden);
        t->position += m;
        done += m;
    }
    t->has_hidden = 1;
    return LOAM_OK;
}

loam_status loam_timeline_feed(loam_timeline *t, const int32_t *ids, size_t n,
                               const loam_cancel *cancel, loam_err *err) {
    return loam_timeline_feed_each(t, ids, n, NULL, NULL, cancel, err);
}

const float *loam_timeline_hidden(const loam_timeline *t) {
    LOAM_ASSERT(t->has_hidden);
    return t->hidden;
}

static void finish_logits(const loam_decoder_config *c, float *logits, size_t n) {
    scale(logits, n, c->logit_scale);
    if (c->final_softcap > 0.0f)
        for (size_t i = 0; i < n; i++)
            logits[i] = c->final_softcap * tanhf(logits[i] / c->final_softcap);
}

void loam_timeline_head(loam_timeline *t, const float *hidden, size_t m, float *logits) {
    LOAM_ASSERT(m <= t->chunk);
    loam_alloc_forbid();
    loam_linear(&t->compute, (const loam_weight *const[]){&t->d->head}, 1, hidden, m,
                (float *const[]){logits});
    loam_alloc_allow();
    finish_logits(&t->d->config, logits, m * t->d->config.vocab);
}

void loam_timeline_logits(loam_timeline *t, float *logits) {
    loam_timeline_head(t, loam_timeline_hidden(t), 1, logits);
}

void loam_timeline_logits_of(loam_timeline *t, const int32_t *ids, size_t n, float *logits) {
    const float *hidden = loam_timeline_hidden(t);
    for (size_t i = 0; i < n; i++) {
        LOAM_ASSERT(ids[i] >= 0 && (size_t)ids[i] < t->d->config.vocab);
        const loam_weight row = loam_weight_slice(&t->d->head, (size_t)ids[i], 1);
        loam_linear(&t->compute, (const loam_weight *const[]){&row}, 1, hidden, 1,
                    (float *const[]){logits + i});
    }
    finish_logits(&t->d->config, logits, n);
}
