/* The cache's reading and writing side: names, environment, complete and partial snapshots. */
#include "test.h"

#include <errno.h>
#include <loam/hub.h>
#include <loam/tensor.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define COMMIT "0123456789abcdef0123456789abcdef01234567"
#define BLOB   "1111111111111111111111111111111111111111"

static char top[256], cache[300];

static void put(const char *path, const char *text) {
    char full[600];
    loam_err err = {0};
    snprintf(full, sizeof full, "%s/%s", cache, path);
    for (char *p = full + 1; (p = strchr(p, '/')); p++) {
        *p = 0;
        mkdir(full, 0777);
        *p = '/';
    }
    CHECK(loam_file_write(full, text, strlen(text), 0666, &err) == LOAM_OK, "%s", err.msg);
}

static void clear(void) {
    char command[400];
    snprintf(command, sizeof command, "rm -rf '%s'", cache);
    CHECK(system(command) == 0, "rm");
    mkdir(cache, 0777);
}

/* org/m at COMMIT: config.json and two shards with their index, linked as the library links. */
static void make_model(void) {
    loam_err err = {0};
    clear();
    CHECK(loam_hub_prepare("org/m", &err) == LOAM_OK, "%s", err.msg);
    put("models--org--m/blobs/" BLOB, "{}");
    put("models--org--m/blobs/aa",
        "{\"weight_map\": {\"a\": \"model-1.safetensors\", \"b\": \"model-2.safetensors\"}}");
    put("models--org--m/blobs/bb", "11111111");
    put("models--org--m/blobs/cc", "22222222");
    static const char *const links[][2] = {{"config.json", BLOB},
                                           {"model.safetensors.index.json", "aa"},
                                           {"model-1.safetensors", "bb"},
                                           {"sub/model-2.safetensors", "cc"},
                                           {"model-2.safetensors", "cc"}};
    for (size_t i = 0; i < 5; i++)
        CHECK(loam_hub_link("org/m", COMMIT, links[i][0], links[i][1], 0, &err) == LOAM_OK, "%s",
              err.msg);
    const loam_hub_file files[] = {{"config.json", 2, BLOB, NULL, NULL},
                                   {"model-1.safetensors", 8, "bb", NULL, NULL},
                                   {"model-2.safetensors", 8, "cc", NULL, NULL},
                                   {"README.md", 5, "dd", NULL, NULL}};
    CHECK(loam_hub_write_tree("org/m", COMMIT, files, 4, &err) == LOAM_OK, "%s", err.msg);
    CHECK(loam_hub_write_ref("org/m", "main", COMMIT, &err) == LOAM_OK, "%s", err.msg);
}

static void expect(const char *name, loam_status want, const char *text) {
    char *folder = NULL;
    loam_err err = {0};
    const loam_status st = loam_hub_find(&folder, name, NULL, &err);
    CHECK(st == want, "%s: status %d, want %d: %s", name, (int)st, (int)want, err.msg);
    CHECK((st == LOAM_OK) == (folder != NULL), "%s: folder", name);
    if (st) CHECK(strstr(err.msg, text) != NULL, "%s: '%s' lacks '%s'", name, err.msg, text);
    if (!st) CHECK(strstr(folder, text) != NULL, "%s: '%s' lacks '%s'", name, folder, text);
    free(folder);
}

