/* test_encoder.c - the encoder against a plain double-precision forward pass, its
 * invariances (packing, threads, names, formats), the golden classifier and bad folders. */
#include "kernels/quantize.h"
#include "model/encoder.h"
#include "test.h"

#include <loam/json.h>
#include <unistd.h>

enum { VOCAB = 40, DIM = 64, HEADS = 4, INTER = 96, LAYERS = 2, POSITIONS = 24, TYPES = 2 };
enum { N_LAYER_TENSORS = 16, N_TENSORS = 5 + LAYERS * N_LAYER_TENSORS };

static char folder[256]; /* scratch folder of this run */
static loam_pool *pool;

/* ---- a random model ---- */

typedef struct model {
    float *word, *position, *type, *norm_w, *norm_b;
    struct {
        float *q, *qb, *k, *kb, *v, *vb, *o, *ob, *n1w, *n1b, *up, *upb, *down, *downb, *n2w, *n2b;
    } layer[LAYERS];
} model;

static loam_rng rng;

static float *random_values(size_t n, float around, float spread) {
    float *x = malloc(n * sizeof *x);
    /* values of bf16 precision: every format below holds them exactly */
    for (size_t i = 0; i < n; i++)
        x[i] = loam_bf16_to_f32(
            loam_f32_to_bf16(around + spread * (float)(2.0 * loam_rng_uniform(&rng) - 1.0)));
    return x;
}

static void make_model(model *m) {
    loam_rng_seed(&rng, 11);
    m->word = random_values(VOCAB * DIM, 0, 1);
    m->position = random_values(POSITIONS * DIM, 0, 0.3f);
    m->type = random_values(TYPES * DIM, 0, 0.3f);
    m->norm_w = random_values(DIM, 1, 0.2f);
    m->norm_b = random_values(DIM, 0, 0.2f);
    for (int i = 0; i < LAYERS; i++) {
        float **const square[] = {&m->layer[i].q, &m->layer[i].k, &m->layer[i].v, &m->layer[i].o};
        float **const vectors[] = {&m->layer[i].qb,  &m->layer[i].kb,  &m->layer[i].vb,
                                   &m->layer[i].ob,  &m->layer[i].n1b, &m->layer[i].downb,
                                   &m->layer[i].n2b, &m->layer[i].n1w, &m->layer[i].n2w};
        for (int k = 0; k < 4; k++) *square[k] = random_values(DIM * DIM, 0, 0.3f);
        for (int k = 0; k < 9; k++) *vectors[k] = random_values(DIM, k < 7 ? 0 : 1, 0.2f);
        m->layer[i].up = random_values(INTER * DIM, 0, 0.3f);
        m->layer[i].upb = random_values(INTER, 0, 0.3f);
        m->layer[i].down = random_values(DIM * INTER, 0, 0.3f);
    }
}

static void free_model(model *m) {
    float **all = (float **)(void *)m;
    for (size_t i = 0; i < sizeof *m / sizeof *all; i++) free(all[i]);
}

/* ---- writing it as a folder ---- */

typedef struct writing {
    const char *prefix, *norm_suffix; /* "bert.", "gamma" */
    int lab;                          /* the lab's npz names, in an npz */
    loam_dtype dtype;                 /* of matrices */
    const char *drop;                 /* leave this tensor out */
    int bits;                         /* matrices as MLX affine, groups of 32, f32 scales */
    float poison;                     /* first number of the last matrix */
} writing;

typedef struct tensors {
    loam_tensor items[3 * N_TENSORS]; /* affine: three a matrix */
    char names[3 * N_TENSORS][128];
    void *data[3 * N_TENSORS];
    size_t n;
} tensors;

static void put(tensors *t, const char *name, loam_dtype dtype, size_t rows, size_t cols,
                void *data) {
    const size_t n = rows * (cols ? cols : 1);
    snprintf(t->names[t->n], sizeof t->names[t->n], "%s", name);
    t->data[t->n] = data;
    t->items[t->n] = (loam_tensor){.name = t->names[t->n],
                                   .dtype = dtype,
                                   .rank = cols ? 2 : 1,
                                   .shape = {rows, cols},
                                   .data = data,
                                   .bytes = n * loam_dtype_bytes(dtype)};
    t->n++;
}

