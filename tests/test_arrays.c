/* test_arrays.c - safetensors, npy and npz files, good, damaged and cut short; folders;
 * what is written reads back. */
#include "test.h"

#include "base/base.h"
#include "io/arrays.h"
#include <loam/json.h>
#include <loam/tensor.h>

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const FULL_SET = "../shared/golden/llm/arrays"; /* with the large files */
static char scratch[] = "/tmp/loam-test-arrays-XXXXXX";

static const char *dtype_of_numpy(const char *name) {
    static const char *const NAMES[][2] = {
        {"bool", "bool"},   {"int8", "i8"},      {"uint8", "u8"},      {"int16", "i16"},
        {"uint16", "u16"},  {"int32", "i32"},    {"uint32", "u32"},    {"int64", "i64"},
        {"uint64", "u64"},  {"float16", "f16"},  {"bfloat16", "bf16"}, {"float32", "f32"},
        {"float64", "f64"}, {"complex64", "c64"}};
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++)
        if (strcmp(name, NAMES[i][0]) == 0) return NAMES[i][1];
    return "?";
}

static void hash_of(const loam_tensor *t, char hex[65]) {
    loam_sha256 h;
    loam_sha256_init(&h);
    loam_sha256_update(&h, t->data, (size_t)t->bytes);
    loam_sha256_hex(&h, hex);
}

static const char *text_of(const loam_json_value *v, const char *key) {
    const char *s = loam_json_string(loam_json_get(v, key), NULL);
    return s ? s : "";
}

/* ---- the golden lists ---- */

static void check_good(const char *folder, const loam_json_value *want) {
    const char *file = text_of(want, "file"), *name = text_of(want, "array");
    char *path = loam_path_join(folder, file), hex[65] = "";
    loam_arrays *a;
    loam_err err = {0};
    CHECK(!loam_arrays_open(&a, path, &err), "%s", err.msg);
    const loam_tensor *t = a ? loam_arrays_find(a, name) : NULL;
    CHECK(t, "%s: no array '%s'", file, name);
    if (t) {
        const loam_json_value *shape = loam_json_get(want, "shape");
        CHECK(strcmp(loam_dtype_name(t->dtype), dtype_of_numpy(text_of(want, "dtype"))) == 0,
              "%s '%s': dtype %s", file, name, loam_dtype_name(t->dtype));
        CHECK((size_t)t->rank == loam_json_count(shape), "%s '%s': rank %d", file, name, t->rank);
        for (int i = 0; i < t->rank; i++) {
            int64_t dim = -1;
            loam_json_int(loam_json_at(shape, (size_t)i), &dim);
            CHECK(t->shape[i] == (uint64_t)dim, "%s '%s': dimension %d", file, name, i);
        }
        hash_of(t, hex);
        CHECK(strcmp(hex, text_of(want, "sha256")) == 0, "%s '%s': other bytes", file, name);
    }
    loam_arrays_close(a);
    free(path);
}

static void check_bad(const char *folder, const loam_json_value *want) {
    const char *file = text_of(want, "file");
    char *path = loam_path_join(folder, file);
    loam_arrays *a;
    loam_err err = {0};
    const loam_status st = loam_arrays_open(&a, path, &err);
    if (strcmp(text_of(want, "verdict"), "reject") == 0)
        CHECK(st == LOAM_ERR_FORMAT || st == LOAM_ERR_UNSUPPORTED, "%s (%s): status %d", file,
              text_of(want, "why"), (int)st);
    CHECK((st == LOAM_OK) == (a != NULL), "%s: a set and an error", file);
    CHECK(!st || strstr(err.msg, file), "%s: message does not name the file: %s", file, err.msg);
    loam_arrays_close(a);
    free(path);
}

static size_t run_list(const char *folder, const char *list,
                       void (*check)(const char *, const loam_json_value *)) {
    char *path = loam_path_join(folder, list);
    loam_buf text = {0};
    loam_err err = {0};
    size_t n = 0;
    CHECK(!loam_file_read(&text, path, 1 << 24, &err), "%s", err.msg);
    for (char *line = text.data, *end; line && *line; line = end + 1) {
        end = strchr(line, '\n');
        loam_json *doc;
        CHECK(!loam_json_parse(&doc, line, (size_t)(end - line), list, 0, &err), "%s", err.msg);
        check(folder, loam_json_root(doc));
        loam_json_free(doc);
        n++;
    }
    loam_buf_deinit(&text);
    free(path);
    return n;
}

/* ---- cut short, and every bit flipped ---- */

