/* test_reranker.c - text in, score out, for the three kinds of rerankers.
 *
 * The cross-encoder runs from the repository's own golden data.  The Qwen kinds need
 * tokenizers of 7 and 11 MB: they run from ../shared (or $LOAM_SHARED) where it exists.
 */
#include "base/base.h"
#include "rag/reranker_lm.h"
#include "test.h"

#include <loam/json.h>
#include <loam/rag.h>
#include <unistd.h>

static char folder[256];
static loam_pool *pool;

static void path_of(char out[512], const char *file) {
    snprintf(out, 512, "%s/%s", folder, file);
}

static const char *const FILES[] = {"config.json", "model.safetensors", "tokenizer.json",
                                    "tokenizer_config.json"};

static void clear_folder(void) {
    for (size_t i = 0; i < sizeof FILES / sizeof *FILES; i++) {
        char path[512];
        path_of(path, FILES[i]);
        unlink(path);
    }
}

static void write_text(const char *file, const char *text) {
    char path[512];
    path_of(path, file);
    unlink(path);
    FILE *f = fopen(path, "w");
    if (!f) return;
    fputs(text, f);
    fclose(f);
}

/* The folder as links to FILES: model files of one place, tokenizer files of another. */
static void link_folder(const char *model, const char *tokenizer) {
    char here[512], from[1200], path[512];
    if (!getcwd(here, sizeof here)) return;
    clear_folder();
    for (size_t i = 0; i < sizeof FILES / sizeof *FILES; i++) {
        const char *dir = i < 2 ? model : tokenizer;
        path_of(path, FILES[i]);
        snprintf(from, sizeof from, "%s%s%s/%s", dir[0] == '/' ? "" : here,
                 dir[0] == '/' ? "" : "/", dir, FILES[i]);
        CHECK(symlink(from, path) == 0, "%s", path);
    }
}

/* ---- expected.jsonl ---- */

typedef struct cases {
    loam_buf text;
    loam_json **docs;
    size_t n, cap;
} cases;

static void read_cases(cases *c, const char *path) {
    loam_err err = {0};
    CHECK(!loam_file_read(&c->text, path, 1 << 26, &err), "%s", err.msg);
    if (!c->text.data) return;
    for (char *line = c->text.data, *end; *line; line = end + 1) {
        end = strchr(line, '\n');
        if (!end || !loam_grow((void **)&c->docs, &c->cap, c->n + 1, sizeof *c->docs)) break;
        CHECK(!loam_json_parse(&c->docs[c->n], line, (size_t)(end - line), path, 0, &err), "%s",
              err.msg);
        c->n++;
    }
}

static void free_cases(cases *c) {
    for (size_t i = 0; i < c->n; i++) loam_json_free(c->docs[i]);
    free(c->docs);
    loam_buf_deinit(&c->text);
}

static const loam_json_value *field(const loam_json *doc, const char *key) {
    return loam_json_get(loam_json_root(doc), key);
}

static loam_text text_of(const loam_json_value *v) {
    loam_text t = {NULL, 0};
    t.data = loam_json_string(v, &t.n);
    return t;
}

static double number_of(const loam_json_value *v) {
    double x = (double)NAN;
    loam_json_number(v, &x);
    return x;
}

static int same_text(loam_text a, loam_text b) {
    return a.n == b.n && memcmp(a.data, b.data, a.n) == 0;
}

/* ---- cross-encoder ---- */

static const char TINY[] = "tests/golden/rerank/tiny-bert-ce";

