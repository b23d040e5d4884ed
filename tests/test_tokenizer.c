/* test_tokenizer.c - ids and texts against the reference tokenizers.
 *
 * tests/golden/tokenizers holds small tokenizers made to exercise each component, and the
 * rows of real ones whose files may be kept here; the rest is read from ../shared when it is there. */
#include "test.h"
#include <dirent.h>
#include <loam/text.h>
#include <sys/stat.h>
#include <unistd.h>

#define HERE   "tests/golden/tokenizers/"
#define SHARED "../shared/"

static int exists(const char *path) {
    struct stat st;
    return stat(path, &st) == 0;
}

/* The rows of a .jsonl file, each a document; *n 0 when the file is missing. */
static loam_json **read_rows(const char *path, size_t *n) {
    FILE *f = fopen(path, "rb");
    loam_json **rows = NULL;
    size_t cap = 0, room = 0;
    char *line = NULL;
    ssize_t len;
    *n = 0;
    if (!f) return NULL;
    while ((len = getline(&line, &room, f)) > 0) {
        loam_err err = {0};
        if (*n == cap) rows = realloc(rows, (cap = cap ? cap * 2 : 64) * sizeof *rows);
        if (!rows) abort();
        loam_json_parse(&rows[*n], line, (size_t)len, path, 0, &err);
        CHECK(rows[*n], "%s: %s", path, err.msg);
        ++*n;
    }
    free(line);
    fclose(f);
    return rows;
}

static void free_rows(loam_json **rows, size_t n) {
    for (size_t i = 0; i < n; i++) loam_json_free(rows[i]);
    free(rows);
}

static int same_ids(const loam_ids *got, const loam_json_value *want) {
    if (loam_json_count(want) != got->n) return 0;
    const loam_json_value *v = loam_json_first(want);
    for (size_t i = 0; i < got->n; i++, v = loam_json_next(v)) {
        int64_t id = -1;
        if (!loam_json_int(v, &id) || id != got->ids[i]) return 0;
    }
    return 1;
}

static const char *show(const loam_ids *ids) {
    static char text[400];
    size_t at = 0;
    text[0] = 0;
    for (size_t i = 0; i < ids->n && at < sizeof text - 16; i++)
        at += (size_t)snprintf(text + at, 16, "%d ", ids->ids[i]);
    return text;
}

static void check_encode(const loam_tokenizer *tok, const char *name, size_t row, const char *text,
                         size_t n, unsigned flags, const loam_json_value *want) {
    loam_ids ids = {0};
    loam_err err = {0};
    const loam_status st = loam_tokenizer_encode(tok, text, n, flags, &ids, &err);
    CHECK(!st && same_ids(&ids, want), "%s row %zu flags %u '%s': got %s(%s)", name, row, flags,
          text, show(&ids), err.msg);
    loam_ids_deinit(&ids);
}

/* Decode at once and as a stream; both must give `want`. */
static void check_decode(const loam_tokenizer *tok, const char *name, size_t row,
                         const loam_json_value *list, unsigned flags, const loam_json_value *want) {
    loam_buf whole = {0}, stream = {0};
    loam_ids ids = {0};
    loam_err err = {0};
    loam_detok *d = NULL;
    size_t n = 0;
    const char *text = loam_json_string(want, &n);
    for (const loam_json_value *v = loam_json_first(list); v; v = loam_json_next(v)) {
        int64_t id = -1;
        loam_json_int(v, &id);
        loam_ids_push(&ids, (int32_t)id);
    }
    loam_status st = loam_tokenizer_decode(tok, ids.ids, ids.n, flags, &whole, &err);
    CHECK(!st && text && whole.n == n && (!n || memcmp(whole.data, text, n) == 0),
          "%s row %zu flags %u: got '%s', want '%s' (%s)", name, row, flags,
          whole.data ? whole.data : "", text ? text : "?", err.msg);
    st = loam_detok_new(&d, tok, flags, &err);
    for (size_t i = 0; i < ids.n && !st; i++) {
        const size_t before = stream.n;
        st = loam_detok_push(d, ids.ids[i], &stream, &err);
        /* never half a character */
        CHECK(stream.n == before || ((unsigned char)stream.data[before] & 0xc0) != 0x80,
              "%s row %zu: piece %zu starts inside a character", name, row, i);
    }
    if (d) loam_detok_flush(d, &stream);
    CHECK(!st && stream.n == whole.n && (!whole.n || memcmp(stream.data, whole.data, whole.n) == 0),
          "%s row %zu: stream '%s' is not '%s'", name, row, stream.data ? stream.data : "",
          whole.data ? whole.data : "");
    loam_detok_free(d);
    loam_buf_deinit(&whole);
    loam_buf_deinit(&stream);
    loam_ids_deinit(&ids);
}

