/* test_index.c - the index: the reference's files read, damage refused, written pairs whole. */
#include "test.h"
#include <dirent.h>
#include <fcntl.h>
#include <loam/json.h>
#include <loam/rag.h>
#include <loam/tensor.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define GOLDEN "tests/golden/vdb/"
#define FULL   "../shared/golden/rag/vdb/"

static loam_pool *pool;
static char scratch[64] = "/tmp/loam_test_index.XXXXXX";

/* A path in the scratch folder; each name's stays valid. */
static const char *scratch_path(const char *name) {
    static struct { char name[64], path[256]; } known[64];
    size_t i = 0;
    while (i < 63 && known[i].name[0] && strcmp(known[i].name, name) != 0) i++;
    snprintf(known[i].name, sizeof known[i].name, "%s", name);
    snprintf(known[i].path, sizeof known[i].path, "%s/%s", scratch, name);
    return known[i].path;
}

static loam_index *open_good(const char *path) {
    loam_err err = {0};
    loam_index *ix = NULL;
    CHECK(!loam_index_open(&ix, path, &err), "%s", err.msg);
    return ix;
}

static int text_is(loam_text t, const char *s, size_t n) {
    return t.n == n && memcmp(t.data, s, n) == 0;
}

/* ---- golden files ---- */

static float *read_queries(size_t *n) {
    loam_err err = {0};
    loam_arrays *a = NULL;
    *n = 0;
    CHECK(!loam_arrays_open(&a, GOLDEN "queries_f32.npy", &err), "%s", err.msg);
    if (!a) return NULL;
    const loam_tensor *t = loam_arrays_at(a, 0);
    float *q = malloc(t->bytes);
    memcpy(q, t->data, t->bytes);
    *n = t->shape[0];
    loam_arrays_close(a);
    return q;
}

/* Each row of a topk file against a search: ids in order unless scores are closer than the
 * rounding of f32 sums, scores within 1e-6. */
static void check_topk(loam_index *ix, const char *path) {
    size_t n_queries, rows = 0;
    float *queries = read_queries(&n_queries);
    FILE *f = fopen(path, "r");
    char *line = NULL;
    size_t cap = 0;
    ssize_t len;
    CHECK(f != NULL, "%s", path);
    while (f && queries && (len = getline(&line, &cap, f)) > 0) {
        loam_json *doc = NULL;
        loam_err err = {0};
        loam_hit hits[64];
        int64_t q = 0;
        CHECK(!loam_json_parse(&doc, line, (size_t)len, path, 0, &err), "%s", err.msg);
        loam_json_int(loam_json_get(loam_json_root(doc), "q"), &q);
        const loam_json_value *ids = loam_json_get(loam_json_root(doc), "ids");
        const loam_json_value *scores = loam_json_get(loam_json_root(doc), "scores");
        const size_t k = loam_json_count(ids);
        const size_t n = loam_index_search(ix, pool, queries + (size_t)q * 384, hits, k);
        CHECK(n == k, "%s: %zu of %zu hits", path, n, k);
        for (size_t i = 0; i < n; i++) {
            int64_t id = 0;
            double want = 0;
            loam_json_int(loam_json_at(ids, i), &id);
            loam_json_number(loam_json_at(scores, i), &want);
            CHECK(fabs((double)hits[i].score - want) <= 1e-6, "%s q%d #%zu: %.9g, want %.9g", path,
                  (int)q, i, (double)hits[i].score, want);
            CHECK(hits[i].id == (uint64_t)id || fabs((double)hits[i].score - want) <= 1e-6,
                  "%s q%d #%zu: id %d, want %d", path, (int)q, i, (int)hits[i].id, (int)id);
        }
        loam_json_free(doc);
        rows++;
    }
    CHECK(rows > 0, "%s: no rows", path);
    free(line);
    free(queries);
    if (f) fclose(f);
}

