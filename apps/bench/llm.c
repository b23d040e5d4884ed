/* llm.c - prompt reading and token writing, as llama-bench counts them: ppN feeds N ids to an
 * empty context, tgN feeds N ids one by one after a first; no sampling, no tokenizer. */
#include "bench/bench.h"

#include <loam/engine.h>
#include <stdlib.h>
#include <string.h>

/* Ids spread over the vocabulary, the same in every run. */
static void fill_ids(int32_t *ids, size_t n, size_t vocab) {
    uint64_t x = 88172645463325252u;
    for (size_t i = 0; i < n; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        ids[i] = (int32_t)(x % vocab);
    }
}

typedef struct subject {
    const bench_args *a;
    loam_model *model;
    loam_session *session;
    loam_model_info info;
    int32_t *ids;
} subject;

static double time_feed(const subject *s, const int32_t *ids, size_t n, size_t step) {
    loam_err err = {0};
    const double start = bench_now();
    for (size_t i = 0; i < n; i += step)
        if (loam_session_feed(s->session, ids + i, step < n - i ? step : n - i, &cli_cancel, &err))
            cli_die(&err);
    return bench_now() - start;
}

/* Of a token: the products of the layers, whose inputs are integers or not; attention and the
 * head, which one token of a prompt meets, are left out. */
static void set_products(const subject *s, bench_row *row) {
    row->macs_per_unit = (double)s->info.layer_params;
    row->is_integer = s->info.bits > 0 && cli_precision(s->a->precision) == LOAM_FAST;
}

static void measure_reading(const subject *s, bench_report *r, size_t n) {
    bench_row *row = bench_add(r, "tokens/s", "pp%zu", n);
    set_products(s, row);
    for (size_t k = 0; k < s->a->repeat; k++) {
        loam_session_reset(s->session);
        bench_sample(row, (double)n / time_feed(s, s->ids, n, n));
    }
}

static void measure_writing(const subject *s, bench_report *r, size_t n) {
    bench_row *row = bench_add(r, "tokens/s", "tg%zu", n);
    row->bytes_per_unit =
        (double)s->info.token_bytes + (double)s->info.kv_bytes * (double)(n + 1) / 2;
    for (size_t k = 0; k < s->a->repeat; k++) {
        loam_session_reset(s->session);
        time_feed(s, s->ids, 1, 1);
        bench_sample(row, (double)n / time_feed(s, s->ids + 1, n, 1));
    }
}

enum { VERIFY_BEHIND = 400 }; /* about the length of a question with passages */

static void drop_logits(void *ctx, size_t i, const float *logits) {
    (void)ctx, (void)i, (void)logits;
}

/* What it takes to check a draft: passes over m ids behind a prompt, the logits of each wanted.
 * The lengths take turns, so that they meet the same moods of the machine. */
static void measure_passes(const subject *s, bench_report *r, const cli_sizes *lengths) {
    loam_err err = {0};
    const size_t first = r->n_rows;
    if (lengths->n == 0) return;
    for (size_t i = 0; i < lengths->n; i++)
        bench_add(r, "ms", "pass of %zu behind %d", lengths->items[i], VERIFY_BEHIND);
    loam_session_reset(s->session);
    time_feed(s, s->ids, VERIFY_BEHIND, VERIFY_BEHIND);
    for (size_t k = 0; k < s->a->repeat * lengths->n; k++) {
        const size_t m = lengths->items[k % lengths->n];
        loam_session_truncate(s->session, VERIFY_BEHIND);
        const double start = bench_now();
        if (loam_session_feed_all(s->session, s->ids + VERIFY_BEHIND, m, drop_logits, NULL, &err))
            cli_die(&err);
        bench_sample(&r->rows[first + k % lengths->n], (bench_now() - start) * 1e3);
    }
}

