/* outliers.c - a few ids are read in `fast`; each site's input says which of its columns would
 * make the scales of their groups smaller most, were they not there.
 *
 * The error of int8 in a group grows with the square of its largest value.  A column is worth
 * what it takes off that square, as a share of the position's energy, so that no single loud
 * position decides.
 */
#include "model/outliers.h"
#include "base/threads.h"
#include "kernels/kernels.h"
#include <math.h>
#include <pthread.h>

enum { N_IDS = 16, GAIN_ROUNDS = 3 };

/* Columns that take less than so much off the squares are not worth their own sums: with 0.45 most
 * inputs of down are left as they are, at the same quality (docs/SPEED.md). */
static const double LEAST_GAIN = 0.45;

typedef struct site_columns {
    uint32_t ids[LOAM_OUTLIERS];
    uint16_t *values[3]; /* of up to three weights */
} site_columns;

struct loam_outliers {
    const loam_decoder *d;
    pthread_mutex_t lock; /* guards what follows */
    int found;
    loam_pool *pool; /* while looking */
    loam_status status;
    site_columns *sites; /* [n_layers, LOAM_SITES] */
    double *gain;        /* [widest] scratch */
    float *x;            /* [widest] scratch */
};

static size_t widest(const loam_decoder *d) {
    const loam_decoder_config *c = &d->config;
    const size_t q_dim = c->n_heads * c->head_dim;
    const size_t n = c->dim > c->ffn_dim ? c->dim : c->ffn_dim;
    return n > q_dim ? n : q_dim;
}

loam_status loam_outliers_new(loam_outliers **out, const loam_decoder *d, loam_err *err) {
    *out = NULL;
    loam_outliers *o = loam_alloc(1, sizeof *o);
    if (!o) return loam_fail(err, LOAM_ERR_MEMORY, "%s: out of memory", d->folder);
    o->d = d;
    pthread_mutex_init(&o->lock, NULL);
    *out = o;
    return LOAM_OK;
}

void loam_outliers_free(loam_outliers *o) {
    if (!o) return;
    for (size_t i = 0; o->sites && i < o->d->config.n_layers * LOAM_SITES; i++)
        for (size_t k = 0; k < 3; k++) free(o->sites[i].values[k]);
    free(o->sites);
    pthread_mutex_destroy(&o->lock);
    free(o);
}

/* The weights of a site that take int8: how many, into w. */
static size_t weights_of(const loam_outliers *o, size_t layer, loam_site site, loam_weight *w[3]) {
    loam_layer *l = &o->d->layers[layer];
    loam_weight *const all[LOAM_SITES][3] = {
        {&l->q, &l->k, &l->v}, {&l->o}, {&l->gate, &l->up}, {&l->down}};
    size_t n = 0;
    for (size_t i = 0; i < 3; i++) {
        loam_weight *a = all[site][i];
        if (a && a->data && a->format == LOAM_FORMAT_AFFINE) w[n++] = a;
    }
    return n;
}

static size_t largest(const float *x, size_t n) {
    size_t at = 0;
    for (size_t k = 1; k < n; k++)
        if (fabsf(x[k]) > fabsf(x[at])) at = k;
    return at;
}

/* Add what each column of one position is worth; returns the sum of its groups' squares. */
static double weigh_position(const loam_outliers *o, const float *x, size_t cols, size_t group) {
    double energy = 0.0, squares = 0.0;
    for (size_t k = 0; k < cols; k++) energy += (double)x[k] * (double)x[k];
    if (!(energy > 0.0 && energy < HUGE_VAL)) return 0.0;
    memcpy(o->x, x, cols * sizeof *x);
    for (size_t k = 0; k < cols; k += group) {
        size_t at = k + largest(o->x + k, group);
        for (int round = 0; round < GAIN_ROUNDS; round++) {
            const double a = (double)o->x[at] * (double)o->x[at] / energy;
            const size_t from = at;
            if (round == 0) squares += a;
            o->x[at] = 0.0f;
            at = k + largest(o->x + k, group);
            o->gain[from] += a - (double)o->x[at] * (double)o->x[at] / energy;
        }
    }
    return squares;
}

/* The columns that are worth most, ascending; 0: they are not worth it. */
static int choose(const loam_outliers *o, size_t cols, double squares, uint32_t *ids) {
    double sum = 0.0;
    if (cols < 4 * LOAM_OUTLIERS) return 0;
    for (size_t i = 0; i < LOAM_OUTLIERS; i++) {
        size_t best = 0;
        for (size_t k = 1; k < cols; k++)
            if (o->gain[k] > o->gain[best]) best = k;
        sum += o->gain[best];
        o->gain[best] = -1.0;
        size_t at = i;
        for (; at > 0 && ids[at - 1] > best; at--) ids[at] = ids[at - 1];
        ids[at] = (uint32_t)best;
    }
    return sum > LEAST_GAIN * squares;
}