static void check_expected(const char *folder, const char *name, const loam_json_value *want) {
    char path[512];
    int64_t chunks = -1, dim = -1;
    int optional = 0;
    size_t n;
    loam_err err = {0};
    loam_index *ix = NULL;
    snprintf(path, sizeof path, "%s%s", folder, name);
    loam_json_int(loam_json_get(want, "chunks"), &chunks);
    loam_json_int(loam_json_get(want, "dim"), &dim);
    loam_json_bool(loam_json_get(want, "optional"), &optional);
    const loam_status st = loam_index_open(&ix, path, &err);
    if (st && optional) return;
    CHECK(!st, "%s", err.msg);
    if (st) return;
    CHECK((int64_t)loam_index_count(ix) == chunks, "%s: %zu chunks", name, loam_index_count(ix));
    CHECK((int64_t)loam_index_dim(ix) == dim, "%s: dim %zu", name, loam_index_dim(ix));
    const char *topk = loam_json_string(loam_json_get(want, "topk"), &n);
    if (topk) {
        snprintf(path, sizeof path, "%s%s", folder, topk);
        check_topk(ix, path);
    }
    loam_index_close(ix);
}

static void test_good(const char *folder) {
    char path[512];
    loam_err err = {0};
    loam_json *doc = NULL;
    snprintf(path, sizeof path, "%sexpect.json", folder);
    if (access(path, R_OK)) return;
    CHECK(!loam_json_read(&doc, path, 0, 0, &err), "%s", err.msg);
    const size_t n = loam_json_count(loam_json_root(doc));
    for (size_t i = 0; i < n; i++) {
        size_t len;
        check_expected(folder, loam_json_key(loam_json_root(doc), i, &len),
                       loam_json_at(loam_json_root(doc), i));
    }
    printf("%s: %zu good files\n", folder, n);
    CHECK(n > 0, "%s", folder);
    loam_json_free(doc);
}

static void test_bad_set(void) {
    loam_err err = {0};
    loam_json *doc = NULL;
    if (access(FULL "bad/expect.json", R_OK)) return;
    CHECK(!loam_json_read(&doc, FULL "bad/expect.json", 0, 0, &err), "%s", err.msg);
    const size_t n = loam_json_count(loam_json_root(doc));
    for (size_t i = 0; i < n; i++) {
        char path[512];
        size_t len;
        loam_index *ix = NULL;
        const char *name = loam_json_key(loam_json_root(doc), i, &len);
        const char *verdict =
            loam_json_string(loam_json_get(loam_json_at(loam_json_root(doc), i), "verdict"), &len);
        snprintf(path, sizeof path, FULL "bad/%s", name);
        const loam_status st = loam_index_open(&ix, path, &err);
        if (strcmp(verdict, "reject") == 0) {
            CHECK(st != LOAM_OK, "%s was accepted", name);
            CHECK(!st || strstr(err.msg, name), "%s: message without the file: %s", name, err.msg);
        } else if (!st) {
            CHECK(loam_index_count(ix) == 21, "%s: %zu chunks", name, loam_index_count(ix));
        }
        loam_index_close(ix);
    }
    printf("%zu damaged files\n", n);
    loam_json_free(doc);
}

static void test_chunks(void) {
    loam_index *ix = open_good(GOLDEN "combined_vdb.npz");
    FILE *f = fopen(GOLDEN "combined_vdb.npz.chunks.jsonl", "r");
    char *line = NULL;
    size_t cap = 0, rows = 0;
    ssize_t len;
    while (ix && f && (len = getline(&line, &cap, f)) > 0) {
        loam_json *doc = NULL;
        size_t n, n_source;
        loam_err err = {0};
        CHECK(!loam_json_parse(&doc, line, (size_t)len, "chunks", 0, &err), "%s", err.msg);
        const char *text = loam_json_string(loam_json_get(loam_json_root(doc), "text"), &n);
        const char *source =
            loam_json_string(loam_json_get(loam_json_root(doc), "source"), &n_source);
        const loam_chunk c = loam_index_chunk(ix, rows);
        CHECK(text_is(c.text, text, n), "chunk %zu: [%.*s]", rows, (int)c.text.n, c.text.data);
        CHECK(text_is(c.source, source, n_source), "chunk %zu: [%.*s]", rows, (int)c.source.n,
              c.source.data);
        CHECK(c.page == 0 && c.begin == -1 && c.end == -1, "chunk %zu: spans out of nowhere", rows);
        loam_json_free(doc);
        rows++;
    }
    CHECK(rows == 352, "%zu rows", rows);
    free(line);
    if (f) fclose(f);
    if (ix) {
        size_t texts, sources;
        loam_index_reference_damage(ix, &texts, &sources);
        CHECK(texts == 350 && sources == 349, "%zu texts, %zu sources", texts, sources);
        CHECK(loam_index_get_meta(ix)->model_id[0] == 0, "a foreign sidecar names a model");
    }
    loam_index_close(ix);
    /* the slowest of a few warm openings; generous, since tests share machines */
    double best = 1;
    for (int i = 0; i < 5; i++) {
        struct timespec a, b;
        clock_gettime(CLOCK_MONOTONIC, &a);
        loam_index_close(open_good(GOLDEN "combined_vdb.npz"));
        clock_gettime(CLOCK_MONOTONIC, &b);
        const double s = (double)(b.tv_sec - a.tv_sec) + 1e-9 * (double)(b.tv_nsec - a.tv_nsec);
        if (s < best) best = s;
    }
    printf("opening 352 chunks: %.2f ms\n", best * 1e3);
}

