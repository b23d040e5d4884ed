/* file.c - one file into the cache: a partial file goes on with a Range request, the checksum at
 * the end judges the whole whatever happened on the way. */
#include "pull/pull.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_REQUESTS = 1000 /* for one file, however it trickles */ };

/* One file being received. */
typedef struct download {
    int fd;
    uint64_t expected, from, at; /* from: where the Range request begins */
    const pull_reply *reply;
    int begun, bad_range, too_long, write_errno;
} download;

/* "bytes FIRST-LAST/TOTAL" taken apart; TOTAL may be "*".  NULL when it is not of that form. */
static const char *parse_range(const char *s, unsigned long long *first, unsigned long long *last) {
    char *end = NULL;
    if (strncmp(s, "bytes ", 6) != 0 || s[6] < '0' || s[6] > '9') return NULL;
    *first = strtoull(s + 6, &end, 10);
    if (*end != '-' || end[1] < '0' || end[1] > '9') return NULL;
    *last = strtoull(end + 1, &end, 10);
    return *end == '/' && end[1] ? end + 1 : NULL;
}

/* The first byte of a file's body: does the response begin where we asked? */
static int begin_body(download *d) {
    const pull_reply *r = d->reply;
    d->begun = 1;
    d->at = d->from;
    if (r->status == 206) {
        unsigned long long first = 0, last = 0;
        const char *total = parse_range(r->content_range, &first, &last);
        const int64_t whole = total ? pull_parse_size(total, strlen(total)) : -1;
        d->bad_range = !total || first != d->from || last < first ||
                       (strcmp(total, "*") != 0 && whole != (int64_t)d->expected) || *r->encoding;
        return !d->bad_range;
    }
    if (d->from) { /* the server knows no ranges: from the start */
        pulling.done -= d->from;
        if (ftruncate(d->fd, 0) != 0) d->write_errno = errno;
        d->from = d->at = 0;
    }
    return !d->write_errno;
}

static size_t on_file(char *bytes, size_t size, size_t count, void *ctx) {
    download *d = ctx;
    const size_t n = size * count;
    if (d->reply->status != 200 && d->reply->status != 206) return n; /* an error's text */
    if (!d->begun && !begin_body(d)) return 0;
    if (n > d->expected - d->at) {
        d->too_long = 1;
        return 0;
    }
    for (size_t k = 0; k < n;) {
        const ssize_t w = pwrite(d->fd, bytes + k, n - k, (off_t)(d->at + k));
        if (w < 0 && errno == EINTR) continue;
        if (w <= 0) {
            d->write_errno = w < 0 ? errno : ENOSPC;
            return 0;
        }
        k += (size_t)w;
    }
    d->at += n;
    pulling.done += n;
    pulling.received += n;
    cli_progress_set(pulling.bar, pulling.done, pulling.total);
    return n;
}

static void put_file_url(loam_buf *b, const pull_file *f) {
    loam_buf_printf(b, "%s/%s/resolve/%s/", pulling.endpoint, pulling.name.repo, pulling.commit);
    pull_put_escaped(b, f->path, 1);
    (void)pull_must(b->data);
}

/* Etag and size, by HEAD; what the tree said fills gaps. */
static void find_metadata(pull_file *f) {
    loam_buf url = {0}, text = {0};
    pull_reply r;
    put_file_url(&url, f);
    const long status = pull_fetch(f->path, url.data, 1, &text, &r);
    if (status < 400) {
        snprintf(f->etag, sizeof f->etag, "%s", *r.linked_etag ? r.linked_etag : r.etag);
        if (r.linked_size >= 0)
            f->size = r.linked_size;
        else if (f->size < 0 && status == 200 && !*r.encoding)
            f->size = r.length;
    } else if (status != 405 && status != 501) {
        pull_fail_transfer(f->path, CURLE_OK, &r);
    }
    if (!*f->etag && (f->sha256 || f->oid))
        snprintf(f->etag, sizeof f->etag, "%s", f->sha256 ? f->sha256 : f->oid);
    if (!loam_hub_valid_etag(f->etag))
        cli_fail(CLI_EXIT_NETWORK, "%s: %s: the server tells no usable etag", pulling.name.repo,
                 f->path);
    if (f->size < 0)
        cli_fail(CLI_EXIT_NETWORK, "%s: %s: the server tells no size", pulling.name.repo, f->path);
    loam_buf_deinit(&url);
    loam_buf_deinit(&text);
}

/* Whether the file's bytes are what its etag says: sha256, or a git blob's sha1;
 * an etag of another kind proves nothing and passes. */
static int is_intact(const pull_file *f, int fd) {
    char got[2 * EVP_MAX_MD_SIZE + 1] = "", buffer[1 << 16];
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n_digest = 0;
    const char *sum = f->sha256 ? f->sha256 : f->etag;
    const int sha256 = pull_is_hex(sum, 64);
    if (!sha256 && !pull_is_hex(sum, 40)) return 1;

    EVP_MD_CTX *ctx = pull_must(EVP_MD_CTX_new());
    int ok = EVP_DigestInit_ex(ctx, sha256 ? EVP_sha256() : EVP_sha1(), NULL);
    if (!sha256) {
        const int n = snprintf(buffer, sizeof buffer, "blob %lld", (long long)f->size);
        ok = ok && EVP_DigestUpdate(ctx, buffer, (size_t)n + 1);
    }
    for (off_t at = 0; ok;) {
        const ssize_t n = pread(fd, buffer, sizeof buffer, at);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) ok = 0;
        if (n <= 0) break;
        ok = EVP_DigestUpdate(ctx, buffer, (size_t)n);
        at += n;
        pull_stop_if_asked();
    }
    ok = ok && EVP_DigestFinal_ex(ctx, digest, &n_digest);
    EVP_MD_CTX_free(ctx);
    for (unsigned i = 0; i < n_digest; i++) snprintf(got + (size_t)2 * i, 3, "%02x", digest[i]);
    return ok && n_digest && strcmp(got, sum) == 0;
}

