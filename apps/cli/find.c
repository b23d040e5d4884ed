/* find.c - what the programs take from around them: models by name, helpers, the pool, the clock. */
#include "cli/cli.h"

#include <errno.h>
#include <limits.h>
#include <loam/hub.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Let loam-pull fetch a model that a person at a terminal asked for and can see arrive.  Scripts
 * are told the command instead: they do not expect gigabytes.  1: it is here; ends the program
 * when loam-pull said why not. */
static int pull(const char *name) {
    loam_hub_name parsed;
    loam_err err = {0};
    if (!cli_is_tty(stderr) || loam_hub_parse(&parsed, name, NULL, &err)) return 0;
    char *path = cli_helper_path("loam-pull");
    if (!path) return 0;
    const pid_t child = fork();
    if (child == 0) {
        dup2(STDERR_FILENO, STDOUT_FILENO); /* the folder it prints is no result of ours */
        execl(path, "loam-pull", name, (char *)NULL);
        _exit(127);
    }
    free(path);
    int status = -1;
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (cli_cancel.requested) exit(cli_finish(CLI_EXIT_SIGINT));
    if (child < 0 || !WIFEXITED(status) || WEXITSTATUS(status) == 127) return 0;
    if (WEXITSTATUS(status) != 0) exit(cli_finish(WEXITSTATUS(status)));
    return 1;
}

char *cli_find_model(const char *name) {
    char *folder = NULL;
    loam_err err = {0};
    loam_status st = loam_hub_find(&folder, name, NULL, &err);
    if (st == LOAM_ERR_NOT_FOUND && pull(name)) st = loam_hub_find(&folder, name, NULL, &err);
    if (st) cli_die(&err);
    return folder;
}

loam_pool *cli_pool(size_t n_threads) {
    loam_pool *pool = NULL;
    loam_err err = {0};
    if (loam_pool_new(&pool, (unsigned)n_threads, &err)) cli_die(&err);
    return pool;
}

loam_precision cli_precision(const char *word) {
    if (!word) return LOAM_PRECISION_DEFAULT;
    return strcmp(word, "exact") == 0 ? LOAM_EXACT : LOAM_FAST;
}

loam_kv_type cli_kv(const char *word, const char *precision) {
    if (!word) return LOAM_KV_DEFAULT;
    if (cli_precision(precision) == LOAM_EXACT)
        cli_fail(CLI_EXIT_USAGE, "--kv %s: --precision exact holds keys and values in f32", word);
    return strcmp(word, "int8") == 0 ? LOAM_KV_INT8 : LOAM_KV_F16;
}

int64_t cli_clock(int *utc) {
    const char *epoch = getenv("SOURCE_DATE_EPOCH");
    *utc = epoch && *epoch;
    if (!*utc) return (int64_t)time(NULL);
    char *end = NULL;
    const long long at = strtoll(epoch, &end, 10);
    if (*end || at < 0 || at > 253402300799LL) /* the year 9999 */
        cli_fail(CLI_EXIT_USAGE, "SOURCE_DATE_EPOCH '%s': not a number of seconds", epoch);
    return at;
}

static char *executable(const char *folder, const char *middle, const char *name) {
    char path[PATH_MAX];
    const int n = snprintf(path, sizeof path, "%s%s/%s", folder, middle, name);
    if (n < 0 || n >= (int)sizeof path || access(path, X_OK) != 0) return NULL;
    return strdup(path);
}

char *cli_helper_path(const char *name) {
    const char *chosen = getenv("LOAM_LIBEXEC");
    if (chosen && *chosen) return executable(chosen, "", name);
    char self[PATH_MAX];
    const ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0) return NULL;
    self[n] = 0;
    char *slash = strrchr(self, '/');
    if (!slash) return NULL;
    *slash = 0;
    char *found = executable(self, "/../libexec/loam", name);
    return found ? found : executable(self, "", name);
}