/* "x.weight" becomes x.weight, x.scales, x.biases; `x` itself what these stand for. */
static void put_affine(tensors *t, const char *name, int bits, float *x, size_t rows, size_t cols) {
    const size_t stem = strlen(name) - strlen("weight"), groups = cols / 32;
    const size_t row_bytes = loam_quant_row_bytes(cols, bits);
    char *packed = malloc(rows * row_bytes);
    float *scales = malloc(rows * groups * 4), *biases = malloc(rows * groups * 4);
    char leaf[128];
    for (size_t r = 0; r < rows; r++) {
        float *row = x + r * cols;
        loam_quantize_affine_row(row, cols, bits, 32, LOAM_FLOAT_F32, packed + r * row_bytes,
                                 scales + r * groups, biases + r * groups);
        loam_dequantize_affine_row(packed + r * row_bytes, scales + r * groups, biases + r * groups,
                                   cols, bits, 32, LOAM_FLOAT_F32, row);
    }
    put(t, name, LOAM_U32, rows, row_bytes / 4, packed);
    snprintf(leaf, sizeof leaf, "%.*sscales", (int)stem, name);
    put(t, leaf, LOAM_F32, rows, groups, scales);
    snprintf(leaf, sizeof leaf, "%.*sbiases", (int)stem, name);
    put(t, leaf, LOAM_F32, rows, groups, biases);
}

static void add(tensors *t, const writing *w, const char *name, float *x, size_t rows,
                size_t cols) {
    char full[128];
    if (w->drop && strcmp(w->drop, name) == 0) return;
    snprintf(full, sizeof full, "%s%s", w->prefix, name);
    if (cols && w->bits) {
        put_affine(t, full, w->bits, x, rows, cols);
        return;
    }
    const size_t n = rows * (cols ? cols : 1);
    const loam_dtype dtype = cols ? w->dtype : LOAM_F32;
    char *data = malloc(4 * n);
    for (size_t i = 0; i < n; i++) {
        const uint16_t h = dtype == LOAM_F16 ? loam_f32_to_f16(x[i]) : loam_f32_to_bf16(x[i]);
        if (dtype == LOAM_F32)
            memcpy(data + 4 * i, &x[i], 4);
        else
            memcpy(data + 2 * i, &h, 2);
    }
    put(t, full, dtype, rows, cols, data);
}

static void add_layer(tensors *t, const writing *w, const model *m, int i) {
    static const char *const NAMES[2][8] = {
        {"attention.self.query", "attention.self.key", "attention.self.value",
         "attention.output.dense", "attention.output.LayerNorm", "intermediate.dense",
         "output.dense", "output.LayerNorm"},
        {"attention.query_proj", "attention.key_proj", "attention.value_proj", "attention.out_proj",
         "ln1", "linear1", "linear2", "ln2"}};
    const struct {
        float *x;
        int name;
        size_t rows, cols;
        const char *leaf;
    } parts[] = {
        {m->layer[i].q, 0, DIM, DIM, "weight"},      {m->layer[i].qb, 0, DIM, 0, "bias"},
        {m->layer[i].k, 1, DIM, DIM, "weight"},      {m->layer[i].kb, 1, DIM, 0, "bias"},
        {m->layer[i].v, 2, DIM, DIM, "weight"},      {m->layer[i].vb, 2, DIM, 0, "bias"},
        {m->layer[i].o, 3, DIM, DIM, "weight"},      {m->layer[i].ob, 3, DIM, 0, "bias"},
        {m->layer[i].n1w, 4, DIM, 0, "weight"},      {m->layer[i].n1b, 4, DIM, 0, "bias"},
        {m->layer[i].up, 5, INTER, DIM, "weight"},   {m->layer[i].upb, 5, INTER, 0, "bias"},
        {m->layer[i].down, 6, DIM, INTER, "weight"}, {m->layer[i].downb, 6, DIM, 0, "bias"},
        {m->layer[i].n2w, 7, DIM, 0, "weight"},      {m->layer[i].n2b, 7, DIM, 0, "bias"}};
    for (int k = 0; k < N_LAYER_TENSORS; k++) {
        const int norm = parts[k].name == 4 || parts[k].name == 7;
        const char *leaf = parts[k].leaf;
        if (norm && w->norm_suffix) leaf = leaf[0] == 'w' ? "gamma" : "beta";
        char name[128];
        snprintf(name, sizeof name, "encoder.layer%s.%d.%s.%s", w->lab ? "s" : "", i,
                 NAMES[w->lab][parts[k].name], leaf);
        add(t, w, name, parts[k].x, parts[k].rows, parts[k].cols);
    }
}

static void write_text(const char *file, const char *text) {
    char path[320];
    snprintf(path, sizeof path, "%s/%s", folder, file);
    FILE *f = fopen(path, "w");
    fputs(text, f);
    fclose(f);
}

static void clear_folder(void) {
    static const char *const FILES[] = {"config.json", "model.safetensors", "model.npz"};
    char path[320];
    for (size_t i = 0; i < sizeof FILES / sizeof *FILES; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, FILES[i]);
        unlink(path);
    }
}

