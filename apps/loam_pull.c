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
#include "pull/pull.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/statvfs.h>
#include <unistd.h>

pull_session pulling;

_Noreturn void pull_fail_status(loam_status status, const char *what) {
    loam_err err;
    loam_fail(&err, status, "%s", what);
    cli_progress_end(pulling.bar);
    cli_die(&err);
}

void pull_check(loam_status status, loam_err *err) {
    if (!status) return;
    cli_progress_end(pulling.bar);
    cli_die(err);
}

void *pull_must(void *p) {
    if (!p) pull_fail_status(LOAM_ERR_MEMORY, "out of memory");
    return p;
}

void pull_stop_if_asked(void) {
    if (!cli_cancel.requested) return;
    cli_progress_end(pulling.bar);
    exit(cli_finish(CLI_EXIT_SIGINT));
}

int pull_is_true(const char *name) {
    static const char *const yes[] = {"1", "ON", "YES", "TRUE"};
    const char *v = getenv(name);
    for (size_t i = 0; v && i < sizeof yes / sizeof *yes; i++)
        if (strcasecmp(v, yes[i]) == 0) return 1;
    return 0;
}

/* Copy without white space at the ends; 0 when it does not fit or holds controls. */
int pull_copy_trimmed(char *dst, size_t size, const char *s, size_t n) {
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
    if (n > 0 && !pull_copy_trimmed(pulling.token, sizeof pulling.token, text, (size_t)n))
        cli_warn("%s: not a token: ignored", path);
    if (fd >= 0) close(fd);
    free(path);
}

