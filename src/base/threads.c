/* threads.c - the one pool of threads: persistent workers that spin a little, then sleep.
 *
 * A job is published by bumping `epoch`; each worker runs it once and counts down
 * `pending`.  Waiting is a short spin (a decode step has hundreds of jobs, a futex
 * round trip costs more than most of them), then a futex sleep.  With more workers
 * than CPUs the spin only burns the time the others need, so it is skipped. */
#include "base/threads.h"
#include "base/base.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MAX_THREADS = 256, SPINS = 20000 };

typedef void (*job_fn)(void *ctx, unsigned worker, unsigned n_workers);

struct loam_pool {
    unsigned n;
    int spins;
    pthread_t threads[MAX_THREADS];
    pthread_mutex_t callers; /* one job at a time */
    job_fn fn;
    void *ctx;
    _Atomic uint32_t epoch, pending, stop;
    _Atomic uint32_t barrier_count, barrier_phase;
    _Atomic unsigned ids; /* gives each starting thread its number */
};

static void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void futex_wait(_Atomic uint32_t *word, uint32_t seen) {
    syscall(SYS_futex, (void *)(uintptr_t)word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}

static void futex_wake_all(_Atomic uint32_t *word) {
    syscall(SYS_futex, (void *)(uintptr_t)word, FUTEX_WAKE_PRIVATE, 0x7fffffff, NULL, NULL, 0);
}

/* Returns once *word differs from `seen`. */
static void wait_change(_Atomic uint32_t *word, uint32_t seen, int spins) {
    for (int i = 0; i < spins; i++) {
        if (atomic_load_explicit(word, memory_order_acquire) != seen) return;
        relax();
    }
    while (atomic_load_explicit(word, memory_order_acquire) == seen) futex_wait(word, seen);
}

static void *work(void *arg) {
    loam_pool *p = arg;
    const unsigned me = atomic_fetch_add(&p->ids, 1) + 1;
    uint32_t seen = 0;
    for (;;) {
        wait_change(&p->epoch, seen, p->spins);
        seen++;
        if (atomic_load_explicit(&p->stop, memory_order_acquire)) return NULL;
        p->fn(p->ctx, me, p->n);
        if (atomic_fetch_sub_explicit(&p->pending, 1, memory_order_acq_rel) == 1)
            futex_wake_all(&p->pending);
    }
}

void loam_pool_run(loam_pool *pool, job_fn fn, void *ctx) {
    if (pool->n == 1) {
        pthread_mutex_lock(&pool->callers);
        fn(ctx, 0, 1);
        pthread_mutex_unlock(&pool->callers);
        return;
    }
    pthread_mutex_lock(&pool->callers);
    pool->fn = fn;
    pool->ctx = ctx;
    atomic_store_explicit(&pool->pending, pool->n - 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&pool->epoch, 1, memory_order_release);
    futex_wake_all(&pool->epoch);
    fn(ctx, 0, pool->n);
    for (;;) {
        const uint32_t left = atomic_load_explicit(&pool->pending, memory_order_acquire);
        if (left == 0) break;
        wait_change(&pool->pending, left, pool->spins);
    }
    pthread_mutex_unlock(&pool->callers);
}

void loam_pool_barrier(loam_pool *pool) {
    if (pool->n == 1) return;
    const uint32_t phase = atomic_load_explicit(&pool->barrier_phase, memory_order_acquire);
    if (atomic_fetch_add_explicit(&pool->barrier_count, 1, memory_order_acq_rel) == pool->n - 1) {
        atomic_store_explicit(&pool->barrier_count, 0, memory_order_relaxed);
        atomic_fetch_add_explicit(&pool->barrier_phase, 1, memory_order_release);
        futex_wake_all(&pool->barrier_phase);
        return;
    }
    wait_change(&pool->barrier_phase, phase, pool->spins);
}

/* One range list a worker: the owner and a thief both take from the front. */
typedef struct range_job {
    size_t n, grain, n_ranges, per_worker;
    void (*fn)(void *ctx, size_t begin, size_t end, unsigned worker);
    void *ctx;
    struct {
        _Alignas(64) _Atomic size_t next;
    } queue[MAX_THREADS];
} range_job;

static void run_ranges(range_job *j, unsigned queue, unsigned worker) {
    const size_t first = queue * j->per_worker;
    if (first >= j->n_ranges) return;
    const size_t count = j->n_ranges - first < j->per_worker ? j->n_ranges - first : j->per_worker;
    for (;;) {
        const size_t i = atomic_fetch_add_explicit(&j->queue[queue].next, 1, memory_order_relaxed);
        if (i >= count) return;
        const size_t begin = (first + i) * j->grain;
        const size_t end = j->n - begin < j->grain ? j->n : begin + j->grain;
        j->fn(j->ctx, begin, end, worker);
    }
}

static void run_range_job(void *ctx, unsigned worker, unsigned n_workers) {
    range_job *j = ctx;
    for (unsigned i = 0; i < n_workers; i++) run_ranges(j, (worker + i) % n_workers, worker);
}

void loam_pool_for(loam_pool *pool, size_t n, size_t grain,
                   void (*fn)(void *ctx, size_t begin, size_t end, unsigned worker), void *ctx) {
    if (n == 0) return;
    if (grain == 0) grain = 1;
    if (pool->n == 1 || n <= grain) {
        fn(ctx, 0, n, 0);
        return;
    }
    /* about 8 ranges a worker: enough to even out, few enough to cost nothing */
    size_t step = (n / (8 * (size_t)pool->n) + grain - 1) / grain * grain;
    if (step == 0) step = grain;
    range_job j;
    j.n = n;
    j.grain = step;
    j.n_ranges = (n - 1) / step + 1;
    j.per_worker = (j.n_ranges + pool->n - 1) / pool->n;
    j.fn = fn;
    j.ctx = ctx;
    for (unsigned i = 0; i < pool->n; i++) atomic_init(&j.queue[i].next, 0);
    loam_pool_run(pool, run_range_job, &j);
}

/* "max 100000" or "200000 100000": CPUs of quota, rounded up; 0: no limit. */
static unsigned read_cgroup_v2(void) {
    char line[128];
    FILE *f = fopen("/sys/fs/cgroup/cpu.max", "re");
    if (!f) return 0;
    unsigned n = 0;
    if (fgets(line, sizeof line, f)) {
        char *end = NULL;
        const long long quota = strtoll(line, &end, 10);
        const long long period = end != line ? strtoll(end, NULL, 10) : 0;
        if (quota > 0 && period > 0) n = (unsigned)((quota + period - 1) / period);
    }
    fclose(f);
    return n;
}

static long long read_number(const char *path) {
    char line[64];
    FILE *f = fopen(path, "re");
    if (!f) return -1;
    const long long v = fgets(line, sizeof line, f) ? strtoll(line, NULL, 10) : -1;
    fclose(f);
    return v;
}

static unsigned read_cgroup_v1(void) {
    const long long quota = read_number("/sys/fs/cgroup/cpu/cpu.cfs_quota_us");
    const long long period = read_number("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
    return quota > 0 && period > 0 ? (unsigned)((quota + period - 1) / period) : 0;
}

unsigned loam_cpu_count(void) {
    cpu_set_t set;
    unsigned n = 1;
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
        n = (unsigned)CPU_COUNT(&set);
    } else {
        const long online = sysconf(_SC_NPROCESSORS_ONLN);
        if (online > 0) n = (unsigned)online;
    }
    const unsigned v2 = read_cgroup_v2(), v1 = read_cgroup_v1();
    if (v2 && v2 < n) n = v2;
    if (v1 && v1 < n) n = v1;
    if (n < 1) n = 1;
    return n < MAX_THREADS ? n : MAX_THREADS;
}

loam_status loam_pool_new(loam_pool **out, unsigned n_threads, loam_err *err) {
    *out = NULL;
    if (n_threads > MAX_THREADS)
        return loam_fail(err, LOAM_ERR_ARGUMENT, "%u threads: at most %d", n_threads, MAX_THREADS);
    const unsigned cpus = loam_cpu_count();
    loam_pool *p = loam_alloc(1, sizeof *p);
    if (!p) return loam_fail(err, LOAM_ERR_MEMORY, "thread pool");
    p->n = 1;
    const unsigned want = n_threads ? n_threads : cpus;
    p->spins = want <= cpus ? SPINS : 0;
    pthread_mutex_init(&p->callers, NULL);
    for (unsigned i = 1; i < want; i++) {
        const int e = pthread_create(&p->threads[i], NULL, work, p);
        if (e) {
            loam_pool_free(p);
            return loam_fail_errno(err, e, "thread %u of %u", i, want);
        }
        p->n = i + 1;
    }
    *out = p;
    return LOAM_OK;
}

void loam_pool_free(loam_pool *pool) {
    if (!pool) return;
    atomic_store_explicit(&pool->stop, 1, memory_order_release);
    atomic_fetch_add_explicit(&pool->epoch, 1, memory_order_release);
    futex_wake_all(&pool->epoch);
    for (unsigned i = 1; i < pool->n; i++) pthread_join(pool->threads[i], NULL);
    pthread_mutex_destroy(&pool->callers);
    free(pool);
}

unsigned loam_pool_size(const loam_pool *pool) {
    return pool->n;
}
