/* test_saved.c - sessions in files: what comes back is what was read, to the bit, or nothing. */
#include "llm/session.h"
#include "test.h"
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define LLAMA "tests/golden/llm/families/llama/q4g64"

enum { N_PROMPT = 40, N_CTX = 64 };

static loam_pool *pool;
static int32_t prompt[N_PROMPT];
static char *folder, *path;

static loam_session *new_kv_session(const char *model, loam_precision precision, loam_kv_type kv,
                                    loam_model **m, size_t n_ctx) {
    loam_err err = {0};
    loam_session *s = NULL;
    const loam_model_options o = {pool, precision, kv};
    CHECK(!loam_model_open(m, model, &o, &err), "%s", err.msg);
    CHECK(!loam_session_new(&s, *m, n_ctx, &err), "%s", err.msg);
    return s;
}

static loam_session *new_session(const char *model, loam_precision precision, loam_model **m,
                                 size_t n_ctx) {
    return new_kv_session(model, precision, LOAM_KV_DEFAULT, m, n_ctx);
}

static void free_session(loam_session *s, loam_model *m) {
    loam_session_free(s);
    loam_model_close(m);
}

/* Both sessions go on the same way. */
static void compare(loam_session *a, loam_session *b, const char *name) {
    loam_err err = {0};
    const size_t bytes = a->vocab * sizeof(float);
    CHECK(loam_session_position(a) == loam_session_position(b), "%s: position", name);
    CHECK(!memcmp(loam_session_ids(a), loam_session_ids(b),
                  loam_session_position(a) * sizeof(int32_t)),
          "%s: ids", name);
    CHECK(a->logits && b->logits && !memcmp(a->logits, b->logits, bytes), "%s: logits", name);
    for (int32_t id = 3; id < 9; id++) {
        CHECK(!loam_session_feed(a, &id, 1, NULL, &err) &&
                  !loam_session_feed(b, &id, 1, NULL, &err),
              "%s", err.msg);
        CHECK(!memcmp(a->logits, b->logits, bytes), "%s: logits after id %d", name, id);
    }
}

static void check_identity(const char *model, loam_precision precision, loam_kv_type kv) {
    loam_err err = {0};
    loam_model *m, *m2;
    loam_session *s = new_kv_session(model, precision, kv, &m, N_CTX),
                 *fresh = new_kv_session(model, precision, kv, &m2, N_CTX + 32);
    int32_t ids[N_PROMPT];
    size_t n;

    CHECK(!loam_session_feed(s, prompt, N_PROMPT, NULL, &err), "%s", err.msg);
    CHECK(!loam_session_save(s, N_PROMPT, path, &err), "%s", err.msg);
    struct stat st;
    CHECK(!stat(path, &st) && (st.st_mode & 0777) == 0600, "%s: mode %o", path, st.st_mode);
    /* whole, of another context size; then prefixes, one id being all or longer than the file */
    static const size_t SAME[] = {N_PROMPT, N_PROMPT - 1, 17, 1};
    for (size_t i = 0; i < 4; i++) {
        memcpy(ids, prompt, sizeof ids);
        if (SAME[i] < N_PROMPT) ids[SAME[i]]++;
        CHECK(!loam_session_peek(fresh, path, ids, N_PROMPT, &n, &err) && n == SAME[i],
              "%s: peek: %zu %s", model, n, err.msg);
        CHECK(!loam_session_load(fresh, path, ids, N_PROMPT, &n, &err) && n == SAME[i],
              "%s: load: %zu %s", model, n, err.msg);
        loam_session_reset(s);
        CHECK(!loam_session_feed(s, ids, SAME[i], NULL, &err), "%s", err.msg);
        compare(s, fresh, model);
    }
    ids[0] = prompt[0] + 1;
    CHECK(!loam_session_load(fresh, path, ids, N_PROMPT, &n, &err) && n == 0 &&
              loam_session_position(fresh) == 0,
          "%s: nothing in common: %zu", model, n);
    CHECK(!loam_session_load(fresh, path, prompt, 5, &n, &err) && n == 5, "%s: a short prompt",
          model);
    free_session(fresh, m2);
    fresh = new_kv_session(model, precision, kv, &m2, 9); /* less room than the file has */
    CHECK(!loam_session_load(fresh, path, prompt, N_PROMPT, &n, &err) && n == 9, "%s: %zu of 9",
          model, n);
    free_session(fresh, m2);
    free_session(s, m);
}

