/* pull.h - the parts of loam-pull, the one program with network code.
 *
 *   loam_pull.c   environment, the way of a download, its report
 *   http.c        one request: redirects, retries, what a failure means
 *   list.c        what the repository holds: commit, files, which are wanted
 *   file.c        one file: HEAD, lock, GET, check, rename, link
 *
 * Failures end the program with one line; a partial file stays for the next run.
 */
#ifndef LOAM_PULL_H
#define LOAM_PULL_H

#include "cli/pull_options.h"

#include <curl/curl.h>
#include <loam/hub.h>
#include <loam/json.h>
#include <time.h>

enum { PULL_TEXT = 256 };

/* What a response said, of the headers that matter. */
typedef struct pull_reply {
    long status;
    char etag[PULL_TEXT], linked_etag[PULL_TEXT], content_range[PULL_TEXT], error_code[64],
        next[2048];
    char encoding[32], retry_after[64];
    int64_t linked_size, length;
} pull_reply;

typedef struct pull_file {
    char *path, *oid, *sha256, *xet;
    int64_t size; /* -1: not known */
    int wanted;
    char etag[PULL_TEXT];
} pull_file;

typedef struct pull_session {
    cli_pull_args a;
    loam_hub_name name;
    char commit[41];
    char endpoint[512], token[512];
    CURL *curl;
    pull_file *files;
    size_t n_files;
    cli_progress *bar;
    uint64_t total, done, received;
    struct timespec quiet_since; /* of the running transfer: since when no byte has come */
    curl_off_t seen;
} pull_session;

extern pull_session pulling; /* one download a process */

/* ---- loam_pull.c ---- */
_Noreturn void pull_fail_status(loam_status status, const char *what);
void pull_check(loam_status status, loam_err *err); /* ends the program unless OK */
void *pull_must(void *p);                           /* ends the program when NULL */
void pull_stop_if_asked(void);
int pull_is_true(const char *name); /* of an environment variable: 1, ON, YES, TRUE */
/* Copy without white space at the ends; 0 when it does not fit or holds controls. */
int pull_copy_trimmed(char *dst, size_t size, const char *s, size_t n);

/* ---- http.c ---- */
int64_t pull_parse_size(const char *s, size_t n); /* -1: none */
size_t pull_origin_length(const char *url); /* bytes of scheme, host and port; 0: no address */
/* One exchange, redirects followed: the token stays with the hub, and https never becomes http. */
CURLcode pull_request(const char *url, int head, uint64_t from, curl_write_callback sink,
                      void *sink_ctx, pull_reply *r);
int pull_is_temporary(CURLcode rc, const pull_reply *r);
void pull_wait_before_retry(int n, const pull_reply *r); /* n: 1, 2, ... */
_Noreturn void pull_fail_transfer(const char *what, CURLcode rc, const pull_reply *r);
/* A HEAD or a text, retried; returns the final status (only temporary ones die). */
long pull_fetch(const char *what, const char *url, int head, loam_buf *text, pull_reply *r);

/* ---- list.c ---- */
void pull_put_escaped(loam_buf *b, const char *s, int keep_slash); /* for a URL */
int pull_is_hex(const char *s, size_t n);
/* Pin the revision to its commit; the hub's answer, for hubs that have no tree.  Caller frees. */
loam_json *pull_find_commit(void);
void pull_list_files(const loam_json *info);
size_t pull_choose_files(void); /* how many are wanted */

/* ---- file.c ---- */
void pull_get_file(pull_file *f);

#endif