/* Every row of `rows_path`; texts stand in the row, or in `texts` by its number. */
static size_t check_rows(const loam_tokenizer *tok, const char *name, const char *rows_path,
                         const char *texts_path) {
    size_t n = 0, n_texts = 0;
    loam_json **rows = read_rows(rows_path, &n),
              **texts = texts_path ? read_rows(texts_path, &n_texts) : NULL;
    CHECK(n > 0, "%s: no rows", rows_path);
    for (size_t i = 0; i < n; i++) {
        const loam_json_value *r = loam_json_root(rows[i]);
        const loam_json_value *ids = loam_json_get(r, "ids"),
                              *special = loam_json_get(r, "ids_special");
        const loam_json_value *plain = loam_json_get(r, "ids_plain"),
                              *text = loam_json_get(r, "text");
        if (!plain) plain = loam_json_get(r, "ids_nospecial_parse");
        if (texts && i < n_texts) text = loam_json_get(loam_json_root(texts[i]), "text");
        size_t n_text = 0;
        const char *s = loam_json_string(text, &n_text);
        if (s) {
            check_encode(tok, name, i, s, n_text, LOAM_ENCODE_PARSE_SPECIAL, ids);
            check_encode(tok, name, i, s, n_text, LOAM_ENCODE_PARSE_SPECIAL | LOAM_ENCODE_SPECIAL,
                         special);
            check_encode(tok, name, i, s, n_text, 0, plain ? plain : ids);
        }
        check_decode(tok, name, i, special ? special : ids, LOAM_DECODE_SKIP_SPECIAL,
                     loam_json_get(r, "decoded"));
        check_decode(tok, name, i, ids, 0, loam_json_get(r, "decoded_raw"));
    }
    free_rows(rows, n);
    free_rows(texts, n_texts);
    return n;
}

static loam_tokenizer *open_or_fail(const char *path) {
    loam_tokenizer *tok = NULL;
    loam_err err = {0};
    loam_tokenizer_open(&tok, path, &err);
    CHECK(tok, "%s: %s", path, err.msg);
    return tok;
}

static void test_small(void) {
    DIR *d = opendir(HERE "small");
    size_t n_files = 0, n_rows = 0;
    CHECK(d, HERE "small is missing");
    for (struct dirent *e; d && (e = readdir(d)) != NULL;) {
        const size_t n = strlen(e->d_name);
        char path[700], rows[700];
        if (n < 6 || strcmp(e->d_name + n - 5, ".json") != 0) continue;
        snprintf(path, sizeof path, HERE "small/%s", e->d_name);
        loam_tokenizer *tok = open_or_fail(path);
        if (!tok) continue;
        snprintf(rows, sizeof rows, HERE "small/%.*s.jsonl", (int)(n - 5), e->d_name);
        n_rows += check_rows(tok, e->d_name, rows, NULL);
        snprintf(rows, sizeof rows, HERE "small/%.*s.ids.jsonl", (int)(n - 5), e->d_name);
        n_rows += check_rows(tok, e->d_name, rows, NULL);
        loam_tokenizer_close(tok);
        n_files++;
    }
    if (d) closedir(d);
    CHECK(n_files >= 60, "only %zu small tokenizers", n_files);
    printf("  small: %zu tokenizers, %zu rows\n", n_files, n_rows);
}

