/* test_gguf.c - GGUF files made here and by gguf-py; hostile ones; block formats. */
#include "test.h"

#include "base/base.h"
#include "io/arrays.h"
#include <loam/tensor.h>

static loam_buf file;

static void put(const void *p, size_t n) {
    loam_buf_append(&file, p, n);
}
static void put_u32(uint32_t v) {
    put(&v, 4);
}
static void put_u64(uint64_t v) {
    put(&v, 8);
}
static void put_text(const char *s) {
    put_u64(strlen(s));
    put(s, strlen(s));
}

/* What a case changes in the otherwise sound file. */
typedef struct gguf_case {
    const char *what;
    loam_status want;
    uint32_t version;
    uint64_t n_tensors, n_pairs, dims[2], offset;
    uint32_t type, rank;
    const char *key;
    uint32_t value_type;
    uint64_t n_data;
} gguf_case;

/* One pair (u32 7), one tensor "t" of F32 [2, 3] at 0, 24 bytes of data. */
static const gguf_case SOUND = {"sound", LOAM_OK, 3, 1, 2, {3, 2}, 0, 0, 2, "answer", 4, 24};

static void make_file(const gguf_case *c) {
    loam_buf_clear(&file);
    put("GGUF", 4);
    put_u32(c->version);
    put_u64(c->n_tensors);
    put_u64(c->n_pairs);
    put_text("general.alignment");
    put_u32(4);
    put_u32(64);
    put_text(c->key);
    put_u32(c->value_type);
    put_u32(7);
    put_text("t");
    put_u32(c->rank);
    put_u64(c->dims[0]);
    put_u64(c->dims[1]);
    put_u32(c->type);
    put_u64(c->offset);
    while (file.n % 64) loam_buf_putc(&file, 0);
    for (uint64_t i = 0; i < c->n_data; i++) loam_buf_putc(&file, (char)i);
}

static loam_status open_copy(size_t n, loam_arrays **a, unsigned char **copy, loam_err *err) {
    *copy = malloc(n ? n : 1); /* exact size: a sanitizer sees any read beyond */
    memcpy(*copy, file.data, n);
    return loam_arrays_open_memory(a, (loam_bytes){*copy, n, "copy"}, err);
}

static gguf_case with(const char *what, loam_status want) {
    gguf_case c = SOUND;
    c.what = what;
    c.want = want;
    return c;
}

static void test_hostile(void) {
    gguf_case cases[24];
    size_t n = 0;
#define CASE(WHAT, WANT, CHANGE)                                                                   \
    do {                                                                                           \
        gguf_case c = with(WHAT, WANT);                                                            \
        CHANGE;                                                                                    \
        cases[n++] = c;                                                                            \
    } while (0)
    CASE("sound", LOAM_OK, (void)0);
    CASE("version 2", LOAM_OK, c.version = 2);
    CASE("version 1", LOAM_ERR_UNSUPPORTED, c.version = 1);
    CASE("version 4", LOAM_ERR_FORMAT, c.version = 4);
    CASE("big endian", LOAM_ERR_UNSUPPORTED, c.version = 0x03000000);
    CASE("tensor count", LOAM_ERR_FORMAT, c.n_tensors = UINT64_MAX);
    CASE("tensor count, wrapping", LOAM_ERR_FORMAT, c.n_tensors = (uint64_t)1 << 61);
    CASE("one tensor too many", LOAM_ERR_FORMAT, c.n_tensors = 2);
    CASE("pair count", LOAM_ERR_FORMAT, c.n_pairs = UINT64_MAX / 2);
    CASE("one pair too many", LOAM_ERR_FORMAT, c.n_pairs = 3);
    CASE("product wraps to the size", LOAM_ERR_FORMAT, c.dims[0] = ((uint64_t)1 << 62) + 3);
    CASE("product wraps to zero", LOAM_ERR_FORMAT, c.dims[0] = c.dims[1] = (uint64_t)1 << 32);
    CASE("larger than the data", LOAM_ERR_FORMAT, c.dims[1] = 3);
    CASE("offset past the data", LOAM_ERR_FORMAT, c.offset = 64);
    CASE("offset wraps", LOAM_ERR_FORMAT, c.offset = UINT64_MAX - 63);
    CASE("offset unaligned", LOAM_ERR_FORMAT, (c.offset = 4, c.n_data = 64));
    CASE("unknown type", LOAM_ERR_FORMAT, c.type = 200);
    CASE("unsupported type", LOAM_ERR_UNSUPPORTED, c.type = 23);
    CASE("rows are no whole blocks", LOAM_ERR_FORMAT, c.type = 2);
    CASE("rank", LOAM_ERR_FORMAT, c.rank = 9);
    CASE("repeated key", LOAM_ERR_FORMAT, c.key = "general.alignment");
    CASE("empty key", LOAM_ERR_FORMAT, c.key = "");
    CASE("key is not UTF-8", LOAM_ERR_FORMAT, c.key = "\xff");
    CASE("value type", LOAM_ERR_FORMAT, c.value_type = 13);
    for (size_t i = 0; i < n; i++) {
        loam_arrays *a;
        unsigned char *copy;
        loam_err err = {0};
        make_file(&cases[i]);
        const loam_status st = open_copy(file.n, &a, &copy, &err);
        CHECK(st == cases[i].want, "%s: status %d, %s", cases[i].what, (int)st, err.msg);
        loam_arrays_close(a);
        free(copy);
    }
}