static void test_unicode(void) {
    loam_index *ix = open_good(GOLDEN "ok/unicode.npz");
    loam_json *doc = NULL;
    loam_err err = {0};
    CHECK(
        !loam_json_read(&doc, GOLDEN "ok/unicode.expect.json", 0, LOAM_JSON_LONE_SURROGATES, &err),
        "%s", err.msg);
    for (size_t i = 0; ix && i < loam_index_count(ix); i++) {
        size_t n;
        const char *text =
            loam_json_string(loam_json_get(loam_json_at(loam_json_root(doc), i), "text"), &n);
        const loam_text t = loam_index_chunk(ix, i).text;
        CHECK(text_is(t, text, n), "%zu: [%.*s], want [%s]", i, (int)t.n, t.data, text);
    }
    loam_json_free(doc);
    loam_index_close(ix);
    ix = open_good(GOLDEN "ok/lone_surrogate.npz");
    int found = 0;
    for (size_t i = 0; ix && i < loam_index_count(ix); i++) {
        const loam_text t = loam_index_chunk(ix, i).text;
        found |= memmem(t.data, t.n, "\xef\xbf\xbd", 3) != NULL;
    }
    CHECK(found, "no U+FFFD for U+D800");
    loam_index_close(ix);
}

/* ---- search ---- */

static void test_exact_scores(void) {
    loam_err err = {0};
    loam_arrays *a = NULL;
    size_t n_queries;
    loam_index *ix = open_good(GOLDEN "combined_vdb.npz");
    float *queries = read_queries(&n_queries);
    CHECK(!loam_arrays_open(&a, GOLDEN "combined_vdb.npz.scores_f64.npy", &err), "%s", err.msg);
    if (!ix || !a || !queries) return;
    const double *want = loam_arrays_at(a, 0)->data;
    loam_hit hits[400];
    loam_pool *many = NULL;
    CHECK(!loam_pool_new(&many, 3, &err), "%s", err.msg);
    for (size_t q = 0; q < n_queries; q++) {
        const size_t n = loam_index_search(ix, pool, queries + q * 384, hits, 400);
        CHECK(n == 352, "%zu", n);
        for (size_t i = 0; i < n; i++) {
            double w;
            memcpy(&w, want + q * 352 + hits[i].id, sizeof w);
            CHECK(fabs((double)hits[i].score - w) <= 1e-6, "q%zu id %d", q, (int)hits[i].id);
            CHECK(i == 0 || hits[i - 1].score > hits[i].score ||
                      (hits[i - 1].score >= hits[i].score && hits[i - 1].id < hits[i].id),
                  "q%zu: order at %zu", q, i);
        }
        loam_hit other[400];
        loam_index_search(ix, many, queries + q * 384, other, 400);
        for (size_t i = 0; i < n; i++)
            CHECK(hits[i].id == other[i].id && memcmp(&hits[i].score, &other[i].score, 4) == 0,
                  "q%zu #%zu: threads change the result", q, i);
    }
    CHECK(loam_index_search(ix, pool, queries, hits, 0) == 0, "k = 0");
    loam_pool_free(many);
    loam_arrays_close(a);
    loam_index_close(ix);
    free(queries);
}

/* ---- damage inside sound archives ---- */

typedef struct made {
    float vectors[6];
    int32_t text[8], lengths[2];
} made;

enum { EMBEDDINGS, TEXT, LENGTHS, SOURCE, SOURCE_LENGTHS, N_MEMBERS };

typedef void spoil_fn(made *m, loam_tensor *t);

