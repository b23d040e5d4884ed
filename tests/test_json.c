/* test_json.c - the parser's verdicts, the questions, and the writers. */
#include "test.h"

#include "base/base.h"
#include <loam/json.h>

typedef struct text_case {
    const char *text;
    unsigned flags;
} text_case;

static const text_case GOOD[] = {
    {"null", 0},
    {" true ", 0},
    {"false\n", 0},
    {"0", 0},
    {"-0", 0},
    {"-0.0", 0},
    {"1e5", 0},
    {"1E+5", 0},
    {"1.5e-7", 0},
    {"\"\"", 0},
    {"[]", 0},
    {"{}", 0},
    {"[[],{}]", 0},
    {"{\"a\":1,\"a\":2}", 0},
    {"\"\\u0041\\ud83d\\ude42\"", 0},
    {"\"\xf4\x8f\xbf\xbf\"", 0},
    {"123456789012345678901234567890", 0},
    {"9223372036854775808", 0},
    {"1e999", 0},
    {"[NaN,Infinity,-Infinity]", LOAM_JSON_ALLOW_NAN},
    {"\"\\ud800\"", LOAM_JSON_LONE_SURROGATES},
    {"\"\\u0000\"", 0},
    {"\"\\/\\b\\f\\n\\r\\t\\\"\\\\\"", 0},
    {"\"\x7f\"", 0},
};

static const text_case BAD[] = {
    {"", 0},
    {" ", 0},
    {"nul", 0},
    {"nulll", 0},
    {"True", 0},
    {"01", 0},
    {"-01", 0},
    {"-", 0},
    {"+1", 0},
    {".5", 0},
    {"1.", 0},
    {"1.e5", 0},
    {"1e", 0},
    {"1e+", 0},
    {"0x10", 0},
    {"1 2", 0},
    {"[", 0},
    {"]", 0},
    {"[1", 0},
    {"[1,", 0},
    {"[1,]", 0},
    {"[,1]", 0},
    {"[1 2]", 0},
    {"[1}", 0},
    {"{", 0},
    {"{\"a\"", 0},
    {"{\"a\":", 0},
    {"{\"a\":1", 0},
    {"{\"a\":1,}", 0},
    {"{a:1}", 0},
    {"{1:1}", 0},
    {"{\"a\" 1}", 0},
    {"{\"a\":1]", 0},
    {"\"", 0},
    {"\"a", 0},
    {"\"\\", 0},
    {"\"\\x\"", 0},
    {"\"\\u12\"", 0},
    {"\"\\u12g4\"", 0},
    {"\"\\ud800\"", 0},
    {"\"\\udc00\"", 0},
    {"\"\\ud800\\u0041\"", 0},
    {"\"\n\"", 0},
    {"\"\x01\"", 0},
    {"\"\x80\"", 0},
    {"\"\xc0\x80\"", 0},
    {"\"\xc3\"", 0},
    {"\"\xe0\x80\x80\"", 0},
    {"\"\xed\xa0\x80\"", 0},
    {"\"\xf0\x80\x80\x80\"", 0},
    {"\"\xf4\x90\x80\x80\"", 0},
    {"\"\xf8\x88\x80\x80\x80\"", 0},
    {"NaN", 0},
    {"Infinity", 0},
    {"-Infinity", 0},
    {"// c\n1", 0},
    {"[1]//", 0},
    {"\xef\xbb\xbf{}", 0},
    {"'a'", 0},
    {"{\"a\":1,\"a\":2}", LOAM_JSON_REJECT_DUPLICATES},
    {"{\"\\u0061\":1,\"a\":2}", LOAM_JSON_REJECT_DUPLICATES},
    {"-NaN", LOAM_JSON_ALLOW_NAN},
    {"nan", LOAM_JSON_ALLOW_NAN},
};

static void test_verdicts(void) {
    loam_json *doc;
    loam_err err;
    for (size_t i = 0; i < sizeof GOOD / sizeof GOOD[0]; i++) {
        err.msg[0] = '\0';
        const loam_status st =
            loam_json_parse(&doc, GOOD[i].text, strlen(GOOD[i].text), "t", GOOD[i].flags, &err);
        CHECK(st == LOAM_OK, "%s: %s", GOOD[i].text, err.msg);
        loam_json_free(doc);
    }
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        const loam_status st =
            loam_json_parse(&doc, BAD[i].text, strlen(BAD[i].text), "t", BAD[i].flags, &err);
        CHECK(st == LOAM_ERR_FORMAT && !doc, "'%s' was accepted", BAD[i].text);
        CHECK(st == LOAM_OK || strstr(err.msg, " at byte "), "no place in '%s'", err.msg);
        loam_json_free(doc);
    }
}

