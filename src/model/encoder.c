/* encoder.c - the forward pass of BERT-type encoders over packed batches.
 *
 * Sequences are sorted by length, longest first, and packed one after another up to
 * BATCH_TOKENS: matrices are read once a batch, attention runs inside each sequence.
 *
 *     ids -> word + type + position -> norm -> x
 *     layer:  q, k, v = x;  attention;  x = norm(x + o);  x = norm(x + down(act(up(x))))
 *
 * The sum of the embeddings keeps the order of the original, word + type + position.
 */
#include "model/encoder.h"
#include "model/encoder_state.h"

#include <math.h>

enum {
    /* enough rows to make the matrix products worth it, few enough that the f32
     * activations of MiniLM (14 KB a token) stay in the last-level cache */
    BATCH_TOKENS = 512,
    EMBED_GRAIN = 16
};

typedef struct embed_job {
    const loam_encoder *m;
    const loam_sequences *s;
    const size_t *members, *starts; /* of the packed batch */
    size_t n_members;
} embed_job;

/* Rows begin .. end of x: the sums of three table rows. */
static void embed_rows(void *ctx, size_t begin, size_t end, unsigned worker) {
    const embed_job *j = ctx;
    const loam_encoder *m = j->m;
    const size_t dim = m->info.dim;
    (void)worker;

    size_t i = 0;
    while (j->starts[i + 1] <= begin) i++; /* the sequence that holds row `begin` */
    for (size_t row = begin; row < end; row++) {
        while (j->starts[i + 1] <= row) i++;
        const size_t at = row - j->starts[i], from = j->s->starts[j->members[i]] + at;
        const size_t type = j->s->types && !m->ignore_types ? (size_t)j->s->types[from] : 0;
        float *x = m->x + row * dim,
              *other = m->q + row * dim; /* q is free until the first layer */
        loam_weight_row(&m->word, (size_t)j->s->ids[from], x);
        loam_weight_row(&m->type, type, other);
        for (size_t c = 0; c < dim; c++) x[c] += other[c];
        loam_weight_row(&m->position, at + m->position_offset, other);
        for (size_t c = 0; c < dim; c++) x[c] += other[c];
    }
}

/* Keep only the first row of every sequence; row s never stands before row starts[s]. */
static void keep_first_rows(float *x, const size_t *starts, size_t n, size_t dim) {
    for (size_t s = 0; s < n; s++) {
        if (starts[s] != s) memcpy(x + s * dim, x + starts[s] * dim, dim * sizeof *x);
    }
}

static void run_layer(loam_encoder *m, const encoder_layer *l, size_t n_seq, int first_only) {
    const size_t dim = m->info.dim, head_dim = dim / m->info.n_heads;
    loam_compute *c = &m->compute;
    size_t rows = m->starts[n_seq];

    const loam_weight *qkv[] = {&l->q, &l->k, &l->v};
    float *const y[] = {m->q, m->k, m->v};
    loam_linear(c, qkv, 3, m->x, rows, y);
    loam_attention_packed(c, m->q, m->k, m->v, dim, m->starts, n_seq, m->info.n_heads, head_dim,
                          1.0f / sqrtf((float)head_dim), m->context);
    if (first_only) {
        keep_first_rows(m->context, m->starts, n_seq, dim);
        keep_first_rows(m->x, m->starts, n_seq, dim);
        rows = n_seq;
    }

    const loam_weight *o = &l->o, *up = &l->up, *down = &l->down;
    float *sum = m->q; /* q is read; its room takes the sublayer's output */
    loam_linear(c, &o, 1, m->context, rows, &sum);
    loam_residual(c, m->x, rows * dim, sum);
    loam_layer_norm(c, sum, l->norm1.weight, l->norm1.bias, m->info.eps, rows, dim, m->x);

    loam_linear(c, &up, 1, m->x, rows, &m->mid);
    loam_activate(c, (loam_activation)m->info.activation, m->mid, rows * m->info.inter);
    loam_linear(c, &down, 1, m->mid, rows, &sum);
    loam_residual(c, m->x, rows * dim, sum);
    loam_layer_norm(c, sum, l->norm2.weight, l->norm2.bias, m->info.eps, rows, dim, m->x);
}

/* x * 0 is 0 unless x is infinite or NaN. */
static int all_finite(const float *x, size_t n) {
    float sum = 0.0f;
    for (size_t i = 0; i < n; i++) sum += x[i] * 0.0f;
    return sum == 0.0f;
}