static loam_status write_and_open(spoil_fn *spoil, loam_err *err) {
    made m = {{1, 0, 0, 0, 1, 0}, {'a', 'b', 'c', 'd', 'e', 0xfc, 0x1f642, 'z'}, {5, 3}};
    loam_tensor t[N_MEMBERS] = {{.name = "embeddings",
                                 .dtype = LOAM_F32,
                                 .rank = 2,
                                 .shape = {2, 3},
                                 .data = m.vectors,
                                 .bytes = 24},
                                {.name = "chunk_data",
                                 .dtype = LOAM_I32,
                                 .rank = 1,
                                 .shape = {8},
                                 .data = m.text,
                                 .bytes = 32},
                                {.name = "chunk_lengths",
                                 .dtype = LOAM_I32,
                                 .rank = 1,
                                 .shape = {2},
                                 .data = m.lengths,
                                 .bytes = 8},
                                {.name = "source_data",
                                 .dtype = LOAM_I32,
                                 .rank = 1,
                                 .shape = {8},
                                 .data = m.text,
                                 .bytes = 32},
                                {.name = "source_lengths",
                                 .dtype = LOAM_I32,
                                 .rank = 1,
                                 .shape = {2},
                                 .data = m.lengths,
                                 .bytes = 8}};
    loam_tensor kept[N_MEMBERS];
    loam_index *ix = NULL;
    size_t n = 0;
    if (spoil) spoil(&m, t);
    for (size_t i = 0; i < N_MEMBERS; i++)
        if (t[i].name) kept[n++] = t[i];
    CHECK(!loam_npz_write(scratch_path("made.npz"), kept, n, err), "%s", err->msg);
    const loam_status st = loam_index_open(&ix, scratch_path("made.npz"), err);
    if (!st) {
        size_t a, b;
        loam_index_reference_damage(ix, &a, &b);
        CHECK(text_is(loam_index_chunk(ix, 0).text, "abcde", 5), "first text");
    }
    loam_index_close(ix);
    return st;
}

static void spoil_nan(made *m, loam_tensor *t) {
    (void)t;
    m->vectors[4] = (float)NAN;
}
static void spoil_inf(made *m, loam_tensor *t) {
    (void)t;
    m->vectors[0] = (float)INFINITY;
}
static void spoil_negative_point(made *m, loam_tensor *t) {
    (void)t;
    m->text[3] = -1;
}
static void spoil_high_point(made *m, loam_tensor *t) {
    (void)t;
    m->text[7] = 0x110000;
}
static void spoil_negative_length(made *m, loam_tensor *t) {
    (void)t;
    m->lengths[0] = 9;
    m->lengths[1] = -1;
}
static void spoil_long(made *m, loam_tensor *t) {
    (void)t;
    m->lengths[1] = 4;
}
static void spoil_short(made *m, loam_tensor *t) {
    (void)t;
    m->lengths[1] = 2;
}
static void spoil_overflow(made *m, loam_tensor *t) {
    (void)t;
    m->lengths[0] = INT32_MAX;
    m->lengths[1] = INT32_MAX;
}
static void spoil_rank_1(made *m, loam_tensor *t) {
    (void)m;
    t[EMBEDDINGS].rank = 1;
    t[EMBEDDINGS].shape[0] = 6;
}
static void spoil_rank_3(made *m, loam_tensor *t) {
    (void)m;
    t[EMBEDDINGS].rank = 3;
    t[EMBEDDINGS].shape[2] = 1;
}
static void spoil_rows(made *m, loam_tensor *t) {
    (void)m;
    t[EMBEDDINGS].shape[0] = 3;
    t[EMBEDDINGS].shape[1] = 2;
}
static void spoil_no_dim(made *m, loam_tensor *t) {
    (void)m;
    t[EMBEDDINGS].shape[1] = 0;
    t[EMBEDDINGS].bytes = 0;
}
static void spoil_int_vectors(made *m, loam_tensor *t) {
    (void)m;
    t[EMBEDDINGS].dtype = LOAM_I32;
}
static void spoil_float_points(made *m, loam_tensor *t) {
    (void)m;
    t[TEXT].dtype = LOAM_F32;
}
static void spoil_2d_points(made *m, loam_tensor *t) {
    (void)m;
    t[TEXT].rank = 2;
    t[TEXT].shape[0] = 4;
    t[TEXT].shape[1] = 2;
}
static void spoil_bool_lengths(made *m, loam_tensor *t) {
    (void)m;
    t[LENGTHS].dtype = LOAM_BOOL;
    t[LENGTHS].bytes = 2;
}
static void spoil_sources(made *m, loam_tensor *t) {
    (void)m;
    t[SOURCE_LENGTHS].shape[0] = 1;
    t[SOURCE_LENGTHS].bytes = 4;
}
static void spoil_no_embeddings(made *m, loam_tensor *t) {
    (void)m;
    t[EMBEDDINGS].name = NULL;
}
static void spoil_no_text(made *m, loam_tensor *t) {
    (void)m;
    t[TEXT].name = NULL;
}
static void spoil_no_lengths(made *m, loam_tensor *t) {
    (void)m;
    t[LENGTHS].name = NULL;
}
static void spoil_no_source_lengths(made *m, loam_tensor *t) {
    (void)m;
    t[SOURCE_LENGTHS].name = NULL;
}