static void test_real(void) {
    static const struct {
        const char *name, *here, *shared;
    } REAL[] = {{"minilm", HERE "minilm", NULL},
                {"smollm2", HERE "smollm2", SHARED "golden/llm/smollm2/files"},
                {"clip", HERE "clip", SHARED "data/tokenizers/flux/tokenizer_1"},
                {"t5", HERE "t5", SHARED "data/tokenizers/flux/tokenizer_2"},
                {"llama2", NULL, SHARED "data/tokenizers/llama2"},
                {"llama3_1", NULL, SHARED "data/tokenizers/llama3_1"},
                {"qwen2_5", NULL, SHARED "data/tokenizers/qwen2_5"},
                {"qwen3", NULL, SHARED "data/tokenizers/qwen3"},
                {"gemma3", NULL, SHARED "data/tokenizers/gemma3"},
                {"gptoss", NULL, SHARED "data/tokenizers/gptoss"}};
    size_t n_real = 0, n_rows = 0;
    for (size_t i = 0; i < sizeof REAL / sizeof *REAL; i++) {
        const char *folder = REAL[i].here && exists(REAL[i].here) ? REAL[i].here : REAL[i].shared;
        if (!folder || !exists(folder)) continue;
        char rows[300];
        snprintf(rows, sizeof rows, HERE "%s.jsonl", REAL[i].name);
        const int here = exists(rows);
        if (!here)
            snprintf(rows, sizeof rows, SHARED "golden/llm/tokenizers/%s.jsonl", REAL[i].name);
        if (!exists(rows)) continue;
        loam_tokenizer *tok = open_or_fail(folder);
        if (!tok) continue;
        n_rows +=
            check_rows(tok, REAL[i].name, rows,
                       here ? HERE "texts.jsonl" : SHARED "golden/llm/tokenizers/texts.jsonl");
        loam_tokenizer_close(tok);
        n_real++;
    }
    /* a bare clone carries MiniLM's; beside the shared goldens all of them must have run */
    const size_t want = exists(SHARED "data/tokenizers") ? sizeof REAL / sizeof *REAL : 1;
    CHECK(n_real >= want, "only %zu of %zu real tokenizers", n_real, want);
    printf("  real: %zu tokenizers, %zu rows\n", n_real, n_rows);
}

static void test_pairs(void) {
    size_t n = 0;
    loam_json **rows = read_rows(HERE "pairs.jsonl", &n);
    CHECK(n > 100, "%zu pairs", n);
    for (size_t i = 0; i < n; i++) {
        const loam_json_value *r = loam_json_root(rows[i]);
        char path[400];
        const char *name = loam_json_string(loam_json_get(r, "tokenizer"), NULL);
        if (!name) continue;
        snprintf(path, sizeof path, strcmp(name, "minilm") ? HERE "small/%s.json" : HERE "%s",
                 name);
        loam_tokenizer *tok = open_or_fail(path);
        size_t n_a = 0, n_b = 0;
        int64_t max = 0;
        const char *a = loam_json_string(loam_json_get(r, "a"), &n_a),
                   *b = loam_json_string(loam_json_get(r, "b"), &n_b);
        loam_ids ids = {0}, types = {0};
        loam_err err = {0};
        loam_json_int(loam_json_get(r, "max"), &max);
        if (tok && a && b) {
            const loam_status st = loam_tokenizer_encode_pair(
                tok, a, n_a, b, n_b, (size_t)max, LOAM_ENCODE_PARSE_SPECIAL, &ids, &types, &err);
            CHECK(!st && same_ids(&ids, loam_json_get(r, "ids")), "pair %zu %s: got %s(%s)", i,
                  name, show(&ids), err.msg);
            CHECK(same_ids(&types, loam_json_get(r, "types")), "pair %zu %s: types %s", i, name,
                  show(&types));
        }
        loam_ids_deinit(&ids);
        loam_ids_deinit(&types);
        loam_tokenizer_close(tok);
    }
    printf("  pairs: %zu\n", n);
    free_rows(rows, n);
}

/* ---- other file types: small.model and the like hold the vocabulary of a tokenizer.json ---- */

static void test_other_files(void) {
    static const char *const FOLDERS[] = {"spm_bpe", "spm_unigram", "gpt2", "bert",
                                          "roberta", "qwen2",       "clip"};
    size_t n_rows = 0;
    for (size_t i = 0; i < sizeof FOLDERS / sizeof *FOLDERS; i++) {
        char folder[200], rows[200];
        snprintf(folder, sizeof folder, HERE "files/%s", FOLDERS[i]);
        snprintf(rows, sizeof rows, HERE "files/%s/rows.jsonl", FOLDERS[i]);
        loam_tokenizer *tok = open_or_fail(folder);
        if (tok) n_rows += check_rows(tok, FOLDERS[i], rows, NULL);
        loam_tokenizer_close(tok);
    }
    printf("  other files: %zu rows\n", n_rows);
}

/* ---- damaged and hostile ---- */

static char scratch[64];