static void test_depth(void) {
    enum { N = 100000 };
    char *text = malloc(2 * N);
    loam_json *doc;
    for (size_t depth = 127; depth <= 129; depth++) {
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        const loam_status st = loam_json_parse(&doc, text, 2 * depth, "t", 0, NULL);
        CHECK((st == LOAM_OK) == (depth <= 128), "depth %zu: status %d", depth, (int)st);
        loam_json_free(doc);
    }
    memset(text, '[', 2 * N);
    CHECK(loam_json_parse(&doc, text, 2 * N, "t", 0, NULL) == LOAM_ERR_FORMAT, "open to the end");
    free(text);
}

/* Every prefix of a text with all kinds of values is refused, and read within its bounds. */
static void test_truncation(void) {
    static const char TEXT[] =
        "{\"a\\u00e9\\ud83d\\ude42\": [1, -2.5e10, true, false, null, \"\xc3\xa9\"], \"b\": {}}";
    for (size_t n = 0; n < sizeof TEXT - 1; n++) {
        char *copy = malloc(n ? n : 1); /* exact size: a sanitizer sees any read beyond */
        loam_json *doc;
        memcpy(copy, TEXT, n);
        CHECK(loam_json_parse(&doc, copy, n, "t", 0, NULL) == LOAM_ERR_FORMAT, "prefix %zu", n);
        loam_json_free(doc);
        free(copy);
    }
}

static void test_questions(void) {
    static const char TEXT[] =
        "{\"i\": -7, \"r\": 2.5, \"whole\": 1e3, \"big\": 1e30, \"s\": \"a\\u0000b\", "
        "\"t\": true, \"n\": null, \"list\": [1, [2, 3], 4], \"s\": \"last\", "
        "\"max\": 9223372036854775807, \"min\": -9223372036854775808}";
    loam_json *doc;
    int64_t i = 0;
    double r = 0;
    int flag = 0;
    size_t n = 0;
    loam_err err = {0};
    CHECK(!loam_json_parse(&doc, TEXT, sizeof TEXT - 1, "t", 0, &err), "%s", err.msg);
    const loam_json_value *root = loam_json_root(doc);
    CHECK(loam_json_type_of(root) == LOAM_JSON_OBJECT && loam_json_count(root) == 11, "root");
    CHECK(!loam_json_next(root), "the root has a sibling");
    CHECK(loam_json_int(loam_json_get(root, "i"), &i) && i == -7, "i = %lld", (long long)i);
    CHECK(loam_json_int(loam_json_get(root, "whole"), &i) && i == 1000, "whole");
    CHECK(loam_json_int(loam_json_get(root, "max"), &i) && i == INT64_MAX, "max");
    CHECK(loam_json_int(loam_json_get(root, "min"), &i) && i == INT64_MIN, "min");
    CHECK(!loam_json_int(loam_json_get(root, "r"), &i), "2.5 is no integer");
    CHECK(!loam_json_int(loam_json_get(root, "big"), &i), "1e30 does not fit");
    CHECK(loam_json_number(loam_json_get(root, "big"), &r) && r == 1e30, "big");
    CHECK(loam_json_bool(loam_json_get(root, "t"), &flag) && flag == 1, "t");
    CHECK(!loam_json_bool(loam_json_get(root, "n"), &flag), "null is no bool");
    CHECK(!loam_json_get(root, "absent") && loam_json_count(NULL) == 0, "absent");
    CHECK(!loam_json_string(NULL, &n) && n == 0, "no string");
    const char *s = loam_json_string(loam_json_at(root, 4), &n);
    CHECK(s && n == 3 && memcmp(s, "a\0b", 4) == 0, "inner NUL");
    s = loam_json_string(loam_json_get(root, "s"), &n);
    CHECK(s && strcmp(s, "last") == 0, "the last of equal keys counts");
    const loam_json_value *list = loam_json_get(root, "list");
    CHECK(loam_json_count(list) == 3 && loam_json_at(list, 3) == NULL, "list");
    CHECK(loam_json_int(loam_json_at(list, 2), &i) && i == 4, "list[2]");
    CHECK(loam_json_int(loam_json_at(loam_json_at(list, 1), 1), &i) && i == 3, "list[1][1]");
    size_t members = 0;
    for (const loam_json_value *m = loam_json_first(root); m; m = loam_json_next(m)) {
        size_t n_a, n_b;
        const char *a = loam_json_own_key(m, &n_a), *b = loam_json_key(root, members, &n_b);
        CHECK(a == b && n_a == n_b && m == loam_json_at(root, members), "member %zu", members);
        members++;
    }
    CHECK(members == 11, "%zu members", members);
    loam_json_free(doc);
}

