/* machine.c - the limits of this machine, and what this process holds of its memory. */
#include "bench/bench.h"

#include <stdlib.h>
#include <unistd.h>

enum { BANDWIDTH_BLOCK = 256 << 20 };

bench_limits bench_measure_limits(loam_pool *pool) {
    bench_limits m = {0};
    m.f32 = loam_measure_peak(pool, LOAM_PEAK_F32, &m.f32_unit);
    m.int8 = loam_measure_peak(pool, LOAM_PEAK_INT8, &m.int8_unit);
    m.bandwidth = loam_measure_read_bandwidth(pool, BANDWIDTH_BLOCK);
    return m;
}

double bench_resident_bytes(void) {
    char line[256] = "", *rest = NULL;
    FILE *f = fopen("/proc/self/statm", "re"); /* pages: all, resident, ... */
    const int got = f && fgets(line, sizeof line, f);
    if (f) fclose(f);
    if (!got) return 0;
    (void)strtoull(line, &rest, 10);
    return (double)strtoull(rest, NULL, 10) * (double)sysconf(_SC_PAGESIZE);
}
