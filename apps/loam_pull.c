/* loam_pull.c - the one program with network code: a repository into the Hugging Face cache.
 *
 *     commit of the revision  ->  list of files  ->  per file: HEAD, lock, GET, check, rename, link
 *
 * What a download must survive decides its shape.  A partial file keeps its bytes
 * under a name of this process; the next run takes it over when its owner is
 * dead, goes on with a Range request, and the checksum at the end judges the
 * whole file whatever happened on the way.  The token goes to the hub's own
 * origin and nowhere else, so redirects are followed by hand.
 */
#include "cli/pull_options.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <loam/hub.h>
#include <loam/json.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

enum {
    MAX_HOPS = 10,
    MAX_FILES = 100000,
    MAX_LIST_BYTES = 64 << 20,
    MAX_WAIT = 120,      /* seconds that a server may ask to wait */
    MAX_REQUESTS = 1000, /* for one file, however it trickles */
    TEXT = 256
};

/* What a response said, of the headers that matter. */
typedef struct reply {
    long status;
    char etag[TEXT], linked_etag[TEXT], content_range[TEXT], error_code[64], next[2048];
    char encoding[32], retry_after[64];
    int64_t linked_size, length;
} reply;

typedef struct hub_file {
    char *path, *oid, *sha256, *xet;
    int64_t size; /* -1: not known */
    int wanted;
    char etag[TEXT];
} hub_file;

/* One file being received. */
typedef struct download {
    int fd;
    uint64_t expected, from, at; /* from: where the Range request begins */
    const reply *reply;
    int begun, bad_range, too_long, write_errno;
} download;

typedef struct session {
    cli_pull_args a;
    loam_hub_name name;
    char commit[41];
    char endpoint[512], token[512];
    CURL *curl;
    hub_file *files;
    size_t n_files;
    cli_progress *bar;
    uint64_t total, done, received;
    struct timespec quiet_since; /* of the running transfer: since when no byte has come */
    curl_off_t seen;
} session;

static session S; /* one download per process */

_Noreturn static void fail_status(loam_status status, const char *what) {
    loam_err err;
    loam_fail(&err, status, "%s", what);
    cli_progress_end(S.bar);
    cli_die(&err);
}

static void check(loam_status status, loam_err *err) {
    if (!status) return;
    cli_progress_end(S.bar);
    cli_die(err);
}

static void *must(void *p) {
    if (!p) fail_status(LOAM_ERR_MEMORY, "out of memory");
    return p;
}

static void stop_if_asked(void) {
    if (!cli_cancel.requested) return;
    cli_progress_end(S.bar);
    exit(cli_finish(CLI_EXIT_SIGINT));
}

static int is_true(const char *name) {
    static const char *const yes[] = {"1", "ON", "YES", "TRUE"};
    const char *v = getenv(name);
    for (size_t i = 0; v && i < sizeof yes / sizeof *yes; i++)
        if (strcasecmp(v, yes[i]) == 0) return 1;
    return 0;
}

/* Copy without white space at the ends; 0 when it does not fit or holds controls. */
static int copy_trimmed(char *dst, size_t size, const char *s, size_t n) {
    while (n && (unsigned char)s[n - 1] <= ' ') n--;
    while (n && (unsigned char)*s <= ' ') s++, n--;
    if (n >= size) return 0;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)s[i] < ' ' || s[i] == 0x7f) return 0;
    memcpy(dst, s, n);
    dst[n] = '\0';
    return 1;
}

static void read_token_file(char *path) {
    char text[1024];
    if (!path) return;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    const ssize_t n = fd >= 0 ? read(fd, text, sizeof text) : -1;
    if (n > 0 && !copy_trimmed(S.token, sizeof S.token, text, (size_t)n))
        cli_warn("%s: not a token: ignored", path);
    if (fd >= 0) close(fd);
    free(path);
}

static void read_environment(void) {
    const char *v = getenv("HF_ENDPOINT");
    if (!v || !*v) v = "https://huggingface.co";
    if (!copy_trimmed(S.endpoint, sizeof S.endpoint, v, strlen(v)) ||
        (strncmp(S.endpoint, "https://", 8) != 0 && strncmp(S.endpoint, "http://", 7) != 0))
        cli_fail(CLI_EXIT_USAGE, "HF_ENDPOINT: not an http or https address: %.200s", v);
    for (size_t n = strlen(S.endpoint); n && S.endpoint[n - 1] == '/'; n--) S.endpoint[n - 1] = 0;

    if (!S.a.retries) S.a.retries = 5;
    v = getenv("HF_HUB_DOWNLOAD_TIMEOUT");
    if (!S.a.timeout && v) S.a.timeout = atoi(v);
    if (S.a.timeout < 1 || S.a.timeout > 3600) S.a.timeout = 10;

    if (is_true("HF_HUB_DISABLE_IMPLICIT_TOKEN")) return;
    v = getenv("HF_TOKEN");
    if (!v || !*v) v = getenv("HUGGING_FACE_HUB_TOKEN");
    if (v && *v) {
        if (!copy_trimmed(S.token, sizeof S.token, v, strlen(v)))
            cli_fail(CLI_EXIT_USAGE, "HF_TOKEN: not a token");
        return;
    }
    v = getenv("HF_TOKEN_PATH");
    if (v && *v) {
        read_token_file(strdup(v));
        return;
    }
    char *home = NULL;
    loam_buf path = {0};
    if (loam_hub_home(&home, NULL) == LOAM_OK) loam_buf_printf(&path, "%s/token", home);
    free(home);
    read_token_file(path.data);
}

