/* encoder.c - the forward pass of BERT-type encoders over packed groups of sequences.
 *
 *     ids -> word + type + position -> norm -> x
 *     layer:  q, k, v = x;  attention;  x = norm(x + o);  x = norm(x + down(act(up(x))))
 *
 * Sequences are sorted by length, longest first, and packed one after another without padding.
 * Many of them are cut into groups of about GROUP_TOKENS, and each worker takes whole groups
 * through all layers: nobody waits for anybody, and a group's activations stay in its worker's
 * cache.  A few go through together, the rows of the weights cut over the pool.  The results are
 * the same bits.
 *
 * The sum of the embeddings keeps the order of the original, word + type + position.
 */
#include "model/encoder.h"
#include "model/encoder_state.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>

enum {
    GROUP_TOKENS = 120,    /* of one worker: a multiple of the tile's 6 */
    GROUP_TOKENS_MIN = 48, /* fewer would read the weights too often */
    TOGETHER_TOKENS = 480, /* of one group of all workers */
    PACK_TOKENS = 256,     /* from when on a copy in panels pays */
    EMBED_GRAIN = 16
};

/* Exact: the copy is as large as the weights; above this they are used as they are. */
#define PANELS_MAX_BYTES ((uint64_t)256 << 20)
/* Fast: half of f32. */
#define WIDE_MAX_BYTES ((uint64_t)2 << 30)

typedef struct embed_job {
    const loam_encoder *m;
    const encoder_lane *lane;
    const loam_sequences *s;
    const size_t *members; /* of the group */
} embed_job;

/* Rows begin .. end of x: the sums of three table rows. */
static void embed_rows(void *ctx, size_t begin, size_t end, unsigned worker) {
    const embed_job *j = ctx;
    const loam_encoder *m = j->m;
    const size_t dim = m->info.dim, *starts = j->lane->starts;
    loam_compute alone = {0};
    (void)worker;

    size_t i = 0;
    while (starts[i + 1] <= begin) i++; /* the sequence that holds row `begin` */
    for (size_t row = begin; row < end; row++) {
        while (starts[i + 1] <= row) i++;
        const size_t at = row - starts[i], from = j->s->starts[j->members[i]] + at;
        const size_t type = j->s->types && !m->ignore_types ? (size_t)j->s->types[from] : 0;
        float *x = j->lane->x + row * dim,
              *other = j->lane->context + row * dim; /* free until the first layer */
        loam_weight_row(&m->word, (size_t)j->s->ids[from], x);
        loam_weight_row(&m->type, type, other);
        for (size_t c = 0; c < dim; c++) x[c] += other[c];
        loam_weight_row(&m->position, at + m->position_offset, other);
        for (size_t c = 0; c < dim; c++) x[c] += other[c];
        loam_layer_norm(&alone, x, m->norm.weight, m->norm.bias, m->info.eps, 1, dim, x);
    }
}

/* Keep only the first row of every sequence; row s never stands before row starts[s]. */
static void keep_first_rows(float *x, const size_t *starts, size_t n, size_t dim) {
    for (size_t s = 0; s < n; s++) {
        if (starts[s] != s) memcpy(x + s * dim, x + starts[s] * dim, dim * sizeof *x);
    }
}

static void run_layer(const loam_encoder *m, loam_compute *c, encoder_lane *a,
                      const encoder_layer *l, size_t n_seq, int first_only) {
    const size_t dim = m->info.dim, head_dim = dim / m->info.n_heads, sum = loam_stack_stride(dim);
    const loam_activation act = (loam_activation)m->info.activation;
    size_t rows = a->starts[n_seq];

    loam_stack_linear(c, &l->qkv, NULL, a->x, dim, rows, &a->wide, a->qkv);
    loam_attention_packed(c, a->qkv, a->qkv + dim, a->qkv + 2 * dim, loam_stack_stride(3 * dim),
                          a->starts, n_seq, m->info.n_heads, head_dim,
                          1.0f / sqrtf((float)head_dim), a->context);
    if (first_only) {
        keep_first_rows(a->context, a->starts, n_seq, dim);
        keep_first_rows(a->x, a->starts, n_seq, dim);
        rows = n_seq;
    }
    loam_stack_linear(c, &l->out, NULL, a->context, dim, rows, &a->wide, a->sum);
    loam_add_norm(c, a->sum, sum, l->norm1.weight, l->norm1.bias, m->info.eps, rows, dim, a->x);
    loam_stack_linear(c, &l->in, &act, a->x, dim, rows, &a->wide, a->mid);
    loam_stack_linear(c, &l->back, NULL, a->mid, loam_stack_stride(m->info.inter), rows, &a->wide,
                      a->sum);
    loam_add_norm(c, a->sum, sum, l->norm2.weight, l->norm2.bias, m->info.eps, rows, dim, a->x);
}