/* `padding`: bytes after the last tensor, which may be missing. */
static void test_cut_short(const char *what, int all, size_t padding) {
    const size_t whole = file.n - padding;
    for (size_t n = 0; n < whole; n++) {
        loam_arrays *a;
        unsigned char *copy;
        if (all || n < 600 || n % 61 == 0)
            CHECK(open_copy(n, &a, &copy, NULL) != LOAM_OK, "%s: %zu of %zu bytes", what, n, whole);
        else
            continue;
        loam_arrays_close(a);
        free(copy);
    }
}

static void test_values(void) {
    loam_arrays *a;
    unsigned char *copy;
    loam_err err = {0};
    int64_t v = 0;
    make_file(&SOUND);
    CHECK(!open_copy(file.n, &a, &copy, &err), "%s", err.msg);
    const loam_tensor *t = loam_arrays_find(a, "t");
    CHECK(t && t->rank == 2 && t->shape[0] == 2 && t->shape[1] == 3 && t->bytes == 24, "tensor");
    CHECK(t && ((const unsigned char *)t->data)[23] == 23, "data");
    CHECK(loam_json_int(loam_json_get(loam_arrays_metadata(a), "answer"), &v) && v == 7, "pair");
    loam_arrays_close(a);
    free(copy);
    test_cut_short("made here", 1, 0);
}

/* All types of values, as gguf-py wrote them. */
static void test_metadata(const loam_arrays *a) {
    loam_buf b = {0};
    loam_json_put_value(&b, loam_arrays_metadata(a), -1, 1);
    const char *want = "{\"general.architecture\": \"test\", \"text\": \"gr\\u00fc\\u00dfe "
                       "\\\"x\\\"\\n\", \"list\": [3, 1, 2], "
                       "\"words\": [\"a\", \"\", \"\\ud83d\\ude42\"], \"small\": 1e-06, \"third\": "
                       "0.3333333333333333, "
                       "\"large\": 18446744073709551615, \"low\": -9223372036854775808, \"i8\": "
                       "-5, \"yes\": true}";
    CHECK(b.data && strcmp(b.data, want) == 0, "%s", b.data);
    loam_buf_deinit(&b);
}

static void test_blocks(void) {
    loam_arrays *blocks, *values;
    loam_err err = {0};
    static float got[1024];
    CHECK(!loam_arrays_open(&blocks, "tests/golden/arrays/blocks.gguf", &err), "%s", err.msg);
    CHECK(!loam_arrays_open(&values, "tests/golden/arrays/blocks.npz", &err), "%s", err.msg);
    if (!blocks || !values) return;
    test_metadata(blocks);
    CHECK(loam_arrays_count(values) == LOAM_N_DTYPES - LOAM_Q4_0, "a tensor of each format");
    for (size_t i = 0; i < loam_arrays_count(values); i++) {
        const loam_tensor *want = loam_arrays_at(values, i);
        const loam_tensor *t = loam_arrays_find(blocks, want->name);
        CHECK(t && strcmp(loam_dtype_name(t->dtype), want->name) == 0, "%s", want->name);
        if (!t) continue;
        CHECK(!loam_tensor_to_f32(t, 0, 1024, got, &err), "%s", err.msg);
        CHECK(memcmp(got, want->data, sizeof got) == 0, "%s: other values", want->name);
        CHECK(!loam_tensor_to_f32(t, 256, 256, got, &err), "%s", err.msg);
        CHECK(memcmp(got, (const float *)want->data + 256, 1024) == 0, "%s from 256", want->name);
        CHECK(loam_tensor_to_f32(t, 1, 256, got, &err) == LOAM_ERR_ARGUMENT, "inside a block");
    }
    loam_arrays_close(blocks);
    loam_arrays_close(values);
    loam_buf_clear(&file);
    CHECK(!loam_file_read(&file, "tests/golden/arrays/blocks.gguf", 1 << 20, &err), "%s", err.msg);
    test_cut_short("blocks.gguf", 0, 26);
}

int main(void) {
    test_values();
    test_hostile();
    test_blocks();
    loam_buf_deinit(&file);
    return TEST_END("test_gguf");
}