/* ---- HTTP ---- */

static size_t origin_length(const char *url) {
    const char *p = strstr(url, "://");
    return p ? strcspn(p + 3, "/?#") + (size_t)(p + 3 - url) : 0;
}

/* The same scheme, host and port as the hub. */
static int is_hub(const char *url) {
    const size_t n = origin_length(S.endpoint);
    return n && origin_length(url) == n && strncasecmp(url, S.endpoint, n) == 0;
}

/* The value when a header line has this name (in lower case), or NULL. */
static const char *header_value(const char *line, size_t n, const char *name, size_t *value_n) {
    const size_t k = strlen(name);
    if (n <= k || strncasecmp(line, name, k) != 0 || line[k] != ':') return NULL;
    *value_n = n - k - 1;
    return line + k + 1;
}

/* W/"abc" -> abc */
static void copy_etag(char *dst, const char *s, size_t n) {
    while (n && (*s == ' ' || *s == '\t')) s++, n--;
    if (n > 2 && s[0] == 'W' && s[1] == '/') s += 2, n -= 2;
    while (n && (unsigned char)s[n - 1] <= ' ') n--;
    if (n >= 2 && *s == '"' && s[n - 1] == '"') s++, n -= 2;
    if (!copy_trimmed(dst, TEXT, s, n)) dst[0] = '\0';
}

/* Link: <https://…>; rel="next" */
static void copy_next(reply *r, const char *s, size_t n) {
    const char *open = memchr(s, '<', n);
    const char *close = open ? memchr(open, '>', n - (size_t)(open - s)) : NULL;
    if (!close || !memmem(close, n - (size_t)(close - s), "rel=\"next\"", 10)) return;
    if (!copy_trimmed(r->next, sizeof r->next, open + 1, (size_t)(close - open - 1)))
        r->next[0] = '\0';
}

static int64_t parse_size(const char *s, size_t n) {
    char text[32];
    if (!copy_trimmed(text, sizeof text, s, n) || !*text ||
        strspn(text, "0123456789") != strlen(text))
        return -1;
    errno = 0;
    const long long v = strtoll(text, NULL, 10);
    return errno ? -1 : v;
}