static const char CONFIG[] =
    "{\"model_type\": \"bert\", \"hidden_size\": 64, \"num_hidden_layers\": 2, "
    "\"num_attention_heads\": 4, \"intermediate_size\": 96, \"vocab_size\": 40, "
    "\"max_position_embeddings\": 24, \"type_vocab_size\": 2, "
    "\"layer_norm_eps\": 1e-12, \"hidden_act\": \"gelu\"}";
static const char LAB_CONFIG[] =
    "{\"dim\": 64, \"num_hidden_layers\": 2, \"num_attention_heads\": 4, "
    "\"intermediate_size\": 96, \"vocab_size\": 40, "
    "\"max_position_embeddings\": 24}";

static void write_model(const model *m, const writing *w) {
    static tensors t;
    const char *norm = w->lab ? "embeddings.norm" : "embeddings.LayerNorm";
    char name[64], path[320];
    clear_folder();
    t.n = 0;
    add(&t, w, "embeddings.word_embeddings.weight", m->word, VOCAB, DIM);
    add(&t, w, "embeddings.position_embeddings.weight", m->position, POSITIONS, DIM);
    add(&t, w, "embeddings.token_type_embeddings.weight", m->type, TYPES, DIM);
    snprintf(name, sizeof name, "%s.%s", norm, w->norm_suffix ? "gamma" : "weight");
    add(&t, w, name, m->norm_w, DIM, 0);
    snprintf(name, sizeof name, "%s.%s", norm, w->norm_suffix ? "beta" : "bias");
    add(&t, w, name, m->norm_b, DIM, 0);
    for (int i = 0; i < LAYERS; i++) add_layer(&t, w, m, i);
    if (w->poison != 0.0f) memcpy(t.data[t.n - 4], &w->poison, 4); /* down of the last layer */

    loam_err err = {0};
    snprintf(path, sizeof path, "%s/model.%s", folder, w->lab ? "npz" : "safetensors");
    const loam_status st = w->lab ? loam_npz_write(path, t.items, t.n, &err)
                                  : loam_safetensors_write(path, t.items, t.n, NULL, &err);
    CHECK(!st, "%s", err.msg);
    write_text("config.json", w->lab ? LAB_CONFIG : CONFIG);
    for (size_t i = 0; i < t.n; i++) free(t.data[i]);
}

/* ---- the meaning, in double ---- */

static void product(const double *x, const float *w, const float *b, size_t rows, size_t cols,
                    double *y) {
    for (size_t r = 0; r < rows; r++) {
        y[r] = (double)b[r];
        for (size_t c = 0; c < cols; c++) y[r] += (double)w[r * cols + c] * x[c];
    }
}

static void normalise(double *x, const float *w, const float *b) {
    double mean = 0, var = 0;
    for (int c = 0; c < DIM; c++) mean += x[c] / DIM;
    for (int c = 0; c < DIM; c++) var += (x[c] - mean) * (x[c] - mean) / DIM;
    for (int c = 0; c < DIM; c++)
        x[c] = (x[c] - mean) / sqrt(var + 1e-12) * (double)w[c] + (double)b[c];
}

static void attend(double (*q)[DIM], double (*k)[DIM], double (*v)[DIM], size_t n,
                   double (*y)[DIM]) {
    enum { HEAD = DIM / HEADS };
    for (size_t i = 0; i < n; i++) {
        for (int h = 0; h < HEADS; h++) {
            double score[POSITIONS], top = -1e300, sum = 0;
            for (size_t j = 0; j < n; j++) {
                score[j] = 0;
                for (int c = h * HEAD; c < (h + 1) * HEAD; c++) score[j] += q[i][c] * k[j][c] / 4.0;
                top = score[j] > top ? score[j] : top;
            }
            for (size_t j = 0; j < n; j++) sum += score[j] = exp(score[j] - top);
            for (int c = h * HEAD; c < (h + 1) * HEAD; c++) {
                y[i][c] = 0;
                for (size_t j = 0; j < n; j++) y[i][c] += score[j] / sum * v[j][c];
            }
        }
    }
}

