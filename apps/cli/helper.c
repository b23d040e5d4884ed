/* helper.c - a reader of hostile documents disarms itself.
 *
 * Order matters: limits before the first byte is read, the sandbox before the first
 * byte is understood.  What stays possible: compute, use memory up to the limit,
 * write to the pipe.  Not possible: sockets, programs, other processes, writing files;
 * reading files only below the folders of system data, and only where Landlock holds.
 */
#include "cli/helper.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    DEFAULT_SECONDS = 20,
    MAX_SECONDS = 3600,
    MAX_MEMORY_MB = 280,
    MAX_ADDRESS_MB = 1536, /* libraries, stacks and the mapped document count here */
    MAX_DOCUMENT_MB = 256,
    MAX_FILES = 32
};

static int plain_text; /* --text */
static int n_pages;

static void set_limit(__rlimit_resource_t what, rlim_t value) {
    const struct rlimit limit = {value, value};
    (void)setrlimit(what, &limit);
}

static void set_limits(unsigned seconds) {
    /* one second more to the hard limit: SIGXCPU, which the parent can tell from a crash, comes first */
    const struct rlimit cpu = {seconds, seconds + 1};
    (void)setrlimit(RLIMIT_CPU, &cpu);
    set_limit(RLIMIT_CORE, 0);
    set_limit(RLIMIT_FSIZE, 0);
    set_limit(RLIMIT_NOFILE, MAX_FILES);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    set_limit(RLIMIT_DATA, (rlim_t)MAX_MEMORY_MB << 20);
    set_limit(RLIMIT_AS, (rlim_t)MAX_ADDRESS_MB << 20);
#endif
}

static _Noreturn void print_usage(const char *name, const char *summary, FILE *to, int code) {
    fprintf(to,
            "%s - %s\n\nUsage: %s [SECONDS] [--text] < DOCUMENT\n\n"
            "Run by 'loam ingest', one process a document, without network and rights to write.\n"
            "  SECONDS   processor time it may take (default %d)\n"
            "  --text    print the text only, pages divided by form feeds\n",
            name, summary, name, DEFAULT_SECONDS);
    exit(code);
}

void cli_helper_start(int argc, char **argv, const char *name, const char *summary) {
    unsigned long seconds = DEFAULT_SECONDS;
    for (int i = 1; i < argc; i++) {
        char *end = argv[i];
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            print_usage(name, summary, stdout, 0);
        if (strcmp(argv[i], "--version") == 0) {
            printf("%s %s\n", name, LOAM_VERSION);
            exit(0);
        }
        if (strcmp(argv[i], "--text") == 0) {
            plain_text = 1;
            continue;
        }
        if (argv[i][0] >= '1' && argv[i][0] <= '9') seconds = strtoul(argv[i], &end, 10);
        if (end == argv[i] || *end || seconds > MAX_SECONDS) {
            fprintf(stderr, "%s: %s: not a number of seconds; see '%s --help'\n", name, argv[i],
                    name);
            exit(2);
        }
    }
    const pid_t parent = getppid();
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1); /* it died between the two calls */
    (void)prctl(PR_SET_DUMPABLE, 0);
    (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
#ifdef SYS_close_range
    (void)syscall(SYS_close_range, 3U, ~0U, 0U);
#endif
    set_limits((unsigned)seconds);
}

static void read_pipe(loam_buf *all) {
    static char piece[1 << 16];
    for (;;) {
        const ssize_t got = read(0, piece, sizeof piece);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) cli_helper_fail(LOAM_ERR_IO, "cannot be read: %s", strerror(errno));
        if (got == 0) return;
        loam_buf_append(all, piece, (size_t)got);
        if (all->failed)
            cli_helper_fail(LOAM_ERR_MEMORY, "too large for the memory a reader may use");
        if (all->n > (size_t)MAX_DOCUMENT_MB << 20)
            cli_helper_fail(LOAM_ERR_LIMIT, "larger than %d MiB", MAX_DOCUMENT_MB);
    }
}

void cli_helper_input(const char **bytes, size_t *n) {
    static loam_buf all; /* lives as long as the process */
    struct stat st;
    if (fstat(0, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0) {
        if (st.st_size > (off_t)MAX_DOCUMENT_MB << 20)
            cli_helper_fail(LOAM_ERR_LIMIT, "larger than %d MiB", MAX_DOCUMENT_MB);
        void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, 0, 0);
        if (map != MAP_FAILED) {
            *bytes = map;
            *n = (size_t)st.st_size;
            return;
        }
    }
    read_pipe(&all);
    *bytes = all.data;
    *n = all.n;
}