/* All documents of a query in one call, as an application does it. */
static int check_cross_encoder(const cases *c, const char *what, int max_length, int raw,
                               const char *key) {
    const loam_embedder_options o = {.pool = pool, .precision = LOAM_EXACT};
    loam_reranker *r = NULL;
    loam_err err = {0};
    int checked = 0;
    CHECK(!loam_reranker_open(&r, folder, &o, &err), "%s: %s", what, err.msg);
    for (size_t i = 0; i < c->n && r;) {
        loam_text texts[8];
        double want[8];
        float got[8];
        size_t n = 0;
        const loam_text query = text_of(field(c->docs[i], "query"));
        for (; i < c->n && same_text(query, text_of(field(c->docs[i], "query"))); i++) {
            if ((int)number_of(field(c->docs[i], "max_length")) != max_length || n == 8) continue;
            texts[n] = text_of(field(c->docs[i], "doc"));
            want[n++] = number_of(field(c->docs[i], key));
        }
        CHECK(!loam_reranker_score(r, query, texts, n, raw, got, NULL, &err), "%s: %s", what,
              err.msg);
        for (size_t k = 0; k < n; k++, checked++)
            CHECK(fabs((double)got[k] - want[k]) <= 2e-5, "%s: %zu of '%.20s': %.9g, want %.9g",
                  what, k, query.data, (double)got[k], want[k]);
    }
    loam_reranker_close(r);
    return checked;
}

static void set_config(const char *extra, const char *drop) {
    loam_buf b = {0};
    loam_err err = {0};
    char path[512];
    snprintf(path, sizeof path, "%s/config.json", TINY);
    CHECK(!loam_file_read(&b, path, 1 << 20, &err), "%s", err.msg);
    char *end = b.data ? strrchr(b.data, '}') : NULL;
    if (!end) return;
    *end = 0;
    char *gone = drop ? strstr(b.data, drop) : NULL;
    if (gone) gone[1] = 'X'; /* "architectures" -> "Xrchitectures" */
    loam_buf text = {0};
    loam_buf_printf(&text, "%s%s}", b.data, extra);
    write_text("config.json", text.data);
    loam_buf_deinit(&text);
    loam_buf_deinit(&b);
}

static void test_cross_encoder_golden(void) {
    static const char IDENTITY[] =
        ", \"sbert_ce_default_activation_function\": \"torch.nn.modules.linear.Identity\"";
    static const char NEWER[] = ", \"sentence_transformers\": {\"activation_fn\": "
                                "\"torch.nn.modules.linear.Identity\", \"version\": \"4.1.0\"}";
    cases c = {0};
    char path[512];
    snprintf(path, sizeof path, "%s/expected.jsonl", TINY);
    read_cases(&c, path);
    CHECK(c.n == 34, "%zu golden pairs", c.n);
    int n = 0;
    link_folder(TINY, TINY);
    n += check_cross_encoder(&c, "raw", 512, 1, "logit_f64");
    n += check_cross_encoder(&c, "sigmoid", 512, 0, "sigmoid");
    set_config(IDENTITY, NULL);
    n += check_cross_encoder(&c, "identity", 512, 0, "logit_f64");
    set_config(NEWER, NULL);
    n += check_cross_encoder(&c, "identity of newer folders", 512, 0, "logit_f64");
    set_config("", "\"architectures\"");
    n += check_cross_encoder(&c, "no architectures", 512, 1, "logit_f64");
    link_folder(TINY, TINY);
    write_text("tokenizer_config.json", "{\"model_max_length\": 64, \"tokenizer_class\": "
                                        "\"BertTokenizer\", \"do_lower_case\": true}");
    n += check_cross_encoder(&c, "cut at 64", 64, 1, "logit_f64");
    CHECK(n == 6 * 17, "%d comparisons", n);
    free_cases(&c);
}

