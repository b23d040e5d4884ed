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

/* Percent of the bandwidth, and of the arithmetic, that the median comes to; 0: not said. */
static double share_of_bandwidth(const bench_report *r, const bench_row *row, double rate) {
    return r->limits.bandwidth > 0 ? 100 * rate * row->bytes_per_unit / r->limits.bandwidth : 0;
}

static double share_of_peak(const bench_report *r, const bench_row *row, double rate) {
    const double peak = row->is_integer ? r->limits.int8 : r->limits.f32;
    return peak > 0 ? 100 * rate * row->macs_per_unit / peak : 0;
}

static void put_text(loam_buf *b, const char *name, const char *text) {
    loam_buf_printf(b, ",\"%s\":", name);
    loam_json_put_string(b, text ? text : "", text ? strlen(text) : 0);
}

static void print_json(const bench_report *r, const char *cpu) {
    const bench_limits *m = &r->limits;
    loam_buf b = {0};
    loam_buf_printf(&b, "{\"schema\":2,\"bench\":\"%s\"", r->what);
    put_text(&b, "subject", r->subject);
    put_text(&b, "version", LOAM_VERSION);
    put_text(&b, "cpu", cpu);
    put_text(&b, "isa", loam_cpu_isa());
    loam_buf_printf(&b, ",\"threads\":%u,\"read_bandwidth\":%.0f,\"peak_f32\":%.6g", r->threads,
                    m->bandwidth, m->f32);
    put_text(&b, "peak_f32_unit", m->f32_unit);
    loam_buf_printf(&b, ",\"peak_int8\":%.6g", m->int8);
    put_text(&b, "peak_int8_unit", m->int8_unit);
    if (r->memory.resident > 0)
        loam_buf_printf(&b, ",\"memory\":{\"resident\":%.0f,\"weights\":%.0f,\"cache\":%.0f}",
                        r->memory.resident, r->memory.weights, r->memory.cache);
    loam_buf_puts(&b, ",\"rows\":[");
    for (size_t i = 0; i < r->n_rows; i++) {
        const bench_row *row = &r->rows[i];
        const summary s = summarise(row);
        loam_buf_printf(&b,
                        "%s{\"metric\":\"%s\",\"unit\":\"%s\",\"mean\":%.6g,\"deviation\":%.6g,"
                        "\"median\":%.6g,\"bytes_per_unit\":%.0f,\"macs_per_unit\":%.0f,"
                        "\"share_of_bandwidth\":%.4g,\"share_of_peak\":%.4g,\"samples\":[",
                        i ? "," : "", row->metric, row->unit, s.mean, s.deviation, s.median,
                        row->bytes_per_unit, row->macs_per_unit,
                        share_of_bandwidth(r, row, s.median), share_of_peak(r, row, s.median));
        for (size_t k = 0; k < row->n; k++)
            loam_buf_printf(&b, "%s%.6g", k ? "," : "", row->samples[k]);
        loam_buf_puts(&b, "]}");
    }
    loam_buf_puts(&b, "]}\n");
    if (b.failed) cli_fail(CLI_EXIT_RESOURCES, "out of memory");
    fwrite(b.data, 1, b.n, stdout);
    loam_buf_deinit(&b);
}

static void print_csv(const bench_report *r) {
    printf("bench,subject,isa,threads,metric,unit,mean,deviation,median,min,max,n,"
           "share_of_bandwidth,share_of_peak\n");
    for (size_t i = 0; i < r->n_rows; i++) {
        const bench_row *row = &r->rows[i];
        const summary s = summarise(row);
        printf("%s,\"", r->what);
        for (const char *c = r->subject; *c; c++) printf(*c == '"' ? "\"\"" : "%c", *c);
        printf("\",%s,%u,\"%s\",%s,%.6g,%.6g,%.6g,%.6g,%.6g,%zu,%.4g,%.4g\n", loam_cpu_isa(),
               r->threads, row->metric, row->unit, s.mean, s.deviation, s.median, s.min, s.max,
               row->n, share_of_bandwidth(r, row, s.median), share_of_peak(r, row, s.median));
    }
}

static void print_memory(const bench_memory *m) {
    const double rest = m->resident - m->weights - m->cache;
    printf("\nresident: %.0f MB: %.0f of weights, %.0f of keys and values, %.0f of all else\n",
           m->resident / 1e6, m->weights / 1e6, m->cache / 1e6, rest > 0 ? rest / 1e6 : 0);
}

static void print_table(const bench_report *r, const char *cpu) {
    const bench_limits *m = &r->limits;
    printf("%s: %s\n%s, %s, %u thread%s, loam %s\n", r->what, r->subject, cpu, loam_cpu_isa(),
           r->threads, r->threads == 1 ? "" : "s", LOAM_VERSION);
    if (m->bandwidth > 0)
        printf("limits measured first: memory read %.1f GB/s", m->bandwidth / 1e9);
    if (m->f32 > 0) printf("; f32 %.0f GMAC/s (%s)", m->f32 / 1e9, m->f32_unit);
    if (m->int8 > 0) printf("; int8 %.0f GMAC/s (%s)", m->int8 / 1e9, m->int8_unit);
    printf("%s\n%-24s %11s %9s %11s  %-12s%s\n", m->bandwidth > 0 ? "\n" : "", "metric", "mean",
           "+-", "median", "unit", m->bandwidth > 0 ? "of the limit" : "");
    for (size_t i = 0; i < r->n_rows; i++) {
        const bench_row *row = &r->rows[i];
        const summary s = summarise(row);
        const double bytes = share_of_bandwidth(r, row, s.median);
        const double macs = share_of_peak(r, row, s.median);
        printf("%-24s %11.2f %9.2f %11.2f  %-12s", row->metric, s.mean, s.deviation, s.median,
               row->unit);
        if (bytes > 0)
            printf("%.0f %% of bandwidth, %.1f MB each", bytes, row->bytes_per_unit / 1e6);
        if (macs > 0)
            printf("%s%.0f %% of %s", bytes > 0 ? "; " : "", macs,
                   row->is_integer ? "int8" : "f32");
        printf("\n");
    }
    if (r->memory.resident > 0) print_memory(&r->memory);
}

void bench_print(const bench_report *r, const bench_args *a) {
    char cpu[128];
    cpu_name(cpu, sizeof cpu);
    if (a->json) {
        print_json(r, cpu);
    } else if (a->csv) {
        print_csv(r);
    } else {
        print_table(r, cpu);
    }
}