static size_t on_header(char *line, size_t size, size_t count, void *ctx) {
    reply *r = ctx;
    const size_t n = size * count;
    const char *v;
    size_t k;
    if (n > 5 &&
        strncmp(line, "HTTP/", 5) == 0) { /* a new response: 100, a proxy's, the real one */
        memset(r, 0, sizeof *r);
        r->linked_size = r->length = -1;
        const char *space = memchr(line, ' ', n);
        if (space) r->status = strtol(space, NULL, 10);
        return n;
    }
    const struct {
        const char *name;
        char *to;
        size_t size;
    } texts[] = {{"content-range", r->content_range, sizeof r->content_range},
                 {"content-encoding", r->encoding, sizeof r->encoding},
                 {"retry-after", r->retry_after, sizeof r->retry_after},
                 {"x-error-code", r->error_code, sizeof r->error_code}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if ((v = header_value(line, n, texts[i].name, &k)))
            (void)copy_trimmed(texts[i].to, texts[i].size, v, k);
    if ((v = header_value(line, n, "etag", &k))) copy_etag(r->etag, v, k);
    if ((v = header_value(line, n, "x-linked-etag", &k))) copy_etag(r->linked_etag, v, k);
    if ((v = header_value(line, n, "x-linked-size", &k))) r->linked_size = parse_size(v, k);
    if ((v = header_value(line, n, "content-length", &k))) r->length = parse_size(v, k);
    if ((v = header_value(line, n, "link", &k))) copy_next(r, v, k);
    return n;
}

static size_t on_text(char *bytes, size_t size, size_t count, void *ctx) {
    loam_buf *b = ctx;
    const size_t n = size * count;
    if (b->n + n > MAX_LIST_BYTES) return 0;
    loam_buf_append(b, bytes, n);
    return b->failed ? 0 : n;
}

/* The first byte of a file's body: does the response begin where we asked? */
static int begin_body(download *d) {
    const reply *r = d->reply;
    d->begun = 1;
    d->at = d->from;
    if (r->status == 206) {
        unsigned long long first, last;
        char total[32];
        const int n = sscanf(r->content_range, "bytes %llu-%llu/%31s", &first, &last, total);
        const int64_t whole = n == 3 ? parse_size(total, strlen(total)) : -1;
        d->bad_range = n != 3 || first != d->from || last < first ||
                       (strcmp(total, "*") != 0 && whole != (int64_t)d->expected) || *r->encoding;
        return !d->bad_range;
    }
    if (d->from) { /* the server knows no ranges: from the start */
        S.done -= d->from;
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
    S.done += n;
    S.received += n;
    cli_progress_set(S.bar, S.done, S.total);
    return n;
}

/* Called all the time, bytes or not: non-zero ends the transfer. */
static int on_progress(void *ctx, curl_off_t total, curl_off_t now, curl_off_t a, curl_off_t b) {
    struct timespec t;
    (void)ctx, (void)total, (void)a, (void)b;
    clock_gettime(CLOCK_MONOTONIC, &t);
    if (S.quiet_since.tv_sec == 0 || now != S.seen) S.quiet_since = t;
    S.seen = now;
    return cli_cancel.requested || t.tv_sec - S.quiet_since.tv_sec > S.a.timeout;
}

/* One exchange without redirects. */
static CURLcode exchange(const char *url, int head, uint64_t from, curl_write_callback sink,
                         void *sink_ctx, reply *r) {
    struct curl_slist *headers = NULL;
    char line[640], range[32];
    CURL *c = S.curl;
    memset(r, 0, sizeof *r);
    r->linked_size = r->length = -1;
    S.quiet_since.tv_sec = S.seen = 0;
    curl_easy_reset(c);
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_USERAGENT, "loam/" LOAM_VERSION);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, (long)S.a.timeout);
    if (head) curl_easy_setopt(c, CURLOPT_NOBODY, 1L);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, r);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, sink);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, sink_ctx);
    curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress);
    /* asks for plain bytes, and decodes if a server compresses all the same */
    curl_easy_setopt(c, CURLOPT_ACCEPT_ENCODING, "identity");
    if (from) {
        snprintf(range, sizeof range, "%llu-", (unsigned long long)from);
        curl_easy_setopt(c, CURLOPT_RANGE, range);
    }
    if (S.token[0] && is_hub(url)) {
        snprintf(line, sizeof line, "Authorization: Bearer %s", S.token);
        headers = curl_slist_append(headers, line);
    }
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
    const CURLcode rc = curl_easy_perform(c);
    curl_slist_free_all(headers);
    return rc;
}

/* An exchange with redirects followed by hand: the token stays with the hub, and
 * https never becomes http.  A HEAD stops where the file's own etag is told. */
static CURLcode request(const char *url, int head, uint64_t from, curl_write_callback sink,
                        void *sink_ctx, reply *r) {
    char *at = must(strdup(url));
    CURLcode rc = CURLE_TOO_MANY_REDIRECTS;
    for (int hop = 0; hop <= MAX_HOPS; hop++) {
        rc = exchange(at, head, from, sink, sink_ctx, r);
        const int redirect = r->status >= 301 && r->status <= 308 && r->status != 304;
        char *next = NULL;
        if (rc || !redirect || (head && *r->linked_etag)) break;
        curl_easy_getinfo(S.curl, CURLINFO_REDIRECT_URL, &next);
        if (!next || (head && *r->etag && !is_hub(next))) break;
        if (strncmp(at, "https:", 6) == 0 && strncmp(next, "https:", 6) != 0) {
            rc = CURLE_UNSUPPORTED_PROTOCOL;
            break;
        }
        next = must(strdup(next));
        free(at);
        at = next;
        rc = CURLE_TOO_MANY_REDIRECTS;
    }
    free(at);
    stop_if_asked();
    return rc;
}

static int is_temporary(CURLcode rc, const reply *r) {
    switch (rc) {
    case CURLE_OK: return r->status == 429 || r->status == 408 || r->status >= 500;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_ABORTED_BY_CALLBACK: /* silence; being asked to stop has been seen to */
    case CURLE_PARTIAL_FILE:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_BAD_CONTENT_ENCODING:
    case CURLE_SSL_CONNECT_ERROR: return 1;
    default: return 0;
    }
}

/* Wait before attempt `n` (1, 2, ...): what the server asks for, else 0.5 s doubled
 * up to 8 s, a little different in every process. */