static void test_cross_encoder_bad_folders(void) {
    static const struct {
        const char *what, *extra, *drop;
        loam_status status;
    } CASES[] = {
        {"activation", ", \"sbert_ce_default_activation_function\": \"torch.nn.GLU\"", NULL,
         LOAM_ERR_UNSUPPORTED},
        {"activation a number", ", \"sbert_ce_default_activation_function\": 3", NULL,
         LOAM_ERR_FORMAT},
        {"no heads", ", \"num_attention_heads\": 0", NULL, LOAM_ERR_FORMAT},
        {"embedding model", ", \"architectures\": [\"BertModel\"]", NULL, LOAM_ERR_UNSUPPORTED},
        {"other family", ", \"architectures\": [\"GPT2LMHeadModel\"]", NULL, LOAM_ERR_UNSUPPORTED},
        {"decoder's name on an encoder", ", \"architectures\": [\"Qwen2ForCausalLM\"]", NULL,
         LOAM_ERR_UNSUPPORTED},
        {"architectures of numbers", ", \"architectures\": [5], \"model_type\": \"x\"", NULL,
         LOAM_ERR_UNSUPPORTED}};
    const loam_embedder_options o = {.pool = pool, .precision = LOAM_EXACT};
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        loam_reranker *r = NULL;
        loam_err err = {0};
        link_folder(TINY, TINY);
        set_config(CASES[i].extra, CASES[i].drop);
        const loam_status st = loam_reranker_open(&r, folder, &o, &err);
        CHECK(st == CASES[i].status && !r, "%s: %d: %s", CASES[i].what, (int)st, err.msg);
        loam_reranker_close(r);
    }
    loam_reranker *r = NULL;
    loam_err err = {0};
    CHECK(loam_reranker_open(&r, "no/such/folder", &o, &err) == LOAM_ERR_NOT_FOUND && !r, "%s",
          err.msg);

    link_folder(TINY, TINY);
    CHECK(!loam_reranker_open(&r, folder, &o, &err), "%s", err.msg);
    float score;
    const loam_text bad = {"\xff", 1}, ok = {"x", 1};
    CHECK(loam_reranker_score(r, ok, &bad, 1, 1, &score, NULL, &err) == LOAM_ERR_FORMAT, "text");
    CHECK(loam_reranker_score(r, bad, &ok, 1, 1, &score, NULL, &err) == LOAM_ERR_FORMAT, "query");
    CHECK(!loam_reranker_score(r, ok, &ok, 0, 1, &score, NULL, &err), "nothing to score");
    const loam_cancel stop = {1};
    CHECK(loam_reranker_score(r, ok, &ok, 1, 1, &score, &stop, &err) == LOAM_ERR_CANCELLED,
          "cancel");
    loam_reranker_close(r);
}

/* ---- language models ---- */

static const char *shared_folder(void) {
    const char *s = getenv("LOAM_SHARED");
    return s ? s : "../shared";
}

static int link_qwen(const char *model, const char *tokenizer, char expected[512]) {
    char from[512], words[512];
    snprintf(from, sizeof from, "%s/golden/rag/rerank/%s", shared_folder(), model);
    snprintf(words, sizeof words, "%s/data/tokenizers/%s", shared_folder(), tokenizer);
    if (access(from, R_OK) != 0 || access(words, R_OK) != 0) {
        printf("%s: not run, %s is not there\n", model, from);
        return 0;
    }
    link_folder(from, words);
    snprintf(expected, 512, "%.480s/expected.jsonl", from);
    return 1;
}

/* Documents of one query in one call; pairs with an instruction are another program's. */
static int check_lm(loam_reranker *r, const cases *c, int raw, const char *key) {
    loam_err err = {0};
    int checked = 0;
    for (size_t i = 0; i < c->n;) {
        loam_text texts[8];
        double want[8];
        float got[8];
        size_t n = 0;
        const loam_text query = text_of(field(c->docs[i], "query"));
        for (; i < c->n && same_text(query, text_of(field(c->docs[i], "query"))); i++) {
            if (loam_json_string(field(c->docs[i], "instruction"), NULL) || n == 8) continue;
            texts[n] = text_of(field(c->docs[i], "doc"));
            want[n++] = number_of(field(c->docs[i], key));
        }
        CHECK(!loam_reranker_score(r, query, texts, n, raw, got, NULL, &err), "%s", err.msg);
        for (size_t k = 0; k < n; k++, checked++) {
            float alone;
            CHECK(fabs((double)got[k] - want[k]) <= 2e-5, "%s %zu of '%.20s': %.9g, want %.9g", key,
                  k, query.data, (double)got[k], want[k]);
            CHECK(!loam_reranker_score(r, query, &texts[k], 1, raw, &alone, NULL, &err), "%s",
                  err.msg);
            CHECK(memcmp(&alone, &got[k], sizeof alone) == 0, "alone %.9g, with others %.9g",
                  (double)alone, (double)got[k]);
        }
    }
    return checked;
}