static void open_copy(const char *what, const unsigned char *bytes, size_t n, int must_fail) {
    unsigned char *copy = malloc(n ? n : 1); /* exact size: a sanitizer sees any read beyond */
    loam_arrays *a;
    memcpy(copy, bytes, n);
    const loam_status st = loam_arrays_open_memory(&a, (loam_bytes){copy, n, "copy"}, NULL);
    if (must_fail) CHECK(st != LOAM_OK, "%s: %zu bytes were accepted", what, n);
    for (size_t i = 0; a && i < loam_arrays_count(a); i++) {
        char hex[65];
        hash_of(loam_arrays_at(a, i), hex); /* reads all that the set promises */
    }
    loam_arrays_close(a);
    free(copy);
}

static void test_truncation(const char *file) {
    loam_buf b = {0};
    CHECK(!loam_file_read(&b, file, 1 << 24, NULL), "%s", file);
    unsigned char *bytes = (unsigned char *)b.data;
    for (size_t n = 0; n < b.n; n++) open_copy(file, bytes, n, 1);
    for (size_t at = 0; at < b.n; at++) {
        for (int bit = 0; bit < 8; bit += 3) {
            bytes[at] ^= (unsigned char)(1 << bit);
            open_copy(file, bytes, b.n, 0);
            bytes[at] ^= (unsigned char)(1 << bit);
        }
    }
    loam_buf_deinit(&b);
}

/* ---- writing ---- */

static void check_same(const char *path, const loam_tensor *want, size_t n) {
    loam_arrays *a;
    loam_err err = {0};
    CHECK(!loam_arrays_open(&a, path, &err), "%s", err.msg);
    if (!a) return;
    CHECK(loam_arrays_count(a) == n, "%s: %zu arrays", path, loam_arrays_count(a));
    for (size_t i = 0; i < n; i++) {
        const loam_tensor *t = loam_arrays_find(a, n == 1 ? "" : want[i].name);
        CHECK(t && t->dtype == want[i].dtype && t->rank == want[i].rank &&
                  t->bytes == want[i].bytes &&
                  memcmp(t->shape, want[i].shape, sizeof t->shape) == 0 &&
                  memcmp(t->data, want[i].data, (size_t)t->bytes) == 0,
              "%s: array '%s' differs", path, want[i].name);
        if (t && loam_arrays_container(a) != LOAM_SAFETENSORS) /* which may not pad between */
            CHECK((uintptr_t)t->data % 64 == 0, "%s: '%s' is not aligned", path, want[i].name);
    }
    loam_arrays_close(a);
}

static void test_writing(void) {
    static const float FLOATS[6] = {0.0f, -1.5f, 1e30f, 3.0f, 4.0f, 5.0f};
    static const int32_t INTS[5] = {1, -2, 0x10ffff, 4, 5};
    static const uint16_t HALVES[3] = {0x3f80, 0x7f80, 0xbf80};
    const loam_tensor tensors[] = {
        {.name = "m", .dtype = LOAM_F32, .rank = 2, .shape = {2, 3}, .data = FLOATS, .bytes = 24},
        {.name = "a/\xc3\xa9",
         .dtype = LOAM_I32,
         .rank = 1,
         .shape = {5},
         .data = INTS,
         .bytes = 20},
        {.name = "b", .dtype = LOAM_BF16, .rank = 1, .shape = {3}, .data = HALVES, .bytes = 6},
        {.name = "c", .dtype = LOAM_F32, .rank = 0, .data = FLOATS, .bytes = 4},
        {.name = "e", .dtype = LOAM_F32, .rank = 2, .shape = {0, 7}, .data = FLOATS, .bytes = 0},
    };
    enum { N = sizeof tensors / sizeof tensors[0] };
    char *npz = loam_path_join(scratch, "w.npz"), *st = loam_path_join(scratch, "w.safetensors");
    char *npy = loam_path_join(scratch, "w.npy");
    loam_err err = {0};
    CHECK(!loam_npz_write(npz, tensors, N, &err), "%s", err.msg);
    check_same(npz, tensors, N);
    test_truncation(npz);
    CHECK(!loam_safetensors_write(st, tensors, N, "{\"format\":\"mlx\"}", &err), "%s", err.msg);
    check_same(st, tensors, N);
    test_truncation(st);
    CHECK(!loam_npy_write(npy, tensors, &err), "%s", err.msg);
    check_same(npy, tensors, 1);

    const loam_tensor twice[] = {tensors[0], tensors[0]};
    CHECK(loam_npz_write(npz, twice, 2, &err) == LOAM_ERR_ARGUMENT, "a name twice");
    CHECK(loam_safetensors_write(st, twice, 2, NULL, &err) == LOAM_ERR_ARGUMENT, "a name twice");
    check_same(npz, tensors, N); /* the old file survives */
    unlink(npz);
    unlink(st);
    unlink(npy);
    free(npz);
    free(st);
    free(npy);
}