static void test_damage(void) {
    static const struct {
        const char *what;
        spoil_fn *spoil;
    } ALL[] = {{"NaN", spoil_nan},
               {"infinity", spoil_inf},
               {"code point -1", spoil_negative_point},
               {"code point 0x110000", spoil_high_point},
               {"negative length", spoil_negative_length},
               {"lengths over the data", spoil_long},
               {"lengths under the data", spoil_short},
               {"lengths that overflow", spoil_overflow},
               {"vectors of rank 1", spoil_rank_1},
               {"vectors of rank 3", spoil_rank_3},
               {"rows", spoil_rows},
               {"dimension 0", spoil_no_dim},
               {"integer vectors", spoil_int_vectors},
               {"float code points", spoil_float_points},
               {"code points of rank 2", spoil_2d_points},
               {"bool lengths", spoil_bool_lengths},
               {"fewer sources", spoil_sources},
               {"no embeddings", spoil_no_embeddings},
               {"no chunk_data", spoil_no_text},
               {"no chunk_lengths", spoil_no_lengths},
               {"no source_lengths", spoil_no_source_lengths}};
    loam_err err = {0};
    CHECK(!write_and_open(NULL, &err), "the sound one: %s", err.msg);
    for (size_t i = 0; i < sizeof ALL / sizeof *ALL; i++) {
        err = (loam_err){0};
        const loam_status st = write_and_open(ALL[i].spoil, &err);
        CHECK(st == LOAM_ERR_FORMAT, "%s: status %d %s", ALL[i].what, st, err.msg);
        CHECK(strstr(err.msg, "made.npz") != NULL, "%s: %s", ALL[i].what, err.msg);
    }
}

static char *read_file(const char *path, size_t *n) {
    FILE *f = fopen(path, "rb");
    char *p = malloc(1 << 22);
    *n = f ? fread(p, 1, 1 << 22, f) : 0;
    if (f) fclose(f);
    return p;
}

static void write_file(const char *path, const char *p, size_t n) {
    unlink(path); /* a fresh file: truncating one makes some file systems write it out at once */
    FILE *f = fopen(path, "wb");
    CHECK(f && fwrite(p, 1, n, f) == n, "%s", path);
    if (f) fclose(f);
}

static void test_truncated(void) {
    size_t n;
    loam_err err = {0};
    char *bytes = read_file(GOLDEN "ok/one_chunk.npz", &n);
    CHECK(n > 1000, "%zu", n);
    for (size_t i = 0; i < n; i++) {
        loam_index *ix = NULL;
        write_file(scratch_path("cut.npz"), bytes, i);
        const loam_status st = loam_index_open(&ix, scratch_path("cut.npz"), &err);
        CHECK(st != LOAM_OK, "cut at %zu was accepted", i);
        loam_index_close(ix);
    }
    free(bytes);
}

/* ---- writing ---- */

enum { N_CHUNKS = 5, DIM = 4 };

typedef struct content {
    loam_chunk chunks[N_CHUNKS];
    float vectors[N_CHUNKS * DIM];
    loam_index_document documents[2];
    loam_index_content c;
} content;