/* x * 0 is 0 unless x is infinite or NaN. */
static int all_finite(const float *x, size_t n) {
    float sum = 0.0f;
    for (size_t i = 0; i < n; i++) sum += x[i] * 0.0f;
    return sum == 0.0f;
}

/* ---- groups ---- */

typedef struct run_job {
    loam_encoder *m;
    const loam_sequences *s;
    loam_rows rows;
    loam_encoder_each each;
    void *ctx;
    const loam_cancel *cancel;
    pthread_mutex_t one; /* the caller's function meets one worker at a time */
    atomic_int failed;   /* a loam_status */
} run_job;

static size_t length_of(const loam_sequences *s, size_t i) {
    return s->starts[i + 1] - s->starts[i];
}

static void report(run_job *j, const encoder_lane *a, const size_t *members, size_t n_seq) {
    const size_t dim = j->m->info.dim;
    pthread_mutex_lock(&j->one);
    for (size_t i = 0; i < n_seq; i++) {
        if (j->rows == LOAM_ROWS_FIRST)
            j->each(j->ctx, members[i], a->x + i * dim, 1);
        else
            j->each(j->ctx, members[i], a->x + a->starts[i] * dim, a->starts[i + 1] - a->starts[i]);
    }
    pthread_mutex_unlock(&j->one);
}

static void run_group(run_job *j, loam_compute *c, encoder_lane *a, const encoder_group *g) {
    loam_encoder *m = j->m;
    const size_t *members = m->order + g->first;
    if (j->cancel && j->cancel->requested) atomic_store(&j->failed, LOAM_ERR_CANCELLED);
    if (atomic_load(&j->failed)) return;

    a->starts[0] = 0;
    for (size_t i = 0; i < g->n; i++) a->starts[i + 1] = a->starts[i] + length_of(j->s, members[i]);
    const size_t n_tokens = a->starts[g->n];
    embed_job embed = {m, a, j->s, members};
    if (c->pool)
        loam_pool_for(c->pool, n_tokens, EMBED_GRAIN, embed_rows, &embed);
    else
        embed_rows(&embed, 0, n_tokens, 0);
    for (size_t i = 0; i < m->info.n_layers; i++)
        run_layer(m, c, a, &m->layers[i], g->n,
                  j->rows == LOAM_ROWS_FIRST && i + 1 == m->info.n_layers);
    if (all_finite(a->x, (j->rows == LOAM_ROWS_FIRST ? g->n : n_tokens) * m->info.dim))
        report(j, a, members, g->n);
    else
        atomic_store(&j->failed, LOAM_ERR_FORMAT);
}

static void run_groups(void *ctx, size_t begin, size_t end, unsigned worker) {
    run_job *j = ctx;
    encoder_lane *a = &j->m->lanes[worker];
    for (size_t i = begin; i < end; i++) run_group(j, &a->compute, a, &j->m->groups[i]);
}

/* Everything that could be out of range, before anything is computed. */
static loam_status check_sequences(const loam_encoder *m, const loam_sequences *s, loam_err *err) {
    for (size_t i = 0; i < s->n; i++) {
        const size_t n = s->starts[i + 1] - s->starts[i];
        LOAM_ASSERT(s->starts[i + 1] > s->starts[i]);
        if (n > m->info.n_positions)
            return loam_fail(err, LOAM_ERR_LIMIT,
                             "a text of %zu tokens, the encoder has %zu positions", n,
                             m->info.n_positions);
    }
    for (size_t i = s->starts[0]; i < s->starts[s->n]; i++) {
        if (s->ids[i] < 0 || (size_t)s->ids[i] >= m->info.vocab)
            return loam_fail(
                err, LOAM_ERR_FORMAT,
                "token id %d: the embedding table has %zu rows (tokenizer of another model?)",
                (int)s->ids[i], m->info.vocab);
        if (s->types && !m->ignore_types &&
            (s->types[i] < 0 || (size_t)s->types[i] >= m->info.n_types))
            return loam_fail(err, LOAM_ERR_FORMAT, "segment id %d: the type table has %zu rows",
                             (int)s->types[i], m->info.n_types);
    }
    return LOAM_OK;
}

