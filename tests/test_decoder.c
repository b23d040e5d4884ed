/* test_decoder.c - tiny models of every family against mlx-lm: greedy ids, logits, chunks,
 * threads, and no allocation per token. */
#include "model/decoder.h"
#include "test.h"
#include <dirent.h>
#include <loam/engine.h>
#include <loam/json.h>

#define TOLERANCE 1e-4f

/* Counting allocations of the whole program: after a session is made, feeding takes none. */
#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define COUNTS_ALLOCATIONS 1
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void *malloc(size_t n);
void *calloc(size_t n, size_t size);
void *realloc(void *p, size_t n);
static volatile size_t n_allocations;
void *malloc(size_t n) {
    n_allocations++;
    return __libc_malloc(n);
}
void *calloc(size_t n, size_t size) {
    n_allocations++;
    return __libc_calloc(n, size);
}
void *realloc(void *p, size_t n) {
    n_allocations++;
    return __libc_realloc(p, n);
}
#else
#define COUNTS_ALLOCATIONS 0
static volatile size_t n_allocations;
#endif

static loam_pool *pools[2];
static size_t n_models, n_refused, n_prompts;

static float *read_npy(const char *path, size_t n) {
    loam_buf b = {0};
    loam_err err = {0};
    float *out = NULL;
    if (!loam_path_exists(path)) return NULL;
    if (loam_file_read(&b, path, 64 << 20, &err) == LOAM_OK && b.n > 10) {
        const size_t at = 10 + loam_read_u16(b.data + 8);
        CHECK(b.n - at == n * sizeof *out, "%s: %zu bytes for %zu floats", path, b.n - at, n);
        out = loam_alloc(n, sizeof *out);
        memcpy(out, b.data + at, b.n - at < n * sizeof *out ? b.n - at : n * sizeof *out);
    }
    loam_buf_deinit(&b);
    return out;
}

static size_t read_ids(const loam_json_value *v, int32_t *out, size_t max) {
    size_t n = 0;
    for (const loam_json_value *i = loam_json_first(v); i && n < max; i = loam_json_next(i)) {
        int64_t id;
        if (loam_json_int(i, &id)) out[n++] = (int32_t)id;
    }
    return n;
}

static float max_difference(const float *a, const float *b, size_t n) {
    float d = 0;
    for (size_t i = 0; i < n; i++) {
        const float e = fabsf(a[i] - b[i]);
        if (!(e <= d)) d = e;
    }
    return d;
}

typedef struct reference {
    int32_t ids[512], greedy[64];
    double margin[64];
    size_t n, n_greedy;
    const loam_json_value *top; /* of the first steps */
} reference;

static void read_reference(const loam_json_value *row, reference *r) {
    *r = (reference){.top = loam_json_get(row, "top")};
    r->n = read_ids(loam_json_get(row, "ids"), r->ids, 512);
    r->n_greedy = read_ids(loam_json_get(row, "greedy"), r->greedy, 64);
    const loam_json_value *m = loam_json_get(row, "margin");
    for (size_t i = 0; i < r->n_greedy; i++) loam_json_number(loam_json_at(m, i), &r->margin[i]);
}

static void check_top(const reference *r, size_t step, const float *logits, const char *name) {
    const loam_json_value *top = loam_json_at(r->top, step);
    int32_t ids[16];
    const size_t n = read_ids(loam_json_get(top, "ids"), ids, 16);
    CHECK(n == 10, "%s: step %zu has %zu", name, step, n);
    for (size_t i = 0; i < n; i++) {
        double want;
        loam_json_number(loam_json_at(loam_json_get(top, "logits"), i), &want);
        const float got = logits[ids[i]];
        CHECK(fabsf(got - (float)want) <= TOLERANCE, "%s: step %zu id %d: %.7g, not %.7g", name,
              step, ids[i], (double)got, want);
    }
}

