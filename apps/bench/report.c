/* report.c - samples to a table, JSON or CSV. */
#include "bench/bench.h"

#include <loam/json.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

double bench_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

bench_row *bench_add(bench_report *r, const char *unit, const char *fmt, ...) {
    bench_row *grown = realloc(r->rows, (r->n_rows + 1) * sizeof *grown);
    if (!grown) cli_fail(CLI_EXIT_RESOURCES, "out of memory");
    r->rows = grown;
    bench_row *row = &r->rows[r->n_rows++];
    *row = (bench_row){.unit = unit};
    va_list args;
    va_start(args, fmt);
    vsnprintf(row->metric, sizeof row->metric, fmt, args);
    va_end(args);
    return row;
}

void bench_sample(bench_row *row, double value) {
    if (row->n < BENCH_MAX_SAMPLES) row->samples[row->n++] = value;
}

void bench_free(bench_report *r) {
    free(r->rows);
    *r = (bench_report){0};
}

typedef struct summary {
    double mean, deviation, median, min, max;
} summary;

static int compare(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static summary summarise(const bench_row *row) {
    double sorted[BENCH_MAX_SAMPLES], squares = 0;
    summary s = {0};
    if (row->n == 0) return s;
    memcpy(sorted, row->samples, row->n * sizeof *sorted);
    qsort(sorted, row->n, sizeof *sorted, compare);
    for (size_t i = 0; i < row->n; i++) s.mean += sorted[i] / (double)row->n;
    for (size_t i = 0; i < row->n; i++) squares += (sorted[i] - s.mean) * (sorted[i] - s.mean);
    s.deviation = row->n > 1 ? sqrt(squares / (double)(row->n - 1)) : 0;
    s.median = row->n % 2 ? sorted[row->n / 2] : (sorted[row->n / 2 - 1] + sorted[row->n / 2]) / 2;
    s.min = sorted[0];
    s.max = sorted[row->n - 1];
    return s;
}

static void cpu_name(char *out, size_t n) {
    snprintf(out, n, "unknown");
    FILE *f = fopen("/proc/cpuinfo", "re");
    char line[256];
    while (f && fgets(line, sizeof line, f)) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || !colon) continue;
        colon[strcspn(colon, "\n")] = 0;
        snprintf(out, n, "%s", colon + 2);
        break;
    }
    if (f) fclose(f);
}

static void print_json(const bench_report *r, const char *cpu) {
    loam_buf b = {0};
    loam_buf_printf(&b, "{\"schema\":1,\"bench\":\"%s\",\"subject\":", r->what);
    loam_json_put_string(&b, r->subject, strlen(r->subject));
    loam_buf_printf(&b, ",\"version\":\"%s\",\"cpu\":", LOAM_VERSION);
    loam_json_put_string(&b, cpu, strlen(cpu));
    loam_buf_printf(&b, ",\"isa\":\"%s\",\"threads\":%u,\"read_bandwidth\":%.0f,\"rows\":[",
                    loam_cpu_isa(), r->threads, r->bandwidth);
    for (size_t i = 0; i < r->n_rows; i++) {
        const bench_row *row = &r->rows[i];
        const summary s = summarise(row);
        loam_buf_printf(&b,
                        "%s{\"metric\":\"%s\",\"unit\":\"%s\",\"mean\":%.6g,\"deviation\":%.6g,"
                        "\"median\":%.6g,\"bytes_per_unit\":%.0f,\"samples\":[",
                        i ? "," : "", row->metric, row->unit, s.mean, s.deviation, s.median,
                        row->bytes_per_unit);
        for (size_t k = 0; k < row->n; k++)
            loam_buf_printf(&b, "%s%.6g", k ? "," : "", row->samples[k]);
        loam_buf_puts(&b, "]}");
    }
    loam_buf_puts(&b, "]}\n");
    if (b.failed) cli_fail(CLI_EXIT_RESOURCES, "out of memory");
    fwrite(b.data, 1, b.n, stdout);
    loam_buf_deinit(&b);
}

static void print_table(const bench_report *r, const char *cpu) {
    printf("%s: %s\n%s, %s, %u thread%s, loam %s", r->what, r->subject, cpu, loam_cpu_isa(),
           r->threads, r->threads == 1 ? "" : "s", LOAM_VERSION);
    if (r->bandwidth > 0) printf(", memory read %.1f GB/s", r->bandwidth / 1e9);
    printf("\n\n%-22s %12s %10s %12s  %-12s%s\n", "metric", "mean", "+-", "median", "unit",
           r->bandwidth > 0 ? "of bandwidth" : "");
    for (size_t i = 0; i < r->n_rows; i++) {
        const bench_row *row = &r->rows[i];
        const summary s = summarise(row);
        printf("%-22s %12.2f %10.2f %12.2f  %-12s", row->metric, s.mean, s.deviation, s.median,
               row->unit);
        if (row->bytes_per_unit > 0 && r->bandwidth > 0)
            printf("%.0f %%  (%.1f MB each)", 100 * s.median * row->bytes_per_unit / r->bandwidth,
                   row->bytes_per_unit / 1e6);
        printf("\n");
    }
}

void bench_print(const bench_report *r, const bench_args *a) {
    char cpu[128];
    cpu_name(cpu, sizeof cpu);
    if (a->json) {
        print_json(r, cpu);
    } else if (a->csv) {
        printf("bench,subject,isa,threads,metric,unit,mean,deviation,median,min,max,n\n");
        for (size_t i = 0; i < r->n_rows; i++) {
            const summary s = summarise(&r->rows[i]);
            printf("%s,\"%s\",%s,%u,%s,%s,%.6g,%.6g,%.6g,%.6g,%.6g,%zu\n", r->what, r->subject,
                   loam_cpu_isa(), r->threads, r->rows[i].metric, r->rows[i].unit, s.mean,
                   s.deviation, s.median, s.min, s.max, r->rows[i].n);
        }
    } else {
        print_table(r, cpu);
    }
}
