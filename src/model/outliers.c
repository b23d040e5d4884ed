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
    double *room;        /* see loam_outliers_weigh */
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

/* ---- what columns are worth ---- */

typedef struct weigh_job {
    const float *x; /* [m, cols] */
    size_t m, cols, group;
    double *gain;    /* [cols] */
    double *energy;  /* [m], 0: does not count */
    double *squares; /* [m, cols / group] */
} weigh_job;

static void measure_range(void *ctx, size_t begin, size_t end, unsigned worker) {
    const weigh_job *j = ctx;
    (void)worker;
    for (size_t i = begin; i < end; i++) {
        const float *x = j->x + i * j->cols;
        double energy = 0.0;
        for (size_t k = 0; k < j->cols; k++) energy += (double)x[k] * (double)x[k];
        j->energy[i] = energy > 0.0 && energy < HUGE_VAL ? energy : 0.0;
    }
}

/* The largest of a group, descending, the first of equals first; values by their bits, which order
 * like |x| where x is finite. */
typedef struct ranking {
    uint32_t value[GAIN_ROUNDS + 1];
    size_t at[GAIN_ROUNDS + 1];
} ranking;

static ranking rank(const float *x, size_t group) {
    ranking r = {{0}, {0}};
    for (size_t k = 0; k < group; k++) {
        uint32_t v;
        memcpy(&v, x + k, sizeof v);
        v &= 0x7fffffffu;
        if (v <= r.value[GAIN_ROUNDS]) continue;
        size_t i = GAIN_ROUNDS;
        for (; i > 0 && v > r.value[i - 1]; i--) {
            r.value[i] = r.value[i - 1];
            r.at[i] = r.at[i - 1];
        }
        r.value[i] = v;
        r.at[i] = k;
    }
    return r;
}

static double square_of(uint32_t value, double energy) {
    float x;
    memcpy(&x, &value, sizeof x);
    return (double)x * (double)x / energy;
}

static void weigh_range(void *ctx, size_t begin, size_t end, unsigned worker) {
    const weigh_job *j = ctx;
    const size_t n_groups = j->cols / j->group;
    (void)worker;
    for (size_t g = begin; g < end; g++) {
        double *gain = j->gain + g * j->group;
        for (size_t k = 0; k < j->group; k++) gain[k] = 0.0;
        for (size_t i = 0; i < j->m; i++) {
            double *square = &j->squares[i * n_groups + g];
            *square = 0.0;
            if (j->energy[i] == 0.0) continue;
            const ranking r = rank(j->x + i * j->cols + g * j->group, j->group);
            double a = square_of(r.value[0], j->energy[i]);
            *square = a;
            for (size_t n = 0; n < GAIN_ROUNDS; n++) {
                const double next = square_of(r.value[n + 1], j->energy[i]);
                gain[r.at[n]] += a - next;
                a = next;
            }
        }
    }
}

double loam_outliers_weigh(loam_pool *pool, const float *x, size_t m, size_t cols, size_t group,
                           double *gain, double *room) {
    const size_t n_groups = cols / group;
    weigh_job j = {x, m, cols, group, gain, room, room + m};
    double sum = 0.0;

    loam_pool_for(pool, m, 1, measure_range, &j);
    loam_pool_for(pool, n_groups, 4, weigh_range, &j);
    for (size_t i = 0; i < m; i++) {
        double squares = 0.0;
        for (size_t g = 0; g < n_groups; g++) squares += j.squares[i * n_groups + g];
        sum += squares;
    }
    return sum;
}

/* The columns that are worth most, ascending; 0: they are not worth it. */
static int choose(const loam_outliers *o, size_t cols, double squares, uint32_t *ids) {
    double sum = 0.0;
    if (cols / 4 < LOAM_OUTLIERS) return 0;
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

/* ---- their weights ---- */

typedef struct extract_job {
    const loam_weight *w;
    const uint32_t *ids;
    uint16_t *out; /* [LOAM_OUTLIERS, rows] */
} extract_job;

/* f16 numbers are made of EXTRACT_ROWS at a time. */
enum { EXTRACT_ROWS = 64 };

static void extract_range(void *ctx, size_t begin, size_t end, unsigned worker) {
    const extract_job *j = ctx;
    float part[LOAM_OUTLIERS * EXTRACT_ROWS];
    (void)worker;
    for (size_t row = begin; row < end; row += EXTRACT_ROWS) {
        const size_t n = end - row < EXTRACT_ROWS ? end - row : EXTRACT_ROWS;
        loam_weight_columns(j->w, row, n, j->ids, LOAM_OUTLIERS, part);
        for (size_t i = 0; i < LOAM_OUTLIERS; i++)
            loam_k.f32_to_f16(part + i * n, n, j->out + i * j->w->rows + row);
    }
}

void loam_outliers_extract(loam_pool *pool, const loam_weight *w, const uint32_t *ids,
                           uint16_t *out) {
    extract_job j = {w, ids, out};
    loam_kernels_ready();
    loam_pool_for(pool, w->rows, EXTRACT_ROWS, extract_range, &j);
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

    if (n == 0 || o->status) return;
    LOAM_ASSERT(m <= N_IDS);
    const size_t cols = w[0]->cols;
    const double squares =
        loam_outliers_weigh(o->pool, x, m, cols, (size_t)w[0]->group, o->gain, o->room);
    if (!choose(o, cols, squares, s->ids)) return;
    for (size_t i = 0; i < n; i++) {
        s->values[i] = loam_alloc(w[i]->rows * LOAM_OUTLIERS, sizeof *s->values[i]);
        if (!s->values[i]) {
            o->status = LOAM_ERR_MEMORY;
            return;
        }
        loam_outliers_extract(o->pool, w[i], s->ids, s->values[i]);
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
    for (size_t i = 0; i < N_IDS; i++)
        ids[i] = (int32_t)(c->vocab * (2 * i + 1) / ((size_t)4 * N_IDS));
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
    o->room = loam_alloc(loam_outliers_weigh_room(N_IDS, widest(d)), sizeof *o->room);
    if (!o->sites) o->sites = loam_alloc(d->config.n_layers * LOAM_SITES, sizeof *o->sites);
    if (o->gain && o->room && o->sites)
        st = look(o, err);
    else
        st = loam_fail(err, LOAM_ERR_MEMORY, "%s: out of memory", d->folder);
    free(o->gain);
    free(o->room);
    o->found = !st;
done:
    pthread_mutex_unlock(&o->lock);
    return st;
}