static void forward(const model *m, const int32_t *ids, const int32_t *types, size_t n,
                    double (*x)[DIM]) {
    static double q[POSITIONS][DIM], k[POSITIONS][DIM], v[POSITIONS][DIM], a[POSITIONS][DIM];
    for (size_t i = 0; i < n; i++) {
        for (int c = 0; c < DIM; c++)
            x[i][c] = (double)m->word[ids[i] * DIM + c] + (double)m->type[types[i] * DIM + c] +
                      (double)m->position[i * DIM + (size_t)c];
        normalise(x[i], m->norm_w, m->norm_b);
    }
    for (int l = 0; l < LAYERS; l++) {
        for (size_t i = 0; i < n; i++) {
            product(x[i], m->layer[l].q, m->layer[l].qb, DIM, DIM, q[i]);
            product(x[i], m->layer[l].k, m->layer[l].kb, DIM, DIM, k[i]);
            product(x[i], m->layer[l].v, m->layer[l].vb, DIM, DIM, v[i]);
        }
        attend(q, k, v, n, a);
        for (size_t i = 0; i < n; i++) {
            double y[DIM], mid[INTER];
            product(a[i], m->layer[l].o, m->layer[l].ob, DIM, DIM, y);
            for (int c = 0; c < DIM; c++) x[i][c] += y[c];
            normalise(x[i], m->layer[l].n1w, m->layer[l].n1b);
            product(x[i], m->layer[l].up, m->layer[l].upb, INTER, DIM, mid);
            for (int c = 0; c < INTER; c++) mid[c] *= 0.5 * erfc(-mid[c] / sqrt(2.0));
            product(mid, m->layer[l].down, m->layer[l].downb, DIM, INTER, y);
            for (int c = 0; c < DIM; c++) x[i][c] += y[c];
            normalise(x[i], m->layer[l].n2w, m->layer[l].n2b);
        }
    }
}

/* ---- sequences ---- */

enum { N_SEQ = 90, MAX_IDS = N_SEQ * POSITIONS };

static int32_t ids[MAX_IDS], types[MAX_IDS];
static size_t starts[N_SEQ + 1];

/* More tokens than one batch takes, lengths 1 to POSITIONS. */
static void make_sequences(void) {
    size_t at = 0;
    for (size_t s = 0; s < N_SEQ; s++) {
        const size_t n = s < POSITIONS ? s + 1 : 1 + loam_rng_below(&rng, POSITIONS);
        starts[s] = at;
        for (size_t i = 0; i < n; i++, at++) {
            ids[at] = (int32_t)loam_rng_below(&rng, VOCAB);
            types[at] = (int32_t)loam_rng_below(&rng, TYPES);
        }
    }
    starts[N_SEQ] = at;
}

typedef struct collected {
    float rows[MAX_IDS][DIM];
    size_t n_calls;
    int all;
} collected;

static size_t shift; /* of the numbers of the sequences of a call */

static void collect(void *ctx, size_t sequence, const float *rows, size_t n_rows) {
    collected *c = ctx;
    sequence += shift;
    c->n_calls++;
    CHECK(n_rows == (c->all ? starts[sequence + 1] - starts[sequence] : 1), "%zu rows", n_rows);
    memcpy(c->rows[starts[sequence]], rows, n_rows * sizeof *c->rows);
}

/* Run all sequences at once (split 0) or one by one. */
static loam_precision precision = LOAM_EXACT;

static void run(const char *path, loam_pool *p, loam_rows rows, int split, collected *c) {
    loam_err err = {0};
    loam_encoder *m = NULL;
    memset(c, 0, sizeof *c);
    c->all = rows == LOAM_ROWS_ALL;
    loam_status st = loam_encoder_open(&m, path, p, precision, &err);
    CHECK(!st, "%s", err.msg);
    if (st) return;
    if (split) {
        static float one[MAX_IDS][DIM];
        for (size_t s = 0; s < N_SEQ && !st; s++) {
            collected *single = c;
            const size_t n = starts[s + 1] - starts[s], own[2] = {0, n};
            const loam_sequences seq = {ids + starts[s], types + starts[s], own, 1};
            const size_t keep[2] = {starts[0], starts[1]};
            /* collect() places by `starts`: lend it this sequence's */
            starts[0] = starts[s];
            starts[1] = starts[s] + n;
            st = loam_encoder_run(m, &seq, rows, collect, single, NULL, &err);
            starts[0] = keep[0];
            starts[1] = keep[1];
            memcpy(one[starts[s]], c->rows[starts[s]], n * sizeof *one);
        }
        memcpy(c->rows, one, sizeof one);
    } else {
        const loam_sequences seq = {ids, types, starts, N_SEQ};
        st = loam_encoder_run(m, &seq, rows, collect, c, NULL, &err);
    }
    CHECK(!st, "%s", err.msg);
    CHECK(c->n_calls == N_SEQ, "%zu sequences reported", c->n_calls);
    loam_encoder_close(m);
}

static collected base, other;

static double rms; /* of the last comparison; the values themselves are of size 1 */

static double worst_against_double(const model *m) {
    static double want[POSITIONS][DIM];
    double worst = 0, squares = 0;
    for (size_t s = 0; s < N_SEQ; s++) {
        const size_t n = starts[s + 1] - starts[s];
        forward(m, ids + starts[s], types + starts[s], n, want);
        for (size_t i = 0; i < n; i++)
            for (int c = 0; c < DIM; c++) {
                const double diff = fabs((double)base.rows[starts[s] + i][c] - want[i][c]);
                worst = diff > worst ? diff : worst;
                squares += diff * diff;
            }
    }
    rms = sqrt(squares / (double)(starts[N_SEQ] * DIM));
    return worst;
}