/* Greedy by hand, as the golden was made: feed, look, feed. */
static void check_prompt(loam_session *s, const reference *r, const float *row, size_t vocab,
                         const char *name) {
    loam_err err = {0};
    size_t taken = 0;

    loam_session_reset(s);
    CHECK(loam_session_logits(s) == NULL, "%s: logits after a reset", name);
    if (loam_session_feed(s, r->ids, r->n, NULL, &err)) {
        CHECK(0, "%s: %s", name, err.msg);
        return;
    }
    if (row) {
        const float d = max_difference(loam_session_logits(s), row, vocab);
        CHECK(d <= TOLERANCE, "%s: prompt of %zu: logits off by %g", name, r->n, (double)d);
    }
    for (size_t i = 0; i < r->n_greedy; i++) {
        const float *logits = loam_session_logits(s);
        if (i < loam_json_count(r->top)) check_top(r, i, logits, name);
        if (r->margin[i] < 20 * (double)TOLERANCE) break;
        int32_t best = 0;
        for (size_t j = 1; j < vocab; j++)
            if (logits[j] > logits[best]) best = (int32_t)j;
        CHECK(best == r->greedy[i], "%s: prompt of %zu, step %zu: %d, not %d", name, r->n, i, best,
              r->greedy[i]);
        taken++;
        const size_t before = n_allocations;
        if (loam_session_feed(s, &r->greedy[i], 1, NULL, &err)) CHECK(0, "%s: %s", name, err.msg);
        if (COUNTS_ALLOCATIONS) CHECK(n_allocations == before, "%s: a token allocates", name);
    }
    CHECK(taken > 0, "%s: no step compared", name);
    n_prompts++;
}

typedef struct all_rows {
    const float *want;
    size_t vocab, n;
    float worst;
} all_rows;

static void compare_row(void *ctx, size_t i, const float *logits) {
    all_rows *a = ctx;
    const float d = max_difference(logits, a->want + i * a->vocab, a->vocab);
    if (!(d <= a->worst)) a->worst = d;
    a->n++;
}

static void check_all_positions(loam_session *s, const reference *r, const float *want,
                                size_t vocab, const char *name) {
    loam_err err = {0};
    all_rows a = {want, vocab, 0, 0};
    loam_session_reset(s);
    CHECK(!loam_session_feed_all(s, r->ids, r->n, compare_row, &a, &err), "%s: %s", name, err.msg);
    /* and in two calls: positions are counted from each call's first id */
    all_rows rest = {want + 5 * vocab, vocab, 0, 0};
    loam_session_reset(s);
    CHECK(!loam_session_feed(s, r->ids, 5, NULL, &err), "%s: %s", name, err.msg);
    CHECK(!loam_session_feed_all(s, r->ids + 5, r->n - 5, compare_row, &rest, &err), "%s: %s", name,
          err.msg);
    CHECK(rest.n == r->n - 5 && rest.worst <= TOLERANCE, "%s: %zu positions, off by %g", name,
          rest.n, (double)rest.worst);
    CHECK(a.n == r->n && a.worst <= TOLERANCE, "%s: %zu positions, off by %g", name, a.n,
          (double)a.worst);
}

/* The same bits whole or in pieces, with one thread or two, after a truncation, fast or exact. */
static void check_cuts(const loam_model *const m[2], const reference *r, size_t vocab,
                       const char *name) {
    float *first = loam_alloc(vocab, sizeof *first);
    loam_err err = {0};
    for (int threads = 0; threads < 2; threads++) {
        loam_session *s;
        CHECK(!loam_session_new(&s, m[threads], 300, &err), "%s: %s", name, err.msg);
        static const size_t CUTS[] = {1000, 64, 7, 1};
        for (size_t c = 0; c < 4; c++) {
            loam_session_reset(s);
            size_t n;
            for (size_t at = 0; at < r->n; at += n) {
                /* pieces of one after most of it: single steps are slow to test */
                n = CUTS[c] == 1 && at == 0 && r->n > 30 ? r->n - 30 : CUTS[c];
                if (n > r->n - at) n = r->n - at;
                CHECK(!loam_session_feed(s, r->ids + at, n, NULL, &err), "%s: %s", name, err.msg);
            }
            if (threads == 0 && c == 0)
                memcpy(first, loam_session_logits(s), vocab * sizeof *first);
            CHECK(!memcmp(first, loam_session_logits(s), vocab * sizeof *first),
                  "%s: %d threads, pieces of %zu: other bits (%g)", name, threads + 1, CUTS[c],
                  (double)max_difference(first, loam_session_logits(s), vocab));
        }
        if (r->n > 10) {
            loam_session_truncate(s, 10);
            CHECK(loam_session_position(s) == 10, "%s: truncate", name);
            CHECK(!loam_session_feed(s, r->ids + 10, r->n - 10, NULL, &err), "%s: %s", name,
                  err.msg);
            CHECK(!memcmp(first, loam_session_logits(s), vocab * sizeof *first),
                  "%s: other bits after truncating", name);
        }
        loam_session_free(s);
    }
    free(first);
}

