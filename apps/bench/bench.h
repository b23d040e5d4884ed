/* bench.h - what the benchmarks share: samples, their statistics, one report in three forms. */
#ifndef LOAM_BENCH_H
#define LOAM_BENCH_H

#include "cli/cli.h"

enum { BENCH_MAX_SAMPLES = 64 };

typedef struct bench_args {
    const char *model, *shape, *input, *format;
    cli_strings pp, tg;
    size_t repeat, threads, batch, count, dim;
    const char *precision;
    int json, csv;
} bench_args;

/* One line of a report: a metric and its samples (of a rate or a time). */
typedef struct bench_row {
    char metric[48];
    const char *unit;
    double samples[BENCH_MAX_SAMPLES];
    size_t n;
    double bytes_per_unit; /* memory read per token, vector ...; 0: not said */
} bench_row;

typedef struct bench_report {
    const char *what;  /* "llm" */
    char subject[256]; /* model folder, shape, file */
    unsigned threads;
    double bandwidth; /* bytes/s measured; 0: not measured */
    bench_row *rows;
    size_t n_rows;
} bench_report;

bench_row *bench_add(bench_report *r, const char *unit, const char *fmt, ...) LOAM_PRINTF(3, 4);
void bench_sample(bench_row *row, double value);
void bench_print(const bench_report *r, const bench_args *a);
void bench_free(bench_report *r);
double bench_now(void);

int bench_llm(const bench_args *a, const char *name);
int bench_embed(const bench_args *a);
int bench_search(const bench_args *a);
int bench_tokenize(const bench_args *a);

/* A folder with random weights of a known architecture's true shape, written once below the
 * system's temp folder; caller frees.  Exits 2 for an unknown name (listing those there are). */
char *bench_shape_folder(const char *name);

#endif
