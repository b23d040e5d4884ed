/* helper.c - the parent's side of loam-pdf and loam-html.
 *
 * Parsers of PDF and HTML run in a process of their own, one per document, which
 * gives up its rights before it looks at the first byte (apps/cli/sandbox.c).  It
 * gets the document as its stdin (an anonymous file that holds exactly the bytes
 * that were hashed) and answers on its stdout:
 *
 *     "LOAMDOC1"  then records:  | type | u32 n, little endian | n bytes |
 *
 *     'T'  the title                      'P'  u32: a page of this number starts here
 *     'X'  text, in order                 'H'  u32 level, u64 begin, u64 end: a heading, bytes of the text
 *     'E'  u8 loam_status, message        'Z'  the end: without it the answer is not whole
 *
 * The answer is as little trusted as the document.  The child is always reaped;
 * it is killed when it is late, when the run is cancelled, and, by its own
 * wish (PR_SET_PDEATHSIG), when its parent dies.
 */
#include "base/base.h"
#include "base/utf8.h"
#include "data/document.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    MAX_ANSWER_BYTES = 256 << 20,
    MAX_PAGES = 1000000,
    MAX_HEADINGS = 1000000,
    BASE_CPU_SECONDS = 6, /* a small document is done or hopeless within this */
    MAX_CPU_SECONDS = 300,
    POLL_MS = 100
};

typedef struct child {
    pid_t pid;
    int out; /* read end of its stdout */
    unsigned cpu_seconds;
} child;

/* 2415 pages in 6.5 MB took 7.4 s (an EPYC core): the base, and 3 s a megabyte. */
static unsigned cpu_budget(size_t n) {
    const size_t seconds = BASE_CPU_SECONDS + 3 * (n >> 20);
    return seconds < MAX_CPU_SECONDS ? (unsigned)seconds : MAX_CPU_SECONDS;
}

static int write_all(int fd, const char *bytes, size_t n) {
    while (n > 0) {
        const ssize_t done = write(fd, bytes, n < SSIZE_MAX ? n : SSIZE_MAX);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) return 0;
        bytes += done;
        n -= (size_t)done;
    }
    return 1;
}

/* An anonymous file with the bytes, at its start; -1: errno tells. */
static int open_bytes(const void *bytes, size_t n) {
    const int fd = memfd_create("loam-document", MFD_CLOEXEC);
    if (fd < 0) return -1;
    if (write_all(fd, bytes, n) && lseek(fd, 0, SEEK_SET) == 0) return fd;
    const int saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

/* 0, or the errno of what failed. */
static int spawn(child *c, const char *program, int in, int out) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, defaults;
    char seconds[16], path[PATH_MAX];
    static char locale[] = "LC_ALL=C.UTF-8";
    char *const environment[] = {locale, NULL}; /* nothing of the user's reaches the child */

    snprintf(seconds, sizeof seconds, "%u", c->cpu_seconds);
    if ((size_t)snprintf(path, sizeof path, "%s", program) >= sizeof path) return ENAMETOOLONG;
    char *const argv[] = {path, seconds, NULL};
    sigemptyset(&none);
    sigfillset(&defaults);
    if (posix_spawn_file_actions_init(&actions)) return ENOMEM;
    if (posix_spawnattr_init(&attributes)) {
        posix_spawn_file_actions_destroy(&actions);
        return ENOMEM;
    }
    int e = posix_spawn_file_actions_adddup2(&actions, in, 0);
    if (!e) e = posix_spawn_file_actions_adddup2(&actions, out, 1);
    if (!e) e = posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
    /* a group of its own: Ctrl-C reaches the parent, which ends its children itself */
    if (!e) e = posix_spawnattr_setpgroup(&attributes, 0);
    if (!e) e = posix_spawnattr_setsigmask(&attributes, &none);
    if (!e) e = posix_spawnattr_setsigdefault(&attributes, &defaults);
    if (!e)
        e = posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
                                                      POSIX_SPAWN_SETSIGDEF);
    if (!e) e = posix_spawn(&c->pid, path, &actions, &attributes, argv, environment);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return e;
}