/* Not this model, not this precision: said, and nothing loaded. */
static void check_foreign(void) {
    loam_err err = {0};
    loam_model *m;
    size_t n;
    loam_session *s = new_session(LLAMA, LOAM_FAST, &m, N_CTX);
    char hex[65], other[65];
    CHECK(!loam_session_feed(s, prompt, N_PROMPT, NULL, &err), "%s", err.msg);
    CHECK(!loam_session_save(s, N_PROMPT, path, &err), "%s", err.msg);
    CHECK(loam_session_save(s, 0, path, &err) == LOAM_ERR_ARGUMENT, "no positions");
    CHECK(loam_session_save(s, N_PROMPT + 1, path, &err) == LOAM_ERR_ARGUMENT, "too many");
    char *nowhere = loam_path_join(folder, "none/x");
    CHECK(loam_session_save(s, 1, nowhere, &err) == LOAM_ERR_NOT_FOUND, "%s", err.msg);
    free(nowhere);
    CHECK(!loam_model_fingerprint(m, hex, &err) && strlen(hex) == 64, "%s", err.msg);
    free_session(s, m);
    static const char *const OTHERS[] = {"tests/golden/llm/families/llama/q8g32",
                                         "tests/golden/llm/families/llama/q4g64bf16",
                                         "tests/golden/llm/families/qwen2/q4g64",
                                         LLAMA,
                                         LLAMA,
                                         LLAMA};
    for (size_t i = 0; i < 6; i++) {
        s = new_kv_session(OTHERS[i], i == 3 ? LOAM_EXACT : LOAM_FAST,
                           i == 4   ? LOAM_KV_INT8
                           : i == 5 ? LOAM_KV_F32
                                    : LOAM_KV_DEFAULT,
                           &m, N_CTX);
        CHECK(!loam_model_fingerprint(m, other, &err), "%s", err.msg);
        CHECK(!strcmp(hex, other) == (i >= 3), "%s: fingerprint", OTHERS[i]);
        CHECK(!loam_session_feed(s, prompt, 3, NULL, &err), "%s", err.msg);
        CHECK(loam_session_load(s, path, prompt, N_PROMPT, &n, &err) == LOAM_ERR_UNSUPPORTED &&
                  n == 0 && loam_session_position(s) == 0 && !loam_session_logits(s),
              "%s: %s", OTHERS[i], err.msg);
        free_session(s, m);
    }
}

static void write_file(const char *bytes, size_t n) {
    FILE *f = fopen(path, "wb");
    CHECK(f && fwrite(bytes, 1, n, f) == n && fclose(f) == 0, "%s", path);
}

/* Make the hash right again after a change: then only the rest can find it out. */
static void sign(loam_buf *b, const loam_session *s, size_t n) {
    const loam_kv_shape k = loam_timeline_kv_shape(s->timeline);
    const size_t layer = 2 * k.n_kv_heads * k.row_bytes * n;
    uint64_t h = loam_hash(b->data, 128, 0);
    h = loam_hash(b->data + 128, 4 * n, h);
    for (size_t i = 0; i < k.n_layers; i++)
        h = loam_hash(b->data + 128 + 4 * n + i * layer, layer, h);
    memcpy(b->data + b->n - 8, &h, 8);
}