static void check_logits_of(const char *folder, const reference *r, size_t vocab) {
    loam_err err = {0};
    loam_decoder *d;
    loam_timeline *t;
    float *all = loam_alloc(vocab, sizeof *all), some[3];
    const int32_t ids[3] = {0, (int32_t)vocab - 1, 17};
    if (loam_decoder_open(&d, folder, &err)) return;
    CHECK(!loam_timeline_new(&t, d, pools[1], LOAM_FAST, LOAM_KV_F16, r->n, &err), "%s", err.msg);
    CHECK(!loam_timeline_feed(t, r->ids, r->n, NULL, &err), "%s", err.msg);
    loam_timeline_logits(t, all);
    loam_timeline_logits_of(t, ids, 3, some);
    for (int i = 0; i < 3; i++)
        CHECK(memcmp(&some[i], &all[ids[i]], 4) == 0, "%s: logit of id %d: %g, not %g", folder,
              ids[i], (double)some[i], (double)all[ids[i]]);
    CHECK(loam_timeline_feed(t, ids, 1, NULL, &err) == LOAM_ERR_LIMIT &&
              strstr(err.msg, "context of"),
          "%s", err.msg);
    loam_timeline_free(t);
    loam_decoder_close(d);
    free(all);
}

static void check_limits(loam_session *s, const reference *r) {
    loam_err err = {0};
    int32_t bad = -1;
    loam_cancel cancel = {1};
    loam_session_reset(s);
    CHECK(loam_session_feed(s, &bad, 1, NULL, &err) == LOAM_ERR_ARGUMENT, "id -1");
    bad = 1 << 24;
    CHECK(loam_session_feed(s, &bad, 1, NULL, &err) == LOAM_ERR_ARGUMENT, "id 2^24");
    CHECK(loam_session_feed(s, r->ids, 0, NULL, &err) == LOAM_ERR_ARGUMENT, "no ids");
    CHECK(loam_session_feed(s, r->ids, r->n, &cancel, &err) == LOAM_ERR_CANCELLED, "cancel");
    CHECK(loam_session_position(s) == 0, "position after a cancel");
}

/* Families and formats of later work: refused with a message, never wrong. */
static int may_refuse(const char *name) {
    static const char *const LATER[] = {"moe",     "mixtral", "deepseek",
                                        "gpt_oss", "qwen3_5", "gemma4"};
    for (size_t i = 0; i < sizeof LATER / sizeof *LATER; i++)
        if (strstr(name, LATER[i])) return 1;
    return 0;
}

