/* threads.c - the one pool of threads: persistent workers that spin a little, then sleep.
 *
 * A job is published under a new epoch.  A worker that notices it joins through `gate`
 *
 *     | epoch (32) | closed (1) | workers inside (31) |
 *
 * and the caller, done with its own share, closes the gate and waits for those inside.  So a
 * worker that the system has not given a CPU yet does not hold the job up: the caller has
 * taken its ranges by then.  Only loam_pool_run, whose jobs may meet at barriers, waits for all.
 *
 * Waiting is a short spin (a decode step has hundreds of jobs, a futex round trip costs more
 * than most of them), then a futex sleep.  With more workers than CPUs the spin only burns
 * the time that the others need, so it is skipped. */
#include "base/threads.h"
#include "base/base.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MAX_THREADS = 256, SPINS = 20000 };

typedef void (*job_fn)(void *ctx, unsigned worker, unsigned n_workers);

#define GATE_CLOSED 0x80000000u
#define GATE_INSIDE 0x7fffffffu

/* A counter that threads wait on, and how many of them sleep. */
typedef struct wait_word {
    _Atomic uint32_t value, sleepers;
} wait_word;

struct loam_pool {
    unsigned n;
    int spins;
    pthread_t threads[MAX_THREADS];
    pthread_mutex_t callers; /* one job at a time */
    job_fn fn;
    void *ctx;
    _Atomic uint64_t gate;
    wait_word epoch, finished, barrier;
    _Atomic uint32_t stop, ran, barrier_count;
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

/* Returns once the word differs from `seen`. */
static void wait_change(wait_word *w, uint32_t seen, int spins) {
    for (int i = 0; i < spins; i++) {
        if (atomic_load_explicit(&w->value, memory_order_acquire) != seen) return;
        relax();
    }
    atomic_fetch_add(&w->sleepers, 1); /* sequentially consistent, with announce's load */
    while (atomic_load(&w->value) == seen) futex_wait(&w->value, seen);
    atomic_fetch_sub(&w->sleepers, 1);
}

static void announce(wait_word *w) {
    atomic_fetch_add(&w->value, 1);
    if (atomic_load(&w->sleepers)) futex_wake_all(&w->value);
}

/* Enter the open job that is not `last`; its epoch, or `last` when there is none. */
static uint32_t join(loam_pool *p, uint32_t last) {
    uint64_t g = atomic_load_explicit(&p->gate, memory_order_acquire);
    for (;;) {
        const uint32_t epoch = (uint32_t)(g >> 32);
        if (epoch == last || (g & GATE_CLOSED)) return last;
        if (atomic_compare_exchange_weak_explicit(&p->gate, &g, g + 1, memory_order_acq_rel,
                                                  memory_order_acquire))
            return epoch;
    }
}

static void *work(void *arg) {
    loam_pool *p = arg;
    const unsigned me = atomic_fetch_add(&p->ids, 1) + 1;
    uint32_t last = 0;
    for (;;) {
        const uint32_t seen = atomic_load_explicit(&p->epoch.value, memory_order_acquire);
        if (atomic_load_explicit(&p->stop, memory_order_acquire)) return NULL;
        const uint32_t joined = join(p, last);
        if (joined == last) {
            wait_change(&p->epoch, seen, p->spins);
            continue;
        }
        last = joined;
        p->fn(p->ctx, me, p->n);
        atomic_fetch_add_explicit(&p->ran, 1, memory_order_acq_rel);
        atomic_fetch_sub_explicit(&p->gate, 1, memory_order_acq_rel);
        announce(&p->finished);
    }
}

/* all: the job needs every worker; else the caller leaves out those that come too late. */
static void run_job(loam_pool *p, job_fn fn, void *ctx, int all) {
    pthread_mutex_lock(&p->callers);
    if (p->n == 1) {
        fn(ctx, 0, 1);
        pthread_mutex_unlock(&p->callers);
        return;
    }
    const uint32_t next =
        (uint32_t)(atomic_load_explicit(&p->gate, memory_order_relaxed) >> 32) + 1;
    p->fn = fn; /* nobody is inside: the gate has been closed and empty since the last job */
    p->ctx = ctx;
    atomic_store_explicit(&p->ran, 0, memory_order_relaxed);
    atomic_store_explicit(&p->gate, (uint64_t)next << 32, memory_order_release);
    announce(&p->epoch);
    fn(ctx, 0, p->n);
    if (!all) atomic_fetch_or_explicit(&p->gate, GATE_CLOSED, memory_order_acq_rel);
    for (;;) {
        const uint32_t seen = atomic_load_explicit(&p->finished.value, memory_order_acquire);
        const uint64_t gate = atomic_load_explicit(&p->gate, memory_order_acquire);
        const uint32_t ran = atomic_load_explicit(&p->ran, memory_order_acquire);
        if ((gate & GATE_INSIDE) == 0 && (!all || ran == p->n - 1)) break;
        wait_change(&p->finished, seen, p->spins);
    }
    atomic_fetch_or_explicit(&p->gate, GATE_CLOSED, memory_order_acq_rel);
    pthread_mutex_unlock(&p->callers);
}

void loam_pool_run(loam_pool *pool, job_fn fn, void *ctx) {
    run_job(pool, fn, ctx, 1);
}

void loam_pool_barrier(loam_pool *pool) {
    if (pool->n == 1) return;
    const uint32_t phase = atomic_load_explicit(&pool->barrier.value, memory_order_acquire);
    if (atomic_fetch_add_explicit(&pool->barrier_count, 1, memory_order_acq_rel) == pool->n - 1) {
        atomic_store_explicit(&pool->barrier_count, 0, memory_order_relaxed);
        announce(&pool->barrier);
        return;
    }
    wait_change(&pool->barrier, phase, pool->spins);
}

/* One range list a worker: the owner and a thief both take from the front. */
typedef struct range_job {
    size_t n, grain, n_ranges, per_worker;
    void (*fn)(void *ctx, size_t begin, size_t end, unsigned worker);
    void *ctx;
    struct {
        char apart[64 - sizeof(size_t)]; /* a cache line for each, without asking for alignment */
        _Atomic size_t next;
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
    run_job(pool, run_range_job, &j, 0);
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
    atomic_init(&p->gate, GATE_CLOSED);
    /* signals are for the program's own thread: a worker inherits them blocked */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int e = 0;
    for (unsigned i = 1; i < want && !e; i++) {
        e = pthread_create(&p->threads[i], NULL, work, p);
        if (!e) p->n = i + 1;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (e) {
        const unsigned made = p->n;
        loam_pool_free(p);
        return loam_fail_errno(err, e, "thread %u of %u", made, want);
    }
    *out = p;
    return LOAM_OK;
}

void loam_pool_free(loam_pool *pool) {
    if (!pool) return;
    atomic_store_explicit(&pool->stop, 1, memory_order_release);
    announce(&pool->epoch);
    for (unsigned i = 1; i < pool->n; i++) pthread_join(pool->threads[i], NULL);
    pthread_mutex_destroy(&pool->callers);
    free(pool);
}

unsigned loam_pool_size(const loam_pool *pool) {
    return pool->n;
}