static void wait_before_retry(int n, const reply *r) {
    double seconds = 0.5 * (double)(1 << (n < 5 ? n - 1 : 4));
    seconds *= 1.0 + (double)(getpid() % 64) / 256.0;
    if (*r->retry_after && (r->status == 429 || r->status == 503)) {
        const int64_t asked = parse_size(r->retry_after, strlen(r->retry_after));
        const time_t date = asked < 0 ? curl_getdate(r->retry_after, NULL) : -1;
        if (asked >= 0) seconds = (double)asked;
        if (date >= 0) seconds = difftime(date, time(NULL));
        if (seconds > MAX_WAIT) {
            cli_progress_end(S.bar);
            cli_fail(CLI_EXIT_NETWORK,
                     "%s: the server asks to come back in %.0f seconds (HTTP %ld)", S.name.repo,
                     seconds, r->status);
        }
        if (seconds < 0.1) seconds = 0.1;
    }
    for (; seconds > 0; seconds -= 0.1) {
        const struct timespec t = {0, seconds > 0.1 ? 100000000L : (long)(seconds * 1e9)};
        nanosleep(&t, NULL);
        stop_if_asked();
    }
}

_Noreturn static void fail_transfer(const char *what, CURLcode rc, const reply *r) {
    cli_progress_end(S.bar);
    if (rc)
        cli_fail(CLI_EXIT_NETWORK, "%s: %s: %s: try again, what is here is kept", S.name.repo, what,
                 rc == CURLE_ABORTED_BY_CALLBACK ? "no answer in time" : curl_easy_strerror(rc));
    const char *repo = S.name.repo;
    if (r->status == 401 || r->status == 403) {
        if (strcmp(r->error_code, "GatedRepo") == 0)
            cli_fail(
                CLI_EXIT_NETWORK,
                "%s: gated (HTTP %ld): accept its terms at %s/%s, then set HF_TOKEN to a token "
                "that may read it",
                repo, r->status, S.endpoint, repo);
        cli_fail(CLI_EXIT_NETWORK,
                 "%s: no such model, or a private or gated one (HTTP %ld): check the name; %s",
                 repo, r->status,
                 S.token[0] ? "the token given may not read it"
                            : "set HF_TOKEN (or HF_TOKEN_PATH) to a token that may read it");
    }
    if (r->status == 404 || r->status == 410) {
        if (strcmp(r->error_code, "RevisionNotFound") == 0)
            cli_fail(CLI_EXIT_NOT_FOUND, "%s: no revision %s (HTTP 404)", repo,
                     S.name.revision[0] ? S.name.revision : "main");
        cli_fail(CLI_EXIT_NOT_FOUND, "%s: %s: not found at %s (HTTP %ld): check the name", repo,
                 what, S.endpoint, r->status);
    }
    cli_fail(CLI_EXIT_NETWORK, "%s: %s: the server answers HTTP %ld: try again later", repo, what,
             r->status);
}

/* A HEAD or a text, retried; returns the final status (only temporary ones die). */
static long fetch(const char *what, const char *url, int head, loam_buf *text, reply *r) {
    for (int n = 1;; n++) {
        loam_buf_clear(text);
        const CURLcode rc = request(url, head, 0, on_text, text, r);
        if (!is_temporary(rc, r)) {
            if (rc) fail_transfer(what, rc, r);
            return r->status;
        }
        if (n >= S.a.retries) fail_transfer(what, rc, r);
        wait_before_retry(n, r);
    }
}

/* ---- what the repository holds ---- */

static void put_escaped(loam_buf *b, const char *s, int keep_slash) {
    for (; *s; s++) {
        const unsigned char c = (unsigned char)*s;
        const int plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                          (c >= '0' && c <= '9') || strchr("-_.~", c) != NULL ||
                          (c == '/' && keep_slash);
        if (plain)
            loam_buf_putc(b, (char)c);
        else
            loam_buf_printf(b, "%%%02X", c);
    }
}

static loam_json *parse(const char *what, const loam_buf *text) {
    loam_json *doc = NULL;
    loam_err err;
    if (loam_json_parse(&doc, text->data ? text->data : "", text->n, what, 0, &err))
        cli_fail(CLI_EXIT_NETWORK, "%s: %s: not what a hub answers: %s", S.name.repo, what,
                 err.msg);
    return doc;
}

static int is_hex(const char *s, size_t n) {
    return s && strlen(s) == n && strspn(s, "0123456789abcdef") == n;
}

static hub_file *add_file(const char *path) {
    if (!loam_hub_valid_path(path))
        cli_fail(CLI_EXIT_INVALID, "%s: the list of files names %.100s, which leads elsewhere",
                 S.name.repo, path);
    if (S.n_files >= MAX_FILES) cli_fail(CLI_EXIT_INVALID, "%s: too many files", S.name.repo);
    if ((S.n_files & (S.n_files + 1)) == 0 || !S.files)
        S.files = must(realloc(S.files, (2 * S.n_files + 2) * sizeof *S.files));
    hub_file *f = &S.files[S.n_files++];
    memset(f, 0, sizeof *f);
    f->path = must(strdup(path));
    f->size = -1;
    return f;
}