static void test_mxbai_cut_at_64(const char *expected) {
    const loam_embedder_options o = {.pool = pool, .precision = LOAM_EXACT};
    loam_lm_reranker *r = NULL;
    loam_json *doc = NULL;
    loam_err err = {0};
    char path[512];
    snprintf(path, sizeof path, "%.*s/library.json", (int)(strrchr(expected, '/') - expected),
             expected);
    CHECK(!loam_json_read(&doc, path, 0, 0, &err), "%s", err.msg);
    CHECK(!loam_lm_reranker_open(&r, folder, LOAM_RERANK_MXBAI, 64, &o, &err), "%s", err.msg);
    if (doc && r) {
        const loam_json_value *list = loam_json_get(loam_json_root(doc), "truncated_64");
        CHECK(loam_json_count(list) == 21, "%zu cut pairs", loam_json_count(list));
        for (size_t i = 0; i < loam_json_count(list); i++) {
            const loam_json_value *v = loam_json_at(list, i);
            const loam_text text = text_of(loam_json_get(v, "doc"));
            float got = NAN;
            CHECK(!loam_lm_reranker_score(r, text_of(loam_json_get(v, "query")), &text, 1, &got,
                                          NULL, &err),
                  "%s", err.msg);
            const double want = number_of(loam_json_get(v, "score_f32"));
            CHECK(fabs((double)got - want) <= 2e-5, "cut pair %zu: %.9g, want %.9g", i, (double)got,
                  want);
        }
        const loam_json_value *normal = loam_json_get(loam_json_root(doc), "normalised");
        CHECK(loam_json_count(normal) == 4, "normalised scores");
    }
    loam_lm_reranker_close(r);
    loam_json_free(doc);
}

static void test_lm_golden(const char *model, const char *tokenizer, const char *raw_key,
                           const char *normal_key, int n_pairs) {
    /* the default of the programs: plain weights must not lose by it */
    const loam_embedder_options o = {.pool = pool, .precision = LOAM_FAST};
    char expected[512];
    loam_reranker *r = NULL;
    loam_err err = {0};
    cases c = {0};
    if (!link_qwen(model, tokenizer, expected)) return;
    read_cases(&c, expected);
    CHECK(!loam_reranker_open(&r, folder, &o, &err), "%s: %s", model, err.msg);
    if (r) {
        const int n = check_lm(r, &c, 1, raw_key);
        CHECK(n == n_pairs, "%s: %d pairs", model, n);
        CHECK(check_lm(r, &c, 0, normal_key) == n_pairs, "%s: normalised", model);
        printf("%s: %d pairs\n", model, n);
    }
    loam_reranker_close(r);
    if (strcmp(model, "tiny-qwen2-mxbai") == 0) test_mxbai_cut_at_64(expected);
    free_cases(&c);
}

int main(void) {
    const char *tmp = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/loam-test-reranker-XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(folder) || loam_pool_new(&pool, 1, NULL)) return 1;
    test_cross_encoder_golden();
    test_cross_encoder_bad_folders();
    test_lm_golden("tiny-qwen2-mxbai", "qwen2_5", "score_f64", "normalised_est_max_12", 17);
    test_lm_golden("tiny-qwen3-reranker", "qwen3", "diff_f64", "score", 17);
    clear_folder();
    rmdir(folder);
    loam_pool_free(pool);
    return TEST_END("test_reranker");
}