static void test_file_write(void) {
    char *path = loam_path_join(scratch, "file"), *link = loam_path_join(scratch, "link");
    struct stat s = {0};
    loam_buf b = {0};
    loam_err err = {0};
    CHECK(!loam_file_write(path, "old", 3, 0600, &err), "%s", err.msg);
    CHECK(stat(path, &s) == 0 && (s.st_mode & 0777) == 0600, "mode %o", s.st_mode);
    CHECK(symlink("file", link) == 0, "symlink");
    CHECK(!loam_file_write(link, "new", 3, 0600, &err), "%s", err.msg);
    CHECK(lstat(link, &s) == 0 && S_ISLNK(s.st_mode), "the link was replaced");
    CHECK(!loam_file_read(&b, path, 100, &err) && b.n == 3 && memcmp(b.data, "new", 3) == 0,
          "content");
    CHECK(loam_file_write(scratch, "x", 1, 0600, &err) == LOAM_ERR_IO, "over a folder");
    CHECK(loam_file_write("/dev/null", "x", 1, 0600, &err) == LOAM_OK, "a device: %s", err.msg);
    CHECK(loam_file_write("/dev/full", "x", 1, 0600, &err) == LOAM_ERR_NO_SPACE, "disk full");
    CHECK(stat("/dev/full", &s) == 0 && S_ISCHR(s.st_mode), "the device was replaced");
    CHECK(loam_file_write("no/such/folder", "x", 1, 0600, &err) == LOAM_ERR_NOT_FOUND, "no folder");
    loam_buf_deinit(&b);
    unlink(link);
    unlink(path);
    CHECK(rmdir(scratch) == 0, "a temp file was left behind");
    CHECK(mkdir(scratch, 0700) == 0, "mkdir");
    free(link);
    free(path);
}

/* ---- folders ---- */

static void write_text(const char *name, const char *text) {
    char *path = loam_path_join(scratch, name);
    CHECK(!loam_file_write(path, text, strlen(text), 0600, NULL), "%s", name);
    free(path);
}

static void write_tensor(const char *file, const char *name) {
    static const float ONE = 1.0f;
    const loam_tensor t = {
        .name = name, .dtype = LOAM_F32, .rank = 1, .shape = {1}, .data = &ONE, .bytes = 4};
    char *path = loam_path_join(scratch, file);
    CHECK(!loam_safetensors_write(path, &t, 1, NULL, NULL), "%s", file);
    free(path);
}

static void remove_file(const char *name) {
    char *path = loam_path_join(scratch, name);
    unlink(path);
    free(path);
}

static void check_folder(const char *what, loam_status want, size_t n) {
    loam_arrays *a;
    loam_err err = {0};
    const loam_status st = loam_arrays_open_folder(&a, scratch, &err);
    CHECK(st == want, "%s: status %d %s", what, (int)st, err.msg);
    if (a) CHECK(loam_arrays_count(a) == n, "%s: %zu arrays", what, loam_arrays_count(a));
    loam_arrays_close(a);
}

#define INDEX "model.safetensors.index.json"

static void test_folders(void) {
    loam_arrays *a;
    loam_err err = {0};
    CHECK(!loam_arrays_open_folder(&a, "tests/golden/arrays/sharded", &err), "%s", err.msg);
    CHECK(a && loam_arrays_count(a) == 73 && loam_arrays_find(a, "model.norm.weight"), "sharded");
    loam_arrays_close(a);
    CHECK(loam_arrays_open_folder(&a, "no/such/folder", &err) == LOAM_ERR_NOT_FOUND, "missing");

    check_folder("empty", LOAM_ERR_NOT_FOUND, 0);
    write_text("pytorch_model.bin", "pickle");
    check_folder("pickle only", LOAM_ERR_UNSUPPORTED, 0);
    write_tensor("weights.00.safetensors", "w");
    check_folder("old MLX name", LOAM_OK, 1);
    write_tensor("model-1.safetensors", "x");
    write_tensor("model-2.safetensors", "y");
    check_folder("globbed", LOAM_OK, 2);
    write_text(INDEX, "{\"weight_map\":{\"x\":\"model-1.safetensors\"}}");
    check_folder("index names one", LOAM_OK, 1);
    write_text(INDEX,
               "{\"weight_map\":{\"x\":\"model-1.safetensors\",\"y\":\"model-2.safetensors\"}}");
    check_folder("index names both", LOAM_OK, 2);
    write_text(INDEX,
               "{\"weight_map\":{\"x\":\"model-1.safetensors\",\"z\":\"model-2.safetensors\"}}");
    check_folder("tensor missing", LOAM_ERR_FORMAT, 0);
    write_text(INDEX, "{\"weight_map\":{\"x\":\"model-9.safetensors\"}}");
    check_folder("shard missing", LOAM_ERR_NOT_FOUND, 0);
    write_text(INDEX, "{\"weight_map\":{\"x\":\"../model-1.safetensors\"}}");
    check_folder("name with ..", LOAM_ERR_FORMAT, 0);
    write_text(INDEX, "{\"weight_map\":{\"x\":\"/etc/passwd\"}}");
    check_folder("absolute name", LOAM_ERR_FORMAT, 0);
    write_text(INDEX, "{\"weight_map\":{\"x\":3}}");
    check_folder("no name", LOAM_ERR_FORMAT, 0);
    write_text(INDEX, "{}");
    check_folder("no map", LOAM_ERR_FORMAT, 0);
    write_text(INDEX, "{");
    check_folder("broken index", LOAM_ERR_FORMAT, 0);
    write_tensor("model-2.safetensors", "x");
    write_text(INDEX, "{\"weight_map\":{\"x\":\"model-2.safetensors\"}}");
    check_folder("index decides between copies", LOAM_OK, 1);
    remove_file(INDEX);
    check_folder("same tensor in two shards", LOAM_ERR_FORMAT, 0);
    remove_file("model-1.safetensors");
    char *path = loam_path_join(scratch, "model-1.safetensors");
    CHECK(mkfifo(path, 0600) == 0, "mkfifo");
    check_folder("a pipe as a shard", LOAM_ERR_IO, 0);
    free(path);
    remove_file("model-1.safetensors");
    remove_file("model-2.safetensors");
    remove_file("weights.00.safetensors");
    remove_file("pytorch_model.bin");
}