static void write_file(const char *name, const char *text, size_t n) {
    char path[400];
    snprintf(path, sizeof path, "%s/%s", scratch, name);
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(text, 1, n, f) != n || fclose(f)) abort();
}

static loam_status open_text(const char *json, loam_tokenizer **out, loam_err *err) {
    char path[400];
    write_file("tokenizer.json", json, strlen(json));
    snprintf(path, sizeof path, "%s/tokenizer.json", scratch);
    *err = (loam_err){0};
    return loam_tokenizer_open(out, path, err);
}

static void test_damaged(void) {
    static const struct {
        const char *json;
        loam_status want;
        const char *says;
    } CASES[] = {
        {"", LOAM_ERR_FORMAT, "expected an object"},
        {"{}", LOAM_ERR_FORMAT, "no model"},
        {"{\"model\":{\"type\":\"BPE\"}}", LOAM_ERR_FORMAT, "no vocabulary"},
        {"{\"model\":{\"type\":\"RNN\",\"vocab\":{}}}", LOAM_ERR_UNSUPPORTED, "RNN"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{},\"merges\":[]}}", LOAM_OK, ""},
        {"{\"model\":{\"type\":\"BPE\",\"merges\":[\"a b\"],\"vocab\":{\"a\":0,\"b\":1,\"ab\":2}}}",
         LOAM_OK, ""},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1},\"merges\":[\"a b\"]}}",
         LOAM_ERR_FORMAT, "not in the vocabulary"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"ab\":1},\"merges\":[[\"a\",\"b\"]]}}",
         LOAM_ERR_FORMAT, "'b'"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"ab\":1},\"merges\":[\"ab\"]}}",
         LOAM_ERR_FORMAT, "two tokens"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]}}",
         LOAM_ERR_FORMAT, "id 0"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":2147483648},\"merges\":[]}}",
         LOAM_ERR_FORMAT, "2147483648"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":-1},\"merges\":[]}}", LOAM_ERR_FORMAT,
         "token id"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":1.5},\"merges\":[]}}", LOAM_ERR_FORMAT,
         "token id"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":99999999999999999999},\"merges\":[]}}",
         LOAM_ERR_FORMAT, "token id"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"\\ud800\":1},\"merges\":[]}}", LOAM_ERR_FORMAT,
         "surrogate"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"\xff\":1},\"merges\":[]}}", LOAM_ERR_FORMAT,
         "UTF-8"},
        {"{\"model\":{\"type\":\"BPE\",\"dropout\":0.1,\"vocab\":{},\"merges\":[]}}",
         LOAM_ERR_UNSUPPORTED, "dropout"},
        {"{\"model\":{\"type\":\"Unigram\",\"unk_id\":7,\"vocab\":[[\"a\",0]]}}", LOAM_ERR_FORMAT,
         "unk_id"},
        {"{\"model\":{\"type\":\"Unigram\",\"unk_id\":0,\"vocab\":[[\"a\",x]]}}", LOAM_ERR_FORMAT,
         "score"},
        {"{\"pre_tokenizer\":{\"type\":\"Future\"},\"model\":{\"type\":\"WordLevel\",\"vocab\":{}}"
         "}",
         LOAM_ERR_UNSUPPORTED, "Future"},
        {"{\"normalizer\":{\"type\":\"Magic\"},\"model\":{\"type\":\"WordLevel\",\"vocab\":{}}}",
         LOAM_ERR_UNSUPPORTED, "Magic"},
        {"{\"decoder\":{\"type\":\"Odd\"},\"model\":{\"type\":\"WordLevel\",\"vocab\":{}}}",
         LOAM_ERR_UNSUPPORTED, "Odd"},
        {"{\"post_processor\":{\"type\":\"Late\"},\"model\":{\"type\":\"WordLevel\",\"vocab\":{}}}",
         LOAM_ERR_UNSUPPORTED, "Late"},
        {"{\"pre_tokenizer\":{\"type\":\"Split\",\"behavior\":\"Isolated\",\"pattern\":{\"Regex\":"
         "\"(\"}},\"model\":{\"vocab\":{}}}",
         LOAM_ERR_UNSUPPORTED, "pattern"},
        {"{\"pre_tokenizer\":{\"type\":\"Split\",\"behavior\":\"Isolated\",\"pattern\":{\"Regex\":"
         "\"[a-z&&[^b]]\"}},\"model\":{\"vocab\":{}}}",
         LOAM_ERR_UNSUPPORTED, "set"},
        {"{\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"AAAA\"},\"model\":{"
         "\"vocab\":{}}}",
         LOAM_ERR_FORMAT, "charsmap"},
        {"{\"added_tokens\":[{\"id\":-4,\"content\":\"x\"}],\"model\":{\"vocab\":{}}}",
         LOAM_ERR_FORMAT, "added_tokens"},
        {"{\"model\":{\"vocab\":{}}} x", LOAM_ERR_FORMAT, "after the end"},
        {"{\"model\":{\"vocab\":{\"a\":0,}}}", LOAM_ERR_FORMAT, "string"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        loam_tokenizer *tok = NULL;
        loam_err err = {0};
        const loam_status st = open_text(CASES[i].json, &tok, &err);
        CHECK(st == CASES[i].want && !tok == (st != LOAM_OK), "case %zu: status %d, want %d: %s", i,
              (int)st, (int)CASES[i].want, err.msg);
        CHECK(strstr(err.msg, CASES[i].says), "case %zu: '%s' does not say '%s'", i, err.msg,
              CASES[i].says);
        loam_tokenizer_close(tok);
    }
}