/* f32 sums of at most 96 terms, eight products deep; values are of size 1 after the norms. */
static void test_encoder_matches_double(const model *m) {
    write_model(m, &(writing){.prefix = "bert.", .dtype = LOAM_F32});
    run(folder, pool, LOAM_ROWS_ALL, 0, &base);
    const double worst = worst_against_double(m);
    CHECK(worst <= 2e-5 && worst > 0, "off by %g", worst);
}

/* Quantised matrices, tables too: exact as above; fast rounds activations to steps of 1/127
 * of the largest in a group: 0.5 % of their size each, a few times that after two layers. */
static void test_encoder_affine(void) {
    static const int BITS[] = {4, 8, 3};
    for (size_t i = 0; i < sizeof BITS / sizeof *BITS; i++) {
        model m = {0};
        make_model(&m);
        write_model(&m, &(writing){.prefix = "", .bits = BITS[i]});
        run(folder, pool, LOAM_ROWS_ALL, 0, &base);
        const double exact = worst_against_double(&m);
        CHECK(exact <= 2e-5 && exact > 0, "%d bits: off by %g", BITS[i], exact);
        precision = LOAM_FAST;
        run(folder, pool, LOAM_ROWS_ALL, 0, &base);
        const double fast = worst_against_double(&m);
        CHECK(rms <= 0.03 && fast > exact, "%d bits, fast: off by %g, rms %g", BITS[i], fast, rms);
        run(folder, pool, LOAM_ROWS_ALL, 1, &other);
        CHECK(memcmp(base.rows, other.rows, sizeof base.rows) == 0, "%d bits: one a call", BITS[i]);
        precision = LOAM_EXACT;
        free_model(&m);
    }
}

static void test_encoder_same_bits(const model *m) {
    const size_t bytes = sizeof base.rows;
    run(folder, pool, LOAM_ROWS_ALL, 1, &other);
    CHECK(memcmp(base.rows, other.rows, bytes) == 0, "one sequence a call");

    loam_pool *three = NULL;
    CHECK(!loam_pool_new(&three, 3, NULL), "pool");
    run(folder, three, LOAM_ROWS_ALL, 0, &other);
    CHECK(memcmp(base.rows, other.rows, bytes) == 0, "three threads");
    loam_pool_free(three);

    run(folder, pool, LOAM_ROWS_FIRST, 0, &other);
    for (size_t s = 0; s < N_SEQ; s++)
        CHECK(memcmp(base.rows[starts[s]], other.rows[starts[s]], sizeof *base.rows) == 0,
              "first row of sequence %zu", s);

    const struct {
        const char *what;
        writing w;
    } WRITINGS[] = {
        {"no prefix", {.prefix = "", .dtype = LOAM_F32}},
        {"gamma and beta", {.prefix = "bert.", .norm_suffix = "gamma", .dtype = LOAM_F32}},
        {"bf16", {.prefix = "", .dtype = LOAM_BF16}},
        {"lab npz", {.prefix = "", .lab = 1, .dtype = LOAM_F32}}};
    for (size_t i = 0; i < sizeof WRITINGS / sizeof *WRITINGS; i++) {
        write_model(m, &WRITINGS[i].w);
        run(folder, pool, LOAM_ROWS_ALL, 0, &other);
        CHECK(memcmp(base.rows, other.rows, bytes) == 0, "%s", WRITINGS[i].what);
    }
}