/* Large containers: every key is found, every item is where it should be. */
static void test_large(void) {
    enum { N = 20000 };
    loam_buf b = {0};
    loam_json *doc;
    int64_t v;
    loam_buf_puts(&b, "{\"vocab\":{");
    for (int i = 0; i < N; i++) loam_buf_printf(&b, "%s\"k%d\":%d", i ? "," : "", i, i * 3);
    loam_buf_puts(&b, ",\"k77\":-1},\"merges\":[");
    for (int i = 0; i < N; i++) loam_buf_printf(&b, "%s[%d,%d]", i ? "," : "", i, i + 1);
    loam_buf_puts(&b, "],\"mixed\":[");
    for (int i = 0; i < N; i++) loam_buf_printf(&b, i % 3 ? "%s%d" : "%s[%d]", i ? "," : "", i);
    loam_buf_puts(&b, "]}");
    loam_err err = {0};
    CHECK(!loam_json_parse(&doc, b.data, b.n, "t", 0, &err), "%s", err.msg);
    const loam_json_value *vocab = loam_json_get(loam_json_root(doc), "vocab");
    const loam_json_value *merges = loam_json_get(loam_json_root(doc), "merges");
    const loam_json_value *mixed = loam_json_get(loam_json_root(doc), "mixed");
    for (int i = 0; i < N; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%d", i);
        CHECK(loam_json_int(loam_json_get(vocab, key), &v) && v == (i == 77 ? -1 : i * 3), "%s",
              key);
        CHECK(loam_json_int(loam_json_at(loam_json_at(merges, (size_t)i), 1), &v) && v == i + 1,
              "merge %d", i);
        const loam_json_value *m = loam_json_at(mixed, (size_t)i);
        CHECK(loam_json_int(i % 3 ? m : loam_json_at(m, 0), &v) && v == i, "mixed %d", i);
    }
    CHECK(!loam_json_get(vocab, "k"), "absent key");
    loam_json_free(doc);
    CHECK(loam_json_parse(&doc, b.data, b.n, "t", LOAM_JSON_REJECT_DUPLICATES, NULL) ==
              LOAM_ERR_FORMAT,
          "repeated key of a large object");
    loam_buf_deinit(&b);
}

/* Half a million members under two keys: written as Python would, in one pass. */
static void test_many_duplicates(void) {
    enum { N = 500000 };
    loam_buf b = {0}, out = {0};
    loam_json *doc;
    loam_buf_putc(&b, '{');
    for (int i = 0; i < N; i++) loam_buf_printf(&b, "%s\"%c\": %d", i ? ", " : "", "ba"[i % 2], i);
    loam_buf_putc(&b, '}');
    CHECK(!loam_json_parse(&doc, b.data, b.n, "t", 0, NULL), "parse");
    loam_json_put_value(&out, loam_json_root(doc), -1, 0);
    CHECK(out.data && strcmp(out.data, "{\"b\": 499998, \"a\": 499999}") == 0, "%.60s",
          out.data ? out.data : "");
    loam_json_free(doc);
    loam_buf_deinit(&b);
    loam_buf_deinit(&out);
}

