/* http.c - requests to the hub: redirects by hand, the token for the hub's origin alone, retries. */
#include "pull/pull.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum {
    MAX_HOPS = 10,
    MAX_LIST_BYTES = 64 << 20,
    MAX_WAIT = 120 /* seconds that a server may ask to wait */
};

size_t pull_origin_length(const char *url) {
    const char *p = strstr(url, "://");
    return p ? strcspn(p + 3, "/?#") + (size_t)(p + 3 - url) : 0;
}

/* The same scheme, host and port as the hub. */
static int is_hub(const char *url) {
    const size_t n = pull_origin_length(pulling.endpoint);
    return n && pull_origin_length(url) == n && strncasecmp(url, pulling.endpoint, n) == 0;
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
    if (!pull_copy_trimmed(dst, PULL_TEXT, s, n)) dst[0] = '\0';
}

/* Link: <https://…>; rel="next" */
static void copy_next(pull_reply *r, const char *s, size_t n) {
    const char *open = memchr(s, '<', n);
    const char *close = open ? memchr(open, '>', n - (size_t)(open - s)) : NULL;
    if (!close || !memmem(close, n - (size_t)(close - s), "rel=\"next\"", 10)) return;
    if (!pull_copy_trimmed(r->next, sizeof r->next, open + 1, (size_t)(close - open - 1)))
        r->next[0] = '\0';
}

int64_t pull_parse_size(const char *s, size_t n) {
    char text[32];
    if (!pull_copy_trimmed(text, sizeof text, s, n) || !*text ||
        strspn(text, "0123456789") != strlen(text))
        return -1;
    errno = 0;
    const long long v = strtoll(text, NULL, 10);
    return errno ? -1 : v;
}

static size_t on_header(char *line, size_t size, size_t count, void *ctx) {
    pull_reply *r = ctx;
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
            (void)pull_copy_trimmed(texts[i].to, texts[i].size, v, k);
    if ((v = header_value(line, n, "etag", &k))) copy_etag(r->etag, v, k);
    if ((v = header_value(line, n, "x-linked-etag", &k))) copy_etag(r->linked_etag, v, k);
    if ((v = header_value(line, n, "x-linked-size", &k))) r->linked_size = pull_parse_size(v, k);
    if ((v = header_value(line, n, "content-length", &k))) r->length = pull_parse_size(v, k);
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

/* Called all the time, bytes or not: non-zero ends the transfer. */
static int on_progress(void *ctx, curl_off_t total, curl_off_t now, curl_off_t a, curl_off_t b) {
    struct timespec t;
    (void)ctx, (void)total, (void)a, (void)b;
    clock_gettime(CLOCK_MONOTONIC, &t);
    if (pulling.quiet_since.tv_sec == 0 || now != pulling.seen) pulling.quiet_since = t;
    pulling.seen = now;
    return cli_cancel.requested || t.tv_sec - pulling.quiet_since.tv_sec > pulling.a.timeout;
}

/* One exchange without redirects. */
static CURLcode exchange(const char *url, int head, uint64_t from, curl_write_callback sink,
                         void *sink_ctx, pull_reply *r) {
    struct curl_slist *headers = NULL;
    char line[640], range[32];
    CURL *c = pulling.curl;
    memset(r, 0, sizeof *r);
    r->linked_size = r->length = -1;
    pulling.quiet_since.tv_sec = pulling.seen = 0;
    curl_easy_reset(c);
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_USERAGENT, "loam/" LOAM_VERSION);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, (long)pulling.a.timeout);
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
    if (pulling.token[0] && is_hub(url)) {
        snprintf(line, sizeof line, "Authorization: Bearer %s", pulling.token);
        headers = curl_slist_append(headers, line);
    }
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
    const CURLcode rc = curl_easy_perform(c);
    curl_slist_free_all(headers);
    return rc;
}

/* An exchange with redirects followed by hand: the token stays with the hub, and
 * https never becomes http.  A HEAD stops where the file's own etag is told. */