static void test_names(void) {
    static const char *const good[] = {"gpt2", "org/name", "a/b", "org-x/na_me.v1-4bit",
                                       "mlx-community/Qwen2.5-1.5B-Instruct-4bit"};
    static const char *const bad[] = {"",      "/",       "a/",     "/a",    "a/b/c",     "a--b/c",
                                      "a/..b", "../a",    "-a/b",   "a/b-",  ".a/b",      "a b/c",
                                      "a/b\n", "a/b.git", "a\\b/c", "a/b@c", "a/\xc3\xa9"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        CHECK(loam_hub_valid_repo(good[i]), "%s", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(!loam_hub_valid_repo(bad[i]), "%s", bad[i]);
    char longest[120];
    memset(longest, 'a', sizeof longest);
    longest[96] = 0;
    CHECK(loam_hub_valid_repo(longest), "96 characters");
    longest[96] = 'a';
    longest[97] = 0;
    CHECK(!loam_hub_valid_repo(longest), "97 characters");

    static const char *const inside[] = {"a", "a/b.c", "1_Pooling/config.json", "..a", "a.."};
    static const char *const outside[] = {"",   "/a",     "a//b", "a/",   ".",
                                          "..", "a/../b", "./a",  "a\\b", "a\tb"};
    for (size_t i = 0; i < sizeof inside / sizeof *inside; i++)
        CHECK(loam_hub_valid_path(inside[i]), "%s", inside[i]);
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++)
        CHECK(!loam_hub_valid_path(outside[i]), "%s", outside[i]);
}

static void test_parse(void) {
    static const struct {
        const char *name, *revision, *repo, *want;
    } rows[] = {{"org/name", NULL, "org/name", ""},
                {"org/name@v1", NULL, "org/name", "v1"},
                {"org/name@v1", "v2", "org/name", "v2"},
                {"org/name@refs/pr/1", NULL, "org/name", "refs/pr/1"},
                {"hf://org/name", NULL, "org/name", ""},
                {"hf://org/name@v1", NULL, "org/name", "v1"},
                {"https://huggingface.co/org/name", NULL, "org/name", ""},
                {"https://hf.co/org/name/", NULL, "org/name", ""},
                {"https://huggingface.co/org/name/tree/dev/x", NULL, "org/name", "dev/x"},
                {"https://huggingface.co/org/name/blob/main/a", NULL, NULL, NULL},
                {"https://example.org/org/name", NULL, NULL, NULL},
                {"org/name@", NULL, NULL, NULL},
                {"org/name@../x", NULL, NULL, NULL},
                {"org/name@-x", NULL, NULL, NULL},
                {"org/name", "a b", NULL, NULL},
                {"", NULL, NULL, NULL}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        loam_hub_name n;
        loam_err err = {0};
        const loam_status st = loam_hub_parse(&n, rows[i].name, rows[i].revision, &err);
        if (!rows[i].repo) {
            CHECK(st == LOAM_ERR_ARGUMENT, "%s: status %d", rows[i].name, (int)st);
            continue;
        }
        CHECK(st == LOAM_OK && !strcmp(n.repo, rows[i].repo) && !strcmp(n.revision, rows[i].want),
              "%s: %s@%s %s", rows[i].name, n.repo, n.revision, err.msg);
    }
}

static void test_environment(void) {
    static const struct {
        const char *cache, *legacy, *home, *xdg, *user, *want;
    } rows[] = {
        {"/c", "/l", "/h", "/x", "/u", "/c"},
        {NULL, "/l", "/h", "/x", "/u", "/l"},
        {NULL, NULL, "/h", "/x", "/u", "/h/hub"},
        {NULL, NULL, NULL, "/x", "/u", "/x/huggingface/hub"},
        {NULL, NULL, NULL, NULL, "/u", "/u/.cache/huggingface/hub"},
        {"", NULL, "/h", NULL, "/u", "/h/hub"},
        {"~/c", NULL, NULL, NULL, "/u", "/u/c"},
        {"$HOME/c/${HOME}x$NOT_SET_AT_ALL", NULL, NULL, NULL, "/u", "/u/c//ux$NOT_SET_AT_ALL"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *values[] = {rows[i].cache, rows[i].legacy, rows[i].home, rows[i].xdg,
                                rows[i].user};
        static const char *const names[] = {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME",
                                            "XDG_CACHE_HOME", "HOME"};
        for (size_t k = 0; k < 5; k++) {
            if (values[k])
                setenv(names[k], values[k], 1);
            else
                unsetenv(names[k]);
        }
        char *dir = NULL;
        loam_err err = {0};
        CHECK(loam_hub_cache_dir(&dir, &err) == LOAM_OK && !strcmp(dir, rows[i].want),
              "row %zu: %s, want %s", i, dir ? dir : err.msg, rows[i].want);
        free(dir);
    }
    unsetenv("HUGGINGFACE_HUB_CACHE");
    setenv("HF_HUB_CACHE", cache, 1);
}

static void test_find(void) {
    char path[700];
    make_model();
    expect("org/m", LOAM_OK, "/models--org--m/snapshots/" COMMIT);
    expect("org/m@" COMMIT, LOAM_OK, COMMIT);
    expect("hf://org/m@main", LOAM_OK, COMMIT);
    expect(top, LOAM_OK, top);
    expect("org/m@v2", LOAM_ERR_NOT_FOUND, "run: loam pull org/m@v2");
    expect("org/other", LOAM_ERR_NOT_FOUND, "run: loam pull org/other");
    expect("./nowhere", LOAM_ERR_NOT_FOUND, "no such folder");
    expect("/etc/passwd", LOAM_ERR_ARGUMENT, "is a file");
    expect("", LOAM_ERR_ARGUMENT, "empty");
    expect("a/b/c", LOAM_ERR_ARGUMENT, "org/name");

    put("models--org--m/refs/main", COMMIT "\n"); /* written by hand */
    expect("org/m", LOAM_OK, COMMIT);
    put("models--org--m/refs/main", "../../../../etc");
    expect("org/m", LOAM_ERR_NOT_FOUND, "loam pull org/m");
    put("models--org--m/refs/main", "");
    expect("org/m", LOAM_ERR_NOT_FOUND, "loam pull org/m");

    /* each way of being partial; README.md, which is in no snapshot here, is none */
    static const char *const removed[] = {"models--org--m/blobs/" BLOB, "models--org--m/blobs/bb",
                                          "models--org--m/snapshots/" COMMIT "/config.json",
                                          "models--org--m/snapshots/" COMMIT
                                          "/model-2.safetensors"};
    for (size_t i = 0; i < 4; i++) {
        make_model();
        snprintf(path, sizeof path, "%s/%s", cache, removed[i]);
        CHECK(unlink(path) == 0, "%s: %s", path, strerror(errno));
        expect("org/m", LOAM_ERR_NOT_FOUND, "incomplete download");
        expect("org/m", LOAM_ERR_NOT_FOUND, "run: loam pull org/m");
    }
    make_model();
    put("models--org--m/blobs/bb", "1111"); /* cut off: trees/ knows the size */
    expect("org/m", LOAM_ERR_NOT_FOUND, "full size");
    put("models--org--m/trees/" COMMIT ".json", "{damaged");
    expect("org/m", LOAM_OK, COMMIT);
    put("models--org--m/trees/" COMMIT ".json",
        "{\"format_version\": 2, \"files\": {\"x.json\": {}}}");
    expect("org/m", LOAM_OK, COMMIT);
    snprintf(path, sizeof path, "%s/models--org--m/trees/" COMMIT ".json", cache);
    unlink(path);
    snprintf(path, sizeof path, "%s/models--org--m/blobs/cc", cache);
    unlink(path);
    expect("org/m", LOAM_ERR_NOT_FOUND, "incomplete");

    make_model();
    snprintf(path, sizeof path, "%s/models--org--m/snapshots/" COMMIT "/config.json", cache);
    unlink(path);
    CHECK(symlink("/etc/passwd", path) == 0, "symlink");
    expect("org/m", LOAM_ERR_FORMAT, "leads out");
}

static void test_own_folder(void) {
    char path[400];
    make_model();
    expect("alias", LOAM_ERR_NOT_FOUND, "run: loam pull alias");
    snprintf(path, sizeof path, "%s/alias", top);
    mkdir(path, 0777);
    expect("alias", LOAM_OK, "/alias");
    snprintf(path, sizeof path, "%s/own", top);
    mkdir(path, 0777);
    snprintf(path, sizeof path, "%s/own/model", top);
    mkdir(path, 0777);
    expect("own/model", LOAM_OK, "/own/model");
    expect("own/model@v1", LOAM_ERR_NOT_FOUND, "run: loam pull own/model@v1");
    expect("../own/model", LOAM_ERR_NOT_FOUND, "no such folder");
}

static void test_store(void) {
    loam_err err = {0};
    struct stat sb;
    char path[700], target[200] = "";
    make_model();
    snprintf(path, sizeof path, "%s/models--org--m/refs/main", cache);
    CHECK(stat(path, &sb) == 0 && sb.st_size == 40, "ref without newline");
    snprintf(path, sizeof path, "%s/models--org--m/snapshots/" COMMIT "/sub/model-2.safetensors",
             cache);
    CHECK(readlink(path, target, sizeof target - 1) > 0 && !strcmp(target, "../../../blobs/cc"),
          "target %s", target);
    CHECK(loam_hub_has_file("org/m", COMMIT, "sub/model-2.safetensors", 8) &&
              !loam_hub_has_file("org/m", COMMIT, "sub/model-2.safetensors", 9) &&
              !loam_hub_has_file("org/m", COMMIT, "sub/none", 8),
          "has_file");
    CHECK(loam_hub_link("org/m", COMMIT, "../x", "cc", 0, &err) == LOAM_ERR_FORMAT, "%s", err.msg);
    CHECK(loam_hub_link("org/m", COMMIT, "x", "../cc", 0, &err) == LOAM_ERR_FORMAT, "%s", err.msg);

    int one = -1, two = -1;
    CHECK(loam_hub_lock(&one, "org/m", "cc", &err) == LOAM_OK, "%s", err.msg);
    CHECK(loam_hub_lock(&two, "org/m", "cc", &err) == LOAM_ERR_BUSY && two == -1, "second lock");
    close(one);
    CHECK(loam_hub_lock(&two, "org/m", "cc", &err) == LOAM_OK, "%s", err.msg);
    close(two);
}

/* A dead process's partial file is taken over, a living one's is not. */
static void test_partial(void) {
    loam_err err = {0};
    char *path = NULL;
    int fd = -1;
    make_model();
    const pid_t child = fork();
    if (child == 0) {
        if (loam_hub_open_partial(&fd, &path, "org/m", "ee", &err)) _exit(1);
        _exit(write(fd, "half", 4) == 4 ? 0 : 1);
    }
    int status = 1;
    waitpid(child, &status, 0);
    CHECK(status == 0, "child %d", status);
    CHECK(loam_hub_open_partial(&fd, &path, "org/m", "ee", &err) == LOAM_OK, "%s", err.msg);
    struct stat sb = {0};
    CHECK(fstat(fd, &sb) == 0 && sb.st_size == 4, "size %ld", (long)sb.st_size);
    free(path);

    const pid_t other = fork(); /* this process lives: the child must start afresh */
    if (other == 0) {
        int own = -1;
        if (loam_hub_open_partial(&own, &path, "org/m", "ee", &err)) _exit(1);
        _exit(fstat(own, &sb) == 0 && sb.st_size == 0 ? 0 : 2);
    }
    waitpid(other, &status, 0);
    CHECK(status == 0, "other %d", status);
    close(fd);
}

int main(void) {
    const char *base = getenv("TMPDIR");
    char command[400];
    snprintf(top, sizeof top, "%s/loam-hfcache-XXXXXX", base && *base ? base : "/tmp");
    if (!mkdtemp(top)) return perror(top), 1;
    snprintf(cache, sizeof cache, "%s/hub", top);
    setenv("HF_HUB_CACHE", cache, 1);
    setenv("LOAM_MODELS", top, 1);
    test_names();
    test_parse();
    test_environment();
    test_find();
    test_own_folder();
    test_store();
    test_partial();
    snprintf(command, sizeof command, "rm -rf '%s'", top);
    CHECK(system(command) == 0, "rm");
    return TEST_END("test_hfcache");
}