/* Indices by length, longest first, equal lengths in order: counting sort, since a
 * length is at most n_positions. */
static loam_status sort_by_length(loam_encoder *m, const loam_sequences *s, loam_err *err) {
    size_t longest = 0;
    for (size_t i = 0; i < s->n; i++)
        if (length_of(s, i) > longest) longest = length_of(s, i);
    size_t *count = loam_alloc(longest + 2, sizeof *count);
    if (!count || !loam_grow((void **)&m->order, &m->cap_order, s->n, sizeof *m->order)) {
        free(count);
        return loam_fail(err, LOAM_ERR_MEMORY, "order of %zu texts", s->n);
    }
    for (size_t i = 0; i < s->n; i++) count[longest - length_of(s, i) + 1]++;
    for (size_t i = 1; i <= longest + 1; i++) count[i] += count[i - 1];
    for (size_t i = 0; i < s->n; i++) m->order[count[longest - length_of(s, i)]++] = i;
    free(count);
    return LOAM_OK;
}

static size_t n_workers(const loam_encoder *m) {
    return m->compute.pool ? loam_pool_size(m->compute.pool) : 1;
}

/* Cut the sorted sequences into groups of at most `tokens`, or of one. */
static loam_status cut_groups(loam_encoder *m, const loam_sequences *s, size_t tokens,
                              loam_err *err) {
    m->n_groups = 0;
    for (size_t i = 0, room = 0; i < s->n; i++) {
        const size_t n = length_of(s, m->order[i]);
        if (i == 0 || n > room) {
            if (!loam_grow((void **)&m->groups, &m->cap_groups, m->n_groups + 1, sizeof *m->groups))
                return loam_fail(err, LOAM_ERR_MEMORY, "groups of %zu texts", s->n);
            m->groups[m->n_groups++] = (encoder_group){.first = i};
            room = tokens > n ? tokens : n;
        }
        m->groups[m->n_groups - 1].n++;
        room -= n;
    }
    return LOAM_OK;
}

static void free_lane(encoder_lane *a) {
    float **const all[] = {&a->x, &a->qkv, &a->context, &a->mid, &a->sum, &a->wide.d};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        free(*all[i]);
        *all[i] = NULL;
    }
    free(a->wide.q);
    a->wide.q = NULL;
    a->room = 0;
}

/* Activations for n_tokens. */
static loam_status grow_lane(const loam_encoder *m, encoder_lane *a, size_t n_tokens,
                             loam_err *err) {
    const size_t dim = m->info.dim, inter = loam_stack_stride(m->info.inter);
    const size_t widest = inter > dim ? inter : dim;
    size_t ignored = 0;
    if (n_tokens <= a->room) return LOAM_OK;
    free_lane(a);
    /* the largest of them: no other product overflows */
    if (!loam_mul(n_tokens, 4 * (loam_stack_stride(3 * dim) + loam_wide_stride(widest)), &ignored))
        return loam_fail(err, LOAM_ERR_LIMIT, "a batch of %zu tokens", n_tokens);
    a->x = loam_alloc(n_tokens * dim, sizeof *a->x);
    a->context = loam_alloc(n_tokens * dim, sizeof *a->context);
    a->qkv = loam_alloc(n_tokens * loam_stack_stride(3 * dim), sizeof *a->qkv);
    a->sum = loam_alloc(n_tokens * loam_stack_stride(dim), sizeof *a->sum);
    a->mid = loam_alloc(n_tokens * inter, sizeof *a->mid);
    a->wide.q = loam_alloc(n_tokens * loam_wide_stride(widest), sizeof *a->wide.q);
    a->wide.d = loam_alloc(n_tokens, sizeof *a->wide.d);
    if (!a->x || !a->context || !a->qkv || !a->sum || !a->mid || !a->wide.q || !a->wide.d) {
        free_lane(a);
        return loam_fail(err, LOAM_ERR_MEMORY, "activations of %zu tokens", n_tokens);
    }
    a->room = n_tokens;
    return LOAM_OK;
}