/* Threads, order and company of the sequences, groups of one worker or of all: the same bits. */
static void test_encoder_same_bits_everywhere(const model *m, loam_precision p) {
    static const unsigned THREADS[] = {1, 2, 5};
    write_model(m, &(writing){.prefix = "bert.", .dtype = LOAM_F32});
    precision = p;
    run(folder, pool, LOAM_ROWS_ALL, 0, &base);
    const double worst = worst_against_double(m);
    CHECK(p == LOAM_EXACT ? worst <= 2e-5 : worst > 2e-5 && rms <= 2e-3, "off by %g, rms %g", worst,
          rms);
    for (size_t i = 0; i < sizeof THREADS / sizeof *THREADS; i++) {
        loam_pool *some = NULL;
        CHECK(!loam_pool_new(&some, THREADS[i], NULL), "pool");
        for (int split = 0; split < 2; split++) {
            run(folder, some, LOAM_ROWS_ALL, split, &other);
            CHECK(memcmp(base.rows, other.rows, sizeof base.rows) == 0,
                  "precision %d, %u threads, split %d", p, THREADS[i], split);
        }
        /* the first row alone, and a few sequences only, which all workers share */
        run(folder, some, LOAM_ROWS_FIRST, 0, &other);
        for (size_t s = 0; s < N_SEQ; s++)
            CHECK(memcmp(base.rows[starts[s]], other.rows[starts[s]], sizeof *base.rows) == 0,
                  "precision %d, %u threads, first row of %zu", p, THREADS[i], s);
        loam_encoder *e = NULL;
        CHECK(!loam_encoder_open(&e, folder, some, p, NULL), "open");
        for (size_t n = 1; e && n <= 64; n *= 4) { /* from the middle, the copies made on the way */
            const size_t first = N_SEQ / 2 - n / 2;
            const loam_sequences seq = {ids, types, starts + first, n};
            memset(&other, 0, sizeof other);
            other.all = 1;
            shift = first;
            CHECK(!loam_encoder_run(e, &seq, LOAM_ROWS_ALL, collect, &other, NULL, NULL), "run");
            shift = 0;
            CHECK(other.n_calls == n &&
                      memcmp(base.rows[starts[first]], other.rows[starts[first]],
                             (starts[first + n] - starts[first]) * sizeof *base.rows) == 0,
                  "precision %d, %u threads, %zu sequences", p, THREADS[i], n);
        }
        loam_encoder_close(e);
        loam_pool_free(some);
    }
    precision = LOAM_EXACT;
}

/* ---- bad folders and requests ---- */

static void test_encoder_bad_config(const model *m) {
    static const struct {
        const char *what, *from, *to;
        loam_status status;
        const char *says; /* NULL: anything */
    } CASES[] = {
        {"no heads", "\"num_attention_heads\": 4", "\"num_attention_heads\": 0", LOAM_ERR_FORMAT,
         NULL},
        {"heads do not divide", "\"num_attention_heads\": 4", "\"num_attention_heads\": 7",
         LOAM_ERR_FORMAT, NULL},
        {"heads too wide for the kernels", "\"hidden_size\": 64", "\"hidden_size\": 4096",
         LOAM_ERR_FORMAT, "heads of 1024"},
        {"negative width", "\"hidden_size\": 64", "\"hidden_size\": -64", LOAM_ERR_FORMAT, NULL},
        {"width of text", "\"hidden_size\": 64", "\"hidden_size\": \"64\"", LOAM_ERR_FORMAT, NULL},
        {"other width", "\"hidden_size\": 64", "\"hidden_size\": 32", LOAM_ERR_FORMAT, NULL},
        {"no width", "\"hidden_size\": 64", "\"x\": 64", LOAM_ERR_FORMAT, NULL},
        {"huge layers", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1000000000",
         LOAM_ERR_FORMAT, NULL},
        {"one layer too many", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3",
         LOAM_ERR_FORMAT, NULL},
        {"no layers", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 0", LOAM_ERR_FORMAT,
         NULL},
        {"other inter", "\"intermediate_size\": 96", "\"intermediate_size\": 97", LOAM_ERR_FORMAT,
         NULL},
        {"vocab above the table", "\"vocab_size\": 40", "\"vocab_size\": 41", LOAM_ERR_FORMAT,
         NULL},
        {"positions above the table", "\"max_position_embeddings\": 24",
         "\"max_position_embeddings\": 4096", LOAM_ERR_FORMAT, NULL},
        {"eps is NaN", "\"layer_norm_eps\": 1e-12", "\"layer_norm_eps\": NaN", LOAM_ERR_FORMAT,
         NULL},
        {"activation", "\"hidden_act\": \"gelu\"", "\"hidden_act\": \"quick\"",
         LOAM_ERR_UNSUPPORTED, NULL},
        {"a decoder", "\"model_type\": \"bert\"", "\"model_type\": \"gpt2\"", LOAM_ERR_UNSUPPORTED,
         NULL},
        {"relative positions", "\"hidden_act\": \"gelu\"",
         "\"position_embedding_type\": \"relative_key\"", LOAM_ERR_UNSUPPORTED, NULL},
        {"not JSON", "{", "[", LOAM_ERR_FORMAT, NULL}};
    write_model(m, &(writing){.prefix = "", .dtype = LOAM_F32});
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        char text[1024];
        const char *at = strstr(CONFIG, CASES[i].from);
        CHECK(at != NULL, "%s", CASES[i].what);
        if (!at) continue;
        snprintf(text, sizeof text, "%.*s%s%s", (int)(at - CONFIG), CONFIG, CASES[i].to,
                 at + strlen(CASES[i].from));
        write_text("config.json", text);
        loam_encoder *e = NULL;
        loam_err err = {0};
        const loam_status st = loam_encoder_open(&e, folder, pool, LOAM_EXACT, &err);
        CHECK(st == CASES[i].status && !e && (!CASES[i].says || strstr(err.msg, CASES[i].says)),
              "%s: status %d: %s", CASES[i].what, (int)st, err.msg);
        loam_encoder_close(e);
    }
}