static char *copy_if(const char *s) {
    return s ? must(strdup(s)) : NULL;
}

/* Pin the revision to its commit; keep the plain list of files for hubs that have no tree. */
static loam_json *find_commit(void) {
    loam_buf url = {0}, text = {0};
    reply r;
    const char *rev = S.name.revision[0] ? S.name.revision : "main";
    loam_buf_printf(&url, "%s/api/models/%s/revision/", S.endpoint, S.name.repo);
    put_escaped(&url, rev, 0);
    long status = fetch("model", must(url.data), 0, &text, &r);
    if (status == 404 && !*r.error_code && strcmp(rev, "main") == 0) {
        loam_buf_clear(&url);
        loam_buf_printf(&url, "%s/api/models/%s", S.endpoint, S.name.repo);
        status = fetch("model", url.data, 0, &text, &r);
    }
    if (status != 200) fail_transfer("model", CURLE_OK, &r);
    loam_json *doc = parse("model", &text);
    const char *sha = loam_json_string(loam_json_get(loam_json_root(doc), "sha"), NULL);
    if (!is_hex(sha, 40)) cli_fail(CLI_EXIT_NETWORK, "%s: the hub tells no commit", S.name.repo);
    memcpy(S.commit, sha, sizeof S.commit);
    loam_buf_deinit(&url);
    loam_buf_deinit(&text);
    return doc;
}

static void add_tree(const loam_json_value *list) {
    for (const loam_json_value *v = loam_json_first(list); v; v = loam_json_next(v)) {
        const char *type = loam_json_string(loam_json_get(v, "type"), NULL);
        const char *path = loam_json_string(loam_json_get(v, "path"), NULL);
        const loam_json_value *lfs = loam_json_get(v, "lfs");
        if (!path || (type && strcmp(type, "file") != 0)) continue;
        hub_file *f = add_file(path);
        if (!loam_json_int(loam_json_get(lfs, "size"), &f->size) &&
            !loam_json_int(loam_json_get(v, "size"), &f->size))
            f->size = -1;
        const char *oid = loam_json_string(loam_json_get(v, "oid"), NULL);
        const char *sha = loam_json_string(loam_json_get(lfs, "oid"), NULL);
        if (!sha) sha = loam_json_string(loam_json_get(lfs, "sha256"), NULL);
        f->oid = copy_if(oid);
        f->sha256 = copy_if(is_hex(sha, 64) ? sha : NULL);
        f->xet = copy_if(loam_json_string(loam_json_get(v, "xetHash"), NULL));
    }
}

static void list_files(const loam_json *info) {
    loam_buf url = {0}, text = {0};
    reply r;
    loam_buf_printf(&url, "%s/api/models/%s/tree/%s?recursive=true", S.endpoint, S.name.repo,
                    S.commit);
    for (int page = 0; page < 1000; page++) {
        const long status = fetch("list of files", must(url.data), 0, &text, &r);
        if (status != 200 && (page || status == 401 || status == 403))
            fail_transfer("list of files", CURLE_OK, &r);
        if (status != 200) break;
        loam_json *doc = parse("list of files", &text);
        if (loam_json_type_of(loam_json_root(doc)) == LOAM_JSON_ARRAY)
            add_tree(loam_json_root(doc));
        loam_json_free(doc);
        if (!*r.next) break;
        const int relative = r.next[0] == '/';
        loam_buf_clear(&url);
        if (relative) loam_buf_append(&url, S.endpoint, origin_length(S.endpoint));
        loam_buf_puts(&url, r.next);
    }
    const loam_json_value *siblings = loam_json_get(loam_json_root(info), "siblings");
    for (const loam_json_value *v = S.n_files ? NULL : loam_json_first(siblings); v;
         v = loam_json_next(v)) {
        const char *path = loam_json_string(loam_json_get(v, "rfilename"), NULL);
        if (path) (void)add_file(path);
    }
    if (!S.n_files) cli_fail(CLI_EXIT_NOT_FOUND, "%s: holds no files", S.name.repo);
    loam_buf_deinit(&url);
    loam_buf_deinit(&text);
}

static int matches(const cli_strings *globs, const char *path) {
    for (size_t i = 0; i < globs->n; i++) {
        const char *g = globs->items[i];
        const size_t n = strlen(g);
        if (n && g[n - 1] == '/') { /* a folder: everything in it */
            if (strncmp(path, g, n) == 0) return 1;
        } else if (fnmatch(g, path, FNM_NOESCAPE) == 0) {
            return 1;
        }
    }
    return 0;
}