/* ---- Landlock: which files ---- */

static const char *const DATA_FOLDERS[] = {
    "/usr/share/poppler",     "/usr/share/fonts", "/usr/share/fontconfig", "/etc/fonts",
    "/usr/local/share/fonts", "/usr/lib",         "/usr/share/X11/fonts"};

static void allow_folder(int ruleset, const char *path) {
    struct landlock_path_beneath_attr rule = {.allowed_access = LANDLOCK_ACCESS_FS_READ_FILE |
                                                                LANDLOCK_ACCESS_FS_READ_DIR};
    rule.parent_fd = open(path, O_PATH | O_CLOEXEC);
    if (rule.parent_fd < 0) return;
    (void)syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
    close(rule.parent_fd);
}

/* 1 when the kernel holds us to it. */
static int lock_files(int read_data) {
    const struct landlock_ruleset_attr all = {
        .handled_access_fs =
            (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1 /* every right of the first version */
    };
    const int ruleset = (int)syscall(SYS_landlock_create_ruleset, &all, sizeof all, 0);
    if (ruleset < 0) return 0;
    for (size_t i = 0; read_data && i < sizeof DATA_FOLDERS / sizeof *DATA_FOLDERS; i++)
        allow_folder(ruleset, DATA_FOLDERS[i]);
    const int held = syscall(SYS_landlock_restrict_self, ruleset, 0) == 0;
    close(ruleset);
    return held;
}

/* ---- seccomp: which calls ---- */

static const int ALLOWED[] = {SCMP_SYS(read),           SCMP_SYS(pread64),
                              SCMP_SYS(readv),          SCMP_SYS(write),
                              SCMP_SYS(writev),         SCMP_SYS(lseek),
                              SCMP_SYS(_llseek),        SCMP_SYS(fstat),
                              SCMP_SYS(fstat64),        SCMP_SYS(newfstatat),
                              SCMP_SYS(stat),           SCMP_SYS(lstat),
                              SCMP_SYS(statx),          SCMP_SYS(close),
                              SCMP_SYS(munmap),         SCMP_SYS(mremap),
                              SCMP_SYS(madvise),        SCMP_SYS(brk),
                              SCMP_SYS(futex),          SCMP_SYS(rt_sigaction),
                              SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn),
                              SCMP_SYS(sigaltstack),    SCMP_SYS(exit),
                              SCMP_SYS(exit_group),     SCMP_SYS(getrandom),
                              SCMP_SYS(clock_gettime),  SCMP_SYS(clock_getres),
                              SCMP_SYS(gettimeofday),   SCMP_SYS(time),
                              SCMP_SYS(getpid),         SCMP_SYS(gettid),
                              SCMP_SYS(getuid),         SCMP_SYS(geteuid),
                              SCMP_SYS(getgid),         SCMP_SYS(getegid),
                              SCMP_SYS(sched_yield),    SCMP_SYS(sched_getaffinity),
                              SCMP_SYS(uname),          SCMP_SYS(restart_syscall),
                              SCMP_SYS(getcwd),         SCMP_SYS(access),
                              SCMP_SYS(faccessat),      SCMP_SYS(readlink),
                              SCMP_SYS(readlinkat),     SCMP_SYS(fadvise64),
                              SCMP_SYS(sysinfo),        SCMP_SYS(rseq),
                              SCMP_SYS(set_robust_list)};

/* A parser that asks for these has been taken over. */
static const int FATAL[] = {SCMP_SYS(execve),
                            SCMP_SYS(execveat),
                            SCMP_SYS(socket),
                            SCMP_SYS(connect),
                            SCMP_SYS(bind),
                            SCMP_SYS(ptrace),
                            SCMP_SYS(fork),
                            SCMP_SYS(vfork),
                            SCMP_SYS(process_vm_writev),
                            SCMP_SYS(process_vm_readv),
                            SCMP_SYS(bpf),
                            SCMP_SYS(io_uring_setup),
                            SCMP_SYS(userfaultfd),
                            SCMP_SYS(mount),
                            SCMP_SYS(unshare),
                            SCMP_SYS(setns)};

/* libseccomp's own macros leave a field out, which clang reports. */
static struct scmp_arg_cmp argument(unsigned i, enum scmp_compare op, scmp_datum_t a,
                                    scmp_datum_t b) {
    return (struct scmp_arg_cmp){.arg = i, .op = op, .datum_a = a, .datum_b = b};
}

