/* first.c - the first token of a fresh process, whose model is in the page cache.
 *
 * Each sample is a child: it makes its threads, opens the model, reads the ids (or takes what an
 * earlier child read from a file) and ends.  The clock runs from before the fork. */
#include "bench/bench.h"

#include <loam/engine.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { READ, SAVE, LOAD };

typedef struct first_job {
    const bench_args *a;
    const char *folder, *path; /* path: of the session file */
    const int32_t *ids;
    size_t n;
} first_job;

/* In the child: an exit code. */
static int read_prompt(const first_job *j, int how, loam_err *err) {
    loam_model *m;
    loam_session *s;
    size_t kept = 0;
    loam_pool *pool = cli_pool(j->a->threads);
    const loam_model_options o = {pool, cli_precision(j->a->precision),
                                  cli_kv(j->a->kv, j->a->precision)};
    loam_status st = loam_model_open(&m, j->folder, &o, err);
    if (!st) st = loam_session_new(&s, m, j->n + 1, err);
    if (!st && how == LOAD) {
        st = loam_session_load(s, j->path, j->ids, j->n, &kept, err);
        if (!st && kept != j->n) st = loam_fail(err, LOAM_ERR_FORMAT, "%zu ids of it", kept);
    } else if (!st) {
        st = loam_session_feed(s, j->ids, j->n, &cli_cancel, err);
    }
    if (!st && how == SAVE) st = loam_session_save(s, j->n, j->path, err);
    return st ? cli_exit_code(st) : 0;
}

/* Milliseconds. */
static double run_child(const first_job *j, int how) {
    const double start = bench_now();
    int status;
    fflush(NULL);
    const pid_t child = fork();
    if (child < 0) cli_fail(CLI_EXIT_RESOURCES, "cannot start a process");
    if (child == 0) {
        loam_err err = {0};
        const int code = read_prompt(j, how, &err);
        if (code) cli_error("first token: %s", err.msg);
        _exit(code);
    }
    while (waitpid(child, &status, 0) < 0)
        ;
    const double seconds = bench_now() - start;
    if (cli_cancel.requested) cli_die(&(loam_err){.status = LOAM_ERR_CANCELLED});
    if (!WIFEXITED(status)) cli_fail(CLI_EXIT_RUNTIME, "first token: the process was killed");
    if (WEXITSTATUS(status)) exit(cli_finish(WEXITSTATUS(status)));
    return seconds * 1e3;
}

static char session_folder[400], session_path[420];

static void remove_session(void) {
    if (session_path[0]) unlink(session_path);
    if (session_folder[0]) rmdir(session_folder);
    session_folder[0] = session_path[0] = 0;
}

void bench_first(bench_report *r, const bench_args *a, const char *folder, const int32_t *ids,
                 size_t n) {
    const char *temp = getenv("TMPDIR");
    snprintf(session_folder, sizeof session_folder, "%.300s/loam-first-XXXXXX",
             temp && *temp ? temp : "/tmp");
    if (!mkdtemp(session_folder)) {
        session_folder[0] = 0;
        cli_fail(CLI_EXIT_RUNTIME, "no folder can be made in %.300s", temp ? temp : "/tmp");
    }
    snprintf(session_path, sizeof session_path, "%s/session", session_folder);
    if (atexit(remove_session)) cli_fail(CLI_EXIT_RESOURCES, "out of memory");
    const first_job j = {a, folder, session_path, ids, n};
    run_child(&j, SAVE); /* and the model comes into the page cache */
    bench_row *row = bench_add(r, "ms", "first token, %zu", n);
    for (size_t k = 0; k < a->repeat; k++) bench_sample(row, run_child(&j, READ));
    row = bench_add(r, "ms", "first token, %zu from a file", n);
    for (size_t k = 0; k < a->repeat; k++) bench_sample(row, run_child(&j, LOAD));
    remove_session();
}