/* Small files first: with the weights last, a folder that has them is complete. */
static int compare_files(const void *a, const void *b) {
    const hub_file *x = a, *y = b;
    if (x->size != y->size) return x->size < y->size ? -1 : 1;
    return strcmp(x->path, y->path);
}

static size_t choose_files(void) {
    size_t n = 0;
    for (size_t i = 0; i < S.n_files; i++) {
        hub_file *f = &S.files[i];
        f->wanted =
            (!S.a.include.n || matches(&S.a.include, f->path)) && !matches(&S.a.exclude, f->path);
        n += (size_t)f->wanted;
    }
    if (!n) cli_fail(CLI_EXIT_NOT_FOUND, "%s: no file matches --include/--exclude", S.name.repo);
    qsort(S.files, S.n_files, sizeof *S.files, compare_files);
    return n;
}

/* ---- one file ---- */

static void put_file_url(loam_buf *b, const hub_file *f) {
    loam_buf_printf(b, "%s/%s/resolve/%s/", S.endpoint, S.name.repo, S.commit);
    put_escaped(b, f->path, 1);
    (void)must(b->data);
}

/* Etag and size, by HEAD; what the tree said fills gaps. */
static void find_metadata(hub_file *f) {
    loam_buf url = {0}, text = {0};
    reply r;
    put_file_url(&url, f);
    const long status = fetch(f->path, url.data, 1, &text, &r);
    if (status < 400) {
        snprintf(f->etag, sizeof f->etag, "%s", *r.linked_etag ? r.linked_etag : r.etag);
        if (r.linked_size >= 0)
            f->size = r.linked_size;
        else if (f->size < 0 && status == 200 && !*r.encoding)
            f->size = r.length;
    } else if (status != 405 && status != 501) {
        fail_transfer(f->path, CURLE_OK, &r);
    }
    if (!*f->etag && (f->sha256 || f->oid))
        snprintf(f->etag, sizeof f->etag, "%s", f->sha256 ? f->sha256 : f->oid);
    if (!loam_hub_valid_etag(f->etag))
        cli_fail(CLI_EXIT_NETWORK, "%s: %s: the server tells no usable etag", S.name.repo, f->path);
    if (f->size < 0)
        cli_fail(CLI_EXIT_NETWORK, "%s: %s: the server tells no size", S.name.repo, f->path);
    loam_buf_deinit(&url);
    loam_buf_deinit(&text);
}

/* Whether the file's bytes are what its etag says: sha256, or a git blob's sha1;
 * an etag of another kind proves nothing and passes. */
static int is_intact(const hub_file *f, int fd) {
    char want[65], got[2 * EVP_MAX_MD_SIZE + 1], buffer[1 << 16];
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n_digest = 0;
    const char *sum = f->sha256 ? f->sha256 : f->etag;
    const int sha256 = is_hex(sum, 64);
    if (!sha256 && !is_hex(sum, 40)) return 1;
    snprintf(want, sizeof want, "%s", sum);

    EVP_MD_CTX *ctx = must(EVP_MD_CTX_new());
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
        stop_if_asked();
    }
    ok = ok && EVP_DigestFinal_ex(ctx, digest, &n_digest);
    EVP_MD_CTX_free(ctx);
    for (unsigned i = 0; i < n_digest; i++) snprintf(got + 2 * i, 3, "%02x", digest[i]);
    return ok && n_digest && strcmp(got, want) == 0;
}

static uint64_t file_size(int fd) {
    struct stat sb;
    return fstat(fd, &sb) == 0 ? (uint64_t)sb.st_size : 0;
}

static void start_over(int fd) {
    S.done -= file_size(fd);
    if (ftruncate(fd, 0) != 0) fail_status(LOAM_ERR_IO, "partial file cannot be emptied");
}

/* One GET, appended to the partial file.  1: whole; 0: try again (reason in *rc, *r). */
static int receive(const hub_file *f, int fd, CURLcode *rc, reply *r) {
    loam_buf url = {0};
    download d = {.fd = fd, .expected = (uint64_t)f->size, .from = file_size(fd), .reply = r};
    put_file_url(&url, f);
    *rc = request(url.data, 0, d.from, on_file, &d, r);
    loam_buf_deinit(&url);
    if (d.write_errno) {
        loam_err err;
        loam_fail_errno(&err, d.write_errno, "%s: %s: write", S.name.repo, f->path);
        cli_progress_end(S.bar);
        cli_die(&err);
    }
    if (d.bad_range || d.too_long || (r->status == 416 && file_size(fd))) {
        start_over(fd);
        if (*rc == CURLE_WRITE_ERROR || !*rc) *rc = CURLE_RANGE_ERROR;
        return 0;
    }
    if (*rc == CURLE_OK && r->status == 200 && !d.begun && d.from)
        start_over(fd); /* empty answer */
    if (*rc == CURLE_OK && r->status != 200 && r->status != 206 && !is_temporary(*rc, r))
        fail_transfer(f->path, *rc, r);
    if (*rc && !is_temporary(*rc, r)) fail_transfer(f->path, *rc, r);
    return !*rc && (r->status == 200 || r->status == 206) && file_size(fd) == d.expected;
}