static int add_rules(scmp_filter_ctx f, int read_data) {
    int bad = 0;
    /* calls that this machine does not have are refused by libseccomp: no harm */
    for (size_t i = 0; i < sizeof ALLOWED / sizeof *ALLOWED; i++)
        (void)seccomp_rule_add(f, SCMP_ACT_ALLOW, ALLOWED[i], 0);
    for (size_t i = 0; i < sizeof FATAL / sizeof *FATAL; i++)
        (void)seccomp_rule_add(f, SCMP_ACT_KILL_PROCESS, FATAL[i], 0);
    const struct scmp_arg_cmp no_exec = argument(2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0);
    bad |= seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1, no_exec);
    bad |= seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1, no_exec);
    /* abort() and assert() end with a signal to ourselves */
    bad |= seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
                            argument(0, SCMP_CMP_EQ, (scmp_datum_t)getpid(), 0));
    /* reading limits, not setting them */
    bad |=
        seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), 1, argument(2, SCMP_CMP_EQ, 0, 0));
    if (read_data) {
        const scmp_datum_t writing = O_WRONLY | O_RDWR | O_CREAT | O_TRUNC | O_APPEND;
        bad |= seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(openat), 1,
                                argument(2, SCMP_CMP_MASKED_EQ, writing, 0));
        (void)seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(getdents64), 0);
        (void)seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 1,
                               argument(1, SCMP_CMP_EQ, F_GETFL, 0));
    }
    return bad == 0;
}

void cli_helper_lock(int read_data) {
    const int files_locked = lock_files(read_data);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    scmp_filter_ctx f = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    if (!f) cli_helper_fail(LOAM_ERR_MEMORY, "system call filter");
    const int ok = add_rules(f, read_data && files_locked);
    /* a kernel without seccomp: limits, and Landlock if it has that, must do */
    const int r = ok ? seccomp_load(f) : -EINVAL;
    seccomp_release(f);
    if (!ok) cli_helper_fail(LOAM_ERR_IO, "system call filter: %s", strerror(-r));
#else
    (void)files_locked;
    (void)add_rules;
#endif
}

/* ---- the answer ---- */

static void write_all(const void *bytes, size_t n) {
    static int started;
    if (!started && !plain_text) fwrite("LOAMDOC1", 1, 8, stdout);
    started = 1;
    if (n > 0 && fwrite(bytes, 1, n, stdout) != n) _exit(1); /* the parent is gone */
}

static void put_u32(unsigned char *p, uint32_t v) {
    for (int i = 0; i < 4; i++) p[i] = (unsigned char)(v >> 8 * i);
}

void cli_helper_put(char type, const void *payload, size_t n) {
    unsigned char head[5];
    if (plain_text) {
        if (type == 'X') write_all(payload, n);
        if (type == 'P' && n_pages++ > 0) write_all("\f", 1);
        return;
    }
    if (n > UINT32_MAX) n = UINT32_MAX;
    head[0] = (unsigned char)type;
    put_u32(head + 1, (uint32_t)n);
    write_all(head, sizeof head);
    write_all(payload, n);
}

void cli_helper_page(uint32_t number) {
    unsigned char payload[4];
    put_u32(payload, number);
    cli_helper_put('P', payload, sizeof payload);
}

void cli_helper_heading(uint32_t level, uint64_t begin, uint64_t end) {
    unsigned char payload[20];
    put_u32(payload, level);
    put_u32(payload + 4, (uint32_t)begin);
    put_u32(payload + 8, (uint32_t)(begin >> 32));
    put_u32(payload + 12, (uint32_t)end);
    put_u32(payload + 16, (uint32_t)(end >> 32));
    cli_helper_put('H', payload, sizeof payload);
}

_Noreturn void cli_helper_fail(loam_status status, const char *fmt, ...) {
    char payload[320] = {(char)status};
    va_list args;
    va_start(args, fmt);
    vsnprintf(payload + 1, sizeof payload - 1, fmt, args);
    va_end(args);
    if (plain_text) {
        fprintf(stderr, "%s\n", payload + 1);
    } else {
        cli_helper_put('E', payload, 1 + strlen(payload + 1));
        fflush(stdout);
    }
    _exit(1);
}

_Noreturn void cli_helper_end(void) {
    if (!plain_text) cli_helper_put('Z', NULL, 0);
    const int failed = fflush(stdout) != 0;
    _exit(failed);
}