static void ignore(void *ctx, size_t sequence, const float *rows, size_t n_rows) {
    (void)ctx;
    (void)sequence;
    (void)rows;
    (void)n_rows;
}

static void test_encoder_bad_input(const model *m) {
    static const char *const NEEDED[] = {
        "embeddings.word_embeddings.weight", "embeddings.LayerNorm.bias",
        "encoder.layer.1.output.dense.bias", "encoder.layer.0.attention.self.key.weight"};
    loam_encoder *e = NULL;
    loam_err err = {0};
    loam_status st;
    for (size_t i = 0; i < sizeof NEEDED / sizeof *NEEDED; i++) {
        write_model(m, &(writing){.prefix = "", .dtype = LOAM_F32, .drop = NEEDED[i]});
        st = loam_encoder_open(&e, folder, pool, LOAM_EXACT, &err);
        CHECK(st == LOAM_ERR_FORMAT && !e, "without %s: %d: %s", NEEDED[i], (int)st, err.msg);
    }

    write_model(m, &(writing){.prefix = "", .dtype = LOAM_F32, .poison = NAN});
    CHECK(!loam_encoder_open(&e, folder, pool, LOAM_EXACT, &err), "%s", err.msg);
    const loam_sequences all = {ids, types, starts, N_SEQ};
    st = loam_encoder_run(e, &all, LOAM_ROWS_ALL, ignore, NULL, NULL, &err);
    CHECK(st == LOAM_ERR_FORMAT, "NaN weights: %d", (int)st);
    loam_encoder_close(e);

    write_model(m, &(writing){.prefix = "", .dtype = LOAM_F32});
    CHECK(!loam_encoder_open(&e, folder, pool, LOAM_EXACT, &err), "%s", err.msg);
    static int32_t bad[POSITIONS + 1];
    const struct {
        const char *what;
        int32_t id, type;
        size_t n;
        loam_status status;
    } CASES[] = {{"id -1", -1, 0, 1, LOAM_ERR_FORMAT},
                 {"id VOCAB", VOCAB, 0, 1, LOAM_ERR_FORMAT},
                 {"type -1", 0, -1, 1, LOAM_ERR_FORMAT},
                 {"type TYPES", 0, TYPES, 1, LOAM_ERR_FORMAT},
                 {"too long", 0, 0, POSITIONS + 1, LOAM_ERR_LIMIT},
                 {"as long as possible", 0, 0, POSITIONS, LOAM_OK}};
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        static int32_t bad_types[POSITIONS + 1];
        const size_t ends[] = {0, CASES[i].n};
        bad[0] = CASES[i].id;
        bad_types[0] = CASES[i].type;
        const loam_sequences s = {bad, bad_types, ends, 1};
        st = loam_encoder_run(e, &s, LOAM_ROWS_ALL, ignore, NULL, NULL, &err);
        CHECK(st == CASES[i].status, "%s: %d: %s", CASES[i].what, (int)st, err.msg);
    }
    const loam_cancel stop = {1};
    st = loam_encoder_run(e, &all, LOAM_ROWS_ALL, ignore, NULL, &stop, &err);
    CHECK(st == LOAM_ERR_CANCELLED, "cancelled: %d", (int)st);
    loam_encoder_close(e);

    clear_folder();
    st = loam_encoder_open(&e, folder, pool, LOAM_EXACT, &err);
    CHECK(st == LOAM_ERR_NOT_FOUND && !e, "empty folder: %d: %s", (int)st, err.msg);
    write_text("config.json", CONFIG);
    st = loam_encoder_open(&e, folder, pool, LOAM_EXACT, &err);
    CHECK(st == LOAM_ERR_NOT_FOUND && !e, "no weights: %d: %s", (int)st, err.msg);
}

/* ---- goldens ---- */