static size_t find_longest(const bench_args *a, const cli_sizes *pp, const cli_sizes *tg) {
    size_t longest = 16;
    for (size_t i = 0; i < pp->n + tg->n; i++) {
        const size_t n = (i < pp->n ? pp->items[i] : tg->items[i - pp->n]) + 1;
        if (n > longest) longest = n;
    }
    for (size_t i = 0; i < a->verify.n; i++) {
        const size_t n = VERIFY_BEHIND + a->verify.items[i];
        if (n > longest) longest = n;
    }
    return longest;
}

/* Rows for pp, tg and passes of a model that is open. */
static void measure_model(bench_report *r, const bench_args *a, const char *folder,
                          const cli_sizes *pp, const cli_sizes *tg) {
    loam_err err = {0};
    subject s = {.a = a};
    const size_t longest = find_longest(a, pp, tg);
    loam_pool *pool = cli_pool(a->threads);
    const loam_kv_type kv = cli_kv(a->kv, a->precision);
    const loam_model_options o = {pool, cli_precision(a->precision), kv};
    r->threads = loam_pool_size(pool);
    r->limits = bench_measure_limits(pool);
    const double start = bench_now();
    if (loam_model_open(&s.model, folder, &o, &err)) cli_die(&err);
    bench_sample(bench_add(r, "ms", "load"), (bench_now() - start) * 1e3);
    if (!a->keep) bench_shape_done(); /* what is mapped stays until it is closed */
    loam_model_get_info(s.model, &s.info);
    snprintf(r->subject, sizeof r->subject, "%.180s (%s, %s%s)", a->model ? a->model : a->shape,
             s.info.model_type, a->precision, kv == LOAM_KV_INT8 ? ", kv int8" : "");
    if (loam_session_new(&s.session, s.model, longest, &err)) cli_die(&err);
    s.ids = malloc(longest * sizeof *s.ids);
    if (!s.ids) cli_fail(CLI_EXIT_RESOURCES, "out of memory");
    fill_ids(s.ids, longest, s.info.vocab);
    time_feed(&s, s.ids, 16, 16); /* touch the weights once */
    for (size_t i = 0; i < pp->n; i++) measure_reading(&s, r, pp->items[i]);
    for (size_t i = 0; i < tg->n; i++) measure_writing(&s, r, tg->items[i]);
    measure_passes(&s, r, &a->verify);
    r->memory = (bench_memory){bench_resident_bytes(), (double)s.info.weight_bytes,
                               (double)s.info.kv_bytes * (double)longest};
    free(s.ids);
    loam_session_free(s.session);
    loam_model_close(s.model);
    loam_pool_free(pool);
}

static void measure_first(bench_report *r, const bench_args *a, const char *folder, size_t n) {
    enum { SMALL_VOCABULARY = 250 }; /* every model has that many: none is open here */
    int32_t *ids = malloc(n * sizeof *ids);
    if (!ids) cli_fail(CLI_EXIT_RESOURCES, "out of memory");
    fill_ids(ids, n, SMALL_VOCABULARY);
    bench_first(r, a, folder, ids, n);
    free(ids);
}

int bench_llm(const bench_args *a, const char *name) {
    const int asked = a->pp.n || a->tg.n || a->first.n || a->verify.n;
    const cli_sizes pp = asked ? a->pp : (cli_sizes){{128, 512}, 2};
    const cli_sizes tg = asked ? a->tg : (cli_sizes){{64}, 1};
    bench_report r = {.what = name};

    if (!a->model == !a->shape) cli_fail(CLI_EXIT_USAGE, "give --model or --shape");
    char *folder = a->model ? cli_find_model(a->model) : bench_shape_folder(a->shape, a->keep);
    snprintf(r.subject, sizeof r.subject, "%.200s (%s)", a->model ? a->model : a->shape,
             a->precision);
    /* first, while this process has no threads: its children make their own */
    for (size_t i = 0; i < a->first.n; i++) measure_first(&r, a, folder, a->first.items[i]);
    if (pp.n || tg.n || a->verify.n) measure_model(&r, a, folder, &pp, &tg);
    if (!r.threads) r.threads = a->threads ? (unsigned)a->threads : loam_cpu_count();
    bench_print(&r, a);
    bench_free(&r);
    free(folder);
    return CLI_EXIT_OK;
}