typedef struct extract_job {
    const loam_weight *w;
    const uint32_t *ids;
    uint16_t *out; /* [LOAM_OUTLIERS, rows] */
} extract_job;

static void extract_range(void *ctx, size_t begin, size_t end, unsigned worker) {
    const extract_job *j = ctx;
    (void)worker;
    for (size_t row = begin; row < end; row++)
        for (size_t i = 0; i < LOAM_OUTLIERS; i++)
            j->out[i * j->w->rows + row] = loam_f32_to_f16(loam_weight_at(j->w, row, j->ids[i]));
}

static int all_finite_f16(const uint16_t *x, size_t n) {
    for (size_t i = 0; i < n; i++)
        if ((x[i] & 0x7c00) == 0x7c00) return 0;
    return 1;
}

void loam_outliers_observe(loam_outliers *o, size_t layer, loam_site site, const float *x,
                           size_t m) {
    loam_weight *w[3];
    const size_t n = weights_of(o, layer, site, w);
    site_columns *s = &o->sites[layer * LOAM_SITES + site];
    double squares = 0.0;

    if (n == 0 || o->status) return;
    const size_t cols = w[0]->cols;
    memset(o->gain, 0, cols * sizeof *o->gain);
    for (size_t i = 0; i < m; i++)
        squares += weigh_position(o, x + i * cols, cols, (size_t)w[0]->group);
    if (!choose(o, cols, squares, s->ids)) return;
    for (size_t i = 0; i < n; i++) {
        s->values[i] = loam_alloc(w[i]->rows * LOAM_OUTLIERS, sizeof *s->values[i]);
        if (!s->values[i]) {
            o->status = LOAM_ERR_MEMORY;
            return;
        }
        extract_job j = {w[i], s->ids, s->values[i]};
        loam_pool_for(o->pool, w[i]->rows, 64, extract_range, &j);
        if (!all_finite_f16(s->values[i], w[i]->rows * LOAM_OUTLIERS)) return; /* as it was */
    }
    for (size_t i = 0; i < n; i++) {
        w[i]->outlier_ids = s->ids;
        w[i]->outliers = s->values[i];
        w[i]->outlier_stride = w[i]->rows;
    }
}

/* Asked for all positions, the last layer computes all of them. */
static void ignore_hidden(void *ctx, size_t first, size_t m, const float *hidden) {
    (void)ctx, (void)first, (void)m, (void)hidden;
}

static loam_status look(loam_outliers *o, loam_err *err) {
    const loam_decoder_config *c = &o->d->config;
    loam_timeline *t = NULL;
    int32_t ids[N_IDS];

    /* from the first half of the vocabulary: words rather than ids that nobody trained */
    for (size_t i = 0; i < N_IDS; i++) ids[i] = (int32_t)(c->vocab * (2 * i + 1) / (4 * N_IDS));
    loam_status st = loam_timeline_new_observed(&t, o->d, o->pool, N_IDS, o, err);
    if (!st) st = loam_timeline_feed_each(t, ids, N_IDS, ignore_hidden, NULL, NULL, err);
    loam_timeline_free(t);
    if (st == LOAM_ERR_FORMAT) st = LOAM_OK; /* damaged weights: the prompt will say so */
    if (!st && o->status) st = loam_fail(err, o->status, "%s: out of memory", o->d->folder);
    return st;
}

static int any_affine(const loam_decoder *d) {
    const loam_layer *l = &d->layers[0];
    return l->q.format == LOAM_FORMAT_AFFINE || l->down.format == LOAM_FORMAT_AFFINE;
}

loam_status loam_outliers_find(const loam_decoder *d, loam_pool *pool, loam_err *err) {
    loam_outliers *o = d->outliers;
    loam_status st = LOAM_OK;

    pthread_mutex_lock(&o->lock);
    if (o->found || d->config.n_layers == 0 || !any_affine(d)) goto done;
    o->pool = pool;
    o->gain = loam_alloc(widest(d), sizeof *o->gain);
    o->x = loam_alloc(widest(d), sizeof *o->x);
    if (!o->sites) o->sites = loam_alloc(d->config.n_layers * LOAM_SITES, sizeof *o->sites);
    if (o->gain && o->x && o->sites)
        st = look(o, err);
    else
        st = loam_fail(err, LOAM_ERR_MEMORY, "%s: out of memory", d->folder);
    free(o->gain);
    free(o->x);
    o->found = !st;
done:
    pthread_mutex_unlock(&o->lock);
    return st;
}