static void make_content(content *k, float turn) {
    static const char *const TEXTS[N_CHUNKS] = {"plain", "", "Füße 東京 🙂", "tab\tnewline\n",
                                                "nul"};
    memset(k, 0, sizeof *k);
    for (size_t i = 0; i < N_CHUNKS; i++) {
        k->chunks[i].text = (loam_text){TEXTS[i], strlen(TEXTS[i])};
        k->chunks[i].source = i < 3 ? (loam_text){"docs/ä.md", 10} : (loam_text){"b.pdf", 5};
        k->chunks[i].page = i < 3 ? 0 : (int64_t)i;
        k->chunks[i].begin = (int64_t)i * 10;
        k->chunks[i].end = (int64_t)i * 10 + 7;
        k->vectors[i * DIM + i % DIM] = turn;
    }
    for (int i = 0; i < 2; i++) {
        k->documents[i].path = i ? "/data/b.pdf" : "/data/docs/ä.md";
        memset(k->documents[i].hash, i ? 'a' : '0', 64);
        k->documents[i].n_chunks = i ? 2 : 3;
    }
    k->c = (loam_index_content){.chunks = k->chunks,
                                .vectors = k->vectors,
                                .n_chunks = N_CHUNKS,
                                .dim = DIM,
                                .documents = k->documents,
                                .n_documents = 2,
                                .chunk_size = 256,
                                .chunk_overlap = 50};
    snprintf(k->c.meta.model_id, sizeof k->c.meta.model_id, "some/embedder");
    memset(k->c.meta.fingerprint, 'f', 64);
    snprintf(k->c.meta.chunker, sizeof k->c.meta.chunker, "sentences");
}

static void check_content(const char *path, const content *k) {
    loam_index *ix = open_good(path);
    if (!ix) return;
    CHECK(loam_index_count(ix) == N_CHUNKS && loam_index_dim(ix) == DIM, "shape");
    const loam_index_meta *m = loam_index_get_meta(ix);
    CHECK(strcmp(m->model_id, "some/embedder") == 0, "model %s", m->model_id);
    CHECK(strcmp(m->fingerprint, k->c.meta.fingerprint) == 0, "fingerprint %s", m->fingerprint);
    CHECK(strcmp(m->chunker, "sentences") == 0, "chunker %s", m->chunker);
    CHECK(loam_index_n_documents(ix) == 2, "%zu documents", loam_index_n_documents(ix));
    for (size_t i = 0; i < N_CHUNKS; i++) {
        const loam_chunk c = loam_index_chunk(ix, i), *w = &k->chunks[i];
        CHECK(text_is(c.text, w->text.data, w->text.n), "text %zu: %.*s", i, (int)c.text.n,
              c.text.data);
        CHECK(text_is(c.source, w->source.data, w->source.n), "source %zu", i);
        CHECK(c.page == w->page && c.begin == w->begin && c.end == w->end, "span %zu", i);
        CHECK(memcmp(loam_index_vector(ix, i), k->vectors + i * DIM, DIM * sizeof(float)) == 0,
              "vector %zu", i);
    }
    for (size_t i = 0; i < loam_index_n_documents(ix); i++) {
        const loam_index_document *d = loam_index_document_at(ix, i);
        CHECK(strcmp(d->path, k->documents[i].path) == 0, "path %s", d->path);
        CHECK(strcmp(d->hash, k->documents[i].hash) == 0, "hash %s", d->hash);
        CHECK(d->n_chunks == k->documents[i].n_chunks, "%zu chunks", d->n_chunks);
    }
    loam_index_close(ix);
}

static size_t count_files(void) {
    size_t n = 0;
    DIR *d = opendir(scratch);
    for (struct dirent *e; d && (e = readdir(d)) != NULL;) n += e->d_name[0] != '.';
    if (d) closedir(d);
    return n;
}

static void empty_scratch(void) {
    DIR *d = opendir(scratch);
    for (struct dirent *e; d && (e = readdir(d)) != NULL;)
        if (e->d_name[0] != '.') unlink(scratch_path(e->d_name));
    if (d) closedir(d);
}