/* One packed batch: afterwards x holds its rows (all, or the first of each sequence). */
static void run_batch(loam_encoder *m, const loam_sequences *s, const size_t *members, size_t n_seq,
                      loam_rows rows) {
    const size_t n_tokens = m->starts[n_seq];
    embed_job job = {m, s, members, m->starts, n_seq};
    loam_pool_for(m->compute.pool, n_tokens, EMBED_GRAIN, embed_rows, &job);
    loam_layer_norm(&m->compute, m->x, m->norm.weight, m->norm.bias, m->info.eps, n_tokens,
                    m->info.dim, m->x);
    for (size_t i = 0; i < m->info.n_layers; i++)
        run_layer(m, &m->layers[i], n_seq, rows == LOAM_ROWS_FIRST && i + 1 == m->info.n_layers);
}

static void free_scratch(loam_encoder *m) {
    float **const all[] = {&m->x, &m->q, &m->k, &m->v, &m->context, &m->mid};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        free(*all[i]);
        *all[i] = NULL;
    }
    m->room = 0;
}

static loam_status reserve_scratch(loam_encoder *m, size_t n_tokens, loam_err *err) {
    if (n_tokens <= m->room) return LOAM_OK;
    free_scratch(m);
    size_t n = 0, n_mid = 0;
    if (!loam_mul(n_tokens, m->info.dim, &n) || !loam_mul(n_tokens, m->info.inter, &n_mid))
        return loam_fail(err, LOAM_ERR_LIMIT, "a batch of %zu tokens", n_tokens);
    m->x = loam_alloc(n, sizeof *m->x);
    m->q = loam_alloc(n, sizeof *m->q);
    m->k = loam_alloc(n, sizeof *m->k);
    m->v = loam_alloc(n, sizeof *m->v);
    m->context = loam_alloc(n, sizeof *m->context);
    m->mid = loam_alloc(n_mid, sizeof *m->mid);
    if (!m->x || !m->q || !m->k || !m->v || !m->context || !m->mid) {
        free_scratch(m);
        return loam_fail(err, LOAM_ERR_MEMORY, "activations of %zu tokens", n_tokens);
    }
    const size_t widest = m->info.inter > m->info.dim ? m->info.inter : m->info.dim;
    loam_status st = loam_compute_reserve(&m->compute, n_tokens, widest, err);
    if (!st) m->room = n_tokens;
    return st;
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
    for (size_t i = 0; i < s->starts[s->n]; i++) {
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

static size_t length_of(const loam_sequences *s, size_t i) {
    return s->starts[i + 1] - s->starts[i];
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

/* How many sequences from `first` on make the next batch; fills m->starts. */
static loam_status pack_batch(loam_encoder *m, const loam_sequences *s, size_t first, size_t *n,
                              loam_err *err) {
    size_t tokens = 0, k = 0;
    for (; first + k < s->n; k++) {
        const size_t length = length_of(s, m->order[first + k]);
        if (k > 0 && tokens + length > BATCH_TOKENS) break;
        if (!loam_grow((void **)&m->starts, &m->cap_starts, k + 2, sizeof *m->starts))
            return loam_fail(err, LOAM_ERR_MEMORY, "batch of %zu texts", k);
        m->starts[k] = tokens;
        tokens += length;
        m->starts[k + 1] = tokens;
    }
    *n = k;
    return reserve_scratch(m, tokens, err);
}

loam_status loam_encoder_run(loam_encoder *m, const loam_sequences *s, loam_rows rows,
                             loam_encoder_each each, void *ctx, const loam_cancel *cancel,
                             loam_err *err) {
    if (s->n == 0) return LOAM_OK;
    loam_status st = check_sequences(m, s, err);
    if (!st) st = sort_by_length(m, s, err);
    if (st) return st;
    for (size_t first = 0, n = 0; first < s->n; first += n) {
        if (cancel && cancel->requested) return loam_fail(err, LOAM_ERR_CANCELLED, "stopped");
        st = pack_batch(m, s, first, &n, err);
        if (st) return st;
        const size_t *members = m->order + first;
        run_batch(m, s, members, n, rows);
        if (!all_finite(m->x, (rows == LOAM_ROWS_FIRST ? n : m->starts[n]) * m->info.dim))
            return loam_fail(err, LOAM_ERR_FORMAT,
                             "the encoder gives NaN or infinity: its weights are damaged");
        for (size_t i = 0; i < n; i++) {
            if (rows == LOAM_ROWS_FIRST)
                each(ctx, members[i], m->x + i * m->info.dim, 1);
            else
                each(ctx, members[i], m->x + m->starts[i] * m->info.dim,
                     m->starts[i + 1] - m->starts[i]);
        }
    }
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
        st = loam_compute_reserve(&m->compute, s->n > m->room ? s->n : m->room,
                                  m->info.inter > dim ? m->info.inter : dim, err);
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
    free_scratch(m);
    free(m->order);
    free(m->starts);
    loam_compute_deinit(&m->compute);
    free(m->layers);
    loam_weights_close(m->weights);
    loam_config_close(&m->config);
    free(m);
}
