/* llm.c - prompt reading and token writing, as llama-bench counts them: ppN feeds N ids to an
 * empty context, tgN feeds N ids one by one after a first; no sampling, no tokenizer. */
#include "bench/bench.h"

#include <loam/engine.h>
#include <stdlib.h>
#include <string.h>

enum { BANDWIDTH_BLOCK = 256 << 20 };

static size_t parse_length(const char *text) {
    char *end = NULL;
    const unsigned long v = strtoul(text, &end, 10);
    if (end == text || *end || v < 1 || v > 1000000)
        cli_fail(CLI_EXIT_USAGE, "length '%s': a number from 1 to 1000000 was expected", text);
    return v;
}

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

static double time_feed(loam_session *s, const int32_t *ids, size_t n, size_t step) {
    loam_err err = {0};
    const double start = bench_now();
    for (size_t i = 0; i < n; i += step)
        if (loam_session_feed(s, ids + i, step < n - i ? step : n - i, &cli_cancel, &err))
            cli_die(&err);
    return bench_now() - start;
}

int bench_llm(const bench_args *a, const char *name) {
    static const char *default_pp[] = {"128", "512"}, *default_tg[] = {"64"};
    const cli_strings pp = a->pp.n || a->tg.n ? a->pp : (cli_strings){default_pp, 2};
    const cli_strings tg = a->tg.n || a->pp.n ? a->tg : (cli_strings){default_tg, 1};
    bench_report r = {.what = name};
    loam_err err = {0};
    loam_model *m = NULL;
    loam_session *s = NULL;
    loam_model_info info;
    size_t longest = 1;

    if (!a->model == !a->shape) cli_fail(CLI_EXIT_USAGE, "give --model or --shape");
    for (size_t i = 0; i < pp.n + tg.n; i++) {
        const size_t n = parse_length(i < pp.n ? pp.items[i] : tg.items[i - pp.n]) + 1;
        if (n > longest) longest = n;
    }
    char *folder = a->model ? cli_find_model(a->model) : bench_shape_folder(a->shape);
    loam_pool *pool = cli_pool(a->threads);
    const loam_model_options o = {pool, !strcmp(a->precision, "exact") ? LOAM_EXACT : LOAM_FAST};
    const double start = bench_now();
    if (loam_model_open(&m, folder, &o, &err)) cli_die(&err);
    const double load = bench_now() - start;
    loam_model_get_info(m, &info);
    if (loam_session_new(&s, m, longest, &err)) cli_die(&err);
    int32_t *ids = malloc(longest * sizeof *ids);
    if (!ids) cli_fail(CLI_EXIT_RESOURCES, "out of memory");
    fill_ids(ids, longest, info.vocab);

    snprintf(r.subject, sizeof r.subject, "%.200s (%s, %s)", a->model ? a->model : a->shape,
             info.model_type, a->precision);
    r.threads = loam_pool_size(pool);
    r.bandwidth = loam_measure_read_bandwidth(pool, BANDWIDTH_BLOCK);
    bench_sample(bench_add(&r, "ms", "load"), load * 1e3);
    time_feed(s, ids, longest < 16 ? longest : 16, 16); /* touch the weights once */
    for (size_t i = 0; i < pp.n; i++) {
        const size_t n = parse_length(pp.items[i]);
        bench_row *row = bench_add(&r, "tokens/s", "pp%zu", n);
        for (size_t k = 0; k < a->repeat; k++) {
            loam_session_reset(s);
            bench_sample(row, (double)n / time_feed(s, ids, n, n));
        }
    }
    for (size_t i = 0; i < tg.n; i++) {
        const size_t n = parse_length(tg.items[i]);
        bench_row *row = bench_add(&r, "tokens/s", "tg%zu", n);
        row->bytes_per_unit = (double)info.weight_bytes;
        for (size_t k = 0; k < a->repeat; k++) {
            loam_session_reset(s);
            time_feed(s, ids, 1, 1);
            bench_sample(row, (double)n / time_feed(s, ids + 1, n, 1));
        }
    }
    bench_print(&r, a);
    bench_free(&r);
    free(ids);
    loam_session_free(s);
    loam_model_close(m);
    loam_pool_free(pool);
    free(folder);
    return CLI_EXIT_OK;
}