static void read_environment(void) {
    const char *v = getenv("HF_ENDPOINT");
    if (!v || !*v) v = "https://huggingface.co";
    if (!pull_copy_trimmed(pulling.endpoint, sizeof pulling.endpoint, v, strlen(v)) ||
        (strncmp(pulling.endpoint, "https://", 8) != 0 &&
         strncmp(pulling.endpoint, "http://", 7) != 0))
        cli_fail(CLI_EXIT_USAGE, "HF_ENDPOINT: not an http or https address: %.200s", v);
    for (size_t n = strlen(pulling.endpoint); n && pulling.endpoint[n - 1] == '/'; n--)
        pulling.endpoint[n - 1] = 0;

    if (!pulling.a.retries) pulling.a.retries = 5;
    v = getenv("HF_HUB_DOWNLOAD_TIMEOUT");
    const long wanted = v ? strtol(v, NULL, 10) : 0;
    if (!pulling.a.timeout && wanted > 0 && wanted <= 3600) pulling.a.timeout = (int)wanted;
    if (pulling.a.timeout < 1 || pulling.a.timeout > 3600) pulling.a.timeout = 10;

    if (pull_is_true("HF_HUB_DISABLE_IMPLICIT_TOKEN")) return;
    v = getenv("HF_TOKEN");
    if (!v || !*v) v = getenv("HUGGING_FACE_HUB_TOKEN");
    if (v && *v) {
        if (!pull_copy_trimmed(pulling.token, sizeof pulling.token, v, strlen(v)))
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

/* ---- the whole ---- */

static void check_space(const char *folder, uint64_t missing) {
    struct statvfs fs;
    if (statvfs(folder, &fs) != 0) return;
    const uint64_t room = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (missing > room)
        cli_fail(CLI_EXIT_RESOURCES,
                 "%s: needs %.1f MB more, %s has %.1f MB free: make room or set HF_HUB_CACHE",
                 pulling.name.repo, (double)missing / 1e6, folder, (double)room / 1e6);
}

static void write_tree(void) {
    loam_err err;
    loam_hub_file *list = pull_must(calloc(pulling.n_files, sizeof *list));
    for (size_t i = 0; i < pulling.n_files; i++) {
        const pull_file *f = &pulling.files[i];
        list[i] = (loam_hub_file){f->path, f->size < 0 ? 0 : (uint64_t)f->size, f->oid, f->sha256,
                                  f->xet};
        if (f->size < 0) { /* a hub without a tree: no list to trust */
            free(list);
            return;
        }
    }
    pull_check(loam_hub_write_tree(pulling.name.repo, pulling.commit, list, pulling.n_files, &err),
               &err);
    free(list);
}

static void print_result(const char *folder, size_t n_files) {
    const char *rev = pulling.name.revision[0] ? pulling.name.revision : "main";
    if (!pulling.a.json) {
        printf("%s\n", folder);
        return;
    }
    loam_buf b = {0};
    loam_buf_puts(&b, "{\"repo\": ");
    loam_json_put_string(&b, pulling.name.repo, strlen(pulling.name.repo));
    loam_buf_puts(&b, ", \"revision\": ");
    loam_json_put_string(&b, rev, strlen(rev));
    loam_buf_printf(&b, ", \"commit\": \"%s\", \"path\": ", pulling.commit);
    loam_json_put_string(&b, folder, strlen(folder));
    loam_buf_printf(&b, ", \"files\": %zu, \"bytes\": %llu, \"downloaded\": %llu}\n", n_files,
                    (unsigned long long)pulling.total, (unsigned long long)pulling.received);
    fwrite(pull_must(b.data), 1, b.n, stdout);
    loam_buf_deinit(&b);
}

/* What the cache holds, without opening a socket. */
static int pull_offline(void) {
    char *folder = NULL;
    loam_err err;
    if (loam_hub_find(&folder, pulling.name.repo, pulling.name.revision, &err))
        cli_fail(CLI_EXIT_NOT_FOUND,
                 "%s: offline (HF_HUB_OFFLINE is set), and the cache has no "
                 "complete copy: unset it and run: loam pull %s",
                 pulling.name.repo, pulling.name.repo);
    const char *slash = strrchr(folder, '/');
    snprintf(pulling.commit, sizeof pulling.commit, "%s", slash ? slash + 1 : "");
    print_result(folder, 0);
    free(folder);
    return CLI_EXIT_OK;
}

static int pull(void) {
    loam_err err;
    char *folder = NULL;
    uint64_t missing = 0;
    size_t n_missing = 0;
    loam_json *info = pull_find_commit();
    pull_list_files(info);
    loam_json_free(info);
    const size_t n = pull_choose_files();
    pull_check(loam_hub_snapshot_dir(&folder, pulling.name.repo, pulling.commit, &err), &err);

    for (size_t i = 0; i < pulling.n_files; i++) {
        pull_file *f = &pulling.files[i];
        if (!f->wanted) continue;
        if (f->size > 0) pulling.total += (uint64_t)f->size;
        if (f->size >= 0 &&
            loam_hub_has_file(pulling.name.repo, pulling.commit, f->path, (uint64_t)f->size)) {
            f->wanted = 0;
            pulling.done += (uint64_t)f->size;
        } else {
            n_missing++;
            missing += f->size > 0 ? (uint64_t)f->size : 0;
        }
    }
    const char *rev = pulling.name.revision[0] ? pulling.name.revision : "main";
    const int is_ref = strcmp(rev, pulling.commit) != 0;
    if (n_missing) { /* with everything here, the cache may be read-only */
        pull_check(loam_hub_prepare(pulling.name.repo, &err), &err);
        char *cache = NULL;
        pull_check(loam_hub_cache_dir(&cache, &err), &err);
        check_space(cache, missing);
        free(cache);
        write_tree();
        if (!pulling.a.quiet && !pull_is_true("HF_HUB_DISABLE_PROGRESS_BARS"))
            pulling.bar = cli_progress_new(pulling.name.repo, pulling.total, "B");
        for (size_t i = 0; i < pulling.n_files; i++)
            if (pulling.files[i].wanted) pull_get_file(&pulling.files[i]);
        cli_progress_end(pulling.bar);
        pulling.bar = NULL;
    }
    if (is_ref) {
        const loam_status st = loam_hub_write_ref(pulling.name.repo, rev, pulling.commit, &err);
        if (n_missing) pull_check(st, &err);
    }
    print_result(folder, n);
    free(folder);
    return CLI_EXIT_OK;
}

static void free_session(void) {
    for (size_t i = 0; i < pulling.n_files; i++) {
        free(pulling.files[i].path);
        free(pulling.files[i].oid);
        free(pulling.files[i].sha256);
        free(pulling.files[i].xet);
    }
    free(pulling.files);
    curl_easy_cleanup(pulling.curl);
    curl_global_cleanup();
}

int main(int argc, char **argv) {
    cli_strings rest;
    loam_err err;
    cli_start("loam pull");
    cli_parse(&CLI_PULL, argc, argv, &pulling.a, &rest);
    if (loam_hub_parse(&pulling.name, rest.items[0], pulling.a.revision, &err))
        cli_fail(CLI_EXIT_USAGE, "%s", err.msg);
    if (pull_is_true("HF_HUB_OFFLINE") || pull_is_true("TRANSFORMERS_OFFLINE"))
        return cli_finish(pull_offline());

    read_environment();
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != 0 || !(pulling.curl = curl_easy_init()))
        cli_fail(CLI_EXIT_RUNTIME, "the HTTP library does not start");
    const int code = pull();
    free_session();
    return cli_finish(code);
}