static void test_round_trip(void) {
    content k;
    loam_err err = {0};
    const char *path = scratch_path("w.npz");
    empty_scratch();
    make_content(&k, 1);
    CHECK(!loam_index_write(path, &k.c, &err), "%s", err.msg);
    CHECK(count_files() == 2, "%zu files", count_files());
    check_content(path, &k);
    k.c.n_chunks = 0;
    k.c.n_documents = 0;
    CHECK(!loam_index_write(path, &k.c, &err), "%s", err.msg);
    loam_index *ix = open_good(path);
    CHECK(ix && loam_index_count(ix) == 0, "empty index");
    loam_hit hit;
    CHECK(ix && loam_index_search(ix, pool, k.vectors, &hit, 1) == 0, "hit in an empty index");
    loam_index_close(ix);
    /* a private index stays private when it is replaced */
    struct stat st = {0};
    CHECK(chmod(path, 0600) == 0, "chmod");
    CHECK(!loam_index_write(path, &k.c, &err), "%s", err.msg);
    CHECK(stat(path, &st) == 0 && (st.st_mode & 0777) == 0600, "mode %o", st.st_mode & 0777);
    CHECK(stat(scratch_path("w.npz.meta.json"), &st) == 0 && (st.st_mode & 0777) == 0600, "mode %o",
          st.st_mode & 0777);
    /* what is not UTF-8 is refused, and the index before stays */
    make_content(&k, 1);
    CHECK(!loam_index_write(path, &k.c, &err), "%s", err.msg);
    k.chunks[2].text = (loam_text){"\xff", 1};
    CHECK(loam_index_write(path, &k.c, &err) == LOAM_ERR_FORMAT, "%s", err.msg);
    make_content(&k, 1);
    check_content(path, &k);
    CHECK(count_files() == 2, "%zu files", count_files());
}

/* A sidecar of another index, damaged, or missing: the index opens without what it said. */
static void test_sidecars(void) {
    content k;
    loam_err err = {0};
    size_t n;
    const char *path = scratch_path("s.npz");
    empty_scratch();
    make_content(&k, 1);
    CHECK(!loam_index_write(path, &k.c, &err), "%s", err.msg);
    char *side = read_file(scratch_path("s.npz.meta.json"), &n);
    CHECK(n > 100, "%zu", n);
    for (size_t i = 0; i + 2 < n; i += 7) { /* without its last newline it is still whole */
        write_file(scratch_path("s.npz.meta.json"), side, i);
        loam_index *ix = open_good(path);
        CHECK(ix && loam_index_get_meta(ix)->model_id[0] == 0, "cut at %zu", i);
        CHECK(ix && loam_index_chunk(ix, 3).page == 0, "page of a cut sidecar");
        loam_index_close(ix);
    }
    for (size_t i = 0; i < n; i++) { /* one byte changed anywhere: never a crash */
        char keep = side[i];
        side[i] = (char)(keep ^ 0x15);
        write_file(scratch_path("s.npz.meta.json"), side, n);
        loam_index_close(open_good(path));
        side[i] = keep;
    }
    /* killed between the two renames: the waiting sidecar counts */
    write_file(scratch_path("s.npz.meta.json.new"), side, n);
    write_file(scratch_path("s.npz.meta.json"), "{\"bank\": \"x\"}", 13);
    check_content(path, &k);
    unlink(scratch_path("s.npz.meta.json.new"));
    /* another index under the same sidecar */
    content other;
    make_content(&other, 0.5f);
    write_file(scratch_path("s.npz.meta.json"), side, n);
    CHECK(!loam_index_write(scratch_path("o.npz"), &other.c, &err), "%s", err.msg);
    CHECK(!rename(scratch_path("o.npz"), path), "rename");
    loam_index *ix = open_good(path);
    CHECK(ix && loam_index_get_meta(ix)->model_id[0] == 0,
          "the sidecar of another index was taken");
    loam_index_close(ix);
    free(side);
}

static void test_lock(void) {
    content k;
    loam_err err = {0};
    loam_index_lock *lock = NULL;
    const char *path = scratch_path("l.npz");
    empty_scratch();
    make_content(&k, 1);
    int up[2], down[2];
    CHECK(!pipe(up) && !pipe(down), "pipe");
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        char c = 0;
        const loam_status st = loam_index_lock_take(&lock, path, &err);
        if (write(up[1], st ? "n" : "y", 1) != 1 || read(down[0], &c, 1) != 1) _exit(1);
        loam_index_lock_free(lock);
        _exit(0);
    }
    char c = 0, pid[32];
    CHECK(read(up[0], &c, 1) == 1 && c == 'y', "the child has no lock");
    snprintf(pid, sizeof pid, "pid %d", (int)child);
    CHECK(loam_index_write(path, &k.c, &err) == LOAM_ERR_BUSY, "%s", err.msg);
    CHECK(strstr(err.msg, pid) != NULL, "%s without %s", err.msg, pid);
    CHECK(write(down[1], "x", 1) == 1, "write");
    waitpid(child, NULL, 0);
    CHECK(!loam_index_lock_take(&lock, path, &err), "%s", err.msg);
    CHECK(!loam_index_write(path, &k.c, &err), "under its own lock: %s", err.msg);
    CHECK(access(scratch_path("l.npz.lock"), F_OK) == 0, "the lock went with the writing");
    loam_index_lock_free(lock);
    CHECK(count_files() == 2, "%zu files", count_files());
    check_content(path, &k);
}

