/* bench.h - what the benchmarks share: samples, their statistics, one report in three forms. */
#ifndef LOAM_BENCH_H
#define LOAM_BENCH_H

#include "cli/cli.h"

enum { BENCH_MAX_SAMPLES = 64 };

typedef struct bench_args {
    const char *model, *shape, *input, *format;
    cli_sizes pp, tg, first, verify;
    size_t repeat, threads, batch, count, dim;
    const char *precision, *kv;
    int json, csv, keep;
} bench_args;

/* One line of a report: a metric and its samples (of a rate or a time). */
typedef struct bench_row {
    char metric[48];
    const char *unit;
    double samples[BENCH_MAX_SAMPLES];
    size_t n;
    double bytes_per_unit; /* memory read per token, vector ...; 0: not said */
    double macs_per_unit;  /* multiply-adds per token, sentence ...; 0: not said */
    int is_integer;        /* these are of 8-bit integers, not of f32 */
} bench_row;

/* What the machine can do at most, measured by this very process. */
typedef struct bench_limits {
    double bandwidth; /* bytes/s; 0: not measured */
    double f32, int8; /* multiply-adds/s; 0: not measured */
    const char *f32_unit, *int8_unit;
} bench_limits;

/* Bytes in memory at the end; all 0: not said. */
typedef struct bench_memory {
    double resident, weights, cache;
} bench_memory;

typedef struct bench_report {
    const char *what;  /* "llm" */
    char subject[256]; /* model folder, shape, file */
    unsigned threads;
    bench_limits limits;
    bench_memory memory;
    bench_row *rows;
    size_t n_rows;
} bench_report;

bench_row *bench_add(bench_report *r, const char *unit, const char *fmt, ...) LOAM_PRINTF(3, 4);
void bench_sample(bench_row *row, double value);
void bench_print(const bench_report *r, const bench_args *a);
void bench_free(bench_report *r);
double bench_now(void);
/* Takes about half a second and 256 MB for a moment. */
bench_limits bench_measure_limits(loam_pool *pool);
double bench_resident_bytes(void); /* of this process now; 0: not known */

int bench_llm(const bench_args *a, const char *name);
int bench_embed(const bench_args *a);
int bench_search(const bench_args *a);
int bench_tokenize(const bench_args *a);

/* Milliseconds from a fresh process to the logits behind `n` ids, a.repeat times: the
 * model opened and the ids read; then with what was read taken from a file. */
void bench_first(bench_report *r, const bench_args *a, const char *folder, const int32_t *ids,
                 size_t n);

/* A folder with random weights of a known architecture's true shape; caller frees.  It is a new
 * one in $TMPDIR that bench_shape_done removes, and so does the end of the program; with `keep`
 * it is $XDG_CACHE_HOME/loam/shapes/NAME and stays for the next time.
 * Exits 2 for an unknown name (listing those there are). */
char *bench_shape_folder(const char *name, int keep);
void bench_shape_done(void);

#endif