static loam_status start_child(child *c, const char *program, const void *bytes, size_t n,
                               loam_err *err) {
    int fds[2] = {-1, -1};
    loam_status st = LOAM_OK;
    const int in = open_bytes(bytes, n);
    if (in < 0) return loam_fail_errno(err, errno, "copy for the reader");
    if (pipe2(fds, O_CLOEXEC) != 0) {
        st = loam_fail_errno(err, errno, "pipe to the reader");
    } else {
        const int e = spawn(c, program, in, fds[1]);
        close(fds[1]);
        if (e) {
            close(fds[0]);
            st = loam_fail(err, LOAM_ERR_NOT_FOUND, "its reader %s cannot be started: %s", program,
                           strerror(e));
        } else {
            c->out = fds[0];
        }
    }
    close(in);
    return st;
}

/* Read until the child closes its end.  NULL, or why it must be killed. */
static const char *read_answer(child *c, loam_buf *answer, const loam_cancel *cancel) {
    static _Thread_local char piece[1 << 16];
    /* the processor time is what is limited; this only catches a child that waits for nothing */
    const double deadline = loam_now() + 2.0 * c->cpu_seconds + 10;
    for (;;) {
        struct pollfd p = {.fd = c->out, .events = POLLIN};
        if (cancel && cancel->requested) return "cancelled";
        if (loam_now() > deadline) return "timeout";
        const int ready = poll(&p, 1, POLL_MS);
        if (ready <= 0) continue;
        const ssize_t got = read(c->out, piece, sizeof piece);
        if (got == 0) return NULL;
        if (got < 0) {
            if (errno == EINTR) continue;
            return "read error";
        }
        loam_buf_append(answer, piece, (size_t)got);
        if (answer->failed || answer->n > MAX_ANSWER_BYTES) return "too much text";
    }
}

/* What the way the child ended means. */
static loam_status explain_end(int wait_status, unsigned cpu_seconds, loam_err *err) {
    if (WIFSIGNALED(wait_status)) {
        const int signal_number = WTERMSIG(wait_status);
        if (signal_number == SIGXCPU || signal_number == SIGKILL)
            return loam_fail(err, LOAM_ERR_LIMIT,
                             "takes more than %u s to read: damaged or hostile", cpu_seconds);
        if (signal_number == SIGSYS)
            return loam_fail(err, LOAM_ERR_FORMAT,
                             "its reader was stopped: it tried what a reader must not do");
        return loam_fail(err, LOAM_ERR_FORMAT,
                         "damaged: its reader died of signal %d, or of lack of memory",
                         signal_number);
    }
    return loam_fail(err, LOAM_ERR_FORMAT, "damaged: its reader gave up (code %d)",
                     WEXITSTATUS(wait_status));
}

loam_status document_run_helper(loam_document *doc, const char *program, const void *bytes,
                                size_t n, const loam_cancel *cancel, loam_err *err) {
    child c = {.pid = -1, .out = -1, .cpu_seconds = cpu_budget(n)};
    loam_buf answer = {0};
    int wait_status = 0;

    loam_status st = start_child(&c, program, bytes, n, err);
    if (st) return st;
    const char *why = read_answer(&c, &answer, cancel);
    if (why) kill(c.pid, SIGKILL);
    close(c.out);
    while (waitpid(c.pid, &wait_status, 0) < 0 && errno == EINTR) {
    }

    if (why && cancel && cancel->requested)
        st = loam_fail(err, LOAM_ERR_CANCELLED, "cancelled");
    else if (why)
        st = loam_fail(err, LOAM_ERR_LIMIT, "its reader was ended: %s", why);
    else if (answer.n >= 8 && WIFEXITED(wait_status))
        st = document_parse_helper(doc, answer.data, answer.n, err);
    else
        st = explain_end(wait_status, c.cpu_seconds, err);
    if (!st && WIFEXITED(wait_status) && WEXITSTATUS(wait_status) != 0)
        st = explain_end(wait_status, c.cpu_seconds, err);
    loam_buf_deinit(&answer);
    return st;
}