static loam_status load(loam_session *s, size_t *n) {
    loam_err err = {0};
    const loam_status st = loam_session_load(s, path, prompt, N_PROMPT, n, &err);
    if (st)
        CHECK(*n == 0 && loam_session_position(s) == 0 && !loam_session_logits(s) &&
                  strlen(err.msg) > 10 && err.status == st,
              "a failed load leaves something: %s", err.msg);
    return st;
}

/* A file of int8 whose header says f16: its size tells. */
static void check_retyped(void) {
    loam_err err = {0};
    loam_model *m;
    size_t n;
    loam_buf b = {0};
    const uint32_t type = LOAM_KV_F16;
    loam_session *s = new_kv_session(LLAMA, LOAM_FAST, LOAM_KV_INT8, &m, N_CTX);
    CHECK(!loam_session_feed(s, prompt, 4, NULL, &err), "%s", err.msg);
    CHECK(!loam_session_save(s, 4, path, &err), "%s", err.msg);
    CHECK(!loam_file_read(&b, path, 1 << 24, &err), "%s", err.msg);
    free_session(s, m);
    memcpy(b.data + 28, &type, sizeof type);
    s = new_session(LLAMA, LOAM_FAST, &m, N_CTX);
    write_file(b.data, b.n);
    CHECK(load(s, &n) == LOAM_ERR_FORMAT, "bytes that are called f16");
    unlink(path);
    free_session(s, m);
    loam_buf_deinit(&b);

    const loam_model_options o = {pool, LOAM_EXACT, LOAM_KV_INT8};
    CHECK(loam_model_open(&m, LLAMA, &o, &err) == LOAM_ERR_ARGUMENT && !m && strstr(err.msg, "f32"),
          "exact with int8: %s", err.msg);
}

static void check_damage(void) {
    loam_err err = {0};
    loam_model *m;
    loam_buf good = {0};
    size_t n, n_refused = 0;
    loam_session *s = new_session(LLAMA, LOAM_FAST, &m, N_CTX);

    CHECK(!loam_session_feed(s, prompt, 4, NULL, &err), "%s", err.msg);
    CHECK(!loam_session_save(s, 4, path, &err), "%s", err.msg);
    CHECK(!loam_file_read(&good, path, 1 << 24, &err), "%s", err.msg);
    for (size_t cut = 0; cut < good.n; cut++) {
        write_file(good.data, cut);
        const loam_status st = load(s, &n);
        CHECK(st == LOAM_ERR_FORMAT, "cut at %zu of %zu: %d", cut, good.n, st);
    }
    for (size_t at = 0; at < good.n; at++) {
        good.data[at] = (char)(good.data[at] ^ (1 << at % 8));
        write_file(good.data, good.n);
        const loam_status st = load(s, &n);
        CHECK(st == LOAM_ERR_FORMAT || st == LOAM_ERR_UNSUPPORTED ||
                  (at >= 128 && at < 132 && st == LOAM_OK && n == 0), /* another first id */
              "byte %zu: %d", at, st);
        n_refused++;
        good.data[at] = (char)(good.data[at] ^ (1 << at % 8));
    }
    loam_buf_append(&good, "x", 1);
    write_file(good.data, good.n);
    CHECK(load(s, &n) == LOAM_ERR_FORMAT, "one byte more");
    good.n--;
    write_file(good.data, good.n);
    CHECK(load(s, &n) == LOAM_OK && n == 4, "the file itself");

    /* rightly signed, wrong inside: ids outside the vocabulary, other values, NaN */
    const int32_t saved = prompt[3], id = 1 << 20;
    memcpy(good.data + 128 + 12, &id, 4);
    prompt[3] = id;
    sign(&good, s, 4);
    write_file(good.data, good.n);
    CHECK(load(s, &n) == LOAM_ERR_FORMAT, "an id outside the vocabulary");
    prompt[3] = saved;
    memcpy(good.data + 128 + 12, &saved, 4);
    for (size_t at = 128 + 16; at + 8 < good.n; at += 2) {
        uint16_t v, nan = 0x7e00;
        memcpy(&v, good.data + at, 2);
        memcpy(good.data + at, &nan, 2);
        sign(&good, s, 4);
        write_file(good.data, good.n);
        const loam_status st = load(s, &n);
        CHECK(st == LOAM_ERR_FORMAT || st == LOAM_ERR_UNSUPPORTED ||
                  st == LOAM_OK /* a value of the last layer that its last position hardly uses */,
              "NaN at %zu: %d", at, st);
        n_refused += st != LOAM_OK;
        memcpy(good.data + at, &v, 2);
    }
    const uint64_t many = (uint64_t)1 << 62;
    memcpy(good.data + 32, &many, 8);
    sign(&good, s, 4);
    write_file(good.data, good.n);
    CHECK(load(s, &n) == LOAM_ERR_FORMAT, "2^62 ids");
    printf("%zu changes refused\n", n_refused);

    unlink(path);
    CHECK(load(s, &n) == LOAM_ERR_NOT_FOUND, "no file");
    CHECK(!mkfifo(path, 0600) && load(s, &n) == LOAM_ERR_FORMAT, "a pipe");
    unlink(path);
    CHECK(!mkdir(path, 0700) && load(s, &n) == LOAM_ERR_FORMAT, "a folder");
    rmdir(path);
    loam_buf_deinit(&good);
    free_session(s, m);
}

