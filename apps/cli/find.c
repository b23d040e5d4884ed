/* find.c - models by name, helper programs, the pool. */
#include "cli/cli.h"

#include <limits.h>
#include <loam/hub.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char *cli_find_model(const char *name) {
    char *folder = NULL;
    loam_err err = {0};
    if (loam_hub_find(&folder, name, NULL, &err)) cli_die(&err);
    return folder;
}

loam_pool *cli_pool(size_t n_threads) {
    loam_pool *pool = NULL;
    loam_err err = {0};
    if (loam_pool_new(&pool, (unsigned)n_threads, &err)) cli_die(&err);
    return pool;
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