/* n lanes that hold every group. */
static loam_status reserve_lanes(loam_encoder *m, const loam_sequences *s, size_t n,
                                 loam_err *err) {
    const size_t widest = m->info.inter > m->info.dim ? m->info.inter : m->info.dim;
    size_t most_tokens = 0, most_members = 0;
    for (size_t g = 0; g < m->n_groups; g++) {
        size_t tokens = 0;
        for (size_t i = 0; i < m->groups[g].n; i++)
            tokens += length_of(s, m->order[m->groups[g].first + i]);
        if (tokens > most_tokens) most_tokens = tokens;
        if (m->groups[g].n > most_members) most_members = m->groups[g].n;
    }
    if (!m->lanes) {
        m->lanes = loam_alloc(n_workers(m), sizeof *m->lanes);
        if (!m->lanes) return loam_fail(err, LOAM_ERR_MEMORY, "encoder");
        m->n_lanes = n_workers(m);
        for (size_t i = 0; i < m->n_lanes; i++)
            m->lanes[i].compute.precision = m->compute.precision;
    }
    loam_status st = loam_compute_reserve(&m->compute, 1, widest, err);
    for (size_t i = 0; i < n && !st; i++) {
        encoder_lane *a = &m->lanes[i];
        st = grow_lane(m, a, most_tokens, err);
        if (!st && n > 1) st = loam_compute_reserve(&a->compute, 1, widest, err);
        if (!st &&
            !loam_grow((void **)&a->starts, &a->cap_starts, most_members + 1, sizeof *a->starts))
            st = loam_fail(err, LOAM_ERR_MEMORY, "group of %zu texts", most_members);
    }
    return st;
}

/* ---- panels ---- */

static loam_stack *stack_at(encoder_layer *l, size_t i) {
    loam_stack *const all[] = {&l->qkv, &l->out, &l->in, &l->back};
    return all[i];
}
enum { N_STACKS = 4 };

/* Copies of the weights in panels: always for fast, for exact from some use on, and only when
 * they are not too large. */
static loam_status make_panels(loam_encoder *m, size_t n_tokens, loam_err *err) {
    const int fast = m->compute.precision == LOAM_FAST;
    uint64_t bytes = 0;
    if (m->packed) return LOAM_OK;
    if (m->n_seen < PACK_TOKENS) m->n_seen += n_tokens;
    if (!fast && m->n_seen < PACK_TOKENS) return LOAM_OK;
    for (size_t i = 0; i < m->info.n_layers; i++)
        for (size_t k = 0; k < N_STACKS; k++)
            bytes += loam_stack_copy_bytes(stack_at(&m->layers[i], k), m->compute.precision);
    if (bytes > (fast ? WIDE_MAX_BYTES : PANELS_MAX_BYTES)) return LOAM_OK;
    for (size_t i = 0; i < m->info.n_layers; i++) {
        for (size_t k = 0; k < N_STACKS; k++) {
            const loam_status st = loam_stack_pack(stack_at(&m->layers[i], k), m->compute.pool,
                                                   m->compute.precision, err);
            if (st) return st;
        }
    }
    m->packed = 1;
    return LOAM_OK;
}

/* ---- */

/* Groups for the workers one by one if there are enough of them, else for all together. */
static loam_status plan(loam_encoder *m, const loam_sequences *s, int *apart, loam_err *err) {
    const size_t workers = n_workers(m);
    size_t tokens = (s->starts[s->n] - s->starts[0]) / (4 * workers);
    if (tokens < GROUP_TOKENS_MIN) tokens = GROUP_TOKENS_MIN;
    if (tokens > GROUP_TOKENS) tokens = GROUP_TOKENS;
    *apart = 0;
    if (workers > 1 && m->packed) {
        const loam_status st = cut_groups(m, s, tokens, err);
        *apart = m->n_groups >= 2 * workers;
        if (st || *apart) return st;
    }
    return cut_groups(m, s, m->packed ? GROUP_TOKENS : TOGETHER_TOKENS, err);
}