/* The disk fills up after `limit` bytes: an error, and the old pair whole. */
static void test_full_disk(void) {
    content k, fresh;
    loam_err err = {0};
    const char *path = scratch_path("f.npz");
    empty_scratch();
    make_content(&k, 1);
    make_content(&fresh, 0.25f);
    CHECK(!loam_index_write(path, &k.c, &err), "%s", err.msg);
    for (rlim_t limit = 0; limit < 3000; limit += 97) {
        fflush(stdout);
        const pid_t child = fork();
        if (child == 0) {
            signal(SIGXFSZ, SIG_IGN);
            setrlimit(RLIMIT_FSIZE, &(struct rlimit){limit, limit});
            _exit(loam_index_write(path, &fresh.c, &err) ? 7 : 0);
        }
        int status = 0;
        waitpid(child, &status, 0);
        CHECK(WIFEXITED(status), "killed by %d at %d bytes", WTERMSIG(status), (int)limit);
        if (WEXITSTATUS(status) == 0) break;
        check_content(path, &k);
        CHECK(count_files() == 2, "%zu files at %d bytes", count_files(), (int)limit);
    }
}

/* A writer was killed between its renames, and the next one fails: the sidecar that waited is
 * the index's own and must not be lost with the failed one. */
static void test_interrupted_then_full_disk(void) {
    content k;
    loam_err err = {0};
    const char *path = scratch_path("i.npz");
    char side[512], waiting[512];
    empty_scratch();
    make_content(&k, 1);
    CHECK(!loam_index_write(path, &k.c, &err), "%s", err.msg);
    snprintf(side, sizeof side, "%s.meta.json", path);
    snprintf(waiting, sizeof waiting, "%s.meta.json.new", path);
    CHECK(rename(side, waiting) == 0, "rename");
    check_content(path, &k);
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){100, 100});
        _exit(loam_index_write(path, &k.c, &err) ? 7 : 0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7, "status %d", status);
    check_content(path, &k);
}

/* Killed at any time: one whole index with its own sidecar, old or new. */
static void test_killed(void) {
    content k;
    loam_err err = {0};
    const char *path = scratch_path("k.npz");
    empty_scratch();
    make_content(&k, 1);
    CHECK(!loam_index_write(path, &k.c, &err), "%s", err.msg);
    for (int i = 0; i < 60; i++) {
        fflush(stdout);
        const pid_t child = fork();
        if (child == 0) {
            content fresh;
            for (float x = 2;; x += 1) {
                make_content(&fresh, x);
                if (loam_index_write(path, &fresh.c, &err)) _exit(1);
            }
        }
        usleep((useconds_t)(500 + i * 173 % 7000));
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        loam_index *ix = open_good(path);
        CHECK(ix && strcmp(loam_index_get_meta(ix)->model_id, "some/embedder") == 0,
              "killed %d: no sidecar for the index", i);
        CHECK(ix && loam_index_count(ix) == N_CHUNKS, "killed %d", i);
        loam_index_close(ix);
    }
    CHECK(!loam_index_write(path, &k.c, &err), "after the kills: %s", err.msg);
    check_content(path, &k);
}

int main(void) {
    loam_err err = {0};
    if (!mkdtemp(scratch) || loam_pool_new(&pool, 1, &err)) return 1;
    test_chunks();
    test_unicode();
    test_exact_scores();
    test_good(GOLDEN "ok/");
    test_good(FULL "ok/");
    test_bad_set();
    test_damage();
    test_truncated();
    test_round_trip();
    test_sidecars();
    test_lock();
    test_full_disk();
    test_interrupted_then_full_disk();
    test_killed();
    empty_scratch();
    rmdir(scratch);
    loam_pool_free(pool);
    return TEST_END("test_index");
}