/* Every truncation of a good file is an error, and none crashes. */
static void test_truncated(void) {
    static const char *const FILES[] = {"small/sp_some.json", "small/unigram_plain.json"};
    for (size_t f = 0; f < 2; f++) {
        char path[400];
        snprintf(path, sizeof path, HERE "%s", FILES[f]);
        FILE *in = fopen(path, "rb");
        static char text[1 << 16];
        const size_t n = in ? fread(text, 1, sizeof text - 1, in) : 0;
        if (in) fclose(in);
        CHECK(n > 1000, "%s: %zu bytes", path, n);
        const size_t step = n > 4000 ? 7 : 1;
        snprintf(path, sizeof path, "%s/tokenizer.json", scratch);
        for (size_t k = 0; k + 1 < n; k += step) {
            loam_tokenizer *tok = NULL;
            loam_err err = {0};
            write_file("tokenizer.json", text, k);
            CHECK(loam_tokenizer_open(&tok, path, &err) == LOAM_ERR_FORMAT && err.msg[0],
                  "%s cut at %zu: %s", FILES[f], k, err.msg);
            loam_tokenizer_close(tok);
        }
    }
}

static void check_long(const loam_tokenizer *tok, const char *name, const char *unit, size_t n) {
    const size_t len = strlen(unit);
    char *text = malloc(len * n + 1);
    loam_ids ids = {0};
    loam_buf back = {0};
    loam_err err = {0};
    if (!text) abort();
    for (size_t i = 0; i < n; i++) memcpy(text + i * len, unit, len);
    loam_status st = loam_tokenizer_encode(tok, text, len * n, 0, &ids, &err);
    CHECK(!st && ids.n > 0, "%s: %zu times '%s': %s", name, n, unit, err.msg);
    if (!st) st = loam_tokenizer_decode(tok, ids.ids, ids.n, 0, &back, &err);
    CHECK(!st && back.n == len * n && memcmp(back.data, text, back.n) == 0,
          "%s: %zu times '%s' does not come back", name, n, unit);
    free(text);
    loam_ids_deinit(&ids);
    loam_buf_deinit(&back);
}

static void test_long(void) {
    static const char *const UNITS[] = {
        "\n", "a", " ",          "the ",         "\u00fc", "e\u0301\u0327",
        "'",  "1", "\U0001f600", "\u4e2d\u6587", "</"};
    static const char *const FILES[] = {"small/bytes_plain.json", "small/sp_all.json", "smollm2"};
    for (size_t f = 0; f < 3; f++) {
        char path[200];
        snprintf(path, sizeof path, HERE "%s", FILES[f]);
        if (!exists(path)) snprintf(path, sizeof path, SHARED "golden/llm/smollm2/files");
        if (!exists(path)) continue;
        loam_tokenizer *tok = open_or_fail(path);
        for (size_t i = 0; tok && i < sizeof UNITS / sizeof *UNITS; i++)
            check_long(tok, FILES[f], UNITS[i], 200000);
        loam_tokenizer_close(tok);
    }
}