/* Until the partial file is whole and intact.  Bytes gained reset the patience. */
static void complete(const hub_file *f, int fd) {
    uint64_t best = file_size(fd);
    int failures = 0, wrong = 0;
    if (best > (uint64_t)f->size) start_over(fd), best = 0;
    for (int n = 0; n < MAX_REQUESTS; n++) {
        CURLcode rc = CURLE_OK;
        reply r = {.status = 200};
        if (file_size(fd) != (uint64_t)f->size && !receive(f, fd, &rc, &r)) {
            const uint64_t now = file_size(fd);
            failures = now > best ? 1 : failures + 1;
            if (now > best) best = now;
            if (!rc && (r.status == 200 || r.status == 206)) rc = CURLE_PARTIAL_FILE;
            if (failures >= S.a.retries) fail_transfer(f->path, rc, &r);
            wait_before_retry(failures, &r);
            continue;
        }
        if (is_intact(f, fd)) return;
        start_over(fd);
        best = 0;
        if (wrong++) {
            cli_progress_end(S.bar);
            cli_fail(CLI_EXIT_NETWORK,
                     "%s: %s: checksum does not match, twice: the server or a proxy sends wrong "
                     "bytes",
                     S.name.repo, f->path);
        }
    }
    fail_transfer(f->path, CURLE_PARTIAL_FILE, &(reply){0});
}

static int wait_for_lock(const hub_file *f) {
    loam_err err;
    int fd = -1;
    for (int n = 0;; n++) {
        const loam_status st = loam_hub_lock(&fd, S.name.repo, f->etag, &err);
        if (!st) return fd;
        if (st != LOAM_ERR_BUSY) return -1; /* no locks here: the partial's own name protects */
        if (n == 0 && !S.a.quiet) cli_warn("%s: another download is at work: waiting", f->path);
        const struct timespec t = {0, 200000000L};
        nanosleep(&t, NULL);
        stop_if_asked();
    }
}

static void get_file(hub_file *f) {
    loam_err err;
    struct stat sb;
    char *blob = NULL;
    char *own = NULL;
    find_metadata(f);
    check(loam_hub_blob_path(&blob, S.name.repo, f->etag, &err), &err);
    const int lock = wait_for_lock(f);
    const int plain = is_true("HF_HUB_DISABLE_SYMLINKS");

    if (loam_hub_has_file(S.name.repo, S.commit, f->path, (uint64_t)f->size)) {
        S.done += (uint64_t)f->size; /* the other process was here */
    } else {
        if (stat(blob, &sb) == 0 && S_ISREG(sb.st_mode) && sb.st_size == f->size) {
            S.done += (uint64_t)f->size;
        } else {
            int fd = -1;
            check(loam_hub_open_partial(&fd, &own, S.name.repo, f->etag, &err), &err);
            S.done += file_size(fd);
            complete(f, fd);
            if (fsync(fd) != 0) check(loam_fail_errno(&err, errno, "%s: sync", own), &err);
            close(fd);
            if (rename(own, blob) != 0)
                check(loam_fail_errno(&err, errno, "%s: put in place", blob), &err);
        }
        check(loam_hub_link(S.name.repo, S.commit, f->path, f->etag, plain, &err), &err);
    }
    cli_progress_set(S.bar, S.done, S.total);
    if (lock >= 0) close(lock);
    free(own);
    free(blob);
}

/* ---- the whole ---- */

static void check_space(const char *folder, uint64_t missing) {
    struct statvfs fs;
    if (statvfs(folder, &fs) != 0) return;
    const uint64_t room = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (missing > room)
        cli_fail(CLI_EXIT_RESOURCES,
                 "%s: needs %.1f MB more, %s has %.1f MB free: make room or set HF_HUB_CACHE",
                 S.name.repo, (double)missing / 1e6, folder, (double)room / 1e6);
}

static void write_tree(void) {
    loam_err err;
    loam_hub_file *list = must(calloc(S.n_files, sizeof *list));
    for (size_t i = 0; i < S.n_files; i++) {
        const hub_file *f = &S.files[i];
        list[i] = (loam_hub_file){f->path, f->size < 0 ? 0 : (uint64_t)f->size, f->oid, f->sha256,
                                  f->xet};
        if (f->size < 0) { /* a hub without a tree: no list to trust */
            free(list);
            return;
        }
    }
    check(loam_hub_write_tree(S.name.repo, S.commit, list, S.n_files, &err), &err);
    free(list);
}