CURLcode pull_request(const char *url, int head, uint64_t from, curl_write_callback sink,
                      void *sink_ctx, pull_reply *r) {
    char *at = pull_must(strdup(url));
    CURLcode rc = CURLE_TOO_MANY_REDIRECTS;
    for (int hop = 0; hop <= MAX_HOPS; hop++) {
        rc = exchange(at, head, from, sink, sink_ctx, r);
        const int redirect = r->status >= 301 && r->status <= 308 && r->status != 304;
        char *next = NULL;
        if (rc || !redirect || (head && *r->linked_etag)) break;
        curl_easy_getinfo(pulling.curl, CURLINFO_REDIRECT_URL, &next);
        if (!next || (head && *r->etag && !is_hub(next))) break;
        if (strncmp(at, "https:", 6) == 0 && strncmp(next, "https:", 6) != 0) {
            rc = CURLE_UNSUPPORTED_PROTOCOL;
            break;
        }
        next = pull_must(strdup(next));
        free(at);
        at = next;
        rc = CURLE_TOO_MANY_REDIRECTS;
    }
    free(at);
    pull_stop_if_asked();
    return rc;
}

int pull_is_temporary(CURLcode rc, const pull_reply *r) {
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
void pull_wait_before_retry(int n, const pull_reply *r) {
    double seconds = 0.5 * (double)(1 << (n < 5 ? n - 1 : 4));
    seconds *= 1.0 + (double)(getpid() % 64) / 256.0;
    if (*r->retry_after && (r->status == 429 || r->status == 503)) {
        const int64_t asked = pull_parse_size(r->retry_after, strlen(r->retry_after));
        const time_t date = asked < 0 ? curl_getdate(r->retry_after, NULL) : -1;
        if (asked >= 0) seconds = (double)asked;
        if (date >= 0) seconds = difftime(date, time(NULL));
        if (seconds > MAX_WAIT) {
            cli_progress_end(pulling.bar);
            cli_fail(CLI_EXIT_NETWORK,
                     "%s: the server asks to come back in %.0f seconds (HTTP %ld)",
                     pulling.name.repo, seconds, r->status);
        }
        if (seconds < 0.1) seconds = 0.1;
    }
    for (long tenths = (long)(seconds * 10.0 + 0.5); tenths > 0; tenths--) {
        nanosleep(&(struct timespec){0, 100000000L}, NULL);
        pull_stop_if_asked();
    }
}

_Noreturn void pull_fail_transfer(const char *what, CURLcode rc, const pull_reply *r) {
    cli_progress_end(pulling.bar);
    if (rc)
        cli_fail(CLI_EXIT_NETWORK, "%s: %s: %s: try again, what is here is kept", pulling.name.repo,
                 what,
                 rc == CURLE_ABORTED_BY_CALLBACK ? "no answer in time" : curl_easy_strerror(rc));
    const char *repo = pulling.name.repo;
    if (r->status == 401 || r->status == 403) {
        if (strcmp(r->error_code, "GatedRepo") == 0)
            cli_fail(
                CLI_EXIT_NETWORK,
                "%s: gated (HTTP %ld): accept its terms at %s/%s, then set HF_TOKEN to a token "
                "that may read it",
                repo, r->status, pulling.endpoint, repo);
        cli_fail(CLI_EXIT_NETWORK,
                 "%s: no such model, or a private or gated one (HTTP %ld): check the name; %s",
                 repo, r->status,
                 pulling.token[0] ? "the token given may not read it"
                                  : "set HF_TOKEN (or HF_TOKEN_PATH) to a token that may read it");
    }
    if (r->status == 404 || r->status == 410) {
        if (strcmp(r->error_code, "RevisionNotFound") == 0)
            cli_fail(CLI_EXIT_NOT_FOUND, "%s: no revision %s (HTTP 404)", repo,
                     pulling.name.revision[0] ? pulling.name.revision : "main");
        cli_fail(CLI_EXIT_NOT_FOUND, "%s: %s: not found at %s (HTTP %ld): check the name", repo,
                 what, pulling.endpoint, r->status);
    }
    cli_fail(CLI_EXIT_NETWORK, "%s: %s: the server answers HTTP %ld: try again later", repo, what,
             r->status);
}

/* A HEAD or a text, retried; returns the final status (only temporary ones die). */
long pull_fetch(const char *what, const char *url, int head, loam_buf *text, pull_reply *r) {
    for (int n = 1;; n++) {
        loam_buf_clear(text);
        const CURLcode rc = pull_request(url, head, 0, on_text, text, r);
        if (!pull_is_temporary(rc, r)) {
            if (rc) pull_fail_transfer(what, rc, r);
            return r->status;
        }
        if (n >= pulling.a.retries) pull_fail_transfer(what, rc, r);
        pull_wait_before_retry(n, r);
    }
}