/* Several processes write and read the same name: every read gives all or is an honest failure. */
static void check_processes(void) {
    loam_err err = {0};
    int status, bad = 0;
    pid_t child[3];
    for (int i = 0; i < 3; i++) {
        child[i] = fork();
        if (child[i] == 0) {
            loam_model *m;
            size_t n;
            if (loam_pool_new(&pool, 1, &err)) _exit(2);
            loam_session *s = new_session(LLAMA, LOAM_FAST, &m, N_CTX);
            for (int k = 0; k < 30; k++) {
                loam_session_reset(s);
                if (loam_session_feed(s, prompt, (size_t)(10 + i), NULL, &err) ||
                    loam_session_save(s, (size_t)(10 + i), path, &err) ||
                    loam_session_load(s, path, prompt, N_PROMPT, &n, &err) || n < 10 || n > 12)
                    _exit(1);
            }
            _exit(test_failures != 0);
        }
    }
    for (int i = 0; i < 3; i++)
        bad += child[i] < 0 || waitpid(child[i], &status, 0) < 0 || status != 0;
    CHECK(bad == 0, "%d of 3 processes failed", bad);
    unlink(path);
    CHECK(rmdir(folder) == 0, "%s: something is left", folder);
}

int main(void) {
    loam_err err = {0};
    char template[] = "/tmp/test_saved.XXXXXX";
    folder = mkdtemp(template);
    path = loam_path_join(folder, "session.kv");
    for (size_t i = 0; i < N_PROMPT; i++) prompt[i] = (int32_t)(i * 37 % 250);
    check_processes(); /* before this process has threads */
    mkdir(folder, 0700);
    if (loam_pool_new(&pool, 2, &err)) return 1;
    static const char *const FOLDERS[] = {LLAMA, "tests/golden/llm/families/gemma2/q4g64",
                                          "tests/golden/llm/families/qwen2/q4g64",
                                          "tests/golden/llm/families/llama_window/f32"};
    for (size_t i = 0; i < sizeof FOLDERS / sizeof *FOLDERS; i++) {
        check_identity(FOLDERS[i], LOAM_FAST, LOAM_KV_F16);
        check_identity(FOLDERS[i], LOAM_FAST, LOAM_KV_F32);
        check_identity(FOLDERS[i], LOAM_FAST, LOAM_KV_INT8);
        check_identity(FOLDERS[i], LOAM_EXACT, LOAM_KV_F32);
    }
    check_foreign();
    check_damage();
    check_retyped();
    CHECK(rmdir(folder) == 0, "%s: something is left", folder);
    free(path);
    loam_pool_free(pool);
    return TEST_END("test_saved");
}