static void print_result(const char *folder, size_t n_files) {
    const char *rev = S.name.revision[0] ? S.name.revision : "main";
    if (!S.a.json) {
        printf("%s\n", folder);
        return;
    }
    loam_buf b = {0};
    loam_buf_puts(&b, "{\"repo\": ");
    loam_json_put_string(&b, S.name.repo, strlen(S.name.repo));
    loam_buf_puts(&b, ", \"revision\": ");
    loam_json_put_string(&b, rev, strlen(rev));
    loam_buf_printf(&b, ", \"commit\": \"%s\", \"path\": ", S.commit);
    loam_json_put_string(&b, folder, strlen(folder));
    loam_buf_printf(&b, ", \"files\": %zu, \"bytes\": %llu, \"downloaded\": %llu}\n", n_files,
                    (unsigned long long)S.total, (unsigned long long)S.received);
    fwrite(must(b.data), 1, b.n, stdout);
    loam_buf_deinit(&b);
}

/* What the cache holds, without opening a socket. */
static int pull_offline(void) {
    char *folder = NULL;
    loam_err err;
    if (loam_hub_find(&folder, S.name.repo, S.name.revision, &err))
        cli_fail(CLI_EXIT_NOT_FOUND,
                 "%s: offline (HF_HUB_OFFLINE is set), and the cache has no "
                 "complete copy: unset it and run: loam pull %s",
                 S.name.repo, S.name.repo);
    const char *slash = strrchr(folder, '/');
    snprintf(S.commit, sizeof S.commit, "%s", slash ? slash + 1 : "");
    print_result(folder, 0);
    free(folder);
    return CLI_EXIT_OK;
}

static int pull(void) {
    loam_err err;
    char *folder = NULL;
    uint64_t missing = 0;
    size_t n_missing = 0;
    loam_json *info = find_commit();
    list_files(info);
    loam_json_free(info);
    const size_t n = choose_files();
    check(loam_hub_snapshot_dir(&folder, S.name.repo, S.commit, &err), &err);

    for (size_t i = 0; i < S.n_files; i++) {
        hub_file *f = &S.files[i];
        if (!f->wanted) continue;
        if (f->size > 0) S.total += (uint64_t)f->size;
        if (f->size >= 0 && loam_hub_has_file(S.name.repo, S.commit, f->path, (uint64_t)f->size)) {
            f->wanted = 0;
            S.done += (uint64_t)f->size;
        } else {
            n_missing++;
            missing += f->size > 0 ? (uint64_t)f->size : 0;
        }
    }
    const char *rev = S.name.revision[0] ? S.name.revision : "main";
    const int is_ref = strcmp(rev, S.commit) != 0;
    if (n_missing) { /* with everything here, the cache may be read-only */
        check(loam_hub_prepare(S.name.repo, &err), &err);
        char *cache = NULL;
        check(loam_hub_cache_dir(&cache, &err), &err);
        check_space(cache, missing);
        free(cache);
        write_tree();
        if (!S.a.quiet && !is_true("HF_HUB_DISABLE_PROGRESS_BARS"))
            S.bar = cli_progress_new(S.name.repo, S.total, "B");
        for (size_t i = 0; i < S.n_files; i++)
            if (S.files[i].wanted) get_file(&S.files[i]);
        cli_progress_end(S.bar);
        S.bar = NULL;
    }
    if (is_ref) {
        const loam_status st = loam_hub_write_ref(S.name.repo, rev, S.commit, &err);
        if (n_missing) check(st, &err);
    }
    print_result(folder, n);
    free(folder);
    return CLI_EXIT_OK;
}

static void free_session(void) {
    for (size_t i = 0; i < S.n_files; i++) {
        free(S.files[i].path);
        free(S.files[i].oid);
        free(S.files[i].sha256);
        free(S.files[i].xet);
    }
    free(S.files);
    curl_easy_cleanup(S.curl);
    curl_global_cleanup();
}

int main(int argc, char **argv) {
    cli_strings rest;
    loam_err err;
    cli_start("loam pull");
    cli_parse(&CLI_PULL, argc, argv, &S.a, &rest);
    if (loam_hub_parse(&S.name, rest.items[0], S.a.revision, &err))
        cli_fail(CLI_EXIT_USAGE, "%s", err.msg);
    if (is_true("HF_HUB_OFFLINE") || is_true("TRANSFORMERS_OFFLINE"))
        return cli_finish(pull_offline());

    read_environment();
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != 0 || !(S.curl = curl_easy_init()))
        cli_fail(CLI_EXIT_RUNTIME, "the HTTP library does not start");
    const int code = pull();
    free_session();
    return cli_finish(code);
}