static loam_status fail_answer(loam_err *err, const char *what) {
    return loam_fail(err, LOAM_ERR_FORMAT, "its reader's answer is damaged: %s", what);
}

static loam_status take_error(const char *payload, size_t n, loam_err *err) {
    const unsigned status = n > 0 ? (unsigned char)payload[0] : 0;
    if (status == LOAM_OK || status > LOAM_ERR_CANCELLED) return fail_answer(err, "status");
    return loam_fail(err, (loam_status)status, "%.*s", n - 1 < 300 ? (int)(n - 1) : 300,
                     payload + 1);
}

/* One record.  *done is set at the end record. */
static loam_status take_record(loam_document *doc, char type, const char *payload, size_t n,
                               int *done, loam_err *err) {
    switch (type) {
    case 'T': {
        loam_buf title = {0};
        loam_status st = loam_text_decode(payload, n, "utf-8", &title, err);
        free(doc->title);
        doc->title = !st && title.n > 0 ? loam_strndup(title.data, title.n) : NULL;
        loam_buf_deinit(&title);
        return st;
    }
    case 'X': loam_buf_append(&doc->text, payload, n); return LOAM_OK;
    case 'P':
        if (n != 4 || doc->n_pages >= MAX_PAGES) return fail_answer(err, "page");
        if (!document_add_page(doc, loam_read_u32(payload), doc->text.n))
            return loam_fail(err, LOAM_ERR_MEMORY, "pages");
        return LOAM_OK;
    case 'H': {
        if (n != 20 || doc->n_headings >= MAX_HEADINGS) return fail_answer(err, "heading");
        const uint64_t begin = loam_read_u64(payload + 4), end = loam_read_u64(payload + 12);
        const uint32_t level = loam_read_u32(payload);
        const uint64_t last = doc->n_headings ? doc->headings[doc->n_headings - 1].end : 0;
        if (begin < last || end <= begin || end > doc->text.n || level < 1 || level > 9)
            return fail_answer(err, "heading");
        if (!document_add_heading(doc, (size_t)begin, (size_t)end, (int)level))
            return loam_fail(err, LOAM_ERR_MEMORY, "headings");
        return LOAM_OK;
    }
    case 'E': return take_error(payload, n, err);
    case 'Z': *done = 1; return LOAM_OK;
    default: return fail_answer(err, "unknown record");
    }
}

/* Text must be clean, and pages and headings must lie on characters. */
static loam_status check_text(const loam_document *doc, loam_err *err) {
    const char *data = doc->text.data;
    const size_t n = doc->text.n;
    for (size_t i = 0; i < n;) {
        const size_t length = loam_utf8_length(data + i, n - i);
        const unsigned char c = (unsigned char)data[i];
        if (length == 0 || (c < 0x20 && c != '\n' && c != '\t') || c == 0x7F)
            return fail_answer(err, "text");
        i += length;
    }
    for (size_t i = 0; i < doc->n_pages; i++)
        if (doc->pages[i].begin < n && !loam_utf8_is_start(data[doc->pages[i].begin]))
            return fail_answer(err, "page start");
    for (size_t i = 0; i < doc->n_headings; i++)
        if (!loam_utf8_is_start(data[doc->headings[i].begin]) ||
            (doc->headings[i].end < n && !loam_utf8_is_start(data[doc->headings[i].end])))
            return fail_answer(err, "heading");
    return LOAM_OK;
}

loam_status document_parse_helper(loam_document *doc, const char *bytes, size_t n, loam_err *err) {
    int done = 0;
    if (n < 8 || memcmp(bytes, "LOAMDOC1", 8) != 0) return fail_answer(err, "beginning");
    size_t at = 8;
    while (!done) {
        if (n - at < 5) return fail_answer(err, "cut short");
        const char type = bytes[at];
        const size_t length = loam_read_u32(bytes + at + 1);
        at += 5;
        if (length > n - at) return fail_answer(err, "cut short");
        loam_status st = take_record(doc, type, bytes + at, length, &done, err);
        if (st) return st;
        at += length;
    }
    if (doc->text.failed) return loam_fail(err, LOAM_ERR_MEMORY, "document text");
    return check_text(doc, err);
}