/* text -> parse -> put_value, against what Python 3.11 prints for json.dumps(json.loads(text)). */
static void test_python_dumps(void) {
    static const struct {
        const char *text, *want;
        int indent, ascii;
    } CASES[] = {
        {"{\"a\":[1,2.0,1e16,1e-5,123456789012345680000.0],\"b\":{}}",
         "{\"a\": [1, 2.0, 1e+16, 1e-05, 1.2345678901234568e+20], \"b\": {}}", -1, 1},
        {"{\"a\":[1,{\"b\":[]}],\"c\":{}}",
         "{\n  \"a\": [\n    1,\n    {\n      \"b\": []\n    }\n  ],\n  \"c\": {}\n}", 2, 1},
        {"[1,[2]]", "[\n1,\n[\n2\n]\n]", 0, 1},
        {"\"\\u00e9\\ud83d\\ude42\\u007f\\n\\u0001/\\\"\"",
         "\"\\u00e9\\ud83d\\ude42\\u007f\\n\\u0001/\\\"\"", -1, 1},
        {"\"\\u00e9\\ud83d\\ude42\\u007f\\n\\u0001\"", "\"\xc3\xa9\xf0\x9f\x99\x82\x7f\\n\\u0001\"",
         -1, 0},
        {"[1000000000000000019884624838656,-0,-0.0]", "[1000000000000000019884624838656, 0, -0.0]",
         -1, 1},
        {"[0.1,1e22,1e15,123456.789,5e-324,1.7976931348623157e308,0.0001,0.00001]",
         "[0.1, 1e+22, 1000000000000000.0, 123456.789, 5e-324, 1.7976931348623157e+308, 0.0001, "
         "1e-05]",
         -1, 1},
        {"{\"a\":1,\"b\":2,\"a\":3}", "{\"a\": 3, \"b\": 2}", -1, 1},
        {"[NaN,Infinity,-Infinity,true,false,null]",
         "[NaN, Infinity, -Infinity, true, false, null]", -1, 1},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        loam_json *doc;
        loam_buf b = {0};
        loam_err err = {0};
        CHECK(!loam_json_parse(&doc, CASES[i].text, strlen(CASES[i].text), "t", LOAM_JSON_ALLOW_NAN,
                               &err),
              "%s", err.msg);
        loam_json_put_value(&b, loam_json_root(doc), CASES[i].indent, CASES[i].ascii);
        CHECK(b.data && strcmp(b.data, CASES[i].want) == 0, "%s, want %s", b.data, CASES[i].want);
        loam_buf_deinit(&b);
        loam_json_free(doc);
    }
}

static void check_number(double v, const char *want) {
    loam_buf b = {0};
    loam_json_put_repr(&b, v);
    CHECK(b.data && strcmp(b.data, want) == 0, "%a: %s, want %s", v, b.data, want);
    loam_buf_deinit(&b);
}

static void test_numbers(void) {
    /* repr() of Python 3.11; the powers of two are those where the nearest 16 digits fail */
    check_number(0x1p-44, "5.684341886080802e-14");
    check_number(0x1p-1074, "5e-324");
    check_number(0x1p-1022, "2.2250738585072014e-308");
    check_number(0x1p+1023, "8.98846567431158e+307");
    check_number(9007199254740993.0, "9007199254740992.0");
    check_number(0.1 + 0.2, "0.30000000000000004");
    check_number(1e23, "1e+23");
    check_number(100.0, "100.0");
    check_number(-1.5, "-1.5");
    loam_buf b = {0};
    loam_json_put_float(&b, 0.1f);
    loam_buf_putc(&b, ' ');
    loam_json_put_float(&b, 16777216.0f);
    loam_buf_putc(&b, ' ');
    loam_json_put_float(&b, 1e-45f);
    loam_buf_putc(&b, ' ');
    loam_json_put_number(&b, (double)INFINITY);
    loam_buf_putc(&b, ' ');
    loam_json_put_number(&b, 3.0);
    CHECK(b.data && strcmp(b.data, "0.1 16777216 1e-45 null 3") == 0, "%s", b.data);
    loam_buf_clear(&b);
    loam_json_put_string(&b, "a\xff\xc3\xa9\n\"", 6);
    CHECK(strcmp(b.data, "\"a\xef\xbf\xbd\xc3\xa9\\n\\\"\"") == 0, "%s", b.data);
    loam_buf_deinit(&b);
}

/* Bits at random: what is written reads back as the same number, by both readers. */
static void test_round_trip(void) {
    loam_rng rng;
    loam_rng_seed(&rng, 1);
    loam_buf b = {0};
    for (int i = 0; i < 20000; i++) {
        const uint64_t bits = loam_rng_next(&rng);
        const uint32_t bits32 = (uint32_t)bits;
        double v, got = 0;
        float f;
        memcpy(&v, &bits, sizeof v);
        memcpy(&f, &bits32, sizeof f);
        if (!isfinite(v) || !isfinite(f)) continue;
        loam_json *doc;
        loam_buf_clear(&b);
        loam_json_put_number(&b, v);
        CHECK(!loam_json_parse(&doc, b.data, b.n, "t", 0, NULL) &&
                  loam_json_number(loam_json_root(doc), &got) && got == v,
              "%a: %s", v, b.data);
        loam_json_free(doc);
        loam_buf_clear(&b);
        loam_json_put_float(&b, f);
        CHECK(strtof(b.data, NULL) == f, "%a: %s", (double)f, b.data);
    }
    loam_buf_deinit(&b);
}

int main(void) {
    test_verdicts();
    test_depth();
    test_truncation();
    test_questions();
    test_large();
    test_many_duplicates();
    test_python_dumps();
    test_numbers();
    test_round_trip();
    return TEST_END("test_json");
}