/* Logits of tests/golden/rerank/tiny-bert-ce from its ids. */
static void test_encoder_golden_classifier(void) {
    static const char DIR[] = "tests/golden/rerank/tiny-bert-ce";
    loam_encoder *e = NULL;
    loam_err err = {0};
    loam_buf text = {0};
    char path[320];
    CHECK(!loam_encoder_open(&e, DIR, pool, LOAM_EXACT, &err), "%s", err.msg);
    snprintf(path, sizeof path, "%s/expected.jsonl", DIR);
    CHECK(!loam_file_read(&text, path, 1 << 24, &err), "%s", err.msg);
    if (!e || !text.data) return;
    CHECK(loam_encoder_get_info(e)->has_head, "the classifier was not found");
    int n_cases = 0;
    for (char *line = text.data, *next; *line; line = next) {
        next = strchr(line, '\n') + 1;
        loam_json *doc = NULL;
        CHECK(!loam_json_parse(&doc, line, (size_t)(next - line - 1), path, 0, &err), "%s",
              err.msg);
        const loam_json_value *r = loam_json_root(doc), *list = loam_json_get(r, "ids");
        const loam_json_value *type_list = loam_json_get(r, "type_ids");
        static int32_t golden_ids[512], golden_types[512];
        const size_t ends[] = {0, loam_json_count(list)};
        for (size_t i = 0; i < ends[1]; i++) {
            int64_t id = -1, type = -1;
            loam_json_int(loam_json_at(list, i), &id);
            loam_json_int(loam_json_at(type_list, i), &type);
            golden_ids[i] = (int32_t)id;
            golden_types[i] = (int32_t)type;
        }
        const loam_sequences s = {golden_ids, golden_types, ends, 1};
        double want = (double)NAN;
        float got = NAN;
        loam_json_number(loam_json_get(r, "logit_f64"), &want);
        CHECK(!loam_encoder_score(e, &s, &got, NULL, &err), "%s", err.msg);
        CHECK(fabs((double)got - want) <= 2e-5, "line %d: %.9g, want %.9g", n_cases, (double)got,
              want);
        n_cases++;
        loam_json_free(doc);
    }
    CHECK(n_cases == 34, "%d golden pairs", n_cases);
    loam_buf_deinit(&text);
    loam_encoder_close(e);
}

typedef struct compared {
    const loam_tensor *want;
    double worst;
} compared;

static void compare_rows(void *ctx, size_t sequence, const float *rows, size_t n_rows) {
    compared *c = ctx;
    (void)sequence;
    CHECK(n_rows == c->want->shape[0], "%zu rows", n_rows);
    for (size_t i = 0; i < n_rows * (size_t)c->want->shape[1]; i++) {
        const double diff =
            fabs((double)rows[i] - (double)loam_read_f32((const char *)c->want->data + 4 * i));
        if (!(diff <= c->worst)) c->worst = diff;
    }
}

/* Hidden states of the real MiniLM, when LOAM_MINILM names its folder. */
static void test_encoder_golden_minilm(const char *dir) {
    loam_encoder *e = NULL;
    loam_arrays *a = NULL;
    loam_err err = {0};
    CHECK(!loam_encoder_open(&e, dir, pool, LOAM_EXACT, &err), "%s", err.msg);
    CHECK(!loam_arrays_open(&a, "tests/golden/minilm/hidden.safetensors", &err), "%s", err.msg);
    for (int t = 0; t < 2 && e && a; t++) {
        char name[32];
        static int32_t list[16];
        snprintf(name, sizeof name, "t%d.ids", t);
        const loam_tensor *golden_ids = loam_arrays_find(a, name);
        snprintf(name, sizeof name, "t%d.hidden.6", t);
        compared c = {loam_arrays_find(a, name), 0.0};
        CHECK(golden_ids && c.want && golden_ids->shape[0] <= 16, "golden file");
        if (!golden_ids || !c.want) continue;
        const size_t n = (size_t)golden_ids->shape[0], ends[] = {0, n};
        memcpy(list, golden_ids->data, n * sizeof *list);
        const loam_sequences s = {list, NULL, ends, 1};
        CHECK(!loam_encoder_run(e, &s, LOAM_ROWS_ALL, compare_rows, &c, NULL, &err), "%s", err.msg);
        CHECK(c.worst <= 2e-5, "text %d: off by %g", t, c.worst);
        printf("MiniLM text %d: hidden states within %.2g\n", t, c.worst);
    }
    loam_arrays_close(a);
    loam_encoder_close(e);
}

int main(void) {
    model m = {0};
    const char *tmp = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/loam-test-encoder-XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(folder) || loam_pool_new(&pool, 1, NULL)) return 1;
    make_model(&m);
    make_sequences();
    test_encoder_matches_double(&m);
    test_encoder_same_bits(&m);
    test_encoder_same_bits_everywhere(&m, LOAM_EXACT);
    test_encoder_same_bits_everywhere(&m, LOAM_FAST);
    test_encoder_affine();
    test_encoder_bad_config(&m);
    test_encoder_bad_input(&m);
    test_encoder_golden_classifier();
    const char *minilm = getenv("LOAM_MINILM");
    if (minilm) test_encoder_golden_minilm(minilm);
    free_model(&m);
    clear_folder();
    rmdir(folder);
    loam_pool_free(pool);
    return TEST_END("test_encoder");
}