static void check_model(const char *folder, const loam_json_value *rows) {
    loam_err err = {0};
    loam_model *exact[2] = {0}, *fast[2] = {0};
    for (int i = 0; i < 2; i++) {
        const loam_status st =
            loam_model_open(&exact[i], folder,
                            &(loam_model_options){.pool = pools[i], .precision = LOAM_EXACT}, &err);
        if (st && i == 0 && may_refuse(folder)) {
            CHECK(st == LOAM_ERR_UNSUPPORTED && strlen(err.msg) > 20, "%s: %d %s", folder, st,
                  err.msg);
            n_refused++;
            return;
        }
        CHECK(!st, "%s", err.msg);
        if (st) return;
        CHECK(!loam_model_open(&fast[i], folder, &(loam_model_options){.pool = pools[i]}, &err),
              "%s", err.msg);
    }
    loam_model_info info;
    loam_model_get_info(exact[1], &info);
    char *path = loam_format("%s/golden/logits.npy", folder),
         *path_all = loam_format("%s/golden/logits_all.npy", folder);
    float *logits = read_npy(path, 3 * info.vocab), *all = read_npy(path_all, 17 * info.vocab);
    loam_session *s;
    CHECK(!loam_session_new(&s, exact[1], 300, &err), "%s", err.msg);
    size_t i = 0;
    for (const loam_json_value *row = loam_json_first(rows); row; row = loam_json_next(row), i++) {
        reference r;
        read_reference(row, &r);
        check_prompt(s, &r, logits ? logits + i * info.vocab : NULL, info.vocab, folder);
        if (i == 1 && all) check_all_positions(s, &r, all, info.vocab, folder);
        if (i == 1) check_limits(s, &r);
        if (i == 1) check_logits_of(folder, &r, info.vocab);
        if (i == 2) check_cuts((const loam_model *const *)exact, &r, info.vocab, folder);
        if (i == 2) check_cuts((const loam_model *const *)fast, &r, info.vocab, folder);
    }
    CHECK(i == 3, "%s: %zu prompts", folder, i);
    n_models++;
    loam_session_free(s);
    free(logits);
    free(all);
    free(path);
    free(path_all);
    for (i = 0; i < 2; i++) {
        loam_model_close(exact[i]);
        loam_model_close(fast[i]);
    }
}

/* JSON lines as one document: "[" line "," line "]". */
static loam_json *read_lines(const char *path) {
    loam_buf b = {0}, all = {0};
    loam_json *doc = NULL;
    loam_err err = {0};
    if (loam_path_exists(path) && !loam_file_read(&b, path, 1 << 24, &err)) {
        loam_buf_putc(&all, '[');
        for (size_t i = 0; i < b.n; i++)
            loam_buf_putc(&all, b.data[i] == '\n' ? (i + 1 < b.n ? ',' : ' ') : b.data[i]);
        loam_buf_putc(&all, ']');
        CHECK(!loam_json_parse(&doc, all.data, all.n, path, 0, &err), "%s", err.msg);
    }
    loam_buf_deinit(&b);
    loam_buf_deinit(&all);
    return doc;
}

/* Calls itself for sub-folders; a folder with golden/prompts.jsonl is a model. */
static void walk(const char *folder, int depth) {
    char *path = loam_format("%s/golden/prompts.jsonl", folder);
    loam_json *doc = read_lines(path);
    if (doc) check_model(folder, loam_json_root(doc));
    const int found = doc != NULL;
    loam_json_free(doc);
    free(path);
    DIR *d = found || depth == 0 ? NULL : opendir(folder);
    for (struct dirent *e; d && (e = readdir(d));) {
        if (e->d_name[0] == '.') continue;
        char *sub = loam_path_join(folder, e->d_name);
        if (loam_path_is_folder(sub)) walk(sub, depth - 1);
        free(sub);
    }
    if (d) closedir(d);
}

/* A folder as argument is walked instead. */
int main(int argc, char **argv) {
    loam_err err = {0};
    for (unsigned i = 0; i < 2; i++)
        if (loam_pool_new(&pools[i], i + 1, &err)) return 1;
    const char *full = "../shared/golden/llm/families";
    const int has_full = loam_path_exists(full);
    walk(argc > 1 ? argv[1] : has_full ? full : "tests/golden/llm/families", 2);
    CHECK(argc > 1 || n_models >= 20, "only %zu models", n_models);
    printf("%s: %zu models, %zu prompts compared, %zu refused\n",
           argc > 1   ? argv[1]
           : has_full ? "full set"
                      : "own copies",
           n_models, n_prompts, n_refused);
    for (int i = 0; i < 2; i++) loam_pool_free(pools[i]);
    return TEST_END("test_decoder");
}