/* A word as long as the file allows takes time by its length, not by the square or cube of it. */
static void test_long_wordpiece(void) {
    static const char JSON[] =
        "{\"model\":{\"type\":\"WordPiece\",\"unk_token\":\"?\",\"max_input_chars_per_word\":"
        "1000000000,\"vocab\":{\"?\":0,\"a\":1,\"##a\":2,\"##\u00fc\":3}}}";
    enum { N = 400000 };
    loam_tokenizer *tok = NULL;
    loam_ids ids = {0};
    loam_err err = {0};
    char *text = malloc(N);
    CHECK(text && !open_text(JSON, &tok, &err), "%s", err.msg);
    if (!text || !tok) return;
    memset(text, 'a', N);
    memcpy(text + N - 2, "\xc3\xbc", 2);
    CHECK(!loam_tokenizer_encode(tok, text, N, 0, &ids, &err), "%s", err.msg);
    CHECK(ids.n == N - 1 && ids.ids[0] == 1 && ids.ids[1] == 2 && ids.ids[N - 2] == 3, "%zu ids",
          ids.n);
    loam_ids_deinit(&ids);
    loam_tokenizer_close(tok);
    free(text);
}

/* A pattern that backtracks without end is stopped. */
static void test_backtracking(void) {
    static const char JSON[] =
        "{\"pre_tokenizer\":{\"type\":\"Split\",\"behavior\":\"Isolated\",\"pattern\":{\"Regex\":"
        "\"(a+)+$\"}},"
        "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1},\"merges\":[]}}";
    static char text[3000];
    loam_tokenizer *tok = NULL;
    loam_ids ids = {0};
    loam_err err = {0};
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 2] = 'b';
    CHECK(!open_text(JSON, &tok, &err), "%s", err.msg);
    if (!tok) return;
    const loam_status st = loam_tokenizer_encode(tok, text, sizeof text - 1, 0, &ids, &err);
    CHECK(st == LOAM_ERR_LIMIT && ids.n == 0, "status %d: %s", (int)st, err.msg);
    loam_ids_deinit(&ids);
    loam_tokenizer_close(tok);
}

/* A batch gives what its texts give alone, over any number of threads. */
static void check_batch(const loam_tokenizer *tok, loam_pool *pool, const loam_text *texts,
                        size_t n, unsigned flags) {
    loam_ids all = {0}, one = {0};
    loam_err err = {0};
    size_t *starts = malloc((n + 1) * sizeof *starts);
    if (!starts || !loam_ids_push(&all, 7)) abort(); /* what is there stays */
    const loam_status st =
        loam_tokenizer_encode_batch(tok, pool, texts, n, flags, &all, starts, &err);
    CHECK(!st && all.ids[0] == 7 && starts[0] == 1 && starts[n] == all.n, "%s", err.msg);
    for (size_t i = 0; i < n && !st; i++) {
        one.n = 0;
        loam_tokenizer_encode(tok, texts[i].data ? texts[i].data : "", texts[i].n, flags, &one,
                              &err);
        CHECK(starts[i + 1] - starts[i] == one.n &&
                  (!one.n || !memcmp(all.ids + starts[i], one.ids, one.n * sizeof *one.ids)),
              "text %zu of a batch of %zu has other ids", i, n);
    }
    free(starts);
    loam_ids_deinit(&all);
    loam_ids_deinit(&one);
}