loam_status loam_encoder_run(loam_encoder *m, const loam_sequences *s, loam_rows rows,
                             loam_encoder_each each, void *ctx, const loam_cancel *cancel,
                             loam_err *err) {
    int apart = 0;
    if (s->n == 0) return LOAM_OK;
    loam_status st = check_sequences(m, s, err);
    if (!st) st = sort_by_length(m, s, err);
    if (!st) st = make_panels(m, s->starts[s->n] - s->starts[0], err);
    if (!st) st = plan(m, s, &apart, err);
    if (!st) st = reserve_lanes(m, s, apart ? n_workers(m) : 1, err);
    if (st) return st;

    run_job j = {.m = m, .s = s, .rows = rows, .each = each, .ctx = ctx, .cancel = cancel};
    pthread_mutex_init(&j.one, NULL);
    atomic_init(&j.failed, LOAM_OK);
    if (apart)
        loam_pool_for(m->compute.pool, m->n_groups, 1, run_groups, &j);
    else
        for (size_t i = 0; i < m->n_groups; i++)
            run_group(&j, &m->compute, &m->lanes[0], &m->groups[i]);
    pthread_mutex_destroy(&j.one);
    st = (loam_status)atomic_load(&j.failed);
    if (st == LOAM_ERR_CANCELLED) return loam_fail(err, st, "stopped");
    if (st) return loam_fail(err, st, "the encoder gives NaN or infinity: its weights are damaged");
    return LOAM_OK;
}

/* ---- classifier ---- */

typedef struct score_job {
    float *cls; /* [n, dim] */
    size_t dim;
} score_job;

static void collect_first(void *ctx, size_t sequence, const float *rows, size_t n_rows) {
    score_job *j = ctx;
    (void)n_rows;
    memcpy(j->cls + sequence * j->dim, rows, j->dim * sizeof *rows);
}

loam_status loam_encoder_score(loam_encoder *m, const loam_sequences *s, float *logits,
                               const loam_cancel *cancel, loam_err *err) {
    const size_t dim = m->info.dim;
    size_t n = 0;
    LOAM_ASSERT(m->info.has_head);
    if (s->n == 0) return LOAM_OK;
    if (!loam_mul(s->n, 2 * dim, &n)) return loam_fail(err, LOAM_ERR_LIMIT, "%zu texts", s->n);
    float *cls = loam_alloc(n, sizeof *cls); /* [n, dim] and the dense layer's output */
    if (!cls) return loam_fail(err, LOAM_ERR_MEMORY, "scores of %zu texts", s->n);

    score_job job = {cls, dim};
    loam_status st = loam_encoder_run(m, s, LOAM_ROWS_FIRST, collect_first, &job, cancel, err);
    if (!st)
        st =
            loam_compute_reserve(&m->compute, s->n, m->info.inter > dim ? m->info.inter : dim, err);
    if (!st) {
        const loam_weight *dense = &m->head_dense, *last = &m->head_out;
        float *pooled = cls + s->n * dim;
        loam_linear(&m->compute, &dense, 1, cls, s->n, &pooled);
        loam_activate(&m->compute, LOAM_TANH, pooled, s->n * dim);
        loam_linear(&m->compute, &last, 1, pooled, s->n, &logits);
    }
    free(cls);
    return st;
}

/* ---- */

const loam_encoder_info *loam_encoder_get_info(const loam_encoder *m) {
    return &m->info;
}
const loam_arrays *loam_encoder_arrays(const loam_encoder *m) {
    return loam_weights_arrays(m->weights);
}

void loam_encoder_close(loam_encoder *m) {
    if (!m) return;
    for (size_t i = 0; i < m->n_lanes; i++) {
        free_lane(&m->lanes[i]);
        free(m->lanes[i].starts);
        loam_compute_deinit(&m->lanes[i].compute);
    }
    for (size_t i = 0; m->layers && i < m->info.n_layers; i++)
        for (size_t k = 0; k < N_STACKS; k++) loam_stack_deinit(stack_at(&m->layers[i], k));
    free(m->lanes);
    free(m->order);
    free(m->groups);
    loam_compute_deinit(&m->compute);
    free(m->layers);
    loam_weights_close(m->weights);
    loam_config_close(&m->config);
    free(m);
}