/* ---- to f32 ---- */

static void test_to_f32(void) {
    static const uint8_t E4M3[] = {0x00, 0x01, 0x08, 0x38, 0x7e, 0xff, 0xb8};
    static const uint8_t E5M2[] = {0x00, 0x3c, 0xfc, 0x01};
    static const int8_t I8[] = {-128, 127, 0};
    float out[8];
    loam_tensor t = {
        .name = "t", .dtype = LOAM_F8_E4M3, .rank = 1, .shape = {7}, .data = E4M3, .bytes = 7};
    CHECK(!loam_tensor_to_f32(&t, 0, 7, out, NULL), "e4m3");
    CHECK(out[0] == 0.0f && out[1] == 0x1p-9f && out[2] == 0x1p-6f && out[3] == 1.0f &&
              out[4] == 448.0f && isnan(out[5]) && out[6] == -1.0f,
          "e4m3 values");
    t = (loam_tensor){
        .name = "t", .dtype = LOAM_F8_E5M2, .rank = 1, .shape = {4}, .data = E5M2, .bytes = 4};
    CHECK(!loam_tensor_to_f32(&t, 0, 4, out, NULL), "e5m2");
    CHECK(out[1] == 1.0f && isinf(out[2]) && out[3] == 0x1p-16f, "e5m2 values");
    t = (loam_tensor){
        .name = "t", .dtype = LOAM_I8, .rank = 1, .shape = {3}, .data = I8, .bytes = 3};
    CHECK(!loam_tensor_to_f32(&t, 1, 2, out, NULL) && out[0] == 127.0f && out[1] == 0.0f,
          "i8 from 1");
    CHECK(loam_tensor_to_f32(&t, 2, 2, out, NULL) == LOAM_ERR_ARGUMENT, "past the end");
    t.dtype = LOAM_C64;
    CHECK(loam_tensor_to_f32(&t, 0, 1, out, NULL) == LOAM_ERR_UNSUPPORTED, "c64");
}

int main(void) {
    CHECK(mkdtemp(scratch), "mkdtemp");
    size_t good = run_list("tests/golden/arrays", "good.jsonl", check_good);
    size_t bad = run_list("tests/golden/arrays", "bad.jsonl", check_bad);
    if (loam_path_exists(FULL_SET)) {
        good += run_list(FULL_SET, "good.jsonl", check_good);
        bad += run_list(FULL_SET, "bad.jsonl", check_bad);
    }
    printf("%zu good arrays, %zu damaged files\n", good, bad);
    CHECK(good >= 160 && bad >= 154, "lists");
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    struct rusage usage = {0};
    getrusage(RUSAGE_SELF, &usage);
    CHECK(usage.ru_maxrss < 100 * 1024, "%ld kB of memory", usage.ru_maxrss);
#endif
    test_truncation("tests/golden/arrays/good/np_version2.npy");
    test_truncation("tests/golden/arrays/good/mlx_savez_compressed.npz");
    test_truncation("tests/golden/arrays/good/zip_stream_deflated.npz");
    test_truncation("tests/golden/arrays/good/mlx_plain.safetensors");
    test_file_write();
    test_writing();
    test_folders();
    test_to_f32();
    CHECK(rmdir(scratch) == 0, "scratch folder not empty");
    return TEST_END("test_arrays");
}