static void test_batch(void) {
    enum { N = 203 };
    static const char *const FILES[] = {HERE "small/bytes_plain.json", HERE "small/sp_all.json",
                                        HERE "minilm"};
    static const char words[] = "The cache of words, shared by the texts of a worker: the words "
                                "of one are known for the next. \u00dcber 12345 words!  ";
    loam_text texts[N];
    loam_pool *pools[4] = {NULL};
    loam_err err = {0};
    for (unsigned i = 1; i < 4; i++) CHECK(!loam_pool_new(&pools[i], i, &err), "%s", err.msg);
    for (size_t i = 0; i < N; i++) { /* of every length, some of them none */
        const size_t from = i * 7 % 60, most = sizeof words - 1 - from;
        const size_t n = i * 13 % 61 < most ? i * 13 % 61 : most;
        texts[i] = (loam_text){i % 61 ? words + from : NULL, i % 61 ? n : 0};
        if (n && texts[i].n && (words[from + n] & 0xc0) == 0x80) texts[i].n--;
    }
    for (size_t f = 0; f < 3; f++) {
        loam_tokenizer *tok = open_or_fail(FILES[f]);
        for (size_t p = 0; tok && p < 4; p++) {
            check_batch(tok, pools[p], texts, N, LOAM_ENCODE_SPECIAL);
            check_batch(tok, pools[p], texts, 1, 0);
            check_batch(tok, pools[p], texts, 0, 0);
            /* the first of two errors counts, and leaves nothing behind */
            const loam_text kept[2] = {texts[60], texts[150]};
            loam_ids ids = {0};
            size_t starts[N + 1];
            texts[60] = (loam_text){"a\xff", 2};
            texts[150] = (loam_text){"\xff", 1};
            loam_ids_push(&ids, 3);
            const loam_status st =
                loam_tokenizer_encode_batch(tok, pools[p], texts, N, 0, &ids, starts, &err);
            CHECK(st == LOAM_ERR_FORMAT && ids.n == 1 && ids.ids[0] == 3 &&
                      !strcmp(err.msg, "text 61: text is not UTF-8 at byte 1"),
                  "status %d: %s", (int)st, err.msg);
            texts[60] = kept[0];
            texts[150] = kept[1];
            loam_ids_deinit(&ids);
        }
        loam_tokenizer_close(tok);
    }
    for (size_t i = 0; i < 4; i++) loam_pool_free(pools[i]);
}

static void test_api(void) {
    loam_tokenizer *tok = open_or_fail(HERE "small/bytes_plain.json");
    if (!tok) return;
    loam_ids ids = {0};
    loam_buf out = {0};
    loam_err err = {0};
    size_t n = 0;
    CHECK(loam_tokenizer_encode(tok, "ab\xc3", 3, 0, &ids, &err) == LOAM_ERR_FORMAT &&
              strstr(err.msg, "byte 2"),
          "%s", err.msg);
    CHECK(loam_tokenizer_encode(tok, "\xed\xa0\x80", 3, 0, &ids, &err) == LOAM_ERR_FORMAT &&
              ids.n == 0,
          "%s", err.msg);
    const int32_t bad[] = {-1, INT32_MAX, (int32_t)loam_tokenizer_size(tok)};
    for (int i = 0; i < 3; i++)
        CHECK(loam_tokenizer_decode(tok, &bad[i], 1, 0, &out, &err) == LOAM_ERR_ARGUMENT,
              "id %d is taken", bad[i]);
    const int32_t s = loam_tokenizer_id(tok, "<s>");
    CHECK(s > 0 && loam_tokenizer_is_special(tok, s) && !loam_tokenizer_is_special(tok, 0) &&
              !loam_tokenizer_is_special(tok, -1),
          "<s> is %d", s);
    CHECK(loam_tokenizer_token(tok, s, &n) && n == 3 && !loam_tokenizer_token(tok, -1, &n),
          "text of <s>");
    CHECK(loam_tokenizer_n_added(tok) == 2 && loam_tokenizer_id(tok, "nothing") == -1,
          "n_added %zu", loam_tokenizer_n_added(tok));
    /* every id alone, and every byte */
    for (size_t i = 0; i < loam_tokenizer_size(tok); i++) {
        const int32_t id = (int32_t)i;
        loam_buf_clear(&out);
        CHECK(!loam_tokenizer_decode(tok, &id, 1, 0, &out, &err), "id %d: %s", id, err.msg);
    }
    loam_tokenizer_close(tok);
    CHECK(loam_tokenizer_open(&tok, HERE "none", &err) == LOAM_ERR_NOT_FOUND && !tok, "%s",
          err.msg);
    CHECK(loam_tokenizer_open(&tok, HERE, &err) == LOAM_ERR_NOT_FOUND &&
              strstr(err.msg, "no tokenizer"),
          "%s", err.msg);
    loam_ids_deinit(&ids);
    loam_buf_deinit(&out);
}

int main(void) {
    char template[] = "/tmp/loam-tokenizer-XXXXXX";
    if (!mkdtemp(template)) return 1;
    snprintf(scratch, sizeof scratch, "%s", template);
    test_small();
    test_real();
    test_pairs();
    test_other_files();
    test_damaged();
    test_truncated();
    test_long();
    test_long_wordpiece();
    test_backtracking();
    test_batch();
    test_api();
    char path[400];
    snprintf(path, sizeof path, "%s/tokenizer.json", scratch);
    unlink(path);
    rmdir(scratch);
    return TEST_END("test_tokenizer");
}