static uint64_t file_size(int fd) {
    struct stat sb;
    return fstat(fd, &sb) == 0 ? (uint64_t)sb.st_size : 0;
}

static void start_over(int fd) {
    pulling.done -= file_size(fd);
    if (ftruncate(fd, 0) != 0) pull_fail_status(LOAM_ERR_IO, "partial file cannot be emptied");
}

/* One GET, appended to the partial file.  1: whole; 0: try again (reason in *rc, *r). */
static int receive(const pull_file *f, int fd, CURLcode *rc, pull_reply *r) {
    loam_buf url = {0};
    download d = {.fd = fd, .expected = (uint64_t)f->size, .from = file_size(fd), .reply = r};
    put_file_url(&url, f);
    *rc = pull_request(url.data, 0, d.from, on_file, &d, r);
    loam_buf_deinit(&url);
    if (d.write_errno) {
        loam_err err;
        loam_fail_errno(&err, d.write_errno, "%s: %s: write", pulling.name.repo, f->path);
        cli_progress_end(pulling.bar);
        cli_die(&err);
    }
    if (d.bad_range || d.too_long || (r->status == 416 && file_size(fd))) {
        start_over(fd);
        if (*rc == CURLE_WRITE_ERROR || !*rc) *rc = CURLE_RANGE_ERROR;
        return 0;
    }
    if (*rc == CURLE_OK && r->status == 200 && !d.begun && d.from)
        start_over(fd); /* empty answer */
    if (*rc == CURLE_OK && r->status != 200 && r->status != 206 && !pull_is_temporary(*rc, r))
        pull_fail_transfer(f->path, *rc, r);
    if (*rc && !pull_is_temporary(*rc, r)) pull_fail_transfer(f->path, *rc, r);
    return !*rc && (r->status == 200 || r->status == 206) && file_size(fd) == d.expected;
}

/* Until the partial file is whole and intact.  Bytes gained reset the patience. */
static void complete(const pull_file *f, int fd) {
    uint64_t best = file_size(fd);
    int failures = 0, wrong = 0;
    if (best > (uint64_t)f->size) start_over(fd), best = 0;
    for (int n = 0; n < MAX_REQUESTS; n++) {
        CURLcode rc = CURLE_OK;
        pull_reply r = {.status = 200};
        if (file_size(fd) != (uint64_t)f->size && !receive(f, fd, &rc, &r)) {
            const uint64_t now = file_size(fd);
            failures = now > best ? 1 : failures + 1;
            if (now > best) best = now;
            if (!rc && (r.status == 200 || r.status == 206)) rc = CURLE_PARTIAL_FILE;
            if (failures >= pulling.a.retries) pull_fail_transfer(f->path, rc, &r);
            pull_wait_before_retry(failures, &r);
            continue;
        }
        if (is_intact(f, fd)) return;
        start_over(fd);
        best = 0;
        if (wrong++) {
            cli_progress_end(pulling.bar);
            cli_fail(CLI_EXIT_NETWORK,
                     "%s: %s: checksum does not match, twice: the server or a proxy sends wrong "
                     "bytes",
                     pulling.name.repo, f->path);
        }
    }
    pull_fail_transfer(f->path, CURLE_PARTIAL_FILE, &(pull_reply){0});
}

static int wait_for_lock(const pull_file *f) {
    loam_err err;
    int fd = -1;
    for (int n = 0;; n++) {
        const loam_status st = loam_hub_lock(&fd, pulling.name.repo, f->etag, &err);
        if (!st) return fd;
        if (st != LOAM_ERR_BUSY) return -1; /* no locks here: the partial's own name protects */
        if (n == 0 && !pulling.a.quiet)
            cli_warn("%s: another download is at work: waiting", f->path);
        const struct timespec t = {0, 200000000L};
        nanosleep(&t, NULL);
        pull_stop_if_asked();
    }
}

void pull_get_file(pull_file *f) {
    loam_err err;
    struct stat sb;
    char *blob = NULL;
    char *own = NULL;
    find_metadata(f);
    pull_check(loam_hub_blob_path(&blob, pulling.name.repo, f->etag, &err), &err);
    const int lock = wait_for_lock(f);
    const int plain = pull_is_true("HF_HUB_DISABLE_SYMLINKS");

    if (loam_hub_has_file(pulling.name.repo, pulling.commit, f->path, (uint64_t)f->size)) {
        pulling.done += (uint64_t)f->size; /* the other process was here */
    } else {
        if (stat(blob, &sb) == 0 && S_ISREG(sb.st_mode) && sb.st_size == f->size) {
            pulling.done += (uint64_t)f->size;
        } else {
            int fd = -1;
            pull_check(loam_hub_open_partial(&fd, &own, pulling.name.repo, f->etag, &err), &err);
            pulling.done += file_size(fd);
            complete(f, fd);
            if (fsync(fd) != 0) pull_check(loam_fail_errno(&err, errno, "%s: sync", own), &err);
            close(fd);
            if (rename(own, blob) != 0)
                pull_check(loam_fail_errno(&err, errno, "%s: put in place", blob), &err);
        }
        pull_check(loam_hub_link(pulling.name.repo, pulling.commit, f->path, f->etag, plain, &err),
                   &err);
    }
    cli_progress_set(pulling.bar, pulling.done, pulling.total);
    if (lock >= 0) close(lock);
    free(own);
    free(blob);
}
